//! The life of the daemon: connect, decide, dump if needed, follow the stream, and again after
//! every lost connection.

mod decision;

use self::decision::{Decision, Facts, decide};
use crate::checkpoint::{Checkpoint, Phase, VERSION, rfc3339};
use crate::config::Settings;
use crate::error::{Disposition, Error, Result};
use crate::etcd::Client;
use crate::lsn::Lsn;
use crate::pipeline::{self, Start};
use crate::postgres::{self, Connection, Session, SlotKind, SystemIdentity};
use crate::retry::Retry;
use crate::stop::Stop;
use crate::{config, dump, resync};

/// The oldest PostgreSQL that publishes.
const OLDEST_VERSION: u32 = 100_000;

/// Keeps etcd a copy of the database until a stop is requested.
///
/// # Errors
/// What trying again cannot cure.
pub fn run(settings: &Settings, stop: &Stop) -> Result<()> {
    let mut supervisor = Supervisor {
        settings,
        stop,
        retry: Retry::new(settings.database.retry_period),
        client: None,
        connected: false,
        stood_by: false,
        redump: None,
    };
    loop {
        let Err(error) = supervisor.attempt() else { return Ok(()) };
        if stop.requested() {
            log::info!("Stopped: {error}");
            return Ok(());
        }
        let pause = supervisor.pause_after(error)?;
        if stop.wait(pause) {
            return Ok(());
        }
    }
}

struct Supervisor<'a> {
    settings: &'a Settings,
    stop: &'a Stop,
    retry: Retry,
    client: Option<Client>,
    /// Whether there ever was a connection to PostgreSQL.
    connected: bool,
    /// Whether another daemon had the slot until now.
    stood_by: bool,
    /// Why the stream that has ended cannot be gone on with.
    redump: Option<String>,
}

/// Both connections to the primary, and who it is.
struct Primary<'a> {
    options: postgres::Options,
    address: postgres::HostPort,
    connection: Connection<'a>,
    session: Session,
    identity: SystemIdentity,
}

/// The position in etcd, with its `mod_revision`.
type Found = Option<(Checkpoint, i64)>;

impl<'a> Supervisor<'a> {
    /// One life: from connecting to the first failure, or to the stop.
    fn attempt(&mut self) -> Result<()> {
        let mut client = self.client()?;
        let mut primary = self.primary()?;
        let found = Checkpoint::read(&mut client, &self.key())?;
        let request = resync::read(&mut client, &self.settings.etcd.state_path)?;
        let resync_all = request.as_ref().is_some_and(resync::Request::is_for_all);
        let checkpoint = found.as_ref().map(|(checkpoint, _)| checkpoint);
        let decision = self.decide(&mut primary, checkpoint, resync_all)?;
        let start = match (decision, found) {
            (Decision::Resume, Some(found)) => self.resume(primary, client, found)?,
            (Decision::Renew { reason, slot }, found) => {
                let mut start = self.renew(primary, client, found, &reason, slot)?;
                if let (Some(request), true) = (request, self.settings.sync.dump) {
                    // The dump has compared every table.
                    request.done(&mut start.client)?;
                }
                start
            }
            (Decision::Refuse(text), _) => return Err(Error::Requirement(text)),
            (Decision::StandBy { pid }, _) => {
                let slot = self.settings.sync.slot.clone();
                return Err(Error::SlotInUse { slot, pid });
            }
            (Decision::Resume, None) => return Err(Error::Fenced { key: self.key() }),
        };
        log::info!("Resuming from {}", start.checkpoint.lsn);
        (self.redump, self.stood_by) = (None, false);
        self.retry.succeeded();
        self.retry = Retry::new(self.settings.database.retry_period).despite_refusals(true);
        pipeline::run(self.settings, start, self.stop)
    }

    /// Goes on from the position.
    fn resume(
        &self,
        primary: Primary<'a>,
        mut client: Client,
        (checkpoint, mut mod_revision): (Checkpoint, i64),
    ) -> Result<Start> {
        let Primary { options, address, connection, mut session, identity } = primary;
        let sync = &self.settings.sync;
        let checkpoint = Checkpoint { timeline: identity.timeline, ..checkpoint };
        let status_interval = self.status_interval(&mut session)?;
        let (frames, statuses) =
            connection.start_replication(&sync.slot, checkpoint.lsn, &sync.publication)?;
        // The slot is ours from here on. Whoever had it until now may have moved the position.
        let key = self.key();
        let now = Checkpoint::read(&mut client, &key)?.map(|(_, mod_revision)| mod_revision);
        if now != Some(mod_revision) {
            return Err(Error::Fenced { key });
        }
        if self.stood_by {
            // The other daemon may be frozen, with a txn at hand: this makes it void.
            mod_revision = checkpoint.put(&mut client, &key, mod_revision)?;
        }
        Ok(Start {
            frames,
            statuses,
            session,
            options,
            address,
            client,
            checkpoint,
            mod_revision,
            status_interval,
        })
    }

    /// Begins anew: publication, slot and, unless the settings say no, a dump.
    fn renew(
        &self,
        primary: Primary<'a>,
        mut client: Client,
        found: Found,
        reason: &str,
        slot: SlotUse,
    ) -> Result<Start> {
        let Primary { options, address, mut connection, mut session, identity } = primary;
        let sync = &self.settings.sync;
        session.lock_start(&sync.slot)?;
        // Another daemon may have dumped since the decision was made.
        let now = Checkpoint::read(&mut client, &self.key())?;
        if now.as_ref().map(|(_, revision)| revision) != found.as_ref().map(|(_, at)| at) {
            return Err(Error::Fenced { key: self.key() });
        }
        match (sync.dump, &found) {
            (true, None) => log::info!("Dumping: {reason}"),
            (true, Some(_)) => log::info!("Redumping: {reason}"),
            (false, None) => log::info!("Starting without a dump: {reason}"),
            (false, Some(_)) => log::warn!("Going on without a dump: {reason}"),
        }
        let made_publication = self.ensure_publication(&mut session, found.as_ref())?;
        let (lsn, snapshot) = self.begin_slot(&mut connection, &mut session, slot)?;
        let checkpoint = Checkpoint {
            version: VERSION,
            phase: if sync.dump { Phase::Dump } else { Phase::Sync },
            lsn,
            timeline: identity.timeline,
            system_identifier: identity.system_identifier,
            database: self.settings.database.name.clone(),
            slot: sync.slot.clone(),
            publication: sync.publication.clone(),
            made_publication,
            path: self.settings.etcd.path.clone(),
            committed_at: rfc3339(session.clock()?),
            partial: None,
        };
        let before = found.map_or(0, |(_, mod_revision)| mod_revision);
        let mod_revision = checkpoint.put(&mut client, &self.key(), before)?;
        let status_interval = self.status_interval(&mut session)?;
        if let (Some(snapshot), true) = (&snapshot, sync.dump) {
            session.begin_snapshot(snapshot)?;
        }
        // Nothing is read of the stream before the dump is done. It is begun all the same: a slot
        // that nobody streams from may be dropped, by another daemon or by Patroni.
        let (frames, statuses) =
            connection.start_replication(&sync.slot, lsn, &sync.publication)?;
        session.unlock_start()?;
        let mut start = Start {
            frames,
            statuses,
            session,
            options,
            address,
            client,
            checkpoint,
            mod_revision,
            status_interval,
        };
        if sync.dump {
            dump::run(self.settings, &mut start, self.stop)?;
            start.session.end_snapshot()?;
        }
        Ok(start)
    }

    /// The position from which the slot streams and, of a new slot, the snapshot there.
    fn begin_slot(
        &self,
        connection: &mut Connection<'_>,
        session: &mut Session,
        slot: SlotUse,
    ) -> Result<(Lsn, Option<String>)> {
        let name = &self.settings.sync.slot;
        match slot {
            SlotUse::From(lsn) => Ok((lsn, None)),
            SlotUse::New { drop } => {
                if drop {
                    session.drop_slot(name)?;
                }
                let kind = SlotKind::Persistent { failover: true };
                let created = connection.create_slot(name, kind)?;
                Ok((created.consistent_point, Some(created.snapshot)))
            }
        }
    }

    /// Makes the publication if it is missing, before the slot: decoding looks it up as of each
    /// change. Says whether pg2etcd made it, now or earlier.
    fn ensure_publication(
        &self,
        session: &mut Session,
        found: Option<&(Checkpoint, i64)>,
    ) -> Result<bool> {
        let config::SyncSettings { publication, tables, .. } = &self.settings.sync;
        if session.has_publication(publication)? {
            return Ok(found.is_some_and(|(checkpoint, _)| {
                checkpoint.made_publication && checkpoint.publication == *publication
            }));
        }
        session.create_publication(publication, tables)?;
        log::info!("Made publication {publication}");
        Ok(true)
    }

    fn decide(
        &self,
        primary: &mut Primary<'_>,
        checkpoint: Option<&Checkpoint>,
        resync_all: bool,
    ) -> Result<Decision> {
        let Settings { sync, database, etcd, .. } = self.settings;
        let Primary { connection, session, identity, .. } = primary;
        let history = match checkpoint {
            Some(checkpoint) if checkpoint.timeline != identity.timeline => {
                connection.timeline_history(identity.timeline)?
            }
            _ => Vec::new(),
        };
        Ok(decide(&Facts {
            checkpoint,
            system_identifier: &identity.system_identifier,
            timeline: identity.timeline,
            history: &history,
            slot: session.slot(&sync.slot)?.as_ref(),
            has_publication: session.has_publication(&sync.publication)?,
            database: &database.name,
            path: &etcd.path,
            slot_name: &sync.slot,
            publication: &sync.publication,
            dump: sync.dump,
            resync_all,
            redump: self.redump.as_deref(),
        }))
    }

    /// Connects to the first server that is not in recovery.
    fn primary(&mut self) -> Result<Primary<'a>> {
        let database = &self.settings.database;
        let options = database.connect_options();
        let mut in_recovery = Vec::new();
        let mut failure = None;
        for address in database.hosts() {
            match self.connect(&options, &address) {
                Ok(Some(primary)) => return Ok(primary),
                Ok(None) => in_recovery.push(address.to_string()),
                Err(error) if error.disposition() == Disposition::Retry => failure = Some(error),
                Err(error) => return Err(error),
            }
        }
        match failure {
            Some(error) if in_recovery.is_empty() => Err(error),
            _ => Err(Error::InRecovery { servers: in_recovery.join(", ") }),
        }
    }

    /// Connects to a server; `None` if it is in recovery.
    fn connect(
        &mut self,
        options: &postgres::Options,
        address: &postgres::HostPort,
    ) -> Result<Option<Primary<'a>>> {
        let mut connection = match Connection::connect(options, address, self.stop) {
            // cannot_connect_now: a standby that takes no queries, or a server that starts
            Err(Error::PostgresServer { answer, .. }) if answer.code == "57P03" => return Ok(None),
            connection => connection?,
        };
        self.connected = true;
        let doing = "asking whether the server is in recovery";
        let rows = connection.simple_query(doing, "SELECT pg_is_in_recovery()")?;
        if rows.first().and_then(|row| row.first()) != Some(&Some("f".to_owned())) {
            return Ok(None);
        }
        let mut session = Session::connect(options, address)?;
        require(connection.server_version_num(), &session.wal_level()?)?;
        let identity = connection.identify_system()?;
        let (options, address) = (options.clone(), address.clone());
        Ok(Some(Primary { options, address, connection, session, identity }))
    }

    /// The etcd client, connected once.
    fn client(&mut self) -> Result<Client> {
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        let client = Client::connect(self.settings.etcd.client_options())?;
        Ok(self.client.insert(client).clone())
    }

    /// How long to wait after a failure.
    fn pause_after(&mut self, error: Error) -> Result<std::time::Duration> {
        if error.disposition() == Disposition::Redump {
            self.redump = Some(error.to_string());
        } else if !self.retry.is_worth(&error) {
            return Err(error);
        }
        self.stood_by |= matches!(error, Error::SlotInUse { .. });
        let pause = self.retry.failed(&error);
        let retries = self.settings.database.connection_retries;
        // Whoever breaks the protocol is as little a server of PostgreSQL's as nobody.
        let nobody = matches!(error, Error::PostgresIo { .. } | Error::PostgresProtocol { .. });
        let unreachable = nobody && !self.connected;
        if unreachable && self.retry.attempts() >= retries {
            return Err(Error::Requirement(format!(
                "{error}; given up after {retries} attempts (database.connection_retries): is the \
                 server up, and are database.host and database.port right?"
            )));
        }
        Ok(pause)
    }

    /// The time between two standby statuses: well below what the server takes for silence.
    fn status_interval(&self, session: &mut Session) -> Result<std::time::Duration> {
        let interval = self.settings.database.replication_status_timeout;
        let limit = session.wal_sender_timeout()?.map(|timeout| timeout / 3);
        Ok(limit.map_or(interval, |limit| limit.min(interval)))
    }

    fn key(&self) -> String {
        Checkpoint::key(&self.settings.etcd.state_path)
    }
}

/// Where the stream begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SlotUse {
    /// With a new slot.
    New {
        /// Whether one of that name has to go first.
        drop: bool,
    },
    /// With what the slot has, from this position on.
    From(Lsn),
}

/// Refuses a server that cannot do it.
fn require(version: u32, wal_level: &str) -> Result<()> {
    if version < OLDEST_VERSION {
        return Err(Error::Requirement(format!(
            "PostgreSQL {}.{} cannot publish: version 10 or later is needed",
            version / 10_000,
            version / 100 % 100
        )));
    }
    if wal_level != "logical" {
        return Err(Error::Requirement(format!(
            "wal_level is {wal_level}: set wal_level = logical in postgresql.conf (ALTER SYSTEM \
             SET wal_level = logical) and restart the server"
        )));
    }
    Ok(())
}
