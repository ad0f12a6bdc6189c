//! What has become of a table whose rows are copied no longer.

use std::collections::BTreeMap;
use std::fmt;

use super::copied::PublishedTables;
use super::key::name_in_keys;
use crate::error::Result;
use crate::postgres::Session;
use crate::table_name::TableName;

/// Why the keys of a table go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Departure {
    /// There is no such table any more.
    Dropped,
    /// It has another name, or stands in another schema.
    Renamed(TableName),
    /// It is there, and the publication does not have it.
    Unpublished,
    /// It is published, and cannot be copied; the text says why.
    LeftOut(String),
}

/// The names that tables have now, by their OIDs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Whereabouts(BTreeMap<u32, TableName>);

impl Whereabouts {
    /// Asks the catalog for these tables.
    ///
    /// # Errors
    /// As for every query.
    pub(crate) fn read(session: &mut Session, oids: &[u32]) -> Result<Self> {
        let oids: Vec<u32> = oids.iter().copied().filter(|&oid| oid != 0).collect();
        if oids.is_empty() {
            return Ok(Self::default());
        }
        Ok(Self(session.names_of_tables(&oids)?))
    }

    /// What has become of the table that is copied under this name, as it stands in keys, and had
    /// this OID; 0 if that is not known.
    pub(crate) fn departure(&self, name: &[u8], oid: u32, tables: &PublishedTables) -> Departure {
        let left_out = tables.left_out.iter().find(|(table, _)| name_in_keys(&table.name) == name);
        match (left_out, self.0.get(&oid)) {
            (Some((_, reason)), _) => Departure::LeftOut(reason.problem.clone()),
            (None, Some(now)) if name_in_keys(now) != name => Departure::Renamed(now.clone()),
            (None, None) if oid != 0 => Departure::Dropped,
            (None, _) => Departure::Unpublished,
        }
    }
}

#[cfg(test)]
impl Whereabouts {
    pub(crate) fn of(names: impl IntoIterator<Item = (u32, TableName)>) -> Self {
        Self(names.into_iter().collect())
    }
}

impl fmt::Display for Departure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dropped => f.write_str("it was dropped"),
            Self::Renamed(now) => write!(f, "it was renamed to {now}"),
            Self::Unpublished => f.write_str("it is no longer published"),
            Self::LeftOut(why) => write!(f, "it cannot be copied any more: {why}"),
        }
    }
}
