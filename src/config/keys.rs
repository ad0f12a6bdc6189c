//! The table of settings: the parser, `pg2etcd config`, `--help` and the test of the man pages
//! work from it.

use std::fmt;

use super::environment::os_user;
use super::{Field, Settings, text};
use crate::error::Result;
use crate::postgres::SYSTEM_ROOTS;

/// Every setting. Those at the top level come first, as they must in a TOML file.
pub static KEYS: &[Key] = &[
    Key {
        name: "log_level",
        field: |settings| Field::LogFilter(&mut settings.log_level),
        default: Fallback::Is("info"),
        environment: &["RUST_LOG"],
        doc: "what is logged; module=level for one module, such as info,ureq=debug",
    },
    Key {
        name: "database.host",
        field: |settings| Field::Texts(&mut settings.database.host, text::host),
        default: Fallback::Is("localhost"),
        environment: &["PGHOST"],
        doc: "name, address or socket directory; a list is tried in order for the primary",
    },
    Key {
        name: "database.port",
        field: |settings| Field::Ports(&mut settings.database.port),
        default: Fallback::Is("5432"),
        environment: &["PGPORT"],
        doc: "one port, or a list matching database.host",
    },
    Key {
        name: "database.user",
        field: |settings| Field::Text(&mut settings.database.user, text::any),
        default: Fallback::Computed("the OS user", |_| os_user()),
        environment: &["PGUSER"],
        doc: "role to log in as; needs REPLICATION and SELECT",
    },
    Key {
        name: "database.password",
        field: |settings| Field::Secret(&mut settings.database.password),
        default: Fallback::None,
        environment: &["PGPASSWORD"],
        doc: "its password, else looked up in PGPASSFILE or ~/.pgpass",
    },
    Key {
        name: "database.password_file",
        field: |settings| Field::OptionalText(&mut settings.database.password_file, text::any),
        default: Fallback::None,
        environment: &[],
        doc: "file with the password, read at each connection",
    },
    Key {
        name: "database.name",
        field: |settings| Field::Text(&mut settings.database.name, text::any),
        default: Fallback::Computed("the user", |settings| Ok(settings.database.user.clone())),
        environment: &["PGDATABASE"],
        doc: "database to copy; one process, one database",
    },
    Key {
        name: "database.sslmode",
        field: |settings| Field::Word(&mut settings.database.sslmode),
        default: Fallback::Computed("prefer", |settings| Ok(default_sslmode(settings).to_owned())),
        environment: &["PGSSLMODE"],
        doc: "whether TLS is used, and what of the server is verified, as for libpq",
    },
    Key {
        name: "database.sslrootcert",
        field: |settings| Field::OptionalText(&mut settings.database.sslrootcert, text::any),
        default: Fallback::None,
        environment: &["PGSSLROOTCERT"],
        doc: "file with the authorities that are trusted, or system",
    },
    Key {
        name: "database.sslcert",
        field: |settings| Field::OptionalText(&mut settings.database.sslcert, text::any),
        default: Fallback::None,
        environment: &["PGSSLCERT"],
        doc: "file with the client's certificate",
    },
    Key {
        name: "database.sslkey",
        field: |settings| Field::OptionalText(&mut settings.database.sslkey, text::any),
        default: Fallback::None,
        environment: &["PGSSLKEY"],
        doc: "file with its key, which only its owner may read",
    },
    Key {
        name: "database.connect_timeout",
        field: |settings| Field::Duration(&mut settings.database.connect_timeout),
        default: Fallback::Is("10s"),
        environment: &["PGCONNECT_TIMEOUT"],
        doc: "longest time for a connection to one server to be made",
    },
    Key {
        name: "database.connection_retries",
        field: |settings| Field::Number(&mut settings.database.connection_retries, 0..=1_000_000),
        default: Fallback::Is("0"),
        environment: &[],
        doc: "attempts before the first connection is given up; 0: never",
    },
    Key {
        name: "database.retry_period",
        field: |settings| Field::Duration(&mut settings.database.retry_period),
        default: Fallback::Is("1s"),
        environment: &[],
        doc: "first pause between attempts; doubles, with jitter, up to 30 s",
    },
    Key {
        name: "database.replication_status_timeout",
        field: |settings| Field::Duration(&mut settings.database.replication_status_timeout),
        default: Fallback::Is("10s"),
        environment: &[],
        doc: "longest time between two standby statuses",
    },
    Key {
        name: "etcd.endpoints",
        field: |settings| Field::Texts(&mut settings.etcd.endpoints, text::endpoint),
        default: Fallback::Is("127.0.0.1:2379"),
        environment: &["ETCDCTL_ENDPOINTS"],
        doc: "list of host:port, http://host:port or https://host:port; all are tried",
    },
    Key {
        name: "etcd.username",
        field: |settings| Field::OptionalText(&mut settings.etcd.username, text::any),
        default: Fallback::None,
        environment: &["ETCDCTL_USER"],
        doc: "user to log in as",
    },
    Key {
        name: "etcd.password",
        field: |settings| Field::Secret(&mut settings.etcd.password),
        default: Fallback::None,
        environment: &["ETCDCTL_PASSWORD", "ETCDCTL_USER"],
        doc: "its password; ETCDCTL_USER may be user:password",
    },
    Key {
        name: "etcd.password_file",
        field: |settings| Field::OptionalText(&mut settings.etcd.password_file, text::any),
        default: Fallback::None,
        environment: &[],
        doc: "file with the password, read at each login",
    },
    Key {
        name: "etcd.path",
        field: |settings| Field::Text(&mut settings.etcd.path, text::key_path),
        default: Fallback::Computed("the database's name", |settings| {
            Ok(settings.database.name.clone())
        }),
        environment: &[],
        doc: "the rows' keys are below /PATH/",
    },
    Key {
        name: "etcd.state_path",
        field: |settings| Field::Text(&mut settings.etcd.state_path, text::key_path),
        default: Fallback::Computed(".pg2etcd/SLOT", |settings| {
            Ok(format!(".pg2etcd/{}", settings.sync.slot))
        }),
        environment: &[],
        doc: "the position is /STATE_PATH/checkpoint",
    },
    Key {
        name: "etcd.dial_timeout",
        field: |settings| Field::Duration(&mut settings.etcd.dial_timeout),
        default: Fallback::Is("5s"),
        environment: &[],
        doc: "longest time for a connection to be made",
    },
    Key {
        name: "etcd.request_timeout",
        field: |settings| Field::Duration(&mut settings.etcd.request_timeout),
        default: Fallback::Is("10s"),
        environment: &[],
        doc: "longest time for a request to be answered",
    },
    Key {
        name: "etcd.max_txn_ops",
        field: |settings| Field::Number(&mut settings.etcd.max_txn_ops, 4..=1_000_000),
        default: Fallback::Is("128"),
        environment: &[],
        doc: "as the server's --max-txn-ops",
    },
    Key {
        name: "etcd.max_request_bytes",
        field: |settings| Field::Size(&mut settings.etcd.max_request_bytes, 4 << 10..=1 << 30),
        default: Fallback::Is("1536KiB"),
        environment: &[],
        doc: "as the server's --max-request-bytes",
    },
    Key {
        name: "etcd.tls.trusted_ca_path",
        field: |settings| Field::OptionalText(&mut settings.etcd.trusted_ca_path, text::any),
        default: Fallback::None,
        environment: &["ETCDCTL_CACERT"],
        doc: "file with the authorities that are trusted, else those that the system trusts",
    },
    Key {
        name: "etcd.tls.certificate_path",
        field: |settings| Field::OptionalText(&mut settings.etcd.certificate_path, text::any),
        default: Fallback::None,
        environment: &["ETCDCTL_CERT"],
        doc: "file with the client's certificate",
    },
    Key {
        name: "etcd.tls.key_path",
        field: |settings| Field::OptionalText(&mut settings.etcd.key_path, text::any),
        default: Fallback::None,
        environment: &["ETCDCTL_KEY"],
        doc: "file with its key, which only its owner may read",
    },
    Key {
        name: "sync.slot",
        field: |settings| Field::Text(&mut settings.sync.slot, text::slot_name),
        default: Fallback::Is("pg2etcd"),
        environment: &[],
        doc: "replication slot; made if missing",
    },
    Key {
        name: "sync.publication",
        field: |settings| Field::Text(&mut settings.sync.publication, text::identifier),
        default: Fallback::Is("pg2etcd"),
        environment: &[],
        doc: "publication; made if missing, before the slot",
    },
    Key {
        name: "sync.tables",
        field: |settings| Field::Tables(&mut settings.sync.tables),
        default: Fallback::Computed("[], all", |_| Ok(String::new())),
        environment: &[],
        doc: "list of schema.table for a publication that pg2etcd makes; empty: all tables",
    },
    Key {
        name: "sync.idle_period",
        field: |settings| Field::Duration(&mut settings.sync.idle_period),
        default: Fallback::Is("1s"),
        environment: &[],
        doc: "while no row changes but the WAL grows, the position follows at most this often",
    },
    Key {
        name: "sync.catalog_period",
        field: |settings| Field::Duration(&mut settings.sync.catalog_period),
        default: Fallback::Is("60s"),
        environment: &[],
        doc: "how often it looks for tables made, dropped, renamed, published or no longer so",
    },
    Key {
        name: "sync.dump",
        field: |settings| Field::Boolean(&mut settings.sync.dump),
        default: Fallback::Is("true"),
        environment: &[],
        doc: "false: never dump, start with what the slot has",
    },
    Key {
        name: "sync.coalesce",
        field: |settings| Field::Boolean(&mut settings.sync.coalesce),
        default: Fallback::Is("false"),
        environment: &[],
        doc: "true: under a backlog the latest version of a row wins",
    },
    Key {
        name: "sync.writers",
        field: |settings| Field::Number(&mut settings.sync.writers, 1..=64),
        default: Fallback::Is("4"),
        environment: &[],
        doc: "parallel etcd connections for dumps and oversized transactions",
    },
    Key {
        name: "sync.oversized",
        field: |settings| Field::Word(&mut settings.sync.oversized),
        default: Fallback::Is("stop"),
        environment: &[],
        doc: "a row that no request can hold: stop, or skip it with an error in the log",
    },
    Key {
        name: "sync.adopt",
        field: |settings| Field::Boolean(&mut settings.sync.adopt),
        default: Fallback::Is("false"),
        environment: &[],
        doc: "true: take keys over that are there at a first dump and that nobody claims",
    },
    Key {
        name: "sync.compare_period",
        field: |settings| Field::Period(&mut settings.sync.compare_period),
        default: Fallback::Is("0"),
        environment: &[],
        doc: "how often each table is compared with the database; 0: never",
    },
    Key {
        name: "status.listen",
        field: |settings| Field::OptionalText(&mut settings.status.listen, text::listen),
        default: Fallback::None,
        environment: &[],
        doc: "address:port for a page (/), /status.json, /metrics, /healthz and /readyz",
    },
    Key {
        name: "status.ready_lag",
        field: |settings| Field::Size(&mut settings.status.ready_lag, 1..=1 << 40),
        default: Fallback::Is("16MiB"),
        environment: &[],
        doc: "the lag from which on /readyz says no",
    },
    Key {
        name: "status.stall_timeout",
        field: |settings| Field::Duration(&mut settings.status.stall_timeout),
        default: Fallback::Is("5m"),
        environment: &[],
        doc: "longest time that a thread may be at one step before /healthz says no",
    },
    Key {
        name: "status.table_metrics",
        field: |settings| Field::Boolean(&mut settings.status.table_metrics),
        default: Fallback::Is("true"),
        environment: &[],
        doc: "whether metrics are told apart by table",
    },
];

/// As libpq has it: who trusts what the system does trusts many, and has to look at the name.
fn default_sslmode(settings: &Settings) -> &'static str {
    match settings.database.sslrootcert.as_deref() {
        Some(SYSTEM_ROOTS) => "verify-full",
        _ => "prefer",
    }
}

/// A setting.
#[derive(Debug)]
pub struct Key {
    /// Its table and its name in the TOML file, `database.host`.
    pub name: &'static str,
    /// Its field in the settings.
    pub field: fn(&mut Settings) -> Field<'_>,
    /// Its value when no source has one.
    pub default: Fallback,
    /// The environment variables that it is taken from: the first that is set.
    pub environment: &'static [&'static str],
    /// What it means, in one line.
    pub doc: &'static str,
}

impl Key {
    /// Its table, which is empty at the top level, and its name there.
    #[must_use]
    pub fn in_table(&self) -> (&'static str, &'static str) {
        self.name.split_once('.').unwrap_or(("", self.name))
    }
}

/// The value of a setting when no source has one.
#[derive(Debug)]
pub enum Fallback {
    /// There is none.
    None,
    /// It is this.
    Is(&'static str),
    /// It follows from the keys before it and those with fixed defaults: what it is, and how it
    /// is found.
    Computed(&'static str, fn(&Settings) -> Result<String>),
}

impl fmt::Display for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Is(text) | Self::Computed(text, _) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_tables_are_not_torn_apart() {
        let mut tables: Vec<&str> = KEYS.iter().map(|key| key.in_table().0).collect();
        tables.dedup();
        assert_eq!(tables, ["", "database", "etcd", "sync", "status"]);
        for (index, key) in KEYS.iter().enumerate() {
            assert!(KEYS[..index].iter().all(|other| other.name != key.name), "{}", key.name);
        }
    }
}
