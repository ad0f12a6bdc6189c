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
    /// The status that was logged last, and when.
    pub(super) logged: Option<((Lsn, Lsn), Instant)>,
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
        Ok(())
    }

    /// Logs a status that says something new, but not many a second, and now and then one that does not.
    fn log(&mut self, received: Lsn, flushed: Lsn) {
        let now = Instant::now();
        let is_told = self.logged.is_some_and(|(logged, at)| {
            let same = logged == (received, flushed);
            let period = if same { IDLE_LOG_PERIOD } else { self.interval };
            now.saturating_duration_since(at) < period
        });
        let level = if is_told { Level::Debug } else { Level::Info };
        log::log!(level, "Sending standby status receivedLSN={received} savedLSN={flushed}");
        if !is_told {
            self.logged = Some(((received, flushed), now));
        }
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
