//! A socket with TLS, of which one thread reads and another writes.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use super::end_point::end_point;
use super::wait::Wait;
use crate::error::{Error, Result};

/// The most that is taken from the socket at a time.
const READ_BYTES: usize = 64 << 10;

/// A clone shares socket and session; one clone reads, one writes.
///
/// The session is locked only while bytes in memory are encrypted or decrypted. A thread waits
/// for the socket, to read or to write, without the lock, so that the other thread can go on.
#[derive(Debug)]
pub(super) struct TlsStream {
    shared: Arc<Shared>,
    /// What the socket gave, of which `unread` is still to be decrypted.
    arrived: Vec<u8>,
    unread: std::ops::Range<usize>,
    /// Whether the session may hold decrypted bytes.
    decrypted: bool,
    /// What was encrypted, on its way to the socket.
    leaving: Vec<u8>,
}

#[derive(Debug)]
struct Shared {
    socket: TcpStream,
    session: Mutex<ClientConnection>,
}

impl TlsStream {
    /// Begins a session with the server of this name.
    ///
    /// # Errors
    /// [`Error::Credentials`] if one side refuses the other; [`Error::PostgresIo`].
    pub(super) fn connect(
        mut socket: TcpStream,
        config: &Arc<ClientConfig>,
        host: &str,
        wait: &Wait<'_>,
    ) -> Result<Self> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| {
            Error::Setting(format!("database.host: {host} is no name that TLS can be used with"))
        })?;
        let mut session = ClientConnection::new(Arc::clone(config), name)
            .map_err(|error| wait.io_error(io::Error::other(error)))?;
        while session.is_handshaking() || session.wants_write() {
            if session.wants_write() {
                session.write_tls(&mut socket).map_err(|error| wait.io_error(error))?;
                continue;
            }
            wait.until_readable(&socket)?;
            if session.read_tls(&mut socket).map_err(|error| wait.io_error(error))? == 0 {
                let text = "the server closed the connection in the TLS handshake";
                return Err(wait.io_error(io::Error::new(ErrorKind::UnexpectedEof, text)));
            }
            if let Err(error) = session.process_new_packets() {
                // The server is told why, if it still listens.
                let _ = session.write_tls(&mut socket);
                return Err(wait.io_error(io::Error::new(ErrorKind::InvalidData, error)));
            }
        }
        Ok(Self::of(Arc::new(Shared { socket, session: Mutex::new(session) })))
    }

    fn of(shared: Arc<Shared>) -> Self {
        let (arrived, leaving) = (Vec::new(), Vec::new());
        Self { shared, arrived, unread: 0..0, decrypted: false, leaving }
    }

    pub(super) fn socket(&self) -> &TcpStream {
        &self.shared.socket
    }

    /// Whether a read may have something without the socket.
    pub(super) fn holds_bytes(&self) -> bool {
        self.decrypted || !self.unread.is_empty()
    }

    /// What SCRAM can bind a password to.
    pub(super) fn end_point(&self) -> Option<Vec<u8>> {
        end_point(self.shared.lock().peer_certificates()?.first()?)
    }
}

impl Clone for TlsStream {
    fn clone(&self) -> Self {
        Self::of(Arc::clone(&self.shared))
    }
}

impl Read for TlsStream {
    /// Reads what is there. `Interrupted` says that it is not yet a whole record; so does a socket
    /// that was not polled, by waiting.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.holds_bytes() {
            self.arrived.resize(READ_BYTES, 0);
            let count = (&self.shared.socket).read(&mut self.arrived)?;
            if count == 0 {
                return Ok(0);
            }
            self.unread = 0..count;
        }
        let mut session = self.shared.lock();
        loop {
            match session.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => {
                    self.decrypted = matches!(read, Ok(count) if count == buffer.len());
                    return read;
                }
            }
            self.decrypted = false;
            if self.unread.is_empty() {
                return Err(ErrorKind::Interrupted.into());
            }
            let taken = session.read_tls(&mut &self.arrived[self.unread.clone()])?;
            self.unread.start += taken;
            session
                .process_new_packets()
                .map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        }
    }
}

impl Write for TlsStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.leaving.clear();
        let mut session = self.shared.lock();
        let count = session.writer().write(bytes)?;
        while session.wants_write() {
            session.write_tls(&mut self.leaving)?;
        }
        drop(session);
        (&self.shared.socket).write_all(&self.leaving)?;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, ClientConnection> {
        // A session that a panic left half done refuses what follows, as any broken stream.
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes leave: a server logs a connection that ends without it as broken.
impl Drop for Shared {
    fn drop(&mut self) {
        let mut farewell = Vec::new();
        let mut session = self.lock();
        session.send_close_notify();
        // A peer that is gone, or has no room for it, does not need it.
        let _ = session.write_tls(&mut farewell);
        let _ = self.socket.set_nonblocking(true);
        let _ = (&self.socket).write(&farewell);
    }
}
