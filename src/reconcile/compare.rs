//! How the rows of a table and what etcd has of it differ.
//!
//! Both are read in the order of the keys' bytes, and neither is ever held as a whole: the rows are
//! cut into stretches, and some readers compare one stretch each, side by side. A range of etcd
//! that is as long as its rows is read several times faster than the pages of a long one.

use std::collections::VecDeque;
use std::thread::{self, Builder};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::finding::Finding;
use super::rows::Rows;
use super::stored::Stored;
use super::stretch::{Findings, Stretch, Stretches};
use crate::error::{Error, Result};
use crate::etcd::prefix_end;
use crate::mapping::Keyspace;

/// Compares the rows, in the order of their keys, which are in this keyspace, with what is stored,
/// and tells `sink` of each key, in this order. So many `readers` read what is stored.
pub(crate) fn compare(
    rows: Rows<'_>,
    keyspace: &Keyspace,
    stored: &Stored<'_>,
    readers: usize,
    mut sink: impl FnMut(Finding<'_>) -> Result<()>,
) -> Result<()> {
    let (jobs, queue) = unbounded();
    thread::scope(|scope| {
        for reader in 0..readers {
            let (queue, stored) = (&queue, stored.clone());
            Builder::new()
                .name(format!("compare {reader}"))
                .spawn_scoped(scope, move || read(queue, keyspace, stored))
                .map_err(|source| Error::System { doing: "starting a reader".into(), source })?;
        }
        // When this ends early, so do the readers: their queue does.
        let jobs = jobs;
        let mut stretches = Stretches::new(rows, keyspace.prefix(), prefix_end(keyspace.prefix()));
        let mut under_way = VecDeque::new();
        while let Some(stretch) = stretches.next()? {
            let (found, findings) = bounded(1);
            // The readers are there as long as there are jobs.
            let _ = jobs.send(Job { stretch, found });
            under_way.push_back(findings);
            if under_way.len() > readers {
                tell(under_way.pop_front(), &mut sink)?;
            }
        }
        under_way.into_iter().try_for_each(|findings| tell(Some(findings), &mut sink))
    })
}

/// A stretch to be compared.
struct Job {
    stretch: Stretch,
    /// Gets what was found, piece by piece.
    found: Sender<Result<Findings>>,
}

/// Compares stretches until there are no more.
fn read(queue: &Receiver<Job>, keyspace: &Keyspace, mut stored: Stored<'_>) {
    for Job { stretch, found } in queue {
        let tell = |findings| found.send(findings).map_err(|_| Error::Stopped);
        if let Err(error) = stretch.compare(keyspace, &mut stored, |findings| tell(Ok(findings))) {
            // Nobody may be left to hear it.
            let _ = tell(Err(error));
        }
    }
}

/// Tells of all that is found in one stretch.
fn tell(
    findings: Option<Receiver<Result<Findings>>>,
    sink: &mut impl FnMut(Finding<'_>) -> Result<()>,
) -> Result<()> {
    for findings in findings.into_iter().flatten() {
        findings?.iter().try_for_each(&mut *sink)?;
    }
    Ok(())
}
