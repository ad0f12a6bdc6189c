//! Shapes that the database does not allow.

use super::copy::with_blocks;
use crate::support::Servers;

#[test]
fn what_the_database_lacks_is_refused_before_anything_is_made() {
    let servers = Servers::start();
    servers.execute(
        "CREATE TABLE route (id int PRIMARY KEY, name text, n int); CREATE TABLE nokey (a int, b int);
         ALTER TABLE nokey REPLICA IDENTITY FULL; INSERT INTO route VALUES (1, 'a')",
    );
    for (blocks, problem, cure) in [
        (
            "[tables.rout]\n",
            "shapes.toml:1: tables.public.rout: there is no table public.rout, did you mean public.route?",
            "",
        ),
        (
            "\n[tables.route]\nkey = '/r/{id}'\ncolumns = ['nmae']\n",
            "shapes.toml:4: tables.public.route: the table has no column nmae, did you mean name?",
            "",
        ),
        (
            "\n[tables.route]\nkey = '/r/{name}'\n",
            "shapes.toml:2: tables.public.route: /r/{name} lacks column id",
            "add {id} to it",
        ),
        ("[tables.route]\nkeys.'/r/{id}' = ''\nkeys.'/s/{n}' = ''\n", "/s/{n} lacks column id", ""),
        (
            "[tables.route]\nkey = '/r/{id}/{n}'\n",
            "/r/{id}/{n} has column n, which PostgreSQL does not send",
            "ALTER TABLE \"public\".\"route\" REPLICA IDENTITY FULL",
        ),
        (
            "[tables.nokey]\nkey = '/n/{a}'\n",
            "shapes.toml:1: tables.public.nokey: it has neither a primary key",
            "",
        ),
        (
            "[tables.route]\nkey = '/copy/nokey/{id}'\n",
            "shapes.toml:1: tables.public.route: its keys would stand among those of table public.nokey",
            "",
        ),
        (
            "[tables.route]\nkey = '/r/{id}'\nvalue = '{doc}'\n",
            "shapes.toml:3: tables.public.route: the table has no column doc",
            "",
        ),
        (
            "[tables.route]\nkey = '/{id}'\n",
            "shapes.toml:2: tables.public.route: key: \"/{id}\" has to start with literal text",
            "",
        ),
        ("[tables.route]\nkey = '/.pg2etcd/pg2etcd/{id}'\n", "is for etcd.state_path", ""),
    ] {
        let launch = with_blocks(&servers, blocks);
        let (status, said) = launch.run();
        assert_eq!(status, 2, "{blocks}: {said}");
        assert!(said.contains(problem) && said.contains(cure), "{blocks}: {said}");
        let slots = servers.value("SELECT count(*) FROM pg_replication_slots");
        let publications = servers.value("SELECT count(*) FROM pg_publication");
        assert_eq!((slots.as_deref(), publications.as_deref()), (Some("0"), Some("0")), "{blocks}");
        assert!(servers.keys("").is_empty(), "{blocks}");
        let (status, report, said) = launch.ask(&["check"]);
        assert_ne!(status, 0, "{blocks}");
        assert!(report.contains(problem) || said.contains(problem), "{blocks}: {report}{said}");
    }
    // With a publication there too.
    servers.execute(
        "ALTER TABLE nokey ADD PRIMARY KEY (a); CREATE PUBLICATION pg2etcd FOR TABLE nokey",
    );
    let (status, said) = with_blocks(&servers, "[tables.route]\nkey = '/r/{id}'\n").run();
    assert_eq!(status, 2, "{said}");
    assert!(
        said.contains("tables.public.route: the table is not in publication pg2etcd"),
        "{said}"
    );
}

#[test]
fn the_settings_are_printed_with_their_places() {
    let servers = Servers::start();
    let launch = with_blocks(
        &servers,
        "[tables.route]\nkey = '/r/{id}'\nvalue = { a = '{n}', b = { c = [1, 2.5] } }\n",
    );
    let (status, printed, said) = launch.ask(&["config"]);
    assert_eq!(status, 0, "{said}");
    let place = servers.folder.join("shapes.toml").display().to_string();
    for line in [
        format!("[tables.\"public.route\"]  # {place}:1"),
        format!("key = \"/r/{{id}}\"  # {place}:2"),
        format!("value = {{ \"a\" = \"{{n}}\", \"b\" = {{ \"c\" = [1, 2.5] }} }}  # {place}:3"),
    ] {
        assert!(printed.lines().any(|printed| printed == line), "{line}\n{printed}");
    }
}
