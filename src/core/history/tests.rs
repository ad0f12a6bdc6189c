use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::time::PgTime;

fn commit(lsn: u64) -> Commit {
    Commit { lsn: Lsn(lsn), xid: 700 + lsn as u32, time: PgTime(lsn as i64 * 1000) }
}

/// What the server sends.
#[derive(Clone, Copy, Debug)]
enum Sent {
    /// A transaction, and where its commit record ends.
    Transaction(Commit, u64),
    Keepalive(u64),
}

use Sent::{Keepalive, Transaction};

fn transaction(lsn: u64) -> Sent {
    Transaction(commit(lsn), lsn + 8)
}

/// Where the transactions are that are applied, whether the position was come to, and why the rest
/// was refused.
fn read(mut history: History, stream: &[Sent]) -> (Vec<u64>, bool, Option<String>) {
    let mut applied = Vec::new();
    for sent in stream {
        let outcome = match *sent {
            Transaction(commit, end) => history.begin(commit).and_then(|verdict| {
                assert_eq!(history.skips(), verdict == Verdict::Skip);
                // Inside a transaction the server may say anything.
                assert!(history.keepalive(Lsn(u64::MAX)).is_ok());
                if verdict == Verdict::Apply {
                    applied.push(commit.lsn.0);
                }
                history.end(Lsn(end))
            }),
            Keepalive(lsn) => history.keepalive(Lsn(lsn)),
        };
        if let Err(error) = outcome {
            assert!(matches!(error, Error::AnotherHistory(_)));
            return (applied, history.is_proven(), Some(error.to_string()));
        }
    }
    (applied, history.is_proven(), None)
}

/// etcd has the transaction at 0x40, whose record ends at 0x48, as the last one, and is at 0x60.
fn position() -> Position {
    Position { lsn: Lsn(0x60), commit_end: Lsn(0x48), committed_at: commit(0x40).time }
}

#[test]
fn what_etcd_has_is_skipped() {
    for (confirmed, stream, applied, proven) in [
        (0x20, vec![], vec![], false),
        (0x20, vec![transaction(0x20)], vec![], false),
        (0x20, vec![Keepalive(0x30), Keepalive(0x40)], vec![], false),
        (0x20, vec![transaction(0x20), transaction(0x40)], vec![], false),
        (0x40, vec![transaction(0x40), Keepalive(0x5F)], vec![], false),
        (0x40, vec![transaction(0x40), Keepalive(0x60)], vec![], true),
        (0x40, vec![transaction(0x40), transaction(0x60)], vec![0x60], true),
        (0x40, vec![transaction(0x40), Keepalive(0x70), transaction(0x80)], vec![0x80], true),
        // The slot is beyond the last transaction, so that it does not come again.
        (0x48, vec![Keepalive(0x50)], vec![], false),
        (0x48, vec![transaction(0x60), transaction(0x80)], vec![0x60, 0x80], true),
        (0x60, vec![], vec![], true),
        (0x60, vec![transaction(0x60)], vec![0x60], true),
    ] {
        let expected = (applied, proven, None);
        assert_eq!(read(History::new(position(), Lsn(confirmed)), &stream), expected, "{stream:?}");
    }
}

#[test]
fn the_end_of_the_last_transaction_is_the_position_too() {
    let position = Position { lsn: Lsn(0x48), ..position() };
    let read = read(History::new(position, Lsn(0x20)), &[transaction(0x40)]);
    assert_eq!(read, (vec![], true, None));
}

#[test]
fn another_history_is_refused_before_anything_of_it_is_applied() {
    let other = |commit| vec![Transaction(commit, 0x48), transaction(0x80)];
    let last = commit(0x40);
    for (confirmed, stream, expected) in [
        // The last transaction is not there.
        (0x20, vec![Keepalive(0x48)], "does not have the last transaction that etcd has"),
        (0x20, vec![transaction(0x20), transaction(0x80)], "but transaction 828"),
        (0x40, vec![transaction(0x50)], "but transaction 780"),
        (0x40, vec![Keepalive(0x60)], "committed at 2000-01-01T00:00:00.064000Z, up to 0/48"),
        // Another one is in its place: the ID and even the LSN can be the same.
        (0x20, vec![Transaction(last, 0x49), transaction(0x80)], "but transaction 764"),
        (0x20, other(Commit { time: PgTime(1), ..last }), "00:00:00.000001Z"),
        // There is one that etcd has never had, whether or not the last one could come.
        (0x20, vec![transaction(0x40), transaction(0x58)], "has transaction 788"),
        (0x48, vec![transaction(0x58)], "none after the one"),
    ] {
        let (applied, proven, refused) = read(History::new(position(), Lsn(confirmed)), &stream);
        assert!(applied.is_empty() && !proven, "{stream:?}");
        assert!(refused.as_ref().is_some_and(|text| text.contains(expected)), "{refused:?}");
    }
}

#[test]
fn a_position_that_names_no_transaction_requires_none() {
    let position = Position { lsn: Lsn(0x60), ..Position::default() };
    for (confirmed, stream, proven) in [
        (0x20, vec![Keepalive(0x50)], false),
        (0x20, vec![transaction(0x20), transaction(0x40), Keepalive(0x60)], true),
        (0x60, vec![], true),
    ] {
        let read = read(History::new(position, Lsn(confirmed)), &stream);
        assert_eq!(read, (vec![], proven, None), "{stream:?}");
    }
}

#[test]
fn a_clock_before_2000_is_compared_as_it_was_written() {
    let early = Commit { time: PgTime(-5), ..commit(0x40) };
    let history = History::new(Position { committed_at: PgTime(0), ..position() }, Lsn(0x20));
    assert_eq!(read(history, &[Transaction(early, 0x48), Keepalive(0x60)]), (vec![], true, None));
}

/// A life of a server, and of a daemon that was interrupted somewhere in it.
#[derive(Clone, Debug)]
struct Life {
    /// The transactions, and where the log ends for now between them.
    log: Vec<Sent>,
    position: Position,
    confirmed: Lsn,
}

impl Life {
    /// What the slot sends: keepalives, and the transactions that it was not told to forget.
    fn stream(&self) -> Vec<Sent> {
        let is_sent = |sent: &&Sent| match sent {
            Transaction(commit, _) => commit.lsn >= self.confirmed,
            Keepalive(_) => true,
        };
        self.log.iter().filter(is_sent).copied().collect()
    }
}

/// Records in a row, each of which ends at or before the place where the next one begins.
fn log() -> impl Strategy<Value = Vec<Sent>> {
    prop::collection::vec((any::<bool>(), 0..3_u64, 1..9_u64), 1..40).prop_map(|records| {
        let mut end = 1;
        let records = records.into_iter().map(|(is_commit, gap, length)| {
            let begin = end + gap;
            end = begin + length;
            if is_commit { Transaction(commit(begin), end) } else { Keepalive(end) }
        });
        records.collect()
    })
}

fn life() -> impl Strategy<Value = Life> {
    (log(), any::<Index>(), any::<Index>()).prop_map(|(mut log, position, confirmed)| {
        let end = |sent: &Sent| match *sent {
            Transaction(_, end) | Keepalive(end) => Lsn(end),
        };
        let count = position.index(log.len()) + 1;
        let commit = log[..count].iter().rev().find_map(|sent| match sent {
            Transaction(commit, end) => Some((*commit, *end)),
            Keepalive(_) => None,
        });
        let lsn = end(&log[count - 1]);
        let position = commit.map_or(Position { lsn, ..Position::default() }, |(commit, end)| {
            Position { lsn, ..Position::behind(&commit, Lsn(end)) }
        });
        let confirmed = end(&log[confirmed.index(count)]);
        // The server's log reaches to the position at least: else the start had it dumped.
        let last = end(&log[log.len() - 1]);
        log.push(Keepalive(last.0));
        Life { log, position, confirmed }
    })
}

proptest! {
    #[test]
    fn the_true_history_is_never_refused(life in life()) {
        let history = History::new(life.position, life.confirmed);
        let beyond = life.log.iter().filter_map(|sent| match sent {
            Transaction(commit, _) => Some(commit.lsn.0).filter(|lsn| *lsn >= life.position.lsn.0),
            Keepalive(_) => None,
        });
        let expected = (beyond.collect::<Vec<_>>(), true, None);
        prop_assert_eq!(read(history, &life.stream()), expected);
    }

    #[test]
    fn without_the_last_transaction_it_is_always_refused(
        life in life(),
        later in 0..2_u64,
        other_time: bool,
        is_there: bool,
    ) {
        let last = life.position.commit_end;
        prop_assume!(last > life.confirmed);
        prop_assume!(later != 0 || other_time || !is_there);
        let replaced = |sent: Sent| match sent {
            Transaction(commit, end) if Lsn(end) == last => is_there.then(|| {
                let time = PgTime(commit.time.0 + i64::from(other_time));
                Transaction(Commit { time, ..commit }, end + later)
            }),
            other => Some(other),
        };
        let log = life.log.iter().copied().filter_map(replaced).collect();
        let stream = Life { log, ..life.clone() }.stream();
        let history = History::new(life.position, life.confirmed);
        let (applied, proven, refused) = read(history, &stream);
        prop_assert!(refused.is_some() && applied.is_empty() && !proven);
    }
}
