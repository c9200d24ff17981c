//! Keys: three characters that follow each other, as one number; objects as negative numbers.

use super::super::search::BORDER;

/// Bits of a character.
const CHARACTER_BITS: u32 = 21;

/// Objects share so many keys: few enough that a chunk has rows for each, enough that little else is found with one.
const OBJECT_KEYS: i64 = 4_096;

/// Trigrams of one text that are looked for. More would hardly find fewer rows.
const MAX_OF_TEXT: usize = 12;

/// The key of an object, by its dictionary id.
pub(super) fn object(id: i64) -> i64 {
    -1 - id.rem_euclid(OBJECT_KEYS)
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
