//! A private etcd on free ports, in a folder of its own; both are gone when it is dropped.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

use rustix::process::{Pid, Signal, kill_process};

use crate::etcd::{Client, Options};

pub(super) struct Etcd {
    folder: PathBuf,
    pub(super) endpoint: String,
    peer: String,
    arguments: &'static [&'static str],
    server: Child,
}

impl Etcd {
    pub(super) fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts one with more command-line arguments.
    pub(super) fn start_with(arguments: &'static [&'static str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = env::temp_dir().join(format!("pg2etcd-test-etcd-{}-{count}", process::id()));
        // Both are held until both are known, so that they differ.
        let ports = [free_port(), free_port()];
        let [endpoint, peer] = ports.map(|port| port.local_addr().unwrap().to_string());
        let server = launch(&folder, &endpoint, &peer, arguments);
        let mut etcd = Self { folder, endpoint, peer, arguments, server };
        etcd.wait();
        etcd
    }

    /// Kills it and starts it again, with the same store and at the same port.
    pub(super) fn restart(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
        self.server = launch(&self.folder, &self.endpoint, &self.peer, self.arguments);
        self.wait();
    }

    /// Stops it from doing anything for good, while its sockets stay open.
    pub(super) fn freeze(&self) {
        kill_process(Pid::from_child(&self.server), Signal::STOP).unwrap();
    }

    pub(super) fn client(&self) -> Client {
        Client::connect(options(&[&self.endpoint])).unwrap()
    }

    /// Runs etcdctl, which has to succeed.
    pub(super) fn ctl(&self, arguments: &[&str]) {
        let output = Command::new("etcdctl")
            .env("ETCDCTL_API", "3")
            .env("ETCDCTL_ENDPOINTS", &self.endpoint)
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }

    /// Waits until it answers a question that takes a leader.
    fn wait(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let answer =
                Client::connect(options(&[&self.endpoint])).and_then(|mut client| client.get(b"k"));
            match answer {
                // With authentication on, a refusal is an answer too.
                Ok(_) => return,
                Err(error) if error.reason() == Some(crate::etcd::Reason::Token) => return,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            assert_eq!(self.server.try_wait().unwrap(), None, "etcd has ended");
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

pub(super) fn options(endpoints: &[&str]) -> Options {
    Options {
        endpoints: endpoints.iter().map(|&endpoint| endpoint.to_owned()).collect(),
        username: None,
        password: None,
        trusted_ca: None,
        identity: None,
        dial_timeout: Duration::from_secs(5),
        request_timeout: Duration::from_secs(10),
    }
}

/// A port that nobody listens at once this is dropped.
pub(super) fn free_port() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

fn launch(folder: &Path, endpoint: &str, peer: &str, arguments: &[&str]) -> Child {
    Command::new("etcd")
        .arg("--data-dir")
        .arg(folder)
        .args(["--listen-client-urls", &format!("http://{endpoint}")])
        .args(["--advertise-client-urls", &format!("http://{endpoint}")])
        .args(["--listen-peer-urls", &format!("http://{peer}")])
        .args(["--initial-advertise-peer-urls", &format!("http://{peer}")])
        .args(["--initial-cluster", &format!("default=http://{peer}")])
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}
