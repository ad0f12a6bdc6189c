//! The man pages say what the tables of keys, options and commands say.

use crate::cli::{COMMANDS, Command, OPTIONS, Opt};
use crate::config::{KEYS, Key, Settings};
use crate::error::CAUSES;
use crate::status::{DUMP_REASONS, Status};

const PROGRAM: &str = include_str!("../man/pg2etcd.8");
const CHECK: &str = include_str!("../man/pg2etcd-check.8");
const METRICS: &str = include_str!("../man/pg2etcd-metrics.8");
const FILE: &str = include_str!("../man/pg2etcd.toml.5");
const ALERTS: &str = include_str!("../scripts/pg2etcd-alerts.yml");

/// The items of a page's lists that begin with a macro.
fn items<'p>(page: &'p str, of: &str) -> Vec<&'p str> {
    let prefix = format!(".It {of} ");
    page.lines().filter(|line| line.starts_with(&prefix)).collect()
}

#[test]
fn every_key_is_an_item_with_its_default_and_its_variables() {
    let expected: Vec<String> = KEYS
        .iter()
        .map(|Key { name, default, environment, .. }| {
            let variables: Vec<String> =
                environment.iter().map(|name| format!(" , Ev {name}")).collect();
            format!(".It Va {name} Pq {default}{}", variables.concat())
        })
        .collect();
    assert_eq!(items(FILE, "Va"), expected);
}

#[test]
fn every_option_and_command_is_an_item() {
    let with = |words: String, argument: &str, of: &str| match argument {
        "" => words,
        argument => format!("{words} {of}{argument}"),
    };
    let options: Vec<String> = OPTIONS
        .iter()
        .map(|Opt { short, long, argument, .. }| {
            with(format!(".It Fl {short} , Fl -{long}"), argument, "Ar ")
        })
        .collect();
    assert_eq!(items(PROGRAM, "Fl"), options);
    let commands: Vec<String> = COMMANDS
        .iter()
        .map(|Command { name, options, arguments, .. }| {
            let words = with(format!(".It Cm {name}"), &option_macros(options), "");
            with(words, &macros(arguments), "")
        })
        .collect();
    assert_eq!(items(PROGRAM, "Cm"), commands);
    let (_, synopsis) = PROGRAM.split_once(".Sh SYNOPSIS\n").expect("the synopsis");
    let (synopsis, _) = synopsis.split_once(".Sh ").expect("its end");
    let named: Vec<String> = synopsis
        .lines()
        .filter(|line| line.starts_with(".Cm "))
        .map(|line| format!(".It {}", &line[1..]))
        .collect();
    assert_eq!(named, commands);
}

#[test]
fn every_metric_is_an_item_with_its_type_and_its_labels() {
    let status = Status::new(&Settings::default()).expect("the metrics");
    let page: Vec<_> = items(METRICS, "Li")
        .into_iter()
        .filter(|item| item.starts_with(".It Li pg2etcd_"))
        .collect();
    assert_eq!(page, status.described());
    for value in CAUSES.iter().chain(&DUMP_REASONS) {
        assert!(METRICS.contains(&format!("\n.It Li {value}\n")), "{value}");
    }
}

#[test]
fn every_member_of_the_status_is_named() {
    let status = Status::new(&Settings::default()).expect("the metrics");
    let (_, rest) = METRICS.split_once("\n.Sh STATUS.JSON\n").expect("the list");
    let (list, _) = rest.split_once("\n.Sh ").expect("its end");
    let words: Vec<&str> = list.split_whitespace().collect();
    let members = status.members();
    assert!(members.len() > 40, "{members:?}");
    for member in members {
        assert!(words.contains(&&*member), "{member}");
    }
}

#[test]
fn the_alerts_are_on_metrics_that_are_there() {
    let in_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let lines = ALERTS.lines().filter(|line| !line.starts_with('#'));
    let mut names = lines
        .flat_map(|line| line.split(|c| !in_name(c)))
        .filter(|word| word.starts_with("pg2etcd_"))
        .peekable();
    assert!(names.peek().is_some(), "the search finds nothing");
    for name in names {
        assert!(METRICS.contains(&format!(".It Li {name} Pq")), "{name}");
    }
}

/// A command's own options in the macros of mdoc: those without an argument share a dash.
fn option_macros(options: &[Opt]) -> String {
    let (flags, taking): (Vec<&Opt>, Vec<&Opt>) =
        options.iter().partition(|option| option.argument.is_empty());
    let letters: String = flags.iter().map(|option| option.short).collect();
    let mut words = Vec::new();
    if !letters.is_empty() {
        words.push(format!("Oo Fl {letters} Oc"));
    }
    words.extend(
        taking.iter().map(|Opt { short, argument, .. }| format!("Oo Fl {short} Ar {argument} Oc")),
    );
    words.join(" ")
}

/// A command's arguments, such as `[table ...]`, in the macros of mdoc.
fn macros(arguments: &str) -> String {
    let words = arguments.split(' ').filter(|word| !word.is_empty()).map(|word| {
        let (open, word) = match word.strip_prefix('[') {
            Some(word) => ("Op ", word),
            None => ("", word),
        };
        match word.trim_end_matches(']') {
            "..." => "...".to_owned(),
            word => format!("{open}Ar {word}"),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn no_page_names_a_key_that_is_not_there() {
    for page in [PROGRAM, CHECK, METRICS, FILE] {
        let words: Vec<&str> = page.split_whitespace().collect();
        let named =
            words.windows(2).filter(|pair| matches!(pair[0], ".Va" | "Va")).map(|pair| pair[1]);
        for name in named {
            assert!(KEYS.iter().any(|key| key.name == name), "{name}");
        }
        assert!(words.contains(&".Va"), "the search finds nothing");
    }
}
