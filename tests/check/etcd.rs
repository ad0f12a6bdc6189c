//! What is said of etcd.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use super::{Checks, checked};
use crate::members::Members;
use crate::support::{CHECKPOINT, Launch, Part, Proxy, Servers, wait_for};

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Runs etcdctl, which has to succeed.
#[track_caller]
fn ctl(servers: &Servers, user: &str, arguments: &[&str]) {
    let output = servers.etcdctl().arg(format!("--user={user}")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
}

#[test]
fn each_line_in_both_forms() {
    let servers = Servers::with(&["--only", "etcd", "--etcd-arg", "--max-txn-ops=64"]);
    let mut checks = Checks::default();
    // etcd is looked at though there is no PostgreSQL: nobody listens at port 1.
    let launch = servers.daemon().set("database.port", 1).set("etcd.max_txn_ops", 64);
    limits(&servers, &launch, &mut checks);
    endpoints(&servers, &launch, &mut checks);
    assert_eq!(servers.revision(), 1, "etcd was written");
    for unreadable in ["{}", "nothing"] {
        servers.put(CHECKPOINT, unreadable);
        checks.run(&launch).fail("position", CHECKPOINT, "delete the key");
    }
    servers.delete(CHECKPOINT);
    space(&servers, &launch, &mut checks);
    users(&servers, &launch, &mut checks);
    // The one for a lack of leaders is below.
    checks.assert_both_forms("Of etcd:", &["quorum"]);
}

fn limits(servers: &Servers, launch: &Launch, checks: &mut Checks) {
    let fresh = checks.run(launch);
    fresh.fail("server", "127.0.0.1:1", "start the server").lacks("start");
    fresh.ok("endpoint", &format!("127.0.0.1:{} is etcd 3.", servers.etcd_port));
    fresh.ok("login", "none is asked for").ok("quorum", "").ok("alarms", "none");
    fresh.ok("path", "/copy/").ok("state_path", "/.pg2etcd/pg2etcd/");
    fresh.ok("claims", "/.pg2etcd/claims/");
    fresh.ok("space", "the quota is 2.0 GiB");
    fresh.ok("max_txn_ops", "64 operations").ok("max_request_bytes", "1572864 bytes");
    fresh.ok("position", "does not exist yet");
    let more = launch.clone().set("etcd.max_txn_ops", 65).set("etcd.max_request_bytes", "1600KiB");
    let more = checks.run(&more);
    more.fail("max_txn_ops", "too many operations", "--max-txn-ops");
    more.fail("max_request_bytes", "too large", "--max-request-bytes");
    let far_more = checks.run(&launch.clone().set("etcd.max_request_bytes", "8MiB"));
    far_more.fail("max_request_bytes", "8388608 bytes is not taken", "--max-request-bytes");
    let login = launch.clone().set("etcd.username", "root").set("etcd.password", "right");
    checks.run(&login).fail("login", "not enabled", "etcd.username").ok("endpoint", "answers");
}

fn endpoints(servers: &Servers, launch: &Launch, checks: &mut Checks) {
    let port = servers.etcd_port;
    let list = |endpoints: String| launch.clone().set("etcd.endpoints", endpoints);
    let one_is_down = checks.run(&list(format!("127.0.0.1:1,127.0.0.1:{port}")));
    one_is_down.warn("endpoint", "127.0.0.1:1", "start etcd there").ok("endpoint", "is etcd");
    one_is_down.ok("max_txn_ops", "");
    let none = checks.run(&list("127.0.0.1:1".to_owned()));
    none.fail("endpoint", "no connection", "correct etcd.endpoints").lacks("login");
    let other = Servers::with(&["--only", "etcd"]);
    let two = format!("127.0.0.1:{port},127.0.0.1:{}", other.etcd_port);
    let two = checks.run(&list(two));
    two.fail("endpoint", "belongs to cluster ", "members of one cluster").ok("endpoint", "is etcd");
    if servers.etcd_has("--listen-client-http-urls") {
        let grpc = Servers::with(&["--only", "etcd"]);
        let http = format!("--listen-client-http-urls=http://127.0.0.1:{}", free_port());
        grpc.restart(Part::Etcd, &["--etcd-arg", &http]);
        let grpc = checks.run(&list(format!("127.0.0.1:{}", grpc.etcd_port)));
        grpc.fail("endpoint", "gRPC alone", "--listen-client-http-urls");
    }
    let silent = Proxy::before(port);
    silent.hold(true);
    let begin = Instant::now();
    let silent = list(format!("127.0.0.1:{}", silent.port)).set("etcd.dial_timeout", "300ms");
    checks.run(&silent).fail("endpoint", "no answer", "etcd.endpoints");
    assert!(begin.elapsed() < Duration::from_secs(9), "it waits for etcd.request_timeout");
}

fn space(servers: &Servers, launch: &Launch, checks: &mut Checks) {
    servers.put("k", &"x".repeat(100_000));
    // It counts when the file has it.
    let size = wait_for("the size", || {
        let status = servers.etcdctl().args(["endpoint", "status", "-w", "json"]).output().unwrap();
        let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
        let size = status[0]["Status"]["dbSize"].as_u64().expect("a size");
        if size > 100_000 { Ok(size) } else { Err(size.to_string()) }
    });
    // Less than 64 operations may take, and a page more than etcd 3.6 takes for its start.
    let quota = format!("--quota-backend-bytes={}", size + 5000);
    servers.restart(Part::Etcd, &["--etcd-arg", &quota]);
    let nearly_full = checks.run(launch);
    nearly_full.warn("space", "which is nearly reached", "--quota-backend-bytes");
    nearly_full.warn("max_txn_ops", "was not tried", "make room");
    nearly_full.warn("max_request_bytes", "was not tried", "make room").ok("alarms", "");
    let too_much = servers.etcdctl().args(["put", "k", &"x".repeat(50_000)]).output().unwrap();
    assert!(!too_much.status.success());
    let full = checks.run(launch);
    full.fail("alarms", "raised: NOSPACE", "etcdctl alarm disarm").ok("path", "");
    servers.restart(Part::Etcd, &["--etcd-arg", "--quota-backend-bytes=2147483648"]);
    let output = servers.etcdctl().args(["alarm", "disarm"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

fn users(servers: &Servers, launch: &Launch, checks: &mut Checks) {
    let root = "root:right";
    for arguments in [
        &["user", "add", root][..],
        &["user", "grant-role", "root", "root"],
        &["role", "add", "copier"],
        &["role", "grant-permission", "copier", "--prefix=true", "read", "/copy/"],
        &["user", "add", "limited:secret"],
        &["user", "grant-role", "limited", "copier"],
        &["auth", "enable"],
    ] {
        let output = servers.etcdctl().args(arguments).output().unwrap();
        let known = String::from_utf8_lossy(&output.stderr).contains("already exists");
        assert!(output.status.success() || known, "{arguments:?}: {output:?}");
    }
    let nobody = checks.run(launch);
    nobody.fail("login", "user name is empty", "etcd.username").lacks("path");
    let user = launch.clone().set("etcd.username", "limited");
    let wrong = checks.run(&user.clone().set("etcd.password", "wrong"));
    wrong.fail("login", "authentication failed", "set etcd.username");
    let user = user.set("etcd.password", "secret");
    let denied = checks.run(&user);
    denied.ok("login", "as user limited").ok("quorum", "");
    // 3.4 and 3.5 tell everybody of alarms.
    if denied.lines.iter().any(|line| line.name == "alarms" && line.status != "ok") {
        denied.warn("alarms", "only to a user with the role root", "as such a user");
    }
    let grant = "grant-permission ROLE --prefix=true readwrite ";
    denied.fail("path", "may not write below /copy/", &format!("{grant}/copy/"));
    let state = "may not read and write below /.pg2etcd/pg2etcd/";
    denied.fail("state_path", state, &format!("{grant}/.pg2etcd/pg2etcd/"));
    let claims = "may not read and write below /.pg2etcd/claims/";
    denied.fail("claims", claims, &format!("{grant}/.pg2etcd/claims/"));
    denied.fail("position", "permission denied", "").fail("max_txn_ops", "permission denied", "");
    for prefix in ["/copy/", "/.pg2etcd/pg2etcd/", "/.pg2etcd/claims/"] {
        let grant = ["role", "grant-permission", "copier", "--prefix=true", "readwrite", prefix];
        ctl(servers, root, &grant);
    }
    let granted = checks.run(&user);
    granted
        .ok("path", "")
        .ok("state_path", "")
        .ok("claims", "")
        .ok("max_txn_ops", "")
        .ok("position", "");
    let keys = servers.etcdctl().args(["--user", root, "get", "--prefix", "/"]).output().unwrap();
    assert!(keys.status.success() && keys.stdout.is_empty(), "{keys:?}");
}

#[test]
fn members_without_a_leader() {
    let servers = Servers::with(&["--only", "postgres"]);
    let mut members = Members::start(&servers);
    members.leader(&servers);
    let endpoints: Vec<_> =
        members.ports.iter().map(|(client, _)| format!("127.0.0.1:{client}")).collect();
    let launch = servers.daemon().set("etcd.endpoints", endpoints.join(","));
    let launch = launch.set("etcd.request_timeout", "1s");
    wait_for("three members", || {
        let found = checked(&launch);
        let there =
            found.lines.iter().filter(|line| line.name == "endpoint" && line.status == "ok");
        if there.count() == 3 { Ok(()) } else { Err(found.text(false)) }
    });
    servers.etcdctl_with("ETCDCTL_ENDPOINTS", &endpoints[0]);
    let learner = members.add_learner(&servers);
    let with_learner = launch.clone().set("etcd.endpoints", format!("{learner},{}", endpoints[0]));
    wait_for("the learner", || {
        let found = checked(&with_learner);
        if found.text(false).contains(&format!("{learner} is a learner")) {
            Ok(())
        } else {
            Err(found.text(false))
        }
    });
    let mut daemon = with_learner.start();
    daemon.await_line("Dump finished");
    daemon.stop();
    for member in &mut members.running[1..] {
        member.kill().unwrap();
        member.wait().unwrap();
    }
    let found = wait_for("the last one to notice it", || {
        let found = checked(&launch);
        if found.text(false).contains("knows no leader") {
            Ok(found)
        } else {
            Err(found.text(false))
        }
    });
    let [dead, alive] = [&endpoints[1], &endpoints[0]];
    found.warn("endpoint", dead, "start etcd there").warn("endpoint", alive, "most members");
    found.fail("quorum", "", "see to it that most members").lacks("path");
    // PostgreSQL is looked at all the same.
    found.ok("server", "answers").ok("wal_level", "logical").lacks("start");
}
