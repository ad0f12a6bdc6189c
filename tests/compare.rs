//! Tables that are compared in turn, though nothing asks for it.

use crate::support::{
    Load, Random, SCHEMA, Servers, TABLES, assert_equal, await_equal, wait_until,
};

const TOTAL: &str = "pg2etcd_compare_differences_total";

#[test]
fn what_others_did_to_the_copy_is_found_repaired_and_counted() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    let launch = servers.daemon().set("status.listen", "127.0.0.1:0");
    let mut daemon = launch.set("sync.compare_period", "1s").start();
    let pages = daemon.pages();
    daemon.await_line("Resuming from ");
    await_equal(&servers, &TABLES);
    servers.put("/copy/account/5", "{}");
    servers.delete("/copy/account/6");
    servers.put("/copy/account/stray", "{}");
    let line = daemon.await_line("Table public.account was not as in the database");
    assert!(line.contains("WARN"), "{line}");
    await_equal(&servers, &TABLES);
    let of = |kind| format!("{TOTAL}{{kind=\"{kind}\",table=\"public.account\"}}");
    wait_until("all kinds", || {
        ["missing", "stale", "differs"].iter().all(|kind| pages.metric(&of(kind)) == 1.0)
    });
    // Each table has its turn, and when that was is in its record.
    let record = |servers: &Servers| {
        let keys = servers.keys("/.pg2etcd/pg2etcd/");
        keys.iter().find(|(key, _)| key.ends_with("/part")).map(|(_, value)| value.clone())
    };
    let first = record(&servers).unwrap();
    assert!(first.contains("\"compared_at\":"), "{first}");
    wait_until("another turn", || record(&servers).unwrap() != first);
    assert_eq!(daemon.count("Redumping"), 0);
}

#[test]
fn a_busy_database_gives_no_false_alarm() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    let launch = servers.daemon().set("status.listen", "127.0.0.1:0").argument("-v");
    let mut daemon = launch.set("sync.compare_period", "1ms").start();
    let pages = daemon.pages();
    daemon.await_line("Resuming from ");
    let mut random = Random::new();
    let load = Load::start(&servers, &mut random, 1);
    daemon.await_lines("Compared table ", 3);
    assert!(load.stop() > 0);
    assert_equal(&servers, &TABLES);
    let found = pages.metrics().into_iter().filter(|(name, _)| name.starts_with(TOTAL));
    let found: Vec<_> = found.collect();
    assert!(!found.is_empty() && found.iter().all(|(_, count)| *count == 0.0), "{found:?}");
    assert_eq!(daemon.count("was not as in the database"), 0, "{}", daemon.output());
}
