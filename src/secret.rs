//! Texts that no log and no output shows, and the files that hold them.

use std::fmt;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::logging::warn_once;

/// A password. Printed in any way, it is `********`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one who is asked for it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("********")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where a password is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Password {
    /// The settings have it.
    Given(Secret),
    /// A file has it, and may have another one tomorrow.
    File(PathBuf),
}

impl Password {
    /// The password as it is now: a file is read anew, up to a line break at its end. A file that
    /// others may read is warned of.
    ///
    /// # Errors
    /// What is wrong with the file, if it cannot be read, is not UTF-8 or is empty.
    pub fn reveal(&self) -> Result<Secret, String> {
        let path = match self {
            Self::Given(secret) => return Ok(secret.clone()),
            Self::File(path) => path,
        };
        let problem =
            |problem: &dyn fmt::Display| format!("password file {}: {problem}", path.display());
        let text = fs::read_to_string(path).map_err(|error| problem(&error))?;
        if let Ok(metadata) = fs::metadata(path)
            && let Some(mode) = exposure(&metadata)
        {
            warn_once(problem(&format!("others may read it (mode {mode:04o}): chmod 0600")));
        }
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let password = line.strip_suffix('\r').unwrap_or(line);
        match password.is_empty() {
            true => Err(problem(&"is empty")),
            false => Ok(Secret::new(password)),
        }
    }
}

/// The mode of a file that others than its owner may reach. The group may read one that belongs
/// to root: so libpq has it for keys, and services are given theirs in this way.
#[must_use]
pub fn exposure(metadata: &Metadata) -> Option<u32> {
    let forbidden = if metadata.uid() == 0 { 0o037 } else { 0o077 };
    (metadata.is_file() && metadata.mode() & forbidden != 0).then(|| metadata.mode() & 0o7777)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_reveal_shows_it() {
        let secret = Secret::new("hunter2");
        assert_eq!(
            format!("{secret} {secret:?} {:?}", Some(&secret)),
            "******** ******** Some(********)"
        );
        assert_eq!(secret.reveal(), "hunter2");
        assert!(!format!("{:?}", Password::Given(secret)).contains("hunter2"));
    }

    #[test]
    fn a_file_is_read_at_each_use() {
        let path = std::env::temp_dir().join(format!("pg2etcd-password-{}", std::process::id()));
        let password = Password::File(path.clone());
        for (content, expected) in [
            ("first\n", Some("first")),
            ("second", Some("second")),
            (" third \r\n", Some(" third ")),
            ("two\nlines\n", Some("two\nlines")),
            ("", None),
            ("\n", None),
        ] {
            fs::write(&path, content).unwrap();
            let read = password.reveal();
            assert_eq!(read.as_ref().ok().map(Secret::reveal), expected, "{content:?}");
        }
        fs::remove_file(&path).unwrap();
        let problem = password.reveal().unwrap_err();
        assert!(problem.contains(path.to_str().unwrap()), "{problem}");
    }

    #[test]
    fn a_file_is_exposed_by_its_mode() {
        let path = std::env::temp_dir().join(format!("pg2etcd-exposed-{}", std::process::id()));
        fs::write(&path, "").unwrap();
        let by_root = fs::metadata(&path).unwrap().uid() == 0;
        for (mode, exposed) in
            [(0o600, false), (0o400, false), (0o640, !by_root), (0o660, true), (0o604, true)]
        {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let found = exposure(&fs::metadata(&path).unwrap());
            assert_eq!(found, exposed.then_some(mode), "{mode:o}");
        }
        fs::remove_file(&path).unwrap();
    }
}
