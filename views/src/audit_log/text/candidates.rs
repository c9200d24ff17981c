//! Candidates: the rows of some chunks that may match, and which of them do for certain.
//!
//! To read all entries of a question takes longer than to test a few rows too many. What a few entries leave is much the same
//! in all chunks: the largest of the first ones shows it, of which all entries are read. Of a chunk that turns out different
//! the other entries are read, too.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::mem::take;

use annals_store::Transaction;
use annals_store::sql::Row;

use super::entries::{Entries, KeysOfTerms};
use super::find::{InChunk, damaged};
use super::needle::Clues;
use super::places::Runs;
use super::postings::Bits;
use super::terms;

/// Rows that are as soon tested as an entry is read.
const ROWS_OF_AN_ENTRY: usize = 3;

/// So few keys are looked for without further thought.
const FEW_KEYS: usize = 3;

/// What is looked for first.
#[derive(Debug)]
pub(super) struct Plan {
    keys: HashSet<i64>,
    /// How many rows these leave of a chunk of so many places.
    leave: (usize, usize),
}

/// Keys of which a row must have something, and the rows of a chunk that do.
struct Group {
    keys: BTreeSet<i64>,
    rows: Bits,
}

impl Plan {
    async fn of(
        tx: &mut Transaction,
        clues: &Clues,
        few: usize,
        sample: Option<(i64, usize)>,
    ) -> Result<Self, sqlx::Error> {
        let keys: HashSet<i64> = clues.needle.keys().into_iter().collect();
        let Some((chunk, places)) = sample.filter(|_| keys.len() > FEW_KEYS || !clues.among.is_empty())
        else {
            return Ok(Self { keys, leave: (0, 1) });
        };
        let entries = Entries::read(tx, vec![chunk], keys).await?;
        let mut groups = of_needle(clues, &entries, chunk)?;
        let mut rows = Bits::all();
        groups.iter().for_each(|group| rows.and(&group.rows));
        if rows.count() > few && !clues.among.is_empty() {
            let among = clues.among.iter().flatten().copied().collect();
            let entries = Entries::read(tx, vec![chunk], among).await?;
            for keys in &clues.among {
                groups.push(Group { keys: keys.iter().copied().collect(), rows: entries.any(chunk, keys)? });
            }
        }
        Ok(Self::shortest(groups, places))
    }

    /// The groups that say most for what they cost, as many as it takes to leave so few rows that they are as soon tested as
    /// narrowed further.
    fn shortest(mut groups: Vec<Group>, places: usize) -> Self {
        groups.sort_by_key(|group| group.keys.len() * ROWS_OF_AN_ENTRY + group.rows.count());
        let (mut rows, mut entries) = (Bits::all(), 0);
        let mut best = (usize::MAX, 0, 0);
        for (at, group) in groups.iter().enumerate() {
            rows.and(&group.rows);
            entries += group.keys.len();
            let left = rows.count();
            let cost = entries * ROWS_OF_AN_ENTRY + left;
            best = best.min((cost, at + 1, left));
        }
        let (_, first, left) = best;
        groups.truncate(first);
        Self { keys: groups.into_iter().flat_map(|group| group.keys).collect(), leave: (left, places) }
    }

    /// Whether far more of a chunk's rows are open than these keys leave elsewhere, or more than its share of all rows that may
    /// be tested.
    fn is_unlike(&self, chunk: &InChunk, bounds: Bounds) -> bool {
        let (left, places) = self.leave;
        let usual = 2 * left * chunk.runs.len() / places.max(1);
        chunk.open() > bounds.few.saturating_add(usual).min(bounds.share)
    }
}

/// What a row of a chunk must have to have the needle.
fn of_needle(clues: &Clues, entries: &Entries, chunk: i64) -> Result<Vec<Group>, sqlx::Error> {
    let mut groups = Vec::new();
    let keys = clues.needle.keys();
    if clues.needle.has_choice() {
        // One of its texts is enough: some keys say nothing of the others.
        let rows = entries.of(chunk, &clues.needle)?.unwrap_or_else(Bits::none);
        groups.push(Group { keys, rows });
    } else {
        for key in keys {
            groups.push(Group { keys: [key].into(), rows: entries.any(chunk, &[key])? });
        }
    }
    Ok(groups)
}

/// Rows of a chunk that may be tested one by one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// So few that they are as soon tested as more is learnt of them.
    pub(super) few: usize,
    /// The chunk's share of all that may be tested; not less than `few`.
    pub(super) share: usize,
}

/// A chunk, and how many rows have the needle as far as it was looked for.
struct Looked {
    chunk: InChunk,
    of_needle: usize,
}

/// What the index finds in some chunks; those without any are left out. The plan, which is made with the first ones, says
/// what is looked for; then come the terms, where many rows may match; and where these say too little, the other keys.
pub(super) async fn candidates(
    tx: &mut Transaction,
    clues: &Clues,
    bounds: Bounds,
    chunks: &[Row],
    plan: &mut Option<Plan>,
) -> Result<Vec<InChunk>, sqlx::Error> {
    let numbers = chunks.iter().map(|row| row.get::<i64>(0)).collect::<Result<Vec<_>, _>>()?;
    let runs = |row: &Row| Runs::from_bytes(&row.get::<Vec<u8>>(1)?).ok_or_else(damaged);
    let runs = chunks.iter().map(runs).collect::<Result<Vec<_>, _>>()?;
    let plan = match plan {
        Some(plan) => plan,
        None => {
            // What is rare in a small chunk need not be rare.
            let places = numbers.iter().copied().zip(runs.iter().map(Runs::len));
            plan.insert(Plan::of(tx, clues, bounds.few, places.max_by_key(|(_, places)| *places)).await?)
        }
    };
    let entries = Entries::read(tx, numbers.clone(), plan.keys.clone()).await?;
    let mut found = Vec::new();
    for ((row, number), runs) in chunks.iter().zip(numbers).zip(runs) {
        let Some((rows, of_needle)) = entries.rows(number, clues)? else { continue };
        found.push(Looked { chunk: InChunk::of(row, runs, rows)?, of_needle });
    }
    drop(entries);
    let is_other = |key: &i64| !plan.keys.contains(key);
    let of_needle: HashSet<i64> = clues.needle.keys().into_iter().filter(is_other).collect();
    let mut among: HashSet<i64> = clues.among.iter().flatten().copied().filter(is_other).collect();
    let terms = if clues.is_all { clues.needle.terms() } else { Vec::new() };
    if !terms.is_empty() {
        // A term has more rows.
        let may_have = |looked: &&mut Looked| {
            looked.chunk.open() > bounds.few && looked.of_needle >= terms::least_rows(looked.chunk.runs.len())
        };
        let mut chunks: Vec<&mut InChunk> =
            found.iter_mut().filter(may_have).map(|looked| &mut looked.chunk).collect();
        // Before the terms: rows of other customers and actions would be certain. The other chunks have few rows anyway.
        narrow(tx, clues, take(&mut among), &mut chunks).await?;
        chunks.retain(|chunk| chunk.open() > bounds.few);
        learn(tx, clues, &terms, chunks).await?;
    }
    for keys in [of_needle, among] {
        let chunks = found.iter_mut().map(|looked| &mut looked.chunk);
        let mut unlike = chunks.filter(|chunk| plan.is_unlike(chunk, bounds)).collect::<Vec<_>>();
        narrow(tx, clues, keys, &mut unlike).await?;
    }
    Ok(found.into_iter().map(|looked| looked.chunk).filter(|chunk| !chunk.rows.is_empty()).collect())
}

/// Leaves the rows that have these keys, too.
async fn narrow(
    tx: &mut Transaction,
    clues: &Clues,
    keys: HashSet<i64>,
    chunks: &mut [&mut InChunk],
) -> Result<(), sqlx::Error> {
    if chunks.is_empty() || keys.is_empty() {
        return Ok(());
    }
    let entries = Entries::read(tx, chunks.iter().map(|chunk| chunk.number).collect(), keys).await?;
    for chunk in chunks {
        match entries.rows(chunk.number, clues)? {
            Some((rows, _)) => chunk.rows.and(&rows),
            None => chunk.rows = Bits::none(),
        }
        chunk.certain.and(&chunk.rows);
    }
    Ok(())
}

/// Learns which rows have the terms for certain.
async fn learn(
    tx: &mut Transaction,
    clues: &Clues,
    terms: &[&terms::Wanted],
    chunks: Vec<&mut InChunk>,
) -> Result<(), sqlx::Error> {
    if chunks.is_empty() {
        return Ok(());
    }
    let numbers: Vec<i64> = chunks.iter().map(|chunk| chunk.number).collect();
    let lists =
        Entries::read(tx, numbers.clone(), terms.iter().map(|term| term.list_key()).collect()).await?;
    let mut of_terms: KeysOfTerms<'_> = HashMap::new();
    for number in &numbers {
        for wanted in terms {
            let list = lists.list(*number, wanted.list_key())?;
            of_terms.insert((*number, *wanted), wanted.keys(list));
        }
    }
    let entries = Entries::read(tx, numbers, of_terms.values().flatten().copied().collect()).await?;
    for chunk in chunks {
        if let Some(mut certain) = entries.certain(chunk.number, &clues.needle, &of_terms)? {
            certain.and(&chunk.rows);
            chunk.certain = certain;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::postings::{decode, encode};
    use super::*;

    fn group(key: i64, rows: impl Iterator<Item = u16>) -> Group {
        let rows: Vec<u16> = rows.collect();
        Group { keys: [key].into(), rows: decode(&encode(&rows)).unwrap() }
    }

    fn planned(groups: Vec<Group>) -> (Vec<i64>, usize) {
        let plan = Plan::shortest(groups, 60_000);
        let mut keys: Vec<i64> = plan.keys.into_iter().collect();
        keys.sort_unstable();
        (keys, plan.leave.0)
    }

    #[test]
    fn as_many_keys_are_looked_for_as_pay() {
        let frequent = || group(1, 0..50_000);
        let rare = || group(2, 100..400);
        // The rows of a rare key have the frequent one, too.
        assert_eq!(planned(vec![frequent(), rare()]), (vec![2], 300));
        // A third of them have another key.
        assert_eq!(planned(vec![frequent(), rare(), group(3, (0..9_000).step_by(3))]), (vec![2, 3], 100));
        // Two rows fewer are not worth an entry.
        assert_eq!(planned(vec![rare(), group(3, 100..398), frequent()]), (vec![3], 298));
        // So many customers that to look for each would take longer than to test the rows of others.
        let customers = Group { keys: (10..200).collect(), ..group(0, 0..300) };
        assert_eq!(planned(vec![customers, rare()]), (vec![2], 300));
        let customers = Group { keys: (10..20).collect(), ..group(0, 0..200) };
        assert_eq!(planned(vec![customers, rare()]).1, 100);
        // None has all: where this is so, one key says it.
        assert_eq!(planned(vec![rare(), group(3, 500..600)]), (vec![2, 3], 0));
        assert_eq!(planned(vec![rare(), group(3, 0..0)]), (vec![3], 0));
    }

    #[test]
    fn a_chunk_is_unlike_others_when_twice_as_many_rows_are_open() {
        let plan = Plan { keys: HashSet::new(), leave: (100, 60_000) };
        let times = super::super::times::Times::default();
        let chunk = |places, rows: usize| {
            let rows: Vec<u16> = (0..rows as u16).collect();
            InChunk::of_test(1, places, &rows, &times)
        };
        let bounds = Bounds { few: 10, share: 1_000 };
        assert!(!plan.is_unlike(&chunk(60_000, 210), bounds));
        assert!(plan.is_unlike(&chunk(60_000, 211), bounds));
        assert!(plan.is_unlike(&chunk(6_000, 31), bounds) && !plan.is_unlike(&chunk(6_000, 30), bounds));
        // Too many for all chunks together.
        assert!(plan.is_unlike(&chunk(60_000, 101), Bounds { share: 100, ..bounds }));
    }
}
