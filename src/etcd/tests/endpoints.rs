use std::time::{Duration, Instant};

use super::server::{Etcd, free_port, options};
use crate::disposition::Disposition;
use crate::etcd::{Client, ErrorKind, Options, Txn};

fn put(key: &[u8]) -> Txn {
    let mut txn = Txn::new();
    txn.put(key, b"");
    txn
}

/// An endpoint that refuses connections.
fn dead() -> String {
    free_port().local_addr().unwrap().to_string()
}

fn impatient(endpoints: &[&str]) -> Client {
    let request_timeout = Duration::from_millis(500);
    Client::connect(Options { request_timeout, ..options(endpoints) }).unwrap()
}

#[test]
fn an_endpoint_that_is_down_is_passed_by() {
    let etcd = Etcd::start();
    let mut client = Client::connect(options(&[&dead(), &etcd.endpoint])).unwrap();
    assert!(client.txn(&mut put(b"k")).unwrap().succeeded);

    let spare = Etcd::start();
    let mut client = Client::connect(options(&[&spare.endpoint, &etcd.endpoint])).unwrap();
    assert!(client.get(b"k").unwrap().is_none());
    drop(spare);
    // Nothing was sent, so that a txn too goes on to the next one, in the same call.
    assert!(client.txn(&mut put(b"k2")).unwrap().succeeded);
    assert!(client.get(b"k").unwrap().is_some());
}

#[test]
fn nothing_was_sent_if_there_is_no_connection() {
    for endpoint in [&dead()[..], "etcd.invalid:2379"] {
        let error = Client::connect(options(&[endpoint, endpoint])).err().unwrap();
        assert!(matches!(error.kind, ErrorKind::NotSent(_)), "{error}");
        assert_eq!(error.disposition(), Disposition::Retry);
        assert!(!error.outcome_open() && error.to_string().contains(endpoint));
    }
    let error = Client::connect(options(&[])).err().unwrap();
    assert_eq!(error.disposition(), Disposition::Fatal);
}

#[test]
fn a_txn_without_an_answer_goes_to_no_second_endpoint() {
    let (frozen, other) = (Etcd::start(), Etcd::start());
    let mut client = impatient(&[&frozen.endpoint, &other.endpoint]);
    client.txn(&mut put(b"before")).unwrap();
    frozen.freeze();
    let started = Instant::now();
    let error = client.txn(&mut put(b"open")).unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(matches!(error.kind, ErrorKind::TimedOut(_)), "{error}");
    assert!(error.outcome_open());
    assert_eq!(error.disposition(), Disposition::Retry);
    assert_eq!(error.endpoint, frozen.endpoint);

    // The next call begins with the other endpoint, where the txn did not arrive.
    let mut clone = client.clone();
    assert_eq!(clone.get_many(&["before", "open"]).unwrap(), [None, None]);
}

#[test]
fn a_question_without_an_answer_goes_to_the_next_endpoint() {
    let (frozen, other) = (Etcd::start(), Etcd::start());
    other.client().txn(&mut put(b"k")).unwrap();
    let mut client = impatient(&[&frozen.endpoint, &other.endpoint]);
    frozen.freeze();
    assert!(client.get(b"k").unwrap().is_some());
}

#[test]
fn a_connection_that_the_server_closed_is_made_anew() {
    let mut etcd = Etcd::start();
    let mut client = etcd.client();
    client.txn(&mut put(b"before")).unwrap();
    etcd.restart();
    // A txn is sent once only, so that this would fail if the old connection were used.
    client.txn(&mut put(b"after")).unwrap();
}
