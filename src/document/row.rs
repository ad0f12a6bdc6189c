//! Rows as keys and documents.

use super::casts::Casts;
use super::hole::{Hole, write_fresh_hole, write_hole};
use super::value::write_value;
use crate::cell::Cell;
use crate::json_text::{write_escaped, write_string};
use crate::mapping::{Content, Member, Nest, Output, Plan, TextPart, Value};

/// A row, or what is known of it.
#[derive(Clone, Copy, Debug)]
pub struct Row<'r> {
    /// Its cells.
    pub cells: &'r [Cell<'r>],
    /// The same where the server has cast some: as they were before, for keys and texts.
    pub texts: &'r [Cell<'r>],
    /// The row as it was before, where the cells that an update left out are.
    pub old: Option<&'r [Cell<'r>]>,
    /// Whether every NULL in it is one. In the old tuple of an update or a delete the columns that are
    /// not the identity's are NULL too.
    pub whole: bool,
    /// Whether there was no document under its key before: what is nested in it is not there then.
    pub fresh: bool,
}

/// Which key a row has under one of its table's templates.
#[derive(Clone, Copy, Debug)]
pub enum KeyOf<'r> {
    /// This one.
    Known(RowKey<'r>),
    /// None: a column of the template is NULL or empty, or a label of a name is.
    None,
    /// That is not known. The old tuple of a partition, for example, can lack columns of the root's
    /// key.
    Unknown,
}

/// The key of a row of which all columns in the template are known.
#[derive(Clone, Copy, Debug)]
pub struct RowKey<'r> {
    output: &'r Output,
    row: Row<'r>,
}

/// What is under a key of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// A document, or all of one but its holes.
    There,
    /// Nothing: a column in its text is NULL.
    Absent,
    /// What was there before, if the row is as it was; that is not known. The text has several parts,
    /// and one of them was not sent.
    Open,
}

impl<'r> Row<'r> {
    /// A row with nothing cast; where an update left a column out, it is in `old`.
    #[must_use]
    pub fn new(cells: &'r [Cell<'r>], old: Option<&'r [Cell<'r>]>) -> Self {
        Self { cells, texts: cells, old, whole: true, fresh: false }
    }

    /// The key that the row has under an output's template.
    #[must_use]
    pub fn key(self, output: &'r Output) -> KeyOf<'r> {
        let mut is_null = false;
        for column in &output.placeholders {
            match self.text(*column) {
                Cell::Text(_) => {}
                Cell::Null if self.whole && !output.key.contains(column) => is_null = true,
                Cell::Null | Cell::UnchangedToast => return KeyOf::Unknown,
            }
        }
        let key = RowKey { output, row: self };
        match !is_null && output.template.takes(key.texts()) {
            true => KeyOf::Known(key),
            false => KeyOf::None,
        }
    }

    /// The key that says that the row has none under one of the plan's templates; `None` if it has all.
    #[must_use]
    pub fn mark(self, plan: &'r Plan) -> Option<RowKey<'r>> {
        let mark = plan.without_key()?.outputs().first()?;
        let lacks = |output| matches!(self.key(output), KeyOf::None);
        match self.key(mark) {
            KeyOf::Known(mark) if plan.outputs().iter().any(lacks) => Some(mark),
            KeyOf::Known(_) | KeyOf::None | KeyOf::Unknown => None,
        }
    }

    /// What is under its key.
    #[must_use]
    pub fn presence(&self, output: &Output) -> Presence {
        match &output.value {
            _ if output.certain => Presence::There,
            Value::Text(parts) => match (self.text_of(parts), parts.len()) {
                (Text::Null, _) => Presence::Absent,
                (Text::Open, 2..) => Presence::Open,
                (Text::Open | Text::There, _) => Presence::There,
            },
            Value::Json(content, _) => {
                let mut open = false;
                content.each_text(&mut |parts| open |= self.text_of(parts) == Text::Open);
                if open { Presence::Open } else { Presence::There }
            }
        }
    }

    fn text_of(&self, parts: &[TextPart<usize>]) -> Text {
        let mut text = Text::There;
        for part in parts {
            let TextPart::Column(column) = part else { continue };
            match self.text(*column) {
                Cell::Null => return Text::Null,
                Cell::UnchangedToast => text = Text::Open,
                Cell::Text(_) => {}
            }
        }
        text
    }

    fn cell(&self, column: usize) -> Cell<'r> {
        cell(self.cells, self.old, column)
    }

    fn text(&self, column: usize) -> Cell<'r> {
        cell(self.texts, self.old, column)
    }
}

/// What is known of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Text {
    There,
    /// A column in it is NULL.
    Null,
    /// A column in it was not sent.
    Open,
}

impl<'r> RowKey<'r> {
    /// Writes the key.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.output.template.write(out, self.texts());
    }

    /// What is under it.
    #[must_use]
    pub fn value(&self) -> &'r Value {
        &self.output.value
    }

    /// Whether both are one key.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let (mut one, mut two) = (Vec::new(), Vec::new());
        self.write(&mut one);
        other.write(&mut two);
        one == two
    }

    fn texts(&self) -> impl Iterator<Item = &'r [u8]> {
        let row = self.row;
        self.output.placeholders.iter().map(move |&column| match row.text(column) {
            Cell::Text(text) => text,
            Cell::Null | Cell::UnchangedToast => &[],
        })
    }
}

/// Writes what is under a key of a row, with a hole for each value that is not known. What is written
/// makes sense unless the row's [`Presence`] says that there is nothing.
pub fn write_document(
    plan: &Plan,
    value: &Value,
    row: &Row<'_>,
    casts: &mut Casts,
    out: &mut Vec<u8>,
    holes: &mut Vec<Hole>,
) {
    let start = out.len();
    match value {
        Value::Text(parts) if row.text_of(parts) == Text::Open => write_unchanged(out, holes),
        Value::Text(parts) => {
            for part in parts {
                match part {
                    TextPart::Literal(literal) => out.extend_from_slice(literal.as_bytes()),
                    TextPart::Column(column) => {
                        if let Cell::Text(text) = row.text(*column) {
                            out.extend_from_slice(text);
                        }
                    }
                }
            }
        }
        Value::Json(content, omit_nulls) => {
            let mut writer =
                Writer { plan, row, omit_nulls: *omit_nulls, start, casts, out, holes };
            writer.content(content);
        }
    }
}

/// Writes what tells the element of a row from others, as [`super::splice`] takes it; false if that is
/// not known.
#[must_use]
pub fn write_identity(
    plan: &Plan,
    nest: &Nest,
    row: &Row<'_>,
    casts: &mut Casts,
    out: &mut Vec<u8>,
) -> bool {
    if !nest.name.is_empty() {
        let mut holes = Vec::new();
        let start = out.len();
        let mut writer =
            Writer { plan, row, omit_nulls: false, start, casts, out, holes: &mut holes };
        writer.text(&nest.name);
        return row.text_of(&nest.name) == Text::There;
    }
    for (place, &column) in nest.key.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        let Cell::Text(text) = row.cell(column) else { return false };
        write_value(out, &plan.columns()[column].kind, text, casts);
    }
    true
}

/// Says that a row has no key under an output's template, and which row it is.
#[must_use]
pub fn left_out(table: &str, plan: &Plan, output: &Output, row: &Row<'_>) -> String {
    let values: Vec<_> = plan
        .key()
        .iter()
        .map(|&column| match row.text(column) {
            Cell::Text(text) => String::from_utf8_lossy(text).into_owned(),
            Cell::Null | Cell::UnchangedToast => "NULL".to_owned(),
        })
        .collect();
    let names: Vec<_> = plan.key_names().collect();
    format!(
        "Leaving the row ({})=({}) of table {table} out: a column of its key {} is NULL or empty, or \
         a label in it is",
        names.join(", "),
        values.join(", "),
        output.template.text()
    )
}

/// Writes that the document is as it was: one hole.
pub fn write_unchanged(out: &[u8], holes: &mut Vec<Hole>) {
    let start = out.len();
    write_hole(out, holes, start, &[].into());
}

/// Writes JSON.
struct Writer<'w> {
    plan: &'w Plan,
    row: &'w Row<'w>,
    omit_nulls: bool,
    /// Where the document begins.
    start: usize,
    casts: &'w mut Casts,
    out: &'w mut Vec<u8>,
    holes: &'w mut Vec<Hole>,
}

impl Writer<'_> {
    fn object(&mut self, members: &[Member]) {
        self.out.push(b'{');
        let mut first = true;
        for member in members {
            if self.omit_nulls && self.is_null(&member.content) {
                continue;
            }
            if !first {
                self.out.push(b',');
            }
            first = false;
            self.out.extend_from_slice(&member.json_name);
            self.out.push(b':');
            self.content(&member.content);
        }
        self.out.push(b'}');
    }

    fn content(&mut self, content: &Content) {
        match content {
            Content::Column(column, way) => match self.row.cell(*column) {
                Cell::UnchangedToast => write_hole(self.out, self.holes, self.start, way),
                Cell::Null => self.out.extend_from_slice(b"null"),
                Cell::Text(text) => {
                    write_value(self.out, &self.plan.columns()[*column].kind, text, self.casts);
                }
            },
            Content::Text(parts) => self.text(parts),
            Content::Constant(json) => self.out.extend_from_slice(json),
            Content::Object(members) => self.object(members),
            Content::Nested(nested, _) if self.row.fresh => {
                write_fresh_hole(self.out, self.holes, self.start, nested);
            }
            Content::Nested(_, way) => write_hole(self.out, self.holes, self.start, way),
            Content::Array(elements) => {
                self.out.push(b'[');
                for (position, element) in elements.iter().enumerate() {
                    if position > 0 {
                        self.out.push(b',');
                    }
                    self.content(element);
                }
                self.out.push(b']');
            }
        }
    }

    fn text(&mut self, parts: &[TextPart<usize>]) {
        if self.row.text_of(parts) != Text::There {
            return self.out.extend_from_slice(b"null");
        }
        self.out.push(b'"');
        for part in parts {
            match part {
                TextPart::Literal(literal) => write_escaped(self.out, literal.as_bytes()),
                TextPart::Column(column) => {
                    let Cell::Text(text) = self.row.text(*column) else { continue };
                    // It takes care of bytes that are no UTF-8, and brings quotes of its own.
                    let start = self.out.len();
                    write_string(self.out, text);
                    self.out.remove(start);
                    self.out.pop();
                }
            }
        }
        self.out.push(b'"');
    }

    fn is_null(&self, content: &Content) -> bool {
        match content {
            Content::Column(column, _) => self.row.cell(*column) == Cell::Null,
            Content::Text(parts) => self.row.text_of(parts) == Text::Null,
            Content::Constant(_) | Content::Object(_) | Content::Array(_) | Content::Nested(..) => {
                false
            }
        }
    }
}

/// Has `casts` take note of the values of a row that the server has to cast and that are not known.
pub fn want_casts(plan: &Plan, row: &Row<'_>, casts: &mut Casts) {
    let mut nowhere = Vec::new();
    for column in plan.casts() {
        if let Cell::Text(text) = row.cell(column) {
            nowhere.clear();
            write_value(&mut nowhere, &plan.columns()[column].kind, text, casts);
        }
    }
}

/// The cell of a column, from the old tuple if the update left it out.
fn cell<'a>(cells: &[Cell<'a>], old: Option<&[Cell<'a>]>, column: usize) -> Cell<'a> {
    match cells.get(column).copied().unwrap_or(Cell::Null) {
        Cell::UnchangedToast => {
            old.and_then(|old| old.get(column)).copied().unwrap_or(Cell::UnchangedToast)
        }
        cell => cell,
    }
}

#[cfg(test)]
mod tests;
