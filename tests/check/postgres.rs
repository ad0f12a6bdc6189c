//! What is said of PostgreSQL, and of a start.

use std::thread;
use std::time::{Duration, Instant};

use super::{Checks, checked};
use crate::support::{
    Launch, Load, Part, Proxy, Random, SCHEMA, Servers, TABLES, assert_equal, wait_until,
};

/// What is on the server that a check might have made.
const MADE: &str =
    "SELECT (SELECT count(*) FROM pg_publication) + (SELECT count(*) FROM pg_replication_slots)";

/// Has the server take these settings, with which it needs no restart.
fn reload(servers: &Servers, settings: &[(&str, &str)]) {
    for (name, value) in settings {
        servers.execute(&format!("ALTER SYSTEM SET {name} = '{value}'"));
    }
    servers.execute("SELECT pg_reload_conf()");
    for (name, value) in settings {
        let current = format!("SELECT current_setting('{name}')");
        wait_until(name, || servers.value(&current).as_deref() == Some(*value));
    }
}

fn restart(servers: &Servers, settings: &[&str]) {
    let arguments: Vec<_> = settings.iter().flat_map(|setting| ["-c", setting]).collect();
    servers.restart(Part::Postgres, &arguments);
}

#[test]
fn each_line_in_both_forms() {
    let servers = Servers::with_hba("host all,replication guarded all scram-sha-256", &[]);
    servers.execute(SCHEMA);
    let mut checks = Checks::default();
    let launch = servers.daemon();
    let before = servers.revision();
    servers_of_the_list(&servers, &launch, &mut checks);
    settings(&servers, &launch, &mut checks);
    roles(&servers, &launch, &mut checks);
    publications(&servers, &launch, &mut checks);
    assert_eq!(servers.revision(), before, "etcd was written");

    servers.execute("CREATE PUBLICATION pg2etcd FOR ALL TABLES");
    slots(&servers, &launch, &mut checks);
    failover_slots(&servers, &launch, &mut checks);
    let mut one_form = vec!["version", "toast"];
    one_form.extend((servers.version() < 17).then_some("failover"));
    one_form.extend((servers.version() < 13).then_some("max_slot_wal_keep_size"));
    checks.assert_both_forms("Of PostgreSQL:", &one_form);
    checks.assert_both_forms("Of both:", &[]);
}

fn servers_of_the_list(servers: &Servers, launch: &Launch, checks: &mut Checks) {
    let port = servers.pg_port;
    let fresh = checks.run(launch);
    assert_eq!(fresh.exit, 0);
    fresh.ok("server", &format!("127.0.0.1:{port} answers"));
    fresh.ok("primary", &format!("127.0.0.1:{port}"));
    fresh.ok("version", &format!("PostgreSQL {}.", servers.version()));
    fresh.ok("replication", "").ok("wal_level", "logical");
    fresh.ok("max_replication_slots", "0 of 10").ok("max_wal_senders", "0 of 10");
    fresh.ok("wal_sender_timeout", "60s, and a status leaves every 10s");
    fresh.ok("slot", "pg2etcd does not exist yet");
    fresh.ok("publication", "run makes it for all tables");
    fresh.ok("start", "run dumps: there is no position in etcd yet");
    assert_eq!(servers.value(MADE).as_deref(), Some("0"), "something was made");

    let (trouble, message) = launch.clone().set("sync.writers", "many").argument("check").run();
    assert_eq!(trouble, 2, "{message}");

    let list = |ports: String| {
        launch.clone().set("database.host", "127.0.0.1,127.0.0.1").set("database.port", ports)
    };
    let one_is_down = checks.run(&list(format!("1,{port}")));
    one_is_down.warn("server", "127.0.0.1:1", "start the server");
    one_is_down.ok("server", "answers").ok("wal_level", "").ok("start", "");
    let twice = checks.run(&list(format!("{port},{port}")));
    twice.warn("server", "is a primary too", "database.host").ok("wal_level", "");
    let silent = Proxy::before(port);
    silent.hold(true);
    let begin = Instant::now();
    let none = launch.clone().set("database.port", silent.port);
    let none = checks.run(&none.set("database.connect_timeout", "300ms"));
    assert!(begin.elapsed() < Duration::from_secs(20), "it hangs");
    none.fail("server", "timed out", "start the server").fail("primary", "", "database.host");
    none.lacks("wal_level").lacks("start").ok("position", "");

    servers.make_standby();
    restart(servers, &[]);
    let standby = checks.run(launch);
    standby.ok("server", "is in recovery").fail("primary", "none", "promote a standby");
    standby.lacks("wal_level").ok("endpoint", "");
    servers.promote();
}

fn settings(servers: &Servers, launch: &Launch, checks: &mut Checks) {
    const KEPT: &str = "max_slot_wal_keep_size";
    if servers.has(13, KEPT) {
        checks.run(launch).warn(KEPT, "-1", "what the disk can spare");
        reload(servers, &[(KEPT, "1MB")]);
        checks.run(launch).warn(KEPT, "1.0 MiB is less than max_wal_size, 1.0 GiB", "ALTER SYSTEM");
        reload(servers, &[(KEPT, "8GB")]);
        checks.run(launch).ok(KEPT, "8.0 GiB");
    } else {
        checks.run(launch).warn(KEPT, "without a limit", "free space");
    }
    const TIMEOUT: &str = "wal_sender_timeout";
    reload(servers, &[(TIMEOUT, "0")]);
    checks.run(launch).warn(TIMEOUT, "off", "ALTER SYSTEM SET wal_sender_timeout");
    reload(servers, &[(TIMEOUT, "3s")]);
    checks.run(launch).warn(TIMEOUT, "3s, and a status leaves every 1s", "ALTER SYSTEM");
    reload(servers, &[(TIMEOUT, "1min")]);

    servers.execute("SELECT pg_create_physical_replication_slot('other')");
    restart(servers, &["wal_level=replica", "max_wal_senders=0", "max_replication_slots=1"]);
    let too_little = checks.run(launch);
    too_little.fail("wal_level", "wal_level is replica", "restart the server");
    too_little.fail("max_replication_slots", "1 of 1 in use, and one is needed", "raise max_");
    too_little.fail("max_wal_senders", "0 of 0 in use, and one is needed", "raise max_wal_senders");
    too_little.fail("replication", "max_wal_senders", "raise max_wal_senders").lacks("start");
    restart(servers, &["wal_level=logical", "max_wal_senders=1", "max_replication_slots=2"]);
    let just_enough = checks.run(launch);
    assert_eq!(just_enough.exit, 0, "{just_enough:?}");
    just_enough.warn("max_replication_slots", "1 of 2 in use, so that none is left", "drop a slot");
    just_enough.warn("max_wal_senders", "0 of 1 in use, so that none is left", "raise");
    restart(servers, &["max_wal_senders=10", "max_replication_slots=10"]);
    servers.execute("SELECT pg_drop_replication_slot('other')");
}

fn roles(servers: &Servers, launch: &Launch, checks: &mut Checks) {
    servers.execute(
        "SET password_encryption = 'scram-sha-256';
         CREATE ROLE plain LOGIN; CREATE ROLE guarded LOGIN REPLICATION PASSWORD 'right'",
    );
    let plain = launch.clone().set("database.user", "plain");
    let found = checks.run(&plain);
    found.fail("replication", "SQLSTATE 42501", "run ALTER ROLE \"plain\" REPLICATION");
    found.fail("publication", "role plain may not make a publication", "let a superuser run");
    found.ok("server", "answers").ok("wal_level", "").lacks("start").ok("position", "");
    // The text says the same.
    for (options, quiet) in [(&["check"][..], false), (&["check", "-q"], true)] {
        let (exit, text, message) = plain.ask(options);
        assert_eq!((exit, text, message), (1, found.text(quiet), String::new()));
    }

    let guarded = launch.clone().set("database.user", "guarded");
    checks.run(&guarded).fail("server", "asks for the password", "set database.password");
    let wrong = guarded.clone().set("database.password", "hush");
    let wrong = checks.run(&wrong);
    wrong.fail("server", "28P01", "correct database.password").fail("primary", "", "");
    assert!(!wrong.text(false).contains("hush"), "{wrong:?}");
    unusable_files(servers, &guarded);
    checks.run(&guarded.set("database.password", "right")).ok("replication", "");

    servers.execute("CREATE PUBLICATION pg2etcd FOR TABLE account, part");
    let denied = checks.run(&plain);
    let cure = "run GRANT SELECT ON \"public\".\"account\", \"public\".\"part\" TO \"plain\"";
    denied.fail("privileges", "role plain may not read public.account, public.part", cure);
    servers.execute("GRANT SELECT ON account, part TO plain");
    checks.run(&plain).ok("privileges", "");
    servers.execute("DROP PUBLICATION pg2etcd");
}

/// A file that cannot be used is the whole trouble: nothing is said of hosts.
fn unusable_files(servers: &Servers, launch: &Launch) {
    let broken = servers.folder.join("broken.pem").display().to_string();
    std::fs::write(&broken, "nonsense").unwrap();
    for (setting, path, detail, cure) in [
        ("database.password_file", "/nowhere/password", "No such file", "make /nowhere/password"),
        ("database.sslrootcert", "/nowhere/ca.crt", "No such file", "correct database.sslrootcert"),
        ("database.sslrootcert", &broken, "no BEGIN CERTIFICATE", "mend that file"),
        ("database.password_file", "/", "Is a directory", "a file that can be read"),
    ] {
        let found = checked(&launch.clone().set(setting, path));
        found.fail("server", detail, cure).fail("server", path, "").lacks("primary");
        let problems = found.lines.iter().filter(|line| line.status == "fail");
        assert_eq!(problems.count(), 1, "{found:?}");
        found.ok("endpoint", "");
    }
    let etcd = launch.clone().set("etcd.tls.trusted_ca_path", "/nowhere/etcd.crt");
    let found = checked(&etcd);
    found.fail("endpoint", "/nowhere/etcd.crt", "correct etcd.tls.trusted_ca_path").lacks("login");
    assert_eq!(found.lines.iter().filter(|line| line.name == "endpoint").count(), 1, "{found:?}");
}

fn publications(servers: &Servers, launch: &Launch, checks: &mut Checks) {
    servers.execute("CREATE TABLE keyless (id int)");
    checks.run(launch).fail("publication", "cannot publish public.keyless", "primary key");
    let named = |tables: &str| launch.clone().set("sync.tables", tables);
    checks.run(&named("public.none")).fail("publication", "names public.none", "sync.tables");
    let mistyped = checks.run(&named("public.acount"));
    mistyped.fail("publication", "in the database, did you mean public.account?", "sync.tables");
    checks.run(&named("public.part")).ok("publication", "run makes it for 1 table");
    servers.execute("CREATE PUBLICATION none");
    let none = launch.clone().set("sync.publication", "none");
    checks.run(&none).warn("publication", "has no table", "ADD TABLE").lacks("table");
    servers.execute("ALTER PUBLICATION none ADD TABLE part");
    servers.execute("ALTER PUBLICATION none SET (publish = 'insert, delete')");
    let out = if servers.version() > 10 { "leaves UPDATE, TRUNCATE out" } else { "leaves UPDATE" };
    checks.run(&none).warn("publication", out, "SET (publish = 'insert, update, delete");
    servers.execute("DROP PUBLICATION none");

    servers.execute("CREATE PUBLICATION pg2etcd FOR TABLE account, part, keyless");
    let found = checks.run(launch);
    found.ok("publication", "pg2etcd has 3 tables");
    found.ok("table", "public.account: its key is (id)");
    found.ok("table", "public.part: its key is (name, number)");
    let out = "public.keyless is left out: it has neither";
    found.warn(
        "table",
        &format!("{out} a primary key nor an identity index, and PostgreSQL refuses"),
        "primary key",
    );
    found.ok("toast", "values out of public.part: etcd");
    servers.execute("ALTER TABLE keyless REPLICA IDENTITY FULL");
    servers.execute("ALTER TABLE part REPLICA IDENTITY FULL");
    let found = checks.run(launch);
    found.ok("toast", "no update leaves a large value out");
    assert!(found.lines.iter().all(|line| !line.detail.contains("refuses UPDATE")), "{found:?}");
    servers.execute("ALTER TABLE part REPLICA IDENTITY DEFAULT");
    if servers.has(15, "column lists") {
        servers.execute("ALTER TABLE part REPLICA IDENTITY FULL");
        servers.execute("ALTER PUBLICATION pg2etcd SET TABLE account, part (name, note)");
        let cure = "add them to its column list";
        checks.run(launch).warn("table", "not all columns of its key (name, number)", cure);
        servers.execute("ALTER TABLE part REPLICA IDENTITY DEFAULT");
    }
    servers.execute("DROP PUBLICATION pg2etcd; DROP TABLE keyless");
}

fn slots(servers: &Servers, launch: &Launch, checks: &mut Checks) {
    let mut daemon = launch.start();
    daemon.await_line("Resuming from ");
    let found = checks.run(launch);
    let walsender = servers.walsender().unwrap();
    found.ok("slot", &format!("process {walsender} (role postgres, pg2etcd) streams from pg2etcd"));
    if servers.version() >= 13 {
        found.ok("slot", "(wal_status reserved)");
    }
    found.ok("start", &format!("run stands by while server process {walsender} streams"));
    found.ok("max_replication_slots", "1 of 10").ok("max_wal_senders", "1 of 10");
    found.ok("position", "sync phase of database postgres below /copy/, at ");
    // Several checks at once disturb neither each other nor the daemon.
    let load = Load::start(servers, &mut Random::new(), 1);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| (0..3).for_each(|_| assert_eq!(checked(launch).exit, 0)));
        }
    });
    load.stop();
    assert_equal(servers, &TABLES);
    assert_eq!(daemon.count("WARN"), 0, "{}", daemon.output());
    daemon.stop();
    let events = servers.history("/", 1).events;
    assert!(
        events.iter().all(|event| !event.key.contains("check/") && !event.key.ends_with("/check"))
    );

    let revision = servers.revision();
    let found = checks.run(launch);
    found.ok("slot", "nobody streams from pg2etcd").ok("start", "run goes on from ");
    let elsewhere = launch.clone().set("etcd.path", "elsewhere");
    checks.run(&elsewhere).fail("start", "the path is copy there", "set another etcd.state_path");
    servers.execute("CREATE PUBLICATION other FOR TABLE part");
    let other = launch.clone().set("sync.publication", "other");
    checks.run(&other).warn("start", "run dumps again: the publication was", "only what differs");
    let other = other.set("sync.dump", "false");
    checks.run(&other).warn("start", "goes on without a dump", "pg2etcd resync");
    if servers.has(13, "max_slot_wal_keep_size") {
        lost(servers, launch, checks);
    }
    servers.execute("SELECT pg_drop_replication_slot('pg2etcd')");
    checks.run(launch).warn("start", "slot pg2etcd does not exist", "only what differs");
    servers.execute("SELECT pg_create_logical_replication_slot('pg2etcd', 'test_decoding')");
    let foreign = checks.run(launch);
    foreign.fail("slot", "belongs to something else", "choose another name in sync.slot");
    foreign.fail("start", "belongs to something else", "sync.slot");
    servers.execute("SELECT pg_drop_replication_slot('pg2etcd')");
    assert_eq!(servers.revision(), revision, "etcd was written");
}

/// A slot that nobody reads, until the server gives it up.
fn lost(servers: &Servers, launch: &Launch, checks: &mut Checks) {
    reload(servers, &[("max_wal_size", "32MB")]);
    for _ in 0..3 {
        servers.execute("UPDATE account SET version = version + 1");
        servers.execute("SELECT pg_switch_wal()");
    }
    checks.run(launch).warn("slot", "more than max_wal_size", "start the daemon");
    reload(servers, &[("max_slot_wal_keep_size", "64MB")]);
    checks.run(launch).warn("slot", "close to max_slot_wal_keep_size", "start the daemon");
    reload(servers, &[("max_slot_wal_keep_size", "1MB")]);
    wait_until("the slot to be lost", || {
        servers.execute("CHECKPOINT");
        let status = "SELECT wal_status FROM pg_replication_slots WHERE slot_name = 'pg2etcd'";
        servers.value(status).as_deref() == Some("lost")
    });
    let lost = checks.run(launch);
    assert_eq!(lost.exit, 0, "a daemon makes a new slot: {lost:?}");
    lost.warn("slot", "pg2etcd is lost", "raise max_slot_wal_keep_size");
    lost.warn("start", "run dumps again: replication slot pg2etcd is lost", "only what differs");
}

fn failover_slots(servers: &Servers, launch: &Launch, checks: &mut Checks) {
    if !servers.has(17, "failover slots") {
        checks.run(launch).ok("failover", "before PostgreSQL 17");
        return;
    }
    let make = "SELECT pg_create_logical_replication_slot('pg2etcd', 'pgoutput', false, false, $)";
    servers.execute(&make.replace('$', "false"));
    checks.run(launch).warn("failover", "is not a failover slot", "ALTER_REPLICATION_SLOT pg2etcd");
    servers.execute("SELECT pg_drop_replication_slot('pg2etcd')");
    servers.execute(&make.replace('$', "true"));
    checks.run(launch).ok("failover", "the slot is a failover slot");
    servers.execute("SELECT pg_create_physical_replication_slot('standby')");
    checks.run(launch).warn("failover", "synchronized_standby_slots is empty", "sync_replication_");
    reload(servers, &[("synchronized_standby_slots", "standby")]);
    checks.run(launch).ok("failover", "");
}
