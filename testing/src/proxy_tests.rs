use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Instant;

use super::*;
use crate::until;

/// Long enough for bytes that would come, short enough to wait for bytes that must not.
const MOMENT: Duration = Duration::from_millis(50);

/// A server that sends back what it gets, for as long as the test runs.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            std::thread::spawn(move || {
                let mut connection = connection.unwrap();
                let mut back = connection.try_clone().unwrap();
                let _ = std::io::copy(&mut connection, &mut back);
                let _ = connection.shutdown(Shutdown::Write);
            });
        }
    });
    address
}

fn client(proxy: &Proxy) -> TcpStream {
    let client = TcpStream::connect(proxy.address()).unwrap();
    client.set_read_timeout(Some(SOON)).unwrap();
    client
}

fn send_and_receive(client: &mut TcpStream, text: &[u8]) {
    client.write_all(text).unwrap();
    receive(client, text);
}

fn receive(client: &mut TcpStream, text: &[u8]) {
    let mut back = vec![0; text.len()];
    client.read_exact(&mut back).unwrap();
    assert_eq!(back, text);
}

fn receives_nothing(client: &mut TcpStream) {
    client.set_read_timeout(Some(MOMENT)).unwrap();
    let kind = client.read(&mut [0]).unwrap_err().kind();
    assert!(matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut), "{kind}");
    client.set_read_timeout(Some(SOON)).unwrap();
}

fn is_reset(client: &mut TcpStream) {
    assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

fn is_refused(proxy: &Proxy) {
    assert_eq!(TcpStream::connect(proxy.address()).unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn bytes_pass_in_both_directions_and_are_counted() {
    let proxy = Proxy::start(None, echo()).unwrap();
    let mut one = client(&proxy);
    let mut other = client(&proxy);
    send_and_receive(&mut one, b"hello");
    send_and_receive(&mut other, b"you");
    assert_eq!((proxy.connections(), proxy.open_connections()), (2, 2));
    until("all bytes are counted", || (proxy.bytes_to_server(), proxy.bytes_to_client()) == (8, 8));
    drop(one);
    until("the closed connection is gone", || proxy.open_connections() == 1);
    send_and_receive(&mut other, b"still");
}

#[test]
fn many_bytes_arrive_unchanged() {
    let proxy = Proxy::start(None, echo()).unwrap();
    let sent: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
    let mut reader = client(&proxy);
    let mut writer = reader.try_clone().unwrap();
    let writing = sent.clone();
    let written = std::thread::spawn(move || {
        writer.write_all(&writing).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut back = Vec::new();
    reader.read_to_end(&mut back).unwrap();
    written.join().unwrap();
    assert!(back == sent);
}

#[test]
fn a_side_that_is_done_still_hears_the_other_one_out() {
    let proxy = Proxy::start(None, echo()).unwrap();
    let mut client = client(&proxy);
    client.write_all(b"last words").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut back = Vec::new();
    client.read_to_end(&mut back).unwrap();
    assert_eq!(back, b"last words");
    until("the connection is gone", || proxy.open_connections() == 0);
}

#[test]
fn a_cut_resets_connections_and_refuses_new_ones_until_it_is_restored() {
    let proxy = Proxy::start(None, echo()).unwrap();
    let mut before = client(&proxy);
    send_and_receive(&mut before, b"before");
    proxy.cut();
    assert!(proxy.is_cut());
    assert_eq!(proxy.open_connections(), 0);
    is_reset(&mut before);
    is_refused(&proxy);
    is_refused(&proxy);
    proxy.cut();
    is_refused(&proxy);
    proxy.restore();
    assert!(!proxy.is_cut());
    send_and_receive(&mut client(&proxy), b"after");
}

#[test]
fn a_reset_ends_what_there_is_and_accepts_new_connections_at_once() {
    let proxy = Proxy::start(None, echo()).unwrap();
    let mut before = client(&proxy);
    send_and_receive(&mut before, b"before");
    proxy.reset();
    is_reset(&mut before);
    send_and_receive(&mut client(&proxy), b"after");
}

#[test]
fn a_held_connection_passes_nothing_and_loses_nothing() {
    let proxy = Proxy::start(None, echo()).unwrap();
    let mut before = client(&proxy);
    send_and_receive(&mut before, b"before");
    proxy.hold();
    let passed = proxy.bytes_to_server();
    let mut meanwhile = client(&proxy);
    before.write_all(b"one").unwrap();
    meanwhile.write_all(b"two").unwrap();
    receives_nothing(&mut before);
    receives_nothing(&mut meanwhile);
    assert_eq!(proxy.bytes_to_server(), passed);
    proxy.restore();
    receive(&mut before, b"one");
    receive(&mut meanwhile, b"two");
}

#[test]
fn a_held_connection_can_be_cut() {
    let proxy = Proxy::start(None, echo()).unwrap();
    proxy.hold();
    let mut held = client(&proxy);
    until("it is accepted", || proxy.open_connections() == 1);
    proxy.cut();
    is_reset(&mut held);
}

#[test]
fn a_cut_after_so_many_bytes_lets_exactly_those_through() {
    let received = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::start(None, received.local_addr().unwrap()).unwrap();
    let mut client = client(&proxy);
    client.write_all(b"12345").unwrap();
    let (mut server, _) = received.accept().unwrap();
    server.set_read_timeout(Some(SOON)).unwrap();
    receive(&mut server, b"12345");
    proxy.cut_after(10);
    client.write_all(b"1234567").unwrap();
    receive(&mut server, b"1234567");
    assert!(!proxy.is_cut());
    client.write_all(&[b'x'; 50_000]).unwrap();
    receive(&mut server, b"xxx");
    is_reset(&mut server);
    is_reset(&mut client);
    assert_eq!(proxy.bytes_to_server(), 15);
    until("it refuses", || TcpStream::connect(proxy.address()).is_err());
    proxy.restore();
    TcpStream::connect(proxy.address()).unwrap().write_all(&[b'y'; 100]).unwrap();
    let (mut server, _) = received.accept().unwrap();
    receive(&mut server, &[b'y'; 100]);
}

#[test]
fn a_delay_holds_back_each_piece() {
    let proxy = Proxy::start(None, echo()).unwrap();
    let mut client = client(&proxy);
    send_and_receive(&mut client, b"fast");
    proxy.delay(MOMENT);
    let began = Instant::now();
    send_and_receive(&mut client, b"slow");
    assert!(began.elapsed() >= 2 * MOMENT, "there and back");
    proxy.delay(Duration::ZERO);
    send_and_receive(&mut client, b"fast again");
}

#[test]
fn a_throttled_connection_takes_its_time() {
    let received = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::start(None, received.local_addr().unwrap()).unwrap();
    proxy.throttle(Some(100_000));
    let began = Instant::now();
    client(&proxy).write_all(&[7; 20_000]).unwrap();
    let (mut server, _) = received.accept().unwrap();
    receive(&mut server, &[7; 20_000]);
    assert!(began.elapsed() >= Duration::from_millis(190), "{:?}", began.elapsed());
}

#[test]
fn what_happens_to_the_server_happens_to_the_client() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::start(None, listener.local_addr().unwrap()).unwrap();
    let mut closed = client(&proxy);
    drop(listener.accept().unwrap());
    assert_eq!(closed.read(&mut [0]).unwrap(), 0, "closed in order");
    drop(listener);
    is_reset(&mut client(&proxy));
}

#[test]
fn a_dropped_proxy_leaves_nothing_behind() {
    let proxy = Proxy::start(None, echo()).unwrap();
    let address = proxy.address();
    let mut left = client(&proxy);
    send_and_receive(&mut left, b"before");
    drop(proxy);
    is_reset(&mut left);
    let again = Proxy::start(Some(address), echo()).unwrap();
    assert_eq!(again.address(), address);
    send_and_receive(&mut client(&again), b"after");
}
