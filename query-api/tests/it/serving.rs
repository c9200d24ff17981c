//! Connections: kept, drained at the end, and no more taken after it.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::engine::{Engine, suite};
use crate::http;
use crate::world::World;

suite!(
    several_requests_share_a_connection,
    a_request_under_way_is_finished_before_the_end,
    what_hyper_refuses_itself_is_a_bare_client_error,
);

/// Reads up to the end of an answer whose body is known.
async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(end.as_bytes()) {
        assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0, "{}", String::from_utf8_lossy(&bytes));
    }
    String::from_utf8(bytes).unwrap()
}

const REFUSED: &str = r#""error": "Authentication Error."}"#;

async fn several_requests_share_a_connection(engine: Engine) {
    let world = World::start(engine).await;
    let mut stream = TcpStream::connect(world.server).await.unwrap();
    for _ in 0..3 {
        stream.write_all(b"GET /papi/ping HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let answer = read_until(&mut stream, REFUSED).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
}

async fn a_request_under_way_is_finished_before_the_end(engine: Engine) {
    let mut world = World::start(engine).await;
    let mut stream = TcpStream::connect(world.server).await.unwrap();
    // Its body is not there yet; that the server reads it is known from the answer to `Expect`.
    let head = "POST /papi/ping HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    read_until(&mut stream, "HTTP/1.1 100 Continue\r\n\r\n").await;
    let mut idle = TcpStream::connect(world.server).await.unwrap();
    idle.write_all(b"GET /papi/ping HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    read_until(&mut idle, REFUSED).await;

    let serving = world.stop();
    // The idle connection is closed, and nobody listens any more.
    assert_eq!(idle.read(&mut [0; 1]).await.unwrap(), 0);
    assert!(TcpStream::connect(world.server).await.is_err());
    assert!(!serving.is_finished());
    stream.write_all(b"a=1").await.unwrap();
    assert_eq!(http::read(&mut stream).await.error().0, 3004);
    serving.await.unwrap().unwrap();
}

async fn what_hyper_refuses_itself_is_a_bare_client_error(engine: Engine) {
    let world = World::start(engine).await;
    for (request, status) in [
        ("GET /papi/ping?a=<b> HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned(), &[200, 400][..]),
        ("nonsense\r\n\r\n".to_owned(), &[400]),
        (format!("GET /papi/ping HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "a".repeat(200_000)), &[431]),
    ] {
        let mut stream = TcpStream::connect(world.server).await.unwrap();
        // The server may hang up before it has read everything.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes).await;
        let answer = String::from_utf8_lossy(&bytes).into_owned();
        let found = answer.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok());
        assert!(found.is_some_and(|found| status.contains(&found)), "{status:?}: {answer}");
    }
}
