//! Documents whose rows change all the time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::shapes::copy::Copy;
use crate::support::wait_until;

const SCHEMA: &str = "
    CREATE TABLE parent (id int PRIMARY KEY, name text);
    CREATE TABLE child (parent_id int REFERENCES parent, id int, n int, PRIMARY KEY (parent_id, id));
    INSERT INTO parent SELECT n, 'p' || n FROM generate_series(1, 2000) n;
    INSERT INTO child SELECT n, c, 0 FROM generate_series(1, 2000) n, generate_series(1, 3) c";

const BLOCKS: &str = r#"
[tables.parent]
nest.children = { table = "child", omit = ["parent_id"] }
[tables.child]
standalone = false
"#;

const ORACLE: &str = "SELECT '/copy/parent/' || id, json_build_object('id', id, 'name', name, 'children',
    coalesce((SELECT json_agg(json_build_object('id', c.id, 'n', n) ORDER BY c.id) FROM child c WHERE parent_id = parent.id), '[]'))::text FROM parent";

/// With its drop the load ends, however the test does.
struct End<'s>(&'s AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn they_are_compared_and_repaired_meanwhile() {
    let copy = Copy::new(SCHEMA, BLOCKS, ORACLE);
    let daemon = copy.start();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _end = End(&stop);
        // One document changes all the time, others now and then: not faster than etcd takes it.
        for of in ["1", "1 + n % 2000"] {
            let (stop, mut sql) = (&stop, copy.servers.sql());
            let update = format!(
                "UPDATE child SET n = n + 1 WHERE id = 2
                    AND parent_id = (SELECT {of} FROM child WHERE parent_id = 1 AND id = 2);
                 SELECT pg_sleep(0.01)"
            );
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    sql.batch_execute(&update).unwrap();
                }
            });
        }
        for _ in 0..3 {
            copy.servers.put("/copy/parent/7", r#"{"id":7,"name":"p7","children":[]}"#);
            copy.servers.put("/copy/parent/1", r#"{"id":1,"name":"wrong","children":[]}"#);
            assert_eq!(copy.launch.ask(&["resync", "parent"]).0, 0);
            let asked = || copy.servers.keys("/.pg2etcd/pg2etcd/resync");
            wait_until("the end of the resync", || asked().is_empty());
        }
    });
    copy.change("UPDATE child SET n = n + 1");
    copy.verify();
    daemon.stop();
}
