//! The keys below `/STATE_PATH`, and where the claims are.

/// The position: see [`super::checkpoint`].
#[must_use]
pub fn checkpoint(state_path: &str) -> String {
    format!("/{state_path}/checkpoint")
}

/// Who put the position last: a text of a daemon's life's own.
#[must_use]
pub fn writer(state_path: &str) -> String {
    format!("/{state_path}/writer")
}

/// The note of the last transaction that etcd has: see [`super::last_commit`].
#[must_use]
pub fn last_commit(state_path: &str) -> String {
    format!("/{state_path}/commit")
}

/// The commit LSN of the transaction whose parts were written last. Its revision is the one before the
/// first of them: what the rows were then is what the transaction begins with if it is replayed.
#[must_use]
pub fn partial(state_path: &str) -> String {
    format!("/{state_path}/partial")
}

/// What the notes of the publications that pg2etcd has made begin with; the name follows: see
/// [`super::own_publication`].
#[must_use]
pub fn publications(state_path: &str) -> Vec<u8> {
    format!("/{state_path}/publications/").into_bytes()
}

/// The keys of the rows that were left out since no request can hold them, as a JSON array; there is
/// no such key as long as there are none.
#[must_use]
pub fn left_out(state_path: &str) -> String {
    format!("/{state_path}/left_out")
}

/// What the keys that say which rows have no key begin with; the table's name and the row's key follow.
#[must_use]
pub fn without_key(state_path: &str) -> Vec<u8> {
    format!("/{state_path}/without_key/").into_bytes()
}

/// The request to compare tables: see [`super::requests`].
#[must_use]
pub fn resync(state_path: &str) -> String {
    format!("/{state_path}/resync")
}

/// What the keys of the tables' records begin with: see [`super::records`].
#[must_use]
pub fn records(state_path: &str) -> Vec<u8> {
    format!("/{state_path}/tables/").into_bytes()
}

/// What the guards of the lanes begin with. A lane that writes parts of a large transaction, or of a
/// dump, puts its guard with each of them, so that a request that arrives late finds it moved. They
/// are there only while parts are written.
#[must_use]
pub fn guards(state_path: &str) -> Vec<u8> {
    format!("/{state_path}/lanes/").into_bytes()
}

/// What the notes of rows that are not known begin with; the row's key follows. A table with such a note
/// has to be compared.
#[must_use]
pub fn notes(state_path: &str) -> Vec<u8> {
    format!("/{state_path}/unknown/").into_bytes()
}

/// What the claims of all copies are below, `/.pg2etcd/claims/`, without a slash at either end.
pub const CLAIMS: &str = ".pg2etcd/claims";

/// What the keys of the claims begin with: see the module `claims`.
#[must_use]
pub fn claims() -> Vec<u8> {
    format!("/{CLAIMS}/").into_bytes()
}
