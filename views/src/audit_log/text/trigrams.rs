//! Keys: three characters that follow each other, as one number; what an event is about, and its terms, as negative
//! numbers.

use super::super::search::BORDER;

/// Bits of a character.
const CHARACTER_BITS: u32 = 21;

/// What the index knows of an event beside its text. Ids of objects share keys: few enough of them that a chunk stays
/// small, enough that little else is found with one.
#[derive(Clone, Copy, Debug)]
pub(super) enum Facet {
    Customer,
    Action,
    Object,
}

/// Trigrams of one text that are looked for. More would hardly find fewer rows.
const MAX_OF_TEXT: usize = 12;

/// Keys of terms, the numbers before them being those of facets: enough that two terms of a chunk hardly share one.
const TERM_KEYS: u64 = 1 << 40;

/// The key of a facet, by its dictionary id.
pub(super) fn facet(facet: Facet, id: i64) -> i64 {
    match facet {
        Facet::Object => -1 - id.rem_euclid(4_096),
        Facet::Customer => -5_000 - 2 * id,
        Facet::Action => -5_001 - 2 * id,
    }
}

/// The key of a chunk's list of terms of a kind, between those of objects and of customers.
pub(super) fn list_key(kind: i64) -> i64 {
    -4_900 - kind
}

/// The key of a term, below those of facets: its FNV-1a hash.
pub(super) fn term_key(term: &str) -> i64 {
    let hash = term.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    -((1 << 62) + (hash % TERM_KEYS).cast_signed())
}

/// Every trigram of a text, in order, repeated ones too. None reaches across a border: no text that is looked for does.
pub(super) fn trigrams(text: &str) -> impl Iterator<Item = i64> {
    text.split(BORDER).flat_map(|part| {
        let mut last_three = 0_i64;
        part.chars()
            .map(move |character| {
                last_three = (last_three << CHARACTER_BITS | i64::from(u32::from(character))) & i64::MAX;
                last_three
            })
            .skip(2)
    })
}

/// Some trigrams of a text that is looked for, its ends among them. None when it is too short to have one.
pub(super) fn spread(text: &str) -> Vec<i64> {
    let mut all: Vec<i64> = trigrams(text).collect();
    let last = all.len().saturating_sub(1);
    if last >= MAX_OF_TEXT {
        all = (0..MAX_OF_TEXT).map(|at| all[at * last / (MAX_OF_TEXT - 1)]).collect();
    }
    all.sort_unstable();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn characters_of_any_kind_are_characters() {
        assert_eq!(trigrams("ab").count(), 0);
        assert_eq!(trigrams("🦀\0ß").count(), 1);
        assert_eq!(trigrams("ab\u{1f}cd\u{1f}").count(), 0);
        assert_ne!(trigrams("abc").next(), trigrams("acb").next());
        assert_eq!(spread(&"abcdefghijklmnopqrstuvwxyz".repeat(9)).len(), MAX_OF_TEXT);
        assert_eq!(spread("aaaaaaaaaaaaaaaaaaaaaaaa").len(), 1);
    }

    #[test]
    fn facets_and_texts_never_share_a_key() {
        let keys = |of| (0..5_000).map(move |id| facet(of, id)).collect::<std::collections::BTreeSet<_>>();
        let all = [keys(Facet::Customer), keys(Facet::Action), keys(Facet::Object)];
        assert_eq!(all.each_ref().map(|keys| keys.len()), [5_000, 5_000, 4_096]);
        assert!(all.iter().flatten().all(|key| *key < 0));
        let lists: std::collections::BTreeSet<i64> = (0..100).map(list_key).collect();
        let together: std::collections::BTreeSet<_> = all.iter().flatten().chain(&lists).collect();
        assert_eq!(together.len(), 5_000 * 2 + 4_096 + 100);
        assert!(["", "0abc", "0abd"].iter().all(|word| term_key(word) < facet(Facet::Action, i64::MAX / 8)));
        assert_ne!(term_key("0abc"), term_key("1abc"));
    }

    proptest! {
        #[test]
        fn a_text_has_every_trigram_of_its_parts(before in ".{0,5}", part in "[^\u{1f}]{3,40}", behind in ".{0,5}") {
            let all: Vec<i64> = trigrams(&format!("{before}{part}{behind}")).collect();
            let wanted = spread(&part);
            prop_assert!(!wanted.is_empty() && wanted.iter().all(|trigram| all.contains(trigram)));
            prop_assert!(all.iter().all(|trigram| *trigram >= 0));
        }
    }
}
