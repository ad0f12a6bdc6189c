//! The thread that reads documents for the packer, so that what is ready is posted meanwhile.

use crossbeam_channel::{Receiver, Sender};

use super::bell::Bell;
use super::write::Ending;
use crate::error::{Error, Result};
use crate::etcd::{AsOf, Client, KeyValue, Reason};
use crate::retry::Retry;
use crate::status::Retries;

/// What was read.
pub(super) enum Found {
    /// What etcd has under the keys, in their order; `None` where it has nothing, or has forgotten it.
    Documents(Vec<Option<KeyValue>>),
    /// The first keys of a range, and whether others follow.
    Keys(Vec<Vec<u8>>, bool),
}

/// What is to be read.
pub(super) enum Asked {
    /// Documents.
    Documents { keys: Vec<Vec<u8>>, as_of: AsOf },
    /// Keys of a range, without what is under them.
    Keys { start: Vec<u8>, end: Vec<u8> },
}

/// Reads documents.
pub(super) struct Read<'a> {
    pub(super) client: Client,
    pub(super) retries: &'a Retries,
    /// Wakes the thread that takes what was read.
    pub(super) bell: Bell,
    pub(super) ending: Ending<'a>,
}

impl Read<'_> {
    /// Reads what is asked for, until nobody asks.
    pub(super) fn run(mut self, asked: &Receiver<Asked>, answers: &Sender<Found>) -> Result<()> {
        loop {
            self.ending.pulse.wait();
            let Ok(asked) = asked.recv() else { return Ok(()) };
            self.ending.pulse.work();
            let found = self.read(&asked)?;
            // Nobody may be left to hear it.
            let _ = answers.send(found);
            self.bell.ring();
        }
    }

    fn read(&mut self, asked: &Asked) -> Result<Found> {
        let Self { client, retries, ending, .. } = self;
        let mut retry = Retry::of_requests().despite_refusals(true);
        retry.until_done(
            || match asked {
                Asked::Documents { keys, as_of } => match client.get_many_as_of(keys, *as_of) {
                    // What etcd has forgotten is not known.
                    Err(error) if error.reason() == Some(Reason::Compacted) => {
                        Ok(Found::Documents(keys.iter().map(|_| None).collect()))
                    }
                    found => found.map(Found::Documents).map_err(Error::from),
                },
                Asked::Keys { start, end } => {
                    let mut pages = client.pages(start, end, true);
                    let page = pages.next_page()?.unwrap_or_default();
                    let more = pages.has_more();
                    Ok(Found::Keys(page.into_iter().map(|found| found.key).collect(), more))
                }
            },
            |error, pause| {
                retries.count(error);
                ending.wait(pause)
            },
        )
    }
}
