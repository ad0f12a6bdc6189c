//! The thread that reads documents for the packer, so that what is ready is posted meanwhile.

use crossbeam_channel::{Receiver, Sender};

use super::write::Ending;
use crate::error::{Error, Result};
use crate::etcd::{Client, KeyValue, Reason};
use crate::retry::Retry;
use crate::status::Retries;

/// What etcd has under the keys, in their order; `None` where it has nothing, or has forgotten it.
pub(super) type Documents = Vec<Option<KeyValue>>;

/// Which documents are to be read.
pub(super) struct Asked {
    pub(super) keys: Vec<Vec<u8>>,
    /// As of when; `None` for now.
    pub(super) revision: Option<i64>,
}

/// Reads documents.
pub(super) struct Read<'a> {
    pub(super) client: Client,
    pub(super) retries: &'a Retries,
    pub(super) ending: Ending<'a>,
}

impl Read<'_> {
    /// Reads what is asked for, until nobody asks.
    pub(super) fn run(
        mut self,
        asked: &Receiver<Asked>,
        answers: &Sender<Documents>,
    ) -> Result<()> {
        loop {
            self.ending.pulse.wait();
            let Ok(asked) = asked.recv() else { return Ok(()) };
            self.ending.pulse.work();
            let documents = self.read(&asked)?;
            // Nobody may be left to hear it.
            let _ = answers.send(documents);
        }
    }

    fn read(&mut self, asked: &Asked) -> Result<Documents> {
        let Self { client, retries, ending } = self;
        let mut retry = Retry::of_requests().despite_refusals(true);
        retry.until_done(
            || match asked.revision {
                None => client.get_many(&asked.keys).map_err(Error::from),
                Some(revision) => match client.get_many_at(&asked.keys, revision) {
                    // What etcd has forgotten is not known.
                    Err(error) if error.reason() == Some(Reason::Compacted) => {
                        Ok(asked.keys.iter().map(|_| None).collect())
                    }
                    found => found.map_err(Error::from),
                },
            },
            |error, pause| {
                retries.count(error);
                ending.wait(pause)
            },
        )
    }
}
