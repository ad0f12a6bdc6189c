//! How the elements of an array, or the members of a map, are told apart and ordered.

use std::sync::Arc;

use super::super::nested::{Form, Rank};
use super::super::shape::TextPart;
use super::super::table::Table;
use super::super::value::{Value, columns_of};
use super::super::way::Step;
use crate::error::Unmet;

/// An array whose elements are `value`, ordered by these columns; `key` are the columns by which they are
/// told apart.
///
/// # Errors
/// The requirement that the table or its elements do not meet.
pub(super) fn array(
    child: Table<'_>,
    key: &[usize],
    order: &[String],
    value: &Value,
) -> Result<Form, Unmet> {
    let of_key = |&column: &usize| {
        child.needs_no_cast(column)?;
        let what = format!(
            "the key of table {} ({}) that is not in the foreign key",
            child.name,
            child.key().join(", ")
        );
        way(child, value, column, &what)
    };
    let ways: Vec<_> = key.iter().map(of_key).collect::<Result<_, _>>()?;
    let ordered = |name: &String| {
        let column = child.place(name).unwrap_or_default();
        if !child.can_order(column) {
            return Err(Unmet::new(
                format!("order: column {name} is of a type that elements cannot be ordered by"),
                "order by integers, text, uuid, bool, dates or timestamps",
            ));
        }
        child.rank(column, way(child, value, column, "order")?)
    };
    let mut ranks: Vec<_> = order.iter().map(ordered).collect::<Result<_, _>>()?;
    for (column, way) in key.iter().zip(&ways) {
        ranks.push(child.rank(*column, Arc::clone(way))?);
    }
    Ok(Form::Array { key: ways, order: ranks })
}

/// A map with members of this name.
///
/// # Errors
/// The requirement that the table or the name do not meet.
pub(super) fn map(
    child: Table<'_>,
    key: &[usize],
    name: &[TextPart<usize>],
) -> Result<Form, Unmet> {
    let columns: Vec<_> = columns_of(name).collect();
    let named = |column: usize| &child.columns[column].name;
    key.iter().chain(&columns).try_for_each(|column| child.needs_no_cast(*column))?;
    if let Some(&lacking) = key.iter().find(|column| !columns.contains(column)) {
        let lacking = named(lacking);
        return Err(Unmet::new(
            format!(
                "member lacks column {lacking} of the key of table {} ({}): two rows could have one name",
                child.name,
                child.key().join(", ")
            ),
            format!("add {{{lacking}}} to it"),
        ));
    }
    if let Some(&unsent) = columns.iter().find(|column| !child.sends(named(**column))) {
        let unsent = named(unsent);
        return Err(Unmet::new(
            format!("member has column {unsent}, which PostgreSQL does not send for a deleted row"),
            child.cure_of_identity(unsent),
        ));
    }
    if !is_unambiguous(child, name) {
        return Err(Unmet::new(
            "member does not say where a column ends: two rows could have one name",
            "put a text between the columns that none but one of them can have in it: others than integers, \
             uuid and bool can have any",
        ));
    }
    Ok(Form::Map)
}

/// The way to a column that has to be in an element by itself.
fn way(child: Table<'_>, value: &Value, column: usize, what: &str) -> Result<Arc<[Step]>, Unmet> {
    let name = &child.columns[column].name;
    value.way_to(column).map(Arc::clone).ok_or_else(|| {
        Unmet::new(
            format!("an element has no member with column {name} alone, which is of {what}"),
            format!("add {name} to it, in a value as \"{{{name}}}\""),
        )
    })
}

/// Whether a name says what each of its columns is: at most one of them can have the text in it that
/// stands between it and the next.
fn is_unambiguous(child: Table<'_>, name: &[TextPart<usize>]) -> bool {
    // The text after each column but the last, and what the columns' texts can be made of.
    let mut between: Vec<String> = Vec::new();
    let mut columns = Vec::new();
    for part in name {
        match part {
            TextPart::Column(column) => {
                columns.push(child.alphabet(*column));
                between.push(String::new());
            }
            TextPart::Literal(literal) => between.iter_mut().last().into_iter().for_each(|text| {
                text.push_str(literal);
            }),
        }
    }
    let holds = |column: Option<&str>, text: &str| match column {
        Some(alphabet) => text.chars().all(|character| alphabet.contains(character)),
        None => true,
    };
    // Those before the one that can hold anything end at the text behind them, the others begin behind
    // the text before them.
    let free = columns.iter().position(|column| column.is_none());
    let free = free.unwrap_or(columns.len().saturating_sub(1));
    columns.iter().enumerate().all(|(place, column)| match place.cmp(&free) {
        std::cmp::Ordering::Less => !holds(*column, &between[place]),
        std::cmp::Ordering::Equal => true,
        std::cmp::Ordering::Greater => !holds(*column, &between[place - 1]),
    })
}

impl Table<'_> {
    fn rank(&self, column: usize, way: Arc<[Step]>) -> Result<Rank, Unmet> {
        self.needs_no_cast(column)?;
        Ok(Rank { way, is_integer: matches!(self.columns[column].type_oid, 20 | 21 | 23) })
    }

    /// Elements are found and ordered without the server.
    fn needs_no_cast(&self, column: usize) -> Result<(), Unmet> {
        let column = &self.columns[column];
        if !column.kind.needs_cast() {
            return Ok(());
        }
        Err(Unmet::new(
            format!(
                "column {} of table {} is of a type that only the server can print as JSON",
                column.name, self.name
            ),
            "tell and order the rows by columns of other types",
        ))
    }

    /// Whether elements can be ordered by a column.
    fn can_order(&self, column: usize) -> bool {
        // bool, int8, int2, int4, text, varchar, date, timestamp, timestamptz, uuid
        let types = [16, 20, 21, 23, 25, 1043, 1082, 1114, 1184, 2950];
        types.contains(&self.columns[column].type_oid)
    }

    /// The characters that the texts of a column are made of, if those are few.
    fn alphabet(&self, column: usize) -> Option<&'static str> {
        match self.columns[column].type_oid {
            16 => Some("ft"),
            20 | 21 | 23 => Some("-0123456789"),
            2950 => Some("-0123456789abcdef"),
            _ => None,
        }
    }
}
