//! A filter as a condition on `events`, in an engine's SQL.
//!
//! Names that stand in dictionaries are looked up there, once per statement: `events.actor IN (SELECT …)`. No condition is
//! ever null, so that `NOT` means what it says.

use annals_schemas::limits::MAX_TEXT_BYTES;
use annals_store::{Dialect, Value};

use super::account_key;
use super::actions::Actions;
use super::search;
use crate::filter::{Case, Filter, Pattern, Test, TimeRange};

/// What an audit event can be filtered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuditField {
    /// The event's id.
    EventId,
    /// The customer's id.
    Customer,
    /// The time that is shown.
    At,
    /// The time of the first append.
    RecordedAt,
    /// The account as it is shown.
    Account,
    /// The account in its short or in its full form.
    AnyAccount,
    /// The id of the identity that did it.
    Actor,
    /// From where.
    Address,
    /// Name of the action.
    Action,
    /// Category.
    Category,
    /// `INFO`, `WARNING` or `ERROR`.
    Severity,
    /// Type of the affected object.
    EntityType,
    /// Id of the affected object.
    Entity,
    /// In one sentence.
    Description,
    /// The sign-in's opaque id, which has ASCII letters only where case counts.
    SignIn,
    /// The account as it is shown, the description, and the address.
    Anything,
}

/// SQL with its values, in the order of their places.
#[derive(Clone, Debug, Default)]
pub(super) struct Piece {
    pub(super) sql: String,
    pub(super) values: Vec<Value>,
}

impl Piece {
    pub(super) fn of(sql: impl Into<String>) -> Self {
        Self { sql: sql.into(), values: Vec::new() }
    }

    pub(super) fn with(sql: impl Into<String>, values: impl IntoIterator<Item = Value>) -> Self {
        Self { sql: sql.into(), values: values.into_iter().collect() }
    }

    pub(super) fn nothing() -> Self {
        Self::of("1 = 0")
    }

    fn everything() -> Self {
        Self::of("1 = 1")
    }

    /// This one in a frame: what stands before and behind it.
    fn within(self, before: &str, after: &str) -> Self {
        Self { sql: format!("{before}{}{after}", self.sql), values: self.values }
    }

    /// Joined in pairs, so that a thousand of them do not stand a thousand deep, which SQLite does not take.
    fn joined(pieces: impl IntoIterator<Item = Self>, word: &str) -> Self {
        let mut pieces: Vec<Self> = pieces.into_iter().collect();
        while pieces.len() > 1 {
            let mut pairs = Vec::with_capacity(pieces.len().div_ceil(2));
            let mut rest = pieces.into_iter();
            while let Some(mut first) = rest.next() {
                if let Some(second) = rest.next() {
                    first.sql = format!("({}{word}{})", first.sql, second.sql);
                    first.values.extend(second.values);
                }
                pairs.push(first);
            }
            pieces = pairs;
        }
        pieces.pop().unwrap_or_default().within("(", ")")
    }

    pub(super) fn both(one: Self, other: Self) -> Self {
        Self::joined([one, other], " AND ")
    }

    pub(super) fn either(pieces: impl IntoIterator<Item = Self>) -> Self {
        Self::joined(pieces, " OR ")
    }
}

/// What makes conditions: the engine, and the dictionary that is looked through here.
#[derive(Clone, Copy)]
pub(super) struct Conditions<'a> {
    pub(super) dialect: Dialect,
    pub(super) actions: &'a Actions,
}

impl Conditions<'_> {
    /// The condition of a filter.
    pub(super) fn of(self, filter: &Filter<AuditField>) -> Piece {
        match filter {
            Filter::Everything => Piece::everything(),
            Filter::Nothing => Piece::nothing(),
            Filter::All(filters) if filters.is_empty() => Piece::everything(),
            Filter::Any(filters) if filters.is_empty() => Piece::nothing(),
            Filter::All(filters) => Piece::joined(filters.iter().map(|filter| self.of(filter)), " AND "),
            Filter::Any(filters) => Piece::either(filters.iter().map(|filter| self.of(filter))),
            Filter::Not(filter) => self.of(filter).within("NOT (", ")"),
            Filter::Is(field, test) => self.is(*field, test),
        }
    }

    fn is(self, field: AuditField, test: &Test) -> Piece {
        use AuditField as F;
        match (field, test) {
            (F::EventId, Test::Ids(ids)) => any_of("events.event_id", ids.clone()),
            (F::Customer, Test::Ids(ids)) => any_of("customer", ids.clone())
                .within("events.customer IN (SELECT id FROM customers WHERE ", ")"),
            (F::Actor, Test::Ids(ids)) => {
                any_of("actor", ids.clone()).within("events.actor IN (SELECT id FROM actors WHERE ", ")")
            }
            (F::At, Test::Time(range)) => times("events.at", *range),
            (F::RecordedAt, Test::Time(range)) => times("events.recorded_at", *range),
            (F::Account | F::AnyAccount, _) => match self.account(field, test) {
                Some(piece) => piece.within("events.actor IN (SELECT id FROM actors WHERE ", ")"),
                None => Piece::nothing(),
            },
            (F::Action | F::Category | F::Severity | F::EntityType, _) => {
                any_of("events.action", self.actions.passing(field, test))
            }
            (F::Address, _) => self.optional("address", self.address(test), test),
            (F::Entity, _) => self.optional("entity", self.entity(test), test),
            (F::SignIn, Test::Texts(Case::Folded, _) | Test::Like(Case::Folded, _)) => {
                // Ids of sign-ins have no letters beyond ASCII.
                self.text("lower(coalesce(events.sign_in, ''))", &ascii_folded(test))
            }
            (F::SignIn, _) => self.text("coalesce(events.sign_in, '')", test),
            (F::Description, Test::Texts(Case::Folded, _) | Test::Like(Case::Folded, _)) => {
                self.text(search::description(self.dialect), &searched(test))
            }
            (F::Description, _) => self.text("events.description", test),
            (F::Anything, _) => self.anything(test),
            _ => Piece::nothing(),
        }
    }

    /// The condition on `actors`, when there can be one.
    pub(super) fn account(self, field: AuditField, test: &Test) -> Option<Piece> {
        let column = |exact: &str, key: &str| match test {
            Test::Texts(Case::Exact, texts) => {
                // The key has an index; the exact name is one of few that have the key.
                let keys: Vec<String> = texts.iter().map(|text| account_key(text)).collect();
                Some(Piece::joined([any_of(key, keys), any_of(exact, texts.clone())], " AND "))
            }
            Test::Texts(Case::Folded, texts) => {
                Some(any_of(key, texts.iter().map(|text| account_key(text)).collect::<Vec<_>>()))
            }
            Test::Like(Case::Exact, _) => Some(self.text(exact, test)),
            Test::Like(Case::Folded, _) => Some(self.text(key, &folded(test))),
            _ => None,
        };
        let short = column("account", "account_key")?;
        match field {
            AuditField::AnyAccount => Some(Piece::either([short, column("qualified", "qualified_key")?])),
            _ => Some(short),
        }
    }

    /// The condition on `addresses`, when there can be one.
    pub(super) fn address(self, test: &Test) -> Option<Piece> {
        match test {
            Test::Addresses(list) => {
                let places = vec!["?"; list.len()].join(", ");
                let values = list.iter().map(|address| Value::from(*address));
                Some(if list.is_empty() {
                    Piece::nothing()
                } else {
                    Piece::with(format!("address IN ({places})"), values)
                })
            }
            // The usual form has small letters only.
            Test::Texts(Case::Folded, _) | Test::Like(Case::Folded, _) => {
                Some(self.text("shown", &folded(test)))
            }
            Test::Texts(..) | Test::Like(..) => Some(self.text("shown", test)),
            _ => None,
        }
    }

    /// The condition on `entities`, when there can be one.
    pub(super) fn entity(self, test: &Test) -> Option<Piece> {
        match test {
            Test::Texts(Case::Folded, texts) => {
                Some(any_of("entity_key", texts.iter().map(|text| account_key(text)).collect::<Vec<_>>()))
            }
            Test::Like(Case::Folded, _) => Some(self.text("entity_key", &folded(test))),
            Test::Texts(..) | Test::Like(..) => Some(self.text("entity", test)),
            _ => None,
        }
    }

    /// A test of a column that may be null, for which the empty text stands.
    fn optional(self, column: &str, listed: Option<Piece>, test: &Test) -> Piece {
        let Some(listed) = listed else { return Piece::nothing() };
        let dictionary = if column == "address" { "addresses" } else { "entities" };
        let there = listed.within(
            &format!(
                "(events.{column} IS NOT NULL AND events.{column} IN (SELECT id FROM {dictionary} WHERE "
            ),
            "))",
        );
        if test.passes_text("") {
            Piece::either([Piece::of(format!("events.{column} IS NULL")), there])
        } else {
            there
        }
    }

    fn anything(self, test: &Test) -> Piece {
        if let Test::Like(Case::Folded, pattern) = test
            && let [before, _, after] = pattern.pieces()
            && before.is_empty()
            && after.is_empty()
        {
            // One piece, wherever it is: it cannot stand across a border.
            return self.text("events.search", &searched(test));
        }
        let fields = [AuditField::Description, AuditField::Account, AuditField::Address];
        Piece::either(fields.map(|field| self.is(field, test)))
    }

    /// A test of a text as it stands, without regard to the test's case.
    fn text(self, column: &str, test: &Test) -> Piece {
        match test {
            Test::Texts(_, texts) => any_of(column, texts.clone()),
            Test::Like(_, pattern) => self.like(column, pattern),
            _ => Piece::nothing(),
        }
    }

    fn like(self, column: &str, pattern: &Pattern) -> Piece {
        let pieces = pattern.pieces();
        // Folding can make a text longer, by half at most. No text is longer than this one, so that none has this form.
        if pieces.iter().map(String::len).sum::<usize>() > MAX_TEXT_BYTES * 2 {
            return Piece::nothing();
        }
        if pattern.is_anything() {
            return Piece::everything();
        }
        // As they are stored.
        let pieces: Vec<String> = pieces.iter().map(|piece| crate::view::clean(piece)).collect();
        match (self.dialect, pieces.as_slice()) {
            (_, [text]) => Piece::with(format!("{column} = ?"), [text.as_str().into()]),
            (Dialect::Sqlite, [before, text, after]) if before.is_empty() && after.is_empty() => {
                Piece::with(format!("instr({column}, ?) > 0"), [text.as_str().into()])
            }
            (Dialect::Sqlite, pieces) => {
                let glob = pieces.iter().map(|piece| escaped_glob(piece)).collect::<Vec<_>>().join("*");
                if glob.len() > MAX_GLOB_BYTES {
                    return in_order(column, pieces);
                }
                Piece::with(format!("{column} GLOB ?"), [glob.into()])
            }
            (Dialect::Postgres, pieces) => {
                let like = pieces.iter().map(|piece| escaped_like(piece)).collect::<Vec<_>>().join("%");
                Piece::with(format!("{column} LIKE ?"), [like.into()])
            }
        }
    }
}

/// Longest pattern that SQLite's `GLOB` takes.
const MAX_GLOB_BYTES: usize = 50_000;

/// Pieces too long for a pattern: each must be there, which is more than enough for what no index could find. The ends are
/// compared as they stand. A text of tens of thousands of bytes whose long pieces overlap is the only one that passes
/// wrongly.
fn in_order(column: &str, pieces: &[String]) -> Piece {
    let last = pieces.len() - 1;
    let total: usize = pieces.iter().map(|piece| piece.chars().count()).sum();
    let mut conditions = vec![Piece::of(format!("length({column}) >= {total}"))];
    for (at, piece) in pieces.iter().enumerate().filter(|(_, piece)| !piece.is_empty()) {
        let condition = match at {
            0 => format!("substr({column}, 1, {}) = ?", piece.chars().count()),
            at if at == last => format!("substr({column}, -{}) = ?", piece.chars().count()),
            _ => format!("instr({column}, ?) > 0"),
        };
        conditions.push(Piece::with(condition, [piece.as_str().into()]));
    }
    Piece::joined(conditions, " AND ")
}

/// A column that has one of these values.
pub(super) fn any_of(column: &str, values: impl Into<Value>) -> Piece {
    Piece::with(format!("{column} = ANY(?)"), [values.into()])
}

fn times(column: &str, range: TimeRange) -> Piece {
    let sides = [(">=", range.start), ("<=", range.end)];
    let given = sides
        .into_iter()
        .filter_map(|(sign, time)| time.map(|time| Piece::with(format!("{column} {sign} ?"), [time.into()])));
    let given: Vec<Piece> = given.collect();
    if given.is_empty() { Piece::everything() } else { Piece::joined(given, " AND ") }
}

/// The same test of a folded text.
fn folded(test: &Test) -> Test {
    match test {
        Test::Texts(_, texts) => {
            Test::Texts(Case::Exact, texts.iter().map(|text| crate::filter::fold(text)).collect())
        }
        Test::Like(_, pattern) => Test::Like(Case::Exact, pattern.folded()),
        other => other.clone(),
    }
}

/// The same test of a part of the text that searches look through.
fn searched(test: &Test) -> Test {
    match folded(test) {
        Test::Texts(case, texts) => {
            Test::Texts(case, texts.iter().map(|text| search::coded(text).into_owned()).collect())
        }
        Test::Like(case, pattern) => {
            let pieces: Vec<_> = pattern.pieces().iter().map(|piece| search::coded(piece)).collect();
            Test::Like(case, Pattern::of(pieces.iter().map(AsRef::as_ref)))
        }
        other => other,
    }
}

/// The same test of a text whose ASCII letters are small.
fn ascii_folded(test: &Test) -> Test {
    match test {
        Test::Texts(_, texts) => {
            Test::Texts(Case::Exact, texts.iter().map(|text| text.to_ascii_lowercase()).collect())
        }
        Test::Like(_, pattern) => {
            let pieces: Vec<String> =
                pattern.pieces().iter().map(|piece| piece.to_ascii_lowercase()).collect();
            Test::Like(Case::Exact, Pattern::of(pieces.iter().map(String::as_str)))
        }
        other => other.clone(),
    }
}

fn escaped_glob(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '*' | '?' | '[' => {
                escaped.push('[');
                escaped.push(character);
                escaped.push(']');
            }
            other => escaped.push(other),
        }
    }
    escaped
}

fn escaped_like(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '%' | '_' | '\\') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}
