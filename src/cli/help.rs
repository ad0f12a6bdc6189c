//! How the command line is explained.

use super::table::{COMMANDS, Command, OPTIONS, Opt};
use crate::config::{KEYS, Key, Settings};

/// The text of `--help`; of `pg2etcd help COMMAND` if there is one.
#[must_use]
pub fn help(command: Option<&Command>) -> String {
    command.map_or_else(overview, of_command)
}

fn overview() -> String {
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

fn of_command(command: &Command) -> String {
    let Command { name, options, arguments, doc, exit, .. } = command;
    let mut usage = format!("usage: pg2etcd [option ...] {name}");
    let flags = options.iter().filter(|option| option.argument.is_empty());
    usage.push_str(&format!(" [-{}h]", flags.map(|option| option.short).collect::<String>()));
    for Opt { short, argument, .. } in *options {
        if !argument.is_empty() {
            usage.push_str(&format!(" [-{short} {argument}]"));
        }
    }
    if !arguments.is_empty() {
        usage.push_str(&format!(" {arguments}"));
    }
    let mut letters = doc.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    let sentence: String = first.chain(letters).collect();
    let mut help = format!("{usage}\n\n{sentence}.\n\nOptions:\n");
    for option in *options {
        help.push_str(&line("", option));
    }
    let own_help = Opt { doc: "print this help", ..OPTIONS[0] };
    help.push_str(&line("", &own_help));
    help.push_str(&format!(
        "\nExit status: {exit}, 2 trouble.\n\nOptions of pg2etcd come before the command: pg2etcd \
         -h lists them. See pg2etcd(8).\n"
    ));
    help
}

/// An option in a line.
fn line(indent: &str, Opt { short, long, argument, doc }: &Opt) -> String {
    let names = format!("{indent}-{short}, --{long} {argument}");
    format!("  {names:<26}{doc}\n")
}

/// A setting in two lines, with the words that it takes if they are few.
fn explained(key: &Key) -> String {
    let Key { name, field, default, environment, doc } = key;
    let words = match field(&mut Settings::default()).words() {
        words if words.is_empty() => String::new(),
        words => format!("={}", words.join("|")),
    };
    let variables: Vec<String> = environment.iter().map(|name| format!(", ${name}")).collect();
    format!("  {name}{words} ({default}{})\n      {doc}\n", variables.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_explains_all_in_lines_of_a_terminal() {
        let help = help(None);
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
        assert!(help.contains("  sync.oversized=stop|skip (stop)\n"), "{help}");
        for line in help.lines() {
            assert!(line.len() <= 100, "{line}");
        }
    }

    #[test]
    fn each_command_has_a_help_of_its_own() {
        for command in COMMANDS {
            let help = help(Some(command));
            assert!(help.starts_with(&format!("usage: pg2etcd [option ...] {}", command.name)));
            for option in command.options {
                assert!(help.contains(&line("", option)), "{help}");
            }
            assert!(help.contains(command.arguments) && help.contains(command.exit), "{help}");
            assert!(help.lines().all(|line| line.len() <= 100), "{help}");
        }
        let wait = help(COMMANDS.iter().find(|command| command.name == "wait"));
        assert!(wait.starts_with(
            "usage: pg2etcd [option ...] wait [-h] [-t duration] LSN\n\nReturn when etcd holds all \
             that committed up to LSN.\n\nOptions:\n"
        ));
        assert!(wait.contains("\nExit status: 0 it does, 1 timed out, 2 trouble.\n"), "{wait}");
    }
}
