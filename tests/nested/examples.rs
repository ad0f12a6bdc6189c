//! The examples of documents with rows of other tables, nested and kept by triggers.

use std::fs;
use std::path::Path;
use std::thread;

use crate::shapes::copy::Copy;
use crate::support::wait_until;

/// A copy of an example's tables with its settings.
fn example(name: &str, oracle: &str) -> Copy {
    let file = |ending: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
        fs::read_to_string(path.join(format!("{name}.{ending}"))).expect(name)
    };
    Copy::new(&file("sql"), &file("toml"), oracle)
}

const NESTED: &str = "
    SELECT '/shop/customers/' || id, json_build_object('id', id, 'name', name,
        'orders', (SELECT coalesce(json_agg(json_build_object('id', o.id, 'ordered_on', ordered_on, 'total', total) ORDER BY ordered_on, o.id), '[]')
            FROM orders o WHERE customer_id = c.id),
        'lists', (SELECT coalesce(json_agg(list ORDER BY list COLLATE \"C\"), '[]') FROM subscription WHERE customer_id = c.id))::text FROM customer c
    UNION ALL SELECT '/shop/lists/' || name, json_build_object('name', name, 'topic', topic,
        'customers', (SELECT coalesce(json_object_agg(customer_id, json_build_object('since', since) ORDER BY customer_id), '{}')
            FROM subscription WHERE list = name))::text FROM mailing_list";

#[test]
fn customers_with_their_orders_and_lists() {
    let copy = example("nested", NESTED);
    let daemon = copy.start();
    copy.await_equal();
    let found = copy.found();
    assert_eq!(
        found["/shop/customers/1"],
        r#"{"id":1,"name":"Ada","orders":[{"id":11,"ordered_on":"2026-01-15","total":3.00},{"id":10,"ordered_on":"2026-02-01","total":12.50}],"lists":["news","tea"]}"#
    );
    assert_eq!(
        found["/shop/lists/news"],
        r#"{"name":"news","topic":"What is new","customers":{"1":{"since":"2025-06-01"},"2":{"since":"2026-01-01"}}}"#
    );
    for change in [
        "INSERT INTO orders VALUES (12, 2, '2026-03-01', 1)",
        "UPDATE orders SET customer_id = 2 WHERE id = 11",
        "UPDATE mailing_list SET name = 'coffee' WHERE name = 'tea'",
        "DELETE FROM customer WHERE id = 1",
    ] {
        copy.change(change);
    }
    copy.verify();
    daemon.stop();
}

#[test]
fn courses_that_triggers_keep() {
    let copy = example("deeper", "SELECT '/courses/' || id, course_document(id)::text FROM course");
    let daemon = copy.start();
    copy.await_equal();
    assert_eq!(
        copy.found()["/courses/1"].replace(' ', ""),
        r#"{"title":"Tea","minutes":75,"chapters":[{"title":"Leaves","lessons":[20,15]},{"title":"Water","lessons":[40]}]}"#
    );
    let begin = copy.servers.revision();
    for change in [
        "INSERT INTO lesson VALUES (3, 2, 5)",
        "UPDATE lesson SET minutes = minutes + 1",
        "UPDATE lesson SET chapter_id = 3, place = 9 WHERE chapter_id = 2",
        "UPDATE chapter SET course_id = 2 WHERE id = 1",
        "BEGIN; UPDATE chapter SET title = 'x' WHERE course_id = 2; UPDATE course SET id = 20 WHERE id = 2; INSERT INTO lesson VALUES (3, 5, 5); COMMIT",
        "UPDATE chapter SET id = 30 WHERE id = 3",
        "BEGIN; INSERT INTO course VALUES (3, 'Cocoa'); INSERT INTO chapter VALUES (4, 3, 'Trees'); DELETE FROM chapter WHERE id = 30; COMMIT",
        "DELETE FROM course WHERE id = 20",
        "TRUNCATE lesson",
        "TRUNCATE chapter CASCADE",
    ] {
        copy.change(change);
    }
    // No watcher sees what is in between.
    let history = copy.servers.history("/courses/", begin + 1);
    assert!(history.events.iter().all(|event| event.value.as_deref() != Some("")), "{history:?}");
    assert_eq!(history.of("/courses/20").len(), 4, "one version a transaction: {history:?}");

    // Of two transactions that change one course, the later one has what the earlier one did.
    copy.servers.execute("INSERT INTO chapter VALUES (5, 1, 'Both')");
    let (mut one, mut other) = (copy.servers.sql(), copy.servers.sql());
    one.batch_execute("BEGIN; INSERT INTO lesson VALUES (5, 1, 10)").unwrap();
    let waiting = thread::spawn(move || {
        other.batch_execute("BEGIN; INSERT INTO lesson VALUES (5, 2, 20); COMMIT").unwrap();
    });
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted";
    wait_until("the other one to wait", || copy.servers.value(waits).as_deref() == Some("1"));
    one.batch_execute("COMMIT").unwrap();
    waiting.join().unwrap();
    copy.change("UPDATE course SET title = 'T' WHERE id = 1");
    assert!(copy.found()["/courses/1"].replace(' ', "").contains(r#""lessons":[10,20]"#));
    copy.verify();
    daemon.stop();
}
