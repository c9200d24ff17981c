//! A small HTTP client: one request per connection, and an answer is whole or an error.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};

use super::SOON;

/// A whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// Header lines, as they came.
    pub headers: Vec<String>,
    pub body: String,
}

impl Answer {
    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// Sends a GET.
pub fn get(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Result<Answer> {
    let mut stream = connect(address)?;
    let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{lines}\r\n")?;
    read_answer(&mut stream)
}

/// A connection whose reads and writes end in time.
pub fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(SOON))?;
    stream.set_write_timeout(Some(SOON))?;
    Ok(stream)
}

/// Reads an answer up to the end of its connection.
pub fn read_answer(stream: &mut TcpStream) -> Result<Answer> {
    let broken = |what: &str| Error::new(ErrorKind::InvalidData, what.to_owned());
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let text = String::from_utf8(bytes).map_err(|_| broken("not UTF-8"))?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(|| broken("no head"))?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
    let answer = Answer {
        status: status.ok_or_else(|| broken("no status"))?,
        headers: lines.map(str::to_owned).collect(),
        body: body.to_owned(),
    };
    match answer.header("content-length") {
        Some(length) if length != body.len().to_string() => Err(broken("a cut answer")),
        _ => Ok(answer),
    }
}
