//! SIGHUP: the settings are read again, and the copy goes on with them from the position.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;

use rustix::process::Signal;

use crate::support::{Daemon, Launch, Part, SCHEMA, Servers, TABLES, await_equal, wait_until};

/// A settings file that tests change.
struct File(PathBuf);

impl File {
    fn new(servers: &Servers, lines: &[&str]) -> Self {
        let file = Self(servers.folder.join("pg2etcd.toml"));
        file.write(lines);
        file
    }

    fn write(&self, lines: &[&str]) {
        fs::write(&self.0, lines.join("\n")).unwrap();
    }

    fn launch(&self, servers: &Servers) -> Launch {
        // The position is not to follow what PostgreSQL itself writes to its log.
        let launch = servers.daemon().set("sync.idle_period", "1h");
        launch.argument("-c").argument(self.0.to_str().unwrap())
    }
}

/// A port that nobody listens on.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn reload(daemon: &mut Daemon, text: &str) -> String {
    daemon.signal(Signal::HUP);
    daemon.await_line(text)
}

#[test]
fn new_settings_count_and_nothing_is_written_again() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    let file = File::new(&servers, &[]);
    let mut daemon = file.launch(&servers).start();
    daemon.await_line("Resuming from ");
    servers.execute("UPDATE account SET version = version + 1");
    await_equal(&servers, &TABLES);
    let (rows, walsender) = (servers.mod_revisions("/copy/"), servers.walsender().unwrap());

    daemon.signal(Signal::HUP);
    daemon.await_line("Settings read again: nothing has changed");
    let port = free_port();
    let page = format!("listen = \"127.0.0.1:{port}\"");
    file.write(&["log_level = \"debug\"", "[status]", &page]);
    let line = reload(&mut daemon, "Settings read again: log_level = \"debug\"");
    assert!(line.contains("pg2etcd.toml:1; was \"info\"), status.listen = "), "{line}");
    daemon.await_line(" DEBUG ");
    let pages = daemon.pages();
    pages.await_answer("/readyz", None);
    // Neither ended the stream.
    assert_eq!(servers.walsender().unwrap(), walsender);

    file.write(&["[sync]", "writers = 2", "[database]", "password = \"sesame\""]);
    let line = reload(&mut daemon, "sync.writers = 2");
    assert!(line.contains("database.password = \"********\" ("), "{line}");
    daemon.await_lines("Resuming from ", 2);
    wait_until("the pages' end", || TcpStream::connect(("127.0.0.1", port)).is_err());
    assert_eq!(servers.mod_revisions("/copy/"), rows);
    servers.execute("UPDATE account SET version = version + 1");
    await_equal(&servers, &TABLES);
    let log = daemon.stop();
    assert_eq!(log.matches("Dump finished").count(), 1, "{log}");
    assert!(!log.contains("sesame") && !log.contains("active for"), "{log}");
    servers.history("/copy/", 1).assert_every_version_once("/copy/account/", "version");
}

#[test]
fn settings_that_cannot_be_used_change_nothing() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    let file = File::new(&servers, &[]);
    let mut daemon = file.launch(&servers).unset("etcd.path").start();
    daemon.await_line("Resuming from ");
    let walsender = servers.walsender().unwrap();
    for (lines, problem) in [
        (&["[sync]", "writer = 2"][..], "pg2etcd.toml:2: unknown setting sync.writer"),
        (&["[sync]", "writers = 65"], "pg2etcd.toml:2: sync.writers: expected a whole number"),
        (&["[status]", "listen = \"192.0.2.1:x\""], "pg2etcd.toml:2: status.listen: "),
    ] {
        file.write(lines);
        let line = reload(&mut daemon, problem);
        assert!(line.contains("the old ones stay"), "{line}");
        assert!(line.contains("ERROR Settings read again"), "{line}");
    }
    assert_eq!(servers.walsender().unwrap(), walsender);
    // These are known to be of no use only when they are tried.
    file.write(&["[etcd]", "path = \"elsewhere\""]);
    let line = reload(&mut daemon, "the old ones stay: etcd.path = \"elsewhere\"");
    assert!(line.contains("pg2etcd.toml:2; was "), "{line}");
    assert!(line.contains("position in etcd is that of another copy"), "{line}");
    daemon.await_lines("Resuming from ", 2);
    file.write(&[]);
    reload(&mut daemon, "Settings read again: nothing has changed");
    let log = daemon.stop();
    assert!(log.contains("Stopped by SIGTERM") && !log.contains("Redumping"), "{log}");
}

#[test]
fn a_pause_between_attempts_ends_with_it() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    let wrong = free_port();
    let port = |port: u16| format!("port = {port}");
    let file = File::new(&servers, &["[database]", &port(wrong)]);
    let launch = file.launch(&servers).unset("database.port").set("database.retry_period", "10m");
    let mut daemon = launch.start();
    daemon.await_line("refused");
    file.write(&["[database]", &port(servers.pg_port)]);
    reload(&mut daemon, "Settings read again: database.port = ");
    daemon.await_line("Dump finished");

    // So does the wait for an etcd.
    servers.kill(Part::Etcd);
    file.write(&["[database]", &port(servers.pg_port), "connect_timeout = \"7s\""]);
    reload(&mut daemon, "database.connect_timeout = \"7s\"");
    daemon.await_line("WARN");
    file.write(&["[database]", &port(servers.pg_port), "connect_timeout = \"8s\""]);
    servers.restart(Part::Etcd, &[]);
    reload(&mut daemon, "database.connect_timeout = \"8s\"");
    daemon.await_lines("Resuming from ", 2);
    await_equal(&servers, &TABLES);
}

#[test]
fn a_standby_notices_it_and_goes_on_standing_by() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    let file = File::new(&servers, &[]);
    let mut first = servers.daemon().start();
    first.await_line("Resuming from ");
    let mut second = file.launch(&servers).set("database.retry_period", "10m").start();
    second.await_line("slot");
    first.kill();
    file.write(&["[sync]", "writers = 2"]);
    reload(&mut second, "sync.writers = 2");
    second.await_line("Resuming from ");
}

#[test]
fn a_dump_begins_anew() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    servers.execute("INSERT INTO part SELECT n, 'many', 1.0 FROM generate_series(1000, 60000) n");
    let file = File::new(&servers, &[]);
    let mut daemon = file.launch(&servers).start();
    wait_until("some rows", || servers.revision() > 20);
    assert_eq!(daemon.count("Dump finished"), 0, "too late");
    file.write(&["[sync]", "writers = 2"]);
    reload(&mut daemon, "sync.writers = 2");
    daemon.await_line("Redumping: the last dump was not finished");
    daemon.await_line("Dump finished");
    await_equal(&servers, &TABLES);
    let log = daemon.stop();
    assert!(!log.contains("Cannot") && !log.contains("the old ones stay"), "{log}");
}

#[test]
fn a_file_that_was_replaced_is_read_again() {
    let servers = Servers::start();
    servers.execute(
        "CREATE ROLE copier LOGIN SUPERUSER REPLICATION; CREATE TABLE t (id int PRIMARY KEY)",
    );
    let password = servers.folder.join("password");
    fs::write(&password, "one").unwrap();
    let launch = servers.daemon().set("database.user", "copier");
    let mut daemon = launch.set("database.password_file", password.display()).start();
    daemon.await_line("Resuming from ");
    fs::write(&password, "two").unwrap();
    reload(
        &mut daemon,
        "Settings read again: database.password_file (its file has another content)",
    );
    daemon.await_lines("Resuming from ", 2);
}
