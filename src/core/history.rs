//! Whether the server has the history that etcd is a copy of.
//!
//! LSNs of two histories compare well and mean nothing: a server whose disk was restored from a
//! snapshot may be ahead of the position again, with other transactions before it. So the stream
//! begins at the slot's `confirmed_flush_lsn`, at or before the position, and the last transaction
//! that etcd has is to come again, where etcd says, before anything beyond it is believed.

use crate::error::{Error, Result};
use crate::lsn::Lsn;
use crate::position::{Commit, Position};

/// Tells the transactions that etcd has from those that it lacks, and another history from its own.
#[derive(Debug)]
pub struct History {
    /// How far etcd is.
    position: Position,
    /// Whether the last transaction that etcd has is still to come.
    awaited: bool,
    /// The transaction that is coming in, and what becomes of it.
    open: Option<(Commit, Verdict)>,
    /// Whether the stream has come to the position.
    proven: bool,
}

/// What becomes of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// etcd has it.
    Skip,
    /// etcd lacks it.
    Apply,
}

impl History {
    /// What is to be seen of a stream that begins at `confirmed`, the slot's `confirmed_flush_lsn`,
    /// while etcd is at `position`.
    ///
    /// The server sends the transactions whose commit record begins there or later. The last one
    /// that etcd has may be before that: then the slot, which was acknowledged beyond it, stands
    /// for it. A position may name none: it was put by a dump, or by a version before 0.2.
    #[must_use]
    pub fn new(position: Position, confirmed: Lsn) -> Self {
        let awaited = position.commit_end > confirmed;
        Self { position, awaited, open: None, proven: confirmed >= position.lsn }
    }

    /// Takes note that a transaction begins.
    ///
    /// # Errors
    /// [`Error::AnotherHistory`] if the history that etcd has a copy of has no such transaction here.
    pub fn begin(&mut self, commit: Commit) -> Result<Verdict> {
        let Position { lsn, commit_end, .. } = self.position;
        if commit.lsn >= commit_end {
            if self.awaited {
                return Err(self.lacks_the_last(Some(commit)));
            }
            if commit_end != Lsn(0) && commit.lsn < lsn {
                return Err(Error::AnotherHistory(format!(
                    "the server has {} before {lsn}, where etcd is, and etcd has none after {}: {CAUSES}",
                    described(commit),
                    self.last(),
                )));
            }
        }
        let verdict = if commit.lsn < lsn { Verdict::Skip } else { Verdict::Apply };
        self.proven |= verdict == Verdict::Apply;
        self.open = Some((commit, verdict));
        Ok(verdict)
    }

    /// Whether the transaction that is coming in is one that etcd has.
    #[must_use]
    pub fn skips(&self) -> bool {
        matches!(self.open, Some((_, Verdict::Skip)))
    }

    /// Takes note that the transaction is complete; its commit record ends at `end_lsn`.
    ///
    /// # Errors
    /// [`Error::AnotherHistory`] if it stands in the place of the last transaction that etcd has.
    pub fn end(&mut self, end_lsn: Lsn) -> Result<()> {
        let open = self.open.take();
        if let (true, Some((commit, _))) =
            (self.awaited && end_lsn >= self.position.commit_end, open)
        {
            // After a restore the next transaction may well have the place that the next one had before:
            // what tells the two apart is the time. It is compared as the position writes it, which has no
            // form for years before 2000.
            let is_same = end_lsn == self.position.commit_end
                && commit.time.to_string() == self.position.committed_at.to_string();
            if !is_same {
                return Err(self.lacks_the_last(Some(commit)));
            }
            self.awaited = false;
        }
        self.proven |= !self.awaited && end_lsn >= self.position.lsn;
        Ok(())
    }

    /// Takes note that the server has sent all that committed before `wal_end`. Inside a
    /// transaction this says nothing.
    ///
    /// # Errors
    /// [`Error::AnotherHistory`] if the last transaction that etcd has should have come before.
    pub fn keepalive(&mut self, wal_end: Lsn) -> Result<()> {
        if self.open.is_some() {
            return Ok(());
        }
        if self.awaited && wal_end >= self.position.commit_end {
            return Err(self.lacks_the_last(None));
        }
        self.proven |= wal_end >= self.position.lsn;
        Ok(())
    }

    /// Whether the stream has come to the position, and nothing spoke against it. Until then the
    /// server must not hear that etcd is further than the slot: after a restart it would not send
    /// again what is to be seen.
    #[must_use]
    pub fn is_proven(&self) -> bool {
        self.proven
    }

    fn lacks_the_last(&self, instead: Option<Commit>) -> Error {
        let instead =
            instead.map_or_else(String::new, |other| format!(", but {}", described(other)));
        Error::AnotherHistory(format!(
            "the server does not have the last transaction that etcd has, {}{instead}: {CAUSES}",
            self.last()
        ))
    }

    fn last(&self) -> String {
        let Position { commit_end, committed_at, .. } = self.position;
        format!("the one that committed at {committed_at}, up to {commit_end}")
    }
}

/// How it comes that a server has another history.
const CAUSES: &str = "it is a clone, or was restored from an older copy, and went its own way";

fn described(Commit { lsn, xid, time }: Commit) -> String {
    format!("transaction {xid} that committed at {lsn}, {time}")
}

#[cfg(test)]
mod tests;
