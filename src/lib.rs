//! pg2etcd keeps an etcd v3 store a faithful copy of one PostgreSQL database.
//!
//! The modules stand in the order in which a start, and then a row, walks through them.

// How it is told what to do.
pub mod cli;
pub mod config;
pub mod logging;

// What it does.
pub mod commands;
pub mod daemon;
mod supervisor;

// How the parts are put together.
mod pipeline;

mod translate;

pub mod core;

mod reconcile;

// The parts, from PostgreSQL to etcd.
pub mod postgres;

pub mod mapping;

pub mod document;

pub mod etcd;

pub mod state;

mod status;

// What all of them speak of.
mod cell;
pub mod disposition;
pub mod dump_progress;
pub mod error;
mod json_text;
pub mod kind;
pub mod lsn;
mod nearest;
mod position;
mod retry;
pub mod secret;
mod sqlstate;
pub mod stop;
mod table_name;
mod threads;
mod time;
pub mod tls;
mod valid_text;

#[cfg(any(test, fuzzing))]
pub mod fuzz;
#[cfg(test)]
mod manual_tests;
