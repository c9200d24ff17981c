//! The text of an event that searches look through: description, account and address, without case, made here so that
//! every engine finds the same.

use std::net::IpAddr;

use annals_store::Dialect;

use crate::filter::fold;

/// What stands between the parts. Parts have none.
pub(super) const BORDER: char = '\u{1f}';

/// The text of one event.
pub(super) fn text(description: &str, account: &str, address: Option<IpAddr>) -> String {
    let part = |text: &str| fold(text).replace(BORDER, " ");
    let address = address.map(|address| address.to_canonical().to_string()).unwrap_or_default();
    format!("{}{BORDER}{}{BORDER}{address}", part(description), part(account))
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

    #[test]
    fn parts_stand_apart_and_without_case() {
        let address = "::ffff:10.0.0.1".parse().ok();
        assert_eq!(text("A\u{1f}B", "Ädä", address), "a b\u{1f}ädä\u{1f}10.0.0.1");
        assert_eq!(text("", "", None), "\u{1f}\u{1f}");
    }
}
