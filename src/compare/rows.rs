//! The rows of a table, as keys and documents.

use std::borrow::Cow;
use std::io::BufRead;
use std::slice;

use super::copy_text::split_line;
use crate::change::Cell;
use crate::document::Table;
use crate::error::{Error, Result, Unmet};
use crate::postgres::session::{copy_error, quoted};
use crate::postgres::{PublishedTable, Session};

/// The rows of a table, one at a time.
pub(crate) struct Rows<'a> {
    lines: Box<dyn BufRead + 'a>,
    doing: String,
    table: &'a Table,
    line: Vec<u8>,
    key: Vec<u8>,
    document: Vec<u8>,
}

impl<'a> Rows<'a> {
    /// In whatever order.
    pub(crate) fn unordered(
        session: &'a mut Session,
        published: &PublishedTable,
        table: &'a Table,
    ) -> Result<Self> {
        Self::new(session, published, table, "")
    }

    /// In the order of their keys' bytes, which is that of etcd.
    pub(crate) fn by_key(
        session: &'a mut Session,
        published: &PublishedTable,
        table: &'a Table,
    ) -> Result<Self> {
        // `format` is the output function; a cast to text is not, for boolean and char(n).
        let encoded = table.key_names().map(|name| {
            let text = format!("format('%s', {})", quoted(name));
            format!("replace(replace({text}, '%', '%25'), '/', '%2F')")
        });
        let encoded: Vec<_> = encoded.collect();
        let key = encoded.join(" || '/' || ");
        Self::new(session, published, table, &format!(" ORDER BY convert_to({key}, 'UTF8')"))
    }

    fn new(
        session: &'a mut Session,
        published: &PublishedTable,
        table: &'a Table,
        order: &str,
    ) -> Result<Self> {
        let name = published.sql_name();
        let doing = format!("copying table {}", published.name);
        // A partitioned table has rows only in its partitions; of any other one, tables that
        // inherit from it are published in their own right.
        let only = if published.partitioned { "" } else { "ONLY " };
        let filter = published.row_filter.as_ref().map(|filter| format!(" WHERE {filter}"));
        let sql = format!(
            "COPY (SELECT {} FROM {only}{name}{}{order}) TO STDOUT",
            published.sql_columns(table),
            filter.unwrap_or_default()
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
        let cells: Vec<Cell<'_>> = split_line(&mut self.line).collect();
        let Some((document, key_casts)) = split(self.table, &cells) else {
            let problem = format!("a row of {} columns", cells.len());
            return Err(Error::PostgresProtocol { doing: self.doing.clone(), problem });
        };
        let mut key = Cow::Borrowed(document);
        for (column, cell) in self.table.key_casts().zip(key_casts) {
            key.to_mut()[column] = *cell;
        }
        self.table.write_key(&key, None, &mut self.key);
        self.table.write_document(document, None, &mut self.document);
        Ok(true)
    }

    /// The row's key.
    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    /// The row's document.
    pub(crate) fn document(&self) -> &[u8] {
        &self.document
    }
}

/// What the document shows, and what the key shows instead of some of it.
fn split<'a>(table: &Table, cells: &'a [Cell<'a>]) -> Option<(&'a [Cell<'a>], &'a [Cell<'a>])> {
    let (document, key_casts) = cells.split_at_checked(table.width())?;
    (key_casts.len() == table.key_casts().count()).then_some((document, key_casts))
}
