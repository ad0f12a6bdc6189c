//! The command line: its options and commands, and how they are explained.

mod help;
mod table;

use getopts::{Fail, HasArg, Occur, ParsingStyle};

pub use self::help::help;
pub use self::table::{Action, COMMANDS, Command, OPTIONS, Opt};
use crate::nearest;

/// Reads the command line, without the program's name.
///
/// # Errors
/// What is wrong with it, and what may have been meant.
pub fn parse(arguments: &[String]) -> Result<Request, String> {
    // What follows a command's name is the command's.
    let matches = parsed(OPTIONS, ParsingStyle::StopAtFirstFree, arguments)
        .map_err(|fail| misused(None, &fail))?;
    if matches.opt_present("V") {
        return Ok(Request::Version);
    }
    let Some((name, rest)) = matches.free.split_first() else {
        return match matches.opt_present("h") {
            true => Ok(Request::Help(None)),
            false => invocation(&COMMANDS[0], &matches, &[]),
        };
    };
    let command = named(name)?;
    if matches.opt_present("h") {
        return Ok(Request::Help(Some(command)));
    }
    invocation(command, &matches, rest)
}

/// Reads what follows a command's name.
fn invocation(
    command: &'static Command,
    matches: &getopts::Matches,
    rest: &[String],
) -> Result<Request, String> {
    let options = command.options.iter().chain(&OPTIONS[..1]);
    let own = parsed(options, ParsingStyle::FloatingFrees, rest)
        .map_err(|fail| format!("{}: {}", command.name, misused(Some(command), &fail)))?;
    if own.opt_present(OPTIONS[0].short) {
        return Ok(Request::Help(Some(command)));
    }
    let most = match command.arguments {
        "" => 0,
        _ if command.takes_many() => usize::MAX,
        _ => 1,
    };
    match own.free.get(most) {
        Some(argument) if most == 0 => {
            return Err(format!("{} takes no argument, got {argument}", command.name));
        }
        Some(argument) => return Err(format!("{}: {argument} is one too many", command.name)),
        None => {}
    }
    if command.action == Action::Help {
        return own.free.first().map(|name| named(name)).transpose().map(Request::Help);
    }
    if matches.opt_count("c") > 1 {
        return Err("-c is given twice: there is one settings file".to_owned());
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

/// The command of this name.
fn named(name: &str) -> Result<&'static Command, String> {
    let names = COMMANDS.iter().map(|command| command.name);
    let command = COMMANDS.iter().find(|command| command.name == name);
    command.ok_or_else(|| format!("there is no command {name}{}", nearest::hint(name, names)))
}

fn parsed<'t>(
    options: impl IntoIterator<Item = &'t Opt>,
    style: ParsingStyle,
    arguments: &[String],
) -> Result<getopts::Matches, Fail> {
    let mut parser = getopts::Options::new();
    parser.parsing_style(style);
    for option in options {
        let takes = if option.argument.is_empty() { HasArg::No } else { HasArg::Yes };
        parser.opt(option.short, option.long, option.doc, option.argument, takes, Occur::Multi);
    }
    parser.parse(arguments)
}

/// What is wrong with an option of a command, or with one before it.
fn misused(command: Option<&Command>, fail: &Fail) -> String {
    let own = command.map_or(OPTIONS, |command| command.options);
    let argument = |name| find(own, name).map_or("argument", |option| option.argument);
    match fail {
        Fail::ArgumentMissing(name) => format!("{} needs its {}", dashed(name), argument(name)),
        Fail::UnexpectedArgument(name) => format!("{} takes no argument", dashed(name)),
        Fail::UnrecognizedOption(name) => {
            let given = dashed(name);
            let takers = COMMANDS.iter().filter(|command| find(command.options, name).is_some());
            let takers: Vec<_> = takers.map(|command| command.name).collect();
            match (command, find(OPTIONS, name)) {
                (Some(Command { name: command, .. }), Some(Opt { argument, .. })) => format!(
                    "{given} is an option of pg2etcd, and those come before the command: pg2etcd \
                     {given}{}{argument} {command}",
                    if argument.is_empty() { "" } else { " " }
                ),
                (None, _) if !takers.is_empty() => format!(
                    "{given} is an option of {}, and comes after the command",
                    takers.join(" and ")
                ),
                _ => {
                    let known = own.iter().chain(OPTIONS).map(|option| option.long);
                    let meant = nearest::nearest(name, known).filter(|_| name.len() > 1);
                    let hint = meant.map(|name| format!(", did you mean --{name}?"));
                    format!("there is no option {given}{}", hint.unwrap_or_default())
                }
            }
        }
        fail => fail.to_string(),
    }
}

/// The option of this letter or name.
fn find<'t>(options: &'t [Opt], name: &str) -> Option<&'t Opt> {
    options.iter().find(|option| option.short == name || option.long == name)
}

/// An option as it is written.
fn dashed(name: &str) -> String {
    if name.chars().count() == 1 { format!("-{name}") } else { format!("--{name}") }
}

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Request {
    /// The text of [`help`], of a command if one is named.
    Help(Option<&'static Command>),
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
            (&["-h"], Request::Help(None)),
            (&["help"], Request::Help(None)),
            (&["help", "drop"], Request::Help(named("drop").ok())),
            (&["-h", "drop"], Request::Help(named("drop").ok())),
            (&["drop", "-h"], Request::Help(named("drop").ok())),
            (&["drop", "-k", "now", "--help"], Request::Help(named("drop").ok())),
            (&["help", "help"], Request::Help(named("help").ok())),
            (&["--version"], Request::Version),
        ] {
            assert_eq!(parsed(arguments), Ok(request), "{arguments:?}");
        }
    }

    #[test]
    fn other_command_lines_are_refused() {
        for (arguments, problem) in [
            (&["-x"][..], "there is no option -x"),
            (&["--nonsense"], "there is no option --nonsense"),
            (&["--verbsoe"], "there is no option --verbsoe, did you mean --verbose?"),
            (&["check", "--jsno"], "check: there is no option --jsno, did you mean --json?"),
            (&["-c"], "-c needs its file"),
            (&["--version=3"], "--version takes no argument"),
            (&["wait", "-t"], "wait: -t needs its duration"),
            (&["walk"], "there is no command walk"),
            (&["stauts"], "there is no command stauts, did you mean status?"),
            (&["help", "stauts"], "there is no command stauts, did you mean status?"),
            (&["-h", "stauts"], "there is no command stauts, did you mean status?"),
            (&["help", "drop", "run"], "help: run is one too many"),
            (&["run", "now"], "run takes no argument, got now"),
            (&["config", "now"], "config takes no argument, got now"),
            (&["-c", "a", "-c", "b"], "-c is given twice: there is one settings file"),
            (&["-c", "a", "--config=b", "check"], "-c is given twice: there is one settings file"),
            (
                &["run", "-c", "f"],
                "run: -c is an option of pg2etcd, and those come before the command: pg2etcd -c file \
                 run",
            ),
            (
                &["config", "--verbose"],
                "config: --verbose is an option of pg2etcd, and those come before the command: \
                 pg2etcd --verbose config",
            ),
            (&["-j", "check"], "-j is an option of check and status, and comes after the command"),
            (&["run", "-j"], "run: there is no option -j"),
        ] {
            let got = parsed(arguments).unwrap_err();
            assert_eq!(got, problem, "{arguments:?}");
        }
    }
}
