//! Servers that are no etcd, or that break off.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::thread;

use super::server::{free_port, options};
use crate::error::Disposition;
use crate::etcd::{Client, Error, ErrorKind, Txn};

const VERSION: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Length: 22\r\nConnection: close\r\n\r\n{\"etcdserver\":\"3.4.0\"}";

/// Answers a connection for each of `answers` and closes it.
fn serve(listener: TcpListener, answers: Vec<Vec<u8>>) {
    thread::spawn(move || {
        for answer in answers {
            let (mut connection, _) = listener.accept().unwrap();
            let _ = connection.read(&mut [0; 4096]);
            // The client may well hang up in the midst of it.
            let _ = connection.write_all(&answer);
            let _ = connection.shutdown(Shutdown::Write);
            let _ = connection.read_to_end(&mut Vec::new());
        }
    });
}

/// What the client makes of `answer` to a txn.
fn txn(answer: Vec<u8>) -> Error {
    let listener = free_port();
    let endpoint = listener.local_addr().unwrap().to_string();
    serve(listener, vec![VERSION.to_vec(), answer]);
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
    for (answer, disposition) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>", Disposition::Retry),
        ("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 6\r\n\r\n<html>", Disposition::Retry),
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\n404\n", Disposition::Fatal),
        ("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", Disposition::Fatal),
        (
            "HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
            Disposition::Retry,
        ),
    ] {
        let error = txn(answer.into());
        assert!(matches!(error.kind, ErrorKind::NotEtcd { .. }), "{answer:?}: {error}");
        assert_eq!(error.disposition(), disposition, "{answer:?}");
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
    let version = String::from_utf8(VERSION.to_vec()).unwrap().replace("3.4.0", "3.2.9");
    serve(listener, vec![version.into_bytes()]);
    let error = Client::connect(options(&[&endpoint])).err().unwrap();
    assert_eq!(error.disposition(), Disposition::Fatal);
    assert!(error.to_string().contains("etcd 3.2.9 is too old"), "{error}");
}
