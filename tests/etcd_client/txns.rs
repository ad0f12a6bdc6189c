//! Txns: what etcd makes of them, and of those that it refuses.

use super::Etcd;
use pg2etcd::disposition::Disposition;
use pg2etcd::etcd::{Client, Reason, Txn, prefix_end};

fn value(client: &mut Client, key: &[u8]) -> Option<Vec<u8>> {
    client.get(key).unwrap().map(|found| found.value)
}

#[test]
fn a_compare_that_does_not_hold_refuses_all_of_the_txn() {
    let etcd = Etcd::start();
    let mut client = etcd.client();
    let mut txn = Txn::new();

    txn.put(b"position", b"1");
    txn.put(b"row", b"a");
    txn.compare_mod_revision(b"position", 0);
    let first = client.txn(&mut txn).unwrap();
    assert!(first.succeeded);
    let position = client.get(b"position").unwrap().unwrap();
    assert_eq!((position.mod_revision, &position.value[..]), (first.revision, &b"1"[..]));

    // The same again: now the key exists, and "does not exist" is refused.
    txn.otherwise_get(b"position");
    let again = client.txn(&mut txn).unwrap();
    assert!(!again.succeeded);
    assert_eq!((again.revision, again.gets), (first.revision, vec![Some(position)]));

    for (revision, holds) in
        [(first.revision - 1, false), (first.revision + 1, false), (first.revision, true)]
    {
        txn.clear();
        txn.put(b"position", b"2");
        txn.delete(b"row");
        txn.compare_mod_revision(b"position", revision);
        assert_eq!(client.txn(&mut txn).unwrap().succeeded, holds, "{revision}");
        assert_eq!(value(&mut client, b"row").is_none(), holds);
    }
}

#[test]
fn any_bytes_come_back_as_they_were() {
    let etcd = Etcd::start();
    let mut client = etcd.client();
    let every: Vec<u8> = (0..=255).collect();
    let mut txn = Txn::new();
    txn.put(&every, &every);
    txn.put(b"empty", b"");
    client.txn(&mut txn).unwrap();
    assert_eq!(value(&mut client, &every), Some(every.clone()));
    assert_eq!(value(&mut client, b"empty"), Some(vec![]));
    assert_eq!(value(&mut client, b"none"), None);

    txn.clear();
    txn.delete_range(b"\0", &prefix_end(b"\xff"));
    client.txn(&mut txn).unwrap();
    assert_eq!(client.get_many(&[&every[..], b"empty"]).unwrap(), [None, None]);
}

#[test]
fn etcd_limits_what_the_txn_says_they_do() {
    const MAX_REQUEST_BYTES: usize = 1536 << 10;
    let etcd = Etcd::start();
    let mut client = etcd.client();
    let mut txn = Txn::new();

    for operations in [128, 129] {
        txn.clear();
        for index in 0..operations {
            txn.put(format!("key {index}").as_bytes(), b"value");
        }
        txn.compare_mod_revision(b"position", 0);
        assert_eq!(txn.operations(), operations);
        let answer = client.txn(&mut txn);
        if operations == 128 {
            assert!(answer.unwrap().succeeded);
        } else {
            let error = answer.unwrap_err();
            assert_eq!(error.reason(), Some(Reason::TooManyOperations));
            assert_eq!(error.disposition(), Disposition::Fatal);
            assert!(!error.outcome_open() && error.to_string().contains("etcd.max_txn_ops"));
        }
    }

    let mut largest = vec![b'x'; MAX_REQUEST_BYTES];
    txn.clear();
    txn.put(b"large", &largest);
    largest.truncate(2 * MAX_REQUEST_BYTES - txn.request_bytes());
    txn.clear();
    txn.put(b"large", &largest);
    assert_eq!(txn.request_bytes(), MAX_REQUEST_BYTES);
    assert!(client.txn(&mut txn).unwrap().succeeded);

    largest.resize(MAX_REQUEST_BYTES, b'x');
    txn.clear();
    txn.put(b"large", &largest);
    let error = client.txn(&mut txn).unwrap_err();
    assert_eq!(error.reason(), Some(Reason::RequestTooLarge));
    assert!(!error.outcome_open() && error.to_string().contains("etcd.max_request_bytes"));

    // Beyond another 512 KiB, gRPC turns it down before etcd sees it.
    txn.clear();
    txn.put(b"large", &vec![b'x'; 2 * MAX_REQUEST_BYTES]);
    let error = client.txn(&mut txn).unwrap_err();
    assert_eq!(error.reason(), Some(Reason::MessageTooLarge));
    assert_eq!(error.disposition(), Disposition::Fatal);
    assert_eq!(
        value(&mut client, b"large").map(|large| large.len()),
        Some(txn_value(MAX_REQUEST_BYTES))
    );
}

/// The size of the one value that makes a request of `bytes`.
fn txn_value(bytes: usize) -> usize {
    let mut txn = Txn::new();
    txn.put(b"large", &vec![b'x'; bytes]);
    2 * bytes - txn.request_bytes()
}

#[test]
fn a_key_twice_is_refused() {
    let etcd = Etcd::start();
    let mut txn = Txn::new();
    txn.put(b"a/k", b"1");
    txn.delete_range(b"a/", b"a0");
    let error = etcd.client().txn(&mut txn).unwrap_err();
    assert_eq!(error.reason(), Some(Reason::DuplicateKey));
    assert_eq!(error.disposition(), Disposition::Fatal);
}

#[test]
fn a_full_store_is_waited_for() {
    let etcd = Etcd::start_with(&["--quota-backend-bytes=2097152"]);
    let mut client = etcd.client();
    let mut txn = Txn::new();
    txn.put(b"large", &vec![b'x'; 1 << 20]);
    let error = (0..10).find_map(|_| client.txn(&mut txn).err()).unwrap();
    assert_eq!(error.reason(), Some(Reason::NoSpace), "{error}");
    assert_eq!(error.disposition(), Disposition::Retry);
    assert!(!error.outcome_open());
    assert!(client.get(b"large").unwrap().is_some());
}

#[test]
fn many_keys_are_read_at_once() {
    let etcd = Etcd::start();
    let mut client = etcd.client();
    let mut txn = Txn::new();
    txn.put(b"a", b"1");
    txn.put(b"c", b"3");
    client.txn(&mut txn).unwrap();
    let found = client.get_many(&["c", "b", "a"]).unwrap();
    let values = found.iter().map(|found| found.as_ref().map(|found| &found.value[..]));
    assert_eq!(values.collect::<Vec<_>>(), [Some(&b"3"[..]), None, Some(b"1")]);
    assert_eq!(client.get_many(&[b""; 0]).unwrap(), []);
}
