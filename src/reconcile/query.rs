//! The statement that asks for a table's rows, and for those that are nested in them.

use super::rows::Which;
use crate::mapping::{CopiedTable, NestedRows, Output, Plan};
use crate::postgres::{PublishedTable, quoted};

/// What is asked for.
pub(super) struct Query<'q> {
    pub(super) table: &'q CopiedTable,
    /// Which of the plan's outputs.
    pub(super) outputs: &'q [usize],
    pub(super) which: Which<'q>,
    /// Whether in the order of the keys' bytes in this encoding, which is that of etcd.
    pub(super) ordered_in: Option<&'q str>,
    /// Whether only those with bytes beyond ASCII in their keys.
    pub(super) beyond_ascii: bool,
}

impl Query<'_> {
    /// Each line has the columns of the table, as [`Plan::sql_columns`] has them, then those of the nested
    /// tables, NULL but for the row's own. Behind them stands the place of the row's output if there are
    /// several, or of its table if any is nested: 0 for the table itself, whose row comes first, then the rows
    /// nested in it. The version is last, if it is asked for.
    pub(super) fn sql(&self) -> String {
        let rows = match (&self.table.nested[..], self.outputs) {
            ([], [output]) => self.rows_by_one_key(*output),
            ([], outputs) => self.rows_by_several_keys(outputs),
            (nested, _) => self.rows_with_nested(nested),
        };
        format!("COPY ({rows}) TO STDOUT")
    }

    fn rows_by_one_key(&self, output: usize) -> String {
        let CopiedTable { published, plan, .. } = self.table;
        let output = &plan.outputs()[output];
        let key = plan.sql_key(output);
        let of_keys = self.which.condition(plan, &[output]);
        let conditions = [of_keys, self.key_condition(&key)];
        format!(
            "SELECT {}{} FROM {}{}{}",
            plan.sql_columns(),
            self.version(),
            from(published),
            filter(published, plan, conditions),
            self.order(&key)
        )
    }

    fn rows_by_several_keys(&self, outputs: &[usize]) -> String {
        let CopiedTable { published, plan, .. } = self.table;
        let wanted: Vec<&Output> = outputs.iter().map(|place| &plan.outputs()[*place]).collect();
        let value = |(place, output)| format!("({place}, {})", plan.sql_whole_key(output));
        let values: Vec<_> = wanted.iter().copied().enumerate().map(value).collect();
        let conditions = [self.which.condition(plan, &wanted), self.key_condition("pg2etcd_key")];
        format!(
            "SELECT {}, pg2etcd_place{} FROM {} CROSS JOIN LATERAL (VALUES {}) pg2etcd_output \
             (pg2etcd_place, pg2etcd_key){}{}",
            plan.sql_columns(),
            self.version(),
            from(published),
            values.join(", "),
            filter(published, plan, conditions),
            self.order("pg2etcd_key")
        )
    }

    /// One statement has one snapshot: the rows of all tables, in the order of the keys of the documents
    /// that they belong to.
    fn rows_with_nested(&self, nested: &[NestedRows]) -> String {
        let CopiedTable { published, plan, .. } = self.table;
        let own = plan.outputs().first().map(|output| (published, plan, output));
        let others = nested.iter().map(|rows| (&rows.published, &rows.plan, &rows.nest.element));
        let sides: Vec<_> = own.into_iter().chain(others).collect();
        let select = |(place, side): (usize, &(&PublishedTable, &Plan, &Output))| {
            let &(published, plan, output) = side;
            let columns = sides.iter().enumerate().map(|(other, (table, plan, _))| {
                if other == place { plan.sql_columns() } else { plan.sql_nulls(&table.sql_name()) }
            });
            let columns: Vec<_> = columns.filter(|columns| !columns.is_empty()).collect();
            let conditions =
                [Some(plan.sql_has_key(output)), self.which.condition(plan, &[output])];
            format!(
                "SELECT {}, {}, {place}, xmin FROM {}{}",
                columns.join(", "),
                plan.sql_key(output),
                from(published),
                filter(published, plan, conditions)
            )
        };
        let selects: Vec<_> = sides.iter().enumerate().map(select).collect();
        let width: usize = sides.iter().map(|(_, plan, _)| plan.sql_width()).sum();
        let names: Vec<_> = (0..width).map(|column| format!("c{column}")).collect();
        let names = names.join(", ");
        let version = if self.which.is_versioned() { ", v" } else { "" };
        let condition = self.key_condition("k").map(|sql| format!(" WHERE {sql}"));
        format!(
            "SELECT {names}, p{version} FROM ({}) pg2etcd_rows ({names}, k, p, v){} \
             ORDER BY convert_to(k, '{}'), p",
            selects.join(" UNION ALL "),
            condition.unwrap_or_default(),
            self.ordered_in.unwrap_or("UTF8")
        )
    }

    fn version(&self) -> String {
        match self.which.is_versioned() {
            // Beside the outputs a system column has no name of its own.
            true => format!(", {}.xmin", quoted(&self.table.published.name.name)),
            false => String::new(),
        }
    }

    fn order(&self, key: &str) -> String {
        let order =
            self.ordered_in.map(|encoding| format!(" ORDER BY convert_to({key}, '{encoding}')"));
        order.unwrap_or_default()
    }

    fn key_condition(&self, key: &str) -> Option<String> {
        self.beyond_ascii.then(|| {
            format!("encode(convert_to({key}, 'SQL_ASCII'), 'escape') ~ '\\\\[23][0-7][0-7]'")
        })
    }
}

/// A partitioned table has rows only in its partitions; of any other one, tables that inherit from it are
/// published in their own right.
fn from(published: &PublishedTable) -> String {
    let only = if published.partitioned { "" } else { "ONLY " };
    format!("{only}{}", published.sql_name())
}

/// Those of its rows that are published and meet these conditions.
fn filter(published: &PublishedTable, plan: &Plan, conditions: [Option<String>; 2]) -> String {
    // What is in unlogged partitions never comes in the stream.
    let unlogged = published.unlogged_partitions.iter().map(|(oid, _)| oid.to_string());
    let (unlogged, row) = (unlogged.collect::<Vec<_>>(), quoted(&published.name.name));
    let logged = (!unlogged.is_empty())
        .then(|| format!("{row}.tableoid <> ALL ('{{{}}}'::oid[])", unlogged.join(",")));
    let conditions = conditions.into_iter().chain([
        published.row_filter.clone(),
        plan.condition().map(str::to_owned),
        logged,
    ]);
    let conditions: Vec<_> = conditions.flatten().map(|sql| format!("({sql})")).collect();
    match conditions[..] {
        [] => String::new(),
        _ => format!(" WHERE {}", conditions.join(" AND ")),
    }
}
