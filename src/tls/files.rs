//! Certificates and keys in PEM files.

use std::fmt::Display;
use std::fs;
use std::path::Path;

use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::secret::exposure;

/// The certificates in a file, of which there has to be one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let problem = |problem: &dyn Display| format!("certificate file {}: {problem}", path.display());
    let content = fs::read(path).map_err(|error| problem(&error))?;
    let certificates = CertificateDer::pem_slice_iter(&content)
        .collect::<Result<Vec<_>, PemError>>()
        .map_err(|error| problem(&format!("it is no PEM file: {error}")))?;
    match certificates.is_empty() {
        true => Err(problem(&"there is no BEGIN CERTIFICATE in it: it has to be in PEM form")),
        false => Ok(certificates),
    }
}

/// The private key in a file, which only its owner may read.
pub(super) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let problem = |problem: &dyn Display| format!("private key {}: {problem}", path.display());
    let metadata = fs::metadata(path).map_err(|error| problem(&error))?;
    if let Some(mode) = exposure(&metadata) {
        return Err(problem(&format!(
            "others may read it (mode {mode:04o}): chmod 0600 {}, or 0640 if root owns it",
            path.display()
        )));
    }
    let content = fs::read(path).map_err(|error| problem(&error))?;
    PrivateKeyDer::from_pem_slice(&content).map_err(|error| {
        let text = String::from_utf8_lossy(&content);
        match error {
            _ if text.contains("ENCRYPTED") => {
                problem(&"it is encrypted, and a daemon cannot ask for its passphrase: decrypt it (openssl pkey)")
            }
            PemError::NoItemsFound => {
                problem(&"there is no BEGIN PRIVATE KEY in it: it has to be in PEM form")
            }
            error => problem(&format!("it is no PEM file: {error}")),
        }
    })
}

/// The certificates that the system trusts: administrators keep these, and they do not age with
/// the program. `SSL_CERT_FILE` and `SSL_CERT_DIR` name others, as for OpenSSL.
pub(super) fn system_roots() -> Result<Vec<CertificateDer<'static>>, String> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        let cause = found.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
        return Err(format!(
            "the system has no certificates that it trusts{cause}: install the package \
             ca-certificates"
        ));
    }
    Ok(found.certs)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use super::*;

    struct File(PathBuf);

    impl File {
        fn with(name: &str, content: &str, mode: u32) -> Self {
            let name = format!("pg2etcd-pem-{}-{name}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            Self(path)
        }
    }

    impl Drop for File {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    #[test]
    fn problems_name_the_file() {
        const KEY: &str =
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        let torn = "-----BEGIN CERTIFICATE-----\nAAAA\n";
        for (name, content, mode, part) in [
            ("open", KEY, 0o644, "chmod 0600"),
            ("encrypted", KEY, 0o600, "decrypt it"),
            ("empty", "", 0o600, "BEGIN PRIVATE KEY"),
        ] {
            let file = File::with(name, content, mode);
            let problem = private_key(&file.0).unwrap_err();
            assert!(problem.contains(part) && problem.contains(name), "{problem}");
        }
        for (name, content, part) in
            [("none", KEY, "BEGIN CERTIFICATE"), ("torn", torn, "no PEM file")]
        {
            let file = File::with(name, content, 0o644);
            let problem = certificates(&file.0).unwrap_err();
            assert!(problem.contains(part) && problem.contains(name), "{problem}");
        }
        let problem = certificates(Path::new("/nonexistent/ca.crt")).unwrap_err();
        assert!(problem.contains("/nonexistent/ca.crt: No such file"), "{problem}");
    }
}
