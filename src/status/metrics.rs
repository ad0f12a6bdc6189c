//! What is counted and measured. pg2etcd-metrics(8) describes each metric.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use prometheus::core::{AtomicU64, GenericGauge};
use prometheus::{
    Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts, Registry, TextEncoder,
};

use super::Activity;
use super::table_metrics::TableMetrics;
use super::tables::Tables;
use crate::error::{CAUSES, Error};

/// A gauge of whole numbers.
pub(crate) type IntGauge = GenericGauge<AtomicU64>;

/// Why tables are dumped.
pub(crate) const DUMP_REASONS: [&str; 9] = [
    "first",
    "unfinished",
    "stream",
    "publication",
    "timeline",
    "history",
    "slot_lost",
    "slot_ahead",
    "resync",
];

/// What a compare finds.
const DIFFERENCES: [&str; 3] = ["missing", "stale", "differs"];

/// All metrics. Those that are worked out when someone asks are set just before.
pub(crate) struct Metrics {
    registry: Registry,
    /// Whether metrics are told apart by table: else the table has no name.
    by_table: Arc<AtomicBool>,
    /// What periodic compares found, by table and kind.
    differences: IntCounterVec,
    /// Transactions received that change rows.
    pub(crate) transactions: IntCounter,
    /// Dumps begun, by reason.
    pub(crate) dumps: IntCounterVec,
    /// Rows that the dump has read.
    pub(crate) dump_rows: IntGauge,
    /// Rows that the dump expects.
    pub(crate) dump_expected_rows: IntGauge,
    /// Attempts that failed and were made again, by cause.
    pub(crate) retries: Retries,
    /// Rows left out.
    pub(crate) oversized_rows: IntCounter,
    /// Texts of the stream that are no UTF-8.
    pub(crate) invalid_texts: IntCounter,
    txn_operations: Histogram,
    txn_bytes: Histogram,
    txn_duration: Histogram,
    pub(super) position_lsn: IntGauge,
    pub(super) received_lsn: IntGauge,
    pub(super) flushed_lsn: IntGauge,
    pub(super) lag_bytes: IntGauge,
    pub(super) lag_seconds: Gauge,
    pub(super) healthy: IntGauge,
    pub(super) ready: IntGauge,
    phase: GenericGaugeVec,
    not_copied: GenericGaugeVec,
}

type GenericGaugeVec = prometheus::core::GenericGaugeVec<AtomicU64>;

impl Metrics {
    /// All at their start; those of tables come from `tables`.
    pub(super) fn new(tables: Arc<Tables>) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let made = Maker { registry: &registry };
        build_details(&made)?;
        let by_table = Arc::new(AtomicBool::new(true));
        registry.register(Box::new(TableMetrics::new(tables, Arc::clone(&by_table))?))?;
        Ok(Self {
            by_table,
            differences: made.counters(
                "pg2etcd_compare_differences_total",
                "Keys that a periodic compare found different, and repaired.",
                &["table", "kind"],
            )?,
            transactions: made.counter(
                "pg2etcd_transactions_total",
                "Transactions received from PostgreSQL that change rows.",
            )?,
            dumps: made.counters_of(
                "pg2etcd_dumps_total",
                "Dumps begun.",
                "reason",
                &DUMP_REASONS,
            )?,
            dump_rows: made.gauge("pg2etcd_dump_rows", "Rows that the last dump has read.")?,
            dump_expected_rows: made.gauge(
                "pg2etcd_dump_expected_rows",
                "Rows of the last dump by PostgreSQL's estimate.",
            )?,
            retries: Retries(made.counters_of(
                "pg2etcd_retries_total",
                "Attempts that failed and were made again.",
                "cause",
                &CAUSES,
            )?),
            oversized_rows: made.counter(
                "pg2etcd_oversized_rows_total",
                "Rows left out because no request to etcd can hold them.",
            )?,
            invalid_texts: made.counter(
                "pg2etcd_invalid_text_total",
                "Texts received in the stream that are no UTF-8, from a SQL_ASCII database.",
            )?,
            txn_operations: made.histogram(
                "pg2etcd_etcd_txn_operations",
                "Operations in an etcd txn.",
                prometheus::exponential_buckets(1.0, 2.0, 11)?,
            )?,
            txn_bytes: made.histogram(
                "pg2etcd_etcd_txn_size_bytes",
                "Size of an etcd txn.",
                prometheus::exponential_buckets(256.0, 4.0, 8)?,
            )?,
            txn_duration: made.histogram(
                "pg2etcd_etcd_txn_duration_seconds",
                "Time until etcd has a txn, further attempts included.",
                prometheus::exponential_buckets(0.000_5, 2.0, 16)?,
            )?,
            position_lsn: made.gauge(
                "pg2etcd_position_lsn_bytes",
                "The position in etcd: all that committed up to this LSN is there.",
            )?,
            received_lsn: made
                .gauge("pg2etcd_received_lsn_bytes", "The LSN up to which PostgreSQL has sent.")?,
            flushed_lsn: made.gauge(
                "pg2etcd_flushed_lsn_bytes",
                "The LSN up to which PostgreSQL was told that it may forget.",
            )?,
            lag_bytes: made
                .gauge("pg2etcd_lag_bytes", "WAL between the received LSN and the position.")?,
            lag_seconds: made.float_gauge(
                "pg2etcd_lag_seconds",
                "Age of the oldest transaction received that is not in etcd; 0 if there is none.",
            )?,
            healthy: made.gauge("pg2etcd_healthy", "Whether /healthz says yes.")?,
            ready: made.gauge("pg2etcd_ready", "Whether /readyz says yes.")?,
            phase: made.gauges(
                "pg2etcd_phase",
                "What the daemon does: 1 for this phase.",
                "phase",
            )?,
            not_copied: made.gauges(
                "pg2etcd_table_not_copied",
                "1 for each published table that etcd does not have as it is.",
                "table",
            )?,
            registry,
        })
    }

    /// Counts what a periodic compare of a table has found, by kind.
    pub(crate) fn differences(&self, table: &str, found: [u64; DIFFERENCES.len()]) {
        for (kind, found) in DIFFERENCES.iter().zip(found) {
            let counter = self.differences.with_label_values(&[self.label(table), kind]);
            counter.inc_by(found);
        }
    }

    /// Whether what counts from now on is told apart by table.
    pub(super) fn tell_tables_apart(&self, wanted: bool) {
        if self.by_table.swap(wanted, Ordering::Relaxed) != wanted {
            // No series is left of which nothing counts any more.
            self.differences.reset();
        }
    }

    fn label<'t>(&self, table: &'t str) -> &'t str {
        if self.by_table.load(Ordering::Relaxed) { table } else { "" }
    }

    /// Measures a txn that etcd has, after so long.
    pub(crate) fn txn_written(&self, operations: usize, bytes: usize, duration: Duration) {
        self.txn_operations.observe(operations as f64);
        self.txn_bytes.observe(bytes as f64);
        self.txn_duration.observe(duration.as_secs_f64());
    }

    /// How many txns etcd has, and how long they took in all, in seconds.
    pub(super) fn txns(&self) -> (u64, f64) {
        (self.txn_duration.get_sample_count(), self.txn_duration.get_sample_sum())
    }

    pub(super) fn set_phase(&self, activity: Activity) {
        for each in Activity::ALL {
            self.phase.with_label_values(&[each.name()]).set(u64::from(each == activity));
        }
    }

    /// Sets the tables that are not copied: 1 of each, or their number if tables are not told apart.
    pub(super) fn set_not_copied(&self, tables: &[(String, String)]) {
        self.not_copied.reset();
        for (table, _) in tables {
            self.not_copied.with_label_values(&[self.label(table)]).inc();
        }
    }

    pub(super) fn text(&self) -> String {
        // It fails on a family without metrics or name, which the registry leaves out.
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }

    /// What the registry has, sorted by name.
    #[cfg(test)]
    pub(super) fn families(&self) -> Vec<prometheus::proto::MetricFamily> {
        self.registry.gather()
    }
}

/// Counts attempts that failed and are made again.
#[derive(Clone, Debug)]
pub(crate) struct Retries(IntCounterVec);

impl Retries {
    pub(crate) fn count(&self, error: &Error) {
        self.0.with_label_values(&[error.cause()]).inc();
    }
}

/// Makes metrics and registers them.
struct Maker<'r> {
    registry: &'r Registry,
}

impl Maker<'_> {
    fn counter(&self, name: &str, help: &str) -> prometheus::Result<IntCounter> {
        self.register(IntCounter::new(name, help)?)
    }

    fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> prometheus::Result<IntCounterVec> {
        self.register(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    /// Counters of which all are there, at 0, from the start: a rate can be told from the first
    /// event on.
    fn counters_of(
        &self,
        name: &str,
        help: &str,
        label: &str,
        values: &[&str],
    ) -> prometheus::Result<IntCounterVec> {
        let counters = self.counters(name, help, &[label])?;
        for value in values {
            counters.get_metric_with_label_values(&[value])?;
        }
        Ok(counters)
    }

    fn gauge(&self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        self.register(IntGauge::new(name, help)?)
    }

    fn float_gauge(&self, name: &str, help: &str) -> prometheus::Result<Gauge> {
        self.register(Gauge::new(name, help)?)
    }

    fn gauges(&self, name: &str, help: &str, label: &str) -> prometheus::Result<GenericGaugeVec> {
        self.register(GenericGaugeVec::new(Opts::new(name, help), &[label])?)
    }

    fn histogram(
        &self,
        name: &str,
        help: &str,
        buckets: Vec<f64>,
    ) -> prometheus::Result<Histogram> {
        self.register(Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets))?)
    }

    fn register<M: prometheus::core::Collector + Clone + 'static>(
        &self,
        metric: M,
    ) -> prometheus::Result<M> {
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }
}

/// The one metric that never changes.
fn build_details(made: &Maker<'_>) -> prometheus::Result<()> {
    let opts = Opts::new("pg2etcd_build_info", "Always 1, with the version.")
        .const_label("version", env!("CARGO_PKG_VERSION"));
    made.register(IntGauge::with_opts(opts)?)?.set(1);
    Ok(())
}
