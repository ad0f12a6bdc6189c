//! The thread that tells PostgreSQL how far etcd is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, never, select};
use log::Level;

use crate::core::ledger::Flushed;
use crate::error::Result;
use crate::lsn::Lsn;
use crate::postgres::StatusWriter;
use crate::status::{Pulse, Status};

/// The shortest time between two statuses that nobody asked for: where commits come by the thousand,
/// one status tells of many.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
/// The time after which a status is logged again though it says nothing new.
const IDLE_LOG_PERIOD: Duration = Duration::from_secs(300);
/// How long the server may take to end the stream, once asked to, before the connection is cut.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// Sends standby statuses.
pub(super) struct Feedback<'a> {
    pub(super) statuses: StatusWriter,
    /// The longest time between two statuses.
    pub(super) interval: Duration,
    /// The slot's `confirmed_flush_lsn` at the start.
    pub(super) confirmed: Lsn,
    /// Whether the server was seen to have what etcd has. Until then it hears of nothing more than
    /// it knows, so that after a restart it sends the same again.
    pub(super) proven: &'a AtomicBool,
    /// The server wants a status at once. Disconnected once nothing more is received.
    pub(super) requests: Receiver<()>,
    /// etcd has more: a synchronous standby's commits wait for a status.
    pub(super) moved: Receiver<()>,
    /// Disconnected once nothing more is written.
    pub(super) written: Receiver<()>,
    /// How far etcd is.
    pub(super) flushed: Flushed,
    /// Up to where the stream has been received.
    pub(super) received: Arc<AtomicU64>,
    pub(super) status: &'a Status,
    /// The position that shows that the stream gets on; `None` once it has come to that.
    pub(super) goal: Option<Lsn>,
    /// What is done then.
    pub(super) gets_on: &'a (dyn Fn() + Sync),
    pub(super) logged: Logged,
    pub(super) pulse: Pulse,
}

impl Feedback<'_> {
    /// Sends a status when one is requested or due, or etcd has more, until nothing more is written;
    /// then the last one, and the end of the stream.
    pub(super) fn run(mut self) -> Result<()> {
        let mut requests = self.requests.clone();
        let mut due = Instant::now();
        loop {
            let now = Instant::now();
            let is_due = due <= now;
            self.send(is_due)?;
            if is_due {
                due = now + self.interval;
            }
            self.pulse.wait();
            // Until then another commit in etcd is no reason for a status of its own.
            let quiet = now + SHORTEST_PAUSE;
            select! {
                recv(requests) -> request => {
                    if request.is_err() {
                        requests = never();
                    }
                    continue;
                }
                recv(self.written) -> _ => break,
                default(quiet.min(due).saturating_duration_since(Instant::now())) => {}
            }
            select! {
                recv(requests) -> request => {
                    if request.is_err() {
                        requests = never();
                    }
                }
                recv(self.moved) -> _ => {}
                recv(self.written) -> _ => break,
                default(due.saturating_duration_since(Instant::now())) => {}
            }
        }
        self.send(true)?;
        self.end()
    }

    /// Sends a status. The answer to one that is due is a sign of life.
    fn send(&mut self, is_due: bool) -> Result<()> {
        self.pulse.work();
        // In this order: what is flushed was received before.
        let flushed = match self.proven.load(Ordering::Acquire) {
            true => self.flushed.lsn(),
            false => self.confirmed,
        };
        let received = Lsn(self.received.load(Ordering::Relaxed)).max(flushed);
        self.statuses.send_status(received, flushed, is_due)?;
        self.status.flushed.store(flushed.0, Ordering::Relaxed);
        self.log(received, flushed);
        if self.goal.is_some_and(|goal| goal <= self.flushed.lsn()) {
            self.goal = None;
            (self.gets_on)();
        }
        Ok(())
    }

    fn log(&mut self, received: Lsn, flushed: Lsn) {
        let transactions = self.status.metrics.transactions.get();
        let told = Told { received, flushed, transactions };
        let waits = !self.status.lag().is_zero();
        let takes = self.logged.takes(told, waits, self.interval / 3, Instant::now());
        let level = if takes { Level::Info } else { Level::Debug };
        log::log!(level, "Sending standby status receivedLSN={received} savedLSN={flushed}");
    }

    /// Ends the stream, and the connection if the server does not answer: the receiving thread,
    /// if it still waits for the server, must not wait for ever.
    fn end(mut self) -> Result<()> {
        self.statuses.finish()?;
        let deadline = Instant::now() + END_TIMEOUT;
        loop {
            match self.requests.recv_deadline(deadline) {
                Ok(()) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Err(RecvTimeoutError::Timeout) => return self.statuses.shutdown(),
            }
        }
    }
}

/// What the log has of the statuses.
#[derive(Default)]
pub(super) struct Logged {
    last: Option<(Told, Instant)>,
}

/// What a status tells, and how many transactions had been received when it did.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Told {
    received: Lsn,
    flushed: Lsn,
    transactions: u64,
}

impl Logged {
    /// A status that tells of this position alone is not worth a line.
    pub(super) fn at(lsn: Lsn) -> Self {
        Self { last: Some((Told { received: lsn, flushed: lsn, transactions: 0 }, Instant::now())) }
    }

    /// Whether a status is worth a line: something has moved since the last one, which is not younger than
    /// `interval`. While no row changes, and no transaction `waits` for etcd, only the WAL moves, and a
    /// line in five minutes is enough.
    fn takes(&mut self, told: Told, waits: bool, interval: Duration, now: Instant) -> bool {
        let takes = self.last.is_none_or(|(last, at)| {
            let busy = waits || told.transactions != last.transactions;
            let period = if busy { interval } else { IDLE_LOG_PERIOD };
            told != last && now.saturating_duration_since(at) >= period
        });
        if takes {
            self.last = Some((told, now));
        }
        takes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_needs_something_new_and_an_idle_database_five_minutes() {
        let mut logged = Logged::default();
        let begin = Instant::now();
        for (second, received, flushed, transactions, waits, expected) in [
            (0, 1, 1, 0, false, true),
            (10, 1, 1, 0, false, false),
            (20, 2, 2, 0, false, false),
            (30, 3, 2, 1, false, true),
            (31, 4, 2, 1, true, false),
            (40, 4, 2, 1, true, true),
            (50, 4, 2, 1, true, false),
            (53, 4, 4, 2, false, true),
            (64, 5, 4, 2, false, false),
            (352, 6, 6, 2, false, false),
            (353, 6, 6, 2, false, true),
            (999, 6, 6, 2, false, false),
        ] {
            let told = Told { received: Lsn(received), flushed: Lsn(flushed), transactions };
            let interval = Duration::from_secs(10);
            let takes = logged.takes(told, waits, interval, begin + Duration::from_secs(second));
            assert_eq!(takes, expected, "{second}");
        }
    }
}
