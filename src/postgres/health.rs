//! How a server is set up for replication and how its slots are: what `check` looks at.

use std::time::Duration;

use super::catalog::PublishedTable;
use super::client::failed;
use super::session::{LossyText, Session};
use crate::error::{Result, Unmet};
use crate::table_name::TableName;

/// The bytes of a mebibyte, the unit of the server's settings for WAL.
const MEBIBYTE: i64 = 1 << 20;

/// What the server is set to, and what of it is in use.
#[derive(Clone, Debug)]
pub struct Capacity {
    /// `max_replication_slots`.
    pub max_slots: i64,
    /// How many slots there are.
    pub slots: i64,
    /// How many of them are physical: those of standbys.
    pub standby_slots: i64,
    /// `max_wal_senders`.
    pub max_wal_senders: i64,
    /// How many walsenders there are.
    pub wal_senders: i64,
    /// `max_slot_wal_keep_size`, in bytes, negative for no limit; `None` before version 13.
    pub max_slot_wal_keep: Option<i64>,
    /// `max_wal_size`, in bytes.
    pub max_wal_size: i64,
    /// `synchronized_standby_slots`; `None` before version 17.
    pub synchronized_standby_slots: Option<String>,
}

/// How a slot is.
#[derive(Clone, Debug)]
pub struct SlotHealth {
    /// The process that streams from it, with its role and application, if one does.
    pub active: Option<(i32, String, String)>,
    /// How much WAL the server keeps for it, in bytes.
    pub retained: i64,
    /// `wal_status`; `None` before version 13.
    pub wal_status: Option<String>,
    /// Whether standbys keep a copy of it; `None` before version 17.
    pub failover: Option<bool>,
}

/// What a publication publishes beside rows that are inserted.
#[derive(Clone, Copy, Debug)]
pub struct Published {
    /// Rows that are inserted.
    pub insert: bool,
    /// Rows that are updated.
    pub update: bool,
    /// Rows that are deleted.
    pub delete: bool,
    /// TRUNCATE; `None` before version 11, which does not publish it.
    pub truncate: Option<bool>,
}

impl Published {
    /// The statements whose changes are left out.
    #[must_use]
    pub fn left_out(&self) -> Vec<&'static str> {
        let Self { insert, update, delete, truncate } = *self;
        let statements = [
            ("INSERT", Some(insert)),
            ("UPDATE", Some(update)),
            ("DELETE", Some(delete)),
            ("TRUNCATE", truncate),
        ];
        let left_out = statements.into_iter().filter(|(_, published)| *published == Some(false));
        left_out.map(|(statement, _)| statement).collect()
    }
}

impl Session {
    /// The server's version, as its `server_version_num`.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Ends each later query that takes longer than this: one that a lock holds up, for
    /// example.
    ///
    /// # Errors
    /// As for every query.
    pub fn limit_queries(&mut self, time: Duration) -> Result<()> {
        let sql = format!("SET statement_timeout = {}", time.as_millis().clamp(1, 1 << 30));
        self.execute("setting statement_timeout", &sql)
    }

    /// What the server is set to, and what of it is in use.
    ///
    /// # Errors
    /// As for every query.
    pub fn capacity(&mut self) -> Result<Capacity> {
        let number =
            |name: &str| format!("(SELECT setting::bigint FROM pg_settings WHERE name = '{name}')");
        let sql = format!(
            "SELECT {}, (SELECT count(*) FROM pg_replication_slots), \
                    (SELECT count(*) FROM pg_replication_slots WHERE slot_type = 'physical'), \
                    {}, (SELECT count(*) FROM pg_stat_replication), {}, {}, \
                    (SELECT setting FROM pg_settings WHERE name = 'synchronized_standby_slots')",
            number("max_replication_slots"),
            number("max_wal_senders"),
            number("max_slot_wal_keep_size"),
            number("max_wal_size"),
        );
        let row = self.row("reading the server's settings", &sql)?;
        let kept: Option<i64> = row.get(5);
        let max_wal_size: i64 = row.get(6);
        Ok(Capacity {
            max_slots: row.get(0),
            slots: row.get(1),
            standby_slots: row.get(2),
            max_wal_senders: row.get(3),
            wal_senders: row.get(4),
            max_slot_wal_keep: kept.map(|size| size.saturating_mul(MEBIBYTE)),
            max_wal_size: max_wal_size.saturating_mul(MEBIBYTE),
            synchronized_standby_slots: row.get(7),
        })
    }

    /// How a slot is; `None` if there is none of this name.
    ///
    /// # Errors
    /// As for every query.
    pub fn slot_health(&mut self, slot: &str) -> Result<Option<SlotHealth>> {
        // A row as JSON has each column that this version has.
        let sql = "SELECT s.active_pid, coalesce(a.usename::text, ''), a.application_name, \
                          coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn), 0)::bigint, \
                          to_jsonb(s)->>'wal_status', (to_jsonb(s)->>'failover')::boolean \
                     FROM pg_replication_slots s LEFT JOIN pg_stat_activity a ON a.pid = s.active_pid \
                    WHERE s.slot_name = $1::text";
        let rows = self.client.query(sql, &[&slot]);
        let rows = rows.map_err(|error| failed("looking at the replication slot", error))?;
        let health = |row: &::postgres::Row| {
            let pid: Option<i32> = row.get(0);
            let application: Option<String> = row.get(2);
            SlotHealth {
                active: pid.map(|pid| (pid, row.get(1), application.unwrap_or_default())),
                retained: row.get(3),
                wal_status: row.get(4),
                failover: row.get(5),
            }
        };
        Ok(rows.first().map(health))
    }

    /// What a publication publishes; `None` if there is none of this name.
    ///
    /// # Errors
    /// As for every query.
    pub fn published(&mut self, publication: &str) -> Result<Option<Published>> {
        let sql = "SELECT pubinsert, pubupdate, pubdelete, (to_jsonb(p)->>'pubtruncate')::boolean \
                     FROM pg_publication p WHERE pubname = $1::text";
        let rows = self.client.query(sql, &[&publication]);
        let rows = rows.map_err(|error| failed("looking at the publication", error))?;
        let published = |row: &::postgres::Row| Published {
            insert: row.get(0),
            update: row.get(1),
            delete: row.get(2),
            truncate: row.get(3),
        };
        Ok(rows.first().map(published))
    }

    /// Whether PostgreSQL refuses UPDATE and DELETE on a published table, or on what inherits
    /// from it, for want of a replica identity.
    ///
    /// # Errors
    /// As for every query.
    pub fn lacks_identity(&mut self, table: &PublishedTable) -> Result<bool> {
        Ok(!self.tables_without_identity(&[table.oid])?.is_empty())
    }

    /// What is wrong with the partitions of these tables, where their rows come under the root's
    /// name.
    ///
    /// # Errors
    /// As for every query.
    pub fn partition_warnings(&mut self, tables: &[PublishedTable]) -> Result<Vec<Unmet>> {
        let roots = tables.iter().filter(|table| table.partitioned);
        let oids: Vec<u32> = roots.clone().map(|table| table.oid).collect();
        let mut warnings: Vec<_> = roots
            .flat_map(|root| root.unlogged_partitions.iter().map(move |(_, part)| (root, part)))
            .map(|(root, part)| {
                Unmet::new(
                    format!(
                        "partition {part} of {} is unlogged: PostgreSQL publishes no row of it",
                        root.name
                    ),
                    format!("run ALTER TABLE {part} SET LOGGED"),
                )
            })
            .collect();
        // The names of the identity's columns, in an order of their own; `full` for all.
        let identity = |table: &str| {
            format!(
                "CASE {table}.relreplident WHEN 'f' THEN 'full' ELSE coalesce((\
                    SELECT string_agg(a.attname, ', ' ORDER BY a.attname) FROM pg_index i \
                      JOIN pg_attribute a ON a.attrelid = i.indrelid \
                                         AND a.attnum = ANY (i.indkey::int2[]) \
                     WHERE i.indrelid = {table}.oid \
                       AND CASE {table}.relreplident WHEN 'i' THEN i.indisreplident \
                                ELSE i.indisprimary END), 'none') END"
            )
        };
        let sql = format!(
            "WITH RECURSIVE part (root, oid) AS (\
                SELECT inhparent, inhrelid FROM pg_inherits WHERE inhparent = ANY ($1::oid[]) \
                UNION SELECT part.root, i.inhrelid FROM part \
                    JOIN pg_inherits i ON i.inhparent = part.oid) \
             SELECT r.oid::regclass::text, l.oid::regclass::text, {root}, {leaf} \
               FROM part JOIN pg_class r ON r.oid = part.root JOIN pg_class l ON l.oid = part.oid \
              WHERE l.relkind = 'r' AND {leaf} NOT IN ({root}, 'full') ORDER BY 1, 2",
            root = identity("r"),
            leaf = identity("l"),
        );
        let rows = self.client.query(&sql, &[&oids]);
        let rows =
            rows.map_err(|error| failed("looking at the identities of partitions", error))?;
        warnings.extend(rows.iter().map(|row| {
            let [root, leaf, of_root, of_leaf]: [String; 4] =
                [0, 1, 2, 3].map(|column| row.get::<_, LossyText>(column).0);
            Unmet::new(
                format!(
                    "partition {leaf} of {root} has another replica identity ({of_leaf}) than the \
                     root ({of_root}): what is updated or deleted there may not be found"
                ),
                format!("give {leaf} the identity of {root}, or run ALTER TABLE {leaf} REPLICA IDENTITY FULL"),
            )
        }));
        Ok(warnings)
    }

    /// The tables of which an update may leave a large value out.
    ///
    /// # Errors
    /// As for every query.
    pub fn toasted<'a>(&mut self, tables: &'a [PublishedTable]) -> Result<Vec<&'a TableName>> {
        let sql = "SELECT c.oid FROM pg_class c \
                    WHERE c.oid = ANY ($1) AND c.relreplident <> 'f' \
                      AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid \
                             AND a.attnum > 0 AND NOT a.attisdropped AND a.attstorage <> 'p')";
        let oids: Vec<u32> = tables.iter().map(|table| table.oid).collect();
        let rows = self.client.query(sql, &[&oids]);
        let rows = rows.map_err(|error| failed("looking for large columns", error))?;
        let found: Vec<u32> = rows.iter().map(|row| row.get(0)).collect();
        let toasted = tables.iter().filter(|table| found.contains(&table.oid));
        Ok(toasted.map(|table| &table.name).collect())
    }

    /// The columns of a table whose values an update may leave out.
    ///
    /// # Errors
    /// As for every query.
    pub fn large_columns(&mut self, table: &PublishedTable) -> Result<Vec<String>> {
        let sql = "SELECT a.attname::text FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid \
                    WHERE c.oid = $1 AND c.relreplident <> 'f' \
                      AND a.attnum > 0 AND NOT a.attisdropped AND a.attstorage <> 'p'";
        let rows = self.client.query(sql, &[&table.oid]);
        let rows = rows.map_err(|error| failed("looking for large columns", error))?;
        Ok(rows.iter().map(|row| row.get::<_, LossyText>(0).0).collect())
    }
}
