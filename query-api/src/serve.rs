//! Connections: taken in, bounded, and brought to an end.
//!
//! `axum::serve` has no limit on the time that a client takes to send its request's head, and none on connections, so
//! that slow clients would pile up. This is the same loop with both.

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

use crate::write_timeout::WriteTimeout;

/// Connections that are open at once; the operating system lets others wait.
pub const MAX_CONNECTIONS: usize = 1_024;

/// Time for a request's head. A connection that is idle between two requests is closed after the same time.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(25);

/// Time that a write may wait for the client to read.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Time that requests under way have left once the process is to stop.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest head of a request. Longer ones get hyper's bare 431; a target over 65,534 bytes its bare 414.
const MAX_HEAD_BYTES: usize = 128 * 1024;

/// Pause after the operating system could not give a connection, for example for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `shutdown` completes; then takes no more connections and finishes the requests under way, for at most
/// [`DRAIN_TIMEOUT`].
///
/// # Errors
/// None at present: what goes wrong with one connection concerns nobody else.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()>,
) -> std::io::Result<()> {
    let service = TowerToHyperService::new(router);
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            (stream, peer, place) = next(&listener, &places) => {
                let connection = graceful.watch(connection(stream, peer, service.clone()));
                connections.spawn(async move {
                    if let Err(error) = connection.await {
                        // Clients go away; what matters to anybody is in the line of the request.
                        tracing::debug!(error = crate::observe::chain(&error), "a connection broke off");
                    }
                    drop(place);
                });
            }
        }
    }
    drop(listener);
    if timeout(DRAIN_TIMEOUT, graceful.shutdown()).await.is_err() {
        tracing::warn!(connections = connections.len(), "requests under way were cut off by the shutdown");
    }
    // Dropping the set ends what is left.
    Ok(())
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
    stream: TcpStream,
    peer: SocketAddr,
    service: TowerToHyperService<Router>,
) -> http1::Connection<
    TokioIo<WriteTimeout<TcpStream>>,
    impl Service<
        hyper::Request<Incoming>,
        Response = axum::response::Response,
        Error = std::convert::Infallible,
        Future: Send,
    >,
> {
    // Answers are written in one piece; waiting for more would only delay them.
    let _ = stream.set_nodelay(true);
    let stream = TokioIo::new(WriteTimeout::new(stream, WRITE_TIMEOUT));
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(
            stream,
            service_fn(move |mut request: hyper::Request<Incoming>| {
                request.extensions_mut().insert(ConnectInfo(peer));
                service.call(request)
            }),
        )
}
