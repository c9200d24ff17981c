//! A TCP proxy that does what networks do: it cuts connections, swallows them, and makes them slow.
//!
//! It runs in a thread of its own, so a test whose runtime is busy or blocked does not hold it up. Every order holds
//! when the call that gave it returns.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::SOON;

/// Bytes that are taken in hand at once.
const CHUNK_BYTES: usize = 16 * 1024;

/// A throttled connection passes on about so many pieces in a second.
const PIECES_PER_SECOND: u64 = 20;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;

/// How often an address is tried that was given up a moment ago.
const BIND_TRIES: u32 = 100;

/// A proxy in front of one server. It ends, with all its connections, when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    orders: Arc<watch::Sender<Orders>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What the proxy has been told.
#[derive(Debug, Clone, Copy)]
struct Orders {
    /// Counts the orders, so that the giver knows when one holds.
    number: u64,
    mode: Mode,
    delay: Duration,
    bytes_per_second: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Open,
    Held,
    Cut,
    Ended,
}

#[derive(Debug, Default)]
struct Shared {
    connections: AtomicU64,
    open: AtomicU64,
    to_server: AtomicU64,
    to_client: AtomicU64,
    /// Bytes to the server that may still pass before the cut.
    left_before_cut: Mutex<Option<u64>>,
    /// The number of the last order that holds.
    obeyed: Mutex<u64>,
    obeyed_changed: Condvar,
}

impl Proxy {
    /// Listens on `listen`, or on a free port of 127.0.0.1, and passes every connection on to `upstream`.
    pub fn start(listen: Option<SocketAddr>, upstream: SocketAddr) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _inside = runtime.enter();
            bind(listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0))))?.listen(BACKLOG)?
        };
        let address = listener.local_addr()?;
        let first = Orders { number: 0, mode: Mode::Open, delay: Duration::ZERO, bytes_per_second: None };
        let (orders, heard) = watch::channel(first);
        let orders = Arc::new(orders);
        let shared = Arc::new(Shared::default());
        let door = DoorKeeper { address, upstream, orders: Arc::clone(&orders), shared: Arc::clone(&shared) };
        let thread = std::thread::Builder::new()
            .name("proxy".into())
            .spawn(move || runtime.block_on(door.keep(listener, heard)))?;
        Ok(Self { address, orders, shared, thread: Some(thread) })
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Resets all connections; until [`restore`](Self::restore) new ones are refused.
    pub fn cut(&self) {
        self.order(|orders| orders.mode = Mode::Cut);
    }

    /// Accepts connections but passes nothing on, in either direction, until [`restore`](Self::restore): a black hole.
    /// What was sent meanwhile arrives then.
    pub fn hold(&self) {
        self.order(|orders| orders.mode = Mode::Held);
    }

    /// Ends what [`cut`](Self::cut), [`hold`](Self::hold) and [`cut_after`](Self::cut_after) began.
    pub fn restore(&self) {
        *lock(&self.shared.left_before_cut) = None;
        self.order(|orders| orders.mode = Mode::Open);
    }

    /// Resets all connections that there are now, and accepts new ones.
    pub fn reset(&self) {
        self.cut();
        self.restore();
    }

    /// Keeps back every piece for so long. Pieces do not overlap, so this makes a connection slow as well as late.
    pub fn delay(&self, delay: Duration) {
        self.order(|orders| orders.delay = delay);
    }

    /// Lets about so many bytes pass in a second, in each direction of each connection; `None` ends it.
    pub fn throttle(&self, bytes_per_second: Option<u64>) {
        self.order(|orders| orders.bytes_per_second = bytes_per_second.map(|rate| rate.max(1)));
    }

    /// Cuts, as [`cut`](Self::cut) does, once exactly so many further bytes went to the server.
    pub fn cut_after(&self, bytes: u64) {
        *lock(&self.shared.left_before_cut) = Some(bytes);
    }

    /// Whether it refuses connections now.
    pub fn is_cut(&self) -> bool {
        self.orders.borrow().mode == Mode::Cut
    }

    /// Connections that were accepted since the start.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Connections that are open now.
    pub fn open_connections(&self) -> u64 {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// Bytes that went to the server.
    pub fn bytes_to_server(&self) -> u64 {
        self.shared.to_server.load(Ordering::SeqCst)
    }

    /// Bytes that went to clients.
    pub fn bytes_to_client(&self) -> u64 {
        self.shared.to_client.load(Ordering::SeqCst)
    }

    /// Gives an order and waits until it holds.
    fn order(&self, change: impl FnOnce(&mut Orders)) {
        let mut number = 0;
        self.orders.send_modify(|orders| {
            change(orders);
            orders.number += 1;
            number = orders.number;
        });
        let (_obeyed, late) = self
            .shared
            .obeyed_changed
            .wait_timeout_while(lock(&self.shared.obeyed), SOON, |obeyed| *obeyed < number)
            .unwrap_or_else(PoisonError::into_inner);
        assert!(!late.timed_out(), "the proxy does not obey");
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.orders.send_modify(|orders| orders.mode = Mode::Ended);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes an address without listening on it: connections are refused, and nobody else can take it.
fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Opens and closes the door, and owns the connections.
struct DoorKeeper {
    address: SocketAddr,
    upstream: SocketAddr,
    orders: Arc<watch::Sender<Orders>>,
    shared: Arc<Shared>,
}

impl DoorKeeper {
    async fn keep(self, mut listener: TcpListener, mut heard: watch::Receiver<Orders>) {
        let mut connections = JoinSet::new();
        loop {
            let orders = *heard.borrow_and_update();
            match orders.mode {
                Mode::Ended => break,
                Mode::Cut => {
                    drop(listener);
                    let closed = self.take_address().await;
                    connections.shutdown().await;
                    self.stay_cut(&mut heard).await;
                    listener = closed.listen(BACKLOG).expect("an address that is held can be listened on");
                }
                Mode::Open | Mode::Held => {
                    self.obeyed(orders.number);
                    tokio::select! {
                        biased;
                        _ = heard.changed() => {}
                        _ = connections.join_next(), if !connections.is_empty() => {}
                        Ok((client, _)) = listener.accept() => {
                            let connection = Connection::new(client, &self.shared);
                            let orders = (Arc::clone(&self.orders), heard.clone());
                            connections.spawn(connection.serve(self.upstream, orders));
                        }
                    }
                }
            }
        }
        drop(listener);
        connections.shutdown().await;
    }

    async fn stay_cut(&self, heard: &mut watch::Receiver<Orders>) {
        loop {
            let orders = *heard.borrow_and_update();
            if orders.mode != Mode::Cut {
                return;
            }
            self.obeyed(orders.number);
            let _ = heard.changed().await;
        }
    }

    /// Takes the address again that was just given up.
    async fn take_address(&self) -> TcpSocket {
        for _ in 1..BIND_TRIES {
            if let Ok(socket) = bind(self.address) {
                return socket;
            }
            tokio::time::sleep(crate::POLL).await;
        }
        bind(self.address).expect("the address was ours a moment ago")
    }

    fn obeyed(&self, number: u64) {
        *lock(&self.shared.obeyed) = number;
        self.shared.obeyed_changed.notify_all();
    }
}

/// One client and its connection to the server. Both are reset unless both sides have said that they are done.
struct Connection {
    client: TcpStream,
    server: Option<TcpStream>,
    done: bool,
    shared: Arc<Shared>,
}

/// A connection that must be reset.
struct Broken;

impl From<io::Error> for Broken {
    fn from(_: io::Error) -> Self {
        Self
    }
}

impl Connection {
    fn new(client: TcpStream, shared: &Arc<Shared>) -> Self {
        shared.connections.fetch_add(1, Ordering::SeqCst);
        shared.open.fetch_add(1, Ordering::SeqCst);
        Self { client, server: None, done: false, shared: Arc::clone(shared) }
    }

    async fn serve(
        mut self,
        upstream: SocketAddr,
        (giver, mut heard): (Arc<watch::Sender<Orders>>, watch::Receiver<Orders>),
    ) {
        passable(&mut heard).await;
        let Ok(server) = TcpStream::connect(upstream).await else { return };
        let server = self.server.insert(server);
        // A proxy must not add the delays of small packets by itself.
        if self.client.set_nodelay(true).is_err() || server.set_nodelay(true).is_err() {
            return;
        }
        let (from_client, to_client) = self.client.split();
        let (from_server, to_server) = server.split();
        let shared = &self.shared;
        let to_server = Pump { shared, giver: Some(&giver), passed: &shared.to_server, heard: heard.clone() }
            .run(from_client, to_server);
        let to_client =
            Pump { shared, giver: None, passed: &shared.to_client, heard }.run(from_server, to_client);
        self.done = tokio::try_join!(to_server, to_client).is_ok();
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if !self.done {
            // The other side has gone already when this fails.
            let _ = self.client.set_zero_linger();
            let _ = self.server.as_ref().map(TcpStream::set_zero_linger);
        }
        self.shared.open.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Waits while nothing may pass.
async fn passable(heard: &mut watch::Receiver<Orders>) -> Orders {
    loop {
        let orders = *heard.borrow_and_update();
        if orders.mode == Mode::Open {
            return orders;
        }
        let _ = heard.changed().await;
    }
}

/// One direction of one connection.
struct Pump<'a> {
    shared: &'a Shared,
    /// Gives the order to cut; only where bytes to the server are counted down.
    giver: Option<&'a watch::Sender<Orders>>,
    passed: &'a AtomicU64,
    heard: watch::Receiver<Orders>,
}

impl Pump<'_> {
    async fn run(mut self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> Result<(), Broken> {
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            let orders = passable(&mut self.heard).await;
            let rate = orders.bytes_per_second;
            let most = rate.map_or(CHUNK_BYTES as u64, |rate| (rate / PIECES_PER_SECOND).max(1));
            let room = usize::try_from(most).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
            let count = tokio::select! {
                biased;
                _ = self.heard.changed() => continue,
                count = from.read(&mut buffer[..room]) => count?,
            };
            if count == 0 {
                passable(&mut self.heard).await;
                to.shutdown().await?;
                return Ok(());
            }
            let mut wait = orders.delay;
            if let Some(rate) = rate {
                wait += Duration::from_secs_f64(count as f64 / rate as f64);
            }
            if wait > Duration::ZERO {
                tokio::time::sleep(wait).await;
            }
            self.pass(&buffer[..count], &mut to).await?;
        }
    }

    /// Passes bytes on, no more than may pass before the cut, and cuts after the last of them.
    async fn pass(&mut self, bytes: &[u8], to: &mut WriteHalf<'_>) -> Result<(), Broken> {
        let (count, last) = self.allowed(bytes.len());
        let mut rest = &bytes[..count];
        while !rest.is_empty() {
            passable(&mut self.heard).await;
            let written = tokio::select! {
                biased;
                _ = self.heard.changed() => continue,
                written = to.write(rest) => written?,
            };
            self.passed.fetch_add(written as u64, Ordering::SeqCst);
            rest = &rest[written..];
        }
        if let (true, Some(giver)) = (last, self.giver) {
            giver.send_modify(|orders| orders.mode = Mode::Cut);
            return Err(Broken);
        }
        Ok(())
    }

    /// How many of `count` bytes may pass, and whether they are the last ones before the cut.
    fn allowed(&self, count: usize) -> (usize, bool) {
        let mut left = lock(&self.shared.left_before_cut);
        let (Some(before_cut), Some(_)) = (*left, self.giver) else { return (count, false) };
        let pass = usize::try_from(before_cut).unwrap_or(usize::MAX).min(count);
        let rest = before_cut - pass as u64;
        *left = (rest > 0).then_some(rest);
        (pass, rest == 0)
    }
}

#[cfg(test)]
#[path = "proxy_tests.rs"]
mod tests;
