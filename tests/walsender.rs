//! The replication connection, without a daemon around it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use pg2etcd::disposition::Disposition;
use pg2etcd::error::{Error, Result};
use pg2etcd::lsn::Lsn;
use pg2etcd::postgres::{
    Connection, Frame, FrameReader, HostPort, Options, SESSION_SETTINGS, SlotKind, SslMode,
    StatusWriter, TlsOptions,
};
use pg2etcd::secret::{Password, Secret};
use pg2etcd::stop::Stop;

use crate::support::{Servers, wait_until};

const HBA: &str = "
    local all all trust
    host all postgres,truster,reader 127.0.0.1/32 trust
    host all cleartext 127.0.0.1/32 password
    host all md5er 127.0.0.1/32 md5
    host all scrammer 127.0.0.1/32 scram-sha-256
    host all all 127.0.0.1/32 reject
";

const ROLES: &str = "
    CREATE ROLE truster LOGIN REPLICATION;
    ALTER ROLE truster SET idle_in_transaction_session_timeout = '100ms';
    ALTER ROLE truster SET client_min_messages = 'error';
    DO $$ BEGIN
        ALTER ROLE truster SET transaction_timeout = '100ms';
    EXCEPTION WHEN undefined_object THEN NULL;
    END $$;
    CREATE ROLE reader LOGIN;
    SET password_encryption = 'md5';
    CREATE ROLE md5er LOGIN REPLICATION PASSWORD 'm''d5';
    SET password_encryption = 'scram-sha-256';
    CREATE ROLE cleartext LOGIN REPLICATION PASSWORD 'clear';
    CREATE ROLE scrammer LOGIN REPLICATION PASSWORD 'scräm';
    CREATE ROLE stranger LOGIN REPLICATION PASSWORD 'x';
";

/// The server of all these tests: each has tables and slots of its own.
fn server() -> &'static Servers {
    static SERVER: OnceLock<Servers> = OnceLock::new();
    SERVER.get_or_init(|| {
        let arguments = ["--only", "postgres", "-c", "wal_sender_timeout=2s"];
        let servers = Servers::with_hba(HBA, &arguments);
        servers.execute(ROLES);
        servers
    })
}

fn tcp() -> HostPort {
    HostPort { host: "127.0.0.1".to_owned(), port: server().pg_port }
}

fn socket() -> HostPort {
    HostPort { host: server().folder.display().to_string(), port: server().pg_port }
}

fn options(user: &str, password: Option<&str>) -> Options {
    Options {
        user: user.to_owned(),
        password: password.map(|password| Password::Given(Secret::new(password))),
        passfile: None,
        database: "postgres".to_owned(),
        connect_timeout: Duration::from_secs(20),
        tls: TlsOptions { mode: SslMode::Disable, ..TlsOptions::default() },
    }
}

fn stop() -> Stop {
    Stop::new().expect("a stop")
}

/// Connects by TCP and asks the server something.
fn try_login(options: &Options) -> Result<()> {
    let stop = stop();
    Connection::connect(options, &tcp(), &stop)?.identify_system()?;
    Ok(())
}

#[test]
fn every_method_takes_the_right_password() {
    for (user, password) in [
        ("truster", None),
        ("cleartext", Some("clear")),
        ("md5er", Some("m'd5")),
        ("scrammer", Some("scräm")),
    ] {
        try_login(&options(user, password)).expect(user);
    }
}

#[test]
fn a_refused_login_names_its_cure() {
    for (user, password, code, cure) in [
        ("cleartext", Some("wrong"), "28P01", "database.password"),
        ("md5er", Some("wrong"), "28P01", "database.password"),
        ("scrammer", Some("wrong"), "28P01", "database.password"),
        ("stranger", Some("x"), "28000", "pg_hba.conf"),
        ("reader", None, "42501", "run ALTER ROLE \"reader\" REPLICATION"),
    ] {
        let error = try_login(&options(user, password)).expect_err(user);
        let text = error.to_string();
        assert!(text.contains(code) && text.contains(cure), "{text}");
        assert!(!text.contains("wrong"), "{text}");
        assert_ne!(error.disposition(), Disposition::Retry, "{text}");
    }
    let nowhere = Options { database: "nowhere".to_owned(), ..options("truster", None) };
    let error = try_login(&nowhere).expect_err("no such database");
    assert!(error.to_string().contains("database.name"), "{error}");
}

#[test]
fn a_missing_password_names_where_to_put_it() {
    for user in ["cleartext", "md5er", "scrammer"] {
        let error = try_login(&options(user, None)).expect_err(user);
        assert!(matches!(error, Error::Requirement(_)), "{error}");
        for place in ["database.password", "PGPASSWORD", "~/.pgpass"] {
            assert!(error.to_string().contains(place), "{error}");
        }
    }
}

#[test]
fn the_password_file_is_used() {
    let passfile = server().folder.join("passfile");
    fs::write(&passfile, format!("127.0.0.1:{}:postgres:scrammer:scräm\n", server().pg_port))
        .unwrap();
    fs::set_permissions(&passfile, Permissions::from_mode(0o600)).unwrap();
    let from_file = Options { passfile: Some(passfile), ..options("scrammer", None) };
    try_login(&from_file).expect("the password of the file");
}

#[test]
fn the_server_says_who_it_is() {
    let mut sql = server().sql();
    let number: i32 = sql
        .query_one("SELECT current_setting('server_version_num')::int", &[])
        .expect("a version")
        .get(0);
    let identifier: String = sql
        .query_one("SELECT system_identifier::text FROM pg_control_system()", &[])
        .expect("an identifier")
        .get(0);
    let stop = stop();
    for address in [tcp(), socket()] {
        let mut connection =
            Connection::connect(&options("truster", None), &address, &stop).expect("a connection");
        assert_eq!(i64::from(connection.server_version_num()), i64::from(number));
        let identity = connection.identify_system().expect("an identity");
        assert_eq!(identity.system_identifier, identifier);
        assert_eq!((identity.timeline, identity.database.as_deref()), (1, Some("postgres")));
        assert!(identity.flushed > Lsn(0));
        assert_eq!(connection.timeline_history(1).expect("no history"), Vec::new());
    }
}

#[test]
fn the_session_has_its_settings_and_outlives_a_refusal() {
    let stop = stop();
    let mut connection =
        Connection::connect(&options("truster", None), &tcp(), &stop).expect("connected");
    let error = connection.timeline_history(77).expect_err("no such timeline");
    assert!(matches!(error, Error::PostgresServer { .. }), "{error}");
    let error = connection.simple_query("selecting", "SELECT nothing").expect_err("no column");
    assert!(error.to_string().contains("42703"), "{error}");
    for (name, value) in SESSION_SETTINGS {
        let rows = connection.simple_query("showing", &format!("SHOW {name}")).expect(name);
        let shown = rows[0][0].as_deref().expect("a setting");
        assert!(shown.starts_with(value), "{name} is {shown}");
    }
}

#[test]
fn a_stop_ends_a_command_that_waits() {
    let stop = stop();
    let mut connection =
        Connection::connect(&options("truster", None), &tcp(), &stop).expect("connected");
    let result = thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(100));
            stop.request().expect("a stop");
        });
        connection.simple_query("sleeping", "SELECT pg_sleep(60)")
    });
    assert!(matches!(result, Err(Error::Stopped)));
}

#[test]
fn a_slot_exports_the_snapshot_of_its_position() {
    let mut sql = server().sql();
    sql.batch_execute("CREATE TABLE dumped (n int); INSERT INTO dumped VALUES (1), (2)")
        .expect("rows");
    let stop = stop();
    for kind in [
        SlotKind::Temporary,
        SlotKind::Persistent { failover: false },
        SlotKind::Persistent { failover: true },
    ] {
        let mut connection =
            Connection::connect(&options("truster", None), &tcp(), &stop).expect("connected");
        let slot = connection.create_slot("snapshot_slot", kind).expect("a slot");
        sql.batch_execute("INSERT INTO dumped VALUES (3)").expect("a later row");
        // Longer than the time-outs of the role allow a transaction to idle, or to take at all.
        thread::sleep(Duration::from_millis(300));
        let mut reader = server().sql();
        let mut transaction = reader
            .build_transaction()
            .isolation_level(postgres::IsolationLevel::RepeatableRead)
            .start()
            .expect("a transaction");
        transaction
            .batch_execute(&format!("SET TRANSACTION SNAPSHOT '{}'", slot.snapshot))
            .expect("the snapshot");
        let later: i64 = transaction
            .query_one("SELECT count(*) FROM dumped WHERE n = 3", &[])
            .expect("a count")
            .get(0);
        assert_eq!(later, 0, "{kind:?} sees what committed after its slot");
        let failover = connection.server_version_num() >= 170_000
            && sql
                .query_one(
                    "SELECT failover FROM pg_replication_slots WHERE slot_name = 'snapshot_slot'",
                    &[],
                )
                .expect("the slot")
                .get(0);
        let wanted = kind == SlotKind::Persistent { failover: true };
        assert_eq!(failover, wanted && connection.server_version_num() >= 170_000);
        assert!(
            connection.identify_system().expect("an identity").flushed >= slot.consistent_point
        );
        drop(connection);
        if kind == SlotKind::Temporary {
            await_true(
                &mut sql,
                "SELECT count(*) = 0 FROM pg_replication_slots WHERE slot_name = 'snapshot_slot'",
            );
        } else {
            sql.batch_execute(
                "SELECT pg_drop_replication_slot('snapshot_slot'); DELETE FROM dumped WHERE n = 3",
            )
            .expect("cleaned up");
        }
        sql.batch_execute("DELETE FROM dumped WHERE n = 3").expect("cleaned up");
    }
}

/// A table, a publication and a slot of one name, and the stream of them.
fn stream(name: &str) -> (FrameReader, StatusWriter) {
    server()
        .sql()
        .batch_execute(&format!(
            "CREATE TABLE {name} (n int PRIMARY KEY, t text); CREATE PUBLICATION \"{name}'s \"\"own\" FOR TABLE {name}"
        ))
        .expect("a publication");
    let stop = stop();
    let mut connection =
        Connection::connect(&options("truster", None), &tcp(), &stop).expect("connected");
    connection.create_slot(name, SlotKind::Persistent { failover: true }).expect("a slot");
    connection.start_replication(name, &format!("{name}'s \"own")).expect("a stream")
}

fn await_true(sql: &mut postgres::Client, condition: &str) {
    wait_until(condition, || sql.query_one(condition, &[]).expect(condition).get(0));
}

/// The kinds of the messages up to the end of the next transaction, and the end's position.
fn transaction(reader: &mut FrameReader, stop: &Stop) -> (Vec<u8>, Lsn) {
    let mut kinds = Vec::new();
    loop {
        if let Some(Frame::XlogData { message, wal_start, .. }) =
            reader.next(stop).expect("a frame")
        {
            kinds.push(message[0]);
            if message[0] == b'C' {
                return (kinds, wal_start);
            }
        }
    }
}

#[test]
fn rows_come_and_statuses_move_the_slot() {
    let (mut reader, mut writer) = stream("moved");
    let mut sql = server().sql();
    sql.batch_execute("INSERT INTO moved VALUES (1, repeat('x', 3000000)), (2, 'y')")
        .expect("rows");
    let stop = stop();
    let (kinds, end) = transaction(&mut reader, &stop);
    assert_eq!(kinds, b"BRIIC");
    writer.send_status(end, end, true).expect("a status");
    loop {
        if let Some(Frame::Keepalive { wal_end, sent_at, .. }) =
            reader.next(&stop).expect("a frame")
        {
            assert!(wal_end >= end);
            assert!(sent_at > 800_000_000_000_000, "microseconds since 2000");
            break;
        }
    }
    await_true(
        &mut sql,
        &format!(
            "SELECT confirmed_flush_lsn = '{end}' FROM pg_replication_slots WHERE slot_name = 'moved'"
        ),
    );
    writer.finish().expect("finished");
    reader.drain(Duration::from_secs(10)).expect("a clean end");
    await_true(&mut sql, "SELECT NOT active FROM pg_replication_slots WHERE slot_name = 'moved'");
}

#[test]
fn a_stop_ends_the_wait_for_a_frame() {
    let (mut reader, mut writer) = stream("stopped");
    let stop = stop();
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(100));
            stop.request().expect("a stop");
        });
        while reader.next(&stop).expect("no error").is_some() {}
    });
    writer.finish().expect("finished");
    reader.drain(Duration::from_secs(10)).expect("a clean end");
}

#[test]
fn another_thread_can_end_the_wait_for_a_frame() {
    let (mut reader, writer) = stream("shut");
    let error = thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(100));
            writer.shutdown().expect("shut down");
        });
        end_of(&mut reader)
    });
    assert!(matches!(error, Error::PostgresIo { .. }), "{error}");
}

#[test]
fn a_second_stream_of_a_slot_is_told_who_holds_it() {
    let (_reader, _writer) = stream("held");
    let stop = stop();
    let connection =
        Connection::connect(&options("truster", None), &tcp(), &stop).expect("connected");
    match connection.start_replication("held", "held") {
        Err(Error::SlotInUse { slot, pid: Some(_) }) => assert_eq!(slot, "held"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_walsender_that_is_terminated_says_so() {
    for drained in [false, true] {
        let name = format!("terminated_{drained}");
        let (mut reader, _writer) = stream(&name);
        server()
            .sql()
            .batch_execute(&format!(
                "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '{name}'"
            ))
            .expect("terminated");
        let error = if drained {
            reader.drain(Duration::from_secs(10)).expect_err("the last word")
        } else {
            end_of(&mut reader)
        };
        assert!(error.to_string().contains("57P01"), "{error}");
    }
}

#[test]
fn a_missing_publication_asks_for_a_redump() {
    let (mut reader, _writer) = stream("unpublished");
    server()
        .sql()
        .batch_execute(
            "DROP PUBLICATION \"unpublished's \"\"own\"; INSERT INTO unpublished VALUES (1)",
        )
        .expect("a row that nobody publishes");
    let error = end_of(&mut reader);
    assert_eq!(error.disposition(), Disposition::Redump, "{error}");
}

/// The error at the end of a stream.
fn end_of(reader: &mut FrameReader) -> Error {
    let stop = stop();
    loop {
        if let Err(error) = reader.next(&stop) {
            return error;
        }
    }
}
