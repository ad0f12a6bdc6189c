//! `/status.json`: all that the page shows. pg2etcd-metrics(8) describes each member.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use log::Level;
use serde::Serialize;

use super::ends::Ends;
use super::history::{Graphs, Rates, Totals};
use super::tables::TableView;
use super::{Activity, Status, lock};
use crate::logging;
use crate::lsn::Lsn;

/// How many tables are listed at most: those that are not copied, and those that changed last.
const MOST_TABLES: usize = 1000;

/// What the daemon does, as of now.
#[derive(Serialize)]
pub(super) struct Report {
    pub(super) version: &'static str,
    pub(super) process: u32,
    pub(super) time: String,
    pub(super) uptime_seconds: u64,
    #[serde(flatten)]
    pub(super) ends: Ends,
    pub(super) phase: &'static str,
    pub(super) healthy: bool,
    pub(super) unhealthy: Option<String>,
    pub(super) ready: bool,
    pub(super) unready: Option<String>,
    pub(super) error: Option<String>,
    pub(super) position: Option<Lsn>,
    pub(super) received_lsn: Option<Lsn>,
    pub(super) confirmed_flush_lsn: Option<Lsn>,
    pub(super) lag_bytes: Option<u64>,
    pub(super) lag_seconds: Option<f64>,
    pub(super) etcd_silence_seconds: Option<f64>,
    pub(super) rates: Rates,
    pub(super) totals: Totals,
    pub(super) dump: Option<Dump>,
    pub(super) memory_bytes: Option<u64>,
    pub(super) table_count: usize,
    pub(super) tables: Vec<Table>,
    pub(super) log: Vec<Line>,
    pub(super) samples: Graphs,
}

/// How far a dump is.
#[derive(Serialize)]
pub(super) struct Dump {
    pub(super) rows: u64,
    pub(super) estimated_rows: u64,
}

/// A table that is copied or should be.
#[derive(Serialize)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) state: &'static str,
    pub(super) reason: Option<String>,
    pub(super) rows: Option<u64>,
    pub(super) changes: u64,
    pub(super) changed_at: Option<String>,
}

/// A line of the log.
#[derive(Serialize)]
pub(super) struct Line {
    pub(super) time: String,
    pub(super) level: &'static str,
    pub(super) message: String,
}

impl Status {
    /// All that there is to show.
    pub(super) fn report(&self, now: Instant) -> Report {
        let activity = self.activity();
        let ills = self.ills(now).join("; ");
        let unready = self.unready(now);
        let (position, received) = (self.position(), self.received());
        // Before the first stream nobody knows where etcd is.
        let known = |lsn: Lsn| (lsn != Lsn(0)).then_some(lsn);
        let is_known = known(position).is_some();
        // Taken here, one after the other: a guard in the expression below would last as long as it.
        let error = self.trouble().as_ref().map(|trouble| trouble.text.clone());
        let ends = lock(&self.ends).clone();
        // It is asked in a sync only.
        let answered = lock(&self.etcd_answered).filter(|_| activity == Activity::Syncing);
        let tables = self.listed_tables();
        let (rates, samples) = {
            let history = lock(&self.history);
            (history.rates(), history.graphs())
        };
        Report {
            version: env!("CARGO_PKG_VERSION"),
            process: std::process::id(),
            time: humantime::format_rfc3339_millis(std::time::SystemTime::now()).to_string(),
            uptime_seconds: now.saturating_duration_since(self.started).as_secs(),
            ends,
            phase: activity.name(),
            healthy: ills.is_empty(),
            unhealthy: Some(ills).filter(|ills| !ills.is_empty()),
            ready: unready.is_none(),
            unready,
            error,
            position: known(position),
            received_lsn: known(received),
            confirmed_flush_lsn: known(self.confirmed()),
            lag_bytes: is_known.then(|| self.lag_bytes()),
            lag_seconds: is_known.then(|| seconds(self.lag())),
            etcd_silence_seconds: answered.map(|at| seconds(now.saturating_duration_since(at))),
            rates,
            totals: self.totals(),
            dump: (activity == Activity::Dumping).then(|| Dump {
                rows: self.metrics.dump_rows.get(),
                estimated_rows: self.metrics.dump_expected_rows.get(),
            }),
            memory_bytes: memory_bytes(),
            table_count: tables.len(),
            tables: tables.into_iter().take(MOST_TABLES).collect(),
            log: logging::recent().into_iter().map(Line::from).collect(),
            samples,
        }
    }

    /// The tables: those that are not copied first, then those that changed last.
    fn listed_tables(&self) -> Vec<Table> {
        let shown = self.tables.shown().into_iter();
        let mut shown: BTreeMap<_, _> = shown.map(|table| (table.name.clone(), table)).collect();
        let mut listed = Vec::new();
        for (name, (state, reason)) in self.not_copied.lacks() {
            let table = shown.remove(&name).unwrap_or_default();
            listed.push(Table { name, state, reason: Some(reason), ..Table::from(table) });
        }
        let mut shown: Vec<_> = shown.into_values().collect();
        shown.sort_by(|a, b| b.changed_at.cmp(&a.changed_at).then_with(|| a.name.cmp(&b.name)));
        listed.extend(shown.into_iter().map(Table::from));
        listed
    }
}

impl Report {
    pub(super) fn to_json(&self) -> String {
        // Texts and numbers always have a JSON form.
        serde_json::to_string(self).unwrap_or_default() + "\n"
    }
}

impl From<TableView> for Table {
    fn from(TableView { name, stage, rows, changes, changed_at }: TableView) -> Self {
        let changed_at = changed_at.map(|at| at.to_string());
        Self { name, state: stage, reason: None, rows, changes, changed_at }
    }
}

impl From<logging::LogLine> for Line {
    fn from(line: logging::LogLine) -> Self {
        let level = if line.level == Level::Error { "error" } else { "warn" };
        let time = humantime::format_rfc3339_millis(line.at).to_string();
        Self { time, level, message: line.message }
    }
}

fn seconds(duration: Duration) -> f64 {
    duration.as_millis() as f64 / 1e3
}

/// What the process has in memory, where the system says so (proc(5)).
fn memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
impl Status {
    /// The names of all members, inner ones too.
    pub(crate) fn members(&self) -> Vec<String> {
        fn add(value: &serde_json::Value, names: &mut Vec<String>) {
            match value {
                serde_json::Value::Object(members) => members.iter().for_each(|(name, value)| {
                    names.push(name.clone());
                    add(value, names);
                }),
                serde_json::Value::Array(values) => {
                    values.iter().for_each(|value| add(value, names))
                }
                _ => {}
            }
        }
        self.enter(Activity::Dumping);
        self.tables.are_copied(["public.t"].into_iter());
        let mut report = self.report(Instant::now());
        report.log.push(Line { time: String::new(), level: "warn", message: String::new() });
        let mut names = Vec::new();
        add(&serde_json::to_value(report).unwrap(), &mut names);
        names
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;

    use super::super::Lack;
    use super::*;
    use crate::config::Settings;
    use crate::core::ledger::Flushed;
    use crate::secret::Secret;

    #[test]
    fn tables_that_are_not_copied_come_first_and_then_those_that_changed_last() {
        let status = Status::new(&Settings::default()).unwrap();
        status.tables.are_copied(["a", "b", "c", "d"].into_iter());
        status.tables.followed("c").inserted();
        status.tables.look();
        status.not_copied.set(BTreeMap::from([
            ("b".to_owned(), Lack::Comparing("its columns have changed".to_owned())),
            ("none".to_owned(), Lack::LeftOut("it has no key".to_owned())),
        ]));
        let without_key = [("d".to_owned(), "rows have no key".to_owned())];
        status.not_copied.set_without_key(BTreeMap::from(without_key));
        let listed = status.listed_tables();
        let listed: Vec<_> = listed
            .iter()
            .map(|Table { name, state, reason, .. }| (&**name, *state, reason.as_deref()))
            .collect();
        let expected = [
            ("b", "comparing", Some("it is being compared: its columns have changed")),
            ("d", "incomplete", Some("rows have no key")),
            ("none", "left_out", Some("it has no key")),
            ("c", "copied", None),
            ("a", "copied", None),
        ];
        assert_eq!(listed, expected);
    }

    #[test]
    fn a_stream_in_trouble_is_told_of() {
        let status = Status::new(&Settings::default()).unwrap();
        let received = Arc::new(AtomicU64::new(0x30));
        status.stream_begins(Flushed::at(Lsn(0x20)), received, Duration::from_secs(1));
        status.fails("no route".to_owned());
        let report = status.report(Instant::now());
        assert_eq!(report.error.as_deref(), Some("no route"));
        assert_eq!((report.position, report.lag_bytes), (Some(Lsn(0x20)), Some(0x10)));
        status.etcd_answers();
        assert_eq!(status.report(Instant::now()).etcd_silence_seconds, None);
        status.enter(Activity::Syncing);
        let silence = status.report(Instant::now()).etcd_silence_seconds;
        assert!(silence.is_some_and(|seconds| seconds < 60.0));
    }

    #[test]
    fn nothing_is_claimed_before_there_is_a_stream() {
        let mut settings = Settings::default();
        settings.database.password = Some(Secret::new("hush"));
        let json = Status::new(&settings).unwrap().report(Instant::now()).to_json();
        assert!(!json.contains("hush"), "{json}");
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["phase"], "connecting");
        assert_eq!(json["ready"], false);
        for name in ["position", "received_lsn", "lag_bytes", "lag_seconds", "dump"] {
            assert!(json.get(name).is_some_and(serde_json::Value::is_null), "{name}");
        }
        assert!(json["memory_bytes"].as_u64().is_some_and(|bytes| bytes > 1 << 20), "{json}");
    }
}
