//! Values that an update left as they were and that the server did not send: found in what is on
//! its way to etcd, else read back from etcd, many at once.

use std::collections::HashMap;

use super::write::Ending;
use crate::core::batch::Operation;
use crate::core::change::{Change, Event};
use crate::document::Body;
use crate::error::{Error, Result};
use crate::etcd::Client;
use crate::retry::Retry;
use crate::status::Retries;

/// How many keys are read at once: enough to spare round trips, few enough to hold their values.
const READ_AHEAD: usize = 32;
/// What etcd holds of rows that have holes.
pub(super) struct Stored<'a> {
    client: Client,
    ending: Ending<'a>,
    retries: &'a Retries,
    /// The documents that were read, as long as they are the newest; `None` where there is none.
    documents: HashMap<Vec<u8>, Option<Vec<u8>>>,
}

impl<'a> Stored<'a> {
    pub(super) fn new(client: Client, ending: Ending<'a>, retries: &'a Retries) -> Self {
        Self { client, ending, retries, documents: HashMap::new() }
    }

    /// The change with its holes filled.
    ///
    /// `pending` looks a key up in what was not given to a writer yet. If the newest version is
    /// not there, `settle` waits until all that was given is in etcd, and it is read from there,
    /// together with what `events`, the change and those after it, will want next.
    pub(super) fn fill<'c, 'p>(
        &mut self,
        change: Change<'c>,
        events: &[Event<'_>],
        pending: impl Fn(&[u8]) -> Option<&'p Operation>,
        settle: impl FnOnce() -> Result<()>,
        filled: &'c mut Vec<u8>,
    ) -> Result<Change<'c>> {
        let (Some(source), Change::Put { key, body: Body::Holed(document), old_key }) =
            (source(change), change)
        else {
            return Ok(change);
        };
        if pending(source).is_none() && !self.documents.contains_key(source) {
            settle()?;
            let wanted = events.iter().filter_map(|event| match event {
                Event::Change(change) => self::source(*change),
                _ => None,
            });
            self.read(wanted.filter(|key| pending(key).is_none()))?;
        }
        let newest = match pending(source) {
            Some(Operation::Put(document)) => Some(document),
            Some(Operation::Delete) => None,
            None => self.documents.get(source).and_then(Option::as_ref),
        };
        let reason = |problem: &str| {
            let text = String::from_utf8_lossy(source);
            let reason = format!("an update left out a column of {text}, and {problem}");
            Error::RowUnknown { key: source.to_vec(), reason }
        };
        let newest = newest.ok_or_else(|| reason("etcd does not have the row"))?;
        document.fill(newest, filled).map_err(|missing| reason(&missing.to_string()))?;
        Ok(Change::Put { key, body: Body::Whole(filled), old_key })
    }

    /// Takes note of a change: what was read of its keys is no longer the newest.
    pub(super) fn changed(&mut self, change: Change<'_>) {
        if self.documents.is_empty() {
            return;
        }
        match change {
            Change::Put { key, old_key, .. } => {
                self.documents.remove(key);
                old_key.map(|old_key| self.documents.remove(old_key));
            }
            Change::Delete { key } => {
                self.documents.remove(key);
            }
            Change::Truncate { prefix } => {
                self.documents.retain(|key, _| !key.starts_with(prefix));
            }
        }
    }

    /// Lets go of all that was read.
    pub(super) fn forget(&mut self) {
        self.documents.clear();
    }

    fn read<'k>(&mut self, wanted: impl Iterator<Item = &'k [u8]>) -> Result<()> {
        self.documents.clear();
        let mut keys: Vec<&[u8]> = wanted.take(READ_AHEAD).collect();
        keys.sort_unstable();
        keys.dedup();
        let Self { client, ending, retries, .. } = self;
        let mut retry = Retry::of_requests().despite_refusals(true);
        let found = retry.until_done(
            || client.get_many(&keys).map_err(Error::from),
            |error, pause| {
                retries.count(error);
                ending.wait(pause)
            },
        )?;
        let documents = found.into_iter().map(|found| found.map(|found| found.value));
        self.documents.extend(keys.into_iter().map(<[u8]>::to_vec).zip(documents));
        Ok(())
    }
}

/// The key under which the row of a change with holes was before.
fn source(change: Change<'_>) -> Option<&[u8]> {
    match change {
        Change::Put { key, body: Body::Holed(_), old_key } => Some(old_key.unwrap_or(key)),
        _ => None,
    }
}
