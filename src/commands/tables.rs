//! The tables of a copy, and those that a command names.

use super::output::note;
use crate::config::Settings;
use crate::document::table_name;
use crate::error::{Error, Result};
use crate::etcd::Client;
use crate::nearest;
use crate::postgres::{PublishedTable, Session};
use crate::state::records::{Name, Records};
use crate::table_name::TableName;

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
    pub(super) copied: Vec<PublishedTable>,
    /// The names, as in keys, of those that once were and whose keys are still there.
    pub(super) former: Vec<Name>,
    /// Those that are published and not copied, and why.
    left_out: Vec<(TableName, String)>,
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
            return Err(Error::Requirement(format!(
                "publication {} does not exist: no table is copied yet",
                sync.publication
            )));
        }
        let mut former = Records::new(&etcd.state_path, &etcd.path).read(client)?;
        let (mut copied, mut left_out) = (Vec::new(), Vec::new());
        for published in session.published_tables(&sync.publication)? {
            let PublishedTable { oid, name, columns, .. } = &published;
            match session.table(&etcd.path, *oid, name, columns)? {
                Ok(_) => {
                    former.remove(&Records::name(&published));
                    copied.push(published);
                }
                Err(reason) => left_out.push((name.clone(), reason.to_string())),
            }
        }
        let publication = sync.publication.clone();
        Ok(Self { copied, former: former.into_keys().collect(), left_out, publication })
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
            self.copied.iter().any(|copied| copied.name == **table)
                || self.former.contains(&in_keys(table))
        };
        let Some(table) = wanted.iter().find(|table| !is_copied(table)) else { return Ok(()) };
        if let Some((_, reason)) = self.left_out.iter().find(|(name, _)| name == table) {
            return Err(Error::Requirement(format!("table {table} is left out: {reason}")));
        }
        let names = self.copied.iter().map(|copied| copied.name.to_string()).collect::<Vec<_>>();
        let hint = nearest::hint(&table.to_string(), names.iter().map(String::as_str));
        Err(Error::Requirement(format!(
            "{table} is no table that publication {} publishes and pg2etcd copies{hint}",
            self.publication
        )))
    }

    /// Keeps these tables alone.
    pub(super) fn retain(&mut self, wanted: &[TableName]) {
        self.copied.retain(|copied| wanted.contains(&copied.name));
        self.former.retain(|name| wanted.iter().any(|table| in_keys(table) == *name));
    }
}

/// A table's name as it is in keys.
fn in_keys(table: &TableName) -> Name {
    table_name(&table.schema, &table.name)
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
