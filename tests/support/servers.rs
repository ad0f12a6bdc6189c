//! A PostgreSQL and an etcd of a test's own.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use postgres::{Client, NoTls};
use rustix::process::{Pid, Signal, kill_process};

use super::{Launch, wait_for, wait_until};

/// Where rows are kept in etcd, unless a test says otherwise.
pub(super) const PATH: &str = "copy";
/// The database that is copied.
pub(super) const DATABASE: &str = "postgres";

/// Running servers. They and their folder are gone when this is, or when the test's process is.
pub(crate) struct Servers {
    pub(crate) folder: PathBuf,
    /// 0 if there is no PostgreSQL.
    pub(crate) pg_port: u16,
    /// 0 if there is no etcd.
    pub(crate) etcd_port: u16,
    /// What etcdctl is told besides the endpoint.
    pub(super) etcdctl_environment: Mutex<BTreeMap<String, String>>,
    keeper: Child,
}

/// One of the servers.
#[derive(Clone, Copy)]
pub(crate) enum Part {
    Postgres,
    Etcd,
}

impl Servers {
    /// Both servers as they are by default.
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// The servers that `test-env/up` starts with these arguments.
    pub(crate) fn with(arguments: &[&str]) -> Self {
        Self::with_hba("", arguments)
    }

    /// The same, with lines that come first in `pg_hba.conf`.
    pub(crate) fn with_hba(lines: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(test_env("up"));
        command.args(["--hba", "/dev/stdin"]).args(arguments);
        let environment = output_of(command, lines);
        let variable = |name: &str| {
            let start = format!("export {name}=");
            environment.lines().find_map(|line| line.strip_prefix(&start)).unwrap_or("")
        };
        let port = |text: &str| text.rsplit(':').next().and_then(|port| port.parse().ok());
        let folder = PathBuf::from(variable("TEST_ENV"));
        Self {
            pg_port: port(variable("PGPORT")).unwrap_or(0),
            etcd_port: port(variable("ETCDCTL_ENDPOINTS")).unwrap_or(0),
            etcdctl_environment: Mutex::default(),
            keeper: keeper(&folder),
            folder,
        }
    }

    /// A session of the superuser on the database.
    pub(crate) fn sql(&self) -> Client {
        self.sql_on(DATABASE)
    }

    /// A session of the superuser on another database.
    pub(crate) fn sql_on(&self, database: &str) -> Client {
        self.try_sql(database).expect("an SQL session")
    }

    pub(crate) fn try_sql(&self, database: &str) -> Result<Client, postgres::Error> {
        let url = format!("host=127.0.0.1 port={} user=postgres dbname={database}", self.pg_port);
        Client::connect(&url, NoTls)
    }

    /// Runs SQL commands on the database.
    #[track_caller]
    pub(crate) fn execute(&self, sql: &str) {
        self.sql().batch_execute(sql).expect(sql);
    }

    /// The one value that a query yields, as text.
    #[track_caller]
    pub(crate) fn value(&self, sql: &str) -> Option<String> {
        let sql = format!("SELECT ({sql})::text");
        self.sql().query_one(&sql, &[]).expect(&sql).get(0)
    }

    /// Changes settings of the running server, and waits until new sessions have them.
    pub(crate) fn configure(&self, settings: &[(&str, &str)]) {
        for (name, value) in settings {
            self.execute(&format!("ALTER SYSTEM SET {name} = '{value}'"));
        }
        self.execute("SELECT pg_reload_conf()");
        wait_until("the settings to be in effect", || {
            settings.iter().all(|(name, value)| {
                self.value(&format!("current_setting('{name}')")).as_deref() == Some(value)
            })
        });
    }

    /// The process that streams from the slot.
    pub(crate) fn walsender(&self) -> Option<String> {
        self.value("SELECT active_pid FROM pg_replication_slots WHERE slot_name = 'pg2etcd'")
    }

    /// A daemon between these servers, to be started.
    pub(crate) fn daemon(&self) -> Launch {
        Launch::new(self)
    }

    /// Ends a server as if the machine had lost power.
    pub(crate) fn kill(&self, part: Part) {
        self.signal(part, Signal::KILL);
        let port = if let Part::Postgres = part { self.pg_port } else { self.etcd_port };
        wait_until("nobody to listen", || TcpStream::connect(("127.0.0.1", port)).is_err());
    }

    /// Sends a signal to a server's main process.
    pub(crate) fn signal(&self, part: Part, signal: Signal) {
        let file = self.folder.join(format!("{part}.pid"));
        let pid = fs::read_to_string(file).unwrap().trim().parse().unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).expect("signalled");
    }

    /// Stops PostgreSQL in order, and returns once its files are at rest.
    pub(crate) fn stop_postgres(&self) {
        self.signal(Part::Postgres, Signal::INT);
        let pid_file = self.folder.join("postgres/postmaster.pid");
        wait_until("PostgreSQL to end", || !pid_file.exists());
    }

    /// Runs a command of the shell's in the folder.
    #[track_caller]
    pub(crate) fn shell(&self, command: &str) {
        let status = Command::new("sh").args(["-ec", command]).current_dir(&self.folder).status();
        assert!(status.unwrap().success(), "{command}");
    }

    /// Stops a server if it runs, and starts it with its data; `arguments` are those of `test-env/up`.
    pub(crate) fn restart(&self, part: Part, arguments: &[&str]) {
        let mut command = Command::new(test_env("up"));
        command.arg("-d").arg(&self.folder).args(["--restart", &part.to_string()]).args(arguments);
        output_of(command, "");
    }

    /// Waits until a process of the server that had this number is gone.
    pub(crate) fn await_end_of_backend(&self, pid: &str) {
        wait_for("the end of a server process", || {
            let sql = format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}");
            self.value(&sql).filter(|count| count == "0").ok_or_else(|| pid.to_owned())
        });
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        if std::thread::panicking() && std::env::var_os("PG2ETCD_TEST_KEEP").is_some() {
            eprintln!("Servers are left running in {}", self.folder.display());
            std::mem::forget(self.keeper.stdin.take());
            return;
        }
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Postgres => "postgres",
            Self::Etcd => "etcd",
        })
    }
}

/// A process that takes the servers down once its input ends, which it does even if the test's process is killed.
fn keeper(folder: &Path) -> Child {
    Command::new("sh")
        .args(["-c", "cat > /dev/null; exec \"$@\"", "sh"])
        .args([&test_env("down"), folder])
        .process_group(0)
        .stdin(Stdio::piped())
        .spawn()
        .expect("a shell")
}

fn test_env(script: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("test-env").join(script)
}

fn output_of(mut command: Command, input: &str) -> String {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("test-env/up");
    // A script that ended without reading says why on its standard error.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}
