//! When a connection is encrypted, and whom it takes for the server, as libpq has it (manual,
//! "libpq - C Library", "SSL Support"). Both kinds of connection ask here.

use std::io::{self, ErrorKind, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use ::postgres::config::SslMode as SessionMode;
use bytes::BytesMut;
use postgres_protocol::message::frontend;
use rustls::ClientConfig;
use sha2::{Digest, Sha256, Sha384, Sha512};
use tokio_postgres_rustls::MakeRustlsConnect;
use x509_cert::der::Decode;
use x509_cert::der::oid::db::rfc5912::{
    ECDSA_WITH_SHA_256, ECDSA_WITH_SHA_384, ECDSA_WITH_SHA_512, SHA_1_WITH_RSA_ENCRYPTION,
    SHA_256_WITH_RSA_ENCRYPTION, SHA_384_WITH_RSA_ENCRYPTION, SHA_512_WITH_RSA_ENCRYPTION,
};

use super::message::Wait;
use super::options::{HostPort, Options};
use super::stream::Stream;
use super::tls_stream::TlsStream;
use crate::error::{Error, Result};
use crate::logging::warn_once;
use crate::tls::{Identity, NameCheck, Names, Tls, Trust};

/// What the settings are called that a refused session is about.
pub(super) const NAMES: Names =
    Names { trust: "database.sslrootcert", identity: "database.sslcert and database.sslkey" };

/// The value of `database.sslrootcert` that stands for what the system trusts.
pub const SYSTEM_ROOTS: &str = "system";

/// How much a connection insists on TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SslMode {
    /// In clear text only.
    Disable,
    /// With TLS only if the server refuses it in clear text.
    Allow,
    /// In clear text only if there is no TLS.
    #[default]
    Prefer,
    /// With TLS only.
    Require,
    /// The same, and an authority that is trusted has signed the server's certificate.
    VerifyCa,
    /// The same, and the certificate is for the server's name.
    VerifyFull,
}

/// What a session with TLS is made from. A file that is not named is looked for where libpq does.
#[derive(Clone, Debug, Default)]
pub struct TlsOptions {
    /// How much the connection insists on it.
    pub mode: SslMode,
    /// The file with the authorities that are trusted, or [`SYSTEM_ROOTS`].
    pub root: Option<String>,
    /// The file with the client's certificate.
    pub certificate: Option<PathBuf>,
    /// The file with its key.
    pub key: Option<PathBuf>,
    /// Where files are that are not named: `~/.postgresql`.
    pub folder: Option<PathBuf>,
}

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
        // invalid_authorization_specification
        Error::PostgresServer { answer, .. } => answer.code == "28000",
        _ => false,
    }
}

impl TlsOptions {
    /// Whether the files can be used.
    ///
    /// # Errors
    /// The file, and what is wrong with it.
    pub(super) fn check_files(&self) -> std::result::Result<(), String> {
        match self.mode {
            SslMode::Disable => Ok(()),
            _ => self.tls()?.client_config().map(drop),
        }
    }

    /// # Errors
    /// The file that is missing.
    fn tls(&self) -> std::result::Result<Tls, String> {
        Ok(Tls { trust: self.trust()?, name: self.name_check(), identity: self.identity()? })
    }

    fn trust(&self) -> std::result::Result<Trust, String> {
        match &self.root {
            Some(root) if root == SYSTEM_ROOTS => return Ok(Trust::System),
            Some(root) => return Ok(Trust::File(root.into())),
            None => {}
        }
        match self.in_folder("root.crt") {
            Some(root) if root.exists() => Ok(Trust::File(root)),
            root if self.mode == SslMode::VerifyCa || self.mode == SslMode::VerifyFull => {
                let file =
                    root.map_or("~/.postgresql/root.crt".into(), |root| root.display().to_string());
                Err(format!(
                    "there are no authorities to verify the server's certificate with: set \
                     database.sslrootcert to their file, or to {SYSTEM_ROOTS}, or make {file}"
                ))
            }
            _ => Ok(Trust::Anyone),
        }
    }

    fn name_check(&self) -> NameCheck {
        if self.mode == SslMode::VerifyFull { NameCheck::OrCommonName } else { NameCheck::Off }
    }

    fn identity(&self) -> std::result::Result<Option<Identity>, String> {
        let by_default = || self.in_folder("postgresql.crt").filter(|path| path.exists());
        let Some(certificate) = self.certificate.clone().or_else(by_default) else {
            return Ok(None);
        };
        let key = self.key.clone().or_else(|| self.in_folder("postgresql.key"));
        match key {
            Some(key) => Ok(Some(Identity { certificate, key })),
            None => Err("database.sslcert needs database.sslkey".to_owned()),
        }
    }

    fn in_folder(&self, name: &str) -> Option<PathBuf> {
        self.folder.as_ref().map(|folder| folder.join(name))
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

/// What to do about a server without TLS.
pub(super) fn no_tls() -> &'static str {
    "the server has no TLS and database.sslmode demands it: turn ssl on in its postgresql.conf, or \
     set database.sslmode to prefer"
}

/// What SCRAM binds a password to, if it can be bound: the hash of the server's certificate, by
/// the algorithm that it is signed with (RFC 5929, "tls-server-end-point").
pub(super) fn end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let parsed = x509_cert::Certificate::from_der(certificate).ok()?;
    match parsed.signature_algorithm.oid {
        // SHA-1 is too weak to be used here.
        SHA_1_WITH_RSA_ENCRYPTION | SHA_256_WITH_RSA_ENCRYPTION | ECDSA_WITH_SHA_256 => {
            Some(Sha256::digest(certificate).to_vec())
        }
        SHA_384_WITH_RSA_ENCRYPTION | ECDSA_WITH_SHA_384 => {
            Some(Sha384::digest(certificate).to_vec())
        }
        SHA_512_WITH_RSA_ENCRYPTION | ECDSA_WITH_SHA_512 => {
            Some(Sha512::digest(certificate).to_vec())
        }
        _ => None,
    }
}
