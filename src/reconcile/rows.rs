//! The rows of a table, as keys and documents.

use std::borrow::Cow;
use std::io::BufRead;
use std::slice;

use super::copy_text::split_line;
use crate::cell::Cell;
use crate::document::Table;
use crate::error::{Error, Result, Unmet};
use crate::postgres::{PublishedTable, Session, copy_error, quoted};

/// The rows of a table, one at a time.
pub(crate) struct Rows<'a> {
    lines: Box<dyn BufRead + 'a>,
    doing: String,
    table: &'a Table,
    line: Vec<u8>,
    key: Vec<u8>,
    document: Vec<u8>,
    /// Whether the version stands behind the columns.
    versioned: bool,
    version: u32,
}

impl<'a> Rows<'a> {
    /// In whatever order.
    pub(crate) fn unordered(
        session: &'a mut Session,
        published: &PublishedTable,
        table: &'a Table,
    ) -> Result<Self> {
        Self::new(session, published, table, Wanted { condition: None, order: "" })
    }

    /// In whatever order, those for which `condition`, which is SQL, holds; with their versions.
    pub(crate) fn versions(
        session: &'a mut Session,
        published: &PublishedTable,
        table: &'a Table,
        condition: &str,
    ) -> Result<Self> {
        Self::new(session, published, table, Wanted { condition: Some(condition), order: "" })
    }

    /// In the order of their keys' bytes, which is that of etcd.
    pub(crate) fn by_key(
        session: &'a mut Session,
        published: &PublishedTable,
        table: &'a Table,
    ) -> Result<Self> {
        let order = format!(" ORDER BY convert_to({}, 'UTF8')", sql_key(table));
        Self::new(session, published, table, Wanted { condition: None, order: &order })
    }

    fn new(
        session: &'a mut Session,
        published: &PublishedTable,
        table: &'a Table,
        Wanted { condition, order }: Wanted<'_>,
    ) -> Result<Self> {
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
            published.sql_columns(table)
        );
        Unmet::none(&session.missing_grants(slice::from_ref(published))?)?;
        let lines = session.copy_out(&doing, &sql)?;
        Ok(Self {
            lines: Box::new(lines),
            doing,
            table,
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
        let Some((document, key_casts)) = split(self.table, &cells) else {
            let problem = format!("a row of {} columns", cells.len());
            return Err(Error::PostgresProtocol { doing: self.doing.clone(), problem });
        };
        let mut key = Cow::Borrowed(document);
        for (column, cell) in self.table.key_casts().zip(key_casts) {
            key.to_mut()[column] = *cell;
        }
        self.table.write_key(&key, None, &mut self.key);
        // A row of the table itself has no holes.
        self.table.write_document(document, None, &mut self.document, &mut Vec::new());
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

/// The columns of the key as they stand in it, as SQL.
pub(crate) fn sql_key(table: &Table) -> String {
    // `format` is the output function; a cast to text is not, for boolean and char(n).
    let encoded = table.key_names().map(|name| {
        let text = format!("format('%s', {})", quoted(name));
        format!("replace(replace({text}, '%', '%25'), '/', '%2F')")
    });
    encoded.collect::<Vec<_>>().join(" || '/' || ")
}

fn number(cell: Cell<'_>) -> Option<u32> {
    let Cell::Text(text) = cell else { return None };
    str::from_utf8(text).ok()?.parse().ok()
}

/// What the document shows, and what the key shows instead of some of it.
fn split<'a>(table: &Table, cells: &'a [Cell<'a>]) -> Option<(&'a [Cell<'a>], &'a [Cell<'a>])> {
    let (document, key_casts) = cells.split_at_checked(table.width())?;
    (key_casts.len() == table.key_casts().count()).then_some((document, key_casts))
}
