//! What `check` has found.

use serde::Serialize;

use crate::error::{Error, Unmet};
use crate::etcd;

/// What was found, a line a requirement, in the order of a start.
#[derive(Debug)]
pub struct Report {
    lines: Vec<Line>,
    /// What is being looked at.
    section: Section,
}

/// What a requirement is one of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// PostgreSQL.
    PostgreSql,
    /// etcd.
    Etcd,
    /// Both together.
    Both,
}

/// A requirement.
#[derive(Debug, Serialize)]
pub struct Line {
    /// What it is a requirement of.
    #[serde(skip)]
    pub section: Section,
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
    /// Nothing was found yet; what is found next is of this section.
    #[must_use]
    pub fn new(section: Section) -> Self {
        Self { lines: Vec::new(), section }
    }

    /// Begins another section.
    pub(super) fn begin(&mut self, section: Section) {
        self.section = section;
    }

    /// Keeps these lines alone.
    pub(super) fn retain(&mut self, wanted: impl FnMut(&Line) -> bool) {
        self.lines.retain(wanted);
    }

    /// The lines for a person: what is `ok` by section, then what is not, so that it is the last
    /// that is seen, and how many there are. If `quiet`, only what is not `ok`.
    #[must_use]
    pub fn to_text(&self, quiet: bool, colours: bool) -> String {
        let mut parts = Vec::new();
        for ok in [true, false] {
            for section in [Section::PostgreSql, Section::Etcd, Section::Both] {
                let of_part =
                    |line: &&Line| line.section == section && (line.status == Status::Ok) == ok;
                let mut lines: Vec<&Line> = self.lines.iter().filter(of_part).collect();
                lines.sort_by_key(|line| line.status == Status::Fail);
                if !(lines.is_empty() || ok && quiet) {
                    let lines: String = lines.iter().map(|line| line.to_text(colours)).collect();
                    let heading = section.heading(ok);
                    parts.push(format!("{}\n{lines}", painted(heading, "1", colours)));
                }
            }
        }
        if !quiet {
            parts.push(self.count());
        }
        parts.join("\n")
    }

    /// How many lines of each status there are.
    fn count(&self) -> String {
        let of = |status| self.lines.iter().filter(|line| line.status == status).count();
        let counted = |count, one: &str, many: &str| match count {
            1 => format!("1 {one}"),
            count => format!("{count} {many}"),
        };
        format!(
            "{} ok, {}, {}\n",
            of(Status::Ok),
            counted(of(Status::Warn), "warning", "warnings"),
            counted(of(Status::Fail), "failure", "failures")
        )
    }

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
        let (section, detail) = (self.section, detail.into());
        self.lines.push(Line { section, name, status: Status::Ok, detail, cure: None });
    }

    pub(super) fn warn(&mut self, name: &'static str, unmet: Unmet) {
        self.unmet(name, Status::Warn, unmet);
    }

    pub(super) fn fail(&mut self, name: &'static str, unmet: Unmet) {
        self.unmet(name, Status::Fail, unmet);
    }

    fn unmet(&mut self, name: &'static str, status: Status, unmet: Unmet) {
        let Unmet { problem: detail, cure } = unmet;
        let section = self.section;
        self.lines.push(Line { section, name, status, detail, cure: Some(cure) });
    }
}

impl Line {
    fn to_text(&self, colours: bool) -> String {
        let Self { name, status, detail, cure, .. } = self;
        let status = match status {
            Status::Ok => painted("ok  ", "32", colours),
            Status::Warn => painted("warn", "33", colours),
            Status::Fail => painted("FAIL", "31", colours),
        };
        // What a server says may have line breaks in it.
        let one_line = |text: &str| text.replace(char::is_control, " ");
        let cure = cure.as_ref().map(|cure| format!("     {}\n", one_line(cure)));
        format!("{status} {name}: {}\n{}", one_line(detail), cure.unwrap_or_default())
    }
}

impl Section {
    fn heading(self, ok: bool) -> &'static str {
        match (self, ok) {
            (Self::PostgreSql, true) => "PostgreSQL",
            (Self::Etcd, true) => "etcd",
            (Self::Both, true) => "Both",
            (Self::PostgreSql, false) => "PostgreSQL: to do",
            (Self::Etcd, false) => "etcd: to do",
            (Self::Both, false) => "Both: to do",
        }
    }
}

/// The text in a colour of the terminal.
fn painted(text: &str, colour: &str, colours: bool) -> String {
    if colours { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
}

/// An error with the cure that it brings along, else with `otherwise`.
pub(super) fn unmet(error: &Error, otherwise: &str) -> Unmet {
    match error {
        Error::PostgresServer { doing, answer } => {
            let cure = answer.hint.as_deref().unwrap_or(otherwise);
            Unmet::new(format!("{doing}: {} (SQLSTATE {})", answer.message, answer.code), cure)
        }
        Error::Requirement(unmet) => {
            let joined =
                |part: fn(&Unmet) -> &str| unmet.iter().map(part).collect::<Vec<_>>().join("; ");
            Unmet::new(joined(|unmet| &unmet.problem), joined(|unmet| &unmet.cure))
        }
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
        (_, cure) => Unmet::new(error.problem(), cure.unwrap_or(otherwise)),
    }
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

    /// A report with a line of each status.
    fn mixed() -> Report {
        let mut report = Report::new(Section::PostgreSql);
        report.ok("wal_level", "logical");
        report.warn("slot", Unmet::new("idle \"since\"\nyesterday", "start the daemon"));
        report.begin(Section::Etcd);
        report.fail("login", Unmet::new("no", "log in"));
        report.ok("quorum", "etcd has a leader");
        report.warn("space", Unmet::new("little", "make room"));
        report
    }

    #[test]
    fn only_a_failure_does_not_hold() {
        let mut report = mixed();
        assert!(!report.holds());
        report.retain(|line| line.name != "login");
        assert!(report.holds());
    }

    #[test]
    fn the_text_has_sections_and_ends_with_the_problems_and_a_count() {
        let ok = "PostgreSQL\nok   wal_level: logical\n\netcd\nok   quorum: etcd has a leader\n\n";
        let problems = "PostgreSQL: to do\nwarn slot: idle \"since\" yesterday\n     start the daemon\n\n\
                        etcd: to do\nwarn space: little\n     make room\nFAIL login: no\n     log in\n";
        let report = mixed();
        let count = "\n2 ok, 2 warnings, 1 failure\n";
        assert_eq!(report.to_text(false, false), format!("{ok}{problems}{count}"));
        assert_eq!(report.to_text(true, false), problems);
        assert_eq!(Report::new(Section::Etcd).to_text(true, false), "");
        let empty = Report::new(Section::Etcd).to_text(false, false);
        assert_eq!(empty, "0 ok, 0 warnings, 0 failures\n");
        let colourful = report.to_text(true, true);
        assert!(colourful.contains("\n\x1b[31mFAIL\x1b[0m login: no\n"), "{colourful}");
    }

    #[test]
    fn json_has_the_lines_in_the_order_of_a_start() {
        let json: serde_json::Value = serde_json::from_str(&mixed().to_json()).unwrap();
        let names: Vec<_> = json.as_array().unwrap().iter().map(|line| &line["name"]).collect();
        assert_eq!(names, ["wal_level", "slot", "login", "quorum", "space"]);
        let slot = serde_json::json!({"name": "slot", "status": "warn",
            "detail": "idle \"since\"\nyesterday", "cure": "start the daemon"});
        assert_eq!(json[1], slot);
        assert_eq!(Report::new(Section::Both).to_json(), "[]\n");
    }

    #[test]
    fn a_colon_in_a_problem_or_a_cure_does_not_take_them_apart() {
        let found = Unmet::new("a: b", "run ALTER TABLE t: it helps");
        assert_eq!(unmet(&found.clone().into(), "nothing"), found);
        let two = Error::Requirement(vec![Unmet::new("a", "b"), Unmet::new("c: d", "e")]);
        assert_eq!(unmet(&two, "nothing"), Unmet::new("a; c: d", "b; e"));
        assert_eq!(two.to_string(), "a: b; c: d: e");
        let kind = etcd::ErrorKind::Endpoint("write it as host:port");
        let endpoint = etcd::Error::at_start("etcd:2379".to_owned(), kind);
        let problem = "etcd:2379: connecting: not an endpoint: write it as host:port";
        assert_eq!(of_etcd(&endpoint, "nothing"), Unmet::new(problem, "correct etcd.endpoints"));
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
