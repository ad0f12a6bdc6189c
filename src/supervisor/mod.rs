//! The life of the daemon: connect, decide, dump if needed, follow the stream, and again after
//! every lost connection.

pub(crate) mod claiming;
mod decision;
mod facts;
mod permission;
mod publication;

use std::cell::Cell;
use std::sync::{Mutex, PoisonError};

use log::Level;

use self::claiming::Claiming;
pub(crate) use self::decision::{Decision, another_use};
use self::decision::{Reason, SlotUse};
pub(crate) use self::facts::decision;
use crate::config::Settings;
use crate::core::ledger::Replay;
use crate::disposition::Disposition;
use crate::error::{Error, Result, Unmet};
use crate::etcd::Client;
use crate::lsn::Lsn;
use crate::pipeline::snapshot::create_slot;
use crate::pipeline::{self, Start, dump};
use crate::postgres::{
    self, Connection, Session, SlotKind, SystemIdentity, find_primary, preflight,
};
use crate::retry::Retry;
use crate::state::checkpoint::{Checkpoint, Phase, VERSION};
use crate::state::last_commit::LastCommit;
use crate::state::layout;
use crate::state::records::Records;
use crate::state::requests;
use crate::status::{Activity, Pulse, Status};
use crate::stop::Stop;

/// How the copying with some settings ended.
pub(crate) struct Ended {
    /// What trying again cannot cure, unless a stop was requested.
    pub(crate) result: Result<()>,
    /// Whether a dump or a stream had begun: so the settings can be used.
    pub(crate) settings_work: bool,
    /// What the next life has to know.
    pub(crate) legacy: Legacy,
}

/// What one life leaves to the next, which may have other settings.
#[derive(Default)]
pub(crate) struct Legacy {
    /// Whether another daemon had the slot until now.
    stood_by: bool,
    /// Why the stream that has ended cannot be gone on with.
    redump: Option<Reason>,
}

/// Keeps etcd a copy of the database until a stop is requested.
pub(crate) fn run(settings: &Settings, stop: &Stop, status: &Status, legacy: Legacy) -> Ended {
    status.enter(Activity::Connecting);
    let mut supervisor = Supervisor {
        settings,
        stop,
        status,
        pulse: status.pulse("supervise"),
        retry: Retry::new(settings.database.retry_period),
        client: None,
        connected: false,
        legacy,
        settings_work: Cell::new(false),
        begun: None,
    };
    let result = supervisor.run();
    let Supervisor { settings_work, legacy, .. } = supervisor;
    Ended { result, settings_work: settings_work.get(), legacy }
}

struct Supervisor<'a> {
    settings: &'a Settings,
    stop: &'a Stop,
    status: &'a Status,
    pulse: Pulse,
    retry: Retry,
    client: Option<Client>,
    /// Whether there ever was a connection to PostgreSQL.
    connected: bool,
    legacy: Legacy,
    /// Whether a dump or a stream has begun.
    settings_work: Cell<bool>,
    /// Where the last stream has begun, if the server could not go on from there.
    begun: Option<Lsn>,
}

/// Both connections to the primary.
struct Primary<'a> {
    options: postgres::Options,
    address: postgres::HostPort,
    connection: Connection<'a>,
    session: Session,
}

/// The position in etcd, with its `mod_revision`.
type Found = Option<(Checkpoint, i64)>;

impl<'a> Supervisor<'a> {
    /// Tries until a stop is requested.
    fn run(&mut self) -> Result<()> {
        loop {
            let Err(error) = self.attempt() else { return Ok(()) };
            if self.stop.requested() {
                log::debug!("Interrupted: {error}");
                return Ok(());
            }
            let pause = self.pause_after(error)?;
            if self.stop.wait(pause) {
                return Ok(());
            }
        }
    }

    /// One life: from connecting to the first failure, or to the stop.
    fn attempt(&mut self) -> Result<()> {
        self.pulse.work();
        let mut client = self.client()?;
        let mut primary = self.primary()?;
        let found = Checkpoint::read(&mut client, &self.key())?;
        let request = requests::read(&mut client, &self.settings.etcd.state_path)?;
        let resync_all = request.as_ref().is_some_and(requests::ResyncRequest::is_for_all);
        let checkpoint = found.as_ref().map(|(checkpoint, _)| checkpoint);
        let is_stuck = self.begun.is_some() && self.begun == checkpoint.map(|found| found.lsn);
        if is_stuck && resync_all && self.settings.sync.dump {
            // A compare beside the stream would not get past what the server cannot send.
            let text = "a resync was asked for, and the stream cannot go on".to_owned();
            self.legacy.redump = Some(Reason { kind: "resync", text });
        }
        let Primary { connection, session, .. } = &mut primary;
        let (etcd, sync) = (&self.settings.etcd, &self.settings.sync);
        let records = Records::new(&etcd.state_path, self.settings.shapes());
        let refusals = records.refusals(&mut client, session, &sync.publication, &sync.tables)?;
        Unmet::none(&refusals)?;
        // Asked for now: the position may have moved, with the end of the server's log, till here.
        let identity = connection.identify_system()?;
        let ends = (connection, session);
        let decision = decision(
            self.settings,
            ends,
            &identity,
            checkpoint,
            resync_all,
            self.legacy.redump.as_ref(),
        )?;
        let start = match (decision, found) {
            (Decision::Resume, Some(found)) => self.resume(primary, &identity, client, found)?,
            (Decision::Renew { reason, slot }, found) => {
                let mut start = self.renew(primary, identity, client, found, &reason, slot)?;
                if let (Some(request), true) = (request, self.settings.sync.dump) {
                    // The dump has compared every table.
                    request.done(&mut start.client)?;
                }
                start
            }
            (Decision::Refuse(unmet), _) => return Err(unmet.into()),
            (Decision::StandBy { pid }, _) => {
                let slot = self.settings.sync.slot.clone();
                return Err(Error::SlotInUse { slot, pid });
            }
            (Decision::Resume, None) => return Err(Error::Fenced { key: self.key() }),
        };
        let level = if start.again { Level::Debug } else { Level::Info };
        log::log!(level, "Resuming from {}", start.checkpoint.lsn);
        self.settings_work.set(true);
        self.legacy = Legacy::default();
        self.begun = Some(start.checkpoint.lsn);
        self.retry.accepted();
        let retry = Mutex::new(&mut self.retry);
        let gets_on = || {
            retry.lock().unwrap_or_else(PoisonError::into_inner).succeeded();
            self.status.stream_gets_on();
        };
        pipeline::run(self.settings, start, self.stop, self.status, &self.pulse, &gets_on)
    }

    /// Goes on from the position.
    fn resume(
        &self,
        primary: Primary<'a>,
        identity: &SystemIdentity,
        mut client: Client,
        (checkpoint, mod_revision): (Checkpoint, i64),
    ) -> Result<Start> {
        let Primary { options, address, connection, mut session } = primary;
        let sync = &self.settings.sync;
        let ends = (&mut session, &mut client);
        let claiming =
            Claiming::look(self.settings, ends, &identity.system_identifier, Some(&checkpoint))?;
        claiming.require(&mut client)?;
        let claims = claiming.take(&mut client)?;
        let status_interval = self.status_interval(&mut session)?;
        // It may wait for locks on the tables.
        self.pulse.wait();
        let ends = (&mut session, &mut client);
        let made_publication = publication::ensure(ends, self.settings, Some(&checkpoint))?;
        self.pulse.work();
        publication::tables(&mut session, &sync.publication)?;
        let made_publication = match checkpoint.publication == sync.publication {
            true => made_publication,
            false => checkpoint.made_publication,
        };
        let timeline = identity.timeline;
        let checkpoint = Checkpoint { timeline, made_publication, ..checkpoint };
        let (frames, statuses) = connection.start_replication(&sync.slot, &sync.publication)?;
        // This daemon has the slot from here on. The one that had it until now may have moved the
        // position.
        let key = self.key();
        let now = Checkpoint::read(&mut client, &key)?.map(|(_, mod_revision)| mod_revision);
        if now != Some(mod_revision) {
            return Err(Error::Fenced { key });
        }
        let state_path = &self.settings.etcd.state_path;
        Records::new(state_path, self.settings.shapes()).begin(&mut client, &key, mod_revision)?;
        let last_commit = LastCommit::read(&mut client, state_path)?;
        let note = client.get(layout::partial(state_path).as_bytes())?;
        let replay = Replay::of(&checkpoint, note.as_ref());
        let goal = pipeline::goal(checkpoint.lsn, identity.flushed);
        self.status.server_ends(identity.flushed);
        let again = self.begun == Some(checkpoint.lsn);
        let confirmed = session.slot(&sync.slot)?.and_then(|slot| slot.confirmed_flush_lsn);
        let confirmed = confirmed.ok_or_else(|| Error::PostgresProtocol {
            doing: "looking at the replication slot".to_owned(),
            problem: "a slot that is streamed from has no confirmed_flush_lsn".to_owned(),
        })?;
        Ok(Start {
            frames,
            statuses,
            session,
            options,
            address,
            client,
            claims,
            checkpoint,
            confirmed,
            mod_revision,
            last_commit,
            replay,
            takes_over: self.legacy.stood_by,
            goal,
            again,
            dumped: false,
            status_interval,
        })
    }

    /// Begins anew: publication, slot and, unless the settings say no, a dump.
    fn renew(
        &self,
        primary: Primary<'a>,
        identity: SystemIdentity,
        mut client: Client,
        found: Found,
        Reason { kind, text: reason }: &Reason,
        slot: SlotUse,
    ) -> Result<Start> {
        let Primary { options, address, mut connection, mut session } = primary;
        let sync = &self.settings.sync;
        session.lock_start(&sync.slot)?;
        // Another daemon may have begun to dump, or have dumped, since the decision was made.
        if let Some(pid) = session.slot(&sync.slot)?.and_then(|slot| slot.active_pid) {
            return Err(Error::SlotInUse { slot: sync.slot.clone(), pid: Some(pid) });
        }
        let now = Checkpoint::read(&mut client, &self.key())?;
        if now.as_ref().map(|(_, revision)| revision) != found.as_ref().map(|(_, at)| at) {
            return Err(Error::Fenced { key: self.key() });
        }
        let checkpoint = found.as_ref().map(|(checkpoint, _)| checkpoint);
        let ends = (&mut session, &mut client);
        let claiming =
            Claiming::look(self.settings, ends, &identity.system_identifier, checkpoint)?;
        claiming.require(&mut client)?;
        self.status.has_gap(found.as_ref().filter(|_| !sync.dump).map(|_| reason.clone()));
        match (sync.dump, &found) {
            (true, None) => log::info!("Dumping: {reason}"),
            (true, Some(_)) => log::info!("Redumping: {reason}"),
            (false, None) => log::info!("Starting without a dump: {reason}"),
            (false, Some(_)) => log::warn!("Going on without a dump: {reason}"),
        }
        // The first waits for locks on the tables, the second for every transaction that runs.
        self.pulse.wait();
        let made_publication =
            publication::ensure((&mut session, &mut client), self.settings, checkpoint)?;
        let tables = publication::tables(&mut session, &sync.publication)?;
        if sync.dump {
            Unmet::none(&session.missing_grants(&tables)?)?;
        }
        // From here on no other copy takes these keys: nothing was written yet.
        let claims = claiming.take(&mut client)?;
        let (lsn, snapshot) = self.begin_slot(&mut connection, &mut session, slot)?;
        self.pulse.work();
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
            committed_at: session.clock()?.to_string(),
            partial: None,
        };
        let before = found.map_or(0, |(_, mod_revision)| mod_revision);
        let mod_revision = checkpoint.put(&mut client, &self.key(), before)?;
        let status_interval = self.status_interval(&mut session)?;
        if let (Some(snapshot), true) = (&snapshot, sync.dump) {
            session.begin_snapshot(snapshot)?;
        }
        // The stream is begun now, though nothing is read of it before the dump is done: another
        // daemon, or Patroni, may drop a slot that has no walsender.
        let (frames, statuses) = connection.start_replication(&sync.slot, &sync.publication)?;
        session.unlock_start()?;
        let mut start = Start {
            frames,
            statuses,
            session,
            options,
            address,
            client,
            claims,
            checkpoint,
            confirmed: lsn,
            mod_revision,
            last_commit: None,
            replay: None,
            takes_over: false,
            goal: lsn,
            again: false,
            dumped: sync.dump,
            status_interval,
        };
        if sync.dump {
            self.status.dump_begins(kind);
            self.settings_work.set(true);
            dump::run(self.settings, &mut start, self.stop, self.status, &self.pulse)?;
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
                let created = create_slot(connection, session, name, kind)?;
                Ok((created.consistent_point, Some(created.snapshot)))
            }
        }
    }

    /// Connects to the first server that is not in recovery.
    fn primary(&mut self) -> Result<Primary<'a>> {
        let database = &self.settings.database;
        let options = database.connect_options();
        let (mut session, (connection, address)) = find_primary(&database.hosts(), |address| {
            self.pulse.work();
            let connection = Connection::connect(&options, address, self.stop)?;
            self.connected = true;
            let session = Session::connect(&options, address, self.stop)?;
            Ok((session, (connection, address.clone())))
        })?;
        preflight::version(connection.server_version_num())?;
        preflight::wal_level(&session.wal_level()?)?;
        Ok(Primary { options, address, connection, session })
    }

    /// The etcd client, connected once.
    fn client(&mut self) -> Result<Client> {
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        let etcd = &self.settings.etcd;
        let mut client = Client::connect_until(etcd.client_options(), self.stop)?;
        permission::require_one_cluster(&client)?;
        permission::require_grants(&mut client, etcd)?;
        Ok(self.client.insert(client).clone())
    }

    /// How long to wait after a failure; until then nothing is done.
    fn pause_after(&mut self, error: Error) -> Result<std::time::Duration> {
        if error.disposition() == Disposition::Redump {
            let is_history = matches!(error, Error::AnotherHistory(_));
            let kind = if is_history { "history" } else { "stream" };
            self.legacy.redump = Some(Reason { kind, text: error.to_string() });
        } else if !self.retry.is_worth(&error) {
            return Err(error);
        }
        let standby = matches!(error, Error::SlotInUse { .. });
        self.legacy.stood_by |= standby;
        self.status.enter(if standby { Activity::StandingBy } else { Activity::Connecting });
        self.pulse.wait();
        let is_of_server =
            matches!(&error, Error::PostgresServer { answer, .. } if answer.severity == "ERROR");
        self.begun = self.begun.filter(|_| is_of_server);
        self.status.fails(error.to_string());
        self.status.metrics.retries.count(&error);
        let pause = self.retry.failed(&error);
        let retries = self.settings.database.connection_retries;
        // A peer that breaks the protocol is no PostgreSQL: the port may be another service's. That
        // counts as a server that cannot be reached.
        let unreachable = !self.connected
            && matches!(error, Error::PostgresIo { .. } | Error::PostgresProtocol { .. });
        if unreachable && retries > 0 && self.retry.attempts() >= retries {
            let problem =
                format!("{error}; given up after {retries} attempts (database.connection_retries)");
            let cure = "is the server up, and are database.host and database.port right?";
            return Err(Unmet::new(problem, cure).into());
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
        layout::checkpoint(&self.settings.etcd.state_path)
    }
}
