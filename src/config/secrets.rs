//! Which passwords, keys and certificates go together, and where they should not stand.

use std::fs;

use super::{Loaded, Origin, Settings};
use crate::error::Result;
use crate::postgres::{SYSTEM_ROOTS, SslMode};
use crate::secret::exposure;

impl Loaded {
    /// What is no error but should not stay as it is: a file with a password that others may read.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let exposed = ["database.password", "etcd.password"].map(|name| {
            let Origin::File { path, line } = self.origin(name) else { return None };
            let mode = exposure(&fs::metadata(path).ok()?)?;
            let path = path.display();
            Some(format!(
                "{path}:{line}: others may read {name} (mode {mode:04o}): chmod 0600 {path}, or \
                 use {name}_file"
            ))
        });
        exposed.into_iter().flatten().collect()
    }

    /// Checks what belongs together, or excludes each other, of passwords, keys and certificates.
    pub(super) fn check_secrets(&self) -> Result<()> {
        let Settings { database, etcd, .. } = &self.settings;
        for (file, password, both) in [
            (
                "database.password_file",
                "database.password",
                database.password.is_some() && database.password_file.is_some(),
            ),
            (
                "etcd.password_file",
                "etcd.password",
                etcd.password.is_some() && etcd.password_file.is_some(),
            ),
        ] {
            if both {
                let origin = self.origin(password);
                let problem = format!("and {password} ({origin}) are both set: keep one of them");
                return Err(self.problem(file, &problem));
            }
        }
        if database.sslrootcert.as_deref() == Some(SYSTEM_ROOTS)
            && database.sslmode != SslMode::VerifyFull
        {
            let problem = "has to be verify-full when database.sslrootcert is system";
            return Err(self.problem("database.sslmode", problem));
        }
        match (&etcd.certificate_path, &etcd.key_path) {
            (Some(_), None) => {
                Err(self.problem("etcd.tls.certificate_path", "needs etcd.tls.key_path"))
            }
            (None, Some(_)) => {
                Err(self.problem("etcd.tls.key_path", "needs etcd.tls.certificate_path"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;
    use crate::config::load;

    fn loaded(options: &[&str]) -> Result<Loaded> {
        let options: Vec<String> = options.iter().map(ToString::to_string).collect();
        let environment = [("PGUSER".into(), "u".into())].into_iter().collect();
        load(Some(Path::new("/dev/null")), &options, &environment)
    }

    #[test]
    fn what_goes_together_is_checked() {
        for (options, problem) in [
            (&["etcd.username=a", "etcd.password_file=b"][..], ""),
            (&["etcd.tls.trusted_ca_path=a"], ""),
            (&["database.sslrootcert=a", "database.sslmode=require"], ""),
            (
                &["database.password=hunter2", "database.password_file=b"],
                "-o database.password_file: and database.password (-o) are both set",
            ),
            (
                &["etcd.username=a", "etcd.password=hunter2", "etcd.password_file=b"],
                "-o etcd.password_file: and etcd.password (-o) are both set",
            ),
            (&["etcd.tls.key_path=a"], "-o etcd.tls.key_path: needs etcd.tls.certificate_path"),
            (&["etcd.tls.certificate_path=a"], "needs etcd.tls.key_path"),
            (
                &["database.sslrootcert=system", "database.sslmode=verify-ca"],
                "-o database.sslmode: has to be verify-full",
            ),
        ] {
            let found = loaded(options).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(found.contains(problem), "{options:?}: {found}");
            assert_eq!(found.is_empty(), problem.is_empty(), "{options:?}: {found}");
            assert!(!found.contains("hunter2"), "{found}");
        }
    }

    #[test]
    fn who_trusts_the_system_looks_at_the_name() {
        let mode = |options| loaded(options).unwrap().settings.database.sslmode;
        assert_eq!(mode(&[]), SslMode::Prefer);
        assert_eq!(mode(&["database.sslrootcert=system"]), SslMode::VerifyFull);
    }

    #[test]
    fn a_password_that_others_may_read_is_warned_of() {
        let path = std::env::temp_dir().join(format!("pg2etcd-warn-{}.toml", std::process::id()));
        let environment = [("PGUSER".into(), "u".into())].into_iter().collect();
        for (text, mode, count) in [
            ("[database]\npassword = 'hunter2'\n[etcd]\npassword = 'x'\n", 0o644, 2),
            ("[database]\npassword = 'hunter2'\n", 0o600, 0),
            ("[database]\nname = 'a'\n", 0o644, 0),
        ] {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let warnings = load(Some(&path), &[], &environment).unwrap().warnings();
            assert_eq!(warnings.len(), count, "{text}: {warnings:?}");
            for warning in warnings {
                assert!(
                    warning.contains("chmod 0600") && !warning.contains("hunter2"),
                    "{warning}"
                );
            }
        }
        fs::remove_file(&path).unwrap();
    }
}
