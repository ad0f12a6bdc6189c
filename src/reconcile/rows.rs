//! The rows of a table, as keys and documents.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::BufRead;
use std::mem::{replace, take};

use super::copy_text::split_line;
use crate::cell::Cell;
use crate::document::{Casts, RowKey, write_document};
use crate::error::{Error, Result};
use crate::logging::warn_once;
use crate::mapping::{CopiedTable, Plan};
use crate::postgres::{Session, copy_error};
use crate::table_name::TableName;
use crate::valid_text::{not_utf8, repaired, with_repaired};

/// The rows of a table, one at a time.
pub(crate) struct Rows<'a> {
    lines: Box<dyn BufRead + 'a>,
    name: TableName,
    doing: String,
    /// The plan for rows as the server sends them here.
    plan: Plan,
    /// The columns that stand behind the others once more, as they stand in the key.
    key_casts: Vec<usize>,
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
    /// In whatever order.
    pub(crate) fn unordered(session: &'a mut Session, table: &CopiedTable) -> Result<Self> {
        Self::new(session, table, Wanted { condition: None, order: "" })
    }

    /// In whatever order, those for which `condition`, which is SQL, holds; with their versions.
    pub(crate) fn versions(
        session: &'a mut Session,
        table: &CopiedTable,
        condition: &str,
    ) -> Result<Self> {
        Self::new(session, table, Wanted { condition: Some(condition), order: "" })
    }

    /// In the order of their keys' bytes, which is that of etcd.
    pub(crate) fn by_key(session: &'a mut Session, table: &CopiedTable) -> Result<Self> {
        if !session.is_sql_ascii() {
            let order = format!(" ORDER BY convert_to({}, 'UTF8')", table.plan.sql_key());
            return Self::new(session, table, Wanted { condition: None, order: &order });
        }
        // PostgreSQL orders by the bytes of its own. What has others in etcd is read first, and
        // held: a few rows, in a database that is in order but for them.
        let key = format!("convert_to({}, 'SQL_ASCII')", table.plan.sql_key());
        let condition = format!("encode({key}, 'escape') ~ '\\\\[23][0-7][0-7]'");
        let wanted = Wanted { condition: Some(&condition), order: "" };
        let mut beyond_ascii = Rows::new(&mut *session, table, wanted)?;
        let mut held = BTreeMap::new();
        while beyond_ascii.read()? {
            if beyond_ascii.repaired_key {
                held.insert(take(&mut beyond_ascii.key), take(&mut beyond_ascii.document));
            }
        }
        drop(beyond_ascii);
        let order = format!(" ORDER BY {key}");
        let rows = Self::new(session, table, Wanted { condition: None, order: &order })?;
        Ok(Self { held: Some(held), ..rows })
    }

    fn new(
        session: &'a mut Session,
        table: &CopiedTable,
        Wanted { condition, order }: Wanted<'_>,
    ) -> Result<Self> {
        let CopiedTable { published, plan } = table;
        let name = published.sql_name();
        let doing = format!("copying table {}", published.name);
        // A partitioned table has rows only in its partitions; of any other one, tables that
        // inherit from it are published in their own right.
        let only = if published.partitioned { "" } else { "ONLY " };
        let version = if condition.is_some() { ", xmin" } else { "" };
        // What is in unlogged partitions never comes in the stream.
        let unlogged = published.unlogged_partitions.iter().map(|(oid, _)| oid.to_string());
        let unlogged: Vec<_> = unlogged.collect();
        let logged = (!unlogged.is_empty())
            .then(|| format!("tableoid <> ALL ('{{{}}}'::oid[])", unlogged.join(",")));
        let conditions =
            [published.row_filter.as_deref(), condition, logged.as_deref()].into_iter().flatten();
        let conditions: Vec<_> = conditions.map(|sql| format!("({sql})")).collect();
        let filter = match conditions[..] {
            [] => String::new(),
            _ => format!(" WHERE {}", conditions.join(" AND ")),
        };
        let sql = format!(
            "COPY (SELECT {}{version} FROM {only}{name}{filter}{order}) TO STDOUT",
            plan.sql_columns()
        );
        let sql_ascii = session.is_sql_ascii();
        let lines = session.copy_out(&doing, &sql)?;
        Ok(Self {
            lines: Box::new(lines),
            name: published.name.clone(),
            doing,
            plan: plan.with_casts_made(),
            key_casts: plan.key_casts().collect(),
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

    /// Reads a row; false if there is none.
    fn read(&mut self) -> Result<bool> {
        self.line.clear();
        let read = self.lines.read_until(b'\n', &mut self.line);
        let length = read.map_err(|error| copy_error(&self.doing, error))?;
        self.key.clear();
        self.document.clear();
        self.repaired_key = false;
        if length == 0 {
            return Ok(false);
        }
        let mut cells: Vec<Cell<'_>> = split_line(&mut self.line).collect();
        if self.versioned {
            self.version = cells.pop().and_then(number).unwrap_or(0);
        }
        let texts = if self.sql_ascii { repaired(&cells) } else { Vec::new() };
        if !texts.is_empty() {
            let of_key = self.plan.key().iter().filter_map(|&column| cells.get(column));
            self.repaired_key = !repaired(of_key).is_empty();
            warn_once(not_utf8(&self.name));
            cells = with_repaired(&cells, &mut texts.iter());
        }
        let plan = &self.plan;
        let malformed = |what| Error::PostgresProtocol {
            doing: self.doing.clone(),
            problem: format!("a row of {} columns{what}", cells.len()),
        };
        let expected = plan.members().len() + self.key_casts.len();
        if cells.len() != expected {
            return Err(malformed(""));
        }
        let (document, key_casts) = cells.split_at(plan.members().len());
        let mut key = Cow::Borrowed(document);
        for (column, cell) in self.key_casts.iter().zip(key_casts) {
            key.to_mut()[*column] = *cell;
        }
        let key = RowKey::new(plan, &key, None).ok_or_else(|| malformed(" without its key"))?;
        key.write(&mut self.key);
        // A row of the table itself has no holes.
        let (casts, out) = (&mut self.casts, &mut self.document);
        write_document(plan, document, None, casts, out, &mut Vec::new());
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

/// Which rows are wanted, in SQL.
struct Wanted<'s> {
    condition: Option<&'s str>,
    order: &'s str,
}

fn number(cell: Cell<'_>) -> Option<u32> {
    let Cell::Text(text) = cell else { return None };
    str::from_utf8(text).ok()?.parse().ok()
}
