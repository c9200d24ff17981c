//! The files of an archive: Avro object container files (<https://avro.apache.org/docs/1.12.0/specification/>) of log
//! records, compressed with `deflate`.
//!
//! Written and read by hand, because it is little and has to be total: whatever the bytes, reading ends with a record or
//! a reason, and takes no more memory than [`MAX_BLOCK_BYTES`].

use std::io::{self, Read, Write};

use annals_bus::StoredRecord;
use bytes::{Buf, BufMut, Bytes};
use chrono::DateTime;
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;

/// What is in the files. A change of it is a new version of the archive.
pub(super) const SCHEMA: &str = r#"{"type":"record","name":"LogRecord","namespace":"annals.archive","fields":[{"name":"offset","type":"long"},{"name":"recorded_at","type":{"type":"long","logicalType":"timestamp-micros"}},{"name":"key","type":["null","bytes"]},{"name":"value","type":"bytes"},{"name":"headers","type":{"type":"array","items":{"type":"record","name":"Header","fields":[{"name":"name","type":"string"},{"name":"value","type":"bytes"}]}}}]}"#;

const MAGIC: [u8; 4] = *b"Obj\x01";
const CODEC: &str = "deflate";

/// A block is closed when it has this many bytes before compression.
const BLOCK_BYTES: usize = 256 * 1024;

/// Largest block that is read, before and after compression: a full block and the largest record that any log may have.
const MAX_BLOCK_BYTES: u64 = 64 * 1024 * 1024;

/// Marks of a file that are read at most before its records.
const MAX_METADATA: i64 = 64;

/// Why a file cannot be read.
#[derive(Debug)]
pub(super) enum Fault {
    /// The disk.
    Io(io::Error),
    /// The bytes.
    Damaged(&'static str),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Damaged("it is cut"),
            _ => Self::Io(error),
        }
    }
}

/// Writes a file.
pub(super) struct ContainerWriter<W> {
    out: W,
    sync: [u8; 16],
    block: Vec<u8>,
    count: i64,
}

impl<W: Write> ContainerWriter<W> {
    /// Begins a file. `sync` is what its blocks end with: it should be in no other file.
    pub(super) fn begin(mut out: W, sync: [u8; 16]) -> io::Result<Self> {
        let mut head = MAGIC.to_vec();
        put_long(&mut head, 2);
        for (name, value) in [("avro.schema", SCHEMA), ("avro.codec", CODEC)] {
            put_bytes(&mut head, name.as_bytes());
            put_bytes(&mut head, value.as_bytes());
        }
        put_long(&mut head, 0);
        head.put_slice(&sync);
        out.write_all(&head)?;
        Ok(Self { out, sync, block: Vec::with_capacity(BLOCK_BYTES), count: 0 })
    }

    pub(super) fn push(&mut self, record: &StoredRecord) -> io::Result<()> {
        put_record(&mut self.block, record);
        self.count += 1;
        if self.block.len() >= BLOCK_BYTES { self.end_block() } else { Ok(()) }
    }

    fn end_block(&mut self) -> io::Result<()> {
        if self.count == 0 {
            return Ok(());
        }
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&self.block)?;
        let compressed = encoder.finish()?;
        let mut head = Vec::new();
        put_long(&mut head, self.count);
        put_long(&mut head, compressed.len().cast_signed() as i64);
        self.out.write_all(&head)?;
        self.out.write_all(&compressed)?;
        self.out.write_all(&self.sync)?;
        self.block.clear();
        self.count = 0;
        Ok(())
    }

    /// Writes what is left.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.end_block()?;
        self.out.flush()?;
        Ok(self.out)
    }

    /// What is written to.
    pub(super) fn get_ref(&self) -> &W {
        &self.out
    }

    /// Bytes that wait for their block to be full.
    pub(super) fn pending_bytes(&self) -> u64 {
        self.block.len() as u64
    }
}

fn put_record(block: &mut Vec<u8>, record: &StoredRecord) {
    put_long(block, record.offset.cast_signed());
    put_long(block, record.recorded_at.timestamp_micros());
    match &record.key {
        None => put_long(block, 0),
        Some(key) => {
            put_long(block, 1);
            put_bytes(block, key);
        }
    }
    put_bytes(block, &record.value);
    if !record.headers.is_empty() {
        put_long(block, record.headers.len().cast_signed() as i64);
        for (name, value) in &record.headers {
            put_bytes(block, name.as_bytes());
            put_bytes(block, value);
        }
    }
    put_long(block, 0);
}

fn put_bytes(block: &mut Vec<u8>, bytes: &[u8]) {
    put_long(block, bytes.len().cast_signed() as i64);
    block.put_slice(bytes);
}

/// Avro's `long`: zigzag, seven bits a byte, the lowest first.
fn put_long(block: &mut Vec<u8>, number: i64) {
    let mut rest = ((number << 1) ^ (number >> 63)).cast_unsigned();
    while rest >= 0x80 {
        block.push((rest & 0x7F) as u8 | 0x80);
        rest >>= 7;
    }
    block.push(rest as u8);
}

/// Reads a file.
#[derive(Debug)]
pub(super) struct ContainerReader<R> {
    input: R,
    sync: [u8; 16],
    block: Bytes,
    left: i64,
}

impl<R: Read> ContainerReader<R> {
    /// Reads the head of a file.
    pub(super) fn open(mut input: R) -> Result<Self, Fault> {
        const NO_HEAD: Fault = Fault::Damaged("it is not an Avro file");
        let mut magic = [0; 4];
        input.read_exact(&mut magic)?;
        if magic != MAGIC {
            return Err(NO_HEAD);
        }
        let (mut schema, mut codec) = (None, None);
        loop {
            let mut count = read_long(&mut input)?.ok_or(NO_HEAD)?;
            if count < 0 {
                // A negative count is followed by the length of the block.
                read_long(&mut input)?;
                count = count.checked_neg().ok_or(NO_HEAD)?;
            }
            if count == 0 {
                break;
            }
            if count > MAX_METADATA {
                return Err(NO_HEAD);
            }
            for _ in 0..count {
                let (name, value) = (read_bytes(&mut input)?, read_bytes(&mut input)?);
                match &*name {
                    b"avro.schema" => schema = Some(value),
                    b"avro.codec" => codec = Some(value),
                    _ => {}
                }
            }
        }
        if schema.as_deref() != Some(SCHEMA.as_bytes()) || codec.as_deref() != Some(CODEC.as_bytes()) {
            return Err(Fault::Damaged("its schema or codec is not that of an archive"));
        }
        let mut sync = [0; 16];
        input.read_exact(&mut sync)?;
        Ok(Self { input, sync, block: Bytes::new(), left: 0 })
    }

    /// The next record; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<StoredRecord>, Fault> {
        while self.left == 0 {
            if self.block.has_remaining() {
                return Err(Fault::Damaged("bytes after the last record of a block"));
            }
            if !self.next_block()? {
                return Ok(None);
            }
        }
        self.left -= 1;
        get_record(&mut self.block).map(Some).ok_or(Fault::Damaged("a record cannot be read"))
    }

    /// What was read from.
    pub(super) fn into_inner(self) -> R {
        self.input
    }

    fn next_block(&mut self) -> Result<bool, Fault> {
        let Some(count) = read_long(&mut self.input)? else { return Ok(false) };
        let compressed = read_bytes(&mut self.input)?;
        let mut sync = [0; 16];
        self.input.read_exact(&mut sync)?;
        if sync != self.sync || count < 0 {
            return Err(Fault::Damaged("a block does not end where it should"));
        }
        let mut block = Vec::with_capacity(BLOCK_BYTES);
        DeflateDecoder::new(&*compressed)
            .take(MAX_BLOCK_BYTES + 1)
            .read_to_end(&mut block)
            .map_err(|_| Fault::Damaged("a block cannot be decompressed"))?;
        if block.len() as u64 > MAX_BLOCK_BYTES {
            return Err(Fault::Damaged("a block is too large"));
        }
        (self.block, self.left) = (Bytes::from(block), count);
        Ok(true)
    }
}

/// A `long` of a file; `None` where the file ends.
fn read_long(input: &mut impl Read) -> Result<Option<i64>, Fault> {
    let mut bytes = Vec::with_capacity(10);
    let mut one = [0];
    loop {
        match input.read_exact(&mut one) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && bytes.is_empty() => {
                return Ok(None);
            }
            read => read?,
        }
        bytes.push(one[0]);
        if one[0] < 0x80 || bytes.len() == 10 {
            let number = get_long(&mut Bytes::from(bytes)).ok_or(Fault::Damaged("a number is too long"))?;
            return Ok(Some(number));
        }
    }
}

fn read_bytes(input: &mut impl Read) -> Result<Vec<u8>, Fault> {
    let length = read_long(input)?.ok_or(Fault::Damaged("it is cut"))?;
    let length = u64::try_from(length).ok().filter(|length| *length <= MAX_BLOCK_BYTES);
    let length = length.ok_or(Fault::Damaged("a length cannot be"))?;
    let mut bytes = Vec::new();
    input.take(length).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == length { Ok(bytes) } else { Err(Fault::Damaged("it is cut")) }
}

fn get_record(block: &mut Bytes) -> Option<StoredRecord> {
    let offset = u64::try_from(get_long(block)?).ok()?;
    let recorded_at = DateTime::from_timestamp_micros(get_long(block)?)?;
    let key = match get_long(block)? {
        0 => None,
        1 => Some(get_bytes(block)?),
        _ => return None,
    };
    let value = get_bytes(block)?;
    let mut headers = Vec::new();
    loop {
        let mut count = get_long(block)?;
        if count < 0 {
            get_long(block)?;
            count = count.checked_neg()?;
        }
        if count == 0 {
            return Some(StoredRecord { offset, recorded_at, key, value, headers });
        }
        for _ in 0..count {
            let name = String::from_utf8(get_bytes(block)?.to_vec()).ok()?;
            headers.push((name.into(), get_bytes(block)?));
        }
    }
}

fn get_bytes(block: &mut Bytes) -> Option<Bytes> {
    let length = usize::try_from(get_long(block)?).ok()?;
    (length <= block.len()).then(|| block.split_to(length))
}

fn get_long(block: &mut Bytes) -> Option<i64> {
    let mut rest = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = block.try_get_u8().ok()?;
        rest |= u64::from(byte & 0x7F).checked_shl(shift)?;
        if byte < 0x80 {
            return Some((rest >> 1).cast_signed() ^ -(rest & 1).cast_signed());
        }
    }
    None
}

#[cfg(test)]
mod tests;
