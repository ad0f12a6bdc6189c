//! The words of a nested member: `nest.MEMBER = { table = "order_items" }`.

use toml::Spanned;
use toml::de::DeValue;

use super::words::{self, Entry, Problem, Row, entries, text};
use crate::mapping::{FormShape, NestShape, TextPart};
use crate::nearest;
use crate::table_name::TableName;

/// The words, beside those of a row.
const WORDS: [&str; 5] = ["table", "by", "as", "order", "member"];

/// What they say, as far as they have been read.
struct Nest<'p> {
    row: Row<'p>,
    table: Option<TableName>,
    by: Option<Vec<String>>,
    is_map: bool,
    order: Option<Vec<String>>,
    member: Option<Vec<TextPart>>,
}

/// Reads a nested member of the block that begins at `block`, which is given in bytes and in words.
///
/// # Errors
/// What is wrong, and where: at the word, or else at the block.
pub(super) fn read(
    block: (usize, &str),
    (member, value): Entry<'_>,
    place: &dyn Fn(usize) -> String,
) -> Result<NestShape, Problem> {
    let table = value.get_ref().as_table();
    let table = table.ok_or_else(|| {
        (member.span().start, "expected { table = ... }, with the table that is nested".to_owned())
    })?;
    let words = entries(table);
    let known = || WORDS.into_iter().chain(words::WORDS);
    for (word, _) in &words {
        let (at, name) = (word.span().start, word.get_ref().as_ref());
        if name == "nest" {
            return Err((at, "nest: what is nested has nothing nested in it".to_owned()));
        }
        if known().all(|known| known != name) {
            let hint = nearest::hint(name, known());
            return Err((at, format!("unknown setting {name}{hint}")));
        }
    }
    let has = |name: &str| words.iter().any(|(word, _)| word.get_ref() == name);
    let of_block = |problem: String| (block.0, problem);
    if let Some((one, other)) = words::EXCLUDING.iter().find(|(one, other)| has(one) && has(other))
    {
        return Err(of_block(format!("{one} and {other} exclude each other: keep one of them")));
    }
    let row = Row::new(place, true);
    let mut nest = Nest { row, table: None, by: None, is_map: false, order: None, member: None };
    for (word, value) in words {
        match word.get_ref().as_ref() {
            name if words::WORDS.contains(&name) => nest.row.read((word, value))?,
            name => {
                let at = word.span().start;
                let read = nest.read(name, at, value);
                read.map_err(|problem| (at, format!("{name}: {problem}")))?;
            }
        }
    }
    let form = nest.form().map_err(of_block)?;
    let Nest { row: Row { value, omit_nulls, named, .. }, table, by, .. } = nest;
    let table = table.ok_or_else(|| {
        of_block("table is missing: say which one is nested, table = \"...\"".to_owned())
    })?;
    Ok(NestShape {
        member: member.get_ref().to_string(),
        table,
        by,
        form,
        value,
        omit_nulls,
        named,
        place: place(member.span().start),
        block: block.1.to_owned(),
    })
}

impl Nest<'_> {
    fn read(&mut self, name: &str, at: usize, value: &Spanned<DeValue<'_>>) -> Result<(), String> {
        match name {
            "table" => self.table = Some(text(value)?.parse()?),
            "by" => {
                let columns = self.row.columns(at, value)?;
                if columns.is_empty() {
                    return Err("expected the columns of a foreign key".to_owned());
                }
                self.by = Some(columns);
            }
            "as" => {
                self.is_map = match text(value)? {
                    "array" => false,
                    "map" => true,
                    other => return Err(format!("expected array or map, got {other:?}")),
                };
            }
            "order" => self.order = Some(self.row.columns(at, value)?),
            _ => self.member = Some(self.row.parts(at, text(value)?)?),
        }
        Ok(())
    }

    fn form(&mut self) -> Result<FormShape, String> {
        match (self.is_map, self.order.take(), self.member.take()) {
            (false, _, Some(_)) => {
                Err("member is for maps: add as = \"map\", or take member away".to_owned())
            }
            (false, order, None) => Ok(FormShape::Array(order.unwrap_or_default())),
            (true, Some(_), _) => Err("order is for arrays: a map has none".to_owned()),
            (true, None, Some(member)) => Ok(FormShape::Map(member)),
            (true, None, None) => {
                Err("member is missing: a map needs the names of its members, member = \"{...}\""
                    .to_owned())
            }
        }
    }
}
