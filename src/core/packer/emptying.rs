//! How a change is made for each key of a table: its keys are read, page by page, in their place in the
//! stream. So a table is emptied whose keys may stand among those of others, where no range can be
//! deleted.

use super::super::batch::Operation;
use super::super::change::Change;
use super::super::listing::Listing;
use super::super::mutation::{Mutation, is};
use super::{Flow, Output, Packer};
use crate::error::Result;
use crate::etcd::prefix_end;
use crate::mapping::Keyspace;

impl Packer {
    /// Takes keys that were listed.
    pub(super) fn take_keys(&mut self, keys: Vec<Vec<u8>>, more: bool) {
        self.reading.take_keys();
        if let Some(emptying) = &mut self.emptying {
            emptying.add_page(keys, more);
        }
    }

    /// Deletes the keys of a table: what etcd has now, and what was put and may not be there yet.
    pub(super) fn empty(&mut self, keyspace: &Keyspace, out: &mut Vec<Output>) -> Result<Flow> {
        let flow = self.each_key(keyspace, out, |packer, _, key, out| {
            let change = Change::Delete { key };
            let flow = packer.add(change, out)?;
            if flow == Flow::Done {
                packer.view.changed(change);
            }
            Ok(flow)
        })?;
        if flow == Flow::Done {
            let change = Change::Empty { keyspace };
            self.view.forget_below(keyspace.prefix());
            self.waiting.changed(change);
            self.note(change);
        }
        Ok(flow)
    }

    /// Makes a change for each key of a table that etcd has now, or that was put and may not be there
    /// yet. What has to wait goes on with the same key.
    pub(super) fn each_key(
        &mut self,
        keyspace: &Keyspace,
        out: &mut Vec<Output>,
        mut change: impl FnMut(&mut Self, &Listing, &[u8], &mut Vec<Output>) -> Result<Flow>,
    ) -> Result<Flow> {
        let mut keys = match self.emptying.take() {
            Some(keys) => keys,
            None => Listing::new(self.underway(keyspace), keyspace.prefix()),
        };
        while let Some(key) = keys.first() {
            let is_wanted = keyspace.gives(key) || is(Mutation::OthersEmptied);
            if is_wanted && change(self, &keys, key, out)? == Flow::Wait {
                self.emptying = Some(keys);
                return Ok(Flow::Wait);
            }
            keys.remove_first();
        }
        let Some(next) = keys.next_page() else { return Ok(Flow::Done) };
        self.emptying = Some(keys);
        // What a former life has sent may still arrive before this one is in its place.
        if self.claimed == 0 && !is(Mutation::Unclaimed) {
            self.claim(out);
            return Ok(Flow::Wait);
        }
        if self.reading.list() {
            out.push(Output::List(next, prefix_end(keyspace.prefix())));
        }
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
