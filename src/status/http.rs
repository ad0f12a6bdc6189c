//! The connections over HTTP. Each has one request and one answer.
//!
//! No client has to be trusted: the size of a request, its time and the number of connections are
//! limited. At the limit the oldest connection is closed, so that a probe is answered though other
//! clients keep their connections open and ask nothing.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::{self, Builder};
use std::time::{Duration, Instant};

use super::Status;
use super::answer::{HttpRequest, Response, answer};
use crate::stop::{Stop, poll_readable};

/// How many connections there may be at once.
const MOST_CLIENTS: usize = 16;
/// The longest that a request and its answer may take.
const TIME: Duration = Duration::from_secs(5);
/// The largest head of a request, in bytes.
const HEAD_BYTES: usize = 8 << 10;
/// The most headers of a request.
const HEADERS: usize = 64;
/// How much of a request's body, which is of no use, is read, in bytes, so that the client reads the answer.
const BODY_BYTES: usize = 64 << 10;
/// The pause after a connection that could not be taken: there may be no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// What a thread that answers needs, in bytes.
const STACK_BYTES: usize = 256 << 10;

/// Takes connections until the end is asked for.
pub(super) fn serve(listener: &TcpListener, status: &Arc<Status>, end: &Stop) {
    let mut clients = VecDeque::new();
    loop {
        match poll_readable([end.as_fd(), listener.as_fd()], None) {
            Ok([true, _]) => return,
            Ok(_) if admit(listener, status, &mut clients).is_ok() => {}
            _ => thread::sleep(ACCEPT_PAUSE),
        }
    }
}

/// Takes a connection, and has a thread answer it.
fn admit(
    listener: &TcpListener,
    status: &Arc<Status>,
    clients: &mut VecDeque<TcpStream>,
) -> io::Result<()> {
    let (client, _) = listener.accept()?;
    client.set_nonblocking(false)?;
    if clients.len() == MOST_CLIENTS
        && let Some(oldest) = clients.pop_front()
    {
        // Most are done by then; to these it means nothing.
        let _ = oldest.shutdown(Shutdown::Both);
    }
    clients.push_back(client.try_clone()?);
    let status = Arc::clone(status);
    let named = Builder::new().name("http client".to_owned()).stack_size(STACK_BYTES);
    named.spawn(move || {
        // What goes wrong is the client's, and it knows.
        let _ = attend(&client, &status);
        let _ = client.shutdown(Shutdown::Both);
    })?;
    Ok(())
}

/// Reads a request and answers it.
fn attend(client: &TcpStream, status: &Status) -> io::Result<()> {
    let deadline = Instant::now() + TIME;
    let (head, answer) = match read_request(client, deadline)? {
        Ok(request) => (request.head, answer(&request, status)),
        Err(answer) => (false, answer),
    };
    let text = answer.to_http(head);
    let mut left = text.as_bytes();
    let mut writer = client;
    while !left.is_empty() {
        client.set_write_timeout(Some(time_left(deadline)?))?;
        left = &left[writer.write(left)?..];
    }
    client.shutdown(Shutdown::Write)?;
    let mut reader = client.take(BODY_BYTES as u64);
    client.set_read_timeout(Some(time_left(deadline)?.min(Duration::from_secs(1))))?;
    io::copy(&mut reader, &mut io::sink()).map(drop)
}

/// Reads the head of a request; if it is malformed, gives the response that says so.
fn read_request(
    mut client: &TcpStream,
    deadline: Instant,
) -> io::Result<Result<HttpRequest, Response>> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        client.set_read_timeout(Some(time_left(deadline)?))?;
        let count = client.read(&mut buffer)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&buffer[..count]);
        match parse(&bytes) {
            Ok(Some(request)) => return Ok(Ok(request)),
            Ok(None) if bytes.len() < HEAD_BYTES => {}
            Ok(None) | Err(httparse::Error::TooManyHeaders) => {
                return Ok(Err(Response::text("431 Request Header Fields Too Large", "")));
            }
            Err(problem) => {
                return Ok(Err(Response::text("400 Bad Request", &format!("{problem}"))));
            }
        }
    }
}

/// The request, once all of its head is there.
fn parse(bytes: &[u8]) -> Result<Option<HttpRequest>, httparse::Error> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    if request.parse(bytes)?.is_partial() {
        return Ok(None);
    }
    let method = request.method.unwrap_or_default();
    let path = request.path.unwrap_or_default();
    let path = path.split('?').next().unwrap_or_default().to_owned();
    Ok(Some(HttpRequest { head: method == "HEAD", get: method == "GET", path }))
}

/// The time until the deadline, which is an error once it has passed.
fn time_left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}
