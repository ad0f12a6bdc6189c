//! pg2etcd keeps an etcd v3 store a faithful copy of one PostgreSQL database.
//!
//! The modules stand in the order in which a start, and then a row, walks through them.

// How it is told what to do.
pub mod cli;
pub mod config;
pub mod logging;

// What it does.
pub mod commands;
pub mod supervisor;

// How the parts are put together.
mod compare;
mod dump;
mod pipeline;

// The parts, from PostgreSQL to etcd.
pub mod postgres;

pub mod pgoutput;

pub mod document;

pub mod batch;

pub mod checkpoint;
mod records;
pub mod resync;

pub mod etcd;

// What all of them speak of.
pub mod change;
pub mod error;
pub mod lsn;
pub mod retry;
pub mod secret;
mod status;
pub mod stop;
mod threads;
pub mod tls;

#[cfg(any(test, fuzzing))]
pub mod fuzz;
#[cfg(test)]
mod manual_tests;
