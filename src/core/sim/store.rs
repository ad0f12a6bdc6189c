//! A model of etcd: what a txn does, by the JSON that the gateway would be sent.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Deserializer};

use crate::etcd::{KeyValue, Txn, TxnReply};

/// The keys, with their values and `mod_revision`s.
#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) revision: i64,
    pub(super) keys: BTreeMap<Vec<u8>, Stored>,
    /// What the keys were before each revision that changed them.
    pub(super) past: Vec<(i64, Vec<u8>, Option<Stored>)>,
    /// The most operations in a txn.
    pub(super) max_operations: usize,
}

/// A value, and its `mod_revision`.
pub(super) type Stored = (Vec<u8>, i64);

/// A txn as the gateway reads it. A name that is not known is a mistake here; etcd would skip it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    success: Vec<Operation>,
    failure: Vec<Operation>,
    compare: Vec<Compare>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
enum Operation {
    #[serde(rename = "request_put")]
    Put {
        #[serde(deserialize_with = "bytes")]
        key: Vec<u8>,
        #[serde(deserialize_with = "bytes")]
        value: Vec<u8>,
    },
    #[serde(rename = "request_delete_range")]
    DeleteRange {
        #[serde(deserialize_with = "bytes")]
        key: Vec<u8>,
        #[serde(default, deserialize_with = "bytes")]
        range_end: Vec<u8>,
    },
    #[serde(rename = "request_range")]
    Range {
        #[serde(deserialize_with = "bytes")]
        key: Vec<u8>,
    },
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Compare {
    #[serde(deserialize_with = "bytes")]
    key: Vec<u8>,
    target: String,
    result: String,
    mod_revision: String,
}

fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
    BASE64_STANDARD.decode(text.as_bytes()).map_err(serde::de::Error::custom)
}

impl Store {
    /// What etcd has under a key.
    pub(super) fn get(&self, key: &[u8]) -> Option<KeyValue> {
        self.keys.get(key).map(|(value, mod_revision)| KeyValue {
            key: key.to_vec(),
            value: value.clone(),
            create_revision: 0,
            mod_revision: *mod_revision,
        })
    }

    /// What etcd had under a key at a revision.
    pub(super) fn get_at(&self, key: &[u8], revision: i64) -> Option<KeyValue> {
        let later = self.past.partition_point(|(changed, ..)| *changed <= revision);
        let before = self.past[later..].iter().find(|(_, of, _)| of == key);
        let (value, mod_revision) = match before {
            Some((.., before)) => before.clone()?,
            None => self.keys.get(key).cloned()?,
        };
        Some(KeyValue { key: key.to_vec(), value, create_revision: 0, mod_revision })
    }

    /// Takes note of what a key is before this revision changes it.
    fn remember(&mut self, key: &[u8]) {
        self.past.push((self.revision, key.to_vec(), self.keys.get(key).cloned()));
    }

    /// Carries a txn out.
    pub(super) fn carry_out(&mut self, txn: &Txn) -> TxnReply {
        let body: Body = serde_json::from_slice(txn.clone().body()).expect("a txn");
        let succeeded = body.compare.iter().all(|compare| {
            assert_eq!((compare.target.as_str(), compare.result.as_str()), ("MOD", "EQUAL"));
            let revision = self.keys.get(&compare.key).map_or(0, |(_, revision)| *revision);
            compare.mod_revision == revision.to_string()
        });
        if !succeeded {
            let gets = body.failure.iter().map(|operation| match operation {
                Operation::Range { key } => self.get(key),
                other => panic!("{other:?}"),
            });
            let gets = gets.collect();
            return TxnReply { succeeded, revision: self.revision, gets, deleted: 0 };
        }
        self.check(&body.success);
        self.revision += 1;
        for operation in body.success {
            match operation {
                Operation::Put { key, value } => {
                    self.remember(&key);
                    self.keys.insert(key, (value, self.revision));
                }
                Operation::DeleteRange { key, range_end } if range_end.is_empty() => {
                    self.remember(&key);
                    self.keys.remove(&key);
                }
                Operation::DeleteRange { key, range_end } => {
                    let keys: Vec<_> =
                        self.keys.range(key..range_end).map(|(key, _)| key.clone()).collect();
                    for key in keys {
                        self.remember(&key);
                        self.keys.remove(&key);
                    }
                }
                Operation::Range { .. } => {}
            }
        }
        TxnReply { succeeded, revision: self.revision, gets: Vec::new(), deleted: 0 }
    }

    /// What etcd refuses: too many operations, a key put twice, a put inside a deleted range.
    fn check(&self, operations: &[Operation]) {
        assert!(operations.len() <= self.max_operations, "{} operations", operations.len());
        let mut puts: Vec<&[u8]> = Vec::new();
        for operation in operations {
            if let Operation::Put { key, .. } = operation {
                assert!(!puts.contains(&&key[..]), "{} put twice", key.escape_ascii());
                puts.push(key);
            }
        }
        for operation in operations {
            if let Operation::DeleteRange { key, range_end } = operation {
                let inside = |put: &&&[u8]| match range_end.is_empty() {
                    true => **put == key,
                    false => **put >= &key[..] && **put < &range_end[..],
                };
                let put = puts.iter().find(inside);
                assert!(put.is_none(), "{} put and deleted", key.escape_ascii());
            }
        }
    }
}
