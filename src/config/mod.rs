//! The settings: one table of keys, and a typed value of each from `-o`, the environment, the file
//! or its default, in this order.

pub(crate) mod block;
mod changes;
mod environment;
mod field;
mod file;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod keys;
mod load;
mod nest;
mod origin;
mod secrets;
mod text;
mod units;
mod words;
mod written;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

pub use changes::{Change, Reading};
pub use environment::Environment;
pub use field::{Field, Word};
pub use keys::{Fallback, KEYS, Key};
pub use load::{DEFAULT_FILE, Loaded, load};
pub use origin::Origin;
pub(crate) use units::{parse_duration, print_duration};

use crate::mapping::{Shapes, TableShape};
use crate::postgres::{HostPort, SslMode, TlsOptions};
use crate::secret::{Password, Secret};
use crate::state::layout;
use crate::table_name::TableName;
use crate::tls::Identity;
use crate::{etcd, postgres};

/// What pg2etcd is told to do. pg2etcd.toml(5) says what each key means.
///
/// The values that [`load`] gives are checked: no text is empty, no duration is zero, no list but
/// `sync.tables` is empty.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// How much is logged, in the syntax of `RUST_LOG`.
    pub log_level: String,
    /// The database that is copied.
    pub database: DatabaseSettings,
    /// The etcd that holds the copy.
    pub etcd: EtcdSettings,
    /// How the copy is kept.
    pub sync: SyncSettings,
    /// What tells others how it goes.
    pub status: StatusSettings,
    /// What the rows of tables become.
    pub tables: BTreeMap<TableName, TableShape>,
}

impl Settings {
    /// What the rows of all tables become.
    #[must_use]
    pub fn shapes(&self) -> Shapes {
        Shapes::new(&self.etcd.path, self.tables.clone())
            .with_marks(layout::without_key(&self.etcd.state_path))
    }
}

/// The database that is copied.
#[derive(Clone, Debug, Default)]
pub struct DatabaseSettings {
    /// The servers to try; [`DatabaseSettings::hosts`] gives each with its port.
    pub host: Vec<String>,
    /// One port for all servers, or one for each.
    pub port: Vec<u16>,
    /// The role to log in as.
    pub user: String,
    /// Its password, if it was set.
    pub password: Option<Secret>,
    /// The file that has it, if that was set.
    pub password_file: Option<String>,
    /// Where libpq would look for a password that is not set; the file may be absent.
    pub passfile: Option<PathBuf>,
    /// The database's name.
    pub name: String,
    /// How much the connections insist on TLS.
    pub sslmode: SslMode,
    /// The file with the authorities that are trusted, or `system`.
    pub sslrootcert: Option<String>,
    /// The file with the client's certificate.
    pub sslcert: Option<String>,
    /// The file with its key.
    pub sslkey: Option<String>,
    /// Where libpq would look for files that are not set.
    pub ssl_folder: Option<PathBuf>,
    /// The longest time for a connection to one server to be made.
    pub connect_timeout: Duration,
    /// The number of attempts after which the first connection is given up.
    pub connection_retries: usize,
    /// The first pause between two attempts.
    pub retry_period: Duration,
    /// The longest time between two standby statuses.
    pub replication_status_timeout: Duration,
}

impl DatabaseSettings {
    /// Who connects, to which database, and how.
    #[must_use]
    pub fn connect_options(&self) -> postgres::Options {
        postgres::Options {
            user: self.user.clone(),
            password: password(self.password.as_ref(), self.password_file.as_ref()),
            passfile: self.passfile.clone(),
            database: self.name.clone(),
            connect_timeout: self.connect_timeout,
            tls: TlsOptions {
                mode: self.sslmode,
                root: self.sslrootcert.clone(),
                certificate: self.sslcert.as_ref().map(PathBuf::from),
                key: self.sslkey.as_ref().map(PathBuf::from),
                folder: self.ssl_folder.clone(),
            },
        }
    }

    /// The servers to try, in this order.
    #[must_use]
    pub fn hosts(&self) -> Vec<HostPort> {
        let hosts = self.host.iter().cloned();
        match self.port[..] {
            [port] => hosts.map(|host| HostPort { host, port }).collect(),
            _ => hosts.zip(&self.port).map(|(host, &port)| HostPort { host, port }).collect(),
        }
    }
}

/// The etcd that holds the copy.
#[derive(Clone, Debug, Default)]
pub struct EtcdSettings {
    /// The members to try, each `host:port`, `http://host:port` or `https://host:port`.
    pub endpoints: Vec<String>,
    /// The user to log in as; none if etcd asks for no login.
    pub username: Option<String>,
    /// Its password: there is this, or the file, whenever there is a username.
    pub password: Option<Secret>,
    /// The file that has it.
    pub password_file: Option<String>,
    /// The file with the authorities that are trusted; none: those that the system trusts.
    pub trusted_ca_path: Option<String>,
    /// The file with the client's certificate: there is a key whenever there is one.
    pub certificate_path: Option<String>,
    /// The file with its key.
    pub key_path: Option<String>,
    /// What the keys of the rows are below, without a slash at either end.
    pub path: String,
    /// What the position is below, without a slash at either end.
    pub state_path: String,
    /// The longest time for a connection to be made.
    pub dial_timeout: Duration,
    /// The longest time for a request to be answered.
    pub request_timeout: Duration,
    /// The most operations in one transaction; at least 4.
    pub max_txn_ops: usize,
    /// The largest request, in bytes.
    pub max_request_bytes: usize,
}

impl EtcdSettings {
    /// What a client is made from.
    #[must_use]
    pub fn client_options(&self) -> etcd::Options {
        etcd::Options {
            endpoints: self.endpoints.clone(),
            username: self.username.clone(),
            password: password(self.password.as_ref(), self.password_file.as_ref()),
            trusted_ca: self.trusted_ca_path.as_ref().map(PathBuf::from),
            identity: self.certificate_path.as_ref().zip(self.key_path.as_ref()).map(
                |(certificate, key)| Identity { certificate: certificate.into(), key: key.into() },
            ),
            dial_timeout: self.dial_timeout,
            request_timeout: self.request_timeout,
        }
    }
}

fn password(given: Option<&Secret>, file: Option<&String>) -> Option<Password> {
    let file = || file.map(|path| Password::File(path.into()));
    given.cloned().map(Password::Given).or_else(file)
}

/// How the copy is kept.
#[derive(Clone, Debug, Default)]
pub struct SyncSettings {
    /// The replication slot.
    pub slot: String,
    /// The publication.
    pub publication: String,
    /// The tables of a publication that pg2etcd makes; all of the database's if there is none.
    pub tables: Vec<TableName>,
    /// The shortest time between two positions that are put while no row changes.
    pub idle_period: Duration,
    /// The time between two looks at which tables are published.
    pub catalog_period: Duration,
    /// Whether the tables are ever loaded.
    pub dump: bool,
    /// Whether a version of a row may be left out when a later one is at hand.
    pub coalesce: bool,
    /// The number of parallel connections to etcd for dumps and oversized transactions.
    pub writers: usize,
    /// What is done about a row that no request can hold.
    pub oversized: Oversized,
    /// Whether keys that are there already, and that nobody claims, are taken over.
    pub adopt: bool,
    /// How often each table is compared with the database; `None`: never.
    pub compare_period: Option<Duration>,
}

/// What tells others how it goes.
#[derive(Clone, Debug, Default)]
pub struct StatusSettings {
    /// Where metrics, health and readiness are served, `address:port`; nowhere if it is absent.
    pub listen: Option<String>,
    /// The lag, in bytes, from which on the copy is not ready.
    pub ready_lag: usize,
    /// The longest that a thread may be at one step.
    pub stall_timeout: Duration,
    /// Whether metrics are told apart by table.
    pub table_metrics: bool,
}

/// What is done about a row that no request can hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Oversized {
    /// Nothing goes on.
    #[default]
    Stop,
    /// It is left out, and an older version of it is deleted from etcd.
    Skip,
}
