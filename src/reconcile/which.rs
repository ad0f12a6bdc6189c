//! Which rows of a table are wanted.

use crate::mapping::{Output, Plan};

/// Which rows are wanted.
#[derive(Clone, Copy)]
pub(crate) enum Which<'k> {
    /// All.
    All,
    /// Those with these keys, and their versions: found by their columns, so that an index can serve.
    Keys(&'k [&'k [u8]]),
    /// The same, found by the texts of the keys.
    KeyTexts(&'k [&'k [u8]]),
}

impl Which<'_> {
    pub(super) fn is_versioned(self) -> bool {
        !matches!(self, Self::All)
    }

    /// The rows that have one of the keys by one of these outputs, as SQL.
    pub(super) fn condition(self, plan: &Plan, outputs: &[&Output]) -> Option<String> {
        match self {
            Self::All => None,
            Self::Keys(keys) => {
                Some(plan.sql_with_keys(outputs, keys).unwrap_or_else(|| "false".to_owned()))
            }
            Self::KeyTexts(keys) => Some(plan.sql_with_key_texts(outputs, keys)),
        }
    }
}
