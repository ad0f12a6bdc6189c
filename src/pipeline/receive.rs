//! The thread that reads the stream and turns it into chunks of changes.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::Ordering;

use crossbeam_channel::Sender;

use super::channel::ChunkSender;
use super::watch::Poke;
use crate::cell::Cell;
use crate::core::change::Chunk;
use crate::document::{Table, table_name};
use crate::error::{Error, Result};
use crate::logging::warn_once;
use crate::position::Commit;
use crate::postgres::pgoutput::{Message, OldTuple, Relation, Tuple, decode};
use crate::postgres::{Frame, FrameReader, Session};
use crate::status::{Pulse, Status, TableChanges, Transactions};
use crate::stop::Stop;
use crate::table_name::TableName;

/// The size, in bytes, at which a chunk is handed on even in the middle of a transaction.
const CHUNK_BYTES: usize = 64 * 1024;

/// Reads the stream.
pub(super) struct Receive<'a> {
    pub(super) frames: FrameReader,
    pub(super) stop: &'a Stop,
    pub(super) translation: Translation<'a>,
    pub(super) chunks: ChunkSender,
    /// Asks for a standby status at once.
    pub(super) status_requests: Sender<()>,
    /// Where it is noted what has come.
    pub(super) status: &'a Status,
    pub(super) pulse: Pulse,
}

impl Receive<'_> {
    /// Reads until a stop is requested, and returns the stream to be read to its end.
    pub(super) fn run(mut self) -> Result<FrameReader> {
        let mut chunk = Chunk::default();
        self.pulse.wait();
        while let Some(frame) = self.frames.next(self.stop)? {
            self.pulse.work();
            let (Frame::XlogData { wal_end, .. } | Frame::Keepalive { wal_end, .. }) = frame;
            self.status.received.fetch_max(wal_end.0, Ordering::Relaxed);
            match frame {
                Frame::XlogData { message, .. } => self.translation.add(message, &mut chunk)?,
                Frame::Keepalive { reply_requested, .. } => {
                    chunk.keepalive(wal_end, reply_requested);
                    if reply_requested {
                        // A request that is not answered yet counts for this one too.
                        let _ = self.status_requests.try_send(());
                    }
                }
            }
            // The server sends each change by itself: a transaction is worth handing on when it is
            // whole, and those that have come together go together.
            let pause = chunk.is_complete() && !self.frames.buffered();
            self.pulse.wait();
            if pause || chunk.size() >= CHUNK_BYTES {
                self.translation.note_received();
                self.chunks.send(std::mem::take(&mut chunk))?;
            }
        }
        Ok(self.frames)
    }
}

/// Turns messages into changes.
pub(super) struct Translation<'a> {
    session: Session,
    path: &'a str,
    /// The tables by OID, as their last `Relation` message and the catalog describe them; `None`
    /// for one that is left out.
    tables: HashMap<u32, Option<Described>>,
    /// Tells the watch that a table was described.
    pokes: Sender<Poke>,
    status: &'a Status,
    /// The transaction that is coming in, as long as it has changed no row.
    begun: Option<Transactions>,
    /// Those that have changed rows and are not noted yet.
    changing: Option<Transactions>,
}

/// A table, with the counters of its changes.
struct Described {
    table: Table,
    changes: TableChanges,
}

impl<'a> Translation<'a> {
    pub(super) fn new(
        session: Session,
        path: &'a str,
        pokes: Sender<Poke>,
        status: &'a Status,
    ) -> Self {
        let tables = HashMap::new();
        Self { session, path, tables, pokes, status, begun: None, changing: None }
    }

    fn add(&mut self, message: &[u8], chunk: &mut Chunk) -> Result<()> {
        let message = decode(message).map_err(|error| protocol_error(error.to_string()))?;
        match message {
            Message::Begin { final_lsn, commit_time, xid } => {
                chunk.begin(Commit { lsn: final_lsn, xid, time: commit_time });
                self.begun =
                    Some(Transactions { committed_at: commit_time, commit_lsn: final_lsn });
            }
            Message::Commit { commit_end_lsn, .. } => chunk.end(commit_end_lsn),
            Message::Relation(relation) => self.learn(relation)?,
            Message::Insert { relation, new } => {
                self.put(relation, None, new, chunk, |changes| changes.insert.inc())?;
            }
            Message::Update { relation, old, new } => {
                self.put(relation, old, new, chunk, |changes| changes.update.inc())?;
            }
            Message::Delete { relation, old } => {
                let described = described(&self.tables, relation, old.cells().len())?;
                if let Some(Described { table, changes }) = described {
                    chunk.delete(|out| table.write_key(old.cells(), None, out));
                    changes.delete.inc();
                    self.note_change();
                }
            }
            Message::Truncate { relations, .. } => {
                for relation in relations {
                    if let Some(Described { table, changes }) = known(&self.tables, relation)? {
                        chunk.truncate(&table.prefix);
                        changes.truncate.inc();
                        self.note_change();
                    }
                }
            }
            // Types are asked of the catalog; origins and logical messages change no row.
            Message::Type { .. } | Message::Origin { .. } | Message::Logical { .. } => {}
        }
        Ok(())
    }

    /// Takes note of a table's columns, and asks the catalog for its key and types.
    fn learn(&mut self, relation: Relation) -> Result<()> {
        let Relation { oid, schema, name, columns, .. } = relation;
        let columns: Vec<_> =
            columns.into_iter().map(|column| (column.name, column.type_oid)).collect();
        let name = TableName { schema, name };
        let table = self.session.table(self.path, oid, &name, &columns)?;
        let table = table.map_err(|reason| {
            warn_once(format!("Leaving table {name} out: {reason}"));
        });
        if table.is_ok() {
            // The watch may have been poked often enough already.
            let _ = self.pokes.try_send(Poke::TableDescribed(table_name(&name.schema, &name.name)));
        }
        let described = table.ok().map(|table| {
            let changes = self.status.metrics.of_table(&name.to_string());
            Described { table, changes }
        });
        self.tables.insert(oid, described);
        Ok(())
    }

    /// Takes note of a change: its transaction is one to wait for.
    fn note_change(&mut self) {
        if let Some(begun) = self.begun.take() {
            self.status.metrics.transactions.inc();
            self.changing.get_or_insert(begun).commit_lsn = begun.commit_lsn;
        }
    }

    /// Takes note of all that has come so far, before it is handed on.
    fn note_received(&mut self) {
        if let Some(transactions) = self.changing.take() {
            self.status.note_received(transactions);
        }
    }

    fn put(
        &mut self,
        relation: u32,
        old: Option<OldTuple<'_>>,
        new: Tuple<'_>,
        chunk: &mut Chunk,
        count: fn(&TableChanges),
    ) -> Result<()> {
        let Some(described) = described(&self.tables, relation, new.len())? else { return Ok(()) };
        let Described { table, changes } = described;
        count(changes);
        // Of an old key only the key's columns are known.
        let whole = match &old {
            Some(OldTuple::Full(cells)) => Some(&cells[..]),
            _ => None,
        };
        let old = old.as_ref().map(OldTuple::cells);
        let casts = cast(&mut self.session, table, &new, whole)?;
        let shown = with_casts(&new, &casts);
        chunk.put(
            |out| table.write_key(&new, old, out),
            |out, holes| table.write_document(&shown, whole, out, holes),
            old.map(|old| move |out: &mut Vec<u8>| table.write_key(old, None, out)),
        );
        self.note_change();
        Ok(())
    }
}

/// What the server makes of the values that have a cast to `json`, with their columns.
fn cast(
    session: &mut Session,
    table: &Table,
    cells: &[Cell<'_>],
    old: Option<&[Cell<'_>]>,
) -> Result<Vec<(usize, String)>> {
    let mut casts = Vec::new();
    for (column, type_oid) in table.casts() {
        let cell = match (cells[column], old) {
            (Cell::UnchangedToast, Some(old)) => old.get(column).copied().unwrap_or(Cell::Null),
            (cell, _) => cell,
        };
        if let Cell::Text(text) = cell {
            casts.push((column, session.to_json(type_oid, &String::from_utf8_lossy(text))?));
        }
    }
    Ok(casts)
}

/// The cells as the document shows them.
fn with_casts<'a>(cells: &'a Tuple<'a>, casts: &'a [(usize, String)]) -> Cow<'a, [Cell<'a>]> {
    let mut shown = Cow::Borrowed(&cells[..]);
    for (column, json) in casts {
        shown.to_mut()[*column] = Cell::Text(json.as_bytes());
    }
    shown
}

/// The table of a row of so many columns; `None` for one that is left out.
fn described(
    tables: &HashMap<u32, Option<Described>>,
    relation: u32,
    width: usize,
) -> Result<Option<&Described>> {
    let described = known(tables, relation)?;
    if described.is_some_and(|described| described.table.width() != width) {
        return Err(protocol_error(format!("a row of table {relation} has {width} columns")));
    }
    Ok(described)
}

fn known(tables: &HashMap<u32, Option<Described>>, relation: u32) -> Result<Option<&Described>> {
    let described = tables.get(&relation).map(Option::as_ref);
    described
        .ok_or_else(|| protocol_error(format!("a change of table {relation}, never described")))
}

fn protocol_error(problem: String) -> Error {
    Error::PostgresProtocol { doing: "reading the stream".to_owned(), problem }
}
