//! Who acted, of the rows of a chunk: a page in the order of accounts then looks at those rows only that may be on it.

use std::collections::HashMap;

use annals_store::Transaction;
use annals_store::sql::sql;
use foldhash::fast::RandomState;

use super::CHUNK_ROWS;
use super::find::{CHUNKS_AT_ONCE, Hits, damaged, in_order};

/// An actor for each number of a chunk. Stored as the actors that there are, and two bytes for each number.
#[derive(Clone, Debug, Default)]
pub(super) struct Actors {
    actors: Vec<i64>,
    /// Where each of them stands.
    places: HashMap<i64, u16, RandomState>,
    /// For each number, where its actor stands.
    rows: Vec<u16>,
}

impl Actors {
    pub(super) fn add(&mut self, number: u16, actor: i64) {
        let place = *self.places.entry(actor).or_insert_with(|| {
            self.actors.push(actor);
            // There are as many numbers at most, each of which adds one.
            u16::try_from(self.actors.len() - 1).unwrap_or(u16::MAX)
        });
        let number = usize::from(number);
        if self.rows.len() <= number {
            // Numbers between have no row; any actor will do that another one has.
            self.rows.resize(number + 1, place);
        }
        self.rows[number] = place;
    }

    /// Takes over what another chunk said of its numbers, which are these now, in their order.
    pub(super) fn take_over(&mut self, numbers: &[u16], from: &Self) {
        for (number, place) in numbers.iter().zip(&from.rows) {
            self.add(*number, from.actors[usize::from(*place)]);
        }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(8 * (1 + self.actors.len()) + 2 * self.rows.len());
        bytes.extend((self.actors.len() as u64).to_le_bytes());
        bytes.extend(self.actors.iter().flat_map(|actor| actor.to_le_bytes()));
        bytes.extend(self.rows.iter().flat_map(|place| place.to_le_bytes()));
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote; `None` when it did not.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let stored = Stored::of(bytes)?;
        let mut actors = Self::default();
        for (number, place) in (0..).zip(stored.rows) {
            actors.add(number, stored.actor(usize::from(u16::from_le_bytes(*place)))?);
        }
        Some(actors)
    }
}

/// Actors as they are stored.
struct Stored<'a> {
    actors: &'a [[u8; 8]],
    rows: &'a [[u8; 2]],
}

impl<'a> Stored<'a> {
    /// `None` for anything that [`Actors::to_bytes`] did not write.
    fn of(bytes: &'a [u8]) -> Option<Self> {
        let (actors, rest) = bytes.split_first_chunk()?;
        let actors = usize::try_from(u64::from_le_bytes(*actors)).ok().filter(|n| *n <= CHUNK_ROWS)?;
        let (actors, rest) = rest.split_at_checked(8 * actors)?;
        let (rows, rest) = rest.as_chunks();
        let (actors, _) = actors.as_chunks();
        (rest.is_empty() && rows.len() <= CHUNK_ROWS).then_some(Self { actors, rows })
    }

    fn actor(&self, place: usize) -> Option<i64> {
        self.actors.get(place).map(|actor| i64::from_le_bytes(*actor))
    }

    /// Where the actor of a number stands.
    fn place(&self, number: usize) -> Option<usize> {
        self.rows.get(number).map(|place| usize::from(u16::from_le_bytes(*place)))
    }
}

/// Hits by who acted.
pub(in super::super) struct ByActor<'h> {
    hits: &'h Hits,
    /// Those who acted, each with how many rows.
    pub(in super::super) actors: Vec<(i64, u64)>,
    /// Where they stand.
    known: HashMap<i64, u32, RandomState>,
    /// For each hit, where its actor stands: of each chunk, and of the rows beside the chunks.
    of_chunks: Vec<Vec<u32>>,
    of_tested: Vec<u32>,
}

impl Hits {
    /// These by who acted.
    pub(in super::super) async fn by_actor(&self, tx: &mut Transaction) -> Result<ByActor<'_>, sqlx::Error> {
        let mut by_actor = ByActor {
            hits: self,
            actors: Vec::new(),
            known: HashMap::default(),
            of_chunks: Vec::with_capacity(self.chunks.len()),
            of_tested: Vec::with_capacity(self.tested.len()),
        };
        for chunks in self.chunks.chunks(CHUNKS_AT_ONCE) {
            let numbers: Vec<i64> = chunks.iter().filter(|c| !c.rows.is_empty()).map(|c| c.number).collect();
            let stored = sql("SELECT number, actors FROM text_chunks WHERE number = ANY(?)").bind(numbers);
            let stored = stored.fetch_all(&mut *tx).await?;
            let stored: HashMap<i64, Vec<u8>> = stored
                .iter()
                .map(|row| Ok((row.get(0)?, row.get(1)?)))
                .collect::<Result<_, sqlx::Error>>()?;
            for chunk in chunks {
                let mut of_chunk = Vec::with_capacity(chunk.rows.count());
                if !chunk.rows.is_empty() {
                    let stored = stored.get(&chunk.number).and_then(|bytes| Stored::of(bytes));
                    let stored = stored.ok_or_else(damaged)?;
                    // Where those of the chunk stand among all.
                    let mut places = vec![None; stored.actors.len()];
                    for number in chunk.rows.iter() {
                        let place = stored.place(number).ok_or_else(damaged)?;
                        let known = places.get_mut(place).ok_or_else(damaged)?;
                        let at = match known {
                            Some(at) => *at,
                            None => *known.insert(by_actor.place(stored.actor(place).ok_or_else(damaged)?)),
                        };
                        by_actor.actors[at as usize].1 += 1;
                        of_chunk.push(at);
                    }
                }
                by_actor.of_chunks.push(of_chunk);
            }
        }
        for row in &self.tested {
            let at = by_actor.place(row.actor);
            by_actor.actors[at as usize].1 += 1;
            by_actor.of_tested.push(at);
        }
        Ok(by_actor)
    }
}

impl ByActor<'_> {
    /// Where an actor stands.
    fn place(&mut self, actor: i64) -> u32 {
        *self.known.entry(actor).or_insert_with(|| {
            self.actors.push((actor, 0));
            // Hits of one question are fewer.
            u32::try_from(self.actors.len() - 1).unwrap_or(u32::MAX)
        })
    }

    /// The rows of some, who are told by where they stand; by lane and place.
    pub(in super::super) fn places(&self, is_wanted: impl Fn(usize) -> bool) -> Vec<(i64, i64)> {
        let mut places = Vec::new();
        for (chunk, of_chunk) in self.hits.chunks.iter().zip(&self.of_chunks) {
            let rows = chunk.rows.iter().zip(of_chunk).filter(|(_, at)| is_wanted(**at as usize));
            places.extend(chunk.runs.places(rows.map(|(number, _)| number)));
        }
        let tested = self.hits.tested.iter().zip(&self.of_tested).filter(|(_, at)| is_wanted(**at as usize));
        places.extend(tested.map(|(row, _)| row.place));
        in_order(places)
    }
}

#[cfg(test)]
impl Actors {
    /// Who acted in a row, as it is read once it is stored.
    pub(super) fn of(&self, number: usize) -> Option<i64> {
        let bytes = self.to_bytes();
        let stored = Stored::of(&bytes)?;
        stored.actor(stored.place(number)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        /// However often they are taken over.
        #[test]
        fn every_row_has_its_actor(
            rows in prop::collection::btree_map(0..2_000_u16, 0..40_i64, 1..200), moved in 0..3_000_u16
        ) {
            let mut actors = Actors::default();
            for (number, actor) in &rows {
                actors.add(*number, *actor);
            }
            let read = Actors::from_bytes(&actors.to_bytes()).unwrap();
            let mut taken = Actors::default();
            taken.take_over(&(moved..moved + 2_000).collect::<Vec<_>>(), &read);
            for (number, of) in &rows {
                prop_assert_eq!(actors.of((*number).into()), Some(*of));
                prop_assert_eq!(read.of((*number).into()), Some(*of));
                prop_assert_eq!(taken.of((number + moved).into()), Some(*of));
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(prop_oneof![Just(0_u8), Just(1), any::<u8>()], 0..60)) {
            if let Some(actors) = Actors::from_bytes(&bytes) {
                let again = Actors::from_bytes(&actors.to_bytes()).unwrap();
                prop_assert_eq!(again.rows.len(), actors.rows.len());
            }
        }
    }

    #[test]
    fn a_full_chunk_of_actors_of_their_own_is_kept() {
        let mut actors = Actors::default();
        let all: BTreeMap<u16, i64> = (0..=u16::MAX).zip(1_000..).collect();
        all.iter().for_each(|(number, of)| actors.add(*number, *of));
        let bytes = actors.to_bytes();
        let stored = Stored::of(&bytes).unwrap();
        assert!(
            all.iter().all(|(number, of)| stored.actor(stored.place((*number).into()).unwrap()) == Some(*of))
        );
        assert!(Stored::of(&[bytes, vec![0; 2]].concat()).is_none());
    }
}
