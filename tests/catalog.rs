//! What was changed in the catalog, or changed and changed back, while nobody looked.

use crate::support::{Daemon, Servers, assert_equal, await_equal, wait_until};

fn started(servers: &Servers) -> Daemon {
    let mut daemon = servers.daemon().set("sync.catalog_period", "200ms").start();
    daemon.await_line("Dump finished");
    daemon
}

/// Waits until the watch has looked at the catalog as it is now: it compares a table that has changed.
fn looked(servers: &Servers, daemon: &Daemon) {
    let compared = daemon.count("Compared table public.canary");
    servers.execute("ALTER TABLE canary SET (fillfactor = 90)");
    wait_until("a look at the catalog", || daemon.count("Compared table public.canary") > compared);
}

const TABLES: &str = "
    CREATE TYPE inner_pair AS (x int, y text); CREATE TYPE pair AS (name text, inside inner_pair, list inner_pair[]);
    CREATE TABLE canary (id int PRIMARY KEY);
    CREATE TABLE t (id int PRIMARY KEY, n int, c int, p pair);
    INSERT INTO t SELECT g, g, g, ROW('a', ROW(g, 'y'), ARRAY[ROW(g, 'z')]::inner_pair[])::pair FROM generate_series(1, 20) g;
    CREATE PUBLICATION pg2etcd FOR TABLE t, canary";

#[test]
fn what_goes_and_comes_back_is_noticed() {
    let servers = Servers::start();
    servers.execute(TABLES);
    let daemon = started(&servers);
    for change in [
        "ALTER TABLE t DROP COLUMN c; ALTER TABLE t ADD COLUMN c int DEFAULT 7",
        "ALTER PUBLICATION pg2etcd DROP TABLE t; UPDATE t SET n = n + 100; DELETE FROM t WHERE id = 2;
         ALTER PUBLICATION pg2etcd ADD TABLE t",
        "ALTER PUBLICATION pg2etcd SET (publish = 'insert'); UPDATE t SET n = n + 100; DELETE FROM t WHERE id = 3;
         ALTER PUBLICATION pg2etcd SET (publish = 'insert, update, delete')",
        "ALTER TABLE t RENAME TO u; UPDATE u SET n = n + 100; ALTER TABLE u RENAME TO t",
    ] {
        let compared = daemon.count("Compared table public.t:");
        servers.execute(&format!("BEGIN; {change}; COMMIT"));
        await_equal(&servers, &["t", "canary"]);
        wait_until(change, || daemon.count("Compared table public.t:") > compared);
    }
    daemon.stop();
}

#[test]
fn partitions_that_go_and_come_back_are_compared() {
    let servers = Servers::start();
    if servers.lacks(13, "partitioned tables in publications") {
        return;
    }
    servers.execute(
        "CREATE TABLE canary (id int PRIMARY KEY);
         CREATE TABLE log (id int PRIMARY KEY, n int) PARTITION BY RANGE (id);
         CREATE TABLE log_low PARTITION OF log FOR VALUES FROM (0) TO (100) PARTITION BY RANGE (id);
         CREATE TABLE log_leaf PARTITION OF log_low FOR VALUES FROM (0) TO (50);
         INSERT INTO log SELECT g, g FROM generate_series(1, 20) g; CREATE PUBLICATION pg2etcd FOR TABLE log, canary",
    );
    for (via_root, table) in [("false", "log_leaf"), ("true", "log")] {
        servers.execute(&format!(
            "ALTER PUBLICATION pg2etcd SET (publish_via_partition_root = {via_root})"
        ));
        let daemon = servers.daemon().set("sync.catalog_period", "200ms").start();
        await_equal(&servers, &[table, "canary"]);
        for (parent, part) in [("log_low", "log_leaf"), ("log", "log_low")] {
            let bound = if part == "log_leaf" { 50 } else { 100 };
            servers.execute(&format!(
                "BEGIN; ALTER TABLE {parent} DETACH PARTITION {part}; UPDATE log_leaf SET n = n + 1000;
                 ALTER TABLE {parent} ATTACH PARTITION {part} FOR VALUES FROM (0) TO ({bound}); COMMIT"
            ));
            await_equal(&servers, &[table, "canary"]);
        }
        daemon.stop();
    }
}

/// Rows that come after the repair are in the new form as well.
#[test]
fn what_is_behind_a_column_changes() {
    let servers = Servers::start();
    servers.execute(
        "CREATE TABLE canary (id int PRIMARY KEY);
         CREATE TYPE inner_pair AS (x int, y text); CREATE TYPE pair AS (name text, inside inner_pair, list inner_pair[]);
         CREATE TABLE shape (id int PRIMARY KEY, v int); CREATE TYPE mood AS ENUM ('sad', 'ok');
         CREATE TABLE t (id int PRIMARY KEY, p pair, shape shape, mood mood);
         INSERT INTO t SELECT g, ROW('a', ROW(g, 'y'), ARRAY[ROW(g, 'z')]::inner_pair[])::pair, ROW(g, g)::shape, 'ok' FROM generate_series(1, 20) g",
    );
    let tables = ["t", "shape", "canary"];
    let daemon = started(&servers);
    servers.execute("UPDATE t SET mood = 'sad' WHERE id = 1");
    assert_equal(&servers, &tables);
    for change in [
        "ALTER TYPE inner_pair RENAME ATTRIBUTE x TO renamed",
        "ALTER TYPE pair ADD ATTRIBUTE more int",
        "ALTER TYPE pair DROP ATTRIBUTE more",
        "ALTER TABLE shape RENAME v TO w",
        "ALTER TYPE mood RENAME VALUE 'sad' TO 'glum'",
        "CREATE FUNCTION shown(mood) RETURNS json LANGUAGE sql IMMUTABLE AS $$ SELECT to_json(upper($1::text)) $$;
         CREATE CAST (mood AS json) WITH FUNCTION shown(mood)",
        "CREATE OR REPLACE FUNCTION shown(mood) RETURNS json LANGUAGE sql IMMUTABLE AS $$ SELECT to_json(lower($1::text)) $$",
    ] {
        let compared = daemon.count("Compared table public.t:");
        servers.execute(change);
        wait_until(change, || daemon.count("Compared table public.t:") > compared);
        await_equal(&servers, &tables);
        servers.execute("UPDATE t SET mood = mood WHERE id > 10; INSERT INTO t SELECT max(id) + 1, NULL, NULL, 'ok' FROM t");
        assert_equal(&servers, &tables);
    }
    daemon.stop();
}

#[test]
fn what_means_nothing_is_no_reason_to_compare() {
    let servers = Servers::start();
    servers.execute(TABLES);
    let mut daemon = started(&servers);
    looked(&servers, &daemon);
    let sql = &mut servers.sql();
    for statement in [
        "VACUUM t",
        "ANALYZE t",
        "VACUUM (FREEZE, ANALYZE)",
        "VACUUM FREEZE pg_attribute",
        "VACUUM FREEZE pg_class",
        "CREATE INDEX ON t (n)",
        "REINDEX TABLE t",
        "CREATE STATISTICS s ON n, c FROM t",
        "CREATE TABLE other (id int)",
    ] {
        sql.batch_execute(statement).expect(statement);
    }
    looked(&servers, &daemon);
    assert_eq!(daemon.count("Comparing table public.t:"), 0, "{}", daemon.output());
    // These are compared once each, and not again and again.
    for (number, statement) in
        ["VACUUM FULL t", "ALTER TABLE t SET (fillfactor = 90)", "TRUNCATE t"]
            .into_iter()
            .enumerate()
    {
        sql.batch_execute(statement).expect(statement);
        daemon.await_lines("Compared table public.t:", number + 1);
        looked(&servers, &daemon);
        looked(&servers, &daemon);
        assert_eq!(daemon.count("Comparing table public.t:"), number + 1, "{statement}");
    }
    daemon.stop();
}

#[test]
fn a_record_of_an_earlier_version_is_no_reason_to_dump() {
    let servers = Servers::start();
    servers.execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2)");
    let mut daemon = started(&servers);
    assert_equal(&servers, &["t"]);
    daemon.stop();
    let record = "/.pg2etcd/pg2etcd/tables/t";
    let found = servers.keys(record);
    let json: serde_json::Value = serde_json::from_str(&found[record]).unwrap();
    let oid = servers.value("SELECT 't'::regclass::oid").unwrap();
    assert_eq!((json["keyspace"].as_str(), json["oid"].to_string()), (Some("/copy/t/"), oid));
    let digest = "d41d8cd98f00b204e9800998ecf8427e";
    let earlier = ["columns", "types", "key", "filter", "storage"]
        .map(|part| format!(r#""{part}":"{digest}""#));
    servers.put(record, &format!("{{{}}}", earlier.join(",")));
    let written = servers.mod_revisions("/copy/");
    daemon = servers.daemon().start();
    daemon.await_line("Comparing table public.t: an earlier version has copied it");
    daemon.await_line("Compared table public.t: 2 rows the same");
    assert_eq!(servers.mod_revisions("/copy/"), written);
    let known = |json: &str| {
        let mut record: serde_json::Value = serde_json::from_str(json).unwrap();
        // It is compared at another time.
        record["compared_at"].take();
        record
    };
    wait_until("the record", || known(&servers.keys(record)[record]) == known(&found[record]));
    assert_eq!(daemon.stop().matches("umping").count(), 0);
}

#[test]
fn a_server_without_md5() {
    let servers = Servers::start();
    servers.execute(
        "ALTER FUNCTION md5(text) RENAME TO refused; ALTER FUNCTION md5(bytea) RENAME TO refused",
    );
    servers.execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)");
    let daemon = started(&servers);
    servers.execute("INSERT INTO t VALUES (2); ALTER TABLE t ADD n int DEFAULT 7");
    await_equal(&servers, &["t"]);
    daemon.stop();
}

/// However many tables there are, the catalog is asked as often.
#[test]
fn a_fixed_number_of_statements() {
    let servers = Servers::start();
    let statements = |tables: u32, from: u32| {
        servers.execute(&format!(
            "DO $$ BEGIN FOR n IN {from}..{tables} LOOP
                EXECUTE format('CREATE TYPE e%s AS ENUM (''a''); CREATE TABLE t%s (id int PRIMARY KEY, e e%s, a e%s[])', n, n, n, n);
             END LOOP; END $$"
        ));
        let log = || std::fs::read_to_string(servers.folder.join("postgres.log")).unwrap();
        let before = log().len();
        let (status, ..) = servers.daemon().ask(&["check"]);
        assert_eq!(status, 0);
        log()[before..].lines().filter(|line| line.contains(" pg2etcd LOG:  execute ")).count()
    };
    servers.configure(&[("log_statement", "all")]);
    let few = statements(3, 1);
    assert!(few > 5, "the log has the statements");
    assert_eq!(statements(60, 4), few);
}

/// A domain's checks are not run again: rows that were there before it can violate one.
#[test]
fn a_domain_with_a_check_that_old_rows_violate() {
    let servers = Servers::start();
    servers.execute(
        "CREATE TYPE mood AS ENUM ('sad', 'ok');
         CREATE FUNCTION shown(mood) RETURNS json LANGUAGE sql IMMUTABLE AS $$ SELECT json_build_object('mood', $1::text) $$;
         CREATE CAST (mood AS json) WITH FUNCTION shown(mood);
         CREATE DOMAIN feeling AS mood; CREATE TYPE felt AS (f feeling);
         CREATE TABLE t (id int PRIMARY KEY, n int, f feeling, fs felt);
         INSERT INTO t VALUES (1, 1, 'sad', ROW('sad')), (2, 2, 'ok', ROW('ok'));
         ALTER DOMAIN feeling ADD CHECK (VALUE <> 'sad') NOT VALID",
    );
    let daemon = started(&servers);
    assert_equal(&servers, &["t"]);
    servers.execute("ALTER TABLE t REPLICA IDENTITY FULL; UPDATE t SET n = n + 1; INSERT INTO t SELECT g, g, 'ok', ROW('ok')::felt FROM generate_series(3, 300) g");
    assert_equal(&servers, &["t"]);
    assert_eq!(daemon.stop().matches("WARN").count(), 0);
}
