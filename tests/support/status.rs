//! What the daemon says of itself over HTTP, and what it tells the service manager.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use super::{Daemon, PATIENCE, Servers, wait_for};

/// The pages of one daemon.
pub(crate) struct Pages {
    pub(crate) address: String,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Daemon {
    /// Its pages; it was started with `status.listen`.
    pub(crate) fn pages(&mut self) -> Pages {
        let line = self.await_line("listen=");
        let (_, address) = line.rsplit_once("listen=").unwrap();
        Pages { address: address.to_owned() }
    }
}

impl Pages {
    /// A connection to them.
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends these bytes and reads the answer.
    pub(crate) fn ask(&self, request: &[u8]) -> Answer {
        let mut stream = self.connect();
        stream.write_all(request).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").expect(&text);
        let status = head.split(' ').nth(1).and_then(|number| number.parse().ok()).expect(head);
        Answer { status, head: head.to_owned(), body: body.to_owned() }
    }

    /// Asks for a page.
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes())
    }

    /// Whether a page says yes.
    pub(crate) fn says(&self, path: &str) -> bool {
        self.get(path).status == 200
    }

    /// Waits until a page says no with this text, or yes if there is none.
    #[track_caller]
    pub(crate) fn await_answer(&self, path: &str, text: Option<&str>) {
        wait_for(&format!("{path} to say {text:?}"), || {
            let Answer { status, body, .. } = self.get(path);
            let expected = match text {
                None => status == 200,
                Some(text) => status == 503 && body.contains(text),
            };
            if expected { Ok(()) } else { Err(format!("{status}: {body}")) }
        });
    }

    /// The metrics, each by its name and its labels as they stand there.
    pub(crate) fn metrics(&self) -> BTreeMap<String, f64> {
        let answer = self.get("/metrics");
        assert_eq!(answer.status, 200, "{answer:?}");
        let samples = answer.body.lines().filter(|line| !line.starts_with('#'));
        samples
            .map(|line| {
                let (name, value) = line.rsplit_once(' ').expect(line);
                (name.to_owned(), value.parse().expect(line))
            })
            .collect()
    }

    /// One metric.
    #[track_caller]
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let metrics = self.metrics();
        *metrics.get(name).unwrap_or_else(|| panic!("no {name} in {metrics:#?}"))
    }

    /// Waits until a metric is as it should be.
    #[track_caller]
    pub(crate) fn await_metric(&self, name: &str, condition: impl Fn(f64) -> bool) {
        wait_for(name, || {
            let value = self.metric(name);
            if condition(value) { Ok(()) } else { Err(value.to_string()) }
        });
    }
}

/// The socket of a service manager.
pub(crate) struct ServiceManager {
    told: Receiver<String>,
    pub(crate) path: PathBuf,
}

impl ServiceManager {
    /// One in the folder of the servers.
    pub(crate) fn new(servers: &Servers, name: &str) -> Self {
        let path = servers.folder.join(name);
        let socket = UnixDatagram::bind(&path).unwrap();
        let (sender, told) = mpsc::channel();
        // It reads all the time, as a service manager does: a socket holds ten messages.
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count) = socket.recv(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
                if sender.send(text).is_err() {
                    return;
                }
            }
        });
        Self { told, path }
    }

    /// Waits until it is told this, and returns all that it was told until then.
    #[track_caller]
    pub(crate) fn await_line(&self, text: &str) -> String {
        let mut told = String::new();
        while !told.contains(text) {
            let more = self.told.recv_timeout(PATIENCE);
            told += &more.unwrap_or_else(|_| panic!("waited in vain for {text}\n{told}"));
        }
        told
    }

    /// What it is told in this time.
    pub(crate) fn told_within(&self, time: Duration) -> String {
        let deadline = Instant::now() + time;
        let mut told = String::new();
        while let Ok(more) = self.told.recv_timeout(deadline - Instant::now()) {
            told += &more;
        }
        told
    }
}
