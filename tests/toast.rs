//! Large values that an update leaves as they were, and that PostgreSQL then does not send.

use crate::support::{Proxy, Servers, assert_equal, caught_up, wait_until};

const SCHEMA: &str = "CREATE TABLE doc (id int PRIMARY KEY, n int, body text, other text);
    ALTER TABLE doc ALTER body SET STORAGE EXTERNAL, ALTER other SET STORAGE EXTERNAL;
    INSERT INTO doc SELECT n, 0, repeat('b' || n, 4000), repeat('o' || n, 3000) FROM generate_series(1, 40) n;
    CREATE TABLE full_doc (LIKE doc INCLUDING ALL); ALTER TABLE full_doc REPLICA IDENTITY FULL;
    INSERT INTO full_doc SELECT * FROM doc";
const TABLES: [&str; 2] = ["doc", "full_doc"];

const CHANGES: [&str; 9] = [
    "UPDATE $ SET n = n + 1",
    "UPDATE $ SET n = n + 1, other = repeat('p', 5000) WHERE id < 20",
    "BEGIN; UPDATE $ SET n = 5; UPDATE $ SET n = 6, body = repeat('new', 3000) WHERE id % 2 = 0;
            UPDATE $ SET n = 7; UPDATE $ SET n = 8 WHERE id < 10; COMMIT",
    // The key changes too, once and twice.
    "UPDATE $ SET id = id + 100, n = 9 WHERE id IN (3, 4, 5)",
    "BEGIN; UPDATE $ SET id = 200 WHERE id = 6; UPDATE $ SET id = 201, n = 10 WHERE id = 200; UPDATE $ SET n = 11; COMMIT",
    // Two rows swap their keys.
    "BEGIN; UPDATE $ SET id = 0 WHERE id = 7; UPDATE $ SET id = 7 WHERE id = 8; UPDATE $ SET id = 8 WHERE id = 0; COMMIT",
    "BEGIN; DELETE FROM $ WHERE id = 9; INSERT INTO $ SELECT 9, 0, repeat('again', 2000), repeat('x', 4000);
            UPDATE $ SET n = 1 WHERE id = 9; COMMIT",
    // More than one txn takes, in one transaction.
    "BEGIN; INSERT INTO $ SELECT n, 0, repeat('i' || n, 3000), '' FROM generate_series(1000, 1300) n;
            UPDATE $ SET n = n + 1; UPDATE $ SET id = id + 5000 WHERE id BETWEEN 1000 AND 1020; UPDATE $ SET n = n + 1; COMMIT",
    "BEGIN; CREATE TEMP TABLE kept ON COMMIT DROP AS TABLE $; TRUNCATE $; INSERT INTO $ TABLE kept;
            UPDATE $ SET n = n + 1; COMMIT",
];

fn changes(servers: &Servers) -> impl Iterator<Item = String> {
    let truncates = servers.has(11, "TRUNCATE in the stream");
    let changes = CHANGES.iter().filter(move |change| truncates || !change.contains("TRUNCATE"));
    changes.flat_map(|change| TABLES.map(|table| change.replace('$', table)))
}

#[test]
fn values_are_kept() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    let mut daemon = servers.daemon().start();
    daemon.await_line("Dump finished");
    assert_equal(&servers, &TABLES);
    for change in changes(&servers) {
        servers.execute(&change);
        assert_equal(&servers, &TABLES);
    }
    assert_eq!(daemon.stop().matches("umping").count(), 1);
}

#[test]
fn values_are_kept_over_a_restart_and_in_a_backlog() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    let proxy = Proxy::before(servers.etcd_port);
    let behind_proxy = format!("127.0.0.1:{}", proxy.port);
    let launch = servers.daemon().set("etcd.endpoints", behind_proxy);
    let mut daemon = launch.start();
    daemon.await_line("Dump finished");
    caught_up(&servers);
    daemon.stop();
    for change in changes(&servers) {
        servers.execute(&change);
    }
    let mut daemon = launch.start();
    daemon.await_line("Resuming from ");
    assert_equal(&servers, &TABLES);

    proxy.hold(true);
    for _ in 0..10 {
        servers.execute(
            "UPDATE doc SET n = n + 1; UPDATE doc SET n = n + 1, other = n WHERE id % 3 = 0",
        );
    }
    proxy.hold(false);
    assert_equal(&servers, &TABLES);
    assert_eq!(daemon.stop().matches("ump").count(), 0);
}

#[test]
fn a_value_that_is_still_on_its_way() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    let proxy = Proxy::before(servers.etcd_port);
    let behind_proxy = format!("127.0.0.1:{}", proxy.port);
    let mut daemon = servers.daemon().set("etcd.endpoints", behind_proxy).start();
    daemon.await_line("Dump finished");
    caught_up(&servers);
    // A large txn takes half a second to etcd; a small question would be there long before it.
    proxy.throttle(400_000);
    for round in 0..3 {
        servers.execute(&format!("UPDATE doc SET body = repeat('{round}', 100000) WHERE id = 1"));
        wait_until("the value to be sent", || {
            let sent = proxy.bytes_from_client();
            servers.execute("UPDATE doc SET n = n + 1 WHERE id = 1");
            proxy.bytes_from_client() > sent
        });
        assert_equal(&servers, &TABLES);
    }
}
