//! A stop ends the daemon within five seconds, whatever it waits for.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Daemon, Part, SCHEMA, Servers, TABLES, await_equal, wait_until};

/// How long a stop may take.
const LIMIT: Duration = Duration::from_secs(5);

/// How many SQL sessions the daemon has, and whether one waits for a lock.
const SESSIONS: &str =
    "SELECT (count(*), coalesce(bool_or(wait_event_type = 'Lock'), false))::text
       FROM pg_stat_activity WHERE application_name = 'pg2etcd' AND backend_type = 'client backend'";

#[test]
fn a_lock_on_a_table_holds_up_no_stop_of_a_dump() {
    let servers = Servers::start();
    servers.execute("CREATE TABLE t (id int PRIMARY KEY)");
    // The slot waits for every transaction that runs, so the lock has to come after it. In between
    // the daemon puts the position, and waits for an etcd that does not answer.
    let mut earlier = servers.sql();
    earlier.batch_execute("BEGIN; SELECT txid_current()").unwrap();
    let daemon = servers.daemon().start();
    wait_until("the wait for the transaction", || {
        servers.value("SELECT true::text FROM pg_replication_slots").is_some()
    });
    servers.signal(Part::Etcd, Signal::STOP);
    earlier.batch_execute("COMMIT").unwrap();
    wait_until("the slot", || {
        let made = "SELECT confirmed_flush_lsn::text FROM pg_replication_slots";
        servers.value(made).is_some()
    });
    let mut holder = servers.sql();
    holder.batch_execute("BEGIN; LOCK TABLE t").unwrap();
    servers.signal(Part::Etcd, Signal::CONT);
    stops_while_locked(&servers, daemon);
}

#[test]
fn a_lock_on_a_table_holds_up_no_stop_while_the_publication_is_made() {
    let servers = Servers::start();
    servers.execute("CREATE TABLE t (id int PRIMARY KEY)");
    let mut holder = servers.sql();
    holder.batch_execute("BEGIN; LOCK TABLE t").unwrap();
    stops_while_locked(&servers, servers.daemon().set("sync.tables", "public.t").start());
}

/// What the stop itself ends is no failure that somebody has to look at.
#[test]
fn a_stop_while_the_catalog_is_locked_warns_of_nothing() {
    let servers = Servers::start();
    servers.execute("CREATE TABLE t (id int PRIMARY KEY)");
    let mut daemon = servers.daemon().set("sync.catalog_period", "1s").start();
    daemon.await_line("Resuming from ");
    let mut holder = servers.sql();
    holder.batch_execute("BEGIN; LOCK TABLE pg_publication").unwrap();
    wait_until("the wait for the lock", || {
        servers.value(SESSIONS).is_some_and(|sessions| sessions.ends_with(",t)"))
    });
    let log = daemon.stop();
    assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
}

/// Stops a daemon once it waits for a lock. It leaves no query behind that goes on waiting.
fn stops_while_locked(servers: &Servers, daemon: Daemon) {
    wait_until("the wait for the lock", || servers.value(SESSIONS).as_deref() == Some("(1,t)"));
    let begun = Instant::now();
    let log = daemon.stop();
    assert!(begun.elapsed() < LIMIT, "{:?}\n{log}", begun.elapsed());
    wait_until("the session's end", || servers.value(SESSIONS).as_deref() == Some("(0,f)"));
}

/// A PostgreSQL of which no process that the daemon talks to runs, and none that could take a
/// connection, until this is dropped.
struct Frozen<'s> {
    servers: &'s Servers,
    backends: Vec<i32>,
}

impl<'s> Frozen<'s> {
    fn new(servers: &'s Servers) -> Self {
        let sql = "SELECT string_agg(pid::text, ' ') FROM pg_stat_activity \
                    WHERE application_name LIKE 'pg2etcd%'";
        let pids = servers.value(sql).expect("sessions");
        let backends = pids.split(' ').map(|pid| pid.parse().unwrap()).collect();
        let frozen = Self { servers, backends };
        frozen.signal(Signal::STOP);
        frozen
    }

    fn signal(&self, signal: Signal) {
        self.servers.signal(Part::Postgres, signal);
        for pid in &self.backends {
            // It may have ended.
            let _ = kill_process(Pid::from_raw(*pid).unwrap(), signal);
        }
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        self.signal(Signal::CONT);
    }
}

/// Stops a daemon, which has to be quick.
fn stops(daemon: Daemon) -> String {
    let begun = Instant::now();
    let log = daemon.stop();
    assert!(begun.elapsed() < LIMIT, "{:?}\n{log}", begun.elapsed());
    assert!(log.contains("Stopped by SIGTERM"), "{log}");
    log
}

#[test]
fn a_database_that_is_frozen_holds_up_no_stop_of_a_stream() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    let launch = servers.daemon();
    let mut daemon = launch.start();
    daemon.await_line("Resuming from ");
    await_equal(&servers, &TABLES);
    let frozen = Frozen::new(&servers);
    stops(daemon);
    drop(frozen);
    servers.execute("UPDATE account SET version = version + 1");
    let mut daemon = launch.start();
    daemon.await_line("Resuming from ");
    await_equal(&servers, &TABLES);
}

#[test]
fn a_database_that_is_frozen_holds_up_no_stop_of_a_dump() {
    let servers = Servers::start();
    servers.execute("CREATE TABLE t (id int PRIMARY KEY, body text)");
    servers.execute("INSERT INTO t SELECT n, repeat('x', 500) FROM generate_series(1, 100000) n");
    let daemon = servers.daemon().start();
    wait_until("some rows", || servers.revision() > 20);
    let frozen = Frozen::new(&servers);
    // What had been sent by then is soon written.
    let mut revision = 0;
    wait_until("no rows more", || {
        std::thread::sleep(Duration::from_millis(200));
        std::mem::replace(&mut revision, servers.revision()) == servers.revision()
    });
    assert_eq!(daemon.count("Dump finished"), 0, "too late");
    stops(daemon);
    drop(frozen);
}

#[test]
fn a_database_that_is_frozen_holds_up_no_stop_of_a_look_at_its_tables() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    let mut daemon = servers.daemon().set("sync.catalog_period", "100ms").start();
    daemon.await_line("Resuming from ");
    await_equal(&servers, &TABLES);
    let frozen = Frozen::new(&servers);
    // The next look waits for an answer by then.
    std::thread::sleep(Duration::from_secs(1));
    stops(daemon);
    drop(frozen);
}

#[test]
fn a_server_that_says_nothing_holds_up_no_stop() {
    let servers = Servers::start();
    // The kernel takes the connections, and nobody answers: neither to the question for TLS, nor to
    // the first message.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    for sslmode in ["require", "disable"] {
        let launch = servers.daemon().set("database.port", port).set("database.sslmode", sslmode);
        let daemon = launch.set("database.connect_timeout", "10m").start();
        let (_connection, _) = silent.accept().unwrap();
        stops(daemon);
    }
}

#[test]
fn an_etcd_that_is_frozen_holds_up_no_stop_and_no_reload() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    let file = servers.folder.join("pg2etcd.toml");
    std::fs::write(&file, "").unwrap();
    let launch = servers.daemon().set("etcd.request_timeout", "10m");
    let mut daemon = launch.argument("-c").argument(file.to_str().unwrap()).start();
    daemon.await_line("Resuming from ");
    await_equal(&servers, &TABLES);
    servers.signal(Part::Etcd, Signal::STOP);
    servers.execute("UPDATE account SET version = version + 1");
    std::thread::sleep(Duration::from_millis(500));
    std::fs::write(&file, "sync.writers = 2").unwrap();
    daemon.signal(Signal::HUP);
    daemon.await_line("Settings read again: sync.writers = 2");
    std::thread::sleep(Duration::from_millis(500));
    stops(daemon);
    servers.signal(Part::Etcd, Signal::CONT);
}
