//! A stop ends the daemon within five seconds, whatever it waits for.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{Daemon, Part, Servers, wait_until};

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

/// Stops a daemon once it waits for a lock. It leaves no query behind that goes on waiting.
fn stops_while_locked(servers: &Servers, daemon: Daemon) {
    wait_until("the wait for the lock", || servers.value(SESSIONS).as_deref() == Some("(1,t)"));
    let begun = Instant::now();
    let log = daemon.stop();
    assert!(begun.elapsed() < LIMIT, "{:?}\n{log}", begun.elapsed());
    wait_until("the session's end", || servers.value(SESSIONS).as_deref() == Some("(0,f)"));
}
