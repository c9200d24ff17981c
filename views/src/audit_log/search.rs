//! The text of an event that searches look through: description, account and address, without case, made here so that
//! every engine finds the same.

use std::borrow::Cow;
use std::net::IpAddr;

use annals_store::Dialect;

use crate::filter::fold;

/// What stands between the parts. Parts have none.
pub(super) const BORDER: char = '\u{1f}';

/// The text of one event.
pub(super) fn text(description: &str, account: &str, address: Option<IpAddr>) -> String {
    let address = address.map(|address| address.to_canonical().to_string()).unwrap_or_default();
    format!("{}{BORDER}{}{BORDER}{address}", coded(&fold(description)), coded(&fold(account)))
}

/// A part, or a piece of a part that is looked for, without the border. Texts may hold it, so it is written in two other
/// characters, and these as well. The code is comma-free: no word of it begins within another one or across two, so
/// that one coded text is found in another exactly where the one is in the other.
pub(super) fn coded(text: &str) -> Cow<'_, str> {
    if !text.contains(['\u{1d}', '\u{1e}', BORDER]) {
        return Cow::Borrowed(text);
    }
    let mut coded = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '\u{1d}' => coded.push_str("\u{1d}\u{1d}\u{1d}\u{1e}"),
            '\u{1e}' => coded.push_str("\u{1d}\u{1d}\u{1e}\u{1e}"),
            BORDER => coded.push_str("\u{1d}\u{1e}\u{1e}\u{1e}"),
            other => coded.push(other),
        }
    }
    Cow::Owned(coded)
}

/// SQL of the folded description.
pub(super) fn description(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => "substr(events.search, 1, instr(events.search, char(31)) - 1)",
        Dialect::Postgres => "split_part(events.search, chr(31), 1)",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parts_stand_apart_and_without_case() {
        let address = "::ffff:10.0.0.1".parse().ok();
        assert_eq!(text("A%B", "Ädä", address), "a%b\u{1f}ädä\u{1f}10.0.0.1");
        assert_eq!(text("", "", None), "\u{1f}\u{1f}");
        assert_eq!(text("a\u{1f}b", "", None).matches(BORDER).count(), 2);
    }

    proptest! {
        #[test]
        fn a_coded_text_is_found_where_the_text_is(
            text in "[\u{1d}\u{1e}\u{1f}a]{0,8}",
            part in "[\u{1d}\u{1e}\u{1f}a]{1,3}",
        ) {
            prop_assert_eq!(coded(&text).contains(&*coded(&part)), text.contains(&part));
            prop_assert!(!coded(&text).contains(BORDER));
        }
    }
}
