use super::*;
use proptest::prelude::*;

fn any_record() -> impl Strategy<Value = StoredRecord> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from);
    let header = (".{0,5}", bytes()).prop_map(|(name, value)| (name.into(), value));
    let headers = prop::collection::vec(header, 0..3);
    let time = -62_135_596_800_000_000_i64..253_402_300_800_000_000;
    (0..1_u64 << 62, time, prop::option::of(bytes()), bytes(), headers).prop_map(
        |(offset, micros, key, value, headers)| {
            let recorded_at = DateTime::from_timestamp_micros(micros).unwrap();
            StoredRecord { offset, recorded_at, key, value, headers }
        },
    )
}

fn written(records: &[StoredRecord]) -> Vec<u8> {
    let mut writer = ContainerWriter::begin(Vec::new(), [7; 16]).unwrap();
    for record in records {
        writer.push(record).unwrap();
    }
    writer.finish().unwrap()
}

fn read(file: &[u8]) -> Result<Vec<StoredRecord>, Fault> {
    let mut reader = ContainerReader::open(file)?;
    let mut records = Vec::new();
    while let Some(record) = reader.next()? {
        records.push(record);
    }
    Ok(records)
}

fn large_records() -> Vec<StoredRecord> {
    let record = |offset: u64| StoredRecord {
        offset,
        recorded_at: DateTime::UNIX_EPOCH,
        key: None,
        value: Bytes::from(vec![offset as u8; 100_000 * offset as usize]),
        headers: Vec::new(),
    };
    (0..12).map(record).collect()
}

proptest! {
    #[test]
    fn a_file_comes_back_as_it_was(records in prop::collection::vec(any_record(), 0..40)) {
        prop_assert_eq!(read(&written(&records)).unwrap(), records);
    }

    #[test]
    fn any_bytes_are_read_or_refused(
        records in prop::collection::vec(any_record(), 0..10),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut file = written(&records);
        for (at, byte) in changes {
            let at = at.index(file.len());
            file[at] = byte;
        }
        let _ = read(&file);
        let length = cut.index(file.len());
        let _ = read(&file[..length]);
        // Without the compression in between, the decoder sees anything.
        let _ = get_record(&mut Bytes::from(file));
    }
}

#[test]
fn many_blocks_and_a_record_larger_than_one_are_read() {
    let records = large_records();
    assert_eq!(read(&written(&records)).unwrap(), records);
}

#[test]
fn a_file_that_is_cut_is_refused_wherever_it_is_cut() {
    let file = written(&large_records()[..4]);
    let whole = read(&file).unwrap().len();
    let mut readable = 0;
    for length in 0..file.len() {
        if let Ok(records) = read(&file[..length]) {
            // Between two blocks nothing tells: that is what the count in the manifest is for.
            assert!(records.len() < whole);
            readable += 1;
        }
    }
    assert!(readable <= 3, "{readable}");
}

#[test]
fn a_block_that_would_fill_the_memory_is_refused() {
    let mut file = written(&[]);
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&vec![0; MAX_BLOCK_BYTES as usize + 2]).unwrap();
    put_long(&mut file, 1);
    put_bytes(&mut file, &encoder.finish().unwrap());
    file.put_slice(&[7; 16]);
    assert!(matches!(read(&file), Err(Fault::Damaged("a block is too large"))));
    let mut file = written(&[]);
    put_long(&mut file, 1);
    put_long(&mut file, i64::MAX);
    assert!(matches!(read(&file), Err(Fault::Damaged("a length cannot be"))));
}

#[test]
fn another_avro_library_reads_the_files() {
    use apache_avro::types::Value;
    let records = vec![
        StoredRecord {
            offset: 3,
            recorded_at: DateTime::from_timestamp_micros(1_234_567).unwrap(),
            key: Some(Bytes::from_static(b"k")),
            value: Bytes::from_static(b"\0v"),
            headers: vec![("h".into(), Bytes::from_static(b"1"))],
        },
        StoredRecord {
            offset: 4,
            recorded_at: DateTime::from_timestamp_micros(-1).unwrap(),
            key: None,
            value: Bytes::new(),
            headers: Vec::new(),
        },
    ];
    let file = written(&records);
    let read: Vec<Value> = apache_avro::Reader::new(&file[..]).unwrap().collect::<Result<_, _>>().unwrap();
    let bytes = |bytes: &Bytes| Value::Bytes(bytes.to_vec());
    for (value, record) in read.iter().zip(&records) {
        let header = |(name, value): &annals_bus::Header| {
            Value::Record(vec![
                ("name".into(), Value::String(name.to_string())),
                ("value".into(), bytes(value)),
            ])
        };
        let key = match &record.key {
            None => Value::Union(0, Box::new(Value::Null)),
            Some(key) => Value::Union(1, Box::new(bytes(key))),
        };
        let expected = Value::Record(vec![
            ("offset".into(), Value::Long(record.offset.cast_signed())),
            ("recorded_at".into(), Value::TimestampMicros(record.recorded_at.timestamp_micros())),
            ("key".into(), key),
            ("value".into(), bytes(&record.value)),
            ("headers".into(), Value::Array(record.headers.iter().map(header).collect())),
        ]);
        assert_eq!(*value, expected);
    }
    assert_eq!(read.len(), records.len());
}
