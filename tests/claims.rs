//! Whose keys are whose: two copies never write, or delete, the same ones.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::support::{
    CHECKPOINT, Daemon, Launch, Proxy, Servers, assert_equal, await_equal, wait_for, wait_until,
};

/// A table of this many rows, in the database of this name.
fn table(servers: &Servers, database: &str, name: &str, rows: u32) {
    let sql = format!(
        "CREATE TABLE {name} (id int PRIMARY KEY); INSERT INTO {name} SELECT generate_series(1, {rows})"
    );
    servers.sql_on(database).batch_execute(&sql).unwrap();
}

/// A copy of another database of the same cluster.
fn other(servers: &Servers) -> Launch {
    servers.sql_on("postgres").batch_execute("CREATE DATABASE other").unwrap();
    servers.daemon().set("database.name", "other").set("sync.slot", "other")
}

fn copied(launch: &Launch) -> Daemon {
    let mut daemon = launch.clone().set("sync.catalog_period", "300ms").start();
    daemon.await_line("Resuming from ");
    daemon
}

/// Waits until the keys of these tables, of the database `postgres`, are their rows.
#[track_caller]
fn await_rows(servers: &Servers, tables: &[&str]) {
    for table in tables {
        wait_for(table, || {
            let rows = servers.sql().query(&format!("SELECT id FROM {table}"), &[]).unwrap();
            let key = |row: postgres::Row| format!("/copy/{table}/{}", row.get::<_, i32>(0));
            let rows: BTreeSet<_> = rows.into_iter().map(key).collect();
            let keys: BTreeSet<_> = servers.keys(&format!("/copy/{table}/")).into_keys().collect();
            if rows == keys { Ok(()) } else { Err(format!("{rows:?}\n{keys:?}")) }
        });
    }
}

/// The claims: the keyspaces, percent-encoded, with the slot and the table of each.
fn claims(servers: &Servers) -> Vec<(String, String, String)> {
    let claim = |(key, value): (String, String)| {
        let keyspace = key.strip_prefix("/.pg2etcd/claims/").unwrap().to_owned();
        let claim: Value = serde_json::from_str(&value).unwrap();
        let members: Vec<_> = claim.as_object().unwrap().keys().map(String::as_str).collect();
        let expected = ["database", "slot", "state_path", "system_identifier", "table"];
        assert!(expected.iter().all(|name| members.contains(name)), "{value}");
        let text = |name: &str| claim[name].as_str().unwrap().to_owned();
        (keyspace, text("slot"), text("table"))
    };
    servers.keys("/.pg2etcd/claims/").into_iter().map(claim).collect()
}

fn claim(keyspace: &str, slot: &str, table: &str) -> (String, String, String) {
    (keyspace.to_owned(), slot.to_owned(), table.to_owned())
}

/// It must be refused with these words, at both commands, and change nothing.
#[track_caller]
fn refused(servers: &Servers, launch: &Launch, words: &[&str]) {
    let facts = || {
        let count = |from: &str| servers.value(&format!("SELECT count(*) FROM {from}"));
        let mut keys = servers.mod_revisions("/");
        // The position of a daemon that runs follows the WAL.
        keys.retain(|key, _| !key.starts_with("/.pg2etcd/pg2etcd/"));
        (count("pg_replication_slots"), count("pg_publication"), keys)
    };
    let before = facts();
    let (status, log) = launch.run();
    assert_eq!(status, 2, "{log}");
    let (exit, report, _) = launch.ask(&["check", "-q"]);
    assert_eq!(exit, 1, "{report}");
    assert!(report.contains("FAIL start"), "{report}");
    for word in words {
        assert!(log.contains(word), "{word}: {log}");
        assert!(report.contains(word), "{word}: {report}");
    }
    assert_eq!(facts(), before, "something was changed");
}

#[test]
fn a_table_of_the_same_name_below_the_same_path_is_refused() {
    let servers = Servers::start();
    let other = other(&servers);
    table(&servers, "postgres", "t", 9);
    table(&servers, "other", "t", 3);
    let daemon = copied(&servers.daemon());
    assert_eq!(claims(&servers), [claim("%2Fcopy%2Ft%2F", "pg2etcd", "public.t")]);
    let both = ["database postgres (slot pg2etcd", "database other (slot other"];
    refused(&servers, &other, &[&both[..], &["/copy/t/", "etcd.path", "pg2etcd drop"]].concat());
    let publications = "SELECT count(*) FROM pg_publication";
    let made: i64 = servers.sql_on("other").query_one(publications, &[]).unwrap().get(0);
    assert_eq!(made, 0, "a publication was made");
    await_rows(&servers, &["t"]);

    // Tables that differ share the path.
    servers.sql_on("other").batch_execute("ALTER TABLE t RENAME TO u").unwrap();
    let beside = copied(&other);
    assert_eq!(servers.keys("/copy/u/").len(), 3);
    let claimed = [
        claim("%2Fcopy%2Ft%2F", "pg2etcd", "public.t"),
        claim("%2Fcopy%2Fu%2F", "other", "public.u"),
    ];
    assert_eq!(claims(&servers), claimed);
    await_rows(&servers, &["t"]);
    beside.stop();
    daemon.stop();

    // The cure: the keys are free once the other copy has dropped them.
    servers.sql_on("other").batch_execute("ALTER TABLE u RENAME TO t").unwrap();
    refused(
        &servers,
        &other.clone().set("sync.slot", "third").set("sync.publication", "third"),
        &both[..1],
    );
    assert_eq!(servers.daemon().ask(&["drop", "-k"]).0, 0);
    let daemon = copied(&other);
    wait_until("the keys of the renamed table", || {
        servers.keys("/copy/t/").len() == 3 && servers.keys("/copy/u/").is_empty()
    });
    daemon.stop();
}

#[test]
fn a_path_inside_another_copys_keys_or_around_them_is_refused() {
    let servers = Servers::start();
    let other = other(&servers);
    table(&servers, "postgres", "t", 3);
    table(&servers, "other", "b", 3);
    copied(&servers.daemon().set("etcd.path", "a/b")).stop();
    assert_eq!(servers.keys("/a/b/t/").len(), 3);
    // Around: the table b below a.
    refused(&servers, &other.clone().set("etcd.path", "a"), &["/a/b/", "/a/b/t/"]);
    // Inside: any table below a/b/t.
    refused(&servers, &other.clone().set("etcd.path", "a/b/t"), &["/a/b/t/", "/a/b/t/b/"]);
    copied(&other.set("etcd.path", "a/b/tt")).stop();
    assert_eq!(servers.keys("/a/b/t/").len(), 3);
}

#[test]
fn keys_that_nobody_claims_are_taken_over_only_if_that_is_set() {
    let servers = Servers::start();
    table(&servers, "postgres", "t", 3);
    for key in ["/copy/t/1", "/copy/t/a", "/copy/t/b/c", "/copy/t/d", "/copy/other"] {
        servers.put(key, "mine");
    }
    let launch = servers.daemon();
    let named = ["/copy/t/1, /copy/t/a, /copy/t/b/c", "sync.adopt = true", "etcd.path"];
    refused(&servers, &launch, &named);
    copied(&launch.clone().set("sync.adopt", "true")).stop();
    let keys: Vec<_> = servers.keys("/copy/").into_keys().collect();
    assert_eq!(keys, ["/copy/other", "/copy/t/1", "/copy/t/2", "/copy/t/3"]);
    // From then on they are its own, whatever becomes of the position.
    servers.delete("/.pg2etcd/pg2etcd/checkpoint");
    copied(&launch).stop();
    await_rows(&servers, &["t"]);
}

#[test]
fn a_copy_of_a_version_without_claims_claims_what_its_records_name() {
    let servers = Servers::start();
    let other = other(&servers);
    table(&servers, "postgres", "t", 3);
    table(&servers, "postgres", "gone", 3);
    table(&servers, "other", "t", 3);
    let launch = servers.daemon();
    copied(&launch).stop();
    let forget = || servers.run_etcdctl(&["del", "--prefix", "/.pg2etcd/claims/"]);
    forget();
    servers.execute("DROP TABLE gone");
    let daemon = copied(&launch);
    wait_until("the keys of the table that is gone", || servers.keys("/copy/gone/").is_empty());
    wait_until("one claim", || {
        claims(&servers) == [claim("%2Fcopy%2Ft%2F", "pg2etcd", "public.t")]
    });
    daemon.stop();
    // Its slot is lost too, or its dump was not finished.
    forget();
    servers.execute("SELECT pg_drop_replication_slot('pg2etcd')");
    copied(&launch).stop();
    forget();
    let key = "/.pg2etcd/pg2etcd/checkpoint";
    let position = servers.keys(key).remove(key).unwrap();
    servers.put(key, &position.replace("\"sync\"", "\"dump\""));
    servers.delete("/.pg2etcd/pg2etcd/tables/t");
    copied(&launch).stop();
    assert_equal(&servers, &["t"]);
    // Two such copies: the second that comes is told.
    forget();
    servers.run_etcdctl(&["del", "--prefix", "/copy/"]);
    copied(&other).stop();
    refused(&servers, &launch, &["/copy/t/", "database other"]);
}

#[test]
fn drop_removes_what_this_copy_claims_and_nothing_else() {
    let servers = Servers::start();
    let other = other(&servers);
    table(&servers, "postgres", "t", 3);
    table(&servers, "other", "u", 2);
    let launch = servers.daemon();
    copied(&launch).stop();
    copied(&other).stop();
    // A table that is published, and that no daemon has copied.
    table(&servers, "postgres", "late", 1);
    servers.put("/copy/late/1", "mine");
    let (_, would, _) = launch.ask(&["drop", "-nk"]);
    assert!(would.contains("Would remove 3 keys below /copy/t/\n"), "{would}");
    assert!(would.contains("Would remove 1 claims below /.pg2etcd/claims/\n"), "{would}");
    let (status, result, message) = launch.ask(&["drop"]);
    assert_eq!(status, 0, "{message}");
    assert!(result.contains("Removed 1 claims below /.pg2etcd/claims/\n"), "{result}");
    assert_eq!(servers.keys("/copy/t/").len(), 3);
    assert_eq!(claims(&servers), [claim("%2Fcopy%2Fu%2F", "other", "public.u")]);
    // They are nobody's now.
    let words = ["/copy/t/1, /copy/t/2, /copy/t/3", "sync.adopt"];
    refused(&servers, &launch, &words);
    servers.delete("/copy/late/1");
    copied(&launch.clone().set("sync.adopt", "true")).stop();
    assert_eq!(launch.ask(&["drop", "-k"]).0, 0);
    let left: Vec<_> = servers.keys("/copy/").into_keys().collect();
    assert_eq!(left, ["/copy/u/1", "/copy/u/2"]);
}

#[test]
fn a_table_that_comes_later_is_left_out_if_its_keys_are_not_free() {
    let servers = Servers::start();
    let other = other(&servers);
    table(&servers, "postgres", "t", 3);
    table(&servers, "other", "u", 2);
    copied(&other).stop();
    servers.put("/copy/v/mine", "mine");
    let launch = servers.daemon();
    let mut daemon = copied(&launch);
    for name in ["u", "v", "w"] {
        table(&servers, "postgres", name, 7);
    }
    servers.execute("INSERT INTO u VALUES (8); INSERT INTO v VALUES (8); INSERT INTO w VALUES (8)");
    daemon.await_line("Leaving table public.u out: ");
    let line = daemon.await_line("Leaving table public.v out: ");
    assert!(line.contains("/copy/v/mine") && line.contains("sync.adopt"), "{line}");
    await_rows(&servers, &["t", "w"]);
    assert_eq!(servers.keys("/copy/u/").len(), 2);
    assert_eq!(servers.keys("/copy/v/").len(), 1);
    let (status, text, _) = launch.ask(&["status"]);
    assert_eq!(status, 1, "{text}");
    let (exit, report, _) = launch.ask(&["check", "-q"]);
    assert_eq!(exit, 1, "{report}");
    for table in ["public.u", "public.v"] {
        assert!(
            text.lines().any(|line| line.starts_with("not_copied") && line.contains(table)),
            "{text}"
        );
        assert!(
            report.lines().any(|line| line.starts_with("FAIL start") && line.contains(table)),
            "{report}"
        );
    }
    let (status, _, message) = launch.ask(&["verify"]);
    assert_eq!(status, 0, "{message}");
    assert!(message.contains("table public.u is left out"), "{message}");
    // A start and a redump leave them out too, and the others go on.
    daemon.stop();
    let mut daemon = copied(&launch);
    daemon.await_line("Leaving table public.u out: ");
    servers.execute("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots");
    daemon.await_lines("Resuming from ", 2);
    daemon.stop();
    servers.execute("SELECT pg_drop_replication_slot('pg2etcd')");
    let mut daemon = copied(&launch);
    servers.execute(
        "INSERT INTO t VALUES (100); INSERT INTO u VALUES (100); INSERT INTO v VALUES (100)",
    );
    await_rows(&servers, &["t", "w"]);
    assert_eq!(servers.keys("/copy/u/").len(), 2);
    // Once they are free, they are copied.
    servers.delete("/copy/v/mine");
    await_rows(&servers, &["t", "v", "w"]);
    assert_eq!(other.ask(&["drop", "-k"]).0, 0);
    await_rows(&servers, &["t", "u", "v", "w"]);
    servers.execute("INSERT INTO u VALUES (101); DELETE FROM v WHERE id < 5");
    await_rows(&servers, &["t", "u", "v", "w"]);
    assert_eq!(launch.ask(&["status"]).0, 0);
    daemon.await_line("Leaving table public.v out: ");
    assert_eq!(daemon.stop().matches("Leaving table public.v out: ").count(), 1);
}

#[test]
fn the_claim_of_a_table_that_is_gone_is_given_up() {
    let servers = Servers::start();
    table(&servers, "postgres", "t", 3);
    table(&servers, "postgres", "u", 3);
    let launch = servers.daemon();
    let daemon = copied(&launch);
    assert_eq!(claims(&servers).len(), 2);
    servers.execute("DROP TABLE u");
    let only = [claim("%2Fcopy%2Ft%2F", "pg2etcd", "public.t")];
    wait_until("one claim", || claims(&servers) == only);
    assert!(servers.keys("/copy/u/").is_empty());
    // It comes and goes between two looks.
    table(&servers, "postgres", "v", 3);
    wait_until("the claim of the new table", || claims(&servers).len() == 2);
    servers.execute("DROP TABLE v");
    wait_until("one claim", || claims(&servers) == only);
    daemon.stop();
    // One that goes while no daemon runs, and the slot with it.
    servers.execute("DROP TABLE t; SELECT pg_drop_replication_slot('pg2etcd')");
    table(&servers, "postgres", "w", 3);
    copied(&launch).stop();
    assert_eq!(claims(&servers), [claim("%2Fcopy%2Fw%2F", "pg2etcd", "public.w")]);
    assert_equal(&servers, &["w"]);
}

/// With its drop the load ends, however the test does.
struct End<'s>(&'s AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A table that is back when its keys are deleted, and whose rows go on to come.
#[test]
fn a_table_that_is_back_while_its_keys_are_deleted_is_claimed_anew() {
    let servers = Servers::start();
    servers.execute(
        "CREATE TABLE t (id serial PRIMARY KEY); INSERT INTO t DEFAULT VALUES; CREATE PUBLICATION pg2etcd FOR TABLE t",
    );
    let proxy = Proxy::before(servers.etcd_port);
    let launch = servers.daemon().set("etcd.endpoints", format!("127.0.0.1:{}", proxy.port));
    let mut daemon = launch.set("sync.catalog_period", "100ms").start();
    daemon.await_line("Resuming from ");
    proxy.delay(Duration::from_millis(100));
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _end = End(&stop);
        scope.spawn(|| {
            let mut sql = servers.sql();
            while !stop.load(Ordering::Relaxed) {
                sql.batch_execute("INSERT INTO t DEFAULT VALUES; SELECT pg_sleep(0.002)").unwrap();
            }
        });
        // Once a look has begun since, and before it has gone on.
        let await_look = || {
            let now = servers.value("SELECT clock_timestamp()").unwrap();
            let looked = format!(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pg2etcd'
                    AND query LIKE 'SELECT pg_current_wal_lsn()%' AND query_start > '{now}'"
            );
            wait_until("a look", || servers.value(&looked).as_deref() == Some("1"));
        };
        let deleting = "Deleting the keys of table t: it is no longer published";
        while daemon.count(deleting) == 0 {
            servers.execute("ALTER PUBLICATION pg2etcd DROP TABLE t");
            await_look();
            servers.execute("ALTER PUBLICATION pg2etcd ADD TABLE t");
            await_look();
        }
        wait_until("the table to be compared", || {
            assert_eq!(daemon.count("Leaving"), 0, "{}", daemon.output());
            let lines = daemon.lines();
            let begin = lines.iter().rposition(|line| line.contains(deleting)).unwrap();
            lines[begin..].iter().any(|line| line.contains("Compared table public.t"))
        });
    });
    proxy.delay(Duration::ZERO);
    await_equal(&servers, &["t"]);
    assert_eq!(claims(&servers).len(), 1);
    servers.execute("INSERT INTO t DEFAULT VALUES");
    assert_equal(&servers, &["t"]);
    daemon.stop();
}

#[test]
fn a_changed_path_takes_its_keys_along() {
    let servers = Servers::start();
    table(&servers, "postgres", "t", 3);
    table(&servers, "postgres", "b", 3);
    let launch = servers.daemon();
    copied(&launch).stop();
    servers.put("/copy/r1/mine", "mine");
    // Its own key is in the way, and stays if it is not adopted.
    servers.put("/new/t/mine", "mine");
    let moved = launch.clone().set("etcd.path", "new");
    let (status, log) = moved.run();
    assert!(status == 2 && log.contains("etcd.path") && log.contains("drop"), "{log}");
    assert_eq!(moved.ask(&["resync"]).0, 0);
    refused(&servers, &moved, &["/new/t/mine"]);
    servers.delete("/new/t/mine");
    let mut daemon = copied(&moved);
    daemon.await_line("Dump finished");
    let keys = |prefix: &str| servers.keys(prefix).into_keys().collect::<Vec<_>>();
    assert_eq!(keys("/copy/"), ["/copy/r1/mine"]);
    assert_eq!(keys("/new/").len(), 6);
    let claimed = claims(&servers).into_iter().map(|(keyspace, ..)| keyspace).collect::<Vec<_>>();
    assert_eq!(claimed, ["%2Fnew%2Fb%2F", "%2Fnew%2Ft%2F"]);
    daemon.stop();

    // Inside the keys of a table of its own: /new/b/ has those of the old b.
    let inside = launch.set("etcd.path", "new/b");
    assert_eq!(inside.ask(&["resync"]).0, 0);
    copied(&inside).stop();
    let expected = ["b/1", "b/2", "b/3", "t/1", "t/2", "t/3"].map(|key| format!("/new/b/{key}"));
    assert_eq!(keys("/new/"), expected);
    assert_eq!(keys("/copy/"), ["/copy/r1/mine"]);
    assert_eq!(claims(&servers).len(), 2);
}

#[test]
fn two_clusters_with_the_same_settings_do_not_share_keys() {
    let servers = Servers::start();
    table(&servers, "postgres", "t", 9);
    let launch = servers.daemon();
    copied(&launch).stop();
    servers.put("/copy/t/theirs", "{}");
    // What is there is of another cluster: the one that is here has the same settings.
    for (key, value) in servers.keys("/.pg2etcd/") {
        let value = value.replace("\"system_identifier\":\"", "\"system_identifier\":\"1");
        servers.put(&key, &value);
    }
    servers.execute("SELECT pg_drop_replication_slot('pg2etcd'); DROP PUBLICATION pg2etcd");
    refused(&servers, &launch, &["the PostgreSQL cluster is", "another etcd.path", "pg2etcd drop"]);
    // Another slot is not enough, nor is it to begin anew.
    let words = ["/copy/t/", "another copy", "slot pg2etcd", "another etcd.path"];
    let second = launch.clone().set("sync.slot", "second");
    refused(&servers, &second, &words);
    let (position, value) = servers.keys(CHECKPOINT).pop_first().unwrap();
    servers.delete(&position);
    refused(&servers, &launch, &words);
    let (status, result, message) = launch.ask(&["drop", "-k"]);
    assert_eq!(status, 0, "{message}");
    assert!(!result.contains("keys below") && !result.contains("claims"), "{result}");
    servers.put(&position, &value);
    copied(&second.set("etcd.path", "second")).stop();
    assert_eq!((servers.keys("/second/").len(), servers.keys("/copy/").len()), (9, 10));
    // Told to, it becomes a copy of this cluster, claims and all.
    assert_eq!(launch.ask(&["resync"]).0, 0);
    copied(&launch).stop();
    await_rows(&servers, &["t"]);
    copied(&launch).stop();
    assert_eq!(launch.ask(&["drop", "-k"]).0, 0);
    assert_eq!((servers.keys("/copy/").len(), claims(&servers).len()), (0, 1));
}
