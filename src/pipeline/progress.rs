//! How far the dump is, for people.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

use crate::dump_progress::{DumpProgress, seconds_left};
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
    tables: usize,
    tables_done: usize,
    /// The table that is being loaded, its estimate, and how many rows were read before it.
    table: (String, u64, u64),
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
            tables: 0,
            tables_done: 0,
            table: (String::new(), 0, 0),
            started: now,
            logged: now,
            shown: now,
            live,
            metrics,
        }
    }

    /// How many tables there are, and rows by the planner's estimate; 0 if it has none.
    pub(super) fn expect(&mut self, tables: usize, rows: u64) {
        self.tables = tables;
        self.expected = rows;
        self.metrics.dump_expected_rows.set(rows);
        self.metrics.dump_rows.set(0);
    }

    /// A table begins.
    pub(super) fn begin(&mut self, table: String, estimated_rows: u64) {
        self.table = (table, estimated_rows, self.rows);
    }

    /// It is done. Says how many rows were read.
    pub(super) fn end(&mut self) -> u64 {
        self.tables_done += 1;
        let (_, _, before) = self.table;
        self.rows - before
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

    fn so_far(&self) -> DumpProgress<'_> {
        let (table, estimated_rows, before) = &self.table;
        let elapsed = self.started.elapsed();
        DumpProgress {
            tables: self.tables,
            tables_done: self.tables_done,
            table: Some(table),
            rows: Some(self.rows - before),
            estimated_rows: Some(*estimated_rows).filter(|&rows| rows > 0),
            rows_per_second: Some(self.rows as f64 / elapsed.as_secs_f64()),
            seconds_left: seconds_left(self.rows, self.expected, elapsed),
        }
    }
}
