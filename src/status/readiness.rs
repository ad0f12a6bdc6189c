//! Whether the copy is as good as the database: what `/readyz` says.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{Activity, Status, lock};

/// A copy that lacks a transaction for longer than this is not ready, nor is one whose position
/// stands still for so long though there is more.
pub(super) const READY_AGE: Duration = Duration::from_secs(60);
/// An etcd that does not answer for longer than this may be gone, though no row changes. It is asked
/// every two seconds.
const ETCD_SILENCE: Duration = Duration::from_secs(12);

impl Status {
    /// Why the copy is not as good as the database; nothing if it is.
    pub(super) fn unready(&self, now: Instant) -> Option<String> {
        let activity = self.activity();
        if activity != Activity::Syncing {
            return Some(format!("phase={}{}", activity.name(), self.error()));
        }
        let position = self.position();
        let received = self.received();
        if received < position {
            // The server may turn out to have another history.
            return Some(format!("received_lsn={received} position_lsn={position}"));
        }
        let limits = *lock(&self.limits);
        let (bytes, lag) = (self.lag_bytes(), self.lag());
        if bytes >= limits.lag {
            return Some(format!("lag_bytes={bytes} ready_lag={}", limits.lag));
        }
        if lag > READY_AGE {
            return Some(format!("lag_seconds={:.0}", lag.as_secs_f64()));
        }
        let standstill = lock(&self.standstill).age(now);
        if bytes > 0 && standstill > limits.standstill {
            return Some(format!("standstill_seconds={}", standstill.as_secs()));
        }
        let limit = Duration::from_millis(self.silence_limit.load(Ordering::Relaxed));
        if let Some(silence) = self.health.age("receive", now).filter(|&silence| silence > limit) {
            return Some(format!("silence_seconds={}", silence.as_secs()));
        }
        let answered = *lock(&self.etcd_answered);
        let silence = answered.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        if silence > ETCD_SILENCE {
            return Some(format!("etcd_silence_seconds={}", silence.as_secs()));
        }
        if self.trouble().is_some() {
            return Some(format!("phase={}{}", activity.name(), self.error()));
        }
        if let Some(reason) = &*lock(&self.gap) {
            return Some(format!("without_dump={reason:?}"));
        }
        let left_out = self.left_out.all();
        if let Some(key) = left_out.first() {
            return Some(format!("oversized_rows={} key={key:?}", left_out.len()));
        }
        let not_copied = self.not_copied.all();
        let (table, reason) = not_copied.first()?;
        let others = match not_copied.len() {
            1 => String::new(),
            count => format!(" not_copied={count}"),
        };
        Some(format!("table={table:?}{others} reason={reason:?}"))
    }

    /// What has failed last, to stand behind other words; nothing if all works.
    fn error(&self) -> String {
        let trouble = self.trouble();
        trouble.as_ref().map_or_else(String::new, |trouble| format!(" error={:?}", trouble.text))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;

    use super::super::{Stream, Transactions};
    use super::*;
    use crate::config::Settings;
    use crate::core::ledger::Flushed;
    use crate::lsn::Lsn;

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
