//! `drop`: what it removes, what it leaves, and when it refuses.

use crate::support::{CHECKPOINT, Launch, SCHEMA, Servers, TABLES, assert_equal, wait_until};

/// Slot, publication, position, keys of account.
fn left(servers: &Servers) -> [bool; 4] {
    let there = |sql: &str| servers.value(&format!("SELECT EXISTS ({sql})")).unwrap() == "true";
    [
        there("SELECT FROM pg_replication_slots WHERE slot_name = 'pg2etcd'"),
        there("SELECT FROM pg_publication WHERE pubname = 'pg2etcd'"),
        servers.position().is_some(),
        !servers.keys("/copy/account/").is_empty(),
    ]
}

/// Has etcd hold a copy, and no daemon run.
fn copy(launch: &Launch) {
    let mut daemon = launch.start();
    daemon.await_line("Resuming from ");
    daemon.stop();
}

#[track_caller]
fn dropped(launch: &Launch, options: &[&str]) -> String {
    let (status, result, message) = launch.ask(&[&["drop"], options].concat());
    assert_eq!(status, 0, "{message}");
    result
}

#[test]
fn what_was_made_is_removed_and_nothing_else() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    servers.execute("CREATE TABLE plain (id int); ALTER TABLE plain REPLICA IDENTITY FULL");
    let launch = servers.daemon();
    assert_eq!(dropped(&launch, &[]), "Nothing to remove\n");
    assert_eq!(dropped(&launch, &["-f", "-k"]), "Nothing to remove\n");

    let foreign = ["/copy/accounts/1", "/copy/other", "/copy/plain/1", "/.pg2etcd/pg2etcd/note"];
    for key in foreign {
        servers.put(key, "mine");
    }
    copy(&launch);
    let revision = servers.revision();
    let would = dropped(&launch, &["-n", "-k"]);
    assert_eq!(
        would,
        "Would remove slot pg2etcd\nWould remove 20 keys below /copy/account/\n\
         Would remove 100 keys below /copy/part/\n\
         Would remove 2 claims below /.pg2etcd/claims/\n\
         Would remove the records below /.pg2etcd/pg2etcd/tables/\n\
         Would remove publication pg2etcd\nWould remove position /.pg2etcd/pg2etcd/checkpoint\n"
    );
    assert_eq!((left(&servers), servers.revision()), ([true; 4], revision), "it was changed");
    assert_eq!(
        dropped(&launch, &[]),
        "Removed slot pg2etcd\nRemoved 2 claims below /.pg2etcd/claims/\n\
         Removed the records below /.pg2etcd/pg2etcd/tables/\n\
         Removed publication pg2etcd\nRemoved position /.pg2etcd/pg2etcd/checkpoint\n"
    );
    assert_eq!(left(&servers), [false, false, false, true]);
    // The keys are no more known to be a copy's.
    assert_eq!(dropped(&launch, &["-k"]), "Nothing to remove\n");

    // Nor are they taken for one's by the next copy, unless it is told so.
    copy(&launch.clone().set("sync.adopt", "true"));
    launch.ask(&["resync"]);
    let result = dropped(&launch, &["-k"]);
    for line in [
        "Removed 20 keys below /copy/account/",
        "Removed 100 keys below /copy/part/",
        "Removed the request /.pg2etcd/pg2etcd/resync",
    ] {
        assert!(result.lines().any(|found| found == line), "{line}: {result}");
    }
    assert_eq!(left(&servers), [false; 4]);
    let mut keys: Vec<_> = servers.keys("/").into_keys().collect();
    keys.sort_by_key(|key| foreign.iter().position(|foreign| foreign == key));
    assert_eq!(keys, foreign);

    // A publication of the user's stays.
    servers.execute("CREATE PUBLICATION pg2etcd FOR TABLE account, part");
    copy(&launch);
    assert!(dropped(&launch, &["-k"]).contains("Left publication pg2etcd"));
    assert_eq!(left(&servers), [false, true, false, false]);
    // So does a slot that is none of pg2etcd's.
    servers.execute("SELECT pg_create_physical_replication_slot('pg2etcd')");
    assert!(dropped(&launch, &["-f"]).contains("Left slot pg2etcd"));
    assert_eq!(left(&servers), [true, true, false, false]);
}

#[test]
fn beside_a_daemon_only_force_does_it() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    let launch = servers.daemon();
    let mut daemon = launch.start();
    daemon.await_line("Resuming from ");
    wait_until("a stream", || servers.walsender().is_some());
    let pid = servers.walsender().unwrap();
    for options in ["-k", "--keys"] {
        let (status, result, message) = launch.ask(&["drop", options]);
        assert_eq!((status, &result[..]), (2, ""), "{message}");
        assert!(message.contains(&format!("process {pid} streams")), "{message}");
    }
    for (options, said) in [("-n", "drop refuses beside it"), ("-nf", "would be ended")] {
        let (status, result, message) = launch.ask(&["drop", options]);
        assert_eq!(status, 0, "{message}");
        assert!(result.starts_with("Would remove slot pg2etcd\n"), "{result}");
        assert!(message.contains(&pid) && message.contains(said), "{message}");
    }
    assert_eq!(servers.walsender(), Some(pid), "the stream was ended");
    assert_eq!(left(&servers), [true; 4]);

    let (status, result, message) = launch.ask(&["drop", "-fk"]);
    assert_eq!(status, 0, "{message}");
    assert!(result.contains("Removed slot pg2etcd\n"), "{result}");
    assert!(result.contains("Removed 20 keys below /copy/account/\n"), "{result}");
    assert!(result.ends_with("Removed position /.pg2etcd/pg2etcd/checkpoint\n"), "{result}");
    assert!(message.contains("begins anew"), "{message}");
    // The daemon was left running.
    daemon.await_lines("Dumping: there is no position in etcd yet", 2);
    daemon.await_lines("Resuming from ", 2);
    assert_equal(&servers, &TABLES);
}

#[test]
fn it_can_be_run_again_after_a_failure() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    servers.execute("CREATE ROLE helper LOGIN REPLICATION");
    let launch = servers.daemon();
    copy(&launch);
    let (key, position) = servers.keys(CHECKPOINT).pop_first().unwrap();
    // That of another copy is left alone, and all that is there with it.
    let (status, _, message) = launch.clone().set("etcd.path", "elsewhere").ask(&["drop", "-fk"]);
    assert!(status == 2 && message.contains("the path is copy there"), "{status} {message}");
    servers.put(&key, &position.replace("\"system_identifier\":\"", "\"system_identifier\":\"1"));
    let (status, _, message) = launch.ask(&["drop", "-fk"]);
    assert!(status == 2 && message.contains("the PostgreSQL cluster is"), "{status} {message}");
    servers.put(&key, &position);
    assert_eq!(left(&servers), [true; 4]);

    // A role that does not own the publication.
    let (status, result, message) =
        launch.clone().set("database.user", "helper").ask(&["drop", "-k"]);
    assert_eq!(status, 2, "{result}{message}");
    assert!(message.contains("DROP PUBLICATION \"pg2etcd\""), "{message}");
    assert_eq!(left(&servers), [false, true, true, false]);
    assert_eq!(
        dropped(&launch, &["-k"]),
        "Removed publication pg2etcd\nRemoved position /.pg2etcd/pg2etcd/checkpoint\n"
    );
    assert_eq!(left(&servers), [false; 4]);
}
