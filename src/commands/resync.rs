//! `resync`: asks the daemon to compare tables.

use super::output::print;
use super::stream;
use super::tables::{self, Tables};
use crate::config::Settings;
use crate::error::Result;
use crate::etcd::Client;
use crate::state::requests;
use crate::table_name::TableName;

/// Asks for a compare of the tables, `schema.table` or, in the schema public, `table` each; of all
/// if none is named. Prints what it asked for, and whether a daemon is there to do it.
///
/// # Errors
/// [`Error::Setting`](crate::error::Error::Setting) for a name that is none;
/// [`Error::Requirement`](crate::error::Error::Requirement) for a table that is not copied; those
/// of etcd and, if tables are named, of PostgreSQL.
pub fn run(settings: &Settings, tables: &[String]) -> Result<()> {
    let wanted = tables.iter().map(|name| tables::named(name)).collect::<Result<Vec<_>>>()?;
    let mut client = Client::connect(settings.etcd.client_options())?;
    if !wanted.is_empty() {
        let mut session = stream::connect(settings)?;
        Tables::read(settings, &mut session, &mut client)?.require(&wanted)?;
    }
    requests::request(&mut client, &settings.etcd.state_path, &wanted)?;
    let daemon = stream::described(settings);
    print(&format!("Asked for a compare of {}; {daemon}\n", described(&wanted))).map(drop)
}

/// The tables in words.
fn described(tables: &[TableName]) -> String {
    match tables {
        [] => "all tables".to_owned(),
        tables => tables.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    }
}
