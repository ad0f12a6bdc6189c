//! Types that users make.

use crate::support::{Servers, assert_equal};

const SCHEMA: &str = "
    CREATE SCHEMA own;
    CREATE TYPE own.mood AS ENUM ('sad', 'ok');
    CREATE FUNCTION own.shown(own.mood) RETURNS json LANGUAGE sql IMMUTABLE
        AS $$ SELECT json_build_object('mood', upper($1::text)) $$;
    CREATE CAST (own.mood AS json) WITH FUNCTION own.shown(own.mood);
    CREATE DOMAIN own.feeling AS own.mood;
    CREATE TYPE own.span AS RANGE (subtype = float8);
    CREATE DOMAIN own.small AS int CHECK (value < 100);
    CREATE DOMAIN own.smaller AS own.small CHECK (value < 10);
    CREATE TABLE own.shape (gone int, id int PRIMARY KEY, \"the \"\"name\"\"\" text, moods own.mood[], also_gone text);
    ALTER TABLE own.shape DROP gone, DROP also_gone;
    CREATE TABLE own.holder (mood own.mood, feeling own.feeling, moods own.mood[], span own.span, smaller own.smaller,
        shape own.shape, shapes own.shape[], PRIMARY KEY (mood, smaller));
    INSERT INTO own.shape VALUES (1, 'a \"b\"', '{sad,ok}'), (2, NULL, NULL);
    INSERT INTO own.holder SELECT 'sad', 'ok', '{{ok,sad},{NULL,ok}}', '[0.1,2)', id, shape, ARRAY[shape, NULL] FROM own.shape shape;
    INSERT INTO own.holder VALUES ('ok', NULL, NULL, NULL, 3, NULL, NULL)";

#[test]
fn casts_to_json_and_row_types_with_dropped_columns() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    let tables = ["own.shape", "own.holder"];
    let mut daemon = servers.daemon().start();
    daemon.await_line("Dump finished");
    assert_equal(&servers, &tables);
    assert!(servers.keys("/copy/").contains_key("/copy/own.holder/sad/1"));
    servers.execute(
        "UPDATE own.holder SET mood = 'ok', smaller = smaller + 3 WHERE mood = 'sad';
         INSERT INTO own.holder SELECT 'sad', 'sad', '{}', 'empty', id, shape, '{}' FROM own.shape shape;
         UPDATE own.shape SET moods = array_append(moods, 'ok')",
    );
    assert_equal(&servers, &tables);
    daemon.stop();
}
