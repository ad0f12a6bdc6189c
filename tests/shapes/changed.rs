//! Shapes that change while the table is copied.

use std::time::Duration;

use rustix::process::Signal;

use super::copy::{Copy, with_blocks};
use crate::support::{Proxy, wait_until};

const SCHEMA: &str = "CREATE TABLE item (id int PRIMARY KEY, name text, n int);
    INSERT INTO item SELECT i, 'name' || i, i FROM generate_series(1, 50) i;
    CREATE TABLE other (id int PRIMARY KEY); INSERT INTO other VALUES (1)";
const OTHER: &str = " UNION ALL SELECT '/copy/other/' || id, row_to_json(other)::text FROM other";

/// Each shape with the SQL that says what it gives.
const SHAPES: [(&str, &str); 6] = [
    ("", "SELECT '/copy/item/' || id, row_to_json(item)::text FROM item"),
    (
        "[tables.item]\nkey = '/items/{id}'\n",
        "SELECT '/items/' || id, row_to_json(item)::text FROM item",
    ),
    (
        "[tables.item]\nkey = '/items/{id}'\ncolumns = ['name']\n",
        "SELECT '/items/' || id, json_build_object('name', name)::text FROM item",
    ),
    (
        "[tables.item.keys]\n'i/{id}/name' = '{name}'\n'i/{id}/n' = '{n}'\n",
        "SELECT 'i/' || id || '/name', name FROM item UNION ALL SELECT 'i/' || id || '/n', n::text FROM item",
    ),
    (
        "[tables.item.keys]\n'i/{id}/n' = '{n}'\n'/copy/item/{id}' = '{name}'\n",
        "SELECT 'i/' || id || '/n', n::text FROM item UNION ALL SELECT '/copy/item/' || id, name FROM item",
    ),
    ("", "SELECT '/copy/item/' || id, row_to_json(item)::text FROM item"),
];

/// The daemon ends when the stream has written rows in the new shape, and before the table is compared.
#[test]
fn a_shape_that_was_in_use_for_a_moment_leaves_nothing_behind() {
    let (blocks, oracle) = SHAPES[1];
    let copy = Copy::new(SCHEMA, blocks, &format!("{oracle}{OTHER}"));
    let daemon = copy.start();
    copy.await_equal();
    daemon.stop();
    copy.servers.execute("DELETE FROM item WHERE id = 50");
    for id in 1..50 {
        copy.servers.execute(&format!("UPDATE item SET n = n + 1 WHERE id = {id}"));
    }
    let proxy = Proxy::before(copy.servers.etcd_port);
    let slow = with_blocks(&copy.servers, "")
        .set("etcd.endpoints", format!("127.0.0.1:{}", proxy.port))
        .set("etcd.max_txn_ops", 4);
    proxy.delay(Duration::from_millis(50));
    let mut daemon = slow.start();
    daemon.await_line("Resuming from ");
    wait_until("a row in the new shape", || copy.found().contains_key("/copy/item/1"));
    daemon.kill();
    with_blocks(&copy.servers, blocks);
    let mut daemon = copy.start();
    daemon.await_line("Comparing table public.item: its block in the settings changed");
    copy.await_equal();
    copy.verify();
    daemon.stop();
}

#[test]
fn a_changed_shape_is_written_and_the_old_keys_go() {
    for redump in [false, true] {
        let others = ["/items/", "/items/1/x", "i/1", "i/1/name/x"];
        let mut copy =
            Copy::new(SCHEMA, "", &format!("{}{OTHER}", SHAPES[0].1)).with_others(&others);
        let first = copy.start();
        copy.await_equal();
        first.stop();
        for (blocks, oracle) in &SHAPES[1..] {
            // What changes while nobody looks comes out in the new shape.
            copy.servers.execute("UPDATE item SET n = n + 1 WHERE id < 5; DELETE FROM item WHERE id = (SELECT max(id) FROM item)");
            if redump {
                copy.servers.execute("SELECT pg_drop_replication_slot('pg2etcd')");
            }
            copy.launch = with_blocks(&copy.servers, blocks);
            copy.oracle = format!("{oracle}{OTHER}");
            let mut daemon = copy.start();
            if !redump {
                let line = daemon.await_line("Comparing table public.item: ");
                assert!(line.ends_with("its block in the settings changed"), "{line}");
            }
            copy.await_equal();
            copy.change("UPDATE item SET name = name || 'x' WHERE id % 2 = 0");
            copy.verify();
            daemon.stop();
            let before = copy.revisions();
            copy.start().stop();
            assert_eq!(copy.revisions(), before, "{blocks}");
        }
    }
}

#[test]
fn a_shape_that_changed_counts_after_sighup() {
    let mut copy = Copy::new(SCHEMA, SHAPES[1].0, &format!("{}{OTHER}", SHAPES[1].1));
    let mut daemon = copy.start();
    copy.await_equal();
    for ((blocks, oracle), what, at) in [
        (SHAPES[2], "[tables.public.item] has changed (", 1),
        (SHAPES[0], "[tables.public.item] is gone", 2),
        (SHAPES[3], "[tables.public.item] is new (", 3),
    ] {
        with_blocks(&copy.servers, blocks);
        daemon.signal(Signal::HUP);
        daemon.await_line(&format!("Settings read again: {what}"));
        copy.oracle = format!("{oracle}{OTHER}");
        copy.await_equal();
        copy.verify();
        with_blocks(&copy.servers, &format!("# In another line.\n{blocks}"));
        daemon.signal(Signal::HUP);
        daemon.await_lines("Settings read again: nothing has changed", at);
    }
    daemon.stop();
}

#[test]
fn a_crash_midway_leaves_nothing_behind() {
    let mut copy = Copy::new(SCHEMA, "", &format!("{}{OTHER}", SHAPES[0].1));
    copy.servers.execute("INSERT INTO item SELECT i, 'more', i FROM generate_series(100, 20000) i");
    let first = copy.start();
    copy.await_equal();
    first.stop();
    for (blocks, _) in &SHAPES[1..5] {
        copy.launch = with_blocks(&copy.servers, blocks);
        let mut daemon = copy.launch.start();
        daemon.await_line("Comparing table public.item: ");
        daemon.kill();
    }
    let (blocks, oracle) = SHAPES[2];
    copy.launch = with_blocks(&copy.servers, blocks);
    copy.oracle = format!("{oracle}{OTHER}");
    let daemon = copy.start();
    copy.await_equal();
    copy.verify();
    daemon.stop();
}

#[test]
fn what_is_taken_away_later_is_left_as_it_is() {
    let copy = Copy::new(
        "CREATE TABLE item (id int PRIMARY KEY, name text); ALTER TABLE item REPLICA IDENTITY FULL;
         INSERT INTO item VALUES (1, 'a'), (2, 'b'); CREATE TABLE other (id int PRIMARY KEY)",
        "[tables.item]\nkey = '/items/{id}/{name}'\nvalue = '{name}'\n",
        "SELECT '/items/' || id || '/' || name, name FROM item UNION ALL SELECT '/copy/other/' || id, row_to_json(other)::text FROM other",
    );
    let launch = copy.launch.clone().set("sync.catalog_period", "200ms");
    let mut daemon = launch.start();
    daemon.await_line("Resuming from ");
    copy.await_equal();
    let kept = copy.found();
    copy.servers.execute("ALTER TABLE item REPLICA IDENTITY DEFAULT");
    let line = daemon.await_line("Leaving table public.item out: ");
    assert!(
        line.contains("shapes.toml:1: tables.public.item: /items/{id}/{name} has column name"),
        "{line}"
    );
    daemon.await_line("Leaving the keys of table item as they are");
    copy.servers.execute("UPDATE item SET name = 'c' WHERE id = 1; INSERT INTO other VALUES (1)");
    crate::support::caught_up(&copy.servers);
    assert!(kept.iter().all(|(key, value)| copy.found().get(key) == Some(value)));
    daemon.stop();
    // That shape was in use: a start goes on as well.
    let mut daemon = launch.start();
    daemon.await_line("Leaving the keys of table item as they are");
    let (status, report, _) = launch.ask(&["check"]);
    assert!(report.contains("public.item is left out: "), "{status} {report}");
    assert!(kept.iter().all(|(key, value)| copy.found().get(key) == Some(value)));
    copy.servers
        .execute("ALTER TABLE item REPLICA IDENTITY FULL; UPDATE item SET name = 'd' WHERE id = 2");
    copy.await_equal();
    // A table that is made where the keyspace is.
    copy.servers.execute("DROP TABLE item");
    daemon.await_line("Leaving the keys of table item as they are");
    daemon.stop();
}
