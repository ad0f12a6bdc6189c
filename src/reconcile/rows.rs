//! The rows of a table, as keys and documents.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::mem::{replace, take};

use super::copy_text::split_line;
use crate::cell::Cell;
use crate::document::{Casts, KeyOf, Presence, Row, left_out, write_document};
use crate::error::{Error, Result};
use crate::logging::warn_once;
use crate::mapping::{CopiedTable, Keyspace, Plan};
use crate::postgres::{Session, copy_error, quoted};
use crate::table_name::TableName;
use crate::valid_text::{not_utf8, repaired, with_repaired};

/// The rows of a table, one at a time.
pub(crate) struct Rows<'a> {
    lines: Box<dyn BufRead + 'a>,
    name: TableName,
    doing: String,
    /// The plan for rows as the server sends them here.
    plan: Plan,
    /// Which of the plan's outputs are wanted. If there are several, a row comes once for each, with
    /// its place among them behind the columns.
    outputs: Vec<usize>,
    /// The columns that stand behind the others once more, as they stand in keys and texts.
    text_casts: Vec<usize>,
    /// How many rows have no key.
    left_out: u64,
    /// No value is left to be cast.
    casts: Casts,
    line: Vec<u8>,
    key: Vec<u8>,
    document: Vec<u8>,
    /// Whether the version stands behind the columns.
    versioned: bool,
    version: u32,
    /// Whether texts can be no UTF-8.
    sql_ascii: bool,
    /// Whether the last row that was read has no UTF-8 in its key.
    repaired_key: bool,
    /// Whether all rows were read.
    ended: bool,
    /// Those rows, keys and documents, where the rows come in the order of their keys.
    held: Option<BTreeMap<Vec<u8>, Vec<u8>>>,
    /// The row that was read before it was its turn.
    ahead: Option<(Vec<u8>, Vec<u8>)>,
}

impl<'a> Rows<'a> {
    /// In whatever order, with the keys in a keyspace.
    pub(crate) fn unordered(
        session: &'a mut Session,
        table: &CopiedTable,
        keyspace: &Keyspace,
    ) -> Result<Self> {
        let outputs = table.plan.outputs_in(keyspace);
        Self::new(session, table, Wanted { outputs, condition: None, order: "" })
    }

    /// In whatever order, those for which `condition`, which is SQL, holds; with their versions.
    pub(crate) fn versions(
        session: &'a mut Session,
        table: &CopiedTable,
        condition: &str,
    ) -> Result<Self> {
        let outputs = (0..table.plan.outputs().len()).collect();
        Self::new(session, table, Wanted { outputs, condition: Some(condition), order: "" })
    }

    /// With the keys in a keyspace, in the order of their bytes, which is that of etcd.
    pub(crate) fn by_key(
        session: &'a mut Session,
        table: &CopiedTable,
        keyspace: &Keyspace,
    ) -> Result<Self> {
        let outputs = table.plan.outputs_in(keyspace);
        let key = sql_key(&table.plan, &outputs);
        if !session.is_sql_ascii() {
            let order = format!(" ORDER BY convert_to({key}, 'UTF8')");
            return Self::new(session, table, Wanted { outputs, condition: None, order: &order });
        }
        // PostgreSQL orders by the bytes of its own. What has others in etcd is read first, and
        // held: a few rows, in a database that is in order but for them.
        let key = format!("convert_to({key}, 'SQL_ASCII')");
        let condition = format!("encode({key}, 'escape') ~ '\\\\[23][0-7][0-7]'");
        let wanted = Wanted { outputs: outputs.clone(), condition: Some(&condition), order: "" };
        let mut beyond_ascii = Rows::new(&mut *session, table, wanted)?;
        let mut held = BTreeMap::new();
        while beyond_ascii.read()? {
            if beyond_ascii.repaired_key {
                held.insert(take(&mut beyond_ascii.key), take(&mut beyond_ascii.document));
            }
        }
        drop(beyond_ascii);
        let order = format!(" ORDER BY {key}");
        let rows = Self::new(session, table, Wanted { outputs, condition: None, order: &order })?;
        Ok(Self { held: Some(held), ..rows })
    }

    fn new(
        session: &'a mut Session,
        table: &CopiedTable,
        Wanted { outputs, condition, order }: Wanted<'_>,
    ) -> Result<Self> {
        let CopiedTable { published, plan } = table;
        let name = published.sql_name();
        let doing = format!("copying table {}", published.name);
        // A partitioned table has rows only in its partitions; of any other one, tables that
        // inherit from it are published in their own right.
        let only = if published.partitioned { "" } else { "ONLY " };
        // Beside the outputs a system column has no name of its own.
        let row = quoted(&published.name.name);
        let version = condition.map_or(String::new(), |_| format!(", {row}.xmin"));
        let (place, each) = match &outputs[..] {
            [_] => ("", String::new()),
            outputs => (", pg2etcd_place", sql_outputs(plan, outputs)),
        };
        // What is in unlogged partitions never comes in the stream.
        let unlogged = published.unlogged_partitions.iter().map(|(oid, _)| oid.to_string());
        let unlogged: Vec<_> = unlogged.collect();
        let logged = (!unlogged.is_empty())
            .then(|| format!("{row}.tableoid <> ALL ('{{{}}}'::oid[])", unlogged.join(",")));
        let conditions =
            [published.row_filter.as_deref(), condition, logged.as_deref()].into_iter().flatten();
        let conditions: Vec<_> = conditions.map(|sql| format!("({sql})")).collect();
        let filter = match conditions[..] {
            [] => String::new(),
            _ => format!(" WHERE {}", conditions.join(" AND ")),
        };
        let sql = format!(
            "COPY (SELECT {}{place}{version} FROM {only}{name}{each}{filter}{order}) TO STDOUT",
            plan.sql_columns()
        );
        let sql_ascii = session.is_sql_ascii();
        let lines = session.copy_out(&doing, &sql)?;
        Ok(Self {
            lines: Box::new(lines),
            name: published.name.clone(),
            doing,
            plan: plan.with_casts_made(),
            text_casts: plan.text_casts().collect(),
            outputs,
            left_out: 0,
            casts: Casts::default(),
            line: Vec::new(),
            key: Vec::new(),
            document: Vec::new(),
            versioned: condition.is_some(),
            version: 0,
            sql_ascii,
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
            self.line.clear();
            let read = self.lines.read_until(b'\n', &mut self.line);
            let length = read.map_err(|error| copy_error(&self.doing, error))?;
            self.key.clear();
            self.document.clear();
            self.repaired_key = false;
            if length == 0 {
                if self.left_out > MOST_NAMED {
                    log::warn!("{} rows of table {} have no key", self.left_out, self.name);
                }
                return Ok(false);
            }
            if self.write()? {
                return Ok(true);
            }
        }
    }

    /// Writes the key and the document of the row that was read; false if it has none.
    fn write(&mut self) -> Result<bool> {
        let mut cells: Vec<Cell<'_>> = split_line(&mut self.line).collect();
        if self.versioned {
            self.version = cells.pop().and_then(number).unwrap_or(0);
        }
        let place = match self.outputs[..] {
            [_] => Some(0),
            _ => cells.pop().and_then(number).and_then(|place| usize::try_from(place).ok()),
        };
        let plan = &self.plan;
        let output = place.and_then(|place| plan.outputs().get(*self.outputs.get(place)?));
        let texts = if self.sql_ascii { repaired(&cells) } else { Vec::new() };
        if let (Some(output), false) = (output, texts.is_empty()) {
            let of_key = output.placeholders.iter().filter_map(|&column| cells.get(column));
            self.repaired_key = !repaired(of_key).is_empty();
            warn_once(not_utf8(&self.name));
            cells = with_repaired(&cells, &mut texts.iter());
        }
        let malformed = |what| Error::PostgresProtocol {
            doing: self.doing.clone(),
            problem: format!("a row of {} columns{what}", cells.len()),
        };
        let width = plan.columns().len();
        let Some(output) = output.filter(|_| cells.len() == width + self.text_casts.len()) else {
            return Err(malformed(""));
        };
        let (document, text_casts) = cells.split_at(width);
        let mut as_texts = Vec::new();
        if !text_casts.is_empty() {
            as_texts.extend_from_slice(document);
            for (column, cell) in self.text_casts.iter().zip(text_casts) {
                as_texts[*column] = *cell;
            }
        }
        let texts = if text_casts.is_empty() { document } else { &as_texts };
        let row = Row { texts, ..Row::new(document, None) };
        match row.key(output) {
            KeyOf::Known(_) if row.presence(output) != Presence::There => return Ok(false),
            KeyOf::Known(key) => key.write(&mut self.key),
            KeyOf::None => {
                self.left_out += 1;
                if self.left_out <= MOST_NAMED {
                    log::warn!("{}", left_out(&self.name.to_string(), plan, output, &row));
                }
                return Ok(false);
            }
            KeyOf::Unknown => return Err(malformed(" without its key")),
        }
        // A row of the table itself has no holes.
        let (casts, out) = (&mut self.casts, &mut self.document);
        write_document(plan, &output.value, &row, casts, out, &mut Vec::new());
        Ok(true)
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

/// How many rows that have no key are named in the log.
const MOST_NAMED: u64 = 5;

/// The keys that rows are ordered by, as SQL.
fn sql_key(plan: &Plan, outputs: &[usize]) -> String {
    match outputs {
        // What it begins with makes no difference.
        [output] => plan.outputs()[*output].sql_key(),
        _ => "pg2etcd_key".to_owned(),
    }
}

/// The outputs, to be joined with each row.
fn sql_outputs(plan: &Plan, outputs: &[usize]) -> String {
    let value = |(place, output): (usize, &usize)| {
        format!("({place}, {})", plan.outputs()[*output].sql_whole_key())
    };
    let values: Vec<_> = outputs.iter().enumerate().map(value).collect();
    format!(
        " CROSS JOIN LATERAL (VALUES {}) pg2etcd_output (pg2etcd_place, pg2etcd_key)",
        values.join(", ")
    )
}

/// Which rows are wanted, in SQL.
struct Wanted<'s> {
    /// With which of their keys.
    outputs: Vec<usize>,
    condition: Option<&'s str>,
    order: &'s str,
}

fn number(cell: Cell<'_>) -> Option<u32> {
    let Cell::Text(text) = cell else { return None };
    str::from_utf8(text).ok()?.parse().ok()
}
