//! `pg2etcd check`: each line in both forms, on servers that are made to lack what it looks at.

mod etcd;
mod postgres;

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::support::Launch;

/// A line, as `check -j` prints it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    name: String,
    status: String,
    detail: String,
    cure: Option<String>,
}

/// What one run has found.
#[derive(Debug)]
struct Checked {
    exit: i32,
    lines: Vec<Line>,
}

/// Runs, and which status each line has had in them.
#[derive(Default)]
struct Checks {
    seen: BTreeMap<String, BTreeSet<String>>,
}

impl Checks {
    #[track_caller]
    fn run(&mut self, launch: &Launch) -> Checked {
        let checked = checked(launch);
        for Line { name, status, .. } in &checked.lines {
            self.seen.entry(name.clone()).or_default().insert(status.clone());
        }
        checked
    }

    /// Each line that pg2etcd-check(8) lists there must have been seen, `ok` and else, but for these, which have one form here.
    #[track_caller]
    fn assert_both_forms(&self, heading: &str, one_form: &[&str]) {
        for name in documented(heading) {
            let seen = self.seen.get(&name).expect(&name);
            if one_form.contains(&name.as_str()) {
                assert_eq!(seen.len(), 1, "{name}: {seen:?}");
            } else {
                assert!(seen.contains("ok") && seen.len() > 1, "{name}: {seen:?}");
            }
        }
        let all = ["Of PostgreSQL:", "Of etcd:", "Of both:"].map(documented).concat();
        for name in self.seen.keys() {
            assert!(all.contains(name), "{name} is not in pg2etcd-check(8)");
        }
    }
}

/// Runs `check -j`. Whatever it finds, its form and its exit status have to be right.
#[track_caller]
fn checked(launch: &Launch) -> Checked {
    let (exit, output) = launch.clone().argument("check").argument("-j").run();
    let lines: Vec<Line> = serde_json::from_str(&output).expect(&output);
    for Line { name, status, detail, cure } in &lines {
        assert!(["ok", "warn", "fail"].contains(&status.as_str()), "{name}: {status}");
        assert!(!detail.is_empty() && detail.lines().count() == 1, "{name}: {detail:?}");
        assert_eq!(cure.is_none(), status == "ok", "{name}: {cure:?}");
    }
    let fails = lines.iter().any(|line| line.status == "fail");
    assert_eq!(exit, i32::from(fails), "{output}");
    Checked { exit, lines }
}

impl Checked {
    /// There must be a line of this name and status with these words.
    #[track_caller]
    fn has(&self, name: &str, status: &str, detail: &str, cure: &str) -> &Self {
        let found = self.lines.iter().any(|line| {
            line.name == name
                && line.status == status
                && line.detail.contains(detail)
                && line.cure.as_deref().unwrap_or_default().contains(cure)
        });
        assert!(found, "{name} {status} {detail:?} {cure:?}:\n{self:#?}");
        self
    }

    #[track_caller]
    fn ok(&self, name: &str, detail: &str) -> &Self {
        self.has(name, "ok", detail, "")
    }

    #[track_caller]
    fn warn(&self, name: &str, detail: &str, cure: &str) -> &Self {
        self.has(name, "warn", detail, cure)
    }

    #[track_caller]
    fn fail(&self, name: &str, detail: &str, cure: &str) -> &Self {
        self.has(name, "fail", detail, cure)
    }

    #[track_caller]
    fn lacks(&self, name: &str) -> &Self {
        assert!(self.lines.iter().all(|line| line.name != name), "{name}:\n{self:#?}");
        self
    }

    /// The lines as they are printed without `-j`, with `-q` if `quiet`.
    fn text(&self, quiet: bool) -> String {
        let text = |Line { name, status, detail, cure }: &Line| {
            let status = if status == "fail" { "FAIL" } else { status };
            let cure = cure.as_ref().map(|cure| format!("     {cure}\n")).unwrap_or_default();
            format!("{status:<4} {name}: {detail}\n{cure}")
        };
        let mut parts = Vec::new();
        for (statuses, more) in [(&["ok"][..], ""), (&["warn", "fail"], ": to do")] {
            let sections =
                [("Of PostgreSQL:", "PostgreSQL"), ("Of etcd:", "etcd"), ("Of both:", "Both")];
            for (heading, section) in sections {
                let names = documented(heading);
                let of = |status: &&str| {
                    let lines = self.lines.iter();
                    let lines =
                        lines.filter(|line| line.status == **status && names.contains(&line.name));
                    lines.map(text).collect::<String>()
                };
                let lines: String = statuses.iter().map(of).collect();
                if !(lines.is_empty() || quiet && more.is_empty()) {
                    parts.push(format!("{section}{more}\n{lines}"));
                }
            }
        }
        if !quiet {
            let count =
                |status: &str| self.lines.iter().filter(|line| line.status == status).count();
            let plural = |count| if count == 1 { "" } else { "s" };
            let (ok, warn, fail) = (count("ok"), count("warn"), count("fail"));
            let (warnings, failures) = (plural(warn), plural(fail));
            parts.push(format!("{ok} ok, {warn} warning{warnings}, {fail} failure{failures}\n"));
        }
        parts.join("\n")
    }
}

/// The names in the list of pg2etcd-check(8) under this heading.
fn documented(heading: &str) -> Vec<String> {
    let page = include_str!("../../man/pg2etcd-check.8");
    let (_, section) = page.split_once(".Sh WHAT IT LOOKS AT\n").unwrap();
    let (_, list) = section.split_once(&format!("{heading}\n")).expect(heading);
    let (list, _) = list.split_once(".El\n").unwrap();
    let items = list.lines().filter_map(|line| line.strip_prefix(".It Li "));
    items.flat_map(|item| item.split(" , Li ")).map(str::to_owned).collect()
}
