//! Peers that do not keep to the protocol: what they send ends in an error, in bounded memory.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::copy_both::FrameReader;
use super::message::MessageReader;
use super::stream::Stream;
use super::{Connection, HostPort, Options, SslMode, TlsOptions};
use crate::error::Error;
use crate::secret::{Password, Secret};
use crate::stop::Stop;

/// What a client says that connects to one of these peers.
pub(super) fn options(user: &str, password: Option<&str>) -> Options {
    Options {
        user: user.to_owned(),
        password: password.map(|password| Password::Given(Secret::new(password))),
        passfile: None,
        database: "shop".to_owned(),
        connect_timeout: Duration::from_secs(20),
        tls: TlsOptions { mode: SslMode::Disable, ..TlsOptions::default() },
    }
}

/// Connects to a peer that reads the startup message and then does `behave`.
fn connect_to(behave: impl FnOnce(&mut TcpStream) + Send + 'static) -> Error {
    connect_with(SslMode::Disable, behave)
}

fn connect_with(mode: SslMode, behave: impl FnOnce(&mut TcpStream) + Send + 'static) -> Error {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let peer = thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("a client");
        let _ = socket.read(&mut [0; 4096]).expect("a startup message");
        behave(&mut socket);
    });
    let mut options = options("someone", Some("secret"));
    options.connect_timeout = Duration::from_secs(2);
    options.tls.mode = mode;
    let stop = Stop::new().expect("a stop");
    let address = HostPort { host: "127.0.0.1".to_owned(), port };
    let error = Connection::connect(&options, &address, &stop).expect_err("a hostile peer");
    peer.join().expect("the peer");
    assert!(!error.to_string().contains("secret"), "{error}");
    error
}

/// Sends until the client has gone.
fn flood(socket: &mut TcpStream, bytes: &[u8]) {
    while socket.write_all(bytes).is_ok() {}
}

#[test]
fn a_length_beyond_the_limit_is_refused_at_once() {
    for header in [b"R\x80\0\0\0", b"d\x7F\xFF\xFF\xFF", b"E\x40\0\0\0", b"R\0\0\0\x03", b"HTTP/"] {
        let error = connect_to(|socket| socket.write_all(header).expect("written"));
        assert!(matches!(error, Error::PostgresProtocol { .. }), "{error}");
    }
}

#[test]
fn a_truncated_message_is_the_connections_end() {
    let error = connect_to(|socket| socket.write_all(b"R\0\0\0\x08\0\0").expect("written"));
    assert!(matches!(error, Error::PostgresIo { .. }), "{error}");
}

#[test]
fn a_request_for_tls_is_answered_or_there_is_no_connection() {
    let refused = |behave: fn(&mut TcpStream)| connect_with(SslMode::Require, behave);
    for (error, part) in [
        (refused(|socket| socket.write_all(b"N").expect("written")), "has no TLS"),
        // What follows the answer in clear text is no part of the session.
        (refused(|socket| flood(socket, b"SR\0\0\0\x08\0\0\0\0")), "does not speak TLS"),
    ] {
        assert!(matches!(&error, Error::Credentials(text) if text.contains(part)), "{error}");
    }
    let error = refused(|socket| socket.write_all(b"E").expect("written"));
    assert!(matches!(error, Error::PostgresProtocol { .. }), "{error}");
    let began = Instant::now();
    let error = refused(|socket| {
        socket.write_all(b"S").expect("written");
        while socket.read(&mut [0; 4096]).is_ok_and(|count| count > 0) {}
    });
    assert!(matches!(error, Error::PostgresIo { .. }), "{error}");
    assert!(began.elapsed() < Duration::from_secs(8), "{error}");
}

#[test]
fn authentication_ends() {
    for (request, case) in [
        (&b"R\0\0\0\x08\0\0\0\x03"[..], "cleartext"),
        (b"R\0\0\0\x0C\0\0\0\x05salt", "md5"),
        (b"R\0\0\0\x17\0\0\0\x0ASCRAM-SHA-256\0\0", "SASL"),
        (b"R\0\0\0\x08\0\0\0\0", "accepted"),
    ] {
        let error = connect_to(move |socket| flood(socket, request));
        assert!(matches!(error, Error::PostgresProtocol { .. }), "{case}: {error}");
    }
}

#[test]
fn a_server_that_skips_its_own_proof_is_not_believed() {
    let error = connect_to(|socket| {
        let sasl_then_ok = b"R\0\0\0\x17\0\0\0\x0ASCRAM-SHA-256\0\0R\0\0\0\x08\0\0\0\0";
        socket.write_all(sasl_then_ok).expect("written");
    });
    assert!(matches!(error, Error::PostgresProtocol { .. }), "{error}");
}

#[test]
fn other_methods_are_named() {
    for (request, name) in [
        (&b"R\0\0\0\x08\0\0\0\x07"[..], "GSSAPI"),
        (b"R\0\0\0\x08\0\0\0\x09", "SSPI"),
        (b"R\0\0\0\x10\0\0\0\x0AOAUTH\0\0\0", "OAUTH"),
    ] {
        let error = connect_to(|socket| socket.write_all(request).expect("written"));
        assert!(matches!(error, Error::Requirement(_)), "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn a_peer_that_never_comes_to_the_point_meets_the_time_out() {
    let begun = Instant::now();
    let notices = connect_to(|socket| flood(socket, b"N\0\0\0\x04"));
    let silence = connect_to(|socket| {
        let _ = socket.read(&mut [0]);
    });
    for error in [notices, silence] {
        match error {
            Error::PostgresIo { source, .. } => {
                assert_eq!(source.kind(), std::io::ErrorKind::TimedOut);
            }
            other => panic!("{other}"),
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(10));
}

/// What a stream of these bytes gives: the sum of the frames' messages, and the error at its end.
fn stream_of(bytes: Vec<u8>) -> (usize, Error) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let client = TcpStream::connect(listener.local_addr().expect("an address")).expect("a peer");
    let (mut socket, _) = listener.accept().expect("a client");
    let peer = thread::spawn(move || {
        let _ = socket.write_all(&bytes);
    });
    let mut reader =
        FrameReader::new(MessageReader::new(Stream::Tcp(client)), "reading".to_owned());
    let stop = Stop::new().expect("a stop");
    let mut sum = 0;
    let error = loop {
        match reader.next(&stop) {
            Ok(Some(super::Frame::XlogData { message, .. })) => sum += message.len(),
            Ok(Some(super::Frame::Keepalive { .. })) => {}
            Ok(None) => panic!("nobody asked for a stop"),
            Err(error) => break error,
        }
    };
    drop(reader);
    peer.join().expect("the peer");
    (sum, error)
}

fn xlog_data(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(4 + 25 + message.len()).expect("a frame's length");
    [&b"d"[..], &length.to_be_bytes(), b"w", &[0; 24], message].concat()
}

#[test]
fn frames_of_every_size_come_whole() {
    let sizes = [0, 1, 100, 300_000, 7, 256 << 10, 6 << 20, 3, 70_000, 5 << 20, 0];
    let bytes: Vec<u8> = sizes.iter().flat_map(|size| xlog_data(&vec![b'x'; *size])).collect();
    let (sum, error) = stream_of(bytes);
    assert_eq!(sum, sizes.iter().sum::<usize>());
    assert!(matches!(error, Error::PostgresIo { .. }), "{error}");
}

#[test]
fn only_a_whole_frame_has_arrived() {
    let (client, mut peer) = UnixStream::pair().expect("a pair");
    let mut reader =
        FrameReader::new(MessageReader::new(Stream::Unix(client)), "reading".to_owned());
    let frame = xlog_data(b"row");
    let mut arrived_after = |bytes: &[u8]| {
        peer.write_all(bytes).expect("written");
        assert!(!reader.read().expect("bytes"), "all of them");
        let mut frames = 0;
        while reader.arrived().expect("no error").is_some() {
            frames += 1;
        }
        frames
    };
    assert_eq!(arrived_after(&frame), 1);
    assert_eq!(arrived_after(&[&frame[..], &frame].concat()), 2);
    assert_eq!(arrived_after(&[&frame[..], b"N\0\0\0\x04"].concat()), 1, "a notice is no frame");
    assert_eq!(arrived_after(&frame[..31]), 0);
    assert_eq!(arrived_after(&frame[31..]), 1);
}

#[test]
fn a_stream_refuses_what_no_server_sends() {
    for bytes in
        [&b"d\x40\x01\0\x01"[..], b"E\0\x20\0\0", b"d\0\0\0\x05?", b"d\0\0\0\x04", b"?\0\0\0\x04"]
    {
        let (_, error) = stream_of(bytes.to_vec());
        assert!(matches!(error, Error::PostgresProtocol { .. }), "{error}");
    }
}

#[test]
fn a_port_where_nobody_listens_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    drop(listener);
    let stop = Stop::new().expect("a stop");
    let address = HostPort { host: "localhost".to_owned(), port };
    let error =
        Connection::connect(&options("someone", None), &address, &stop).expect_err("nobody");
    assert!(matches!(error, Error::PostgresIo { .. }), "{error}");
    assert!(error.to_string().contains(&format!("localhost:{port}")), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>, tag in prop::sample::select(&b"dENScCZK"[..])) {
        let length = u32::try_from(bytes.len() + 4).expect("a length").to_be_bytes();
        stream_of([&[tag][..], &length, &bytes, &bytes].concat());
        stream_of(bytes.clone());
        connect_to(move |socket| { let _ = socket.write_all(&bytes); });
    }
}
