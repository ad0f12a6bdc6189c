//! Passwords that change while pg2etcd runs, who may read them, and what a user of etcd has to be allowed.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use crate::support::{SCHEMA, Servers, TABLES, assert_equal};

fn write(path: &str, content: &str, mode: u32) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Gives a user of etcd another password.
fn change_password(servers: &Servers, user: &str, password: &str) {
    let mut child = servers
        .etcdctl()
        .args(["user", "passwd", user, "--interactive=false"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(password.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn passwords_are_rotated_and_permissions_are_few() {
    let servers = Servers::with_hba(
        "host all copier all scram-sha-256",
        &["--etcd-arg", "--auth-token-ttl=1"],
    );
    servers.execute(SCHEMA);
    servers.execute("SET password_encryption = 'scram-sha-256'; CREATE ROLE copier LOGIN SUPERUSER PASSWORD 'hush-1'");
    // As the manual page has it.
    for arguments in [
        &["user", "add", "root:root"][..],
        &["user", "add", "pg2etcd:hush-1"],
        &["role", "add", "pg2etcd"],
        &["user", "grant-role", "pg2etcd", "pg2etcd"],
        &["auth", "enable"],
    ] {
        servers.run_etcdctl(arguments);
    }
    servers.etcdctl_with("ETCDCTL_USER", "root:root");
    let [of_database, of_etcd] = ["database", "etcd"]
        .map(|name| servers.folder.join(format!("{name}.password")).display().to_string());
    write(&of_etcd, "hush-1\n", 0o600);
    let launch = servers
        .daemon()
        .set("database.user", "copier")
        .set("database.password_file", &of_database)
        .set("etcd.username", "pg2etcd")
        .set("etcd.password_file", &of_etcd)
        .argument("-v");
    let refused = |part: &str| {
        let (status, log) = launch.run();
        assert_eq!(status, 2, "{log}");
        assert!(log.contains(part) && !log.contains("hush"), "{part}: {log}");
    };
    let grant = |prefix: &str| {
        servers.run_etcdctl(&[
            "role",
            "grant-permission",
            "--prefix=true",
            "pg2etcd",
            "readwrite",
            prefix,
        ]);
    };
    refused("/copy/ (etcd.path)");
    grant("/copy/");
    refused("grant-permission --prefix=true ROLE readwrite /.pg2etcd/pg2etcd/");
    grant("/.pg2etcd/pg2etcd/");
    refused("grant-permission --prefix=true ROLE readwrite /.pg2etcd/claims/");
    grant("/.pg2etcd/claims/");
    refused(&format!("password file {of_database}: No such file"));
    write(&of_database, "hush-0\n", 0o600);
    refused("password authentication failed");
    write(&of_database, "hush-1\n", 0o644);

    let mut daemon = launch.start();
    daemon.await_line(&format!("{of_database}: others may read it (mode 0644): chmod 0600"));
    daemon.await_line("Dump finished");
    assert_equal(&servers, &TABLES);
    // A token is good for a second, and asked for no more often than every two.
    let logins = daemon.count("Logged in");
    daemon.await_lines("Logged in", logins + 2);

    change_password(&servers, "pg2etcd", "hush-2");
    servers.execute("UPDATE account SET version = version + 1");
    daemon.await_line("authentication failed");
    write(&of_etcd, "hush-2", 0o600);
    assert_equal(&servers, &TABLES);

    servers
        .execute("SET password_encryption = 'scram-sha-256'; ALTER ROLE copier PASSWORD 'hush-2'");
    servers
        .execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'copier'");
    daemon.await_line("password authentication failed");
    write(&of_database, "hush-2\r\n", 0o600);
    servers.execute("UPDATE account SET version = version + 1");
    assert_equal(&servers, &TABLES);
    let log = daemon.stop();
    assert!(!log.contains("hush"), "{log}");
}

#[test]
fn who_may_read_a_password_is_looked_at() {
    let servers = Servers::with_hba("host all copier all scram-sha-256", &[]);
    servers.execute(SCHEMA);
    servers.execute("SET password_encryption = 'scram-sha-256'; CREATE ROLE copier LOGIN SUPERUSER PASSWORD 'hush'");
    let [file, passfile] =
        ["pg2etcd.toml", "pgpass"].map(|name| servers.folder.join(name).display().to_string());
    let launch = servers.daemon().set("database.user", "copier");
    let both =
        launch.clone().environment("PGPASSWORD", "hush").set("database.password_file", "/nowhere");
    let (status, log) = both.run();
    assert_eq!(status, 2, "{log}");
    assert!(log.contains("database.password (environment PGPASSWORD) are both set"), "{log}");

    let by_passfile = launch.clone().environment("PGPASSFILE", &passfile);
    write(&passfile, "*:*:*:copier:hush\n", 0o644);
    let (status, log) = by_passfile.run();
    assert_eq!(status, 2, "{log}");
    assert!(log.contains(&format!("{passfile} has group or world access")), "{log}");
    assert!(log.contains("set database.password_file") && !log.contains("hush"), "{log}");
    write(&passfile, "*:*:*:copier:hush\n", 0o600);
    let mut daemon = by_passfile.start();
    daemon.await_line("Dump finished");
    daemon.stop();

    write(&file, "[database]\npassword = 'hush'\n", 0o644);
    let mut daemon = launch.argument("-c").argument(&file).start();
    daemon.await_line(&format!("{file}:2: others may read database.password (mode 0644)"));
    daemon.await_line("Resuming from ");
    assert!(!daemon.stop().contains("hush"));
}
