//! The alerts, as Prometheus's own tool evaluates them: each fires on what it is for, and on nothing else.

use std::fs;
use std::process::{Command, Stdio};

use crate::support::promtool;

/// Series of a test, and when which alert fires with which labels. All that is not listed must not fire.
const TESTS: &str = include_str!("alerts_tests.yml");

#[test]
fn each_alert_fires_on_what_it_is_for() {
    let Some(promtool) = promtool() else { return };
    let folder = std::env::temp_dir().join(format!("pg2etcd-alerts-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/pg2etcd-alerts.yml");
    fs::copy(rules, folder.join("pg2etcd-alerts.yml")).unwrap();
    fs::write(folder.join("tests.yml"), TESTS).unwrap();
    for arguments in
        [&["check", "rules", "pg2etcd-alerts.yml"][..], &["test", "rules", "tests.yml"]]
    {
        let mut command = Command::new(&promtool);
        let output =
            command.args(arguments).current_dir(&folder).stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{arguments:?}: {said}");
    }
    fs::remove_dir_all(&folder).unwrap();
    // None is without a test.
    let rules = fs::read_to_string(rules).unwrap();
    let alerts: Vec<_> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 6, "{alerts:?}");
    for alert in alerts {
        let tested = TESTS.matches(&format!("alertname: {alert}")).count();
        assert!(tested >= 2, "{alert} has to fire in a test, and not to in another: {tested}");
    }
}
