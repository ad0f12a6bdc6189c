//! The blocks of the file that say what a table's rows become: `[tables.NAME]`.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::written::{json, toml};
use crate::mapping::{
    Columns, KeyTemplate, Node, TableShape, TextPart, ValueShape, Word, text_parts,
};
use crate::nearest;
use crate::table_name::TableName;

/// The words of a block.
pub(super) const WORDS: [&str; 8] =
    ["key", "keys", "columns", "omit", "value", "nulls", "nest", "standalone"];
/// Those that are not there yet.
const LATER: [&str; 2] = ["nest", "standalone"];

/// What is wrong, and where in the file, in bytes.
pub(super) type Problem = (usize, String);

type Entry<'t> = (&'t Spanned<std::borrow::Cow<'t, str>>, &'t Spanned<DeValue<'t>>);

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
    let mut block =
        Block { at, place, shape: TableShape { place: place(at), ..TableShape::default() } };
    block.read(table).map_err(|(at, problem)| (at, format!("tables.{name}: {problem}")))?;
    if shapes.contains_key(&name) {
        return Err((at, format!("tables.{name}: there are two blocks for this table")));
    }
    shapes.insert(name, block.shape);
    Ok(())
}

/// The entries of a table in the order in which they are written.
fn entries<'t>(table: &'t DeTable<'t>) -> Vec<Entry<'t>> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    entries
}

/// A block that is being read.
struct Block<'p> {
    /// Where it begins.
    at: usize,
    place: &'p dyn Fn(usize) -> String,
    shape: TableShape,
}

impl Block<'_> {
    fn read(&mut self, table: &DeTable<'_>) -> Result<(), Problem> {
        let words = entries(table);
        for (word, _) in &words {
            let (at, name) = (word.span().start, word.get_ref().as_ref());
            if LATER.contains(&name) {
                return Err((at, format!("{name} is not supported yet")));
            }
            if !WORDS.contains(&name) {
                let hint = nearest::hint(name, WORDS);
                return Err((at, format!("unknown setting {name}{hint}")));
            }
        }
        let has = |name: &str| words.iter().any(|(word, _)| word.get_ref() == name);
        for (one, other) in [
            ("key", "keys"),
            ("keys", "value"),
            ("columns", "omit"),
            ("columns", "value"),
            ("omit", "value"),
            ("columns", "keys"),
            ("omit", "keys"),
        ] {
            if has(one) && has(other) {
                let problem = format!("{one} and {other} exclude each other: keep one of them");
                return Err((self.at, problem));
            }
        }
        let mut key = None;
        for (word, value) in words {
            let (at, name) = (word.span().start, word.get_ref().as_ref());
            let named = |problem: String| (at, format!("{name}: {problem}"));
            if name != "keys" {
                self.note(at, name.to_owned(), value);
            }
            match name {
                "key" => {
                    let text = text(value).map_err(named)?;
                    key = Some(self.template(at, text).map_err(named)?);
                }
                "keys" => self.keys(at, value)?,
                "columns" => {
                    let columns = self.columns(at, value).map_err(named)?;
                    self.shape.value = ValueShape::Columns(Columns::Only(columns));
                }
                "omit" => {
                    let columns = self.columns(at, value).map_err(named)?;
                    self.shape.value = ValueShape::Columns(Columns::Omit(columns));
                }
                "value" => self.shape.value = self.value(at, value).map_err(named)?,
                _ => {
                    self.shape.omit_nulls = match text(value).map_err(named)? {
                        "omit" => true,
                        "keep" => false,
                        other => {
                            return Err(named(format!("expected keep or omit, got {other:?}")));
                        }
                    };
                }
            }
        }
        if let Some(template) = key {
            self.shape.keys = vec![(template, self.shape.value.clone())];
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
            let value = self.value(at, value).map_err(named)?;
            self.shape.keys.push((template, value));
        }
        Ok(())
    }

    fn template(&mut self, at: usize, text: &str) -> Result<KeyTemplate, String> {
        let template = KeyTemplate::parse(text)?;
        template.columns().for_each(|column| self.name(at, column));
        Ok(template)
    }

    fn columns(&mut self, at: usize, value: &Spanned<DeValue<'_>>) -> Result<Vec<String>, String> {
        let items = value.get_ref().as_array().ok_or("expected a list of columns")?;
        let mut columns = Vec::new();
        for item in items.iter() {
            let name = text(item)?;
            if columns.iter().any(|known| known == name) {
                return Err(format!("names column {name} twice"));
            }
            self.name(at, name);
            columns.push(name.to_owned());
        }
        Ok(columns)
    }

    fn value(&mut self, at: usize, value: &Spanned<DeValue<'_>>) -> Result<ValueShape, String> {
        match value.get_ref() {
            DeValue::String(text) => Ok(ValueShape::Text(self.parts(at, text)?)),
            DeValue::Table(table) => Ok(ValueShape::Object(self.members(at, table)?)),
            _ => Err("expected a text or an object".to_owned()),
        }
    }

    fn members(&mut self, at: usize, table: &DeTable<'_>) -> Result<Vec<(String, Node)>, String> {
        let member = |(name, value): Entry<'_>| {
            Ok((name.get_ref().to_string(), self.node(at, value.get_ref())?))
        };
        entries(table).into_iter().map(member).collect()
    }

    fn node(&mut self, at: usize, value: &DeValue<'_>) -> Result<Node, String> {
        Ok(match value {
            DeValue::String(text) => {
                let mut parts = self.parts(at, text)?;
                match parts.pop() {
                    Some(TextPart::Column(column)) if parts.is_empty() => Node::Column(column),
                    last => {
                        parts.extend(last);
                        Node::Text(parts)
                    }
                }
            }
            DeValue::Table(table) => Node::Object(self.members(at, table)?),
            DeValue::Array(items) => {
                let nodes = items.iter().map(|item| self.node(at, item.get_ref()));
                Node::Array(nodes.collect::<Result<_, String>>()?)
            }
            constant => Node::Constant(json(constant)?),
        })
    }

    fn parts(&mut self, at: usize, text: &str) -> Result<Vec<TextPart>, String> {
        let parts = text_parts(text)?;
        for part in &parts {
            if let TextPart::Column(column) = part {
                self.name(at, column);
            }
        }
        Ok(parts)
    }

    /// Takes note of a column that is named.
    fn name(&mut self, at: usize, column: &str) {
        self.shape.named.push((column.to_owned(), (self.place)(at)));
    }

    /// Takes note of a word as it is written.
    fn note(&mut self, at: usize, name: String, value: &Spanned<DeValue<'_>>) {
        let (value, place) = (toml(value.get_ref()), (self.place)(at));
        self.shape.words.push(Word { name, value, place });
    }
}

fn text<'t>(value: &'t Spanned<DeValue<'_>>) -> Result<&'t str, String> {
    value.get_ref().as_str().ok_or_else(|| "expected a string".to_owned())
}

/// The shape of the table `t`, if a block says anything of it, for tests of what comes of it.
#[cfg(test)]
pub(crate) fn tables_of(block: &str) -> BTreeMap<TableName, TableShape> {
    let text = format!("[tables.t]\n{block}");
    let contents = super::file::parse(std::path::Path::new("f.toml"), text.as_bytes());
    contents.expect(block).tables
}

#[cfg(test)]
mod tests;
