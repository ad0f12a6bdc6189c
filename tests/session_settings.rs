//! Settings of the server, the database and the role, which reach pg2etcd's sessions unless they are pinned.

use crate::support::{Servers, assert_equal, await_equal, caught_up};

const TABLES: &str = "
    CREATE TABLE \"order\" (id int PRIMARY KEY);
    CREATE TYPE mood AS ENUM ('sad', 'ok');
    CREATE FUNCTION shown(mood) RETURNS json LANGUAGE sql IMMUTABLE AS $$ SELECT json_build_object('mood', $1::text) $$;
    CREATE CAST (mood AS json) WITH FUNCTION shown(mood);
    CREATE TABLE t (id int PRIMARY KEY, c regclass, a text[], m mood, ms mood[], x xml, s text);
    INSERT INTO t SELECT g, '\"order\"', '{a,NULL,\"NULL\"}', 'ok', '{sad,NULL}', 'no document', E'\\\\ ''' FROM generate_series(1, 50) g;
    CREATE ROLE copier SUPERUSER LOGIN";

/// What a role, or a database, may have.
const SETTINGS: [(u32, &str); 17] = [
    (10, "lock_timeout = '1ms'"),
    (10, "statement_timeout = '1ms'"),
    (10, "idle_in_transaction_session_timeout = '10ms'"),
    (14, "idle_session_timeout = '300ms'"),
    (17, "transaction_timeout = '300ms'"),
    (10, "array_nulls = off"),
    (10, "quote_all_identifiers = on"),
    (10, "xmloption = document"),
    (10, "transform_null_equals = on"),
    (10, "exit_on_error = on"),
    (10, "default_transaction_read_only = on"),
    (10, "default_transaction_isolation = serializable"),
    (10, "default_transaction_deferrable = on"),
    (10, "standard_conforming_strings = off"),
    (10, "TimeZone = 'America/St_Johns'"),
    (10, "IntervalStyle = 'iso_8601'"),
    (10, "client_encoding = 'LATIN1'"),
];

#[test]
fn those_of_the_role() {
    let servers = Servers::start();
    servers.execute(TABLES);
    for (since, setting) in SETTINGS {
        if servers.has(since, setting) {
            servers.execute(&format!("ALTER ROLE copier SET {setting}"));
        }
    }
    follows(&servers);
}

#[test]
fn those_of_the_server() {
    let mut settings =
        vec!["idle_in_transaction_session_timeout=10ms", "lock_timeout=1ms", "array_nulls=off"];
    let servers = Servers::start();
    if servers.has(14, "idle_session_timeout") {
        settings.push("idle_session_timeout=300ms");
    }
    let split: Vec<_> = settings.iter().map(|setting| setting.split_once('=').unwrap()).collect();
    servers.execute(TABLES);
    servers.configure(&split);
    follows(&servers);
}

/// The first daemon makes the publication and the slot, and is itself what commits wait for.
#[test]
fn a_publication_is_made_on_a_server_that_waits_for_this_copy() {
    let servers = Servers::start();
    servers.execute(TABLES);
    servers.configure(&[("synchronous_standby_names", "pg2etcd")]);
    let mut daemon = servers.daemon().start();
    daemon.await_line("Dump finished");
    servers.execute("INSERT INTO t (id) VALUES (100)");
    assert_equal(&servers, &["t", "order"]);
    daemon.stop();
}

fn follows(servers: &Servers) {
    let launch =
        servers.daemon().set("database.user", "copier").set("sync.catalog_period", "500ms");
    let mut daemon = launch.start();
    daemon.await_line("Dump finished");
    let tables = ["t", "\"order\""];
    assert_equal(servers, &tables);
    servers.execute("UPDATE t SET s = s || 'x'; INSERT INTO \"order\" VALUES (1)");
    assert_equal(servers, &tables);
    // A compare waits for the transactions that run, and its session for nothing longer than the time-outs.
    let mut other = servers.sql();
    let begin =
        "SET idle_in_transaction_session_timeout = 0; BEGIN; UPDATE t SET m = 'sad' WHERE id = 7";
    other.batch_execute(begin).unwrap();
    servers.execute("ALTER TYPE mood RENAME VALUE 'ok' TO 'fine'");
    daemon.await_line("Comparing table public.t: ");
    // Longer than any of the time-outs.
    other.batch_execute("SELECT pg_sleep(0.6); COMMIT").unwrap();
    await_equal(servers, &tables);
    servers.execute("UPDATE t SET m = 'fine'");
    caught_up(servers);
    assert_equal(servers, &tables);
    let (status, out, err) = launch.ask(&["verify"]);
    assert_eq!(status, 0, "{out}{err}");
    let log = daemon.stop();
    assert_eq!(log.matches("WARN").count() + log.matches("Resuming").count(), 1, "{log}");
}
