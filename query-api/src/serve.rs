//! Connections: taken in, bounded, and brought to an end.
//!
//! `axum::serve` has no limit on the time that a client takes to send its request's head, and none on connections, so
//! that slow clients would pile up. This is the same loop with both. Between a connection and hyper stand two wrappers:
//! one gives up on clients that do not read, one encodes what hyper would refuse in a target.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::observe::chain;
use crate::request_target::EncodedTargets;
use crate::stopping::{self, Stopping};
use crate::write_timeout::WriteTimeout;

/// Bounds of what clients can hold.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Connections that are open at once; the operating system lets others wait.
    connections: usize,
    /// Time for a request's head. A connection that is idle between two requests is closed after the same time; no
    /// common polling interval is as long, so that a poller does not meet the closing of its connection every time.
    head: Duration,
    /// Time that a write may wait for the client to read.
    write: Duration,
    /// Time that requests under way have left once the process is to stop.
    drain: Duration,
}

const LIMITS: Limits = Limits {
    connections: 1_024,
    head: Duration::from_secs(25),
    write: Duration::from_secs(30),
    drain: Duration::from_secs(10),
};

/// Longest head of a request; longer ones get hyper's bare 431, as do more than 100 headers. It counts what
/// [`EncodedTargets`] encodes three times, and of a target what that leaves of it.
const MAX_HEAD_BYTES: usize = 128 * 1024;

/// Pause after the operating system could not give a connection, for example for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `shutdown` completes; then takes no more connections and finishes the requests under way, for at most
/// ten seconds.
///
/// # Errors
/// None at present: what goes wrong with one connection concerns nobody else.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()>,
) -> std::io::Result<()> {
    serve_within(LIMITS, listener, router, shutdown).await;
    Ok(())
}

async fn serve_within(
    limits: Limits,
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()>,
) {
    let service = TowerToHyperService::new(router);
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    let (word, stopping) = stopping::channel();
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            (stream, peer, place) = next(&listener, &places) => {
                let connection = graceful.watch(connection(limits, stream, peer, service.clone(), stopping.clone()));
                connections.spawn(async move {
                    if let Err(error) = connection.await {
                        // Clients go away; what matters to anybody is in the line of the request.
                        tracing::debug!(error = chain(&error), "a connection broke off");
                    }
                    drop(place);
                });
            }
        }
    }
    drop(listener);
    word.say();
    if timeout(limits.drain, graceful.shutdown()).await.is_err() {
        tracing::warn!(connections = connections.len(), "requests under way were cut off by the shutdown");
    }
    // Dropping the set ends what is left.
}

/// Cancel-safe: a connection is either returned or was not accepted.
async fn next(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, Option<OwnedSemaphorePermit>) {
    // The semaphore is never closed.
    let place = Arc::clone(places).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return (stream, peer, place),
            Err(error) => {
                tracing::warn!(%error, "no connection could be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn connection(
    limits: Limits,
    stream: TcpStream,
    peer: SocketAddr,
    service: TowerToHyperService<Router>,
    stopping: Stopping,
) -> http1::Connection<
    TokioIo<EncodedTargets<WriteTimeout<TcpStream>>>,
    impl Service<
        hyper::Request<Incoming>,
        Response = axum::response::Response,
        Error = std::convert::Infallible,
        Future: Send,
    >,
> {
    // Answers are written in one piece; waiting for more would only delay them.
    let _ = stream.set_nodelay(true);
    let stream = WriteTimeout::new(stream, limits.write);
    let stream = TokioIo::new(EncodedTargets::new(stream, MAX_HEAD_BYTES));
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(
            stream,
            service_fn(move |mut request: hyper::Request<Incoming>| {
                request.extensions_mut().insert(ConnectInfo(peer));
                request.extensions_mut().insert(stopping.clone());
                service.call(request)
            }),
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Uri;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::oneshot;
    use tokio::task::JoinHandle;

    const LONG: Limits = Limits {
        connections: 10,
        head: Duration::from_secs(600),
        write: Duration::from_secs(600),
        drain: Duration::from_secs(600),
    };
    const SHORT: Duration = Duration::from_millis(20);
    const REQUEST: &[u8] = b"GET /answer HTTP/1.1\r\nHost: x\r\n\r\n";

    /// Answers `/answer`; anything else is never answered.
    async fn answer(uri: Uri) -> &'static str {
        if uri.path() != "/answer" {
            std::future::pending::<()>().await;
        }
        "answer"
    }

    async fn start(limits: Limits) -> (SocketAddr, oneshot::Sender<()>, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let router = Router::new().fallback(answer);
        let serving = tokio::spawn(serve_within(limits, listener, router, async { drop(stopped.await) }));
        (address, stop, serving)
    }

    async fn send(address: SocketAddr, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream
    }

    async fn read_answer(stream: &mut TcpStream) {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"answer") {
            assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0);
        }
    }

    async fn is_closed(stream: &mut TcpStream) -> bool {
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.is_ok()
    }

    #[tokio::test]
    async fn slow_heads_and_idle_connections_are_closed() {
        let (address, _stop, _) = start(Limits { head: SHORT, ..LONG }).await;
        assert!(is_closed(&mut send(address, b"GET /answer HT").await).await);
        assert!(is_closed(&mut send(address, b"").await).await);
        let mut idle = send(address, REQUEST).await;
        read_answer(&mut idle).await;
        assert!(is_closed(&mut idle).await);
    }

    #[tokio::test]
    async fn beyond_the_limit_connections_wait_for_a_place() {
        let (address, _stop, _) = start(Limits { connections: 1, ..LONG }).await;
        let mut first = send(address, REQUEST).await;
        read_answer(&mut first).await;
        let mut second = send(address, REQUEST).await;
        assert!(timeout(SHORT, read_answer(&mut second)).await.is_err());
        drop(first);
        read_answer(&mut second).await;
    }

    #[tokio::test]
    async fn the_end_waits_for_requests_under_way_but_not_for_ever() {
        let (address, stop, serving) = start(Limits { drain: SHORT, ..LONG }).await;
        let mut endless = send(address, b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n").await;
        // Served in the order of their coming, so that the endless one is under way.
        read_answer(&mut send(address, REQUEST).await).await;
        drop(stop);
        serving.await.unwrap();
        assert!(is_closed(&mut endless).await);
    }
}
