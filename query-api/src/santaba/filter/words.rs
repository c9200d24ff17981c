//! The texts that `_all~` searches for (docs/dialects.md, "santaba": Filters).
//!
//! A text without `AND`, `OR` and `NOT` is searched as it stands, quotes and brackets too: descriptions hold both. With
//! one of these words, in capitals, it is an expression:
//!
//! ```text
//! any  = all *( "OR" all )
//! all  = one *( ( "AND" / "NOT" ) one )     ; a NOT in between is AND NOT
//! one  = "NOT" one / "(" any ")" / text
//! ```
//!
//! Words beside each other are one text. A text in quotes may hold anything, also the three words.

use super::Invalid;
use super::value::{Symbol, Value};

/// How deep brackets and negations may stand in each other.
pub const MAX_DEPTH: usize = 64;

/// What a text must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Words {
    /// This, somewhere.
    Text(Value),
    /// Not this.
    Not(Box<Words>),
    /// All of these.
    All(Vec<Words>),
    /// One of these.
    Any(Vec<Words>),
}

impl Words {
    /// Reads the value of `_all~`.
    ///
    /// # Errors
    /// When it has one of the three words and is no expression, or is nested deeper than [`MAX_DEPTH`].
    pub fn read(value: &Value) -> Result<Self, Invalid> {
        let symbols: Vec<Symbol> = value.symbols().collect();
        let mut reader = Reader { symbols: &symbols, at: 0, depth: 0, brackets: 0 };
        if (0..symbols.len()).all(|at| reader.connective_at(at).is_none()) {
            return Ok(Self::Text(value.clone()));
        }
        let words = reader.any()?;
        reader.skip_blanks();
        if reader.at < symbols.len() {
            return Err(Invalid::new("`AND`, `OR` or `NOT` is missing behind a closed bracket in `_all`"));
        }
        Ok(words)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Connective {
    And,
    Or,
    Not,
}

impl Connective {
    const ALL: [Self; 3] = [Self::And, Self::Or, Self::Not];

    const fn word(self) -> &'static str {
        match self {
            Self::And => "AND",
            Self::Or => "OR",
            Self::Not => "NOT",
        }
    }
}

struct Reader<'s> {
    symbols: &'s [Symbol],
    at: usize,
    /// Brackets and negations around what is read.
    depth: usize,
    /// Brackets among them.
    brackets: usize,
}

impl Reader<'_> {
    fn any(&mut self) -> Result<Words, Invalid> {
        let mut list = vec![self.all()?];
        while self.takes(Connective::Or) {
            list.push(self.all()?);
        }
        Ok(single(list, Words::Any))
    }

    fn all(&mut self) -> Result<Words, Invalid> {
        let mut list = vec![self.one()?];
        // A NOT is left to `one`.
        while self.takes(Connective::And) || self.connective_at(self.at) == Some(Connective::Not) {
            list.push(self.one()?);
        }
        Ok(single(list, Words::All))
    }

    fn one(&mut self) -> Result<Words, Invalid> {
        if self.takes(Connective::Not) {
            return Ok(Words::Not(Box::new(self.deeper(Self::one)?)));
        }
        self.skip_blanks();
        if self.symbol(self.at) != Some('(') {
            return self.text();
        }
        self.at += 1;
        self.brackets += 1;
        let words = self.deeper(Self::any)?;
        self.brackets -= 1;
        self.skip_blanks();
        if self.symbol(self.at) != Some(')') {
            return Err(Invalid::new("a bracket is not closed in `_all`"));
        }
        self.at += 1;
        self.skip_blanks();
        Ok(words)
    }

    fn deeper(&mut self, read: fn(&mut Self) -> Result<Words, Invalid>) -> Result<Words, Invalid> {
        if self.depth == MAX_DEPTH {
            return Err(Invalid::new(format!("`_all` is nested deeper than {MAX_DEPTH}")));
        }
        self.depth += 1;
        let words = read(self);
        self.depth -= 1;
        words
    }

    /// A text up to the next connective, or to the end of the bracket that it stands in.
    fn text(&mut self) -> Result<Words, Invalid> {
        let start = self.at;
        let mut opened = 0_usize;
        while self.at < self.symbols.len() && self.connective_at(self.at).is_none() {
            match self.symbol(self.at) {
                // Without its partner it is only a character.
                Some('"') => self.at = self.closing_quote(self.at).unwrap_or(self.at),
                Some('(') => opened += 1,
                Some(')') if opened > 0 => opened -= 1,
                Some(')') if self.brackets > 0 => break,
                _ => {}
            }
            self.at += 1;
        }
        let end = (start..self.at).rev().find(|at| !self.is_blank(*at)).map_or(start, |last| last + 1);
        if start == end {
            return Err(Invalid::new("a text is missing beside `AND`, `OR` or `NOT` in `_all`"));
        }
        let quoted = self.symbol(start) == Some('"') && self.closing_quote(start) == Some(end - 1);
        let (start, end) = if quoted { (start + 1, end - 1) } else { (start, end) };
        let symbols = self.symbols.get(start..end).unwrap_or_default();
        Ok(Words::Text(Value::of_symbols(symbols.iter().copied())))
    }

    /// The partner of the quote that stands here.
    fn closing_quote(&self, at: usize) -> Option<usize> {
        let behind = self.symbols.get(at + 1..)?;
        behind.iter().position(|symbol| *symbol == Some('"')).map(|distance| at + 1 + distance)
    }

    fn takes(&mut self, connective: Connective) -> bool {
        self.skip_blanks();
        let taken = self.connective_at(self.at) == Some(connective);
        if taken {
            self.at += connective.word().len();
        }
        taken
    }

    /// The connective that stands here as a word of its own.
    fn connective_at(&self, at: usize) -> Option<Connective> {
        let begins = at.checked_sub(1).is_none_or(|before| self.ends_word(before));
        let mut connectives = Connective::ALL.into_iter();
        connectives.find(|connective| {
            let word = connective.word();
            begins
                && word.chars().zip(at..).all(|(character, at)| self.symbol(at) == Some(character))
                && self.ends_word(at + word.len())
        })
    }

    fn ends_word(&self, at: usize) -> bool {
        at >= self.symbols.len() || self.is_blank(at) || matches!(self.symbol(at), Some('(' | ')'))
    }

    fn is_blank(&self, at: usize) -> bool {
        self.symbol(at).is_some_and(char::is_whitespace)
    }

    fn skip_blanks(&mut self) {
        while self.is_blank(self.at) {
            self.at += 1;
        }
    }

    /// The character here; none at a wildcard and behind the end.
    fn symbol(&self, at: usize) -> Option<char> {
        self.symbols.get(at).copied().flatten()
    }
}

/// A list of one is that one.
fn single(mut list: Vec<Words>, several: fn(Vec<Words>) -> Words) -> Words {
    match list.pop() {
        Some(only) if list.is_empty() => only,
        Some(last) => {
            list.push(last);
            several(list)
        }
        None => several(list),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(text: &str) -> Words {
        Words::Text(Value::of(text.split('*').map(str::to_owned).collect()))
    }

    fn not(words: Words) -> Words {
        Words::Not(Box::new(words))
    }

    fn read(text: &str) -> Result<Words, Invalid> {
        Words::read(&Value::of(text.split('*').map(str::to_owned).collect()))
    }

    #[test]
    fn a_text_without_the_three_words_is_searched_as_it_stands() {
        for plain in [
            "",
            "sarah",
            "*health*",
            "foo bar",
            " foo ",
            "\"Action=Add\"; \"Type=Device\"",
            "signs in (adminId=4)",
            "and or not And",
            "ANDROID ORDER NOTE BRAND",
            "AND-OR,NOT",
            "*AND*",
            "NOT*",
            "(",
        ] {
            assert_eq!(read(plain), Ok(text(plain)), "{plain}");
        }
    }

    #[test]
    fn not_binds_tighter_than_and_and_and_tighter_than_or() {
        let (a, b, c) = (|| text("a"), || text("b"), || text("c"));
        for (expression, words) in [
            ("a AND b", Words::All(vec![a(), b()])),
            ("a OR b", Words::Any(vec![a(), b()])),
            ("NOT a", not(a())),
            ("* AND NOT *health*", Words::All(vec![text("*"), not(text("*health*"))])),
            ("a NOT b", Words::All(vec![a(), not(b())])),
            ("a AND b OR c", Words::Any(vec![Words::All(vec![a(), b()]), c()])),
            ("a OR b AND c", Words::Any(vec![a(), Words::All(vec![b(), c()])])),
            ("NOT a AND b", Words::All(vec![not(a()), b()])),
            ("NOT (a AND b)", not(Words::All(vec![a(), b()]))),
            ("(a OR b) AND c", Words::All(vec![Words::Any(vec![a(), b()]), c()])),
            ("c AND(a OR b)", Words::All(vec![c(), Words::Any(vec![a(), b()])])),
            ("NOT NOT a", not(not(a()))),
            ("  a  AND\tb ", Words::All(vec![a(), b()])),
            ("(a) OR (b) NOT ((c))", Words::Any(vec![a(), Words::All(vec![b(), not(c())])])),
        ] {
            assert_eq!(read(expression), Ok(words), "{expression}");
        }
    }

    #[test]
    fn words_beside_each_other_are_one_text() {
        for (expression, first, second) in [
            ("signs in AND sarah t", "signs in", "sarah t"),
            ("a  b* AND *c d", "a  b*", "*c d"),
            ("signs in (adminId=4) AND sarah", "signs in (adminId=4)", "sarah"),
            ("a) AND b(", "a)", "b("),
            ("(signs in (adminId=4)) AND (b)", "signs in (adminId=4)", "b"),
        ] {
            assert_eq!(read(expression), Ok(Words::All(vec![text(first), text(second)])), "{expression}");
        }
    }

    #[test]
    fn a_text_in_quotes_may_hold_anything() {
        for (expression, first, second) in [
            (r#""R AND D" AND x"#, "R AND D", "x"),
            (r#""(" AND ")""#, "(", ")"),
            (r#"x AND " a*b ""#, "x", " a*b "),
            (r#""a" "b OR c" AND d"#, r#""a" "b OR c""#, "d"),
            (r#"12" AND b"#, "12\"", "b"),
        ] {
            assert_eq!(read(expression), Ok(Words::All(vec![text(first), text(second)])), "{expression}");
        }
        assert_eq!(read(r#""R AND D""#), Ok(text("R AND D")));
        assert_eq!(read(r#"12" AND 14""#), Ok(text(r#"12" AND 14""#)));
    }

    #[test]
    fn an_expression_that_is_none_is_told() {
        let missing = "invalid filter: a text is missing beside `AND`, `OR` or `NOT` in `_all`";
        for bad in
            ["AND", "NOT", "a AND", "OR a", "a AND AND b", "a OR OR b", "NOT AND a", "() OR a", "(NOT )"]
        {
            assert_eq!(read(bad).unwrap_err().to_string(), missing, "{bad}");
        }
        assert!(read("(a AND b").unwrap_err().to_string().contains("a bracket is not closed"));
        assert!(read("(a) b AND c").unwrap_err().to_string().contains("behind a closed bracket"));
        assert!(read("(a OR b) )").unwrap_err().to_string().contains("behind a closed bracket"));
    }

    #[test]
    fn nesting_has_a_limit() {
        for (open, close) in [("(", ")"), ("NOT ", "")] {
            let nested = |depth| format!("{}a{} AND b", open.repeat(depth), close.repeat(depth));
            assert!(read(&nested(MAX_DEPTH)).is_ok());
            assert!(read(&nested(MAX_DEPTH + 1)).is_err());
            assert!(read(&nested(20_000)).is_err());
        }
    }

    fn expressions() -> impl Strategy<Value = Words> {
        let leaf = "[a-z*() ]{0,3}[ANDORT]{0,3}".prop_map(|leaf| text(&leaf));
        leaf.prop_recursive(6, 30, 4, |inner| {
            prop_oneof![
                inner.clone().prop_map(not),
                proptest::collection::vec(inner.clone(), 2..4).prop_map(Words::All),
                proptest::collection::vec(inner, 2..4).prop_map(Words::Any),
            ]
        })
    }

    /// With brackets around everything, and every text in quotes.
    fn written(words: &Words) -> String {
        let list = |list: &[Words], word: &str| {
            let parts: Vec<_> = list.iter().map(written).collect();
            format!("({})", parts.join(word))
        };
        match words {
            Words::Text(value) => format!("\"{}\"", value.pieces().join("*")),
            Words::Not(inner) => format!("NOT {}", written(inner)),
            Words::All(all) => list(all, " AND "),
            Words::Any(any) => list(any, " OR "),
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_again(words in expressions()) {
            prop_assume!(!matches!(words, Words::Text(_)));
            prop_assert_eq!(read(&written(&words)), Ok(words));
        }

        #[test]
        fn any_text_is_read_or_refused(text in r#"((AND|OR|NOT|[a-z]|\*|\(|\)|") ?){0,24}|.*"#) {
            let _ = read(&text);
        }
    }
}
