//! How fast it goes, from one look to the next.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::report::{Fact, Rates, Report};
use crate::lsn::Lsn;

/// How many looks are remembered for the graph of the lag.
const GRAPH: usize = 60;

/// What was seen so far.
#[derive(Default)]
pub(super) struct Looks {
    last: Option<Seen>,
    /// When the database was where, as far as etcd is not there yet.
    ahead: VecDeque<(Instant, Lsn)>,
    /// The lag of each look, in bytes.
    lags: VecDeque<u64>,
}

struct Seen {
    at: Instant,
    current: Option<Lsn>,
    position: Option<Lsn>,
    /// The table that is being dumped, and how many of its rows were read.
    dumped: Option<(Option<String>, u64)>,
}

impl Looks {
    /// Adds to a report, made now, what follows from those before.
    pub(super) fn add(&mut self, report: &mut Report, now: Instant) {
        let seen = Seen {
            at: now,
            current: report.current_lsn.known().copied(),
            position: report.position.known().copied(),
            dumped: report.dump.known().and_then(|dump| Some((dump.table.clone(), dump.rows?))),
        };
        report.rates = self.last.as_ref().map(|last| last.rates(&seen));
        if let (Some(current), Some(position)) = (seen.current, seen.position) {
            self.ahead.push_back((now, current));
            while self.ahead.front().is_some_and(|(_, current)| *current <= position) {
                self.ahead.pop_front();
            }
            // The first look has watched the position itself.
            if report.is_in_sync() && self.last.is_some() {
                let age = self.ahead.front().map_or(Duration::ZERO, |(at, _)| now - *at);
                report.lag_seconds = Fact::Is(age.as_millis() as f64 / 1e3);
            }
        }
        if let Fact::Is(bytes) = report.lag_bytes {
            self.lags.push_back(bytes);
            self.lags.drain(..self.lags.len().saturating_sub(GRAPH));
        }
        self.last = Some(seen);
    }

    /// The lag of the last looks as a graph of one line, the latest last; empty without any.
    pub(super) fn graph(&self) -> String {
        const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        let most = self.lags.iter().copied().max().unwrap_or(0).max(1) as f64;
        let bar = |lag: &u64| BARS[((*lag as f64 / most * 7.0).ceil() as usize).min(7)];
        self.lags.iter().map(bar).collect()
    }
}

impl Seen {
    /// What a later look has gained.
    fn rates(&self, later: &Self) -> Rates {
        let seconds = (later.at - self.at).as_secs_f64().max(1e-3);
        let gained = |from: Option<Lsn>, to: Option<Lsn>| {
            Some(to?.0.saturating_sub(from?.0) as f64 / seconds)
        };
        let rows = match (&self.dumped, &later.dumped) {
            (Some((from, before)), Some((to, now))) if from == to => {
                Some(now.saturating_sub(*before) as f64 / seconds)
            }
            _ => None,
        };
        Rates {
            current_bytes_per_second: gained(self.current, later.current),
            position_bytes_per_second: gained(self.position, later.position),
            rows_per_second: rows,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::checkpoint::Phase;

    fn report(position: u64, current: u64) -> Report {
        Report {
            phase: Fact::Is(Phase::Sync),
            active_pid: Fact::Is(1),
            position: Fact::Is(Lsn(position)),
            current_lsn: Fact::Is(Lsn(current)),
            lag_bytes: Fact::Is(current - position),
            lag_seconds: Fact::Is(77.0),
            ..Report::default()
        }
    }

    #[test]
    fn each_look_is_compared_with_the_one_before() {
        let mut looks = Looks::default();
        let begin = Instant::now();
        let mut look = |second, mut report: Report| {
            looks.add(&mut report, begin + Duration::from_secs(second));
            (report.lag_seconds.known().copied(), report.rates)
        };
        assert_eq!(look(0, report(100, 100)), (Some(77.0), None), "the first look's own");
        let (lag, rates) = look(2, report(100, 300));
        assert_eq!(lag, Some(0.0));
        let rates = rates.unwrap();
        assert_eq!(rates.current_bytes_per_second, Some(100.0));
        assert_eq!(rates.position_bytes_per_second, Some(0.0));
        assert_eq!(rates.rows_per_second, None);
        assert_eq!(look(5, report(200, 300)).0, Some(3.0), "what was there at 2 is missing");
        assert_eq!(look(6, report(300, 500)).0, Some(0.0));
        assert_eq!(look(7, report(500, 500)).0, Some(0.0));
        let (lag, rates) = look(8, Report::default());
        assert_eq!((lag, rates.unwrap().current_bytes_per_second), (None, None));
    }

    #[test]
    fn the_graph_is_as_high_as_the_longest_lag() {
        let mut looks = Looks::default();
        assert_eq!(looks.graph(), "");
        for current in [0, 1, 400, 800] {
            looks.add(&mut report(0, current), Instant::now());
        }
        assert_eq!(looks.graph(), "▁▂▅█");
        for _ in 0..100 {
            looks.add(&mut report(0, 0), Instant::now());
        }
        assert_eq!(looks.graph(), "▁".repeat(GRAPH));
    }
}
