//! Tables that are compared because someone asked for it.

use crate::support::{SCHEMA, Servers, TABLES, assert_equal, await_equal, caught_up, wait_until};

/// What a stranger has done to the copy.
fn spoil(servers: &Servers) {
    servers.put("/copy/account/5", "{}");
    servers.delete("/copy/account/6");
    servers.put("/copy/account/stray", "{}");
    servers.put("/copy/part/a%2Fb%251/1", "{}");
}

fn spoiled(servers: &Servers) -> [bool; 4] {
    let keys = servers.keys("/copy/");
    [
        keys.get("/copy/account/5").is_some_and(|value| value == "{}"),
        !keys.contains_key("/copy/account/6"),
        keys.contains_key("/copy/account/stray"),
        keys.get("/copy/part/a%2Fb%251/1").is_some_and(|value| value == "{}"),
    ]
}

#[test]
fn tables_are_repaired_while_the_stream_goes_on() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    let mut daemon = servers.daemon().start();
    daemon.await_line("Dump finished");
    assert_equal(&servers, &TABLES);
    spoil(&servers);
    // One table only: the other stays as it is.
    let (status, said, message) = servers.daemon().ask(&["resync", "account"]);
    assert_eq!(status, 0, "{message}");
    let pid = servers.walsender().unwrap();
    let expected = "Asked for a compare of public.account; a daemon streams, by server process ";
    assert_eq!(said, format!("{expected}{pid}\n"));
    daemon.await_line("Comparing table public.account: a resync was asked for");
    let line = daemon.await_line("Compared table public.account");
    assert!(line.contains("1 missing, 1 different, 1 keys without a row"), "{line}");
    caught_up(&servers);
    wait_until("a repaired table", || spoiled(&servers) == [false, false, false, true]);
    // All tables; and the request is gone once it is done.
    assert_eq!(servers.daemon().argument("resync").run().0, 0);
    await_equal(&servers, &TABLES);
    wait_until("no request left", || servers.keys("/.pg2etcd/pg2etcd/resync").is_empty());
    assert_eq!(daemon.count("Redumping"), 0);
}

#[test]
fn a_daemon_that_is_not_running_does_it_when_it_starts() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    let launch = servers.daemon();
    let mut daemon = launch.start();
    daemon.await_line("Dump finished");
    assert_equal(&servers, &TABLES);
    daemon.stop();
    spoil(&servers);
    let (status, said, _) = launch.ask(&["resync"]);
    assert_eq!(status, 0);
    let expected = "Asked for a compare of all tables; no daemon streams from slot pg2etcd";
    assert!(said.starts_with(expected), "{said}");
    let mut daemon = launch.start();
    daemon.await_line("Resuming from ");
    await_equal(&servers, &TABLES);
    assert_eq!(daemon.count("Redumping"), 0);
}

#[test]
fn another_copy_is_given_up_only_when_asked_to() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    let launch = servers.daemon();
    let mut daemon = launch.start();
    daemon.await_line("Dump finished");
    assert_equal(&servers, &TABLES);
    daemon.stop();
    let position = servers.keys("/.pg2etcd/pg2etcd/checkpoint");
    let (key, position) = position.first_key_value().unwrap();
    let (before, after) = position.split_once("\"system_identifier\":\"").unwrap();
    servers.put(key, &format!("{before}\"system_identifier\":\"1{after}"));
    let (status, output) = launch.run();
    assert_eq!(status, 2, "{output}");
    assert!(output.contains("the PostgreSQL cluster is 1"), "{output}");
    assert!(output.contains("pg2etcd resync"), "{output}");
    assert_eq!(launch.clone().argument("resync").run().0, 0);
    let mut daemon = launch.start();
    daemon.await_line("Redumping: a resync was asked for: the PostgreSQL cluster is 1");
    daemon.await_line("Dump finished");
    assert_equal(&servers, &TABLES);
}

#[test]
fn a_name_that_is_none_is_refused() {
    let servers = Servers::start();
    let (status, output) = servers.daemon().argument("resync").argument("a.b.c").run();
    assert_eq!(status, 2, "{output}");
    assert!(output.contains("expected schema.table"), "{output}");
    servers.execute(SCHEMA);
    servers.execute("CREATE TABLE keyless (id int); CREATE PUBLICATION pg2etcd FOR ALL TABLES");
    for (name, answer) in [
        ("acount", "pg2etcd copies, did you mean public.account?"),
        ("nosuch", "public.nosuch is no table that publication pg2etcd publishes"),
        ("keyless", "table public.keyless is left out: "),
    ] {
        for command in ["resync", "verify"] {
            let (status, said, message) = servers.daemon().ask(&[command, name]);
            assert_eq!((status, &said[..]), (2, ""), "{message}");
            assert!(message.contains(answer), "{name}: {message}");
        }
    }
    assert!(servers.keys("/.pg2etcd/pg2etcd/resync").is_empty(), "it was asked for");
}
