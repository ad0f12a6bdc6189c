//! The command line: its options and commands, and how they are explained.

use getopts::{HasArg, Occur, ParsingStyle};

use crate::config::{KEYS, Key};

/// The options, which stand before the command.
pub static OPTIONS: &[Opt] = &[
    Opt { short: "h", long: "help", argument: "", doc: "print this help" },
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
    },
    Command {
        name: "check",
        options: &[Opt { short: "j", long: "json", argument: "", doc: "print JSON" }],
        arguments: "",
        action: Action::Check,
        doc: "check what both servers have to have, and what is to do",
    },
    Command {
        name: "status",
        options: &[Opt { short: "j", long: "json", argument: "", doc: "print JSON" }],
        arguments: "",
        action: Action::Status,
        doc: "say how far etcd is, and whether a daemon streams",
    },
    Command {
        name: "verify",
        options: &[],
        arguments: "[table ...]",
        action: Action::Verify,
        doc: "compare the database with etcd, and name the keys that differ",
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
    },
    Command {
        name: "resync",
        options: &[],
        arguments: "[table ...]",
        action: Action::Resync,
        doc: "ask the daemon to compare tables and repair what differs",
    },
    Command {
        name: "drop",
        options: &[
            Opt { short: "f", long: "force", argument: "", doc: "end a daemon's stream first" },
            Opt {
                short: "k",
                long: "keys",
                argument: "",
                doc: "remove the keys of its tables too",
            },
        ],
        arguments: "",
        action: Action::Drop,
        doc: "remove slot, publication and position of a copy",
    },
    Command {
        name: "config",
        options: &[],
        arguments: "",
        action: Action::Config,
        doc: "print the settings and where each comes from",
    },
];

/// An option.
#[derive(Debug)]
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
#[derive(Debug)]
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
}

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Request {
    /// The text of [`help`].
    Help,
    /// The version.
    Version,
    /// A command.
    Command(Invocation),
}

/// A command with the options before it.
#[derive(Debug, PartialEq, Eq)]
pub struct Invocation {
    /// What to do.
    pub action: Action,
    /// The file of `-c`.
    pub file: Option<String>,
    /// The `key=value` of each `-o`.
    pub options: Vec<String>,
    /// How often `-v` was given.
    pub verbosity: usize,
    /// The command's own options, by their letters, each with its argument.
    pub own_options: Vec<(&'static str, String)>,
    /// What else stands after the command.
    pub arguments: Vec<String>,
}

impl Invocation {
    /// Whether the command's own option of this letter was given.
    #[must_use]
    pub fn has(&self, short: &str) -> bool {
        self.value(short).is_some()
    }

    /// What the command's own option of this letter was given; the last time counts.
    #[must_use]
    pub fn value(&self, short: &str) -> Option<&str> {
        let mut given = self.own_options.iter().rev();
        given.find(|(letter, _)| *letter == short).map(|(_, value)| value.as_str())
    }
}

/// Reads the command line, without the program's name.
///
/// # Errors
/// What is wrong with it.
pub fn parse(arguments: &[String]) -> Result<Request, String> {
    // What follows a command's name is the command's.
    let matches = parsed(OPTIONS, ParsingStyle::StopAtFirstFree, arguments)?;
    if matches.opt_present("h") {
        return Ok(Request::Help);
    }
    if matches.opt_present("V") {
        return Ok(Request::Version);
    }
    let (command, rest) = match matches.free.split_first() {
        None => (&COMMANDS[0], &[][..]),
        Some((name, rest)) => {
            let command = COMMANDS.iter().find(|command| command.name == name);
            (command.ok_or_else(|| format!("there is no command {name}"))?, rest)
        }
    };
    let own = parsed(command.options, ParsingStyle::FloatingFrees, rest)
        .map_err(|problem| format!("{}: {problem}", command.name))?;
    if let (Some(argument), "") = (own.free.first(), command.arguments) {
        return Err(format!("{} takes no argument, got {argument}", command.name));
    }
    let own_options = command.options.iter().filter_map(|option| {
        let value = own.opt_strs(option.short).pop().unwrap_or_default();
        own.opt_present(option.short).then_some((option.short, value))
    });
    Ok(Request::Command(Invocation {
        action: command.action,
        file: matches.opt_str("c"),
        options: matches.opt_strs("o"),
        verbosity: matches.opt_count("v"),
        own_options: own_options.collect(),
        arguments: own.free,
    }))
}

fn parsed(
    options: &[Opt],
    style: ParsingStyle,
    arguments: &[String],
) -> Result<getopts::Matches, String> {
    let mut parser = getopts::Options::new();
    parser.parsing_style(style);
    for option in options {
        let takes = if option.argument.is_empty() { HasArg::No } else { HasArg::Yes };
        parser.opt(option.short, option.long, option.doc, option.argument, takes, Occur::Multi);
    }
    parser.parse(arguments).map_err(|fail| fail.to_string())
}

/// The text of `--help`.
#[must_use]
pub fn help() -> String {
    let mut help = String::from(
        "usage: pg2etcd [-hVv] [-c file] [-o key=value] [command [argument ...]]\n\n\
         Keeps an etcd v3 store a faithful copy of one PostgreSQL database.\n\nOptions:\n",
    );
    for option in OPTIONS {
        help.push_str(&line("", option));
    }
    help.push_str("\nCommands (without one: run):\n");
    for Command { name, options, arguments, doc, .. } in COMMANDS {
        let names = format!("{name} {arguments}");
        help.push_str(&format!("  {names:<26}{doc}\n"));
        for option in *options {
            help.push_str(&line("  ", option));
        }
    }
    help.push_str(
        "\nSettings, each from -o, its environment variable, the file (/etc/pg2etcd.toml unless -c\n\
         names another) or its default, in this order:\n",
    );
    let mut table = "";
    for key in KEYS {
        if key.in_table().0 != table {
            table = key.in_table().0;
            help.push('\n');
        }
        help.push_str(&explained(key));
    }
    help.push_str("\nSee pg2etcd(8) and pg2etcd.toml(5).\n");
    help
}

/// An option in a line.
fn line(indent: &str, Opt { short, long, argument, doc }: &Opt) -> String {
    let names = format!("{indent}-{short}, --{long} {argument}");
    format!("  {names:<26}{doc}\n")
}

/// A setting in two lines.
fn explained(key: &Key) -> String {
    let Key { name, default, environment, doc, .. } = key;
    let variables: Vec<String> = environment.iter().map(|name| format!(", ${name}")).collect();
    format!("  {name} ({default}{})\n      {doc}\n", variables.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<Request, String> {
        parse(&arguments.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    fn run() -> Invocation {
        Invocation {
            action: Action::Run,
            file: None,
            options: vec![],
            verbosity: 0,
            own_options: vec![],
            arguments: vec![],
        }
    }

    #[test]
    fn command_lines_are_read() {
        let set = ["a=1", "b=2"].map(str::to_owned).to_vec();
        for (arguments, request) in [
            (&[][..], Request::Command(run())),
            (&["run"], Request::Command(run())),
            (
                &["check", "-j"],
                Request::Command(Invocation {
                    action: Action::Check,
                    own_options: vec![("j", String::new())],
                    ..run()
                }),
            ),
            (&["config"], Request::Command(Invocation { action: Action::Config, ..run() })),
            (
                &["resync", "s.a", "s.b"],
                Request::Command(Invocation {
                    action: Action::Resync,
                    arguments: ["s.a", "s.b"].map(str::to_owned).to_vec(),
                    ..run()
                }),
            ),
            (
                &["wait", "-t", "1s", "0/1"],
                Request::Command(Invocation {
                    action: Action::Wait,
                    own_options: vec![("t", "1s".to_owned())],
                    arguments: vec!["0/1".to_owned()],
                    ..run()
                }),
            ),
            (&["-vv", "--verbose"], Request::Command(Invocation { verbosity: 3, ..run() })),
            (&["-c", "f", "run"], Request::Command(Invocation { file: Some("f".into()), ..run() })),
            (&["-oa=1", "--option", "b=2"], Request::Command(Invocation { options: set, ..run() })),
            (&["-h", "nonsense"], Request::Help),
            (&["--version"], Request::Version),
        ] {
            assert_eq!(parsed(arguments), Ok(request), "{arguments:?}");
        }
    }

    #[test]
    fn other_command_lines_are_refused() {
        for (arguments, problem) in [
            (&["-x"][..], "'x'"),
            (&["--nonsense"], "'nonsense'"),
            (&["-c"], "'c'"),
            (&["walk"], "there is no command walk"),
            (&["run", "now"], "run takes no argument, got now"),
            (&["config", "now"], "config takes no argument, got now"),
            (&["config", "-v"], "config: Unrecognized option: 'v'"),
        ] {
            let got = parsed(arguments).unwrap_err();
            assert!(got.contains(problem), "{arguments:?}: {got}");
        }
    }

    #[test]
    fn the_help_explains_all_in_lines_of_a_terminal() {
        let help = help();
        for option in OPTIONS {
            assert!(help.contains(&format!("-{}, --{}", option.short, option.long)), "{option:?}");
        }
        for command in COMMANDS {
            assert!(help.contains(&format!("\n  {} ", command.name)), "{command:?}");
        }
        for key in KEYS {
            assert!(help.contains(&explained(key)), "{key:?}");
        }
        assert!(help.contains("  database.host (localhost, $PGHOST)\n"), "{help}");
        for line in help.lines() {
            assert!(line.len() <= 100, "{line}");
        }
    }
}
