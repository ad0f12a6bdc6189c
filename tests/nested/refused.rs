//! Nested documents that the database does not allow.

use crate::shapes::copy::with_blocks;
use crate::support::Servers;

/// A block, the tables, a part of the refusal, a part of the cure, and SQL that carries it out.
type Case = (&'static str, &'static str, &'static str, &'static str, &'static str);

const NEST: &str = "[tables.orders]\nnest.items = { table = 'items' }\n";
const ORDERS: &str = "CREATE TABLE orders (id int PRIMARY KEY, note text);";
const ITEMS: &str = "CREATE TABLE items (order_id int REFERENCES orders, line int, sku text, PRIMARY KEY (order_id, line));";

/// What holds whatever the server's version.
const CASES: [Case; 24] = [
    (
        "\n[tables.orders]\nnest.items = { table = 'itens' }\n",
        ITEMS,
        "shapes.toml:3: tables.public.orders: nest.items: there is no table public.itens, did you mean public.items?",
        "",
        "CREATE TABLE itens (order_id int REFERENCES orders, id int, PRIMARY KEY (order_id, id))",
    ),
    (
        "\n[tables.orders]\nnest.items = { table = 'items',\n columns = ['line', 'skuu'] }\n",
        ITEMS,
        "shapes.toml:4: tables.public.orders: nest.items: table public.items has no column skuu, did you mean sku?",
        "",
        "ALTER TABLE items ADD skuu text",
    ),
    (
        NEST,
        "CREATE TABLE items (order_id int, line int, PRIMARY KEY (order_id, line));",
        "shapes.toml:1: tables.public.orders: nest.items: table public.items has no foreign key to table public.orders",
        "ALTER TABLE \"public\".\"items\" ADD FOREIGN KEY (...) REFERENCES \"public\".\"orders\" (\"id\")",
        "ALTER TABLE \"public\".\"items\" ADD FOREIGN KEY (order_id) REFERENCES \"public\".\"orders\" (\"id\")",
    ),
    (
        NEST,
        "CREATE TABLE items (order_id int REFERENCES orders, line int, old int REFERENCES orders, PRIMARY KEY (order_id, line, old));",
        "table public.items has several foreign keys to table public.orders: (old), (order_id)",
        "by = [\"old\"]",
        "ALTER TABLE items DROP CONSTRAINT items_old_fkey",
    ),
    (
        "[tables.orders]\nnest.items = { table = 'items', by = ['line'] }\n",
        ITEMS,
        "table public.items has no foreign key (line) to table public.orders",
        "ADD FOREIGN KEY (\"line\")",
        "ALTER TABLE \"public\".\"items\" ADD FOREIGN KEY (\"line\") REFERENCES \"public\".\"orders\" (\"id\")",
    ),
    (
        NEST,
        "CREATE TABLE items (order_id int, line int, PRIMARY KEY (order_id, line));
         ALTER TABLE items ADD CONSTRAINT \"To order\" FOREIGN KEY (order_id) REFERENCES orders NOT VALID;",
        "foreign key To order of table public.items is not validated",
        "ALTER TABLE \"public\".\"items\" VALIDATE CONSTRAINT \"To order\"",
        "ALTER TABLE \"public\".\"items\" VALIDATE CONSTRAINT \"To order\"",
    ),
    (
        NEST,
        "ALTER TABLE orders ADD code text UNIQUE; CREATE TABLE items (code text REFERENCES orders (code), line int, PRIMARY KEY (code, line));",
        "references (code), and the key of table public.orders is (id)",
        "ALTER TABLE \"public\".\"items\" ADD FOREIGN KEY (...) REFERENCES \"public\".\"orders\" (\"id\")",
        "ALTER TABLE items DROP CONSTRAINT items_code_fkey, ADD order_id int REFERENCES orders (id), DROP CONSTRAINT items_pkey, ADD PRIMARY KEY (order_id, line)",
    ),
    (
        NEST,
        "CREATE TABLE items (order_id int REFERENCES orders, line int PRIMARY KEY);",
        "PostgreSQL does not send column order_id of foreign key items_order_id_fkey for a deleted row of table public.items",
        "ALTER TABLE \"public\".\"items\" REPLICA IDENTITY FULL",
        "ALTER TABLE \"public\".\"items\" REPLICA IDENTITY FULL",
    ),
    (
        NEST,
        "CREATE TABLE items (order_id int NOT NULL REFERENCES orders, line int PRIMARY KEY, UNIQUE (line, order_id));",
        "PostgreSQL does not send column order_id",
        "REPLICA IDENTITY USING INDEX ...",
        "ALTER TABLE \"public\".\"items\" REPLICA IDENTITY USING INDEX items_line_order_id_key",
    ),
    (
        NEST,
        "CREATE TABLE items (order_id int REFERENCES orders, line int); ALTER TABLE items REPLICA IDENTITY FULL;",
        "nest.items: table public.items is left out: it has neither a primary key nor an identity index",
        "give it a primary key",
        "ALTER TABLE items ADD PRIMARY KEY (line)",
    ),
    (
        NEST,
        "DROP TABLE orders; CREATE TABLE orders (id numeric PRIMARY KEY);
         CREATE TABLE items (order_id numeric REFERENCES orders, line int, PRIMARY KEY (order_id, line));",
        "column order_id of foreign key items_order_id_fkey is of a type with equal values that are printed differently",
        "integers, oid, bool, uuid, text, varchar, bytea, date, timestamp, timestamptz, or the same enum",
        "ALTER TABLE items ALTER order_id TYPE bigint, DROP CONSTRAINT items_order_id_fkey; ALTER TABLE orders ALTER id TYPE int;
         ALTER TABLE items ADD FOREIGN KEY (order_id) REFERENCES orders",
    ),
    (
        NEST,
        "DROP TABLE orders; CREATE TABLE orders (id char(3) PRIMARY KEY);
         CREATE TABLE items (order_id char(3) REFERENCES orders, line int, PRIMARY KEY (order_id, line));",
        "is of a type with equal values that are printed differently",
        "",
        "ALTER TABLE items DROP CONSTRAINT items_order_id_fkey, ALTER order_id TYPE varchar; ALTER TABLE orders ALTER id TYPE text;
         ALTER TABLE items ADD FOREIGN KEY (order_id) REFERENCES orders",
    ),
    (
        "[tables.orders]\nnest.note = { table = 'items' }\n",
        ITEMS,
        "nest.note: the document has a member note already",
        "leave note out of the object",
        "ALTER TABLE orders RENAME note TO remark",
    ),
    (
        "[tables.orders]\nkey = '/o/{id}/{note}'\nnest.items = { table = 'items' }\n",
        "CREATE TABLE items (order_id int REFERENCES orders, line int, PRIMARY KEY (order_id, line)); ALTER TABLE orders REPLICA IDENTITY FULL;",
        "the key /o/{id}/{note} has column note, which is not in the key of table public.orders (id)",
        "take {note} out of it",
        "",
    ),
    (
        "[tables.orders]\nnest.items = { table = 'items', columns = ['sku'] }\n",
        ITEMS,
        "an element has no member with column line alone",
        "add line to it",
        "",
    ),
    (
        "[tables.orders]\nnest.items = { table = 'items', value = '{sku}' }\n",
        ITEMS,
        "an element has no member with column line alone",
        "",
        "ALTER TABLE items DROP CONSTRAINT items_pkey, ADD PRIMARY KEY (order_id, sku)",
    ),
    (
        "[tables.orders]\nnest.items = { table = 'items', columns = ['line'], order = ['sku'] }\n",
        ITEMS,
        "an element has no member with column sku alone, which is of order",
        "add sku",
        "",
    ),
    (
        "[tables.orders]\nnest.items = { table = 'items', order = ['price'] }\n",
        "CREATE TABLE items (order_id int REFERENCES orders, line int, price numeric, PRIMARY KEY (order_id, line));",
        "order: column price is of a type that elements cannot be ordered by",
        "order by integers, text, uuid, bool, dates or timestamps",
        "ALTER TABLE items ALTER price TYPE bigint",
    ),
    (
        "[tables.orders]\nnest.items = { table = 'items', as = 'map', member = '{sku}' }\n",
        "CREATE TABLE items (order_id int REFERENCES orders, line int, sku text, PRIMARY KEY (order_id, line)); ALTER TABLE items REPLICA IDENTITY FULL;",
        "member lacks column line of the key of table public.items (order_id, line)",
        "add {line} to it",
        "",
    ),
    (
        "[tables.orders]\nnest.items = { table = 'items', as = 'map', member = '{line}/{sku}' }\n",
        ITEMS,
        "member has column sku, which PostgreSQL does not send for a deleted row",
        "ALTER TABLE \"public\".\"items\" REPLICA IDENTITY FULL",
        "ALTER TABLE \"public\".\"items\" REPLICA IDENTITY FULL",
    ),
    (
        "[tables.orders]\nnest.items = { table = 'items', as = 'map', member = '{host}:{port}' }\n",
        "CREATE TABLE items (order_id int REFERENCES orders, host text, port text, PRIMARY KEY (order_id, host, port));",
        "member does not say where a column ends",
        "put a text between the columns",
        "ALTER TABLE items ALTER port TYPE int USING port::int",
    ),
    (
        "[tables.items]\nstandalone = false\n",
        ITEMS,
        "shapes.toml:1: tables.public.items: standalone = false, and no block nests the table",
        "",
        "",
    ),
    (
        "[tables.orders]\nvalue = '{note}'\nnest.items = { table = 'items' }\n",
        ITEMS,
        "shapes.toml:1: tables.public.orders: nest.items: value is a text",
        "",
        "",
    ),
    (
        "[tables.orders]\nnest.items = { table = 'items', orderd = ['line'] }\n",
        ITEMS,
        "shapes.toml:2: tables.public.orders: nest.items: unknown setting orderd, did you mean order?",
        "",
        "",
    ),
];

/// Tables made anew.
fn make(servers: &Servers, tables: &str) {
    servers
        .execute(&format!("DROP SCHEMA public CASCADE; CREATE SCHEMA public; {ORDERS} {tables}"));
}

fn refused(servers: &Servers, (blocks, _, problem, cure, sql): &Case) {
    let launch = with_blocks(servers, blocks);
    let (status, said) = launch.run();
    assert_eq!(status, 2, "{blocks}: {said}");
    assert!(said.contains(problem) && said.contains(cure), "{blocks}: {said}");
    let slots = servers.value("SELECT count(*) FROM pg_replication_slots");
    assert_eq!(slots.as_deref(), Some("0"), "{blocks}");
    assert!(servers.keys("").is_empty(), "{blocks}");
    let (status, report, said) = launch.ask(&["check"]);
    assert_ne!(status, 0, "{blocks}");
    assert!(report.contains(problem) || said.contains(problem), "{blocks}: {report}{said}");
    if !sql.is_empty() {
        servers.execute(sql);
        let (status, report, said) = launch.ask(&["check"]);
        assert_eq!(status, 0, "{sql}: {report}{said}");
    }
}

#[test]
fn what_the_tables_lack_is_refused_before_anything_is_made() {
    let servers = Servers::start();
    for case in &CASES {
        make(&servers, case.1);
        refused(&servers, case);
    }
}

#[test]
fn what_the_publication_lacks_is_refused_too() {
    let servers = Servers::start();
    make(&servers, ITEMS);
    servers.execute("CREATE PUBLICATION pg2etcd FOR TABLE orders");
    refused(
        &servers,
        &(
            NEST,
            "",
            "nest.items: table public.items is not published",
            "ALTER PUBLICATION ... ADD TABLE public.items",
            "ALTER PUBLICATION pg2etcd ADD TABLE public.items",
        ),
    );
    servers.execute("ALTER TABLE items DROP CONSTRAINT items_order_id_fkey");
    refused(
        &servers,
        &(
            NEST,
            "",
            "table public.items has no foreign key to table public.orders",
            "ALTER TABLE \"public\".\"items\" ADD FOREIGN KEY",
            "ALTER TABLE items ADD FOREIGN KEY (order_id) REFERENCES orders",
        ),
    );
    if !servers.has(15, "row filters and column lists") {
        return;
    }
    servers.execute("ALTER PUBLICATION pg2etcd SET TABLE orders WHERE (id > 5), items");
    refused(
        &servers,
        &(
            NEST,
            "",
            "nest.items: table public.orders has a row filter",
            "publish public.orders without WHERE",
            "ALTER PUBLICATION pg2etcd SET TABLE orders, items (order_id, line)",
        ),
    );
    let by_sku = "[tables.orders]\nnest.items = { table = 'items', order = ['sku'] }\n";
    refused(
        &servers,
        &(
            by_sku,
            "",
            "table public.items has no column sku",
            "name a column that is published",
            "ALTER PUBLICATION pg2etcd SET TABLE orders, items",
        ),
    );
}

#[test]
fn foreign_keys_of_partitions_and_domains() {
    let servers = Servers::start();
    if !servers.has(12, "foreign keys to partitioned tables") {
        return;
    }
    servers.execute(
        "CREATE DOMAIN number AS int; CREATE TYPE state AS ENUM ('new', 'old'); CREATE SCHEMA s;
         CREATE TABLE orders (id number, s state, PRIMARY KEY (id, s)) PARTITION BY RANGE (id);
         CREATE TABLE o1 PARTITION OF orders FOR VALUES FROM (0) TO (100);
         CREATE TABLE o2 PARTITION OF orders FOR VALUES FROM (100) TO (200);
         CREATE TABLE s.items (id bigint, order_id bigint, s state, line number, PRIMARY KEY (id, order_id, s),
             FOREIGN KEY (s, order_id) REFERENCES orders (s, id)) PARTITION BY HASH (id);
         CREATE TABLE s.i1 PARTITION OF s.items FOR VALUES WITH (MODULUS 1, REMAINDER 0);
         CREATE PUBLICATION pg2etcd FOR ALL TABLES WITH (publish_via_partition_root)",
    );
    let blocks = "[tables.orders]\nkey = '/o/{s}/{id}'\nnest.items = { table = 's.items', order = ['line'] }\n\
        [tables.\"s.items\"]\nstandalone = false\n";
    let launch = with_blocks(&servers, blocks);
    let (_, report, said) = launch.ask(&["check"]);
    for line in [
        "public.orders: its key is (id, s), in etcd /o/{s}/{id}",
        "s.items: its key is (id, order_id, s), nested in public.orders",
    ] {
        assert!(report.contains(line), "{report}{said}");
    }
    // As leaves they are tables of other names, which no foreign key of their own references.
    servers.execute("ALTER PUBLICATION pg2etcd SET (publish_via_partition_root = false)");
    let blocks = "[tables.o1]\nnest.items = { table = 's.i1' }\n";
    let (status, report, said) = with_blocks(&servers, blocks).ask(&["check"]);
    assert_ne!(status, 0);
    let problem = "tables.public.o1: nest.items: table s.i1 has no foreign key to table public.o1";
    assert!(report.contains(problem), "{report}{said}");
}
