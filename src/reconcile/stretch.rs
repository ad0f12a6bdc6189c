//! A stretch of a table: some rows in the order of their keys, and the range of keys in which
//! there are no others. Stretches can be compared side by side.

use std::cmp::Ordering;
use std::mem::take;

use super::finding::Finding;
use super::rows::Rows;
use super::stored::{Stored, after};
use crate::error::Result;
use crate::mapping::Keyspace;

/// The most rows in a stretch: etcd reads larger ranges no faster.
const MAX_ROWS: usize = 2000;
/// What the rows of a stretch may take, but for the last of them, in bytes.
const MAX_BYTES: usize = 512 << 10;
/// How many findings go together.
const MAX_FINDINGS: usize = 4 * MAX_ROWS;

/// Rows with their range of keys.
#[derive(Debug, Default)]
pub(super) struct Stretch {
    start: Vec<u8>,
    /// The first key that is no longer in the range.
    end: Vec<u8>,
    /// All keys and documents, one after the other.
    bytes: Vec<u8>,
    /// Where each row's key ends, and where its document does.
    rows: Vec<(usize, usize)>,
}

/// What was found, with the keys and documents of all of it in one buffer.
#[derive(Debug, Default)]
pub(super) struct Findings {
    bytes: Vec<u8>,
    /// What each is, and where its key and its document end.
    found: Vec<(Kind, usize, usize)>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Same,
    Missing,
    Differs,
    Stale,
}

/// Cuts the rows of a table into stretches, of which the last ends where the table does.
pub(super) struct Stretches<'a> {
    rows: Rows<'a>,
    /// Where the next stretch starts; `None` after the last one.
    start: Option<Vec<u8>>,
    end: Vec<u8>,
}

impl<'a> Stretches<'a> {
    /// Of the rows whose keys are from `start` up to, but not including, `end`.
    pub(super) fn new(rows: Rows<'a>, start: &[u8], end: Vec<u8>) -> Self {
        Self { rows, start: Some(start.to_vec()), end }
    }

    /// The next stretch; `None` after the last one.
    pub(super) fn next(&mut self) -> Result<Option<Stretch>> {
        let Some(start) = self.start.take() else { return Ok(None) };
        let mut stretch = Stretch { start, ..Stretch::default() };
        while self.rows.advance()? {
            stretch.push(self.rows.key(), self.rows.document());
            if stretch.is_full() {
                stretch.end = after(self.rows.key());
                self.start = Some(stretch.end.clone());
                return Ok(Some(stretch));
            }
        }
        stretch.end = take(&mut self.end);
        Ok(Some(stretch))
    }
}

impl Stretch {
    /// Compares the rows, which have keys in this keyspace, with what is stored, and gives what was
    /// found to `sink`. Keys that are others' are passed over.
    pub(super) fn compare(
        &self,
        keyspace: &Keyspace,
        stored: &mut Stored<'_>,
        mut sink: impl FnMut(Findings) -> Result<()>,
    ) -> Result<()> {
        let mut findings = Findings::default();
        let mut rows = self.rows().peekable();
        stored.read(&self.start, &self.end, self.rows.len(), |found| {
            while let Some((key, document)) = rows.next_if(|(key, _)| *key < &found.key[..]) {
                findings.push(Finding::Missing { key, document });
            }
            let row = rows.next_if(|(key, _)| key.cmp(&&found.key[..]) == Ordering::Equal);
            findings.push(match row {
                Some((_, document)) if document == found.value => Finding::Same,
                Some((key, document)) => Finding::Differs { key, document },
                None if !keyspace.gives(&found.key) => return Ok(()),
                None => Finding::Stale { key: &found.key },
            });
            if findings.found.len() >= MAX_FINDINGS {
                sink(take(&mut findings))?;
            }
            Ok(())
        })?;
        for (key, document) in rows {
            findings.push(Finding::Missing { key, document });
        }
        sink(findings)
    }

    /// The rows' keys and documents.
    fn rows(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.rows.iter().scan(0, |start, &(key_end, end)| {
            let row = (&self.bytes[*start..key_end], &self.bytes[key_end..end]);
            *start = end;
            Some(row)
        })
    }

    fn push(&mut self, key: &[u8], document: &[u8]) {
        self.bytes.extend_from_slice(key);
        let key_end = self.bytes.len();
        self.bytes.extend_from_slice(document);
        self.rows.push((key_end, self.bytes.len()));
    }

    fn is_full(&self) -> bool {
        self.rows.len() >= MAX_ROWS || self.bytes.len() >= MAX_BYTES
    }
}

impl Findings {
    /// Each finding, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Finding<'_>> {
        self.found.iter().scan(0, |start, &(kind, key_end, end)| {
            let (key, document) = (&self.bytes[*start..key_end], &self.bytes[key_end..end]);
            *start = end;
            Some(match kind {
                Kind::Same => Finding::Same,
                Kind::Missing => Finding::Missing { key, document },
                Kind::Differs => Finding::Differs { key, document },
                Kind::Stale => Finding::Stale { key },
            })
        })
    }

    fn push(&mut self, finding: Finding<'_>) {
        let (kind, key, document) = match finding {
            Finding::Same => (Kind::Same, &[][..], &[][..]),
            Finding::Missing { key, document } => (Kind::Missing, key, document),
            Finding::Differs { key, document } => (Kind::Differs, key, document),
            Finding::Stale { key } => (Kind::Stale, key, &[][..]),
        };
        self.bytes.extend_from_slice(key);
        let key_end = self.bytes.len();
        self.bytes.extend_from_slice(document);
        self.found.push((kind, key_end, self.bytes.len()));
    }
}
