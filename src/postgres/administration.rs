//! What else is asked of the server, and what is made and dropped there.

use super::client::failed;
use super::quoting::quoted;
use super::session::{LossyText, Session};
use crate::error::{Error, Result, Unmet};
use crate::lsn::Lsn;
use crate::table_name::TableName;

/// The size of a page of the WAL, in bytes, with which PostgreSQL is built unless told otherwise.
const WAL_PAGE: u64 = 8192;
/// The sizes of the header of a page, and of a segment's first page, in bytes.
const PAGE_HEADERS: [u64; 2] = [24, 40];

impl Session {
    /// Whether the server is a standby, or still recovers.
    ///
    /// # Errors
    /// As for every query.
    pub fn is_in_recovery(&mut self) -> Result<bool> {
        let doing = "asking whether the server is in recovery";
        Ok(self.row(doing, "SELECT pg_is_in_recovery()")?.get(0))
    }

    /// The cluster's identifier.
    ///
    /// # Errors
    /// As for every query.
    pub fn system_identifier(&mut self) -> Result<String> {
        let sql = "SELECT system_identifier::text FROM pg_control_system()";
        Ok(self.row("reading the system identifier", sql)?.get(0))
    }

    /// The end of all transactions that can be seen now. With `synchronous_commit = off` these
    /// include some that [`Self::current_lsn`] does not have yet.
    ///
    /// # Errors
    /// As for every query.
    pub fn end_of_transactions(&mut self) -> Result<Lsn> {
        let sql = "SELECT (pg_current_wal_insert_lsn() - '0/0')::text, \
                          pg_size_bytes(current_setting('wal_segment_size'))";
        let row = self.row("reading the server's position", sql)?;
        let (inserted, segment): (String, i64) = (row.get(0), row.get(1));
        let number = inserted.parse().map_err(|_| Error::PostgresProtocol {
            doing: "reading the server's position".to_owned(),
            problem: format!("{inserted} is no position"),
        })?;
        Ok(Lsn(end_of_records(number, u64::try_from(segment).unwrap_or(0))))
    }

    /// How much WAL the server keeps for a slot, in bytes; `None` if it keeps none.
    ///
    /// # Errors
    /// As for every query.
    pub fn retained_bytes(&mut self, slot: &str) -> Result<Option<u64>> {
        let sql = "SELECT (pg_current_wal_lsn() - restart_lsn)::bigint \
                     FROM pg_replication_slots WHERE slot_name = $1::text";
        let rows = self.client.query(sql, &[&slot]);
        let rows = rows.map_err(|error| failed("looking at the replication slot", error))?;
        let bytes: Option<i64> = rows.first().and_then(|row| row.get(0));
        Ok(bytes.map(|bytes| u64::try_from(bytes).unwrap_or(0)))
    }

    /// How many rows the copies that pg2etcd has under way in this database have read; `None` if
    /// there is none, or the server, before version 14, does not say.
    ///
    /// # Errors
    /// As for every query.
    pub fn copied_rows(&mut self) -> Result<Option<u64>> {
        if self.version < 140_000 {
            return Ok(None);
        }
        let sql = "SELECT sum(p.tuples_processed)::bigint \
                     FROM pg_stat_progress_copy p JOIN pg_stat_activity a USING (pid) \
                    WHERE p.datname = current_database() AND a.application_name = 'pg2etcd'";
        let rows: Option<i64> = self.row("looking at the copies under way", sql)?.get(0);
        Ok(rows.map(|rows| u64::try_from(rows).unwrap_or(0)))
    }

    /// Ends a process of the server.
    ///
    /// # Errors
    /// As for every query. A process that has already ended is not an error.
    pub fn terminate(&mut self, pid: i32) -> Result<()> {
        let doing = format!("ending server process {pid}");
        let ended = self.client.execute("SELECT pg_terminate_backend($1)", &[&pid]);
        ended.map(drop).map_err(|error| failed(doing, error))
    }

    /// Makes a publication of these tables, of all if none is named.
    ///
    /// # Errors
    /// [`Error::Requirement`] if PostgreSQL would refuse updates of one of the tables because it
    /// has no replica identity, if a table is missing, or if the role may not do it; else as for
    /// every query.
    pub fn create_publication(&mut self, publication: &str, tables: &[TableName]) -> Result<()> {
        Unmet::none(&self.publication_obstacles(publication, tables)?)?;
        let sql = self.create_publication_sql(publication, tables)?;
        self.execute(&format!("making the publication ({sql})"), &sql)
    }

    /// What `look` finds as if there were a publication of these tables, of all if none is named. It
    /// is made in a transaction that is taken back.
    ///
    /// # Errors
    /// As for [`Self::create_publication`], and those of `look`.
    pub fn with_would_be_publication<T>(
        &mut self,
        publication: &str,
        tables: &[TableName],
        look: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        self.execute("looking at what is to be published", "BEGIN")?;
        let found = self.create_publication(publication, tables).and_then(|()| look(self));
        self.execute("looking at what is to be published", "ROLLBACK")?;
        found
    }

    /// The transaction that a server process waits for, in words; `None` if it waits for none.
    ///
    /// # Errors
    /// As for every query.
    pub fn blocker(&mut self, pid: i32) -> Result<Option<String>> {
        // A transaction that is prepared has no process, which is 0 then.
        let sql = "SELECT coalesce(\
                     (SELECT format('transaction of server process %s (role %s, application %s), which began at %s', \
                             a.pid, coalesce(a.usename, '?'), coalesce(nullif(a.application_name, ''), '?'), \
                             coalesce(a.xact_start::text, '?')) \
                        FROM pg_stat_activity a WHERE a.pid = b.pid), \
                     (SELECT format('prepared transaction %s of role %s, prepared at %s: COMMIT PREPARED or ROLLBACK PREPARED ends it', \
                             quote_literal(p.gid), p.owner, p.prepared) \
                        FROM pg_prepared_xacts p WHERE b.pid = 0 ORDER BY p.prepared LIMIT 1), \
                     format('transaction of server process %s', b.pid)) \
                   FROM unnest(pg_blocking_pids($1)) b (pid) LIMIT 1";
        let rows = self.client.query(sql, &[&pid]);
        let rows = rows.map_err(|error| failed("looking for what a process waits for", error))?;
        Ok(rows.first().map(|row| row.get::<_, LossyText>(0).0))
    }

    /// Drops a publication.
    ///
    /// # Errors
    /// As for every query.
    pub fn drop_publication(&mut self, publication: &str) -> Result<()> {
        let sql = format!("DROP PUBLICATION {}", quoted(publication));
        self.client.batch_execute(&sql).map_err(|error| failed(sql, error))
    }
}

/// The end of the last record, when the next one begins at `next`: behind the header of a page, if
/// the last one ended with the page before. Nothing is ever flushed up to there.
fn end_of_records(next: u64, segment: u64) -> u64 {
    let [page_header, segment_header] = PAGE_HEADERS;
    match next % WAL_PAGE {
        offset if offset == page_header => next - page_header,
        offset if offset == segment_header && next.checked_rem(segment) == Some(offset) => {
            next - segment_header
        }
        _ => next,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_without_a_record_is_not_waited_for() {
        const SEGMENT: u64 = 16 << 20;
        for (next, end) in [
            (SEGMENT + 40, SEGMENT),
            (SEGMENT + 64, SEGMENT + 64),
            (SEGMENT + 8192 + 24, SEGMENT + 8192),
            // The rest of a record that began on the page before.
            (SEGMENT + 8192 + 40, SEGMENT + 8192 + 40),
            (SEGMENT + 8192 + 32, SEGMENT + 8192 + 32),
        ] {
            assert_eq!(end_of_records(next, SEGMENT), end);
        }
        assert_eq!(end_of_records(40, 0), 40);
    }
}
