//! How a table is emptied whose keys stand among those of others: no range can be deleted there, so
//! its keys are read, page by page, and each of them is deleted, in their place in the stream.

use std::collections::VecDeque;

use super::super::batch::Operation;
use super::super::change::Change;
use super::super::mutation::{Mutation, is};
use super::{Flow, Output, Packer, Reading};
use crate::error::Result;
use crate::etcd::prefix_end;
use crate::mapping::Keyspace;

/// A table that is being emptied.
#[derive(Debug)]
pub(super) struct Emptying {
    /// Keys that are to be deleted.
    keys: VecDeque<Vec<u8>>,
    /// Where the next page begins; `None` once the last has come.
    next: Option<Vec<u8>>,
}

impl Emptying {
    /// Takes a page: keys in their order, and whether others follow.
    fn take(&mut self, page: Vec<Vec<u8>>, more: bool) {
        // The key that follows the last in the order of bytes: nothing fits in between.
        self.next = page.last().filter(|_| more).map(|last| [&last[..], b"\0"].concat());
        self.keys.extend(page);
    }
}

impl Packer {
    /// Takes keys that were listed.
    pub(super) fn take_keys(&mut self, keys: Vec<Vec<u8>>, more: bool) {
        self.reading = None;
        if let Some(emptying) = &mut self.emptying {
            emptying.take(keys, more);
        }
    }

    /// Deletes the keys of a table: what etcd has now, and what was put and may not be there yet.
    pub(super) fn empty(&mut self, keyspace: &Keyspace, out: &mut Vec<Output>) -> Result<Flow> {
        let mut emptying = match self.emptying.take() {
            Some(emptying) => emptying,
            None => Emptying {
                keys: self.underway(keyspace).into(),
                next: Some(keyspace.prefix().to_vec()),
            },
        };
        while let Some(key) = emptying.keys.front() {
            if keyspace.gives(key) {
                let change = Change::Delete { key };
                if self.add(change, out)? == Flow::Wait {
                    self.emptying = Some(emptying);
                    return Ok(Flow::Wait);
                }
                self.view.changed(change);
            }
            emptying.keys.pop_front();
        }
        let Some(next) = emptying.next.clone() else {
            if let (Some(recording), Some(commit)) = (&mut self.watch.recording, self.coming) {
                recording.note(Change::Empty { keyspace }, commit.lsn);
            }
            return Ok(Flow::Done);
        };
        self.emptying = Some(emptying);
        // What a former life has sent may still arrive before this one is in its place.
        if self.claimed == 0 && !is(Mutation::Unclaimed) {
            self.claim(out);
            return Ok(Flow::Wait);
        }
        out.push(Output::List(next, prefix_end(keyspace.prefix())));
        self.reading = Some(Reading::Keys);
        Ok(Flow::Wait)
    }

    /// The table's keys that were put by what etcd may not have yet.
    fn underway(&self, keyspace: &Keyspace) -> Vec<Vec<u8>> {
        let filling = self.filling();
        let batches = filling.into_iter().chain(self.view.in_flight());
        let puts = batches.flat_map(|batch| batch.operations()).filter_map(|(key, operation)| {
            let put = matches!(operation, Operation::Put(_)) && keyspace.gives(key);
            put.then(|| key.to_vec())
        });
        puts.collect()
    }
}
