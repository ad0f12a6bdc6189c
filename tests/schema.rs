//! Tables that change, come and go, which the stream does not tell.

use crate::support::{Daemon, Launch, Random, Servers, assert_equal, await_equal, wait_until};

const ITEM: &str = "CREATE TABLE item (id int PRIMARY KEY, name text, price numeric, body text);
    ALTER TABLE item ALTER body SET STORAGE EXTERNAL;
    INSERT INTO item SELECT g, 'item ' || g, g * 1.50, repeat(md5(g::text), 200) FROM generate_series(1, 300) g";

/// A daemon that looks at the catalog often.
fn watching(servers: &Servers) -> Launch {
    servers.daemon().set("sync.catalog_period", "200ms")
}

fn started(servers: &Servers) -> Daemon {
    let mut daemon = watching(servers).start();
    daemon.await_line("Dump finished");
    daemon
}

/// What is done to `item`, what follows in the stream, and what the log says of it.
const CHANGES: [(&str, &str, &str); 11] = [
    ("ALTER TABLE item ADD extra int DEFAULT 7", "", "columns changed"),
    (
        "ALTER TABLE item ADD plain text",
        "UPDATE item SET name = 'x' WHERE id = 1",
        "columns changed",
    ),
    ("ALTER TABLE item RENAME name TO title", "DELETE FROM item WHERE id = 2", "columns changed"),
    ("ALTER TABLE item ALTER price TYPE text", "", "columns changed"),
    ("ALTER TABLE item ALTER body TYPE text USING reverse(body)", "", "columns changed"),
    // The rows that change at once have their large column only in the rewritten table.
    (
        "ALTER TABLE item ALTER body TYPE text USING upper(body)",
        "UPDATE item SET extra = 8 WHERE id < 200",
        "columns changed",
    ),
    ("ALTER TABLE item DROP price", "INSERT INTO item VALUES (400, 'new')", "columns changed"),
    (
        "CREATE UNIQUE INDEX item_title ON item (title, id);
         ALTER TABLE item ALTER title SET NOT NULL, REPLICA IDENTITY USING INDEX item_title",
        "",
        "columns changed",
    ),
    (
        "ALTER TABLE item REPLICA IDENTITY DEFAULT",
        "UPDATE item SET id = -id WHERE id = 9",
        "key changed",
    ),
    (
        "CREATE TYPE mood AS ENUM ('good', 'bad'); ALTER TABLE item ADD mood mood DEFAULT 'good';
         UPDATE item SET mood = 'bad' WHERE id = 3",
        "",
        "columns changed",
    ),
    ("ALTER TYPE mood RENAME VALUE 'good' TO 'fine'", "", "types changed"),
];

#[test]
fn a_table_that_is_altered() {
    let servers = Servers::start();
    servers.execute(ITEM);
    let daemon = started(&servers);
    for (alter, change, reason) in CHANGES {
        let before = daemon.count(reason);
        servers.execute(alter);
        if !change.is_empty() {
            servers.execute(change);
        }
        await_equal(&servers, &["item"]);
        wait_until(alter, || daemon.count(reason) > before);
        wait_until("the end of the compare", || {
            daemon.count("Comparing table") <= daemon.count("Compared table")
        });
        assert_equal(&servers, &["item"]);
    }
    assert_eq!(daemon.count("Redumping"), 0);
}

#[test]
fn a_table_that_is_altered_while_no_daemon_runs() {
    let servers = Servers::start();
    servers.execute(ITEM);
    servers.execute("CREATE TABLE gone (id int PRIMARY KEY); INSERT INTO gone VALUES (1)");
    let daemon = started(&servers);
    assert_equal(&servers, &["item", "gone"]);
    daemon.stop();
    servers.execute("ALTER TABLE item ADD extra int DEFAULT 7; DROP TABLE gone");
    let mut daemon = watching(&servers).set("sync.catalog_period", "1h").start();
    daemon.await_line("Resuming from ");
    await_equal(&servers, &["item"]);
    assert_eq!(daemon.count("Redumping"), 0);
}

#[test]
fn tables_that_come_and_go() {
    let servers = Servers::start();
    servers.execute(ITEM);
    let mut daemon = started(&servers);
    servers.execute("CREATE TABLE made (id int PRIMARY KEY); INSERT INTO made VALUES (1), (2)");
    await_equal(&servers, &["item", "made"]);
    servers.execute("ALTER TABLE item RENAME TO thing; UPDATE thing SET name = 'y' WHERE id = 3");
    await_equal(&servers, &["thing", "made"]);
    servers.execute("CREATE SCHEMA shop; ALTER TABLE thing SET SCHEMA shop");
    await_equal(&servers, &["shop.thing", "made"]);
    daemon.await_line("Deleting the keys of table thing: it was renamed to shop.thing");
    servers.execute("DROP TABLE made");
    await_equal(&servers, &["shop.thing"]);
    assert_equal(&servers, &["shop.thing"]);
}

#[test]
fn a_table_that_comes_and_goes_between_two_looks() {
    let servers = Servers::start();
    servers.execute(ITEM);
    // Looks come at the start, and a second after the stream has described a table.
    let mut daemon = servers.daemon().set("sync.catalog_period", "1h").start();
    daemon.await_line("Dump finished");
    servers.execute("CREATE TABLE brief (id int PRIMARY KEY); INSERT INTO brief VALUES (1)");
    wait_until("its row", || !servers.keys("/copy/brief/").is_empty());
    servers.execute("DROP TABLE brief");
    await_equal(&servers, &["item"]);
}

#[test]
fn a_publication_that_is_altered() {
    let servers = Servers::start();
    servers.execute(ITEM);
    servers.execute(
        "CREATE TABLE late (id int PRIMARY KEY, n int); INSERT INTO late SELECT g, g FROM generate_series(1, 100) g;
         CREATE PUBLICATION pg2etcd FOR TABLE item",
    );
    let daemon = started(&servers);
    assert_equal(&servers, &["item"]);
    servers.execute("ALTER PUBLICATION pg2etcd ADD TABLE late");
    await_equal(&servers, &["item", "late"]);
    servers.execute("ALTER PUBLICATION pg2etcd DROP TABLE item");
    await_equal(&servers, &["late"]);
    assert_eq!(daemon.count("Redumping"), 0);
}

/// While a table is compared, the stream goes on with it and with others: each version of what it
/// changes is there once, and what it did not change is repaired.
#[test]
fn a_table_that_is_compared_under_load() {
    let servers = Servers::start();
    servers.execute(
        "CREATE TABLE busy (id int PRIMARY KEY, version int NOT NULL);
         INSERT INTO busy SELECT g, 0 FROM generate_series(1, 20000) g",
    );
    let daemon = started(&servers);
    let (mut random, mut sql) = (Random::new(), servers.sql());
    for round in 0..4 {
        servers.execute(&format!("ALTER TABLE busy ADD extra{round} int DEFAULT {round}"));
        for _ in 0..400 {
            let id = random.below(20_000);
            sql.batch_execute(&match random.below(4) {
                0 => format!("DELETE FROM busy WHERE id = {id}"),
                1 => format!(
                    "INSERT INTO busy VALUES ({id}, 0) ON CONFLICT (id) DO UPDATE SET version = busy.version + 1"
                ),
                _ => format!("UPDATE busy SET version = version + 1 WHERE id = {id}"),
            })
            .unwrap();
        }
    }
    await_equal(&servers, &["busy"]);
    wait_until("the end of the compare", || {
        daemon.count("Comparing table") <= daemon.count("Compared table")
    });
    assert_equal(&servers, &["busy"]);
    assert_eq!(daemon.count("Redumping"), 0);
}
