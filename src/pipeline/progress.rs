//! How far the dump is, for people.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

use crate::status::Metrics;

/// The time between two log lines.
const LOG_PERIOD: Duration = Duration::from_secs(5);
/// The time between two states of the live line on a terminal.
const LIVE_PERIOD: Duration = Duration::from_millis(250);

/// What was read and done.
pub(super) struct Progress<'a> {
    /// Rows that were put.
    pub(super) put: u64,
    /// Rows that etcd had already.
    pub(super) same: u64,
    /// Keys that had no row and were deleted.
    pub(super) deleted: u64,
    rows: u64,
    expected: u64,
    started: Instant,
    logged: Instant,
    shown: Instant,
    live: bool,
    metrics: &'a Metrics,
}

impl<'a> Progress<'a> {
    pub(super) fn new(metrics: &'a Metrics) -> Self {
        let now = Instant::now();
        let live = stderr().is_terminal() && log::log_enabled!(log::Level::Info);
        Self {
            put: 0,
            same: 0,
            deleted: 0,
            rows: 0,
            expected: 0,
            started: now,
            logged: now,
            shown: now,
            live,
            metrics,
        }
    }

    /// How many rows there are, by the planner's estimate; 0 if it has none.
    pub(super) fn expect(&mut self, rows: u64) {
        self.expected = rows;
        self.metrics.dump_expected_rows.set(rows);
        self.metrics.dump_rows.set(0);
    }

    /// Counts a row and says how many that are.
    pub(super) fn row(&mut self) -> u64 {
        self.rows += 1;
        self.rows
    }

    /// Says how far it is, if it is time to.
    pub(super) fn report(&mut self) {
        self.metrics.dump_rows.set(self.rows);
        if self.logged.elapsed() >= LOG_PERIOD {
            self.logged = Instant::now();
            log::info!("Dumping: {}", self.so_far());
        } else if self.live && self.shown.elapsed() >= LIVE_PERIOD {
            self.shown = Instant::now();
            // The log's next line takes the place of this one. A terminal that is gone misses it.
            let _ = write!(stderr().lock(), "\r\x1b[KDumping: {}", self.so_far());
        }
    }

    /// Says that it is done.
    pub(super) fn finish(&self) {
        let Self { rows, put, same, deleted, .. } = self;
        self.metrics.dump_rows.set(*rows);
        let seconds = self.started.elapsed().as_secs_f64();
        log::info!(
            "Dump finished: {rows} rows in {seconds:.1} s, {put} put, {same} the same, \
             {deleted} keys without a row deleted"
        );
    }

    fn so_far(&self) -> String {
        let rate = self.rows as f64 / self.started.elapsed().as_secs_f64();
        let percent = match self.expected {
            0 => String::new(),
            expected => format!(", {}% of the estimate", self.rows * 100 / expected),
        };
        format!("{} rows, {rate:.0} rows/s{percent}", self.rows)
    }
}
