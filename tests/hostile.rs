//! Peers that mean harm, and the program itself: its memory stays small, and it exits or tries again.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::support::{Launch, Servers, wait_until};

/// The most memory that it may ever take, in KiB: an answer of etcd's takes up to 32 MiB.
const PEAK: u64 = 40 << 10;

/// A server of any kind on a free port.
struct Peer {
    port: u16,
    /// How many requests, or startup messages, were answered.
    answered: Arc<AtomicUsize>,
}

impl Peer {
    /// Hands each connection's first bytes to `answer`, and closes the connection after that. It ends with the tests' process.
    fn new(answer: impl Fn(&[u8], &mut TcpStream) + Clone + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let answered = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&answered);
        thread::spawn(move || {
            for mut client in listener.incoming().flatten() {
                let (answer, count) = (answer.clone(), Arc::clone(&count));
                thread::spawn(move || {
                    let mut first = [0; 4096];
                    let length = client.read(&mut first).unwrap_or(0);
                    answer(&first[..length], &mut client);
                    count.fetch_add(1, Ordering::Relaxed);
                });
            }
        });
        Self { port, answered }
    }

    /// It must go on asking, and in little memory.
    fn is_asked_again_and_again(&self, name: &str, launch: &Launch) {
        let mut daemon = launch.start();
        wait_until(name, || self.answered.load(Ordering::Relaxed) > 4);
        let peak = daemon.peak_memory();
        println!("{name}: peak {peak} KiB");
        assert!(peak < PEAK, "{name}: {peak} KiB");
        daemon.signal(rustix::process::Signal::TERM);
        assert_eq!(daemon.exit_status(), 0, "{name}");
    }
}

/// Sends until the client has gone.
fn flood(client: &mut TcpStream, bytes: &[u8]) {
    let many = bytes.repeat(1 + 65536 / bytes.len());
    while client.write_all(&many).is_ok() {}
}

/// Answers the version as etcd does, and all else with this status and body.
fn gateway(status: &'static str, body: impl Fn(&mut TcpStream) + Clone + Send + 'static) -> Peer {
    Peer::new(move |request, client| {
        let (status, body): (_, &dyn Fn(&mut TcpStream)) = match request {
            [b'G', b'E', b'T', ..] => {
                ("200 OK", &|client| drop(client.write_all(b"{\"etcdserver\":\"3.5.0\"}")))
            }
            _ => (status, &body),
        };
        let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\n\r\n");
        if client.write_all(head.as_bytes()).is_ok() {
            body(client);
        }
    })
}

#[test]
fn a_gateway_that_sends_without_end() {
    let servers = Servers::start();
    let launch = servers.daemon().set("etcd.request_timeout", "20s");
    let at = |peer: &Peer| launch.clone().set("etcd.endpoints", format!("127.0.0.1:{}", peer.port));

    let endless = gateway("200 OK", |client| flood(client, b" "));
    let (status, log) = at(&endless).run();
    assert_eq!(status, 2, "{log}");
    assert!(log.contains("the answer is larger than"), "{log}");

    let huge = |body: &'static str| {
        move |client: &mut TcpStream| {
            let _ = client.write_all(body.repeat((31 << 20) / body.len()).as_bytes());
        }
    };
    for (name, peer) in [
        ("31 MiB of nothing", gateway("502 Bad Gateway", huge(" "))),
        ("31 MiB of nesting", gateway("200 OK", huge("["))),
        (
            "31 MiB of objects",
            gateway("200 OK", move |client| {
                let _ = client.write_all(b"{\"kvs\":[");
                huge("{},")(client);
                let _ = client.write_all(b"{}]}");
            }),
        ),
        (
            "headers",
            Peer::new(|_, client| {
                let _ = client.write_all(b"HTTP/1.1 200 OK\r\n");
                flood(client, b"X: y\r\n");
            }),
        ),
    ] {
        peer.is_asked_again_and_again(name, &at(&peer));
    }
}

#[test]
fn a_database_server_that_sends_without_end() {
    let servers = Servers::with(&["--only", "etcd"]);
    let launch = servers
        .daemon()
        .set("database.connect_timeout", "500ms")
        .set("database.sslmode", "disable");
    for (name, first, again, part) in [
        ("notices", &b""[..], &b"N\0\0\0\x09Mxxx\0"[..], "timed out"),
        ("logins", b"", b"R\0\0\0\x08\0\0\0\0", "protocol error"),
        ("2 GB announced", b"d\x7F\xFF\xFF\xFF", b"x", "protocol error"),
        ("garbage", b"", b"HTTP/1.1 400 Bad Request\r\n", "protocol error"),
    ] {
        let peer = Peer::new(move |_, client| {
            let _ = client.write_all(first);
            flood(client, again);
        });
        let launch = launch.clone().set("database.port", peer.port);
        let (status, log) = launch.clone().set("database.connection_retries", 2).run();
        assert_eq!(status, 2, "{name}: {log}");
        assert!(log.contains(part) && log.contains("2 attempts"), "{name}: {log}");
        peer.is_asked_again_and_again(name, &launch.set("database.connection_retries", 1000));
    }
}
