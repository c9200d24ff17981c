//! Which records a filter lets pass: filters in the words of the view (docs/dialects.md, "santaba": Filters).
//!
//! What cannot be asked for at all (a field that does not exist, a word where a time belongs) lets nothing pass, also when
//! it is negated: a filter that was meant otherwise must not show more than was meant.

use annals_views::address;
use annals_views::audit_log::AuditField;
use annals_views::filter::{Case, Filter, Pattern, Test, TimeRange};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::value::Value;
use super::words::Words;
use super::{Condition, Expression, Invalid, Operator};
use crate::santaba::field::Field;

/// Most values, words and wildcards of all filters of a request together.
pub const MAX_CONDITIONS: usize = 1_000;

/// Any text of a record.
const ANY: &str = "_all";

/// Digits of an event id.
const ID_DIGITS: usize = 32;

/// First and last second that a time of the view may be compared with: the years 0001 to 9999.
const FIRST_SECOND: i64 = -62_135_596_800;
const LAST_SECOND: i64 = 253_402_300_799;

/// The last microsecond of a second, in nanoseconds.
const END_OF_SECOND: u32 = 999_999_000;

/// What rows must fulfil to pass all of these filters.
///
/// # Errors
/// When there is more than [`MAX_CONDITIONS`], or an expression in `_all` that cannot be read.
pub fn meaning(filters: &[Expression]) -> Result<Filter<AuditField>, Invalid> {
    let mut translation = Translation { left: MAX_CONDITIONS };
    let filters: Result<Vec<_>, _> = filters.iter().map(|filter| translation.expression(filter)).collect();
    Ok(Filter::all(filters?))
}

/// The event of an id: 32 hexadecimal digits, dashes accepted.
#[must_use]
pub fn event_id(text: &str) -> Option<Uuid> {
    let digits = text.replace('-', "");
    if digits.len() == ID_DIGITS { Uuid::try_parse(&digits).ok() } else { None }
}

struct Translation {
    /// Conditions that there may still be.
    left: usize,
}

impl Translation {
    fn expression(&mut self, filter: &Expression) -> Result<Filter<AuditField>, Invalid> {
        let mut alternatives = Vec::with_capacity(filter.alternatives.len());
        for conditions in &filter.alternatives {
            let conditions: Result<Vec<_>, _> =
                conditions.iter().map(|condition| self.condition(condition)).collect();
            alternatives.push(Filter::all(conditions?));
        }
        Ok(Filter::any(alternatives))
    }

    fn condition(&mut self, condition: &Condition) -> Result<Filter<AuditField>, Invalid> {
        self.spend(condition.values.iter().map(cost).sum::<usize>().max(1))?;
        let (comparison, negated) = Comparison::of(condition.operator);
        let passing = match (condition.field.as_str(), comparison) {
            (ANY, Comparison::Contains) => Some(self.anywhere(&condition.values)?),
            (ANY, _) => text(AuditField::Anything, comparison, &condition.values),
            (name, _) => {
                Field::named(name).and_then(|field| comparable(field, comparison, &condition.values))
            }
        };
        Ok(match passing {
            None => Filter::Nothing,
            Some(filter) if negated => Filter::not(filter),
            Some(filter) => filter,
        })
    }

    /// The one field whose texts may be expressions.
    fn anywhere(&mut self, values: &[Value]) -> Result<Filter<AuditField>, Invalid> {
        let mut alternatives = Vec::with_capacity(values.len());
        for value in values {
            let words = Words::read(value)?;
            self.spend(texts_of(&words).saturating_sub(1))?;
            alternatives.push(words_anywhere(&words));
        }
        Ok(Filter::any(alternatives))
    }

    fn spend(&mut self, conditions: usize) -> Result<(), Invalid> {
        let left = self.left.checked_sub(conditions);
        self.left = left.ok_or_else(|| Invalid::new(format!("more than {MAX_CONDITIONS} conditions")))?;
        Ok(())
    }
}

/// A value, and each of its wildcards.
fn cost(value: &Value) -> usize {
    value.pieces().len()
}

fn texts_of(words: &Words) -> usize {
    match words {
        Words::Text(_) => 1,
        Words::Not(inner) => texts_of(inner),
        Words::All(list) | Words::Any(list) => list.iter().map(texts_of).sum(),
    }
}

fn words_anywhere(words: &Words) -> Filter<AuditField> {
    match words {
        Words::Text(value) => contains(AuditField::Anything, value),
        Words::Not(inner) => Filter::not(words_anywhere(inner)),
        Words::All(list) => Filter::all(list.iter().map(words_anywhere)),
        Words::Any(list) => Filter::any(list.iter().map(words_anywhere)),
    }
}

/// An operator without its negation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    IsEmpty,
    Is,
    Contains,
    AtLeast,
    AtMost,
    Above,
    Below,
}

impl Comparison {
    fn of(operator: Operator) -> (Self, bool) {
        match operator {
            Operator::IsEmpty => (Self::IsEmpty, false),
            Operator::IsNotEmpty => (Self::IsEmpty, true),
            Operator::Is => (Self::Is, false),
            Operator::IsNot => (Self::Is, true),
            Operator::Contains => (Self::Contains, false),
            Operator::ContainsNot => (Self::Contains, true),
            Operator::AtLeast => (Self::AtLeast, false),
            Operator::AtMost => (Self::AtMost, false),
            Operator::Above => (Self::Above, false),
            Operator::Below => (Self::Below, false),
        }
    }
}

/// Rows of which the field compares so with one of the values. None when that cannot be asked for.
fn comparable(field: Field, comparison: Comparison, values: &[Value]) -> Option<Filter<AuditField>> {
    match field {
        Field::Username => text(AuditField::Account, comparison, values),
        Field::Description => text(AuditField::Description, comparison, values),
        Field::SessionId => text(AuditField::SignIn, comparison, values),
        Field::Ip => address(comparison, values),
        Field::Id => id(comparison, values),
        Field::HappenedOn => time(comparison, values),
        // It is another text in the zone of each customer; the time behind it is `happenedOn`.
        Field::HappenedOnLocal => None,
    }
}

fn text(field: AuditField, comparison: Comparison, values: &[Value]) -> Option<Filter<AuditField>> {
    match comparison {
        Comparison::IsEmpty => Some(is_text(field, vec![String::new()])),
        Comparison::Is => {
            let (texts, patterns) = without_wildcards(values);
            let texts = texts.into_iter().map(str::to_owned).collect();
            let patterns = patterns.map(|pattern| like(field, Case::Exact, pattern));
            Some(Filter::any(std::iter::once(is_text(field, texts)).chain(patterns)))
        }
        Comparison::Contains => Some(Filter::any(values.iter().map(|value| contains(field, value)))),
        _ => None,
    }
}

fn address(comparison: Comparison, values: &[Value]) -> Option<Filter<AuditField>> {
    if comparison != Comparison::Is {
        return text(AuditField::Address, comparison, values);
    }
    let (texts, patterns) = without_wildcards(values);
    let addresses: Vec<_> = texts.iter().filter_map(|text| address::parse(text)).collect();
    let known = if addresses.is_empty() {
        Filter::Nothing
    } else {
        Filter::Is(AuditField::Address, Test::Addresses(addresses))
    };
    let empty = texts.iter().filter(|text| text.is_empty()).map(|_| String::new()).take(1).collect();
    let unknown = is_text(AuditField::Address, empty);
    // Addresses are shown in small letters.
    let patterns = patterns.map(|pattern| like(AuditField::Address, Case::Folded, pattern));
    Some(Filter::any([known, unknown].into_iter().chain(patterns)))
}

/// Ids are found whole: they are no texts of the view. A text that is no id is one that no row has, but a part of an id
/// cannot be asked for.
fn id(comparison: Comparison, values: &[Value]) -> Option<Filter<AuditField>> {
    let pattern = match comparison {
        Comparison::IsEmpty => return Some(Filter::Nothing),
        Comparison::Is => Value::whole,
        Comparison::Contains => Value::somewhere,
        _ => return None,
    };
    let mut ids = Vec::new();
    let mut can_be_asked = false;
    for pattern in values.iter().map(pattern) {
        if pattern.is_anything() {
            return Some(Filter::Everything);
        }
        let mut filled = pattern.pieces().iter().filter(|piece| !piece.is_empty());
        let only = filled.next().filter(|_| filled.next().is_none());
        let id = only.and_then(|text| event_id(text));
        can_be_asked |= pattern.pieces().len() == 1 || id.is_some();
        ids.extend(id);
    }
    let found =
        if ids.is_empty() { Filter::Nothing } else { Filter::Is(AuditField::EventId, Test::Ids(ids)) };
    can_be_asked.then_some(found)
}

/// A time is compared in whole seconds, as it is shown.
fn time(comparison: Comparison, values: &[Value]) -> Option<Filter<AuditField>> {
    if comparison == Comparison::IsEmpty {
        return Some(Filter::Nothing);
    }
    let seconds = values.iter().filter_map(Value::text).filter_map(epoch_seconds);
    let ranges = seconds.filter_map(|second| {
        Some(match comparison {
            Comparison::Is => happened(Some(second), Some(second)),
            Comparison::AtLeast => happened(Some(second), None),
            Comparison::AtMost => happened(None, Some(second)),
            Comparison::Above => happened(Some(second.saturating_add(1)), None),
            Comparison::Below => happened(None, Some(second.saturating_sub(1))),
            Comparison::Contains | Comparison::IsEmpty => return None,
        })
    });
    let ranges: Vec<_> = ranges.collect();
    (!ranges.is_empty()).then(|| Filter::any(ranges))
}

/// Seconds since 1970. One that no number holds is the largest or the smallest.
fn epoch_seconds(text: &str) -> Option<i64> {
    let text = text.trim();
    let digits = text.strip_prefix('-').unwrap_or(text);
    let outermost = if digits.len() < text.len() { i64::MIN } else { i64::MAX };
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(outermost))
}

/// From one second to another, both included.
fn happened(first: Option<i64>, last: Option<i64>) -> Filter<AuditField> {
    if first.is_some_and(|first| first > LAST_SECOND) || last.is_some_and(|last| last < FIRST_SECOND) {
        return Filter::Nothing;
    }
    let first = first.filter(|first| *first > FIRST_SECOND);
    let last = last.filter(|last| *last < LAST_SECOND);
    between(
        first.and_then(|first| DateTime::from_timestamp(first, 0)),
        last.and_then(|last| DateTime::from_timestamp(last, END_OF_SECOND)),
    )
}

/// From one moment to another, both included.
pub(in crate::santaba) fn between(
    start: Option<DateTime<Utc>>,
    end: Option<DateTime<Utc>>,
) -> Filter<AuditField> {
    match (start, end) {
        (None, None) => Filter::Everything,
        _ => Filter::Is(AuditField::At, Test::Time(TimeRange { start, end })),
    }
}

fn is_text(field: AuditField, texts: Vec<String>) -> Filter<AuditField> {
    if texts.is_empty() { Filter::Nothing } else { Filter::Is(field, Test::Texts(Case::Exact, texts)) }
}

fn like(field: AuditField, case: Case, pattern: Pattern) -> Filter<AuditField> {
    if pattern.is_anything() { Filter::Everything } else { Filter::Is(field, Test::Like(case, pattern)) }
}

fn contains(field: AuditField, value: &Value) -> Filter<AuditField> {
    like(field, Case::Folded, value.somewhere())
}

fn without_wildcards(values: &[Value]) -> (Vec<&str>, impl Iterator<Item = Pattern>) {
    let texts = values.iter().filter_map(Value::text).collect();
    (texts, values.iter().filter(|value| value.text().is_none()).map(Value::whole))
}

#[cfg(test)]
mod tests;
