//! The process of `pg2etcd run`: its signals, and one life after the other, each with the settings
//! that were read last.

use std::io::{ErrorKind, Read};
use std::mem::replace;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Builder};
use std::time::Duration;

use crate::config::{self, Change, Environment, Loaded, Reading, Settings};
use crate::error::{Error, Result};
use crate::logging;
use crate::status::{self, Status};
use crate::stop::{Stop, poll_readable};
use crate::supervisor::{self, Ended, Legacy};

/// What an orderly end may take: with it a stop takes less than five seconds, whatever hangs (a
/// resolver, a TLS handshake, a server that is frozen in the middle of an answer).
const ORDERLY_END: Duration = Duration::from_secs(4);
/// Settings that count from the moment when they are read again: no life ends for them.
const AT_ONCE: [&str; 4] =
    ["log_level", "status.listen", "status.ready_lag", "status.stall_timeout"];

/// Where the settings are read from, again at each SIGHUP.
pub struct Sources {
    /// The file of `-c`.
    pub file: Option<PathBuf>,
    /// The `key=value` of each `-o`.
    pub options: Vec<String>,
    /// The environment at the start.
    pub environment: Environment,
    /// How often `-v` was given.
    pub verbosity: usize,
}

impl Sources {
    /// Reads the settings.
    ///
    /// # Errors
    /// Those of [`config::load`].
    pub fn load(&self) -> Result<Loaded> {
        config::load(self.file.as_deref(), &self.options, &self.environment)
    }
}

/// Runs the daemon until a signal ends it. The log says what it sets out to do, and last why it
/// ends.
///
/// # Errors
/// What trying again cannot cure.
pub fn run(sources: Sources, loaded: Loaded) -> Result<()> {
    let ended = live(sources, loaded);
    if let Err(error) = &ended {
        log::error!("Cannot go on: {error}");
    }
    ended
}

fn live(sources: Sources, loaded: Loaded) -> Result<()> {
    let signals = |source| Error::System { doing: "handling signals".to_owned(), source };
    let stop = Stop::on_signals().map_err(signals)?;
    let hangups = Stop::hangups().map_err(signals)?;
    for line in plan(&loaded.settings) {
        log::info!("{line}");
    }
    let running = status::start(&loaded.settings, &stop)?;
    let turn = Turn { now: Reading::new(loaded), next: None, end: Stop::new().map_err(signals)? };
    let status = running.share();
    let process = Arc::new(Process { sources, stop, status, turn: Mutex::new(turn) });
    process.spawn("stop", Process::stop_in_time)?;
    process.spawn("reload", |process| process.read_again_at_each(hangups))?;
    process.live()?;
    log::info!("Stopped{}", process.by());
    Ok(())
}

/// What the threads of the process share.
struct Process {
    sources: Sources,
    /// Readable once the process is to end.
    stop: Stop,
    status: Arc<Status>,
    turn: Mutex<Turn>,
}

/// The life that goes on, and the next one.
struct Turn {
    /// The settings of the life that goes on.
    now: Reading,
    /// Those of the next one, which is to begin soon.
    next: Option<Reading>,
    /// Ends the life that goes on.
    end: Stop,
}

impl Process {
    /// One life after the other, until the process is to end.
    fn live(&self) -> Result<()> {
        // The last settings that worked or, if none did yet, the first.
        let mut old = None;
        let mut legacy = Legacy::default();
        loop {
            let (settings, end) = self.begin()?;
            let ended = supervisor::run(&settings, &end, &self.status, legacy);
            let Ended { result, settings_work, .. } = ended;
            legacy = ended.legacy;
            if self.stop.requested() {
                return Ok(());
            }
            let mut turn = self.turn();
            match turn.next.take() {
                Some(next) => {
                    let last = replace(&mut turn.now, next);
                    if settings_work || old.is_none() {
                        old = Some(last);
                    }
                }
                None => {
                    let Err(error) = result else { return Ok(()) };
                    let Some(old) = old.take().filter(|_| !settings_work) else {
                        return Err(error);
                    };
                    let changes = listed(&old.changes(&turn.now));
                    refused(&format!("{changes}: {error}"));
                    self.apply(&old)?;
                    turn.now = old;
                }
            }
        }
    }

    /// Begins a life: its settings, and what ends it.
    fn begin(&self) -> Result<(Settings, Stop)> {
        let system = |source| Error::System { doing: "making a socket pair".to_owned(), source };
        let mut turn = self.turn();
        let end = Stop::new().map_err(system)?;
        turn.end = end.try_clone().map_err(system)?;
        // Either may have come since the life before has ended.
        if self.stop.requested() || turn.next.is_some() {
            end.request().map_err(system)?;
        }
        Ok((turn.now.loaded.settings.clone(), end))
    }

    /// Reads the settings again at each SIGHUP.
    fn read_again_at_each(&self, mut hangups: UnixStream) {
        loop {
            match hangups.read(&mut [0; 64]) {
                Ok(1..) => self.read_again(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Neither happens while this process has the other end.
                Ok(0) | Err(_) => return,
            }
        }
    }

    /// Reads the settings and, if they can be used, has the next life begin with them.
    fn read_again(&self) {
        let later = match self.sources.load() {
            Ok(loaded) => Reading::new(loaded),
            Err(error) => return refused(&error),
        };
        let mut turn = self.turn();
        let changes = turn.next.as_ref().unwrap_or(&turn.now).changes(&later);
        if changes.is_empty() {
            log::info!("Settings read again: nothing has changed");
            return;
        }
        if let Err(error) = self.apply(&later) {
            return refused(&error);
        }
        log::info!("Settings read again: {}", listed(&changes));
        for warning in later.loaded.warnings() {
            log::warn!("{warning}");
        }
        let at_once = changes.iter().all(|change| AT_ONCE.contains(&change.name));
        if at_once && turn.next.is_none() {
            turn.now = later;
            return;
        }
        turn.next = Some(later);
        if let Err(error) = turn.end.request() {
            log::error!("Cannot begin with the new settings: {error}");
        }
    }

    /// Has the settings of [`AT_ONCE`] count.
    fn apply(&self, reading: &Reading) -> Result<()> {
        let settings = &reading.loaded.settings;
        self.status.configure(settings)?;
        logging::set_level(&settings.log_level, self.sources.verbosity);
        Ok(())
    }

    /// Waits for the signal to stop, ends the life, and does not wait for ever until it has ended:
    /// all that etcd has is in order at any moment, and PostgreSQL tidies up behind a connection
    /// that is gone.
    fn stop_in_time(&self) {
        while !matches!(poll_readable([&self.stop].map(std::os::fd::AsFd::as_fd), None), Ok([true]))
        {
        }
        // The life that is about to begin sees the signal itself.
        let _ = self.turn().end.request();
        thread::sleep(ORDERLY_END);
        log::warn!("Stopped{}: something hangs, and is not waited for any longer", self.by());
        std::process::exit(0);
    }

    fn turn(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The signal that asked for the stop, in words.
    fn by(&self) -> String {
        self.stop.signal().map(|signal| format!(" by {signal}")).unwrap_or_default()
    }

    /// Starts a thread that lives as long as the process.
    fn spawn(
        self: &Arc<Self>,
        name: &str,
        body: impl FnOnce(&Self) + Send + 'static,
    ) -> Result<()> {
        let process = Arc::clone(self);
        let spawned = Builder::new().name(name.to_owned()).spawn(move || body(&process));
        let doing = format!("starting thread {name}");
        spawned.map(drop).map_err(|source| Error::System { doing, source })
    }
}

/// Says that settings that were read again are not used.
fn refused(why: &dyn std::fmt::Display) {
    log::error!("Settings read again: they cannot be used, and the old ones stay: {why}");
}

fn listed(changes: &[Change]) -> String {
    changes.iter().map(|change| change.text.as_str()).collect::<Vec<_>>().join(", ")
}

/// What is copied from where to where.
fn plan(settings: &Settings) -> [String; 3] {
    let Settings { database, etcd, sync, .. } = settings;
    let hosts: Vec<_> = database.hosts().iter().map(ToString::to_string).collect();
    [
        format!("pg2etcd {}, process {}", env!("CARGO_PKG_VERSION"), std::process::id()),
        format!(
            "Source: PostgreSQL database={} hosts={} user={} slot={} publication={}",
            database.name,
            hosts.join(","),
            database.user,
            sync.slot,
            sync.publication
        ),
        format!(
            "Target: etcd endpoints={} path=/{}/ state_path=/{}/",
            etcd.endpoints.join(","),
            etcd.path,
            etcd.state_path
        ),
    ]
}
