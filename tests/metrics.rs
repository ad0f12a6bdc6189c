//! `/metrics` against what was done.

use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;

use crate::support::{Part, SCHEMA, Servers, caught_up, lsn, promtool, wait_for, wait_until};

/// Transactions that are counted by table and kind: what they change, and how many they are.
const CHANGES: [(&str, usize); 5] = [
    ("INSERT INTO part SELECT n, 'new', 1, 'x' FROM generate_series(200, 229) n", 1),
    ("UPDATE account SET version = version + 1 WHERE id <= 7", 3),
    // One that changes the key, too.
    (
        "BEGIN; UPDATE account SET id = 21 WHERE id = 20; DELETE FROM part WHERE number < 10; COMMIT",
        1,
    ),
    ("TRUNCATE part", 1),
    // This one changes nothing.
    ("BEGIN; DELETE FROM account; ROLLBACK", 1),
];

#[test]
fn the_metrics_tell_what_was_done() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    servers.execute("CREATE SCHEMA s; CREATE TABLE s.busy (id int PRIMARY KEY, n int)");
    let launch = servers.daemon().set("status.listen", "127.0.0.1:0");
    let mut daemon = launch.start();
    let pages = daemon.pages();
    daemon.await_line("Resuming from ");
    let metrics = pages.metrics();
    let build = format!("pg2etcd_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    for (name, value) in [
        (&*build, 1.0),
        ("pg2etcd_dumps_total{reason=\"first\"}", 1.0),
        ("pg2etcd_dumps_total{reason=\"slot_lost\"}", 0.0),
        ("pg2etcd_dump_rows", 120.0),
        ("pg2etcd_retries_total{cause=\"etcd\"}", 0.0),
        ("pg2etcd_transactions_total", 0.0),
        ("pg2etcd_oversized_rows_total", 0.0),
    ] {
        assert_eq!(metrics.get(name), Some(&value), "{name} in {metrics:#?}");
    }

    let busy = thread::spawn({
        let mut sql = servers.sql();
        move || {
            for id in 0..200 {
                let insert = format!("INSERT INTO s.busy VALUES ({id}, 0)");
                let update = format!("UPDATE s.busy SET n = n + 1 WHERE id = {id}");
                sql.batch_execute(&format!("BEGIN; {insert}; {update}; {update}; COMMIT")).unwrap();
            }
        }
    });
    let mut last = metrics;
    while !busy.is_finished() {
        let metrics = pages.metrics();
        for (name, value) in last.iter().filter(|(name, _)| name.contains("_total")) {
            assert!(metrics[name] >= *value, "{name} went from {value} to {}", metrics[name]);
        }
        last = metrics;
    }
    busy.join().unwrap();
    for (sql, times) in CHANGES {
        (0..times).for_each(|_| servers.execute(sql));
    }
    caught_up(&servers);
    let metrics = pages.metrics();
    for (table, counts) in [
        ("s.busy", [200.0, 400.0, 0.0, 0.0]),
        ("public.account", [0.0, 22.0, 0.0, 0.0]),
        ("public.part", [30.0, 0.0, 9.0, 1.0]),
    ] {
        for (kind, count) in ["insert", "update", "delete", "truncate"].iter().zip(counts) {
            let name = format!("pg2etcd_changes_total{{kind=\"{kind}\",table=\"{table}\"}}");
            assert_eq!(metrics.get(&name), Some(&count), "{name} in {metrics:#?}");
        }
    }
    assert_eq!(metrics["pg2etcd_transactions_total"], 206.0);
    let txns = metrics["pg2etcd_etcd_txn_operations_count"];
    assert_eq!(metrics["pg2etcd_etcd_txn_size_bytes_count"], txns);
    assert_eq!(metrics["pg2etcd_etcd_txn_duration_seconds_count"], txns);
    assert_eq!(metrics["pg2etcd_etcd_txn_operations_bucket{le=\"+Inf\"}"], txns);
    // 120 rows of the dump, and at least one operation for each row that has changed since.
    assert!(metrics["pg2etcd_etcd_txn_operations_sum"] > 120.0 + 200.0 + 30.0);
    assert!(metrics["pg2etcd_etcd_txn_size_bytes_sum"] > 10_000.0);
    assert!(metrics["pg2etcd_etcd_txn_duration_seconds_sum"] > 0.0);

    for (name, of_server) in [
        ("pg2etcd_position_lsn_bytes", None),
        ("pg2etcd_flushed_lsn_bytes", Some("confirmed_flush_lsn")),
    ] {
        wait_for(name, || {
            let expected = match of_server {
                None => servers.position().unwrap().lsn(),
                Some(column) => {
                    let sql = format!("SELECT {column} FROM pg_replication_slots");
                    lsn(&servers.value(&sql).unwrap())
                }
            };
            let value = pages.metric(name);
            if value == expected as f64 { Ok(()) } else { Err(format!("{value} {expected}")) }
        });
    }
    pages.await_metric("pg2etcd_lag_bytes", |lag| lag == 0.0);
    assert_eq!(pages.metric("pg2etcd_lag_seconds"), 0.0);
    is_clean(&pages.get("/metrics").body);
}

#[test]
fn tables_are_told_apart_only_if_that_is_wanted() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    let launch = servers.daemon().set("status.listen", "127.0.0.1:0");
    let mut daemon = launch.set("status.table_metrics", "false").start();
    let pages = daemon.pages();
    daemon.await_line("Resuming from ");
    servers.execute("UPDATE account SET version = 1; DELETE FROM part WHERE number < 10");
    caught_up(&servers);
    let metrics = pages.metrics();
    let changes: f64 = ["update", "delete"]
        .map(|kind| metrics[&format!("pg2etcd_changes_total{{kind=\"{kind}\",table=\"\"}}")])
        .iter()
        .sum();
    assert_eq!(changes, 20.0 + 9.0, "{metrics:#?}");
    assert!(!metrics.keys().any(|name| name.contains("account")), "{metrics:#?}");
}

/// What Prometheus's own tool thinks of the metrics, where it can be had.
fn is_clean(text: &str) {
    let Some(promtool) = promtool() else { return };
    let mut promtool = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn redumps_and_retries_are_counted_by_reason() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    // The pause leaves time to drop the slot.
    let launch = servers
        .daemon()
        .set("status.listen", "127.0.0.1:0")
        .set("database.retry_period", "3s")
        .set("sync.oversized", "skip");
    let mut daemon = launch.start();
    let pages = daemon.pages();
    daemon.await_line("Resuming from ");
    let walsender = servers.walsender().unwrap();
    servers.execute(&format!("SELECT pg_terminate_backend({walsender})"));
    servers.await_end_of_backend(&walsender);
    servers.execute("SELECT pg_drop_replication_slot('pg2etcd')");
    pages.await_answer("/readyz", Some("phase=connecting"));
    daemon.await_lines("Resuming from ", 2);
    assert_eq!(pages.metric("pg2etcd_dumps_total{reason=\"slot_lost\"}"), 1.0);
    assert_eq!(pages.metric("pg2etcd_dumps_total{reason=\"first\"}"), 1.0);
    assert!(pages.metric("pg2etcd_retries_total{cause=\"postgres_server\"}") >= 1.0);

    servers.execute("INSERT INTO part VALUES (7000, 'large', 1, repeat('x', 2000000))");
    pages.await_metric("pg2etcd_oversized_rows_total", |count| count == 1.0);
    pages.await_answer("/readyz", Some("oversized_rows=1 key=\"/copy/"));

    servers.kill(Part::Etcd);
    servers.execute("UPDATE account SET version = version + 1");
    pages.await_metric("pg2etcd_retries_total{cause=\"etcd\"}", |count| count >= 2.0);
    pages.await_metric("pg2etcd_lag_seconds", |lag| lag > 0.5);
    servers.restart(Part::Etcd, &[]);
    pages.await_metric("pg2etcd_lag_seconds", |lag| lag == 0.0);
    caught_up(&servers);
    wait_until("one dump for each reason", || {
        let dumps = |(name, _): &(String, f64)| name.starts_with("pg2etcd_dumps_total");
        pages.metrics().into_iter().filter(dumps).map(|(_, count)| count).sum::<f64>() == 2.0
    });
}
