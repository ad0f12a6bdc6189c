//! The rows of a table, as keys and documents.

use std::borrow::Cow;
use std::io::BufRead;

use super::copy_text::split_line;
use crate::cell::Cell;
use crate::document::{Casts, RowKey, write_document};
use crate::error::{Error, Result};
use crate::mapping::{CopiedTable, Plan};
use crate::postgres::Session;
use crate::postgres::session::copy_error;

/// The rows of a table, one at a time.
pub(crate) struct Rows<'a> {
    lines: Box<dyn BufRead + 'a>,
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
        let order = format!(" ORDER BY convert_to({}, 'UTF8')", table.plan.sql_key());
        Self::new(session, table, Wanted { condition: None, order: &order })
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
        let conditions = [published.row_filter.as_deref(), condition].into_iter().flatten();
        let conditions: Vec<_> = conditions.map(|sql| format!("({sql})")).collect();
        let filter = match conditions[..] {
            [] => String::new(),
            _ => format!(" WHERE {}", conditions.join(" AND ")),
        };
        let sql = format!(
            "COPY (SELECT {}{version} FROM {only}{name}{filter}{order}) TO STDOUT",
            plan.sql_columns()
        );
        let lines = session.copy_out(&doing, &sql)?;
        Ok(Self {
            lines: Box::new(lines),
            doing,
            plan: plan.with_casts_made(),
            key_casts: plan.key_casts().collect(),
            casts: Casts::default(),
            line: Vec::new(),
            key: Vec::new(),
            document: Vec::new(),
            versioned: condition.is_some(),
            version: 0,
        })
    }

    /// Goes to the next row; false if there is none.
    pub(crate) fn advance(&mut self) -> Result<bool> {
        self.line.clear();
        let read = self.lines.read_until(b'\n', &mut self.line);
        let length = read.map_err(|error| copy_error(&self.doing, error))?;
        self.key.clear();
        self.document.clear();
        if length == 0 {
            return Ok(false);
        }
        let mut cells: Vec<Cell<'_>> = split_line(&mut self.line).collect();
        if self.versioned {
            self.version = cells.pop().and_then(number).unwrap_or(0);
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
