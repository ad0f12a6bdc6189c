//! The examples for those who read etcd: what each of them gives is what that software's
//! documentation asks for.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::copy::with_blocks;
use crate::support::{Servers, canonical, caught_up};

const NAMES: [&str; 5] = ["apisix", "confd", "coredns", "patroni", "traefik"];

/// What stands in etcd then, by the documentation of each.
const EXPECTED: [(&str, &str); 19] = [
    // APISIX, Admin API, "Route": the object with its id; unset fields are not there.
    (
        "/apisix/routes/1",
        r#"{"id":"1","uri":"/*","plugins":{},"status":1,"upstream":{"type":"roundrobin","nodes":[{"host":"192.0.2.1","port":80,"weight":1}]}}"#,
    ),
    (
        "/apisix/routes/shop",
        r#"{"id":"shop","name":"The shop","uri":"/shop/*","host":"example.org","methods":["GET","POST"],"plugins":{"limit-count":{"count":2,"time_window":60}},"status":1,"upstream":{"type":"roundrobin","nodes":[{"host":"192.0.2.2","port":80,"weight":5}]}}"#,
    ),
    // confd, "Quick Start Guide".
    ("/myapp/database/url", "db.example.org:5432"),
    ("/myapp/database/user", "rob"),
    ("/myapp/upstream/app1", "192.0.2.1:80"),
    // CoreDNS, plugin etcd, "Examples": labels in reverse order, and a name of its own for each record.
    (
        "/skydns/org/example/_tcp/_sip/x1",
        r#"{"host":"sip.example.org","port":5060,"priority":10,"ttl":60}"#,
    ),
    ("/skydns/org/example/www/x1", r#"{"host":"192.0.2.1","ttl":300}"#),
    ("/skydns/org/example/www/x2", r#"{"host":"192.0.2.2","ttl":300}"#),
    ("/skydns/org/example/x1", r#"{"text":"v=spf1 -all","ttl":300}"#),
    // Patroni, "Dynamic Configuration Settings": the object under the scope's config.
    (
        "/service/batman/config",
        r#"{"ttl":30,"loop_wait":10,"postgresql":{"parameters":{"work_mem":"8MB"}}}"#,
    ),
    // Traefik, "Dynamic Configuration with KV stores": a key a field.
    ("traefik/http/routers/all/entryPoints/0", "web"),
    ("traefik/http/routers/all/rule", "PathPrefix(`/`)"),
    ("traefik/http/routers/all/service", "shop"),
    ("traefik/http/routers/shop/entryPoints/0", "web"),
    ("traefik/http/routers/shop/priority", "10"),
    ("traefik/http/routers/shop/rule", "Host(`shop.example.org`)"),
    ("traefik/http/routers/shop/service", "shop"),
    ("traefik/http/services/shop/loadBalancer/servers/0/url", "http://192.0.2.1:8080"),
    ("traefik/http/services/shop/loadBalancer/servers/1/url", "http://192.0.2.2:8080"),
];

/// Keys that those who read put there themselves.
const THEIRS: [&str; 4] = [
    "/apisix/routes/",
    "/service/batman/leader",
    "/service/batman/members/a",
    "traefik/http/middlewares/x/y",
];

#[test]
fn each_gives_what_its_reader_asks_for() {
    let servers = Servers::start();
    let file = |name: &str, ending: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
        fs::read_to_string(path.join(format!("{name}.{ending}"))).expect(name)
    };
    NAMES.iter().for_each(|name| servers.execute(&file(name, "sql")));
    THEIRS.iter().for_each(|key| servers.put(key, "theirs"));
    let launch = with_blocks(&servers, &NAMES.map(|name| file(name, "toml")).concat());
    let mut daemon = launch.start();
    daemon.await_line("Resuming from ");
    let mut expected: BTreeMap<_, _> = EXPECTED.into_iter().collect();
    expected.extend(THEIRS.map(|key| (key, "theirs")));
    assert_equal(&servers, &expected);

    servers.execute(
        "UPDATE patroni_config SET config = jsonb_set(config, '{postgresql,parameters,work_mem}', '\"16MB\"');
         UPDATE traefik_router SET priority = NULL WHERE name = 'shop'; DELETE FROM dns_record WHERE id = 2;
         UPDATE apisix_route SET host = 'shop.example.org', name = NULL WHERE id = 'shop'; UPDATE app_setting SET path = 'x' WHERE value = 'rob'",
    );
    caught_up(&servers);
    expected.insert(
        "/service/batman/config",
        r#"{"ttl":30,"loop_wait":10,"postgresql":{"parameters":{"work_mem":"16MB"}}}"#,
    );
    expected.insert("/apisix/routes/shop", r#"{"id":"shop","uri":"/shop/*","host":"shop.example.org","methods":["GET","POST"],"plugins":{"limit-count":{"count":2,"time_window":60}},"status":1,"upstream":{"type":"roundrobin","nodes":[{"host":"192.0.2.2","port":80,"weight":5}]}}"#);
    for gone in
        ["traefik/http/routers/shop/priority", "/skydns/org/example/www/x2", "/myapp/database/user"]
    {
        expected.remove(gone).expect(gone);
    }
    expected.insert("/myapp/x", "rob");
    assert_equal(&servers, &expected);
    daemon.stop();
}

#[track_caller]
fn assert_equal(servers: &Servers, expected: &BTreeMap<&str, &str>) {
    let mut found = servers.keys("");
    found.retain(|key, _| !key.starts_with("/.pg2etcd/"));
    let text = |value: &str| match value.starts_with('{') {
        // `jsonb` has an order of its own.
        true => {
            serde_json::from_str::<serde_json::Value>(&canonical(value)).expect(value).to_string()
        }
        false => value.to_owned(),
    };
    let found: BTreeMap<_, _> =
        found.iter().map(|(key, value)| (key.as_str(), text(value))).collect();
    let expected: BTreeMap<_, _> =
        expected.iter().map(|(key, value)| (*key, text(value))).collect();
    assert_eq!(found, expected);
}
