//! pg2etcd between a real PostgreSQL and a real etcd.
//!
//! Each test has servers of its own. `PG_BIN` and `ETCD_BIN` choose other versions of them, `PG2ETCD_TEST_SEED` repeats a
//! random load, `PG2ETCD_TEST_RUNS` has a busy database verified more often, and `PG2ETCD_TEST_KEEP` leaves the servers of a
//! failed test as they are.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by them")]

mod support;

mod alerts;
mod completion;
mod dashboard;
mod packaging;
mod scripts;

mod catalog;
mod compare;
mod dump_and_stream;
mod large;
mod late;
mod redump;
mod resync;
mod schema;
mod toast;
mod truncate;
mod unseen;
mod versions;

mod disasters;
mod etcd_client;
mod etcd_faults;
mod failover;
mod fence;
mod histories;
mod hostile;
mod members;
mod postgres_faults;
mod reload;
mod restart;
mod soak;
mod stop;

mod check;
mod claims;
mod drop;
mod etcd_tls;
mod least_privilege;
mod refusals;
mod secrets;
mod session_settings;
mod status;
mod tls;
mod verify;
mod wait;
mod walsender;
mod watch;

mod health;
mod logging;
mod metrics;
mod page;

mod identity;
mod nested;
mod publication;
mod published;
mod random;
mod shapes;
mod zoo;
