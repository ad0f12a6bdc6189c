//! The thread that looks at the marks every second, and tells the service manager what they mean
//! (sd_notify(3)): that the daemon has started, what it does, that it is alive, that it stops.

use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread::{self, Builder};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use super::{Activity, Status};
use crate::error::{Error, Result};
use crate::stop::{Stop, poll_readable};

/// The time between two looks, at the longest.
const LOOK_PERIOD: Duration = Duration::from_secs(1);

/// Whether a service manager waits to be told.
pub(super) fn is_wanted() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some_and(|path| !path.is_empty())
}

/// Starts the thread.
pub(super) fn start(status: Arc<Status>, stop: &Stop) -> Result<()> {
    let failed = |source| Error::System { doing: "starting thread status".to_owned(), source };
    let stop = stop.as_fd().try_clone_to_owned().map_err(failed)?;
    let named = Builder::new().name("status".to_owned());
    named.spawn(move || Notifier::new().run(&status, &stop)).map(drop).map_err(failed)
}

/// What was told last.
struct Notifier {
    is_wanted: bool,
    /// The longest time between two signs of life, if any are wanted.
    watchdog: Option<Duration>,
    started: bool,
    stopping: bool,
    said: String,
}

impl Notifier {
    fn new() -> Self {
        let watchdog = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero());
        let said = String::new();
        Self { is_wanted: is_wanted(), watchdog, started: false, stopping: false, said }
    }

    fn run(mut self, status: &Status, stop: &OwnedFd) {
        // Two signs of life in each period: one may be late.
        let period = self.watchdog.map_or(LOOK_PERIOD, |limit| LOOK_PERIOD.min(limit / 2));
        loop {
            let now = Instant::now();
            status.look(now);
            if self.is_wanted {
                self.tell(status, now);
            }
            self.wait(status, stop, period);
        }
    }

    /// Waits for `period`, less when a stop is requested: that is told at once.
    fn wait(&mut self, status: &Status, stop: &OwnedFd, period: Duration) {
        match poll_readable([stop.as_fd()], Some(period)) {
            Ok([true]) if !self.stopping => {
                self.stopping = true;
                status.stops();
            }
            Ok([false]) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // From the stop on it is readable, and the poll returns at once.
            Ok([true]) | Err(_) => thread::sleep(period),
        }
    }

    fn tell(&mut self, status: &Status, now: Instant) {
        let activity = status.activity();
        let mut states = Vec::new();
        if !self.started && activity != Activity::Connecting {
            self.started = true;
            states.push(NotifyState::Ready);
        }
        let ills = status.ills(now);
        if self.watchdog.is_some() && ills.is_empty() {
            states.push(NotifyState::Watchdog);
        }
        let position = status.position();
        let mut said = format!("phase={} position={position}", activity.name());
        if activity == Activity::Syncing {
            said.push_str(&format!(" lag_bytes={}", status.lag_bytes()));
        }
        for ill in ills {
            said.push_str(&format!(", {ill}"));
        }
        if self.said != said {
            states.push(NotifyState::Status(&said));
        }
        if !states.is_empty() {
            notify(&states);
        }
        self.said = said;
    }
}

/// Tells the service manager, if there is one. To one that is gone there is nothing to tell.
pub(super) fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        log::debug!("cannot notify the service manager: {error}");
    }
}
