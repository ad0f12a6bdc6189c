//! Gateways that mean harm: each ends in an error, in bounded memory and time.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use super::{free_port, identity, options};
use crate::disposition::Disposition::{self, Fatal, Retry};
use crate::etcd::{Client, Error, Txn};

/// The longest time that an answer may take here. All cases run at once, on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What is sent, to be followed by a piece again and again until the client has gone; what the
/// error says, and what follows from it.
type Case = (&'static str, String, &'static str, &'static str, Disposition);

const PIECE: &str = "          ";

fn cases() -> Vec<Case> {
    let ok = |header: &str, body: &str| format!("HTTP/1.1 200 OK\r\n{header}\r\n\r\n{body}");
    let whole = |body: &str| ok(&format!("Content-Length: {}", body.len()), body);
    let chunk = "a\r\n          \r\n";
    vec![
        // Bodies without end.
        ("length of 10 GB", ok("Content-Length: 10737418240", ""), PIECE, "larger than", Fatal),
        ("chunks for ever", ok("Transfer-Encoding: chunked", ""), chunk, "larger than", Fatal),
        ("no length", ok("Connection: close", ""), PIECE, "larger than", Fatal),
        ("an error for ever", ok("", "").replace("200 OK", "500 No"), PIECE, "larger than", Fatal),
        (
            "one chunk of 2^64",
            ok("Transfer-Encoding: chunked", "ffffffffffffffff\r\n"),
            PIECE,
            "larger than",
            Fatal,
        ),
        ("a chunk's length for ever", ok("Transfer-Encoding: chunked", ""), "0", "broke", Retry),
        // Headers without end.
        ("headers for ever", "HTTP/1.1 200 OK\r\n".to_owned(), "X: y\r\n", "broke", Retry),
        ("a header for ever", "HTTP/1.1 200 OK\r\nX: ".to_owned(), "y", "broke", Retry),
        ("a status for ever", "HTTP/1.1 200 ".to_owned(), "OK", "broke", Retry),
        ("continue for ever", String::new(), "HTTP/1.1 100 Continue\r\n\r\n", "no answer", Retry),
        // Lengths that lie.
        (
            "half a body",
            ok("Content-Length: 99999", "{\"succeeded\":true}"),
            "",
            "no answer",
            Retry,
        ),
        ("a negative length", ok("Content-Length: -1", "{}"), "", "broke", Retry),
        ("a length of 2^64", ok("Content-Length: 18446744073709551616", "{}"), "", "broke", Retry),
        ("two lengths", ok("Content-Length: 2\r\nContent-Length: 99", "{}"), "", "", Retry),
        // No answer, or another one.
        ("silence", String::new(), "", "no answer within", Retry),
        ("bytes of chance", "\u{1}\u{7f}\u{16}\u{3}".repeat(100), "", "broke", Retry),
        ("HTML", whole("<html>login</html>"), "", "etcd.endpoints", Retry),
        ("a redirect to itself", redirect("/version"), "", "HTTP status 301", Retry),
        ("a redirect elsewhere", redirect("http://127.0.0.1:1/"), "", "HTTP status 302", Retry),
        // JSON that is more than it seems.
        ("nested arrays", whole(&"[".repeat(100_000)), "", "no answer of etcd's", Retry),
        ("nested objects", whole(&"{\"a\":".repeat(100_000)), "", "no answer of etcd's", Retry),
        (
            "nested where ignored",
            whole(&format!("{{\"x\":{}", "[".repeat(100_000))),
            "",
            "no answer of etcd's",
            Retry,
        ),
        ("ten million results", whole(&list("responses")), "", "more than 262144 objects", Retry),
        (
            "a long number",
            whole(&format!("{{\"header\":{{\"revision\":{}}}}}", "9".repeat(1 << 20))),
            "",
            "no answer of etcd's",
            Retry,
        ),
        (
            "a long wrong text",
            whole(&format!("{{\"succeeded\":\"{}\"}}", "x".repeat(1 << 20))),
            "",
            "no answer of etcd's",
            Retry,
        ),
    ]
}

fn redirect(to: &str) -> String {
    let status = if to.starts_with('/') { "301 Moved" } else { "302 Found" };
    format!("HTTP/1.1 {status}\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n")
}

/// An answer of the largest size that is read, of as many empty objects as it can have.
fn list(name: &str) -> String {
    format!("{{\"{name}\":[{}{{}}]}}", "{},".repeat(11_000_000))
}

#[test]
fn each_is_an_error_in_bounded_time() {
    thread::scope(|scope| {
        for (name, answer, again, part, disposition) in cases() {
            scope.spawn(move || {
                let begun = Instant::now();
                let error = error_of(answer, again);
                let text = error.to_string();
                assert!(text.contains(part), "{name}: {text:.500}");
                assert!(text.len() < 2000, "{name}: an error of {} bytes", text.len());
                assert_eq!(error.disposition(), disposition, "{name}: {text}");
                assert!(error.outcome_open(), "{name}: {text}");
                assert!(begun.elapsed() < 4 * TIMEOUT, "{name}: {:?}", begun.elapsed());
            });
        }
    });
}

/// What comes of a txn that is answered so.
fn error_of(answer: String, again: &'static str) -> Error {
    let listener = free_port();
    let endpoint = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        respond(&mut listener.accept().unwrap().0, &answer, again);
    });
    let mut client =
        Client::connect(crate::etcd::Options { request_timeout: TIMEOUT, ..options(&[&endpoint]) })
            .unwrap();
    let mut txn = Txn::new();
    txn.put(b"k", b"v");
    client.txn(&mut txn).unwrap_err()
}

/// Says who it is as often as it is asked, then answers, and stays until the client has gone.
fn respond(connection: &mut TcpStream, answer: &str, again: &str) {
    let mut request = [0; 4096];
    while let Ok(length @ 1..) = connection.read(&mut request)
        && let Some(identity) = identity(&request[..length])
    {
        connection.write_all(identity.as_bytes()).unwrap();
    }
    let mut sent = connection.write_all(answer.as_bytes());
    if !again.is_empty() {
        let many = again.repeat(1000);
        while sent.is_ok() {
            sent = connection.write_all(many.as_bytes());
        }
    }
    let _ = connection.read_to_end(&mut Vec::new());
}
