//! The client for etcd, alone against a real one.

mod clusters;
mod endpoints;
mod login;
mod pages;
mod txns;

use std::time::Duration;

use pg2etcd::etcd::{Client, Options};

use crate::support::{Part, Servers};

/// An etcd of a test's own.
struct Etcd {
    servers: Servers,
    endpoint: String,
}

impl Etcd {
    fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts one with more command-line arguments.
    fn start_with(arguments: &[&str]) -> Self {
        let arguments = arguments.iter().flat_map(|argument| ["--etcd-arg", argument]);
        let arguments: Vec<_> = ["--only", "etcd"].into_iter().chain(arguments).collect();
        let servers = Servers::with(&arguments);
        let endpoint = format!("127.0.0.1:{}", servers.etcd_port);
        Self { servers, endpoint }
    }

    /// Starts it again, with the same store and at the same port.
    fn restart(&self) {
        self.servers.restart(Part::Etcd, &[]);
    }

    fn client(&self) -> Client {
        Client::connect(options(&[&self.endpoint])).unwrap()
    }

    /// Runs etcdctl, which has to succeed.
    #[track_caller]
    fn ctl(&self, arguments: &[&str]) {
        self.servers.run_etcdctl(arguments);
    }
}

fn options(endpoints: &[&str]) -> Options {
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
