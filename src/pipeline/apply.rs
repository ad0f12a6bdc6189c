//! What `pack` does for the watch: changes that are not in the stream find their place in it.

use super::pack::Pack;
use super::repair::{Recording, Request};
use crate::core::batch::Fit;
use crate::core::change::{Change, Chunk, Event};
use crate::error::Result;

impl Pack<'_> {
    /// Does what the watch asks for.
    pub(super) fn answer(&mut self, request: Request) -> Result<()> {
        match request {
            Request::Reach { lsn, done } => self.awaited = Some((lsn, done)),
            Request::Record { prefix } => self.recording = Some(Recording::new(prefix)),
            Request::Apply(chunk) => self.apply(&chunk)?,
            Request::Finish { outcome } => {
                if let Some(recording) = self.recording.take() {
                    // Whoever asked may be gone.
                    let _ = outcome.send(recording.outcome());
                }
            }
        }
        Ok(())
    }

    /// Tells the watch that etcd has all that it waits for.
    pub(super) fn answer_awaited(&mut self) -> Result<()> {
        let between = self.coming.is_none();
        if let Some((_, done)) =
            self.awaited.take_if(|(lsn, _)| between && *lsn <= self.position.lsn)
        {
            self.give_ready()?;
            self.lanes.settle()?;
            let _ = done.send(());
        }
        Ok(())
    }

    /// Makes changes that are not in the stream.
    fn apply(&mut self, chunk: &Chunk) -> Result<()> {
        for event in chunk.events() {
            let Event::Change(change) = event else { continue };
            if self.recording.as_ref().is_some_and(|recording| recording.overrules(change)) {
                continue;
            }
            if let Fit::TooLarge { bytes } = self.add_closing(change)? {
                let change = self.without_oversized(change, bytes)?;
                self.add_closing(change)?;
            }
        }
        self.close()
    }

    /// Adds a change that may go in any txn.
    fn add_closing(&mut self, change: Change<'_>) -> Result<Fit> {
        match self.open.add(change, self.rules.limits) {
            Fit::Full => {
                self.close()?;
                Ok(self.open.add(change, self.rules.limits))
            }
            fit => Ok(fit),
        }
    }
}
