//! What `check` has found.

use std::fmt;

use serde::Serialize;

use crate::error::{Error, Unmet};
use crate::etcd;

/// What was found, a line a requirement, in the order of a start.
#[derive(Debug, Default)]
pub struct Report {
    lines: Vec<Line>,
}

/// A requirement.
#[derive(Debug, Serialize)]
pub struct Line {
    /// Its name, the same in every version.
    pub name: &'static str,
    /// Whether it holds.
    pub status: Status,
    /// What was found.
    pub detail: String,
    /// What to do about it; `None` if it holds.
    pub cure: Option<String>,
}

/// Whether a requirement holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It does.
    Ok,
    /// It does, and may cause trouble later.
    Warn,
    /// It does not.
    Fail,
}

impl Report {
    /// Whether all requirements hold.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.lines.iter().all(|line| line.status != Status::Fail)
    }

    /// The lines as a JSON array of objects.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Texts always have a JSON form.
        let lines = self.lines.iter().filter_map(|line| serde_json::to_string(line).ok());
        format!("[{}]\n", lines.collect::<Vec<_>>().join(",\n "))
    }

    pub(super) fn ok(&mut self, name: &'static str, detail: impl Into<String>) {
        self.lines.push(Line { name, status: Status::Ok, detail: detail.into(), cure: None });
    }

    pub(super) fn warn(&mut self, name: &'static str, unmet: Unmet) {
        self.unmet(name, Status::Warn, unmet);
    }

    pub(super) fn fail(&mut self, name: &'static str, unmet: Unmet) {
        self.unmet(name, Status::Fail, unmet);
    }

    fn unmet(&mut self, name: &'static str, status: Status, unmet: Unmet) {
        let Unmet { problem: detail, cure } = unmet;
        self.lines.push(Line { name, status, detail, cure: Some(cure) });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Line { name, status, detail, cure } in &self.lines {
            let status = match status {
                Status::Ok => "ok  ",
                Status::Warn => "warn",
                Status::Fail => "FAIL",
            };
            writeln!(f, "{status} {name}: {detail}")?;
            if let Some(cure) = cure {
                writeln!(f, "     {cure}")?;
            }
        }
        Ok(())
    }
}

/// An error with the cure that it brings along, else with `otherwise`.
pub(super) fn unmet(error: &Error, otherwise: &str) -> Unmet {
    match error {
        Error::PostgresServer { doing, answer } => {
            let cure = answer.hint.as_deref().unwrap_or(otherwise);
            Unmet::new(format!("{doing}: {} (SQLSTATE {})", answer.message, answer.code), cure)
        }
        Error::Requirement(text) => split(text, otherwise),
        Error::Etcd(error) => of_etcd(error, otherwise),
        error => Unmet::new(error.to_string(), otherwise),
    }
}

/// The same for an error of etcd.
pub(super) fn of_etcd(error: &etcd::Error, otherwise: &str) -> Unmet {
    match (&error.kind, error.cure()) {
        (etcd::ErrorKind::Answer { message, .. }, Some(cure)) => {
            Unmet::new(format!("{}: {message}", error.endpoint), cure)
        }
        (
            etcd::ErrorKind::NotEtcd { .. }
            | etcd::ErrorKind::GrpcOnly
            | etcd::ErrorKind::NamedCertificate
            | etcd::ErrorKind::TooOld(_)
            | etcd::ErrorKind::Endpoint(_),
            _,
        ) => split(&error.to_string(), otherwise),
        _ => Unmet::new(error.to_string(), otherwise),
    }
}

/// Takes a text apart that is the problem, a colon and the cure.
fn split(text: &str, otherwise: &str) -> Unmet {
    let (problem, cure) = text.rsplit_once(": ").unwrap_or((text, otherwise));
    Unmet::new(problem, cure)
}

/// A number of bytes for a person.
pub(super) fn size(bytes: i64) -> String {
    const UNITS: [(&str, f64); 3] = [("GiB", 1073741824.0), ("MiB", 1048576.0), ("KiB", 1024.0)];
    let number = bytes as f64;
    match UNITS.iter().find(|(_, unit)| number >= *unit) {
        Some((name, unit)) => format!("{:.1} {name}", number / unit),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_lines_or_json() {
        let mut report = Report::default();
        report.ok("wal_level", "logical");
        report.warn("slot", Unmet::new("idle \"since\" yesterday", "start the daemon"));
        assert!(report.holds());
        report.fail("login", Unmet::new("no", "log in"));
        assert!(!report.holds());
        let text = "ok   wal_level: logical\nwarn slot: idle \"since\" yesterday\n     start the daemon\n\
                    FAIL login: no\n     log in\n";
        assert_eq!(report.to_string(), text);
        let json = "[{\"name\":\"wal_level\",\"status\":\"ok\",\"detail\":\"logical\",\"cure\":null},\n \
                    {\"name\":\"slot\",\"status\":\"warn\",\"detail\":\"idle \\\"since\\\" yesterday\",\
                    \"cure\":\"start the daemon\"},\n \
                    {\"name\":\"login\",\"status\":\"fail\",\"detail\":\"no\",\"cure\":\"log in\"}]\n";
        assert_eq!(report.to_json(), json);
        assert_eq!(Report::default().to_json(), "[]\n");
    }

    #[test]
    fn sizes_are_short() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (5 << 20, "5.0 MiB"),
            (3 << 29, "1.5 GiB"),
            (-5, "-5 B"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
