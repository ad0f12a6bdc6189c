//! The position: how far etcd has got, kept in etcd itself beside the rows that it speaks of.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::etcd::{Client, KeyValue, Txn};
use crate::lsn::Lsn;
use crate::position::{Commit, Position};

/// The version of the position's form that this program writes, and the latest that it reads.
pub const VERSION: u32 = 1;

/// The position, a JSON object in etcd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The version of this form, 1.
    pub version: u32,
    /// Whether the rows of all tables are in etcd.
    pub phase: Phase,
    /// All that committed up to here is in etcd; in the dump phase, will be once it is done.
    pub lsn: Lsn,
    /// The timeline that `lsn` is on.
    pub timeline: u32,
    /// The PostgreSQL cluster's identifier, a decimal number.
    pub system_identifier: String,
    /// The database's name.
    pub database: String,
    /// The replication slot.
    pub slot: String,
    /// The publication.
    pub publication: String,
    /// Whether pg2etcd made the publication.
    pub made_publication: bool,
    /// What the rows' keys are below.
    pub path: String,
    /// When the last transaction up to `lsn` committed, RFC 3339 in UTC.
    pub committed_at: String,
    /// That transaction, to be recognised when the stream has it again; `None` if etcd has none
    /// since the dump, or if a version before 0.2 put the position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_commit: Option<LastCommit>,
    /// Who put it: a text that a daemon makes for each time that it takes the position over. By it a
    /// daemon tells a txn of its own, whose reply was lost, from another daemon's.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub writer: String,
    /// The commit LSN of an oversized transaction of which parts are in etcd; present only while
    /// it is being written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partial: Option<Lsn>,
}

/// The last transaction that etcd has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastCommit {
    /// Where its commit record begins.
    pub lsn: Lsn,
    /// Its ID.
    pub xid: u32,
}

/// What pg2etcd does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// It loads the tables. Found at a start, it means that a dump was not finished.
    Dump,
    /// It follows the stream.
    Sync,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dump => "dump",
            Self::Sync => "sync",
        })
    }
}

impl Checkpoint {
    /// The position's key below `state_path`.
    #[must_use]
    pub fn key(state_path: &str) -> String {
        format!("/{state_path}/checkpoint")
    }

    /// Reads the position, with its `mod_revision`; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if it cannot be understood; those of etcd.
    pub fn read(client: &mut Client, key: &str) -> Result<Option<(Self, i64)>> {
        let Some(found) = client.get(key.as_bytes())? else { return Ok(None) };
        Ok(Some((Self::from_etcd(&found)?, found.mod_revision)))
    }

    /// The position that etcd holds under its key.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if it cannot be understood.
    pub fn from_etcd(found: &KeyValue) -> Result<Self> {
        Self::parse(&found.value).map_err(|problem| {
            let key = String::from_utf8_lossy(&found.key).into_owned();
            Error::Checkpoint { key, problem }
        })
    }

    /// Whether all that committed up to `lsn` is in etcd.
    #[must_use]
    pub fn covers(&self, lsn: Lsn) -> bool {
        // While it dumps, the position says where it will be. What is there of a transaction that
        // is being written in parts is beyond the position.
        self.phase == Phase::Sync && self.lsn >= lsn
    }

    /// What makes it the position of another copy than that of this database below this path.
    #[must_use]
    pub fn another_copy(
        &self,
        system_identifier: &str,
        database: &str,
        path: &str,
    ) -> Option<String> {
        let (what, there, here) = [
            ("the PostgreSQL cluster", self.system_identifier.as_str(), system_identifier),
            ("the database", self.database.as_str(), database),
            ("the path", self.path.as_str(), path),
        ]
        .into_iter()
        .find(|(_, there, here)| there != here)?;
        Some(format!("{what} is {there} there and {here} here"))
    }

    /// Puts the position if the one before it still has this `mod_revision`, and returns the new
    /// one.
    ///
    /// # Errors
    /// [`Error::Fenced`] if it has not; those of etcd, after which it may have been put.
    pub fn put(&self, client: &mut Client, key: &str, mod_revision: i64) -> Result<i64> {
        let mut txn = Txn::new();
        txn.put(key.as_bytes(), &self.to_json());
        txn.compare_mod_revision(key.as_bytes(), mod_revision);
        let reply = client.txn(&mut txn)?;
        match reply.succeeded {
            true => Ok(reply.revision),
            false => Err(Error::Fenced { key: key.to_owned() }),
        }
    }

    /// The position as it stands in etcd.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // Texts and numbers always have a JSON form.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The position moved to another place in the stream.
    #[must_use]
    pub fn at(&self, position: Position, partial: Option<Lsn>) -> Self {
        let Position { lsn, commit: Commit { lsn: commit_lsn, xid, time } } = position;
        let last_commit = (xid != 0).then_some(LastCommit { lsn: commit_lsn, xid });
        Self { lsn, committed_at: time.to_string(), last_commit, partial, ..self.clone() }
    }

    /// The place in the stream.
    #[must_use]
    pub fn position(&self) -> Position {
        let LastCommit { lsn, xid } =
            self.last_commit.unwrap_or(LastCommit { lsn: Lsn(0), xid: 0 });
        let time = self.committed_at.parse().unwrap_or_default();
        Position { lsn: self.lsn, commit: Commit { lsn, xid, time } }
    }

    fn parse(json: &[u8]) -> std::result::Result<Self, String> {
        /// The one field that every version has.
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }

        const CURE: &str = "it is left as it is; to begin anew, delete the key";
        let malformed = |error: serde_json::Error| format!("not a position ({error}); {CURE}");
        let Versioned { version } = serde_json::from_slice(json).map_err(malformed)?;
        if version > VERSION {
            return Err(format!(
                "a later pg2etcd wrote it (version {version}, this one reads up to {VERSION}); \
                 run that one, or, {CURE}"
            ));
        }
        serde_json::from_slice(json).map_err(malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::PgTime;

    fn checkpoint() -> Checkpoint {
        Checkpoint {
            version: VERSION,
            phase: Phase::Sync,
            lsn: Lsn(0x16B_6C50),
            timeline: 2,
            system_identifier: "7312345678901234567".to_owned(),
            database: "shop".to_owned(),
            slot: "pg2etcd".to_owned(),
            publication: "pg2etcd".to_owned(),
            made_publication: true,
            path: "shop".to_owned(),
            committed_at: "2026-01-02T03:04:05.678901Z".to_owned(),
            last_commit: None,
            writer: String::new(),
            partial: None,
        }
    }

    #[test]
    fn the_form_is_the_documented_one() {
        let json = concat!(
            r#"{"version":1,"phase":"sync","lsn":"0/16B6C50","timeline":2,"#,
            r#""system_identifier":"7312345678901234567","database":"shop","slot":"pg2etcd","#,
            r#""publication":"pg2etcd","made_publication":true,"path":"shop","#,
            r#""committed_at":"2026-01-02T03:04:05.678901Z"}"#
        );
        assert_eq!(String::from_utf8_lossy(&checkpoint().to_json()), json);
        assert_eq!(Checkpoint::parse(json.as_bytes()), Ok(checkpoint()));
    }

    #[test]
    fn a_place_in_the_stream_survives() {
        let commit = Commit { lsn: Lsn(0x18), xid: 7, time: PgTime(820_724_645_678_901) };
        let position = Position { lsn: Lsn(0x20), commit };
        let moved = checkpoint().at(position, Some(Lsn(0x30)));
        assert_eq!(moved.committed_at, "2026-01-03T03:04:05.678901Z");
        assert_eq!(moved.position(), position);
        let json = moved.to_json();
        assert!(json.ends_with(br#","last_commit":{"lsn":"0/18","xid":7},"partial":"0/30"}"#));
        assert_eq!(Checkpoint::parse(&json), Ok(moved));
    }

    #[test]
    fn what_is_no_position_is_refused() {
        for (json, expected) in [
            ("", "not a position"),
            ("[1]", "not a position"),
            (r#"{"version":1}"#, "missing field `phase`"),
            (r#"{"version":2,"whatever":1}"#, "a later pg2etcd wrote it (version 2"),
        ] {
            let problem = Checkpoint::parse(json.as_bytes()).expect_err("no position");
            assert!(problem.contains(expected), "{problem}");
        }
    }
}
