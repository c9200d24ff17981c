//! Conditions on rows, in the words of no dialect and of no database.
//!
//! Dialects translate what they were asked into a [`Filter`]; a view's `query.rs` makes SQL of it. What a filter means is
//! said here, by [`Filter::matches`], in a few lines that need no database: every engine is tested against them.

use std::borrow::Cow;
use std::net::IpAddr;

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// A condition on the rows of a view whose fields are `F`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Filter<F> {
    /// Every row.
    Everything,
    /// No row.
    Nothing,
    /// Rows that fulfil all of these.
    All(Vec<Filter<F>>),
    /// Rows that fulfil one of these.
    Any(Vec<Filter<F>>),
    /// Rows that do not fulfil this.
    Not(Box<Filter<F>>),
    /// Rows of which one value of the field passes the test. A text that is not there is the empty one; nothing else that
    /// is not there passes any test.
    Is(F, Test),
}

/// What a value must be. A test of another kind than the value never passes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Test {
    /// One of these texts.
    Texts(Case, Vec<String>),
    /// A text of this form.
    Like(Case, Pattern),
    /// One of these ids.
    Ids(Vec<Uuid>),
    /// One of these addresses.
    Addresses(Vec<IpAddr>),
    /// A time in this range.
    Time(TimeRange),
}

/// Whether upper and lower case are different.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Case {
    /// They are.
    Exact,
    /// They are not; see [`fold`].
    Folded,
}

/// Times from one moment to another, both included. `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TimeRange {
    /// First moment.
    pub start: Option<DateTime<Utc>>,
    /// Last moment.
    pub end: Option<DateTime<Utc>>,
}

/// A text with holes. The first and the last piece stand at the ends of the text, the others in between, in order;
/// between two pieces anything may stand, also nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern {
    pieces: Vec<String>,
}

/// A value of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldValue<'r> {
    /// Texts; one of them must pass.
    Texts(Vec<Cow<'r, str>>),
    /// An id.
    Id(Uuid),
    /// An address, which passes tests of texts in its usual form.
    Address(Option<IpAddr>),
    /// A time.
    Time(DateTime<Utc>),
}

/// A row that can be tested without a database.
pub trait Row<F> {
    /// The row's value of a field.
    fn value(&self, field: F) -> FieldValue<'_>;
}

/// A text without case: each character in lower case, whatever stands beside it, so that a part of a text is a part of
/// the folded text. Characters of several letters (`ß`) stay as they are, and both small sigmas are one.
#[must_use]
pub fn fold(text: &str) -> String {
    let small = |character: char| character.to_lowercase().map(|c| if c == 'ς' { 'σ' } else { c });
    text.chars().flat_map(small).collect()
}

impl Case {
    /// A text as it is compared.
    #[must_use]
    pub fn of(self, text: &str) -> Cow<'_, str> {
        match self {
            Self::Exact => Cow::Borrowed(text),
            Self::Folded => Cow::Owned(fold(text)),
        }
    }
}

impl TimeRange {
    /// Whether a time is in it.
    #[must_use]
    pub fn contains(&self, time: DateTime<Utc>) -> bool {
        self.start.is_none_or(|start| start <= time) && self.end.is_none_or(|end| time <= end)
    }

    /// What is in both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let later = |a: Option<_>, b: Option<_>| if a > b { a } else { b };
        let end = match (self.end, other.end) {
            (Some(a), Some(b)) => Some(std::cmp::min(a, b)),
            (a, b) => a.or(b),
        };
        Self { start: later(self.start, other.start), end }
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!((self.start, self.end), (Some(start), Some(end)) if end < start)
    }
}

impl Pattern {
    /// Texts that contain this one.
    #[must_use]
    pub fn containing(text: &str) -> Self {
        Self::of(["", text, ""])
    }

    /// Texts that begin with this one.
    #[must_use]
    pub fn beginning(text: &str) -> Self {
        Self::of([text, ""])
    }

    /// Texts of these pieces in this order, with anything in between.
    #[must_use]
    pub fn of<'p>(pieces: impl IntoIterator<Item = &'p str>) -> Self {
        let mut kept: Vec<String> = Vec::new();
        let mut pieces = pieces.into_iter().peekable();
        while let Some(piece) = pieces.next() {
            // An empty piece in the middle says nothing.
            if kept.is_empty() || !piece.is_empty() || pieces.peek().is_none() {
                kept.push(piece.to_owned());
            }
        }
        if kept.is_empty() {
            kept.push(String::new());
        }
        Self { pieces: kept }
    }

    /// The pieces. At least one.
    #[must_use]
    pub fn pieces(&self) -> &[String] {
        &self.pieces
    }

    /// Whether every text has this form.
    #[must_use]
    pub fn is_anything(&self) -> bool {
        self.pieces.len() > 1 && self.pieces.iter().all(String::is_empty)
    }

    /// The pattern over folded texts.
    #[must_use]
    pub fn folded(&self) -> Self {
        Self { pieces: self.pieces.iter().map(|piece| fold(piece)).collect() }
    }

    /// Whether a text has this form.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let Some((first, rest)) = self.pieces.split_first() else { return false };
        let Some((last, middle)) = rest.split_last() else { return text == first };
        let Some(mut left) = text.strip_prefix(first.as_str()) else { return false };
        for piece in middle {
            match left.find(piece.as_str()) {
                Some(at) => left = &left[at + piece.len()..],
                None => return false,
            }
        }
        left.ends_with(last.as_str())
    }
}

impl<F: Copy> Filter<F> {
    /// All of these. What decides nothing is left out.
    #[must_use]
    pub fn all(filters: impl IntoIterator<Item = Self>) -> Self {
        let mut kept = Vec::new();
        for filter in filters {
            match filter {
                Self::Everything => {}
                Self::Nothing => return Self::Nothing,
                Self::All(inner) => kept.extend(inner),
                other => kept.push(other),
            }
        }
        match kept.len() {
            0 => Self::Everything,
            1 => kept.remove(0),
            _ => Self::All(kept),
        }
    }

    /// One of these. What decides nothing is left out.
    #[must_use]
    pub fn any(filters: impl IntoIterator<Item = Self>) -> Self {
        let mut kept = Vec::new();
        for filter in filters {
            match filter {
                Self::Nothing => {}
                Self::Everything => return Self::Everything,
                Self::Any(inner) => kept.extend(inner),
                other => kept.push(other),
            }
        }
        match kept.len() {
            0 => Self::Nothing,
            1 => kept.remove(0),
            _ => Self::Any(kept),
        }
    }

    /// The opposite.
    #[must_use]
    #[expect(clippy::should_implement_trait, reason = "it stands beside `all` and `any`")]
    pub fn not(filter: Self) -> Self {
        match filter {
            Self::Everything => Self::Nothing,
            Self::Nothing => Self::Everything,
            Self::Not(inner) => *inner,
            other => Self::Not(Box::new(other)),
        }
    }

    /// Whether a row fulfils it: what a filter means.
    pub fn matches(&self, row: &impl Row<F>) -> bool {
        match self {
            Self::Everything => true,
            Self::Nothing => false,
            Self::All(filters) => filters.iter().all(|filter| filter.matches(row)),
            Self::Any(filters) => filters.iter().any(|filter| filter.matches(row)),
            Self::Not(filter) => !filter.matches(row),
            Self::Is(field, test) => test.passes(&row.value(*field)),
        }
    }

    /// How many conditions it has.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Self::Everything | Self::Nothing => 1,
            Self::All(filters) | Self::Any(filters) => 1 + filters.iter().map(Self::size).sum::<usize>(),
            Self::Not(filter) => 1 + filter.size(),
            Self::Is(_, test) => test.size(),
        }
    }

    /// How deep conditions stand in conditions.
    #[must_use]
    pub fn depth(&self) -> usize {
        match self {
            Self::All(filters) | Self::Any(filters) => {
                1 + filters.iter().map(Self::depth).max().unwrap_or_default()
            }
            Self::Not(filter) => 1 + filter.depth(),
            _ => 1,
        }
    }
}

impl Test {
    fn passes(&self, value: &FieldValue<'_>) -> bool {
        match (self, value) {
            (Self::Ids(ids), FieldValue::Id(id)) => ids.contains(id),
            (Self::Addresses(list), FieldValue::Address(Some(address))) => {
                list.iter().any(|one| one.to_canonical() == address.to_canonical())
            }
            (Self::Time(range), FieldValue::Time(time)) => range.contains(*time),
            (_, FieldValue::Texts(texts)) => texts.iter().any(|text| self.passes_text(text)),
            (_, FieldValue::Address(address)) => self
                .passes_text(&address.map(|address| address.to_canonical().to_string()).unwrap_or_default()),
            _ => false,
        }
    }

    /// Whether a text passes.
    #[must_use]
    pub fn passes_text(&self, text: &str) -> bool {
        match self {
            Self::Texts(case, list) => list.iter().any(|one| case.of(one) == case.of(text)),
            Self::Like(Case::Exact, pattern) => pattern.matches(text),
            Self::Like(Case::Folded, pattern) => pattern.folded().matches(&fold(text)),
            _ => false,
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::Texts(_, list) => list.len().max(1),
            Self::Ids(list) => list.len().max(1),
            Self::Addresses(list) => list.len().max(1),
            Self::Like(_, pattern) => pattern.pieces.len(),
            Self::Time(_) => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Field {
        Name,
        At,
        From,
    }

    struct Thing(&'static str, DateTime<Utc>, Option<IpAddr>);

    impl Row<Field> for Thing {
        fn value(&self, field: Field) -> FieldValue<'_> {
            match field {
                Field::Name => FieldValue::Texts(vec![self.0.into(), "alias".into()]),
                Field::At => FieldValue::Time(self.1),
                Field::From => FieldValue::Address(self.2),
            }
        }
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    #[test]
    fn a_pattern_is_pieces_in_order_between_both_ends() {
        let glob = |text: &str| Pattern::of(text.split('*'));
        for (pattern, text, matches) in [
            ("abc", "abc", true),
            ("abc", "abcd", false),
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "anything", true),
            ("a*", "abc", true),
            ("a*", "ba", false),
            ("*c", "abc", true),
            ("*b*", "abc", true),
            ("*b*b*", "abc", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("*ab*ba*", "aba", false),
            ("a**b", "a-b", true),
        ] {
            assert_eq!(glob(pattern).matches(text), matches, "{pattern} {text}");
        }
        assert!(glob("**").is_anything() && !glob("").is_anything());
        assert_eq!(Pattern::containing("x"), glob("*x*"));
        assert_eq!(Pattern::beginning("x"), glob("x*"));
    }

    #[test]
    fn folding_knows_no_neighbours() {
        assert_eq!(fold("ΟΔΟΣ"), fold("οδος"));
        assert_eq!(fold("İstanbul"), "i\u{307}stanbul");
        assert_eq!(fold("straße 🦀 É"), "straße 🦀 é");
    }

    #[test]
    fn a_row_is_tested_by_each_kind_of_value() {
        let thing = Thing("Ada", at(10), Some("::ffff:10.0.0.1".parse().unwrap()));
        let is = |field, test| Filter::Is(field, test).matches(&thing);
        assert!(is(Field::Name, Test::Texts(Case::Folded, vec!["ADA".into()])));
        assert!(!is(Field::Name, Test::Texts(Case::Exact, vec!["ADA".into()])));
        assert!(is(Field::Name, Test::Like(Case::Exact, Pattern::beginning("ali"))));
        assert!(is(Field::From, Test::Addresses(vec!["10.0.0.1".parse().unwrap()])));
        assert!(is(Field::From, Test::Like(Case::Folded, Pattern::beginning("10."))));
        assert!(!is(Field::From, Test::Ids(vec![])));
        let range = |start, end| Test::Time(TimeRange { start: Some(at(start)), end: Some(at(end)) });
        assert!(is(Field::At, range(10, 10)) && !is(Field::At, range(11, 20)));
        let nobody = Thing("", at(0), None);
        assert!(Filter::Is(Field::From, Test::Texts(Case::Exact, vec![String::new()])).matches(&nobody));
    }

    #[test]
    fn ranges_meet() {
        let range =
            |start: Option<i64>, end: Option<i64>| TimeRange { start: start.map(at), end: end.map(at) };
        assert_eq!(range(Some(1), None).and(range(Some(2), Some(5))), range(Some(2), Some(5)));
        assert_eq!(range(None, Some(3)).and(range(None, Some(5))), range(None, Some(3)));
        assert!(range(Some(3), Some(2)).is_empty() && !range(Some(2), Some(2)).is_empty());
    }

    fn filters() -> impl Strategy<Value = Filter<Field>> {
        let leaf = prop_oneof![
            Just(Filter::Everything),
            Just(Filter::Nothing),
            "[ab*]{0,3}".prop_map(|text| Filter::Is(
                Field::Name,
                Test::Like(Case::Folded, Pattern::of(text.split('*')))
            )),
            (0i64..20).prop_map(|second| Filter::Is(
                Field::At,
                Test::Time(TimeRange { start: Some(at(second)), end: None })
            )),
        ];
        leaf.prop_recursive(4, 24, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Filter::All),
                prop::collection::vec(inner.clone(), 0..4).prop_map(Filter::Any),
                inner.prop_map(|filter| Filter::Not(Box::new(filter))),
            ]
        })
    }

    /// The same filter, made by the functions that simplify.
    fn simplified(filter: &Filter<Field>) -> Filter<Field> {
        match filter {
            Filter::All(list) => Filter::all(list.iter().map(simplified)),
            Filter::Any(list) => Filter::any(list.iter().map(simplified)),
            Filter::Not(inner) => Filter::not(simplified(inner)),
            other => other.clone(),
        }
    }

    proptest! {
        #[test]
        fn simplifying_changes_no_meaning(filter in filters(), seconds in 0i64..20) {
            for name in ["", "a", "B", "ab"] {
                let thing = Thing(name, at(seconds), None);
                prop_assert_eq!(filter.matches(&thing), simplified(&filter).matches(&thing));
            }
            prop_assert!(simplified(&filter).size() <= filter.size());
        }

        #[test]
        fn a_part_of_a_text_is_a_part_of_the_folded_text(before in ".*", part in ".*", after in ".*") {
            let text = format!("{before}{part}{after}");
            prop_assert!(Pattern::containing(&part).folded().matches(&fold(&text)));
        }
    }
}
