//! What the daemon does now, for those who look after it: a page at `/` and what it reads,
//! `/metrics`, `/healthz` and `/readyz`, and what the service manager is told.
//!
//! The threads leave their marks in one [`Status`], by relaxed atomic stores where rows pass. What
//! follows from the marks is worked out only when someone asks.

mod activity;
mod answer;
mod ends;
mod exposition;
mod health;
mod history;
mod http;
mod left_out;
mod listen;
mod metrics;
mod not_copied;
mod notify;
mod page;
mod pending;
mod readiness;
mod report;
mod table_metrics;
mod tables;

use std::ops::Deref;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

pub(crate) use self::activity::Activity;
use self::ends::Ends;
pub(crate) use self::health::Pulse;
use self::health::{Health, Stillness};
use self::history::{History, Totals};
pub(crate) use self::left_out::LeftOut;
#[cfg(test)]
pub(crate) use self::metrics::DUMP_REASONS;
pub(crate) use self::metrics::{Metrics, Retries};
pub(crate) use self::not_copied::{Lack, NotCopied};
use self::pending::Pending;
pub(crate) use self::pending::Transactions;
pub(crate) use self::tables::{TableChanges, Tables};
use crate::config::{Settings, StatusSettings};
use crate::core::ledger::Flushed;
use crate::error::{Error, Result};
use crate::lsn::Lsn;
use crate::stop::Stop;

/// The state of the daemon, as its threads leave it.
pub(crate) struct Status {
    /// What is counted.
    pub(crate) metrics: Metrics,
    /// The tables that are copied.
    pub(crate) tables: Arc<Tables>,
    /// The tables that etcd lacks.
    pub(crate) not_copied: NotCopied,
    /// The rows that it lacks since no request can hold them.
    pub(crate) left_out: LeftOut,
    /// Why changes may be missing that nobody looks for: it goes on without a dump.
    gap: Mutex<Option<String>>,
    /// Transactions that have been received and are not in etcd yet.
    pending: Pending,
    /// How far the stream that is followed now is.
    stream: Mutex<Stream>,
    /// Up to where PostgreSQL was told that it may forget.
    pub(crate) flushed: AtomicU64,
    activity: AtomicU8,
    /// Whether it was told that the daemon stops.
    told_of_stop: Mutex<bool>,
    health: Health,
    /// The longest that the server may stay silent in a sync, in milliseconds.
    silence_limit: AtomicU64,
    /// How long the position has been what it is, though more was received.
    standstill: Mutex<Stillness>,
    limits: Mutex<Limits>,
    /// What has failed since the stream got on last.
    trouble: Mutex<Option<Trouble>>,
    /// Up to where the server's log went when a stream was begun last.
    server_end: AtomicU64,
    /// When etcd has answered last, since the stream began.
    etcd_answered: Mutex<Option<Instant>>,
    /// The last ten minutes.
    history: Mutex<History>,
    /// From where to where is copied.
    ends: Mutex<Ends>,
    started: Instant,
    /// Where the pages are served now, if they are.
    pages: Mutex<Option<listen::Pages>>,
}

/// What makes unready.
#[derive(Clone, Copy, Default)]
struct Limits {
    /// The lag from which on it is too much, in bytes.
    lag: u64,
    /// The longest that the position may stand still.
    standstill: Duration,
}

/// What has failed.
struct Trouble {
    /// The last failure, in words.
    text: String,
    since: Instant,
}

/// Locks a mark. A thread that panicked left it whole: no change of one can panic half-way.
fn lock<T>(mark: &Mutex<T>) -> MutexGuard<'_, T> {
    mark.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How far a stream is.
struct Stream {
    /// Up to where it has been received.
    received: Arc<AtomicU64>,
    /// The position: up to where it is in etcd.
    flushed: Flushed,
}

/// The status while the daemon runs; with its drop the daemon stops.
pub(crate) struct Running(Arc<Status>);

impl Running {
    /// The status, for a thread that lives as long as the process.
    pub(crate) fn share(&self) -> Arc<Status> {
        Arc::clone(&self.0)
    }
}

impl Deref for Running {
    type Target = Status;

    fn deref(&self) -> &Status {
        &self.0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.stops();
    }
}

/// Makes the status, and starts the threads that answer and tell.
///
/// # Errors
/// As for [`Status::configure`].
pub(crate) fn start(settings: &Settings, stop: &Stop) -> Result<Running> {
    let status = Arc::new(Status::new(settings)?);
    status.configure(settings)?;
    // It looks at the marks too, for pages that may be asked for later.
    notify::start(Arc::clone(&status), stop)?;
    Ok(Running(status))
}

impl Status {
    pub(crate) fn new(settings: &Settings) -> Result<Self> {
        let tables = Arc::new(Tables::default());
        let metrics = Metrics::new(Arc::clone(&tables)).map_err(|error| Error::System {
            doing: "making the metrics".to_owned(),
            source: std::io::Error::other(error),
        })?;
        let now = Instant::now();
        let status = Self {
            metrics,
            tables,
            not_copied: NotCopied::default(),
            left_out: LeftOut::default(),
            gap: Mutex::default(),
            trouble: Mutex::default(),
            server_end: AtomicU64::default(),
            etcd_answered: Mutex::default(),
            pending: Pending::default(),
            stream: Mutex::new(Stream { received: Arc::default(), flushed: Flushed::default() }),
            flushed: AtomicU64::default(),
            activity: AtomicU8::default(),
            told_of_stop: Mutex::default(),
            health: Health::default(),
            silence_limit: AtomicU64::new(u64::MAX),
            standstill: Mutex::new(Stillness::new(now)),
            limits: Mutex::default(),
            history: Mutex::new(History::new(now)),
            ends: Mutex::default(),
            started: now,
            pages: Mutex::default(),
        };
        status.take_over(settings);
        Ok(status)
    }

    /// Goes by these settings from now on. If it cannot, all is as it was.
    ///
    /// # Errors
    /// [`Error::Requirement`] if `status.listen` cannot be listened on.
    pub(crate) fn configure(self: &Arc<Self>, settings: &Settings) -> Result<()> {
        let StatusSettings { listen, .. } = &settings.status;
        let mut pages = lock(&self.pages);
        if pages.as_ref().map(listen::Pages::address) != listen.as_deref() {
            let address = listen.as_ref();
            // The old ones end once the new ones are there.
            *pages = address.map(|address| listen::Pages::start(address, self)).transpose()?;
        }
        self.take_over(settings);
        Ok(())
    }

    /// What the settings say, as far as that may change while it runs.
    fn take_over(&self, settings: &Settings) {
        self.health.set_limit(settings.status.stall_timeout);
        let lag = settings.status.ready_lag as u64;
        self.metrics.tell_tables_apart(settings.status.table_metrics);
        let limits = Limits { lag, standstill: readiness::READY_AGE + settings.sync.idle_period };
        *lock(&self.limits) = limits;
        *lock(&self.ends) = Ends::new(settings);
    }

    /// Takes note of what the daemon does from now on.
    pub(crate) fn enter(&self, activity: Activity) {
        self.health.forget_ended();
        self.activity.store(activity as u8, Ordering::Relaxed);
    }

    /// Takes note that a dump begins, for a reason of this kind, one of [`DUMP_REASONS`].
    pub(crate) fn dump_begins(&self, reason: &str) {
        self.metrics.dumps.with_label_values(&[reason]).inc();
        self.enter(Activity::Dumping);
    }

    /// Takes note that a stream begins, in which the server is heard from at least every `interval`.
    pub(crate) fn stream_begins(
        &self,
        flushed: Flushed,
        received: Arc<AtomicU64>,
        interval: Duration,
    ) {
        self.pending.clear();
        *lock(&self.etcd_answered) = None;
        *self.stream() = Stream { received, flushed };
        let limit = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX).saturating_mul(3);
        self.silence_limit.store(limit, Ordering::Relaxed);
    }

    /// Takes note of transactions that were received, before they can be in etcd.
    pub(crate) fn note_received(&self, transactions: Transactions) {
        self.pending.push(transactions, self.position());
    }

    /// Takes note of a failure, after which all begins again.
    pub(crate) fn fails(&self, text: String) {
        let mut trouble = self.trouble();
        let since = trouble.as_ref().map_or_else(Instant::now, |trouble| trouble.since);
        *trouble = Some(Trouble { text, since });
    }

    /// Takes note that the stream has got somewhere: what had failed works again.
    pub(crate) fn stream_gets_on(&self) {
        *self.trouble() = None;
    }

    /// Takes note that it goes on without the dump that it would take, or that all was compared.
    pub(crate) fn has_gap(&self, reason: Option<String>) {
        *lock(&self.gap) = reason;
    }

    /// Takes note of where the server's log ends.
    pub(crate) fn server_ends(&self, lsn: Lsn) {
        self.server_end.store(lsn.0, Ordering::Relaxed);
    }

    fn trouble(&self) -> MutexGuard<'_, Option<Trouble>> {
        lock(&self.trouble)
    }

    /// Takes note that etcd has answered.
    pub(crate) fn etcd_answers(&self) {
        *lock(&self.etcd_answered) = Some(Instant::now());
    }

    /// The pulse of a thread, which ends with its last clone.
    pub(crate) fn pulse(&self, thread: &str) -> Pulse {
        self.health.pulse(thread)
    }

    /// Tells the service manager that the daemon stops, once.
    fn stops(&self) {
        // The daemon's end waits for a thread that is just telling it.
        let mut told = lock(&self.told_of_stop);
        if !*told {
            notify::notify(&[NotifyState::Stopping]);
            *told = true;
        }
    }

    /// What the daemon does.
    fn activity(&self) -> Activity {
        let number = usize::from(self.activity.load(Ordering::Relaxed));
        Activity::ALL.get(number).copied().unwrap_or(Activity::Connecting)
    }

    /// The WAL that has been received and is not in etcd, in bytes.
    fn lag_bytes(&self) -> u64 {
        // In this order: what is in etcd was received before.
        let position = self.position();
        let received = self.received().0.saturating_sub(position.0);
        received.max(self.unreceived())
    }

    /// The WAL that the server has, as long as it cannot be received, in bytes.
    fn unreceived(&self) -> u64 {
        if self.trouble().is_none() {
            return 0;
        }
        self.server_end.load(Ordering::Relaxed).saturating_sub(self.position().0)
    }

    /// The position: up to where the stream is in etcd.
    fn position(&self) -> Lsn {
        self.stream().flushed.lsn()
    }

    /// Up to where PostgreSQL was told that it may forget.
    fn confirmed(&self) -> Lsn {
        Lsn(self.flushed.load(Ordering::Acquire))
    }

    /// Up to where the stream has been received.
    fn received(&self) -> Lsn {
        Lsn(self.stream().received.load(Ordering::Relaxed))
    }

    fn stream(&self) -> MutexGuard<'_, Stream> {
        lock(&self.stream)
    }

    /// How long ago the oldest transaction committed that has been received and is not in etcd;
    /// zero if there is none.
    ///
    /// What the server has and cannot send is as old as the trouble, at least.
    pub(crate) fn lag(&self) -> Duration {
        let age = self.pending.age(self.position());
        let is_stuck = self.unreceived() > 0;
        match &*self.trouble() {
            Some(Trouble { since, .. }) if is_stuck => age.max(since.elapsed()),
            _ => age,
        }
    }

    /// Looks at the marks. What does not change between two looks may have come to a stop, so that
    /// this has to be called often.
    fn look(&self, now: Instant) {
        self.health.look(now);
        let mut standstill = lock(&self.standstill);
        if self.lag_bytes() == 0 {
            *standstill = Stillness::new(now);
        }
        standstill.look(self.position().0, now);
        drop(standstill);
        let mut history = lock(&self.history);
        if history.is_due(now) {
            history.sample(now, self.totals(), self.lag());
        }
    }

    /// What was counted so far.
    fn totals(&self) -> Totals {
        let transactions = self.metrics.transactions.get();
        let (txns, txn_seconds) = self.metrics.txns();
        Totals { transactions, changes: self.tables.look(), txns, txn_seconds }
    }

    /// What is wrong with the daemon itself; nothing if it is healthy.
    fn ills(&self, now: Instant) -> Vec<String> {
        self.health.ills(now)
    }
}
