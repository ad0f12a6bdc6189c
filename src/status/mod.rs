//! What the daemon does now, for those who look after it: `/metrics`, `/healthz` and `/readyz`, and
//! what the service manager is told.
//!
//! The threads leave their marks in one [`Status`], by relaxed atomic stores where rows pass. What
//! follows from the marks is worked out only when someone asks.

mod health;
mod http;
mod listen;
mod metrics;
mod notify;
mod pending;

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

pub(crate) use self::health::Pulse;
use self::health::{Health, Stillness};
#[cfg(test)]
pub(crate) use self::metrics::DUMP_REASONS;
pub(crate) use self::metrics::{Metrics, Retries, TableChanges};
use self::pending::Pending;
pub(crate) use self::pending::Transactions;
use crate::config::{Settings, StatusSettings};
use crate::core::ledger::Flushed;
use crate::error::{Error, Result};
use crate::lsn::Lsn;
use crate::stop::Stop;

/// A copy that lacks a transaction for longer than this is not ready, nor is one whose position
/// stands still for so long though there is more.
const READY_AGE: Duration = Duration::from_secs(60);

/// What the daemon does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activity {
    /// It connects, or waits until it can.
    Connecting,
    /// Another daemon has the slot.
    StandingBy,
    /// It loads the tables.
    Dumping,
    /// It follows the stream.
    Syncing,
}

impl Activity {
    /// Each, in the order of their numbers.
    pub(crate) const ALL: [Self; 4] =
        [Self::Connecting, Self::StandingBy, Self::Dumping, Self::Syncing];

    /// Its name, as users see it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::StandingBy => "standby",
            Self::Dumping => "dump",
            Self::Syncing => "sync",
        }
    }
}

/// The state of the daemon, as its threads leave it.
pub(crate) struct Status {
    /// What is counted.
    pub(crate) metrics: Metrics,
    /// Transactions that have been received and are not in etcd yet.
    pending: Pending,
    /// How far the stream that is followed now is.
    stream: Mutex<Stream>,
    /// Up to where PostgreSQL was told that it may forget.
    pub(crate) flushed: AtomicU64,
    activity: AtomicU8,
    /// Whether it was told that the daemon stops.
    stops: AtomicBool,
    health: Health,
    /// The longest that the server may stay silent in a sync, in milliseconds.
    silence_limit: AtomicU64,
    /// How long the position has been what it is, though more was received.
    standstill: Mutex<Stillness>,
    ready_lag: u64,
    /// The longest that the position may stand still.
    standstill_limit: Duration,
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

/// Makes the status and, if the settings or the environment ask for them, starts the threads that
/// answer and tell: they live as long as the process.
///
/// # Errors
/// [`Error::Requirement`] if `status.listen` cannot be listened on.
pub(crate) fn start(settings: &Settings, stop: &Stop) -> Result<Running> {
    let status = Arc::new(Status::new(settings)?);
    let StatusSettings { listen, .. } = &settings.status;
    if let Some(address) = listen {
        listen::start(address, Arc::clone(&status))?;
    }
    if listen.is_some() || notify::is_wanted() {
        notify::start(Arc::clone(&status), stop)?;
    }
    Ok(Running(status))
}

impl Status {
    pub(crate) fn new(settings: &Settings) -> Result<Self> {
        let metrics = Metrics::new().map_err(|error| Error::System {
            doing: "making the metrics".to_owned(),
            source: std::io::Error::other(error),
        })?;
        Ok(Self {
            metrics,
            pending: Pending::default(),
            stream: Mutex::new(Stream { received: Arc::default(), flushed: Flushed::default() }),
            flushed: AtomicU64::default(),
            activity: AtomicU8::default(),
            stops: AtomicBool::default(),
            health: Health::new(settings.status.stall_timeout),
            silence_limit: AtomicU64::new(u64::MAX),
            standstill: Mutex::new(Stillness::new(Instant::now())),
            ready_lag: settings.status.ready_lag as u64,
            standstill_limit: READY_AGE + settings.sync.idle_period,
        })
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
        *self.stream() = Stream { received, flushed };
        let limit = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX).saturating_mul(3);
        self.silence_limit.store(limit, Ordering::Relaxed);
    }

    /// Takes note of transactions that were received, before they can be in etcd.
    pub(crate) fn note_received(&self, transactions: Transactions) {
        self.pending.push(transactions, self.position());
    }

    /// The pulse of a thread, which ends with its last clone.
    pub(crate) fn pulse(&self, thread: &str) -> Pulse {
        self.health.pulse(thread)
    }

    /// Tells the service manager that the daemon stops, once.
    fn stops(&self) {
        if !self.stops.swap(true, Ordering::Relaxed) {
            notify::notify(&[NotifyState::Stopping]);
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
        self.received().0.saturating_sub(position.0)
    }

    /// The position: up to where the stream is in etcd.
    fn position(&self) -> Lsn {
        self.stream().flushed.lsn()
    }

    /// Up to where the stream has been received.
    fn received(&self) -> Lsn {
        Lsn(self.stream().received.load(Ordering::Relaxed))
    }

    fn stream(&self) -> MutexGuard<'_, Stream> {
        // It is replaced in one assignment: a thread that panicked left it whole.
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long ago the oldest transaction committed that has been received and is not in etcd;
    /// zero if there is none.
    pub(crate) fn lag(&self) -> Duration {
        self.pending.age(self.position())
    }

    /// Looks at the marks. What does not change between two looks may have come to a stop, so that
    /// this has to be called often.
    fn look(&self, now: Instant) {
        self.health.look(now);
        let mut standstill = self.standstill.lock().unwrap_or_else(PoisonError::into_inner);
        if self.lag_bytes() == 0 {
            *standstill = Stillness::new(now);
        }
        standstill.look(self.position().0, now);
    }

    /// What is wrong with the daemon itself; nothing if it is healthy.
    fn ills(&self, now: Instant) -> Vec<String> {
        self.health.ills(now)
    }

    /// Why the copy is not as good as the database; nothing if it is.
    fn unready(&self, now: Instant) -> Option<String> {
        let activity = self.activity();
        if activity != Activity::Syncing {
            return Some(format!("phase={}", activity.name()));
        }
        let position = self.position();
        let received = self.received();
        if received < position {
            // The server may turn out to have another history.
            return Some(format!("received_lsn={received} position_lsn={position}"));
        }
        let (bytes, lag) = (self.lag_bytes(), self.lag());
        if bytes >= self.ready_lag {
            return Some(format!("lag_bytes={bytes} ready_lag={}", self.ready_lag));
        }
        if lag > READY_AGE {
            return Some(format!("lag_seconds={:.0}", lag.as_secs_f64()));
        }
        let standstill = self.standstill.lock().unwrap_or_else(PoisonError::into_inner).age(now);
        if bytes > 0 && standstill > self.standstill_limit {
            return Some(format!("standstill_seconds={}", standstill.as_secs()));
        }
        let limit = Duration::from_millis(self.silence_limit.load(Ordering::Relaxed));
        let silence = self.health.age("receive", now).filter(|&silence| silence > limit)?;
        Some(format!("silence_seconds={}", silence.as_secs()))
    }

    /// The metrics, in the text format of Prometheus.
    fn metrics_text(&self) -> String {
        let now = Instant::now();
        let Self { metrics, .. } = self;
        metrics.flushed_lsn.set(self.flushed.load(Ordering::Acquire));
        metrics.position_lsn.set(self.position().0);
        metrics.received_lsn.set(self.received().0);
        metrics.lag_bytes.set(self.lag_bytes());
        metrics.lag_seconds.set(self.lag().as_secs_f64());
        metrics.healthy.set(u64::from(self.ills(now).is_empty()));
        metrics.ready.set(u64::from(self.unready(now).is_none()));
        metrics.set_phase(self.activity());
        metrics.text()
    }
}

#[cfg(test)]
impl Status {
    /// Each metric as an item of the manual page.
    pub(crate) fn described(&self) -> Vec<String> {
        self.metrics.of_table("public.t");
        self.metrics.set_phase(Activity::Syncing);
        let families = self.metrics.families();
        families
            .iter()
            .map(|family| {
                let labels = family.get_metric()[0].get_label();
                let labels: Vec<_> = labels.iter().map(|label| label.name()).collect();
                let kind = format!("{:?}", family.get_field_type()).to_lowercase();
                let by = if labels.is_empty() { "" } else { " by " };
                format!(".It Li {} Pq {kind}{by}{}", family.name(), labels.join(", "))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    fn status() -> Status {
        let mut settings = Settings::default();
        settings.status.ready_lag = 1000;
        settings.status.stall_timeout = LIMIT;
        settings.sync.idle_period = Duration::from_secs(5);
        Status::new(&settings).expect("the metrics")
    }

    #[test]
    fn only_a_sync_is_ready() {
        let (status, now) = (status(), Instant::now());
        for activity in Activity::ALL {
            status.enter(activity);
            let expected = format!("phase={}", activity.name());
            let expected = Some(expected).filter(|_| activity != Activity::Syncing);
            assert_eq!(status.unready(now), expected);
        }
    }

    #[test]
    fn lag_makes_unready_by_bytes_and_by_age() {
        let status = status();
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        status.enter(Activity::Syncing);
        let at_lsn = |position, received| {
            let received = Arc::new(AtomicU64::new(received));
            let flushed = Flushed::at(Lsn(position));
            *status.stream() = Stream { received, flushed };
        };
        let received = Arc::new(AtomicU64::new(5000));
        status.stream_begins(Flushed::at(Lsn(5000)), received, Duration::from_secs(1000));
        status.look(at(0));
        assert_eq!(status.unready(at(9_999)), None, "an idle database");
        status.look(at(100));
        at_lsn(5000, 5999);
        status.look(at(101));
        assert_eq!(status.unready(at(165)), None);
        // Little is missing, but for long.
        assert_eq!(status.unready(at(166)).as_deref(), Some("standstill_seconds=66"));
        at_lsn(5000, 6000);
        assert_eq!(status.unready(at(100)).as_deref(), Some("lag_bytes=1000 ready_lag=1000"));
        at_lsn(5990, 6000);
        status.look(at(166));
        assert_eq!(status.unready(at(166)), None);
        status.note_received(Transactions {
            committed_at: crate::time::PgTime(0),
            commit_lsn: Lsn(5995),
        });
        assert!(status.unready(at(166)).is_some_and(|why| why.starts_with("lag_seconds=")));
        at_lsn(6000, 6000);
        assert_eq!(status.unready(at(166)), None);
    }

    #[test]
    fn a_stream_that_has_not_come_to_the_position_makes_unready_and_no_lag() {
        let (status, now) = (status(), Instant::now());
        status.enter(Activity::Syncing);
        let received = Arc::new(AtomicU64::new(4000));
        let flushed = Flushed::at(Lsn(5000));
        status.stream_begins(flushed, Arc::clone(&received), Duration::from_secs(1000));
        let expected = "received_lsn=0/FA0 position_lsn=0/1388";
        assert_eq!(status.unready(now).as_deref(), Some(expected));
        assert_eq!((status.lag_bytes(), status.lag()), (0, Duration::ZERO));
        received.store(5000, Ordering::Relaxed);
        assert_eq!(status.unready(now), None);
    }

    #[test]
    fn a_server_that_is_silent_makes_unready_and_not_unhealthy() {
        let status = status();
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        status.enter(Activity::Syncing);
        let received = Arc::new(AtomicU64::new(1));
        status.stream_begins(Flushed::at(Lsn(1)), received, Duration::from_secs(10));
        let receive = status.pulse("receive");
        receive.wait();
        status.look(at(0));
        assert_eq!(status.unready(at(30)), None);
        assert_eq!(status.unready(at(31)).as_deref(), Some("silence_seconds=31"));
        assert!(status.ills(at(31)).is_empty());
        receive.work();
        receive.wait();
        status.look(at(32));
        assert_eq!(status.unready(at(33)), None);
    }
}
