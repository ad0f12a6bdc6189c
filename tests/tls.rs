//! TLS to PostgreSQL: what each mode takes for good enough, and what passwords are bound to.

use std::thread;
use std::time::Duration;

use pg2etcd::disposition::Disposition;
use pg2etcd::error::Error;
use pg2etcd::postgres::{
    Connection, Frame, HostPort, Options, Session, SlotKind, SslMode, TlsOptions,
};
use pg2etcd::secret::{Password, Secret};
use pg2etcd::stop::Stop;

use crate::support::{Authority, Between, Issued, Proxy, Servers, self_signed, wait_until};

const MODES: [SslMode; 6] = [
    SslMode::Disable,
    SslMode::Allow,
    SslMode::Prefer,
    SslMode::Require,
    SslMode::VerifyCa,
    SslMode::VerifyFull,
];

const HBA: &str = "\
hostssl all sealed all trust
hostnossl all open all trust
hostssl all certified all cert
host all bound all scram-sha-256
hostssl all hashed all md5
host all sealed,open,certified,lost all reject
";

const ROLES: &str = "
SET password_encryption = 'scram-sha-256';
CREATE ROLE bound LOGIN REPLICATION PASSWORD 'secret';
SET password_encryption = 'md5';
CREATE ROLE hashed LOGIN REPLICATION PASSWORD 'secret';
CREATE ROLE sealed LOGIN REPLICATION;
CREATE ROLE open LOGIN REPLICATION;
CREATE ROLE certified LOGIN REPLICATION;
CREATE ROLE lost LOGIN REPLICATION;
CREATE ROLE any_way LOGIN REPLICATION;
";

/// Where a test connects to, and how.
#[derive(Clone)]
struct Client {
    options: Options,
    address: HostPort,
}

impl Client {
    fn new(servers: &Servers, user: &str) -> Self {
        let options = Options {
            user: user.to_owned(),
            password: Some(Password::Given(Secret::new("secret"))),
            passfile: None,
            database: "postgres".to_owned(),
            connect_timeout: Duration::from_secs(20),
            tls: TlsOptions::default(),
        };
        let address = HostPort { host: "localhost".to_owned(), port: servers.pg_port };
        Self { options, address }
    }

    fn mode(mut self, mode: SslMode) -> Self {
        self.options.tls.mode = mode;
        self
    }

    fn root(mut self, root: &str) -> Self {
        self.options.tls.root = Some(root.to_owned());
        self
    }

    fn identity(mut self, issued: &Issued) -> Self {
        self.options.tls.certificate = Some(issued.certificate.clone());
        self.options.tls.key = Some(issued.key.clone());
        self
    }

    fn host(mut self, host: &str) -> Self {
        self.address.host = host.to_owned();
        self
    }

    /// Connects in both ways, which have to do the same, and says whether that was with TLS.
    fn connect(&self, servers: &Servers) -> Result<bool, Error> {
        let stop = Stop::new().unwrap();
        let mine = format!("FROM pg_stat_activity WHERE usename = '{}'", self.options.user);
        wait_until("the sessions before to end", || {
            servers.value(&format!("SELECT count(*) {mine}")).as_deref() == Some("0")
        });
        let connection = Connection::connect(&self.options, &self.address, &stop);
        let session = Session::connect(&self.options, &self.address, &stop);
        match (connection, session) {
            (Ok(_connection), Ok(_session)) => {
                let ssl = "SELECT string_agg(ssl::text, ' ') FROM pg_stat_ssl WHERE pid IN";
                let found = servers.value(&format!("{ssl} (SELECT pid {mine})")).unwrap();
                assert!(["true true", "false false"].contains(&&*found), "{found}");
                Ok(found == "true true")
            }
            (Err(error), Err(same)) => {
                assert_eq!(error.disposition(), same.disposition(), "{error}\n{same}");
                Err(error)
            }
            (connection, session) => {
                panic!("they differ: {:?}, {:?}", connection.err(), session.err())
            }
        }
    }

    #[track_caller]
    fn assert(&self, servers: &Servers, expected: Result<bool, &str>) {
        let Options { user, tls, .. } = &self.options;
        let case = format!("{user} {tls:?} {}", self.address);
        match (self.connect(servers), expected) {
            (Ok(encrypted), Ok(expected)) => assert_eq!(encrypted, expected, "{case}"),
            (Err(error), Err(part)) => {
                assert!(error.to_string().contains(part), "{case}: {error}");
                assert_eq!(error.disposition(), Disposition::Refused, "{case}: {error}");
            }
            (Ok(_), Err(part)) => panic!("{case}: not refused: {part}"),
            (Err(error), Ok(_)) => panic!("{case}: {error}"),
        }
    }
}

fn tls_on(servers: &Servers, issued: &Issued) {
    servers.configure(&[
        ("ssl_cert_file", issued.certificate()),
        ("ssl_key_file", issued.key()),
        ("ssl", "on"),
    ]);
}

const NO_TLS: &str = "the server has no TLS and database.sslmode demands it";
const NO_ROOT: &str = "set database.sslrootcert";
const UNTRUSTED: &str = "no authority that is trusted here has signed it";

/// A server, an authority that clients trust, and one that they do not.
struct Modes {
    servers: Servers,
    authority: Authority,
    other: Authority,
}

impl Modes {
    fn client(&self, user: &str, mode: SslMode) -> Client {
        Client::new(&self.servers, user).mode(mode)
    }

    /// A client that trusts the authority.
    fn trusting(&self, mode: SslMode) -> Client {
        self.client("any_way", mode).root(self.authority.certificate.to_str().unwrap())
    }

    /// A client that trusts the other one.
    fn mistrusting(&self, mode: SslMode) -> Client {
        self.client("any_way", mode).root(self.other.certificate.to_str().unwrap())
    }

    fn without_tls(&self) {
        let without = [Ok(false), Ok(false), Ok(false), Err(NO_TLS), Err(NO_ROOT), Err(NO_ROOT)];
        for (mode, expected) in MODES.into_iter().zip(without) {
            self.client("any_way", mode).assert(&self.servers, expected);
        }
        self.trusting(SslMode::VerifyFull).assert(&self.servers, Err(NO_TLS));
        self.client("sealed", SslMode::Allow).assert(&self.servers, Err(NO_TLS));
    }

    fn with_a_good_certificate(&self) {
        let Self { servers, authority, .. } = self;
        tls_on(servers, &authority.issue("server", "any", "subjectAltName=DNS:localhost", 2));
        let unknown = [Ok(false), Ok(false), Ok(true), Ok(true), Err(NO_ROOT), Err(NO_ROOT)];
        let known = [Ok(false), Ok(false), Ok(true), Ok(true), Ok(true), Ok(true)];
        for ((mode, unknown), known) in MODES.into_iter().zip(unknown).zip(known) {
            self.client("any_way", mode).assert(servers, unknown);
            self.trusting(mode).assert(servers, known);
        }
        // pg_hba.conf decides.
        self.client("sealed", SslMode::Disable).assert(servers, Err("pg_hba.conf rejects"));
        self.client("sealed", SslMode::Allow).assert(servers, Ok(true));
        self.client("open", SslMode::Prefer).assert(servers, Ok(false));
        self.client("open", SslMode::Require).assert(servers, Err("pg_hba.conf rejects"));
        self.client("lost", SslMode::Prefer).assert(servers, Err("pg_hba.conf rejects"));
        // Another authority: with its file at hand `require` verifies too, and `prefer` gives TLS up.
        self.mistrusting(SslMode::Prefer).assert(servers, Ok(false));
        for mode in [SslMode::Require, SslMode::VerifyCa, SslMode::VerifyFull] {
            self.mistrusting(mode).assert(servers, Err(UNTRUSTED));
        }
        let by_system = self.client("any_way", SslMode::VerifyFull).root("system");
        by_system.assert(servers, Err(UNTRUSTED));
        // Another name: the address is one.
        self.trusting(SslMode::VerifyCa).host("127.0.0.1").assert(servers, Ok(true));
        let by_address = self.trusting(SslMode::VerifyFull).host("127.0.0.1");
        by_address.assert(servers, Err("for name"));
        // A socket has no TLS and needs none.
        let socket = servers.folder.to_str().unwrap();
        self.client("any_way", SslMode::VerifyFull).host(socket).assert(servers, Ok(false));
        // The files where libpq looks for them.
        let home = servers.folder.join("home");
        std::fs::create_dir(&home).unwrap();
        std::fs::copy(&authority.certificate, home.join("root.crt")).unwrap();
        let mut at_home = self.client("any_way", SslMode::VerifyFull);
        at_home.options.tls.folder = Some(home);
        at_home.assert(servers, Ok(true));
    }

    fn with_other_certificates(&self) {
        let Self { servers, authority, .. } = self;
        let full = SslMode::VerifyFull;
        tls_on(servers, &authority.issue("old", "localhost", "subjectAltName=DNS:localhost", -1));
        self.client("any_way", SslMode::Require).assert(servers, Ok(true));
        self.trusting(SslMode::VerifyCa).assert(servers, Err("it has expired"));
        // What PostgreSQL's manual tells to make: no extensions, thus X.509's first version, and a common name.
        tls_on(servers, &authority.issue("first", "localhost", "", 2));
        self.client("any_way", SslMode::Require).assert(servers, Ok(true));
        self.trusting(full).assert(servers, Ok(true));
        self.mistrusting(full).assert(servers, Err(UNTRUSTED));
        self.trusting(full).host("127.0.0.1").assert(servers, Err("for name"));
        // One that is its own authority.
        let alone = self_signed(&servers.folder, "alone", "localhost");
        tls_on(servers, &alone);
        self.client("any_way", full).root(alone.certificate()).assert(servers, Ok(true));
        self.trusting(SslMode::VerifyCa).assert(servers, Err(UNTRUSTED));
    }
}

#[test]
fn each_mode_means_what_libpq_means() {
    let servers = Servers::with_hba(HBA, &["--only", "postgres"]);
    servers.execute(ROLES);
    let [authority, other] = ["ca", "other"].map(|name| Authority::new(&servers.folder, name));
    let modes = Modes { servers, authority, other };
    modes.without_tls();
    modes.with_a_good_certificate();
    modes.with_other_certificates();
}

#[test]
fn certificates_and_passwords_of_clients() {
    let servers = Servers::with_hba(HBA, &["--only", "postgres"]);
    servers.execute(ROLES);
    let folder = &servers.folder;
    let (authority, other) = (Authority::new(folder, "ca"), Authority::new(folder, "other"));
    servers.configure(&[("ssl_ca_file", authority.certificate.to_str().unwrap())]);
    tls_on(&servers, &authority.issue("server", "localhost", "", 2));
    let client = |user: &str| Client::new(&servers, user).mode(SslMode::Require);

    let good = authority.issue("certified", "certified", "extendedKeyUsage=clientAuth", 2);
    let foreign = other.issue("foreign", "certified", "extendedKeyUsage=clientAuth", 2);
    let expired = authority.issue("expired", "certified", "extendedKeyUsage=clientAuth", -1);
    let first_version = authority.issue("first", "certified", "", 2);
    client("certified").identity(&good).assert(&servers, Ok(true));
    client("certified").identity(&first_version).assert(&servers, Ok(true));
    client("certified").assert(&servers, Err("database.sslcert"));
    client("certified")
        .identity(&foreign)
        .assert(&servers, Err("or another one: set database.sslcert"));
    client("certified")
        .identity(&expired)
        .assert(&servers, Err("or another one: set database.sslcert"));
    let mixed = Issued { certificate: good.certificate.clone(), key: expired.key.clone() };
    client("any_way").identity(&mixed).assert(&servers, Err("it is not the key of certificate"));

    client("hashed").assert(&servers, Ok(true));
    client("bound").assert(&servers, Ok(true));
    client("bound").mode(SslMode::Disable).assert(&servers, Ok(false));
    if !servers.has(11, "channel binding") {
        return;
    }
    // Someone in between, whose certificate is good enough for `require`: he sees an MD5 hash, which he could use, but
    // the proof of SCRAM is for another certificate.
    let between = Between::before(
        servers.pg_port,
        &other.issue("between", "localhost", "subjectAltName=DNS:localhost", 2),
    );
    let mut hashed = client("hashed");
    hashed.address.port = between.port;
    let stop = Stop::new().unwrap();
    Connection::connect(&hashed.options, &hashed.address, &stop).expect("nobody notices");
    let mut bound = client("bound");
    bound.address.port = between.port;
    for error in [
        Connection::connect(&bound.options, &bound.address, &stop).err(),
        Session::connect(&bound.options, &bound.address, &stop).err(),
    ] {
        let error = error.expect("a refusal").to_string();
        assert!(error.contains("SCRAM channel binding check failed"), "{error}");
    }
}

#[test]
fn a_writer_that_has_to_wait_holds_no_reader_up() {
    let servers = Servers::with(&["--only", "postgres", "-c", "wal_sender_timeout=0"]);
    servers.execute(ROLES);
    servers.execute(
        "ALTER ROLE any_way SUPERUSER; CREATE TABLE rows (id int PRIMARY KEY, text text);
         CREATE PUBLICATION pg2etcd FOR ALL TABLES",
    );
    let authority = Authority::new(&servers.folder, "ca");
    tls_on(&servers, &authority.issue("server", "localhost", "", 2));
    let proxy = Proxy::before(servers.pg_port);
    let mut client = Client::new(&servers, "any_way").mode(SslMode::Require);
    client.address.port = proxy.port;
    let stop = Stop::new().unwrap();
    let mut connection = Connection::connect(&client.options, &client.address, &stop).unwrap();
    let slot = connection.create_slot("pg2etcd", SlotKind::Temporary).unwrap();
    let (mut frames, mut statuses) = connection.start_replication("pg2etcd", "pg2etcd").unwrap();
    proxy.hold_requests(true);
    thread::scope(|scope| {
        let writer = scope.spawn(move || {
            let lsn = slot.consistent_point;
            // More than the sockets of both sides hold, until the time-out of a write.
            while statuses.send_status(lsn, lsn, false).is_ok() {}
        });
        let mut sent = 0;
        wait_until("a full socket", || {
            let before = std::mem::replace(&mut sent, unsent(&proxy));
            sent > 100_000 && sent == before
        });
        servers
            .execute("INSERT INTO rows SELECT i, repeat('x', 5000) FROM generate_series(1, 500) i");
        let mut bytes = 0;
        while bytes < 500 * 5000 {
            if let Some(Frame::XlogData { message, .. }) = frames.next(&stop).unwrap() {
                bytes += message.len();
            }
        }
        assert!(!writer.is_finished(), "the writer did not wait");
        proxy.cut();
    });
}

/// What waits in the sockets between a client and the proxy, in bytes.
fn unsent(proxy: &Proxy) -> u64 {
    let port = format!(":{:04X} ", proxy.port);
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let queues = table.lines().filter(|line| line.contains(&port)).filter_map(|line| {
        let queue = line.split_whitespace().nth(4)?.split_once(':')?;
        Some(u64::from_str_radix(queue.0, 16).ok()? + u64::from_str_radix(queue.1, 16).ok()?)
    });
    queues.sum()
}
