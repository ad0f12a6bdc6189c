//! `resync`: asks the daemon to compare tables.

use super::named_table;
use crate::config::Settings;
use crate::error::Result;
use crate::etcd::Client;
use crate::state::requests;

/// Asks for a compare of the tables, `schema.table` or, in the schema public, `table` each; of all
/// if none is named.
///
/// # Errors
/// [`Error::Setting`](crate::error::Error::Setting) for a name that is none; those of etcd.
pub fn run(settings: &Settings, tables: &[String]) -> Result<()> {
    let tables = tables.iter().map(|name| named_table(name)).collect::<Result<Vec<_>>>()?;
    let mut client = Client::connect(settings.etcd.client_options())?;
    requests::request(&mut client, &settings.etcd.state_path, &tables)
}
