//! The socket below a connection.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::net::sockopt;

use super::options::HostPort;
use super::tls_stream::TlsStream;

/// A connected socket. Clones share the socket, so that one thread can read and another write.
///
/// A read does not wait: [`super::wait::Wait`] polls the descriptor before it, unless
/// [`Self::holds_bytes`].
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(TlsStream),
}

/// A peer that takes nothing for this long is lost: what is written are requests and statuses,
/// which fit a socket's buffer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// A silent peer is probed after this time,
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
/// then at this interval,
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// and given up after so many probes.
const KEEPALIVE_PROBES: u32 = 3;
/// Probes are not sent while something written is unacknowledged; it may be so for as long as
/// the probes would take, in milliseconds.
const UNACKNOWLEDGED_TIMEOUT: u32 = 60_000;

impl Stream {
    /// Connects to the first address of `address` that answers before `deadline`.
    pub(super) fn connect(address: &HostPort, deadline: Option<Instant>) -> io::Result<Self> {
        if let Some(path) = address.socket_path() {
            let socket = UnixStream::connect(path)?;
            socket.set_write_timeout(Some(WRITE_TIMEOUT))?;
            return Ok(Self::Unix(socket));
        }
        let socket = connect_tcp(address, deadline)?;
        socket.set_write_timeout(Some(WRITE_TIMEOUT))?;
        socket.set_nodelay(true)?;
        sockopt::set_socket_keepalive(&socket, true)?;
        sockopt::set_tcp_keepidle(&socket, KEEPALIVE_IDLE)?;
        sockopt::set_tcp_keepintvl(&socket, KEEPALIVE_INTERVAL)?;
        sockopt::set_tcp_keepcnt(&socket, KEEPALIVE_PROBES)?;
        sockopt::set_tcp_user_timeout(&socket, UNACKNOWLEDGED_TIMEOUT)?;
        Ok(Self::Tcp(socket))
    }

    pub(super) fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(socket) => socket.try_clone().map(Self::Tcp),
            Self::Unix(socket) => socket.try_clone().map(Self::Unix),
            Self::Tls(stream) => Ok(Self::Tls(stream.clone())),
        }
    }

    /// Whether a read may have something though the descriptor has not.
    pub(super) fn holds_bytes(&self) -> bool {
        match self {
            Self::Tcp(_) | Self::Unix(_) => false,
            Self::Tls(stream) => stream.holds_bytes(),
        }
    }

    /// What SCRAM can bind a password to.
    pub(super) fn end_point(&self) -> Option<Vec<u8>> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => None,
            Self::Tls(stream) => stream.end_point(),
        }
    }

    /// Ends both directions, for every clone.
    pub(super) fn shutdown(&self) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.shutdown(Shutdown::Both),
            Self::Unix(socket) => socket.shutdown(Shutdown::Both),
            Self::Tls(stream) => stream.socket().shutdown(Shutdown::Both),
        }
    }
}

/// Tries each address of a name with an equal share of the time that is left, so that one which
/// never answers leaves time for the next.
fn connect_tcp(address: &HostPort, deadline: Option<Instant>) -> io::Result<TcpStream> {
    let resolved: Vec<_> = (address.host.as_str(), address.port).to_socket_addrs()?.collect();
    let mut failure = io::Error::new(ErrorKind::NotFound, "the name has no address");
    for (tried, candidate) in resolved.iter().enumerate() {
        let untried = u32::try_from(resolved.len() - tried).unwrap_or(u32::MAX);
        let connected = match deadline {
            None => TcpStream::connect(candidate),
            Some(deadline) => {
                let share = deadline.saturating_duration_since(Instant::now()) / untried;
                // connect_timeout takes a duration of zero for a mistake.
                TcpStream::connect_timeout(candidate, share.max(Duration::from_millis(1)))
            }
        };
        match connected {
            Ok(socket) => return Ok(socket),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
            Self::Tls(stream) => stream.socket().as_fd(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.read(buffer),
            Self::Unix(socket) => socket.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = match self {
            Self::Tcp(socket) => socket.write(bytes),
            Self::Unix(socket) => socket.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        };
        // The system names the end of a write timeout "Resource temporarily unavailable".
        written.map_err(|error| match error.kind() {
            ErrorKind::WouldBlock => {
                io::Error::new(ErrorKind::TimedOut, "the server takes nothing that is sent to it")
            }
            _ => error,
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
