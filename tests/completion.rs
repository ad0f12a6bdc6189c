//! What bash, zsh and fish offer fits the tables of options, commands and keys, and the tables that are copied.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{self, Command};

use pg2etcd::cli::{COMMANDS, OPTIONS, Opt};
use pg2etcd::config::{KEYS, Settings};

use crate::support::Servers;

const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts");
/// As Readline would call it, which makes words of `=` and `:`.
const BASH: &str = r#"source pg2etcd.bash; COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
    _pg2etcd "$1"; printf '%s\n' "${COMPREPLY[@]}""#;
const FISH: &str = "source pg2etcd.fish; complete -C $argv[1]";

#[derive(Clone, Copy, Debug, PartialEq)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Shell {
    /// What it offers at the end of the line, sorted. Of a setting it is the name, of `key=value` the value: the shells
    /// differ in whether they repeat what stands before it.
    fn offers(self, line: &str) -> Vec<String> {
        let folder = std::env::temp_dir().join(format!(
            "pg2etcd-completion-{}-{:?}",
            process::id(),
            std::thread::current().id()
        ));
        let mut command = match self {
            Self::Bash => {
                let mut command = Command::new("bash");
                command.args(["--norc", "-uc", BASH, "bash"]).args(readline(line));
                command
            }
            Self::Zsh => {
                fs::create_dir_all(&folder).unwrap();
                symlink(format!("{SCRIPTS}/pg2etcd.zsh"), folder.join("_pg2etcd")).unwrap();
                let mut command = Command::new("zsh");
                command.args(["-f", "../tests/completion/offered.zsh"]).arg(&folder).arg(line);
                command
            }
            Self::Fish => {
                let mut command = Command::new("fish");
                command.args(["--no-config", "-c", FISH, line]);
                command
            }
        };
        let program = Path::new(env!("CARGO_BIN_EXE_pg2etcd"));
        let path = format!("{}:/usr/bin:/bin", program.parent().unwrap().display());
        let output = command
            .env_clear()
            .envs([
                ("PATH", &path[..]),
                ("LC_ALL", "C.UTF-8"),
                ("TERM", "xterm"),
                ("HOME", "/nonexistent"),
            ])
            .current_dir(SCRIPTS)
            .output()
            .expect("a shell");
        let _ = fs::remove_dir_all(&folder);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && errors.is_empty(), "{self:?} {line:?}: {errors}");
        let printed = String::from_utf8(output.stdout).unwrap();
        let words = printed.lines().filter_map(|line| {
            let word = line.split('\t').next()?.trim_end_matches('=');
            word.rsplit('=').next().filter(|word| !word.is_empty())
        });
        sorted(words)
    }
}

/// The words of a line as bash passes them.
fn readline(line: &str) -> Vec<String> {
    let spaced = line.replace('=', " = ").replace(':', " : ");
    let mut words: Vec<String> = spaced.split_whitespace().map(str::to_owned).collect();
    if line.ends_with(' ') {
        words.push(String::new());
    }
    words
}

fn sorted<'t>(words: impl IntoIterator<Item = &'t str>) -> Vec<String> {
    let mut words: Vec<String> = words.into_iter().map(str::to_owned).collect();
    words.sort();
    words
}

fn names(options: &[Opt]) -> Vec<String> {
    let names = options
        .iter()
        .flat_map(|option| [format!("-{}", option.short), format!("--{}", option.long)]);
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

#[test]
fn every_option_command_key_and_word_is_offered() {
    let keys = sorted(KEYS.iter().map(|key| key.name));
    let commands = sorted(COMMANDS.iter().map(|command| command.name));
    for shell in SHELLS {
        let offers = |line: &str| shell.offers(line);
        assert_eq!(offers("pg2etcd "), commands, "{shell:?}");
        assert_eq!(offers("pg2etcd help "), commands, "{shell:?}");
        assert_eq!(offers("pg2etcd -"), names(OPTIONS), "{shell:?}");
        assert_eq!(offers("pg2etcd -o "), keys, "{shell:?}");
        assert_eq!(offers("pg2etcd --option="), keys, "{shell:?}");
        for command in COMMANDS.iter().filter(|command| !command.options.is_empty()) {
            let offered = offers(&format!("pg2etcd {} -", command.name));
            assert_eq!(offered, names(command.options), "{shell:?} {command:?}");
        }
        let mut found = 0;
        for key in KEYS {
            let words = (key.field)(&mut Settings::default()).words();
            if !words.is_empty() {
                let offered = offers(&format!("pg2etcd -o {}=", key.name));
                assert_eq!(offered, sorted(words), "{shell:?} {}", key.name);
                found += 1;
            }
        }
        assert!(found > 5, "{found}");
    }
}

#[test]
fn what_stands_before_decides() {
    for shell in SHELLS {
        for (line, expected) in [
            ("pg2etcd re", &["resync"][..]),
            ("pg2etcd --ver", &["--verbose", "--version"]),
            ("pg2etcd -o sync.sl", &["sync.slot"]),
            ("pg2etcd -o sync.slot=", &[]),
            ("pg2etcd -o sync.oversized=s", &["skip", "stop"]),
            ("pg2etcd --option=database.sslmode=verify-f", &["verify-full"]),
            ("pg2etcd -o sync.slot=a conf", &["config"]),
            ("pg2etcd -o database.host=::1 conf", &["config"]),
            ("pg2etcd -v -c pg2etcd.to", &["pg2etcd.toml"]),
            ("pg2etcd --config=pg2etcd.b", &["pg2etcd.bash"]),
            ("pg2etcd -c run conf", &["config"]),
            ("pg2etcd config conf", &[]),
            ("pg2etcd walk ", &[]),
            ("pg2etcd help wa", &["wait"]),
            ("pg2etcd wait -t ", &[]),
        ] {
            assert_eq!(shell.offers(line), expected, "{shell:?} {line:?}");
        }
    }
}

#[test]
fn the_tables_that_are_copied_are_offered() {
    let servers = Servers::start();
    servers.execute(
        "CREATE SCHEMA s; CREATE TABLE s.orders (id int PRIMARY KEY);
        CREATE TABLE customers (id int PRIMARY KEY); CREATE TABLE \"to quote\" (id int PRIMARY KEY)",
    );
    let mut daemon = servers.daemon().start();
    daemon.await_line("Dump finished");
    let file = servers.folder.join("settings.toml");
    let settings =
        format!("[database]\nhost = '127.0.0.1'\nport = {}\nuser = 'postgres'\n", servers.pg_port);
    fs::write(&file, settings).unwrap();
    let before =
        format!("pg2etcd -c {} -o etcd.endpoints=127.0.0.1:{}", file.display(), servers.etcd_port);
    for shell in SHELLS {
        for (line, expected) in [
            ("verify ", &["customers", "s.orders"][..]),
            ("resync customers s", &["s.orders"]),
            ("wait c", &[]),
        ] {
            assert_eq!(shell.offers(&format!("{before} {line}")), expected, "{shell:?} {line}");
        }
    }
    daemon.stop();
}
