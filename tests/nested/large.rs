//! Large documents: many rows in one of them, and one that no request can hold.

use crate::shapes::copy::Copy;
use crate::support::{caught_up, wait_until};

const SCHEMA: &str = "CREATE TABLE orders (id int PRIMARY KEY, note text);
    CREATE TABLE items (order_id int REFERENCES orders, line int, sku text, PRIMARY KEY (order_id, line));
    INSERT INTO orders SELECT n, 'a' FROM generate_series(1, 5) n;
    INSERT INTO items SELECT o, l, 's' || o || l FROM generate_series(1, 3) o, generate_series(1, 3) l";
const BLOCKS: &str = "[tables.orders]\nkey = '/o/{id}'\nnest.items = { table = 'items', omit = ['order_id'] }\n\
    [tables.items]\nstandalone = false\n";
const ORACLE: &str = "SELECT '/o/' || id, json_build_object('id', id, 'note', note, 'items', (SELECT coalesce(
    json_agg(json_build_object('line', line, 'sku', sku) ORDER BY line), '[]') FROM items WHERE order_id = id))::text FROM orders";

/// Changes of thousands of rows that all belong into one document.
const CHANGES: [&str; 6] = [
    "INSERT INTO items SELECT 1, n, 'new' FROM generate_series(10, 6009) n",
    "UPDATE items SET sku = 'changed' || line WHERE order_id = 1",
    "UPDATE items SET line = line + 10000 WHERE order_id = 1 AND line > 3000",
    "DELETE FROM items WHERE order_id = 1 AND line % 2 = 0",
    "BEGIN; UPDATE items SET line = -line WHERE order_id = 1; UPDATE items SET sku = 'twice' WHERE order_id = 1; COMMIT",
    "DELETE FROM items WHERE order_id = 1",
];

#[test]
fn thousands_of_rows_in_one_document_are_one_version_of_it() {
    let copy = Copy::new(SCHEMA, BLOCKS, ORACLE);
    let daemon = copy.start();
    copy.await_equal();
    let begin = copy.servers.revision();
    for (count, change) in (1..).zip(CHANGES) {
        copy.change(change);
        let history = copy.servers.history("/o/", begin + 1);
        assert_eq!(history.of("/o/1").len(), count, "{change}");
        assert_eq!(history.events.len(), count, "{change}: no other document is touched");
    }
    copy.change("BEGIN; INSERT INTO items SELECT 2, n, 'x' FROM generate_series(10, 4000) n; UPDATE items SET order_id = 1 WHERE order_id = 2; COMMIT");
    assert_eq!(daemon.count("belongs into the document"), 0);
    copy.verify();
    daemon.stop();
}

/// The rows have keys of their own too, so that their transaction is written in parts, and the document with them.
#[test]
fn thousands_of_rows_in_one_document_and_under_keys_of_their_own() {
    let blocks = BLOCKS.split("[tables.items]").next().unwrap();
    let oracle = format!(
        "{ORACLE} UNION ALL SELECT concat('/copy/items/', order_id, '/', line), row_to_json(items)::text FROM items"
    );
    let copy = Copy::new(SCHEMA, blocks, &oracle);
    let daemon = copy.start();
    copy.await_equal();
    let begin = copy.servers.revision();
    for change in &CHANGES[..3] {
        copy.change(change);
    }
    let history = copy.servers.history("/o/", begin + 1);
    assert!(history.events.iter().all(|event| event.key == "/o/1"), "no other one is touched");
    assert_eq!(daemon.count("belongs into the document"), 0);
    copy.verify();
    daemon.stop();
}

#[test]
fn a_document_that_grows_past_a_request_and_shrinks_again_returns() {
    let copy = Copy::new(SCHEMA, BLOCKS, ORACLE);
    let launch = copy.launch.clone().set("etcd.max_request_bytes", "16KiB");
    let launch = launch.set("sync.oversized", "skip");
    let mut daemon = launch.start();
    daemon.await_line("Resuming from ");
    copy.await_equal();
    let is_absent = || {
        caught_up(&copy.servers);
        let found = copy.found();
        assert_eq!(found.len(), 4, "{found:?}");
        assert!(!found.contains_key("/o/1"));
    };
    let grow = "INSERT INTO items SELECT 1, n, repeat('x', 50) FROM generate_series(10, 300) n";
    let shrink = "DELETE FROM items WHERE order_id = 1 AND line >= 10";
    for (times, (grow, shrink)) in (1..).zip([
        (grow, shrink),
        // A row after the other.
        (
            "DO 'BEGIN FOR n IN 10..300 LOOP INSERT INTO items VALUES (1, n, repeat(md5(n::text), 3)); COMMIT; END LOOP; END'",
            "DO 'BEGIN FOR n IN 10..300 LOOP DELETE FROM items WHERE order_id = 1 AND line = n; COMMIT; END LOOP; END'",
        ),
        // By the parent's own columns.
        ("UPDATE orders SET note = repeat('n', 20000) WHERE id = 1", "UPDATE orders SET note = 'a' WHERE id = 1"),
        (grow, "UPDATE items SET order_id = 4 WHERE order_id = 1 AND line % 2 = 0"),
    ]) {
        let procedures = copy.servers.has(11, "COMMIT in a DO");
        if grow.starts_with("DO") && !procedures {
            continue;
        }
        copy.servers.execute(grow);
        is_absent();
        let told = daemon.await_line("/o/1");
        assert!(told.contains("max-request-bytes"), "{told}");
        // Rows go on, of others and of its own.
        copy.servers.execute(&format!("UPDATE items SET sku = 'r{times}' WHERE line < 10"));
        is_absent();
        copy.servers.execute(shrink);
        copy.await_equal();
        copy.change(&format!("UPDATE items SET sku = 's{times}' WHERE line < 10"));
    }
    // That is said once each time, not at each change of a row in it.
    assert!(daemon.count("Leaving a row out: ") < 20, "{}", daemon.output());
    assert_eq!(daemon.count("belongs into the document /o/1"), 0, "{}", daemon.output());
    // The daemon begins anew while it is absent.
    copy.servers.execute("TRUNCATE items");
    copy.await_equal();
    copy.servers.execute(grow);
    is_absent();
    daemon.stop();
    let mut daemon = launch.start();
    daemon.await_line("Resuming from ");
    is_absent();
    copy.servers.execute(shrink);
    copy.await_equal();
    daemon.stop();
    copy.verify();
}

/// Whatever else a transaction does with a document that is too large, what was in it is not forgotten.
#[test]
fn what_happens_in_a_document_that_is_too_large_is_known() {
    let schema = format!(
        "{SCHEMA}; ALTER TABLE items ALTER CONSTRAINT items_order_id_fkey DEFERRABLE INITIALLY DEFERRED"
    );
    let fitting =
        format!("SELECT * FROM ({ORACLE}) all_of_them (key, value) WHERE length(value) < 12000");
    let copy = Copy::new(&schema, BLOCKS, &fitting);
    let launch = copy.launch.clone().set("etcd.max_request_bytes", "16KiB");
    let mut daemon = launch.set("sync.oversized", "skip").start();
    daemon.await_line("Resuming from ");
    for changes in [
        // All that is too much gets another key, and goes.
        "UPDATE items SET line = line + 1000 WHERE order_id = 1 AND line >= 10; DELETE FROM items WHERE line >= 1000",
        // The same without another key.
        "UPDATE items SET sku = 'y' WHERE order_id = 1 AND line >= 10; DELETE FROM items WHERE order_id = 1 AND line >= 10",
        // A row comes into it, then another row has its key, with all that is too much.
        "INSERT INTO items VALUES (1, 400, 'new'); UPDATE orders SET id = 9 WHERE id = 1;
         INSERT INTO orders VALUES (1, 'new')",
    ] {
        copy.servers.execute(
            "INSERT INTO items SELECT 1, n, repeat('x', 50) FROM generate_series(10, 300) n",
        );
        caught_up(&copy.servers);
        let notes = || copy.servers.keys("/.pg2etcd/pg2etcd/unknown/");
        wait_until("no compare to be due", || notes().is_empty());
        assert!(!copy.found().contains_key("/o/1"));
        copy.servers.execute(&format!("BEGIN; {changes}; COMMIT"));
        copy.await_equal();
    }
    daemon.stop();
}

/// Nothing in the stream says that etcd lacks the document, but that rows come which belong into it.
#[test]
fn a_document_that_somebody_deleted_returns_with_the_next_row_in_it() {
    let copy = Copy::new(SCHEMA, BLOCKS, ORACLE);
    let daemon = copy.start();
    copy.await_equal();
    copy.servers.delete("/o/2");
    copy.servers.execute("INSERT INTO items VALUES (2, 50, 'new')");
    copy.await_equal();
    daemon.stop();
}

#[test]
fn a_document_that_no_request_can_hold_stops_it() {
    let copy = Copy::new(SCHEMA, BLOCKS, ORACLE);
    let launch = copy.launch.clone().set("etcd.max_request_bytes", "16KiB");
    let mut daemon = launch.start();
    daemon.await_line("Resuming from ");
    copy.await_equal();
    let kept = copy.found();
    copy.servers
        .execute("INSERT INTO items SELECT 1, n, repeat('x', 50) FROM generate_series(10, 400) n");
    assert_eq!(daemon.exit_status(), 2);
    for part in ["/o/1", "--max-request-bytes", "sync.oversized"] {
        assert!(daemon.output().contains(part), "{}", daemon.output());
    }
    assert_eq!(copy.found(), kept);
    // With room for it, it goes on where it was.
    wait_until("the slot to be free", || copy.servers.walsender().is_none());
    let daemon = copy.start();
    copy.await_equal();
    assert_eq!(daemon.count("ump"), 0, "{}", daemon.output());
    daemon.stop();
}

#[test]
fn what_is_right_is_not_written_again() {
    let schema =
        format!("{SCHEMA}; INSERT INTO items SELECT 4, n, 'many' FROM generate_series(1, 3000) n");
    let copy = Copy::new(&schema, BLOCKS, ORACLE);
    let daemon = copy.start();
    copy.await_equal();
    // What the stream writes is what a compare would.
    copy.change(
        "UPDATE items SET sku = 'y' WHERE line % 3 = 0; INSERT INTO items VALUES (5, 1, NULL)",
    );
    copy.change(
        "UPDATE items SET order_id = 5 WHERE line = 2000; DELETE FROM items WHERE line = 7",
    );
    let revisions = copy.revisions();
    copy.verify();
    daemon.stop();

    let mut daemon = copy.start();
    let (status, _, said) = copy.launch.ask(&["resync"]);
    assert_eq!(status, 0, "{said}");
    let line = daemon.await_line("Compared table public.orders");
    println!("{line}");
    copy.verify();
    assert_eq!(copy.revisions(), revisions, "{line}");
    daemon.stop();

    copy.servers.execute("SELECT pg_drop_replication_slot('pg2etcd')");
    let mut daemon = copy.launch.start();
    daemon.await_line("Redumping: ");
    daemon.await_line("Dump finished");
    assert_eq!(copy.revisions(), revisions);
    copy.verify();
    daemon.stop();
}
