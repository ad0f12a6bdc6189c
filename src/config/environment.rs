//! What the process finds around it: environment variables, and the user that it runs as.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use super::units::{LONGEST, print_duration};
use crate::error::{Error, Result};

/// The environment variables. An empty one counts as unset, as in libpq.
#[derive(Clone, Debug, Default)]
pub struct Environment(BTreeMap<OsString, OsString>);

impl FromIterator<(OsString, OsString)> for Environment {
    fn from_iter<I: IntoIterator<Item = (OsString, OsString)>>(variables: I) -> Self {
        Self(variables.into_iter().filter(|(_, value)| !value.is_empty()).collect())
    }
}

impl Environment {
    /// The first of the `variables` that is set, and its value as a setting writes it; `key` is the
    /// setting's name.
    pub(super) fn value_of(
        &self,
        key: &str,
        variables: &[&'static str],
    ) -> Result<Option<(&'static str, String)>> {
        for &variable in variables {
            let Some(value) = self.get(variable) else { continue };
            let value = value
                .to_str()
                .ok_or_else(|| Error::Setting(format!("environment {variable}: is not UTF-8")))?;
            if let Some(value) = self.translated(key, variable, value) {
                return Ok(Some((variable, value)));
            }
        }
        Ok(None)
    }

    /// Where libpq would look for passwords.
    pub(super) fn passfile(&self) -> Option<PathBuf> {
        let in_home = || self.get("HOME").map(|home| Path::new(home).join(".pgpass"));
        self.get("PGPASSFILE").map(PathBuf::from).or_else(in_home)
    }

    /// Where libpq would look for certificates and keys.
    pub(super) fn ssl_folder(&self) -> Option<PathBuf> {
        self.get("HOME").map(|home| Path::new(home).join(".postgresql"))
    }

    fn get(&self, variable: &str) -> Option<&OsStr> {
        self.0.get(OsStr::new(variable)).map(OsString::as_os_str)
    }

    /// Some variables mean to libpq and etcdctl what a setting writes in another way.
    fn translated(&self, key: &str, variable: &str, value: &str) -> Option<String> {
        match (key, variable) {
            ("database.connect_timeout", "PGCONNECT_TIMEOUT") => Some(libpq_timeout(value)),
            // As etcdctl has it, a name with a colon in it needs ETCDCTL_PASSWORD.
            ("etcd.username", "ETCDCTL_USER") if self.get("ETCDCTL_PASSWORD").is_none() => {
                Some(value.split_once(':').map_or(value, |(user, _)| user).to_owned())
            }
            ("etcd.password", "ETCDCTL_USER") => {
                value.split_once(':').map(|(_, password)| password.to_owned())
            }
            _ => Some(value.to_owned()),
        }
    }
}

/// libpq counts in seconds without a unit, and waits for ever from zero down.
fn libpq_timeout(value: &str) -> String {
    match value.trim().parse::<i64>() {
        Ok(..=0) => print_duration(LONGEST),
        Ok(seconds) => format!("{seconds}s"),
        Err(_) => value.to_owned(),
    }
}

/// The name of the user that the process runs as.
pub(super) fn os_user() -> Result<String> {
    let uid = rustix::process::geteuid().as_raw();
    let problem =
        |cause: &str| Error::Setting(format!("database.user: {cause}: set it here or in PGUSER"));
    let users = fs::read("/etc/passwd")
        .map_err(|error| problem(&format!("cannot read /etc/passwd: {error}")))?;
    user_name(&String::from_utf8_lossy(&users), uid)
        .map(str::to_owned)
        .ok_or_else(|| problem(&format!("/etc/passwd has no user with the id {uid}")))
}

/// Finds a user's name in the text of passwd(5).
fn user_name(passwd: &str, uid: u32) -> Option<&str> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        // The field between is the password.
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;
    use crate::config::KEYS;

    fn value_of(variables: &[(&str, &str)], name: &str) -> Option<(&'static str, String)> {
        let key = KEYS.iter().find(|key| key.name == name).unwrap();
        let environment: Environment =
            variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
        environment.value_of(key.name, key.environment).unwrap()
    }

    #[test]
    fn variables_mean_what_they_mean_elsewhere() {
        let both = [("ETCDCTL_USER", "a:b"), ("ETCDCTL_PASSWORD", "c")];
        for (variables, key, expected) in [
            (&[("PGHOST", "db")][..], "database.host", Some(("PGHOST", "db"))),
            (&[("PGHOST", "")], "database.host", None),
            (&[], "database.host", None),
            (
                &[("PGCONNECT_TIMEOUT", "3")],
                "database.connect_timeout",
                Some(("PGCONNECT_TIMEOUT", "3s")),
            ),
            (
                &[("PGCONNECT_TIMEOUT", "0")],
                "database.connect_timeout",
                Some(("PGCONNECT_TIMEOUT", "1day")),
            ),
            (
                &[("PGCONNECT_TIMEOUT", "2m")],
                "database.connect_timeout",
                Some(("PGCONNECT_TIMEOUT", "2m")),
            ),
            (&[("ETCDCTL_USER", "a")], "etcd.username", Some(("ETCDCTL_USER", "a"))),
            (&[("ETCDCTL_USER", "a")], "etcd.password", None),
            (&[("ETCDCTL_USER", "a:b:c")], "etcd.username", Some(("ETCDCTL_USER", "a"))),
            (&[("ETCDCTL_USER", "a:b:c")], "etcd.password", Some(("ETCDCTL_USER", "b:c"))),
            (&both, "etcd.username", Some(("ETCDCTL_USER", "a:b"))),
            (&both, "etcd.password", Some(("ETCDCTL_PASSWORD", "c"))),
        ] {
            let expected = expected.map(|(variable, value)| (variable, value.to_owned()));
            assert_eq!(value_of(variables, key), expected, "{variables:?} {key}");
        }
    }

    #[test]
    fn a_variable_that_is_no_text_is_an_error_that_names_it() {
        let value = OsStr::from_bytes(b"\xFF").to_owned();
        let environment: Environment = [(OsString::from("PGHOST"), value)].into_iter().collect();
        let key = KEYS.iter().find(|key| key.name == "database.host").unwrap();
        let error = environment.value_of(key.name, key.environment).unwrap_err().to_string();
        assert_eq!(error, "environment PGHOST: is not UTF-8");
    }

    #[test]
    fn the_passfile_is_where_libpq_looks() {
        for (variables, expected) in [
            (&[("PGPASSFILE", "/p"), ("HOME", "/h")][..], Some("/p")),
            (&[("PGPASSFILE", ""), ("HOME", "/h")], Some("/h/.pgpass")),
            (&[], None),
        ] {
            let environment: Environment =
                variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
            assert_eq!(environment.passfile(), expected.map(PathBuf::from));
        }
    }

    #[test]
    fn users_are_found_by_id() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\n\n+::\npostgres:x:104:1:,,,:/:/bin/sh\n";
        assert_eq!(user_name(passwd, 0), Some("root"));
        assert_eq!(user_name(passwd, 104), Some("postgres"));
        assert_eq!(user_name(passwd, 1), None);
    }
}
