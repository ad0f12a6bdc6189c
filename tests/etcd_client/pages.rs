//! Ranges, page by page.

use super::Etcd;
use pg2etcd::etcd::{Client, KeyValue, Pages, Reason, Txn, prefix_end};

const KEYS: usize = 12_000;

fn key(index: usize) -> Vec<u8> {
    format!("/t/{index:06}").into_bytes()
}

/// Small values, and among them a hundred of 64 KiB in a row.
fn value(index: usize) -> Vec<u8> {
    vec![b'v'; if (2500..2600).contains(&index) { 64 << 10 } else { index % 200 }]
}

fn fill(client: &mut Client) {
    let mut txn = Txn::new();
    for index in 0..KEYS {
        txn.put(&key(index), &value(index));
        if txn.operations() == 128 || txn.request_bytes() > 1 << 20 || index == KEYS - 1 {
            client.txn(&mut txn).unwrap();
            txn.clear();
        }
    }
    txn.put(b"/t", b"below");
    txn.put(b"/t0", b"above");
    client.txn(&mut txn).unwrap();
}

fn rest(pages: &mut Pages<'_>) -> Vec<KeyValue> {
    let mut found = Vec::new();
    while let Some(page) = pages.next_page().unwrap() {
        assert!(!page.is_empty());
        found.extend(page);
    }
    assert_eq!(pages.next_page().unwrap(), None, "the end stays the end");
    found
}

#[test]
fn a_range_is_read_as_it_was_at_its_first_page() {
    let etcd = Etcd::start();
    let mut client = etcd.client();
    fill(&mut client);
    let mut reader = etcd.client();
    let mut pages = reader.pages(b"/t/", &prefix_end(b"/t/"), false);
    assert_eq!(pages.revision(), None);
    let mut found = pages.next_page().unwrap().unwrap();
    let pinned = pages.revision().unwrap();

    let mut txn = Txn::new();
    txn.delete_range(&key(0), &key(KEYS - 10));
    txn.put(&key(KEYS - 1), b"later");
    txn.put(b"/t/new", b"later");
    assert!(client.txn(&mut txn).unwrap().revision > pinned);

    found.extend(rest(&mut pages));
    assert_eq!(pages.revision(), Some(pinned));
    assert_eq!(found.len(), KEYS);
    for (index, found) in found.iter().enumerate() {
        assert_eq!((&found.key, &found.value), (&key(index), &value(index)));
        assert!(found.mod_revision <= pinned);
    }

    let now = rest(&mut client.pages(b"/t/", &prefix_end(b"/t/"), true));
    assert_eq!(now.len(), 11);
    assert!(now.iter().all(|found| found.value.is_empty()));
    assert_eq!(now[10].key, b"/t/new");
}

#[test]
fn what_no_answer_holds_is_asked_for_in_parts() {
    const LARGE: usize = 30;
    let etcd = Etcd::start();
    let mut client = etcd.client();
    let mut txn = Txn::new();
    // Together, in base64, they are above what is read of one answer.
    for index in 0..LARGE {
        txn.clear();
        txn.put(&key(index), &vec![b'0' + index as u8; 1 << 20]);
        client.txn(&mut txn).unwrap();
    }
    let found = rest(&mut client.pages(b"/t/", &prefix_end(b"/t/"), false));
    assert_eq!(found.len(), LARGE);
    for (index, found) in found.iter().enumerate() {
        assert_eq!((&found.key, found.value[0]), (&key(index), b'0' + index as u8));
    }
    let keys: Vec<_> = (0..LARGE + 1).rev().map(key).collect();
    let many = client.get_many(&keys).unwrap();
    assert_eq!(many[0], None);
    assert!(many.into_iter().rev().flatten().eq(found));
}

#[test]
fn an_empty_range_has_a_revision_but_no_page() {
    let etcd = Etcd::start();
    let mut client = etcd.client();
    let mut pages = client.pages(b"/t/", &prefix_end(b"/t/"), false);
    assert_eq!(pages.next_page().unwrap(), None);
    assert!(pages.revision().unwrap() > 0);
}

#[test]
fn a_compacted_revision_is_told_apart() {
    let etcd = Etcd::start();
    let mut client = etcd.client();
    fill(&mut client);
    let mut reader = etcd.client();
    let mut pages = reader.pages(b"/t/", &prefix_end(b"/t/"), false);
    pages.next_page().unwrap();
    let mut txn = Txn::new();
    txn.put(b"other", b"");
    let revision = client.txn(&mut txn).unwrap().revision;
    etcd.ctl(&["compact", &revision.to_string()]);
    for _ in 0..2 {
        let error = pages.next_page().unwrap_err();
        assert_eq!(error.reason(), Some(Reason::Compacted), "{error}");
    }
}
