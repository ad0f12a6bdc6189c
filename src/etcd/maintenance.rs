//! How etcd is, and what it would take: questions that change nothing in it.

use std::borrow::Cow;

use serde::Deserialize;

use super::client::{Client, Request};
use super::error::Result;
use super::json;
use super::txn::Txn;

/// What a member says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// Its version.
    pub version: String,
    /// Whether it knows a leader.
    pub has_leader: bool,
    /// The size of its database's file, in bytes.
    pub db_bytes: i64,
    /// How much of that is in use, in bytes; the rest comes free by defragmentation.
    pub db_used_bytes: i64,
    /// The most that the file may have, in bytes; `None` if it is not known.
    pub quota_bytes: Option<i64>,
}

/// StatusResponse. An ID of a member is an unsigned number of 64 bits, as a string.
#[derive(Deserialize)]
struct StatusReply<'a> {
    #[serde(borrow)]
    version: Cow<'a, str>,
    #[serde(borrow)]
    leader: Option<Cow<'a, str>>,
    #[serde(default, rename = "dbSize", deserialize_with = "json::int64")]
    db_size: i64,
    #[serde(default, rename = "dbSizeInUse", deserialize_with = "json::int64")]
    db_size_in_use: i64,
    /// From 3.6 on.
    #[serde(default, rename = "dbSizeQuota", deserialize_with = "json::int64")]
    db_size_quota: i64,
}

/// AlarmResponse.
#[derive(Deserialize)]
struct AlarmReply {
    #[serde(default)]
    alarms: Vec<AlarmMember>,
}

#[derive(Deserialize)]
struct AlarmMember {
    #[serde(default)]
    alarm: String,
}

impl Client {
    /// What the member that answers says of itself.
    ///
    /// # Errors
    /// When no endpoint answers it.
    pub fn member_status(&mut self) -> Result<MemberStatus> {
        let reply: StatusReply<'_> =
            self.ask(&Request::maintaining("/maintenance/status", b"{}"))?;
        let mut status = MemberStatus {
            version: reply.version.into_owned(),
            has_leader: reply.leader.is_some_and(|leader| leader != "0"),
            db_bytes: reply.db_size,
            db_used_bytes: reply.db_size_in_use,
            quota_bytes: Some(reply.db_size_quota).filter(|&bytes| bytes > 0),
        };
        if status.quota_bytes.is_none() {
            // Members before 3.6 tell it there, and only if their metrics may be read.
            let metrics = self.page("/metrics").unwrap_or_default();
            status.quota_bytes = quota(&String::from_utf8_lossy(&metrics));
        }
        Ok(status)
    }

    /// The alarms that are raised, such as `NOSPACE`.
    ///
    /// # Errors
    /// When no endpoint answers it.
    pub fn alarms(&mut self) -> Result<Vec<String>> {
        let body = b"{\"action\":\"GET\"}";
        let reply: AlarmReply = self.ask(&Request::maintaining("/maintenance/alarm", body))?;
        Ok(reply.alarms.into_iter().map(|member| member.alarm).collect())
    }

    /// Has etcd judge a txn by its limits and permissions without carrying it out: its compare, of
    /// `key`, never holds. The store's revision stays, and no watcher sees anything.
    ///
    /// # Errors
    /// Those that carrying it out would have.
    pub fn try_out(&mut self, mut txn: Txn, key: &[u8]) -> Result<()> {
        txn.compare_mod_revision(key, i64::MAX);
        self.txn(&mut txn).map(drop)
    }
}

/// The quota, of a member's metrics in Prometheus' text format.
fn quota(metrics: &str) -> Option<i64> {
    const NAME: &str = "etcd_server_quota_backend_bytes ";
    let value = metrics.lines().find_map(|line| line.strip_prefix(NAME))?;
    // A float, and far below the numbers that it does not have exactly.
    let bytes: f64 = value.trim().parse().ok()?;
    (bytes > 0.0).then_some(bytes as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quota_is_one_of_the_metrics() {
        for (metrics, expected) in [
            (
                "# HELP etcd_server_quota_backend_bytes Current quota.\n\
                 etcd_server_quota_backend_bytes 2.147483648e+09\nother 1\n",
                Some(2 << 30),
            ),
            ("etcd_server_quota_backend_bytes 0\n", None),
            ("etcd_server_quota_backend_bytes many\n", None),
            ("404 page not found\n", None),
        ] {
            assert_eq!(quota(metrics), expected, "{metrics}");
        }
    }
}
