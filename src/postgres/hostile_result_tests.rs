//! Peers that let the client in and then mean harm.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::hostile_peer_tests::options;
use super::{Connection, HostPort};
use crate::error::Error;
use crate::stop::Stop;

/// That the user is accepted, a version for which nothing is set after that, and that a query may come.
const WELCOME: &[u8] = b"R\0\0\0\x08\0\0\0\0S\0\0\0\x18server_version\x0013.1\0Z\0\0\0\x05I";

/// A peer that takes the startup message, sends `first`, takes a query if that was a welcome, and
/// sends `then` and, until the client has gone, `again`.
fn peer(
    first: &'static [u8],
    then: &'static [u8],
    again: &'static [u8],
) -> (HostPort, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let peer = thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("a client");
        read(&mut socket);
        let mut sent = socket.write_all(first);
        if first == WELCOME {
            read(&mut socket);
        }
        sent = sent.and_then(|()| socket.write_all(then));
        while !again.is_empty() && sent.is_ok() {
            sent = socket.write_all(&again.repeat(1000));
        }
    });
    (HostPort { host: "127.0.0.1".to_owned(), port }, peer)
}

fn read(socket: &mut TcpStream) {
    let _ = socket.read(&mut [0; 4096]);
}

#[test]
fn a_start_without_end_meets_the_time_out() {
    let parameter = b"S\0\0\0\x0Fx\0yyyyyyyy\0";
    let mut options = options("someone", None);
    options.connect_timeout = Duration::from_secs(1);
    let stop = Stop::new().expect("a stop");
    for (name, first, again) in [
        ("parameters", &WELCOME[..9], &parameter[..]),
        ("key data", &WELCOME[..9], b"K\0\0\0\x0C\0\0\0\x01\0\0\0\x02"),
        ("notices after login", &WELCOME[..9], b"N\0\0\0\x09Mxxx\0"),
    ] {
        let (address, peer) = peer(first, b"", again);
        let begun = Instant::now();
        let error = Connection::connect(&options, &address, &stop).expect_err("a hostile peer");
        assert!(error.to_string().contains("timed out"), "{name}: {error}");
        assert!(begun.elapsed() < Duration::from_secs(10), "{name}");
        peer.join().expect("the peer");
    }
}

#[test]
fn an_answer_that_no_server_gives_is_refused() {
    let stop = Stop::new().expect("a stop");
    for (name, then, again) in [
        ("rows for ever", &b""[..], &b"D\0\0\0\x0E\0\x01\0\0\0\x04rows"[..]),
        ("empty rows for ever", b"", b"D\0\0\0\x06\0\0"),
        ("more columns than bytes", b"D\0\0\0\x06\xFF\xFF", b""),
        ("a column of 2^31 - 1 bytes", b"D\0\0\0\x0A\0\x01\x7F\xFF\xFF\xFF", b""),
        ("a row of 2^31 bytes", b"D\x80\0\0\0", b"x"),
        ("a row of -1 bytes", b"D\xFF\xFF\xFF\xFF", b"x"),
        ("a row of 3 bytes", b"D\0\0\0\x03", b"x"),
        ("CopyData of 2 GB", b"d\x7F\xFF\xFF\xFF", b"x"),
        ("CopyBothResponse", b"W\0\0\0\x07\0\0\0", b""),
        ("a second login", b"R\0\0\0\x08\0\0\0\0", b""),
        ("another tag", b"!\0\0\0\x04", b""),
        ("a version that is none", b"S\0\0\0\x18server_version\0none\0", b""),
        ("garbage", b"", b"<html>\xFF\0"),
    ] {
        let (address, peer) = peer(WELCOME, then, again);
        let mut connection =
            Connection::connect(&options("someone", None), &address, &stop).expect("a welcome");
        let error = connection.simple_query("asking", "SELECT 1").expect_err("a hostile peer");
        assert!(matches!(error, Error::PostgresProtocol { .. }), "{name}: {error}");
        drop(connection);
        peer.join().expect("the peer");
    }
}

#[test]
fn errors_for_ever_are_one() {
    let stop = Stop::new().expect("a stop");
    let (address, peer) = peer(WELCOME, b"", b"E\0\0\0\x11VERROR\0Mno\0\0\0");
    let mut connection =
        Connection::connect(&options("someone", None), &address, &stop).expect("a welcome");
    let error = connection.simple_query("asking", "SELECT 1").expect_err("a hostile peer");
    assert!(matches!(error, Error::PostgresServer { .. }), "{error}");
    drop(connection);
    peer.join().expect("the peer");
}

#[test]
fn a_stream_that_no_server_sends_ends_and_a_stop_ends_the_others() {
    const BEGIN: &[u8] = b"W\0\0\0\x07\0\0\0";
    for (name, then, again, ends) in [
        ("a frame of 2^31 bytes", [BEGIN, b"d\x80\0\0\0"].concat(), &b"x"[..], true),
        ("a frame of -1 bytes", [BEGIN, b"d\xFF\xFF\xFF\xFF"].concat(), b"x", true),
        ("a frame of 2 GB", [BEGIN, b"d\x7F\xFF\xFF\xFF"].concat(), b"x", true),
        ("a notice of 1 GB", [BEGIN, b"N\x40\0\0\0"].concat(), b"x", true),
        ("a frame of no kind", BEGIN.to_vec(), b"d\0\0\0\x05?", true),
        ("an empty frame", BEGIN.to_vec(), b"d\0\0\0\x04", true),
        ("a short keepalive", BEGIN.to_vec(), b"d\0\0\0\x06k\0", true),
        ("rows", BEGIN.to_vec(), b"D\0\0\0\x06\0\0", true),
        ("a second begin", BEGIN.to_vec(), BEGIN, true),
        ("notices for ever", BEGIN.to_vec(), b"N\0\0\0\x09Mxxx\0", false),
        ("parameters for ever", BEGIN.to_vec(), b"S\0\0\0\x08x\0y\0", false),
        ("silence", BEGIN.to_vec(), b"", false),
    ] {
        let stop = Stop::new().expect("a stop");
        let (address, _) = peer(WELCOME, then.leak(), again);
        let connection =
            Connection::connect(&options("someone", None), &address, &stop).expect("a welcome");
        let (mut frames, _statuses) = connection.start_replication("s", "p").expect("a stream");
        if !ends {
            stop.request().expect("a request");
        }
        match frames.next(&stop) {
            Err(Error::PostgresProtocol { .. }) => assert!(ends, "{name}"),
            Ok(None) => assert!(!ends, "{name}"),
            Err(Error::PostgresIo { .. }) if again.is_empty() => {}
            other => panic!("{name}: {other:?}"),
        }
    }
}
