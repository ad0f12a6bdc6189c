//! Whom to connect to, and as whom.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::passfile;
use super::tls_options::TlsOptions;
use crate::error::{Error, Result};
use crate::secret::{Password, Secret};

/// Who connects, to which database.
#[derive(Clone)]
pub struct Options {
    /// The role.
    pub user: String,
    /// Its password; `None` to look it up in `passfile`, and only if the server asks for one.
    pub password: Option<Password>,
    /// The password file, if there is one.
    pub passfile: Option<PathBuf>,
    /// The database.
    pub database: String,
    /// The longest time for connecting, startup and authentication together. Resolving the
    /// host's name is not bounded by it.
    pub connect_timeout: Duration,
    /// Whether and how the connection is encrypted.
    pub tls: TlsOptions,
}

impl Options {
    /// Whether the files that it names can be used, as far as that shows without a server.
    ///
    /// # Errors
    /// The setting or file, and what is wrong with it.
    pub fn check_files(&self) -> std::result::Result<(), String> {
        if let Some(password) = &self.password {
            password.reveal().map_err(|problem| format!("database.password_file: {problem}"))?;
        }
        self.tls.check_files()
    }

    /// The password for a server, if there is one.
    ///
    /// # Errors
    /// [`Error::Credentials`] if its file cannot be used.
    pub(super) fn password_for(&self, address: &HostPort) -> Result<Option<Secret>> {
        if let Some(password) = &self.password {
            return password.reveal().map(Some).map_err(|problem| {
                Error::Credentials(format!("database.password_file: {problem}"))
            });
        }
        let HostPort { host, port } = address;
        let found = self.passfile.as_deref().and_then(|passfile| {
            passfile::lookup(passfile, host, *port, &self.database, &self.user)
        });
        Ok(found.map(Secret::new))
    }
}

/// Where a server listens. Prints as `host:port`, or as the path of its socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// A name, an address, or, if it begins with a slash, the directory of a Unix socket.
    pub host: String,
    /// The TCP port, which is part of a Unix socket's name too.
    pub port: u16,
}

impl HostPort {
    /// The path of the Unix socket, if it is one.
    pub(super) fn socket_path(&self) -> Option<String> {
        let Self { host, port } = self;
        host.starts_with('/').then(|| format!("{}/.s.PGSQL.{port}", host.trim_end_matches('/')))
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        match self.socket_path() {
            Some(path) => f.write_str(&path),
            None if host.contains(':') => write!(f, "[{host}]:{port}"),
            None => write!(f, "{host}:{port}"),
        }
    }
}

/// Leaves the password out.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("user", &self.user)
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_print_as_one_writes_them() {
        for (host, text) in [
            ("localhost", "localhost:5432"),
            ("::1", "[::1]:5432"),
            ("/run/postgresql/", "/run/postgresql/.s.PGSQL.5432"),
        ] {
            assert_eq!(HostPort { host: host.to_owned(), port: 5432 }.to_string(), text);
        }
    }

    #[test]
    fn options_do_not_print_the_password() {
        let options = Options {
            user: "someone".to_owned(),
            password: Some(Password::Given(Secret::new("secret"))),
            passfile: None,
            database: "shop".to_owned(),
            connect_timeout: Duration::ZERO,
            tls: TlsOptions::default(),
        };
        assert!(!format!("{options:?}").contains("secret"));
    }
}
