//! `resync`: asks the daemon to compare tables.

use crate::config::{Settings, TableName};
use crate::error::{Error, Result};
use crate::etcd::Client;
use crate::resync;

/// Asks for a compare of the tables, `schema.table` each, of all if none is named.
///
/// # Errors
/// [`Error::Setting`] for a name that is none; those of etcd.
pub fn run(settings: &Settings, tables: &[String]) -> Result<()> {
    let tables = tables
        .iter()
        .map(|name| name.parse::<TableName>().map_err(Error::Setting))
        .collect::<Result<Vec<_>>>()?;
    let mut client = Client::connect(settings.etcd.client_options())?;
    resync::request(&mut client, &settings.etcd.state_path, &tables)
}
