//! The log on standard error, a line for each message.

mod recent;

use std::collections::BTreeSet;
use std::fmt::{self, Display};
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use env_logger::{Builder, Target};
use log::{Level, LevelFilter, Metadata, Record, SetLoggerError};

pub(crate) use self::recent::LogLine;
use self::recent::Recent;

/// Starts the log: `log_level` as the settings have it, raised by one step for each `-v`.
///
/// # Errors
/// When it was started before.
pub fn start(log_level: &str, verbosity: usize) -> Result<(), SetLoggerError> {
    log::set_logger(&LOG)?;
    set_level(log_level, verbosity);
    Ok(())
}

/// From now on the log has another level.
pub fn set_level(log_level: &str, verbosity: usize) {
    let logger = logger(log_level, verbosity);
    log::set_max_level(logger.filter());
    *LOG.0.write().unwrap_or_else(PoisonError::into_inner) = Some(logger);
}

/// The log of the process, of which the level may change.
static LOG: Log = Log(RwLock::new(None));

struct Log(RwLock<Option<env_logger::Logger>>);

/// The last lines of it that are no good news.
static RECENT: Recent = Recent::new();

/// The last warnings and errors that the log has, the newest first.
pub(crate) fn recent() -> Vec<LogLine> {
    RECENT.all()
}

impl Log {
    fn with<T: Default>(&self, ask: impl FnOnce(&env_logger::Logger) -> T) -> T {
        self.0.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(ask).unwrap_or_default()
    }
}

impl log::Log for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.with(|logger| logger.enabled(metadata))
    }

    fn log(&self, record: &Record<'_>) {
        if record.level() <= Level::Warn && self.with(|logger| logger.matches(record)) {
            let (at, message) = (SystemTime::now(), in_one_line(record.args()));
            RECENT.add(LogLine { at, level: record.level(), message });
        }
        self.with(|logger| logger.log(record));
    }

    fn flush(&self) {
        self.with(|logger| logger.flush());
    }
}

fn logger(log_level: &str, verbosity: usize) -> env_logger::Logger {
    // A live progress line may be on the terminal: a message takes its place.
    let clear = if io::stderr().is_terminal() { "\r\x1b[K" } else { "" };
    let journal = is_journal();
    Builder::new()
        .parse_filters(&filter(log_level, verbosity))
        .target(Target::Stderr)
        .format(move |out, record| {
            // The journal has the time already.
            let at = (!journal).then(SystemTime::now);
            let line = Line { at, level: record.level(), message: record.args() };
            writeln!(out, "{clear}{line}")
        })
        .build()
}

/// Warns, unless it did so before in the same words: what lasts is not repeated with each
/// connection.
pub fn warn_once(message: String) {
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    if !said.contains(&message) {
        log::warn!("{message}");
        said.insert(message);
    }
}

/// Whether standard error leads to the journal (systemd.exec(5), `$JOURNAL_STREAM`). The variable
/// alone does not say so: it is inherited, and the stream may have been redirected.
fn is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let file = io::stderr().as_fd().try_clone_to_owned().map(File::from);
    let metadata = file.and_then(|file| file.metadata());
    metadata.is_ok_and(|metadata| stream == format!("{}:{}", metadata.dev(), metadata.ino()))
}

/// The priority that the journal gives a line which begins with it (sd-daemon(3)).
fn priority(level: Level) -> &'static str {
    match level {
        Level::Error => "<3>",
        Level::Warn => "<4>",
        Level::Info => "<6>",
        Level::Debug | Level::Trace => "<7>",
    }
}

/// The filter as env_logger has it. A level without a module is pg2etcd's own: of what the
/// libraries have to say, warnings are enough unless they are asked for.
fn filter(log_level: &str, verbosity: usize) -> String {
    let mut level = LevelFilter::Info;
    let mut modules = String::new();
    for directive in log_level.split(',').map(str::trim) {
        match LevelFilter::from_str(directive) {
            Ok(named) => level = named,
            Err(_) => modules.push_str(&format!(",{directive}")),
        }
    }
    for _ in 0..verbosity.min(LevelFilter::iter().count()) {
        level = level.increment_severity();
    }
    format!("{},pg2etcd={level}{modules}", level.min(LevelFilter::Warn))
}

struct Line<'r> {
    /// When; `None` in the journal.
    at: Option<SystemTime>,
    level: Level,
    message: &'r fmt::Arguments<'r>,
}

/// A message without line breaks: what a server says may have some, and would else look like another
/// message.
fn in_one_line(message: &fmt::Arguments<'_>) -> String {
    message.to_string().replace(char::is_control, " ")
}

impl Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = in_one_line(self.message);
        match self.at {
            Some(at) => {
                write!(f, "{} {:<5} {message}", humantime::format_rfc3339_millis(at), self.level)
            }
            None => write!(f, "{}{message}", priority(self.level)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn levels_are_raised_step_by_step() {
        for (log_level, verbosity, expected) in [
            ("info", 0, "WARN,pg2etcd=INFO"),
            ("info", 1, "WARN,pg2etcd=DEBUG"),
            ("info", 2, "WARN,pg2etcd=TRACE"),
            ("info", 9, "WARN,pg2etcd=TRACE"),
            ("error", 0, "ERROR,pg2etcd=ERROR"),
            ("off", 0, "OFF,pg2etcd=OFF"),
            ("off", 1, "ERROR,pg2etcd=ERROR"),
            ("ureq=debug", 0, "WARN,pg2etcd=INFO,ureq=debug"),
            ("warn, ureq=debug", 1, "WARN,pg2etcd=INFO,ureq=debug"),
        ] {
            assert_eq!(filter(log_level, verbosity), expected, "{log_level} {verbosity}");
        }
    }

    #[test]
    fn a_message_is_one_line() {
        let line = Line {
            at: Some(SystemTime::UNIX_EPOCH + Duration::from_millis(1_500)),
            level: Level::Info,
            message: &format_args!("a\nb\x1b[31mc"),
        };
        assert_eq!(line.to_string(), "1970-01-01T00:00:01.500Z INFO  a b [31mc");
        let line = Line { at: None, level: Level::Warn, ..line };
        assert_eq!(line.to_string(), "<4>a b [31mc");
    }
}
