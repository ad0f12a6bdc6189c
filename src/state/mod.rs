//! What is kept in etcd beside the rows, below `/STATE_PATH`.

pub mod checkpoint;
pub mod last_commit;
pub mod layout;
pub mod records;
pub mod requests;
