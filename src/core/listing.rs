//! Keys that are read from etcd page by page, each to be dealt with in its turn.

use std::collections::VecDeque;

/// A list of keys of which the rest is still to be read.
#[derive(Debug)]
pub(super) struct Listing {
    /// Keys that are to be dealt with.
    keys: VecDeque<Vec<u8>>,
    /// Where the next page begins; `None` once the last has come.
    next: Option<Vec<u8>>,
}

impl Listing {
    /// These keys, and then those that etcd has from `start` on.
    pub(super) fn new(keys: Vec<Vec<u8>>, start: &[u8]) -> Self {
        Self { keys: keys.into(), next: Some(start.to_vec()) }
    }

    /// Adds a page: keys in their order, and whether others follow.
    pub(super) fn add_page(&mut self, page: Vec<Vec<u8>>, more: bool) {
        // The key that follows the last in the order of bytes: nothing fits in between.
        self.next = page.last().filter(|_| more).map(|last| [&last[..], b"\0"].concat());
        self.keys.extend(page);
    }

    /// The key whose turn it is.
    pub(super) fn first(&self) -> Option<&Vec<u8>> {
        self.keys.front()
    }

    /// The keys that are to be dealt with, from this one on.
    pub(super) fn keys(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.keys.iter()
    }

    /// Takes it off the list.
    pub(super) fn remove_first(&mut self) {
        self.keys.pop_front();
    }

    /// Where the next page begins; nothing once the last has come.
    pub(super) fn next_page(&self) -> Option<Vec<u8>> {
        self.next.clone()
    }
}
