//! A TCP proxy on loopback that does to a connection what networks do.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

/// A proxy before one port. It lets everything pass until it is told otherwise.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    shared: Arc<Shared>,
}

/// What is done to connections.
#[derive(Clone, Default)]
struct Fault {
    /// New connections are closed at once.
    refuse: bool,
    /// Each request is given this answer, and goes no further.
    answer: Option<String>,
    /// Nothing is forwarded, and nothing is closed.
    hold: bool,
    /// Nothing is forwarded to the server.
    hold_requests: bool,
    /// How much later everything arrives.
    delay: Duration,
    /// The most that passes in each direction of each connection.
    bytes_per_second: Option<u64>,
    /// How many answers are still to be lost, and to which HTTP requests: those with this in the first line.
    lose: Option<(String, usize)>,
    /// Which requests are kept back, and how many more of them.
    withhold: Option<(Withheld, usize)>,
}

/// Requests of so many bytes at least that have all these texts in them.
#[derive(Clone)]
struct Withheld {
    least: usize,
    texts: Vec<String>,
}

#[derive(Default)]
struct Shared {
    target: AtomicU16,
    fault: Mutex<Fault>,
    changed: Condvar,
    streams: Mutex<Vec<TcpStream>>,
    from_client: AtomicU64,
    to_client: AtomicU64,
    lost: AtomicU64,
    /// The requests that were kept back.
    withheld: Mutex<Vec<Vec<u8>>>,
}

impl Proxy {
    /// A proxy before this port.
    pub(crate) fn before(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared { target: target.into(), ..Shared::default() });
        let accepting = Arc::clone(&shared);
        // It ends with the tests' process.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                accepting.serve(client);
            }
        });
        Self { port, shared }
    }

    /// Lets new connections lead to another port.
    pub(crate) fn lead_to(&self, target: u16) {
        self.shared.target.store(target, Ordering::SeqCst);
    }

    /// Closes all connections.
    pub(crate) fn cut(&self) {
        for stream in self.shared.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        self.shared.changed.notify_all();
    }

    /// Closes all connections, and each new one, until `accept`.
    pub(crate) fn refuse(&self) {
        self.set(|fault| fault.refuse = true);
        self.cut();
    }

    /// Takes connections again.
    pub(crate) fn accept(&self) {
        self.set(|fault| fault.refuse = false);
    }

    /// Answers itself, as a proxy does before a server that is away, until `None`.
    pub(crate) fn answer(&self, status_and_body: Option<(&str, &str)>) {
        self.set(|fault| {
            fault.answer = status_and_body.map(|(status, body)| {
                let length = body.len();
                format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}")
            });
        });
        self.cut();
    }

    /// Stops forwarding and closes nothing, or goes on.
    pub(crate) fn hold(&self, hold: bool) {
        self.set(|fault| fault.hold = hold);
    }

    /// The same for what goes to the server only: what it has got, it answers.
    pub(crate) fn hold_requests(&self, hold: bool) {
        self.set(|fault| fault.hold_requests = hold);
    }

    /// Lets everything arrive later.
    pub(crate) fn delay(&self, delay: Duration) {
        self.set(|fault| fault.delay = delay);
    }

    /// Lets less pass, or all again.
    pub(crate) fn throttle(&self, bytes_per_second: impl Into<Option<u64>>) {
        let bytes_per_second = bytes_per_second.into();
        self.set(|fault| fault.bytes_per_second = bytes_per_second);
    }

    /// The next `count` HTTP requests with `part` in their first line go through; their answers are lost, and their
    /// connections with them.
    pub(crate) fn lose_answers(&self, part: &str, count: usize) {
        self.set(|fault| fault.lose = Some((part.to_owned(), count)));
    }

    /// Keeps the next `count` txns of `least` bytes or more with these texts in them from the server, which the client
    /// hears nothing of.
    pub(crate) fn withhold(&self, least: usize, texts: &[&str], count: usize) {
        let texts = texts.iter().map(|text| (*text).to_owned()).collect();
        self.set(|fault| fault.withhold = Some((Withheld { least, texts }, count)));
    }

    /// How many requests are kept back, and were given up by the client.
    pub(crate) fn withheld(&self) -> usize {
        self.shared.withheld.lock().unwrap().len()
    }

    /// Lets the server have what was kept back, late, and gives its answers.
    pub(crate) fn deliver_withheld(&self) -> Vec<String> {
        let requests = std::mem::take(&mut *self.shared.withheld.lock().unwrap());
        let target = self.shared.target.load(Ordering::SeqCst);
        let deliver = |request: Vec<u8>| {
            let mut server = TcpStream::connect(("127.0.0.1", target)).expect("the server");
            server.write_all(&request).expect("a request that is taken");
            server.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            let mut answer = vec![0; 64 << 10];
            let count = server.read(&mut answer).expect("an answer");
            String::from_utf8_lossy(&answer[..count]).into_owned()
        };
        requests.into_iter().map(deliver).collect()
    }

    /// How many answers were lost so far.
    pub(crate) fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::SeqCst)
    }

    /// How many bytes came from clients so far, held ones included.
    pub(crate) fn bytes_from_client(&self) -> u64 {
        self.shared.from_client.load(Ordering::SeqCst)
    }

    /// How many bytes went to clients so far.
    pub(crate) fn bytes_to_client(&self) -> u64 {
        self.shared.to_client.load(Ordering::SeqCst)
    }

    fn set(&self, change: impl FnOnce(&mut Fault)) {
        change(&mut self.shared.fault.lock().unwrap());
        self.shared.changed.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.set(|fault| *fault = Fault { refuse: true, ..Fault::default() });
        self.cut();
    }
}

impl Shared {
    fn serve(self: &Arc<Self>, mut client: TcpStream) {
        let fault = self.fault.lock().unwrap().clone();
        if fault.refuse {
            return;
        }
        if let Some(answer) = fault.answer {
            self.streams.lock().unwrap().push(client.try_clone().unwrap());
            thread::spawn(move || {
                let mut request = vec![0; 64 << 10];
                while let Ok(1..) = client.read(&mut request) {
                    let _ = client.write_all(answer.as_bytes());
                }
            });
            return;
        }
        let target = self.target.load(Ordering::SeqCst);
        let Ok(server) = TcpStream::connect(("127.0.0.1", target)) else { return };
        for stream in [&client, &server] {
            stream.set_nodelay(true).unwrap();
            self.streams.lock().unwrap().push(stream.try_clone().unwrap());
        }
        let losing = Arc::new(AtomicBool::new(false));
        let (from_client, to_client) = (client.try_clone().unwrap(), client);
        let (from_server, to_server) = (server.try_clone().unwrap(), server);
        let (shared, to_be_lost) = (Arc::clone(self), Arc::clone(&losing));
        thread::spawn(move || {
            let mut withheld = Vec::new();
            pump(from_client, to_server, |bytes| {
                shared.from_client.fetch_add(bytes.len() as u64, Ordering::SeqCst);
                shared.pass(bytes, |fault| fault.hold || fault.hold_requests);
                to_be_lost.fetch_or(shared.takes_for_loss(bytes), Ordering::SeqCst);
                if !withheld.is_empty() || shared.withholds(bytes) {
                    withheld.extend_from_slice(bytes);
                    return Passage::Swallow;
                }
                Passage::Forward
            });
            if !withheld.is_empty() {
                shared.withheld.lock().unwrap().push(withheld);
            }
        });
        let shared = Arc::clone(self);
        thread::spawn(move || {
            pump(from_server, to_client, |bytes| {
                shared.pass(bytes, |fault| fault.hold);
                if losing.load(Ordering::SeqCst) {
                    shared.lost.fetch_add(1, Ordering::SeqCst);
                    return Passage::Close;
                }
                shared.to_client.fetch_add(bytes.len() as u64, Ordering::SeqCst);
                Passage::Forward
            });
        });
    }

    /// Returns when these bytes may go on.
    fn pass(&self, bytes: &[u8], held: impl Fn(&Fault) -> bool) {
        let fault = self.fault.lock().unwrap();
        let fault = self.changed.wait_while(fault, |fault| held(fault)).unwrap().clone();
        let slowness = fault.bytes_per_second.map_or(Duration::ZERO, |rate| {
            Duration::from_secs_f64(bytes.len() as f64 / rate as f64)
        });
        thread::sleep(fault.delay + slowness);
    }

    /// Whether these bytes begin a request whose answer is to be lost.
    fn takes_for_loss(&self, bytes: &[u8]) -> bool {
        let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
        match &mut self.fault.lock().unwrap().lose {
            Some((part, count))
                if *count > 0
                    && line.starts_with(b"POST ")
                    && String::from_utf8_lossy(line).contains(part.as_str()) =>
            {
                *count -= 1;
                true
            }
            _ => false,
        }
    }

    /// Whether these bytes begin a request that is to be kept back.
    fn withholds(&self, bytes: &[u8]) -> bool {
        let mut fault = self.fault.lock().unwrap();
        let Some((Withheld { least, texts }, count)) = &mut fault.withhold else { return false };
        let text = String::from_utf8_lossy(bytes);
        let length = text.split("ontent-").find_map(|part| {
            let digits = part.strip_prefix("length: ").or_else(|| part.strip_prefix("Length: "))?;
            digits.split('\r').next()?.parse::<usize>().ok()
        });
        let is_one = *count > 0
            && text.starts_with("POST ")
            && text.contains("/kv/txn")
            && length.or(Some(bytes.len())).is_some_and(|length| length >= *least)
            && texts.iter().all(|wanted| text.contains(wanted.as_str()));
        *count -= usize::from(is_one);
        is_one
    }
}

/// What becomes of some bytes.
enum Passage {
    /// They go on.
    Forward,
    /// They do not, and nothing is closed.
    Swallow,
    /// The connection ends here.
    Close,
}

/// Copies until one end is closed, or `pass` says that the connection ends here; then both ends are.
fn pump(mut from: TcpStream, mut to: TcpStream, mut pass: impl FnMut(&[u8]) -> Passage) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let bytes = &buffer[..count];
        match pass(bytes) {
            Passage::Forward if to.write_all(bytes).is_ok() => {}
            Passage::Swallow => {}
            Passage::Forward | Passage::Close => break,
        }
    }
    for stream in [from, to] {
        let _ = stream.shutdown(Shutdown::Both);
    }
}
