//! The rows that have no key: `/STATE_PATH/without_key/TABLE/KEY` says so of each.

use std::fmt::{self, Display, Formatter};

use crate::error::Result;
use crate::etcd::{Client, prefix_end};
use crate::mapping::table_named;

/// How many rows of a table are counted.
const MOST: usize = 1000;

/// Such rows of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WithoutKey {
    /// The table's name as it stands in keys.
    pub(crate) name: Vec<u8>,
    /// What the keys begin with that say so.
    pub(crate) marks: Vec<u8>,
    /// How many there are, as far as they were counted.
    count: usize,
    /// Whether there are more.
    more: bool,
    /// The first of them: the columns of the table's key, as they stand in keys.
    first: String,
}

impl WithoutKey {
    /// The table's name.
    pub(crate) fn table(&self) -> String {
        let named = table_named(&self.name).map(|name| name.to_string());
        named.unwrap_or_else(|| String::from_utf8_lossy(&self.name).into_owned())
    }
}

/// Says that they are missing, and what to do.
impl Display for WithoutKey {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { count, first, .. } = self;
        match (count, self.more) {
            (1, false) => write!(f, "a row has no key, {first}")?,
            (_, false) => write!(f, "{count} rows have no key, the first of them {first}")?,
            (_, true) => {
                write!(f, "more than {count} rows have no key, the first of them {first}")?
            }
        }
        f.write_str(": a column in it is NULL or empty, or a label in it is; give it a value")
    }
}

/// The rows that have no key, by table; `marks` is what the keys that say so begin with. A table takes
/// one request, however many there are.
pub(crate) fn read(client: &mut Client, marks: &[u8]) -> Result<Vec<WithoutKey>> {
    let end = prefix_end(marks);
    let (mut found, mut start) = (Vec::new(), marks.to_vec());
    loop {
        let mut pages = client.pages(&start, &end, true).at_most(MOST);
        let Some(page) = pages.next_page()? else { return Ok(found) };
        let more = pages.has_more();
        let Some(name) = page.first().and_then(|first| parts(marks, &first.key)) else {
            return Ok(found);
        };
        let (name, first) = name;
        let below = [marks, name, b"/"].concat();
        let count = page.iter().filter(|found| found.key.starts_with(&below)).count();
        start = prefix_end(&below);
        found.push(WithoutKey {
            name: name.to_vec(),
            marks: below,
            count,
            more: more && count == page.len(),
            first: String::from_utf8_lossy(first).into_owned(),
        });
    }
}

/// The table's name in such a key, and the row's own key.
fn parts<'k>(marks: &[u8], key: &'k [u8]) -> Option<(&'k [u8], &'k [u8])> {
    let rest = key.strip_prefix(marks)?;
    let slash = memchr::memchr(b'/', rest)?;
    Some((&rest[..slash], &rest[slash + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_named_with_how_many_and_the_first() {
        let key = b"/s/without_key/x.t/a%2F/7";
        assert_eq!(parts(b"/s/without_key/", key), Some((&b"x.t"[..], &b"a%2F/7"[..])));
        let rows = |count, more| WithoutKey {
            name: b"t".to_vec(),
            marks: Vec::new(),
            count,
            more,
            first: "7".to_owned(),
        };
        assert_eq!(rows(1, false).table(), "public.t");
        for (rows, expected) in [
            (rows(1, false), "a row has no key, 7: "),
            (rows(3, false), "3 rows have no key, the first of them 7: "),
            (rows(1000, true), "more than 1000 rows have no key, the first of them 7: "),
        ] {
            assert!(rows.to_string().starts_with(expected), "{rows}");
        }
    }
}
