//! How the stream claims the keyspace of a table before its first row goes on.

use crate::error::{Result, Unmet};
use crate::etcd::Client;
use crate::mapping::Keyspace;
use crate::retry::Retry;
use crate::state::claims::{Claims, Wanted};
use crate::status::Pulse;
use crate::stop::Stop;
use crate::table_name::TableName;
use crate::threads::Failure;

/// Claims keyspaces, and waits for an etcd that does not answer.
pub(super) struct Claimant<'a> {
    pub(super) client: Client,
    pub(super) claims: &'a Claims,
    pub(super) stop: &'a Stop,
    /// With the failure of another thread the wait ends.
    pub(super) failure: &'a Failure,
    /// That of the thread that waits.
    pub(super) pulse: Pulse,
}

impl Claimant<'_> {
    /// Why the rows of a table cannot have these keys, if they cannot.
    pub(super) fn refusal(&mut self, name: &TableName, keys: &Keyspace) -> Result<Option<Unmet>> {
        let Self { client, claims, stop, failure, pulse } = self;
        let table = name.to_string();
        let wanted = Wanted::new(keys, table, false);
        Retry::of_requests().despite_refusals(true).until_done(
            || claims.require(client, wanted.clone()),
            |_, pause| {
                pulse.wait();
                stop.wait(pause) || failure.happened()
            },
        )
    }
}
