//! The metric of the tables' changes, made anew from their counters whenever someone asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounterVec, Opts};

use super::tables::{KINDS, Tables};

/// `pg2etcd_changes_total`.
pub(super) struct TableMetrics {
    tables: Arc<Tables>,
    /// Whether the tables are told apart.
    by_table: Arc<AtomicBool>,
    /// A family that stays empty: it describes those that are made.
    empty: IntCounterVec,
}

impl TableMetrics {
    pub(super) fn new(tables: Arc<Tables>, by_table: Arc<AtomicBool>) -> prometheus::Result<Self> {
        Ok(Self { tables, by_table, empty: family()? })
    }
}

impl Collector for TableMetrics {
    fn desc(&self) -> Vec<&Desc> {
        self.empty.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // It was made before, in the same way.
        let Ok(family) = family() else { return Vec::new() };
        let by_table = self.by_table.load(Ordering::Relaxed);
        for (table, counts) in self.tables.counts() {
            let table = if by_table { &*table } else { "" };
            for (kind, count) in KINDS.iter().zip(counts) {
                family.with_label_values(&[table, kind]).inc_by(count);
            }
        }
        family.collect()
    }
}

fn family() -> prometheus::Result<IntCounterVec> {
    let opts = Opts::new("pg2etcd_changes_total", "Changes of rows received from PostgreSQL.");
    IntCounterVec::new(opts, &["table", "kind"])
}
