//! What is kept in etcd beside the rows, below `/STATE_PATH`, and who owns them.

pub mod checkpoint;
pub(crate) mod claims;
pub mod last_commit;
pub mod layout;
pub mod own_publication;
pub mod records;
pub mod requests;
pub(crate) mod without_key;
