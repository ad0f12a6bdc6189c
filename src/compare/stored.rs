//! What etcd has of a table, in the order of the keys.

use std::vec;

use crate::error::{Error, Result};
use crate::etcd::{Client, KeyValue, Pages, Reason, prefix_end};
use crate::retry::Retry;
use crate::stop::Stop;

/// What etcd has under one key.
pub(crate) type StoredRow = KeyValue;

/// The keys and values below a table's prefix.
pub(crate) struct StoredRows<'a> {
    client: &'a Client,
    stop: &'a Stop,
    range_end: Vec<u8>,
    pages: Pages,
    page: vec::IntoIter<KeyValue>,
    /// The first key that was not read yet.
    next: Vec<u8>,
}

impl<'a> StoredRows<'a> {
    pub(crate) fn new(client: &'a Client, prefix: &[u8], stop: &'a Stop) -> Self {
        let range_end = prefix_end(prefix);
        let pages = client.pages(prefix, &range_end, false);
        let page = Vec::new().into_iter();
        Self { client, stop, range_end, pages, page, next: prefix.to_vec() }
    }

    /// The next key and its value.
    pub(crate) fn next(&mut self) -> Result<Option<StoredRow>> {
        if self.page.len() == 0 {
            self.page = self.next_page()?.into_iter();
            if let Some(last) = self.page.as_slice().last() {
                self.next = [&last.key[..], b"\0"].concat();
            }
        }
        Ok(self.page.next())
    }

    fn next_page(&mut self) -> Result<Vec<KeyValue>> {
        let Self { client, stop, range_end, pages, next, .. } = self;
        Retry::of_requests().despite_refusals(true).until_done(
            || match pages.next_page() {
                Ok(page) => Ok(page.unwrap_or_default()),
                // Nobody else writes these keys, so the rest of a newer revision does as well.
                Err(error) if error.reason() == Some(Reason::Compacted) => {
                    *pages = client.pages(next, range_end, false);
                    Ok(pages.next_page()?.unwrap_or_default())
                }
                Err(error) => Err(Error::from(error)),
            },
            |pause| stop.wait(pause),
        )
    }
}
