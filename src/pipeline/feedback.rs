//! The thread that tells PostgreSQL how far etcd is.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, never, select};
use log::Level::{Debug, Info};

use crate::error::Result;
use crate::lsn::Lsn;
use crate::postgres::StatusWriter;
use crate::status::{Pulse, Status};

/// How long the server may take to end the stream, once asked to, before the connection is cut.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// The shortest time between two log lines of statuses that say nothing new.
const IDLE_LOG: Duration = Duration::from_secs(300);

/// Sends standby statuses.
pub(super) struct Feedback<'a> {
    pub(super) statuses: StatusWriter,
    /// The longest time between two statuses.
    pub(super) interval: Duration,
    /// A status is wanted at once. Disconnected once nothing more is received.
    pub(super) requests: Receiver<()>,
    /// Disconnected once nothing more is written.
    pub(super) written: Receiver<()>,
    /// What there is to tell.
    pub(super) status: &'a Status,
    pub(super) pulse: Pulse,
}

impl Feedback<'_> {
    /// Sends a status when one is requested or due, until nothing more is written; then the last
    /// one, and the end of the stream.
    pub(super) fn run(mut self) -> Result<()> {
        let mut requests = self.requests.clone();
        let mut logged = Logged::default();
        let mut due = Instant::now();
        loop {
            let is_due = due <= Instant::now();
            self.send(is_due, &mut logged)?;
            if is_due {
                due = Instant::now() + self.interval;
            }
            self.pulse.wait();
            select! {
                recv(requests) -> request => {
                    if request.is_err() {
                        requests = never();
                    }
                }
                recv(self.written) -> _ => break,
                default(due.saturating_duration_since(Instant::now())) => {}
            }
        }
        self.send(true, &mut logged)?;
        self.end()
    }

    /// Sends a status. One that says something new is logged. The answer to one that is due is a
    /// sign of life.
    fn send(&mut self, is_due: bool, logged: &mut Logged) -> Result<()> {
        self.pulse.work();
        // In this order: what is flushed was received before.
        let flushed = Lsn(self.status.position.load(Ordering::Acquire));
        let received = Lsn(self.status.received.load(Ordering::Relaxed)).max(flushed);
        self.statuses.send_status(received, flushed, is_due)?;
        self.status.flushed.store(flushed.0, Ordering::Relaxed);
        let transactions = self.status.metrics.transactions.get();
        let told = Told { received, flushed, transactions };
        let waits = !self.status.lag().is_zero();
        let level = if logged.takes(told, waits, Instant::now()) { Info } else { Debug };
        log::log!(level, "Sending standby status receivedLSN={received} savedLSN={flushed}");
        Ok(())
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
struct Logged {
    last: Option<(Told, Instant)>,
}

/// What a status tells, and how many transactions were in etcd when it did.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Told {
    received: Lsn,
    flushed: Lsn,
    transactions: u64,
}

impl Logged {
    /// Whether a status is worth a line: something has moved since the last one. While no row
    /// changes, and no transaction `waits` for etcd, only the WAL moves, and one in five minutes
    /// is enough.
    fn takes(&mut self, told: Told, waits: bool, now: Instant) -> bool {
        let takes = self.last.is_none_or(|(last, at)| {
            let busy = waits || told.transactions != last.transactions;
            told != last && (busy || now - at >= IDLE_LOG)
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
            (31, 3, 2, 1, true, false),
            (32, 4, 2, 1, true, true),
            (33, 4, 4, 2, false, true),
            (34, 5, 4, 2, false, false),
            (332, 6, 6, 2, false, false),
            (333, 6, 6, 2, false, true),
            (999, 6, 6, 2, false, false),
        ] {
            let told = Told { received: Lsn(received), flushed: Lsn(flushed), transactions };
            let takes = logged.takes(told, waits, begin + Duration::from_secs(second));
            assert_eq!(takes, expected, "{second}");
        }
    }
}
