//! Keys that were not the same at first sight, looked at until it is clear whether they differ.
//!
//! A look reads the rows and where the WAL ends, waits until etcd's position is there, reads what
//! etcd has, and reads the rows again. A row that is the same version both times is what etcd has
//! to have by then. A key differs if two looks find the same version on both sides: a row can be
//! in etcd a moment before other sessions see it, and then etcd is right in the first of them.

use std::thread;
use std::time::{Duration, Instant};

use super::super::follower::Follower;
use super::super::output::note;
use super::lookup::{Lookup, Scope, Version};
use crate::config::Settings;
use crate::error::Result;
use crate::etcd::Client;
use crate::lsn::Lsn;
use crate::postgres::Session;

/// How long etcd's position may rest before it is where the database is, if a daemon streams.
const PATIENCE: Duration = Duration::from_secs(30);
/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(100);
/// How often a key is looked at that is changed again and again.
const LOOKS: usize = 10;
/// How often that is if it has taken `LONG`: where the daemon cannot keep up, each look takes as
/// long as etcd is behind.
const FEW_LOOKS: usize = 3;
const LONG: Duration = Duration::from_secs(20);

/// How a key differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Difference {
    /// There is a row, and etcd has nothing.
    Missing,
    /// etcd has a value, and there is no row.
    Stale,
    /// Both are there.
    Differs,
}

/// Looks at keys again.
pub(super) struct Recheck<'a> {
    lookup: Lookup,
    slot: &'a str,
    follower: Follower<'a>,
    /// Whether etcd did not get to where the database was.
    behind: bool,
    /// How many keys were changed again and again.
    pub(super) moving: usize,
}

/// What was seen of a key.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Sight {
    row: Option<Version>,
    stored: Option<Version>,
}

/// A key of which it is still open whether it differs.
struct Candidate {
    key: Vec<u8>,
    /// How it differed at the last look.
    seen: Option<Sight>,
}

impl<'a> Recheck<'a> {
    pub(super) fn new(settings: &'a Settings, session: Session, client: Client) -> Self {
        Self {
            lookup: Lookup::new(session, client, settings.etcd.max_txn_ops),
            slot: &settings.sync.slot,
            follower: Follower::new(&settings.etcd),
            behind: false,
            moving: 0,
        }
    }

    /// Those of the keys that differ.
    pub(super) fn differences(
        &mut self,
        scope: Scope<'_>,
        keys: Vec<Vec<u8>>,
    ) -> Result<Vec<(Difference, Vec<u8>)>> {
        let mut candidates: Vec<_> =
            keys.into_iter().map(|key| Candidate { key, seen: None }).collect();
        let mut differences = Vec::new();
        let begun = Instant::now();
        for look in 1..=LOOKS {
            candidates = self.look(scope, candidates, &mut differences)?;
            if candidates.is_empty() || (look >= FEW_LOOKS && begun.elapsed() > LONG) {
                break;
            }
            thread::sleep(PAUSE);
        }
        self.moving += candidates.len();
        Ok(differences)
    }

    /// Looks at each key, and returns those that are still open.
    fn look(
        &mut self,
        scope: Scope<'_>,
        candidates: Vec<Candidate>,
        differences: &mut Vec<(Difference, Vec<u8>)>,
    ) -> Result<Vec<Candidate>> {
        let keys: Vec<&[u8]> = candidates.iter().map(|candidate| &candidate.key[..]).collect();
        let before = self.lookup.rows(scope, &keys)?;
        let end = self.lookup.session.end_of_transactions()?;
        self.catch_up(end)?;
        let stored = self.lookup.stored(&keys)?;
        let after = self.lookup.rows(scope, &keys)?;
        let mut left = Vec::new();
        for (Candidate { key, seen }, stored) in candidates.into_iter().zip(stored) {
            let sight = Sight { row: after.get(&key).copied(), stored };
            let Some(difference) = sight.difference() else { continue };
            if sight.row != before.get(&key).copied() {
                left.push(Candidate { key, seen: None });
            } else if seen == Some(sight) {
                differences.push((difference, key));
            } else {
                left.push(Candidate { key, seen: Some(sight) });
            }
        }
        Ok(left)
    }

    /// Waits until etcd has all that committed up to `end`. If it does not get there, what it
    /// lacks is a difference.
    fn catch_up(&mut self, end: Lsn) -> Result<()> {
        if self.behind || self.follower.reach(end, Duration::ZERO)? {
            return Ok(());
        }
        let slot = self.lookup.session.slot(self.slot)?;
        let streams = slot.is_some_and(|slot| slot.active_pid.is_some());
        let mut moves = streams;
        while moves {
            let before = self.follower.lsn();
            if self.follower.reach(end, PATIENCE)? {
                return Ok(());
            }
            moves = self.follower.lsn() > before;
        }
        self.behind = true;
        let at = self.follower.lsn().map_or("nowhere".to_owned(), |lsn| lsn.to_string());
        note(format!(
            "etcd is behind, at {at}, and the database is at {end}{}: what etcd does not have yet \
             is a difference",
            if streams { "" } else { "; no daemon streams" }
        ));
        Ok(())
    }
}

impl Sight {
    fn difference(&self) -> Option<Difference> {
        match (self.row, self.stored) {
            (None, None) => None,
            (Some(row), Some(stored)) if row.digest == stored.digest => None,
            (Some(_), Some(_)) => Some(Difference::Differs),
            (Some(_), None) => Some(Difference::Missing),
            (None, Some(_)) => Some(Difference::Stale),
        }
    }
}
