//! What the settings say of tables: which keys their rows have, and which values.

use std::collections::BTreeMap;
use std::fmt::Write;

use sha2::{Digest, Sha256};

use super::key::{keyspace, name_in_keys, table_of_key};
use super::pieces::{Piece, pieces};
use super::template::KeyTemplate;
use crate::table_name::TableName;

/// What the claims' keys begin with: no keyspace may be there.
const CLAIMS: &[u8] = b"/.pg2etcd/claims/";

/// The shapes of a copy's tables, and where the keys of the others are.
#[derive(Clone, Debug, Default)]
pub struct Shapes {
    path: String,
    /// What the keys that say which rows have no key begin with; empty if there are none.
    marks: Vec<u8>,
    tables: BTreeMap<TableName, TableShape>,
}

/// What a block says of a table.
#[derive(Clone, Debug, Default)]
pub struct TableShape {
    /// Where the block stands, `FILE:LINE`.
    pub place: String,
    /// The templates of its keys, each with what is under it; none where the table has the keys that
    /// every table has.
    pub keys: Vec<(KeyTemplate, ValueShape)>,
    /// What is under the key of a table that `keys` is empty for.
    pub value: ValueShape,
    /// Whether members that are null are left out.
    pub omit_nulls: bool,
    /// The rows of other tables that its documents hold.
    pub nests: Vec<NestShape>,
    /// Whether the rows have no keys of their own: they are only in the documents of others.
    pub only_nested: bool,
    /// The columns that it names, each with the place of the word that does.
    pub named: Vec<(String, String)>,
    /// The words as they are written, in their order.
    pub words: Vec<Word>,
}

/// A word of a block with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// The word, `keys."a/{id}"` for example, as TOML.
    pub name: String,
    /// Its value as TOML.
    pub value: String,
    /// Where it stands, `FILE:LINE`.
    pub place: String,
}

/// A member of a table's documents that holds the rows of another table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NestShape {
    /// The member's name.
    pub member: String,
    /// The other table.
    pub table: TableName,
    /// The columns of its foreign key; `None` if it has just one to this table.
    pub by: Option<Vec<String>>,
    /// What the member is.
    pub form: FormShape,
    /// What a row becomes there.
    pub value: ValueShape,
    /// Whether members that are null are left out.
    pub omit_nulls: bool,
    /// The other table's columns that it names, each with the place of the word that does.
    pub named: Vec<(String, String)>,
    /// Where it stands, `FILE:LINE`.
    pub place: String,
    /// Where the block begins that it is in.
    pub block: String,
}

/// How rows stand in a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FormShape {
    /// In an array, ordered by these columns, and then by their key.
    Array(Vec<String>),
    /// In an object, each under the name that this text gives.
    Map(Vec<TextPart>),
}

/// What is under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueShape {
    /// An object of columns.
    Columns(Columns),
    /// A text.
    Text(Vec<TextPart>),
    /// An object as it is written.
    Object(Vec<(String, Node)>),
    /// What is no object, of rows that are nested: a column's JSON, or a text as JSON.
    Scalar(Node),
}

impl Default for ValueShape {
    fn default() -> Self {
        Self::Columns(Columns::All)
    }
}

/// Which columns are members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Columns {
    /// All.
    All,
    /// These, in this order.
    Only(Vec<String>),
    /// All but these.
    Omit(Vec<String>),
}

/// A value inside of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A column's JSON.
    Column(String),
    /// A text with columns in it.
    Text(Vec<TextPart>),
    /// What is written, as JSON.
    Constant(Vec<u8>),
    /// An object.
    Object(Vec<(String, Self)>),
    /// An array.
    Array(Vec<Self>),
}

/// A part of a text: literal, or the column of this name, or the one that it has become in a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextPart<C = String> {
    /// Text as it is.
    Literal(String),
    /// A column as PostgreSQL prints it.
    Column(C),
}

/// Reads a text with columns in braces.
///
/// # Errors
/// What is wrong with it, in words that follow its name.
pub fn text_parts(text: &str) -> Result<Vec<TextPart>, String> {
    let part = |piece| match piece {
        Piece::Literal(literal) => TextPart::Literal(literal),
        Piece::Braces(column) => TextPart::Column(column),
    };
    let parts: Vec<_> = pieces(text)?.into_iter().map(part).collect();
    let filter = parts.iter().find_map(|part| match part {
        TextPart::Column(name) => {
            [":raw", ":dns"].iter().any(|filter| name.ends_with(filter)).then_some(name)
        }
        TextPart::Literal(_) => None,
    });
    match filter {
        Some(name) => Err(format!("has a filter in {{{name}}}: filters are for keys alone")),
        None => Ok(parts),
    }
}

impl Shapes {
    /// Those of a copy with its keys below `path`.
    #[must_use]
    pub fn new(path: &str, tables: BTreeMap<TableName, TableShape>) -> Self {
        Self { path: path.to_owned(), marks: Vec::new(), tables }
    }

    /// The same, of a copy with keys that begin with `marks` and say which rows have no key.
    #[must_use]
    pub fn with_marks(self, marks: Vec<u8>) -> Self {
        Self { marks, ..self }
    }

    /// What the keys that say which rows of a table have no key begin with, if there are any; `name` is
    /// the table's as it stands in keys.
    #[must_use]
    pub fn marks_of(&self, name: &[u8]) -> Option<Vec<u8>> {
        (!self.marks.is_empty()).then(|| [&self.marks, name, b"/"].concat())
    }

    /// A table's shape, if it has one.
    #[must_use]
    pub fn of(&self, table: &TableName) -> Option<&TableShape> {
        self.tables.get(table)
    }

    /// The shapes by the tables' names.
    pub fn each(&self) -> impl Iterator<Item = (&TableName, &TableShape)> {
        self.tables.iter()
    }

    /// What the keys of a table begin with unless it is told otherwise.
    #[must_use]
    pub fn own_keyspace(&self, table: &TableName) -> Vec<u8> {
        self.keyspace_of(&name_in_keys(table))
    }

    /// The same by its name as it stands in keys.
    #[must_use]
    pub fn keyspace_of(&self, name: &[u8]) -> Vec<u8> {
        keyspace(&self.path, name)
    }

    /// What the keys of a table begin with.
    #[must_use]
    pub fn keyspaces(&self, table: &TableName) -> Vec<Vec<u8>> {
        match self.of(table) {
            Some(shape) if !shape.keys.is_empty() => {
                shape.keys.iter().map(|(template, _)| template.keyspace().to_vec()).collect()
            }
            Some(shape) if shape.only_nested => Vec::new(),
            _ => vec![self.own_keyspace(table)],
        }
    }

    /// Whether the documents of any table have rows of others.
    #[must_use]
    pub fn nest_any(&self) -> bool {
        self.each().any(|(_, shape)| !shape.nests.is_empty())
    }

    /// The tables that this one is nested in or that are nested in it, those that are so of them, and so
    /// on, itself among them; none if there are none.
    #[must_use]
    pub fn relatives(&self, table: &TableName) -> Vec<TableName> {
        let pairs = || {
            let nests = |(parent, shape): (&'_ TableName, &'_ TableShape)| {
                let nests = shape.nests.iter();
                nests.map(|nest| (parent.clone(), nest.table.clone())).collect::<Vec<_>>()
            };
            self.each().flat_map(nests)
        };
        if pairs().all(|(parent, child)| parent != *table && child != *table) {
            return Vec::new();
        }
        let mut found = vec![table.clone()];
        let mut at = 0;
        while let Some(one) = found.get(at).cloned() {
            at += 1;
            for (parent, child) in pairs() {
                let other = if parent == one {
                    child
                } else if child == one {
                    parent
                } else {
                    continue;
                };
                if !found.contains(&other) {
                    found.push(other);
                }
            }
        }
        found
    }

    /// The members that rows of a table are in, each with the table whose documents have it.
    pub fn nests_of(&self, table: &TableName) -> impl Iterator<Item = (&TableName, &NestShape)> {
        let nests = self
            .each()
            .flat_map(|(parent, shape)| shape.nests.iter().map(move |nest| (parent, nest)));
        nests.filter(move |(_, nest)| nest.table == *table)
    }

    /// The name, as it stands in keys, of the table that has a key; `None` for a key of none.
    #[must_use]
    pub fn table_of_key(&self, key: &[u8]) -> Option<Vec<u8>> {
        let shaped = self.each().find(|(_, shape)| {
            shape.keys.iter().any(|(template, _)| key.starts_with(template.keyspace()))
        });
        match shaped {
            Some((name, _)) => Some(name_in_keys(name)),
            None => table_of_key(&self.path, key).map(<[u8]>::to_vec),
        }
    }

    /// The table with a shape whose keys stand among those of `table`, if there is one.
    #[must_use]
    pub fn neighbour(&self, table: &TableName) -> Option<(&TableName, &TableShape)> {
        let own = self.keyspaces(table);
        let with_keys =
            self.each().filter(|(name, shape)| *name != table && !shape.keys.is_empty());
        with_keys.into_iter().find(|(name, _)| overlap(&self.keyspaces(name), &own).is_some())
    }

    /// Looks at what the settings alone can say of the shapes, with the keys of the state below
    /// `state_path`.
    ///
    /// # Errors
    /// What is wrong, with file and line.
    pub fn check(&self, state_path: &str) -> Result<(), String> {
        let state = format!("/{state_path}/").into_bytes();
        for (name, shape) in &self.tables {
            let problem = |what: String| Err(format!("{}: tables.{name}: {what}", shape.place));
            if shape.only_nested && self.nests_of(name).next().is_none() {
                return problem(
                    "standalone = false, and no block nests the table: its rows would be nowhere"
                        .to_owned(),
                );
            }
            let own = self.keyspaces(name);
            for (taken, what) in
                [(&state[..], "etcd.state_path"), (CLAIMS, "the claims of pg2etcd")]
            {
                if let Some(keyspace) = overlap(&own, &[taken.to_vec()]) {
                    let (own, taken) = (shown(&keyspace), shown(taken));
                    return problem(format!(
                        "its keys begin with {own}, and {taken} is for {what}: neither may begin with the other"
                    ));
                }
            }
            for (position, (one, _)) in shape.keys.iter().enumerate() {
                if let Some((other, _)) =
                    shape.keys[..position].iter().find(|(other, _)| other.may_meet(one))
                {
                    let (one, other) = (one.text(), other.text());
                    return problem(format!("the keys {other} and {one} may be the same"));
                }
            }
            if let Some((other, _)) = self.neighbour(name) {
                let taken = overlap(&own, &self.keyspaces(other)).unwrap_or_default();
                let taken = shown(&taken);
                return problem(format!(
                    "its keys begin with {taken}, among those of table {other}: each table needs keys of its own"
                ));
            }
        }
        Ok(())
    }
}

impl TableShape {
    /// The same text for the same shape, wherever it stands.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        /// How much of the hash is kept, in bytes.
        const BYTES: usize = 16;
        let mut text = String::new();
        for Word { name, value, .. } in &self.words {
            text += &format!("{name} = {value}\n");
        }
        let hash = Sha256::digest(text);
        hash.iter().take(BYTES).fold(String::new(), |mut hex, byte| {
            // Writing into a String cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }

    /// The templates of its keys, as they are written.
    #[must_use]
    pub fn templates(&self) -> Vec<String> {
        self.keys.iter().map(|(template, _)| template.text().to_owned()).collect()
    }
}

/// The first of `own` that begins with one of `others`, or that one of them begins with.
fn overlap(own: &[Vec<u8>], others: &[Vec<u8>]) -> Option<Vec<u8>> {
    let meets = |keyspace: &&Vec<u8>| {
        others.iter().any(|other| keyspace.starts_with(other) || other.starts_with(keyspace))
    };
    own.iter().find(meets).cloned()
}

fn shown(keyspace: &[u8]) -> String {
    String::from_utf8_lossy(keyspace).into_owned()
}
