//! What is known of the stream's tables.

use std::collections::HashMap;
use std::mem::take;

use crate::error::{Error, Result, Unmet};
use crate::kind::Kind;
use crate::mapping::{Family, Keyspace, Nest, Plan, Shapes, Table};
use crate::postgres::pgoutput::{Relation, ReplicaIdentity};
use crate::postgres::{PublishedTable, TableColumn, TableFacts};
use crate::table_name::TableName;

/// The tables of the stream, by OID: each as its last `Relation` message has it, which is how it
/// was when its rows changed, and as the catalog has it now.
#[derive(Clone, Debug)]
pub(crate) struct Tables {
    shapes: Shapes,
    known: HashMap<u32, Known>,
    /// Those of which the catalog does not say all yet, since their last description.
    guessed: Vec<u32>,
}

#[derive(Clone, Debug)]
struct Known {
    relation: Relation,
    /// `None` as long as the catalog was not asked.
    plan: Option<std::result::Result<Plan, Unmet>>,
}

/// What a table is to the translation.
#[derive(Clone, Copy, Debug)]
pub(super) enum Described<'t> {
    /// One that is copied.
    Plan(&'t Plan),
    /// One that is not.
    LeftOut,
    /// The catalog has to be asked.
    Unknown,
}

/// What came of a description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Description {
    /// The table's name.
    pub(crate) name: TableName,
    /// Why it is left out, if it is.
    pub(crate) left_out: Option<Unmet>,
    /// Whether the catalog does not have the table as the stream has it. A commit is streamed
    /// before others see it, and what was altered since is only in the catalog. Then rows go the
    /// best known way, and the table has to be compared.
    pub(crate) guessed: bool,
}

impl Tables {
    /// None yet; their rows become what `shapes` says.
    pub(crate) fn new(shapes: Shapes) -> Self {
        Self { shapes, known: HashMap::new(), guessed: Vec::new() }
    }

    /// A table's name.
    pub(crate) fn name(&self, oid: u32) -> Option<TableName> {
        let Relation { schema, name, .. } = &self.known.get(&oid)?.relation;
        Some(TableName { schema: schema.clone(), name: name.clone() })
    }

    /// The types of a table's columns.
    pub(crate) fn column_types(&self, oid: u32) -> Vec<u32> {
        let columns = self.known.get(&oid).map_or(&[][..], |known| &known.relation.columns);
        columns.iter().map(|column| column.type_oid).collect()
    }

    /// The tables that the catalog has to be asked for with a table; none if it can be described alone.
    pub(crate) fn relatives(&self, oid: u32) -> Vec<TableName> {
        self.name(oid).map(|name| self.shapes.relatives(&name)).unwrap_or_default()
    }

    /// Takes what the catalog says of a table.
    pub(crate) fn describe(&mut self, oid: u32, facts: &TableFacts) -> Option<Description> {
        let known = self.known.get_mut(&oid)?;
        let Relation { schema, name, columns, .. } = &known.relation;
        let name = TableName { schema: schema.clone(), name: name.clone() };
        let mut guessed = false;
        let mut columns_with_kinds = Vec::new();
        for column in columns {
            let kind = facts.kinds.get(&column.type_oid);
            guessed |= kind.is_none();
            columns_with_kinds.push(TableColumn {
                name: column.name.clone(),
                type_oid: *facts.bases.get(&column.type_oid).unwrap_or(&column.type_oid),
                kind: kind.cloned().unwrap_or(Kind::Text),
            });
        }
        let mut key = facts.key.clone();
        if let Some(guess) = guess_key(&known.relation, facts.key.as_deref()) {
            guessed = true;
            key = Some(guess);
        }
        let relatives = &facts.relatives.tables;
        let is_own = |table: &&PublishedTable| table.oid == oid || table.name == name;
        let own = Table {
            oid,
            name: &name,
            columns: &columns_with_kinds,
            key: key.as_deref(),
            full_identity: known.relation.replica_identity == ReplicaIdentity::Full,
            is_filtered: relatives.iter().any(|table| is_own(&table) && table.row_filter.is_some()),
        };
        let others = relatives.iter().filter(|table| !is_own(table)).map(Table::published);
        let family = Family {
            shapes: &self.shapes,
            tables: [own].into_iter().chain(others).collect(),
            foreign_keys: &facts.relatives.foreign_keys,
        };
        let plan = family.plans().swap_remove(0).map(|planned| planned.plan);
        let left_out = plan.as_ref().err().cloned();
        known.plan = Some(plan);
        if guessed {
            self.guessed.push(oid);
        }
        Some(Description { name, left_out, guessed })
    }

    /// Forgets what the catalog says of all tables: something has changed there that the stream does
    /// not tell, an attribute of a composite for example.
    pub(crate) fn forget_catalog(&mut self) {
        self.known.values_mut().for_each(|known| known.plan = None);
    }

    /// The keys of a table; none if it is not copied.
    pub(crate) fn keyspaces(&self, oid: u32) -> &[Keyspace] {
        self.plan(oid).map(Plan::keyspaces).unwrap_or_default()
    }

    fn plan(&self, oid: u32) -> Option<&Plan> {
        self.known.get(&oid)?.plan.as_ref()?.as_ref().ok()
    }

    /// The documents that rows of a table are in.
    pub(crate) fn nests(&self, oid: u32) -> &[Nest] {
        self.plan(oid).map(Plan::nests).unwrap_or_default()
    }

    /// What the keys begin with, of a table itself or else of those that it is nested in, which tell what
    /// has to be compared if a row of it is not known.
    pub(crate) fn to_compare(&self, oid: u32) -> Vec<Vec<u8>> {
        let own = self.keyspaces(oid).first().map(|own| own.prefix().to_vec());
        let name = self.name(oid);
        let parents = name.iter().flat_map(|name| self.shapes.nests_of(name));
        let parents =
            parents.filter_map(|(parent, _)| self.shapes.keyspaces(parent).into_iter().next());
        let mut found: Vec<_> = own.into_iter().chain(parents).collect();
        found.sort();
        found.dedup();
        found
    }

    /// Writes no key of a table from now on, until it is described anew. Its rows stay in the documents
    /// of others.
    pub(crate) fn leave_out(&mut self, oid: u32, reason: Unmet) {
        let Some(known) = self.known.get_mut(&oid) else { return };
        known.plan = match known.plan.take() {
            Some(Ok(plan)) if !plan.nests().is_empty() => Some(Ok(plan.without_keys())),
            _ => Some(Err(reason)),
        };
    }

    /// Leaves the documents of another table alone from now on, until this one is described anew.
    pub(crate) fn leave_nests_out(&mut self, oid: u32, parent: &TableName) {
        if let Some(Known { plan: Some(Ok(plan)), .. }) = self.known.get_mut(&oid) {
            plan.forget_nests_in(parent);
        }
    }

    /// Takes note of a `Relation` message.
    pub(super) fn learn(&mut self, relation: Relation) {
        self.known.insert(relation.oid, Known { relation, plan: None });
    }

    /// Takes note of a transaction's begin: by now the catalog may say more of some tables.
    pub(super) fn begin(&mut self) {
        for oid in take(&mut self.guessed) {
            if let Some(known) = self.known.get_mut(&oid) {
                known.plan = None;
            }
        }
    }

    /// The table of a row of so many columns.
    pub(super) fn of_row(&self, oid: u32, width: usize) -> Result<Described<'_>> {
        let described = self.described(oid)?;
        if let Described::Plan(plan) = described
            && plan.columns().len() != width
        {
            return Err(protocol_error(format!("a row of table {oid} has {width} columns")));
        }
        Ok(described)
    }

    pub(super) fn described(&self, oid: u32) -> Result<Described<'_>> {
        let known = self.known.get(&oid);
        let known = known
            .ok_or_else(|| protocol_error(format!("a change of table {oid}, never described")))?;
        Ok(match &known.plan {
            None => Described::Unknown,
            Some(Ok(plan)) => Described::Plan(plan),
            Some(Err(_)) => Described::LeftOut,
        })
    }
}

/// The key of a table whose columns are not, or not all, those of the key that the catalog has;
/// `None` if they are, or if there is nothing to go by.
///
/// The columns that the stream says are the identity's are the key's. What it does not say is their
/// order: they take the places that the catalog has for those of the same name, and the others
/// follow in the table's own order.
fn guess_key(relation: &Relation, key: Option<&[String]>) -> Option<Vec<String>> {
    let has = |name: &String| relation.columns.iter().any(|column| column.name == *name);
    let key = key.unwrap_or_default();
    let by_columns =
        matches!(relation.replica_identity, ReplicaIdentity::Default | ReplicaIdentity::Index);
    if !by_columns || (!key.is_empty() && key.iter().all(has)) {
        return None;
    }
    let identity = relation.columns.iter().filter(|column| column.identity);
    let identity: Vec<&String> = identity.map(|column| &column.name).collect();
    // Some columns of the key may just not be published.
    if identity.is_empty() || !(key.is_empty() || key.len() == identity.len()) {
        return None;
    }
    let mut others = identity.iter().filter(|name| !key.contains(name));
    let places = key.iter().map(|name| if has(name) { Some(name) } else { others.next().copied() });
    let guess: Option<Vec<String>> = match key {
        [] => Some(identity.into_iter().cloned().collect()),
        _ => places.map(|name| name.cloned()).collect(),
    };
    guess
}

fn protocol_error(problem: String) -> Error {
    Error::PostgresProtocol { doing: "reading the stream".to_owned(), problem }
}
