//! Random faults against random load, for as long as asked: `scripts/soak [minutes] [seed]`.

use std::collections::BTreeMap;
use std::env;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{
    Daemon, Launch, Load, Part, Proxy, Random, SCHEMA, Servers, TABLES, await_equal, caught_up,
    lsn, wait_until,
};

/// What is done to the parts, each under load unless it ends the sessions of the load too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    DaemonKilled,
    DaemonStopped,
    DaemonFrozen,
    EtcdKilled,
    EtcdFrozen,
    EtcdCut,
    EtcdHeld,
    EtcdSlow,
    AnswersLost,
    PostgresCut,
    PostgresHeld,
    WalsenderTerminated,
    TableAltered,
    OversizedTransaction,
    ResyncAsked,
    PostgresRestarted,
    PostgresKilled,
    SlotDropped,
}

use Fault::*;

const UNDER_LOAD: [Fault; 15] = [
    DaemonKilled,
    DaemonStopped,
    DaemonFrozen,
    EtcdKilled,
    EtcdFrozen,
    EtcdCut,
    EtcdHeld,
    EtcdSlow,
    AnswersLost,
    PostgresCut,
    PostgresHeld,
    WalsenderTerminated,
    TableAltered,
    OversizedTransaction,
    ResyncAsked,
];
const BETWEEN_LOADS: [Fault; 3] = [PostgresRestarted, PostgresKilled, SlotDropped];

#[test]
#[ignore = "runs as long as scripts/soak says"]
fn soak() {
    let minutes: f64 = env::var("PG2ETCD_SOAK_MINUTES").map_or(1.0, |text| text.parse().unwrap());
    let end = Instant::now() + Duration::from_secs_f64(minutes * 60.0);
    let mut soak = Soak::start();
    let (mut rounds, mut committed) = (0_u32, 0);
    while Instant::now() < end {
        committed += soak.round();
        rounds += 1;
    }
    println!(
        "{rounds} rounds, {committed} transactions, {} checks of versions and of equality",
        rounds * 2
    );
    println!("{} checks that the flushed LSN is not past the position", soak.positions_checked);
    for (fault, count) in &soak.faults {
        println!("{count:6} {fault:?}");
    }
    println!("All held.");
}

struct Soak {
    servers: Servers,
    to_etcd: Proxy,
    to_postgres: Proxy,
    launch: Launch,
    daemon: Daemon,
    random: Random,
    faults: BTreeMap<Fault, u32>,
    positions_checked: u32,
}

impl Soak {
    fn start() -> Self {
        let servers = Servers::with(&["-c", "wal_sender_timeout=3s"]);
        servers.execute(SCHEMA);
        let (to_etcd, to_postgres) =
            (Proxy::before(servers.etcd_port), Proxy::before(servers.pg_port));
        let launch = servers
            .daemon()
            .set("etcd.endpoints", format!("127.0.0.1:{}", to_etcd.port))
            .set("etcd.request_timeout", "2s")
            .set("database.port", to_postgres.port)
            .set("sync.catalog_period", "1s");
        let mut daemon = launch.start();
        daemon.await_line("Resuming from ");
        let (random, faults) = (Random::new(), BTreeMap::new());
        Self { servers, to_etcd, to_postgres, launch, daemon, random, faults, positions_checked: 0 }
    }

    /// A few faults under load, after which everything has to be right; then maybe one without it.
    fn round(&mut self) -> u64 {
        let begin = self.servers.revision();
        let load = Load::start(&self.servers, &mut self.random, 2);
        for _ in 0..3 {
            let before = load.committed();
            wait_until("some load", || load.committed() > before + 20);
            let fault = UNDER_LOAD[self.random.below(UNDER_LOAD.len() as u64) as usize];
            self.inject(fault);
            self.check_position();
        }
        let committed = load.stop();
        // A table that was altered is being repaired.
        caught_up(&self.servers);
        await_equal(&self.servers, &TABLES);
        let history = self.servers.history("/copy/", begin + 1);
        if history.below("/copy/account/").next().is_some() {
            history.assert_every_version_once("/copy/account/", "version");
        }
        if self.random.below(3) == 0 {
            let fault = BETWEEN_LOADS[self.random.below(BETWEEN_LOADS.len() as u64) as usize];
            self.inject(fault);
            self.servers.execute("UPDATE part SET price = price + 1 WHERE number % 10 = 1");
            caught_up(&self.servers);
            await_equal(&self.servers, &TABLES);
        }
        self.check_position();
        committed
    }

    fn inject(&mut self, fault: Fault) {
        println!("{fault:?}");
        *self.faults.entry(fault).or_default() += 1;
        let Self { servers, to_etcd, to_postgres, launch, daemon, random, .. } = self;
        // A fault has to last for a while to be one: this is no wait for a condition.
        let last = |random: &mut Random| sleep(Duration::from_millis(random.below(4000)));
        match fault {
            DaemonKilled => std::mem::replace(daemon, launch.start()).kill(),
            DaemonStopped => {
                std::mem::replace(daemon, launch.start()).stop();
            }
            DaemonFrozen => {
                daemon.signal(Signal::STOP);
                last(random);
                daemon.signal(Signal::CONT);
            }
            EtcdKilled => {
                servers.kill(Part::Etcd);
                last(random);
                servers.restart(Part::Etcd, &[]);
            }
            EtcdFrozen => {
                servers.signal(Part::Etcd, Signal::STOP);
                last(random);
                servers.signal(Part::Etcd, Signal::CONT);
            }
            EtcdCut => to_etcd.cut(),
            PostgresCut => to_postgres.cut(),
            EtcdHeld | PostgresHeld => {
                let proxy = if fault == EtcdHeld { to_etcd } else { to_postgres };
                proxy.hold(true);
                last(random);
                proxy.hold(false);
            }
            EtcdSlow => {
                to_etcd.delay(Duration::from_millis(random.below(50)));
                last(random);
                to_etcd.delay(Duration::ZERO);
            }
            AnswersLost => to_etcd.lose_answers("/kv/txn", 1 + random.below(3) as usize),
            WalsenderTerminated => servers.execute(
                "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active",
            ),
            TableAltered => servers.execute(
                "ALTER TABLE part DROP COLUMN IF EXISTS soak; ALTER TABLE part ADD soak int DEFAULT 5",
            ),
            OversizedTransaction => servers.execute(
                "BEGIN; INSERT INTO part SELECT n, 'large', 1 FROM generate_series(1, 3000) n;
                 DELETE FROM part WHERE name = 'large'; COMMIT",
            ),
            ResyncAsked => {
                // It says so when it fails, as it may where answers are lost: it goes past that.
                let direct = format!("127.0.0.1:{}", servers.etcd_port);
                let resync = launch.clone().set("etcd.endpoints", direct).argument("resync").run();
                assert_eq!(resync.0, 0, "{}", resync.1);
            }
            PostgresRestarted => servers.restart(Part::Postgres, &[]),
            PostgresKilled => {
                servers.kill(Part::Postgres);
                servers.restart(Part::Postgres, &[]);
            }
            SlotDropped => {
                servers.execute(
                    "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active",
                );
                // The daemon may be back before the slot is gone.
                let drop = "SELECT pg_drop_replication_slot('pg2etcd')";
                let _ = servers.sql().batch_execute(drop);
            }
        }
    }

    /// The flushed LSN is read first: the position only grows, unless a redump begins meanwhile.
    fn check_position(&mut self) {
        let slots = "SELECT confirmed_flush_lsn::text FROM pg_replication_slots
                      WHERE slot_name = 'pg2etcd' AND confirmed_flush_lsn IS NOT NULL";
        let Ok(mut sql) = self.servers.try_sql("postgres") else { return };
        let Ok(Some(row)) = sql.query_opt(slots, &[]) else { return };
        let flushed: String = row.get(0);
        if let Some(position) = self.servers.position().filter(|position| position.phase == "sync")
        {
            assert!(lsn(&flushed) <= position.lsn(), "{flushed} is past {}", position.lsn);
            self.positions_checked += 1;
        }
    }
}
