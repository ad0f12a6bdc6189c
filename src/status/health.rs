//! Whether the threads get on with their work.
//!
//! A thread is either waiting for something, which may take as long as it likes, or at a step, which
//! has to end. It says so by a store to its own counter; someone else compares the counter with what
//! it was before, so that the thread need not look at a clock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The lowest bit of a counter: the thread waits.
const WAITING: u64 = 1;
/// What is added with each mark.
const MARK: u64 = 2;

/// What a thread says of itself. Clones belong to the same thread; when the last is gone, it has
/// ended.
#[derive(Clone, Debug)]
pub(crate) struct Pulse(Arc<AtomicU64>);

impl Pulse {
    /// A step begins, which ends with the next mark.
    pub(crate) fn work(&self) {
        self.mark(0);
    }

    /// The thread waits until its next mark.
    pub(crate) fn wait(&self) {
        self.mark(WAITING);
    }

    fn mark(&self, waiting: u64) {
        // Only its own thread stores: there is nothing to be lost between the two.
        let marks = self.0.load(Ordering::Relaxed) & !WAITING;
        self.0.store(marks.wrapping_add(MARK) | waiting, Ordering::Relaxed);
    }
}

/// Since when a number has been what it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stillness {
    number: u64,
    since: Instant,
}

impl Stillness {
    pub(super) fn new(now: Instant) -> Self {
        Self { number: 0, since: now }
    }

    /// Compares the number with what it was.
    pub(super) fn look(&mut self, number: u64, now: Instant) {
        if self.number != number {
            *self = Self { number, since: now };
        }
    }

    /// How long it has been the same.
    pub(super) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }
}

/// The threads that are watched.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// The longest that one step may take, in milliseconds.
    limit: AtomicU64,
    threads: Mutex<Vec<Watched>>,
}

#[derive(Debug)]
struct Watched {
    name: String,
    counter: Arc<AtomicU64>,
    seen: Stillness,
    /// Whether the thread was seen to have ended: those that work with it have to end too.
    ended: bool,
}

impl Health {
    /// From now on one step may take so long.
    pub(super) fn set_limit(&self, limit: Duration) {
        let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Watches one thread more.
    pub(super) fn pulse(&self, name: &str) -> Pulse {
        let counter = Arc::new(AtomicU64::new(0));
        self.threads().push(Watched {
            name: name.to_owned(),
            counter: Arc::clone(&counter),
            seen: Stillness::new(Instant::now()),
            ended: false,
        });
        Pulse(counter)
    }

    /// Takes note that all threads that worked together have ended.
    pub(super) fn forget_ended(&self) {
        self.threads().retain(|thread| !thread.has_ended());
    }

    /// Compares all counters with what they were.
    pub(super) fn look(&self, now: Instant) {
        for thread in self.threads().iter_mut() {
            thread.look(now);
        }
    }

    /// The threads that are stuck, each with how long it has been so.
    pub(super) fn ills(&self, now: Instant) -> Vec<String> {
        let threads = self.threads();
        let limit = Duration::from_millis(self.limit.load(Ordering::Relaxed));
        let stuck = threads.iter().filter(|thread| {
            (thread.ended || !thread.is_waiting()) && thread.seen.age(now) > limit
        });
        stuck
            .map(|Watched { name, seen, .. }| {
                format!("thread={name:?} stuck_seconds={}", seen.age(now).as_secs())
            })
            .collect()
    }

    /// How long a thread has left no mark; `None` if there is no such thread.
    pub(super) fn age(&self, name: &str, now: Instant) -> Option<Duration> {
        let threads = self.threads();
        threads.iter().find(|thread| thread.name == name).map(|thread| thread.seen.age(now))
    }

    fn threads(&self) -> MutexGuard<'_, Vec<Watched>> {
        // A thread that panicked left a list of whole items.
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched {
    fn look(&mut self, now: Instant) {
        if self.has_ended() && !self.ended {
            self.ended = true;
            self.seen = Stillness::new(now);
        }
        if !self.ended {
            self.seen.look(self.counter.load(Ordering::Relaxed), now);
        }
    }

    fn is_waiting(&self) -> bool {
        self.counter.load(Ordering::Relaxed) & WAITING != 0
    }

    fn has_ended(&self) -> bool {
        Arc::strong_count(&self.counter) == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[test]
    fn a_step_has_to_end_and_a_wait_need_not() {
        let health = Health::default();
        health.set_limit(LIMIT);
        let pulse = health.pulse("pack");
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        pulse.work();
        health.look(at(0));
        health.look(at(10));
        assert!(health.ills(at(10)).is_empty());
        assert_eq!(health.ills(at(11)), ["thread=\"pack\" stuck_seconds=11"]);
        pulse.work();
        health.look(at(12));
        assert!(health.ills(at(22)).is_empty());
        pulse.wait();
        health.look(at(23));
        assert!(health.ills(at(1_000)).is_empty());
        assert_eq!(health.age("pack", at(1_000)), Some(Duration::from_secs(977)));
        assert_eq!(health.age("write 0", at(1_000)), None);
    }

    #[test]
    fn a_thread_that_has_ended_is_an_ill_until_the_others_have_ended_too() {
        let health = Health::default();
        health.set_limit(LIMIT);
        let (ended, other) = (health.pulse("write 0"), health.pulse("receive"));
        ended.wait();
        other.wait();
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        health.look(at(0));
        drop(ended);
        health.look(at(100));
        assert!(health.ills(at(110)).is_empty());
        health.look(at(110));
        assert_eq!(health.ills(at(111)), ["thread=\"write 0\" stuck_seconds=11"]);
        health.forget_ended();
        assert!(health.ills(at(111)).is_empty());
    }
}
