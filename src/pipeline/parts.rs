//! An oversized transaction on its way: parts of it, over all lanes.

use std::hash::{BuildHasher, RandomState};

use super::lanes::Lanes;
use crate::core::batch::{Batch, Fit, Limits, Operation};
use crate::core::change::Change;
use crate::error::Result;

/// The parts that are being filled, one a lane. A key always goes the same lane, so that its
/// versions stay in order.
pub(super) struct Parts {
    limits: Limits,
    batches: Vec<Batch>,
    hasher: RandomState,
}

impl Parts {
    /// No part is begun yet.
    pub(super) fn new(limits: Limits, lanes: usize) -> Self {
        let batches = (0..lanes).map(|_| Batch::default()).collect();
        Self { limits, batches, hasher: RandomState::new() }
    }

    /// Adds a change to the part of its lane, which is given to the lane first if it is full.
    pub(super) fn add(&mut self, change: Change<'_>, lanes: &Lanes) -> Result<Fit> {
        let key = match change {
            Change::Put { key, old_key: None, .. } | Change::Delete { key } => key,
            Change::Put { key, old_key: Some(_), .. } => {
                // Both keys go in one txn: from here on there is one lane for all.
                if self.batches.len() > 1 {
                    self.give_all(lanes)?;
                    self.batches.truncate(1);
                }
                key
            }
            Change::Truncate { .. } => {
                // Nothing of the table may be on its way while it is emptied.
                self.give_all(lanes)?;
                let fit = self.add_to(0, change, lanes)?;
                self.give_all(lanes)?;
                return Ok(fit);
            }
        };
        let lane = self.lane(key);
        self.add_to(lane, change, lanes)
    }

    /// What a part that is not yet given to its lane does to a key.
    pub(super) fn get(&self, key: &[u8]) -> Option<&Operation> {
        self.batches[self.lane(key)].get(key)
    }

    /// Gives all parts to their lanes but the last, which is returned once all others are in
    /// etcd.
    pub(super) fn finish(mut self, lanes: &Lanes) -> Result<Batch> {
        let last = std::mem::take(&mut self.batches[0]);
        self.give_all(lanes)?;
        Ok(last)
    }

    /// Gives all parts to their lanes and waits until they are in etcd.
    fn give_all(&mut self, lanes: &Lanes) -> Result<()> {
        for (lane, batch) in self.batches.iter_mut().enumerate() {
            lanes.send(lane, lanes.job(batch))?;
        }
        lanes.settle()
    }

    fn add_to(&mut self, lane: usize, change: Change<'_>, lanes: &Lanes) -> Result<Fit> {
        let batch = &mut self.batches[lane];
        match batch.add(change, self.limits) {
            Fit::Full => {
                lanes.send(lane, lanes.job(batch))?;
                Ok(batch.add(change, self.limits))
            }
            fit => Ok(fit),
        }
    }

    fn lane(&self, key: &[u8]) -> usize {
        let lanes = self.batches.len() as u64;
        usize::try_from(self.hasher.hash_one(key) % lanes).unwrap_or(0)
    }
}
