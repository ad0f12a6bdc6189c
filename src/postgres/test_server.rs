//! A real PostgreSQL for the tests of this module, one for all of them.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use postgres::{Client, NoTls};

use super::{HostPort, Options, SslMode, TlsOptions};
use crate::secret::{Password, Secret};

/// A running server. Its trust users come in by socket or TCP.
pub(super) struct TestServer {
    pub(super) port: u16,
    pub(super) folder: PathBuf,
    /// Ends the server when this process, and with it the shell's input, ends.
    _shell: Child,
}

/// Starts the server at the first call.
///
/// `PG2ETCD_TEST_POSTGRES` names the folder of another version's programs.
pub(super) fn server() -> &'static TestServer {
    static SERVER: OnceLock<TestServer> = OnceLock::new();
    SERVER.get_or_init(start)
}

impl TestServer {
    pub(super) fn tcp(&self) -> HostPort {
        HostPort { host: "127.0.0.1".to_owned(), port: self.port }
    }

    pub(super) fn socket(&self) -> HostPort {
        HostPort { host: self.folder.display().to_string(), port: self.port }
    }

    pub(super) fn sql(&self) -> Client {
        let url = format!("host=127.0.0.1 port={} user=postgres dbname=shop", self.port);
        Client::connect(&url, NoTls).expect("an SQL session")
    }
}

pub(super) fn options(user: &str, password: Option<&str>) -> Options {
    Options {
        user: user.to_owned(),
        password: password.map(|password| Password::Given(Secret::new(password))),
        passfile: None,
        database: "shop".to_owned(),
        connect_timeout: Duration::from_secs(20),
        tls: TlsOptions { mode: SslMode::Disable, ..TlsOptions::default() },
    }
}

/// Initialises a cluster in `$1` with the programs in `$2` and runs it on port `$3` until the
/// input ends. A server does not run as root.
const SHELL: &str = r#"
set -eu
as= ; if [ "$(id -u)" = 0 ]; then as="setpriv --reuid=postgres --regid=postgres --clear-groups"; chown postgres "$1"; fi
$as "$2/initdb" -D "$1/data" -U postgres -A trust -E UTF8 --locale=C -N > "$1/initdb.log"
: > "$1/server.log"
cat > "$1/data/pg_hba.conf" <<END
local all all trust
host all postgres,truster,reader 127.0.0.1/32 trust
host all cleartext 127.0.0.1/32 password
host all md5er 127.0.0.1/32 md5
host all scrammer 127.0.0.1/32 scram-sha-256
END
$as "$2/postgres" -D "$1/data" -p "$3" -k "$1" -c listen_addresses=127.0.0.1 -c wal_level=logical \
    -c fsync=off -c wal_sender_timeout=2s -c lc_messages=C > "$1/server.log" 2>&1 &
until grep -q "ready to accept connections" "$1/server.log"; do kill -0 $!; sleep 0.1; done
echo ready
cat > /dev/null
kill -QUIT $!
wait || true
rm -rf "$1"
"#;

fn start() -> TestServer {
    let programs = std::env::var_os("PG2ETCD_TEST_POSTGRES").map_or_else(debian, PathBuf::from);
    let folder = std::env::temp_dir().join(format!("pg2etcd-walsender-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let port =
        TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
    let mut shell = Command::new("sh")
        .args(["-c", SHELL, "sh"])
        .args([&folder, &programs])
        .arg(port.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a shell");
    let mut ready = String::new();
    let output = shell.stdout.take().expect("the shell's output");
    BufReader::new(output).read_line(&mut ready).expect("a line from the shell");
    assert_eq!(ready, "ready\n", "see the logs in {}", folder.display());
    let server = TestServer { port, folder, _shell: shell };
    populate(&server);
    server
}

/// The newest version of Debian's packages.
fn debian() -> PathBuf {
    let root = Path::new("/usr/lib/postgresql");
    let versions = std::fs::read_dir(root).expect("Debian's package postgresql");
    let newest = versions
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .max()
        .expect("a version of PostgreSQL");
    root.join(newest.to_string()).join("bin")
}

fn populate(server: &TestServer) {
    let url = format!("host=127.0.0.1 port={} user=postgres dbname=postgres", server.port);
    Client::connect(&url, NoTls)
        .expect("an SQL session")
        .simple_query("CREATE DATABASE shop")
        .expect("a database");
    let mut sql = server.sql();
    sql.batch_execute(
        "CREATE ROLE truster LOGIN REPLICATION;
         ALTER ROLE truster SET idle_in_transaction_session_timeout = '100ms';
         ALTER ROLE truster SET client_min_messages = 'error';
         DO $$ BEGIN
             ALTER ROLE truster SET transaction_timeout = '100ms';
         EXCEPTION WHEN undefined_object THEN NULL;
         END $$;
         CREATE ROLE reader LOGIN;
         SET password_encryption = 'md5';
         CREATE ROLE md5er LOGIN REPLICATION PASSWORD 'm''d5';
         SET password_encryption = 'scram-sha-256';
         CREATE ROLE cleartext LOGIN REPLICATION PASSWORD 'clear';
         CREATE ROLE scrammer LOGIN REPLICATION PASSWORD 'scräm';
         CREATE ROLE stranger LOGIN REPLICATION PASSWORD 'x'",
    )
    .expect("roles");
}

/// Keeps a file for its owner alone.
pub(super) fn write_private(path: &Path, content: &str) {
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .expect("a file");
    file.write_all(content.as_bytes()).expect("written");
}
