//! A TCP connection of which every wait ends with its time or with a stop: ureq's own connection
//! knows no stop, and a name lookup knows no time either.

use std::io::{self, ErrorKind, Read, Write};
use std::mem::take;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};
use ureq::Error;
use ureq::unversioned::transport::{Buffers, LazyBuffers, NextTimeout, Transport};

use super::cancel::Cancel;

/// How often a name lookup looks whether a stop was asked for.
const LOOK: Duration = Duration::from_millis(50);

/// A connected socket, which never blocks.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    buffers: LazyBuffers,
    cancel: Arc<Cancel>,
    /// Whether nothing was read since a request left: no answer is there yet.
    asked: bool,
}

impl Socket {
    /// Connects to the first address of `host` that answers. Each has an equal share of the time
    /// that is left, so that one which never answers leaves time for the next.
    ///
    /// # Errors
    /// The last address's error; `TimedOut`, and `Interrupted` when a stop ends the wait.
    pub(super) fn connect(
        (host, port): (&str, u16),
        timeout: Duration,
        buffers: LazyBuffers,
        cancel: &Arc<Cancel>,
    ) -> io::Result<Self> {
        let deadline = Instant::now() + timeout;
        let addresses = resolve(host, port, deadline, cancel)?;
        let mut failure = io::Error::new(ErrorKind::NotFound, "the name has no address");
        for (tried, address) in addresses.iter().enumerate() {
            let untried = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
            let share = deadline.saturating_duration_since(Instant::now()) / untried;
            match connect_to(*address, share, cancel) {
                Ok(stream) => {
                    let cancel = Arc::clone(cancel);
                    return Ok(Self { stream, buffers, cancel, asked: false });
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    fn wait(&self, flags: PollFlags, timeout: NextTimeout) -> Result<(), Error> {
        let after = Some(*timeout.after).filter(|_| !timeout.after.is_not_happening());
        self.cancel.wait(self.stream.as_fd(), flags, after).map_err(|error| match error.kind() {
            ErrorKind::TimedOut => Error::Timeout(timeout.reason),
            _ => Error::Io(error),
        })
    }
}

fn connect_to(address: SocketAddr, timeout: Duration, cancel: &Cancel) -> io::Result<TcpStream> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    match connect(&socket, &address) {
        Ok(()) => {}
        Err(Errno::INPROGRESS) => {
            cancel.wait(socket.as_fd(), PollFlags::OUT, Some(timeout))?;
            sockopt::socket_error(&socket)??;
        }
        Err(error) => return Err(error.into()),
    }
    let stream = TcpStream::from(socket);
    // A request leaves in one write, which need not wait for what comes behind it.
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Looks a name up, in a thread that is left behind if it takes too long: nothing ends a lookup.
fn resolve(
    host: &str,
    port: u16,
    deadline: Instant,
    cancel: &Cancel,
) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let (found, look) = sync_channel(1);
    let host = host.to_owned();
    thread::Builder::new().name("resolve".to_owned()).spawn(move || {
        let addresses = (host, port).to_socket_addrs().map(Vec::from_iter);
        // Nobody waits for it any more.
        let _ = found.send(addresses);
    })?;
    loop {
        match look.recv_timeout(LOOK) {
            Ok(addresses) => return addresses,
            Err(RecvTimeoutError::Disconnected) => {
                return Err(io::Error::other("the name could not be looked up"));
            }
            Err(RecvTimeoutError::Timeout) if cancel.is_over() => {
                return Err(io::Error::new(ErrorKind::Interrupted, "a stop was asked for"));
            }
            Err(RecvTimeoutError::Timeout) if deadline <= Instant::now() => {
                return Err(ErrorKind::TimedOut.into());
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

impl Transport for Socket {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let mut sent = 0;
        while sent < amount {
            match (&self.stream).write(&self.buffers.output()[sent..amount]) {
                Ok(0) => return Err(io::Error::from(ErrorKind::WriteZero).into()),
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.wait(PollFlags::OUT, timeout)?;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.asked = true;
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        if take(&mut self.asked) {
            self.wait(PollFlags::IN, timeout)?;
        }
        loop {
            match (&self.stream).read(self.buffers.input_append_buf()) {
                Ok(count) => {
                    self.buffers.input_appended(count);
                    return Ok(count > 0);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.wait(PollFlags::IN, timeout)?;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whether it can be used once more: nothing comes unasked, and no end either.
    fn is_open(&mut self) -> bool {
        let read = (&self.stream).read(&mut [0]);
        read.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }
}
