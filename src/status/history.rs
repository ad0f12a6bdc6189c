//! The last ten minutes, for the graphs of the page: a sample every two seconds.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::Serialize;

/// The time from one sample to the next.
const PERIOD: Duration = Duration::from_secs(2);
/// How many samples are remembered: those of ten minutes.
const MOST: usize = 300;
/// How many of them make the rates of now.
const NOW: usize = 5;

/// What was counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Totals {
    /// Transactions received that change rows.
    pub(super) transactions: u64,
    /// Changes of rows received.
    pub(super) changes: u64,
    /// Txns that etcd has.
    pub(super) txns: u64,
    /// How long those took until etcd had them, in seconds.
    pub(super) txn_seconds: f64,
}

/// What was counted in one period.
#[derive(Clone, Copy, Debug)]
struct Sample {
    seconds: f32,
    /// At its end, in seconds.
    lag: f32,
    transactions: u32,
    changes: u32,
    txns: u32,
    txn_seconds: f32,
}

/// The samples.
#[derive(Debug)]
pub(super) struct History {
    /// When the last one was taken.
    at: Instant,
    /// When it is time for the next one.
    due: Instant,
    totals: Totals,
    samples: VecDeque<Sample>,
}

/// How fast it goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Rates {
    pub(super) transactions_per_second: f64,
    pub(super) changes_per_second: f64,
    pub(super) txns_per_second: f64,
    /// How long a txn took until etcd had it; `None` if there was none.
    pub(super) txn_seconds: Option<f64>,
}

/// The samples as the page draws them, the latest last.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(super) struct Graphs {
    period_seconds: u64,
    lag_seconds: Vec<f64>,
    transactions_per_second: Vec<f64>,
    changes_per_second: Vec<f64>,
    txns_per_second: Vec<f64>,
    txn_seconds: Vec<Option<f64>>,
}

impl History {
    pub(super) fn new(now: Instant) -> Self {
        Self { at: now, due: now + PERIOD, totals: Totals::default(), samples: VecDeque::new() }
    }

    /// Whether it is time for a sample.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        now >= self.due
    }

    /// Takes one.
    pub(super) fn sample(&mut self, now: Instant, totals: Totals, lag: Duration) {
        let last = self.totals;
        let gained =
            |from: u64, to: u64| u32::try_from(to.saturating_sub(from)).unwrap_or(u32::MAX);
        if self.samples.len() == MOST {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample {
            seconds: now.saturating_duration_since(self.at).as_secs_f32().max(1e-3),
            lag: lag.as_secs_f32(),
            transactions: gained(last.transactions, totals.transactions),
            changes: gained(last.changes, totals.changes),
            txns: gained(last.txns, totals.txns),
            txn_seconds: (totals.txn_seconds - last.txn_seconds) as f32,
        });
        self.totals = totals;
        self.at = now;
        self.due += PERIOD;
        if self.due <= now {
            // The machine slept: the samples that would be between are left out.
            self.due = now + PERIOD;
        }
    }

    /// How fast it goes now.
    pub(super) fn rates(&self) -> Rates {
        rates(self.samples.iter().rev().take(NOW))
    }

    /// All of it.
    pub(super) fn graphs(&self) -> Graphs {
        let mut graphs = Graphs { period_seconds: PERIOD.as_secs(), ..Graphs::default() };
        for sample in &self.samples {
            let rates = rates(std::iter::once(sample));
            graphs.lag_seconds.push(rounded(sample.lag.into(), 3));
            graphs.transactions_per_second.push(rates.transactions_per_second);
            graphs.changes_per_second.push(rates.changes_per_second);
            graphs.txns_per_second.push(rates.txns_per_second);
            graphs.txn_seconds.push(rates.txn_seconds);
        }
        graphs
    }
}

fn rates<'s>(samples: impl Iterator<Item = &'s Sample> + Clone) -> Rates {
    let sum = |of: fn(&Sample) -> f64| samples.clone().map(of).sum::<f64>();
    let seconds = sum(|sample| sample.seconds.into());
    let per_second = |of| if seconds > 0.0 { rounded(sum(of) / seconds, 1) } else { 0.0 };
    let txns = sum(|sample| sample.txns.into());
    let txn_seconds = sum(|sample| sample.txn_seconds.into());
    Rates {
        transactions_per_second: per_second(|sample| sample.transactions.into()),
        changes_per_second: per_second(|sample| sample.changes.into()),
        txns_per_second: per_second(|sample| sample.txns.into()),
        txn_seconds: (txns > 0.0).then(|| rounded(txn_seconds / txns, 6)),
    }
}

/// A number with so many digits behind the point.
fn rounded(number: f64, digits: i32) -> f64 {
    let unit = 10_f64.powi(digits);
    (number * unit).round() / unit
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(times: u64) -> Totals {
        Totals {
            transactions: 10 * times,
            changes: 40 * times,
            txns: 2 * times,
            txn_seconds: 0.01 * times as f64,
        }
    }

    #[test]
    fn a_sample_is_what_came_in_its_period() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut history = History::new(begin);
        assert_eq!(history.rates(), Rates::default());
        for (second, times) in [(2, 1), (4, 3), (6, 3)] {
            assert!(!history.is_due(at(second - 1)) && history.is_due(at(second)));
            history.sample(at(second), totals(times), Duration::from_millis(1500));
        }
        let expected = Graphs {
            period_seconds: 2,
            lag_seconds: vec![1.5; 3],
            transactions_per_second: vec![5.0, 10.0, 0.0],
            changes_per_second: vec![20.0, 40.0, 0.0],
            txns_per_second: vec![1.0, 2.0, 0.0],
            txn_seconds: vec![Some(0.005), Some(0.005), None],
        };
        assert_eq!(history.graphs(), expected);
        let expected = Rates {
            transactions_per_second: 5.0,
            changes_per_second: 20.0,
            txns_per_second: 1.0,
            txn_seconds: Some(0.005),
        };
        assert_eq!(history.rates(), expected);
    }

    #[test]
    fn it_is_as_long_as_ten_minutes_and_takes_little() {
        let begin = Instant::now();
        let mut history = History::new(begin);
        for second in (2..10_000).step_by(2) {
            history.sample(begin + Duration::from_secs(second), totals(second), Duration::ZERO);
        }
        assert_eq!(history.samples.len() * 2, 600);
        assert!(size_of::<Sample>() * history.samples.capacity() < 16 << 10);
        // After a sleep there is one sample, not one for each period slept through.
        let later = begin + Duration::from_secs(20_000);
        history.sample(later, totals(10_000), Duration::ZERO);
        assert!(!history.is_due(later + Duration::from_secs(1)));
    }
}
