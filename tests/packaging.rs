//! What is installed beside the program fits the tables of options, commands and keys.

use std::fs;
use std::process::Command;

use pg2etcd::cli::{COMMANDS, OPTIONS, Opt};
use pg2etcd::config::{Fallback, KEYS, load};

const EXAMPLE: &str = include_str!("../scripts/pg2etcd.toml");

/// What bash offers for the last word. A word `=` stands apart, as Readline has it.
fn offered(words: &[&str]) -> Vec<String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/pg2etcd.bash");
    let output = Command::new("bash")
        .args(["--norc", "-uc"])
        .arg(
            r#"source "$0"; COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
            _pg2etcd "$1"; printf '%s\n' "${COMPREPLY[@]}""#,
        )
        .args([script, env!("CARGO_BIN_EXE_pg2etcd")])
        .args(words)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.stderr, b"", "{words:?}");
    let printed = String::from_utf8(output.stdout).unwrap();
    printed.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

fn names(options: &[Opt]) -> Vec<String> {
    options
        .iter()
        .flat_map(|option| [format!("-{}", option.short), format!("--{}", option.long)])
        .collect()
}

#[test]
fn every_option_command_and_key_is_offered() {
    let keys: Vec<String> = KEYS.iter().map(|key| format!("{}=", key.name)).collect();
    let commands: Vec<&str> = COMMANDS.iter().map(|command| command.name).collect();
    assert_eq!(offered(&[""]), commands);
    assert_eq!(offered(&["-"]), names(OPTIONS));
    assert_eq!(offered(&["-o", ""]), keys);
    assert_eq!(offered(&["--option", "=", ""]), keys);
    assert_eq!(offered(&["--option", "="]), keys);
    assert_eq!(offered(&["help", ""]), commands);
    for command in COMMANDS.iter().filter(|command| command.name != "help") {
        assert_eq!(offered(&[command.name, ""]), names(command.options), "{command:?}");
    }
}

#[test]
fn what_stands_before_decides() {
    for (words, expected) in [
        (&["re"][..], &["resync"][..]),
        (&["--ver"], &["--version", "--verbose"]),
        (&["-o", "sync.sl"], &["sync.slot="]),
        (&["-o", "sync.slot", "="], &[]),
        (&["-o", "sync.slot", "=", ""], &[]),
        (&["-o", "sync.slot", "=", "a", "conf"], &["config"]),
        (&["-v", "-c", "pg2etcd.to"], &["pg2etcd.toml"]),
        (&["--config", "=", "pg2etcd.b"], &["pg2etcd.bash"]),
        (&["-c", "run", "conf"], &["config"]),
        (&["config", "conf"], &[]),
        (&["walk", ""], &[]),
        (&["help", "wa"], &["wait"]),
    ] {
        assert_eq!(offered(words), expected, "{words:?}");
    }
}

/// Its lines with the settings that are commented out: no blank follows the mark, as in other comments.
fn uncommented() -> impl Iterator<Item = &'static str> {
    EXAMPLE.lines().map(|line| match line.strip_prefix('#') {
        Some(setting) if !setting.starts_with(' ') => setting,
        _ => line,
    })
}

#[test]
fn the_example_file_loads() {
    let path = std::env::temp_dir().join(format!("pg2etcd-example-{}.toml", std::process::id()));
    let environment = [("PGUSER".into(), "alice".into())].into_iter().collect();
    for text in [EXAMPLE.to_owned(), uncommented().collect::<Vec<_>>().join("\n")] {
        fs::write(&path, &text).unwrap();
        let loaded = load(Some(&path), &[], &environment);
        fs::remove_file(&path).unwrap();
        assert!(loaded.is_ok(), "{loaded:?}\n{text}");
    }
}

#[test]
fn the_example_file_shows_the_defaults() {
    let mut table = String::new();
    let mut seen = 0;
    for line in uncommented() {
        if let Some(name) = line.strip_prefix('[') {
            table = format!("{}.", name.trim_end_matches(']'));
        } else if let Some((name, value)) = line.split_once(" = ") {
            let name = format!("{table}{name}");
            let key = KEYS.iter().find(|key| key.name == name).expect(&name);
            if let Fallback::Is(default) = key.default {
                assert_eq!(value.replace(['"', '[', ']'], ""), default, "{name}");
                seen += 1;
            }
        }
    }
    assert!(seen > 5, "{seen}");
}
