//! What pg2etcd does besides copying.

pub mod check;
pub mod config;
pub mod resync;
