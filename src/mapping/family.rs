//! The plans of tables that belong together: what a table becomes depends on those that it is nested
//! in, and on those that are nested in it.

use super::nest::Nest;
use super::nesting::Nesting;
use super::plan::Plan;
use super::shape::{NestShape, Shapes};
use super::table::Table;
use crate::error::Unmet;
use crate::postgres::ForeignKey;

/// Tables whose plans are made together.
pub(crate) struct Family<'t> {
    pub(crate) shapes: &'t Shapes,
    /// All tables that are published, or those of them that [`Shapes::relatives`] names.
    pub(crate) tables: Vec<Table<'t>>,
    /// The foreign keys that these tables have.
    pub(crate) foreign_keys: &'t [ForeignKey],
}

/// The plan of a table.
pub(crate) struct Planned {
    pub(crate) plan: Plan,
    /// The tables in its documents, in the order of [`Plan::nested`].
    pub(crate) children: Vec<Child>,
}

/// A table in the documents of another.
#[derive(Clone)]
pub(crate) struct Child {
    /// Its place in [`Family::tables`].
    pub(crate) table: usize,
    /// The place of the foreign key in [`Family::foreign_keys`].
    pub(crate) foreign_key: usize,
    /// What becomes of its rows.
    pub(crate) nest: Nest,
}

impl Family<'_> {
    /// The plan of each table, in their order; of one that is left out, why. One with a table in its
    /// documents that is left out is left out as well.
    pub(crate) fn plans(&self) -> Vec<Result<Planned, Unmet>> {
        let bare: Vec<_> = self.tables.iter().map(|table| table.plan(self.shapes)).collect();
        let places = 0..self.tables.len();
        let mut families: Vec<_> =
            places.clone().map(|place| self.children(place, &bare)).collect();
        while let Some((place, reason)) =
            places.clone().find_map(|place| Some((place, self.lacks(place, &families)?)))
        {
            families[place] = Err(reason);
        }
        let nests: Vec<_> = families.iter().flatten().flatten().cloned().collect();
        let planned = |(place, (plan, children)): (usize, (Result<Plan, Unmet>, _))| {
            let (mut plan, children): (_, Vec<Child>) = (plan?, children?);
            plan.nest_others(children.iter().map(|child| &child.nest));
            let own = nests.iter().filter(|child| child.table == place);
            own.for_each(|child| plan.nest_in(child.nest.clone()));
            Ok(Planned { plan, children })
        };
        bare.into_iter().zip(families).enumerate().map(planned).collect()
    }

    /// The tables that are nested in the one at this place.
    fn children(&self, parent: usize, bare: &[Result<Plan, Unmet>]) -> Result<Vec<Child>, Unmet> {
        let (plan, parent) = (bare[parent].as_ref().map_err(Clone::clone)?, self.tables[parent]);
        let Some(document) = plan.outputs().first() else { return Ok(Vec::new()) };
        let child = |shape: &NestShape| {
            let place = self.tables.iter().position(|table| *table.name == shape.table);
            let place = place.ok_or_else(|| shape.not_published(parent.name))?;
            if let Err(reason) = &bare[place] {
                return Err(shape.left_out(parent.name, reason));
            }
            let nesting = Nesting { parent, document, shape, child: self.tables[place] };
            let (nest, foreign_key) = nesting.nest(self.foreign_keys)?;
            Ok(Child { table: place, foreign_key, nest })
        };
        self.nests(parent).iter().map(child).collect()
    }

    /// Why the table at this place cannot be copied though nothing else speaks against it: a table that
    /// is nested in it is left out.
    fn lacks(&self, parent: usize, families: &[Result<Vec<Child>, Unmet>]) -> Option<Unmet> {
        let children = families[parent].as_ref().ok()?;
        let mut lacking = children.iter().zip(self.nests(self.tables[parent]));
        lacking.find_map(|(child, shape)| {
            let reason = families[child.table].as_ref().err()?;
            Some(shape.left_out(self.tables[parent].name, reason))
        })
    }

    /// What the settings say is nested in a table.
    fn nests(&self, parent: Table<'_>) -> &[NestShape] {
        self.shapes.of(parent.name).map_or(&[], |shape| &shape.nests[..])
    }
}

#[cfg(test)]
mod tests;
