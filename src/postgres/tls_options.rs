//! How much a connection insists on TLS, and with which files, as libpq has it (manual, "libpq - C
//! Library", "SSL Support").

use std::path::PathBuf;

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

impl TlsOptions {
    /// Whether the files can be used.
    ///
    /// # Errors
    /// The file, and what is wrong with it.
    pub(super) fn check_files(&self) -> Result<(), String> {
        match self.mode {
            SslMode::Disable => Ok(()),
            _ => self.tls()?.client_config().map(drop),
        }
    }

    /// # Errors
    /// The file that is missing.
    pub(super) fn tls(&self) -> Result<Tls, String> {
        Ok(Tls { trust: self.trust()?, name: self.name_check(), identity: self.identity()? })
    }

    fn trust(&self) -> Result<Trust, String> {
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

    fn identity(&self) -> Result<Option<Identity>, String> {
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

/// What to do about a server without TLS.
pub(super) fn no_tls() -> &'static str {
    "the server has no TLS and database.sslmode demands it: turn ssl on in its postgresql.conf, or \
     set database.sslmode to prefer"
}
