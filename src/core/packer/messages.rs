//! What the packer is told, and what it says.

use std::time::Duration;

use crate::core::batch::Limits;
use crate::core::change::Chunk;
use crate::core::ledger::Step;
use crate::core::recording::Overruled;
use crate::core::view::Lane;
use crate::error::Error;
use crate::etcd::{AsOf, KeyValue, Txn};
use crate::lsn::Lsn;

/// What the packing follows.
#[derive(Clone, Debug)]
pub struct Rules {
    /// What the notes of rows that are not known begin with; the row's key follows.
    pub notes: Vec<u8>,
    /// What one txn may hold beside the position.
    pub limits: Limits,
    /// How many lanes take parts of large transactions.
    pub part_lanes: usize,
    /// Whether a version of a row may be left out when a later one is at hand.
    pub coalesce: bool,
    /// The shortest time between two positions while no row changes.
    pub idle_period: Duration,
    /// Whether a row that no request can hold is left out.
    pub skip_oversized: bool,
}

#[cfg(test)]
impl Rules {
    /// Those of a packer whose txns hold so much, with one lane for parts, and no version left out.
    pub(super) fn with_limits(operations: usize, bytes: usize) -> Self {
        Self {
            notes: Vec::new(),
            limits: Limits { operations, bytes },
            part_lanes: 1,
            coalesce: false,
            idle_period: Duration::MAX,
            skip_oversized: false,
        }
    }
}

/// What happens.
#[derive(Debug)]
pub enum Input {
    /// A part of the stream has come. Only if [`super::Packer::wants_stream`].
    Chunk(Chunk),
    /// The watch asks for something. Only if [`super::Packer::takes_request`].
    Request(Request),
    /// etcd has the oldest txn of a lane, as of this revision. The txn may be used again.
    Acknowledged(Lane, Txn, i64),
    /// The documents that were to be read, in the order of their keys; `None` where etcd has none, or
    /// has forgotten it.
    Documents(Vec<Option<KeyValue>>),
    /// The keys that were to be listed, in their order, and whether others follow.
    Keys(Vec<Vec<u8>>, bool),
    /// Nothing but that time has passed.
    Time,
    /// Nothing more comes in the stream.
    End,
}

/// What is to be done.
#[derive(Debug)]
pub enum Output {
    /// Post this on the ordered lane.
    Post(Txn, Step),
    /// Post this part on the lane of this number.
    PostPart(usize, Txn),
    /// Read what etcd has under these keys, as of a revision.
    Read(Vec<Vec<u8>>, AsOf),
    /// List some keys: the first ones from this key on and before the other.
    List(Vec<u8>, Vec<u8>),
    /// Tell the watch.
    Answer(Answer),
    /// A row, of this key, was left out, since etcd lacks what an update did not send: have its table
    /// compared.
    RowUnknown {
        /// The row's key before the update.
        key: Vec<u8>,
        /// What is missing.
        reason: String,
    },
    /// A row was left out that no request can hold: an [`Error::OversizedRow`].
    LeftOut(Error),
    /// Come back at this time, if nothing else happens.
    WakeAt(Duration),
}

/// What the watch asks for, which has its place between two transactions of the stream.
#[derive(Debug)]
pub enum Request {
    /// To answer once everything that committed up to this LSN is in etcd.
    Reach(Lsn),
    /// To take note, from here on, of the keys of a table that the stream changes, and to answer.
    Record {
        /// What the table's keys begin with.
        prefixes: Vec<Vec<u8>>,
    },
    /// The snapshot that the table is compared with has all that committed before this LSN: to answer once
    /// etcd has that too.
    Snapshot(Lsn),
    /// To make these changes, but for keys that were noted.
    Apply(Chunk),
    /// To take no more notes and to answer; and, unless the table has to be compared again, to make
    /// these changes first. The answer comes when etcd has them.
    Finish(Chunk),
}

/// What the watch is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Notes are taken: a snapshot may be made that the table is compared with.
    Recording,
    /// etcd has it all.
    Reached {
        /// The revision at which it has that, and next to nothing more; `None` if that is not known.
        revision: Option<i64>,
    },
    /// A compare is done.
    Finished {
        /// Whether the table has to be compared again: the stream left out a column, or a row, that was
        /// then taken from a document that was not compared yet.
        again: bool,
        /// What it wanted in vain.
        overruled: Overruled,
    },
}
