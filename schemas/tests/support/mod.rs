//! What tests with a real registry need: where it is, a foreign hand, and a way to take it away.
#![allow(dead_code, reason = "each test uses some of it")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// The address of the registry that the tests use.
pub fn address() -> String {
    let hint = "ANNALS_REGISTRY does not say where a schema registry is. Start one with \
                `deploy/dev/servers start --only registry` and set the variable as it prints it, for example \
                ANNALS_REGISTRY=http://127.0.0.1:8081/apis/ccompat/v7";
    std::env::var("ANNALS_REGISTRY").expect(hint)
}

/// Host, port and path of the registry.
fn parts() -> (String, String) {
    let address = address();
    let rest = address.strip_prefix("http://").expect("the tests speak plain HTTP");
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    (host.to_owned(), format!("/{path}"))
}

/// What another program says to the registry: status and body of the answer.
pub fn foreign_hand(method: &str, path: &str, body: &str) -> (u16, String) {
    let (host, base) = parts();
    let mut connection = TcpStream::connect(&host).unwrap();
    let length = body.len();
    // Version 1.0: the answer is not chunked, and the connection is closed after it.
    write!(
        connection,
        "{method} {base}{path} HTTP/1.0\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), body.to_owned())
}

/// Registers a schema and gives its id.
pub fn foreign_schema(subject: &str, schema: &str) -> u32 {
    let body = serde_json::json!({ "schema": schema }).to_string();
    let (status, answer) = foreign_hand("POST", &format!("/subjects/{subject}/versions"), &body);
    assert_eq!(status, 200, "{answer}");
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    u32::try_from(answer["id"].as_u64().unwrap()).unwrap()
}

/// Removes a subject, whether it is there or not.
pub fn remove(subject: &str) {
    foreign_hand("DELETE", &format!("/subjects/{subject}"), "");
    foreign_hand("DELETE", &format!("/subjects/{subject}?permanent=true"), "");
}

/// A way to the registry that can be cut.
pub struct Way {
    place: SocketAddr,
    connections: Option<tokio::task::JoinHandle<()>>,
}

impl Way {
    /// An open way.
    pub async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = listener.local_addr().unwrap();
        Self { place, connections: Some(forward(listener)) }
    }

    /// The registry's address along this way, with something before the host.
    pub fn address(&self, user: &str) -> String {
        format!("http://{user}{}{}", self.place, parts().1)
    }

    /// Nobody listens any more, and what was open is closed.
    pub async fn cut(&mut self) {
        if let Some(connections) = self.connections.take() {
            connections.abort();
            let _ = connections.await;
        }
    }

    /// As it was.
    pub async fn mend(&mut self) {
        self.connections = Some(forward(TcpListener::bind(self.place).await.unwrap()));
    }
}

fn forward(listener: TcpListener) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let mut open = JoinSet::new();
        loop {
            let (mut near, _) = listener.accept().await.unwrap();
            open.spawn(async move {
                let mut far = tokio::net::TcpStream::connect(parts().0).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    })
}
