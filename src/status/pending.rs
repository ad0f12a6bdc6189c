//! Transactions on their way, by their commit times: how old is the oldest that etcd lacks?

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::lsn::Lsn;
use crate::time::PgTime;

/// How many entries are kept apart: after that the last one is extended.
const MOST: usize = 4096;

/// Transactions that came together and change rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Transactions {
    /// When the first of them committed.
    pub(crate) committed_at: PgTime,
    /// The LSN of the last one's commit record. It is in etcd once the position is beyond this.
    pub(crate) commit_lsn: Lsn,
}

/// Those that have been received and may not be in etcd yet, in commit order.
#[derive(Debug, Default)]
pub(crate) struct Pending(Mutex<VecDeque<Transactions>>);

impl Pending {
    /// Adds transactions, and forgets those that are in etcd.
    pub(crate) fn push(&self, transactions: Transactions, position: Lsn) {
        let mut queue = self.queue();
        forget(&mut queue, position);
        if queue.len() == MOST
            && let Some(last) = queue.back_mut()
        {
            last.commit_lsn = transactions.commit_lsn;
            return;
        }
        queue.push_back(transactions);
    }

    /// How long ago, by this machine's clock, the oldest one committed that is beyond the
    /// position; zero if there is none.
    pub(super) fn age(&self, position: Lsn) -> Duration {
        let mut queue = self.queue();
        forget(&mut queue, position);
        queue.front().map_or(Duration::ZERO, |oldest| oldest.committed_at.until(PgTime::now()))
    }

    /// Forgets all: the stream begins again at the position.
    pub(super) fn clear(&self) {
        self.queue().clear();
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Transactions>> {
        // A thread that panicked left a queue of whole items.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn forget(queue: &mut VecDeque<Transactions>, position: Lsn) {
    while queue.front().is_some_and(|first| first.commit_lsn < position) {
        queue.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transactions(seconds_ago: u64, commit_lsn: u64) -> Transactions {
        let seconds_ago = i64::try_from(seconds_ago).unwrap_or(0);
        let committed_at = PgTime(PgTime::now().0 - seconds_ago * 1_000_000);
        Transactions { committed_at, commit_lsn: Lsn(commit_lsn) }
    }

    #[test]
    fn the_oldest_that_etcd_lacks_tells_the_age() {
        let pending = Pending::default();
        assert_eq!(pending.age(Lsn(1)), Duration::ZERO);
        pending.push(transactions(300, 10), Lsn(1));
        pending.push(transactions(200, 20), Lsn(1));
        for (position, seconds) in [(1, 300), (10, 300), (11, 200), (20, 200), (21, 0)] {
            assert_eq!(pending.age(Lsn(position)).as_secs(), seconds, "{position}");
        }
        // A clock that is ahead of the server's makes nothing old.
        pending.push(Transactions { committed_at: PgTime(i64::MAX), commit_lsn: Lsn(30) }, Lsn(21));
        assert_eq!(pending.age(Lsn(21)), Duration::ZERO);
    }

    #[test]
    fn a_long_queue_loses_detail_and_no_transaction() {
        let pending = Pending::default();
        for lsn in 1..=2 * MOST as u64 {
            pending.push(transactions(lsn, lsn), Lsn(0));
        }
        assert_eq!(pending.queue().len(), MOST);
        assert!(pending.age(Lsn(2 * MOST as u64)) > Duration::ZERO);
        assert_eq!(pending.age(Lsn(2 * MOST as u64 + 1)), Duration::ZERO);
    }
}
