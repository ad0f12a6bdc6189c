//! The thread that asks etcd every two seconds, whatever the others do: whether it answers, whether
//! the position is there as it was left, whether a resync is asked for, whether rows that were left
//! out are there again, and which rows have no key.

use std::collections::BTreeSet;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::watch::Poke;
use crate::core::ledger::Fence;
use crate::error::{Error, Result};
use crate::etcd::{Client, Txn};
use crate::state::{layout, without_key};
use crate::status::{Pulse, Status};

/// The time between two questions.
const PERIOD: Duration = Duration::from_secs(2);

/// Asks what is below the state path.
pub(super) struct Sentinel<'a> {
    pub(super) client: Client,
    pub(super) state_path: &'a str,
    /// The position's revision, as this daemon left it.
    pub(super) fence: Fence,
    /// Tells the watch of a request.
    pub(super) pokes: Sender<Poke>,
    /// Disconnected once nothing more is received.
    pub(super) ending: Receiver<()>,
    /// Whether this life has begun with a dump.
    pub(super) dumped: bool,
    pub(super) status: &'a Status,
    pub(super) pulse: Pulse,
}

impl Sentinel<'_> {
    /// Asks until the sync ends.
    ///
    /// # Errors
    /// [`Error::StoreChanged`] if the position is not as it was left.
    pub(super) fn run(mut self) -> Result<()> {
        let mut poked = None;
        let mut stored = self.left_out_before();
        self.pulse.wait();
        self.status.etcd_answers();
        let _ = self.look_for_without_key();
        while self.ending.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
            let request = self.ask()?;
            if request.is_some() && request != poked {
                // A poke that finds no room is one of many: the watch looks for a request each time.
                let _ = self.pokes.try_send(Poke::Resync);
            }
            poked = request;
            // What fails is done again at the next look.
            let _ = self.look_for_left_out(&mut stored);
            let _ = self.look_for_without_key();
        }
        Ok(())
    }

    /// The keys of the rows that an earlier life has left out; `None` if that could not be asked.
    fn left_out_before(&mut self) -> Option<BTreeSet<String>> {
        let found = self.client.get(layout::left_out(self.state_path).as_bytes()).ok()?;
        let stored: BTreeSet<String> =
            found.and_then(|found| serde_json::from_slice(&found.value).ok()).unwrap_or_default();
        // A life that has begun with a dump knows better.
        if !self.dumped {
            for key in &stored {
                self.status.left_out.add(key.clone());
            }
        }
        Some(stored)
    }

    /// Forgets the rows that are there again, and has etcd remember the others.
    fn look_for_left_out(&mut self, stored: &mut Option<BTreeSet<String>>) -> Result<()> {
        /// How many keys are asked for at once.
        const ASKED: usize = 64;
        if stored.is_none() {
            *stored = self.left_out_before();
        }
        let keys: Vec<String> = self.status.left_out.known().into_iter().take(ASKED).collect();
        if !keys.is_empty() {
            for (key, found) in keys.iter().zip(self.client.get_many(&keys)?) {
                if found.is_some() {
                    self.status.left_out.remove(key);
                }
            }
        }
        let now = self.status.left_out.all();
        if let Some(stored) = stored
            && *stored != now
        {
            let (mut txn, key) = (Txn::new(), layout::left_out(self.state_path));
            match now.is_empty() {
                true => txn.delete(key.as_bytes()),
                // Texts always have a JSON form.
                false => txn.put(key.as_bytes(), &serde_json::to_vec(&now).unwrap_or_default()),
            };
            self.client.txn(&mut txn)?;
            *stored = now;
        }
        Ok(())
    }

    /// Has the status name the tables of which rows have no key.
    fn look_for_without_key(&mut self) -> Result<()> {
        let found = without_key::read(&mut self.client, &layout::without_key(self.state_path))?;
        let tables = found.iter().map(|rows| (rows.table(), rows.to_string())).collect();
        self.status.not_copied.set_without_key(tables);
        Ok(())
    }

    /// The revision of the request to resync, if there is one.
    fn ask(&mut self) -> Result<Option<i64>> {
        let keys = [layout::resync(self.state_path), layout::checkpoint(self.state_path)];
        // In this order: etcd has this revision of the position, or a newer one.
        let revision = self.fence.mod_revision();
        match self.client.get_many(&keys).as_deref() {
            Ok([request, position]) => {
                self.status.etcd_answers();
                let found = position.as_ref().map(|position| position.mod_revision);
                if found.is_none_or(|found| found < revision) {
                    return Err(Error::StoreChanged { key: keys[1].clone(), revision, found });
                }
                Ok(request.as_ref().map(|request| request.mod_revision))
            }
            // An etcd that cannot be asked is asked again soon.
            _ => Ok(None),
        }
    }
}
