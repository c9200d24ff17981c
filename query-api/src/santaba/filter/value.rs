//! A value of a filter: a text with wildcards.

use std::fmt;

use annals_views::filter::Pattern;
use percent_encoding::percent_decode_str;

/// What stands for any text.
const WILDCARD: char = '*';

/// What takes its meaning from the character behind it.
const ESCAPE: char = '\\';

/// A character of a value; none is a wildcard.
pub type Symbol = Option<char>;

/// A text with wildcards.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Value {
    /// The texts between the wildcards. At least one.
    pieces: Vec<String>,
}

impl Value {
    /// These texts with a wildcard between any two.
    #[must_use]
    pub fn of(pieces: Vec<String>) -> Self {
        Self { pieces: if pieces.is_empty() { vec![String::new()] } else { pieces } }
    }

    /// The value of these characters and wildcards.
    pub fn of_symbols(symbols: impl IntoIterator<Item = Symbol>) -> Self {
        let mut pieces = Vec::new();
        let mut piece = String::new();
        for symbol in symbols {
            match symbol {
                Some(character) => piece.push(character),
                None => pieces.push(std::mem::take(&mut piece)),
            }
        }
        pieces.push(piece);
        Self { pieces }
    }

    /// Reads a value as it stands in a filter, without its quotes.
    ///
    /// It is percent-decoded once more, which two clients depend on: they encode values before they encode the query.
    /// Then a backslash takes its meaning from the punctuation behind it; before anything else it is a backslash, so
    /// that `DOMAIN\user` means what it says.
    #[must_use]
    pub fn read(raw: &str) -> Self {
        let text = percent_decode_str(raw).decode_utf8_lossy();
        let mut characters = text.chars().peekable();
        let symbols = std::iter::from_fn(|| {
            Some(match characters.next()? {
                WILDCARD => None,
                ESCAPE => Some(characters.next_if(char::is_ascii_punctuation).unwrap_or(ESCAPE)),
                character => Some(character),
            })
        });
        Self::of_symbols(symbols)
    }

    /// The texts between the wildcards. At least one.
    #[must_use]
    pub fn pieces(&self) -> &[String] {
        &self.pieces
    }

    /// The text, when it has no wildcards.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [text] => Some(text),
            _ => None,
        }
    }

    /// Its characters and wildcards.
    pub fn symbols(&self) -> impl Iterator<Item = Symbol> {
        self.pieces.iter().enumerate().flat_map(|(number, piece)| {
            let wildcard = (number > 0).then_some(None);
            wildcard.into_iter().chain(piece.chars().map(Some))
        })
    }

    /// Texts that are this value.
    #[must_use]
    pub fn whole(&self) -> Pattern {
        Pattern::of(self.pieces.iter().map(String::as_str))
    }

    /// Texts with this value somewhere in them.
    #[must_use]
    pub fn somewhere(&self) -> Pattern {
        let pieces = self.pieces.iter().map(String::as_str);
        Pattern::of(std::iter::once("").chain(pieces).chain(std::iter::once("")))
    }
}

/// In quotes, and so that [`Value::read`] gives it again.
impl fmt::Display for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::from('"');
        for symbol in self.symbols() {
            match symbol {
                None => text.push(WILDCARD),
                Some('%') => text.push_str("%25"),
                Some(character) => {
                    if matches!(character, WILDCARD | ESCAPE | '"') {
                        text.push(ESCAPE);
                    }
                    text.push(character);
                }
            }
        }
        text.push('"');
        formatter.write_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::santaba::filter::tests::values;
    use proptest::prelude::*;

    fn pieces(raw: &str) -> Vec<String> {
        Value::read(raw).pieces().to_vec()
    }

    #[test]
    fn a_value_is_decoded_once_more_and_then_unescaped() {
        for (raw, text) in [
            ("plain text", "plain text"),
            ("System%3AActiveDiscovery", "System:ActiveDiscovery"),
            ("%5C%28adminId=4%5C%29", "(adminId=4)"),
            (r"\(\)\$\&\#\[\]\,\:\~\|", "()$&#[],:~|"),
            (r#"\"quoted\""#, "\"quoted\""),
            (r"DOMAIN\user", r"DOMAIN\user"),
            (r"C:\\dir\", r"C:\dir\"),
            (r"\*", "*"),
            (r"\%32", "\\2"),
            ("100%", "100%"),
            ("%zz%4", "%zz%4"),
            ("%2525", "%25"),
            ("%FF", "\u{FFFD}"),
        ] {
            assert_eq!(pieces(raw), [text], "{raw}");
        }
    }

    #[test]
    fn an_asterisk_is_a_wildcard_also_when_it_was_encoded() {
        assert_eq!(pieces("*a**b*"), ["", "a", "", "b", ""]);
        assert_eq!(pieces("%2Aa"), ["", "a"]);
        assert_eq!(pieces("%5C%2Aa"), ["*a"]);
        assert_eq!(Value::read("a*").text(), None);
        assert_eq!(Value::read("a").text(), Some("a"));
        assert_eq!(Value::of(Vec::new()), Value::read(""));
    }

    #[test]
    fn a_value_is_the_whole_text_or_a_part_of_it() {
        let value = Value::read("a*b");
        assert!(value.whole().matches("a-b") && !value.whole().matches("xa-b"));
        assert!(value.somewhere().matches("xa-bx") && !value.somewhere().matches("ba"));
        assert!(Value::read("**").whole().is_anything() && Value::read("").somewhere().is_anything());
        assert!(!Value::read("").whole().is_anything());
        assert_eq!(Value::read("*a*").somewhere(), Pattern::containing("a"));
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_again(value in values()) {
            let written = value.to_string();
            let inner = &written[1..written.len() - 1];
            prop_assert_eq!(Value::read(inner), value, "{}", written);
        }

        #[test]
        fn characters_and_wildcards_make_it_up(value in values(), raw in ".*") {
            prop_assert_eq!(Value::of_symbols(value.symbols()), value);
            prop_assert!(!Value::read(&raw).pieces().is_empty());
        }
    }
}
