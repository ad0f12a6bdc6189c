//! The plan of a table.

use std::sync::Arc;

use super::key::name_in_keys;
use super::keyspace::Keyspace;
use super::nest::Nest;
use super::nested::Nested;
use super::output::Output;
use super::shape::{Shapes, TableShape, ValueShape};
use super::template::KeyTemplate;
use super::value::{Content, Member, Value, columns_of};
use super::way::Step;
use crate::error::Unmet;
use crate::kind::Kind;
use crate::nearest;
use crate::postgres::{TableColumn, quoted_name};
use crate::table_name::TableName;

/// What the rows of a table become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub(super) columns: Vec<TableColumn>,
    pub(super) key: Vec<usize>,
    pub(super) outputs: Vec<Output>,
    pub(super) nests: Vec<Nest>,
    pub(super) keyspaces: Vec<Keyspace>,
    /// Which rows it is of, as an SQL condition; all if there is none.
    pub(super) condition: Option<String>,
    /// What becomes of the rows that lack a key.
    pub(super) without_key: Option<Box<Self>>,
}

impl Plan {
    /// The plan of a table of these columns, of which `key` names those of the key, in its order. Of
    /// a row that is deleted PostgreSQL sends these, or all of them if the identity is `full`. What is
    /// nested is not in it: for that see the plans of a family.
    ///
    /// # Errors
    /// The requirement that the table does not meet.
    pub fn new(
        shapes: &Shapes,
        name: &TableName,
        columns: &[TableColumn],
        key: Option<&[String]>,
        full: bool,
    ) -> Result<Self, Unmet> {
        let Some(key) = key else {
            return Err(Unmet::new(
                "it has neither a primary key nor an identity index",
                "give it a primary key that is not deferrable, or name a unique index with ALTER \
                 TABLE ... REPLICA IDENTITY USING INDEX",
            ));
        };
        // A name that is no UTF-8, as a SQL_ASCII database can have, cannot be asked for.
        let names = columns.iter().map(|column| &column.name).chain([&name.schema, &name.name]);
        if let Some(name) = names.into_iter().find(|name| name.contains('\u{FFFD}')) {
            return Err(Unmet::new(format!("the name {name} is no UTF-8"), "rename it"));
        }
        let place = |name: &str| columns.iter().position(|column| column.name == *name);
        let Some(places) = key.iter().map(|name| place(name)).collect() else {
            return Err(Unmet::new(
                format!("not all columns of its key ({}) are published", key.join(", ")),
                "add them to its column list in the publication",
            ));
        };
        if let Some((other, shape)) = shapes.neighbour(name) {
            return Err(Unmet::new(
                format!("its keys would stand among those of table {other} ({})", shape.place),
                "give one of them another key in the settings",
            ));
        }
        let shape = shapes.of(name);
        if let Some(shape) = shape {
            let table = Shaped { name, shape, columns };
            table.columns_are_there()?;
            table.keys_are_complete(key, full)?;
        }
        let default = TableShape::default();
        let shape = shape.unwrap_or(&default);
        let below = KeyTemplate::below(&shapes.own_keyspace(name), key);
        let wanted: Vec<(&KeyTemplate, &ValueShape)> = match &shape.keys[..] {
            [] if shape.only_nested => Vec::new(),
            [] => vec![(&below, &shape.value)],
            keys => keys.iter().map(|(template, value)| (template, value)).collect(),
        };
        let output = |(template, value): &(&KeyTemplate, &ValueShape)| {
            let value = Value::new(value, shape.omit_nulls, columns)?;
            let placeholders = template.columns().filter_map(place).collect();
            Ok(Output {
                template: (*template).clone(),
                placeholders,
                key: Vec::clone(&places),
                certain: value.is_certain(),
                value,
            })
        };
        let outputs: Result<Vec<_>, String> = wanted.iter().map(output).collect();
        let outputs = outputs.map_err(|name| {
            Unmet::new(format!("it has no column {name}"), "correct the block of the table")
        })?;
        let mut plan = Self {
            keyspaces: Keyspace::of_templates(outputs.iter().map(|output| &output.template)),
            columns: columns.to_vec(),
            key: places,
            outputs,
            nests: Vec::new(),
            condition: None,
            without_key: None,
        };
        let marks = shapes.marks_of(&name_in_keys(name));
        plan.without_key = marks.and_then(|marks| plan.of_rows_without_key(&marks)).map(Box::new);
        Ok(plan)
    }

    /// What becomes of the rows that lack a key under one of the outputs: each has a key of the state
    /// that says so. `None` if no row of the table can lack one.
    #[must_use]
    pub fn without_key(&self) -> Option<&Self> {
        self.without_key.as_deref()
    }

    /// Which rows it is of, as an SQL condition; `None` for all of the table.
    #[must_use]
    pub fn condition(&self) -> Option<&str> {
        self.condition.as_deref()
    }

    /// Adds members with rows of other tables to its documents.
    pub(super) fn nest_others<'n>(&mut self, nests: impl IntoIterator<Item = &'n Nest>) {
        for Nest { nested, .. } in nests {
            let way = [Step::Member(nested.json_name.clone())].into();
            let content = Content::Nested(Arc::clone(nested), way);
            let member = Member { json_name: nested.json_name.clone(), content };
            for Output { value, .. } in &mut self.outputs {
                value.push(member.clone());
            }
        }
    }

    /// Adds a document of another table, or of its own, that rows are in.
    pub(super) fn nest_in(&mut self, nest: Nest) {
        self.nests.push(nest);
    }

    /// Takes the documents of a table away: its rows are in them no longer.
    pub(crate) fn forget_nests_in(&mut self, parent: &TableName) {
        self.nests.retain(|nest| nest.parent != *parent);
    }

    /// The plan with no keys: rows are only in the documents of others.
    #[must_use]
    pub(crate) fn without_keys(self) -> Self {
        Self { outputs: Vec::new(), keyspaces: Vec::new(), ..self }
    }

    /// The keys that the table owns.
    #[must_use]
    pub fn keyspaces(&self) -> &[Keyspace] {
        &self.keyspaces
    }

    /// Whether a key begins as those of the table do.
    #[must_use]
    pub fn covers(&self, key: &[u8]) -> bool {
        self.keyspaces.iter().any(|keyspace| key.starts_with(keyspace.prefix()))
    }

    /// Whether a key can be one of the table's.
    #[must_use]
    pub fn gives(&self, key: &[u8]) -> bool {
        self.keyspaces.iter().any(|keyspace| keyspace.gives(key))
    }

    /// Whether the table has keys that begin as those of a keyspace do, or the other way round.
    #[must_use]
    pub fn meets(&self, keyspace: &Keyspace) -> bool {
        self.keyspaces.iter().any(|own| {
            own.prefix().starts_with(keyspace.prefix())
                || keyspace.prefix().starts_with(own.prefix())
        })
    }

    /// The places of the outputs that have their keys in a keyspace.
    #[must_use]
    pub fn outputs_in(&self, keyspace: &Keyspace) -> Vec<usize> {
        let inside =
            |place: &usize| self.outputs[*place].template.keyspace().starts_with(keyspace.prefix());
        (0..self.outputs.len()).filter(inside).collect()
    }

    /// The keys of a row, each with what is under it.
    #[must_use]
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// The documents of other tables, or of its own, that a row is in.
    #[must_use]
    pub fn nests(&self) -> &[Nest] {
        &self.nests
    }

    /// The members of its documents that have rows of other tables, in the order of the document.
    pub fn nested(&self) -> impl Iterator<Item = &Arc<Nested>> {
        let members = self.outputs.iter().flat_map(|output| output.value.members());
        members.filter_map(|member| match &member.content {
            Content::Nested(nested, _) => Some(nested),
            _ => None,
        })
    }

    /// What a row becomes, under keys of its own and in the documents of others.
    fn outputs_everywhere(&self) -> impl Iterator<Item = &Output> {
        self.outputs.iter().chain(self.nests.iter().map(|nest| &nest.element))
    }

    /// The published columns, in their order.
    #[must_use]
    pub fn columns(&self) -> &[TableColumn] {
        &self.columns
    }

    /// The places of the key's columns among all, in key order.
    #[must_use]
    pub fn key(&self) -> &[usize] {
        &self.key
    }

    /// The names of the key's columns, in key order.
    pub fn key_names(&self) -> impl Iterator<Item = &str> {
        self.key.iter().map(|&column| self.columns[column].name.as_str())
    }

    /// The columns with values that only the server can turn into JSON.
    pub fn casts(&self) -> impl Iterator<Item = usize> {
        let columns = self.columns.iter().enumerate();
        columns.filter_map(|(place, column)| column.kind.needs_cast().then_some(place))
    }

    /// How many columns [`Plan::sql_columns`] has.
    #[must_use]
    pub fn sql_width(&self) -> usize {
        self.columns.len() + self.text_casts().count()
    }

    /// Those of them whose own text stands in keys or in texts.
    pub fn text_casts(&self) -> impl Iterator<Item = usize> {
        let texts = self.outputs_everywhere().flat_map(|output| {
            output.placeholders.iter().copied().chain(output.value.text_columns())
        });
        let names = self.nests.iter().flat_map(|nest| columns_of(&nest.name));
        let texts: Vec<_> = texts.chain(names).chain(self.key.iter().copied()).collect();
        self.casts().filter(move |column| texts.contains(column))
    }

    /// The columns of texts that cannot be taken apart: an update that does not send one of them has the
    /// table compared.
    #[must_use]
    pub fn mixed_columns(&self) -> Vec<&str> {
        let mut found: Vec<_> =
            self.outputs_everywhere().flat_map(|output| output.value.mixed_columns()).collect();
        found.sort_unstable();
        found.dedup();
        found.into_iter().map(|column| self.columns[column].name.as_str()).collect()
    }

    /// The plan for rows that the server sends as [`Plan::sql_columns`] asks for.
    #[must_use]
    pub fn with_casts_made(&self) -> Self {
        let mut plan = self.clone();
        for column in self.casts() {
            plan.columns[column].kind = Kind::Json;
        }
        plan
    }
}

/// A table with the shape that the settings say.
struct Shaped<'s> {
    name: &'s TableName,
    shape: &'s TableShape,
    columns: &'s [TableColumn],
}

impl Shaped<'_> {
    fn columns_are_there(&self) -> Result<(), Unmet> {
        let names = || self.columns.iter().map(|column| column.name.as_str());
        let missing =
            self.shape.named.iter().find(|(column, _)| names().all(|name| name != *column));
        let Some((column, place)) = missing else { return Ok(()) };
        let hint = nearest::hint(column, names());
        let problem =
            format!("{place}: tables.{}: the table has no column {column}{hint}", self.name);
        Err(Unmet::new(problem, "name a column that is published"))
    }

    /// Each template has to tell the rows apart, and a deleted row has to have its keys.
    fn keys_are_complete(&self, key: &[String], full: bool) -> Result<(), Unmet> {
        let Self { name, shape, .. } = self;
        for (template, _) in &shape.keys {
            let text = template.text();
            let lacks = key.iter().find(|column| template.columns().all(|has| has != *column));
            if let Some(column) = lacks {
                let problem = format!(
                    "{}: tables.{name}: {text} lacks column {column} of the table's key ({}): two rows could have one key",
                    shape.place,
                    key.join(", ")
                );
                return Err(Unmet::new(problem, format!("add {{{column}}} to it")));
            }
            let unsent =
                template.columns().find(|column| !full && !key.iter().any(|sent| sent == column));
            if let Some(column) = unsent {
                let problem = format!(
                    "{}: tables.{name}: {text} has column {column}, which PostgreSQL does not send for a deleted row",
                    shape.place
                );
                let table = quoted_name(name);
                return Err(Unmet::new(
                    problem,
                    format!(
                        "ALTER TABLE {table} REPLICA IDENTITY FULL, or, with a unique index of \
                         columns that are NOT NULL, {column} among them, \
                         ALTER TABLE {table} REPLICA IDENTITY USING INDEX ..."
                    ),
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
