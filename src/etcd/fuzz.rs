//! The fuzz target of what etcd's gateway answers.

use super::endpoint;
use super::error::ErrorKind;
use super::reply::{self, Login, RangeReply};

/// The longest message that an answer may lead to, in bytes.
const LONGEST: usize = 8 << 10;

/// An answer's bytes, whatever was asked: what is read of them is no larger than they are, and an
/// error is one short line.
pub fn reply(input: &[u8]) {
    match reply::txn(input) {
        Ok(reply) => assert!(reply.gets.len() <= input.len()),
        Err(kind) => assert_one_line(&kind),
    }
    match reply::parse::<RangeReply>(input) {
        Ok(reply) => {
            let bytes = reply.kvs.iter().map(|found| found.key.len() + found.value.len());
            assert!(bytes.sum::<usize>() <= input.len());
        }
        Err(kind) => assert_one_line(&kind),
    }
    reply::parse::<Login<'_>>(input).map_or_else(|kind| assert_one_line(&kind), drop);
    endpoint::prefix(input).map_or_else(|kind| assert_one_line(&kind), |_| ());
    let _ = reply::cluster(input);
    assert_one_line(&reply::failure(500, input));
}

fn assert_one_line(kind: &ErrorKind) {
    let line = kind.to_string();
    assert!(line.len() <= LONGEST, "{} bytes", line.len());
    assert!(!line.contains(char::is_control), "{line:?}");
}
