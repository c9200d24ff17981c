//! The text index: which events may contain a text or concern an object, so that a search does not look at every row.
//!
//! It is fed after the rows, with a position of its own that is written in the same transaction as its entries. What
//! stands beyond that position is the tail: a question looks at the tail's rows themselves, so that no answer is behind
//! the view. The index names candidates, more than enough of them. Of some it is sure: they are counted as they stand. All
//! others, and whatever comes on a page, are tested by the whole condition.
//!
//! Its keys are trigrams, three characters of the folded text ([`super::search`]) as one number, whatever characters they
//! are, and negative numbers for customers, actions, objects, terms and lists of these. Entries are made in Rust, for both
//! engines alike: no tokenizer and no locale of an engine decides what is found. Entries of up to 65,536 rows are written at
//! once as a chunk. Small chunks, as they come while the view is near the end of the log, are merged into the one that fills
//! them up.
//!
//! Reading order: [`trigrams`] (keys), [`terms`] (what makes it sure), [`postings`] (rows of a key in a chunk), [`places`]
//! (what a row is called), [`times`] (when the rows are), [`actors`] (who acted), [`fill`] and [`merge`] (feeding), [`needle`]
//! (what a filter must contain), [`entries`] (what is read for it), [`candidates`] (in which order), [`find`] (hits), [`walk`] (hits in the order of time).

mod actors;
mod candidates;
mod entries;
mod fill;
mod find;
mod merge;
mod needle;
mod places;
mod postings;
mod terms;
mod times;
mod trigrams;
mod walk;

use annals_store::{Column, ColumnKind, Table};

pub(super) use fill::fill;
pub use find::Effort;
pub(super) use find::{Hits, Matching, find, in_order};
pub(super) use needle::{Clues, Needle};
pub(super) use places::{Positions, ends, since};
pub(super) use walk::Walk;

/// Rows of a chunk.
const CHUNK_ROWS: usize = 1 << 16;

/// The chunks in order: the rows that they name and between which times these are, the position that the index had reached
/// with each, and when and by whom each row is.
pub const TEXT_CHUNKS: Table = Table {
    name: "text_chunks",
    columns: &[
        Column::new("number", ColumnKind::Integer),
        Column::new("runs", ColumnKind::Bytes),
        Column::new("first_minute", ColumnKind::Integer),
        Column::new("last_minute", ColumnKind::Integer),
        Column::new("reached", ColumnKind::Bytes),
        // Behind all others, which are often read without them.
        Column::new("times", ColumnKind::Bytes),
        Column::new("actors", ColumnKind::Bytes),
    ],
    unique: &["number"],
    is_changed: false,
    indexes: &[],
};

/// Which rows of a chunk contain a trigram or a term; and the lists of its terms. The chunk comes first: its entries are
/// written, and merged, together.
pub const TEXT_POSTINGS: Table = Table {
    name: "text_postings",
    columns: &[
        Column::new("chunk", ColumnKind::Integer),
        Column::new("trigram", ColumnKind::Integer),
        Column::new("places", ColumnKind::Bytes),
    ],
    unique: &["chunk", "trigram"],
    is_changed: false,
    indexes: &[],
};
