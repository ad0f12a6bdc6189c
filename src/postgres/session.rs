//! An SQL session: what the server is, its publications and slots, and the snapshot to copy from.

use std::io::{self, BufRead};
use std::time::Duration;

use ::postgres::{CancelToken, Client, Config, NoTls, Row};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::connection::SESSION_SETTINGS;
use super::options::{HostPort, Options};
use super::preflight::create_publication;
use super::tls;
use crate::error::{Error, Result, ServerAnswer, Unmet};
use crate::lsn::Lsn;
use crate::table_name::TableName;
use crate::time::PgTime;

/// A session on one database.
pub struct Session {
    pub(super) client: Client,
    /// How a connection to cancel a query is encrypted.
    tls: Option<MakeRustlsConnect>,
    pub(super) version: u32,
}

/// What the server says of a replication slot (manual, "pg_replication_slots").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotFacts {
    /// The output plugin; `None` for a physical slot.
    pub plugin: Option<String>,
    /// The database; `None` for a physical slot.
    pub database: Option<String>,
    /// The process that streams from it, if one does.
    pub active_pid: Option<i32>,
    /// Up to where the server may have forgotten; `None` before the slot was complete.
    pub confirmed_flush_lsn: Option<Lsn>,
    /// Why nothing can be streamed from it any more, in words; `None` for a slot in order.
    pub invalidated: Option<String>,
}

impl Session {
    /// Connects to `address`.
    ///
    /// # Errors
    /// [`Error::PostgresIo`] and [`Error::PostgresServer`]; [`Error::Credentials`] if there is no
    /// TLS as the options ask for it, or a file cannot be used.
    pub fn connect(options: &Options, address: &HostPort) -> Result<Self> {
        let mut config = Config::new();
        if address.host.starts_with('/') {
            config.host_path(&address.host);
        } else {
            config.host(&address.host);
        }
        let settings: Vec<String> = SESSION_SETTINGS
            .iter()
            // A dump may wait for etcd as long as it takes. And rows that a policy hides are an
            // error: a compare would take them for deleted.
            .chain(&[
                ("idle_in_transaction_session_timeout", "0"),
                ("statement_timeout", "0"),
                ("row_security", "off"),
            ])
            .map(|(name, value)| format!("-c {name}={value}"))
            .collect();
        config
            .port(address.port)
            .user(&options.user)
            .dbname(&options.database)
            .application_name("pg2etcd")
            .connect_timeout(options.connect_timeout)
            .keepalives_idle(Duration::from_secs(30))
            .tcp_user_timeout(Duration::from_secs(60))
            .options(&settings.join(" "));
        if let Some(password) = options.password_for(address)? {
            config.password(password.reveal());
        }
        let doing = || format!("opening an SQL session at {address}");
        let mut session = tls::connect(options, address, |encryption| {
            let (mode, tls) = encryption.of_session();
            config.ssl_mode(mode);
            let client = match tls.clone() {
                None => config.connect(NoTls),
                Some(tls) => config.connect(tls),
            };
            let client = client.map_err(|error| failed(doing(), error))?;
            Ok(Self { client, tls, version: 0 })
        })?;
        session.version = session.server_version()?;
        let doing = "opening an SQL session";
        if session.version >= 110_000 {
            // Compiling the queries on the catalog would take longer than running them.
            session.execute(doing, "SET jit = off")?;
        }
        if session.version >= 170_000 {
            session.execute(doing, "SET transaction_timeout = 0")?;
        }
        Ok(session)
    }

    /// The server's `wal_level`.
    ///
    /// # Errors
    /// As for every query: [`Error::PostgresIo`] and [`Error::PostgresServer`].
    pub fn wal_level(&mut self) -> Result<String> {
        Ok(self.row("reading wal_level", "SELECT current_setting('wal_level')")?.get(0))
    }

    /// The time after which the server takes a silent stream for dead; `None` for never.
    ///
    /// # Errors
    /// As for every query.
    pub fn wal_sender_timeout(&mut self) -> Result<Option<Duration>> {
        let sql = "SELECT setting::bigint FROM pg_settings WHERE name = 'wal_sender_timeout'";
        let milliseconds: i64 = self.row("reading wal_sender_timeout", sql)?.get(0);
        Ok(u64::try_from(milliseconds).ok().filter(|&time| time > 0).map(Duration::from_millis))
    }

    /// The time of the server's clock, in as it sends times.
    ///
    /// # Errors
    /// As for every query.
    pub fn clock(&mut self) -> Result<PgTime> {
        let sql = "SELECT floor(1e6 * (extract(epoch FROM clock_timestamp()) - 946684800))::bigint";
        Ok(PgTime(self.row("reading the clock", sql)?.get(0)))
    }

    /// Up to where the server has written its log: what is committed, and can be seen, is before.
    ///
    /// # Errors
    /// As for every query.
    pub fn current_lsn(&mut self) -> Result<Lsn> {
        let doing = "reading the server's position";
        let lsn: String = self.row(doing, "SELECT pg_current_wal_lsn()::text")?.get(0);
        lsn.parse().map_err(|error| Error::PostgresProtocol {
            doing: doing.to_owned(),
            problem: format!("{lsn}: {error}"),
        })
    }

    /// The means to end a query of this session from another thread.
    #[must_use]
    pub fn canceller(&self) -> Canceller {
        Canceller { token: self.client.cancel_token(), tls: self.tls.clone() }
    }

    /// What the server says of a slot; `None` if there is none of this name.
    ///
    /// # Errors
    /// As for every query.
    pub fn slot(&mut self, slot: &str) -> Result<Option<SlotFacts>> {
        // Each column with the first version that has it.
        let lost = if self.version >= 130_000 { "wal_status = 'lost'" } else { "false" };
        let conflicting = if self.version >= 160_000 { "conflicting" } else { "false" };
        let reason = if self.version >= 170_000 { "invalidation_reason" } else { "NULL" };
        let sql = format!(
            "SELECT plugin::text, database::text, active_pid, confirmed_flush_lsn::text, \
                    restart_lsn IS NULL, coalesce({lost}, false), coalesce({conflicting}, false), \
                    {reason}::text \
               FROM pg_replication_slots WHERE slot_name = $1::text"
        );
        let doing = "looking at the replication slot";
        let rows = self.client.query(&sql, &[&slot]).map_err(|error| failed(doing, error))?;
        let Some(row) = rows.first() else { return Ok(None) };
        let confirmed: Option<String> = row.get(3);
        let (unreserved, lost, conflicting): (bool, bool, bool) =
            (row.get(4), row.get(5), row.get(6));
        let reason: Option<String> = row.get(7);
        let invalidated = reason.map(|reason| format!("the server invalidated it ({reason})"));
        Ok(Some(SlotFacts {
            plugin: row.get(0),
            database: row.get(1),
            active_pid: row.get(2),
            confirmed_flush_lsn: confirmed.and_then(|lsn| lsn.parse().ok()),
            invalidated: invalidated
                .or(conflicting.then(|| "it conflicted with recovery".to_owned()))
                .or(lost.then(|| "the server has removed WAL that it needs".to_owned()))
                .or(unreserved.then(|| "it holds no WAL".to_owned())),
        }))
    }

    /// Drops a slot.
    ///
    /// # Errors
    /// As for every query; [`Error::SlotInUse`] if a process streams from it.
    pub fn drop_slot(&mut self, slot: &str) -> Result<()> {
        let doing = format!("dropping the replication slot {slot}");
        match self.client.execute("SELECT pg_drop_replication_slot($1::text::name)", &[&slot]) {
            Ok(_) => Ok(()),
            // object_in_use
            Err(error) if error.code().is_some_and(|code| code.code() == "55006") => {
                Err(Error::SlotInUse { slot: slot.to_owned(), pid: None })
            }
            Err(error) => Err(failed(doing, error)),
        }
    }

    /// Makes this session the only one that makes or drops the slot, until it ends or gives that
    /// up. Until someone streams from a slot, nothing else keeps a second daemon from dropping it.
    ///
    /// # Errors
    /// As for every query; [`Error::SlotInUse`] if another session has done so.
    pub fn lock_start(&mut self, slot: &str) -> Result<()> {
        let sql = "SELECT pg_try_advisory_lock(hashtext('pg2etcd'), hashtext($1))";
        let doing = "taking the lock of the slot";
        let row = self.client.query_one(sql, &[&slot]).map_err(|error| failed(doing, error))?;
        match row.get(0) {
            true => Ok(()),
            false => Err(Error::SlotInUse { slot: slot.to_owned(), pid: None }),
        }
    }

    /// Gives up what [`Self::lock_start`] took.
    ///
    /// # Errors
    /// As for every query.
    pub fn unlock_start(&mut self) -> Result<()> {
        self.execute("giving up the lock of the slot", "SELECT pg_advisory_unlock_all()")
    }

    /// Whether there is a publication of this name.
    ///
    /// # Errors
    /// As for every query.
    pub fn has_publication(&mut self, publication: &str) -> Result<bool> {
        let sql = "SELECT EXISTS (SELECT FROM pg_publication WHERE pubname = $1::text)";
        let row = self.client.query_one(sql, &[&publication]);
        Ok(row.map_err(|error| failed("looking for the publication", error))?.get(0))
    }

    /// Makes a publication of these tables, of all if none is named.
    ///
    /// # Errors
    /// [`Error::Requirement`] if PostgreSQL would refuse updates of one of the tables because it
    /// has no replica identity, if a table is missing, or if the role may not do it; else as for
    /// every query.
    pub fn create_publication(&mut self, publication: &str, tables: &[TableName]) -> Result<()> {
        Unmet::none(&self.publication_obstacles(publication, tables)?)?;
        let sql = create_publication(publication, tables);
        self.execute(&format!("making the publication ({sql})"), &sql)
    }

    /// Reads from the snapshot, and from nothing newer, from now on.
    ///
    /// # Errors
    /// As for every query.
    pub fn begin_snapshot(&mut self, snapshot: &str) -> Result<()> {
        let snapshot = snapshot.replace('\'', "''");
        let sql = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; \
             SET TRANSACTION SNAPSHOT '{snapshot}'"
        );
        self.execute("importing the snapshot", &sql)
    }

    /// Ends what [`Self::begin_snapshot`] began.
    ///
    /// # Errors
    /// As for every query.
    pub fn end_snapshot(&mut self) -> Result<()> {
        self.execute("ending the snapshot's transaction", "COMMIT")
    }

    /// The lines of a `COPY ... TO STDOUT`. Errors of the server come as [`io::Error`]s: see
    /// [`copy_error`].
    ///
    /// # Errors
    /// As for every query.
    pub fn copy_out(&mut self, doing: &str, sql: &str) -> Result<impl BufRead + '_> {
        self.client.copy_out(sql).map_err(|error| failed(doing, error))
    }

    pub(super) fn row(&mut self, doing: &str, sql: &str) -> Result<Row> {
        self.client.query_one(sql, &[]).map_err(|error| failed(doing, error))
    }

    pub(super) fn execute(&mut self, doing: &str, sql: &str) -> Result<()> {
        self.client.batch_execute(sql).map_err(|error| failed(doing, error))
    }

    fn server_version(&mut self) -> Result<u32> {
        let sql = "SELECT current_setting('server_version_num')::int";
        let version: i32 = self.row("reading the server's version", sql)?.get(0);
        Ok(u32::try_from(version).unwrap_or(0))
    }
}

/// Ends a query of a session.
pub struct Canceller {
    token: CancelToken,
    tls: Option<MakeRustlsConnect>,
}

impl Canceller {
    /// Asks the server to end the query that runs now. A server that cannot be reached is not
    /// running it for long.
    pub fn cancel(&self) {
        let cancelled = match self.tls.clone() {
            None => self.token.cancel_query(NoTls),
            Some(tls) => self.token.cancel_query(tls),
        };
        if let Err(error) = cancelled {
            log::debug!("cancelling a query: {error}");
        }
    }
}

/// An error of the server, or of the connection to it, that came while reading a copy.
#[must_use]
pub fn copy_error(doing: &str, error: io::Error) -> Error {
    match error.downcast::<::postgres::Error>() {
        Ok(error) => failed(doing, error),
        Err(source) => Error::PostgresIo { doing: doing.to_owned(), source },
    }
}

pub(super) fn failed(doing: impl Into<String>, error: ::postgres::Error) -> Error {
    let doing = doing.into();
    let Some(answer) = error.as_db_error() else {
        let source = std::error::Error::source(&error);
        if source.is_some_and(|source| source.to_string() == "server does not support TLS") {
            return Error::Credentials(format!("PostgreSQL: {doing}: {}", tls::no_tls()));
        }
        let source: Option<&io::Error> = source.and_then(|source| source.downcast_ref());
        if let Some(reason) = source.and_then(|source| crate::tls::refusal(source, &tls::NAMES)) {
            return Error::Credentials(format!("PostgreSQL: {doing}: {reason}"));
        }
        let kind = match source {
            Some(source) => io::Error::kind(source),
            None if error.is_closed() => io::ErrorKind::UnexpectedEof,
            None => io::ErrorKind::Other,
        };
        let source = match kind {
            io::ErrorKind::UnexpectedEof => tls::closed(),
            kind => io::Error::new(kind, error),
        };
        return Error::PostgresIo { doing, source };
    };
    let answer = ServerAnswer {
        severity: answer.severity().to_owned(),
        code: answer.code().code().to_owned(),
        message: answer.message().to_owned(),
        detail: answer.detail().map(str::to_owned),
        hint: answer.hint().map(str::to_owned),
    };
    Error::PostgresServer { doing, answer: Box::new(answer) }
}

/// An identifier as SQL.
#[must_use]
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A table's name as SQL.
pub(super) fn quoted_name(table: &TableName) -> String {
    format!("{}.{}", quoted(&table.schema), quoted(&table.name))
}
