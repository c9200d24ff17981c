//! Streams the records of one file in constant memory, whatever stands in it.
//!
//! Each line (or element of a service's `Records`) is reported exactly once: as a record, or as what is wrong with
//! it. Only a file that cannot be read any further ends the stream with an error.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use flate2::read::MultiGzDecoder;
use serde_json::{Map, Value};

use super::Format;

/// Longest line or element, in bytes, that is read. A longer one is skipped without being held in memory.
pub const MAX_LINE_BYTES: usize = 1024 * 1024;

/// How far the opening of a service file is looked for.
const HEAD_BYTES: usize = 4096;

const BUFFER_BYTES: usize = 64 * 1024;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// One record of a file.
#[derive(Debug)]
pub struct InputRecord {
    /// Number of the line from 1, or of the element of `Records`.
    pub line: u64,
    /// How much of the file, as it is stored, has been read so far.
    pub bytes_read: u64,
    /// The record, or what is wrong with the line.
    pub record: Result<Map<String, Value>, LineError>,
}

/// What is wrong with one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LineError {
    /// Longer than [`MAX_LINE_BYTES`].
    #[error("longer than {MAX_LINE_BYTES} bytes")]
    TooLong,
    /// Bytes that are no text.
    #[error("not UTF-8 from byte {0}")]
    NotUtf8(usize),
    /// What the parser says. It is part of the text because the text becomes the reason of a dead letter.
    #[error("not JSON: {0}")]
    NotJson(String),
    /// JSON, but another kind of value.
    #[error("not a JSON object but {0}")]
    NotAnObject(&'static str),
    /// The last line has no end and cannot be read.
    #[error("the file seems cut: its last line has no end, and is {0}")]
    Cut(Box<LineError>),
    /// The last element or the list itself has no end.
    #[error("the file seems cut: it ends inside of `Records`")]
    CutRecords,
    /// Something that does not belong there follows the list of records.
    #[error("the file goes on after the end of `Records`; the rest of it is not read")]
    AfterRecords,
}

/// Why a file cannot be read, or not any further.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// It cannot be opened.
    #[error("cannot open `{}`", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It cannot be read to its end.
    #[error("cannot read `{}` to its end", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its compressed data is damaged or cut short.
    #[error("the compressed file `{}` is damaged or cut short", path.display())]
    Compressed {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Streams the records of the file at `path` to `each`, until it breaks or the file ends. Compression is told by the
/// file's first bytes; a byte order mark, blank lines and CRLF are fine.
///
/// # Errors
/// When the file cannot be opened or read. What is wrong with single lines is given to `each` instead.
pub fn read_records(
    path: &Path,
    format: Format,
    each: &mut dyn FnMut(InputRecord) -> ControlFlow<()>,
) -> Result<(), InputError> {
    let owned = || path.to_owned();
    let file = File::open(path).map_err(|source| InputError::Open { path: owned(), source })?;
    let read_error = |source| InputError::Read { path: owned(), source };
    let bytes_read = Rc::new(Cell::new(0));
    let mut stored =
        BufReader::with_capacity(BUFFER_BYTES, Counted { file, bytes_read: Rc::clone(&bytes_read) });
    let magic = head(&mut stored, GZIP_MAGIC.len()).map_err(read_error)?;
    let is_compressed = magic == GZIP_MAGIC;
    let stored = Cursor::new(magic).chain(stored);
    let content: Box<dyn Read> =
        if is_compressed { Box::new(MultiGzDecoder::new(stored)) } else { Box::new(stored) };
    let mut sink = Sink { line: 0, bytes_read, each };
    match stream(content, format, &mut sink) {
        Ok(_) => Ok(()),
        // The decoder reports damage as an error of reading; an error of the disk has another kind.
        Err(source)
            if is_compressed
                && matches!(
                    source.kind(),
                    io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
                ) =>
        {
            Err(InputError::Compressed { path: owned(), source })
        }
        Err(source) => Err(read_error(source)),
    }
}

/// Counts what is read of the file itself, below the decompression.
struct Counted {
    file: File,
    bytes_read: Rc<Cell<u64>>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.bytes_read.set(self.bytes_read.get() + count as u64);
        Ok(count)
    }
}

/// Numbers the records and hands them out.
struct Sink<'e> {
    line: u64,
    bytes_read: Rc<Cell<u64>>,
    each: &'e mut dyn FnMut(InputRecord) -> ControlFlow<()>,
}

impl Sink<'_> {
    fn put(&mut self, record: Result<Map<String, Value>, LineError>) -> ControlFlow<()> {
        (self.each)(InputRecord { line: self.line, bytes_read: self.bytes_read.get(), record })
    }
}

/// The first `limit` bytes, or fewer when there are no more. A plain `read` may give fewer although more follow.
fn head(reader: &mut impl Read, limit: usize) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(limit);
    reader.take(limit as u64).read_to_end(&mut head)?;
    Ok(head)
}

fn stream(mut content: Box<dyn Read>, format: Format, sink: &mut Sink<'_>) -> io::Result<ControlFlow<()>> {
    let mut head = head(&mut content, HEAD_BYTES)?;
    if head.starts_with(BYTE_ORDER_MARK) {
        head.drain(..BYTE_ORDER_MARK.len());
    }
    let opening = if format == Format::Cloudtrail { records_opening(&head) } else { None };
    head.drain(..opening.unwrap_or(0));
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, Cursor::new(head).chain(content));
    if opening.is_some() { read_elements(&mut reader, sink) } else { read_lines(&mut reader, sink) }
}

/// A line or an element that is being read: its bytes, as far as they fit.
#[derive(Default)]
struct Piece {
    bytes: Vec<u8>,
    is_too_long: bool,
}

impl Piece {
    fn push(&mut self, bytes: &[u8]) {
        if self.is_too_long || self.bytes.len() + bytes.len() > MAX_LINE_BYTES {
            self.is_too_long = true;
            self.bytes.clear();
        } else {
            self.bytes.extend_from_slice(bytes);
        }
    }

    fn is_blank(&self) -> bool {
        !self.is_too_long && self.bytes.trim_ascii().is_empty()
    }

    /// The record; the piece is empty afterwards and keeps its memory.
    fn take(&mut self) -> Result<Map<String, Value>, LineError> {
        let result = if self.is_too_long { Err(LineError::TooLong) } else { parse(&self.bytes) };
        self.bytes.clear();
        self.is_too_long = false;
        result
    }
}

fn parse(bytes: &[u8]) -> Result<Map<String, Value>, LineError> {
    let text = std::str::from_utf8(bytes).map_err(|error| LineError::NotUtf8(error.valid_up_to() + 1))?;
    match serde_json::from_str(text) {
        Ok(Value::Object(record)) => Ok(record),
        Ok(Value::Array(_)) => Err(LineError::NotAnObject("an array")),
        Ok(Value::String(_)) => Err(LineError::NotAnObject("a string")),
        Ok(Value::Number(_)) => Err(LineError::NotAnObject("a number")),
        Ok(Value::Bool(_) | Value::Null) => Err(LineError::NotAnObject("a bare word")),
        // The parser's line is always 1 here and would be taken for the file's.
        Err(error) => Err(LineError::NotJson(error.to_string().replace(" at line 1 column ", " at column "))),
    }
}

fn read_lines(reader: &mut impl BufRead, sink: &mut Sink<'_>) -> io::Result<ControlFlow<()>> {
    let mut piece = Piece::default();
    loop {
        let available = reader.fill_buf()?;
        let is_last = available.is_empty();
        let end = available.iter().position(|byte| *byte == b'\n');
        piece.push(&available[..end.unwrap_or(available.len())]);
        let consumed = end.map_or(available.len(), |end| end + 1);
        reader.consume(consumed);
        if end.is_none() && !is_last {
            continue;
        }
        sink.line += 1;
        if !piece.is_blank() {
            let record = match piece.take() {
                Err(error @ (LineError::NotUtf8(_) | LineError::NotJson(_))) if is_last => {
                    Err(LineError::Cut(Box::new(error)))
                }
                record => record,
            };
            if sink.put(record).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        piece.bytes.clear();
        if is_last {
            return Ok(ControlFlow::Continue(()));
        }
    }
}

/// Where the first element stands when `head` begins as `{"Records":[`, with any blanks.
fn records_opening(head: &[u8]) -> Option<usize> {
    let mut rest = head;
    for token in [b"{".as_slice(), b"\"Records\"", b":", b"["] {
        rest = rest.trim_ascii_start().strip_prefix(token)?;
    }
    Some(head.len() - rest.len())
}

/// Finds the end of an element without parsing it: what counts is being inside of a string, and the depth.
#[derive(Default)]
struct ElementEnd {
    depth: u64,
    is_in_string: bool,
    is_escaped: bool,
}

impl ElementEnd {
    /// Whether `byte` is the comma or bracket after the element.
    fn is_at(&mut self, byte: u8) -> bool {
        if self.is_in_string {
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' => self.is_escaped = true,
                b'"' => self.is_in_string = false,
                _ => {}
            }
            return false;
        }
        match byte {
            b'"' => self.is_in_string = true,
            b'{' | b'[' => self.depth += 1,
            b',' | b']' if self.depth == 0 => return true,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        false
    }
}

/// Reads the elements after `{"Records":[`, and those of files that were joined to this one.
fn read_elements(reader: &mut impl BufRead, sink: &mut Sink<'_>) -> io::Result<ControlFlow<()>> {
    let mut piece = Piece::default();
    let mut element_end = ElementEnd::default();
    loop {
        let available = reader.fill_buf()?;
        if available.is_empty() {
            sink.line += 1;
            return Ok(sink.put(Err(LineError::CutRecords)));
        }
        let found = available.iter().position(|byte| element_end.is_at(*byte));
        piece.push(&available[..found.unwrap_or(available.len())]);
        let terminator = found.map(|index| available[index]);
        let consumed = found.map_or(available.len(), |index| index + 1);
        reader.consume(consumed);
        let Some(terminator) = terminator else { continue };
        let is_list_end = terminator == b']';
        // An empty list has no element, and a comma before the bracket begins none.
        if !(is_list_end && piece.is_blank()) {
            sink.line += 1;
            if sink.put(piece.take()).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        piece.bytes.clear();
        element_end = ElementEnd::default();
        if is_list_end {
            match next_list(reader)? {
                Next::List => {}
                Next::End => return Ok(ControlFlow::Continue(())),
                Next::Else(error) => {
                    sink.line += 1;
                    return Ok(sink.put(Err(error)));
                }
            }
        }
    }
}

/// What follows the bracket that ends a list.
enum Next {
    List,
    End,
    Else(LineError),
}

/// Reads the closing brace and, where files were joined, the opening of the next one.
fn next_list(reader: &mut impl BufRead) -> io::Result<Next> {
    match next_byte(reader)? {
        Some(b'}') => {}
        Some(_) => return Ok(Next::Else(LineError::AfterRecords)),
        None => return Ok(Next::Else(LineError::CutRecords)),
    }
    let Some(first) = next_byte(reader)? else { return Ok(Next::End) };
    let mut opening = vec![first];
    reader.take(HEAD_BYTES as u64).read_until(b'[', &mut opening)?;
    let is_list = records_opening(&opening) == Some(opening.len());
    Ok(if is_list { Next::List } else { Next::Else(LineError::AfterRecords) })
}

/// The next byte that is no blank.
fn next_byte(reader: &mut impl BufRead) -> io::Result<Option<u8>> {
    loop {
        let available = reader.fill_buf()?;
        if available.is_empty() {
            return Ok(None);
        }
        match available.iter().position(|byte| !byte.is_ascii_whitespace()) {
            Some(index) => {
                let byte = available[index];
                reader.consume(index + 1);
                return Ok(Some(byte));
            }
            None => {
                let blanks = available.len();
                reader.consume(blanks);
            }
        }
    }
}

#[cfg(test)]
#[path = "input_tests.rs"]
mod tests;
