//! An SQL client whose waits end at a stop.
//!
//! The client itself cannot be interrupted: connecting waits for the resolver or for a server that
//! is frozen, and a query waits for as long as another session holds a lock. So a thread of its own
//! connects, and is left alone if a stop comes first. After that it waits for the stop or the
//! client's end, and on a stop has the server cancel what the client runs.

use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::sync_channel;
use std::thread::Builder;
use std::time::{Duration, Instant};

use ::postgres::{CancelToken, Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::tls_options;
use crate::error::{Error, Result, ServerAnswer};
use crate::stop::{Stop, poll_readable};
use crate::tls;

/// The time between two cancellations after a stop: the next query may have begun meanwhile.
const CANCEL_PERIOD: Duration = Duration::from_millis(250);

/// Keeps the thread that cancels a client's queries at a stop; without it that thread ends.
pub(super) struct Guard {
    _held: UnixStream,
}

/// Connects, for at most `timeout` with all that belongs to it.
pub(super) fn connect(
    config: Config,
    tls: Option<MakeRustlsConnect>,
    timeout: Duration,
    stop: &Stop,
    doing: &str,
) -> Result<(Client, Guard)> {
    let system = |source| Error::System { doing: doing.to_owned(), source };
    let (guard, guarded) = UnixStream::pair().map_err(system)?;
    let stop_too = stop.try_clone().map_err(system)?;
    let (sender, receiver) = sync_channel(1);
    let body = move || {
        let connected = match tls.clone() {
            None => config.connect(NoTls),
            Some(tls) => config.connect(tls),
        };
        let canceller = connected.as_ref().map(|client| Canceller::of(client, tls)).ok();
        let told = sender.send(connected).is_ok() && (&guarded).write_all(&[0]).is_ok();
        if let Some(canceller) = canceller.filter(|_| told) {
            canceller.cancel_at_stop(&stop_too, guarded.as_fd());
        }
    };
    Builder::new().name("sql-stop".to_owned()).spawn(body).map_err(system)?;
    let connection_failed = |source| Error::PostgresIo { doing: doing.to_owned(), source };
    match first_ready([guard.as_fd(), stop.as_fd()], Some(timeout)).map_err(connection_failed)? {
        [true, _] => {}
        [false, true] => return Err(Error::Stopped),
        [false, false] => {
            let text = format!("no connection within {timeout:?} (database.connect_timeout)");
            return Err(connection_failed(io::Error::new(ErrorKind::TimedOut, text)));
        }
    }
    // The thread has sent before it said so.
    let connected = receiver.recv().map_err(|_| Error::Stopped)?;
    connected.map(|client| (client, Guard { _held: guard })).map_err(|error| failed(doing, error))
}

/// Ends a query of a session.
pub struct Canceller {
    token: CancelToken,
    tls: Option<MakeRustlsConnect>,
}

impl Canceller {
    pub(super) fn of(client: &Client, tls: Option<MakeRustlsConnect>) -> Self {
        Self { token: client.cancel_token(), tls }
    }

    /// Asks the server to end the query that runs now. A server that cannot be reached is not
    /// running it for long.
    pub fn cancel(&self) {
        let cancelled = match self.tls.clone() {
            None => self.token.cancel_query(NoTls),
            Some(tls) => self.token.cancel_query(tls),
        };
        if let Err(error) = cancelled {
            log::debug!("cancelling a query: {error}");
        }
    }

    /// Cancels each query from the stop on, until the client has ended.
    fn cancel_at_stop(&self, stop: &Stop, ended: BorrowedFd<'_>) {
        let mut ready = first_ready([ended, stop.as_fd()], None);
        while let Ok([false, _]) = ready {
            self.cancel();
            ready = first_ready([ended], Some(CANCEL_PERIOD)).map(|[ended]| [ended, true]);
        }
    }
}

/// An error of the server, or of the connection to it, that came while reading a copy.
#[must_use]
pub fn copy_error(doing: &str, error: io::Error) -> Error {
    match error.downcast::<::postgres::Error>() {
        Ok(error) => failed(doing, error),
        Err(source) => Error::PostgresIo { doing: doing.to_owned(), source },
    }
}

pub(super) fn failed(doing: impl Into<String>, error: ::postgres::Error) -> Error {
    let doing = doing.into();
    let Some(answer) = error.as_db_error() else {
        let source = std::error::Error::source(&error);
        if source.is_some_and(|source| source.to_string() == "server does not support TLS") {
            return Error::Credentials(format!("PostgreSQL: {doing}: {}", tls_options::no_tls()));
        }
        let source: Option<&io::Error> = source.and_then(|source| source.downcast_ref());
        if let Some(reason) = source.and_then(|source| tls::refusal(source, &tls_options::NAMES)) {
            return Error::Credentials(format!("PostgreSQL: {doing}: {reason}"));
        }
        let kind = match source {
            Some(source) => io::Error::kind(source),
            None if error.is_closed() => ErrorKind::UnexpectedEof,
            None => ErrorKind::Other,
        };
        return Error::PostgresIo { doing, source: io::Error::new(kind, error) };
    };
    let answer = ServerAnswer {
        severity: answer.severity().to_owned(),
        code: answer.code().code().to_owned(),
        message: answer.message().to_owned(),
        detail: answer.detail().map(str::to_owned),
        hint: answer.hint().map(str::to_owned),
        context: answer.where_().map(str::to_owned),
    };
    Error::PostgresServer { doing, answer: Box::new(answer) }
}

/// As [`poll_readable`], whatever signals come meanwhile.
fn first_ready<const N: usize>(
    sources: [BorrowedFd<'_>; N],
    timeout: Option<Duration>,
) -> io::Result<[bool; N]> {
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        match poll_readable(sources, left) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            ready => return ready,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// Connects to a server that takes the connection and says nothing.
    fn connect_to_silence(timeout: Duration, stop: &Stop) -> Error {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let mut config = Config::new();
        config.host("127.0.0.1").port(port).user("u").dbname("d");
        connect(config, None, timeout, stop, "testing").err().expect("nobody answers")
    }

    #[test]
    fn a_silent_server_is_waited_for_no_longer_than_the_timeout() {
        let stop = Stop::new().expect("a stop");
        let error = connect_to_silence(Duration::from_millis(50), &stop);
        assert!(error.to_string().contains("no connection within 50ms"), "{error}");
    }

    #[test]
    fn a_stop_ends_connecting() {
        let stop = Stop::new().expect("a stop");
        thread::scope(|scope| {
            let waiting = scope.spawn(|| connect_to_silence(Duration::from_secs(600), &stop));
            stop.request().expect("a stop");
            assert!(matches!(waiting.join().expect("no panic"), Error::Stopped));
        });
    }
}
