//! Times as PostgreSQL sends them.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A time of PostgreSQL's: microseconds since 2000-01-01 00:00:00 UTC (manual, "Streaming Replication
/// Protocol"). Written in RFC 3339, in UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PgTime(pub i64);

/// Seconds from 1970-01-01, where Unix time begins, to 2000-01-01, where PostgreSQL's does.
const EPOCH: Duration = Duration::from_secs(946_684_800);

impl PgTime {
    /// The time by this machine's clock.
    #[must_use]
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH + EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }

    /// How long before `later` this was; zero if it was not.
    #[must_use]
    pub fn until(self, later: Self) -> Duration {
        Duration::from_micros(u64::try_from(later.0.saturating_sub(self.0)).unwrap_or(0))
    }
}

impl fmt::Display for PgTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A clock before 2000 or past 9999, which RFC 3339 has no form for, is a broken one.
        const LAST: u64 = 7999 * 365 * 24 * 3600 * 1_000_000;
        let micros = u64::try_from(self.0).unwrap_or(0).min(LAST);
        let time = UNIX_EPOCH + EPOCH + Duration::from_micros(micros);
        write!(f, "{}", humantime::format_rfc3339_micros(time))
    }
}

/// A text that is no time in RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidTime;

impl FromStr for PgTime {
    type Err = InvalidTime;

    fn from_str(text: &str) -> Result<Self, InvalidTime> {
        let time = humantime::parse_rfc3339(text).map_err(|_| InvalidTime)?;
        let since = time.duration_since(UNIX_EPOCH + EPOCH).unwrap_or_default();
        i64::try_from(since.as_micros()).map(Self).map_err(|_| InvalidTime)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_number_agree() {
        for (text, micros) in [
            ("2000-01-01T00:00:00.000000Z", 0),
            ("2026-01-02T03:04:05.678901Z", 820_638_245_678_901),
        ] {
            assert_eq!(PgTime(micros).to_string(), text);
            assert_eq!(text.parse(), Ok(PgTime(micros)));
        }
        for micros in [i64::MIN, -1, i64::MAX] {
            assert!(PgTime(micros).to_string().ends_with('Z'));
        }
        assert_eq!("yesterday".parse::<PgTime>(), Err(InvalidTime));
    }

    #[test]
    fn a_clock_that_is_ahead_makes_nothing_old() {
        assert_eq!(PgTime(5).until(PgTime(9)), Duration::from_micros(4));
        assert_eq!(PgTime(9).until(PgTime(5)), Duration::ZERO);
        assert_eq!(
            PgTime(i64::MIN).until(PgTime(i64::MAX)),
            Duration::from_micros(i64::MAX as u64)
        );
    }
}
