//! Reading many keys, page by page, as they all were at one revision.

use std::io::Write;

use super::client::{Client, Request};
use super::error::Result;
use super::json;
use super::reply::{KeyValue, RangeReply};

/// How many keys the first page asks for. Their sizes are not known yet.
const FIRST_LIMIT: usize = 1000;
/// The most keys that a page asks for: more of them no longer make it faster.
const MAX_LIMIT: usize = 4000;
/// The size of a reply that pages aim at, in bytes of JSON: what a page holds is held in memory,
/// and the gateways of old releases send at most 4 MiB.
const AIM: usize = 2 << 20;

/// The pages of a range of keys, in the keys' order.
///
/// The first page pins the revision, so that the pages together are the range as it was at that
/// moment, whatever is written meanwhile.
///
/// etcd counts the rest of the range for each page: a range of many pages is read faster as
/// several ranges.
///
/// If the revision is compacted away before the last page, a page fails with
/// [`Reason::Compacted`](super::Reason::Compacted), and the range has to be begun anew.
pub struct Pages<'c> {
    client: &'c mut Client,
    /// The next page's first key; `None` after the last page.
    next: Option<Vec<u8>>,
    range_end: Vec<u8>,
    keys_only: bool,
    revision: Option<i64>,
    limit: usize,
    body: Vec<u8>,
}

/// Some keys of a range, in their order.
pub type Page = Vec<KeyValue>;

impl Client {
    /// The keys from `key` up to, but not including, `range_end`, page by page; `keys_only` leaves
    /// the values out. Nothing is sent before the first page is asked for.
    #[must_use]
    pub fn pages(&mut self, key: &[u8], range_end: &[u8], keys_only: bool) -> Pages<'_> {
        Pages::new(self, key, range_end, keys_only)
    }

    /// Whether there is a key from `key` up to, but not including, `range_end`.
    ///
    /// # Errors
    /// When no endpoint answers it.
    pub fn has_any(&mut self, key: &[u8], range_end: &[u8]) -> Result<bool> {
        let first = self.pages(key, range_end, true).at_most(1).next_page()?;
        Ok(first.is_some())
    }
}

impl<'c> Pages<'c> {
    pub(super) fn new(
        client: &'c mut Client,
        key: &[u8],
        range_end: &[u8],
        keys_only: bool,
    ) -> Self {
        Self {
            client,
            next: Some(key.to_vec()),
            range_end: range_end.to_vec(),
            keys_only,
            revision: None,
            limit: FIRST_LIMIT,
            body: Vec::new(),
        }
    }

    /// Has the first page ask for at most `limit` keys. More follow all the same.
    #[must_use]
    pub fn at_most(mut self, limit: usize) -> Self {
        self.limit = limit.clamp(1, MAX_LIMIT);
        self
    }

    /// Has the pages show the range as it was at a revision.
    #[must_use]
    pub fn at(mut self, revision: Option<i64>) -> Self {
        self.revision = revision;
        self
    }

    /// The next keys; `None` when there are no more. A page is never empty.
    ///
    /// # Errors
    /// As [`Client::get`]; [`Reason::Compacted`](super::Reason::Compacted) too. After an error it
    /// can be called again and goes on where it was.
    pub fn next_page(&mut self) -> Result<Option<Page>> {
        let Some(first) = self.next.take() else { return Ok(None) };
        let reply = match self.read(&first) {
            Ok(reply) => reply,
            Err(error) => {
                self.next = Some(first);
                return Err(error);
            }
        };
        self.revision.get_or_insert(reply.header.revision);
        if let (true, Some(last)) = (reply.more, reply.kvs.last()) {
            // The key that follows `last` in the order of bytes: nothing fits in between.
            self.next = Some([&last.key[..], b"\0"].concat());
        }
        Ok(Some(reply.kvs).filter(|page| !page.is_empty()))
    }

    /// The revision that the pages show the range at; `None` before the first page.
    #[must_use]
    pub fn revision(&self) -> Option<i64> {
        self.revision
    }

    /// Whether keys follow that no page has shown yet.
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.next.is_some()
    }

    /// Asks for a page, and for a smaller one as long as it is more than etcd can send.
    fn read(&mut self, first: &[u8]) -> Result<RangeReply> {
        loop {
            self.write_body(first);
            match self.ask() {
                Err(error) if error.asked_too_much() && self.limit > 1 => self.limit /= 2,
                reply => return reply,
            }
        }
    }

    fn ask(&mut self) -> Result<RangeReply> {
        let request = Request::reading("/kv/range", &self.body);
        let reply: RangeReply = self.client.ask(&request)?;
        let reply_bytes = self.client.reply_bytes();
        if let Some(average) = reply_bytes.checked_div(reply.kvs.len()) {
            self.limit = next_limit(self.limit, average);
        }
        Ok(reply)
    }

    fn write_body(&mut self, first: &[u8]) {
        self.body.clear();
        self.body.extend_from_slice(b"{\"key\":");
        json::push_bytes(&mut self.body, first);
        self.body.extend_from_slice(b",\"range_end\":");
        json::push_bytes(&mut self.body, &self.range_end);
        // A write to a Vec cannot fail. Revision 0 is the store's newest.
        let _ = write!(
            self.body,
            ",\"limit\":\"{}\",\"revision\":\"{}\",\"keys_only\":{}}}",
            self.limit,
            self.revision.unwrap_or(0),
            self.keys_only
        );
    }
}

/// The next page's number of keys, after one of `limit` keys that took `average` bytes each. It
/// grows step by step, since the next values may be larger than these.
fn next_limit(limit: usize, average: usize) -> usize {
    (AIM / average.max(1)).min(limit * 2).clamp(1, MAX_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_the_size_of_what_they_hold() {
        for (limit, average, next) in [
            (1000, 100, 2000),
            (2000, 100, 4000),
            (4000, 100, 4000),
            (4000, 2 << 20, 1),
            (1, 3 << 20, 1),
            (1, 1, 2),
            (1000, 0, 2000),
            (4000, 2 << 10, 1024),
        ] {
            assert_eq!(next_limit(limit, average), next, "{limit} keys of {average} bytes");
        }
    }
}
