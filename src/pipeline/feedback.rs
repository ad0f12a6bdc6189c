//! The thread that tells PostgreSQL how far etcd is.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, never, select};

use crate::error::Result;
use crate::lsn::Lsn;
use crate::postgres::StatusWriter;
use crate::status::{Pulse, Status};

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
        let mut logged = None;
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

    /// Sends a status. It is logged if it is due or says something new: a server that shuts down
    /// asks again and again. The answer to one that is due is a sign of life.
    fn send(&mut self, is_due: bool, logged: &mut Option<(Lsn, Lsn)>) -> Result<()> {
        self.pulse.work();
        // In this order: what is flushed was received before.
        let flushed = match self.proven.load(Ordering::Acquire) {
            true => Lsn(self.status.position.load(Ordering::Acquire)),
            false => self.confirmed,
        };
        let received = Lsn(self.status.received.load(Ordering::Relaxed)).max(flushed);
        self.statuses.send_status(received, flushed, is_due)?;
        self.status.flushed.store(flushed.0, Ordering::Relaxed);
        if is_due || *logged != Some((received, flushed)) {
            log::info!("Sending standby status receivedLSN={received} savedLSN={flushed}");
            *logged = Some((received, flushed));
        }
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
