//! The replication commands (manual, "Streaming Replication Protocol").

use super::connection::Connection;
use super::copy_both::{FrameReader, StatusWriter};
use super::message::COPY_BOTH_RESPONSE;
use crate::error::{Error, Result};
use crate::lsn::Lsn;
use crate::sqlstate;

/// The answer to `IDENTIFY_SYSTEM`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemIdentity {
    /// The cluster's identifier, the same on its standbys; a decimal number.
    pub system_identifier: String,
    /// The timeline that the server is on.
    pub timeline: u32,
    /// Up to where it has flushed its write-ahead log.
    pub flushed: Lsn,
    /// The database of this connection.
    pub database: Option<String>,
}

/// One line of a timeline's history: an older timeline, and where it was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimelineSwitch {
    /// The timeline that was left.
    pub timeline: u32,
    /// The position from which on the next timeline has its own write-ahead log.
    pub switch_point: Lsn,
}

/// How long a slot lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotKind {
    /// Until it is dropped.
    Persistent {
        /// Whether standbys keep a copy of it, to go on with after a failover. Servers before
        /// version 17 cannot, and make the slot without.
        failover: bool,
    },
    /// Until the connection ends, or a command on it fails.
    Temporary,
}

/// A slot that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedSlot {
    /// The stream has what commits after this position, the snapshot what committed before it.
    pub consistent_point: Lsn,
    /// The exported snapshot's name, for `SET TRANSACTION SNAPSHOT`. It can be imported until the
    /// next command on the connection, or its end.
    pub snapshot: String,
}

/// The first version with failover slots.
const FAILOVER_VERSION: u32 = 170_000;

impl Connection<'_> {
    /// Asks the server who it is.
    ///
    /// # Errors
    /// As [`Self::simple_query`].
    pub fn identify_system(&mut self) -> Result<SystemIdentity> {
        let doing = "identifying the system";
        let rows = self.simple_query(doing, "IDENTIFY_SYSTEM")?;
        let identity = match rows.into_iter().next().as_deref() {
            Some([Some(system_identifier), Some(timeline), Some(flushed), database]) => {
                timeline.parse().ok().zip(flushed.parse().ok()).map(|(timeline, flushed)| {
                    let (system_identifier, database) =
                        (system_identifier.clone(), database.clone());
                    SystemIdentity { system_identifier, timeline, flushed, database }
                })
            }
            _ => None,
        };
        identity.ok_or_else(|| self.wait(doing).protocol_error("not a system's identity"))
    }

    /// The timelines that came before `timeline`, oldest first. The first timeline has none.
    ///
    /// # Errors
    /// As [`Self::simple_query`]; the server has no history of a timeline that it was never on.
    pub fn timeline_history(&mut self, timeline: u32) -> Result<Vec<TimelineSwitch>> {
        if timeline == 1 {
            return Ok(Vec::new());
        }
        let doing = format!("reading the history of timeline {timeline}");
        let rows = self.simple_query(&doing, &format!("TIMELINE_HISTORY {timeline}"))?;
        let history = match rows.first().map(Vec::as_slice) {
            Some([_, Some(content)]) => parse_history(content),
            _ => None,
        };
        history.ok_or_else(|| self.wait(&doing).protocol_error("not a timeline's history"))
    }

    /// The server process of this connection.
    ///
    /// # Errors
    /// As [`Self::simple_query`].
    pub fn backend_pid(&mut self) -> Result<i32> {
        let doing = "asking for the server process";
        let rows = self.simple_query(doing, "SELECT pg_backend_pid()")?;
        let pid = match rows.first().map(Vec::as_slice) {
            Some([Some(pid)]) => pid.parse().ok(),
            _ => None,
        };
        pid.ok_or_else(|| self.wait(doing).protocol_error("not a process"))
    }

    /// Makes a logical slot for `pgoutput` and exports the snapshot of its consistent point.
    ///
    /// It waits for the end of every transaction that is writing when it begins.
    ///
    /// # Errors
    /// As [`Self::simple_query`]: the slot may exist (42710), or `wal_level` be too low (55000).
    pub fn create_slot(&mut self, slot: &str, kind: SlotKind) -> Result<CreatedSlot> {
        let doing = format!("making the replication slot {slot}");
        let slot = quoted(slot, '"');
        let command = match kind {
            SlotKind::Temporary => {
                format!("CREATE_REPLICATION_SLOT {slot} TEMPORARY LOGICAL pgoutput EXPORT_SNAPSHOT")
            }
            SlotKind::Persistent { failover: true }
                if self.server_version_num() >= FAILOVER_VERSION =>
            {
                format!(
                    "CREATE_REPLICATION_SLOT {slot} LOGICAL pgoutput (SNAPSHOT 'export', FAILOVER)"
                )
            }
            SlotKind::Persistent { .. } => {
                format!("CREATE_REPLICATION_SLOT {slot} LOGICAL pgoutput EXPORT_SNAPSHOT")
            }
        };
        let rows = self.simple_query(&doing, &command)?;
        let created = match rows.into_iter().next().as_deref() {
            Some([_, Some(consistent_point), Some(snapshot), ..]) => {
                consistent_point.parse().ok().map(|consistent_point| CreatedSlot {
                    consistent_point,
                    snapshot: snapshot.clone(),
                })
            }
            _ => None,
        };
        created.ok_or_else(|| self.wait(&doing).protocol_error("not a slot"))
    }

    /// Begins the stream of `slot`, with the changes of `publication` whose commit records begin at
    /// the slot's `confirmed_flush_lsn` or later. This ends an exported snapshot.
    ///
    /// # Errors
    /// [`Error::SlotInUse`] if another process streams from the slot, else as
    /// [`Self::simple_query`].
    pub fn start_replication(
        mut self,
        slot: &str,
        publication: &str,
    ) -> Result<(FrameReader, StatusWriter)> {
        let doing = format!("streaming from the replication slot {slot}");
        let wait = self.wait(&doing);
        // The publications are a list of identifiers inside a string.
        let publications = quoted(&quoted(publication, '"'), '\'');
        // A place before that of the slot means the slot's.
        let command = format!(
            "START_REPLICATION SLOT {} LOGICAL 0/0 (proto_version '1', publication_names {publications})",
            quoted(slot, '"'),
        );
        self.send_query(&command, &wait)?;
        match self.receive(&wait).map_err(|error| slot_in_use(slot, error))? {
            COPY_BOTH_RESPONSE => {}
            tag => return Err(wait.unexpected(tag)),
        }
        let stream = self.messages.stream.try_clone().map_err(|error| wait.io_error(error))?;
        Ok((FrameReader::new(self.messages, doing), StatusWriter::new(stream)))
    }
}

/// Doubles each quote inside and puts one at both ends.
fn quoted(text: &str, quote: char) -> String {
    let inside = text.replace(quote, &format!("{quote}{quote}"));
    format!("{quote}{inside}{quote}")
}

/// Tells `object_in_use` from other refusals. The process is at the end of the message.
fn slot_in_use(slot: &str, error: Error) -> Error {
    match error {
        Error::PostgresServer { answer, .. } if answer.code == sqlstate::OBJECT_IN_USE => {
            Error::SlotInUse {
                slot: slot.to_owned(),
                pid: answer.message.rsplit(' ').next().and_then(|word| word.parse().ok()),
            }
        }
        other => other,
    }
}

/// The lines of a history file: a timeline, its switch point and a remark, tabs between;
/// `#` begins a comment.
fn parse_history(content: &str) -> Option<Vec<TimelineSwitch>> {
    let lines =
        content.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let mut fields = line.split_whitespace();
            let timeline = fields.next()?.parse().ok()?;
            let switch_point = fields.next()?.parse().ok()?;
            Some(TimelineSwitch { timeline, switch_point })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::error::ServerAnswer;

    #[test]
    fn a_history_is_read_line_by_line() {
        let content = "1\t0/3000000\tno recovery target specified\n\n# a comment\n\
                       2\t1/A0000B8\tbefore 2000-01-01 00:00:00+00\n";
        let switches = [(1, Lsn(0x300_0000)), (2, Lsn(0x1_0A00_00B8))]
            .map(|(timeline, switch_point)| TimelineSwitch { timeline, switch_point });
        assert_eq!(parse_history(content), Some(switches.to_vec()));
        assert_eq!(parse_history(""), Some(Vec::new()));
        for content in ["1", "x\t0/1\ty", "1\t0-1\ty"] {
            assert_eq!(parse_history(content), None, "{content:?}");
        }
    }

    #[test]
    fn quotes_inside_are_doubled() {
        assert_eq!(quoted("a\"b", '"'), "\"a\"\"b\"");
        assert_eq!(quoted(&quoted("it's", '"'), '\''), "'\"it''s\"'");
    }

    #[test]
    fn the_holder_of_a_slot_is_named_if_the_server_names_it() {
        for (message, expected) in
            [("replication slot \"s\" is active for PID 4711", Some(4711)), ("in use", None)]
        {
            let answer = Box::new(ServerAnswer {
                code: sqlstate::OBJECT_IN_USE.to_owned(),
                message: message.to_owned(),
                ..ServerAnswer::default()
            });
            let error = Error::PostgresServer { doing: String::new(), answer };
            match slot_in_use("s", error) {
                Error::SlotInUse { slot, pid } => assert_eq!((slot.as_str(), pid), ("s", expected)),
                other => panic!("{other}"),
            }
        }
    }

    proptest! {
        #[test]
        fn no_history_panics(content: String) {
            let _ = parse_history(&content);
        }
    }
}
