//! What pg2etcd does besides copying.

pub mod config;
pub mod resync;
