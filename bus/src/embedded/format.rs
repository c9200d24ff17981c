//! The bytes of a batch: a version, a checksum, and the records one after another. Little-endian throughout.
//!
//! ```text
//! batch  = 0x01, crc32 of the rest: u32, record*
//! record = recorded_at in microseconds: i64, key, value: bytes, headers: u16, (name: bytes, value: bytes)*
//! key    = 0xFFFFFFFF | bytes
//! bytes  = length: u32, the bytes
//! ```

use bytes::{Buf, BufMut, Bytes};
use chrono::DateTime;

use crate::record::{Record, StoredRecord};

const VERSION: u8 = 1;
const NO_KEY: u32 = u32::MAX;
const HEAD_BYTES: usize = 5;

/// Why a batch cannot be read.
pub(super) type Damage = &'static str;

/// Begins a batch.
pub(super) fn begin() -> Vec<u8> {
    vec![0; HEAD_BYTES]
}

/// Adds a record to a batch.
pub(super) fn put(batch: &mut Vec<u8>, record: &Record, recorded_at_micros: i64) {
    batch.put_i64_le(recorded_at_micros);
    match &record.key {
        Some(key) => put_bytes(batch, key),
        None => batch.put_u32_le(NO_KEY),
    }
    put_bytes(batch, &record.value);
    // The writer refuses records with more headers before they come here.
    batch.put_u16_le(u16::try_from(record.headers.len()).unwrap_or(u16::MAX));
    for (name, value) in &record.headers {
        put_bytes(batch, name.as_bytes());
        put_bytes(batch, value);
    }
}

fn put_bytes(batch: &mut Vec<u8>, bytes: &[u8]) {
    batch.put_u32_le(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    batch.put_slice(bytes);
}

/// Ends a batch.
pub(super) fn finish(batch: &mut [u8]) {
    let checksum = crc32fast::hash(&batch[HEAD_BYTES..]);
    batch[0] = VERSION;
    batch[1..HEAD_BYTES].copy_from_slice(&checksum.to_le_bytes());
}

/// Reads a batch back. Values share its memory.
pub(super) fn read(batch: Vec<u8>, first_offset: u64, count: u64) -> Result<Vec<StoredRecord>, Damage> {
    let mut bytes = Bytes::from(batch);
    if bytes.try_get_u8() != Ok(VERSION) {
        return Err("unknown version of the batch");
    }
    let checksum = bytes.try_get_u32_le().map_err(|_| "the batch is cut")?;
    if crc32fast::hash(&bytes) != checksum {
        return Err("the checksum does not match");
    }
    let mut records = Vec::with_capacity(usize::try_from(count).unwrap_or_default());
    for offset in first_offset..first_offset + count {
        records.push(get(&mut bytes, offset).ok_or("a record is cut")?);
    }
    if bytes.has_remaining() { Err("bytes after the last record") } else { Ok(records) }
}

fn get(bytes: &mut Bytes, offset: u64) -> Option<StoredRecord> {
    let recorded_at = DateTime::from_timestamp_micros(bytes.try_get_i64_le().ok()?)?;
    let key = match bytes.try_get_u32_le().ok()? {
        NO_KEY => None,
        length => Some(take(bytes, length)?),
    };
    let value = get_bytes(bytes)?;
    let count = bytes.try_get_u16_le().ok()?;
    let mut headers = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        let name = std::str::from_utf8(&get_bytes(bytes)?).ok()?.into();
        headers.push((name, get_bytes(bytes)?));
    }
    Some(StoredRecord { offset, recorded_at, key, value, headers })
}

fn get_bytes(bytes: &mut Bytes) -> Option<Bytes> {
    let length = bytes.try_get_u32_le().ok()?;
    take(bytes, length)
}

fn take(bytes: &mut Bytes, length: u32) -> Option<Bytes> {
    let length = usize::try_from(length).ok()?;
    (length <= bytes.len()).then(|| bytes.split_to(length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_record() -> impl Strategy<Value = Record> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from);
        let header = (".{0,5}", bytes()).prop_map(|(name, value)| (name.into(), value));
        (prop::option::of(bytes()), bytes(), prop::collection::vec(header, 0..3))
            .prop_map(|(key, value, headers)| Record { key, value, headers, recorded_at: None })
    }

    proptest! {
        #[test]
        fn a_batch_comes_back_as_it_was(records in prop::collection::vec(any_record(), 0..20), first in 0..1_u64 << 40) {
            let mut batch = begin();
            for (index, record) in records.iter().enumerate() {
                let before = batch.len();
                put(&mut batch, record, index as i64);
                prop_assert_eq!(batch.len() - before, record.size_bytes());
            }
            finish(&mut batch);
            let stored = read(batch, first, records.len() as u64).unwrap();
            for (index, (stored, sent)) in stored.iter().zip(&records).enumerate() {
                prop_assert_eq!(stored.offset, first + index as u64);
                prop_assert_eq!(stored.recorded_at.timestamp_micros(), index as i64);
                prop_assert_eq!((&stored.key, &stored.value, &stored.headers), (&sent.key, &sent.value, &sent.headers));
            }
        }

        #[test]
        fn a_changed_or_cut_batch_is_noticed(value in prop::collection::vec(any::<u8>(), 1..40), at in any::<prop::sample::Index>(), cut in any::<bool>()) {
            let mut batch = begin();
            put(&mut batch, &Record { value: value.into(), ..Record::default() }, 7);
            finish(&mut batch);
            let at = at.index(batch.len());
            if cut { batch.truncate(at) } else { batch[at] ^= 0x20 }
            prop_assert!(read(batch, 0, 1).is_err());
        }
    }
}
