//! How far the comparison is, for people.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

use super::super::output::note;

/// The time between two states of the live line.
const PERIOD: Duration = Duration::from_millis(250);
/// How many keys are compared between two looks at the clock.
const KEYS: u64 = 256;

/// What was compared.
pub(super) struct Progress {
    table: String,
    keys: u64,
    live: bool,
    shown: Instant,
}

impl Progress {
    pub(super) fn new() -> Self {
        let live = stderr().is_terminal();
        Self { table: String::new(), keys: 0, live, shown: Instant::now() }
    }

    /// Goes on to a table.
    pub(super) fn begin(&mut self, table: String) {
        self.table = table;
    }

    /// Counts a key, and shows how far it is when it is time to.
    pub(super) fn key(&mut self, found: u64) {
        self.keys += 1;
        if self.live && self.keys.is_multiple_of(KEYS) && self.shown.elapsed() >= PERIOD {
            self.shown = Instant::now();
            let Self { table, keys, .. } = self;
            // A terminal that is gone misses it.
            let _ = write!(stderr(), "\r\x1b[K{table}: {keys} keys compared, {found} differ");
        }
    }

    /// Makes room for a line of the result.
    pub(super) fn clear(&self) {
        if self.live {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }

    /// Says what came of it.
    pub(super) fn finish(&self, tables: usize, found: u64, moving: usize) {
        self.clear();
        let changed = match moving {
            0 => String::new(),
            moving => format!(", {moving} changed too often to be compared"),
        };
        note(format!("{} keys of {tables} tables compared: {found} differ{changed}", self.keys));
    }
}
