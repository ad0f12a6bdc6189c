//! The core among a model of etcd and a model of the database, with everything that a network and a
//! process can do to it: replies that are lost, requests that arrive late, twice, or after the one
//! behind them, a second daemon while the first still writes, an end after any step. After each
//! revision of the store the promises of pg2etcd(8) are asserted.
//!
//! A history is made from a seed. One that fails prints it: `PG2ETCD_SIM_SEED=N cargo test --lib
//! core::sim` runs that one alone. `PG2ETCD_SIM_HISTORIES` says how many there are.

mod changes;
mod database;
mod life;
mod links;
mod mutations;
mod promises;
mod random;
mod row;
mod rows;
mod shapes;
mod store;
mod table;

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use self::database::Database;
use self::life::{Life, Progress, STATE_PATH};
use self::random::Random;
use self::row::LARGE;
use self::store::Store;
use super::Rules;
use super::batch::Limits;
use super::ledger::Replay;
use super::mutation::{Mutation, is};
use crate::etcd::Txn;
use crate::lsn::Lsn;
use crate::state::checkpoint::{Checkpoint, Phase, VERSION};
use crate::state::layout;

/// How many steps a history has before it may come to rest.
const STEPS: usize = 400;
/// What others have put under their keys.
const OTHER: &[u8] = b"other";
/// How many transactions.
const TRANSACTIONS: usize = 24;

/// Everything there is.
struct World {
    random: Random,
    rules: Rules,
    store: Store,
    database: Database,
    /// The daemon that has the slot.
    life: Option<Life>,
    /// One that had it before, and does not know yet that it has it no more.
    former: Option<Life>,
    /// Copies of requests that are still somewhere in the network.
    late: Vec<Txn>,
    /// The tables that may be wrong, each with the end of the WAL at which it became so: it has to be
    /// compared with a snapshot that is not older.
    excused: BTreeMap<usize, Lsn>,
    /// Those of them that were changed unseen: the record of the table, which is not of its new form, says
    /// so.
    unseen: BTreeMap<usize, Lsn>,
    /// The keys under which the stream has left open what there is, each with the end of its transaction:
    /// the same is to be done.
    open: BTreeMap<Vec<u8>, Lsn>,
    /// The snapshot of each table's last compare: the table may be ahead of the position up to there.
    ahead: BTreeMap<usize, Lsn>,
    position: Lsn,
    /// Keys that others have put.
    others: Vec<Vec<u8>>,
    /// Every version of a row that a watcher has seen.
    seen: HashSet<(Vec<u8>, Vec<u8>)>,
    lives: u64,
    /// Whether nothing bad happens any more.
    calm: bool,
    /// Whether commits come fast, so that they pile up; else compares have some beside them.
    hasty: bool,
    /// Whether what happens is printed.
    traced: bool,
}

/// Runs the history of a seed.
fn run(seed: u64) {
    let mut world = World::new(seed);
    for _ in 0..STEPS {
        world.step();
    }
    world.calm = true;
    for round in 0.. {
        if world.is_at_rest() {
            return world.check_all();
        }
        assert!(round < 20_000, "it does not come to rest");
        world.step();
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let hasty = random.percent(40);
        let operations = 3 + random.below(8);
        let rules = Rules {
            notes: layout::notes(STATE_PATH),
            limits: Limits { operations, bytes: LARGE },
            part_lanes: 1 + random.below(3),
            coalesce: random.percent(20),
            idle_period: Duration::from_millis(10),
            skip_oversized: true,
        };
        let database = Database::new(&mut random);
        let mut store = Store { max_operations: operations + 1, ..Store::default() };
        let checkpoint = Checkpoint {
            version: VERSION,
            phase: Phase::Sync,
            lsn: database.end,
            timeline: 1,
            system_identifier: "1".to_owned(),
            database: "d".to_owned(),
            slot: "s".to_owned(),
            publication: "p".to_owned(),
            made_publication: true,
            path: "p".to_owned(),
            committed_at: String::new(),
            partial: None,
        };
        let mut txn = Txn::new();
        txn.put(layout::checkpoint(STATE_PATH).as_bytes(), &checkpoint.to_json());
        store.carry_out(&txn);
        let others = database.keys_of_others();
        for key in &others {
            let mut txn = Txn::new();
            txn.put(key, OTHER);
            store.carry_out(&txn);
        }
        Self {
            random,
            rules,
            store,
            position: database.end,
            database,
            life: None,
            former: None,
            late: Vec::new(),
            excused: BTreeMap::new(),
            unseen: BTreeMap::new(),
            open: BTreeMap::new(),
            ahead: BTreeMap::new(),
            others,
            seen: HashSet::new(),
            lives: 0,
            calm: false,
            hasty,
            traced: number_from("PG2ETCD_SIM_SEED").is_some(),
        }
    }

    /// Something happens.
    fn step(&mut self) {
        match self.random.below(16) {
            chance @ (0 | 1)
                if !self.calm
                    && (chance == 0 || self.hasty)
                    && self.database.transactions.len() < TRANSACTIONS =>
            {
                self.commit();
            }
            2 if !self.calm && self.random.percent(15) => self.end_life(),
            2 if !self.calm && self.random.percent(20) => self.database.grow(),
            3 if !self.late.is_empty() && (self.calm || self.random.percent(30)) => {
                let copy = self.random.below(self.late.len());
                let txn = self.late.swap_remove(copy);
                self.carry_out(&txn);
            }
            4 => self.acknowledge_slot(),
            _ => self.live(),
        }
    }

    fn commit(&mut self) {
        if self.random.percent(12) {
            let table = self.random.below(self.database.tables().len());
            self.database.change_unseen(table, &mut self.random);
            for table in self.database.to_compare(table) {
                self.excused.insert(table, self.database.end);
                self.unseen.insert(table, self.database.end);
            }
            return;
        }
        let most = if self.random.percent(20) { 40 } else { 4 };
        self.database.commit(&mut self.random, most);
        for table in self.database.hollowed() {
            self.excused.insert(table, self.database.end);
            self.unseen.insert(table, self.database.end);
        }
        if self.traced {
            self.database.trace();
        }
    }

    /// The server loses the daemon, which ends, or goes on without knowing.
    fn end_life(&mut self) {
        let Some(mut life) = self.life.take() else { return };
        if self.random.percent(50) {
            life.connected = false;
            self.former = Some(life);
        } else {
            self.bury(life);
        }
    }

    /// What a life has sent may still be on its way.
    fn bury(&mut self, mut life: Life) {
        for lane in 0..life.lane_count() {
            // Only one that was sealed may have been sent.
            if self.random.percent(30)
                && let Some(txn) = life.sealed(lane)
            {
                self.late.push(txn);
            }
        }
    }

    /// The server hears how far etcd is.
    fn acknowledge_slot(&mut self) {
        let Some(life) = &self.life else { return };
        let flushed = life.flushed(self.database.confirmed);
        let position = self.checkpoint().lsn;
        assert!(flushed <= position, "PostgreSQL is told of {flushed}, and etcd is at {position}");
        self.database.confirmed = self.database.confirmed.max(flushed);
    }

    /// One of the daemons does something.
    fn live(&mut self) {
        if self.random.percent(30)
            && let Some(former) = self.former.take()
        {
            self.former = self.live_on(former);
            return;
        }
        let life = match self.life.take() {
            Some(life) => life,
            None => self.begin_life(),
        };
        self.life = self.live_on(life);
    }

    fn begin_life(&mut self) -> Life {
        self.lives += 1;
        let key = layout::checkpoint(STATE_PATH);
        let found = self.store.get(key.as_bytes()).expect("a position");
        let last = self.store.get(layout::last_commit(STATE_PATH).as_bytes());
        let last = last.map(|last| serde_json::from_slice(&last.value).expect("a note"));
        let found = (self.checkpoint(), found.mod_revision);
        let note = self.store.get(layout::partial(STATE_PATH).as_bytes());
        let replay = Replay::of(&found.0, note.as_ref());
        Life::begin(
            self.rules.clone(),
            found,
            (last, replay),
            self.lives.to_string(),
            &self.database,
        )
    }

    /// A daemon does something; `None` if that ended it.
    fn live_on(&mut self, mut life: Life) -> Option<Life> {
        let progress = match self.random.below(8) {
            0 => life.receive(&self.database, &mut self.random),
            1 => life.read(&self.store, &mut self.random),
            2 => {
                life.wait(Duration::from_millis(self.random.below(8) as u64));
                Progress::Done
            }
            3 => life.take_snapshot(&self.database),
            4 => {
                let wanted = self.wants_compare();
                life.compare(wanted, &self.database, &self.store, &mut self.random)
            }
            _ => {
                let lane = self.random.below(life.lane_count());
                self.send(&mut life, lane)
            }
        };
        // One that has lost its place may read what the next one has written: what it makes of that is void.
        let has_place = life.connected;
        let left_out = life.left_out.drain(..).filter_map(|key| {
            let table = self.database.table_of(&key);
            let has_all = has_place && table.is_some_and(|table| self.database.has_all(table));
            assert!(!has_all, "{} was left out, and was there", key.escape_ascii());
            table
        });
        for table in left_out.chain(life.comparing.drain(..)) {
            self.excused.insert(table, self.database.end);
        }
        for (table, snapshot) in life.compared.drain(..) {
            self.ahead.insert(table, snapshot);
            let plan = self.database.plan(table);
            self.open.retain(|key, since| !plan.covers(key) || *since > snapshot);
            for since in [&mut self.excused, &mut self.unseen] {
                if since.get(&table).is_some_and(|since| *since <= snapshot) {
                    since.remove(&table);
                }
            }
        }
        (progress != Progress::Fenced).then_some(life)
    }

    /// A lane's txn is on its way: it arrives or not, now or later, once or twice, and the answer comes
    /// back or not.
    fn send(&mut self, life: &mut Life, lane: usize) -> Progress {
        let Some(txn) = life.sealed(lane) else { return Progress::Nothing };
        let luck = if self.calm { 0 } else { self.random.below(100) };
        if (70..90).contains(&luck) {
            self.late.push(txn.clone());
        }
        if luck >= 80 {
            return Progress::Done;
        }
        let reply = self.carry_out(&txn);
        if (60..70).contains(&luck) {
            return Progress::Done;
        }
        life.answer(lane, &reply)
    }

    /// The table that has to be compared, as far as etcd and the catalog tell.
    fn wants_compare(&self) -> Option<usize> {
        let notes = layout::notes(STATE_PATH);
        let notes_on = self.store.keys.range(notes.clone()..);
        let noted: Vec<_> = notes_on.map_while(|(key, _)| key.strip_prefix(&notes[..])).collect();
        let noted = |table: &usize| noted.iter().any(|key| self.database.plan(*table).covers(key));
        self.database.tables().find(|table| self.unseen.contains_key(table) || noted(table))
    }

    fn is_at_rest(&self) -> bool {
        let idle = self.life.as_ref().is_some_and(|life| life.is_idle(&self.database));
        idle && self.late.is_empty() && self.wants_compare().is_none()
    }

    fn checkpoint(&self) -> Checkpoint {
        let found = self.store.get(layout::checkpoint(STATE_PATH).as_bytes()).expect("a position");
        Checkpoint::from_etcd(&found).expect("a checkpoint")
    }

    fn carry_out(&mut self, txn: &Txn) -> crate::etcd::TxnReply {
        let reply = self.store.carry_out(txn);
        if self.traced {
            self.trace(&reply);
        }
        if reply.succeeded {
            self.check_revision();
        }
        reply
    }
}

/// Runs the histories of these seeds, and says which failed first, and how.
fn run_all(seeds: std::ops::Range<u64>, mutation: Option<Mutation>) -> Option<(u64, String)> {
    super::mutation::set(mutation);
    let failed = seeds.into_iter().find_map(|seed| {
        let outcome = std::panic::catch_unwind(|| run(seed));
        outcome.err().map(|cause| (seed, text_of(&*cause)))
    });
    super::mutation::set(None);
    failed
}

fn text_of(cause: &(dyn std::any::Any + Send)) -> String {
    let text = cause.downcast_ref::<String>().cloned();
    text.or_else(|| cause.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

fn number_from(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn the_promises_hold_in_every_history() {
    assert!(!is(Mutation::Unfenced), "no fault");
    if let Some(seed) = number_from("PG2ETCD_SIM_SEED") {
        return run(seed);
    }
    let histories = number_from("PG2ETCD_SIM_HISTORIES").unwrap_or(20_000);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    let begin = std::time::Instant::now();
    let failed: Vec<_> = std::thread::scope(|scope| {
        let share = |thread| histories * thread / threads..histories * (thread + 1) / threads;
        let running: Vec<_> =
            (0..threads).map(|thread| scope.spawn(move || run_all(share(thread), None))).collect();
        running.into_iter().filter_map(|thread| thread.join().expect("caught")).collect()
    });
    println!("{histories} histories in {:.1} s", begin.elapsed().as_secs_f64());
    if let Some((seed, cause)) = failed.first() {
        panic!("PG2ETCD_SIM_SEED={seed}: {cause}");
    }
}
