//! When a connection is encrypted, and whom it takes for the server, as libpq has it (manual,
//! "libpq - C Library", "SSL Support"). Both kinds of connection ask here.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;

use ::postgres::config::SslMode as SessionMode;
use bytes::BytesMut;
use postgres_protocol::message::frontend;
use rustls::ClientConfig;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::options::{HostPort, Options};
use super::stream::Stream;
use super::tls_options::{SslMode, no_tls};
use super::tls_stream::TlsStream;
use super::wait::Wait;
use crate::error::{Error, Result};
use crate::logging::warn_once;
use crate::sqlstate;

/// How one attempt to connect is encrypted.
#[derive(Clone)]
pub(super) enum Encryption {
    Clear,
    /// If the server offers it.
    Offered(Arc<ClientConfig>),
    Demanded(Arc<ClientConfig>),
}

/// Connects in the way that the options ask for, and if the server refuses that and they allow
/// for another, in that other way.
pub(super) fn connect<T>(
    options: &Options,
    address: &HostPort,
    mut attempt: impl FnMut(&Encryption) -> Result<T>,
) -> Result<T> {
    let mode = options.tls.mode;
    if mode == SslMode::Disable || address.socket_path().is_some() {
        return attempt(&Encryption::Clear);
    }
    let config = options.tls.tls().and_then(|tls| tls.client_config());
    let config = Arc::new(config.map_err(Error::Credentials)?);
    let (first, second) = match mode {
        SslMode::Disable => (Encryption::Clear, None),
        SslMode::Allow => (Encryption::Clear, Some(Encryption::Demanded(config))),
        SslMode::Prefer => (Encryption::Offered(config), Some(Encryption::Clear)),
        SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => {
            (Encryption::Demanded(config), None)
        }
    };
    match (attempt(&first), second) {
        (Err(error), Some(second)) if is_about_encryption(&error) => {
            let way = if mode == SslMode::Allow { "with TLS" } else { "in clear text" };
            warn_once(format!("{error}; trying {way} (database.sslmode)"));
            attempt(&second)
        }
        (connected, _) => connected,
    }
}

/// Whether the same may go well with, or without, TLS: the handshake failed, or pg_hba.conf says
/// no. A wrong password is wrong either way, and is not sent again in clear text.
fn is_about_encryption(error: &Error) -> bool {
    match error {
        Error::Credentials(_) => true,
        Error::PostgresIo { source, .. } => {
            matches!(source.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset)
        }
        Error::PostgresServer { answer, .. } => {
            answer.code == sqlstate::INVALID_AUTHORIZATION_SPECIFICATION
        }
        _ => false,
    }
}

impl Encryption {
    fn config(&self) -> Option<&Arc<ClientConfig>> {
        match self {
            Self::Clear => None,
            Self::Offered(config) | Self::Demanded(config) => Some(config),
        }
    }

    /// The same for an SQL session.
    pub(super) fn of_session(&self) -> (SessionMode, Option<MakeRustlsConnect>) {
        let mode = match self {
            Self::Clear => SessionMode::Disable,
            Self::Offered(_) => SessionMode::Prefer,
            Self::Demanded(_) => SessionMode::Require,
        };
        (mode, self.config().map(|config| MakeRustlsConnect::new(ClientConfig::clone(config))))
    }

    /// Asks the server for TLS, if so wanted, and begins it (manual, "Message Flow", "SSL Session
    /// Encryption").
    pub(super) fn negotiate(
        &self,
        mut stream: Stream,
        address: &HostPort,
        wait: &Wait<'_>,
    ) -> Result<Stream> {
        let Some(config) = self.config() else { return Ok(stream) };
        let mut request = BytesMut::new();
        frontend::ssl_request(&mut request);
        stream.write_all(&request).map_err(|error| wait.io_error(error))?;
        wait.until_readable(&stream)?;
        // Not a byte more than the answer: what follows in clear text is not to be believed.
        let mut answer = [0];
        stream.read_exact(&mut answer).map_err(|error| {
            wait.io_error(match error.kind() {
                ErrorKind::UnexpectedEof => closed(),
                _ => error,
            })
        })?;
        match (answer[0], self, stream) {
            (b'S', _, Stream::Tcp(socket)) => {
                TlsStream::connect(socket, config, &address.host, wait).map(Stream::Tls)
            }
            (b'N', Self::Demanded(_), _) => {
                Err(Error::Credentials(format!("PostgreSQL: {}: {}", wait.doing, no_tls())))
            }
            (b'N', _, stream) => Ok(stream),
            (other, ..) => Err(wait.unexpected(other)),
        }
    }
}

/// The end of a connection, in words: the standard library's are about a buffer.
pub(super) fn closed() -> io::Error {
    io::Error::new(ErrorKind::UnexpectedEof, "the server closed the connection")
}
