//! The order in which endpoints are asked.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long an endpoint is remembered as one that did not answer.
const REMEMBERED: Duration = Duration::from_secs(60);

/// Which endpoint to ask first, and which last: those that did not answer lately, since each would
/// cost a time-out. All clones of a client share it, so that one's failure spares the others theirs.
#[derive(Debug)]
pub(super) struct Order(Mutex<State>);

#[derive(Debug)]
struct State {
    first: usize,
    /// Until when each endpoint counts as silent.
    silent_until: Vec<Option<Instant>>,
}

/// An endpoint whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    /// Its index.
    pub(super) at: usize,
    /// Whether it is asked only because no other one did better: it has less time to answer.
    pub(super) last_resort: bool,
}

impl Order {
    /// So many endpoints, of which `first` has answered.
    pub(super) fn new(count: usize, first: usize) -> Self {
        Self(Mutex::new(State { first, silent_until: vec![None; count] }))
    }

    /// The endpoint to ask first.
    pub(super) fn first(&self) -> usize {
        self.turns(Instant::now()).first().map_or(0, |turn| turn.at)
    }

    /// All endpoints in the order in which they are to be asked now.
    pub(super) fn turns(&self, now: Instant) -> Vec<Turn> {
        let state = self.state();
        let count = state.silent_until.len();
        let is_silent = |at: usize| state.silent_until[at].is_some_and(|until| until > now);
        let in_turn = (0..count).map(|step| (state.first + step) % count);
        let (silent, others): (Vec<_>, Vec<_>) = in_turn.partition(|&at| is_silent(at));
        let turns = others.into_iter().chain(silent).enumerate();
        // The first has all the time there is: etcd may be slow as a whole.
        turns.map(|(turn, at)| Turn { at, last_resort: turn > 0 && is_silent(at) }).collect()
    }

    /// Takes note that one has answered.
    pub(super) fn answered(&self, at: usize) {
        self.state().silent_until[at] = None;
    }

    /// Takes note that one has failed, and whether it was silent. Requests begin with the one after
    /// it, unless another clone has seen to that.
    pub(super) fn failed(&self, at: usize, silent: bool, now: Instant) {
        let mut state = self.state();
        if state.first == at {
            state.first = (at + 1) % state.silent_until.len();
        }
        if silent {
            state.silent_until[at] = Some(now + REMEMBERED);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is one assignment: a thread that panicked left it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(order: &Order, now: Instant) -> Vec<(usize, bool)> {
        order.turns(now).into_iter().map(|turn| (turn.at, turn.last_resort)).collect()
    }

    #[test]
    fn silent_endpoints_are_asked_last_for_a_while() {
        let (order, now) = (Order::new(3, 1), Instant::now());
        assert_eq!(turns(&order, now), [(1, false), (2, false), (0, false)]);
        order.failed(1, false, now);
        assert_eq!(turns(&order, now), [(2, false), (0, false), (1, false)]);
        // Another clone was slower to see the same.
        order.failed(1, true, now);
        assert_eq!(turns(&order, now), [(2, false), (0, false), (1, true)]);
        order.failed(2, true, now);
        assert_eq!(turns(&order, now), [(0, false), (1, true), (2, true)]);
        order.failed(0, true, now);
        assert_eq!(turns(&order, now), [(1, false), (2, true), (0, true)]);
        order.answered(2);
        assert_eq!(turns(&order, now), [(2, false), (1, true), (0, true)]);
        assert_eq!(turns(&order, now + REMEMBERED), [(1, false), (2, false), (0, false)]);
    }
}
