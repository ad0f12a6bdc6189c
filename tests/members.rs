//! Servers of which there are more than one: an etcd of three members, a PostgreSQL with a standby.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{
    Load, Part, Random, SCHEMA, Servers, TABLES, assert_equal, wait_for, wait_until,
};

/// An etcd of three members on ports of its own.
pub(crate) struct Members {
    folder: PathBuf,
    pub(crate) ports: Vec<(u16, u16)>,
    pub(crate) running: Vec<Child>,
}

impl Members {
    /// Starts them in a folder that `test-env/down` will take with it.
    pub(crate) fn start(servers: &Servers) -> Self {
        // All are taken before any is given back, so that no two are the same.
        let free = || TcpListener::bind("127.0.0.1:0").unwrap();
        let taken: Vec<_> = (0..3).map(|_| (free(), free())).collect();
        let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
        let ports = taken.iter().map(|(client, peer)| (port(client), port(peer))).collect();
        drop(taken);
        let mut members = Self { folder: servers.folder.clone(), ports, running: Vec::new() };
        members.running = (0..3).map(|member| members.launch(member)).collect();
        members
    }

    /// Adds a fourth member, which learns, and returns its endpoint.
    pub(crate) fn add_learner(&mut self, servers: &Servers) -> String {
        let free = || TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = (free(), free());
        let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
        self.ports.push((port(&taken.0), port(&taken.1)));
        drop(taken);
        let (client, peer) = self.ports[3];
        let peer = format!("--peer-urls=http://127.0.0.1:{peer}");
        // The members look for each other's health first.
        wait_until("the members to take a fourth one", || {
            let add = ["member", "add", "member3", "--learner", &peer];
            servers.etcdctl().args(add).output().unwrap().status.success()
        });
        self.running.push(self.launch(3));
        format!("127.0.0.1:{client}")
    }

    fn launch(&self, member: usize) -> Child {
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let name = |member: usize| format!("member{member}");
        let folder = self.folder.join(name(member));
        fs::create_dir_all(&folder).unwrap();
        let cluster: Vec<_> = (0..self.ports.len())
            .map(|member| format!("{}={}", name(member), url(self.ports[member].1)))
            .collect();
        let (client, peer) = self.ports[member];
        let log = OpenOptions::new().create(true).append(true).open(folder.join("log")).unwrap();
        let program = std::env::var("ETCD_BIN").unwrap_or_else(|_| "etcd".to_owned());
        let child = Command::new(program)
            .args(["--name", &name(member), "--data-dir", "data"])
            .args(["--listen-client-urls", &url(client), "--advertise-client-urls", &url(client)])
            .args(["--listen-peer-urls", &url(peer), "--initial-advertise-peer-urls", &url(peer)])
            .args(["--initial-cluster", &cluster.join(",")])
            .args(["--initial-cluster-state", if member < 3 { "new" } else { "existing" }])
            .args(["--heartbeat-interval", "50", "--election-timeout", "500"])
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("etcd");
        fs::write(folder.with_extension("pid"), child.id().to_string()).unwrap();
        child
    }

    /// The member that leads.
    pub(crate) fn leader(&self, servers: &Servers) -> usize {
        wait_for("a leader", || {
            (0..3).find(|&member| self.leads(servers, member)).ok_or("nobody leads".to_owned())
        })
    }

    fn leads(&self, servers: &Servers, member: usize) -> bool {
        let output = servers
            .etcdctl()
            .args(["endpoint", "status", "-w", "json", "--command-timeout=500ms"])
            .env("ETCDCTL_ENDPOINTS", format!("127.0.0.1:{}", self.ports[member].0))
            .output()
            .unwrap();
        let statuses: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let status = &statuses[0]["Status"];
        !status.is_null() && status["leader"] == status["header"]["member_id"]
    }
}

#[test]
fn etcd_loses_its_leader_again_and_again() {
    let mut servers = Servers::with(&["--only", "postgres"]);
    servers.execute(SCHEMA);
    let mut members = Members::start(&servers);
    let endpoints: Vec<_> =
        members.ports.iter().map(|(client, _)| format!("127.0.0.1:{client}")).collect();
    let mut random = Random::new();
    let launch = servers.daemon().set("etcd.endpoints", endpoints.join(","));
    let mut daemon = launch.set("etcd.request_timeout", "2s").start();
    daemon.await_line("Dump finished");
    let load = Load::start(&servers, &mut random, 2);
    for _ in 0..3 {
        let leader = members.leader(&servers);
        members.running[leader].kill().unwrap();
        members.running[leader].wait().unwrap();
        let next = members.leader(&servers);
        servers.etcd_port = members.ports[next].0;
        let before = servers.revision();
        wait_until("the copy to go on", || servers.revision() > before + 20);
        members.running[leader] = members.launch(leader);
        wait_until("the member to be back", || {
            let mut health = servers.etcdctl();
            health.env("ETCDCTL_ENDPOINTS", format!("127.0.0.1:{}", members.ports[leader].0));
            health.args(["endpoint", "health"]).output().unwrap().status.success()
        });
    }
    load.stop();
    assert_equal(&servers, &TABLES);
    assert_eq!(daemon.count("Redumping"), 0, "{}", daemon.output());
    servers.history("/copy/", 1).assert_every_version_once("/copy/account/", "version");
}

/// A standby of the primary, with a data directory of its own.
fn standby_of(primary: &Servers) -> Servers {
    let mut standby = Servers::with(&["--only", "postgres"]);
    standby.etcd_port = primary.etcd_port;
    for servers in [primary, &standby] {
        servers.signal(Part::Postgres, Signal::INT);
        let pid_file = servers.folder.join("postgres/postmaster.pid");
        wait_until("PostgreSQL to end", || !pid_file.exists());
    }
    let folder = standby.folder.join("postgres");
    fs::remove_dir_all(&folder).unwrap();
    let copied =
        Command::new("cp").arg("-a").arg(primary.folder.join("postgres")).arg(&folder).status();
    assert!(copied.unwrap().success());
    // What test-env configures is beside the data directory, and the copy names the primary's.
    let own = fs::read_to_string(folder.join("postgresql.conf")).unwrap();
    let own = own.replace(&*primary.folder.to_string_lossy(), &standby.folder.to_string_lossy());
    fs::write(folder.join("postgresql.conf"), own).unwrap();
    let settings = folder.join("postgresql.auto.conf");
    let mut settings = OpenOptions::new().append(true).open(settings).unwrap();
    let port = primary.pg_port;
    write!(
        settings,
        "primary_conninfo = 'host=127.0.0.1 port={port} user=postgres dbname=postgres'\n\
         primary_slot_name = 'standby'\nsync_replication_slots = on\nhot_standby_feedback = on\n"
    )
    .unwrap();
    standby.make_standby();
    primary.restart(Part::Postgres, &[]);
    standby.restart(Part::Postgres, &[]);
    standby
}

#[test]
fn a_standby_that_has_the_slot_is_resumed_from() {
    let primary = Servers::start();
    if primary.lacks(17, "failover slots") {
        return;
    }
    primary.execute(SCHEMA);
    primary.execute("SELECT pg_create_physical_replication_slot('standby')");
    let standby = standby_of(&primary);
    primary.execute("ALTER SYSTEM SET synchronized_standby_slots = 'standby'");
    primary.execute("SELECT pg_reload_conf()");
    let launch = primary
        .daemon()
        .set("database.host", "127.0.0.1,127.0.0.1")
        .set("database.port", format!("{},{}", primary.pg_port, standby.pg_port));
    let mut daemon = launch.start();
    daemon.await_line("Dump finished");
    assert_equal(&primary, &TABLES);
    wait_until("the standby to have the slot", || {
        // A slot is copied for good once the standby has come as far as the slot.
        primary
            .execute("UPDATE account SET version = version + 1; SELECT pg_log_standby_snapshot()");
        let synced = "SELECT count(*) FROM pg_replication_slots
                       WHERE slot_name = 'pg2etcd' AND synced AND NOT temporary";
        standby.value(synced).as_deref() == Some("1")
    });
    assert_equal(&primary, &TABLES);
    primary.kill(Part::Postgres);
    standby.promote();
    standby.execute("UPDATE account SET version = version + 1");
    daemon.await_lines("Resuming from ", 2);
    assert_equal(&standby, &TABLES);
    assert_eq!(daemon.count("Redumping"), 0, "{}", daemon.output());
    standby.history("/copy/", 1).assert_every_version_once("/copy/account/", "version");
}
