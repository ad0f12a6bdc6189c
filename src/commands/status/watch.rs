//! `status -w`: the status anew each second.

use std::io::{self, IsTerminal, Read};
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::rates::Looks;
use super::report::Report;
use super::{Form, look};
use crate::commands::output::print;
use crate::config::Settings;
use crate::error::{Error, Result};
use crate::stop::{Stop, poll_readable};

/// The time between two looks.
const PERIOD: Duration = Duration::from_secs(1);
/// The time between two looks at whether there is a report: a key is noticed at once.
const TICK: Duration = Duration::from_millis(50);
/// The other screen of the terminal, without a cursor; and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[2J";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// Shows the status until `q` or a signal ends it, or nobody reads on. True if the last one was
/// that of a whole copy that a daemon keeps up.
pub(super) fn run(settings: &Settings, form: Form) -> Result<bool> {
    let system = |source| Error::System { doing: "starting to watch".to_owned(), source };
    let stop = Stop::on_signals().map_err(system)?;
    let reports = start_looking(settings.clone()).map_err(system)?;
    let screen = (io::stdout().is_terminal() && !form.json).then(Screen::enter).transpose()?;
    let mut looks = Looks::default();
    let mut last = String::new();
    let mut is_whole = false;
    while !is_to_end(&stop, screen.as_ref()) {
        let Ok(mut report) = reports.try_recv() else { continue };
        looks.add(&mut report, Instant::now());
        is_whole = report.is_whole();
        last = if form.json { report.to_json() } else { report.to_text() };
        let shown = match &screen {
            Some(_) => drawn(&last, &looks.graph()),
            None if form.json => last.clone(),
            None => format!("{last}\n"),
        };
        if !print(&shown)? {
            return Ok(is_whole);
        }
    }
    if let Some(screen) = screen {
        drop(screen);
        print(&last)?;
    }
    Ok(is_whole)
}

/// Looks each second, in a thread of its own: a server that does not answer must not keep a key
/// from being noticed.
fn start_looking(settings: Settings) -> io::Result<Receiver<Report>> {
    let (sender, reports): (Sender<Report>, _) = bounded(0);
    let looking = move || {
        let mut is_first = true;
        loop {
            let next = Instant::now() + PERIOD;
            let (report, _) = look(&settings, is_first);
            is_first = false;
            if sender.send(report).is_err() {
                return;
            }
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    };
    thread::Builder::new().name("status".to_owned()).spawn(looking)?;
    Ok(reports)
}

/// Waits a moment; true if a signal came or `q` was typed.
fn is_to_end(stop: &Stop, screen: Option<&Screen>) -> bool {
    let stdin = io::stdin();
    let typed = match screen {
        Some(Screen { before: Some(_) }) => {
            match poll_readable([stop.as_fd(), stdin.as_fd()], Some(TICK)) {
                Ok([false, true]) => {
                    let mut key = [0];
                    // A terminal that is gone types nothing more.
                    stdin.lock().read(&mut key).map_or(true, |count| count == 0 || key == *b"q")
                }
                _ => false,
            }
        }
        _ => stop.wait(TICK),
    };
    typed || stop.requested()
}

/// A status on the terminal's other screen, in the place of the one before.
fn drawn(status: &str, graph: &str) -> String {
    let lines = status.replace('\n', "\x1b[K\r\n");
    format!("\x1b[H{lines}{:<21}{graph}\x1b[K\r\n\x1b[K\r\nq quits\x1b[K\x1b[J", "lag")
}

/// The terminal's other screen; with its drop the terminal is as it was.
struct Screen {
    /// How the terminal treated keys; `None` if they come from elsewhere.
    before: Option<Termios>,
}

impl Screen {
    /// Has keys come one by one and unseen. Ctrl-C still is a signal.
    fn enter() -> Result<Self> {
        let stdin = io::stdin();
        let before = tcgetattr(&stdin).ok();
        if let Some(before) = &before {
            let mut modes = before.clone();
            modes.local_modes &= !(LocalModes::ICANON | LocalModes::ECHO);
            let set = tcsetattr(&stdin, OptionalActions::Now, &modes);
            let doing = "setting the terminal".to_owned();
            set.map_err(|error| Error::System { doing, source: error.into() })?;
        }
        let screen = Self { before };
        print(ENTER)?;
        Ok(screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        _ = print(LEAVE);
        if let Some(before) = &self.before {
            _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}
