//! The status as it is printed.

use serde::Serialize;

use crate::lsn::Lsn;
use crate::state::checkpoint::Phase;

/// The status. What nobody says is `None`.
#[derive(Default, Serialize)]
pub(super) struct Report {
    pub(super) phase: Option<Phase>,
    pub(super) slot: String,
    /// The server process that streams to a daemon.
    pub(super) active_pid: Option<i32>,
    /// All that committed up to here is in etcd.
    pub(super) position: Option<Lsn>,
    pub(super) confirmed_flush_lsn: Option<Lsn>,
    pub(super) current_lsn: Option<Lsn>,
    pub(super) lag_bytes: Option<u64>,
    pub(super) lag_seconds: Option<f64>,
    /// The WAL that the server keeps for the slot.
    pub(super) retained_bytes: Option<u64>,
    pub(super) committed_at: Option<String>,
    pub(super) partial: Option<Lsn>,
    pub(super) publication: String,
    /// The tables of which etcd has the rows, as they are named in keys.
    pub(super) tables: Option<Vec<String>>,
    pub(super) dump: Option<Dump>,
    /// What is wrong or missing.
    pub(super) errors: Vec<String>,
}

/// How far a dump is.
#[derive(Serialize)]
pub(super) struct Dump {
    pub(super) tables: usize,
    pub(super) tables_done: usize,
    /// The table that is being loaded.
    pub(super) table: Option<String>,
    /// How many of its rows were read.
    pub(super) rows: Option<u64>,
    /// How many there are, by the planner's estimate.
    pub(super) estimated_rows: Option<u64>,
}

impl Report {
    /// Whether a daemon is streaming in the sync phase.
    pub(super) fn is_in_sync(&self) -> bool {
        self.active_pid.is_some() && self.phase == Some(Phase::Sync)
    }

    pub(super) fn to_json(&self) -> String {
        // Texts and numbers always have a JSON form.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// A line for each field that there is something to say of.
    pub(super) fn to_text(&self) -> String {
        let lsn = |lsn: Option<Lsn>| lsn.map(|lsn| lsn.to_string());
        let bytes = |bytes: Option<u64>| bytes.map(size);
        let phase = self.phase.map(|phase| match phase {
            Phase::Dump => "dump".to_owned(),
            Phase::Sync => "sync".to_owned(),
        });
        let pid = self.active_pid.map(|pid| pid.to_string());
        let tables = self.tables.as_ref().map(|tables| match tables.len() {
            0 => "0".to_owned(),
            count => format!("{count}: {}", tables.join(", ")),
        });
        let mut lines = vec![
            ("phase", phase, "unknown"),
            ("slot", Some(self.slot.clone()), ""),
            ("active_pid", pid, "none: no daemon streams"),
            ("position", lsn(self.position), "unknown"),
            ("confirmed_flush_lsn", lsn(self.confirmed_flush_lsn), "unknown"),
            ("current_lsn", lsn(self.current_lsn), "unknown"),
            ("lag_bytes", bytes(self.lag_bytes), "unknown"),
            ("lag_seconds", self.lag_seconds.map(|seconds| seconds.to_string()), "unknown"),
            ("retained_bytes", bytes(self.retained_bytes), "unknown"),
            ("committed_at", self.committed_at.clone(), "unknown"),
            ("publication", Some(self.publication.clone()), ""),
            ("tables", tables, "unknown"),
        ];
        let partial = self.partial.map(|lsn| format!("up to {lsn}, being written in parts"));
        lines.extend(partial.map(|partial| ("partial", Some(partial), "")));
        lines.extend(self.dump.as_ref().map(|dump| ("dump", Some(dump.to_text()), "")));
        lines.extend(self.errors.iter().map(|error| ("error", Some(error.clone()), "")));
        let line = |(name, value, missing): (&str, Option<String>, &str)| {
            // What a server says may have line breaks in it.
            let value = value.unwrap_or(missing.to_owned()).replace(char::is_control, " ");
            format!("{name:<21}{value}\n")
        };
        lines.into_iter().map(line).collect()
    }
}

impl Dump {
    fn to_text(&self) -> String {
        let Self { tables, tables_done, table, rows, estimated_rows } = self;
        let mut text = format!("{tables_done} of {tables} tables");
        if let Some(table) = table {
            text += &format!(", now {table}");
        }
        if let Some(rows) = rows {
            text += &format!(", {rows} rows");
        }
        if let Some(rows) = estimated_rows {
            text += &format!(" of about {rows}");
        }
        text
    }
}

/// A number of bytes, and what it is in the unit that reads best.
fn size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.into_iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) => format!("{bytes} ({:.1} {name})", bytes as f64 / unit as f64),
        None => bytes.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_readable() {
        for (bytes, text) in [(0, "0"), (1023, "1023"), (1536, "1536 (1.5 KiB)")] {
            assert_eq!(size(bytes), text);
        }
        assert_eq!(size(5 << 30), "5368709120 (5.0 GiB)");
    }

    #[test]
    fn what_is_unknown_is_null_and_stays_a_name() {
        let report = Report { slot: "s".to_owned(), ..Report::default() };
        let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
        for name in [
            "phase",
            "active_pid",
            "position",
            "confirmed_flush_lsn",
            "current_lsn",
            "lag_bytes",
            "lag_seconds",
            "retained_bytes",
        ] {
            assert!(json.get(name).is_some_and(serde_json::Value::is_null), "{name}");
            assert!(report.to_text().contains(&format!("\n{name} ")) || name == "phase");
        }
        assert_eq!(json["slot"], "s");
    }
}
