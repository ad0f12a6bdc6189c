//! `/metrics`: what was counted, and what is worked out when someone asks.

use std::time::Instant;

use super::Status;

impl Status {
    /// The metrics, in the text format of Prometheus.
    pub(super) fn metrics_text(&self) -> String {
        let now = Instant::now();
        let Self { metrics, .. } = self;
        metrics.flushed_lsn.set(self.confirmed().0);
        metrics.position_lsn.set(self.position().0);
        metrics.received_lsn.set(self.received().0);
        metrics.lag_bytes.set(self.lag_bytes());
        metrics.lag_seconds.set(self.lag().as_secs_f64());
        metrics.healthy.set(u64::from(self.ills(now).is_empty()));
        metrics.ready.set(u64::from(self.unready(now).is_none()));
        metrics.set_phase(self.activity());
        metrics.set_not_copied(&self.not_copied.all());
        metrics.text()
    }
}

#[cfg(test)]
impl Status {
    /// Each metric as an item of the manual page.
    pub(crate) fn described(&self) -> Vec<String> {
        self.tables.followed("public.t");
        self.metrics.differences("public.t", [0; 3]);
        self.metrics.set_not_copied(&[("public.t".to_owned(), String::new())]);
        self.metrics.set_phase(super::Activity::Syncing);
        let families = self.metrics.families();
        families
            .iter()
            .map(|family| {
                let labels = family.get_metric()[0].get_label();
                let labels: Vec<_> = labels.iter().map(|label| label.name()).collect();
                let kind = format!("{:?}", family.get_field_type()).to_lowercase();
                let by = if labels.is_empty() { "" } else { " by " };
                format!(".It Li {} Pq {kind}{by}{}", family.name(), labels.join(", "))
            })
            .collect()
    }
}
