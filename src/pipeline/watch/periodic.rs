//! The tables that are compared in turn (`sync.compare_period`), though nothing has been seen that
//! could have made one wrong: what is found then was wrong unseen.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::core::Overruled;
use crate::reconcile::Counts;
use crate::state::records::{Name, TableRecord};
use crate::status::Metrics;

/// The shortest time between two tables: the stream, and whatever the watch has to look at, come
/// first.
const BREAK: Duration = Duration::from_secs(1);

/// How much of the servers a compare may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Priority {
    /// A table is known to be wrong, or somebody waits for it.
    High,
    /// It is only its turn.
    Low,
}

impl Priority {
    /// How many connections read etcd, where `most` may.
    pub(super) fn readers(self, most: usize) -> usize {
        if self == Self::Low { 1 } else { most }
    }

    /// The level at which the log has a compare that found nothing.
    pub(super) fn level(self) -> log::Level {
        if self == Self::Low { log::Level::Debug } else { log::Level::Info }
    }
}

/// When it is which table's turn.
pub(super) struct Turns {
    /// How often each table is compared; `None`: never.
    pub(super) period: Option<Duration>,
    /// Whether etcd is behind what was received. Then a table is put off, for another period at most.
    pub(super) is_behind: bool,
    /// The time, in seconds since 1970.
    pub(super) now: u64,
}

impl Turns {
    /// The table of which it is the turn: the least recently compared, if that was long ago.
    pub(super) fn next(&self, known: &BTreeMap<Name, TableRecord>) -> Option<Name> {
        let (_, name) = self.oldest(known)?;
        (self.left(known) == Some(Duration::ZERO)).then(|| name.clone())
    }

    /// How long it is at least until the next table's turn.
    pub(super) fn wait(&self, known: &BTreeMap<Name, TableRecord>) -> Duration {
        self.left(known).map_or(Duration::MAX, |left| left.max(BREAK))
    }

    fn left(&self, known: &BTreeMap<Name, TableRecord>) -> Option<Duration> {
        let (compared_at, _) = self.oldest(known)?;
        let age = Duration::from_secs(self.now.saturating_sub(compared_at));
        let periods = if self.is_behind { 2 } else { 1 };
        self.period.map(|period| (period * periods).saturating_sub(age))
    }

    fn oldest<'k>(&self, known: &'k BTreeMap<Name, TableRecord>) -> Option<(u64, &'k Name)> {
        // A clock that was ahead must not put a table off for ever.
        let at = |record: &TableRecord| record.compared_at.filter(|at| *at <= self.now);
        known.iter().map(|(name, record)| (at(record).unwrap_or(0), name)).min()
    }
}

/// How many keys of a table were not as in the database, each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Differences {
    missing: u64,
    differs: u64,
    stale: u64,
}

impl Differences {
    /// What a compare has counted, but for what the stream has changed since the compare began: that
    /// is no difference. Such a row may have looked like one that is different, else like one that
    /// is missing.
    pub(super) fn of(counts: &Counts, overruled: Overruled) -> Self {
        let differs = counts.differs.saturating_sub(overruled.puts);
        let missing = (counts.missing + counts.differs).saturating_sub(overruled.puts) - differs;
        Self { missing, differs, stale: counts.stale.saturating_sub(overruled.deletes) }
    }

    /// Says so, if there are any, and counts them.
    pub(super) fn report(self, metrics: &Metrics, table: &str) {
        let Self { missing, differs, stale } = self;
        metrics.differences(table, [missing, stale, differs]);
        if missing + stale + differs > 0 {
            log::warn!(
                "Table {table} was not as in the database, and is repaired: {missing} missing, \
                 {differs} different, {stale} keys without a row (sync.compare_period)"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::Shape;

    fn known(compared: &[(&str, Option<u64>)]) -> BTreeMap<Name, TableRecord> {
        let record = |compared_at| TableRecord {
            keyspace: String::new(),
            oid: 1,
            shape: Shape::default(),
            compared_at,
            fingerprint: None,
            templates: Vec::new(),
            templates_only: false,
        };
        compared.iter().map(|(name, at)| (name.as_bytes().to_vec(), record(*at))).collect()
    }

    #[test]
    fn the_least_recently_compared_is_next() {
        let minute = Some(Duration::from_secs(60));
        for (compared, period, next, late, wait) in [
            (&[("a", Some(950)), ("b", Some(940))][..], minute, Some("b"), None, 1),
            (&[("a", Some(950)), ("b", Some(960))], minute, None, None, 10),
            (&[("a", Some(950)), ("b", Some(880))], minute, Some("b"), Some("b"), 1),
            (&[("a", Some(950)), ("b", None)], minute, Some("b"), Some("b"), 1),
            (&[("a", Some(1001)), ("b", Some(930))], minute, Some("a"), Some("a"), 1),
            (&[("a", None)], None, None, None, u64::MAX),
            (&[], minute, None, None, u64::MAX),
        ] {
            let known = known(compared);
            let mut turns = Turns { period, is_behind: false, now: 1000 };
            let name = turns.next(&known).map(|name| String::from_utf8(name).unwrap());
            assert_eq!(name.as_deref(), next, "{compared:?}");
            assert_eq!(turns.wait(&known).as_secs(), wait, "{compared:?}");
            turns.is_behind = true;
            let name = turns.next(&known).map(|name| String::from_utf8(name).unwrap());
            assert_eq!(name.as_deref(), late, "{compared:?}");
        }
    }
}
