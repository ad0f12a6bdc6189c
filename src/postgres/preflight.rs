//! What the daemon needs of a server and of its role there. Each requirement that is not met comes
//! with its cure: the daemon ends with it, `check` prints it.

use std::collections::BTreeMap;

use super::catalog::PublishedTable;
use super::client::failed;
use super::quoting::quoted;
use super::session::Session;
use crate::error::{Result, Unmet};
use crate::nearest;
use crate::table_name::TableName;

/// The oldest PostgreSQL that publishes.
const OLDEST_VERSION: u32 = 100_000;

/// Refuses a server that cannot publish; `version` is its `server_version_num`.
///
/// # Errors
/// The requirement.
pub(crate) fn version(version: u32) -> std::result::Result<(), Unmet> {
    if version >= OLDEST_VERSION {
        return Ok(());
    }
    let (major, minor) = (version / 10_000, version / 100 % 100);
    Err(Unmet::new(
        format!("PostgreSQL {major}.{minor} cannot publish"),
        "version 10 or later is needed, upgrade the server",
    ))
}

/// Refuses a server whose log has too little for logical decoding.
///
/// # Errors
/// The requirement.
pub(crate) fn wal_level(level: &str) -> std::result::Result<(), Unmet> {
    if level == "logical" {
        return Ok(());
    }
    Err(Unmet::new(
        format!("wal_level is {level}"),
        "set wal_level = logical in postgresql.conf (ALTER SYSTEM SET wal_level = logical) and \
         restart the server",
    ))
}

/// The role of a session, in its database.
struct Role {
    name: String,
    superuser: bool,
    database: String,
    /// Whether it may make something in the database.
    creates: bool,
}

/// A table of `sync.tables`.
struct Named {
    name: TableName,
    /// Its OID; `None` if there is no such table.
    oid: Option<u32>,
    owned: bool,
    schema_usable: bool,
}

/// What a role may not do with a published table.
struct Denied<'a> {
    table: &'a PublishedTable,
    /// It may not use the schema.
    schema: bool,
    /// The published columns that it may not read.
    columns: Vec<&'a str>,
    /// Whether the publication has all columns.
    whole: bool,
    /// Policies hide rows from it.
    row_security: bool,
}

impl Session {
    /// Why this role cannot make a publication of these tables, of all if none is named, or
    /// should not.
    ///
    /// # Errors
    /// As for every query.
    pub fn publication_obstacles(
        &mut self,
        publication: &str,
        tables: &[TableName],
    ) -> Result<Vec<Unmet>> {
        let named = self.named(tables)?;
        let mut missing = named.iter().filter(|table| table.oid.is_none()).map(|table| &table.name);
        if let Some(first) = missing.clone().next() {
            let hint = nearest::hint(&first.to_string(), self.table_names()?.iter().map(|n| &**n));
            let missing = names(&mut missing);
            let problem = format!(
                "sync.tables names {missing}, and there is no such table in the database{hint}"
            );
            return Ok(vec![Unmet::new(problem, "correct sync.tables, or make the table")]);
        }
        let role = self.role()?;
        let oids: Vec<u32> = named.iter().filter_map(|table| table.oid).collect();
        let content = self.new_publication(tables, &oids)?;
        let mut obstacles = rights_to_publish(&role, &named, &content.sql(publication));
        obstacles.extend(content.obstacle());
        let without = self.tables_without_identity(&oids)?;
        if !without.is_empty() {
            obstacles.push(Unmet::new(
                format!(
                    "cannot publish {}: no replica identity, and PostgreSQL would refuse every \
                     UPDATE and DELETE on a published table that has none",
                    without.join(", ")
                ),
                "give each a primary key; or name an index with ALTER TABLE ... REPLICA IDENTITY \
                 USING INDEX; or list the tables to publish, without these, in sync.tables",
            ));
        }
        Ok(obstacles)
    }

    /// What this role lacks to read these tables whole. Tables that are left out are not read.
    ///
    /// # Errors
    /// As for every query.
    pub fn missing_grants(&mut self, tables: &[PublishedTable]) -> Result<Vec<Unmet>> {
        let mut denied = self.denied(tables)?;
        denied.retain(|denied| is_read(denied.table));
        Ok(if denied.is_empty() { Vec::new() } else { grants(&self.role()?, &denied) })
    }

    fn denied<'a>(&mut self, tables: &'a [PublishedTable]) -> Result<Vec<Denied<'a>>> {
        // Generated columns, from 12 on, are in no column list, and nobody need read them.
        let sql = "SELECT c.oid, NOT has_schema_privilege(c.relnamespace, 'USAGE'), \
                          row_security_active(c.oid), \
                          ARRAY(SELECT a.attname::text FROM pg_attribute a \
                                 WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
                                   AND NOT has_column_privilege(c.oid, a.attnum, 'SELECT')), \
                          ARRAY(SELECT a.attname::text FROM pg_attribute a \
                                 WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
                                   AND coalesce(to_jsonb(a)->>'attgenerated', '') = '') \
                     FROM pg_class c WHERE c.oid = ANY ($1)";
        let oids: Vec<u32> = tables.iter().map(|table| table.oid).collect();
        let rows = self.client.query(sql, &[&oids]);
        let rows = rows.map_err(|error| failed("looking at the role's privileges", error))?;
        let mut by_oid: BTreeMap<u32, _> = rows.iter().map(|row| (row.get(0), row)).collect();
        let denied = |table: &'a PublishedTable| {
            let row = by_oid.remove(&table.oid)?;
            let (unreadable, all): (Vec<String>, Vec<String>) = (row.get(3), row.get(4));
            let published = || table.columns.iter().map(|column| column.name.as_str());
            let denied = Denied {
                table,
                schema: row.get(1),
                columns: published().filter(|name| has(&unreadable, name)).collect(),
                whole: all.iter().all(|name| published().any(|published| published == name)),
                row_security: row.get(2),
            };
            let any = denied.schema || !denied.columns.is_empty() || denied.row_security;
            any.then_some(denied)
        };
        Ok(tables.iter().filter_map(denied).collect())
    }

    /// The statement that makes the publication.
    pub(super) fn create_publication_sql(
        &mut self,
        publication: &str,
        tables: &[TableName],
    ) -> Result<String> {
        let oids = self.named(tables)?.iter().filter_map(|table| table.oid).collect::<Vec<_>>();
        Ok(self.new_publication(tables, &oids)?.sql(publication))
    }

    /// Those of these tables that exist.
    ///
    /// # Errors
    /// As for every query.
    pub fn existing(&mut self, tables: &[TableName]) -> Result<Vec<TableName>> {
        let named = self.named(tables)?.into_iter();
        Ok(named.filter(|table| table.oid.is_some()).map(|table| table.name).collect())
    }

    fn named(&mut self, tables: &[TableName]) -> Result<Vec<Named>> {
        let sql = "SELECT t.schema, t.name, c.oid, \
                          coalesce(pg_has_role(c.relowner, 'USAGE'), false), \
                          coalesce(has_schema_privilege(n.oid, 'USAGE'), false) \
                     FROM unnest($1::text[], $2::text[]) t (schema, name) \
                     LEFT JOIN pg_namespace n ON n.nspname = t.schema \
                     LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.name \
                                         AND c.relkind IN ('r', 'p')";
        let schemas: Vec<&str> = tables.iter().map(|table| table.schema.as_str()).collect();
        let names: Vec<&str> = tables.iter().map(|table| table.name.as_str()).collect();
        let rows = self.client.query(sql, &[&schemas, &names]);
        let rows = rows.map_err(|error| failed("looking for the tables of sync.tables", error))?;
        let named = |row: &::postgres::Row| Named {
            name: TableName { schema: row.get(0), name: row.get(1) },
            oid: row.get(2),
            owned: row.get(3),
            schema_usable: row.get(4),
        };
        Ok(rows.iter().map(named).collect())
    }

    /// The names of all tables that can be published, as `sync.tables` has them.
    fn table_names(&mut self) -> Result<Vec<String>> {
        let sql = "SELECT n.nspname::text, c.relname::text FROM pg_class c \
                     JOIN pg_namespace n ON n.oid = c.relnamespace \
                    WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p' \
                      AND n.nspname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1, 2";
        let rows = self.client.query(sql, &[]);
        let rows = rows.map_err(|error| failed("listing the tables", error))?;
        let name = |row: &::postgres::Row| TableName { schema: row.get(0), name: row.get(1) };
        Ok(rows.iter().map(|row| name(row).to_string()).collect())
    }

    fn role(&mut self) -> Result<Role> {
        let sql = "SELECT rolname::text, rolsuper, current_database()::text, \
                          has_database_privilege(current_database(), 'CREATE') \
                     FROM pg_roles WHERE rolname = current_user";
        let row = self.row("looking at the role", sql)?;
        Ok(Role {
            name: row.get(0),
            superuser: row.get(1),
            database: row.get(2),
            creates: row.get(3),
        })
    }
}

/// Whether a published table has a key, all of it published.
fn is_read(table: &PublishedTable) -> bool {
    let published = |name: &String| table.columns.iter().any(|column| column.name == *name);
    table.key.as_ref().is_some_and(|key| key.iter().all(published))
}

/// What the role lacks to make the publication; none of these tables is missing.
fn rights_to_publish(role: &Role, tables: &[Named], create: &str) -> Vec<Unmet> {
    let Role { name, superuser, database, creates } = role;
    if *superuser {
        return Vec::new();
    }
    if tables.is_empty() {
        return vec![Unmet::new(
            format!("role {name} may not make a publication for all tables"),
            format!("let a superuser run {create}, or name tables that {name} owns in sync.tables"),
        )];
    }
    let foreign = names(tables.iter().filter(|table| !table.owned).map(|table| &table.name));
    if !foreign.is_empty() {
        return vec![Unmet::new(
            format!("role {name} does not own {foreign}, and so may not make the publication"),
            format!("let the owner of the tables, or a superuser, run {create}"),
        )];
    }
    let mut lacking = Vec::new();
    if !creates {
        lacking.push(Unmet::new(
            format!("role {name} may not make a publication in database {database}"),
            format!("run GRANT CREATE ON DATABASE {} TO {}", quoted(database), quoted(name)),
        ));
    }
    let schemas = tables.iter().filter(|table| !table.schema_usable).map(|t| &t.name.schema);
    lacking.extend(usage(role, schemas));
    lacking
}

/// What the role lacks to read the tables: one statement for all tables that are published whole,
/// so that there is little to run.
fn grants(role: &Role, denied: &[Denied<'_>]) -> Vec<Unmet> {
    let name = &role.name;
    let schemas = denied.iter().filter(|denied| denied.schema).map(|d| &d.table.name.schema);
    let mut lacking: Vec<Unmet> = usage(role, schemas).into_iter().collect();
    let unreadable = || denied.iter().filter(|denied| !denied.columns.is_empty());
    let whole: Vec<_> = unreadable().filter(|denied| denied.whole).map(|d| d.table).collect();
    if !whole.is_empty() {
        let on: Vec<_> = whole.iter().map(|table| table.sql_name()).collect();
        lacking.push(Unmet::new(
            format!("role {name} may not read {}", names(whole.iter().map(|t| &t.name))),
            format!("run GRANT SELECT ON {} TO {}", on.join(", "), quoted(name)),
        ));
    }
    for Denied { table, columns, .. } in unreadable().filter(|denied| !denied.whole) {
        let on: Vec<_> = columns.iter().map(|column| quoted(column)).collect();
        let (on, of) = (on.join(", "), table.sql_name());
        lacking.push(Unmet::new(
            format!("role {name} may not read {} of {}", columns.join(", "), table.name),
            format!("run GRANT SELECT ({on}) ON {of} TO {}", quoted(name)),
        ));
    }
    let hidden = names(denied.iter().filter(|d| d.row_security).map(|d| &d.table.name));
    if !hidden.is_empty() {
        lacking.push(Unmet::new(
            format!("row security hides rows of {hidden} from role {name}"),
            format!("let a superuser run ALTER ROLE {} BYPASSRLS", quoted(name)),
        ));
    }
    lacking
}

/// That the role may not use these schemas, if there is one.
fn usage<'a>(role: &Role, schemas: impl Iterator<Item = &'a String>) -> Option<Unmet> {
    let mut schemas: Vec<&String> = schemas.collect();
    schemas.sort();
    schemas.dedup();
    let list = |name: fn(&str) -> String| {
        schemas.iter().map(|schema| name(schema)).collect::<Vec<_>>().join(", ")
    };
    (!schemas.is_empty()).then(|| {
        Unmet::new(
            format!("role {} may not use schema {}", role.name, list(str::to_owned)),
            format!("run GRANT USAGE ON SCHEMA {} TO {}", list(quoted), quoted(&role.name)),
        )
    })
}

fn names<'a>(tables: impl Iterator<Item = &'a TableName>) -> String {
    tables.map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn has(names: &[String], name: &str) -> bool {
    names.iter().any(|other| other == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_cannot_do_it_is_refused_with_the_cure() {
        for good in [100_000, 150_018, 180_004] {
            assert_eq!(version(good), Ok(()));
        }
        let unmet = version(90_624).expect_err("too old");
        assert_eq!(unmet.problem, "PostgreSQL 9.6 cannot publish");
        assert_eq!(wal_level("logical"), Ok(()));
        for level in ["replica", "minimal"] {
            let text = wal_level(level).expect_err(level).to_string();
            assert!(text.contains(level) && text.contains("wal_level = logical"), "{text}");
        }
    }
}
