//! The stop that ends every wait for etcd.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::stop::Stop;

/// How long requests still have once a stop was asked for: what is under way comes to its end
/// where etcd answers, and a stop does not wait for an etcd that does not.
const GRACE: Duration = Duration::from_secs(2);

/// A stop, as all connections of a client look at it.
#[derive(Debug, Default)]
pub(super) struct Cancel {
    /// The stop's descriptor; `None` for a client that nothing ends.
    stop: Option<OwnedFd>,
    /// When the grace ends; set by the first who sees the stop.
    end: OnceLock<Instant>,
}

impl Cancel {
    /// One that follows `stop`.
    pub(super) fn with(stop: &Stop) -> io::Result<Self> {
        let stop = stop.as_fd().try_clone_to_owned()?;
        Ok(Self { stop: Some(stop), end: OnceLock::new() })
    }

    /// Whether nothing may be waited for any more.
    pub(super) fn is_over(&self) -> bool {
        self.end().is_some_and(|end| end <= Instant::now())
    }

    /// Waits until `socket` can be read or written, as `flags` say.
    ///
    /// # Errors
    /// `TimedOut` after `timeout`, `None` being for ever; `Interrupted` when a stop ends the wait.
    pub(super) fn wait(
        &self,
        socket: BorrowedFd<'_>,
        flags: PollFlags,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            let end = self.end.get().copied();
            let now = Instant::now();
            if end.is_some_and(|end| end <= now) {
                return Err(io::Error::new(io::ErrorKind::Interrupted, "a stop was asked for"));
            }
            if deadline.is_some_and(|deadline| deadline <= now) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let left = deadline.into_iter().chain(end).min().map(|until| timespec(until - now));
            let stop = self.stop.as_ref().filter(|_| end.is_none()).map(AsFd::as_fd);
            let mut polled = [
                PollFd::from_borrowed_fd(socket, flags),
                PollFd::from_borrowed_fd(stop.unwrap_or(socket), PollFlags::IN),
            ];
            let watched = if stop.is_some() { 2 } else { 1 };
            ignore_signals(poll(&mut polled[..watched], left.as_ref()))?;
            if stop.is_some() && !polled[1].revents().is_empty() {
                self.end.get_or_init(|| Instant::now() + GRACE);
            }
            // An error or a hang-up too: the read or write that follows says which.
            if !polled[0].revents().is_empty() {
                return Ok(());
            }
        }
    }

    /// When the grace ends; `None` as long as nobody has asked for a stop.
    fn end(&self) -> Option<Instant> {
        if let Some(end) = self.end.get() {
            return Some(*end);
        }
        let mut stop = [PollFd::new(self.stop.as_ref()?, PollFlags::IN)];
        // A poll that fails says nothing of a stop.
        poll(&mut stop, Some(&timespec(Duration::ZERO))).ok().filter(|&ready| ready > 0)?;
        Some(*self.end.get_or_init(|| Instant::now() + GRACE))
    }
}

fn ignore_signals(polled: rustix::io::Result<usize>) -> io::Result<()> {
    match polled {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::thread;

    use super::*;

    #[test]
    fn a_wait_ends_with_the_socket_the_time_or_the_stop() {
        let stop = Stop::new().unwrap();
        let cancel = Cancel::with(&stop).unwrap();
        let (near, far) = UnixStream::pair().unwrap();
        let wait = |timeout| cancel.wait(near.as_fd(), PollFlags::IN, timeout);
        let timed_out = wait(Some(Duration::from_millis(1))).unwrap_err();
        assert_eq!(timed_out.kind(), io::ErrorKind::TimedOut);
        cancel.wait(near.as_fd(), PollFlags::OUT, None).unwrap();

        let begun = Instant::now();
        thread::scope(|scope| {
            scope.spawn(|| stop.request().unwrap());
            let stopped = wait(None).unwrap_err();
            assert_eq!(stopped.kind(), io::ErrorKind::Interrupted);
        });
        assert!(begun.elapsed() >= GRACE && begun.elapsed() < GRACE * 2);
        assert!(cancel.is_over());
        drop(far);
        assert!(wait(None).is_err(), "no second grace");
        Cancel::default().wait(near.as_fd(), PollFlags::IN, None).unwrap();
    }
}
