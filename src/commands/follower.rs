//! Waiting for etcd to have what the database has.

use std::ops::ControlFlow;
use std::thread;
use std::time::{Duration, Instant};

use crate::config::EtcdSettings;
use crate::error::Result;
use crate::etcd::{Client, KeyValue};
use crate::lsn::Lsn;
use crate::retry::Retry;
use crate::state::checkpoint::Checkpoint;
use crate::state::layout;

/// Follows the position in etcd, to wait until it is far enough.
pub(super) struct Follower<'a> {
    etcd: &'a EtcdSettings,
    client: Option<Client>,
    /// The position as it was last seen; `None` if there was none, or nobody looked.
    pub(super) last: Option<Checkpoint>,
}

impl<'a> Follower<'a> {
    pub(super) fn new(etcd: &'a EtcdSettings) -> Self {
        Self { etcd, client: None, last: None }
    }

    /// Where it was last seen.
    pub(super) fn lsn(&self) -> Option<Lsn> {
        self.last.as_ref().map(|checkpoint| checkpoint.lsn)
    }

    /// Waits until etcd holds all that committed up to `lsn`; false if it does not within
    /// `timeout`. With a `timeout` of zero it looks once.
    ///
    /// An etcd that does not answer, and a watch that breaks, are tried again meanwhile.
    pub(super) fn reach(&mut self, lsn: Lsn, timeout: Duration) -> Result<bool> {
        let deadline = Instant::now() + timeout;
        let left = || deadline.saturating_duration_since(Instant::now());
        let mut retry = Retry::of_requests();
        loop {
            match self.follow(lsn, left()) {
                Ok(true) => return Ok(true),
                Ok(false) => retry.succeeded(),
                Err(error) if retry.is_worth(&error) => {
                    thread::sleep(retry.failed(&error).min(left()));
                }
                Err(error) => return Err(error),
            }
            if left().is_zero() {
                return Ok(false);
            }
        }
    }

    /// The same for no longer than one watch may last, and without another attempt.
    fn follow(&mut self, lsn: Lsn, timeout: Duration) -> Result<bool> {
        let Self { etcd, client, last } = self;
        let client = match client {
            Some(client) => client,
            None => client.insert(Client::connect(etcd.client_options())?),
        };
        let key = layout::checkpoint(&etcd.state_path);
        let timeout = timeout.min(etcd.request_timeout);
        let look = |found: Option<&KeyValue>| match found.map(Checkpoint::from_etcd).transpose() {
            Ok(checkpoint) => {
                *last = checkpoint;
                match last.as_ref().is_some_and(|checkpoint| checkpoint.covers(lsn)) {
                    true => ControlFlow::Break(Ok(())),
                    false => ControlFlow::Continue(()),
                }
            }
            Err(error) => ControlFlow::Break(Err(error)),
        };
        let followed = client.follow(key.as_bytes(), timeout, look)?;
        followed.transpose().map(|reached| reached.is_some())
    }
}
