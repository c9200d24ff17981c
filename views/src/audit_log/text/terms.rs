//! Words and phrases that several rows of a chunk have: their rows contain them for certain, and need not be looked at.
//!
//! A text is taken apart into words of letters and digits (`sshd`); into what stands between blanks, where that is no such
//! word (`ada@example.org`, `10.1.0.115`); and into phrases, which have blanks. Messages are templates, and what changes in
//! them are mostly numbers, long ones rather than short ones: so there are phrases between digits (`alert acknowledged on
//! device dev-`), and between long numbers where that has short ones in it (`update of port 17 to vlan `). People also look
//! for numbers by their first digits, whether they mean to or not: so what stands before a number is a term with each of
//! these, too (` to vlan 4` and ` to vlan 41` of vlan 412, `dev-005` of dev-00512). Among its entries a chunk has those terms
//! that are worth it, a list of each kind, and the rows of each term. A text that is looked for is certainly in the rows of
//! every term that contains it.
//!
//! Rows of rarer terms, and of texts that lie across terms, are candidates as ever. So nothing depends on how a text is
//! taken apart: it need not even be done alike by those who write and those who read.

use std::collections::{BTreeMap, HashMap, HashSet};

use foldhash::quality::RandomState;

use super::super::search::BORDER;
use super::CHUNK_ROWS;
use super::trigrams::{list_key, term_key};

/// Terms that are kept in mind while a chunk is made. Later ones are not known for certain.
const MAX_HELD: usize = 1 << 17;

/// Longest term, in bytes. A longer one is the term of few rows.
const MAX_BYTES: usize = 128;

/// Digits of a number that is not part of a phrase.
const LONG_NUMBER: usize = 3;

/// First digits of a number that are looked for behind a phrase, and behind what has no blank.
const FIRST_DIGITS: [usize; 2] = [LONG_NUMBER - 1, 3];

/// A shorter text is not looked for here.
const MIN_CHARACTERS: usize = 3;

/// Rows that a term of a full chunk has at least: so many are as soon looked at. Of small chunks a share of it, for the
/// larger one that is made of them.
const WORTH_A_TERM: usize = 64;

/// The least of that share.
const LEAST_ROWS: usize = 4;

/// What ends a term in the list. No part of a text has it.
const END: char = BORDER;

/// Parts of an event's text.
const PARTS: usize = 3;

/// Which part of an event's text ([`super::super::search::text`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in super::super) enum Part {
    Description,
    Any,
}

/// How a text is taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    /// Letters and digits.
    Word,
    /// No blanks.
    Token,
    /// No digits.
    Phrase,
    /// A phrase with short numbers.
    Numbered,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Word, Self::Token, Self::Phrase, Self::Numbered];

    /// The key of a chunk's list of such terms.
    fn list_key(self) -> i64 {
        list_key(self as i64)
    }

    /// The terms of which kind contain a text, if any do.
    fn of(text: &str) -> Self {
        if text.chars().all(char::is_alphanumeric) {
            Self::Word
        } else if !text.contains(char::is_whitespace) {
            Self::Token
        } else if !text.contains(char::is_numeric) {
            Self::Phrase
        } else {
            Self::Numbered
        }
    }
}

/// A text that is looked for within terms: who has it in one of the parts is found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in super::super) struct Wanted {
    text: String,
    kind: Kind,
    part: Part,
}

impl Wanted {
    /// `None` when no term contains the text.
    pub(super) fn new(text: &str, part: Part) -> Option<Self> {
        let kind = Kind::of(text);
        let mut digits = text.split(|character: char| !character.is_numeric());
        let is_in_terms = text.chars().count() >= MIN_CHARACTERS
            && text.len() <= MAX_BYTES
            && (kind != Kind::Numbered || digits.all(|digits| digits.chars().count() < LONG_NUMBER));
        is_in_terms.then(|| Self { text: text.to_owned(), kind, part })
    }

    /// The key of the list of terms that may contain it.
    pub(super) fn list_key(&self) -> i64 {
        self.kind.list_key()
    }

    /// The keys of those terms of a list that contain it.
    pub(super) fn keys(&self, list: &str) -> Vec<i64> {
        let mut keys = Vec::new();
        let mut from = 0;
        // One look through the list rather than one for each term.
        while let Some(at) = list[from..].find(&self.text).map(|at| from + at) {
            let first = list[..at].rfind(END).map_or(0, |end| end + END.len_utf8());
            let end = list[at..].find(END).map_or(list.len(), |end| at + end);
            if self.is_in(&list[first..end]) {
                keys.push(term_key(&list[first..end]));
            }
            from = end;
        }
        keys
    }

    fn is_in(&self, term: &str) -> bool {
        let (part, term) = term.split_at_checked(1).unwrap_or_default();
        // Each row of a longer term has a term of the text's own kind.
        (self.part == Part::Any || part == "0") && term.contains(&self.text) && Kind::of(term) == self.kind
    }
}

/// Takes a part of a text apart.
fn terms(text: &str, mut take: impl FnMut(&str)) {
    // Where the word and the token began in which the next character is, and whether the token is a word so far.
    let (mut word, mut token, mut is_word) = (0, 0, true);
    let (mut phrase, mut numbered) = (Phrase::default(), Phrase::default());
    // Where the number began that ends here, its digits, and the phrase before it.
    let (mut number, mut digits, mut before) = (0, 0, Phrase::default());
    // Whether the token has no number so far: what stands before its first one, other texts have as well.
    let mut is_first = true;
    let ends = std::iter::once((text.len(), None));
    for (at, character) in text.char_indices().map(|(at, character)| (at, Some(character))).chain(ends) {
        let next = at + character.map_or(0, char::len_utf8);
        if character.is_some_and(char::is_numeric) {
            if digits == 0 {
                number = at;
                if phrase.has_blank {
                    take(&text[phrase.from..at]);
                }
                before = phrase;
            }
            digits += 1;
            phrase = Phrase::from(next);
            continue;
        }
        if digits > 0 {
            let [in_phrase, in_token] = FIRST_DIGITS;
            let (from, most) = match if is_word { word } else { token } {
                from if is_first && from < number => (from, in_token),
                _ if before.has_blank => (before.from, in_phrase),
                _ => (number, 0),
            };
            for (at, digit) in text[number..at].char_indices().take(most) {
                take(&text[from..number + at + digit.len_utf8()]);
            }
            is_first = false;
        }
        if digits >= LONG_NUMBER {
            if numbered.has_blank && numbered.has_number {
                take(&text[numbered.from..number]);
            }
            numbered = Phrase::from(at);
        } else if digits > 0 {
            numbered.has_number = true;
        }
        digits = 0;
        if character.is_some_and(char::is_alphanumeric) {
            continue;
        }
        take(&text[word..at]);
        word = next;
        if character.is_none_or(char::is_whitespace) {
            if !is_word {
                take(&text[token..at]);
            }
            (token, is_word, is_first) = (next, true, true);
            let is_blank = character.is_some();
            phrase.has_blank |= is_blank;
            numbered.has_blank |= is_blank;
        } else {
            is_word = false;
        }
    }
    if phrase.has_blank {
        take(&text[phrase.from..]);
    }
    if numbered.has_blank && numbered.has_number {
        take(&text[numbered.from..]);
    }
}

/// A phrase under way.
#[derive(Default)]
struct Phrase {
    from: usize,
    has_blank: bool,
    has_number: bool,
}

impl Phrase {
    fn from(from: usize) -> Self {
        Self { from, ..Self::default() }
    }
}

/// The rows of each term of each part, as a chunk is made.
#[derive(Debug, Default)]
pub(super) struct Terms {
    parts: [HashMap<String, Vec<u16>, RandomState>; PARTS],
}

impl Terms {
    /// Takes the text of a row; rows come in order.
    pub(super) fn add(&mut self, text: &str, number: u16) {
        for (rows, text) in self.parts.iter_mut().zip(text.split(BORDER)) {
            terms(text, |term| {
                if term.len() < MIN_CHARACTERS || term.len() > MAX_BYTES {
                    return;
                }
                let has_room = rows.len() < MAX_HELD;
                match rows.get_mut(term) {
                    Some(rows) if rows.last() == Some(&number) => {}
                    Some(rows) => rows.push(number),
                    None if has_room => {
                        rows.insert(term.to_owned(), vec![number]);
                    }
                    None => {}
                }
            });
        }
    }

    /// Rows of a term that is in a list; `None` when it cannot be.
    pub(super) fn rows_of(&mut self, listed: &str) -> Option<&mut Vec<u16>> {
        let (part, term) = listed.split_at_checked(1)?;
        let part = self.parts.get_mut(part.parse::<usize>().ok()?)?;
        Some(part.entry(term.to_owned()).or_default())
    }

    /// Takes over what another chunk has, whose numbers are these now.
    pub(super) fn take_over(&mut self, numbers: &[u16], from: &Self) {
        for (part, from) in self.parts.iter_mut().zip(&from.parts) {
            for (term, rows) in from {
                let rows = rows.iter().filter_map(|number| numbers.get(usize::from(*number)));
                part.entry(term.clone()).or_default().extend(rows);
            }
        }
    }

    /// The terms that are worth it in a chunk of so many places: the list of them, in order, each behind the number of its
    /// part, and the key and the rows of each.
    pub(super) fn into_list(self, places: usize) -> (String, Vec<(i64, Vec<u16>)>) {
        let least = least_rows(places);
        let mut terms: Vec<(String, Vec<u16>)> = Vec::new();
        for (part, rows) in self.parts.into_iter().enumerate() {
            let worth = rows.into_iter().filter(|(_, rows)| rows.len() >= least);
            terms.extend(worth.map(|(term, rows)| (format!("{part}{term}"), rows)));
        }
        terms.sort_unstable();
        let (mut list, mut entries) = (String::new(), Vec::with_capacity(terms.len()));
        let mut keys: HashSet<i64, RandomState> = HashSet::default();
        for (term, rows) in terms {
            let key = term_key(&term);
            // Of two terms with one key, the later one is left to be looked for row by row.
            if keys.insert(key) {
                list.push_str(&term);
                list.push(END);
                entries.push((key, rows));
            }
        }
        (list, entries)
    }
}

/// Rows that a term has at least in a chunk of so many places.
pub(super) fn least_rows(places: usize) -> usize {
    (places * WORTH_A_TERM / CHUNK_ROWS).max(LEAST_ROWS)
}

/// A list as it is stored: a list for each kind that there is, by its key. A text is looked for in one of them.
pub(super) fn by_kind(list: &str) -> BTreeMap<i64, String> {
    let mut lists: BTreeMap<i64, String> = BTreeMap::new();
    for term in list.split_inclusive(END) {
        let kind = Kind::of(term.get(1..).unwrap_or_default().trim_end_matches(END));
        lists.entry(kind.list_key()).or_default().push_str(term);
    }
    lists
}

/// Whether this is the key of a list.
pub(super) fn is_list(key: i64) -> bool {
    Kind::ALL.iter().any(|kind| kind.list_key() == key)
}

/// The terms of a list.
pub(super) fn listed(list: &str) -> impl Iterator<Item = &str> {
    list.split_terminator(END)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entries(terms: &Terms) -> usize {
        terms.parts.iter().flat_map(HashMap::values).map(Vec::len).sum()
    }

    fn listed_rows(texts: &[String]) -> (String, Vec<(i64, Vec<u16>)>) {
        let mut terms = Terms::default();
        for (number, text) in (0..).zip(texts) {
            terms.add(text, number);
        }
        terms.into_list(texts.len())
    }

    /// The text of an event, of letters that words, tokens and phrases are made of.
    fn text() -> impl Strategy<Value = String> {
        prop::collection::vec("[abÄ1. \u{a0}]{0,8}", 1..=PARTS).prop_map(|parts| parts.join("\u{1f}"))
    }

    proptest! {
        /// The rows of all terms that contain a text contain it, and where all its terms are frequent, no row is missing.
        #[test]
        fn rows_of_a_term_contain_it(
            texts in prop::collection::vec(text(), 1..60),
            wanted in "[abÄ1. \u{a0}]{3,5}",
        ) {
            let (list, entries) = listed_rows(&texts);
            let lists = by_kind(&list);
            prop_assert_eq!(lists.values().map(|list| listed(list).count()).sum::<usize>(), entries.len());
            for part in [Part::Any, Part::Description] {
                let Some(wanted) = Wanted::new(&wanted, part) else { continue };
                let has = |text: &&String| match part {
                    Part::Any => text.contains(&wanted.text),
                    Part::Description => text.split('\u{1f}').next().unwrap().contains(&wanted.text),
                };
                let keys: Vec<i64> = wanted.keys(&list);
                let of_kind = lists.get(&wanted.list_key()).map(|list| wanted.keys(list)).unwrap_or_default();
                prop_assert_eq!(&keys, &of_kind);
                for (key, rows) in &entries {
                    prop_assert!(rows.len() >= LEAST_ROWS && rows.is_sorted());
                    if keys.contains(key) {
                        prop_assert!(rows.iter().all(|row| has(&&texts[usize::from(*row)])));
                    }
                }
                // Each row four times: every term is frequent.
                let often = texts.iter().flat_map(|text| vec![text.clone(); LEAST_ROWS]).collect::<Vec<_>>();
                let (list, entries) = listed_rows(&often);
                let keys: Vec<i64> = wanted.keys(&list);
                let rows = entries.iter().filter(|(key, _)| keys.contains(key)).flat_map(|(_, rows)| rows);
                let sure: HashSet<u16> = rows.copied().collect();
                let has_it = often.iter().filter(has).count();
                // A short number that is looked for may be the beginning of a long one.
                prop_assert!(sure.len() == has_it || wanted.kind == Kind::Numbered && sure.len() < has_it);
            }
        }
    }

    #[test]
    fn a_text_is_taken_apart() {
        let taken = |text| {
            let mut taken = Vec::new();
            terms(text, |term| taken.push(term.to_owned()));
            taken.retain(|term| !term.is_empty());
            taken
        };
        assert_eq!(
            taken("alert\u{3000}of ada@b.c on dev-12, ticket 567 by me 8"),
            [
                "alert",
                "of",
                "ada",
                "b",
                "c",
                "ada@b.c",
                "on",
                "dev",
                "alert\u{3000}of ada@b.c on dev-",
                "dev-1",
                "dev-12",
                "12",
                "dev-12,",
                "ticket",
                ", ticket ",
                ", ticket 5",
                ", ticket 56",
                "alert\u{3000}of ada@b.c on dev-12, ticket ",
                "567",
                "by",
                "me",
                " by me ",
                " by me 8",
                "8",
                " by me 8"
            ]
        );
        assert_eq!(taken("  "), ["  "]);
        assert_eq!(taken("1"), ["1"]);
    }

    #[test]
    fn only_a_text_within_terms_is_looked_for() {
        for text in ["ab", "", "a 123", "ticket 4567", &"x".repeat(MAX_BYTES + 1)] {
            assert_eq!(Wanted::new(text, Part::Any), None, "{text:?}");
        }
        let texts = vec!["login 7 of ada\u{1f}ada\u{1f}10.1.1.1".to_owned(); 5];
        let (list, entries) = listed_rows(&texts);
        let wanted =
            ["0 of ada", "0ada", "0login", "0login ", "0login 7", "0login 7 of ada", "1ada", "210.1.1.1"];
        assert!(listed(&list).eq(wanted), "{list:?}");
        assert_eq!(entries.iter().map(|(_, rows)| rows.len()).collect::<Vec<_>>(), [5; 8]);
        let count = |text, part| Wanted::new(text, part).unwrap().keys(&list).len();
        assert_eq!(count("ada", Part::Any), 2);
        assert_eq!(count("ada", Part::Description), 1);
        assert_eq!(count("f a", Part::Any), 1);
        assert_eq!(count("7 of", Part::Any), 1);
        assert_eq!(count("0.1.", Part::Any), 1);
        assert_eq!(count("0.1.", Part::Description), 0);
    }

    #[test]
    fn numbers_are_found_by_their_first_digits() {
        let texts: Vec<String> =
            (0..40).map(|n| format!("link to vlan {} of dev-005{n:02}, srv7{n}", 400 + n)).collect();
        let (list, entries) = listed_rows(&texts);
        let rows = |text: &str| {
            let keys = Wanted::new(text, Part::Any).unwrap().keys(&list);
            let found = entries.iter().filter(|(key, _)| keys.contains(key)).map(|(_, rows)| rows.len());
            found.max().unwrap_or_default()
        };
        assert_eq!(
            ["to vlan 4", "vlan 40", "dev-005", "dev-0", "srv7", "rv71"].map(rows),
            [40, 10, 40, 40, 40, 11]
        );
    }

    #[test]
    fn terms_are_held_within_limits() {
        let mut terms = Terms::default();
        terms.add(&"x".repeat(MAX_BYTES + 1), 0);
        assert_eq!(entries(&terms), 0);
        for first in 0..=MAX_HELD / 1_000 {
            let text: Vec<String> = (0..1_000).map(|n| format!("w{first}x{n}")).collect();
            terms.add(&text.join(" "), 0);
        }
        assert_eq!(terms.parts[0].len(), MAX_HELD);
        let held = entries(&terms);
        terms.add("w0x0 new", 1);
        assert_eq!(entries(&terms), held + 1);
        assert_eq!(terms.into_list(2), (String::new(), Vec::new()));
    }
}
