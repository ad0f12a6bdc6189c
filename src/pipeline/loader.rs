//! Parts of a dump on their way: each goes to a lane that has room.

use super::lanes::Lanes;
use super::write::Acknowledged;
use crate::core::Lane;
use crate::core::batch::Batch;
use crate::core::ledger::Step;
use crate::core::packer::LANE_DEPTH;
use crate::error::{Error, Result};
use crate::etcd::Txn;
use crate::status::Pulse;

/// Gives parts to lanes, and knows how many each has.
pub(super) struct Loader<'a> {
    lanes: Lanes<'a>,
    /// How many txns each lane has that are not in etcd: the ordered one, and those that take parts.
    ordered: usize,
    parts: Vec<usize>,
    spare: Vec<Txn>,
    pulse: &'a Pulse,
}

impl<'a> Loader<'a> {
    pub(super) fn new(lanes: Lanes<'a>, part_lanes: usize, pulse: &'a Pulse) -> Self {
        let parts = vec![0; part_lanes.max(1)];
        Self { lanes, ordered: 0, parts, spare: Vec::new(), pulse }
    }

    /// Makes void what an earlier life may have sent.
    pub(super) fn claim(&mut self) -> Result<()> {
        self.step(Step::Claim)
    }

    /// Gives a part to the lane that has the least, once it has room.
    pub(super) fn give(&mut self, batch: &Batch) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let lane = loop {
            let (lane, txns) = self.idlest();
            if txns < LANE_DEPTH {
                break lane;
            }
            self.wait()?;
        };
        let mut txn = self.spare.pop().unwrap_or_default();
        txn.clear();
        batch.write(&mut txn);
        self.parts[lane] += 1;
        self.lanes.post_part(lane, txn)
    }

    /// Says in the position that the dump is complete, once all parts are in etcd.
    pub(super) fn finish(&mut self) -> Result<()> {
        self.settle()?;
        self.step(Step::Dumped)
    }

    /// Waits until all parts are in etcd.
    pub(super) fn settle(&mut self) -> Result<()> {
        while self.parts.iter().any(|&txns| txns > 0) {
            self.wait()?;
        }
        Ok(())
    }

    /// Moves the position, and returns once etcd has that.
    fn step(&mut self, step: Step) -> Result<()> {
        self.lanes.post(Txn::new(), step)?;
        self.ordered += 1;
        while self.ordered > 0 {
            self.wait()?;
        }
        Ok(())
    }

    fn idlest(&self) -> (usize, usize) {
        let lanes = self.parts.iter().copied().enumerate();
        lanes.min_by_key(|(_, txns)| *txns).unwrap_or_default()
    }

    /// Waits until etcd has one txn more.
    fn wait(&mut self) -> Result<()> {
        self.pulse.wait();
        let reply = self.lanes.replies().recv().map_err(|_| Error::Stopped)?;
        let Acknowledged { lane, txn, .. } = reply.acknowledged()?;
        self.pulse.work();
        let txns = match lane {
            Lane::Ordered => &mut self.ordered,
            Lane::Part(lane) => &mut self.parts[lane],
        };
        *txns = txns.saturating_sub(1);
        self.spare.push(txn);
        Ok(())
    }
}
