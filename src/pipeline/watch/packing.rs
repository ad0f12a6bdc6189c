//! The watch's side of the packer: it asks, and waits for the answer.

use crossbeam_channel::{Receiver, Sender};

use super::super::bell::Bell;
use crate::core::{Answer, Request};
use crate::error::{Error, Result};
use crate::lsn::Lsn;
use crate::status::Pulse;

/// Asks the packer for what has its place between two transactions of the stream.
pub(crate) struct Packing {
    pub(crate) requests: Sender<Request>,
    pub(crate) answers: Receiver<Answer>,
    /// Wakes the thread that has the packer.
    pub(crate) bell: Bell,
    pub(crate) pulse: Pulse,
}

impl Packing {
    /// Waits until everything that committed up to `lsn` is in etcd.
    pub(super) fn reach(&self, lsn: Lsn) -> Result<()> {
        self.ask(Request::Reach(lsn))?;
        self.answer().map(drop)
    }

    /// The packer's answer.
    pub(super) fn answer(&self) -> Result<Answer> {
        self.answers.recv().map_err(|_| Error::Stopped)
    }

    /// Hands on a request.
    pub(super) fn ask(&self, request: Request) -> Result<()> {
        // What follows is a wait too: for the answer, or for the next rows to compare.
        self.pulse.wait();
        self.requests.send(request).map_err(|_| Error::Stopped)?;
        self.bell.ring();
        Ok(())
    }
}
