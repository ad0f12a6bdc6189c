//! The page at `/`: one file, filled with what there is to show. Without scripts it has the numbers;
//! its script, which may ask for nothing but `/status.json`, keeps them new and draws the graphs.

use std::sync::LazyLock;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};

use super::report::{Line, Report, Table};

/// The page, in which `{{name}}` stands for what is filled in.
const PAGE: &str = include_str!("page.html");
/// How many tables the page has at most.
const MOST_TABLES: usize = 200;

/// What the page may do: run its own script, look as its own style says, ask its own server.
pub(super) fn policy() -> &'static str {
    static POLICY: LazyLock<String> = LazyLock::new(|| {
        let [script, style] = ["script", "style"].map(|tag| {
            BASE64_STANDARD.encode(Sha256::digest(element(PAGE, tag).unwrap_or_default()))
        });
        format!(
            "default-src 'none'; script-src 'sha256-{script}'; style-src 'sha256-{style}'; \
             connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'; require-trusted-types-for 'script'"
        )
    });
    &POLICY
}

/// What is in the element of this name.
fn element<'p>(page: &'p str, tag: &str) -> Option<&'p str> {
    let (_, rest) = page.split_once(&format!("<{tag}>"))?;
    rest.split_once(&format!("</{tag}>")).map(|(content, _)| content)
}

/// The page with what is to be shown.
pub(super) fn html(report: &Report) -> String {
    let mut html = String::with_capacity(2 * PAGE.len());
    let mut rest = PAGE;
    while let Some((before, (name, after))) =
        rest.split_once("{{").and_then(|(before, rest)| Some((before, rest.split_once("}}")?)))
    {
        html.push_str(before);
        html.push_str(&filled(name, report));
        rest = after;
    }
    html.push_str(rest);
    html
}

/// What stands for a name. All but rows, which are escaped where they are made, is escaped here.
fn filled(name: &str, report: &Report) -> String {
    match name {
        "tables" => report.tables.iter().take(MOST_TABLES).map(table_row).collect(),
        "log" => report.log.iter().map(log_row).collect(),
        _ => escaped(&text(name, report)),
    }
}

fn text(name: &str, report: &Report) -> String {
    let Report { ends, rates, totals, .. } = report;
    let or_none = |text: Option<String>| text.unwrap_or_else(|| NONE.to_owned());
    let lsn = |lsn: &Option<crate::lsn::Lsn>| or_none(lsn.as_ref().map(ToString::to_string));
    match name {
        "version" => report.version.to_owned(),
        "source" => format!("{} on {}", ends.database, ends.hosts.join(", ")),
        "target" => format!("{} in {}", ends.path, ends.endpoints.join(", ")),
        "phase" => report.phase.to_owned(),
        "verdict" => match (report.healthy, report.ready) {
            (true, true) => "ready".to_owned(),
            (true, false) => "not ready".to_owned(),
            (false, _) => "stuck".to_owned(),
        },
        "trouble" => trouble(report),
        "position" => lsn(&report.position),
        "received" => lsn(&report.received_lsn),
        "confirmed" => lsn(&report.confirmed_flush_lsn),
        "lag" => or_none(report.lag_seconds.map(seconds)),
        "lag_bytes" => or_none(report.lag_bytes.map(size)),
        "transactions" => rate(rates.transactions_per_second),
        "changes" => rate(rates.changes_per_second),
        "txns" => rate(rates.txns_per_second),
        "txn_time" => or_none(rates.txn_seconds.map(seconds)),
        "etcd" => or_none(report.etcd_silence_seconds.map(|age| format!("{} ago", seconds(age)))),
        "totals" => format!(
            "{} transactions, {} changes, {} txns",
            totals.transactions, totals.changes, totals.txns
        ),
        "dump" => match &report.dump {
            None => NONE.to_owned(),
            Some(dump) if dump.estimated_rows == 0 => format!("{} rows", dump.rows),
            Some(dump) => format!("{} of about {} rows", dump.rows, dump.estimated_rows),
        },
        "memory" => or_none(report.memory_bytes.map(size)),
        "uptime" => seconds(report.uptime_seconds as f64),
        "slot" => ends.slot.clone(),
        "publication" => ends.publication.clone(),
        "user" => ends.user.clone(),
        "state_path" => ends.state_path.clone(),
        "process" => report.process.to_string(),
        "time" => report.time.clone(),
        "table_count" => report.table_count.to_string(),
        // A name that the page has and this lacks is seen in the page, and by the test.
        _ => format!("{{{{{name}}}}}"),
    }
}

/// What stands where there is nothing.
const NONE: &str = "\u{2013}";

/// What is wrong, if anything is.
fn trouble(report: &Report) -> String {
    let reasons = [&report.unhealthy, &report.unready, &report.error].into_iter().flatten();
    let mut told: Vec<&str> = Vec::new();
    for reason in reasons {
        // The reason to be unready has the error in it already, at times.
        if !told.iter().any(|told| told.contains(reason.as_str())) {
            told.push(reason);
        }
    }
    told.join("; ")
}

fn table_row(table: &Table) -> String {
    let Table { name, state, reason, rows, changes, changed_at } = table;
    let rows = rows.map_or_else(|| NONE.to_owned(), |rows| rows.to_string());
    let why = match reason {
        Some(reason) => format!("{}: {reason}", state.replace('_', " ")),
        None => (*state).to_owned(),
    };
    format!(
        "<tr class=\"{state}\"><td>{}</td><td>{rows}</td><td>{changes}</td><td>{}</td><td>{}</td></tr>",
        escaped(name),
        escaped(&changed_at.as_deref().map_or_else(|| NONE.to_owned(), time)),
        escaped(&why),
    )
}

fn log_row(line: &Line) -> String {
    let Line { time: at, level, message } = line;
    format!("<li class=\"{level}\"><time>{}</time> {}</li>", escaped(&time(at)), escaped(message))
}

/// A time without parts of a second, as people write it.
fn time(rfc3339: &str) -> String {
    rfc3339.split('.').next().unwrap_or(rfc3339).replace('T', " ")
}

/// A number by the second.
fn rate(rate: f64) -> String {
    if rate < 10.0 { format!("{rate:.1}/s") } else { format!("{rate:.0}/s") }
}

/// A time in the unit that reads best.
fn seconds(seconds: f64) -> String {
    match seconds {
        ..=0.0 => "0 s".to_owned(),
        ..0.1 => format!("{:.1} ms", seconds * 1e3),
        ..10.0 => format!("{seconds:.1} s"),
        ..120.0 => format!("{seconds:.0} s"),
        ..7200.0 => format!("{:.0} min", seconds / 60.0),
        ..172_800.0 => format!("{:.0} h", seconds / 3600.0),
        _ => format!("{:.0} days", seconds / 86400.0),
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

/// A text that is nothing but text, in an element and in an attribute.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(character),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Instant;

    use super::super::{Lack, Status};
    use super::*;
    use crate::config::Settings;

    const EVIL: &str = "<script>alert(1)</script>\"'&";

    #[test]
    fn no_name_is_more_than_text() {
        let mut settings = Settings::default();
        settings.database.name = EVIL.to_owned();
        settings.etcd.path = EVIL.to_owned();
        settings.etcd.endpoints = vec![EVIL.to_owned()];
        settings.sync.slot = EVIL.to_owned();
        let status = Status::new(&settings).unwrap();
        status.tables.are_copied([EVIL].into_iter());
        status
            .not_copied
            .set(BTreeMap::from([(format!("{EVIL}2"), Lack::LeftOut(EVIL.to_owned()))]));
        status.fails(EVIL.to_owned());
        let mut report = status.report(Instant::now());
        let message = EVIL.to_owned();
        report.log.push(Line { time: EVIL.to_owned(), level: "warn", message });
        let html = html(&report);
        assert_eq!(html.matches("<script>").count(), 1, "{html}");
        assert!(html.matches("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;").count() > 8);
        assert!(!html.contains("{{"), "{html}");
        // What the policy lets run is what is there.
        for tag in ["script", "style"] {
            assert_eq!(element(&html, tag), element(PAGE, tag));
            assert!(element(PAGE, tag).is_some_and(|content| content.len() > 1000));
        }
    }

    #[test]
    fn each_field_is_filled_by_server_and_script() {
        let mut names =
            PAGE.split("data-field=\"").skip(1).filter_map(|rest| rest.split('"').next());
        let script = element(PAGE, "script").unwrap();
        let fields = script.split_once("const FIELDS = {").unwrap().1.split_once("\n};").unwrap().0;
        let mut count = 0;
        for name in names.by_ref().filter(|name| !name.contains(['\\', ']'])) {
            assert!(PAGE.contains(&format!("{{{{{name}}}}}")), "{name}");
            let is_there = |line: &str| {
                line.trim().strip_prefix(name).is_some_and(|rest| rest.starts_with([':', ',']))
            };
            assert!(fields.lines().any(is_there), "{name}");
            count += 1;
        }
        assert!(count > 20, "{count}");
    }

    #[test]
    fn numbers_read_well() {
        for (number, text) in [
            (-1.0, "0 s"),
            (0.0123, "12.3 ms"),
            (1.26, "1.3 s"),
            (59.6, "60 s"),
            (600.0, "10 min"),
            (7200.0, "2 h"),
            (864_000.0, "10 days"),
        ] {
            assert_eq!(seconds(number), text);
        }
        assert_eq!(
            (rate(0.0), rate(9.94), rate(1234.5)),
            ("0.0/s".into(), "9.9/s".into(), "1234/s".into())
        );
        assert_eq!((size(7), size(5 << 20)), ("7 B".to_owned(), "5.0 MiB".to_owned()));
        assert_eq!(time("2026-01-02T03:04:05.678901Z"), "2026-01-02 03:04:05");
    }
}
