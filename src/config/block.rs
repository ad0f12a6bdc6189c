//! The blocks of the file that say what a table's rows become: `[tables.NAME]`.

use std::collections::BTreeMap;
use std::mem::take;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::nest;
use super::words::{self, Problem, Row, entries, text};
use super::written::toml;
use crate::mapping::{Columns, KeyTemplate, NestShape, TableShape, ValueShape, Word};
use crate::nearest;
use crate::table_name::TableName;

/// The words of a block.
pub(super) const WORDS: [&str; 8] =
    ["key", "keys", "columns", "omit", "value", "nulls", "nest", "standalone"];
/// Those of them that exclude each other, beside those of [`words::EXCLUDING`].
const EXCLUDING: [(&str, &str); 5] =
    [("key", "keys"), ("keys", "value"), ("columns", "keys"), ("omit", "keys"), ("keys", "nest")];

/// Reads the blocks in the table `tables` of the file; `place` says where a byte of the file stands.
pub(super) fn read(
    tables: &DeTable<'_>,
    place: &dyn Fn(usize) -> String,
) -> Result<BTreeMap<TableName, TableShape>, Problem> {
    let mut shapes = BTreeMap::new();
    for (name, block) in entries(tables) {
        let at = name.span().start;
        let table = block.get_ref().as_table();
        let table = table.ok_or_else(|| {
            (at, format!("tables.{}: expected a block of settings", name.get_ref()))
        })?;
        // `[tables.sales.orders]` is a table in the schema sales.
        let in_schema = !table.is_empty()
            && table.iter().all(|(word, inner)| {
                !WORDS.contains(&word.get_ref().as_ref()) && inner.get_ref().as_table().is_some()
            });
        if in_schema {
            for (inner, block) in entries(table) {
                let named = TableName {
                    schema: name.get_ref().to_string(),
                    name: inner.get_ref().to_string(),
                };
                if let Some(table) = block.get_ref().as_table() {
                    add(&mut shapes, named, inner.span().start, table, place)?;
                }
            }
            continue;
        }
        let named = name.get_ref().parse();
        let named =
            named.map_err(|problem| (at, format!("tables.{}: {problem}", name.get_ref())))?;
        add(&mut shapes, named, at, table, place)?;
    }
    Ok(shapes)
}

fn add(
    shapes: &mut BTreeMap<TableName, TableShape>,
    name: TableName,
    at: usize,
    table: &DeTable<'_>,
    place: &dyn Fn(usize) -> String,
) -> Result<(), Problem> {
    let shape = TableShape { place: place(at), ..TableShape::default() };
    let mut block = Block { at, row: Row::new(place, false), shape };
    block.read(table).map_err(|(at, problem)| (at, format!("tables.{name}: {problem}")))?;
    if shapes.contains_key(&name) {
        return Err((at, format!("tables.{name}: there are two blocks for this table")));
    }
    shapes.insert(name, block.shape);
    Ok(())
}

/// A block that is being read.
struct Block<'p> {
    /// Where it begins.
    at: usize,
    row: Row<'p>,
    shape: TableShape,
}

impl Block<'_> {
    fn read(&mut self, table: &DeTable<'_>) -> Result<(), Problem> {
        let entries = entries(table);
        for (word, _) in &entries {
            let (at, name) = (word.span().start, word.get_ref().as_ref());
            if !WORDS.contains(&name) {
                let hint = nearest::hint(name, WORDS);
                return Err((at, format!("unknown setting {name}{hint}")));
            }
        }
        let has = |name: &str| entries.iter().any(|(word, _)| word.get_ref() == name);
        for (one, other) in EXCLUDING.iter().chain(&words::EXCLUDING) {
            if has(one) && has(other) {
                let problem = format!("{one} and {other} exclude each other: keep one of them");
                return Err((self.at, problem));
            }
        }
        let mut key = None;
        for (word, value) in entries.iter().copied() {
            let (at, name) = (word.span().start, word.get_ref().as_ref());
            let named = |problem: String| (at, format!("{name}: {problem}"));
            if !matches!(name, "keys" | "nest") {
                self.note(at, name.to_owned(), value);
            }
            match name {
                "key" => {
                    let text = text(value).map_err(named)?;
                    key = Some(self.template(at, text).map_err(named)?);
                }
                "keys" => self.keys(at, value)?,
                "nest" => self.nests(at, value)?,
                "standalone" => {
                    let standalone = value.get_ref().as_bool();
                    let standalone =
                        standalone.ok_or_else(|| named("expected true or false".to_owned()))?;
                    self.shape.only_nested = !standalone;
                }
                _ => self.row.read((word, value))?,
            }
        }
        let said = WORDS.iter().find(|word| **word != "standalone" && has(word));
        if let Some(word) = said.filter(|_| self.shape.only_nested) {
            let problem = format!(
                "standalone = false and {word} exclude each other: the rows have no keys, and what they are \
                 in the documents of others is said there"
            );
            return Err((self.at, problem));
        }
        self.shape.value = self.row.value.clone();
        self.shape.omit_nulls = self.row.omit_nulls;
        self.shape.named = take(&mut self.row.named);
        if let Some(template) = key {
            self.shape.keys = vec![(template, self.shape.value.clone())];
        }
        self.nests_have_room().map_err(|problem| (self.at, problem))
    }

    /// Nested members are in an object, beside others.
    fn nests_have_room(&self) -> Result<(), String> {
        let has = |member: &String| match &self.shape.value {
            ValueShape::Columns(Columns::Only(columns)) => columns.contains(member),
            ValueShape::Object(members) => members.iter().any(|(name, _)| name == member),
            _ => false,
        };
        let Some(NestShape { member, .. }) = self.shape.nests.first() else { return Ok(()) };
        if let ValueShape::Text(_) = self.shape.value {
            return Err(format!(
                "nest.{member}: value is a text, and rows are nested in an object"
            ));
        }
        match self.shape.nests.iter().find(|nest| has(&nest.member)) {
            Some(NestShape { member, .. }) => Err(format!(
                "nest.{member}: the object has a member {member} already: name one of them otherwise"
            )),
            None => Ok(()),
        }
    }

    fn nests(&mut self, at: usize, value: &Spanned<DeValue<'_>>) -> Result<(), Problem> {
        let table = value.get_ref().as_table().filter(|table| !table.is_empty());
        let table = table.ok_or_else(|| {
            (at, "nest: expected members, each with the table that is nested in it".to_owned())
        })?;
        for (member, value) in entries(table) {
            let (at, name) = (member.span().start, member.get_ref().as_ref());
            self.note(at, format!("nest.{}", toml(&DeValue::String(name.into()))), value);
            let nest = nest::read((self.at, &self.shape.place), (member, value), self.row.place);
            let nest = nest.map_err(|(at, problem)| (at, format!("nest.{name}: {problem}")))?;
            self.shape.nests.push(nest);
        }
        Ok(())
    }

    fn keys(&mut self, at: usize, value: &Spanned<DeValue<'_>>) -> Result<(), Problem> {
        let table = value.get_ref().as_table().filter(|table| !table.is_empty());
        let table = table.ok_or_else(|| {
            (at, "keys: expected a table of templates, each with its value".to_owned())
        })?;
        for (template, value) in entries(table) {
            let (at, written) = (template.span().start, template.get_ref().as_ref());
            let named = |problem: String| (at, format!("keys: {problem}"));
            self.note(at, format!("keys.{}", toml(&DeValue::String(written.into()))), value);
            let template = self.template(at, written).map_err(named)?;
            let value = self.row.value(at, value).map_err(named)?;
            self.shape.keys.push((template, value));
        }
        Ok(())
    }

    fn template(&mut self, at: usize, text: &str) -> Result<KeyTemplate, String> {
        let template = KeyTemplate::parse(text)?;
        template.columns().for_each(|column| self.row.name(at, column));
        Ok(template)
    }

    /// Takes note of a word as it is written.
    fn note(&mut self, at: usize, name: String, value: &Spanned<DeValue<'_>>) {
        let (value, place) = (toml(value.get_ref()), (self.row.place)(at));
        self.shape.words.push(Word { name, value, place });
    }
}

/// The shape of the table `t`, if a block says anything of it, for tests of what comes of it.
#[cfg(test)]
pub(crate) fn tables_of(block: &str) -> BTreeMap<TableName, TableShape> {
    shapes_of(&format!("[tables.t]\n{block}"))
}

/// The shapes that these blocks say, for the same.
#[cfg(test)]
pub(crate) fn shapes_of(blocks: &str) -> BTreeMap<TableName, TableShape> {
    let contents = super::file::parse(std::path::Path::new("f.toml"), blocks.as_bytes());
    contents.expect(blocks).tables
}

#[cfg(test)]
mod tests;
