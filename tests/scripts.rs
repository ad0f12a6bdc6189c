//! The scripts, as somebody meets them who asks for help or mistypes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// What no script may call before it has understood its command line: each leaves a mark.
const PROGRAMS: [&str; 23] = [
    "apt-get",
    "buildah",
    "cargo",
    "chroot",
    "debootstrap",
    "dpkg-deb",
    "etcd",
    "etcdctl",
    "haproxy",
    "install",
    "lintian",
    "mkdir",
    "mktemp",
    "npm",
    "patroni",
    "pgbench",
    "pip",
    "podman",
    "psql",
    "python3",
    "rm",
    "rustup",
    "useradd",
];

/// A copy of the scripts in a folder of its own, which is all that they know of the machine.
struct Sandbox(PathBuf);

impl Sandbox {
    fn new(name: &str) -> Self {
        let folder =
            std::env::temp_dir().join(format!("pg2etcd-scripts-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("bin")).unwrap();
        fs::create_dir_all(folder.join("fuzz")).unwrap();
        for copied in ["scripts", "test-env", "man", "examples", "fuzz/fuzz_targets"] {
            let from = Path::new(env!("CARGO_MANIFEST_DIR")).join(copied);
            let copy = Command::new("cp").arg("-R").arg(from).arg(folder.join(copied)).status();
            assert!(copy.unwrap().success());
        }
        Self(folder)
    }

    /// Has programs in the place of those that change something.
    fn with_traps(self) -> Self {
        for program in PROGRAMS {
            let path = self.0.join("bin").join(program);
            fs::write(&path, "#!/bin/sh\necho \"$0 $*\" >>\"$SANDBOX/called\"\n").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        self
    }

    fn run(&self, script: &str, arguments: &[&str], more: &[(&str, &str)]) -> Output {
        let path = std::env::var("PATH").unwrap();
        let folder = self.0.to_str().unwrap();
        Command::new(self.0.join(script))
            .args(arguments)
            .env_clear()
            .env("PATH", format!("{folder}/bin:{path}"))
            .envs(
                ["SANDBOX", "HOME", "TMPDIR", "XDG_CACHE_HOME", "DESTDIR"]
                    .map(|name| (name, folder)),
            )
            .envs(more.iter().copied())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Each file, with its size and the time of its last change.
    fn files(&self) -> BTreeMap<PathBuf, (u64, i64, i64)> {
        let mut files = BTreeMap::new();
        let mut folders = vec![self.0.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                let metadata = entry.metadata().unwrap();
                if metadata.is_dir() {
                    folders.push(entry.path());
                }
                files.insert(
                    entry.path(),
                    (metadata.len(), metadata.mtime(), metadata.mtime_nsec()),
                );
            }
        }
        files
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The scripts that somebody may run, by their first line.
fn scripts() -> Vec<String> {
    let mut found = Vec::new();
    for folder in ["scripts", "test-env"] {
        for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() && fs::read(&path).unwrap().starts_with(b"#!") {
                found.push(format!("{folder}/{}", path.file_name().unwrap().to_str().unwrap()));
            }
        }
    }
    assert!(found.len() > 15, "{found:?}");
    found
}

#[test]
fn help_is_all_that_help_does_and_nonsense_does_nothing() {
    let sandbox = Sandbox::new("help").with_traps();
    let before = sandbox.files();
    for script in scripts() {
        for option in ["-h", "--help"] {
            let Output { status, stdout, stderr } = sandbox.run(&script, &[option], &[]);
            let [said, warned] = [stdout, stderr].map(|text| String::from_utf8(text).unwrap());
            assert_eq!((status.code(), &warned[..]), (Some(0), ""), "{script} {option}: {said}");
            let usage = said.lines().next().unwrap_or_default();
            assert!(usage.starts_with("usage: ") && usage.contains(&script), "{script}: {said}");
            assert_eq!(sandbox.files(), before, "{script} {option} changed something");
        }
        let mut mistyped = vec![vec!["--nonsense"], vec!["-Z"]];
        if script == "test-env/cluster" {
            mistyped.extend([vec!["nonsense"], vec!["up", "--nonsense"]]);
        }
        for arguments in mistyped {
            let Output { status, stdout, stderr } = sandbox.run(&script, &arguments, &[]);
            let warned = String::from_utf8(stderr).unwrap();
            assert_eq!(status.code(), Some(2), "{script} {arguments:?}: {warned}");
            assert!(stdout.is_empty() && !warned.is_empty(), "{script} {arguments:?}");
            assert_eq!(sandbox.files(), before, "{script} {arguments:?} changed something");
        }
    }
}

#[test]
fn install_looks_before_it_writes_and_uninstall_leaves_the_settings() {
    let sandbox = Sandbox::new("install");
    let root = sandbox.0.join("root");
    fs::create_dir(&root).unwrap();
    let at = |more: &[(&str, &str)]| {
        let root = [("DESTDIR", root.to_str().unwrap())];
        sandbox.run("scripts/install", &[], &[&root, more].concat())
    };
    let refused = |output: Output, part: &str| {
        let warned = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{warned}");
        assert!(warned.contains(part) && output.stdout.is_empty(), "{part}: {warned}");
    };
    let before = sandbox.files();
    refused(at(&[]), "run cargo build --release first");
    assert_eq!(sandbox.files(), before);
    let program = ("PG2ETCD", "/bin/true");
    // The last of the files, and a place that is taken.
    fs::rename(sandbox.0.join("scripts/pg2etcd.toml"), sandbox.0.join("away")).unwrap();
    refused(at(&[program]), "there is no scripts/pg2etcd.toml: nothing was installed");
    fs::rename(sandbox.0.join("away"), sandbox.0.join("scripts/pg2etcd.toml")).unwrap();
    fs::write(root.join("usr"), "").unwrap();
    refused(at(&[program]), "usr cannot be written to: nothing was installed");
    fs::remove_file(root.join("usr")).unwrap();
    assert_eq!(fs::read_dir(&root).unwrap().count(), 0, "something was installed");

    let output = at(&[program, ("PREFIX", "/opt/pg2etcd")]);
    assert!(output.status.success(), "{output:?}");
    let installed = String::from_utf8(output.stdout).unwrap();
    for file in installed.lines() {
        assert!(Path::new(file).is_file(), "{file}: {installed}");
    }
    assert!(installed.contains("/opt/pg2etcd/share/pg2etcd/pg2etcd-alerts.yml\n"), "{installed}");
    let unit = root.join("opt/pg2etcd/lib/systemd/system/pg2etcd.service");
    assert!(fs::read_to_string(unit).unwrap().contains("\nExecStart=/opt/pg2etcd/bin/pg2etcd\n"));
    let settings = root.join("etc/pg2etcd.toml");
    assert_eq!(fs::metadata(&settings).unwrap().mode() & 0o7777, 0o644);

    let variables = [("DESTDIR", root.to_str().unwrap()), ("PREFIX", "/opt/pg2etcd")];
    assert!(sandbox.run("scripts/uninstall", &[], &variables).status.success());
    let left: Vec<_> = installed.lines().filter(|file| Path::new(file).exists()).collect();
    assert_eq!(left, [settings.to_str().unwrap()]);
}

/// What is installed names no file of the source that is not installed too.
#[test]
fn nothing_that_is_installed_names_a_file_that_is_not() {
    let sandbox = Sandbox::new("mentions");
    let root = sandbox.0.join("root");
    fs::create_dir(&root).unwrap();
    let variables = [("DESTDIR", root.to_str().unwrap()), ("PG2ETCD", "/bin/true")];
    let output = sandbox.run("scripts/install", &[], &variables);
    let installed = String::from_utf8(output.stdout).unwrap();
    let files: Vec<_> = installed.lines().filter(|file| !file.ends_with("/bin/pg2etcd")).collect();
    assert!(files.len() > 15, "{installed}");
    let changes = concat!(env!("CARGO_MANIFEST_DIR"), "/CHANGELOG.md");
    for file in files.into_iter().chain([changes]) {
        let text = fs::read_to_string(file).unwrap();
        let separate = |c: char| c.is_whitespace() || "`'\"()<>=,;".contains(c);
        for word in text.split(separate) {
            let folder = word.trim_start_matches("./").split_once('/').map_or("", |parts| parts.0);
            let source = ["scripts", "src", "test-env", "tests", "fuzz", "man", "target"];
            assert!(!source.contains(&folder), "{file} names {word}");
        }
    }
}

/// What one start refuses, the next one may find put right while nobody looks.
#[test]
fn nothing_ends_the_unit_for_good() {
    let unit = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/pg2etcd.service"))
        .unwrap();
    for line in ["Restart=always", "StartLimitIntervalSec=0", "TimeoutStartSec=infinity"] {
        assert!(unit.lines().any(|found| found == line), "{line}");
    }
    for word in ["RestartPreventExitStatus", "StartLimitAction", "SuccessAction", "FailureAction"] {
        assert!(!unit.contains(word), "{word}");
    }
}
