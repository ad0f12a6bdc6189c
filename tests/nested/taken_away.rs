//! What nested documents need, taken away while they are copied.

use rustix::process::Signal;

use crate::shapes::copy::{Copy, with_blocks};
use crate::support::{caught_up, wait_until};

const SCHEMA: &str = "CREATE TABLE orders (id int PRIMARY KEY, note text);
    CREATE TABLE items (order_id int CONSTRAINT of_order REFERENCES orders, line int, sku text, PRIMARY KEY (order_id, line));
    CREATE TABLE other (id int PRIMARY KEY);
    INSERT INTO orders VALUES (1, 'a'), (2, 'b'), (3, 'c');
    INSERT INTO items SELECT o, l, 's' || o || l FROM generate_series(1, 2) o, generate_series(1, 3) l;
    INSERT INTO other VALUES (1)";
const BLOCKS: &str =
    "[tables.orders]\nkey = '/o/{id}'\nnest.items = { table = 'items', omit = ['order_id'] }\n";
const OTHERS: &str = " UNION ALL SELECT concat('/copy/items/', order_id, '/', line), row_to_json(items)::text FROM items
    UNION ALL SELECT '/copy/other/' || id, row_to_json(other)::text FROM other";
const ORDERS: &str = "SELECT '/o/' || id, json_build_object('id', id, 'note', note, 'items', (SELECT coalesce(
    json_agg(json_build_object('line', line, 'sku', sku) ORDER BY line), '[]') FROM items WHERE order_id = id))::text FROM orders";

/// What is done to the tables, why their documents are left as they are, and what brings it back.
const CASES: [(&str, &str, &str, u32); 5] = [
    (
        "ALTER TABLE items DROP CONSTRAINT of_order",
        "table public.items has no foreign key to table public.orders",
        "ALTER TABLE items ADD CONSTRAINT of_order FOREIGN KEY (order_id) REFERENCES orders",
        10,
    ),
    (
        "ALTER TABLE items DROP CONSTRAINT items_pkey, ADD PRIMARY KEY (line, sku)",
        "PostgreSQL does not send column order_id of foreign key of_order",
        "ALTER TABLE items DROP CONSTRAINT items_pkey, ADD PRIMARY KEY (order_id, line)",
        10,
    ),
    (
        "ALTER TABLE items RENAME TO items_too",
        "table public.items is not published",
        "ALTER TABLE items_too RENAME TO items",
        10,
    ),
    (
        "ALTER PUBLICATION pg2etcd SET TABLE orders, other",
        "table public.items is not published",
        "ALTER PUBLICATION pg2etcd SET TABLE orders, other, items",
        10,
    ),
    (
        "ALTER PUBLICATION pg2etcd SET TABLE orders WHERE (id > 0), other, items",
        "table public.orders has a row filter",
        "ALTER PUBLICATION pg2etcd SET TABLE orders, other, items",
        15,
    ),
];

#[test]
fn what_is_taken_away_later_leaves_the_documents_as_they_are() {
    let copy = Copy::new(SCHEMA, BLOCKS, &format!("{ORDERS}{OTHERS}"));
    copy.servers.execute("CREATE PUBLICATION pg2etcd FOR TABLE orders, other, items");
    let launch = copy.launch.clone().set("sync.catalog_period", "200ms");
    let mut daemon = launch.start();
    daemon.await_line("Resuming from ");
    copy.await_equal();
    let mut next = 10;
    let documents = || {
        let mut found = copy.found();
        found.retain(|key, _| key.starts_with("/o/"));
        found
    };
    let cases = CASES.iter().filter(|(.., version)| copy.servers.has(*version, "row filters"));
    for (times, (taken, why, back, _)) in (1..).zip(cases) {
        let kept = documents();
        copy.servers.execute(taken);
        let line = daemon.await_lines("Leaving table public.orders out: ", times);
        assert!(line.contains("shapes.toml:1: tables.public.orders: nest.items: "), "{line}");
        assert!(line.contains(why), "{taken}: {line}");
        next += 1;
        copy.servers.execute(&format!(
            "INSERT INTO other VALUES ({next}); UPDATE orders SET note = '{next}' WHERE id = 1"
        ));
        caught_up(&copy.servers);
        wait_until("the other table to go on", || {
            copy.found().contains_key(&format!("/copy/other/{next}"))
        });
        assert_eq!(documents(), kept, "{taken}");
        for command in ["check", "status"] {
            let (status, report, said) = launch.ask(&[command]);
            assert!(
                report.contains(why) || said.contains(why),
                "{command} {status} {taken}: {report}{said}"
            );
        }
        copy.servers.execute(back);
        copy.await_equal();
        copy.change(&format!("UPDATE items SET sku = sku || '{next}' WHERE line = 2"));
    }
    // At a start as well: that shape has been in use.
    daemon.stop();
    let kept = documents();
    copy.servers.execute(&format!("{}; UPDATE orders SET note = 'z'", CASES[0].0));
    let mut daemon = launch.start();
    daemon.await_line("Leaving table public.orders out: ");
    caught_up(&copy.servers);
    assert_eq!(documents(), kept);
    copy.servers.execute(CASES[0].2);
    copy.await_equal();
    copy.verify();
    daemon.stop();
}

#[test]
fn what_changes_unseen_in_a_nested_table_is_compared_where_it_is_nested() {
    let copy = Copy::new(
        SCHEMA,
        &format!("{BLOCKS}[tables.items]\nstandalone = false\n"),
        &format!(
            "{ORDERS} UNION ALL SELECT '/copy/other/' || id, row_to_json(other)::text FROM other"
        ),
    );
    let launch = copy.launch.clone().set("sync.catalog_period", "200ms");
    let mut daemon = launch.start();
    daemon.await_line("Resuming from ");
    copy.await_equal();
    // A resync, and a verify, of what is only nested.
    copy.servers.put("/o/1", "{}");
    let (status, differing, said) = launch.ask(&["verify", "items"]);
    assert_eq!((status, differing.as_str()), (1, "differs /o/1\n"), "{said}");
    let (status, _, said) = launch.ask(&["resync", "items"]);
    assert_eq!(status, 0, "{said}");
    daemon.await_line("Comparing table public.orders: a resync was asked for");
    copy.await_equal();
    copy.servers.execute("ALTER TABLE items ALTER sku TYPE int USING line");
    daemon.await_line("Comparing table public.orders: its nested tables changed");
    copy.await_equal();
    copy.servers.execute("ALTER TABLE items DROP sku, ADD price int DEFAULT 5");
    daemon.await_lines("Comparing table public.orders: its nested tables changed", 2);
    wait_until("the new column", || copy.found()["/o/1"].contains("\"price\":5"));
    copy.verify();
    daemon.stop();
}

#[test]
fn settings_that_the_tables_do_not_allow_leave_the_old_ones_in_use() {
    let copy = Copy::new(SCHEMA, BLOCKS, &format!("{ORDERS}{OTHERS}"));
    let mut daemon = copy.start();
    copy.await_equal();
    with_blocks(&copy.servers, &format!("{BLOCKS}nest.others = {{ table = 'other' }}\n"));
    daemon.signal(Signal::HUP);
    daemon.await_line("nest.others: table public.other has no foreign key to table public.orders");
    copy.change("UPDATE orders SET note = 'x' WHERE id = 2; UPDATE items SET sku = 'y'");
    // A start with them is refused.
    daemon.stop();
    let (status, said) = copy.launch.run();
    assert_eq!(status, 2, "{said}");
    assert!(said.contains("nest.others: table public.other has no foreign key"), "{said}");
}

/// What a table lacks leaves out those that it is nested in, and those that these are nested in: all are compared
/// when it is back, though nothing has changed in them.
#[test]
fn what_is_taken_away_further_down_has_all_above_it_compared() {
    let copy = Copy::new(
        &format!(
            "{SCHEMA}; CREATE TABLE parts (order_id int, line int, id int, PRIMARY KEY (order_id, line, id),
                 CONSTRAINT of_item FOREIGN KEY (order_id, line) REFERENCES items);
             INSERT INTO parts VALUES (1, 1, 1); CREATE PUBLICATION pg2etcd FOR TABLE orders, items, other, parts"
        ),
        &format!("{BLOCKS}[tables.items]\nnest.parts = {{ table = 'parts', columns = ['id'] }}\n[tables.parts]\nstandalone = false\n"),
        &format!(
            "{ORDERS} UNION ALL SELECT concat('/copy/items/', order_id, '/', line), json_build_object('order_id', order_id, 'line', line, 'sku', sku, 'parts',
                (SELECT coalesce(json_agg(json_build_object('id', id) ORDER BY id), '[]') FROM parts p WHERE (p.order_id, p.line) = (i.order_id, i.line)))::text FROM items i
             UNION ALL SELECT '/copy/other/' || id, row_to_json(other)::text FROM other"
        ),
    );
    let mut daemon = copy.launch.clone().set("sync.catalog_period", "200ms").start();
    daemon.await_line("Resuming from ");
    copy.await_equal();
    copy.servers.execute("ALTER PUBLICATION pg2etcd SET TABLE orders, items, other");
    daemon.await_line("Leaving table public.orders out: ");
    copy.servers
        .execute("UPDATE orders SET note = 'missed' WHERE id = 3; INSERT INTO other VALUES (2)");
    wait_until("the other table", || copy.found().contains_key("/copy/other/2"));
    copy.servers.execute("ALTER PUBLICATION pg2etcd SET TABLE orders, items, other, parts");
    copy.await_equal();
    copy.verify();
    daemon.stop();
}
