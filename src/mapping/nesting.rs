//! Whether one table can be nested in another, and what its rows become there.

mod form;

use std::sync::Arc;

use super::keyspace::Keyspace;
use super::nest::Nest;
use super::nested::Nested;
use super::output::Output;
use super::shape::{FormShape, NestShape};
use super::table::Table;
use super::value::{Value, text};
use crate::error::Unmet;
use crate::json_text::json_string;
use crate::nearest;
use crate::postgres::{ForeignKey, quoted, quoted_name};
use crate::table_name::TableName;

/// Two tables, of which one is to be nested in the other.
#[derive(Clone, Copy)]
pub(super) struct Nesting<'n> {
    pub(super) parent: Table<'n>,
    /// The parent's document, with nothing nested in it.
    pub(super) document: &'n Output,
    /// What the settings say.
    pub(super) shape: &'n NestShape,
    pub(super) child: Table<'n>,
}

impl Nesting<'_> {
    /// What becomes of the child's rows, and the place of the foreign key by which they are nested.
    ///
    /// # Errors
    /// The requirement that the tables do not meet, with its place in the settings.
    pub(super) fn nest(&self, foreign_keys: &[ForeignKey]) -> Result<(Nest, usize), Unmet> {
        let Self { parent, shape, child, .. } = *self;
        let missing = shape.named.iter().find(|(name, _)| child.place(name).is_none());
        if let Some((name, place)) = missing {
            return Err(shape.unmet_at(place, parent.name, self.no_column(name)));
        }
        self.parent_is_fit()
            .and_then(|()| self.nest_by(foreign_keys))
            .map_err(|reason| shape.unmet(parent.name, reason))
    }

    fn nest_by(&self, foreign_keys: &[ForeignKey]) -> Result<(Nest, usize), Unmet> {
        let Self { parent, document, shape, child } = *self;
        let (place, foreign_key) = self.foreign_key(foreign_keys)?;
        let placeholders = document.template.columns().map(|column| {
            let pair = foreign_key.columns.iter().find(|(_, parent)| parent == column);
            pair.and_then(|(own, _)| child.place(own))
        });
        let placeholders: Option<Vec<usize>> = placeholders.collect();
        let placeholders = placeholders.ok_or_else(|| {
            let columns = own_columns(foreign_key);
            Unmet::new(
                format!("not all columns of foreign key ({columns}) are published"),
                format!(
                    "add {columns} to the column list of table {} in the publication",
                    child.name
                ),
            )
        })?;
        let key = child.key().iter().filter_map(|name| child.place(name));
        let of_foreign_key = |&column: &usize| {
            let name = &child.columns[column].name;
            foreign_key.columns.iter().any(|(own, _)| own == name)
        };
        let key: Vec<_> = key.filter(|column| !of_foreign_key(column)).collect();
        let value = Value::new(&shape.value, shape.omit_nulls, child.columns);
        let value = value.map_err(|name| self.no_column(&name))?;
        let (form, name) = match &shape.form {
            FormShape::Array(order) => (form::array(child, &key, order, &value)?, Vec::new()),
            FormShape::Map(member) => {
                let name = text(member, child.columns).map_err(|name| self.no_column(&name))?;
                (form::map(child, &key, &name)?, name)
            }
        };
        let element = Output {
            template: document.template.clone(),
            placeholders,
            key: Vec::new(),
            certain: value.is_certain(),
            value,
        };
        let keyspaces = Keyspace::of_templates([&document.template]);
        let keyspace = keyspaces.into_iter().next();
        let nest = Nest {
            parent: parent.name.clone(),
            keyspace: keyspace.unwrap_or_else(|| Keyspace::whole(document.template.keyspace())),
            element,
            key,
            name,
            nested: Arc::new(Nested { json_name: json_string(&shape.member), form }),
        };
        Ok((nest, place))
    }

    /// The parent's keys are to be known by the foreign key alone, and its rows all in etcd.
    fn parent_is_fit(&self) -> Result<(), Unmet> {
        let Self { parent, document, shape, .. } = *self;
        let json_name = json_string(&shape.member);
        if document.value.members().iter().any(|member| member.json_name == json_name) {
            return Err(Unmet::new(
                format!("the document has a member {} already", shape.member),
                format!(
                    "name the nested member otherwise, or leave {} out of the object",
                    shape.member
                ),
            ));
        }
        if parent.is_filtered {
            return Err(Unmet::new(
                format!(
                    "table {} has a row filter: not all of its rows are published",
                    parent.name
                ),
                format!(
                    "publish {} without WHERE (ALTER PUBLICATION ... SET TABLE ...)",
                    parent.name
                ),
            ));
        }
        let mut columns = document.template.columns();
        match columns.find(|column| parent.key().iter().all(|own| own != column)) {
            None => Ok(()),
            Some(column) => Err(Unmet::new(
                format!(
                    "the key {} has column {column}, which is not in the key of table {} ({}): a row of \
                     another table does not know it",
                    document.template.text(),
                    parent.name,
                    parent.key().join(", ")
                ),
                format!("take {{{column}}} out of it"),
            )),
        }
    }

    fn no_column(&self, name: &str) -> Unmet {
        let hint = nearest::hint(name, self.child.columns.iter().map(|known| known.name.as_str()));
        Unmet::new(
            format!("table {} has no column {name}{hint}", self.child.name),
            "name a column that is published",
        )
    }

    /// The foreign key by which the child's rows belong to the parent's, with its place.
    fn foreign_key<'f>(
        &self,
        foreign_keys: &'f [ForeignKey],
    ) -> Result<(usize, &'f ForeignKey), Unmet> {
        let Self { parent, shape, child, .. } = *self;
        let (from, to) = (child.name, parent.name);
        let found = foreign_keys.iter().enumerate();
        let found = found.filter(|(_, one)| one.table == child.oid && one.parent == parent.oid);
        let named = |one: &ForeignKey| match &shape.by {
            None => true,
            Some(by) => is_permutation(one.columns.iter().map(|(own, _)| own), by),
        };
        let mut found: Vec<_> = found.filter(|(_, one)| named(one)).collect();
        let mut ways: Vec<_> = found.iter().map(|(_, one)| own_columns(one)).collect();
        ways.sort();
        ways.dedup();
        if let [_, _, ..] = ways[..] {
            return Err(Unmet::new(
                format!(
                    "table {from} has several foreign keys to table {to}: ({})",
                    ways.join("), (")
                ),
                format!("say which one is meant, with by = [{:?}] for example", ways[0]),
            ));
        }
        // One that is there twice counts if either does.
        found.sort_by_key(|(_, one)| self.lack_of(one).is_some());
        match found.first() {
            Some((place, one)) => self.lack_of(one).map_or(Ok((*place, *one)), Err),
            None => {
                let columns = shape.by.as_ref().map_or("...".to_owned(), |by| quoted_list(by));
                let what = match &shape.by {
                    Some(by) => format!("no foreign key ({})", by.join(", ")),
                    None => "no foreign key".to_owned(),
                };
                Err(Unmet::new(
                    format!("table {from} has {what} to table {to}"),
                    self.add_foreign_key(&columns),
                ))
            }
        }
    }

    /// What a foreign key lacks.
    fn lack_of(&self, foreign_key: &ForeignKey) -> Option<Unmet> {
        let Self { parent, child, .. } = *self;
        let ForeignKey { name, columns, validated, unlike, .. } = foreign_key;
        let table = quoted_name(child.name);
        if !validated {
            return Some(Unmet::new(
                format!("foreign key {name} of table {} is not validated", child.name),
                format!("ALTER TABLE {table} VALIDATE CONSTRAINT {}", quoted(name)),
            ));
        }
        if !is_permutation(columns.iter().map(|(_, parent)| parent), parent.key()) {
            let referenced: Vec<_> = columns.iter().map(|(_, parent)| parent.as_str()).collect();
            return Some(Unmet::new(
                format!(
                    "foreign key {name} of table {} references ({}), and the key of table {} is ({})",
                    child.name,
                    referenced.join(", "),
                    parent.name,
                    parent.key().join(", ")
                ),
                self.add_foreign_key("..."),
            ));
        }
        if let Some(column) = unlike.first() {
            return Some(Unmet::new(
                format!(
                    "column {column} of foreign key {name} is of a type with equal values that are printed \
                     differently"
                ),
                format!(
                    "give {column} and the column that it references a type that has none: integers, oid, \
                     bool, uuid, text, varchar, bytea, date, timestamp, timestamptz, or the same enum, with \
                     a deterministic collation"
                ),
            ));
        }
        let unsent = columns.iter().find(|(own, _)| !child.sends(own));
        unsent.map(|(own, _)| {
            Unmet::new(
                format!(
                    "PostgreSQL does not send column {own} of foreign key {name} for a deleted row of table \
                     {}",
                    child.name
                ),
                child.cure_of_identity(own),
            )
        })
    }

    fn add_foreign_key(&self, columns: &str) -> String {
        let Self { parent, child, .. } = self;
        format!(
            "ALTER TABLE {} ADD FOREIGN KEY ({columns}) REFERENCES {} ({})",
            quoted_name(child.name),
            quoted_name(parent.name),
            quoted_list(parent.key())
        )
    }
}

impl NestShape {
    /// The requirement with the place of the block in the settings.
    pub(super) fn unmet(&self, parent: &TableName, unmet: Unmet) -> Unmet {
        self.unmet_at(&self.block, parent, unmet)
    }

    /// The requirement with this place in the settings.
    pub(super) fn unmet_at(&self, place: &str, parent: &TableName, unmet: Unmet) -> Unmet {
        let problem = format!("{place}: tables.{parent}: nest.{}: {}", self.member, unmet.problem);
        Unmet::new(problem, unmet.cure)
    }

    /// The table is not there, or not published.
    pub(super) fn not_published(&self, parent: &TableName) -> Unmet {
        let table = &self.table;
        let cure = format!("ALTER PUBLICATION ... ADD TABLE {table}, or add it to sync.tables");
        self.unmet(parent, Unmet::new(format!("table {table} is not published"), cure))
    }

    /// The table is left out for this reason.
    pub(super) fn left_out(&self, parent: &TableName, reason: &Unmet) -> Unmet {
        let problem = format!("table {} is left out: {}", self.table, reason.problem);
        self.unmet(parent, Unmet::new(problem, reason.cure.clone()))
    }
}

fn own_columns(foreign_key: &ForeignKey) -> String {
    let columns: Vec<_> = foreign_key.columns.iter().map(|(own, _)| own.as_str()).collect();
    columns.join(", ")
}

fn quoted_list(names: &[String]) -> String {
    names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ")
}

/// Whether these are the same names, in whatever order.
fn is_permutation<'n>(names: impl Iterator<Item = &'n String>, others: &[String]) -> bool {
    let (mut names, mut others): (Vec<_>, Vec<_>) = (names.collect(), others.iter().collect());
    names.sort();
    others.sort();
    names == others
}
