//! `status`: what both ends say, or one of them.

use serde_json::Value;

use crate::support::{
    CHECKPOINT, Launch, Part, SCHEMA, Servers, assert_equal, caught_up, wait_for,
};

/// The names that are always there.
const NAMES: [&str; 9] = [
    "phase",
    "slot",
    "active_pid",
    "position",
    "confirmed_flush_lsn",
    "current_lsn",
    "lag_bytes",
    "lag_seconds",
    "retained_bytes",
];

/// Exit status and JSON; the text has the same names.
#[track_caller]
fn status(launch: &Launch) -> (i32, Value) {
    let (status, json, message) = launch.ask(&["status", "-j"]);
    let json: Value = serde_json::from_str(&json).expect(&message);
    let (text_status, text, _) = launch.ask(&["status"]);
    assert_eq!(text_status, status, "{text}");
    for name in NAMES {
        assert!(json.get(name).is_some(), "{name}: {json}");
        assert!(text.lines().any(|line| line.split(' ').next() == Some(name)), "{name}: {text}");
    }
    (status, json)
}

/// What is not there is null, what could not be asked is unknown, all else is known.
#[track_caller]
fn assert_facts(json: &Value, absent: &[&str], unknown: &[&str]) {
    for name in NAMES {
        assert_eq!(json[name].is_null(), absent.contains(&name), "{name}: {json}");
        assert_eq!(json[name] == "unknown", unknown.contains(&name), "{name}: {json}");
    }
}

fn errors(json: &Value) -> String {
    json["errors"].to_string()
}

/// A table whose dump waits for whoever has the advisory lock 7.
const SLOW: &str = "
    CREATE TYPE mark AS ENUM ('x', 'y');
    CREATE FUNCTION wait_for_lock(mark) RETURNS json LANGUAGE plpgsql AS $$
        BEGIN IF $1 = 'y' THEN PERFORM pg_advisory_lock_shared(7); END IF; RETURN '1'; END $$;
    CREATE CAST (mark AS json) WITH FUNCTION wait_for_lock(mark);
    CREATE TABLE slow (id int PRIMARY KEY, mark mark);
    INSERT INTO slow SELECT id, CASE id WHEN 9000 THEN 'y'::mark ELSE 'x' END FROM generate_series(1, 9000) id";

#[test]
fn each_phase_of_a_copy() {
    let servers = Servers::start();
    let launch = servers.daemon();
    let (code, json) = status(&launch);
    assert_eq!(code, 1, "{json}");
    let absent = [
        "phase",
        "active_pid",
        "position",
        "confirmed_flush_lsn",
        "lag_bytes",
        "lag_seconds",
        "retained_bytes",
    ];
    assert_facts(&json, &absent, &[]);
    let text = launch.ask(&["status"]).1;
    assert!(text.contains("phase                never copied\n"), "{text}");
    assert!(text.contains("active_pid           none: no daemon streams\n"), "{text}");
    assert!(errors(&json).contains("slot pg2etcd does not exist"), "{json}");

    servers.execute(SCHEMA);
    servers.execute(SLOW);
    let mut sql = servers.sql();
    sql.batch_execute("SELECT pg_advisory_lock(7)").unwrap();
    let mut daemon = launch.start();
    let json = wait_for("two tables to be dumped", || {
        let (code, json) = status(&launch);
        assert_eq!(code, 1, "{json}");
        // PostgreSQL is asked before etcd.
        let has_begun = json["dump"]["tables_done"] == 2 && json["active_pid"].is_i64();
        if has_begun { Ok(json) } else { Err(json.to_string()) }
    });
    assert_eq!(json["phase"], "dump");
    assert_eq!(json["dump"]["tables"], 3, "{json}");
    assert_eq!(json["dump"]["table"], "public.slow", "{json}");
    sql.batch_execute("SELECT pg_advisory_unlock(7)").unwrap();
    daemon.await_line("Dump finished");
    caught_up(&servers);

    let (code, json) = status(&launch);
    assert_eq!(code, 0, "{json}");
    assert_facts(&json, &[], &[]);
    assert_eq!(json["phase"], "sync");
    assert_eq!(json["slot"], "pg2etcd");
    assert_eq!(json["active_pid"].to_string(), servers.walsender().unwrap());
    assert_eq!(json["tables"].to_string(), r#"["account","part","slow"]"#);
    assert_eq!(errors(&json), "[]");
    assert!(launch.ask(&["status"]).1.contains("tables               3: account, part, slow\n"));
    daemon.stop();

    let (code, json) = status(&launch);
    assert_eq!(code, 1, "{json}");
    assert_facts(&json, &["active_pid"], &[]);
    assert_eq!(json["phase"], "sync");
}

#[test]
fn a_lag_in_seconds_is_that_of_commits() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    let launch = servers.daemon();
    let mut daemon = launch.start();
    daemon.await_line("Dump finished");
    assert_equal(&servers, &["account", "part"]);
    daemon.stop();
    // As if nothing had committed for years.
    let (_, position) = servers.keys(CHECKPOINT).pop_first().unwrap();
    let (before, _) = position.split_once("\"committed_at\":\"").unwrap();
    servers.put(CHECKPOINT, &format!("{before}\"committed_at\":\"2020-01-02T03:04:05.000000Z\"}}"));
    let mut daemon = launch.start();
    daemon.await_line("Resuming from ");
    caught_up(&servers);
    for _ in 0..3 {
        // WAL without a commit.
        servers.execute("SELECT pg_switch_wal()");
        let (code, json) = status(&launch);
        assert_eq!(code, 0, "{json}");
        assert!(json["lag_seconds"].as_f64().unwrap() < 1000.0, "{json}");
        assert_eq!(json["committed_at"], "2020-01-02T03:04:05.000000Z");
    }
    daemon.stop();
    servers.execute("INSERT INTO account VALUES (100, 1)");
    let (code, json) = status(&launch);
    assert_eq!(code, 1, "{json}");
    assert!(json["lag_bytes"].as_u64().unwrap() > 0, "{json}");
    assert!(json["lag_seconds"].as_f64().unwrap() > 1e6, "{json}");
}

#[test]
fn one_end_is_enough() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    let launch = servers.daemon();
    let mut daemon = launch.start();
    daemon.await_line("Dump finished");
    caught_up(&servers);

    let stranger = launch.clone().set("database.user", "nobody");
    let (code, json) = status(&stranger);
    assert_eq!((code, &json["phase"]), (2, &Value::from("sync")), "{json}");
    assert!(errors(&json).contains("nobody"), "{json}");

    servers.kill(Part::Etcd);
    let (code, json) = status(&launch);
    assert_eq!(code, 1, "{json}");
    assert_facts(&json, &[], &["phase", "position", "lag_bytes", "lag_seconds"]);
    assert!(errors(&json).contains("etcd: "), "{json}");
    servers.restart(Part::Etcd, &[]);

    servers.kill(Part::Postgres);
    let (code, json) = status(&launch);
    assert_eq!(code, 1, "{json}");
    let unknown = [
        "active_pid",
        "confirmed_flush_lsn",
        "current_lsn",
        "lag_bytes",
        "lag_seconds",
        "retained_bytes",
    ];
    assert_facts(&json, &[], &unknown);
    let text = launch.ask(&["status"]).1;
    assert!(text.contains("active_pid           unknown\n"), "{text}");
    assert!(!text.contains("no daemon streams"), "{text}");
    assert_eq!(json["phase"], "sync");
    assert!(errors(&json).contains("PostgreSQL: "), "{json}");

    servers.kill(Part::Etcd);
    let (code, json) = status(&launch);
    assert_eq!((code, json["errors"].as_array().unwrap().len()), (1, 2), "{json}");
}
