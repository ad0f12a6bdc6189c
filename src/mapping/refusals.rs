//! What the database lacks of what the settings say of tables.

use std::collections::BTreeSet;

use super::family::Family;
use super::shape::{Shapes, TableShape};
use super::table::Table;
use crate::error::{Result, Unmet};
use crate::nearest;
use crate::postgres::Session;
use crate::table_name::TableName;

impl Shapes {
    /// Why the rows of tables cannot become what the settings say, each with its cure. A table that
    /// `is_in_use` says to have been copied so before is left out: what it lacks now was taken away
    /// since, and its keys are left as they are.
    ///
    /// Where there is no publication yet, one of `tables` will be made, of all if there is none.
    ///
    /// # Errors
    /// As for every query.
    pub(crate) fn refusals(
        &self,
        session: &mut Session,
        publication: &str,
        tables: &[TableName],
        is_in_use: impl Fn(&TableName, &TableShape) -> bool,
    ) -> Result<Vec<Unmet>> {
        let mut refusals = Vec::new();
        if self.each().next().is_none() {
            return Ok(refusals);
        }
        let published = match session.has_publication(publication)? {
            true => Some(session.published_tables(publication)?),
            false => None,
        };
        let names = match (&published, tables) {
            (Some(published), _) => published.iter().map(|table| table.name.clone()).collect(),
            (None, []) => session.publishable_tables()?,
            (None, tables) => tables.to_vec(),
        };
        let mut to_be_published = Vec::new();
        if published.is_none() {
            for name in self.tables_named().into_iter().filter(|name| names.contains(name)) {
                to_be_published.extend(session.named_table(name)?.map(|table| (name, table)));
            }
        }
        let family: Vec<_> = match &published {
            Some(published) => published.iter().map(Table::published).collect(),
            None => to_be_published.iter().map(|(name, table)| Table::named(name, table)).collect(),
        };
        let oids: Vec<_> = family.iter().map(|table| table.oid).collect();
        let foreign_keys = session.foreign_keys(if self.nest_any() { &oids } else { &[] })?;
        let family = Family { shapes: self, tables: family, foreign_keys: &foreign_keys };
        let plans = family.plans();
        let is_there = |name: &TableName| family.tables.iter().position(|table| table.name == name);
        for (name, shape) in self.each().filter(|(name, shape)| !is_in_use(name, shape)) {
            let Some(place) = is_there(name) else {
                refusals.push(match session.named_table(name)? {
                    None => {
                        let Unmet { problem, cure } = no_table(name, session)?;
                        Unmet::new(format!("{}: tables.{name}: {problem}", shape.place), cure)
                    }
                    Some(_) => not_published(name, shape, publication),
                });
                continue;
            };
            let mut nests = shape.nests.iter().filter(|nest| is_there(&nest.table).is_none());
            if let Some(nest) = nests.next()
                && session.named_table(&nest.table)?.is_none()
            {
                let reason = no_table(&nest.table, session)?;
                refusals.push(nest.unmet_at(&nest.place, name, reason));
            } else if let Err(unmet) = &plans[place] {
                refusals.push(placed(unmet.clone(), name, shape));
            }
        }
        // Those without a block have their keys below `/PATH/TABLE/`.
        let unshaped: BTreeSet<_> = names.iter().filter(|name| self.of(name).is_none()).collect();
        for name in unshaped {
            let neighbour = self.neighbour(name).filter(|(other, shape)| !is_in_use(other, shape));
            refusals.extend(neighbour.map(|(other, shape)| {
                let own = self.own_keyspace(name);
                Unmet::new(
                    format!(
                        "{}: tables.{other}: its keys would stand among those of table {name}, which begin with {}",
                        shape.place,
                        String::from_utf8_lossy(&own)
                    ),
                    format!("give it another key, or give table {name} a block with a key of its own"),
                )
            }));
        }
        Ok(refusals)
    }

    /// The tables that the settings name.
    fn tables_named(&self) -> BTreeSet<&TableName> {
        let nested = self.each().flat_map(|(_, shape)| &shape.nests).map(|nest| &nest.table);
        self.each().map(|(name, _)| name).chain(nested).collect()
    }
}

fn no_table(name: &TableName, session: &mut Session) -> Result<Unmet> {
    let known: Vec<_> = session.publishable_tables()?.iter().map(ToString::to_string).collect();
    let hint = nearest::hint(&name.to_string(), known.iter().map(String::as_str));
    let cure = "name a table that there is, or make it first";
    Ok(Unmet::new(format!("there is no table {name}{hint}"), cure))
}

fn not_published(name: &TableName, shape: &TableShape, publication: &str) -> Unmet {
    let place = &shape.place;
    Unmet::new(
        format!("{place}: tables.{name}: the table is not in publication {publication}"),
        format!("ALTER PUBLICATION {publication} ADD TABLE {name}, or add it to sync.tables"),
    )
}

/// The same, with the place in the settings if it does not say that yet.
fn placed(unmet: Unmet, name: &TableName, shape: &TableShape) -> Unmet {
    let block = format!(": tables.{name}: ");
    match unmet.problem.contains(&block) {
        true => unmet,
        false => Unmet::new(format!("{}{block}{}", shape.place, unmet.problem), unmet.cure),
    }
}
