//! pg2etcd keeps an etcd v3 store a faithful copy of one PostgreSQL database.
//!
//! The modules stand in the order in which a start, and then a row, walks through them.

pub mod cli;
pub mod config;
pub mod logging;

pub mod commands;

pub mod batch;
pub mod checkpoint;
pub mod document;
pub mod etcd;
pub mod pgoutput;
pub mod postgres;

pub mod change;
pub mod error;
pub mod lsn;
pub mod retry;
pub mod stop;

#[cfg(test)]
mod manual_tests;
