//! The status as it is printed.

use serde::{Serialize, Serializer};

use super::not_copied::NotCopied;
use crate::dump_progress::DumpProgress;
use crate::lsn::Lsn;
use crate::state::checkpoint::Phase;

/// The status.
#[derive(Default, Serialize)]
pub(super) struct Report {
    pub(super) phase: Fact<Phase>,
    pub(super) slot: String,
    /// The server process that streams to a daemon.
    pub(super) active_pid: Fact<i32>,
    /// All that committed up to here is in etcd.
    pub(super) position: Fact<Lsn>,
    pub(super) confirmed_flush_lsn: Fact<Lsn>,
    pub(super) current_lsn: Fact<Lsn>,
    pub(super) lag_bytes: Fact<u64>,
    pub(super) lag_seconds: Fact<f64>,
    /// The WAL that the server keeps for the slot.
    pub(super) retained_bytes: Fact<u64>,
    pub(super) committed_at: Fact<String>,
    pub(super) partial: Fact<Lsn>,
    pub(super) publication: String,
    /// The tables of which etcd has the rows, as they are named in keys.
    pub(super) tables: Fact<Vec<String>>,
    pub(super) dump: Fact<Dump>,
    /// The published tables that etcd lacks.
    pub(super) not_copied: Fact<Vec<NotCopied>>,
    /// The rows, by their keys, that were left out since no request can hold them.
    pub(super) oversized: Fact<Vec<String>>,
    /// Whether the slot is ahead of the position.
    #[serde(skip)]
    pub(super) gap: bool,
    /// How fast it goes, if it was looked at before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rates: Option<Rates>,
    /// What is wrong or missing.
    pub(super) errors: Vec<String>,
}

/// What one end says of a thing.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Fact<T> {
    /// That end could not be asked.
    #[default]
    Unknown,
    /// There is no such thing.
    Absent,
    /// This.
    Is(T),
}

impl<T> From<Option<T>> for Fact<T> {
    /// What an end that was asked has said.
    fn from(said: Option<T>) -> Self {
        said.map_or(Self::Absent, Self::Is)
    }
}

impl<T> Fact<T> {
    /// The thing, if there is one and it is known.
    pub(super) fn known(&self) -> Option<&T> {
        match self {
            Self::Is(value) => Some(value),
            Self::Unknown | Self::Absent => None,
        }
    }

    /// In words, `absent` being those for a thing that is not there.
    fn words(&self, absent: &str, words: impl FnOnce(&T) -> String) -> String {
        match self {
            Self::Unknown => "unknown".to_owned(),
            Self::Absent => absent.to_owned(),
            Self::Is(value) => words(value),
        }
    }
}

impl<T: Serialize> Serialize for Fact<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Unknown => serializer.serialize_str("unknown"),
            Self::Absent => serializer.serialize_none(),
            Self::Is(value) => value.serialize(serializer),
        }
    }
}

/// How far a dump is.
#[derive(Clone, Serialize)]
pub(super) struct Dump {
    pub(super) tables: usize,
    pub(super) tables_done: usize,
    /// The table that is being loaded.
    pub(super) table: Option<String>,
    /// How many of its rows were read.
    pub(super) rows: Option<u64>,
    /// How many there are, by the planner's estimate.
    pub(super) estimated_rows: Option<u64>,
    /// How long the rest takes at the pace so far.
    pub(super) seconds_left: Option<u64>,
}

/// What was gained between two looks, by the second; what one of them does not know is `None`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Rates {
    /// WAL that PostgreSQL has written.
    pub(super) current_bytes_per_second: Option<f64>,
    /// WAL of which etcd has got everything.
    pub(super) position_bytes_per_second: Option<f64>,
    /// Rows that the dump has read.
    pub(super) rows_per_second: Option<f64>,
}

impl Report {
    /// Whether a daemon is streaming in the sync phase.
    pub(super) fn is_in_sync(&self) -> bool {
        self.active_pid.known().is_some() && self.phase == Fact::Is(Phase::Sync)
    }

    /// Whether, beside that, nothing that is published is missing.
    pub(super) fn is_whole(&self) -> bool {
        let all_copied = matches!(&self.not_copied, Fact::Is(tables) if tables.is_empty());
        let all_rows = matches!(&self.oversized, Fact::Is(keys) if keys.is_empty());
        self.is_in_sync() && all_copied && all_rows && !self.gap
    }

    pub(super) fn to_json(&self) -> String {
        // Texts and numbers always have a JSON form.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// A line for each field that there is something to say of.
    pub(super) fn to_text(&self) -> String {
        const NEVER: &str = "never copied";
        let rates = self.rates.as_ref();
        let with_rate = |text: String, rate: Option<f64>| match rate {
            Some(rate) => format!("{text} ({}/s)", size(rate.max(0.0) as u64)),
            None => text,
        };
        let lsn = |lsn: &Lsn| lsn.to_string();
        let position = |position: &Lsn| {
            with_rate(lsn(position), rates.and_then(|rates| rates.position_bytes_per_second))
        };
        let current = |current: &Lsn| {
            with_rate(lsn(current), rates.and_then(|rates| rates.current_bytes_per_second))
        };
        let tables = |tables: &Vec<String>| match tables.len() {
            0 => "0".to_owned(),
            count => format!("{count}: {}", tables.join(", ")),
        };
        let bytes = |bytes: &u64| counted(*bytes);
        let mut lines = vec![
            ("phase", self.phase.words(NEVER, ToString::to_string)),
            ("slot", self.slot.clone()),
            ("active_pid", self.active_pid.words("none: no daemon streams", ToString::to_string)),
            ("position", self.position.words(NEVER, position)),
            ("confirmed_flush_lsn", self.confirmed_flush_lsn.words("none", lsn)),
            ("current_lsn", self.current_lsn.words("none", current)),
            ("lag_bytes", self.lag_bytes.words(NEVER, bytes)),
            ("lag_seconds", self.lag_seconds.words(NEVER, ToString::to_string)),
            ("retained_bytes", self.retained_bytes.words("none", bytes)),
            ("committed_at", self.committed_at.words(NEVER, Clone::clone)),
            ("publication", self.publication.clone()),
            ("tables", self.tables.words("none", tables)),
        ];
        if let Fact::Is(partial) = &self.partial {
            lines.push(("partial", format!("up to {partial}, being written in parts")));
        }
        if let Fact::Is(dump) = &self.dump {
            lines.push(("dump", dump.to_text(rates.and_then(|rates| rates.rows_per_second))));
        }
        for NotCopied { table, reason } in self.not_copied.known().into_iter().flatten() {
            let table = table.as_ref().map_or_else(String::new, |table| format!("{table}: "));
            lines.push(("not_copied", format!("{table}{reason}")));
        }
        for key in self.oversized.known().into_iter().flatten() {
            lines.push(("oversized", format!("{key}: no request can hold the row")));
        }
        lines.extend(self.errors.iter().map(|error| ("error", error.clone())));
        let line = |(name, value): (&str, String)| {
            // What a server says may have line breaks in it.
            format!("{name:<21}{}\n", value.replace(char::is_control, " "))
        };
        lines.into_iter().map(line).collect()
    }
}

impl Dump {
    fn to_text(&self, rows_per_second: Option<f64>) -> String {
        let Self { tables, tables_done, ref table, rows, estimated_rows, seconds_left } = *self;
        let table = table.as_deref();
        DumpProgress {
            tables,
            tables_done,
            table,
            rows,
            estimated_rows,
            rows_per_second,
            seconds_left,
        }
        .to_string()
    }
}

/// A number of bytes, and what it is in the unit that reads best.
fn counted(bytes: u64) -> String {
    match bytes {
        ..1024 => bytes.to_string(),
        _ => format!("{bytes} ({})", size(bytes)),
    }
}

/// A number of bytes in the unit that reads best.
fn size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.into_iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) => format!("{:.1} {name}", bytes as f64 / unit as f64),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names that are always there.
    const NAMES: [&str; 8] = [
        "phase",
        "active_pid",
        "position",
        "confirmed_flush_lsn",
        "current_lsn",
        "lag_bytes",
        "lag_seconds",
        "retained_bytes",
    ];

    #[test]
    fn sizes_are_readable() {
        for (bytes, text) in [(0, "0"), (1023, "1023"), (1536, "1536 (1.5 KiB)")] {
            assert_eq!(counted(bytes), text);
        }
        assert_eq!(counted(5 << 30), "5368709120 (5.0 GiB)");
        assert_eq!(size(7), "7 B");
    }

    #[test]
    fn what_could_not_be_asked_is_unknown() {
        let report = Report { slot: "s".to_owned(), ..Report::default() };
        let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
        let text = report.to_text();
        for name in NAMES {
            assert_eq!(json[name], "unknown", "{name}");
            assert!(text.contains(&format!("{name:<21}unknown\n")), "{name}: {text}");
        }
        assert_eq!(json["slot"], "s");
        assert!(!text.contains("no daemon streams"), "{text}");
    }

    #[test]
    fn what_is_not_there_is_null_and_said_so() {
        let report = Report {
            phase: Fact::Absent,
            active_pid: Fact::Absent,
            position: Fact::Absent,
            lag_bytes: Fact::Absent,
            ..Report::default()
        };
        let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
        for name in ["phase", "active_pid", "position", "lag_bytes"] {
            assert!(json.get(name).is_some_and(serde_json::Value::is_null), "{name}");
        }
        let text = report.to_text();
        assert!(text.contains("active_pid           none: no daemon streams\n"), "{text}");
        assert!(text.starts_with("phase                never copied\n"), "{text}");
    }

    #[test]
    fn rates_stand_beside_what_moves() {
        let rates = Rates {
            position_bytes_per_second: Some(2048.0),
            current_bytes_per_second: None,
            rows_per_second: Some(10.4),
        };
        let dump = Dump {
            tables: 2,
            tables_done: 1,
            table: None,
            rows: None,
            estimated_rows: None,
            seconds_left: None,
        };
        let report = Report {
            position: Fact::Is(Lsn(0x10)),
            current_lsn: Fact::Is(Lsn(0x20)),
            dump: Fact::Is(dump),
            rates: Some(rates),
            ..Report::default()
        };
        let text = report.to_text();
        assert!(text.contains("position             0/10 (2.0 KiB/s)\n"), "{text}");
        assert!(text.contains("current_lsn          0/20\n"), "{text}");
        assert!(text.contains("dump                 1 of 2 tables (10 rows/s)\n"), "{text}");
    }
}
