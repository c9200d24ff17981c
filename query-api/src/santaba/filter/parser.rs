//! Reads a filter. Total: any text is a filter or an error that says where.

use super::value::Value;
use super::{Condition, Expression, Invalid, Operator};

/// What cannot stand in the name of a field.
const AFTER_FIELD: [char; 8] = [':', '!', '>', '<', '~', ',', '|', '"'];

/// The words behind the operators that stand alone.
const EMPTY: [&str; 2] = ["empty", "null"];

pub(super) fn parse(text: &str) -> Result<Expression, Invalid> {
    let mut parser = Parser { text, rest: text };
    let mut alternatives = Vec::new();
    let mut conditions = Vec::new();
    loop {
        conditions.push(parser.condition()?);
        if parser.takes(",") {
            continue;
        }
        alternatives.push(std::mem::take(&mut conditions));
        if parser.rest.is_empty() {
            return Ok(Expression { alternatives });
        }
        if !parser.takes("||") {
            return Err(parser.invalid("`,`, `|` or `||` is missing"));
        }
    }
}

#[derive(Clone, Copy)]
struct Parser<'t> {
    text: &'t str,
    /// What was not read yet. Between any two parts blanks are left out.
    rest: &'t str,
}

impl<'t> Parser<'t> {
    fn condition(&mut self) -> Result<Condition, Invalid> {
        self.skip_blanks();
        let field = self.field()?.to_owned();
        if let Some(operator) = self.lone_operator() {
            return Ok(Condition { field, operator, values: Vec::new() });
        }
        let operator = self.operator()?;
        let mut values = vec![self.value()?];
        while !self.rest.starts_with("||") && self.takes("|") {
            values.push(self.value()?);
        }
        Ok(Condition { field, operator, values })
    }

    fn field(&mut self) -> Result<&'t str, Invalid> {
        let end = self.rest.find(AFTER_FIELD).unwrap_or(self.rest.len());
        let (field, rest) = self.rest.split_at(end);
        let field = field.trim_end();
        if field.is_empty() {
            return Err(self.invalid("the name of a field is missing"));
        }
        self.rest = rest;
        Ok(field)
    }

    /// An operator that stands alone with its word. With anything else behind it, it is a shorter one with a value that
    /// begins with colons, as IPv6 addresses do.
    fn lone_operator(&mut self) -> Option<Operator> {
        let operators = Operator::ALL.into_iter().filter(|operator| operator.stands_alone());
        for operator in operators {
            let mut ahead = *self;
            let is_empty = ahead.takes(operator.sign())
                && ahead.value().is_ok_and(|value| {
                    value.text().is_some_and(|text| EMPTY.iter().any(|word| text.eq_ignore_ascii_case(word)))
                });
            if is_empty {
                *self = ahead;
                return Some(operator);
            }
        }
        None
    }

    fn operator(&mut self) -> Result<Operator, Invalid> {
        Operator::ALL
            .into_iter()
            .filter(|operator| !operator.stands_alone())
            .find(|operator| self.takes(operator.sign()))
            .ok_or_else(|| self.invalid("an operator is missing"))
    }

    fn value(&mut self) -> Result<Value, Invalid> {
        let raw = match self.rest.strip_prefix('"') {
            Some(inner) => {
                let end = end_of(inner, &['"']).ok_or_else(|| self.invalid("a quote is not closed"))?;
                let (raw, rest) = inner.split_at(end);
                self.rest = &rest['"'.len_utf8()..];
                raw
            }
            None => {
                let end = end_of(self.rest, &[',', '|']).unwrap_or(self.rest.len());
                let (raw, rest) = self.rest.split_at(end);
                if raw.trim().is_empty() {
                    return Err(self.invalid("a value is missing"));
                }
                self.rest = rest;
                raw.trim_end()
            }
        };
        self.skip_blanks();
        Ok(Value::read(raw))
    }

    /// Goes past `sign` and the blanks behind it, when it is what comes next.
    fn takes(&mut self, sign: &str) -> bool {
        let Some(rest) = self.rest.strip_prefix(sign) else { return false };
        self.rest = rest;
        self.skip_blanks();
        true
    }

    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn invalid(&self, problem: &str) -> Invalid {
        let read = self.text.len() - self.rest.len();
        let character = self.text.get(..read).unwrap_or_default().chars().count() + 1;
        Invalid::new(format!("{problem} at character {character}"))
    }
}

/// Where the first of `ends` stands that no backslash stands before.
fn end_of(text: &str, ends: &[char]) -> Option<usize> {
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        if ends.contains(&character) {
            return Some(at);
        }
        if character == '\\' {
            characters.next();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Each alternative's conditions: field, sign, values as they are written.
    fn read(text: &str) -> Vec<Vec<(String, &'static str, Vec<String>)>> {
        let filter = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let shown = |condition: Condition| {
            let values = condition.values.iter().map(Value::to_string).collect();
            (condition.field, condition.operator.sign(), values)
        };
        filter.alternatives.into_iter().map(|list| list.into_iter().map(shown).collect()).collect()
    }

    fn one(text: &str) -> (String, &'static str, Vec<String>) {
        let mut alternatives = read(text);
        assert_eq!((alternatives.len(), alternatives[0].len()), (1, 1), "{text}");
        alternatives.remove(0).remove(0)
    }

    #[test]
    fn each_operator_is_the_longest_that_fits() {
        for (text, sign, value) in [
            ("f:v", ":", "\"v\""),
            ("f!:v", "!:", "\"v\""),
            ("f~v", "~", "\"v\""),
            ("f!~v", "!~", "\"v\""),
            ("f>5", ">", "\"5\""),
            ("f<5", "<", "\"5\""),
            ("f>:5", ">:", "\"5\""),
            ("f<:5", "<:", "\"5\""),
            ("f > : 5", ">", "\": 5\""),
            ("f : \" v \"", ":", "\" v \""),
            ("f:  v w  ", ":", "\"v w\""),
            ("ip:::1", ":", "\"::1\""),
            ("ip!:::1", "!:", "\"::1\""),
            ("ip!::x", "!:", "\":x\""),
            ("f:::emptyish", ":", "\"::emptyish\""),
        ] {
            assert_eq!(
                one(text),
                (
                    text[..text.find([' ', ':', '!', '~', '<', '>']).unwrap()].to_owned(),
                    sign,
                    vec![value.to_owned()]
                ),
                "{text}"
            );
        }
        for text in ["f:::\"empty\"", "f ::: null", "f:::Empty", "f:::\"NULL\" "] {
            assert_eq!(one(text), ("f".to_owned(), ":::", vec![]), "{text}");
        }
        assert_eq!(one("f!::\"empty\"").1, "!::");
    }

    #[test]
    fn a_comma_binds_tighter_than_or_and_a_bar_tighter_than_both() {
        let shape = |text| {
            read(text)
                .iter()
                .map(|list| list.iter().map(|(_, _, values)| values.len()).collect())
                .collect::<Vec<Vec<_>>>()
        };
        assert_eq!(shape("a:1,b:2||c:3"), [vec![1, 1], vec![1]]);
        assert_eq!(shape("a:1||b:2,c:3"), [vec![1], vec![1, 1]]);
        assert_eq!(shape("name:\"aaa\"|\"bbb\"|\"ccc\"||status:\"suspend\""), [vec![3], vec![1]]);
        assert_eq!(shape("a~\"*x*\" || b~\"*x*\" || c~\"*x*\""), [vec![1], vec![1], vec![1]]);
        assert_eq!(shape("a:1|2 , b:3 | 4||c:5"), [vec![2, 2], vec![1]]);
        assert_eq!(shape("a:1||b:::null,c:2"), [vec![1], vec![0, 1]]);
    }

    #[test]
    fn quotes_and_backslashes_keep_separators_in_a_value() {
        assert_eq!(one(r#"f:"a,b|c||d""#).2, [r#""a,b|c||d""#]);
        assert_eq!(one(r"f:a\,b\|c").2, [r#""a,b|c""#]);
        assert_eq!(one(r#"f:"a\"b""#).2, [r#""a\"b""#]);
        assert_eq!(one(r#"f:a"b"#).2, [r#""a\"b""#]);
        assert_eq!(one("username:System:ActiveDiscovery").2, ["\"System:ActiveDiscovery\""]);
        assert_eq!(one("f:\"\"").2, ["\"\""]);
        assert_eq!(one("f:\"%22,%7C\"").2, [r#""\",|""#]);
    }

    #[test]
    fn what_cannot_be_read_is_told_with_its_place() {
        for (text, problem) in [
            ("", "the name of a field is missing at character 1"),
            ("  ", "the name of a field is missing at character 3"),
            (":x", "the name of a field is missing at character 1"),
            ("happenedOn", "an operator is missing at character 11"),
            ("happenedOn=5", "an operator is missing at character 13"),
            ("f!x", "an operator is missing at character 2"),
            ("é:", "a value is missing at character 3"),
            ("f:a|", "a value is missing at character 5"),
            ("f:a| |b", "a value is missing at character 6"),
            ("f:,g:1", "a value is missing at character 3"),
            ("f:a,", "the name of a field is missing at character 5"),
            ("f:a||", "the name of a field is missing at character 6"),
            ("f:a,,g:b", "the name of a field is missing at character 5"),
            ("f:\"a", "a quote is not closed at character 3"),
            ("f:\"a\\\"", "a quote is not closed at character 3"),
            ("f:\"a\" b", "`,`, `|` or `||` is missing at character 7"),
            ("f:::\"empty\"|x", "`,`, `|` or `||` is missing at character 12"),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.to_string(), format!("invalid filter: {problem}"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_filter_or_an_error(text in r#"([a-z_]{0,3}[:!~<>|, "\\%*é]{0,4}){0,8}|.*"#) {
            if let Ok(filter) = parse(&text) {
                prop_assert!(filter.alternatives.iter().all(|list| !list.is_empty()));
                prop_assert_eq!(parse(&filter.to_string()), Ok(filter));
            }
        }
    }
}
