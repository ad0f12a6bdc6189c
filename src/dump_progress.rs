//! How far a dump is, in the same words in the log, on a terminal and in `status`.

use std::fmt;
use std::time::Duration;

/// How far a dump is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DumpProgress<'a> {
    /// How many tables there are.
    pub tables: usize,
    /// How many of them are done.
    pub tables_done: usize,
    /// The table that is being loaded.
    pub table: Option<&'a str>,
    /// How many of its rows were read.
    pub rows: Option<u64>,
    /// How many there are, by the planner's estimate.
    pub estimated_rows: Option<u64>,
    /// How fast rows are read.
    pub rows_per_second: Option<f64>,
    /// How long the rest takes at the pace so far.
    pub seconds_left: Option<u64>,
}

impl fmt::Display for DumpProgress<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} tables", self.tables_done, self.tables)?;
        if let Some(table) = self.table {
            write!(f, ", now {table}")?;
        }
        if let Some(rows) = self.rows {
            write!(f, ", {rows} rows")?;
        }
        if let Some(rows) = self.estimated_rows {
            write!(f, " of about {rows}")?;
        }
        if let Some(rate) = self.rows_per_second {
            write!(f, " ({rate:.0} rows/s)")?;
        }
        match self.seconds_left {
            Some(seconds @ ..120) => write!(f, ", about {seconds} s left"),
            Some(seconds @ ..7200) => write!(f, ", about {} min left", seconds / 60),
            Some(seconds) => write!(f, ", about {} h left", seconds / 3600),
            None => Ok(()),
        }
    }
}

/// How long the rest takes if so many of the expected rows took so long; `None` where the estimate
/// is none, or was too low.
#[must_use]
pub fn seconds_left(rows: u64, expected: u64, elapsed: Duration) -> Option<u64> {
    let left = expected.checked_sub(rows).filter(|_| rows > 0)?;
    Some((elapsed.as_secs_f64() * left as f64 / rows as f64).ceil() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_progress() {
        let mut progress = DumpProgress { tables: 2, tables_done: 1, ..DumpProgress::default() };
        assert_eq!(progress.to_string(), "1 of 2 tables");
        progress = DumpProgress {
            table: Some("public.t"),
            rows: Some(5),
            estimated_rows: Some(10),
            rows_per_second: Some(10.4),
            ..progress
        };
        for (seconds, left) in [(90, "90 s"), (600, "10 min"), (10_000, "2 h")] {
            progress.seconds_left = Some(seconds);
            let expected = format!(
                "1 of 2 tables, now public.t, 5 rows of about 10 (10 rows/s), about {left} left"
            );
            assert_eq!(progress.to_string(), expected);
        }
    }

    #[test]
    fn the_rest_goes_at_the_pace_so_far() {
        for (rows, expected, left) in
            [(0, 100, None), (50, 100, Some(10)), (99, 100, Some(1)), (101, 100, None)]
        {
            assert_eq!(seconds_left(rows, expected, Duration::from_secs(10)), left);
        }
    }
}
