//! How a table is emptied whose keys stand among those of others: no range can be deleted there, so
//! its keys are read, page by page, and each of them is deleted, in their place in the stream.

use super::super::batch::Operation;
use super::super::change::Change;
use super::super::listing::Listing;
use super::super::mutation::{Mutation, is};
use super::{Flow, Output, Packer, Reading};
use crate::error::Result;
use crate::etcd::prefix_end;
use crate::mapping::Keyspace;

impl Packer {
    /// Takes keys that were listed.
    pub(super) fn take_keys(&mut self, keys: Vec<Vec<u8>>, more: bool) {
        self.reading = None;
        if let Some(emptying) = &mut self.emptying {
            emptying.add_page(keys, more);
        }
    }

    /// Deletes the keys of a table: what etcd has now, and what was put and may not be there yet.
    pub(super) fn empty(&mut self, keyspace: &Keyspace, out: &mut Vec<Output>) -> Result<Flow> {
        let mut keys = match self.emptying.take() {
            Some(keys) => keys,
            None => Listing::new(self.underway(keyspace), keyspace.prefix()),
        };
        while let Some(key) = keys.first() {
            if keyspace.gives(key) || is(Mutation::OthersEmptied) {
                let change = Change::Delete { key };
                if self.add(change, out)? == Flow::Wait {
                    self.emptying = Some(keys);
                    return Ok(Flow::Wait);
                }
                self.view.changed(change);
            }
            keys.remove_first();
        }
        let Some(next) = keys.next_page() else {
            if let (Some(recording), Some(commit)) = (&mut self.watch.recording, self.coming) {
                recording.note(Change::Empty { keyspace }, commit.lsn);
            }
            return Ok(Flow::Done);
        };
        self.emptying = Some(keys);
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
        let batches = batches.filter(|_| !is(Mutation::UnderwayKept));
        let puts = batches.flat_map(|batch| batch.operations()).filter_map(|(key, operation)| {
            let put = matches!(operation, Operation::Put(_)) && keyspace.gives(key);
            put.then(|| key.to_vec())
        });
        puts.collect()
    }
}
