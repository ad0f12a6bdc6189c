//! The client against real etcd servers, and against servers that are none.

mod endpoints;
mod foreign;
mod hostile;
mod login;
mod pages;
mod server;
mod txns;
