//! The server that comes back is not where it was: its disk was restored, or it is a clone.

use crate::support::{
    Daemon, Launch, Part, SCHEMA, Servers, TABLES, assert_equal, lsn, wait_until,
};

/// What the server commits after its disk was copied, and loses: a megabyte of log.
const LOST: &str = "
    INSERT INTO part SELECT n, 'lost', 1.0, repeat('x', 500) FROM generate_series(1, 2000) n;
    DELETE FROM account WHERE id = 7;
    UPDATE account SET version = version + 1";

/// What it commits instead.
const INSTEAD: &str = "
    INSERT INTO part SELECT n, 'instead', 2.0 FROM generate_series(1, 10) n;
    UPDATE account SET version = version + 1, balance = 77 WHERE id = 3";

/// Servers whose disk was copied, and that have gone on, with a daemon that copied all of it.
fn gone_on(launch: impl FnOnce(Launch) -> Launch) -> (Servers, Launch, Daemon) {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    let launch = launch(servers.daemon());
    let mut daemon = launch.start();
    daemon.await_line("Dump finished");
    assert_equal(&servers, &TABLES);
    servers.stop_postgres();
    servers.shell("cp -a postgres copy");
    servers.restart(Part::Postgres, &[]);
    daemon.await_lines("Resuming from ", 2);
    servers.execute(LOST);
    assert_equal(&servers, &TABLES);
    (servers, launch, daemon)
}

/// Puts the copy of the disk back.
fn restore(servers: &Servers) {
    servers.stop_postgres();
    servers.shell("rm -r postgres; mv copy postgres");
    servers.restart(Part::Postgres, &[]);
}

/// Has the server commit other transactions than it lost, until it is past the position.
fn overtake(servers: &Servers) {
    let position = servers.position().unwrap().lsn();
    servers.execute(INSTEAD);
    wait_until("the server to be past the position", || {
        servers.execute("UPDATE account SET version = version + 1 WHERE id = 5");
        servers.execute("SELECT pg_logical_emit_message(false, 'pg2etcd', repeat('x', 100000))");
        lsn(&servers.value("SELECT pg_current_wal_lsn()").unwrap()) > position + 10_000
    });
}

#[test]
fn a_server_that_went_back_under_the_daemon() {
    let (servers, _, mut daemon) = gone_on(|launch| launch);
    restore(&servers);
    servers.execute(INSTEAD);
    let reason = daemon.await_line("Redumping: ");
    assert!(reason.contains("it went back in time"), "{reason}");
    daemon.await_lines("Dump finished", 2);
    assert_equal(&servers, &TABLES);
}

#[test]
fn a_server_that_went_back_while_there_was_no_daemon() {
    let (servers, launch, daemon) = gone_on(|launch| launch);
    daemon.stop();
    restore(&servers);
    servers.execute(INSTEAD);
    let (_, lines, _) = launch.ask(&["check"]);
    assert!(lines.contains("run dumps again: the server's WAL ends at"), "{lines}");
    let mut daemon = launch.start();
    let reason = daemon.await_line("Redumping: ");
    assert!(reason.contains("it went back in time"), "{reason}");
    daemon.await_line("Dump finished");
    assert_equal(&servers, &TABLES);
    // That was all: the next start finds nothing.
    daemon.stop();
    let mut daemon = launch.start();
    daemon.await_line("Resuming from ");
    servers.execute("UPDATE account SET version = version + 1");
    assert_equal(&servers, &TABLES);
    assert_eq!(daemon.count("ump"), 0, "{}", daemon.output());
}

#[test]
fn a_server_that_went_back_and_is_ahead_again() {
    let (servers, launch, daemon) = gone_on(|launch| launch.set("status.listen", "127.0.0.1:0"));
    daemon.stop();
    restore(&servers);
    overtake(&servers);
    let mut daemon = launch.start();
    let pages = daemon.pages();
    let reason = daemon.await_line("Redumping: ");
    assert!(reason.contains("does not have the last transaction that etcd has"), "{reason}");
    daemon.await_line("Dump finished");
    assert_equal(&servers, &TABLES);
    assert_eq!(pages.metric("pg2etcd_dumps_total{reason=\"history\"}"), 1.0);
}

#[test]
fn without_dumps_a_server_that_went_back_is_gone_on_with() {
    let (servers, launch, daemon) = gone_on(|launch| launch);
    daemon.stop();
    restore(&servers);
    let mut daemon = launch.set("sync.dump", "false").start();
    let line = daemon.await_line("Going on without a dump: ");
    assert!(line.contains("WARN") && line.contains("it went back in time"), "{line}");
    servers.execute(INSTEAD);
    wait_until("the new rows", || servers.keys("/copy/part/instead/").len() == 10);
    assert_eq!(servers.keys("/copy/part/lost/").len(), 2000, "nothing was compared");
}

#[test]
fn without_dumps_a_server_that_is_ahead_again_is_gone_on_with() {
    let (servers, launch, daemon) = gone_on(|launch| launch);
    daemon.stop();
    restore(&servers);
    overtake(&servers);
    let mut daemon = launch.set("sync.dump", "false").start();
    let line = daemon.await_line("Going on without a dump: ");
    assert!(line.contains("WARN") && line.contains("last transaction that etcd has"), "{line}");
    // The slot was told nothing by the stream that was not believed: it still has them all.
    wait_until("the new rows", || servers.keys("/copy/part/instead/").len() == 10);
    assert_eq!(daemon.count("Going on without a dump: "), 1, "{}", daemon.output());
}

#[test]
fn what_a_slot_that_is_behind_sends_again_is_not_written_again() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    let launch = servers.daemon().set("status.listen", "127.0.0.1:0");
    let mut daemon = launch.start();
    daemon.await_line("Dump finished");
    for round in 1..=3 {
        servers.execute("UPDATE account SET version = version + 1");
        // Keys that come and go would do so again.
        servers.execute("INSERT INTO part VALUES (1, 'short', 1)");
        servers.execute("DELETE FROM part WHERE name = 'short'; UPDATE part SET price = 1");
        assert_equal(&servers, &TABLES);
        daemon.kill();
        // What the server was told of the slot is not on its disk.
        servers.kill(Part::Postgres);
        servers.restart(Part::Postgres, &[]);
        let position = servers.position().unwrap();
        let confirmed = "SELECT confirmed_flush_lsn FROM pg_replication_slots";
        let confirmed = lsn(&servers.value(confirmed).unwrap());
        assert!(confirmed < position.lsn(), "{confirmed:X} {position:?}");

        let before = servers.mod_revisions("/copy/");
        daemon = launch.start();
        let pages = daemon.pages();
        daemon.await_line("Resuming from ");
        assert_equal(&servers, &TABLES);
        assert_eq!(servers.mod_revisions("/copy/"), before, "round {round}");
        let changes = pages.metric("pg2etcd_transactions_total");
        assert_eq!(changes, 0.0, "what etcd has is not received anew");
        // The tables are known all the same, though they were described with what was skipped.
        servers.execute("UPDATE account SET version = version + 1");
        assert_equal(&servers, &TABLES);
        wait_until("the slot to follow", || {
            let sql = format!(
                "SELECT confirmed_flush_lsn > '{}' FROM pg_replication_slots",
                position.lsn
            );
            servers.value(&sql).as_deref() == Some("true")
        });
        assert_eq!(daemon.count("ump"), 0, "{}", daemon.output());
    }
    let history = servers.history("/copy/", 1);
    history.assert_every_version_once("/copy/account/", "version");
    assert_eq!(history.of("/copy/part/short/1").len(), 6);
}
