//! Pauses between attempts, and a word about each cause only once.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use crate::disposition::Disposition;
use crate::error::{Error, Result};
use crate::sqlstate;

/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The time after which a cause that lasts is logged again; it doubles each time,
const FIRST_REMINDER: Duration = Duration::from_secs(60);
/// up to this.
const LONGEST_REMINDER: Duration = Duration::from_secs(3600);
/// How many causes are told apart: their texts may have a number in them that is always another.
const MOST_CAUSES: usize = 16;

/// Attempts at something that fails.
#[derive(Debug)]
pub(crate) struct Retry {
    first_pause: Duration,
    longest_pause: Duration,
    pause: Duration,
    attempts: usize,
    /// What was logged since the last success.
    causes: Vec<Cause>,
    /// What has not worked since the last success.
    subjects: BTreeSet<&'static str>,
    despite_refusals: bool,
}

/// A cause that was logged.
#[derive(Debug)]
struct Cause {
    text: String,
    /// When it is logged again if it lasts.
    due: Instant,
    /// The time from then to the next time.
    interval: Duration,
}

impl Retry {
    /// No attempt has failed yet; the pause after the first is `first_pause`.
    #[must_use]
    pub(crate) fn new(first_pause: Duration) -> Self {
        Self {
            first_pause,
            longest_pause: LONGEST_PAUSE.max(first_pause),
            pause: first_pause,
            attempts: 0,
            causes: Vec::new(),
            subjects: BTreeSet::new(),
            despite_refusals: false,
        }
    }

    /// Requests to an etcd that was there before, which the whole stream waits for: it is asked
    /// often.
    #[must_use]
    pub(crate) fn of_requests() -> Self {
        let longest_pause = Duration::from_secs(2);
        Self { longest_pause, ..Self::new(Duration::from_millis(100)) }
    }

    /// Whether the server was there before. Then a refused login is tried again, since it was
    /// accepted once; and while the port refuses, it is asked steadily, since a failover is short.
    #[must_use]
    pub(crate) fn despite_refusals(mut self, despite_refusals: bool) -> Self {
        self.despite_refusals = despite_refusals;
        self
    }

    /// Takes note that the server has accepted the login, which is not success yet: from here on as
    /// with [`Self::despite_refusals`].
    pub(crate) fn accepted(&mut self) {
        self.despite_refusals = true;
    }

    /// Does `attempt` until it succeeds, or fails in a way that another attempt does not cure, or
    /// `wait` says that it has to end. `wait` is given what failed, for the caller to count, and
    /// the pause to make.
    ///
    /// # Errors
    /// That of the last attempt.
    pub(crate) fn until_done<T>(
        &mut self,
        mut attempt: impl FnMut() -> Result<T>,
        mut wait: impl FnMut(&Error, Duration) -> bool,
    ) -> Result<T> {
        loop {
            match attempt() {
                Ok(done) => {
                    self.succeeded();
                    return Ok(done);
                }
                Err(error) if self.is_worth(&error) => {
                    let pause = self.failed(&error);
                    if wait(&error, pause) {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes note of a failure, logs its cause unless that was logged not long ago, and says how
    /// long to wait.
    ///
    /// Pauses double, so that a server in trouble is not kept busy. Where the answer is only "not
    /// yet" they do not: what is waited for may be there in the next second.
    pub(crate) fn failed(&mut self, error: &Error) -> Duration {
        self.attempts += 1;
        self.subjects.insert(error.subject());
        self.log(error.to_string(), Instant::now());
        if self.is_not_yet(error) {
            self.pause = self.first_pause;
            return jittered(self.first_pause);
        }
        let pause = jittered(self.pause);
        self.pause = (self.pause * 2).min(self.longest_pause);
        pause
    }

    /// Logs a cause that is new, or due again, as a warning; another one for debugging only.
    fn log(&mut self, text: String, now: Instant) {
        let attempts = self.attempts;
        if self.is_worth_a_line(&text, now) {
            let attempt =
                if attempts > 1 { format!(" (attempt {attempts})") } else { String::new() };
            log::warn!("{text}{attempt}");
        } else {
            log::debug!("{text} (attempt {attempts})");
        }
    }

    fn is_worth_a_line(&mut self, text: &str, now: Instant) -> bool {
        if let Some(cause) = self.causes.iter_mut().find(|cause| cause.text == text) {
            let is_due = cause.due <= now;
            if is_due {
                cause.due = now + cause.interval;
                cause.interval = (cause.interval * 2).min(LONGEST_REMINDER);
            }
            return is_due;
        }
        if self.causes.len() == MOST_CAUSES {
            self.causes.remove(0);
        }
        let (due, interval) = (now + FIRST_REMINDER, FIRST_REMINDER * 2);
        self.causes.push(Cause { text: text.to_owned(), due, interval });
        true
    }

    /// Whether the failure is a quick answer that there is no primary now, so that asking again
    /// costs hardly anything. A failover gives several of these: the old primary shuts down, its
    /// port or a proxy's refuses, the new one is in recovery. A port that refuses before the first
    /// success more likely has no server at all, and pauses grow.
    fn is_not_yet(&self, error: &Error) -> bool {
        match error {
            Error::InRecovery { .. } | Error::SlotInUse { .. } => true,
            Error::PostgresIo { source, .. } => {
                self.despite_refusals
                    && matches!(
                        source.kind(),
                        ErrorKind::ConnectionRefused
                            | ErrorKind::ConnectionReset
                            | ErrorKind::ConnectionAborted
                            | ErrorKind::BrokenPipe
                            | ErrorKind::UnexpectedEof
                            // A socket's name.
                            | ErrorKind::NotFound
                    )
            }
            Error::PostgresServer { answer, .. } => matches!(
                answer.code.as_str(),
                sqlstate::ADMIN_SHUTDOWN | sqlstate::CRASH_SHUTDOWN | sqlstate::CANNOT_CONNECT_NOW
            ),
            _ => false,
        }
    }

    /// Takes note that it worked: the next failure is a new one.
    pub(crate) fn succeeded(&mut self) {
        if self.attempts > 0 {
            let subjects: Vec<_> = self.subjects.iter().copied().collect();
            let attempts = self.attempts;
            log::info!("Works again: {}: failed_attempts={attempts}", subjects.join(", "));
        }
        self.subjects.clear();
        self.attempts = 0;
        self.pause = self.first_pause;
        self.causes.clear();
    }

    /// Whether another attempt may succeed after this failure, all else left as it is.
    #[must_use]
    pub(crate) fn is_worth(&self, error: &Error) -> bool {
        match error.disposition() {
            Disposition::Retry => true,
            Disposition::Refused => self.despite_refusals,
            Disposition::Redump | Disposition::Fatal => false,
        }
    }

    /// How many attempts have failed in a row.
    #[must_use]
    pub(crate) fn attempts(&self) -> usize {
        self.attempts
    }
}

/// The pause, shorter by up to a quarter, so that many daemons do not come back all at once.
fn jittered(pause: Duration) -> Duration {
    // Each RandomState has keys of its own: what it makes of nothing is a random number.
    let random = RandomState::new().hash_one(()) % 256;
    pause - pause * u32::try_from(random).unwrap_or(0) / 1024
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ServerAnswer;

    fn down() -> Error {
        Error::PostgresProtocol { doing: "testing".to_owned(), problem: "none".to_owned() }
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let mut retry = Retry::new(Duration::from_secs(1));
        for expected in [1, 2, 4, 8, 16, 30, 30] {
            let pause = retry.failed(&down());
            let expected = Duration::from_secs(expected);
            assert!(pause <= expected && pause >= expected * 3 / 4, "{pause:?} {expected:?}");
        }
        assert_eq!(retry.attempts(), 7);
        retry.succeeded();
        assert_eq!(retry.attempts(), 0);
        assert!(retry.failed(&down()) <= Duration::from_secs(1));
    }

    #[test]
    fn a_cause_is_logged_at_growing_intervals() {
        let mut retry = Retry::new(Duration::from_secs(1));
        let begin = Instant::now();
        let logged: Vec<u64> = (0..4 * 3600)
            .filter(|&second| retry.is_worth_a_line("down", begin + Duration::from_secs(second)))
            .collect();
        assert_eq!(logged, [0, 60, 180, 420, 900, 1860, 3780, 7380, 10980]);
    }

    #[test]
    fn causes_in_turn_are_logged_once_each() {
        let mut retry = Retry::new(Duration::from_secs(1));
        let now = Instant::now();
        assert!(retry.is_worth_a_line("refused", now) && retry.is_worth_a_line("reset", now));
        assert!(!retry.is_worth_a_line("refused", now) && !retry.is_worth_a_line("reset", now));
        retry.failed(&down());
        retry.succeeded();
        assert!(retry.is_worth_a_line("refused", now));
        for number in 0..2 * MOST_CAUSES {
            assert!(retry.is_worth_a_line(&number.to_string(), now));
        }
        assert_eq!(retry.causes.len(), MOST_CAUSES);
    }

    #[test]
    fn a_server_that_says_not_yet_is_asked_steadily() {
        let mut retry = Retry::new(Duration::from_secs(1));
        for _ in 0..9 {
            retry.failed(&down());
        }
        for _ in 0..9 {
            let pause = retry.failed(&Error::InRecovery { servers: "a:1".to_owned() });
            assert!(pause <= Duration::from_secs(1));
        }
        assert!(retry.failed(&down()) <= Duration::from_secs(1));
    }

    #[test]
    fn a_server_that_was_there_is_asked_steadily_while_its_port_refuses() {
        let io = |kind: ErrorKind| Error::PostgresIo { doing: String::new(), source: kind.into() };
        let answer = |code: &str| {
            let answer = ServerAnswer { code: code.to_owned(), ..ServerAnswer::default() };
            Error::PostgresServer { doing: String::new(), answer: Box::new(answer) }
        };
        let second = Duration::from_secs(1);
        for (error, known, steady) in [
            (io(ErrorKind::ConnectionRefused), true, true),
            (io(ErrorKind::UnexpectedEof), true, true),
            (io(ErrorKind::TimedOut), true, false),
            (io(ErrorKind::ConnectionRefused), false, false),
            (answer(sqlstate::ADMIN_SHUTDOWN), true, true),
            (answer(sqlstate::TOO_MANY_CONNECTIONS), true, false),
        ] {
            let mut retry = Retry::new(second).despite_refusals(known);
            let pauses: Vec<_> = (0..9).map(|_| retry.failed(&error)).collect();
            assert_eq!(pauses.iter().all(|&pause| pause <= second), steady, "{error} {known}");
        }
    }
}
