//! Tests of reading files.

use std::io::Write;

use super::*;
use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

fn file(content: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(content).unwrap();
    file
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn read_with(format: Format, content: &[u8]) -> Vec<InputRecord> {
    let mut records = Vec::new();
    read_records(file(content).path(), format, &mut |record| {
        records.push(record);
        ControlFlow::Continue(())
    })
    .unwrap();
    records
}

/// Line numbers, and the `n` of each record or the text of its error.
fn lines(content: &[u8]) -> Vec<(u64, String)> {
    shown(read_with(Format::WindowsSecurity, content))
}

fn elements(content: &[u8]) -> Vec<(u64, String)> {
    shown(read_with(Format::Cloudtrail, content))
}

fn shown(records: Vec<InputRecord>) -> Vec<(u64, String)> {
    let text = |record: Result<Map<String, Value>, LineError>| match record {
        Ok(record) => record["n"].to_string(),
        Err(error) => error.to_string(),
    };
    records.into_iter().map(|record| (record.line, text(record.record))).collect()
}

fn numbered(expected: &[(u64, &str)]) -> Vec<(u64, String)> {
    expected.iter().map(|(line, text)| (*line, (*text).to_owned())).collect()
}

#[test]
fn lines_may_end_as_they_like() {
    let content = b"\xef\xbb\xbf{\"n\":1}\r\n\n  \r\n{\"n\":2}\n {\"n\":3} ";
    let expected = numbered(&[(1, "1"), (4, "2"), (5, "3")]);
    assert_eq!(lines(content), expected);
    assert_eq!(lines(&gzip(content)), expected);
    assert_eq!(elements(content), expected);
}

#[test]
fn a_file_without_records_has_none() {
    for content in [b"".as_slice(), b"\n", b"\xef\xbb\xbf", b" \r\n \n"] {
        assert_eq!(lines(content), []);
        assert_eq!(lines(&gzip(content)), []);
    }
    for content in [b"{\"Records\":[]}".as_slice(), b" { \"Records\" : [ ] } \n"] {
        assert_eq!(elements(content), []);
    }
}

#[test]
fn every_bad_line_says_what_is_wrong_and_the_next_one_is_read() {
    let content = b"{\"n\":1\n[]\n\"a\"\n5\nnull\n{\"n\":\"\xff\"}\n{\"n\":2} x\n{\"n\":3}\n";
    let expected = numbered(&[
        (1, "not JSON: EOF while parsing an object at column 6"),
        (2, "not a JSON object but an array"),
        (3, "not a JSON object but a string"),
        (4, "not a JSON object but a number"),
        (5, "not a JSON object but a bare word"),
        (6, "not UTF-8 from byte 7"),
        (7, "not JSON: trailing characters at column 9"),
        (8, "3"),
    ]);
    assert_eq!(lines(content), expected);
}

#[test]
fn half_a_last_line_says_that_the_file_seems_cut() {
    for half in [b"{\"n\":".as_slice(), b"{\"n\":\"\xc3", b"{\"n\":2}{"] {
        let records = lines(&[b"{\"n\":1}\n", half].concat());
        assert_eq!(records[0], (1, "1".to_owned()));
        assert!(
            records[1].1.starts_with("the file seems cut: its last line has no end, and is not "),
            "{records:?}"
        );
    }
}

#[test]
fn a_line_at_the_limit_is_read_and_a_longer_one_is_skipped() {
    let line = |length: usize| {
        let frame = "{\"n\":1,\"a\":\"\"}".len();
        format!("{{\"n\":1,\"a\":\"{}\"}}\n", "x".repeat(length - frame))
    };
    let content = [line(MAX_LINE_BYTES), line(MAX_LINE_BYTES + 1), line(100)].concat();
    let expected = numbered(&[(1, "1"), (2, "longer than 1048576 bytes"), (3, "1")]);
    assert_eq!(lines(content.as_bytes()), expected);
    // Without an end it is too long all the same.
    assert_eq!(lines(&[b'x'; MAX_LINE_BYTES * 3]), numbered(&[(1, "longer than 1048576 bytes")]));
}

#[test]
fn a_line_of_100_mb_takes_no_more_memory_than_a_short_one() {
    let mut source =
        BufReader::new(std::io::repeat(b'x').take(100 * 1024 * 1024).chain(b"\n{\"n\":2}\n".as_slice()));
    let mut piece = Piece::default();
    let mut longest = 0;
    loop {
        let available = source.fill_buf().unwrap();
        let end = available.iter().position(|byte| *byte == b'\n');
        piece.push(&available[..end.unwrap_or(available.len())]);
        longest = longest.max(piece.bytes.capacity());
        let count = end.map_or(available.len(), |end| end + 1);
        source.consume(count);
        if end.is_some() {
            break;
        }
    }
    assert!(longest <= 2 * MAX_LINE_BYTES);
    assert_eq!(piece.take(), Err(LineError::TooLong));
}

#[test]
fn records_of_a_service_file_are_read_one_by_one() {
    let content = b"\xef\xbb\xbf {\r\n \"Records\" : [ {\"n\":1,\"a\":\"],}\\\"\"} ,\n{\"n\":2,\"a\":[{},[]]},5,,{\"n\":}, {\"n\":3} ] }\n";
    let expected = numbered(&[
        (1, "1"),
        (2, "2"),
        (3, "not a JSON object but a number"),
        (4, "not JSON: EOF while parsing a value at line 1 column 0"),
        (5, "not JSON: expected value at column 6"),
        (6, "3"),
    ]);
    let expected: Vec<_> = expected
        .into_iter()
        .map(|(line, text)| (line, text.replace(" at line 1 column ", " at column ")))
        .collect();
    assert_eq!(elements(content), expected);
    assert_eq!(elements(&gzip(content)), expected);
}

#[test]
fn joined_service_files_are_read_to_their_end() {
    let one = b"{\"Records\":[{\"n\":1},{\"n\":2}]}";
    let expected = numbered(&[(1, "1"), (2, "2"), (3, "1"), (4, "2")]);
    assert_eq!(elements(&[one.as_slice(), one].concat()), expected);
    assert_eq!(elements(&[one.as_slice(), b"\n", one, b"\n"].concat()), expected);
    assert_eq!(elements(&[gzip(one), gzip(one)].concat()), expected);
}

#[test]
fn a_service_file_that_does_not_end_well_says_so() {
    let cut = "the file seems cut: it ends inside of `Records`";
    for content in ["{\"Records\":[{\"n\":1},{\"n\":", "{\"Records\":[{\"n\":1},", "{\"Records\":[{\"n\":1}]"]
    {
        assert_eq!(elements(content.as_bytes()), numbered(&[(1, "1"), (2, cut)]), "{content}");
    }
    let goes_on = "the file goes on after the end of `Records`; the rest of it is not read";
    for content in ["{\"Records\":[{\"n\":1}],\"a\":1}", "{\"Records\":[{\"n\":1}]} {\"n\":2}"] {
        assert_eq!(elements(content.as_bytes()), numbered(&[(1, "1"), (2, goes_on)]), "{content}");
    }
}

#[test]
fn an_element_that_is_too_long_is_skipped() {
    let content = format!("{{\"Records\":[{{\"n\":\"{}\"}},{{\"n\":2}}]}}", "[".repeat(MAX_LINE_BYTES));
    assert_eq!(elements(content.as_bytes()), numbered(&[(1, "longer than 1048576 bytes"), (2, "2")]));
}

#[test]
fn a_damaged_compressed_file_is_an_error_after_its_good_part() {
    let content: String = (0..20_000).map(|n| format!("{{\"n\":{n},\"a\":\"{}\"}}\n", n * 7919)).collect();
    let mut packed = gzip(content.as_bytes());
    packed.truncate(packed.len() / 2);
    let mut count = 0;
    let error = read_records(file(&packed).path(), Format::WindowsSecurity, &mut |record| {
        assert_eq!(record.record.unwrap()["n"], count);
        count += 1;
        ControlFlow::Continue(())
    });
    assert!(matches!(error, Err(InputError::Compressed { .. })), "{error:?}");
    assert!(count > 1000);
}

#[test]
fn a_missing_file_and_a_folder_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let mut each = |_| ControlFlow::Continue(());
    let error = read_records(&folder.path().join("x"), Format::Cloudtrail, &mut each).unwrap_err();
    assert!(matches!(error, InputError::Open { .. }) && error.to_string().starts_with("cannot open `"));
    let error = read_records(folder.path(), Format::Cloudtrail, &mut each).unwrap_err();
    assert!(matches!(error, InputError::Read { .. }), "{error:?}");
}

#[test]
fn reading_stops_when_it_is_told_to() {
    for content in [b"{\"n\":1}\n{\"n\":2}\n".as_slice(), b"{\"Records\":[{\"n\":1},{\"n\":2}]}"] {
        let mut count = 0;
        read_records(file(content).path(), Format::Cloudtrail, &mut |_| {
            count += 1;
            ControlFlow::Break(())
        })
        .unwrap();
        assert_eq!(count, 1);
    }
}

#[test]
fn progress_counts_stored_bytes_up_to_the_file_s_size() {
    let content = "{\"n\":1}\n".repeat(50_000);
    for stored in [content.as_bytes().to_vec(), gzip(content.as_bytes())] {
        let progress: Vec<u64> =
            read_with(Format::WindowsSecurity, &stored).iter().map(|record| record.bytes_read).collect();
        assert!(progress.is_sorted());
        assert_eq!(progress.last(), Some(&(stored.len() as u64)));
    }
}

/// A line with what must be reported of it: `None` for nothing.
fn any_line() -> impl Strategy<Value = (Vec<u8>, Option<bool>)> {
    prop_oneof![
        any::<u32>().prop_map(|n| (format!("{{\"n\":{n}}}").into_bytes(), Some(true))),
        "[a-z ]{0,5}[a-z]".prop_map(|text| (text.into_bytes(), Some(false))),
        Just((b"[1]".to_vec(), Some(false))),
        Just((b"\xff\xfe".to_vec(), Some(false))),
        Just((vec![b'{'; 200], Some(false))),
        "[ \t\r]{0,4}".prop_map(|text| (text.into_bytes(), None)),
    ]
}

proptest! {
    #[test]
    fn each_line_is_reported_exactly_once(
        all in prop::collection::vec(any_line(), 0..40), ends in any::<bool>(), packed in any::<bool>(),
    ) {
        let mut content = all.iter().map(|(line, _)| line.as_slice()).collect::<Vec<_>>().join(&b'\n');
        if ends { content.push(b'\n'); }
        if packed { content = gzip(&content); }
        let reported: Vec<(u64, bool)> = read_with(Format::WindowsSecurity, &content)
            .iter().map(|record| (record.line, record.record.is_ok())).collect();
        let expected: Vec<(u64, bool)> =
            (1..).zip(&all).filter_map(|(line, (_, is_good))| Some((line, (*is_good)?))).collect();
        prop_assert_eq!(reported, expected);
    }

    #[test]
    fn each_element_is_reported_exactly_once(numbers in prop::collection::vec("[ -~]{0,12}", 0..20)) {
        let objects: Vec<Value> = numbers.iter().map(|text| serde_json::json!({"n": text, text: [[], {}]})).collect();
        let content = serde_json::json!({"Records": objects}).to_string();
        let records = read_with(Format::Cloudtrail, content.as_bytes());
        prop_assert_eq!(records.len(), objects.len());
        for (number, (record, object)) in (1..).zip(records.into_iter().zip(objects)) {
            prop_assert_eq!(record.line, number);
            prop_assert_eq!(Value::Object(record.record.unwrap()), object);
        }
    }

    #[test]
    fn any_bytes_are_read_to_their_end(content in prop::collection::vec(any::<u8>(), 0..300)) {
        let opened = [b"{\"Records\":[".as_slice(), &content].concat();
        prop_assume!(!content.starts_with(&GZIP_MAGIC));
        read_with(Format::Cloudtrail, &content);
        read_with(Format::Cloudtrail, &opened);
    }
}
