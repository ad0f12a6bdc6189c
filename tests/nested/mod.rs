//! Rows in the documents of others: pg2etcd.toml(5), "NESTED DOCUMENTS".

mod busy;
mod examples;
mod random;
mod refused;
mod taken_away;

use crate::shapes::copy::Copy;

/// Customers with their orders and the tags that they have by a join table, which is in both its ends; and
/// a tree.
const SCHEMA: &str = r"
    CREATE TABLE customer (id int PRIMARY KEY, name text, note text);
    ALTER TABLE customer ALTER note SET STORAGE EXTERNAL;
    CREATE TABLE orders (customer_id int REFERENCES customer ON DELETE CASCADE ON UPDATE CASCADE DEFERRABLE,
        id bigint, position int, item text, body text, PRIMARY KEY (id));
    ALTER TABLE orders REPLICA IDENTITY FULL;
    ALTER TABLE orders ALTER body SET STORAGE EXTERNAL;
    CREATE TABLE tag (name text PRIMARY KEY, color text);
    CREATE TABLE tagged (customer_id int REFERENCES customer ON DELETE CASCADE ON UPDATE CASCADE DEFERRABLE INITIALLY DEFERRED,
        tag text REFERENCES tag ON DELETE CASCADE ON UPDATE CASCADE, since date, PRIMARY KEY (customer_id, tag));
    CREATE TABLE node (id int PRIMARY KEY, parent_id int REFERENCES node ON DELETE SET NULL, label text);
    ALTER TABLE node REPLICA IDENTITY FULL;
    INSERT INTO customer SELECT n, 'c' || n, repeat(md5(n::text), 100) FROM generate_series(1, 40) n;
    INSERT INTO orders SELECT nullif(n % 41, 0), n, nullif(n % 7, 3), 'i' || n, repeat(md5(n::text), 100) FROM generate_series(1, 300) n;
    INSERT INTO tag SELECT 't' || n, 'red' FROM generate_series(1, 9) n;
    INSERT INTO tagged SELECT n, 't' || t, date '2026-01-01' + n FROM generate_series(1, 40) n, generate_series(1, 9) t WHERE (n + t) % 4 = 0;
    INSERT INTO node SELECT n, nullif(n / 3, 0), 'l' || n FROM generate_series(1, 30) n";

const BLOCKS: &str = r#"
[tables.customer]
key = "/customers/{id}"
columns = ["id", "name", "note"]
[tables.customer.nest.orders]
table = "orders"
order = ["position"]
omit = ["customer_id"]
[tables.customer.nest.tags]
table = "tagged"
value = "{tag}"

[tables.tag]
[tables.tag.nest.customers]
table = "tagged"
as = "map"
member = "c{customer_id}"
value = { since = "{since}", by = "pg2etcd" }

[tables.tagged]
standalone = false

[tables.node]
[tables.node.nest.children]
table = "node"
nulls = "omit"
"#;

const ORACLE: &str = r#"
    SELECT '/customers/' || c.id, concat('{"id":', c.id, ',"name":', coalesce(to_json(name)::text, 'null'),
        ',"note":', coalesce(to_json(note)::text, 'null'), ',"orders":',
        coalesce((SELECT json_agg(json_build_object('id', o.id, 'position', position, 'item', item, 'body', body) ORDER BY position, o.id)
            FROM orders o WHERE o.customer_id = c.id), '[]'), ',"tags":',
        coalesce((SELECT json_agg(tag ORDER BY tag COLLATE "C") FROM tagged t WHERE t.customer_id = c.id), '[]'), '}') FROM customer c
    UNION ALL SELECT '/copy/orders/' || id, row_to_json(orders)::text FROM orders
    UNION ALL SELECT '/copy/tag/' || name, concat('{"name":', to_json(name), ',"color":', to_json(color), ',"customers":',
        coalesce((SELECT json_object_agg('c' || customer_id, json_build_object('since', since, 'by', 'pg2etcd') ORDER BY ('c' || customer_id) COLLATE "C")
            FROM tagged WHERE tag = name), '{}'), '}') FROM tag
    UNION ALL SELECT '/copy/node/' || id, concat('{"id":', id, ',"parent_id":', coalesce(parent_id::text, 'null'), ',"label":',
        coalesce(to_json(label)::text, 'null'), ',"children":', coalesce((SELECT json_agg(json_strip_nulls(row_to_json(n)) ORDER BY n.id) FROM node n
            WHERE n.parent_id = node.id), '[]'), '}') FROM node"#;

/// In each of them etcd has to follow.
const CHANGES: &[&str] = &[
    "INSERT INTO orders VALUES (1, 1000, 2, 'new', 'b')",
    "UPDATE orders SET item = 'changed' WHERE id = 1000",
    "UPDATE orders SET position = 0 WHERE id < 20",
    "UPDATE orders SET id = id + 5000 WHERE id < 10",
    "DELETE FROM orders WHERE id % 5 = 0",
    // A child moves; there and back; together with its parent's own move.
    "UPDATE orders SET customer_id = customer_id % 40 + 1 WHERE id % 3 = 0",
    "BEGIN; UPDATE orders SET customer_id = 2 WHERE customer_id = 1; UPDATE orders SET customer_id = 1 WHERE customer_id = 2; COMMIT",
    "BEGIN; UPDATE orders SET customer_id = 4 WHERE customer_id = 3; UPDATE customer SET id = 103 WHERE id = 3;
        UPDATE orders SET customer_id = 103 WHERE customer_id = 4; COMMIT",
    "UPDATE orders SET customer_id = NULL WHERE customer_id = 5",
    "UPDATE orders SET customer_id = 5 WHERE customer_id IS NULL",
    // Unchanged TOAST, of the parent and of the child.
    "UPDATE customer SET name = name || 'x'",
    "UPDATE orders SET item = item || 'y'",
    "UPDATE tagged SET since = since + 1",
    // Cascades.
    "UPDATE customer SET id = id + 200 WHERE id < 7",
    "BEGIN; UPDATE customer SET id = 999 WHERE id = 201; UPDATE customer SET id = 201 WHERE id = 202; UPDATE customer SET id = 202 WHERE id = 999; COMMIT",
    "DELETE FROM customer WHERE id IN (10, 11)",
    "UPDATE tag SET name = 'renamed' WHERE name = 't1'",
    "DELETE FROM tag WHERE name = 't2'",
    "DELETE FROM node WHERE id = 1",
    "UPDATE node SET parent_id = 4 WHERE id > 20",
    "UPDATE node SET parent_id = id WHERE id = 9",
    // Children before their parent.
    "BEGIN; INSERT INTO tagged VALUES (500, 't3', '2026-05-05'), (500, 't4', NULL); INSERT INTO customer VALUES (500, 'late'); COMMIT",
    // A row goes and another comes under its key; those that point there stay.
    "BEGIN; SET LOCAL session_replication_role = replica; DELETE FROM customer WHERE id = 500; INSERT INTO customer VALUES (500, 'again');
        UPDATE customer SET id = 501 WHERE id = 500; INSERT INTO customer VALUES (500, 'once more'); COMMIT",
    // More than a txn takes.
    "INSERT INTO orders SELECT n % 20 + 12, n, n % 5, 'bulk', 'b' FROM generate_series(10000, 10999) n",
    "BEGIN; INSERT INTO customer SELECT n, 'bulk' FROM generate_series(20000, 20299) n;
        INSERT INTO orders SELECT n, n, 1, 'x', repeat('b', 5000) FROM generate_series(20000, 20299) n;
        UPDATE customer SET id = id + 1000 WHERE id >= 20000; UPDATE orders SET item = 'z' WHERE id >= 20000; COMMIT",
    "DELETE FROM customer WHERE id >= 21000",
    // TRUNCATE of one side, of both, and a refill.
    "TRUNCATE tagged",
    "BEGIN; SET LOCAL session_replication_role = replica; INSERT INTO tagged SELECT n, 't4', NULL FROM generate_series(12, 20) n; TRUNCATE tagged;
        INSERT INTO tagged SELECT n, 't5', NULL FROM generate_series(12, 20) n; COMMIT",
    "BEGIN; SET LOCAL session_replication_role = replica; INSERT INTO orders SELECT 12, n, 1, 'x', 'y' FROM generate_series(50000, 50200) n; TRUNCATE orders;
        INSERT INTO orders VALUES (12, 1, 1, 'x', 'y'); COMMIT",
    "BEGIN; TRUNCATE customer, orders, tagged; INSERT INTO customer VALUES (1, 'a'); INSERT INTO orders VALUES (1, 1); COMMIT",
    "TRUNCATE node",
    "INSERT INTO node VALUES (1, NULL, 'r'), (2, 1, 'c')",
];

#[test]
fn a_document_has_the_rows_that_point_to_it() {
    let copy = Copy::new(SCHEMA, BLOCKS, ORACLE);
    let daemon = copy.start();
    copy.await_equal();
    for sql in CHANGES {
        copy.change(sql);
    }
    // The stream knows all of it.
    assert_eq!(daemon.count("belongs into the document"), 0);
    copy.verify();
    daemon.stop();
}
