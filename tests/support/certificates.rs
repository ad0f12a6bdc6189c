//! Certificates, made by openssl(1) as administrators make them.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

/// An authority that signs certificates.
pub(crate) struct Authority {
    folder: PathBuf,
    /// Its own certificate.
    pub(crate) certificate: PathBuf,
    key: PathBuf,
}

/// A certificate and its key, which belong to the owner of their folder.
#[derive(Clone)]
pub(crate) struct Issued {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Authority {
    /// An authority of this name, which names its files too.
    pub(crate) fn new(folder: &Path, name: &str) -> Self {
        let Issued { certificate, key } = self_signed(folder, name, name);
        Self { folder: folder.to_owned(), certificate, key }
    }

    /// Signs a certificate for `common_name`, without one if that is empty, good for so many days. Without extensions it is one of X.509's first version.
    pub(crate) fn issue(
        &self,
        name: &str,
        common_name: &str,
        extensions: &str,
        days: i32,
    ) -> Issued {
        let Issued { certificate, key } = paths(&self.folder, name);
        let [request, extension_file] =
            ["csr", "ext"].map(|kind| self.folder.join(format!("{name}.{kind}")));
        let mut command = request_for(common_name, &key);
        openssl(command.arg("-out").arg(&request));
        let mut command = Command::new("openssl");
        command.args(["x509", "-req", "-CAcreateserial", "-days", &days.to_string(), "-in"]);
        command.arg(&request).arg("-CA").arg(&self.certificate).arg("-CAkey").arg(&self.key);
        if !extensions.is_empty() {
            fs::write(&extension_file, extensions).unwrap();
            command.arg("-extfile").arg(&extension_file);
        }
        openssl(command.arg("-out").arg(&certificate));
        given_away(&self.folder, Issued { certificate, key })
    }
}

impl Issued {
    /// The certificate's path as text.
    pub(crate) fn certificate(&self) -> &str {
        self.certificate.to_str().unwrap()
    }

    /// The key's path as text.
    pub(crate) fn key(&self) -> &str {
        self.key.to_str().unwrap()
    }
}

/// A certificate that nobody but itself has signed.
pub(crate) fn self_signed(folder: &Path, name: &str, common_name: &str) -> Issued {
    let Issued { certificate, key } = paths(folder, name);
    let mut command = request_for(common_name, &key);
    openssl(command.args(["-x509", "-days", "2", "-out"]).arg(&certificate));
    given_away(folder, Issued { certificate, key })
}

fn paths(folder: &Path, name: &str) -> Issued {
    let [certificate, key] = ["crt", "key"].map(|kind| folder.join(format!("{name}.{kind}")));
    Issued { certificate, key }
}

fn request_for(common_name: &str, key: &Path) -> Command {
    let mut command = Command::new("openssl");
    command.args(["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]);
    let subject =
        if common_name.is_empty() { "/O=none".to_owned() } else { format!("/CN={common_name}") };
    command.args(["-subj", &subject]).arg("-keyout").arg(key);
    command
}

/// A server that does not run as root has to own its key.
fn given_away(folder: &Path, issued: Issued) -> Issued {
    let owner = fs::metadata(folder).unwrap().uid();
    chown(&issued.key, Some(owner), None).unwrap();
    issued
}

fn openssl(command: &mut Command) {
    let output = command.output().expect("openssl, of Debian's package of that name");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
