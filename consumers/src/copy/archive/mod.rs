//! An archive: a folder of files, each with records of one partition, and a manifest that says what stands where.
//!
//! ```text
//! FOLDER/manifest.json            what the archive has; written last
//! FOLDER/manifest.partial.json    the same while a copy is under way, or was interrupted
//! FOLDER/TOPIC-PARTITION.avro     the first records of a partition; then TOPIC-PARTITION.2.avro, .3.avro, …
//! FOLDER/archive.lock             held while a process writes
//! ```
//!
//! The files are Avro object container files that other programs can read; `container` has their schema. A file is
//! written under the name `….partial` and renamed when it is whole and on the disk; only then the manifest names it. A
//! copy that was interrupted keeps the files that its manifest names, and begins the others anew. A later copy into the
//! same archive adds files with what has come since.

mod container;
mod files;
mod manifest;
mod reader;
mod writer;

pub use reader::ArchiveSource;
pub use writer::into_archive;
