//! Servers that are no etcd, or that break off.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::thread::{self, JoinHandle};

use super::server::{free_port, options};
use crate::disposition::Disposition;
use crate::etcd::{Client, Error, ErrorKind, Txn};

const VERSION: &str = "{\"etcdserver\":\"3.4.0\"}";

/// Answers a connection for each of `answers` and closes it; returns what was asked.
fn serve(listener: TcpListener, answers: Vec<Vec<u8>>) -> JoinHandle<Vec<String>> {
    thread::spawn(move || {
        let talk = |answer: Vec<u8>| {
            let (mut connection, _) = listener.accept().unwrap();
            let mut request = vec![0; 4096];
            let first = connection.read(&mut request).unwrap();
            request.truncate(first);
            // The client may well hang up in the midst of it.
            let _ = connection.write_all(&answer);
            let _ = connection.shutdown(Shutdown::Write);
            let _ = connection.read_to_end(&mut request);
            String::from_utf8(request).unwrap()
        };
        answers.into_iter().map(talk).collect()
    })
}

fn http(status: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
        .into()
}

/// What the client makes of `answer` to a txn.
fn txn(answer: Vec<u8>) -> Error {
    let listener = free_port();
    let endpoint = listener.local_addr().unwrap().to_string();
    serve(listener, vec![http("200 OK", VERSION), answer]);
    let mut client = Client::connect(options(&[&endpoint])).unwrap();
    let mut txn = Txn::new();
    txn.put(b"k", b"v");
    let error = client.txn(&mut txn).unwrap_err();
    assert!(error.outcome_open(), "{error}");
    assert!(error.to_string().starts_with(&endpoint), "{error}");
    error
}

#[test]
fn answers_that_are_none_leave_the_outcome_open() {
    for answer in [
        "",
        "HTTP/1.1 200 OK\r\nContent-Le",
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"succeeded\":true}",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"suc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n",
        "E\0\0\0\x08FATAL",
    ] {
        let error = txn(answer.into());
        assert!(matches!(error.kind, ErrorKind::Broken(_)), "{answer:?}: {error}");
        assert_eq!(error.disposition(), Disposition::Retry);
    }
    for (status, body, disposition) in [
        ("200 OK", "<html>", Disposition::Retry),
        ("502 Bad Gateway", "<html>", Disposition::Retry),
        ("404 Not Found", "404 page not found", Disposition::Fatal),
        ("400 Bad Request", "", Disposition::Fatal),
        ("301 Moved\r\nLocation: http://127.0.0.1:1/", "", Disposition::Retry),
    ] {
        let error = txn(http(status, body));
        assert!(matches!(error.kind, ErrorKind::NotEtcd { .. }), "{status}: {error}");
        assert_eq!(error.disposition(), disposition, "{status}");
    }
}

#[test]
fn an_endless_answer_is_not_read_to_its_end() {
    let mut answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec();
    answer.resize(40 << 20, b' ');
    let error = txn(answer);
    assert!(matches!(error.kind, ErrorKind::ReplyTooLarge(_)), "{error}");
}

#[test]
fn an_etcd_without_the_v3_gateway_is_named() {
    let listener = free_port();
    let endpoint = listener.local_addr().unwrap().to_string();
    serve(listener, vec![http("200 OK", &VERSION.replace("3.4.0", "3.2.9"))]);
    let error = Client::connect(options(&[&endpoint])).err().unwrap();
    assert_eq!(error.disposition(), Disposition::Fatal);
    assert!(error.to_string().contains("etcd 3.2.9 is too old"), "{error}");
}

#[test]
fn fewer_answers_than_keys_are_an_error() {
    let listener = free_port();
    let endpoint = listener.local_addr().unwrap().to_string();
    let one = r#"{"succeeded":true,"responses":[{"response_range":{}}]}"#;
    serve(listener, vec![http("200 OK", VERSION), http("200 OK", one)]);
    let mut client = Client::connect(options(&[&endpoint])).unwrap();
    let error = client.get_many(&["a", "b"]).unwrap_err();
    assert!(matches!(error.kind, ErrorKind::NotEtcd { .. }), "{error}");
}

#[test]
fn an_old_etcd_that_cannot_send_a_page_is_asked_for_a_smaller_one() {
    let listener = free_port();
    let endpoint = listener.local_addr().unwrap().to_string();
    let refusal =
        r#"{"error":"grpc: received message larger than max (4194305 vs. 4194304)","code":8}"#;
    let refusal = http("429 Too Many Requests", refusal);
    let page =
        r#"{"header":{"revision":"7"},"kvs":[{"key":"aw==","mod_revision":"5"}],"count":"1"}"#;
    let answers = vec![http("200 OK", VERSION), refusal.clone(), refusal, http("200 OK", page)];
    let server = serve(listener, answers);
    let mut client = Client::connect(options(&[&endpoint])).unwrap();
    let mut pages = client.pages(b"a", b"z", true);
    assert_eq!(pages.next_page().unwrap().unwrap()[0].key, b"k");
    assert_eq!(pages.next_page().unwrap(), None);
    let asked = server.join().unwrap();
    for (asked, limit) in asked[1..].iter().zip(["1000", "500", "250"]) {
        assert!(asked.contains(&format!("\"limit\":\"{limit}\"")), "{asked}");
    }
}

#[test]
fn a_connection_is_kept_and_a_request_comes_in_one_piece() {
    let listener = free_port();
    let endpoint = listener.local_addr().unwrap().to_string();
    // Only the first connection is ever answered.
    let server = thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        for (end, body) in [("\r\n\r\n", VERSION), ("]}", "{}"), ("]}", "{}")] {
            let mut request = [0; 4096];
            let length = connection.read(&mut request).unwrap();
            let request = String::from_utf8_lossy(&request[..length]);
            assert!(request.ends_with(end), "{request}");
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            connection.write_all(answer.as_bytes()).unwrap();
        }
    });
    let mut client = Client::connect(options(&[&endpoint])).unwrap();
    let mut txn = Txn::new();
    for _ in 0..2 {
        client.txn(&mut txn).unwrap();
    }
    server.join().unwrap();
}
