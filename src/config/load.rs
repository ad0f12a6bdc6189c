//! Puts the settings together from their sources.

use std::collections::BTreeMap;
use std::path::Path;

use super::field::Written;
use super::origin::{Given, Origin};
use super::{Environment, Fallback, KEYS, Key, Settings, file};
use crate::error::{Error, Result};
use crate::state::layout;

/// The file that is read when none is named.
pub const DEFAULT_FILE: &str = "/etc/pg2etcd.toml";

/// Reads the settings: `options` (each `key=value`) before the environment, the environment
/// before `file` (`None`: [`DEFAULT_FILE`], which may be absent), the file before the defaults.
///
/// # Errors
/// [`Error::Setting`], which names the source and the key. A value is checked even when a source
/// that comes before has another.
pub fn load(file: Option<&Path>, options: &[String], environment: &Environment) -> Result<Loaded> {
    let from_file = match file {
        Some(path) => file::read(path)?,
        None => file::read_if_present(Path::new(DEFAULT_FILE))?,
    };
    let mut loaded = Loaded::with_fixed_defaults()?;
    for given in from_file.given {
        loaded.set(given)?;
    }
    loaded.settings.tables = from_file.tables;
    for key in KEYS {
        if let Some((variable, text)) = environment.value_of(key.name, key.environment)? {
            let value = Written::Untyped(text);
            loaded.set(Given { key, value, origin: Origin::Environment(variable) })?;
        }
    }
    for option in options {
        loaded.set(parse_option(option)?)?;
    }
    loaded.settings.database.passfile = environment.passfile();
    loaded.settings.database.ssl_folder = environment.ssl_folder();
    loaded.compute_defaults()?;
    loaded.check()?;
    Ok(loaded)
}

/// The settings, and where each of them is from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// By the key's name; a key that is not here has its default.
    origins: BTreeMap<&'static str, Origin>,
}

impl Loaded {
    /// Where the value of the key of this name is from.
    #[must_use]
    pub fn origin(&self, name: &str) -> &Origin {
        self.origins.get(name).unwrap_or(&Origin::Default)
    }

    pub(super) fn with_fixed_defaults() -> Result<Self> {
        let mut loaded = Self { settings: Settings::default(), origins: BTreeMap::new() };
        for key in KEYS {
            if let Fallback::Is(text) = key.default {
                loaded.set_default(key, text.to_owned())?;
            }
        }
        Ok(loaded)
    }

    /// Gives a default to the keys that no source has, in the order of the table, since one may
    /// follow from another.
    pub(super) fn compute_defaults(&mut self) -> Result<()> {
        for key in KEYS {
            if let (Fallback::Computed(_, compute), Origin::Default) =
                (&key.default, self.origin(key.name))
            {
                let text = compute(&self.settings)?;
                self.set_default(key, text)?;
            }
        }
        Ok(())
    }

    fn set_default(&mut self, key: &'static Key, text: String) -> Result<()> {
        self.set(Given { key, value: Written::Untyped(text), origin: Origin::Default })
    }

    pub(super) fn set(&mut self, Given { key, value, origin }: Given) -> Result<()> {
        (key.field)(&mut self.settings)
            .read(&value)
            .map_err(|problem| origin.problem(key.name, &problem))?;
        self.origins.insert(key.name, origin);
        Ok(())
    }

    /// Checks what concerns more than one key.
    pub(super) fn check(&self) -> Result<()> {
        let Settings { database, etcd, .. } = &self.settings;
        let (hosts, ports) = (database.host.len(), database.port.len());
        if ports != 1 && ports != hosts {
            return Err(self.problem(
                "database.port",
                &format!(
                    "has {ports} ports for the {hosts} of database.host: give one, or one for \
                     each host"
                ),
            ));
        }
        if is_below(&etcd.path, &etcd.state_path) || is_below(&etcd.state_path, &etcd.path) {
            return Err(self.problem(
                "etcd.state_path",
                &format!(
                    "{} and etcd.path {} overlap: neither may be the other or below it",
                    etcd.state_path, etcd.path
                ),
            ));
        }
        for (name, path) in [("etcd.path", &etcd.path), ("etcd.state_path", &etcd.state_path)] {
            let claims = layout::CLAIMS;
            let around = name == "etcd.path" && is_below(claims, path);
            if around || is_below(path, claims) {
                let problem =
                    format!("{path} overlaps {claims}, where the claims of all copies are");
                return Err(self.problem(name, &problem));
            }
        }
        if etcd.username.is_some() && etcd.password.is_none() && etcd.password_file.is_none() {
            let problem = "needs etcd.password_file or etcd.password";
            return Err(self.problem("etcd.username", problem));
        }
        self.settings.shapes().check(&etcd.state_path).map_err(Error::Setting)?;
        self.check_secrets()
    }

    /// What is wrong with the value that a key has.
    pub(super) fn problem(&self, name: &str, problem: &str) -> Error {
        self.origin(name).problem(name, problem)
    }
}

/// Reads `key=value`.
pub(super) fn parse_option(option: &str) -> Result<Given> {
    let (name, value) = option
        .split_once('=')
        .ok_or_else(|| Error::Setting(format!("-o {option}: write it as key=value")))?;
    let key = KEYS
        .iter()
        .find(|key| key.name == name.trim())
        .ok_or_else(|| Error::Setting(format!("-o: {}", file::unknown(name.trim()))))?;
    Ok(Given { key, value: Written::Untyped(value.to_owned()), origin: Origin::Option })
}

/// Whether `path` is `other` or below it.
fn is_below(path: &str, other: &str) -> bool {
    path.strip_prefix(other).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Oversized;
    use crate::postgres::HostPort;
    use crate::table_name::TableName;

    /// Settings without a file, with a user, and with variables and options that are `name=value`.
    fn loaded(variables: &[&str], options: &[&str]) -> Result<Loaded> {
        let environment = ["PGUSER=alice"]
            .iter()
            .chain(variables)
            .map(|variable| variable.split_once('=').unwrap())
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        let options: Vec<String> = options.iter().map(ToString::to_string).collect();
        load(Some(Path::new("/dev/null")), &options, &environment)
    }

    fn problem(variables: &[&str], options: &[&str]) -> String {
        loaded(variables, options).unwrap_err().to_string()
    }

    #[test]
    fn defaults_follow_from_each_other() {
        let Settings { log_level, database, etcd, sync, status, tables } =
            loaded(&[], &["sync.slot=s1"]).unwrap().settings;
        assert!(tables.is_empty());
        assert_eq!(log_level, "info");
        assert_eq!(database.hosts(), [HostPort { host: "localhost".into(), port: 5432 }]);
        assert_eq!((&*database.user, &*database.name), ("alice", "alice"));
        assert!(database.password.is_none() && database.passfile.is_none());
        assert_eq!(database.connect_timeout, Duration::from_secs(10));
        assert_eq!(database.connection_retries, 0);
        assert_eq!(database.retry_period, Duration::from_secs(1));
        assert_eq!(database.replication_status_timeout, Duration::from_secs(10));
        assert_eq!(etcd.endpoints, ["127.0.0.1:2379"]);
        assert!(etcd.username.is_none() && etcd.password.is_none());
        assert_eq!((&*etcd.path, &*etcd.state_path), ("alice", ".pg2etcd/s1"));
        assert_eq!(etcd.dial_timeout, Duration::from_secs(5));
        assert_eq!(etcd.request_timeout, Duration::from_secs(10));
        assert_eq!((etcd.max_txn_ops, etcd.max_request_bytes), (128, 1536 << 10));
        assert_eq!((&*sync.slot, &*sync.publication), ("s1", "pg2etcd"));
        assert!(sync.tables.is_empty() && sync.dump && !sync.coalesce);
        assert_eq!(sync.idle_period, Duration::from_secs(1));
        assert_eq!(sync.catalog_period, Duration::from_secs(60));
        assert_eq!((sync.writers, sync.oversized), (4, Oversized::Stop));
        assert!(!sync.adopt);
        assert_eq!((sync.compare_period, status.table_metrics), (None, true));
        assert_eq!((status.listen, status.ready_lag), (None, 16 << 20));
        assert_eq!(status.stall_timeout, Duration::from_secs(300));
    }

    #[test]
    fn the_first_source_wins() {
        let path = std::env::temp_dir().join(format!("pg2etcd-load-{}.toml", std::process::id()));
        std::fs::write(&path, "[database]\nuser = 'f'\nname = 'f'\nhost = 'f'\n").unwrap();
        let environment = [("PGUSER", "e"), ("PGDATABASE", "e")]
            .map(|(k, v)| (k.into(), v.into()))
            .into_iter()
            .collect();
        let options = ["database.user=o1".to_owned()];
        let loaded = load(Some(&path), &options, &environment).unwrap();
        std::fs::remove_file(&path).unwrap();
        let database = &loaded.settings.database;
        assert_eq!((&*database.user, &*database.name, &*database.host[0]), ("o1", "e", "f"));
        let origins: Vec<String> =
            KEYS.iter().map(|key| loaded.origin(key.name).to_string()).collect();
        let file = format!("{}:4", path.display());
        let expected = [&*file, "default", "-o", "default", "default", "environment PGDATABASE"];
        assert_eq!(origins[1..7], expected);
    }

    #[test]
    fn the_last_option_of_a_key_wins() {
        let loaded = loaded(&[], &["sync.writers=2", "sync.writers=3"]).unwrap();
        assert_eq!(loaded.settings.sync.writers, 3);
    }

    #[test]
    fn hosts_are_paired_with_ports() {
        let loaded = loaded(&["PGHOST=a,/run/b", "PGPORT=1,2"], &[]).unwrap();
        let pair = |host: &str, port| HostPort { host: host.to_owned(), port };
        assert_eq!(loaded.settings.database.hosts(), [pair("a", 1), pair("/run/b", 2)]);
    }

    #[test]
    fn lists_and_words_reach_their_fields() {
        let options = ["sync.tables=public.a,x.b", "sync.oversized=skip", "etcd.path=/a/b/"];
        let Settings { etcd, sync, .. } = loaded(&[], &options).unwrap().settings;
        let table =
            |schema: &str, name: &str| TableName { schema: schema.into(), name: name.into() };
        assert_eq!(sync.tables, [table("public", "a"), table("x", "b")]);
        assert_eq!(sync.oversized, Oversized::Skip);
        assert_eq!(etcd.path, "a/b");
    }

    #[test]
    fn problems_name_source_and_key() {
        for (variables, options, expected) in [
            (
                &[][..],
                &["sync.writers=0"][..],
                "-o sync.writers: expected a whole number from 1 to 64, got 0",
            ),
            (
                &["PGPORT=x"],
                &[],
                r#"environment PGPORT: database.port: expected a whole number, got "x""#,
            ),
            (
                &["PGPORT=x"],
                &["database.port=1"],
                r#"environment PGPORT: database.port: expected a whole number, got "x""#,
            ),
            (&[], &["sync.slots=a"], "-o: unknown setting sync.slots, did you mean sync.slot?"),
            (&[], &["sync.slot"], "-o sync.slot: write it as key=value"),
            (
                &["PGPORT=1,2"],
                &["database.host=a,b,c"],
                "environment PGPORT: database.port: has 2 ports for the 3 of database.host: give one, or one for each host",
            ),
            (
                &["ETCDCTL_USER=root"],
                &[],
                "environment ETCDCTL_USER: etcd.username: needs etcd.password_file or etcd.password",
            ),
        ] {
            assert_eq!(problem(variables, options), expected);
        }
    }

    #[test]
    fn path_and_state_path_are_apart() {
        for (path, state_path, apart) in [
            ("a", "a", false),
            ("a", "/a/", false),
            ("a", "a/b", false),
            ("a/b", "a", false),
            ("a", "ab", true),
            ("a/b", "a/c", true),
            (".pg2etcd", "a", false),
            (".pg2etcd/claims", "a", false),
            (".pg2etcd/claims/a", "a", false),
            (".pg2etcd/claim", "a", true),
            (".pg2etcd/s", ".pg2etcd/pg2etcd", true),
            ("a", ".pg2etcd/claims", false),
            ("a", ".pg2etcd/claims/a", false),
            ("a", ".pg2etcd", true),
        ] {
            let options = [format!("etcd.path={path}"), format!("etcd.state_path={state_path}")];
            let loaded = loaded(&[], &options.each_ref().map(String::as_str));
            assert_eq!(loaded.is_ok(), apart, "{path} {state_path}");
        }
    }
}
