//! What the daemon does, in one word.

/// What the daemon does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activity {
    /// It connects, or waits until it can.
    Connecting,
    /// Another daemon has the slot.
    StandingBy,
    /// It loads the tables.
    Dumping,
    /// It follows the stream.
    Syncing,
}

impl Activity {
    /// Each, in the order of their numbers.
    pub(crate) const ALL: [Self; 4] =
        [Self::Connecting, Self::StandingBy, Self::Dumping, Self::Syncing];

    /// Its name, as users see it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::StandingBy => "standby",
            Self::Dumping => "dump",
            Self::Syncing => "sync",
        }
    }
}
