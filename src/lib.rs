//! pg2etcd keeps an etcd v3 store a faithful copy of one PostgreSQL database.
//!
//! The modules stand in the order in which a start, and then a row, walks through them.

pub mod cli;
pub mod config;
pub mod logging;

pub mod commands;

pub mod etcd;

pub mod error;
pub mod lsn;
pub mod stop;

#[cfg(test)]
mod manual_tests;
