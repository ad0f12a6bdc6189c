//! The table of options and commands: the parser, the help, the completion and the tests of the
//! man pages work from it.

/// The options, which stand before the command; the first may stand after it too.
pub static OPTIONS: &[Opt] = &[
    Opt { short: "h", long: "help", argument: "", doc: "print this help, or that of the command" },
    Opt { short: "V", long: "version", argument: "", doc: "print the version" },
    Opt { short: "v", long: "verbose", argument: "", doc: "log more; twice: log still more" },
    Opt { short: "c", long: "config", argument: "file", doc: "read the settings from this file" },
    Opt { short: "o", long: "option", argument: "key=value", doc: "set one key; may be repeated" },
];

/// The commands; the first is the one that needs no name.
pub static COMMANDS: &[Command] = &[
    Command {
        name: "run",
        options: &[],
        arguments: "",
        action: Action::Run,
        doc: "dump if needed, then sync until SIGTERM or SIGINT",
        exit: "0 stopped by a signal",
    },
    Command {
        name: "check",
        options: &[
            JSON,
            Opt { short: "q", long: "quiet", argument: "", doc: "print only what is not ok" },
        ],
        arguments: "",
        action: Action::Check,
        doc: "check what both servers have to have, and what is to do",
        exit: "0 all hold, 1 some do not",
    },
    Command {
        name: "status",
        options: &[
            JSON,
            Opt { short: "w", long: "watch", argument: "", doc: "show it anew each second" },
        ],
        arguments: "",
        action: Action::Status,
        doc: "say how far etcd is, and whether a daemon streams",
        exit: "0 a daemon is streaming in the sync phase, else 1",
    },
    Command {
        name: "verify",
        options: &[],
        arguments: "[table ...]",
        action: Action::Verify,
        doc: "compare the database with etcd, and name the keys that differ",
        exit: "0 the same, 1 differences",
    },
    Command {
        name: "wait",
        options: &[Opt {
            short: "t",
            long: "timeout",
            argument: "duration",
            doc: "wait no longer than this (30s)",
        }],
        arguments: "LSN",
        action: Action::Wait,
        doc: "return when etcd holds all that committed up to LSN",
        exit: "0 it does, 1 timed out",
    },
    Command {
        name: "resync",
        options: &[],
        arguments: "[table ...]",
        action: Action::Resync,
        doc: "ask the daemon to compare tables and repair what differs",
        exit: "0 asked",
    },
    Command {
        name: "drop",
        options: &[
            Opt { short: "f", long: "force", argument: "", doc: "end a daemon's stream first" },
            Opt { short: "k", long: "keys", argument: "", doc: "remove its tables' keys too" },
            Opt { short: "n", long: "dry-run", argument: "", doc: "only say what would go" },
        ],
        arguments: "",
        action: Action::Drop,
        doc: "remove slot, publication, claims and position of a copy",
        exit: "0 removed, or nothing was there",
    },
    Command {
        name: "config",
        options: &[],
        arguments: "",
        action: Action::Config,
        doc: "print the settings and where each comes from",
        exit: "0 printed",
    },
    Command {
        name: "help",
        options: &[],
        arguments: "[command]",
        action: Action::Help,
        doc: "print this help, or that of a command",
        exit: "0 printed",
    },
];

const JSON: Opt = Opt { short: "j", long: "json", argument: "", doc: "print JSON" };

/// An option.
#[derive(Debug, PartialEq, Eq)]
pub struct Opt {
    /// The letter after one dash.
    pub short: &'static str,
    /// The name after two dashes.
    pub long: &'static str,
    /// What it takes; empty if nothing.
    pub argument: &'static str,
    /// What it does, in one line.
    pub doc: &'static str,
}

/// A command.
#[derive(Debug, PartialEq, Eq)]
pub struct Command {
    /// Its name.
    pub name: &'static str,
    /// Its own options, which stand after its name.
    pub options: &'static [Opt],
    /// Its arguments; empty if it takes none.
    pub arguments: &'static str,
    /// What carries it out.
    pub action: Action,
    /// What it does, in one line.
    pub doc: &'static str,
    /// What its exit status says; of every command 2 is trouble.
    pub exit: &'static str,
}

impl Command {
    /// Whether it takes more than one argument.
    pub(super) fn takes_many(&self) -> bool {
        self.arguments.ends_with("...]")
    }
}

/// What carries a command out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The daemon.
    Run,
    /// The look at both servers.
    Check,
    /// How far etcd is.
    Status,
    /// The comparison.
    Verify,
    /// The wait for an LSN.
    Wait,
    /// The request to compare tables.
    Resync,
    /// The removal of what the daemon made.
    Drop,
    /// The print of the settings.
    Config,
    /// The print of the help.
    Help,
}
