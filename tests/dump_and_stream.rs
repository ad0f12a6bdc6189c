//! Rows come to etcd by a dump, and their changes by the stream.

use crate::support::{Servers, assert_equal, caught_up, wait_until};

const TABLES: [&str; 3] = ["customer", "line", "stock.\"odd/na%m.e\""];

const SCHEMA: &str = r#"
    CREATE TABLE customer (id bigint PRIMARY KEY, name text, score numeric, since timestamptz, data jsonb);
    CREATE TABLE line ("order" int, sku text, b bool, amount float8, PRIMARY KEY (sku, "order", b));
    CREATE SCHEMA stock;
    CREATE TABLE stock."odd/na%m.e" (key text PRIMARY KEY, tags text[]);
    INSERT INTO customer
        SELECT n, 'c' || n, n * 1.10, timestamptz '2024-01-01' + n * interval '1 s', jsonb_build_object('n', n)
          FROM generate_series(1, 500) n;
    INSERT INTO line SELECT n % 10, 'a/b%c ' || n, n % 2 = 0, n / 3.0 FROM generate_series(1, 300) n;
    INSERT INTO stock."odd/na%m.e"
        VALUES ('', '{}'), ('/', '{a,"b c",NULL}'), ('%2F', NULL), ('ä/ö%', '{"\"",\\\\}');
"#;

#[test]
fn dump_then_stream() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    let mut daemon = servers.daemon().start();
    daemon.await_line("Dump finished");
    assert_equal(&servers, &TABLES);
    for change in [
        "INSERT INTO customer (id, name) SELECT n, 'new' FROM generate_series(501, 900) n",
        "UPDATE customer SET score = score + 0.01, name = NULL WHERE id % 3 = 0",
        "DELETE FROM customer WHERE id % 5 = 0",
        // A key that moves, one that moves to where another was, two that swap, and one that moves twice.
        "UPDATE customer SET id = -id WHERE id < 20",
        "BEGIN; DELETE FROM customer WHERE id = 101; UPDATE customer SET id = 101 WHERE id = 102; COMMIT",
        "BEGIN; UPDATE customer SET id = 0 WHERE id = 201; UPDATE customer SET id = 201 WHERE id = 202;
                UPDATE customer SET id = 202 WHERE id = 0; COMMIT",
        "BEGIN; DELETE FROM customer WHERE id = 301; INSERT INTO customer (id) VALUES (301);
                UPDATE customer SET name = 'back' WHERE id = 301; COMMIT",
        r#"UPDATE line SET sku = 'p/q', "order" = "order" + 1000 WHERE sku = 'a/b%c 7'"#,
        "UPDATE line SET b = NOT b WHERE amount < 10",
        r#"UPDATE stock."odd/na%m.e" SET key = key || '/%' WHERE key <> ''"#,
        "BEGIN; DELETE FROM line; ROLLBACK",
        "BEGIN; UPDATE customer SET name = 'kept'; SAVEPOINT s; DELETE FROM customer; ROLLBACK TO s; COMMIT",
        "DELETE FROM line",
        "INSERT INTO line VALUES (1, '', true, 'NaN'), (2, '%2F', false, '-Infinity')",
    ] {
        servers.execute(change);
        assert_equal(&servers, &TABLES);
    }
    daemon.stop();
}

#[test]
fn a_database_that_changes_while_it_is_dumped() {
    let servers = Servers::start();
    servers.execute(
        "CREATE TABLE t (id int PRIMARY KEY, n int);
         INSERT INTO t SELECT n, 0 FROM generate_series(1, 30000) n",
    );
    let mut daemon = servers.daemon().start();
    // From the slot on, what commits is no part of the snapshot.
    wait_until("the slot", || {
        servers.value("SELECT count(*) FROM pg_replication_slots").as_deref() == Some("1")
    });
    for step in 1..=20 {
        servers.execute(&format!(
            "UPDATE t SET n = n + 1 WHERE id % 20 = {step}; DELETE FROM t WHERE id = {step} * 7;
             INSERT INTO t VALUES (100000 + {step}, 0)"
        ));
    }
    daemon.await_line("Dump finished");
    assert_equal(&servers, &["t"]);
}

#[test]
fn the_documented_form_of_keys_values_and_position() {
    let servers = Servers::start();
    servers.execute(
        "CREATE TABLE a (x text, y bool, PRIMARY KEY (y, x)); CREATE SCHEMA \"s.1\";
         CREATE TABLE \"s.1\".\"t/2\" (id int PRIMARY KEY, v numeric);
         INSERT INTO a VALUES ('p/q%', true); INSERT INTO \"s.1\".\"t/2\" VALUES (7, 1.10)",
    );
    let mut daemon = servers.daemon().start();
    daemon.await_line("Dump finished");
    assert_equal(&servers, &["a", "\"s.1\".\"t/2\""]);
    let found: Vec<_> = servers.keys("/copy/").into_iter().collect();
    let expected = [
        ("/copy/a/t/p%2Fq%25", r#"{"x":"p/q%","y":true}"#),
        ("/copy/s%2E1.t%2F2/7", r#"{"id":7,"v":1.10}"#),
    ];
    assert_eq!(found, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    let position = servers.position().unwrap();
    let facts = "SELECT system_identifier || ' ' || timeline_id FROM pg_control_system(), pg_control_checkpoint()";
    let identity = format!("{} {}", position.system_identifier, position.timeline);
    assert_eq!(Some(identity), servers.value(facts));
    assert_eq!((position.version, position.phase.as_str()), (1, "sync"));
    assert_eq!((position.database.as_str(), position.path.as_str()), ("postgres", "copy"));
    assert_eq!((position.slot.as_str(), position.publication.as_str()), ("pg2etcd", "pg2etcd"));
    assert!(position.made_publication && position.partial.is_none());
    let age = format!("SELECT now() - '{}'::timestamptz < '5 min'", position.committed_at);
    assert_eq!(servers.value(&age).as_deref(), Some("true"));
}

/// Where a txn is all that is to be done, the thread that has packed it posts it.
#[test]
fn a_commit_by_itself_wakes_no_second_thread() {
    const COMMITS: u64 = 100;
    let servers = Servers::start();
    servers.execute("CREATE TABLE t (id int PRIMARY KEY)");
    let mut daemon = servers.daemon().start();
    daemon.await_line("Resuming from ");
    // The first goes by the lane's own thread, which makes the connection.
    let mut before = 0;
    for id in 0..COMMITS {
        servers.execute(&format!("INSERT INTO t VALUES ({id})"));
        caught_up(&servers);
        if id == COMMITS / 10 {
            before = daemon.waits_of("write 0");
        }
    }
    // On a machine that does other things etcd may not be quick.
    let waits = daemon.waits_of("write 0") - before;
    assert!(waits < COMMITS / 2, "{waits} waits");
    assert_equal(&servers, &["t"]);
}
