//! A txn: operations that etcd carries out all or none, as one revision, if every compare holds
//! (etcd manual, "KV API", "Transaction").

use std::io::Write;

use super::json;

/// What etcd adds to a request before it looks at its size: an ID, the user's name and the auth
/// store's revision. In bytes, and generous.
const REQUEST_OVERHEAD: usize = 512;

/// A txn, written as the gateway's JSON while it is put together.
///
/// The compares stand last in the JSON, and can be added when all operations are in: a txn can be
/// prepared while the one before it, whose outcome its compare depends on, is under way.
///
/// etcd refuses a txn that puts a key twice, or that puts a key and deletes it.
#[derive(Clone, Debug)]
pub struct Txn {
    /// The JSON up to the last operation, and beyond that what [`Self::body`] put there.
    body: Vec<u8>,
    /// Where the operations end in `body`.
    operations_end: usize,
    operations: usize,
    /// The JSON of the operations for the case that a compare fails.
    otherwise: Vec<u8>,
    otherwise_operations: usize,
    /// The JSON of the compares.
    compares: Vec<u8>,
    compare_count: usize,
    request_bytes: usize,
}

impl Default for Txn {
    fn default() -> Self {
        let mut txn = Self {
            body: Vec::new(),
            operations_end: 0,
            operations: 0,
            otherwise: Vec::new(),
            otherwise_operations: 0,
            compares: Vec::new(),
            compare_count: 0,
            request_bytes: 0,
        };
        txn.clear();
        txn
    }
}

/// The revision as of which keys are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AsOf {
    /// The newest. The member that is asked waits for the others, and for all that is written before.
    Now,
    /// This one.
    Revision(i64),
    /// This one or a later one, whichever the member that is asked has: it waits for nothing.
    Since(i64),
}

impl AsOf {
    /// Whether what is as of `revision` is too old.
    pub(super) fn is_after(self, revision: i64) -> bool {
        matches!(self, Self::Since(least) if revision < least)
    }
}

impl Txn {
    /// An empty txn.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes it empty again; the memory is kept for the next one.
    pub fn clear(&mut self) {
        self.body.clear();
        self.body.extend_from_slice(b"{\"success\":[");
        self.operations_end = self.body.len();
        self.operations = 0;
        self.otherwise.clear();
        self.otherwise_operations = 0;
        self.compares.clear();
        self.compare_count = 0;
        self.request_bytes = REQUEST_OVERHEAD;
    }

    /// Sets `key` to `value`.
    pub fn put(&mut self, key: &[u8], value: &[u8]) {
        self.operation("request_put", [("key", key), ("value", value)]);
    }

    /// Deletes `key`, if it exists.
    pub fn delete(&mut self, key: &[u8]) {
        self.operation("request_delete_range", [("key", key)]);
    }

    /// Deletes the keys from `key` up to, but not including, `range_end`.
    pub fn delete_range(&mut self, key: &[u8], range_end: &[u8]) {
        self.operation("request_delete_range", [("key", key), ("range_end", range_end)]);
    }

    /// Reads `key`; what it finds is in [`TxnReply::gets`](super::TxnReply::gets).
    pub fn get(&mut self, key: &[u8]) {
        self.operation("request_range", [("key", key)]);
    }

    /// The same as of a revision.
    pub(super) fn get_as_of(&mut self, key: &[u8], as_of: AsOf) {
        self.get(key);
        // The operation that was just written ends with two braces.
        self.body.truncate(self.operations_end - 2);
        // A write to a Vec cannot fail.
        let _ = match as_of {
            AsOf::Now => Ok(()),
            AsOf::Revision(revision) => write!(self.body, ",\"revision\":\"{revision}\""),
            AsOf::Since(_) => write!(self.body, ",\"serializable\":true"),
        };
        self.body.extend_from_slice(b"}}");
        self.operations_end = self.body.len();
    }

    /// Reads the keys from `key` up to, but not including, `range_end`.
    pub(super) fn get_range(&mut self, key: &[u8], range_end: &[u8]) {
        self.operation("request_range", [("key", key), ("range_end", range_end)]);
    }

    /// Reads `key` if a compare fails, in place of the operations.
    pub fn otherwise_get(&mut self, key: &[u8]) {
        push_operation(&mut self.otherwise, "request_range", &[("key", key)]);
        self.otherwise_operations += 1;
        self.request_bytes += operation_bytes(&[key.len()]);
    }

    /// Lets the operations happen only if `key` was last changed by `revision`; 0 means that the
    /// key does not exist.
    pub fn compare_mod_revision(&mut self, key: &[u8], revision: i64) {
        /// Result and target, two bytes each, and a revision of up to eleven.
        const FIXED: usize = 15;

        push_separator(&mut self.compares);
        self.compares.extend_from_slice(b"{\"key\":");
        json::push_bytes(&mut self.compares, key);
        // A write to a Vec cannot fail.
        let _ = write!(
            self.compares,
            ",\"target\":\"MOD\",\"result\":\"EQUAL\",\"mod_revision\":\"{revision}\"}}"
        );
        self.compare_count += 1;
        self.request_bytes += field_bytes(field_bytes(key.len()) + FIXED);
    }

    /// Lets the operations happen only if no key that begins with `prefix` was put after
    /// `revision`, whatever keys there are.
    pub fn compare_none_newer(&mut self, prefix: &[u8], revision: i64) {
        /// As for [`Self::compare_mod_revision`].
        const FIXED: usize = 15;

        let range_end = prefix_end(prefix);
        push_separator(&mut self.compares);
        self.compares.extend_from_slice(b"{\"key\":");
        json::push_bytes(&mut self.compares, prefix);
        self.compares.extend_from_slice(b",\"range_end\":");
        json::push_bytes(&mut self.compares, &range_end);
        // A write to a Vec cannot fail.
        let _ = write!(
            self.compares,
            ",\"target\":\"MOD\",\"result\":\"LESS\",\"mod_revision\":\"{}\"}}",
            revision.saturating_add(1)
        );
        self.compare_count += 1;
        let fields = field_bytes(prefix.len()) + field_bytes(range_end.len()) + FIXED;
        self.request_bytes += field_bytes(fields);
    }

    /// How many operations it counts for against etcd's `--max-txn-ops`.
    #[must_use]
    pub fn operations(&self) -> usize {
        self.operations.max(self.otherwise_operations).max(self.compare_count)
    }

    /// What it counts for against etcd's `--max-request-bytes`, never too little. etcd counts the
    /// protobuf, which is smaller than the JSON.
    #[must_use]
    pub fn request_bytes(&self) -> usize {
        self.request_bytes
    }

    /// What [`Self::request_bytes`] grows by with a [`Self::put`] of a key and a value of these
    /// lengths, in bytes.
    #[must_use]
    pub fn put_bytes(key: usize, value: usize) -> usize {
        operation_bytes(&[key, value])
    }

    /// What [`Self::request_bytes`] grows by with a [`Self::delete`] of a key of this length, in
    /// bytes.
    #[must_use]
    pub fn delete_bytes(key: usize) -> usize {
        operation_bytes(&[key])
    }

    /// The same for a [`Self::delete_range`] of a key and a range end of these lengths.
    #[must_use]
    pub fn delete_range_bytes(key: usize, range_end: usize) -> usize {
        operation_bytes(&[key, range_end])
    }

    /// The JSON. A misspelt name in it would be skipped by etcd without a word.
    pub(crate) fn body(&mut self) -> &[u8] {
        self.body.truncate(self.operations_end);
        for part in
            [b"],\"failure\":[", &self.otherwise[..], b"],\"compare\":[", &self.compares, b"]}"]
        {
            self.body.extend_from_slice(part);
        }
        &self.body
    }

    fn operation<const N: usize>(&mut self, name: &str, fields: [(&str, &[u8]); N]) {
        self.body.truncate(self.operations_end);
        push_operation(&mut self.body, name, &fields);
        self.operations_end = self.body.len();
        self.operations += 1;
        self.request_bytes += operation_bytes(&fields.map(|(_, bytes)| bytes.len()));
    }
}

/// The end of the range of all keys that begin with `prefix`: the first key after them. It is
/// `"\0"`, which etcd takes for "no end", if no such key exists.
#[must_use]
pub fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    vec![0]
}

fn push_operation(json: &mut Vec<u8>, name: &str, fields: &[(&str, &[u8])]) {
    push_separator(json);
    for part in ["{\"", name, "\":{"] {
        json.extend_from_slice(part.as_bytes());
    }
    for (index, (field, bytes)) in fields.iter().enumerate() {
        for part in [if index == 0 { "\"" } else { ",\"" }, field, "\":"] {
            json.extend_from_slice(part.as_bytes());
        }
        json::push_bytes(json, bytes);
    }
    json.extend_from_slice(b"}}");
}

/// Puts a comma behind the element before, if there is one.
fn push_separator(json: &mut Vec<u8>) {
    if json.last() == Some(&b'}') {
        json.push(b',');
    }
}

/// The size in the protobuf of an operation with fields of these lengths: the request in a
/// RequestOp in the TxnRequest.
fn operation_bytes(fields: &[usize]) -> usize {
    let request = fields.iter().map(|&length| field_bytes(length)).sum();
    field_bytes(field_bytes(request))
}

/// The size of a field of this many bytes in a protobuf: a tag, the length as a varint, the bytes.
fn field_bytes(bytes: usize) -> usize {
    let varint = (usize::BITS - (bytes | 1).leading_zeros()).div_ceil(7);
    1 + varint as usize + bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(txn: &mut Txn) -> String {
        String::from_utf8(txn.body().to_vec()).unwrap()
    }

    #[test]
    fn a_body_has_the_compares_last() {
        let mut txn = Txn::new();
        assert_eq!(body(&mut txn), r#"{"success":[],"failure":[],"compare":[]}"#);
        txn.put(b"k", b"v");
        txn.compare_mod_revision(b"c", 7);
        // What follows a finished body goes where it belongs all the same.
        let _ = txn.body();
        txn.delete(b"d");
        txn.delete_range(b"a", b"b");
        txn.get(b"g");
        txn.get_as_of(b"g", AsOf::Revision(7));
        txn.get_as_of(b"g", AsOf::Since(7));
        txn.otherwise_get(b"c");
        txn.compare_mod_revision(b"", 0);
        let expected = concat!(
            r#"{"success":[{"request_put":{"key":"aw==","value":"dg=="}},"#,
            r#"{"request_delete_range":{"key":"ZA=="}},"#,
            r#"{"request_delete_range":{"key":"YQ==","range_end":"Yg=="}},"#,
            r#"{"request_range":{"key":"Zw=="}},"#,
            r#"{"request_range":{"key":"Zw==","revision":"7"}},"#,
            r#"{"request_range":{"key":"Zw==","serializable":true}}],"#,
            r#""failure":[{"request_range":{"key":"Yw=="}}],"#,
            r#""compare":[{"key":"Yw==","target":"MOD","result":"EQUAL","mod_revision":"7"},"#,
            r#"{"key":"","target":"MOD","result":"EQUAL","mod_revision":"0"}]}"#
        );
        assert_eq!(body(&mut txn), expected);
        assert_eq!(body(&mut txn), expected, "a second send is the same");
        assert_eq!(txn.operations(), 6);

        txn.clear();
        assert_eq!(body(&mut txn), body(&mut Txn::new()));
        assert_eq!((txn.operations(), txn.request_bytes()), (0, REQUEST_OVERHEAD));
    }

    #[test]
    fn the_size_is_that_of_the_protobuf() {
        for (bytes, field) in
            [(0, 2), (1, 3), (127, 129), (128, 131), (16_383, 16_386), (16_384, 16_388)]
        {
            assert_eq!(field_bytes(bytes), field);
        }
        // TxnRequest{success: [RequestOp{PutRequest{key: "k", value: "v"}}]}
        //   12 08 | 12 06 | 0a 01 6b | 12 01 76
        let mut txn = Txn::new();
        txn.put(b"k", b"v");
        assert_eq!(txn.request_bytes() - REQUEST_OVERHEAD, 10);
        assert_eq!(Txn::put_bytes(1, 1), 10);
        txn.delete(b"k");
        txn.delete_range(b"k", b"l");
        assert_eq!(
            txn.request_bytes() - REQUEST_OVERHEAD,
            10 + Txn::delete_bytes(1) + Txn::delete_range_bytes(1, 1)
        );
    }

    #[test]
    fn a_prefix_ends_before_the_next_key_that_lacks_it() {
        for (prefix, end) in [
            (&b"/a/"[..], &b"/a0"[..]),
            (b"a\xff", b"b"),
            (b"a\xff\xff", b"b"),
            (b"\xff", b"\0"),
            (b"", b"\0"),
        ] {
            assert_eq!(prefix_end(prefix), end, "{prefix:?}");
        }
    }
}
