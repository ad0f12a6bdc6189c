//! An SQL session: what the server is, its publications and slots, and the snapshot to copy from.

use std::io::BufRead;
use std::time::Duration;

use ::postgres::types::{FromSql, Type};
use ::postgres::{Client, Config, Row};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::client::{self, Canceller, Guard, failed};
use super::connection::{AS_IT_IS, LATER_SETTINGS, SESSION_SETTINGS, SQL_ASCII};
use super::options::{HostPort, Options};
use super::quoting::quoted_name;
use super::tls;
use crate::error::{Error, Result};
use crate::lsn::Lsn;
use crate::sqlstate;
use crate::stop::Stop;
use crate::table_name::TableName;
use crate::time::PgTime;

/// A session on one database. Each of its queries is cancelled once the stop has been asked for.
pub struct Session {
    pub(super) client: Client,
    _guard: Guard,
    /// How a connection to cancel a query is encrypted.
    tls: Option<MakeRustlsConnect>,
    pub(super) version: u32,
    sql_ascii: bool,
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
    /// TLS as the options ask for it, or a file cannot be used; [`Error::Stopped`].
    pub fn connect(options: &Options, address: &HostPort, stop: &Stop) -> Result<Self> {
        let mut config = Config::new();
        if address.host.starts_with('/') {
            config.host_path(&address.host);
        } else {
            config.host(&address.host);
        }
        let settings: Vec<String> = SESSION_SETTINGS
            .iter()
            // Rows that a policy hides are an error: a compare would take them for deleted.
            .chain(&[("row_security", "off")])
            .map(|(name, value)| format!("-c {name}={}", value.replace(' ', "\\ ")))
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
        let doing = format!("opening an SQL session at {address}");
        let mut session = tls::connect(options, address, |encryption| {
            let (mode, tls) = encryption.of_session();
            config.ssl_mode(mode);
            let (timeout, config) = (options.connect_timeout, config.clone());
            let (client, guard) = client::connect(config, tls.clone(), timeout, stop, &doing)?;
            Ok(Self { client, _guard: guard, tls, version: 0, sql_ascii: false })
        })?;
        session.learn_server()?;
        let doing = "opening an SQL session";
        if session.version >= 110_000 {
            // Compiling the queries on the catalog would take longer than running them.
            session.execute(doing, "SET jit = off")?;
        }
        for (since, statement) in LATER_SETTINGS {
            if session.version >= since {
                session.execute(doing, statement)?;
            }
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
        Canceller::of(&self.client, self.tls.clone())
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
            Err(error)
                if error.code().is_some_and(|code| code.code() == sqlstate::OBJECT_IN_USE) =>
            {
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
        Ok(self.publication_oid(publication)?.is_some())
    }

    /// The OID of the publication of this name, which another one that takes its name does not have;
    /// `None` if there is none.
    ///
    /// # Errors
    /// As for every query.
    pub fn publication_oid(&mut self, publication: &str) -> Result<Option<u32>> {
        let sql = "SELECT oid FROM pg_publication WHERE pubname = $1::text";
        let row = self.client.query_opt(sql, &[&publication]);
        let row = row.map_err(|error| failed("looking for the publication", error))?;
        Ok(row.map(|row| row.get(0)))
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

    /// Locks a table against TRUNCATE, and whatever else gives it other files, until the transaction ends.
    /// The right to read a column will do for it, which `LOCK` would not be content with.
    ///
    /// # Errors
    /// As for every query.
    pub fn lock_files(&mut self, table: &TableName) -> Result<()> {
        let sql = format!("SELECT FROM {} LIMIT 0", quoted_name(table));
        self.execute("locking a table's files", &sql)
    }

    /// Ends what [`Self::begin_snapshot`] began.
    ///
    /// # Errors
    /// As for every query.
    pub fn end_snapshot(&mut self) -> Result<()> {
        self.execute("ending the snapshot's transaction", "COMMIT")
    }

    /// Marks a place in the snapshot's transaction, for [`Self::go_back`].
    ///
    /// # Errors
    /// As for every query.
    pub fn mark(&mut self) -> Result<()> {
        self.execute("setting a savepoint", "SAVEPOINT pg2etcd")
    }

    /// Forgets the mark.
    ///
    /// # Errors
    /// As for every query.
    pub fn unmark(&mut self) -> Result<()> {
        self.execute("releasing a savepoint", "RELEASE SAVEPOINT pg2etcd")
    }

    /// Goes on with the transaction after a query has failed, as it was at the mark.
    ///
    /// # Errors
    /// As for every query.
    pub fn go_back(&mut self) -> Result<()> {
        self.execute("going back to a savepoint", "ROLLBACK TO SAVEPOINT pg2etcd")
    }

    /// The lines of a `COPY ... TO STDOUT`. Errors of the server come as [`std::io::Error`]s: see
    /// [`super::copy_error`].
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

    /// Whether texts can be no UTF-8.
    #[must_use]
    pub fn is_sql_ascii(&self) -> bool {
        self.sql_ascii
    }

    fn learn_server(&mut self) -> Result<()> {
        let sql = "SELECT current_setting('server_version_num')::int, \
                          current_setting('server_encoding')";
        let row = self.row("reading the server's version", sql)?;
        let (version, encoding): (i32, String) = (row.get(0), row.get(1));
        self.version = u32::try_from(version).unwrap_or(0);
        self.sql_ascii = encoding == SQL_ASCII;
        match self.sql_ascii {
            true => self.execute("opening an SQL session", AS_IT_IS),
            false => Ok(()),
        }
    }
}

/// A text of the server's. In a SQL_ASCII database it may be no UTF-8: U+FFFD stands for what is not.
pub(super) struct LossyText(pub(super) String);

impl<'a> FromSql<'a> for LossyText {
    fn from_sql(
        _: &Type,
        raw: &'a [u8],
    ) -> std::result::Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(String::from_utf8_lossy(raw).into_owned()))
    }

    fn accepts(ty: &Type) -> bool {
        <String as FromSql>::accepts(ty)
    }
}

/// The texts themselves.
pub(super) fn texts(texts: Vec<LossyText>) -> Vec<String> {
    texts.into_iter().map(|text| text.0).collect()
}
