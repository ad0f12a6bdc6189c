//! The rows of a table, as keys and documents.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::mem::{replace, take};
use std::ops::Range;

use super::copy_text::split_line;
use super::query::Query;
use super::side::Side;
use crate::cell::Cell;
use crate::document::{
    Body, Casts, Hole, KeyOf, Presence, left_out, write_document, write_identity, write_member,
};
use crate::error::{Error, Result};
use crate::mapping::{CopiedTable, Form, Keyspace, Nest, Nested, Output, Plan};
use crate::postgres::{Session, copy_error};

/// The rows of a table, one at a time, each with those that are nested in it.
pub(crate) struct Rows<'a> {
    lines: Box<dyn BufRead + 'a>,
    doing: String,
    side: Side,
    /// Which of the plan's outputs are wanted. If there are several, a row comes once for each, with
    /// its place among them behind the columns.
    outputs: Vec<usize>,
    /// The tables that are nested.
    nested: Vec<NestedSide>,
    /// How many rows have no key.
    left_out: u64,
    /// No value is left to be cast.
    casts: Casts,
    line: Vec<u8>,
    /// Whether the line is of a row that was not dealt with yet.
    line_is_new: bool,
    /// Whether the last line was read: nothing may be read behind it.
    lines_ended: bool,
    key: Vec<u8>,
    document: Vec<u8>,
    /// Whether the version stands behind the columns.
    versioned: bool,
    version: u32,
    /// Whether the last row that was read has no UTF-8 in its key.
    repaired_key: bool,
    /// Whether all rows were read.
    ended: bool,
    /// Those rows, keys and documents, where the rows come in the order of their keys.
    held: Option<BTreeMap<Vec<u8>, Vec<u8>>>,
    /// The row that was read before it was its turn.
    ahead: Option<(Vec<u8>, Vec<u8>)>,
}

/// Which rows are wanted.
#[derive(Clone, Copy)]
pub(crate) enum Which<'k> {
    /// All.
    All,
    /// Those with these keys, and their versions: found by their columns, so that an index can serve.
    Keys(&'k [&'k [u8]]),
    /// The same, found by the texts of the keys.
    KeyTexts(&'k [&'k [u8]]),
}

/// A table that is nested, and its rows in the document that is being read.
struct NestedSide {
    side: Side,
    nest: Nest,
    /// What stands in the member, one after the other in `bytes`.
    entries: Vec<Range<usize>>,
    bytes: Vec<u8>,
}

/// Whose line it is.
enum Line {
    /// A row's of the table, for the output at this place.
    Row { output: usize, version: u32 },
    /// A nested row's, of the table at this place among those.
    Nested { place: usize, version: u32 },
}

impl<'a> Rows<'a> {
    /// In whatever order, with the keys in a keyspace.
    pub(crate) fn unordered(
        session: &'a mut Session,
        table: &CopiedTable,
        keyspace: &Keyspace,
    ) -> Result<Self> {
        let outputs = table.plan.outputs_in(keyspace);
        Self::new(session, table, outputs, Which::All, None, false)
    }

    /// In whatever order, those that have some keys, with their versions.
    pub(crate) fn versions(
        session: &'a mut Session,
        table: &CopiedTable,
        which: Which<'_>,
    ) -> Result<Self> {
        let outputs = (0..table.plan.outputs().len()).collect();
        Self::new(session, table, outputs, which, None, false)
    }

    /// With the keys in a keyspace, in the order of their bytes, which is that of etcd.
    pub(crate) fn by_key(
        session: &'a mut Session,
        table: &CopiedTable,
        keyspace: &Keyspace,
    ) -> Result<Self> {
        let outputs = table.plan.outputs_in(keyspace);
        if !session.is_sql_ascii() {
            return Self::new(session, table, outputs, Which::All, Some("UTF8"), false);
        }
        // PostgreSQL orders by the bytes of its own. What has others in etcd is read first, and
        // held: a few rows, in a database that is in order but for them.
        let wanted = outputs.clone();
        let mut beyond_ascii =
            Rows::new(&mut *session, table, wanted, Which::All, Some("SQL_ASCII"), true)?;
        let mut held = BTreeMap::new();
        while beyond_ascii.read()? {
            if beyond_ascii.repaired_key {
                held.insert(take(&mut beyond_ascii.key), take(&mut beyond_ascii.document));
            }
        }
        drop(beyond_ascii);
        let rows = Self::new(session, table, outputs, Which::All, Some("SQL_ASCII"), false)?;
        Ok(Self { held: Some(held), ..rows })
    }

    fn new(
        session: &'a mut Session,
        table: &CopiedTable,
        outputs: Vec<usize>,
        which: Which<'_>,
        ordered_in: Option<&str>,
        beyond_ascii: bool,
    ) -> Result<Self> {
        let query = Query { table, outputs: &outputs, which, ordered_in, beyond_ascii };
        let (sql, versioned) = (query.sql(), which.is_versioned());
        let name = &table.published.name;
        let doing = format!("copying table {name}");
        let sql_ascii = session.is_sql_ascii();
        let nested = table.nested.iter().map(|rows| NestedSide {
            side: Side::new(&rows.published.name, &rows.plan, sql_ascii),
            nest: rows.nest.clone(),
            entries: Vec::new(),
            bytes: Vec::new(),
        });
        let (side, nested) = (Side::new(name, &table.plan, sql_ascii), nested.collect());
        let lines = session.copy_out(&doing, &sql)?;
        Ok(Self {
            lines: Box::new(lines),
            doing,
            side,
            outputs,
            nested,
            left_out: 0,
            casts: Casts::default(),
            line: Vec::new(),
            line_is_new: false,
            lines_ended: false,
            key: Vec::new(),
            document: Vec::new(),
            versioned,
            version: 0,
            repaired_key: false,
            ended: false,
            held: None,
            ahead: None,
        })
    }

    /// Goes to the next row; false if there is none.
    pub(crate) fn advance(&mut self) -> Result<bool> {
        if self.held.is_none() {
            return self.read();
        }
        match self.ahead.take() {
            Some((key, document)) => (self.key, self.document) = (key, document),
            None => {
                while !self.ended {
                    self.ended = !self.read()?;
                    if !self.repaired_key {
                        break;
                    }
                }
            }
        }
        let Some(held) = self.held.as_mut().and_then(|held| held.first_entry()) else {
            return Ok(!self.ended);
        };
        if self.ended || *held.key() < self.key {
            let (key, document) = held.remove_entry();
            let (key, document) =
                (replace(&mut self.key, key), replace(&mut self.document, document));
            self.ahead = (!self.ended).then_some((key, document));
            return Ok(true);
        }
        Ok(true)
    }

    /// Reads a row that has a key, and something under it; false if there is none.
    fn read(&mut self) -> Result<bool> {
        loop {
            if !self.next_line()? {
                if self.left_out > MOST_NAMED {
                    log::warn!("{} rows of table {} have no key", self.left_out, self.side.name);
                }
                return Ok(false);
            }
            if self.write()? {
                return Ok(true);
            }
        }
    }

    /// Goes to the next line; false if there is none.
    fn next_line(&mut self) -> Result<bool> {
        if !take(&mut self.line_is_new) && !self.lines_ended {
            self.line.clear();
            let read = self.lines.read_until(b'\n', &mut self.line);
            self.lines_ended = read.map_err(|error| copy_error(&self.doing, error))? == 0;
        }
        Ok(!self.lines_ended)
    }

    /// Writes the key and the document of the row that was read, with what is nested in it; false if it
    /// has none.
    fn write(&mut self) -> Result<bool> {
        self.key.clear();
        self.document.clear();
        let mut line = take(&mut self.line);
        let mut cells: Vec<Cell<'_>> = split_line(&mut line).collect();
        let there = match self.take_places(&mut cells)? {
            Line::Row { output, version } => {
                self.version = version;
                self.write_row(&cells, output)
            }
            // The row that it belongs to has no key.
            Line::Nested { .. } => Ok(None),
        };
        drop(cells);
        self.line = line;
        match there? {
            Some(holes) if !self.nested.is_empty() => {
                self.read_nested()?;
                self.fill(&holes)?;
                Ok(true)
            }
            there => Ok(there.is_some()),
        }
    }

    /// Takes what stands behind the columns off a line.
    fn take_places(&self, cells: &mut Vec<Cell<'_>>) -> Result<Line> {
        let version = match self.versioned {
            true => cells.pop().and_then(number).unwrap_or(0),
            false => 0,
        };
        let only_output = self.nested.is_empty() && self.outputs.len() == 1;
        let place = match only_output {
            true => Some(0),
            false => cells.pop().and_then(number).and_then(|place| usize::try_from(place).ok()),
        };
        let width = self.side.width() + self.nested.iter().map(|it| it.side.width()).sum::<usize>();
        let place =
            place.filter(|_| cells.len() == width).ok_or_else(|| self.malformed(cells, ""))?;
        if self.nested.is_empty() {
            let output = self.outputs.get(place).filter(|at| **at < self.side.plan.outputs().len());
            let output = *output.ok_or_else(|| self.malformed(cells, ""))?;
            return Ok(Line::Row { output, version });
        }
        match place.checked_sub(1) {
            None => Ok(Line::Row { output: 0, version }),
            Some(place) if place < self.nested.len() => Ok(Line::Nested { place, version }),
            Some(_) => Err(self.malformed(cells, "")),
        }
    }

    fn malformed(&self, cells: &[Cell<'_>], what: &str) -> Error {
        Error::PostgresProtocol {
            doing: self.doing.clone(),
            problem: format!("a row of {} columns{what}", cells.len()),
        }
    }

    /// Writes the key and the document, whose holes are returned; `None` if it has none.
    fn write_row(&mut self, cells: &[Cell<'_>], output: usize) -> Result<Option<Vec<Hole>>> {
        let plan: &Plan = &self.side.plan;
        let Some(output) = plan.outputs().get(output) else { return Ok(None) };
        let own = &cells[..self.side.width()];
        let (key, document, casts) = (&mut self.key, &mut self.document, &mut self.casts);
        let (repaired_key, left_out_as) = (&mut self.repaired_key, &mut None);
        let written = self.side.read(own, output, |row, repaired| {
            *repaired_key = repaired;
            match row.key(output) {
                KeyOf::Known(_) if row.presence(output) != Presence::There => Some(None),
                KeyOf::Known(found) => {
                    found.write(key);
                    let mut holes = Vec::new();
                    write_document(plan, &output.value, row, casts, document, &mut holes);
                    Some(Some(holes))
                }
                KeyOf::None => {
                    let name = self.side.name.to_string();
                    *left_out_as = Some(left_out(&name, plan, output, row));
                    Some(None)
                }
                KeyOf::Unknown => None,
            }
        });
        if let Some(left_out) = left_out_as {
            self.left_out += 1;
            if self.left_out <= MOST_NAMED {
                log::warn!("{left_out}");
            }
        }
        written.ok_or_else(|| self.malformed(cells, " without its key"))
    }

    /// Reads the rows behind a row of the table that are nested in it.
    fn read_nested(&mut self) -> Result<()> {
        for NestedSide { entries, bytes, .. } in &mut self.nested {
            entries.clear();
            bytes.clear();
        }
        while self.next_line()? {
            if self.is_of_table_itself() {
                self.line_is_new = true;
                return Ok(());
            }
            let mut line = take(&mut self.line);
            let mut cells: Vec<Cell<'_>> = split_line(&mut line).collect();
            if let Line::Nested { place, version } = self.take_places(&mut cells)? {
                let before = self.nested[..place].iter().map(|nested| nested.side.width());
                let start = self.side.width() + before.sum::<usize>();
                let nested = &mut self.nested[place];
                let own = &cells[start..start + nested.side.width()];
                if nested.read(own, &self.key, &mut self.casts) {
                    // The same sum in whatever order they come.
                    self.version = self.version.wrapping_add(version.wrapping_mul(SPREAD));
                }
            }
            drop(cells);
            self.line = line;
        }
        Ok(())
    }

    /// Whether the line is a row's of the table itself, where others are nested. To split it would undo
    /// its escapes, which can be done only once.
    fn is_of_table_itself(&self) -> bool {
        let mut ends = self.line.trim_ascii_end().rsplit(|&byte| byte == b'\t');
        let place = if self.versioned { ends.nth(1) } else { ends.next() };
        place == Some(b"0")
    }

    /// Writes the document with what is nested in it.
    fn fill(&mut self, holes: &[Hole]) -> Result<()> {
        let Body::Holed(holed) = Body::new(&self.document, holes) else { return Ok(()) };
        let members = self.nested.iter().map(|NestedSide { nest, entries, bytes, .. }| {
            let mut member = Vec::new();
            let entries = entries.iter().map(|entry| &bytes[entry.clone()]).collect();
            write_member(&nest.nested, entries, &mut member);
            (&nest.nested, member)
        });
        let members: Vec<_> = members.collect();
        let member_of = |nested: &Nested| {
            let member = members.iter().find(|(of, _)| of.json_name == nested.json_name);
            member.map_or(nested.empty(), |(_, member)| &member[..])
        };
        let mut whole = Vec::new();
        let filled = holed.fill(&[], member_of, &mut whole);
        filled.map_err(|missing| Error::PostgresProtocol {
            doing: self.doing.clone(),
            problem: missing.to_string(),
        })?;
        self.document = whole;
        Ok(())
    }

    /// The row's key.
    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    /// The transaction that made this version of the row, if versions were asked for.
    pub(crate) fn version(&self) -> u32 {
        self.version
    }

    /// The row's document.
    pub(crate) fn document(&self) -> &[u8] {
        &self.document
    }
}

impl NestedSide {
    /// Adds a row to what is nested, if it belongs to the document with this key.
    fn read(&mut self, cells: &[Cell<'_>], key: &[u8], casts: &mut Casts) -> bool {
        let Self { side, nest, entries, bytes } = self;
        side.read(cells, &nest.element, |row, _| {
            let mut own_key = Vec::new();
            if let KeyOf::Known(found) = row.key(&nest.element) {
                found.write(&mut own_key);
            }
            if own_key != key {
                return false;
            }
            let start = bytes.len();
            if nest.nested.form == Form::Map {
                if !write_identity(&side.plan, nest, row, casts, bytes) {
                    bytes.truncate(start);
                    return false;
                }
                bytes.push(b':');
            }
            write_document(&side.plan, &nest.element.value, row, casts, bytes, &mut Vec::new());
            entries.push(start..bytes.len());
            true
        })
    }
}

impl Which<'_> {
    pub(super) fn is_versioned(self) -> bool {
        !matches!(self, Self::All)
    }

    /// The rows that have one of the keys by one of these outputs, as SQL.
    pub(super) fn condition(self, plan: &Plan, outputs: &[&Output]) -> Option<String> {
        match self {
            Self::All => None,
            Self::Keys(keys) => {
                Some(plan.sql_with_keys(outputs, keys).unwrap_or_else(|| "false".to_owned()))
            }
            Self::KeyTexts(keys) => Some(plan.sql_with_key_texts(outputs, keys)),
        }
    }
}

/// How many rows that have no key are named in the log.
const MOST_NAMED: u64 = 5;
/// Makes versions of nested rows as different from each other as numbers can be: one of Fibonacci hashing.
const SPREAD: u32 = 0x9E37_79B1;

fn number(cell: Cell<'_>) -> Option<u32> {
    let Cell::Text(text) = cell else { return None };
    str::from_utf8(text).ok()?.parse().ok()
}
