//! A client that shows what a server really sends, and sends what no library would.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or_else(|| {
            panic!("not an answer: {:?}", String::from_utf8_lossy(bytes));
        });
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines
            .map(|line| line.split_once(':').unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Self { status, headers, body: bytes[end + 4..].to_vec() }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json"), "{}", self.text());
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The data of a success.
    pub(crate) fn data(&self) -> Value {
        let mut answer = self.json();
        assert_eq!((self.status, &answer["success"]), (200, &Value::from(1)), "{answer}");
        answer["data"].take()
    }

    /// Code and text of a failure.
    pub(crate) fn error(&self) -> (u64, String) {
        let answer = self.json();
        assert_eq!(answer["success"], 0, "{answer}");
        assert_eq!(answer.as_object().unwrap().len(), 3, "{answer}");
        (answer["error_code"].as_u64().unwrap(), answer["error"].as_str().unwrap().to_owned())
    }

    /// Value of the cookie that the answer sets.
    pub(crate) fn cookie(&self) -> Option<String> {
        let cookie = self.header("set-cookie")?;
        let (value, _) = cookie.strip_prefix("PHPSESSID=").unwrap().split_once(';').unwrap();
        Some(value.to_owned())
    }
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    method: &'static str,
    target: String,
    headers: Vec<u8>,
    body: Vec<u8>,
}

impl Ask {
    pub(crate) fn new(method: &'static str, target: &str) -> Self {
        Self { method, target: target.to_owned(), headers: Vec::new(), body: Vec::new() }
    }

    pub(crate) fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    pub(crate) fn post(target: &str) -> Self {
        Self::new("POST", target)
    }

    pub(crate) fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.extend_from_slice(name.as_bytes());
        self.headers.extend_from_slice(b": ");
        self.headers.extend_from_slice(value.as_ref());
        self.headers.extend_from_slice(b"\r\n");
        self
    }

    pub(crate) fn cookie(self, value: &str) -> Self {
        self.header("Cookie", format!("PHPSESSID={value}"))
    }

    pub(crate) fn body(mut self, content_type: &str, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        let length = self.body.len().to_string();
        self.header("Content-Type", content_type).header("Content-Length", length)
    }

    pub(crate) fn form(self, body: impl AsRef<[u8]>) -> Self {
        self.body("application/x-www-form-urlencoded", body)
    }

    /// The bytes on the wire.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes =
            format!("{} {} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n", self.method, self.target);
        bytes.reserve(self.headers.len() + self.body.len() + 2);
        let mut bytes = bytes.into_bytes();
        bytes.extend_from_slice(&self.headers);
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        bytes
    }

    pub(crate) async fn send(&self, server: SocketAddr) -> Reply {
        let mut stream = TcpStream::connect(server).await.unwrap();
        stream.write_all(&self.bytes()).await.unwrap();
        read(&mut stream).await
    }
}

/// Reads an answer up to the end of the connection.
pub(crate) async fn read(stream: &mut TcpStream) -> Reply {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    Reply::parse(&bytes)
}

/// A query string or form body of these pairs.
pub(crate) fn form(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}
