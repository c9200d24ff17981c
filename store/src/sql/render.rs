//! From the written text to an engine's own.

use std::borrow::Cow;

use super::Dialect;
use crate::Value;

/// Numbers the places for PostgreSQL, and spells lists for SQLite. Texts hold no question mark outside of places.
pub(super) fn render(text: Cow<'static, str>, values: &[Value], dialect: Dialect) -> Cow<'static, str> {
    match dialect {
        Dialect::Sqlite if text.contains("= ANY(?") => lists(&text, values).into(),
        Dialect::Sqlite => text,
        Dialect::Postgres => (numbered(&text) + &nulls(values)).into(),
    }
}

/// Tells statements whose places are null from those whose places are not. The server infers the type of a place from
/// its surroundings when its first value is null; a number sent to the same prepared statement later would have another
/// width.
fn nulls(values: &[Value]) -> String {
    let places: Vec<String> = values
        .iter()
        .enumerate()
        .filter(|(_, value)| matches!(value, Value::Null))
        .map(|(at, _)| (at + 1).to_string())
        .collect();
    if places.is_empty() { String::new() } else { format!(" /* null: {} */", places.join(" ")) }
}

/// The number at the head of `rest`, if there is one, and what follows.
fn number(rest: &str) -> (Option<usize>, &str) {
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    (rest[..digits].parse().ok(), &rest[digits..])
}

fn numbered(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut next = 0;
    let mut parts = text.split('?');
    out.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (given, rest) = number(part);
        next = given.unwrap_or(next + 1);
        out.push('$');
        out.push_str(&next.to_string());
        out.push_str(rest);
    }
    out
}

fn lists(text: &str, values: &[Value]) -> String {
    let mut out = String::with_capacity(text.len() + 64);
    let mut next = 0;
    let mut parts = text.split('?');
    out.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (given, rest) = number(part);
        next = given.unwrap_or(next + 1);
        if let Some(head) = out.strip_suffix("= ANY(") {
            let value = match values.get(next - 1) {
                Some(Value::Uuids(_)) => "unhex(value)",
                _ => "value",
            };
            let head = head.len();
            out.truncate(head);
            out.push_str(&format!("IN (SELECT {value} FROM json_each(?{next})"));
        } else {
            out.push_str(&format!("?{next}"));
        }
        out.push_str(rest);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn postgres_gets_numbered_places() {
        let text = render("SELECT ? WHERE a = ? AND b = ANY(?)".into(), &[], Dialect::Postgres);
        assert_eq!(text, "SELECT $1 WHERE a = $2 AND b = ANY($3)");
        let text = render("SELECT ?2, ?1, ?".into(), &[], Dialect::Postgres);
        assert_eq!(text, "SELECT $2, $1, $2");
        let text = render("SELECT ?, ?".into(), &[Value::Integer(1), Value::Null], Dialect::Postgres);
        assert_eq!(text, "SELECT $1, $2 /* null: 2 */");
    }

    #[test]
    fn sqlite_gets_lists_as_json() {
        let values = [Value::Integer(1), Value::Uuids(Vec::new())];
        let text = render("DELETE FROM t WHERE a = ? AND b = ANY(?)".into(), &values, Dialect::Sqlite);
        assert_eq!(text, "DELETE FROM t WHERE a = ?1 AND b IN (SELECT unhex(value) FROM json_each(?2))");
        assert_eq!(render("SELECT ?".into(), &[], Dialect::Sqlite), "SELECT ?");
    }
}
