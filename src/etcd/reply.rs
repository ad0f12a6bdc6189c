//! What the gateway answers. Fields with a zero value are left out of a reply, so each one here
//! has a default; fields that are not read here are skipped.
//!
//! There are two gateways. The first (grpc-gateway 1: etcd 3.4 and upstream's 3.5) writes errors as
//! `{error, message, code}`, and a watch's as `{"error":{grpc_code, http_code, message}}`; the
//! second (grpc-gateway 2: from 3.6 on, and Debian's 3.5.16) as `{code, message, details}`, and a
//! watch's as `{"error":{code, message, details}}`.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::error::{ErrorKind, Reason};
use super::json;

/// The most objects in an answer. A page has as many as keys, and one, at most 4000; a txn's answer
/// four for each operation.
const OBJECT_LIMIT: usize = 1 << 18;

/// The answer to a txn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnReply {
    /// Whether every compare held, so that the operations were carried out.
    pub succeeded: bool,
    /// The store's revision after the txn: the one that its changes have, if it made any.
    pub revision: i64,
    /// What the gets of the branch that was carried out found, in their order; `None` for a key
    /// that does not exist.
    pub gets: Vec<Option<KeyValue>>,
    /// How many keys the branch that was carried out deleted.
    pub deleted: i64,
}

/// A key and what etcd holds for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct KeyValue {
    /// The key.
    #[serde(default, deserialize_with = "json::bytes")]
    pub key: Vec<u8>,
    /// The value; empty if only keys were asked for.
    #[serde(default, deserialize_with = "json::bytes")]
    pub value: Vec<u8>,
    /// The revision that made the key.
    #[serde(default, deserialize_with = "json::int64")]
    pub create_revision: i64,
    /// The revision that changed the key last.
    #[serde(default, deserialize_with = "json::int64")]
    pub mod_revision: i64,
}

/// RangeResponse.
#[derive(Debug, Default, Deserialize)]
pub(super) struct RangeReply {
    #[serde(default)]
    pub(super) header: Header,
    #[serde(default)]
    pub(super) kvs: Vec<KeyValue>,
    /// Whether the range has more keys than the limit let through.
    #[serde(default)]
    pub(super) more: bool,
}

/// ResponseHeader.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Header {
    /// The cluster's ID, an unsigned number of 64 bits.
    pub(super) cluster_id: Option<String>,
    /// The store's revision.
    #[serde(default, deserialize_with = "json::int64")]
    pub(super) revision: i64,
}

/// TxnResponse.
#[derive(Deserialize)]
struct TxnResponse {
    #[serde(default)]
    header: Header,
    #[serde(default)]
    succeeded: bool,
    #[serde(default)]
    responses: Vec<ResponseOp>,
}

/// ResponseOp; a put's says nothing that is read here.
#[derive(Deserialize)]
struct ResponseOp {
    response_range: Option<RangeReply>,
    response_delete_range: Option<DeleteRangeReply>,
}

/// DeleteRangeResponse.
#[derive(Deserialize)]
struct DeleteRangeReply {
    #[serde(default, deserialize_with = "json::int64")]
    deleted: i64,
}

/// AuthenticateResponse.
#[derive(Deserialize)]
pub(super) struct Login<'a> {
    #[serde(borrow)]
    pub(super) token: Cow<'a, str>,
}

/// What `/version` answers.
#[derive(Deserialize)]
pub(super) struct Version<'a> {
    #[serde(borrow)]
    pub(super) etcdserver: Cow<'a, str>,
}

/// An error of either gateway.
#[derive(Deserialize)]
struct Failure<'a> {
    #[serde(alias = "grpc_code")]
    code: u32,
    #[serde(borrow)]
    error: Option<Cow<'a, str>>,
    #[serde(borrow)]
    message: Option<Cow<'a, str>>,
}

/// Reads a reply.
///
/// # Errors
/// [`ErrorKind::NotEtcd`] if it is not what etcd answers.
pub(super) fn parse<'a, T: Deserialize<'a>>(reply: &'a [u8]) -> Result<T, ErrorKind> {
    // An empty object is read into more bytes than it has. No other brace stands in an answer:
    // keys and values are base64.
    if memchr::memchr_iter(b'{', reply).count() > OBJECT_LIMIT {
        let problem = format!("it has more than {OBJECT_LIMIT} objects");
        return Err(ErrorKind::NotEtcd { status: 200, problem });
    }
    serde_json::from_slice(reply)
        .map_err(|error| ErrorKind::NotEtcd { status: 200, problem: repeated(&error.to_string()) })
}

/// Reads the reply to a txn.
///
/// # Errors
/// [`ErrorKind::NotEtcd`] if it is not what etcd answers.
pub(super) fn txn(reply: &[u8]) -> Result<TxnReply, ErrorKind> {
    let TxnResponse { header, succeeded, responses } = parse(reply)?;
    let deletes = responses.iter().filter_map(|response| response.response_delete_range.as_ref());
    let deleted = deletes.fold(0_i64, |sum, delete| sum.saturating_add(delete.deleted));
    let ranges = responses.into_iter().filter_map(|response| response.response_range);
    let gets = ranges.map(|mut range| range.kvs.pop()).collect();
    Ok(TxnReply { succeeded, revision: header.revision, gets, deleted })
}

/// The ID of the cluster that answers; `None` if the answer names none.
pub(super) fn cluster(reply: &[u8]) -> Option<u64> {
    let mut found = None;
    // What follows the header is not read: this ends in an error, and that of a page is long.
    let _ = serde_json::Deserializer::from_slice(reply).deserialize_map(ClusterOf(&mut found));
    found
}

/// Finds the cluster in an answer's header, which stands first.
struct ClusterOf<'a>(&'a mut Option<u64>);

impl<'de> Visitor<'de> for ClusterOf<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with a header")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut reply: A) -> Result<(), A::Error> {
        if reply.next_key::<Cow<'_, str>>()?.is_some_and(|name| name == "header") {
            let Header { cluster_id, .. } = reply.next_value()?;
            *self.0 = cluster_id.and_then(|text| text.parse().ok());
        }
        Ok(())
    }
}

/// Reads what came with an HTTP `status` other than 200.
pub(super) fn failure(status: u16, reply: &[u8]) -> ErrorKind {
    /// The most of a foreign answer that a message repeats, in bytes.
    const EXCERPT: usize = 120;

    /// The error of an answer of many lines.
    #[derive(Deserialize)]
    struct StreamFailure<'a> {
        #[serde(borrow)]
        error: &'a RawValue,
    }

    let nested: Result<StreamFailure<'_>, _> = serde_json::from_slice(reply);
    let parsed = serde_json::from_slice(reply)
        .or_else(|error| serde_json::from_str(nested.map_err(|_| error)?.error.get()));
    if let Ok(Failure { code, error, message }) = parsed {
        let message = repeated(&message.or(error).unwrap_or_default());
        return ErrorKind::Answer { reason: Reason::of(code, &message), code, message };
    }
    let excerpt = reply[..reply.len().min(EXCERPT)].trim_ascii().escape_ascii().to_string();
    let says = |text: &str| excerpt.contains(text);
    match status {
        400 if says("CommonName of client") => ErrorKind::NamedCertificate,
        // What a proxy says of a server that speaks HTTP/2 alone.
        _ if says("malformed HTTP") => ErrorKind::GrpcOnly,
        status => ErrorKind::NotEtcd { status, problem: format!("\"{excerpt}\"") },
    }
}

/// A server's text as a message repeats it: on one line, and not without end.
fn repeated(text: &str) -> String {
    /// The most of it, in characters.
    const LONGEST: usize = 1000;

    let printable = |letter: char| if letter.is_control() { '\u{FFFD}' } else { letter };
    text.chars().take(LONGEST).map(printable).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn replies_of_every_version_are_read() {
        for reply in [
            // 3.4
            r#"{"header":{"cluster_id":"1","revision":"5"},"succeeded":true,"responses":[
               {"response_put":{"header":{"revision":"5"}}},
               {"response_range":{"header":{"revision":"5"},"kvs":[{"key":"aw==","create_revision":"2",
                "mod_revision":"5","version":"3","value":"dg=="}],"count":"1"}},
               {"response_range":{"header":{"revision":"5"}}}]}"#,
            // 3.6 puts white space in
            r#"{ "header" : {"revision": "5"}, "succeeded": true, "responses": [ {"response_put": {}},
               {"response_range":{"kvs":[{"mod_revision":5,"key":"aw==","value":"dg==",
                "create_revision":2,"lease":"0"}]}}, {"response_range":{"kvs":[],"more":false}} ] } "#,
        ] {
            let found = KeyValue {
                key: b"k".to_vec(),
                value: b"v".to_vec(),
                create_revision: 2,
                mod_revision: 5,
            };
            let gets = vec![Some(found), None];
            let expected = TxnReply { succeeded: true, revision: 5, gets, deleted: 0 };
            assert_eq!(txn(reply.as_bytes()), Ok(expected));
        }
        let refused = TxnReply { succeeded: false, revision: 0, gets: vec![], deleted: 0 };
        assert_eq!(txn(b"{}"), Ok(refused));
        let deletes = br#"{"succeeded":true,"responses":[{"response_delete_range":{"deleted":"7"}},
            {"response_delete_range":{}},{"response_delete_range":{"deleted":1}}]}"#;
        assert_eq!(txn(deletes).map(|reply| reply.deleted), Ok(8));
    }

    #[test]
    fn the_cluster_is_read_without_the_rest() {
        for (reply, expected) in [
            (
                r#"{"header":{"cluster_id":"18446744073709551615","revision":"5"},"kvs":[]}"#,
                Some(u64::MAX),
            ),
            (r#"{ "header" : {"cluster_id": "7"}, "kvs": [ this is not read"#, Some(7)),
            (r#"{"header":{"revision":"5"}}"#, None),
            (r#"{"header":{"cluster_id":"many"}}"#, None),
            ("{}", None),
            ("<html>", None),
        ] {
            assert_eq!(cluster(reply.as_bytes()), expected, "{reply}");
        }
    }

    #[test]
    fn hostile_replies_are_errors() {
        let deep = "[".repeat(100_000);
        for reply in [
            "",
            "null",
            "[1",
            "<html>",
            "{\"header\":{\"revision\":\"5\"",
            "{\"header\":5}",
            "{\"header\":{\"revision\":1e400}}",
            "{\"header\":{\"revision\":\"99999999999999999999\"}}",
            "{\"succeeded\":\"true\"}",
            "{\"responses\":{}}",
            "{\"responses\":[{\"response_range\":{\"kvs\":[{\"key\":\"%\"}]}}]}",
            "{\"succeeded\":true} {}",
            "{\"succeeded\":true,\"succeeded\":true}",
            "{\"responses\":[\u{0}]}",
            &deep,
        ] {
            let answer = txn(reply.as_bytes());
            assert!(matches!(answer, Err(ErrorKind::NotEtcd { .. })), "{reply:.60}: {answer:?}");
        }
    }

    #[test]
    fn errors_are_told_apart() {
        for (reply, expected) in [
            (
                r#"{"error":"etcdserver: mvcc: database space exceeded","code":8,"message":"etcdserver: mvcc: database space exceeded"}"#,
                Reason::NoSpace,
            ),
            (
                r#"{"code":8,"message":"etcdserver: too many requests","details":[]}"#,
                Reason::TooManyRequests,
            ),
            (
                r#"{"error":"grpc: received message larger than max (5000000 vs. 4194304)","code":8}"#,
                Reason::MessageTooLarge,
            ),
            (r#"{"code":14,"message":"etcdserver: no leader"}"#, Reason::Unavailable),
            (r#"{"code":16,"message":"etcdserver: invalid auth token"}"#, Reason::Token),
            (r#"{"code":3,"message":"etcdserver: revision of auth store is old"}"#, Reason::Token),
            (
                r#"{"code":3,"message":"etcdserver: authentication failed, invalid user ID or password"}"#,
                Reason::WrongPassword,
            ),
            (
                r#"{"code":9,"message":"etcdserver: authentication is not enabled"}"#,
                Reason::AuthDisabled,
            ),
            (r#"{"code":7,"message":"etcdserver: permission denied"}"#, Reason::PermissionDenied),
            (
                r#"{"code":11,"message":"etcdserver: mvcc: required revision has been compacted"}"#,
                Reason::Compacted,
            ),
            (
                r#"{"code":11,"message":"etcdserver: mvcc: required revision is a future revision"}"#,
                Reason::Other,
            ),
            (r#"{"code":3,"message":"etcdserver: key is not provided"}"#, Reason::Other),
            (r#"{"code":3}"#, Reason::Other),
            // Before 3.6, and from 3.6 on.
            (
                r#"{"error":"etcdserver: rpc not supported for learner","message":"etcdserver: rpc not supported for learner","code":14}"#,
                Reason::Learner,
            ),
            (
                r#"{"code":9,"message":"etcdserver: rpc not supported for learner","details":[]}"#,
                Reason::Learner,
            ),
            (
                r#"{"error":"etcdserver: not capable","message":"etcdserver: not capable","code":14}"#,
                Reason::Unavailable,
            ),
            (r#"{"code":9,"message":"etcdserver: not capable"}"#, Reason::Unavailable),
            // A watch's first message, which has a status of its own.
            (
                r#"{"error":{"code":16,"message":"etcdserver: invalid auth token","details":[]}}"#,
                Reason::Token,
            ),
            (
                r#"{"error":{"grpc_code":14,"http_code":503,"message":"etcdserver: no leader","http_status":"Service Unavailable"}}"#,
                Reason::Unavailable,
            ),
        ] {
            let ErrorKind::Answer { reason, .. } = failure(400, reply.as_bytes()) else {
                panic!("{reply}");
            };
            assert_eq!(reason, expected, "{reply}");
        }
        for foreign in ["404 page not found\n", "<html>\u{1b}[2J", "{}", "{\"code\":-1}", ""] {
            let kind = failure(404, foreign.as_bytes());
            assert!(matches!(kind, ErrorKind::NotEtcd { status: 404, .. }), "{foreign}");
            assert!(!kind.to_string().contains('\u{1b}'));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(reply in any::<Vec<u8>>()) {
            let _ = txn(&reply);
            let _ = failure(500, &reply);
            let _ = parse::<Login<'_>>(&reply).map(drop);
        }

        #[test]
        fn no_damage_to_a_reply_panics(at in 0_usize..120, byte in any::<u8>(), cut in 0_usize..120) {
            let mut reply = br#"{"header":{"revision":"5"},"succeeded":true,"responses":[{"response_range":{"kvs":[{"key":"aw==","mod_revision":"5"}]}}]}"#.to_vec();
            reply[at] = byte;
            let _ = txn(&reply);
            reply.truncate(cut);
            prop_assert!(txn(&reply).is_err());
        }
    }
}
