//! A daemon's life in the model: the core as it is, and around it what the threads do, one step at a
//! time, in any order.

use std::collections::VecDeque;
use std::time::Duration;

use super::database::{Database, Transaction};
use super::random::Random;
use super::rows::Documents;
use super::store::Store;
use crate::core::change::Chunk;
use crate::core::history::History;
use crate::core::ledger::{Flushed, Ledger, PartLedger, Replay, Step};
use crate::core::mutation::{Mutation, is};
use crate::core::{Answer, Input, Lane, Output, Packer, Request, Rules};
use crate::error::Error;
use crate::etcd::{AsOf, Txn, TxnReply};
use crate::lsn::Lsn;
use crate::mapping::Plan;
use crate::state::checkpoint::Checkpoint;
use crate::state::last_commit::LastCommit;
use crate::state::layout;
use crate::translate::Tables;

/// What is below `/STATE_PATH` in the model.
pub(super) const STATE_PATH: &str = "s";

/// A daemon from its start to its end.
pub(super) struct Life {
    packer: Packer,
    lanes: Vec<LaneState>,
    pub(super) flushed: Flushed,
    outputs: Vec<Output>,
    history: History,
    tables: Tables,
    /// The documents that are asked for.
    reads: Option<Asked>,
    /// What etcd found, on its way back.
    found: Option<Input>,
    /// The next transaction of the stream, and the next event of it.
    transaction: usize,
    event: usize,
    keepalive_sent: Lsn,
    now: Duration,
    /// Rows that it left out, by key.
    pub(super) left_out: Vec<Vec<u8>>,
    watch: Watch,
    /// The tables whose compare has begun: of a row that is left out from then on there is no word, since the
    /// table is compared once more.
    pub(super) comparing: Vec<usize>,
    /// The tables that were compared, each with the end of the WAL at the snapshot.
    pub(super) compared: Vec<(usize, Lsn)>,
    /// The end of the WAL at the last snapshot.
    snapshot: Lsn,
    /// Whether the server still talks to it.
    pub(super) connected: bool,
}

/// A lane: what was given to it, and what is under way.
struct LaneState {
    ledger: Either,
    queue: VecDeque<(Txn, Option<Step>)>,
    sealed: Option<Txn>,
}

enum Either {
    Ordered(Box<Ledger>),
    Part(PartLedger),
}

/// What is to be read.
enum Asked {
    Documents(Vec<Vec<u8>>, AsOf),
    Keys(Vec<u8>, Vec<u8>),
}

/// A compare, step by step.
enum Watch {
    Idle,
    /// It waits for etcd to have what the look has seen.
    Reaching {
        table: usize,
    },
    /// It is to take the snapshot.
    Recording {
        table: usize,
    },
    /// It has the snapshot, and waits for etcd to have all up to there once that is `told`.
    Snapshot {
        table: usize,
        rows: Documents,
        told: bool,
    },
    /// It reads etcd; `after` is the key behind which it goes on.
    Reading {
        table: usize,
        rows: Documents,
        after: Vec<u8>,
        found: Chunk,
    },
    /// It waits for the answer.
    Finishing {
        table: usize,
    },
}

/// What a step came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Something happened.
    Done,
    /// There was nothing to do.
    Nothing,
    /// The life is over: another one has taken over.
    Fenced,
}

impl Life {
    /// A life that goes on from the position in the store.
    pub(super) fn begin(
        rules: Rules,
        (checkpoint, mod_revision): (Checkpoint, i64),
        (last_commit, replay): (Option<LastCommit>, Option<Replay>),
        writer: String,
        database: &Database,
    ) -> Self {
        let position = checkpoint.position(last_commit);
        let ledger = Ledger::new(STATE_PATH, checkpoint, mod_revision, writer, replay);
        let flushed = ledger.flushed();
        let mut lanes: Vec<_> = (0..rules.part_lanes)
            .map(|lane| Either::Part(PartLedger::new(&ledger, lane)))
            .map(LaneState::new)
            .collect();
        lanes.insert(0, LaneState::new(Either::Ordered(Box::new(ledger))));
        let packer = Packer::new(rules, position, replay);
        let start = database.confirmed;
        let transaction = database.transactions.partition_point(|t| t.end <= start);
        Self {
            packer,
            lanes,
            flushed,
            outputs: Vec::new(),
            history: History::new(position, start),
            tables: database.described(),
            reads: None,
            found: None,
            transaction,
            event: 0,
            keepalive_sent: start,
            now: Duration::ZERO,
            left_out: Vec::new(),
            watch: Watch::Idle,
            comparing: Vec::new(),
            compared: Vec::new(),
            snapshot: Lsn(0),
            connected: true,
        }
    }

    fn feed(&mut self, input: Input) {
        self.packer.feed(input, self.now, &mut self.outputs).expect("large rows are left out");
        self.carry_out();
    }

    fn carry_out(&mut self) {
        for output in std::mem::take(&mut self.outputs) {
            match output {
                Output::Post(txn, step) => self.lanes[0].queue.push_back((txn, Some(step))),
                Output::PostPart(lane, txn) => self.lanes[1 + lane].queue.push_back((txn, None)),
                Output::Read(keys, as_of) => {
                    assert!(!self.is_reading() && !keys.is_empty(), "one read at a time");
                    self.reads = Some(Asked::Documents(keys, as_of));
                }
                Output::List(start, end) => {
                    assert!(!self.is_reading() && start < end, "one read at a time");
                    self.reads = Some(Asked::Keys(start, end));
                }
                Output::Answer(answer) => self.answered(answer),
                Output::RowUnknown { key, .. } => self.left_out.push(key),
                Output::LeftOut(Error::OversizedRow { .. }) | Output::WakeAt(_) => {}
                Output::LeftOut(other) => panic!("{other}"),
            }
        }
    }

    /// The server sends some events, or a keepalive.
    pub(super) fn receive(&mut self, database: &Database, random: &mut Random) -> Progress {
        if !self.connected || !self.packer.wants_stream() {
            return Progress::Nothing;
        }
        let mut chunk = Chunk::default();
        for _ in 0..=random.below(12) {
            let Some(transaction) = database.transactions.get(self.transaction) else { break };
            if transaction.unseen.is_some() {
                self.transaction += 1;
            } else {
                self.receive_event(database, transaction, &mut chunk);
            }
            // A keepalive can come in the middle of a transaction.
            if random.percent(3) {
                self.receive_keepalive(transaction.end, random.percent(10), &mut chunk);
            }
        }
        if chunk.get(0).is_none() {
            let is_all = self.transaction == database.transactions.len();
            if !is_all || self.keepalive_sent == database.end {
                return Progress::Nothing;
            }
            self.keepalive_sent = database.end;
            self.receive_keepalive(database.end, random.percent(30), &mut chunk);
        }
        self.feed(Input::Chunk(chunk));
        Progress::Done
    }

    /// The next event of a transaction comes; of one that etcd has it is left out.
    fn receive_event(&mut self, database: &Database, transaction: &Transaction, chunk: &mut Chunk) {
        if self.event == 0 {
            self.history.begin(transaction.commit).expect("the same history");
        }
        let mut skipped = Chunk::default();
        let skips = self.history.skips() && !is(Mutation::AppliedAgain);
        let chunk = if skips { &mut skipped } else { chunk };
        if database.stream(transaction, self.event, &mut self.tables, chunk) {
            self.event += 1;
        } else {
            self.history.end(transaction.end).expect("the same history");
            (self.transaction, self.event) = (self.transaction + 1, 0);
        }
    }

    fn receive_keepalive(&mut self, wal_end: Lsn, reply_requested: bool, chunk: &mut Chunk) {
        self.history.keepalive(wal_end).expect("the same history");
        if !self.history.skips() {
            chunk.keepalive(wal_end, reply_requested);
        }
    }

    /// What PostgreSQL is told: nothing beyond the slot before the history is proven.
    pub(super) fn flushed(&self, confirmed: Lsn) -> Lsn {
        if self.history.is_proven() { self.flushed.lsn() } else { confirmed }
    }

    /// Time passes.
    pub(super) fn wait(&mut self, time: Duration) {
        self.now += time;
        self.feed(Input::Time);
    }

    /// etcd reads what was asked for, or the answer comes, or both.
    pub(super) fn read(&mut self, store: &Store, random: &mut Random) -> Progress {
        /// How many keys there are in a page.
        const PAGE: usize = 3;
        let found = match self.reads.take() {
            None => match self.found.take() {
                None => return Progress::Nothing,
                Some(found) => {
                    self.feed(found);
                    return Progress::Done;
                }
            },
            Some(Asked::Documents(keys, as_of)) => {
                let revision = match as_of {
                    AsOf::Now => store.revision,
                    AsOf::Revision(revision) => revision,
                    // The member that is asked may be behind.
                    AsOf::Since(least) if random.percent(50) => least,
                    AsOf::Since(_) => store.revision,
                };
                let documents = keys.iter().map(|key| store.get_at(key, revision));
                Input::Documents(documents.collect())
            }
            Some(Asked::Keys(start, end)) => {
                let mut keys: Vec<_> =
                    store.keys.range(start..end).map(|(key, _)| key.clone()).collect();
                let more = keys.len() > PAGE;
                keys.truncate(PAGE);
                Input::Keys(keys, more)
            }
        };
        match random.percent(30) {
            true => self.found = Some(found),
            false => self.feed(found),
        }
        Progress::Done
    }

    fn is_reading(&self) -> bool {
        self.reads.is_some() || self.found.is_some()
    }

    /// How many lanes there are.
    pub(super) fn lane_count(&self) -> usize {
        self.lanes.len()
    }

    /// What a lane would send now: the same txn until there was an answer.
    pub(super) fn sealed(&mut self, lane: usize) -> Option<Txn> {
        let LaneState { ledger, queue, sealed } = &mut self.lanes[lane];
        if sealed.is_none()
            && let Some((mut txn, step)) = queue.pop_front()
        {
            match ledger {
                Either::Ordered(ledger) => ledger.seal(&mut txn, step.expect("an ordered txn")),
                Either::Part(ledger) => ledger.seal(&mut txn),
            }
            *sealed = Some(txn);
        }
        sealed.clone()
    }

    /// A lane has etcd's answer.
    pub(super) fn answer(&mut self, lane: usize, reply: &TxnReply) -> Progress {
        let state = &mut self.lanes[lane];
        let accepted = match &mut state.ledger {
            Either::Ordered(ledger) => ledger.accepted(reply),
            Either::Part(ledger) => ledger.accepted(reply),
        };
        match (accepted, state.sealed.take()) {
            (Ok(()), Some(txn)) => {
                let lane = lane.checked_sub(1).map_or(Lane::Ordered, Lane::Part);
                self.feed(Input::Acknowledged(lane, txn, reply.revision));
                Progress::Done
            }
            _ => Progress::Fenced,
        }
    }

    /// Whether it has nothing to do, and has all that there is.
    pub(super) fn is_idle(&self, database: &Database) -> bool {
        self.transaction == database.transactions.len()
            && self.keepalive_sent == database.end
            && !self.is_reading()
            && matches!(self.watch, Watch::Idle)
            && self.flushed.lsn() == database.end
            && self.lanes.iter().all(|lane| lane.queue.is_empty() && lane.sealed.is_none())
    }

    /// A compare goes on, or begins with this table.
    pub(super) fn compare(
        &mut self,
        wanted: Option<usize>,
        database: &Database,
        store: &Store,
        random: &mut Random,
    ) -> Progress {
        if !self.packer.takes_request() {
            return Progress::Nothing;
        }
        match std::mem::replace(&mut self.watch, Watch::Idle) {
            Watch::Idle => {
                let Some(table) = wanted.filter(|_| self.connected) else {
                    return Progress::Nothing;
                };
                self.watch = Watch::Reaching { table };
                self.feed(Input::Request(Request::Reach(database.end)));
            }
            Watch::Reading { table, rows, after, mut found } => {
                let page = (after, 1 + random.below(6));
                let plan = database.plan(table);
                self.watch = match read_on(plan, &rows, page, store, &mut found) {
                    Some(after) => Watch::Reading { table, rows, after, found },
                    None => {
                        self.feed(Input::Request(Request::Apply(found)));
                        Watch::Finishing { table }
                    }
                };
            }
            Watch::Finishing { table } => {
                self.watch = Watch::Finishing { table };
                let mut chunk = Chunk::default();
                for keyspace in database.plan(table).keyspaces() {
                    chunk.truncate(&[&layout::notes(STATE_PATH), keyspace.prefix()].concat());
                }
                self.feed(Input::Request(Request::Finish(chunk)));
            }
            other => {
                self.watch = other;
                return Progress::Nothing;
            }
        }
        Progress::Done
    }

    fn answered(&mut self, answer: Answer) {
        self.watch = match (std::mem::replace(&mut self.watch, Watch::Idle), answer) {
            (Watch::Reaching { table }, Answer::Reached { .. }) => Watch::Recording { table },
            (snapshot @ Watch::Snapshot { .. }, Answer::Recording) => snapshot,
            (Watch::Snapshot { table, rows, told: true }, Answer::Reached { .. }) => {
                let (after, found) = (Vec::new(), Chunk::default());
                Watch::Reading { table, rows, after, found }
            }
            (Watch::Finishing { table }, Answer::Finished { again: true, .. }) => {
                Watch::Recording { table }
            }
            (Watch::Finishing { table }, Answer::Finished { again: false, .. }) => {
                self.compared.push((table, self.snapshot));
                Watch::Idle
            }
            (_, answer) => panic!("an answer to nothing: {answer:?}"),
        };
    }

    /// Begins to take notes, and takes the snapshot that the compare is with; or tells of it, later.
    pub(super) fn take_snapshot(&mut self, database: &Database) -> Progress {
        if !self.packer.takes_request() {
            return Progress::Nothing;
        }
        let request = match &mut self.watch {
            Watch::Recording { table } => {
                let plan = database.plan(*table);
                let of_table = database.documents().iter().filter(|(key, _)| plan.covers(key));
                let rows = of_table.map(|(key, document)| (key.clone(), document.clone()));
                self.comparing.push(*table);
                self.snapshot = database.end;
                self.watch = Watch::Snapshot { table: *table, rows: rows.collect(), told: false };
                let prefixes = plan.keyspaces().iter().map(|keyspace| keyspace.prefix().to_vec());
                Request::Record { prefixes: prefixes.collect() }
            }
            Watch::Snapshot { told: told @ false, .. } => {
                *told = true;
                Request::Snapshot(self.snapshot)
            }
            _ => return Progress::Nothing,
        };
        self.feed(Input::Request(request));
        Progress::Done
    }
}

impl LaneState {
    fn new(ledger: Either) -> Self {
        Self { ledger, queue: VecDeque::new(), sealed: None }
    }
}

/// Reads the next keys behind `after`, so many, and adds what is found of them; the last key that was
/// read, or `None` at the end.
fn read_on(
    plan: &Plan,
    rows: &Documents,
    (after, page): (Vec<u8>, usize),
    store: &Store,
    found: &mut Chunk,
) -> Option<Vec<u8>> {
    let is_next = |key: &&Vec<u8>| plan.gives(key) && **key > after;
    let mut keys: Vec<_> = store.keys.keys().chain(rows.keys()).filter(is_next).collect();
    keys.sort();
    keys.dedup();
    let last = keys.get(page).map(|_| keys[page - 1].clone());
    for key in keys.into_iter().take(page) {
        let stored = store.keys.get(key).map(|(value, _)| value);
        match rows.get(key) {
            Some(document) if stored == Some(document) => {}
            Some(document) => found.put(
                |out| out.extend_from_slice(key),
                |out, _| out.extend_from_slice(document),
                None::<fn(&mut Vec<u8>)>,
            ),
            None => found.delete(|out| out.extend_from_slice(key)),
        }
    }
    last
}
