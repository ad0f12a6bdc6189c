//! What cannot be cured by trying again: exit status 2, and a message that names the cure.

use crate::support::{CHECKPOINT, Launch, SCHEMA, Servers, TABLES, assert_equal, wait_until};

/// It must end with status 2 and say all of this, and nothing may be made or changed in etcd.
#[track_caller]
pub(crate) fn refused(servers: &Servers, launch: &Launch, parts: &[&str]) -> String {
    let before = servers.revision();
    let (status, log) = launch.run();
    assert_eq!(status, 2, "{log}");
    for part in parts {
        assert!(log.contains(part), "{part:?} is missing in:\n{log}");
    }
    assert_eq!(servers.revision(), before, "etcd was written:\n{log}");
    log
}

#[test]
fn a_server_or_a_role_that_cannot_do_it() {
    let hba =
        "host all,replication checked all scram-sha-256\nhost all,replication outcast all reject";
    let servers = Servers::with_hba(hba, &[]);
    servers.execute(SCHEMA);
    servers.execute(
        "CREATE ROLE checked LOGIN REPLICATION PASSWORD 'right'; CREATE ROLE outcast LOGIN REPLICATION;
         CREATE ROLE plain LOGIN; CREATE ROLE reader LOGIN REPLICATION;
         GRANT SELECT ON part TO reader",
    );
    let launch = servers.daemon();
    let checked = launch.clone().set("database.user", "checked");
    refused(
        &servers,
        &checked.clone().set("database.password", "wrong"),
        &["password authentication failed"],
    );
    refused(&servers, &checked, &["database.password"]);
    refused(&servers, &launch.clone().set("database.user", "outcast"), &["pg_hba.conf", "outcast"]);
    refused(
        &servers,
        &launch.clone().set("database.user", "nobody"),
        &["nobody", "does not exist"],
    );
    refused(
        &servers,
        &launch.clone().set("database.name", "nowhere"),
        &["nowhere", "does not exist"],
    );
    refused(&servers, &launch.clone().set("database.user", "plain"), &["REPLICATION", "plain"]);

    // A role that may not publish all tables: its superuser can make the publication.
    let reader = launch.clone().set("database.user", "reader");
    refused(&servers, &reader, &["CREATE PUBLICATION \"pg2etcd\" FOR ALL TABLES", "superuser"]);
    servers.execute("CREATE PUBLICATION pg2etcd FOR ALL TABLES");
    let (status, log) = reader.run();
    assert_eq!(status, 2, "{log}");
    assert!(log.contains("GRANT SELECT ON \"public\".\"account\""), "{log}");
    servers.execute("GRANT SELECT ON account TO reader");
    let mut daemon = reader.start();
    daemon.await_line("Dump finished");
    assert_equal(&servers, &TABLES);
    assert!(!servers.position().unwrap().made_publication);
}

#[test]
fn a_wal_level_that_is_too_low() {
    let servers = Servers::with(&["-c", "wal_level=replica"]);
    refused(
        &servers,
        &servers.daemon(),
        &["wal_level is replica", "wal_level = logical", "restart"],
    );
}

#[test]
fn nobody_listens() {
    let servers = Servers::with(&["--only", "etcd"]);
    // Port 1 is free on every machine.
    let launch = servers.daemon().set("database.port", 1).set("database.connection_retries", 2);
    refused(
        &servers,
        &launch,
        &["127.0.0.1:1", "2 attempts", "connection_retries", "is the server up"],
    );
}

#[test]
fn a_table_without_a_replica_identity() {
    let servers = Servers::start();
    servers.execute(
        "CREATE TABLE good (id int PRIMARY KEY); CREATE TABLE \"Bad one\" (id int); CREATE TABLE worse (id int);
         CREATE TABLE late (id int PRIMARY KEY DEFERRABLE); CREATE TABLE hidden (id int PRIMARY KEY);
         ALTER TABLE hidden REPLICA IDENTITY NOTHING; CREATE TABLE whole (id int PRIMARY KEY);
         ALTER TABLE whole REPLICA IDENTITY FULL; CREATE TABLE indexed (id int UNIQUE NOT NULL);
         ALTER TABLE indexed REPLICA IDENTITY USING INDEX indexed_id_key; INSERT INTO indexed VALUES (1)",
    );
    let cures = ["primary key", "REPLICA IDENTITY USING INDEX", "sync.tables"];
    let log = refused(&servers, &servers.daemon(), &cures);
    for (table, named) in [
        ("\"Bad one\"", true),
        ("worse", true),
        ("late", true),
        ("hidden", true),
        ("good", false),
        ("whole", false),
        ("indexed", false),
    ] {
        assert_eq!(log.contains(table), named, "{table}: {log}");
    }
    let left = "SELECT (SELECT count(*) FROM pg_publication) + (SELECT count(*) FROM pg_replication_slots)";
    assert_eq!(servers.value(left).as_deref(), Some("0"), "something was left behind");
    servers.execute("INSERT INTO worse VALUES (1); UPDATE worse SET id = 2; DELETE FROM worse");

    let some = servers.daemon().set("sync.tables", "public.good,public.indexed,public.whole");
    let mut daemon = some.start();
    daemon.await_line("Dump finished");
    servers
        .execute("INSERT INTO good VALUES (1); UPDATE indexed SET id = 2; UPDATE worse SET id = 3");
    assert_equal(&servers, &["good", "indexed", "whole"]);
}

#[test]
fn a_slot_of_something_else() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    servers.execute("CREATE DATABASE second");
    let on = |database: &str, make: &str, part: &str| {
        servers.sql_on(database).batch_execute(make).unwrap();
        refused(&servers, &servers.daemon(), &["sync.slot", part]);
        let there = "SELECT slot_name FROM pg_replication_slots";
        assert_eq!(servers.value(there).as_deref(), Some("pg2etcd"), "it was dropped");
        servers.execute("SELECT pg_drop_replication_slot('pg2etcd')");
    };
    on("postgres", "SELECT pg_create_physical_replication_slot('pg2etcd', true)", "physical");
    on(
        "postgres",
        "SELECT pg_create_logical_replication_slot('pg2etcd', 'test_decoding')",
        "test_decoding",
    );
    on("second", "SELECT pg_create_logical_replication_slot('pg2etcd', 'pgoutput')", "second");
}

#[test]
fn a_position_of_another_copy() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    servers.execute("CREATE DATABASE second");
    let launch = servers.daemon();
    let mut daemon = launch.start();
    daemon.await_line("Dump finished");
    assert_equal(&servers, &TABLES);
    daemon.stop();
    let position = servers.keys(CHECKPOINT)[CHECKPOINT].clone();
    let identifier = servers.position().unwrap().system_identifier;

    let elsewhere = launch.clone().set("etcd.path", "elsewhere");
    refused(&servers, &elsewhere, &["path", "copy", "elsewhere", "etcd.state_path", "etcd.path"]);
    let second = launch.clone().set("database.name", "second");
    refused(&servers, &second, &["database", "postgres", "second"]);
    servers.put(CHECKPOINT, &position.replace(&identifier, "7000000000000000001"));
    refused(&servers, &launch, &["cluster", "7000000000000000001", &identifier]);
    for unreadable in ["", "not JSON", "{}", &position.replace("\"version\":1", "\"version\":2")] {
        servers.put(CHECKPOINT, unreadable);
        refused(&servers, &launch, &[CHECKPOINT, "left as it is", "delete the key"]);
        assert_eq!(servers.keys(CHECKPOINT)[CHECKPOINT], unreadable);
    }
    servers.put(CHECKPOINT, &position);
    let mut daemon = launch.start();
    daemon.await_line("Resuming from ");
    assert_equal(&servers, &TABLES);
    assert_eq!(daemon.stop().matches("ump").count(), 0);
}

#[test]
fn settings_that_cannot_be_used() {
    let servers = Servers::with(&["--only", "etcd"]);
    let launch = servers.daemon().set("database.port", 1);
    let of_file = |text: &str| {
        let file = servers.folder.join(format!("{}-pg2etcd.toml", text.len()));
        std::fs::write(&file, text).unwrap();
        launch.clone().argument("-c").argument(file.to_str().unwrap())
    };
    for (launch, parts) in [
        (of_file("[database]\nhost = \"h\"\nprot = 5432\n"), ["pg2etcd.toml", "3", "prot"]),
        (of_file("[sync]\n\nwriters = \"four\"\n"), ["pg2etcd.toml", "3", "writers"]),
        (of_file("[sync\n"), ["pg2etcd.toml", "1", ""]),
        (launch.clone().argument("-o").argument("no.such=1"), ["no.such", "", ""]),
        (launch.clone().set("sync.idle_period", "soon"), ["sync.idle_period", "soon", ""]),
        (launch.clone().set("sync.slot", "Not-a-slot"), ["sync.slot", "Not-a-slot", ""]),
        (launch.clone().set("etcd.path", "/"), ["etcd.path", "", ""]),
        (launch.clone().set("etcd.state_path", "copy/state"), ["etcd.state_path", "copy", ""]),
        (
            launch.clone().environment("PGPORT", "many").unset("database.port"),
            ["PGPORT", "many", ""],
        ),
        (launch.clone().argument("fly"), ["fly", "pg2etcd -h", ""]),
    ] {
        refused(&servers, &launch, &parts);
    }
}

#[test]
fn an_etcd_that_wants_to_know_who_asks() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    for arguments in [&["user", "add", "root:right"][..], &["auth", "enable"]] {
        assert!(servers.etcdctl().args(arguments).output().unwrap().status.success());
    }
    let launch = servers.daemon();
    let user = launch.clone().set("etcd.username", "root");
    for (launch, part) in [
        (launch, "etcd.username"),
        (user.clone().set("etcd.password", "wrong"), "authentication failed"),
    ] {
        let (status, log) = launch.run();
        assert_eq!(status, 2, "{log}");
        assert!(log.contains(part), "{log}");
    }
    let mut daemon = user.set("etcd.password", "right").start();
    daemon.await_line("Dump finished");
    daemon.stop();
}

#[test]
fn no_secret_is_ever_printed() {
    let servers = Servers::with_hba("host all,replication keeper all scram-sha-256", &[]);
    servers.execute(SCHEMA);
    servers.execute(
        "SET password_encryption = 'scram-sha-256';
         CREATE ROLE keeper LOGIN SUPERUSER PASSWORD 'hush-database'",
    );
    for arguments in [&["user", "add", "root:hush-etcd"][..], &["auth", "enable"]] {
        assert!(servers.etcdctl().args(arguments).output().unwrap().status.success());
    }
    let launch = servers
        .daemon()
        .set("database.user", "keeper")
        .set("database.replication_status_timeout", "100ms")
        .argument("-v")
        .argument("-v");
    let by_option = launch
        .clone()
        .set("database.password", "hush-database")
        .set("etcd.username", "root")
        .set("etcd.password", "hush-etcd");
    let by_environment = launch
        .clone()
        .environment("PGPASSWORD", "hush-database")
        .environment("ETCDCTL_USER", "root:hush-etcd");
    for launch in [&by_option, &by_environment] {
        let (status, settings) = launch.clone().argument("config").run();
        assert_eq!(status, 0, "{settings}");
        assert!(settings.contains("password = \""), "{settings}");
        assert!(!settings.contains("hush"), "{settings}");
        let mut daemon = launch.start();
        daemon.await_line("Resuming from ");
        servers.execute("UPDATE account SET version = version + 1");
        wait_until("a status", || daemon.count("Sending standby status") > 3);
        let log = daemon.stop();
        assert!(log.contains("DEBUG") || log.contains("TRACE"), "{log}");
        assert!(!log.contains("hush"), "{log}");
    }
    for wrong in [
        by_option.clone().set("database.password", "hush-wrong"),
        by_option.clone().set("etcd.password", "hush-wrong"),
        by_option.clone().argument("-o").argument("etcd.password2=hush-typo"),
        by_option
            .clone()
            .argument("-o")
            .argument("database.port=hush-port")
            .set("database.password", "hush-x"),
    ] {
        let (status, log) = wrong.run();
        assert_eq!(status, 2, "{log}");
        assert!(!log.replace("hush-port", "").contains("hush"), "{log}");
    }
}
