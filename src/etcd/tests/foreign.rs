//! Servers that are no etcd, or that break off.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::thread::{self, JoinHandle};

use super::{free_port, identity, options};
use crate::disposition::Disposition;
use crate::etcd::{AsOf, Client, Error, ErrorKind, Options, Txn};

/// Says who it is, and gives one of `answers` on each connection and closes it; returns what was
/// asked.
fn serve(listener: TcpListener, answers: Vec<Vec<u8>>) -> JoinHandle<Vec<String>> {
    thread::spawn(move || {
        let talk = |answer: Vec<u8>| {
            let (mut connection, _) = listener.accept().unwrap();
            let mut request = vec![0; 4096];
            loop {
                let length = connection.read(&mut request).unwrap();
                if let Some(identity) = identity(&request[..length]) {
                    connection.write_all(identity.as_bytes()).unwrap();
                    continue;
                }
                request.truncate(length);
                break;
            }
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
    serve(listener, vec![answer]);
    let mut client = Client::connect(options(&[&endpoint])).unwrap();
    let mut txn = Txn::new();
    txn.put(b"k", b"v");
    let error = client.txn(&mut txn).unwrap_err();
    let is_elsewhere = matches!(error.kind, ErrorKind::OtherCluster { .. });
    assert_eq!(error.outcome_open(), !is_elsewhere, "{error}");
    assert!(error.to_string().starts_with(&endpoint), "{error}");
    error
}

#[test]
fn answers_that_are_none_leave_the_outcome_open() {
    for answer in [
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
    assert_eq!(txn(Vec::new()).kind, ErrorKind::Closed);
    // Once etcd has answered, all of it is what stands before etcd, and may pass.
    for (status, body) in [
        ("200 OK", "<html>"),
        ("502 Bad Gateway", "<html>"),
        ("404 Not Found", "404 page not found"),
        ("400 Bad Request", ""),
        ("405 Method Not Allowed", ""),
        ("413 Content Too Large", "<html>"),
        ("421 Misdirected Request", ""),
        ("301 Moved\r\nLocation: http://127.0.0.1:1/", ""),
    ] {
        let error = txn(http(status, body));
        assert!(matches!(error.kind, ErrorKind::NotEtcd { .. }), "{status}: {error}");
        assert_eq!(error.disposition(), Disposition::Retry, "{status}");
        let names_the_limit = error.to_string().contains("etcd.max_request_bytes");
        assert_eq!(names_the_limit, status.starts_with("413"), "{error}");
    }
}

#[test]
fn an_endless_answer_is_not_read_to_its_end() {
    let mut answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec();
    answer.resize(40 << 20, b' ');
    let error = txn(answer);
    assert!(matches!(error.kind, ErrorKind::ReplyTooLarge(_)), "{error}");
}

/// What a start makes of an endpoint that gives this answer to whatever it is asked.
fn start(answer: Vec<u8>) -> Error {
    let listener = free_port();
    let endpoint = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        let _ = connection.read(&mut [0; 4096]).unwrap();
        let _ = connection.write_all(&answer);
        let _ = connection.shutdown(Shutdown::Write);
        let _ = connection.read_to_end(&mut Vec::new());
    });
    let error = Client::connect(options(&[&endpoint])).err().unwrap();
    assert!(error.to_string().starts_with(&endpoint), "{error}");
    error
}

#[test]
fn a_start_names_what_is_no_etcd() {
    let settings = [
        // Upstream's SETTINGS frame, as a port for gRPC alone sends it first.
        (b"\0\0\x06\x04\0\0\0\0\0\0\x05\0\0\x40\0".to_vec(), "--listen-client-http-urls"),
        (http("502 Bad Gateway", "malformed HTTP response \"\\x00\\x00\""), "gRPC alone"),
        (http("200 OK", "{\"etcdserver\":\"3.2.9\"}"), "etcd 3.2.9 is too old"),
        (http("404 Not Found", "404 page not found"), "--enable-grpc-gateway"),
        (http("405 Method Not Allowed", "<html>"), "HTTP status 405"),
    ];
    for (answer, part) in settings {
        let error = start(answer);
        assert!(error.to_string().contains(part), "{part}: {error}");
        assert_eq!(error.disposition(), Disposition::Fatal, "{error}");
    }
    let error = start(Vec::new());
    assert!(error.to_string().contains("does it speak TLS? Then write https://"), "{error}");
    assert!(error.to_string().contains("Or gRPC alone?"), "{error}");
    assert_eq!(error.disposition(), Disposition::Retry);
    // What etcd's access control says.
    let name = "CommonName of client sending a request against gateway will be ignored and not \
                used as expected\n";
    let error = start(http("400 Bad Request", name));
    assert!(error.to_string().contains("a CommonName in etcd.tls.certificate_path"), "{error}");
    assert_eq!(error.disposition(), Disposition::Refused);
}

#[test]
fn all_that_failed_are_named_and_the_most_hopeful_counts() {
    let (none, foreign) = (free_port(), free_port());
    let dead = none.local_addr().unwrap().to_string();
    drop(none);
    let endpoint = foreign.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for mut connection in foreign.incoming().flatten() {
            let _ = connection.read(&mut [0; 4096]);
            let _ = connection.write_all(&http("404 Not Found", "404 page not found"));
        }
    });
    for (endpoints, disposition) in [
        ([&endpoint[..], &dead], Disposition::Retry),
        ([&dead, &endpoint], Disposition::Retry),
        ([&endpoint, &endpoint], Disposition::Fatal),
    ] {
        let error = Client::connect(options(&endpoints)).err().unwrap();
        let text = error.to_string();
        assert!(endpoints.iter().all(|endpoint| text.contains(endpoint)), "{text}");
        assert_eq!(error.disposition(), disposition, "{text}");
    }
    for endpoint in [&dead[..], "etcd.invalid:2379"] {
        let error = Client::connect(options(&[endpoint, endpoint])).err().unwrap();
        assert!(matches!(error.kind, ErrorKind::NotSent(_)), "{error}");
        assert_eq!(error.disposition(), Disposition::Retry);
        assert!(!error.outcome_open() && error.to_string().contains(endpoint));
    }
    let error = Client::connect(options(&[])).err().unwrap();
    assert_eq!(error.disposition(), Disposition::Fatal);
}

#[test]
fn a_connection_that_ends_without_an_answer_is_tried_with_a_new_login() {
    let listener = free_port();
    let endpoint = listener.local_addr().unwrap().to_string();
    let token = || http("200 OK", "{\"token\":\"t\"}");
    let range = http("200 OK", "{\"header\":{\"cluster_id\":\"5\",\"revision\":\"7\"}}");
    // A range is asked for once more, a txn is not.
    let answers = vec![token(), Vec::new(), token(), range, Vec::new(), token()];
    let server = serve(listener, answers);
    let user = Options { username: Some("u".to_owned()), ..options(&[&endpoint]) };
    let mut client = Client::connect(user).unwrap();
    assert!(client.get(b"k").unwrap().is_none());
    let mut txn = Txn::new();
    txn.put(b"k", b"v");
    let error = client.txn(&mut txn).unwrap_err();
    assert!(error.kind == ErrorKind::Closed && error.outcome_open(), "{error}");
    let asked = server.join().unwrap();
    let paths = asked.iter().map(|asked| asked.split(' ').nth(1).unwrap());
    let login = "/v3/auth/authenticate";
    let expected = [login, "/v3/kv/range", login, "/v3/kv/range", "/v3/kv/txn", login];
    assert_eq!(paths.collect::<Vec<_>>(), expected);
}

#[test]
fn an_answer_of_another_cluster_is_none() {
    let error = txn(http("200 OK", "{\"header\":{\"cluster_id\":\"255\"},\"succeeded\":true}"));
    assert_eq!(error.kind, ErrorKind::OtherCluster { found: 255, accepted: 5 });
    assert_eq!(error.disposition(), Disposition::Retry);
}

#[test]
fn fewer_answers_than_keys_are_an_error() {
    let listener = free_port();
    let endpoint = listener.local_addr().unwrap().to_string();
    let one = r#"{"succeeded":true,"responses":[{"response_range":{}}]}"#;
    serve(listener, vec![http("200 OK", one)]);
    let mut client = Client::connect(options(&[&endpoint])).unwrap();
    let error = client.get_many(&["a", "b"]).unwrap_err();
    assert!(matches!(error.kind, ErrorKind::NotEtcd { .. }), "{error}");
}

#[test]
fn a_member_that_is_behind_is_asked_for_the_newest() {
    let listener = free_port();
    let endpoint = listener.local_addr().unwrap().to_string();
    let behind =
        r#"{"header":{"revision":"6"},"succeeded":true,"responses":[{"response_range":{}}]}"#;
    let newest = concat!(
        r#"{"header":{"revision":"7"},"succeeded":true,"responses":[{"response_range":"#,
        r#"{"kvs":[{"key":"aw==","value":"dg==","mod_revision":"7"}]}}]}"#,
    );
    let server = serve(listener, vec![http("200 OK", behind), http("200 OK", newest)]);
    let mut client = Client::connect(options(&[&endpoint])).unwrap();
    let found = client.get_many_as_of(&["k"], AsOf::Since(7)).unwrap();
    assert_eq!(found[0].as_ref().map(|found| &found.value[..]), Some(&b"v"[..]));
    let asked = server.join().unwrap();
    let waits_for_nothing = asked.iter().map(|asked| asked.contains(r#""serializable":true"#));
    assert_eq!(waits_for_nothing.collect::<Vec<_>>(), [true, false]);
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
    let answers = vec![refusal.clone(), refusal, http("200 OK", page)];
    let server = serve(listener, answers);
    let mut client = Client::connect(options(&[&endpoint])).unwrap();
    let mut pages = client.pages(b"a", b"z", true);
    assert_eq!(pages.next_page().unwrap().unwrap()[0].key, b"k");
    assert_eq!(pages.next_page().unwrap(), None);
    let asked = server.join().unwrap();
    for (asked, limit) in asked.iter().zip(["1000", "500", "250"]) {
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
        for end in ["\r\n\r\n", "\r\n\r\n{}", "]}", "]}"] {
            let mut request = [0; 4096];
            let length = connection.read(&mut request).unwrap();
            let request = &request[..length];
            assert!(request.ends_with(end.as_bytes()), "{}", request.escape_ascii());
            let none = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}".to_owned();
            let answer = identity(request).unwrap_or(none);
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
