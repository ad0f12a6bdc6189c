//! `verify`: compares the database with etcd while both go on changing.

mod lookup;
mod progress;
mod recheck;

use std::collections::BTreeMap;

use self::lookup::Scope;
use self::progress::Progress;
use self::recheck::{Difference, Recheck};
use super::no_stop;
use super::output::{note, print};
use super::stream::{Stream, stream};
use super::tables::{self, Tables};
use crate::config::Settings;
use crate::error::{Error, Result, Unmet};
use crate::etcd::Client;
use crate::mapping::CopiedTable;
use crate::postgres::Session;
use crate::reconcile::{Finding, Rows, Stored, compare};
use crate::state::checkpoint::Checkpoint;
use crate::state::layout;
use crate::state::records::{Name, TableRecord};
use crate::stop::Stop;

/// The most keys that wait to be looked at again.
const CHUNK: usize = 1000;
/// How many connections read etcd: a comparison should not take it from others.
const READERS: usize = 2;

/// Compares the tables, `schema.table` or, in the schema public, `table` each; all if none is
/// named. Prints the keys that differ; true if none does.
///
/// # Errors
/// [`Error::Setting`] for a name that is none; [`Error::Requirement`] for a table that is not
/// copied, and for the copy of another database; those of both servers.
pub fn run(settings: &Settings, tables: &[String]) -> Result<bool> {
    let wanted = tables.iter().map(|name| tables::named(name)).collect::<Result<Vec<_>>>()?;
    let stop = no_stop()?;
    let mut client = Client::connect(settings.etcd.client_options())?;
    let options = settings.database.connect_options();
    let (mut session, address) =
        Session::connect_to_primary(&options, &settings.database.hosts(), &stop)?;
    require_own_copy(settings, &mut session, &mut client)?;
    let mut tables = Tables::read(settings, &mut session, &mut client)?;
    tables.note_left_out();
    if !wanted.is_empty() {
        tables.require(&wanted)?;
        tables.retain(&wanted);
    }
    let Tables { copied, former, .. } = tables;
    let published: Vec<_> = copied.iter().flat_map(CopiedTable::sources).collect();
    Unmet::none(&session.missing_grants(&published)?)?;
    let recheck =
        Recheck::new(settings, Session::connect(&options, &address, &stop)?, client.clone());
    let progress = Progress::new();
    let mut verify =
        Verify { stop: &stop, client, recheck, progress, pending: Vec::new(), found: 0 };
    let verified = verify.all(&mut session, &copied, &former);
    match verified {
        // Nobody reads on, and there was something to read.
        Err(Error::Stopped) => Ok(false),
        verified => verified.map(|()| verify.found == 0),
    }
}

fn require_own_copy(settings: &Settings, session: &mut Session, client: &mut Client) -> Result<()> {
    let Settings { database, etcd, .. } = settings;
    let key = layout::checkpoint(&etcd.state_path);
    let Some((checkpoint, _)) = Checkpoint::read(client, &key)? else {
        note(format!("{key} does not exist: no daemon has copied the database yet"));
        return Ok(());
    };
    let identifier = session.system_identifier()?;
    if let Some(what) = checkpoint.another_copy(&identifier, &database.name, &etcd.path) {
        let problem = format!("{key} is the position of another copy: {what}");
        return Err(Unmet::new(problem, "run verify with the settings of that copy").into());
    }
    if let Stream::None(reason) = stream(settings, session)? {
        note(format!("{reason}: etcd stays at {}", checkpoint.lsn));
    }
    Ok(())
}

/// A comparison under way.
struct Verify<'a> {
    stop: &'a Stop,
    client: Client,
    recheck: Recheck<'a>,
    progress: Progress,
    /// Keys of the table at hand that were not the same at first sight.
    pending: Vec<Vec<u8>>,
    /// How many keys differ.
    found: u64,
}

impl Verify<'_> {
    fn all(
        &mut self,
        session: &mut Session,
        copied: &[CopiedTable],
        former: &BTreeMap<Name, TableRecord>,
    ) -> Result<()> {
        for table in copied {
            self.table(session, table)?;
        }
        for (name, record) in former {
            self.former_table(name, record)?;
        }
        self.progress.finish(copied.len() + former.len(), self.found, self.recheck.moving);
        Ok(())
    }

    fn table(&mut self, session: &mut Session, table: &CopiedTable) -> Result<()> {
        self.progress.begin(table.published.name.to_string());
        let stored = Stored::new(&self.client, self.stop);
        let scope = Scope::Table(table);
        for keyspace in table.plan.keyspaces() {
            let rows = Rows::by_key(session, table, keyspace)?;
            compare(rows, keyspace, &stored, READERS, |finding| {
                self.progress.key(self.found);
                match finding {
                    Finding::Same => Ok(()),
                    Finding::Missing { key, .. }
                    | Finding::Differs { key, .. }
                    | Finding::Stale { key } => self.look_again(scope, key),
                }
            })?;
        }
        self.recheck(scope)
    }

    /// The keys of a table that is not published any more have no rows.
    fn former_table(&mut self, name: &[u8], record: &TableRecord) -> Result<()> {
        self.progress.begin(String::from_utf8_lossy(name).into_owned());
        let mut stored = Stored::new(&self.client, self.stop);
        for keyspace in record.keyspaces() {
            stored.each_key(&keyspace, |key| {
                self.progress.key(self.found);
                self.look_again(Scope::NoTable, key)
            })?;
        }
        self.recheck(Scope::NoTable)
    }

    fn look_again(&mut self, scope: Scope<'_>, key: &[u8]) -> Result<()> {
        self.pending.push(key.to_vec());
        if self.pending.len() >= CHUNK {
            return self.recheck(scope);
        }
        Ok(())
    }

    /// Finds out which of the pending keys differ, and prints them.
    fn recheck(&mut self, scope: Scope<'_>) -> Result<()> {
        let keys = std::mem::take(&mut self.pending);
        if keys.is_empty() {
            return Ok(());
        }
        let mut lines = String::new();
        for (difference, key) in self.recheck.differences(scope, keys)? {
            self.found += 1;
            lines += &line(difference, &key);
        }
        if !lines.is_empty() {
            self.progress.clear();
            if !print(&lines)? {
                return Err(Error::Stopped);
            }
        }
        Ok(())
    }
}

/// A difference as it is printed. A line break in a key must not look like another key.
fn line(difference: Difference, key: &[u8]) -> String {
    let word = match difference {
        Difference::Missing => "missing",
        Difference::Stale => "stale",
        Difference::Differs => "differs",
    };
    let mut line = format!("{word} ");
    for character in String::from_utf8_lossy(key).chars() {
        match character {
            _ if character.is_control() => line.extend(character.escape_default()),
            _ => line.push(character),
        }
    }
    line + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_key() {
        assert_eq!(line(Difference::Stale, b"/p/t/a\nb\xc3\xbc\\"), "stale /p/t/a\\nbü\\\n");
    }
}
