//! Request targets as people type them.
//!
//! A query typed with curl arrives as it was typed: vendors' documents have `<` and `>` in theirs, and a filter may hold
//! quotes, or letters in some old encoding. The HTTP library refuses such bytes with a bare 400 before any dialect sees
//! the request, but every query is to get the dialect's envelope. So the connection percent-encodes them on their way
//! to the library: exactly the bytes that it refuses, since a signature may cover a target as it was sent.
//!
//! A request line can only be told from a body by reading HTTP's framing along. Were that reading ever another than the
//! library's, bytes of a body would be changed. Therefore it knows the plain forms only (lines that end in CRLF, bodies
//! with one `Content-Length`); at anything else it leaves the rest of the connection as it is. What the library refuses
//! needs no care: it reads no further on that connection.
//!
//! For the same reason a target that is too long is cut here: the library would refuse it with a bare 414, or with a bare
//! 431 where it has no room for it. What is left of it is still longer than [`MAX_TARGET_BYTES`], so that the router
//! knows it ([`is_too_long`]) and the dialect answers 414 in its own form.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::http::Uri;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Longest target that is taken, with what is encoded in it counted three times. The library takes up to 65,534 bytes;
/// the difference is more than the last byte of a cut target brings along.
pub(crate) const MAX_TARGET_BYTES: usize = 65_000;

/// How much of a longer target is read to find its end. What is longer still goes on to the library, whose bare 431 it
/// gets.
const MAX_CUT_BYTES: usize = 16 * 1024 * 1024;

/// Bytes that are taken from the connection at once where targets may be among them. Three times as many may go out.
const PIECE_BYTES: usize = 4 * 1024;

/// Length of `transfer-encoding`, the longest name that matters. A longer one is no name that matters.
const NAME_BYTES: usize = 17;

/// Longest character in UTF-8.
const CHARACTER_BYTES: usize = 4;

/// What a version begins with; `0` or `1` follows.
const VERSION: &[u8] = b"HTTP/1.";

/// A few bytes, without an allocation. Beyond `N` only their number is kept.
#[derive(Clone, Copy, Debug)]
struct Few<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Few<N> {
    const EMPTY: Self = Self { bytes: [0; N], length: 0 };

    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.length) {
            *place = byte;
        }
        self.length += 1;
    }

    /// The bytes, or none when they were too many.
    fn get(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// Where the next byte of a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before a request, where empty lines may stand.
    Start,
    /// Before the LF of such a line.
    StartLf,
    Method,
    Target(Part),
    /// After so many bytes of [`VERSION`].
    Version(usize),
    /// Before the CR of the request line.
    VersionEnd,
    /// Before the LF of a line in the head.
    LineLf,
    /// Before a header, or the empty line.
    LineStart,
    Name,
    Value,
    /// In the value of `Content-Length`.
    Length(Number),
    /// Before the last LF of the head.
    HeadLf,
    /// Before so many bytes of a body.
    Body(u64),
    /// Nothing is changed any more on this connection.
    Stopped,
}

/// Where the next byte of a target stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// At the beginning.
    First,
    /// After so many slashes of something that does not begin with one: `http://host:port`, `host:port` or `*`. Escapes
    /// mean nothing there.
    Authority(u8),
    Path,
    Query,
    Fragment,
}

impl Part {
    fn after(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::First, b'/') | (Self::Authority(2), b'/') => Self::Path,
            (Self::Authority(slashes), b'/') => Self::Authority(slashes + 1),
            (Self::Authority(_) | Self::Path, b'?') => Self::Query,
            (Self::Authority(_) | Self::Path | Self::Query, b'#') => Self::Fragment,
            (Self::First, _) => Self::Authority(0),
            _ => self,
        }
    }

    fn may_change(self) -> bool {
        matches!(self, Self::Path | Self::Query | Self::Fragment)
    }

    /// Whether the library refuses a target with this ASCII byte here (`http::uri::PathAndQuery`, and for control
    /// characters `httparse`; a test compares).
    fn refuses(self, byte: u8) -> bool {
        match self {
            Self::First | Self::Authority(_) => false,
            Self::Path => byte.is_ascii_control() || matches!(byte, b'<' | b'>' | b'`'),
            Self::Query => byte.is_ascii_control() || matches!(byte, b'<' | b'>' | b'"'),
            Self::Fragment => byte.is_ascii_control(),
        }
    }
}

/// A number with blanks around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    Before,
    Within(u64),
    After(u64),
}

impl Number {
    /// None when it is no number any more.
    fn after(self, byte: u8) -> Option<Self> {
        match (self, byte) {
            (Self::Before, b' ' | b'\t') => Some(Self::Before),
            (Self::Within(number) | Self::After(number), b' ' | b'\t') => Some(Self::After(number)),
            (Self::Before, b'0'..=b'9') => Some(Self::Within(u64::from(byte - b'0'))),
            (Self::Within(number), b'0'..=b'9') => {
                number.checked_mul(10)?.checked_add(u64::from(byte - b'0')).map(Self::Within)
            }
            _ => None,
        }
    }
}

/// What is known of the head under way.
#[derive(Clone, Copy, Debug)]
struct Head {
    /// Bytes that went on.
    bytes: usize,
    /// Bytes of the target that went on, and of those that did not.
    target: usize,
    cut: usize,
    /// The method, or the name of the header under way, in small letters.
    name: Few<NAME_BYTES>,
    length: Option<u64>,
    expects: bool,
}

impl Head {
    const NEW: Self = Self { bytes: 0, target: 0, cut: 0, name: Few::EMPTY, length: None, expects: false };
}

/// Reads what comes over one connection, in whatever pieces, and encodes what is to be encoded.
#[derive(Debug)]
struct Rewriter {
    max_head_bytes: usize,
    place: Place,
    head: Head,
    /// The beginning of a character in a target: only its last byte shows whether it is one. When the connection ends
    /// here it goes with it, for no request does.
    held: Few<CHARACTER_BYTES>,
}

impl Rewriter {
    fn new(max_head_bytes: usize) -> Self {
        Self { max_head_bytes, place: Place::Start, head: Head::NEW, held: Few::EMPTY }
    }

    /// How many of the next bytes stay as they are, whatever they are.
    fn untouched(&self) -> usize {
        match self.place {
            Place::Body(left) => usize::try_from(left).unwrap_or(usize::MAX),
            Place::Stopped => usize::MAX,
            _ => 0,
        }
    }

    /// Goes past bytes that stay as they are; no more than [`Self::untouched`] says.
    fn skip(&mut self, count: usize) {
        if let Place::Body(left) = self.place {
            let left = left.saturating_sub(u64::try_from(count).unwrap_or(u64::MAX));
            self.place = if left == 0 { Place::Start } else { Place::Body(left) };
        }
    }

    /// Takes the next bytes in, and appends to `out` what goes on.
    fn pass(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        while let Some((&byte, rest)) = bytes.split_first() {
            let (untouched, others) = bytes.split_at(self.untouched().min(bytes.len()));
            if untouched.is_empty() {
                self.step(byte, out);
                bytes = rest;
            } else {
                out.extend_from_slice(untouched);
                self.skip(untouched.len());
                bytes = others;
            }
        }
    }

    /// Takes one byte of a head in.
    fn step(&mut self, byte: u8, out: &mut Vec<u8>) {
        if self.head.bytes >= self.max_head_bytes || self.head.cut > MAX_CUT_BYTES {
            self.encode_held(out);
            self.place = Place::Stopped;
        }
        match self.place {
            Place::Target(_) if self.head.target > MAX_TARGET_BYTES && !ends_target(byte) => {
                self.head.cut += 1
            }
            Place::Target(part) => {
                let before = out.len();
                self.step_in_target(part, byte, out);
                self.head.target += out.len() - before;
                self.head.bytes += out.len() - before;
            }
            _ => {
                out.push(byte);
                self.head.bytes += 1;
                self.place = self.after(byte);
            }
        }
    }

    fn step_in_target(&mut self, part: Part, byte: u8, out: &mut Vec<u8>) {
        if !byte.is_ascii() && part.may_change() {
            return self.step_in_character(byte, out);
        }
        self.encode_held(out);
        self.place = match byte {
            b' ' if part != Part::First => Place::Version(0),
            _ if ends_target(byte) => Place::Stopped,
            _ => Place::Target(part.after(byte)),
        };
        if part.refuses(byte) && self.place != Place::Stopped { encode(byte, out) } else { out.push(byte) }
    }

    /// Takes one byte outside ASCII in: whole characters stay as they are, others are encoded byte by byte.
    fn step_in_character(&mut self, byte: u8, out: &mut Vec<u8>) {
        let mut held = self.held;
        held.push(byte);
        match std::str::from_utf8(held.get()) {
            Ok(_) => {
                out.extend_from_slice(held.get());
                self.held = Few::EMPTY;
            }
            Err(error) if error.error_len().is_none() => self.held = held,
            Err(_) if self.held.get().is_empty() => encode(byte, out),
            Err(_) => {
                // What was held is no character, but this byte may begin one.
                self.encode_held(out);
                self.step_in_character(byte, out);
            }
        }
    }

    fn encode_held(&mut self, out: &mut Vec<u8>) {
        for byte in self.held.get() {
            encode(*byte, out);
        }
        self.held = Few::EMPTY;
    }

    /// The place after a byte that is not in a target. Only what is plain leads on.
    fn after(&mut self, byte: u8) -> Place {
        match (self.place, byte) {
            (Place::Start, b'\r') => Place::StartLf,
            (Place::StartLf, b'\n') => Place::Start,
            // What follows a CONNECT may be a tunnel.
            (Place::Method, b' ') if self.head.name.get() != b"connect" => Place::Target(Part::First),
            (Place::Start | Place::Method, _) if is_token(byte) => self.name(Place::Method, byte),
            (Place::Version(count), _) if VERSION.get(count) == Some(&byte) => Place::Version(count + 1),
            (Place::Version(count), b'0' | b'1') if count == VERSION.len() => Place::VersionEnd,
            (Place::VersionEnd | Place::Value, b'\r') => Place::LineLf,
            (Place::LineLf, b'\n') => {
                self.head.name = Few::EMPTY;
                Place::LineStart
            }
            (Place::LineStart, b'\r') => Place::HeadLf,
            (Place::HeadLf, b'\n') => self.after_head(),
            (Place::Name, b':') => self.after_name(),
            (Place::LineStart | Place::Name, _) if is_token(byte) => self.name(Place::Name, byte),
            (Place::Value, b'\t' | b' '..=b'~' | 0x80..) => Place::Value,
            (Place::Length(number), b'\r') => self.after_length(number),
            (Place::Length(number), _) => number.after(byte).map_or(Place::Stopped, Place::Length),
            _ => Place::Stopped,
        }
    }

    fn name(&mut self, place: Place, byte: u8) -> Place {
        self.head.name.push(byte.to_ascii_lowercase());
        place
    }

    fn after_name(&mut self) -> Place {
        match self.head.name.get() {
            b"transfer-encoding" | b"upgrade" => Place::Stopped,
            b"content-length" => Place::Length(Number::Before),
            b"expect" => {
                self.head.expects = true;
                Place::Value
            }
            _ => Place::Value,
        }
    }

    fn after_length(&mut self, number: Number) -> Place {
        let (Number::Within(length) | Number::After(length)) = number else { return Place::Stopped };
        if self.head.length.is_some_and(|earlier| earlier != length) {
            return Place::Stopped;
        }
        self.head.length = Some(length);
        Place::LineLf
    }

    fn after_head(&mut self) -> Place {
        let head = std::mem::replace(&mut self.head, Head::NEW);
        match head.length.unwrap_or(0) {
            // To wait with a body that does not exist is odd.
            0 if head.expects => Place::Stopped,
            0 => Place::Start,
            length => Place::Body(length),
        }
    }
}

/// Whether a request's target is longer than [`MAX_TARGET_BYTES`]. A fragment, which no client should send, is not
/// counted: the library has dropped it.
pub(crate) fn is_too_long(target: &Uri) -> bool {
    let scheme = target.scheme_str().map_or(0, |scheme| scheme.len() + "://".len());
    let authority = target.authority().map_or(0, |authority| authority.as_str().len());
    let path_and_query = target.path_and_query().map_or(0, |path_and_query| path_and_query.as_str().len());
    scheme + authority + path_and_query > MAX_TARGET_BYTES
}

/// Whether a byte ends a target, for better or worse.
fn ends_target(byte: u8) -> bool {
    matches!(byte, b' ' | b'\r' | b'\n')
}

/// Whether methods and names of headers may hold this byte.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn encode(byte: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(percent_encoding::percent_encode_byte(byte).as_bytes());
}

/// A connection from which only targets come that the HTTP library takes.
pub(crate) struct EncodedTargets<S> {
    stream: S,
    rewriter: Rewriter,
    /// What did not fit into the reader's buffer, from `sent` on. It never holds more than one piece comes to.
    ready: Vec<u8>,
    sent: usize,
}

impl<S> EncodedTargets<S> {
    /// Heads of more than `max_head_bytes` are left as they are, and what follows them.
    pub(crate) fn new(stream: S, max_head_bytes: usize) -> Self {
        Self { stream, rewriter: Rewriter::new(max_head_bytes), ready: Vec::new(), sent: 0 }
    }

    /// Gives the reader what fits. False when there is nothing.
    fn give(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let waiting = self.ready.get(self.sent..).unwrap_or_default();
        let (fitting, _) = waiting.split_at(waiting.len().min(buffer.remaining()));
        buffer.put_slice(fitting);
        self.sent += fitting.len();
        !fitting.is_empty()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for EncodedTargets<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        // Nothing given means the end of the stream to the reader, so that a piece of which all is held is not enough.
        while buffer.remaining() > 0 && !this.give(buffer) {
            if this.rewriter.untouched() >= buffer.remaining() {
                let before = buffer.filled().len();
                ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
                this.rewriter.skip(buffer.filled().len() - before);
                break;
            }
            let mut piece = [0; PIECE_BYTES];
            let mut piece = ReadBuf::new(&mut piece);
            ready!(Pin::new(&mut this.stream).poll_read(context, &mut piece))?;
            if piece.filled().is_empty() {
                break;
            }
            this.ready.clear();
            this.sent = 0;
            this.rewriter.pass(piece.filled(), &mut this.ready);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for EncodedTargets<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests;
