//! TLS to etcd, and a whole copy with TLS at both ends.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;

use crate::support::{
    Authority, Issued, Launch, Load, Part, Random, SCHEMA, Servers, TABLES, assert_equal,
    caught_up, wait_until,
};

/// Of etcd's server: its gateway is a client of its own.
const ETCD_EXTENSIONS: &str = "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth";

/// Starts etcd again with this certificate, for clients that have one of `authority`.
fn restart_etcd(servers: &Servers, authority: &Authority, issued: &Issued) {
    let arguments = [
        format!("--cert-file={}", issued.certificate()),
        format!("--key-file={}", issued.key()),
        format!("--trusted-ca-file={}", authority.certificate.display()),
        "--client-cert-auth".to_owned(),
    ];
    let arguments: Vec<&str> =
        arguments.iter().flat_map(|argument| ["--etcd-arg", argument]).collect();
    servers.restart(Part::Etcd, &arguments);
}

#[test]
fn a_copy_with_tls_at_both_ends() {
    let hba = "hostssl all copier all cert\nhost all copier all reject";
    let servers = Servers::with_hba(hba, &["-c", "wal_sender_timeout=2s"]);
    servers.execute(SCHEMA);
    servers.execute("CREATE ROLE copier LOGIN SUPERUSER");
    let authority = Authority::new(&servers.folder, "ca");
    let ca = authority.certificate.to_str().unwrap();
    let other = Authority::new(&servers.folder, "other");
    let database = authority.issue("database", "any", "subjectAltName=DNS:localhost", 2);
    let copier = authority.issue("copier", "copier", "extendedKeyUsage=clientAuth", 2);
    servers.configure(&[
        ("ssl_cert_file", database.certificate()),
        ("ssl_key_file", database.key()),
        ("ssl_ca_file", ca),
        ("ssl", "on"),
    ]);
    for (name, value) in [
        ("ETCDCTL_CACERT", ca),
        ("ETCDCTL_CERT", copier.certificate()),
        ("ETCDCTL_KEY", copier.key()),
    ] {
        servers.etcdctl_with(name, value);
    }
    let launch = servers
        .daemon()
        .set("database.host", "localhost")
        .set("database.user", "copier")
        .set("database.sslmode", "verify-full")
        .set("database.sslrootcert", ca)
        .set("database.sslcert", copier.certificate())
        .set("database.sslkey", copier.key())
        .set("etcd.tls.trusted_ca_path", ca)
        .set("etcd.request_timeout", "1s");
    let with_identity = |issued: &Issued| {
        launch
            .clone()
            .set("etcd.tls.certificate_path", issued.certificate())
            .set("etcd.tls.key_path", issued.key())
    };
    let known = with_identity(&copier);

    // What cannot work says so, and does not try again.
    let expired = authority.issue("expired", "etcd", ETCD_EXTENSIONS, -1);
    let foreign = other.issue("foreign", "copier", "extendedKeyUsage=clientAuth", 2);
    let exposed = authority.issue("exposed", "copier", "", 2);
    fs::set_permissions(&exposed.key, fs::Permissions::from_mode(0o644)).unwrap();
    let mut daemon = known.start();
    daemon.await_line("does the server speak TLS at this port?");
    daemon.stop();
    let check = |refused: &[(Launch, &str)]| {
        for (launch, part) in refused {
            let (status, log) = launch.run();
            assert_eq!(status, 2, "{part}: {log}");
            assert!(log.contains(part) && log.contains("etcd: "), "{part}: {log}");
        }
    };
    restart_etcd(&servers, &authority, &expired);
    check(&[(known.clone(), "it has expired")]);
    restart_etcd(&servers, &authority, &authority.issue("etcd", "etcd", ETCD_EXTENSIONS, 2));
    let at = |url: &str| format!("{url}:{}", servers.etcd_port);
    let mut daemon = known.clone().set("etcd.endpoints", at("http://127.0.0.1")).start();
    daemon.await_line(&format!("does it speak TLS? Then write {}", at("https://127.0.0.1")));
    daemon.stop();
    check(&[
        (launch.clone(), "it wants a client certificate"),
        (
            with_identity(&foreign),
            "or another one: set etcd.tls.certificate_path and etcd.tls.key_path",
        ),
        (with_identity(&exposed), "mode 0644): chmod 0600"),
        (
            known.clone().set("etcd.endpoints", at("https://localhost")),
            "certificate not valid for name",
        ),
        (
            known.clone().set("etcd.tls.trusted_ca_path", other.certificate.display()),
            "look at etcd.tls.trusted_ca_path",
        ),
    ]);

    // Dump and stream, and only what needs etcd waits for it.
    let mut daemon = known.clone().argument("-v").start();
    daemon.await_line("Dump finished");
    caught_up(&servers);
    let walsender = servers.walsender();
    let encrypted = "SELECT bool_and(ssl) AND count(*) > 1 FROM pg_stat_ssl JOIN pg_stat_activity \
                     USING (pid) WHERE usename = 'copier'";
    assert_eq!(servers.value(encrypted).as_deref(), Some("true"));
    let mut random = Random::new();
    let load = Load::start(&servers, &mut random, 2);
    wait_until("some load", || load.committed() > 50);
    servers.signal(Part::Etcd, Signal::STOP);
    let moment = load.committed() + 200;
    wait_until("a backlog", || load.committed() > moment);
    load.stop();
    let statuses = daemon.count("Sending standby status");
    // One each third of wal_sender_timeout.
    wait_until("statuses for three times that long", || {
        daemon.count("Sending standby status") > statuses + 9
    });
    assert_eq!(servers.walsender(), walsender);
    servers.signal(Part::Etcd, Signal::CONT);
    assert_equal(&servers, &TABLES);
    assert_eq!(servers.walsender(), walsender);
    servers.history("/copy/", 1).assert_every_version_once("/copy/account/", "version");
    daemon.stop();
    let log = fs::read_to_string(servers.folder.join("postgres.log")).unwrap();
    assert!(!log.contains("could not receive data from client"), "without a farewell: {log}");
}

#[test]
fn a_certificate_with_a_common_name_is_refused_by_the_gateway() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    for arguments in [
        &["user", "add", "root:secret"][..],
        &["user", "grant-role", "root", "root"],
        &["auth", "enable"],
    ] {
        servers.run_etcdctl(arguments);
    }
    let authority = Authority::new(&servers.folder, "ca");
    let ca = authority.certificate.to_str().unwrap();
    restart_etcd(&servers, &authority, &authority.issue("etcd", "", ETCD_EXTENSIONS, 2));
    let [named, nameless] = ["root", ""].map(|name| {
        authority.issue(&format!("client{name}"), name, "extendedKeyUsage=clientAuth", 2)
    });
    let launch = |issued: &Issued| {
        servers
            .daemon()
            .set("etcd.tls.trusted_ca_path", ca)
            .set("etcd.tls.certificate_path", issued.certificate())
            .set("etcd.tls.key_path", issued.key())
            .set("etcd.username", "root")
            .set("etcd.password", "secret")
    };
    for (command, status) in [("run", 2), ("check", 1)] {
        let (exit, log) = launch(&named).argument(command).run();
        assert_eq!(exit, status, "{log}");
        assert!(log.contains("name one without a CommonName in etcd.tls"), "{log}");
        // That is the cure, and no other.
        assert!(!log.contains("start etcd there"), "{log}");
    }
    let mut daemon = launch(&nameless).start();
    daemon.await_line("Dump finished");
    daemon.stop();
}
