//! Entries of the index, as a question reads them: the rows of a chunk that have some keys, as far as these were looked for.

use std::collections::{HashMap, HashSet};

use annals_store::Transaction;
use annals_store::sql::{Row, sql};

use super::find::damaged;
use super::needle::{Clues, Needle};
use super::postings::{Bits, decode};
use super::terms::Wanted;

/// The keys of those terms of a chunk that contain what is wanted.
pub(super) type KeysOfTerms<'w> = HashMap<(i64, &'w Wanted), Vec<i64>>;

/// Entries of some keys in some chunks, as they are stored, by chunk and key.
pub(super) struct Entries {
    /// The keys that were looked for: any row may have another one.
    keys: HashSet<i64>,
    found: HashMap<(i64, i64), Vec<u8>>,
}

impl Entries {
    pub(super) async fn read(
        tx: &mut Transaction,
        chunks: Vec<i64>,
        keys: HashSet<i64>,
    ) -> Result<Self, sqlx::Error> {
        let rows =
            sql("SELECT chunk, trigram, places FROM text_postings WHERE chunk = ANY(?) AND trigram = ANY(?)")
                .bind(chunks)
                .bind(keys.iter().copied().collect::<Vec<i64>>())
                .fetch_all(tx)
                .await?;
        let entry = |row: &Row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?));
        let found = rows.iter().map(entry).collect::<Result<_, sqlx::Error>>()?;
        Ok(Self { keys, found })
    }

    /// A chunk's list of terms; an empty one where there is none.
    pub(super) fn list(&self, chunk: i64, key: i64) -> Result<&str, sqlx::Error> {
        let list = self.found.get(&(chunk, key)).map(|list| std::str::from_utf8(list));
        Ok(list.transpose().map_err(|_| damaged())?.unwrap_or_default())
    }

    /// The rows of a chunk that have all that is looked for, and how many a needle found; `None` when there are none.
    pub(super) fn rows(&self, chunk: i64, clues: &Clues) -> Result<Option<(Bits, usize)>, sqlx::Error> {
        let Some(mut rows) = self.of(chunk, &clues.needle)? else { return Ok(None) };
        let of_needle = rows.count();
        for keys in &clues.among {
            rows.and(&self.any(chunk, keys)?);
        }
        Ok((!rows.is_empty()).then_some((rows, of_needle)))
    }

    /// The rows of a chunk that a needle finds; `None` when there are none.
    pub(super) fn of(&self, chunk: i64, needle: &Needle) -> Result<Option<Bits>, sqlx::Error> {
        let found = match needle {
            Needle::Text(trigrams, _) => self.all(chunk, trigrams)?,
            Needle::Object(key) => self.all(chunk, &[*key])?,
            Needle::All(needles, _) => {
                let mut found = None;
                for needle in needles {
                    let Some(rows) = self.of(chunk, needle)? else { return Ok(None) };
                    narrow(&mut found, rows);
                }
                found
            }
            Needle::Any(needles) => {
                let mut found = Bits::none();
                for needle in needles {
                    if let Some(rows) = self.of(chunk, needle)? {
                        found.or(&rows);
                    }
                }
                Some(found)
            }
        };
        Ok(found.filter(|rows| !rows.is_empty()))
    }

    /// The rows of a chunk that have all of these keys, as far as they were looked for.
    fn all(&self, chunk: i64, keys: &[i64]) -> Result<Option<Bits>, sqlx::Error> {
        let known = keys.iter().filter(|key| self.keys.contains(key));
        let entries = known.map(|key| self.found.get(&(chunk, *key)));
        let Some(mut entries) = entries.collect::<Option<Vec<_>>>() else { return Ok(None) };
        // The rarest first: often nothing is left soon.
        entries.sort_by_key(|entry| entry.len());
        let mut found = (entries.is_empty() && !keys.is_empty()).then(Bits::all);
        for entry in entries {
            narrow(&mut found, decode(entry).ok_or_else(damaged)?);
            if found.as_ref().is_some_and(Bits::is_empty) {
                break;
            }
        }
        Ok(found)
    }

    /// The rows of a chunk that have one of these keys, as far as they were looked for.
    pub(super) fn any(&self, chunk: i64, keys: &[i64]) -> Result<Bits, sqlx::Error> {
        if keys.iter().any(|key| !self.keys.contains(key)) {
            return Ok(Bits::all());
        }
        let mut found = Bits::none();
        for entry in keys.iter().filter_map(|key| self.found.get(&(chunk, *key))) {
            found.or(&decode(entry).ok_or_else(damaged)?);
        }
        Ok(found)
    }

    /// The rows of a chunk that do for certain what a needle says, by the chunk's terms; `None` when it says less than is
    /// asked.
    pub(super) fn certain(
        &self,
        chunk: i64,
        needle: &Needle,
        terms: &KeysOfTerms<'_>,
    ) -> Result<Option<Bits>, sqlx::Error> {
        match needle {
            Needle::Text(_, Some(wanted)) => {
                terms.get(&(chunk, wanted)).map(|keys| self.any(chunk, keys)).transpose()
            }
            Needle::Text(_, None) | Needle::Object(_) | Needle::All(_, false) => Ok(None),
            Needle::All(needles, true) => {
                let mut found = None;
                for needle in needles {
                    let Some(rows) = self.certain(chunk, needle, terms)? else { return Ok(None) };
                    narrow(&mut found, rows);
                }
                Ok(found)
            }
            Needle::Any(needles) => {
                let mut found: Option<Bits> = None;
                for needle in needles {
                    if let Some(rows) = self.certain(chunk, needle, terms)? {
                        found.get_or_insert_with(Bits::none).or(&rows);
                    }
                }
                Ok(found)
            }
        }
    }
}

/// Leaves what is also in these; the first ones are taken as they are.
fn narrow(found: &mut Option<Bits>, to: Bits) {
    match found {
        Some(found) => found.and(&to),
        None => *found = Some(to),
    }
}
