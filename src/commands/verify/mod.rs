//! `verify`: compares the database with etcd while both go on changing.

mod lookup;
mod progress;
mod settle;

use self::lookup::Scope;
use self::progress::Progress;
use self::settle::{Difference, Settle};
use super::output::{note, print};
use super::stream::{Stream, stream};
use super::tables::{self, Tables};
use crate::config::Settings;
use crate::error::{Error, Result};
use crate::etcd::Client;
use crate::postgres::{PublishedTable, Session};
use crate::reconcile::{Finding, Rows, Stored, compare};
use crate::state::checkpoint::Checkpoint;
use crate::state::records::{Name, Records};
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
    // A command needs no stop of its own: a signal ends it.
    let stop = Stop::new()
        .map_err(|source| Error::System { doing: "making a socket pair".to_owned(), source })?;
    let mut client = Client::connect(settings.etcd.client_options())?;
    let options = settings.database.connect_options();
    let (mut session, address) = Session::connect_to_primary(&options, &settings.database.hosts())?;
    require_own_copy(settings, &mut session, &mut client)?;
    let mut tables = Tables::read(settings, &mut session, &mut client)?;
    tables.note_left_out();
    if !wanted.is_empty() {
        tables.require(&wanted)?;
        tables.retain(&wanted);
    }
    let Tables { copied, former, .. } = tables;
    let settle = Settle::new(settings, Session::connect(&options, &address)?, client.clone());
    let progress = Progress::new();
    let mut verify =
        Verify { settings, stop: &stop, client, settle, progress, pending: Vec::new(), found: 0 };
    let verified = verify.all(&mut session, &copied, &former);
    match verified {
        // Nobody reads on, and there was something to read.
        Err(Error::Stopped) => Ok(false),
        verified => verified.map(|()| verify.found == 0),
    }
}

fn require_own_copy(settings: &Settings, session: &mut Session, client: &mut Client) -> Result<()> {
    let Settings { database, etcd, .. } = settings;
    let key = Checkpoint::key(&etcd.state_path);
    let Some((checkpoint, _)) = Checkpoint::read(client, &key)? else {
        note(format!("{key} does not exist: no daemon has copied the database yet"));
        return Ok(());
    };
    let identifier = session.system_identifier()?;
    if let Some(what) = checkpoint.another_copy(&identifier, &database.name, &etcd.path) {
        return Err(Error::Requirement(format!("{key} is the position of another copy: {what}")));
    }
    if let Stream::None(reason) = stream(settings, session)? {
        note(format!("{reason}: etcd stays at {}", checkpoint.lsn));
    }
    Ok(())
}

/// A comparison under way.
struct Verify<'a> {
    settings: &'a Settings,
    stop: &'a Stop,
    client: Client,
    settle: Settle<'a>,
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
        copied: &[PublishedTable],
        former: &[Name],
    ) -> Result<()> {
        for published in copied {
            self.table(session, published)?;
        }
        for name in former {
            self.former_table(name)?;
        }
        self.progress.finish(copied.len() + former.len(), self.found, self.settle.moving);
        Ok(())
    }

    fn table(&mut self, session: &mut Session, published: &PublishedTable) -> Result<()> {
        let PublishedTable { oid, name, columns, .. } = published;
        let table = session.table(&self.settings.etcd.path, *oid, name, columns)?;
        let table = table.map_err(|reason| {
            Error::Requirement(format!("table {name} is not copied any more: {reason}"))
        })?;
        self.progress.begin(name.to_string());
        let stored = Stored::new(&self.client, self.stop);
        let rows = Rows::by_key(session, published, &table)?;
        let scope = Scope::Table { published, table: &table };
        compare(rows, &table.prefix, &stored, READERS, |finding| {
            self.progress.key(self.found);
            match finding {
                Finding::Same => Ok(()),
                Finding::Missing { key, .. }
                | Finding::Differs { key, .. }
                | Finding::Stale { key } => self.look_again(scope, key),
            }
        })?;
        self.settle(scope)
    }

    /// The keys of a table that is not published any more have no rows.
    fn former_table(&mut self, name: &[u8]) -> Result<()> {
        let etcd = &self.settings.etcd;
        let prefix = Records::new(&etcd.state_path, &etcd.path).rows_prefix(name);
        self.progress.begin(String::from_utf8_lossy(name).into_owned());
        let mut stored = Stored::new(&self.client, self.stop);
        stored.each(&prefix, |found| {
            self.progress.key(self.found);
            self.look_again(Scope::NoTable, &found.key)
        })?;
        self.settle(Scope::NoTable)
    }

    fn look_again(&mut self, scope: Scope<'_>, key: &[u8]) -> Result<()> {
        self.pending.push(key.to_vec());
        if self.pending.len() >= CHUNK {
            return self.settle(scope);
        }
        Ok(())
    }

    /// Finds out which of the pending keys differ, and prints them.
    fn settle(&mut self, scope: Scope<'_>) -> Result<()> {
        let keys = std::mem::take(&mut self.pending);
        if keys.is_empty() {
            return Ok(());
        }
        let mut lines = String::new();
        for (difference, key) in self.settle.differences(scope, keys)? {
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
