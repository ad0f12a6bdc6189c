//! pg2etcd itself, as a process.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use rustix::process::{Pid, Signal, kill_process};

use super::servers::{DATABASE, PATH, Servers};
use super::{wait_for, wait_until};

/// A start of pg2etcd: settings, options, environment.
#[derive(Clone)]
pub(crate) struct Launch {
    folder: PathBuf,
    settings: BTreeMap<String, String>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

/// A running pg2etcd, killed at the end of the test.
pub(crate) struct Daemon {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    readers: Vec<JoinHandle<()>>,
    pid_file: PathBuf,
}

impl Launch {
    pub(super) fn new(servers: &Servers) -> Self {
        let settings = [
            ("database.host", "127.0.0.1"),
            ("database.port", &servers.pg_port.to_string()),
            ("database.user", "postgres"),
            ("database.name", DATABASE),
            ("database.retry_period", "50ms"),
            ("etcd.endpoints", &format!("127.0.0.1:{}", servers.etcd_port)),
            ("etcd.path", PATH),
            ("sync.idle_period", "100ms"),
        ];
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Self {
            folder: servers.folder.clone(),
            settings: settings.map(owned).into(),
            arguments: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// With this setting.
    pub(crate) fn set(mut self, name: &str, value: impl ToString) -> Self {
        self.settings.insert(name.to_owned(), value.to_string());
        self
    }

    /// Without a setting that tests have by default.
    pub(crate) fn unset(mut self, name: &str) -> Self {
        self.settings.remove(name).expect("a default setting");
        self
    }

    /// With this word on the command line.
    pub(crate) fn argument(mut self, word: &str) -> Self {
        self.arguments.push(word.to_owned());
        self
    }

    /// With this variable in the environment.
    pub(crate) fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts it.
    pub(crate) fn start(&self) -> Daemon {
        // test-env/down looks for programs that work in FOLDER/NAME.
        let name = (0..).map(|number| format!("daemon{number}"));
        let folder = name
            .map(|name| self.folder.join(name))
            .find(|folder| fs::create_dir(folder).is_ok())
            .unwrap();
        let mut child = self.command(&[]).current_dir(&folder).spawn().expect("pg2etcd");
        let pid_file = folder.with_extension("pid");
        fs::write(&pid_file, child.id().to_string()).unwrap();
        let log = Arc::default();
        let readers = vec![
            reader(child.stdout.take().unwrap(), &log),
            reader(child.stderr.take().unwrap(), &log),
        ];
        Daemon { child, log, readers, pid_file }
    }

    /// The process, with these words more on the command line and with pipes for what it prints.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let settings = self.settings.iter().map(|(name, value)| format!("{name}={value}"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_pg2etcd"));
        command
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .args(settings.flat_map(|setting| ["-o".to_owned(), setting]))
            .args(&self.arguments)
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs a command to its end, and returns its exit status, its result and what else it says.
    pub(crate) fn ask(&self, words: &[&str]) -> (i32, String, String) {
        let output = self.command(words).output().expect("pg2etcd");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        let status = output.status.code().expect("no signal ended it");
        (status, text(output.stdout), text(output.stderr))
    }

    /// Runs it to its end, which has to come by itself, and returns its exit status and all that it printed.
    pub(crate) fn run(&self) -> (i32, String) {
        let mut daemon = self.start();
        let status = daemon.exit_status();
        (status, daemon.output())
    }
}

impl Daemon {
    /// Waits until a line with this text was printed, and returns the first such line.
    #[track_caller]
    pub(crate) fn await_line(&mut self, text: &str) -> String {
        self.await_lines(text, 1)
    }

    /// Waits until there are `count` such lines, and returns the last of these.
    #[track_caller]
    pub(crate) fn await_lines(&mut self, text: &str, count: usize) -> String {
        wait_for(&format!("line {text:?}, {count} times"), || {
            if let Some(status) = self.child.try_wait().unwrap() {
                let _ = self.readers.drain(..).map(JoinHandle::join).collect::<Vec<_>>();
                assert!(self.count(text) >= count, "ended ({status}):\n{}", self.output());
            }
            let found = self.lines().into_iter().filter(|line| line.contains(text));
            found.take(count).nth(count - 1).ok_or_else(|| self.output())
        })
    }

    /// How many lines with this text were printed so far.
    pub(crate) fn count(&self, text: &str) -> usize {
        self.lines().iter().filter(|line| line.contains(text)).count()
    }

    /// All that was printed so far.
    pub(crate) fn output(&self) -> String {
        self.lines().join("\n")
    }

    /// The lines that were printed so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("signalled");
    }

    /// Ends it without a chance to tidy up.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    /// Stops it as an administrator does, which must work.
    #[track_caller]
    pub(crate) fn stop(mut self) -> String {
        self.signal(Signal::TERM);
        assert_eq!(self.exit_status(), 0, "{}", self.output());
        self.output()
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn exit_status(&mut self) -> i32 {
        let mut status = None;
        wait_until("the end of pg2etcd", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        status.and_then(|status| status.code()).expect("no signal ended it")
    }

    /// How often a thread has waited.
    pub(crate) fn waits_of(&self, thread: &str) -> u64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let folders = tasks.map(|task| task.unwrap().path());
        let is_it =
            |folder: &PathBuf| fs::read_to_string(folder.join("comm")).unwrap().trim() == thread;
        let folder = folders.into_iter().find(is_it).unwrap_or_else(|| panic!("no {thread}"));
        let status = fs::read_to_string(folder.join("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.unwrap().trim().parse().unwrap()
    }

    /// The most memory that it ever had, in KiB.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.pid_file);
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end();
        if thread::panicking() {
            let lines = self.lines();
            let tail = &lines[lines.len().saturating_sub(40)..];
            eprintln!("The end of the log of {}:\n{}", self.pid_file.display(), tail.join("\n"));
        }
    }
}

fn reader(from: impl Read + Send + 'static, log: &Arc<Mutex<Vec<String>>>) -> JoinHandle<()> {
    let log = Arc::clone(log);
    thread::spawn(move || {
        for line in BufReader::new(from).lines() {
            log.lock().unwrap().push(line.expect("what pg2etcd prints is UTF-8"));
        }
    })
}
