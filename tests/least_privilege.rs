//! Roles that may do hardly more than they must, and what they are told when that is too little.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::refusals::refused;
use crate::support::{Launch, Servers, wait_for, wait_until};

/// A database in which nothing is granted to everyone, and whose tables belong to `keeper`.
const LOCKED: &str = "
    REVOKE ALL ON DATABASE shop FROM PUBLIC; REVOKE ALL ON SCHEMA public FROM PUBLIC;
    CREATE ROLE keeper; GRANT CREATE ON DATABASE shop TO keeper; GRANT ALL ON SCHEMA public TO keeper;
    CREATE SCHEMA sales AUTHORIZATION keeper;
    SET ROLE keeper;
    CREATE TABLE customers (id int PRIMARY KEY, name text, note text);
    ALTER TABLE customers ALTER note SET STORAGE EXTERNAL;
    INSERT INTO customers SELECT n, 'customer ' || n, repeat('x', 3000) FROM generate_series(1, 50) n;
    CREATE TABLE sales.orders (id int PRIMARY KEY, customer int);
    INSERT INTO sales.orders SELECT n, n % 50 FROM generate_series(1, 200) n;
    CREATE TABLE sales.late (id int PRIMARY KEY); INSERT INTO sales.late VALUES (1);
    CREATE TABLE secret (id int PRIMARY KEY); INSERT INTO secret VALUES (1);
    RESET ROLE";

fn locked(hba: &str) -> Servers {
    let servers = Servers::with_hba(hba, &[]);
    servers.execute("CREATE DATABASE shop");
    servers.sql_on("shop").batch_execute(LOCKED).unwrap();
    servers
}

fn launch(servers: &Servers, role: &str) -> Launch {
    let launch = servers.daemon().set("database.name", "shop").set("database.user", role);
    launch.set("sync.catalog_period", "200ms")
}

/// The SQL of pg2etcd(8): what a superuser runs, and what the owner of the tables does.
fn documented() -> (&'static str, &'static str) {
    let page = include_str!("../man/pg2etcd.8");
    let (_, section) = page.split_once(".Ss The least that the role needs\n").unwrap();
    let (_, literal) = section.split_once(".Bd -literal -offset indent\n").unwrap();
    let (sql, _) = literal.split_once(".Ed\n").unwrap();
    sql.split_at(sql.find("CREATE PUBLICATION").unwrap())
}

/// Waits until the keys are the rows of these tables, each with what stands for it in a key.
#[track_caller]
fn await_copy(servers: &Servers, tables: &[(&str, &str)]) {
    wait_for("etcd to be a copy", || {
        let mut rows = BTreeMap::new();
        for (table, name) in tables {
            let sql =
                format!("SELECT '/copy/{name}/' || id, row_to_json(t)::text FROM ONLY {table} t");
            let found = servers.sql_on("shop").query(&sql, &[]).unwrap();
            rows.extend(found.iter().map(|row| (row.get(0), json(row.get(1)))));
        }
        let keys: BTreeMap<String, Value> =
            servers.keys("/copy/").into_iter().map(|(key, value)| (key, json(&value))).collect();
        if keys == rows { Ok(()) } else { Err(format!("{} rows, {} keys", rows.len(), keys.len())) }
    });
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect(text)
}

#[test]
fn the_documented_role_can_do_all_of_it() {
    // No line lets the role into another database, nor into `replication`.
    let servers =
        locked("host shop pg2etcd all scram-sha-256\nhost all,replication pg2etcd all reject");
    let mut sql = servers.sql_on("shop");
    let (by_superuser, by_owner) = documented();
    sql.batch_execute(&format!("SET password_encryption = 'scram-sha-256'; {by_superuser}"))
        .unwrap();
    sql.batch_execute(&format!("SET ROLE keeper; {by_owner}; RESET ROLE")).unwrap();
    let tables = [("customers", "customers"), ("sales.orders", "sales.orders")];

    let launch = launch(&servers, "pg2etcd").set("database.password", "change me");
    let mut daemon = launch.start();
    daemon.await_line("Dump finished");
    await_copy(&servers, &tables);
    sql.batch_execute(
        "UPDATE customers SET name = name || '!' WHERE id % 2 = 0; DELETE FROM sales.orders WHERE id > 100;
         INSERT INTO sales.orders VALUES (1000, 1); UPDATE sales.orders SET id = -id WHERE id < 10",
    )
    .unwrap();
    await_copy(&servers, &tables);

    servers.delete("/copy/customers/1");
    servers.put("/copy/sales.orders/stray", "{}");
    assert_eq!(launch.clone().argument("resync").run().0, 0);
    await_copy(&servers, &tables);
    // A table that it may not read yet does not keep the others from going on.
    sql.batch_execute("ALTER PUBLICATION pg2etcd ADD TABLE sales.late").unwrap();
    let line = daemon.await_line("may not read sales.late");
    assert!(line.contains(r#"run GRANT SELECT ON "sales"."late" TO "pg2etcd""#), "{line}");
    sql.batch_execute("UPDATE customers SET name = 'x' WHERE id = 3").unwrap();
    await_copy(&servers, &tables);
    sql.batch_execute(&cure(&line)).unwrap();
    let tables = [tables[0], tables[1], ("sales.late", "sales.late")];
    await_copy(&servers, &tables);
    daemon.stop();

    sql.batch_execute("TRUNCATE sales.orders; DELETE FROM customers WHERE id = 7").unwrap();
    sql.batch_execute("SELECT pg_drop_replication_slot('pg2etcd')").unwrap();
    let mut daemon = launch.start();
    daemon.await_line("Redumping: replication slot pg2etcd does not exist");
    daemon.await_line("Dump finished");
    await_copy(&servers, &tables);
    assert!(!servers.position().unwrap().made_publication);
    assert_eq!(daemon.stop().matches("ERROR").count(), 0);
}

/// The statement that a message says to run.
fn cure(log: &str) -> String {
    let (_, statement) = log.rsplit_once("run ").expect(log);
    statement.split("; ").next().unwrap().trim_end().to_owned()
}

/// It must be refused for this reason, until what it says to run is run.
#[track_caller]
fn cured(servers: &Servers, launch: &Launch, problem: &str, statement: &str) {
    let slots = || servers.value("SELECT count(*) FROM pg_replication_slots");
    let log = refused(servers, launch, &[problem, statement]);
    assert_eq!(slots().as_deref(), Some("0"), "a slot was made:\n{log}");
    servers.sql_on("shop").batch_execute(&cure(&log)).expect(&log);
}

#[test]
fn each_missing_grant_is_named_and_its_statement_is_the_cure() {
    let servers = locked("");
    let mut sql = servers.sql_on("shop");
    sql.batch_execute("CREATE ROLE \"Bare one\" LOGIN").unwrap();
    let launch = launch(&servers, "Bare one");

    cured(&servers, &launch, "SQLSTATE 42501", "run ALTER ROLE \"Bare one\" REPLICATION");
    let connect = "run GRANT CONNECT ON DATABASE \"shop\" TO \"Bare one\"";
    cured(&servers, &launch, "SQLSTATE 42501", connect);

    // The publication is missing.
    let all = "let a superuser run CREATE PUBLICATION \"pg2etcd\" FOR ALL TABLES";
    refused(&servers, &launch, &["may not make a publication for all tables", all]);
    let own = launch.clone().set("sync.tables", "sales.orders").set("sync.publication", "own");
    let by_owner = "let the owner of the tables, or a superuser, run CREATE PUBLICATION \"own\" FOR \
                    TABLE \"sales\".\"orders\"";
    refused(&servers, &own, &["role Bare one does not own sales.orders", by_owner]);
    sql.batch_execute("GRANT USAGE ON SCHEMA sales TO \"Bare one\"").unwrap();
    sql.batch_execute("ALTER TABLE sales.orders OWNER TO \"Bare one\"").unwrap();
    let create = "run GRANT CREATE ON DATABASE \"shop\" TO \"Bare one\"";
    cured(&servers, &own, "may not make a publication in database shop", create);
    sql.batch_execute("REVOKE USAGE ON SCHEMA sales FROM \"Bare one\"").unwrap();
    let usage = "run GRANT USAGE ON SCHEMA \"sales\" TO \"Bare one\"";
    cured(&servers, &own, "may not use schema sales", usage);
    let mut daemon = own.start();
    daemon.await_line("Made publication own");
    await_copy(&servers, &[("sales.orders", "sales.orders")]);
    daemon.stop();
    servers.delete("/.pg2etcd/pg2etcd/checkpoint");
    sql.batch_execute(
        "SELECT pg_drop_replication_slot('pg2etcd');
         ALTER TABLE sales.orders OWNER TO keeper; REVOKE ALL ON SCHEMA sales FROM \"Bare one\";
         REVOKE ALL ON DATABASE shop FROM \"Bare one\"; GRANT CONNECT ON DATABASE shop TO \"Bare one\"",
    )
    .unwrap();

    // The publication is there. Nobody need read a table without a key, since it is left out.
    sql.batch_execute(
        "CREATE TABLE keyless (id int);
         CREATE PUBLICATION pg2etcd FOR TABLE sales.orders, sales.late, customers, keyless",
    )
    .unwrap();
    let both = "run GRANT USAGE ON SCHEMA \"public\", \"sales\" TO \"Bare one\"";
    let log = refused(&servers, &launch, &["may not use schema public, sales", both]);
    assert!(!log.contains("keyless") && !log.contains("secret"), "{log}");
    sql.batch_execute("GRANT USAGE ON SCHEMA public, sales TO \"Bare one\"").unwrap();
    let tables = "\"public\".\"customers\", \"sales\".\"late\", \"sales\".\"orders\"";
    let select = format!("run GRANT SELECT ON {tables} TO \"Bare one\"");
    let problem = "may not read public.customers, sales.late, sales.orders";
    cured(&servers, &launch, problem, &select);
    sql.batch_execute(
        "ALTER TABLE sales.orders ENABLE ROW LEVEL SECURITY;
         CREATE POLICY few ON sales.orders USING (id < 10)",
    )
    .unwrap();
    let bypass = "run ALTER ROLE \"Bare one\" BYPASSRLS";
    cured(&servers, &launch, "row security hides rows of sales.orders", bypass);
    if servers.has(15, "column lists") {
        sql.batch_execute(
            "REVOKE SELECT ON customers FROM \"Bare one\"; GRANT SELECT (id) ON customers TO \"Bare one\";
             ALTER PUBLICATION pg2etcd DROP TABLE customers; ALTER PUBLICATION pg2etcd ADD TABLE customers (id, name)",
        )
        .unwrap();
        let column = "run GRANT SELECT (\"name\") ON \"public\".\"customers\" TO \"Bare one\"";
        cured(&servers, &launch, "may not read name of public.customers", column);
    }
    launch.start().await_line("Dump finished");
    wait_until("all orders", || servers.keys("/copy/sales.orders/").len() == 200);
    assert_eq!(servers.keys("/copy/customers/").len(), 50);
}
