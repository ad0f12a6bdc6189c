//! A random load on nested tables, while the daemon is killed and replies are lost and late.
//!
//! Each transaction notes which documents it leaves other than they were, by the query that a nested
//! document is to equal. So what etcd has to have at each revision is SQL's own answer as of that commit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use postgres::{Client, Row};

use crate::shapes::copy::with_blocks;
use crate::support::{
    CHECKPOINT, Daemon, History, Launch, Proxy, Random, Servers, canonical, caught_up, wait_until,
};

/// Customers with their orders, and with their tags by a join table, which is in both its ends.
const SCHEMA: &str = "
    CREATE TABLE customer (id int PRIMARY KEY, name text, note text);
    ALTER TABLE customer ALTER note SET STORAGE EXTERNAL;
    CREATE TABLE orders (customer_id int REFERENCES customer ON DELETE SET NULL ON UPDATE CASCADE, id bigint PRIMARY KEY, position int, item text);
    ALTER TABLE orders REPLICA IDENTITY FULL;
    CREATE TABLE tag (name text PRIMARY KEY, color text);
    CREATE TABLE tagged (customer_id int REFERENCES customer ON DELETE CASCADE ON UPDATE CASCADE DEFERRABLE INITIALLY DEFERRED,
        tag text REFERENCES tag ON DELETE CASCADE ON UPDATE CASCADE, since text, body text, PRIMARY KEY (customer_id, tag));
    ALTER TABLE tagged ALTER body SET STORAGE EXTERNAL;
    CREATE TABLE commits (number int PRIMARY KEY);
    CREATE PUBLICATION pg2etcd FOR TABLE customer, orders, tag, tagged, commits;
    INSERT INTO commits VALUES (0);
    INSERT INTO customer SELECT n, 'c' || n, CASE n % 2 WHEN 0 THEN repeat(md5(n::text), 80) END FROM generate_series(1, 20) n;
    INSERT INTO orders SELECT nullif(n % 21, 0), n, nullif(n % 5, 2), 'i' || n FROM generate_series(1, 100) n;
    INSERT INTO tag SELECT 't' || n, 'red' FROM generate_series(1, 8) n;
    INSERT INTO tagged SELECT c, 't' || t, 's', CASE c % 3 WHEN 0 THEN repeat(md5(c::text), 80) END
        FROM generate_series(1, 20) c, generate_series(1, 8) t WHERE (c + t) % 4 = 0;

    CREATE VIEW oracle AS SELECT '/customers/' || c.id AS key, json_build_object('id', id, 'name', name, 'note', note,
            'orders', (SELECT coalesce(json_agg(json_build_object('id', o.id, 'position', position, 'item', item) ORDER BY position, o.id), '[]')
                FROM orders o WHERE o.customer_id = c.id),
            'tags', (SELECT coalesce(json_object_agg(tag, json_build_object('since', since, 'body', body) ORDER BY tag COLLATE \"C\"), '{}')
                FROM tagged t WHERE t.customer_id = c.id))::text AS document FROM customer c
        UNION ALL SELECT '/copy/orders/' || id, row_to_json(orders)::text FROM orders
        UNION ALL SELECT '/copy/tag/' || name, json_build_object('name', name, 'color', color,
            'customers', (SELECT coalesce(json_agg(json_build_object('customer_id', customer_id, 'since', since, 'body', body) ORDER BY customer_id), '[]')
                FROM tagged WHERE tag = name))::text FROM tag;
    CREATE TABLE expected (number int, key text, document text, PRIMARY KEY (number, key));
    INSERT INTO expected SELECT 0, * FROM oracle;

    CREATE TABLE touched (number int, key text, PRIMARY KEY (number, key));
    CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE here int := 1 + (SELECT max(number) FROM commits);
    BEGIN
        IF TG_OP = 'TRUNCATE' THEN
            INSERT INTO touched SELECT here, key FROM oracle ON CONFLICT DO NOTHING;
        ELSE
            IF TG_OP <> 'INSERT' THEN INSERT INTO touched SELECT here, unnest(parents(to_jsonb(OLD))) ON CONFLICT DO NOTHING; END IF;
            IF TG_OP <> 'DELETE' THEN INSERT INTO touched SELECT here, unnest(parents(to_jsonb(NEW))) ON CONFLICT DO NOTHING; END IF;
        END IF;
        RETURN NULL;
    END $$;
    CREATE FUNCTION parents(child jsonb) RETURNS text[] LANGUAGE sql AS $$
        SELECT ARRAY[coalesce('/customers/' || (child->>'customer_id'), ''), coalesce('/copy/tag/' || (child->>'tag'), '')]
    $$;
    CREATE TRIGGER touches AFTER INSERT OR DELETE ON orders FOR EACH ROW EXECUTE PROCEDURE touch();
    CREATE TRIGGER touches AFTER INSERT OR DELETE ON tagged FOR EACH ROW EXECUTE PROCEDURE touch();
    CREATE TRIGGER changes AFTER UPDATE ON orders FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE PROCEDURE touch();
    CREATE TRIGGER changes AFTER UPDATE ON tagged FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE PROCEDURE touch();
    CREATE TRIGGER empties AFTER TRUNCATE ON orders FOR EACH STATEMENT EXECUTE PROCEDURE touch();
    CREATE TRIGGER empties AFTER TRUNCATE ON tagged FOR EACH STATEMENT EXECUTE PROCEDURE touch()";

const BLOCKS: &str = r#"
[tables.customer]
key = "/customers/{id}"
[tables.customer.nest.orders]
table = "orders"
order = ["position"]
omit = ["customer_id"]
[tables.customer.nest.tags]
table = "tagged"
as = "map"
member = "{tag}"
omit = ["customer_id", "tag"]

[tables.tag]
[tables.tag.nest.customers]
table = "tagged"
omit = ["tag"]

[tables.tagged]
standalone = false
"#;

/// How many faults a run has.
const FAULTS: u64 = 16;

/// What is under a key: a document, or nothing.
type Versions = BTreeMap<String, Option<String>>;

/// What a transaction does to the documents.
#[derive(Default)]
struct Commit {
    /// Those that it leaves other than they were.
    versions: Versions,
    /// Those that have rows in them which it changed. One may be as it was in the end, which may be an event.
    touched: BTreeSet<String>,
}

#[test]
fn each_revision_has_what_the_query_gives_as_of_its_commit() {
    let mut random = Random::new();
    let servers = Servers::start();
    servers.execute(SCHEMA);
    let proxy = Proxy::before(servers.etcd_port);
    let launch = with_blocks(&servers, BLOCKS)
        .set("etcd.endpoints", format!("127.0.0.1:{}", proxy.port))
        .set("etcd.request_timeout", "500ms");
    let mut daemon = start(&launch, &mut random);
    daemon.await_line("Resuming from ");
    let load = Load::start(&servers, random.fork());
    for _ in 0..FAULTS {
        load.go_on(5 + random.below(30));
        match random.below(4) {
            0 | 1 => {
                // What the stream brings it always knows.
                assert_eq!(daemon.count("belongs into the document"), 0, "{}", daemon.output());
                daemon.kill();
                load.go_on(random.below(10));
                daemon = start(&launch, &mut random);
                daemon.await_line("Resuming from ");
            }
            2 => {
                let lost = proxy.lost();
                proxy.lose_answers(if random.below(2) == 0 { "/kv/txn" } else { "/kv/" }, 2);
                wait_until("a lost reply", || proxy.lost() > lost);
            }
            _ => {
                proxy.withhold(0, &["\"compare\""], 1 + random.below(2) as usize);
                wait_until("a txn that is given up", || proxy.withheld() > 0);
                load.go_on(random.below(20));
                proxy.deliver_withheld();
            }
        }
    }
    let committed = load.stop();
    caught_up(&servers);
    assert_eq!(daemon.count("belongs into the document"), 0, "{}", daemon.output());
    let (status, differing, said) = launch.ask(&["verify"]);
    assert_eq!((status, differing.as_str()), (0, ""), "{said}");
    daemon.stop();
    let checked = Checked::of(&servers.history("", 1), &commits(&mut servers.sql()));
    println!("{committed} transactions, {checked:?}");
    assert_eq!(checked.commits, committed);
    assert!(checked.whole > 50, "{checked:?}");
}

/// The daemon, with a txn that most transactions fit, or few do.
fn start(launch: &Launch, random: &mut Random) -> Daemon {
    let most = ["12", "128"][random.below(2) as usize];
    launch.clone().set("etcd.max_txn_ops", most).start()
}

/// What each transaction has done, by its number.
fn commits(sql: &mut Client) -> BTreeMap<u64, Commit> {
    let number = |row: &Row| u64::try_from(row.get::<_, i32>(0)).unwrap();
    let mut commits: BTreeMap<u64, Commit> = BTreeMap::new();
    for row in sql.query("SELECT number, key, document FROM expected", &[]).unwrap() {
        let document = row.get::<_, Option<&str>>(2).map(canonical);
        commits.entry(number(&row)).or_default().versions.insert(row.get(1), document);
    }
    for row in sql.query("SELECT number, key FROM touched", &[]).unwrap() {
        commits.entry(number(&row)).or_default().touched.insert(row.get(1));
    }
    commits
}

/// How many of a history's revisions were compared with what they have to be.
#[derive(Debug, Default)]
struct Checked {
    /// The last transaction that was seen.
    commits: u64,
    /// Revisions that have one or more transactions as a whole.
    whole: usize,
    /// Transactions in parts, which were compared behind the last of them.
    in_parts: usize,
}

impl Checked {
    /// Compares all documents at each revision at which no transaction is under way.
    fn of(history: &History, commits: &BTreeMap<u64, Commit>) -> Self {
        let (mut found, mut wanted) = (Versions::new(), Versions::new());
        let (mut checked, mut next, mut parts) = (Self::default(), 0, true);
        let mut complete = false;
        for events in history.revisions() {
            let mut changed = Versions::new();
            for event in events {
                let (key, value) = (event.key.as_str(), event.value.as_deref());
                if key == CHECKPOINT {
                    let position =
                        serde_json::from_str::<serde_json::Value>(value.unwrap()).unwrap();
                    complete = position["phase"] == "sync" && position["partial"].is_null();
                } else if let Some(number) = key.strip_prefix("/copy/commits/") {
                    checked.commits = checked.commits.max(number.parse().unwrap());
                } else if !key.starts_with("/.pg2etcd/") {
                    changed.insert(key.to_owned(), value.map(canonical));
                }
            }
            let before = found.clone();
            found.extend(changed.clone());
            if !complete {
                parts = true;
                continue;
            }
            let revision = events[0].revision;
            let mut versions = Versions::new();
            for Commit { versions: later, touched } in
                (next..=checked.commits).filter_map(|number| commits.get(&number))
            {
                for (key, document) in later {
                    let earlier = versions.insert(key.clone(), document.clone());
                    assert!(
                        parts || earlier.is_none(),
                        "revision {revision} skips a version of {key}: {earlier:?}"
                    );
                }
                changed.retain(|key, document| {
                    !(touched.contains(key) && before.get(key) == Some(document))
                });
            }
            if next <= checked.commits {
                *(if parts { &mut checked.in_parts } else { &mut checked.whole }) += 1;
            }
            if !parts {
                assert_same(&changed, &versions, &format!("what revision {revision} changes"));
            }
            wanted.extend(versions);
            for versions in [&mut found, &mut wanted] {
                versions.retain(|_, document| document.is_some());
            }
            assert_same(&found, &wanted, &format!("what is there at revision {revision}"));
            (next, parts) = (checked.commits + 1, false);
        }
        assert!(complete, "the last transaction is complete");
        checked
    }
}

#[track_caller]
fn assert_same(found: &Versions, wanted: &Versions, what: &str) {
    let keys = found.keys().chain(wanted.keys());
    let differing = keys.filter(|key| found.get(*key) != wanted.get(*key));
    let differing: Vec<_> =
        differing.map(|key| (key, wanted.get(key), found.get(key))).take(5).collect();
    assert!(differing.is_empty(), "{what}: (key, wanted, found): {differing:#?}");
}

/// A session that commits one random transaction after the other.
struct Load {
    stop: Arc<AtomicBool>,
    committed: Arc<AtomicU64>,
    session: thread::JoinHandle<()>,
}

impl Load {
    fn start(servers: &Servers, mut random: Random) -> Self {
        let (stop, committed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&committed));
        let truncates = servers.has(11, "TRUNCATE in the stream");
        let mut sql = servers.sql();
        sql.batch_execute("CREATE TEMP TABLE present AS SELECT * FROM oracle").unwrap();
        let session = thread::spawn(move || {
            let mut number = 1;
            while !stopped.load(Ordering::SeqCst) {
                if transaction(&mut sql, number, truncates, &mut random) {
                    count.store(number, Ordering::SeqCst);
                    number += 1;
                }
            }
        });
        Self { stop, committed, session }
    }

    /// Waits until there are so many more transactions.
    fn go_on(&self, more: u64) {
        let enough = self.committed.load(Ordering::SeqCst) + more;
        wait_until("some load", || {
            assert!(!self.session.is_finished(), "the load has failed");
            self.committed.load(Ordering::SeqCst) >= enough
        });
    }

    /// Stops it, and returns how many transactions were committed.
    fn stop(self) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        self.session.join().expect("the session of the load");
        self.committed.load(Ordering::SeqCst)
    }
}

/// A few statements, and the note of what they leave; returns whether they were committed.
fn transaction(sql: &mut Client, number: u64, truncates: bool, random: &mut Random) -> bool {
    sql.batch_execute("BEGIN").unwrap();
    for place in 0..=random.below(5) {
        let statement = statement(number, place, truncates, random);
        sql.batch_execute("SAVEPOINT before").unwrap();
        let checked =
            format!("{statement}; SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED");
        if let Err(error) = sql.batch_execute(&checked) {
            // A key that is taken.
            let code = error.code().map(|code| code.code());
            assert_eq!(code, Some("23505"), "{statement}: {error}");
            sql.batch_execute("ROLLBACK TO before").unwrap();
        }
    }
    let note = format!(
        "INSERT INTO commits VALUES ({number});
         INSERT INTO expected SELECT {number}, key, o.document FROM oracle o FULL JOIN present p USING (key)
             WHERE o.document IS DISTINCT FROM p.document;
         DELETE FROM present p USING expected e WHERE e.number = {number} AND e.key = p.key;
         INSERT INTO present SELECT key, document FROM expected WHERE number = {number} AND document IS NOT NULL"
    );
    sql.batch_execute(&note).expect("a note");
    let commits = random.below(12) > 0;
    sql.batch_execute(if commits { "COMMIT" } else { "ROLLBACK" }).unwrap();
    commits
}

/// A statement, or some that belong together. Each row with a key of its own is never left as it was, since
/// that would be an event although its document is the same.
fn statement(number: u64, place: u64, truncates: bool, random: &mut Random) -> String {
    let (new, mark) = (number * 100 + place * 10, format!("{number}.{place}"));
    let mut some = |most: u64| random.below(most);
    let customer = |nth: u64| format!("(SELECT id FROM customer ORDER BY id OFFSET {nth} LIMIT 1)");
    let tag = |nth: u64| format!("(SELECT name FROM tag ORDER BY name OFFSET {nth} LIMIT 1)");
    match some(32) {
        0..4 => {
            let rows = if some(6) == 0 { 9 } else { 1 + some(3) };
            format!(
                "INSERT INTO orders SELECT {}, {new} + n, nullif({} + n, 3), 'new {mark}' FROM generate_series(1, {rows}) n",
                customer(some(30)),
                some(4)
            )
        }
        4..8 => format!(
            "UPDATE orders SET item = 'changed {mark}', position = {} WHERE id % 17 = {}",
            some(5),
            some(17)
        ),
        8..11 => format!(
            "UPDATE orders SET customer_id = {}, item = 'moved {mark}' WHERE id % 17 = {}",
            customer(some(30)),
            some(17)
        ),
        11 => format!("DELETE FROM orders WHERE id % 7 = {}", some(7)),
        12..15 => format!(
            "INSERT INTO tagged SELECT id, t.name, '{mark}', CASE id % 3 WHEN 0 THEN repeat(md5(t.name), 80) END FROM customer, tag t
                WHERE hashtext(id || t.name) % 8 = {} ON CONFLICT DO NOTHING",
            some(8)
        ),
        // The body comes unchanged and unsent.
        15..17 => format!("UPDATE tagged SET since = '{mark}' WHERE customer_id % 5 = {}", some(5)),
        17 => "UPDATE tagged SET since = since WHERE customer_id % 3 = 0".to_owned(),
        18 => format!("UPDATE tagged SET tag = coalesce({}, tag) WHERE tag = {}", tag(some(9)), tag(some(9))),
        19 => format!(
            "UPDATE tagged SET customer_id = coalesce({}, customer_id), since = '{mark}' WHERE customer_id = {}",
            customer(some(20)),
            customer(some(20))
        ),
        20 => format!("DELETE FROM tagged WHERE hashtext(customer_id || tag) % 5 = {}", some(5)),
        // Children before their parent.
        21 => format!(
            "INSERT INTO tagged SELECT {new}, name, '{mark}' FROM tag; INSERT INTO customer VALUES ({new}, 'late {mark}')"
        ),
        22 => format!(
            "INSERT INTO customer SELECT {new} + n, '{mark}', CASE n WHEN 1 THEN repeat(md5('{mark}'), 80) END FROM generate_series(1, 2) n"
        ),
        23..25 => format!("UPDATE customer SET name = 'named {mark}' WHERE id = {}", customer(some(20))),
        25 => format!(
            "UPDATE customer SET id = {new} + 5, name = 'at {mark}' WHERE id = {}",
            customer(some(20))
        ),
        // Two change places, with all that point to them.
        26 => {
            let nth = some(15);
            let (one, other) = (customer(nth), customer(nth + 1));
            format!(
                "UPDATE customer SET name = name || ' {mark}' WHERE id IN ({one}, {other});
                 UPDATE orders SET item = 'exchanged {mark}' WHERE customer_id IN ({one}, {other});
                 CREATE TEMP TABLE two ON COMMIT DROP AS SELECT {one} AS one, {other} AS other;
                 UPDATE customer SET id = {new} + 6 FROM two WHERE id = one AND other IS NOT NULL;
                 UPDATE customer SET id = one FROM two WHERE id = other;
                 UPDATE customer SET id = other FROM two WHERE id = {new} + 6; DROP TABLE two"
            )
        }
        27 => format!(
            "WITH gone AS (DELETE FROM customer WHERE id = {} RETURNING id) INSERT INTO customer SELECT id, 'again {mark}' FROM gone",
            customer(some(20))
        ),
        28 => format!("DELETE FROM customer WHERE id = {}", customer(some(40))),
        29 => format!(
            "INSERT INTO tag VALUES ('t{mark}', 'green'); UPDATE tag SET color = '{mark}' WHERE name = {}",
            tag(some(8))
        ),
        30 => match some(2) {
            0 => format!("UPDATE tag SET name = 'r{mark}' WHERE name = {}", tag(some(8))),
            _ => format!("DELETE FROM tag WHERE name = {}", tag(some(12))),
        },
        _ if !truncates => "DELETE FROM tagged".to_owned(),
        _ => match some(8) {
            0 => "TRUNCATE customer CASCADE".to_owned(),
            1..4 => "TRUNCATE orders".to_owned(),
            _ => "TRUNCATE tagged".to_owned(),
        },
    }
}
