//! The files that the settings name for a login: one that cannot be used is the whole trouble, so
//! no server is asked before each of them can be read.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use super::report::Report;
use crate::config::{DatabaseSettings, EtcdSettings};
use crate::error::Unmet;
use crate::postgres::{SYSTEM_ROOTS, SslMode};
use crate::tls::{NameCheck, Tls, Trust};

/// Whether the files of PostgreSQL's settings can be used; if not, the report says so.
pub(super) fn of_database(settings: &DatabaseSettings, report: &mut Report) -> bool {
    let root = settings.sslrootcert.as_ref().filter(|root| *root != SYSTEM_ROOTS);
    let tls = settings.sslmode != SslMode::Disable;
    let mut named = vec![("database.password_file", settings.password_file.as_ref())];
    if tls {
        named.extend([
            ("database.sslrootcert", root),
            ("database.sslcert", settings.sslcert.as_ref()),
            ("database.sslkey", settings.sslkey.as_ref()),
        ]);
    }
    let content = || settings.connect_options().check_files();
    usable("server", &named, content, report)
}

/// The same for etcd's settings.
pub(super) fn of_etcd(settings: &EtcdSettings, report: &mut Report) -> bool {
    let named = [
        ("etcd.password_file", settings.password_file.as_ref()),
        ("etcd.tls.trusted_ca_path", settings.trusted_ca_path.as_ref()),
        ("etcd.tls.certificate_path", settings.certificate_path.as_ref()),
        ("etcd.tls.key_path", settings.key_path.as_ref()),
    ];
    let content = || {
        let options = settings.client_options();
        if let Some(password) = &options.password {
            password.reveal().map_err(|problem| format!("etcd.password_file: {problem}"))?;
        }
        // What the system trusts is read for an endpoint with TLS alone.
        let trust = options.trusted_ca.map_or(Trust::Anyone, Trust::File);
        let tls = Tls { trust, name: NameCheck::Off, identity: options.identity };
        tls.client_config().map(drop)
    };
    usable("endpoint", &named, content, report)
}

/// Reads each file that is named, then what is in them.
fn usable(
    line: &'static str,
    named: &[(&str, Option<&String>)],
    content: impl FnOnce() -> Result<(), String>,
    report: &mut Report,
) -> bool {
    let unreadable: Vec<Unmet> = named
        .iter()
        .filter_map(|(setting, path)| unreadable(setting, Path::new((*path)?)))
        .collect();
    let unusable = match unreadable.is_empty() {
        false => unreadable,
        true => {
            let cure = "mend that file, or have the setting name another one";
            content().err().map(|problem| Unmet::new(problem, cure)).into_iter().collect()
        }
    };
    let usable = unusable.is_empty();
    unusable.into_iter().for_each(|unmet| report.fail(line, unmet));
    usable
}

/// Why a file cannot be read.
fn unreadable(setting: &str, path: &Path) -> Option<Unmet> {
    let error = fs::read(path).err()?;
    let path = path.display();
    let cure = match error.kind() {
        ErrorKind::NotFound => format!("make {path}, or correct {setting}"),
        ErrorKind::PermissionDenied => {
            format!("let the user that runs pg2etcd read {path}, or correct {setting}")
        }
        _ => format!("make {path} a file that can be read, or correct {setting}"),
    };
    Some(Unmet::new(format!("{setting}: {path}: {error}"), cure))
}
