//! TRUNCATE of tables with keys of their own.

use std::collections::BTreeSet;

use super::copy::Copy;

/// A row more than txns of 128 operations can delete one by one.
const SCHEMA: &str = "CREATE TABLE all_of (path text PRIMARY KEY, v text);
    CREATE TABLE partly (path text PRIMARY KEY, v text);
    INSERT INTO all_of SELECT 'a/' || n, n FROM generate_series(1, 300) n; INSERT INTO partly TABLE all_of";
const BLOCKS: &str = "[tables.all_of]\nkey = 'all/{path:raw}'\nvalue = '{v}'\n\
    [tables.partly]\nkey = 'partly/{path:dns}/x'\nvalue = '{v}'\n";
const ORACLE: &str = "SELECT 'all/' || path, v FROM all_of WHERE path <> ''
    UNION ALL SELECT 'partly/' || replace(path, '/', '%2F') || '/x', v FROM partly";

/// Where every key behind the literal text can be a row's, one range is deleted, and what is just that
/// text stays; else the keys are deleted one by one, those of others left as they are.
#[test]
fn a_table_that_has_all_behind_its_prefix_is_emptied_at_once() {
    let copy = Copy::new(SCHEMA, BLOCKS, ORACLE).with_others(&["all/", "partly/", "partly/a"]);
    if copy.servers.lacks(11, "TRUNCATE in the stream") {
        return;
    }
    let daemon = copy.start();
    copy.await_equal();
    let begin = copy.servers.revision();
    copy.change("TRUNCATE all_of");
    copy.change("TRUNCATE partly");
    let revisions = |prefix: &str| {
        let history = copy.servers.history(prefix, begin + 1);
        let all: Vec<_> = history.below(prefix).map(|event| event.revision).collect();
        (all.len(), all.into_iter().collect::<BTreeSet<_>>().len())
    };
    assert_eq!(revisions("all/"), (300, 1));
    let (keys, many) = revisions("partly/");
    assert!(keys == 300 && many > 2, "{keys} keys in {many} revisions");

    // In the midst of other changes, and of more than fits one txn.
    copy.change(
        "BEGIN; INSERT INTO all_of VALUES ('x', 1), ('y', 2); TRUNCATE all_of; INSERT INTO all_of VALUES ('y', 3), ('', 4); COMMIT",
    );
    copy.change(
        "BEGIN; INSERT INTO all_of SELECT n FROM generate_series(1, 900) n; TRUNCATE all_of;
         INSERT INTO all_of SELECT n, 'new' FROM generate_series(500, 1200) n; UPDATE all_of SET path = path || '/' WHERE path < '6'; COMMIT",
    );
    copy.change("BEGIN; TRUNCATE all_of, partly; COMMIT");
    copy.verify();
    daemon.stop();
}
