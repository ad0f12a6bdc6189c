//! Changes of `sync.tables`, which a publication that pg2etcd made follows.

use rustix::process::Signal;

use crate::support::{Servers, await_equal, caught_up, wait_until};

const TABLES: &str = "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY);
    CREATE TABLE c (id int PRIMARY KEY);
    INSERT INTO a VALUES (1); INSERT INTO b VALUES (1); INSERT INTO c VALUES (1)";

/// The tables of the publication.
fn published(servers: &Servers) -> String {
    let sql = "SELECT string_agg(tablename, ',' ORDER BY tablename) FROM pg_publication_tables";
    servers.value(sql).unwrap_or_default()
}

#[test]
fn a_publication_of_its_own_follows() {
    let servers = Servers::start();
    servers.execute(TABLES);
    for (tables, expected) in [("a,b", "a,b"), ("b,c", "b,c"), ("", "a,b,c"), ("c", "c")] {
        let mut daemon = servers.daemon().set("sync.tables", tables).start();
        daemon.await_line("Resuming from ");
        assert_eq!(published(&servers), expected);
        servers.execute("INSERT INTO a SELECT max(id) + 1 FROM a; INSERT INTO b SELECT max(id) + 1 FROM b; INSERT INTO c SELECT max(id) + 1 FROM c");
        await_equal(&servers, &Vec::from_iter(expected.split(',')));
        wait_until("only their keys", || {
            let keys = servers.keys("/copy/");
            keys.keys().all(|key| expected.split(',').any(|table| key.contains(table)))
        });
        let log = daemon.stop();
        assert!(!log.contains("Redumping"), "{log}");
        let follows = "Publication pg2etcd follows sync.tables: added: ";
        assert_eq!(log.contains(follows), expected != "a,b", "{log}");
        // The next daemon finds changes of tables that were not published then, and were.
        servers.execute("INSERT INTO a SELECT max(id) + 1 FROM a; INSERT INTO b SELECT max(id) + 1 FROM b; INSERT INTO c SELECT max(id) + 1 FROM c");
    }
}

#[test]
fn it_follows_at_a_reload_and_waits_for_a_table_that_is_gone() {
    let servers = Servers::start();
    servers.execute(TABLES);
    let file = servers.folder.join("pg2etcd.toml");
    let tables = |list: &str| std::fs::write(&file, format!("sync.tables = [{list}]")).unwrap();
    tables("\"a\"");
    let launch = servers.daemon().argument("-c").argument(file.to_str().unwrap());
    let mut daemon = launch.start();
    daemon.await_line("Resuming from ");
    tables("\"a\", \"b\"");
    daemon.signal(Signal::HUP);
    daemon.await_line("Publication pg2etcd follows sync.tables: added: public.b; removed: none");
    await_equal(&servers, &["a", "b"]);
    daemon.stop();
    servers.execute("DROP TABLE b; INSERT INTO a VALUES (2)");
    let mut daemon = launch.start();
    daemon.await_line("sync.tables names public.b, and there is no such table");
    await_equal(&servers, &["a"]);
    servers.execute("CREATE TABLE b (id int PRIMARY KEY); INSERT INTO b VALUES (7)");
    daemon.stop();
    let _daemon = launch.start();
    await_equal(&servers, &["a", "b"]);
}

#[test]
fn one_that_others_made_stays_and_the_tables_that_differ_are_named() {
    let servers = Servers::start();
    servers.execute(TABLES);
    servers.execute("CREATE PUBLICATION pg2etcd FOR TABLE a, b");
    let mut daemon = servers.daemon().set("sync.tables", "b,c").start();
    let line = daemon.await_line("which pg2etcd did not make");
    let expected = "not published: public.c; published, and copied: public.a;";
    assert!(line.contains("WARN") && line.contains(expected), "{line}");
    daemon.await_line("Resuming from ");
    caught_up(&servers);
    assert_eq!(published(&servers), "a,b");
    daemon.stop();
    for tables in ["b,a", ""] {
        let mut daemon = servers.daemon().set("sync.tables", tables).start();
        daemon.await_line("Resuming from ");
        let log = daemon.stop();
        assert!(!log.contains("did not make"), "{log}");
    }
}

#[test]
fn one_that_others_made_in_its_place_is_theirs() {
    let servers = Servers::start();
    servers.execute(TABLES);
    let launch = servers.daemon();
    let mut daemon = launch.start();
    daemon.await_line("Dump finished");
    caught_up(&servers);
    daemon.stop();
    let made = servers.position().unwrap().made_publication;
    assert!(made, "pg2etcd made it");
    servers.execute("DROP PUBLICATION pg2etcd; CREATE PUBLICATION pg2etcd FOR TABLE a, b");
    // Before a daemon has seen it too.
    let (_, out, _) = launch.ask(&["drop", "-n"]);
    let left = "publication pg2etcd: pg2etcd made another, which was dropped\n";
    assert!(out.contains(&format!("Would leave {left}")), "{out}");
    let mut daemon = launch.start();
    daemon.await_line("Publication pg2etcd is not the one that pg2etcd made");
    daemon.await_line("Resuming from ");
    await_equal(&servers, &["a", "b"]);
    daemon.stop();
    assert_eq!(published(&servers), "a,b");
    assert!(!servers.position().unwrap().made_publication);
    let (status, out, _) = launch.ask(&["drop", "-k"]);
    assert_eq!(status, 0, "{out}");
    assert!(out.contains("Left publication pg2etcd: it was there before\n"), "{out}");
    assert!(servers.keys("/.pg2etcd/").is_empty());
}
