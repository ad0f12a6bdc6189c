//! The request to stop: one descriptor that becomes readable and stays so.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Says whether the process was asked to stop.
///
/// It is a descriptor, so that a thread can wait for it and for a socket with one `poll`; nothing
/// ever reads it, so that every thread sees it readable from the first signal on.
#[derive(Debug)]
pub struct Stop {
    requested: UnixStream,
    writer: UnixStream,
    /// The last signal that asked for it; 0 if none did.
    signal: Arc<AtomicUsize>,
}

/// The signals that ask for a stop.
const SIGNALS: [(i32, &str); 2] = [(SIGTERM, "SIGTERM"), (SIGINT, "SIGINT")];

impl Stop {
    /// Readable from the first SIGTERM or SIGINT on.
    ///
    /// # Errors
    /// When the system refuses a socket pair or the signal handlers.
    pub fn on_signals() -> io::Result<Self> {
        let stop = Self::new()?;
        for (signal, _) in SIGNALS {
            // First the number: whoever sees the descriptor readable may ask for it.
            let number = signal.unsigned_abs() as usize;
            signal_hook::flag::register_usize(signal, Arc::clone(&stop.signal), number)?;
            signal_hook::low_level::pipe::register(signal, stop.writer.try_clone()?)?;
        }
        Ok(stop)
    }

    /// Has SIGHUP written to one end of a pair of sockets, and returns the other one: a byte for
    /// each, which a thread can wait for.
    ///
    /// # Errors
    /// When the system refuses a socket pair or the signal handler.
    pub fn hangups() -> io::Result<UnixStream> {
        let (hangups, writer) = UnixStream::pair()?;
        signal_hook::low_level::pipe::register(SIGHUP, writer)?;
        Ok(hangups)
    }

    /// Readable from the first [`Self::request`] on.
    ///
    /// # Errors
    /// When the system refuses a socket pair.
    pub fn new() -> io::Result<Self> {
        let (requested, writer) = UnixStream::pair()?;
        writer.set_nonblocking(true)?;
        Ok(Self { requested, writer, signal: Arc::default() })
    }

    /// Never readable: for what nobody stops.
    ///
    /// # Errors
    /// When the system refuses a socket pair.
    pub fn never() -> io::Result<Self> {
        Self::new()
    }

    /// Another handle of the same stop, for a thread that may outlive this one.
    ///
    /// # Errors
    /// When the system refuses a descriptor.
    pub fn try_clone(&self) -> io::Result<Self> {
        let (requested, writer) = (self.requested.try_clone()?, self.writer.try_clone()?);
        Ok(Self { requested, writer, signal: Arc::clone(&self.signal) })
    }

    /// Asks for the stop.
    ///
    /// # Errors
    /// When the system refuses the write. A stop asked for so often that no byte more fits is not
    /// among them.
    pub fn request(&self) -> io::Result<()> {
        match (&self.writer).write(&[0]) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        }
    }

    /// The name of the signal that asked for the stop, if one did.
    #[must_use]
    pub fn signal(&self) -> Option<&'static str> {
        let number = self.signal.load(Ordering::Relaxed);
        let mut signals = SIGNALS.iter();
        signals.find(|(signal, _)| signal.unsigned_abs() as usize == number).map(|(_, name)| *name)
    }

    /// Whether the stop has been asked for.
    #[must_use]
    pub fn requested(&self) -> bool {
        self.wait(Duration::ZERO)
    }

    /// Waits up to `duration`; true as soon as the stop has been asked for.
    #[must_use]
    pub fn wait(&self, duration: Duration) -> bool {
        let deadline = Instant::now() + duration;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            // A poll that failed for another reason than a signal would fail again at once: to
            // say "stop" is the answer that cannot become a busy loop.
            match poll_readable([self.as_fd()], Some(left)) {
                Ok([ready]) => return ready,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return true,
            }
        }
    }
}

impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.requested.as_fd()
    }
}

/// Waits until one of `sources` can be read, or has ended, for at most `timeout` (`None`: for
/// ever), and says which can.
///
/// # Errors
/// As poll(2), `Interrupted` among them.
pub fn poll_readable<const N: usize>(
    sources: [BorrowedFd<'_>; N],
    timeout: Option<Duration>,
) -> io::Result<[bool; N]> {
    let timeout = timeout.map(|timeout| Timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    });
    let mut polled = sources.map(|source| PollFd::from_borrowed_fd(source, PollFlags::IN));
    poll(&mut polled, timeout.as_ref())?;
    Ok(polled.map(|source| !source.revents().is_empty()))
}
