//! HTTP as a client of one kept connection sees it: what is measured is the server.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

/// A client of one kept connection.
pub struct Client {
    stream: BufReader<TcpStream>,
    cookie: String,
}

impl Client {
    pub fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream: BufReader::new(stream), cookie: String::new() }
    }

    pub fn get(&mut self, target: &str) -> (u16, Vec<u8>) {
        let cookie = format!("Cookie: {}", self.cookie);
        self.get_with(&cookie, target)
    }

    /// With another header that says who asks.
    pub fn get_with(&mut self, header: &str, target: &str) -> (u16, Vec<u8>) {
        let request = format!("GET {target} HTTP/1.1\r\nHost: bench\r\n{header}\r\n\r\n");
        self.stream.get_mut().write_all(request.as_bytes()).unwrap();
        let mut status = 0;
        let mut length = 0;
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).unwrap();
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            let lower = line.to_ascii_lowercase();
            if let Some(rest) = lower.strip_prefix("http/1.1 ") {
                status = rest[..3].parse().unwrap();
            } else if let Some(rest) = lower.strip_prefix("content-length: ") {
                length = rest.parse().unwrap();
            } else if lower.starts_with("set-cookie: ") {
                self.cookie = line["set-cookie: ".len()..].split(';').next().unwrap().to_owned();
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).unwrap();
        (status, body)
    }

    pub fn login(&mut self, target: &str) {
        self.cookie.clear();
        assert_eq!(self.get(target).0, 200);
        assert!(self.cookie.starts_with("PHPSESSID="));
    }

    pub fn json(&mut self, target: &str) -> serde_json::Value {
        serde_json::from_slice(&self.get(target).1).unwrap()
    }
}
