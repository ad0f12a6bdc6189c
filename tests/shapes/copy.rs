//! A copy of tables with shapes, and the SQL that says what etcd has to have.

use std::collections::BTreeMap;
use std::fs;

use crate::support::{Daemon, Launch, Servers, canonical, caught_up, wait_for};

/// The settings that documents are printed under: pg2etcd(8), "Values".
const SETTINGS: &str =
    "SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres';
    SET bytea_output = 'hex'; SET extra_float_digits = 3; SET lc_monetary = 'C'";

/// Servers, the settings of the tables, and the oracle.
pub(crate) struct Copy {
    pub(crate) servers: Servers,
    pub(crate) launch: Launch,
    /// What each key is to be: a query of keys and values; a key without a value is not there.
    pub(crate) oracle: String,
    /// Keys of others, which stay.
    others: Vec<&'static str>,
}

impl Copy {
    /// Servers with these tables, and a daemon, to be started, with these blocks.
    pub(crate) fn new(schema: &str, blocks: &str, oracle: &str) -> Self {
        let servers = Servers::start();
        servers.execute(schema);
        let launch = with_blocks(&servers, blocks);
        Self { servers, launch, oracle: oracle.to_owned(), others: Vec::new() }
    }

    /// With keys of others beside those of the tables.
    pub(crate) fn with_others(mut self, others: &[&'static str]) -> Self {
        others.iter().for_each(|key| self.servers.put(key, "other"));
        self.others = others.to_vec();
        self
    }

    /// Starts the daemon, and waits until it streams.
    pub(crate) fn start(&self) -> Daemon {
        let mut daemon = self.launch.start();
        daemon.await_line("Resuming from ");
        daemon
    }

    /// Changes rows, and waits until etcd has what they are then.
    #[track_caller]
    pub(crate) fn change(&self, sql: &str) {
        self.servers.execute(sql);
        caught_up(&self.servers);
        if let Some(difference) = self.difference() {
            panic!("after {sql}:\n{difference}");
        }
    }

    /// etcd is to have what the oracle says, and what others have put, at some time soon.
    #[track_caller]
    pub(crate) fn await_equal(&self) {
        wait_for("etcd to have what the oracle says", || self.difference().map_or(Ok(()), Err));
    }

    /// The keys that the oracle says, with their values.
    pub(crate) fn wanted(&self) -> BTreeMap<String, String> {
        let mut sql = self.servers.sql();
        sql.batch_execute(SETTINGS).unwrap();
        let rows = sql.query(&self.oracle, &[]).expect(&self.oracle);
        let rows = rows.iter().filter_map(|row| Some((row.get(0), row.get::<_, Option<_>>(1)?)));
        rows.collect()
    }

    /// All keys but those of the state, with their values.
    pub(crate) fn found(&self) -> BTreeMap<String, String> {
        let mut found = self.servers.keys("");
        found.retain(|key, _| !key.starts_with("/.pg2etcd/"));
        found
    }

    fn difference(&self) -> Option<String> {
        let (mut wanted, found) = (self.wanted(), self.found());
        wanted.extend(self.others.iter().map(|&key| (key.to_owned(), "other".to_owned())));
        let same = |one: &str, two: &str| match one.starts_with(['{', '[']) {
            true => canonical(one) == canonical(two),
            false => one == two,
        };
        let keys = wanted.keys().chain(found.keys().filter(|key| !wanted.contains_key(*key)));
        let differing = keys.filter_map(|key| match (wanted.get(key), found.get(key)) {
            (Some(wanted), Some(found)) if same(wanted, found) => None,
            (wanted, found) => Some(format!("{key}: wanted {wanted:?}, found {found:?}")),
        });
        let differing: Vec<_> = differing.take(10).collect();
        (!differing.is_empty()).then(|| differing.join("\n"))
    }

    /// The revisions of the tables' keys.
    pub(crate) fn revisions(&self) -> BTreeMap<String, i64> {
        let mut revisions = self.servers.mod_revisions("");
        revisions.retain(|key, _| !key.starts_with("/.pg2etcd/"));
        revisions
    }

    /// `verify` finds nothing.
    #[track_caller]
    pub(crate) fn verify(&self) {
        let (status, differing, said) = self.launch.ask(&["verify"]);
        assert_eq!((status, differing.as_str()), (0, ""), "{said}");
    }
}

/// A daemon with a file of these blocks.
pub(crate) fn with_blocks(servers: &Servers, blocks: &str) -> Launch {
    let file = servers.folder.join("shapes.toml");
    fs::write(&file, blocks).unwrap();
    servers.daemon().argument("-c").argument(file.to_str().unwrap())
}
