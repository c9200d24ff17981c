//! Events as CSV (RFC 4180), safe to open in a spreadsheet.

use super::event::ShownEvent;

/// The media type.
pub(super) const MEDIA_TYPE: &str = "text/csv; charset=utf-8; header=present";

/// The columns.
pub const COLUMNS: [&str; 19] = [
    "id",
    "customer_id",
    "customer",
    "time",
    "claimed_time",
    "recorded_at",
    "actor_kind",
    "actor_id",
    "account",
    "qualified_account",
    "action",
    "category",
    "severity",
    "entity_type",
    "entity_id",
    "address",
    "description",
    "sign_in",
    "misplaced",
];

/// What a row ends with.
const END: &str = "\r\n";

/// The first line.
#[must_use]
pub fn header() -> String {
    format!("{}{END}", COLUMNS.join(","))
}

/// The row of an event.
#[must_use]
pub fn row(event: &ShownEvent) -> String {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let cells = [
        event.id.clone(),
        event.customer.id.clone(),
        text(&event.customer.name),
        event.time.clone(),
        text(&event.claimed_time),
        event.recorded_at.clone(),
        event.actor.kind.to_owned(),
        event.actor.id.clone(),
        text(&event.actor.account),
        text(&event.actor.qualified_account),
        event.action.clone(),
        event.category.clone(),
        event.severity.to_owned(),
        text(&event.entity.kind),
        text(&event.entity.id),
        event.address.map(|address| address.to_string()).unwrap_or_default(),
        event.description.clone(),
        text(&event.sign_in),
        event.misplaced.to_string(),
    ];
    let mut row = String::new();
    for (index, value) in cells.iter().enumerate() {
        if index > 0 {
            row.push(',');
        }
        push_cell(&mut row, value);
    }
    row.push_str(END);
    row
}

/// The last line of a file that could not be finished. No row begins so: each begins with an id.
#[must_use]
pub fn incomplete(reason: &str) -> String {
    let reason: String = reason.chars().filter(|character| !character.is_control()).collect();
    format!("# incomplete: {reason}{END}")
}

/// A spreadsheet takes a cell that begins with one of these for a formula, which may send the sheet to somebody; the
/// names of events come from whoever tried to log on.
fn is_formula(text: &str) -> bool {
    text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n'])
}

fn push_cell(row: &mut String, text: &str) {
    let mark = if is_formula(text) { "'" } else { "" };
    if text.contains(['"', ',', '\r', '\n']) {
        row.push('"');
        row.push_str(mark);
        row.push_str(&text.replace('"', "\"\""));
        row.push('"');
    } else {
        row.push_str(mark);
        row.push_str(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::native::event::tests::event;
    use proptest::prelude::*;

    /// Reads a row of RFC 4180.
    fn cells(row: &str) -> Vec<String> {
        let mut characters = row.strip_suffix(END).unwrap().chars().peekable();
        let mut cells = vec![String::new()];
        let mut quoted = false;
        while let Some(character) = characters.next() {
            let cell = cells.last_mut().unwrap();
            match character {
                '"' if quoted && characters.peek() == Some(&'"') => cell.extend(characters.next()),
                '"' => quoted = !quoted,
                ',' if !quoted => cells.push(String::new()),
                other => cell.push(other),
            }
        }
        assert!(!quoted, "{row}");
        cells
    }

    #[test]
    fn a_row_has_a_cell_for_every_column() {
        let row = row(&ShownEvent::of(event(), &[]));
        assert_eq!(cells(&row).len(), COLUMNS.len());
        assert_eq!(cells(&header()), COLUMNS);
        let at = |column: &str| cells(&row)[COLUMNS.iter().position(|name| *name == column).unwrap()].clone();
        assert_eq!(
            (at("account"), at("customer"), at("misplaced")),
            ("frodo".into(), "".into(), "false".into())
        );
        assert_eq!(at("entity_id"), "BAG-END");
    }

    #[test]
    fn formulas_are_texts() {
        for text in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "=HYPERLINK(\"x\",\"y\")"] {
            let mut row = String::new();
            push_cell(&mut row, text);
            row.push_str(END);
            assert_eq!(cells(&row), [format!("'{text}")]);
        }
        let mut row = String::new();
        push_cell(&mut row, "a=1");
        assert_eq!(row, "a=1");
    }

    #[test]
    fn an_unfinished_file_says_so_in_one_line() {
        assert_eq!(incomplete("a\r\nb"), "# incomplete: ab\r\n");
    }

    proptest! {
        #[test]
        fn any_text_is_one_cell(text in "[a\",\r\n=é ]{0,12}|.{0,12}") {
            let mut row = String::new();
            push_cell(&mut row, &text);
            row.push_str(END);
            let cell = if is_formula(&text) { format!("'{text}") } else { text };
            prop_assert_eq!(cells(&row), [cell]);
        }
    }
}
