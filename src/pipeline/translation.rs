//! From the stream's messages to changes, with what that takes of the server's knowledge.

use std::collections::HashMap;
use std::mem::take;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::Sender;

use super::claimant::Claimant;
use super::watch::Poke;
use crate::config::Settings;
use crate::core::change::Chunk;
use crate::document::Casts;
use crate::error::{Error, Result};
use crate::logging::warn_once;
use crate::mapping::Nest;
use crate::postgres::Session;
use crate::postgres::pgoutput::{Message, decode};
use crate::state::layout;
use crate::status::{Status, TableChanges, Transactions};
use crate::table_name::TableName;
use crate::translate::{Description, Need, Tables, repaired_texts, translate, with_repaired_texts};
use crate::valid_text::not_utf8;

/// Turns messages into changes, and asks the server for what that takes.
pub(super) struct Translation<'a> {
    session: Session,
    tables: Tables,
    /// The publication that the stream is of.
    publication: String,
    claimant: Claimant<'a>,
    /// What the notes of tables that have to be compared begin with.
    notes: Vec<u8>,
    casts: Casts,
    /// Messages that wait for casts, those behind them included, in their order.
    waiting: Vec<Vec<u8>>,
    /// What those messages take, in bytes.
    waiting_bytes: usize,
    /// The counters of the tables that are copied, by the tables' OIDs.
    changes: HashMap<u32, Arc<TableChanges>>,
    /// How often the watch has seen the catalog change.
    catalog_changes: Arc<AtomicU64>,
    /// How often it had when the tables were described.
    known_catalog_changes: u64,
    /// Tells the watch of tables that were described, or have to be compared.
    pokes: Sender<Poke>,
    status: &'a Status,
    /// The transaction that is coming in, as long as it has changed no row.
    begun: Option<Transactions>,
    /// Those that have changed rows and are not noted yet.
    changing: Option<Transactions>,
}

impl<'a> Translation<'a> {
    pub(super) fn new(
        session: Session,
        settings: &Settings,
        catalog_changes: Arc<AtomicU64>,
        pokes: Sender<Poke>,
        status: &'a Status,
        claimant: Claimant<'a>,
    ) -> Self {
        Self {
            session,
            tables: Tables::new(settings.shapes()),
            publication: settings.sync.publication.clone(),
            claimant,
            notes: layout::notes(&settings.etcd.state_path),
            casts: Casts::default(),
            waiting: Vec::new(),
            waiting_bytes: 0,
            changes: HashMap::new(),
            catalog_changes,
            known_catalog_changes: 0,
            pokes,
            status,
            begun: None,
            changing: None,
        }
    }

    /// Adds what a message says to the chunk, at once or, if it has to wait for casts, with
    /// [`Self::finish`].
    pub(super) fn add(
        &mut self,
        message: &[u8],
        decoded: Message<'_>,
        chunk: &mut Chunk,
    ) -> Result<()> {
        let texts = self.repaired_texts(&decoded);
        let decoded = with_repaired_texts(decoded, &texts);
        self.note_repaired(&decoded, texts.len());
        if let Message::Begin { .. } = decoded {
            // The watch takes note before it looks where the WAL ends, so what commits behind that
            // is described anew.
            let changes = self.catalog_changes.load(Ordering::Acquire);
            if self.known_catalog_changes != changes {
                self.known_catalog_changes = changes;
                self.tables.forget_catalog();
            }
        }
        while !self.translate(&decoded, chunk)? {
            if self.casts.are_wanted() {
                self.waiting.push(message.to_vec());
                self.waiting_bytes += message.len();
                break;
            }
        }
        Ok(())
    }

    /// Adds all that waits to the chunk.
    pub(super) fn finish(&mut self, chunk: &mut Chunk) -> Result<()> {
        self.waiting_bytes = 0;
        for message in take(&mut self.waiting) {
            let message = decoded(&message)?;
            let texts = self.repaired_texts(&message);
            let message = with_repaired_texts(message, &texts);
            loop {
                self.cast()?;
                if self.translate(&message, chunk)? {
                    break;
                }
            }
        }
        // A cast, or a type, may be another one by the next chunk.
        self.casts.clear();
        Ok(())
    }

    /// Adds what a message says to the chunk; false if it has to come again.
    fn translate(&mut self, message: &Message<'_>, chunk: &mut Chunk) -> Result<bool> {
        match translate(message, &mut self.tables, &mut self.casts, chunk)? {
            Need::Nothing => {}
            Need::Compare(oid) => self.want_compare(oid, chunk),
            Need::Description(oid) => return self.describe(oid, chunk).map(|()| false),
            Need::Casts => return Ok(false),
        }
        self.note(message);
        Ok(true)
    }

    /// The texts of a message that are no UTF-8, made so.
    fn repaired_texts(&self, message: &Message<'_>) -> Vec<String> {
        if self.session.is_sql_ascii() { repaired_texts(message) } else { Vec::new() }
    }

    /// Counts texts that are no UTF-8, and warns of them once a table.
    fn note_repaired(&self, message: &Message<'_>, count: usize) {
        if count == 0 {
            return;
        }
        self.status.metrics.invalid_texts.inc_by(count as u64);
        if let Message::Insert { relation, .. }
        | Message::Update { relation, .. }
        | Message::Delete { relation, .. } = message
            && let Some(name) = self.tables.name(*relation)
        {
            warn_once(not_utf8(&name));
        }
    }

    /// The name of a table that the stream has described.
    pub(super) fn table(&self, oid: u32) -> Option<TableName> {
        self.tables.name(oid)
    }

    /// How much waits for casts, in bytes.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// Asks the catalog for a table.
    fn describe(&mut self, oid: u32, chunk: &mut Chunk) -> Result<()> {
        let mut facts = self.session.table_facts(oid, &self.tables.column_types(oid))?;
        let relatives = self.tables.relatives(oid);
        facts.relatives = self.session.relatives(&self.publication, &relatives, oid)?;
        let Some(Description { name, left_out, guessed }) = self.tables.describe(oid, &facts)
        else {
            return Ok(());
        };
        if let Some(reason) = left_out {
            self.status.not_copied.leave_out(&name.to_string(), reason.to_string());
            self.changes.remove(&oid);
            return Ok(());
        }
        for Nest { parent, keyspace, .. } in self.tables.nests(oid).to_vec() {
            if self.claimant.refusal(&parent, &keyspace)?.is_some() {
                self.tables.leave_nests_out(oid, &parent);
            }
        }
        for keyspace in self.tables.keyspaces(oid) {
            if let Some(reason) = self.claimant.refusal(&name, keyspace)? {
                // The log says so. The watch tries again, and has it described anew.
                self.tables.leave_out(oid, reason);
                self.changes.remove(&oid);
                return Ok(());
            }
        }
        // The watch may have been poked often enough already.
        let _ = self.pokes.try_send(Poke::TableDescribed);
        if guessed {
            self.want_compare(oid, chunk);
        }
        self.changes.insert(oid, self.status.tables.followed(&name.to_string()));
        Ok(())
    }

    /// Has a table compared. The note goes with the transaction, so that it is not forgotten if the
    /// daemon ends before that is done.
    fn want_compare(&self, oid: u32, chunk: &mut Chunk) {
        for keyspace in self.tables.to_compare(oid) {
            chunk.put(
                |out| out.extend([&self.notes[..], &keyspace].concat()),
                |out, _| out.push(b'1'),
                None::<fn(&mut Vec<u8>)>,
            );
            let _ = self.pokes.try_send(Poke::RowUnknown(keyspace));
        }
    }

    /// Asks the server for all values that are wanted.
    fn cast(&mut self) -> Result<()> {
        for (type_oid, texts) in self.casts.take_wanted() {
            let shown: Vec<_> = texts.iter().map(|text| String::from_utf8_lossy(text)).collect();
            let shown: Vec<&str> = shown.iter().map(AsRef::as_ref).collect();
            let jsons = match self.session.to_json(type_oid, &shown) {
                Ok(jsons) => jsons,
                Err(error) if is_of_value(&error) => self.cast_each(type_oid, &shown)?,
                Err(error) => return Err(error),
            };
            for (text, json) in texts.into_iter().zip(jsons) {
                self.casts.learn(type_oid, text, json.map(String::into_bytes));
            }
        }
        Ok(())
    }

    /// The same, of values of which the server does not cast all.
    fn cast_each(&mut self, type_oid: u32, texts: &[&str]) -> Result<Vec<Option<String>>> {
        let mut jsons = Vec::new();
        for text in texts {
            match self.session.to_json(type_oid, &[text]) {
                Ok(json) => jsons.extend(json),
                Err(error) if is_of_value(&error) => {
                    warn_once(format!("A value stays a text, it cannot be cast to json: {error}"));
                    jsons.push(None);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(jsons)
    }

    /// Counts a change of a table that is copied, and takes note of its transaction.
    fn note(&mut self, message: &Message<'_>) {
        let one = |relation: &u32, count: fn(&TableChanges)| {
            let changes = self.changes.get(relation);
            changes.inspect(|changes| count(changes)).is_some()
        };
        let counted = match message {
            Message::Insert { relation, .. } => one(relation, TableChanges::inserted),
            Message::Update { relation, .. } => one(relation, TableChanges::updated),
            Message::Delete { relation, .. } => one(relation, TableChanges::deleted),
            Message::Truncate { relations, .. } => {
                let counted =
                    relations.iter().filter(|relation| one(relation, TableChanges::truncated));
                counted.count() > 0
            }
            &Message::Begin { commit_time, final_lsn, .. } => {
                let begun = Transactions { committed_at: commit_time, commit_lsn: final_lsn };
                self.begun = Some(begun);
                false
            }
            _ => false,
        };
        // Its transaction is one to wait for.
        if counted && let Some(begun) = self.begun.take() {
            self.status.metrics.transactions.inc();
            self.changing.get_or_insert(begun).commit_lsn = begun.commit_lsn;
        }
    }

    /// Takes note of all that has come so far, before it is handed on.
    pub(super) fn note_received(&mut self) {
        if let Some(transactions) = self.changing.take() {
            self.status.note_received(transactions);
        }
    }
}

/// Whether the server refuses a value, and goes on.
fn is_of_value(error: &Error) -> bool {
    matches!(error, Error::PostgresServer { answer, .. } if answer.severity == "ERROR")
}

/// What a message says.
pub(super) fn decoded(message: &[u8]) -> Result<Message<'_>> {
    decode(message).map_err(|error| Error::PostgresProtocol {
        doing: "reading the stream".to_owned(),
        problem: error.to_string(),
    })
}
