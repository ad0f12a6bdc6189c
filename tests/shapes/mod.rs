//! Tables with keys and values of their own: pg2etcd.toml(5), "TABLES".

mod changed;
pub(crate) mod copy;
mod emptied;
mod examples;
mod refused;
mod without_key;
mod words;

use self::copy::Copy;

/// A table for each word. What the rows of each become, the oracle says in SQL.
const SCHEMA: &str = r#"
    CREATE TABLE route (id int PRIMARY KEY, uri text NOT NULL, host text, doc jsonb, secret text);
    CREATE TABLE router (name text PRIMARY KEY, rule text, service text);
    CREATE TABLE name (host text, id int, target text, ttl int, big numeric, PRIMARY KEY (host, id));
    CREATE TABLE conf (path text PRIMARY KEY, body text);
    CREATE TABLE plain (id int PRIMARY KEY, a text, "b c" int, d text);
    CREATE TABLE omitted (id int PRIMARY KEY, a text, b text);
    CREATE TABLE whole (id int PRIMARY KEY, kind text, on_ bool, note text);
    ALTER TABLE whole REPLICA IDENTITY FULL;
    CREATE TABLE other (id int PRIMARY KEY, a text);
    INSERT INTO route SELECT n, '/u' || n, nullif('h' || n, 'h3'), jsonb_build_object('n', n), 's' FROM generate_series(1, 300) n;
    INSERT INTO router VALUES ('a', 'Host(`a`)', 's-a'), ('b/c%', 'r', NULL), ('d', NULL, '');
    INSERT INTO name SELECT 'w' || n || '.a.example', n, '10.0.0.' || n, nullif(n, 2), n / 3.0 FROM generate_series(1, 5) n;
    INSERT INTO conf VALUES ('app/port', '80'), ('app/%/x', 'a "b"'), ('é', '');
    INSERT INTO plain SELECT n, 'a' || n, n, 'd' FROM generate_series(1, 5) n;
    INSERT INTO omitted SELECT n, nullif('a' || n, 'a2'), 'b' FROM generate_series(1, 5) n;
    INSERT INTO whole VALUES (1, 'x', true, 'n1'), (2, 'y', false, NULL), (3, NULL, NULL, 'n3'), (4, '', true, '');
    INSERT INTO other VALUES (1, 'a')"#;

const BLOCKS: &str = r#"
[tables.route]
key = "/apisix/routes/{id}"
nulls = "omit"
value = { id = "{id}", uri = "{uri}", host = "{host}", upstream = { nodes = { "10.0.0.1:80" = 1 }, weight = 1.5, doc = ["{doc}", true, "{host}"] }, desc = "{uri}-{id}" }

[tables.router.keys]
"traefik/http/routers/{name}/rule" = "{rule}"
"traefik/http/routers/{name}/service" = "{service}"
"traefik/http/routers/{name}/entryPoints/0" = "web"

[tables."public.name"]
key = "/skydns/{host:dns}/x{id}"
value = { host = "{target}", ttl = "{ttl}", big = "{big}", text = "{target}:{ttl}" }

[tables.conf]
key = "/conf/{path:raw}"
value = "{body}"

[tables.plain]
columns = ["b c", "a"]

[tables.omitted]
key = "{{o}}/{id}"
omit = ["b"]
nulls = "omit"

[tables.whole]
key = "/whole/{kind}/{id}/{on_}"
value = "<{note}> {kind}"
"#;

/// Keys and values of all tables. Members that may be missing have to be put together as texts.
fn oracle() -> String {
    let route = r#"SELECT '/apisix/routes/' || id, concat('{"id":', id, ',"uri":', to_json(uri), ',"host":' || to_json(host),
        ',"upstream":{"nodes":{"10.0.0.1:80":1},"weight":1.5,"doc":[', coalesce(doc::text, 'null'), ',true,', coalesce(to_json(host)::text, 'null'),
        ']},"desc":', to_json(uri || '-' || id), '}') FROM route"#;
    let encoded = "replace(replace(name, '%', '%25'), '/', '%2F')";
    let router = ["rule", "service"]
        .map(|field| {
            format!(
                "SELECT 'traefik/http/routers/' || {encoded} || '/{field}', {field} FROM router"
            )
        })
        .join(" UNION ALL ");
    let entry = format!(
        "SELECT 'traefik/http/routers/' || {encoded} || '/entryPoints/0', 'web' FROM router"
    );
    let name = "SELECT '/skydns/' || (SELECT string_agg(l, '/' ORDER BY o DESC) FROM unnest(string_to_array(host, '.')) WITH ORDINALITY u (l, o)) || '/x' || id,
        json_build_object('host', target, 'ttl', ttl, 'big', big, 'text', target || ':' || ttl)::text FROM name
        WHERE host <> '' AND host !~ '(^\\.|\\.\\.|\\.$)'";
    let conf = "SELECT '/conf/' || path, body FROM conf WHERE path <> ''";
    let plain =
        "SELECT '/copy/plain/' || id, json_build_object('b c', \"b c\", 'a', a)::text FROM plain";
    let omitted = "SELECT '{o}/' || id, json_strip_nulls(json_build_object('id', id, 'a', a))::text FROM omitted";
    let whole = "SELECT concat('/whole/', kind, '/', id, '/', case when on_ then 't' else 'f' end), '<' || note || '> ' || kind
        FROM whole WHERE kind <> '' AND on_ IS NOT NULL";
    let other = "SELECT '/copy/other/' || id, row_to_json(other)::text FROM other";
    [route, &router, &entry, name, conf, plain, omitted, whole, other].join(" UNION ALL ")
}

/// Keys that the templates cannot give, in and beside their keyspaces.
const OTHERS: [&str; 10] = [
    "/apisix/routes/",
    "/apisix/routes/1/plugin",
    "/apisix/routes",
    "traefik/http/routers/a/middlewares",
    "traefik/http/routers/a/entryPoints/1",
    "/skydns/example/a/w1/1",
    "/skydns/example//w1/x1",
    "/conf/",
    "{o}/",
    "/whole/x/1",
];

const CHANGES: [&str; 22] = [
    "INSERT INTO route SELECT n, 'u', NULL, NULL FROM generate_series(301, 310) n",
    "UPDATE route SET uri = uri || 'x', host = nullif(host, 'h7') WHERE id < 20",
    // More than a txn takes.
    "UPDATE route SET uri = uri || 'y'",
    "UPDATE route SET id = id + 1000 WHERE id < 10",
    "DELETE FROM route WHERE id % 2 = 0",
    "UPDATE router SET rule = 'now' WHERE name = 'd'; UPDATE router SET service = NULL WHERE name = 'a'",
    "UPDATE router SET name = 'z', rule = NULL WHERE name = 'a'",
    "BEGIN; UPDATE router SET name = 't' WHERE name = 'z'; UPDATE router SET name = 'z' WHERE name = 'd';
        UPDATE router SET name = 'd' WHERE name = 't'; COMMIT",
    "INSERT INTO name (host, id) VALUES ('', 1), ('a..b', 1), ('a.', 2); INSERT INTO name VALUES ('ok.a', 3, 't', 4)",
    "UPDATE name SET host = 'b.' WHERE host = 'ok.a'; UPDATE name SET host = 'c.d' WHERE host = 'a.'",
    "UPDATE name SET target = NULL WHERE id = 1",
    "DELETE FROM name WHERE host IN ('', 'a..b', 'c.d')",
    "INSERT INTO conf VALUES ('/', 'slash'), ('', 'none'); UPDATE conf SET body = NULL WHERE path = 'app/port'",
    "UPDATE conf SET body = 'back', path = 'app/new' WHERE path = 'app/port'",
    "UPDATE plain SET a = NULL WHERE id = 1; UPDATE plain SET id = 9 WHERE id = 2",
    "UPDATE omitted SET a = 'is' WHERE id = 2; UPDATE omitted SET a = NULL WHERE id = 3",
    "UPDATE whole SET kind = 'k', on_ = false WHERE id IN (1, 3, 4); UPDATE whole SET note = 'here' WHERE id = 2",
    "UPDATE whole SET kind = NULL WHERE id = 1; UPDATE whole SET note = NULL WHERE id = 3",
    "BEGIN; TRUNCATE router; INSERT INTO router VALUES ('b', 'r', 's'), ('d', NULL, 's'); COMMIT",
    // An insert and its end in one transaction, behind a TRUNCATE.
    "BEGIN; INSERT INTO route SELECT n, 'v' FROM generate_series(5000, 5300) n; TRUNCATE route;
        INSERT INTO route SELECT n, 'w' FROM generate_series(5100, 5110) n; COMMIT",
    "TRUNCATE conf, name, omitted, whole",
    "INSERT INTO conf VALUES ('again', '1'); INSERT INTO whole VALUES (1, 'x', true, ''); INSERT INTO name VALUES ('a.b', 1)",
];

#[test]
fn every_word_dumps_streams_and_is_verified() {
    let copy = Copy::new(SCHEMA, BLOCKS, &oracle()).with_others(&OTHERS);
    let mut daemon = copy.launch.start();
    daemon.await_line("Dump finished");
    copy.await_equal();
    daemon.await_line("Resuming from ");
    let truncates = copy.servers.has(11, "TRUNCATE in the stream");
    for change in CHANGES.iter().filter(|change| truncates || !change.contains("TRUNCATE")) {
        copy.change(change);
    }
    copy.verify();
    assert_eq!(daemon.count("a row was not known"), 0, "{}", daemon.output());
    daemon.stop();

    // Neither a restart nor a redump of what is right writes anything.
    let before = copy.revisions();
    copy.start().stop();
    assert_eq!(copy.revisions(), before);
    copy.servers.execute("SELECT pg_drop_replication_slot('pg2etcd')");
    copy.start().stop();
    assert_eq!(copy.revisions(), before);

    // A redump after changes that nobody saw.
    copy.servers.execute("SELECT pg_drop_replication_slot('pg2etcd')");
    copy.servers.execute(
        "DELETE FROM route WHERE id < 5105; UPDATE route SET uri = 'missed'; DELETE FROM router WHERE name = 'b';
         INSERT INTO router VALUES ('c', 'r', NULL); UPDATE conf SET path = 'b/c'; DELETE FROM name; INSERT INTO plain VALUES (77)",
    );
    copy.servers.put("/apisix/routes/999", "stray");
    let daemon = copy.start();
    copy.await_equal();
    copy.verify();
    daemon.stop();

    let (status, removed, said) = copy.launch.ask(&["drop", "-k"]);
    assert_eq!(status, 0, "{removed}{said}");
    assert!(removed.contains("keys below /apisix/routes/"), "{removed}");
    let left: Vec<_> = copy.found().into_keys().collect();
    let mut others = OTHERS.map(str::to_owned).to_vec();
    others.sort();
    assert_eq!(left, others);
}

#[test]
fn large_values_that_are_not_sent() {
    let copy = Copy::new(
        "CREATE TABLE doc (id int PRIMARY KEY, n int, body text);
         CREATE TABLE lone (id int PRIMARY KEY, n int, body text);
         CREATE TABLE mixed (id int PRIMARY KEY, n int, body text);
         ALTER TABLE doc ALTER body SET STORAGE EXTERNAL; ALTER TABLE lone ALTER body SET STORAGE EXTERNAL;
         ALTER TABLE mixed ALTER body SET STORAGE EXTERNAL;
         INSERT INTO doc SELECT n, 0, repeat('\"b' || n, 4000) FROM generate_series(1, 10) n;
         INSERT INTO lone TABLE doc; INSERT INTO mixed TABLE doc",
        "[tables.doc]\nkey = '/doc/{id}'\nvalue = { a = { x = [1, { body = '{body}' }] }, n = '{n}', nn = '{n}-{n}' }\n\
         [tables.lone]\nkey = '/lone/{id}'\nvalue = '{body}'\n\
         [tables.mixed]\nkey = '/mixed/{id}'\nvalue = '{n}:{body}'\n",
        "SELECT '/doc/' || id, json_build_object('a', json_build_object('x', json_build_array(1, json_build_object('body', body))),
            'n', n, 'nn', n || '-' || n)::text FROM doc
         UNION ALL SELECT '/lone/' || id, body FROM lone UNION ALL SELECT '/mixed/' || id, n || ':' || body FROM mixed",
    );
    let mut daemon = copy.start();
    for table in ["doc", "lone"] {
        copy.change(&format!("UPDATE {table} SET n = n + 1"));
        copy.change(&format!("UPDATE {table} SET id = id + 100, n = 5 WHERE id < 4"));
        copy.change(&format!(
            "BEGIN; UPDATE {table} SET body = repeat('c', 5000) WHERE id = 5; UPDATE {table} SET id = 0, n = 7 WHERE id = 5; COMMIT"
        ));
    }
    copy.change("UPDATE lone SET body = NULL WHERE id = 6; UPDATE lone SET n = 9 WHERE id = 6");
    assert_eq!(daemon.count("Comparing table"), 0, "{}", daemon.output());
    let (_, report, _) = copy.launch.ask(&["check"]);
    assert!(
        report.contains("public.mixed: an update may leave a large value of body out"),
        "{report}"
    );
    assert!(
        !report.contains("public.doc: an update") && !report.contains("public.lone: an update")
    );
    copy.servers.execute("UPDATE mixed SET n = n + 1; UPDATE mixed SET id = id + 100 WHERE id = 1");
    daemon.await_line("Comparing table public.mixed: a row was not known");
    copy.await_equal();
    copy.servers.execute("ALTER TABLE mixed REPLICA IDENTITY FULL");
    copy.change("UPDATE mixed SET n = n + 1");
    let (_, report, _) = copy.launch.ask(&["check"]);
    assert!(!report.contains("an update may leave a large value of"), "{report}");
    copy.verify();
    daemon.stop();
}
