//! The last warnings and errors, for those who look at the daemon and not at its log.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use log::Level;

/// How many are remembered.
const MOST: usize = 20;
/// How much of one is, in characters.
const LONGEST: usize = 1000;

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogLine {
    /// When it was logged.
    pub(crate) at: SystemTime,
    pub(crate) level: Level,
    /// The message, in one line.
    pub(crate) message: String,
}

/// The last lines, the newest first.
#[derive(Debug)]
pub(super) struct Recent(Mutex<VecDeque<LogLine>>);

impl Recent {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(VecDeque::new()))
    }

    /// Remembers a line.
    pub(super) fn add(&self, mut line: LogLine) {
        if let Some((end, _)) = line.message.char_indices().nth(LONGEST) {
            line.message.truncate(end);
            line.message.push('…');
        }
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.truncate(MOST - 1);
        lines.push_front(line);
    }

    /// The lines, the newest first.
    pub(super) fn all(&self) -> Vec<LogLine> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_there_and_none_is_long() {
        let recent = Recent::new();
        for number in 0..100 {
            let message = format!("{number} {}", "ä".repeat(LONGEST));
            recent.add(LogLine { at: SystemTime::UNIX_EPOCH, level: Level::Warn, message });
        }
        let lines = recent.all();
        assert_eq!(lines.len(), MOST);
        assert!(lines[0].message.starts_with("99 ") && lines[MOST - 1].message.starts_with("80 "));
        assert!(lines.iter().all(|line| line.message.chars().count() == LONGEST + 1));
    }
}
