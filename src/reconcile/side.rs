//! A table's part in the lines that the server sends.

use crate::cell::Cell;
use crate::document::Row;
use crate::logging::warn_once;
use crate::mapping::{Output, Plan};
use crate::table_name::TableName;
use crate::valid_text::{not_utf8, repaired, with_repaired};

/// The columns of one table in a line.
pub(super) struct Side {
    pub(super) name: TableName,
    /// The plan for rows as the server sends them here.
    pub(super) plan: Plan,
    /// The columns that stand behind the others once more, as they stand in keys and texts.
    text_casts: Vec<usize>,
    /// Whether texts can be no UTF-8.
    sql_ascii: bool,
}

impl Side {
    pub(super) fn new(name: &TableName, plan: &Plan, sql_ascii: bool) -> Self {
        let (text_casts, plan) = (plan.text_casts().collect(), plan.with_casts_made());
        Self { name: name.clone(), plan, text_casts, sql_ascii }
    }

    /// How many columns of a line are its.
    pub(super) fn width(&self) -> usize {
        self.plan.columns().len() + self.text_casts.len()
    }

    /// Gives `reader` the row in these cells, of which there are [`Side::width`], and whether what is of
    /// the output's key in it is no UTF-8.
    pub(super) fn read<T>(
        &self,
        cells: &[Cell<'_>],
        output: &Output,
        reader: impl FnOnce(&Row<'_>, bool) -> T,
    ) -> T {
        let texts = if self.sql_ascii { repaired(cells) } else { Vec::new() };
        let mut repaired_key = false;
        let mut valid = Vec::new();
        if !texts.is_empty() {
            let of_key = output.placeholders.iter().filter_map(|&column| cells.get(column));
            repaired_key = !repaired(of_key).is_empty();
            warn_once(not_utf8(&self.name));
            valid = with_repaired(cells, &mut texts.iter());
        }
        let cells = if texts.is_empty() { cells } else { &valid };
        let (document, text_casts) = cells.split_at(self.plan.columns().len());
        let mut as_texts = Vec::new();
        if !text_casts.is_empty() {
            as_texts.extend_from_slice(document);
            for (column, cell) in self.text_casts.iter().zip(text_casts) {
                as_texts[*column] = *cell;
            }
        }
        let texts = if text_casts.is_empty() { document } else { &as_texts };
        // There is nothing before it, and what is nested in it comes behind it.
        let row = Row { texts, fresh: true, ..Row::new(document, None) };
        reader(&row, repaired_key)
    }
}
