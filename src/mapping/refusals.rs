//! What the database lacks of what the settings say of tables.

use std::collections::BTreeSet;

use super::plan::Plan;
use super::shape::{Shapes, TableShape};
use crate::error::{Result, Unmet};
use crate::nearest;
use crate::postgres::{PublishedTable, Session};
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
        for (name, shape) in self.each().filter(|(name, shape)| !is_in_use(name, shape)) {
            if let Some(table) = published.iter().flatten().find(|table| table.name == *name) {
                refusals.extend(self.refusal(shape, table));
                continue;
            }
            let refusal = match session.named_table(name)? {
                None => Some(self.unknown(name, shape, &session.publishable_tables()?)),
                Some(_) if !names.contains(name) => Some(not_published(name, shape, publication)),
                Some(table) => {
                    let key = table.key.as_deref();
                    let plan = Plan::new(self, name, &table.columns, key, table.full_identity);
                    plan.err().map(|unmet| placed(unmet, name, shape))
                }
            };
            refusals.extend(refusal);
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

    fn refusal(&self, shape: &TableShape, table: &PublishedTable) -> Option<Unmet> {
        Plan::of(self, table).err().map(|unmet| placed(unmet, &table.name, shape))
    }

    fn unknown(&self, name: &TableName, shape: &TableShape, known: &[TableName]) -> Unmet {
        let known: Vec<_> = known.iter().map(ToString::to_string).collect();
        let hint = nearest::hint(&name.to_string(), known.iter().map(String::as_str));
        let place = &shape.place;
        Unmet::new(
            format!("{place}: tables.{name}: there is no table {name}{hint}"),
            "name a table that there is, or make it first",
        )
    }
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
