//! Random transactions, for tests that want the database busy.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use postgres::Client;
use postgres::error::SqlState;

use super::{Random, Servers};

/// Accounts, whose versions and sum can be checked in a watch history, and parts, to which anything can happen.
pub(crate) const SCHEMA: &str = "
    CREATE TABLE account (id int PRIMARY KEY, balance int NOT NULL, version int NOT NULL DEFAULT 0);
    INSERT INTO account SELECT id, 1000 FROM generate_series(1, 20) id;
    CREATE TABLE part (number int, name text, price numeric, note text, PRIMARY KEY (name, number));
    INSERT INTO part SELECT n, 'a/b%' || n % 7, n / 10.0, repeat('x', n) FROM generate_series(1, 100) n;
";

/// The tables of the schema.
pub(crate) const TABLES: [&str; 2] = ["account", "part"];

/// Sessions that commit one random transaction after the other until they are stopped.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    committed: Arc<AtomicU64>,
    sessions: Vec<JoinHandle<()>>,
}

impl Load {
    /// So many sessions.
    pub(crate) fn start(servers: &Servers, random: &mut Random, sessions: usize) -> Self {
        let (stop, committed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let session = |mut sql: Client, mut random: Random| {
            let (stop, committed) = (Arc::clone(&stop), Arc::clone(&committed));
            thread::spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    match sql.batch_execute(&transaction(&mut random)) {
                        Ok(()) => committed.fetch_add(1, Ordering::SeqCst),
                        Err(error) if error.code() == Some(&SqlState::T_R_DEADLOCK_DETECTED) => {
                            sql.batch_execute("ROLLBACK").map(|()| 0).expect("a rollback")
                        }
                        Err(error) => panic!("a random transaction: {error}"),
                    };
                }
            })
        };
        let sessions = (0..sessions).map(|_| session(servers.sql(), random.fork())).collect();
        Self { stop, committed, sessions }
    }

    /// How many transactions were committed so far.
    pub(crate) fn committed(&self) -> u64 {
        self.committed.load(Ordering::SeqCst)
    }

    /// Stops it, and returns how many transactions were committed.
    pub(crate) fn stop(self) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        for session in self.sessions {
            session.join().expect("a session of the load");
        }
        self.committed.load(Ordering::SeqCst)
    }
}

/// A transfer between two accounts, or changes to parts.
fn transaction(random: &mut Random) -> String {
    let (one, other) = (random.below(20) + 1, random.below(20) + 1);
    let (number, other_number) = (random.below(150), random.below(150));
    let name = |number: u64| format!("a/b%{}", number % 7);
    let (name, other_name) = (name(number), name(other_number));
    let amount = random.below(100);
    let key = format!("number = {number} AND name = '{name}'");
    match random.below(12) {
        0..6 if one != other => {
            // In the order of the ids, or two of these could wait for each other.
            let (low, high) = (one.min(other), one.max(other));
            let update = |sign: char, id: u64| {
                format!(
                    "UPDATE account SET balance = balance {sign} {amount}, version = version + 1
                      WHERE id = {id};"
                )
            };
            format!("BEGIN; {} {} COMMIT", update('-', low), update('+', high))
        }
        0..8 => format!(
            "INSERT INTO part VALUES ({number}, '{name}', {amount}.{one}0, 'new')
             ON CONFLICT (name, number) DO UPDATE SET price = part.price + 0.10"
        ),
        8 => format!("DELETE FROM part WHERE {key}"),
        9 => format!("UPDATE part SET note = repeat('y', {amount}) WHERE number % 50 = {one}"),
        10 => format!(
            "INSERT INTO part SELECT {other_number}, '{other_name}', price, 'moved' FROM part WHERE {key}
             ON CONFLICT DO NOTHING;
             UPDATE part SET number = number + 1000 WHERE {key}
                AND NOT EXISTS (SELECT FROM part WHERE number = {number} + 1000 AND name = '{name}')"
        ),
        _ => format!("BEGIN; DELETE FROM part WHERE number % 3 = {}; ROLLBACK", one % 3),
    }
}
