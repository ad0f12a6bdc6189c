//! Words of the settings that say what a row becomes: `columns`, `omit`, `value`, `nulls`.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::written::json;
use crate::mapping::{Columns, Node, TextPart, ValueShape, text_parts};

/// Those words.
pub(super) const WORDS: [&str; 4] = ["columns", "omit", "value", "nulls"];
/// Those of them that exclude each other.
pub(super) const EXCLUDING: [(&str, &str); 3] =
    [("columns", "omit"), ("columns", "value"), ("omit", "value")];

/// What is wrong, and where in the file, in bytes.
pub(super) type Problem = (usize, String);

pub(super) type Entry<'t> = (&'t Spanned<std::borrow::Cow<'t, str>>, &'t Spanned<DeValue<'t>>);

/// What the words say, as far as they have been read.
pub(super) struct Row<'p> {
    /// Says where a byte of the file stands.
    pub(super) place: &'p dyn Fn(usize) -> String,
    /// Whether the row is an element of another one's document: its value need not be an object then,
    /// and is never a text without quotes.
    pub(super) is_element: bool,
    /// What it becomes.
    pub(super) value: ValueShape,
    /// Whether members that are null are left out.
    pub(super) omit_nulls: bool,
    /// The columns that were named, each with its place.
    pub(super) named: Vec<(String, String)>,
}

impl<'p> Row<'p> {
    /// Nothing is said yet: the row becomes an object of all columns.
    pub(super) fn new(place: &'p dyn Fn(usize) -> String, is_element: bool) -> Self {
        let (value, omit_nulls, named) = (ValueShape::default(), false, Vec::new());
        Self { place, is_element, value, omit_nulls, named }
    }

    /// Reads a word.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(&mut self, (word, value): Entry<'_>) -> Result<(), Problem> {
        let (at, name) = (word.span().start, word.get_ref().as_ref());
        let named = |problem: String| (at, format!("{name}: {problem}"));
        match name {
            "columns" => {
                let columns = self.columns(at, value).map_err(named)?;
                self.value = ValueShape::Columns(Columns::Only(columns));
            }
            "omit" => {
                let columns = self.columns(at, value).map_err(named)?;
                self.value = ValueShape::Columns(Columns::Omit(columns));
            }
            "value" => self.value = self.value(at, value).map_err(named)?,
            _ => {
                self.omit_nulls = match text(value).map_err(named)? {
                    "omit" => true,
                    "keep" => false,
                    other => return Err(named(format!("expected keep or omit, got {other:?}"))),
                };
            }
        }
        Ok(())
    }

    /// A list of columns.
    pub(super) fn columns(
        &mut self,
        at: usize,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<Vec<String>, String> {
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

    /// A value of the table's own words, or of an element.
    pub(super) fn value(
        &mut self,
        at: usize,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<ValueShape, String> {
        match value.get_ref() {
            DeValue::String(_) if self.is_element => {
                Ok(ValueShape::Scalar(self.node(at, value.get_ref())?))
            }
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

    /// A text with columns in it.
    pub(super) fn parts(&mut self, at: usize, text: &str) -> Result<Vec<TextPart>, String> {
        let parts = text_parts(text)?;
        for part in &parts {
            if let TextPart::Column(column) = part {
                self.name(at, column);
            }
        }
        Ok(parts)
    }

    /// Takes note of a column that is named.
    pub(super) fn name(&mut self, at: usize, column: &str) {
        self.named.push((column.to_owned(), (self.place)(at)));
    }
}

/// The entries of a table in the order in which they are written.
pub(super) fn entries<'t>(table: &'t DeTable<'t>) -> Vec<Entry<'t>> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    entries
}

/// A text.
///
/// # Errors
/// That it is none.
pub(super) fn text<'t>(value: &'t Spanned<DeValue<'_>>) -> Result<&'t str, String> {
    value.get_ref().as_str().ok_or_else(|| "expected a string".to_owned())
}
