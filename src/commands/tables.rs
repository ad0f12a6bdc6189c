//! The tables of a copy, and those that a command names.

use super::output::note;
use crate::config::Settings;
use crate::error::{Error, Result, Unmet};
use crate::etcd::Client;
use crate::mapping::{CopiedTable, Keyspace, PublishedTables, name_in_keys};
use crate::nearest;
use crate::postgres::Session;
use crate::state::checkpoint::Checkpoint;
use crate::state::claims::Wanted;
use crate::state::layout;
use crate::state::records::{Name, Records, TableRecord};
use crate::supervisor::claiming;
use crate::table_name::TableName;
use std::collections::BTreeMap;

/// A table's name; without a schema one of the schema public.
pub(super) fn named(text: &str) -> Result<TableName> {
    text.parse().or_else(|problem| {
        let name = format!("public.{text}").parse();
        name.map_err(|_| Error::Setting(problem))
    })
}

/// The tables of a copy.
pub(super) struct Tables {
    /// Those that are copied.
    pub(super) copied: Vec<CopiedTable>,
    /// The records, by their names in keys, of those that once were and whose keys are still there.
    pub(super) former: BTreeMap<Name, TableRecord>,
    /// Those that are published and not copied, and why.
    left_out: Vec<(TableName, Unmet)>,
    publication: String,
}

impl Tables {
    /// Asks both ends.
    ///
    /// # Errors
    /// [`Error::Requirement`] if there is no publication; those of both servers.
    pub(super) fn read(
        settings: &Settings,
        session: &mut Session,
        client: &mut Client,
    ) -> Result<Self> {
        let Settings { etcd, sync, .. } = settings;
        if !session.has_publication(&sync.publication)? {
            let problem = format!("publication {} does not exist", sync.publication);
            return Err(Unmet::new(problem, "correct sync.publication, or start the daemon").into());
        }
        let records = Records::new(&etcd.state_path, settings.shapes());
        let mut former = records.read(client)?;
        let mut tables = PublishedTables::read(session, &sync.publication, &settings.shapes())?;
        if let Some((checkpoint, _)) =
            Checkpoint::read(client, &layout::checkpoint(&etcd.state_path))?
        {
            let claims = claiming::claims(settings, &checkpoint.system_identifier, None);
            let mut wanted: Vec<_> = tables.copied.iter().flat_map(Wanted::of).collect();
            for wanted in &mut wanted {
                let names = |keys: &Keyspace| keys.prefix() == wanted.keyspace;
                wanted.recorded =
                    former.values().any(|record| record.keyspaces().iter().any(names));
            }
            let refused = claims.refusals(client, &wanted)?.into_iter();
            tables.leave_out(refused.map(|refused| (refused.wanted.keyspace, refused.reason)));
        }
        let PublishedTables { copied, left_out } = tables;
        // The keys of a table that cannot be copied as the settings say are left as they are.
        former.retain(|name, _| !records.keeps(name));
        for table in &copied {
            former.remove(&Records::name(&table.published));
        }
        let left_out = left_out.into_iter().map(|(table, reason)| (table.name, reason)).collect();
        let publication = sync.publication.clone();
        Ok(Self { copied, former, left_out, publication })
    }

    /// Says which tables are published and not copied.
    pub(super) fn note_left_out(&self) {
        for (name, reason) in &self.left_out {
            note(format!("table {name} is left out: {reason}"));
        }
    }

    /// Refuses a table that is not copied, and says which one may be meant, or why it is not.
    ///
    /// # Errors
    /// [`Error::Requirement`] with its name.
    pub(super) fn require(&self, wanted: &[TableName]) -> Result<()> {
        let is_copied = |table: &&TableName| {
            self.copied.iter().any(|copied| copied.published.name == **table)
                || self.former.contains_key(&name_in_keys(table))
        };
        let Some(table) = wanted.iter().find(|table| !is_copied(table)) else { return Ok(()) };
        if let Some((_, Unmet { problem, cure })) =
            self.left_out.iter().find(|(name, _)| name == table)
        {
            return Err(Unmet::new(format!("table {table} is left out: {problem}"), cure).into());
        }
        let names: Vec<_> =
            self.copied.iter().map(|copied| copied.published.name.to_string()).collect();
        let hint = nearest::hint(&table.to_string(), names.iter().map(String::as_str));
        let problem = format!(
            "{table} is no table that publication {} publishes and pg2etcd copies{hint}",
            self.publication
        );
        Err(Unmet::new(problem, "name one that check lists").into())
    }

    /// Keeps these tables alone, and those that they are nested in.
    pub(super) fn retain(&mut self, wanted: &[TableName]) {
        // What is nested is compared where it is.
        self.copied
            .retain(|copied| copied.sources().iter().any(|table| wanted.contains(&table.name)));
        self.former.retain(|name, _| wanted.iter().any(|table| name_in_keys(table) == *name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_may_be_named_without_the_schema_public() {
        for (text, schema, name) in [
            ("a", "public", "a"),
            ("s.a", "s", "a"),
            ("\"a.b\"", "public", "a.b"),
            ("s.\"a.b\"", "s", "a.b"),
        ] {
            let expected = TableName { schema: schema.to_owned(), name: name.to_owned() };
            assert_eq!(named(text).unwrap(), expected);
        }
        for text in ["", "a.b.c", "."] {
            assert!(matches!(named(text), Err(Error::Setting(_))), "{text:?}");
        }
    }
}
