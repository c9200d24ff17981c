//! What the text of every row that fulfils a filter must contain.

use std::collections::BTreeSet;

use super::super::condition::AuditField;
use super::super::search::coded;
use super::trigrams::{Facet, facet, spread};
use crate::filter::{Filter, Test, fold};
use crate::view::clean;

/// Trigrams of one question. Beyond it a filter is a list of words, and better tested row by row.
const MAX_TRIGRAMS: usize = 256;

/// Ids of a facet that narrow a question. More would hardly leave fewer rows.
const MAX_NARROWING: usize = 16;

/// What a row must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Needle {
    /// All of these trigrams; at least one.
    Trigrams(Vec<i64>),
    /// What all of these say.
    All(Vec<Needle>),
    /// What one of these says.
    Any(Vec<Needle>),
}

impl Needle {
    /// What a filter asks of the text; `None` when rows may fulfil it whose text has nothing that an index could find.
    pub(in super::super) fn of_text(filter: &Filter<AuditField>) -> Option<Self> {
        let needle = Self::within(filter)?;
        (needle.trigrams().len() <= MAX_TRIGRAMS).then_some(needle)
    }

    /// Rows of a text or of objects, or of both; of few customers and actions, where they are few.
    pub(in super::super) fn with(
        text: Option<Self>,
        objects: Option<&[i64]>,
        customers: &[i64],
        actions: Option<&[i64]>,
    ) -> Option<Self> {
        let objects = objects.and_then(|ids| Self::of(Facet::Object, ids, MAX_TRIGRAMS));
        let mut all: Vec<Self> = text.into_iter().chain(objects).collect();
        if all.is_empty() {
            return None;
        }
        all.extend(Self::of(Facet::Customer, customers, MAX_NARROWING));
        all.extend(actions.and_then(|ids| Self::of(Facet::Action, ids, MAX_NARROWING)));
        Some(if all.len() == 1 { all.remove(0) } else { Self::All(all) })
    }

    /// Rows of one of these ids; `None` when they are too many.
    fn of(of: Facet, ids: &[i64], at_most: usize) -> Option<Self> {
        let needles = ids.iter().map(|id| Self::Trigrams(vec![facet(of, *id)])).collect();
        (!ids.is_empty() && ids.len() <= at_most).then_some(Self::Any(needles))
    }

    fn within(filter: &Filter<AuditField>) -> Option<Self> {
        use AuditField as F;
        match filter {
            Filter::All(filters) => Self::all(filters.iter().filter_map(Self::within)),
            Filter::Any(filters) => Self::any(filters.iter().map(Self::within)),
            Filter::Is(F::Anything | F::Description | F::Account | F::Address, test) => match test {
                Test::Like(_, pattern) => {
                    Self::all(pattern.pieces().iter().filter_map(|piece| Self::text(piece)))
                }
                Test::Texts(_, texts) => Self::any(texts.iter().map(|text| Self::text(text))),
                _ => None,
            },
            _ => None,
        }
    }

    /// Rows that contain a text, also where its case counts: folded, they contain it folded.
    fn text(text: &str) -> Option<Self> {
        let trigrams = spread(&coded(&fold(&clean(text))));
        (!trigrams.is_empty()).then_some(Self::Trigrams(trigrams))
    }

    fn all(needles: impl Iterator<Item = Self>) -> Option<Self> {
        let needles: Vec<Self> = needles.collect();
        (!needles.is_empty()).then_some(Self::All(needles))
    }

    fn any(needles: impl Iterator<Item = Option<Self>>) -> Option<Self> {
        let needles = needles.collect::<Option<Vec<Self>>>()?;
        (!needles.is_empty()).then_some(Self::Any(needles))
    }

    /// Every trigram in it.
    pub(super) fn trigrams(&self) -> BTreeSet<i64> {
        match self {
            Self::Trigrams(trigrams) => trigrams.iter().copied().collect(),
            Self::All(needles) | Self::Any(needles) => needles.iter().flat_map(Self::trigrams).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::{Case, Pattern};

    fn has(text: &str) -> Filter<AuditField> {
        Filter::Is(AuditField::Anything, Test::Like(Case::Folded, Pattern::containing(text)))
    }

    #[test]
    fn only_what_every_row_must_contain_is_looked_for() {
        let (long, short) = (has("abc"), has("ab"));
        assert!(Needle::of_text(&long).is_some() && Needle::of_text(&short).is_none());
        assert!(Needle::of_text(&Filter::All(vec![long.clone(), short.clone()])).is_some());
        assert!(Needle::of_text(&Filter::Any(vec![long.clone(), short])).is_none());
        assert!(Needle::of_text(&Filter::Any(vec![long.clone(), has("def")])).is_some());
        assert!(Needle::of_text(&Filter::Not(Box::new(long))).is_none());
        assert!(
            Needle::of_text(&Filter::Any(Vec::new())).is_none()
                && Needle::of_text(&Filter::Everything).is_none()
        );
        let sign_in = Filter::Is(AuditField::SignIn, Test::Texts(Case::Exact, vec!["abcdef".into()]));
        assert!(Needle::of_text(&sign_in).is_none());
    }

    #[test]
    fn case_and_holes_do_not_matter() {
        let glob =
            Filter::Is(AuditField::Description, Test::Like(Case::Exact, Pattern::of(["a", "BCD", "ef", ""])));
        let Some(Needle::All(found)) = Needle::of_text(&glob) else {
            panic!("it has a piece of three characters")
        };
        assert_eq!(found, [Needle::Trigrams(spread("bcd"))]);
        let many = Filter::Any((100..400).map(|n| has(&format!("x{n}"))).collect());
        assert!(Needle::of_text(&many).is_none());
    }
}
