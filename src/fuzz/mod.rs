//! The fuzz targets: each takes any bytes at all, and says what must hold then. They are built for
//! cargo-fuzz, and for the tests, which run them on the committed corpus.

mod template;
mod text;
mod translate;

#[cfg(test)]
mod corpus_tests;

pub use crate::config::fuzz::settings;
pub use crate::etcd::fuzz::reply;
pub use crate::postgres::fuzz::stream;
pub use template::template;
pub use text::{round_trip, text};
pub use translate::pgoutput;

/// That these bytes are one JSON value.
fn assert_json(written: &[u8]) {
    let read = serde_json::from_slice::<serde::de::IgnoredAny>(written);
    assert!(read.is_ok(), "{read:?}: {}", written.escape_ascii());
}
