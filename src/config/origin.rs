//! Where a value is from.

use std::fmt;
use std::path::PathBuf;

use super::Key;
use super::field::Written;
use crate::error::Error;

/// Where a value is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The table of keys.
    Default,
    /// A line of the file, the first being 1.
    File {
        /// The file, as it was named.
        path: PathBuf,
        /// The line of the key.
        line: usize,
    },
    /// A variable of this name.
    Environment(&'static str),
    /// The command line.
    Option,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment(variable) => write!(f, "environment {variable}"),
            Self::Option => f.write_str("-o"),
        }
    }
}

impl Origin {
    /// What is wrong with the value that a key has from here.
    pub(super) fn problem(&self, name: &str, problem: &str) -> Error {
        Error::Setting(match self {
            Self::Default => format!("{name}: {problem}"),
            Self::Option => format!("-o {name}: {problem}"),
            Self::File { .. } | Self::Environment(_) => format!("{self}: {name}: {problem}"),
        })
    }
}

/// A value that a source has for a key. Outside of tests there is no way to print it, for it may
/// be a password.
#[cfg_attr(test, derive(Debug))]
pub(super) struct Given {
    pub(super) key: &'static Key,
    pub(super) value: Written,
    pub(super) origin: Origin,
}
