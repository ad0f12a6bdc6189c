//! What etcd has of a table, asked for again and again if need be.

use std::slice;

use crate::error::Result;
use crate::etcd::{Client, KeyValue, Page, Reason, prefix_end};
use crate::mapping::Keyspace;
use crate::retry::Retry;
use crate::stop::Stop;

/// How many keys are expected where nothing is known of them.
const MANY: usize = 1000;

/// An etcd that is asked until it answers or a stop is requested.
#[derive(Clone)]
pub(crate) struct Stored<'a> {
    client: Client,
    stop: &'a Stop,
    /// As of when it is read; `None` for now.
    revision: Option<i64>,
}

impl<'a> Stored<'a> {
    /// With a connection of its own, as each clone has one.
    pub(crate) fn new(client: &Client, stop: &'a Stop) -> Self {
        Self { client: client.clone(), stop, revision: None }
    }

    /// As it was at a revision, if etcd still has that.
    pub(crate) fn at(self, revision: Option<i64>) -> Self {
        Self { revision, ..self }
    }

    /// Whether any key begins with `prefix`.
    pub(crate) fn has_any(&mut self, prefix: &[u8]) -> Result<bool> {
        let Self { client, stop, .. } = self;
        until_answered(stop, || Ok(client.has_any(prefix, &prefix_end(prefix))?))
    }

    /// Gives `sink` all keys that begin with `prefix`, in their order, with their values.
    pub(crate) fn each(
        &mut self,
        prefix: &[u8],
        sink: impl FnMut(&KeyValue) -> Result<()>,
    ) -> Result<()> {
        self.read(prefix, &prefix_end(prefix), MANY, sink)
    }

    /// Gives `sink` the keys that can be in a keyspace, in their order.
    pub(crate) fn each_key(
        &mut self,
        keyspace: &Keyspace,
        mut sink: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        self.each(keyspace.prefix(), |found| match keyspace.gives(&found.key) {
            true => sink(&found.key),
            false => Ok(()),
        })
    }

    /// Gives `sink` the keys from `start` up to, but not including, `end`, in their order, with
    /// their values. There are `expected` of them, more or less.
    pub(super) fn read(
        &mut self,
        start: &[u8],
        end: &[u8],
        expected: usize,
        mut sink: impl FnMut(&KeyValue) -> Result<()>,
    ) -> Result<()> {
        /// How many keys more than expected still come with the first answer.
        const SLACK: usize = 32;

        let Self { client, stop, revision } = self;
        let mut next = start.to_vec();
        loop {
            let mut pages = client.pages(&next, end, false).at(*revision).at_most(expected + SLACK);
            let mut page = || match pages.next_page() {
                // Nobody else writes these keys, so the rest of a newer revision does as well.
                Err(error) if error.reason() == Some(Reason::Compacted) => Ok(Answer::Compacted),
                page => Ok(page?.map_or(Answer::End, Answer::Page)),
            };
            loop {
                match until_answered(stop, &mut page)? {
                    Answer::Page(keys) => {
                        keys.iter().try_for_each(&mut sink)?;
                        if let Some(last) = keys.last() {
                            next = after(&last.key);
                        }
                    }
                    Answer::Compacted => {
                        *revision = None;
                        break;
                    }
                    Answer::End => return Ok(()),
                }
            }
        }
    }
}

enum Answer {
    Page(Page),
    /// The revision that the pages show is gone.
    Compacted,
    End,
}

/// The key that follows `key`: nothing fits in between.
pub(super) fn after(key: &[u8]) -> Vec<u8> {
    [key, slice::from_ref(&0)].concat()
}

fn until_answered<T>(stop: &Stop, ask: impl FnMut() -> Result<T>) -> Result<T> {
    Retry::of_requests().despite_refusals(true).until_done(ask, |_, pause| stop.wait(pause))
}
