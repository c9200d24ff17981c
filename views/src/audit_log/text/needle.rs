//! What the text of every row that fulfils a filter must contain.

use std::collections::BTreeSet;

use super::super::condition::AuditField;
use super::super::search::coded;
use super::terms::{Part, Wanted};
use super::trigrams::{Facet, facet, spread};
use crate::filter::{Case, Filter, Test, fold};
use crate::view::clean;

/// Trigrams of one question. Beyond it a filter is a list of terms, and better tested row by row.
const MAX_TRIGRAMS: usize = 256;

/// Ids of a facet that narrow a question. More would hardly leave fewer rows.
const MAX_NARROWING: usize = 1_000;

/// What the index is asked.
#[derive(Clone, Debug)]
pub(in super::super) struct Clues {
    /// What a row must have.
    pub(super) needle: Needle,
    /// Lists of keys; a row must have one of each.
    pub(super) among: Vec<Vec<i64>>,
    /// Whether a row that has all this, and is in the question's range of time, is asked for.
    pub(super) is_all: bool,
}

/// What a row must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Needle {
    /// All of these trigrams, of which there is one at least; and the wanted that says the same for certain.
    Text(Vec<i64>, Option<Wanted>),
    /// The key of an object, which others may share.
    Object(i64),
    /// What all of these say; and whether they say all that there is to say.
    All(Vec<Needle>, bool),
    /// What one of these says.
    Any(Vec<Needle>),
}

impl Clues {
    /// What is known of the rows of a question: its text, its objects, the customers whose rows are visible unless all
    /// are, and its actions. `is_all` when the question says nothing else. `None` when neither text nor objects find
    /// anything.
    pub(in super::super) fn of(
        text: Option<Needle>,
        objects: Option<&[i64]>,
        customers: Option<&[i64]>,
        actions: Option<&[i64]>,
        is_all: bool,
    ) -> Option<Self> {
        let is_all = is_all && objects.is_none() && text.is_some();
        let objects = objects
            .filter(|ids| !ids.is_empty() && ids.len() <= MAX_TRIGRAMS)
            .map(|ids| Needle::Any(ids.iter().map(|id| Needle::Object(facet(Facet::Object, *id))).collect()));
        let mut all: Vec<Needle> = text.into_iter().chain(objects).collect();
        let needle = match all.len() {
            0 => return None,
            1 => all.remove(0),
            _ => Needle::All(all, false),
        };
        let mut clues = Self { needle, among: Vec::new(), is_all };
        for (of, ids) in [(Facet::Customer, customers), (Facet::Action, actions)] {
            let Some(ids) = ids else { continue };
            if ids.len() <= MAX_NARROWING {
                clues.among.push(ids.iter().map(|id| facet(of, *id)).collect());
            } else {
                clues.is_all = false;
            }
        }
        Some(clues)
    }
}

impl Needle {
    /// What a filter asks of the text; `None` when rows may fulfil it whose text has nothing that an index could find.
    pub(in super::super) fn of_text(filter: &Filter<AuditField>) -> Option<Self> {
        let needle = Self::within(filter)?;
        (needle.keys().len() <= MAX_TRIGRAMS).then_some(needle)
    }

    fn within(filter: &Filter<AuditField>) -> Option<Self> {
        use AuditField as F;
        match filter {
            Filter::All(filters) => Self::all(filters.iter().map(Self::within).collect()),
            Filter::Any(filters) => Self::any(filters.iter().map(Self::within)),
            Filter::Is(field @ (F::Anything | F::Description | F::Account | F::Address), test) => {
                match test {
                    Test::Like(case, pattern) => match pattern.pieces() {
                        [before, text, after] if before.is_empty() && after.is_empty() => {
                            let part = match (field, case) {
                                (F::Anything, Case::Folded) => Some(Part::Any),
                                (F::Description, Case::Folded) => Some(Part::Description),
                                _ => None,
                            };
                            Self::text(text, part)
                        }
                        // That they are there does not say where they are.
                        pieces => Self::all(
                            pieces.iter().map(|piece| Self::text(piece, None)).chain([None]).collect(),
                        ),
                    },
                    Test::Texts(_, texts) => Self::any(texts.iter().map(|text| Self::text(text, None))),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// Rows that contain a text, also where its case counts: folded, they contain it folded. With the part of the text that
    /// must contain it where no more is asked than that.
    fn text(text: &str, part: Option<Part>) -> Option<Self> {
        let text = coded(&fold(&clean(text))).into_owned();
        let trigrams = spread(&text);
        (!trigrams.is_empty()).then(|| Self::Text(trigrams, part.and_then(|part| Wanted::new(&text, part))))
    }

    fn all(needles: Vec<Option<Self>>) -> Option<Self> {
        let is_all = needles.iter().all(Option::is_some);
        let needles: Vec<Self> = needles.into_iter().flatten().collect();
        (!needles.is_empty()).then_some(Self::All(needles, is_all))
    }

    fn any(needles: impl Iterator<Item = Option<Self>>) -> Option<Self> {
        let needles = needles.collect::<Option<Vec<Self>>>()?;
        (!needles.is_empty()).then_some(Self::Any(needles))
    }

    /// Whether one of several is enough somewhere in it.
    pub(super) fn has_choice(&self) -> bool {
        match self {
            Self::Text(..) | Self::Object(_) => false,
            Self::All(needles, _) => needles.iter().any(Self::has_choice),
            Self::Any(needles) => needles.len() > 1,
        }
    }

    /// Every trigram and every object's key in it.
    pub(super) fn keys(&self) -> BTreeSet<i64> {
        match self {
            Self::Text(trigrams, _) => trigrams.iter().copied().collect(),
            Self::Object(key) => [*key].into(),
            Self::All(needles, _) | Self::Any(needles) => needles.iter().flat_map(Self::keys).collect(),
        }
    }

    /// The terms that say for certain what trigrams say.
    pub(super) fn terms(&self) -> Vec<&Wanted> {
        match self {
            Self::Text(_, wanted) => wanted.iter().collect(),
            Self::Object(_) => Vec::new(),
            Self::All(needles, _) | Self::Any(needles) => needles.iter().flat_map(Self::terms).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::Pattern;

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
        let Some(Needle::All(found, false)) = Needle::of_text(&glob) else {
            panic!("it has a piece of three characters, and says more")
        };
        assert_eq!(found, [Needle::Text(spread("bcd"), None)]);
        let many = Filter::Any((100..400).map(|n| has(&format!("x{n}"))).collect());
        assert!(Needle::of_text(&many).is_none());
    }
}
