//! What is installed beside the program fits the program.

use std::fs;

use pg2etcd::cli::help;
use pg2etcd::config::{Fallback, KEYS, load};

use crate::support::{Servers, wait_until};

const EXAMPLE: &str = include_str!("../scripts/pg2etcd.toml");
const KUBERNETES: &str = include_str!("../examples/kubernetes.yaml");
const CONTAINERFILE: &str = include_str!("../Containerfile");

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
        } else if let Some((name, value)) = line.split_once(" = ")
            && !table.starts_with("tables.")
        {
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

/// The values of a name in the manifest, wherever it stands; `- name: x` is one too.
fn values<'t>(text: &'t str, name: &str) -> Vec<&'t str> {
    let field = |line: &'t str| {
        let (found, value) = line.trim_start_matches([' ', '-']).split_once(':')?;
        (found == name).then(|| value.trim().trim_matches('"'))
    };
    text.lines().filter_map(field).collect()
}

/// The lines that are indented below a line that ends so, without that much indentation.
fn block(text: &str, head: &str) -> String {
    let (_, rest) = text.split_once(&format!("{head}\n")).expect(head);
    let indent = rest.len() - rest.trim_start().len();
    let inside = |line: &&str| line.is_empty() || line.len() - line.trim_start().len() >= indent;
    let lines = rest.lines().take_while(inside);
    lines.map(|line| format!("{}\n", line.get(indent..).unwrap_or_default())).collect()
}

/// What Kubernetes would mount where, ask and allow is what the program reads, serves and needs.
#[test]
fn the_example_for_kubernetes_fits_the_program() {
    let path = std::env::temp_dir().join(format!("pg2etcd-kubernetes-{}.toml", std::process::id()));
    fs::write(&path, block(KUBERNETES, "pg2etcd.toml: |")).unwrap();
    let loaded = load(Some(&path), &[], &[].into_iter().collect());
    fs::remove_file(&path).unwrap();
    let settings = loaded.unwrap().settings;

    let mounts = values(KUBERNETES, "mountPath");
    assert_eq!(mounts.len(), 2, "{mounts:?}");
    assert!(help(None).contains(&format!("the file ({} unless -c", mounts[0])));
    let keys: Vec<String> = block(KUBERNETES, "stringData:")
        .lines()
        .filter_map(|line| Some(format!("{}/{}", mounts[1], line.split_once(':')?.0)))
        .collect();
    let files = [settings.database.password_file, settings.etcd.password_file];
    assert_eq!(files.map(Option::unwrap).to_vec(), keys);

    let listen = settings.status.listen.unwrap();
    let (_, port) = listen.rsplit_once(':').unwrap();
    assert_eq!(values(KUBERNETES, "containerPort"), [port]);
    assert_eq!(values(KUBERNETES, "prometheus.io/port"), [port]);
    assert_eq!(values(KUBERNETES, "port"), ["status"; 2]);

    let (name, version) = values(KUBERNETES, "image")[0].rsplit_once(':').unwrap();
    assert_eq!((name, version), ("registry.example/pg2etcd", env!("CARGO_PKG_VERSION")));
    let user = CONTAINERFILE.lines().find_map(|line| line.strip_prefix("USER ")).unwrap();
    let ids = ["runAsUser", "runAsGroup"].map(|name| values(KUBERNETES, name)[0]);
    assert_eq!(user, ids.join(":"));
    assert_eq!(values(KUBERNETES, "fsGroup"), [ids[1]]);
    assert_eq!(values(KUBERNETES, "replicas"), ["2"]);
    assert_eq!(values(KUBERNETES, "memory"), ["32Mi", "64Mi"]);
}

/// A standby has to be what its probes ask for, or no rollout would end.
#[test]
fn the_probes_of_kubernetes_say_yes_on_both_replicas() {
    let servers = Servers::start();
    let launch = servers.daemon().set("status.listen", "127.0.0.1:0");
    let mut daemons = [launch.start(), launch.start()];
    let probes = values(KUBERNETES, "path");
    assert_eq!(probes.len(), 2, "{probes:?}");
    let metrics = values(KUBERNETES, "prometheus.io/path")[0];
    let all = daemons.each_mut().map(|daemon| daemon.pages());
    wait_until("a primary and a standby", || {
        let waits = all.iter().map(|pages| pages.get("/metrics").body);
        let standby = "pg2etcd_phase{phase=\"standby\"} 1";
        waits.filter(|body| body.lines().any(|line| line == standby)).count() == 1
    });
    for pages in &all {
        for path in probes.iter().chain([&metrics]) {
            let answer = pages.get(path);
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
        }
    }
    for daemon in daemons {
        daemon.stop();
    }
}
