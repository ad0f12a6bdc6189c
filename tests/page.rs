//! The page at `status.listen`, and `/status.json`: over HTTP, and in a real browser.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{
    Browser, Daemon, Pages, Part, Proxy, SCHEMA, Servers, caught_up, wait_for, wait_until,
};

/// Names of tables that would be more than names if they were not escaped: of one that is copied, and of one that is not.
const EVIL: [&str; 2] =
    ["<script>document.title='evil'</script>", "<img src=x onerror=document.title='evil'>"];
/// Names the folder where pictures go that are to show something. They take two minutes.
const PICTURE: &str = "PG2ETCD_TEST_PICTURE";

impl Pages {
    fn report(&self) -> Value {
        let answer = self.get("/status.json");
        assert!(answer.head.contains("Content-Type: application/json"), "{}", answer.head);
        serde_json::from_str(&answer.body).expect(&answer.body)
    }

    /// Waits until a member, named as JSON pointers are, is as it should be, and returns it.
    #[track_caller]
    fn await_member(&self, pointer: &str, condition: impl Fn(&Value) -> bool) -> Value {
        wait_for(pointer, || {
            let report = self.report();
            let value = report.pointer(pointer).unwrap_or(&Value::Null);
            if condition(value) { Ok(value.clone()) } else { Err(report.to_string()) }
        })
    }
}

fn table<'r>(report: &'r Value, name: &str) -> &'r Value {
    let mut tables = report["tables"].as_array().unwrap().iter();
    tables.find(|table| table["name"] == name).unwrap_or_else(|| panic!("no {name} in {report}"))
}

/// Servers whose publication has a table that cannot be copied, and the daemon.
fn start(settings: &[(&str, &str)]) -> (Servers, Daemon, Pages) {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    servers.execute("CREATE TABLE keyless (n int); CREATE PUBLICATION pg2etcd FOR ALL TABLES");
    let mut launch = servers.daemon().set("status.listen", "127.0.0.1:0");
    for (name, value) in settings {
        launch = launch.set(name, value);
    }
    let mut daemon = launch.start();
    let pages = daemon.pages();
    daemon.await_line("Resuming from ");
    (servers, daemon, pages)
}

#[test]
fn the_numbers_are_those_of_the_copy() {
    let password = [("database.password", "hush-1"), ("status.table_metrics", "false")];
    let (servers, daemon, pages) = start(&password);
    let first = pages.await_member("", |report| report["table_count"] == 3);
    for (name, value) in [
        ("version", env!("CARGO_PKG_VERSION").into()),
        ("phase", "sync".into()),
        ("healthy", true.into()),
        ("unhealthy", Value::Null),
        ("error", Value::Null),
        ("dump", Value::Null),
        ("slot", "pg2etcd".into()),
        ("publication", "pg2etcd".into()),
        ("path", "/copy/".into()),
        ("hosts", vec![format!("127.0.0.1:{}", servers.pg_port)].into()),
        ("endpoints", vec![format!("127.0.0.1:{}", servers.etcd_port)].into()),
    ] {
        assert_eq!(first[name], value, "{name} in {first}");
    }
    assert_eq!(table(&first, "public.account")["rows"], 20);
    assert_eq!(table(&first, "public.account")["changed_at"], Value::Null);
    // What stands against it comes first, with the reason, and makes it unready.
    let keyless = &first["tables"][0];
    assert_eq!(
        (&keyless["name"], &keyless["state"]),
        (&"public.keyless".into(), &"left_out".into())
    );
    assert!(keyless["reason"].as_str().unwrap().contains("key"), "{keyless}");
    assert!(first["unready"].as_str().unwrap().contains("table=\"public.keyless\""), "{first}");
    let warned = first["log"].as_array().unwrap().iter().any(|line| {
        line["level"] == "warn" && line["message"].as_str().unwrap().contains("public.keyless")
    });
    assert!(warned, "{first}");

    servers.execute("INSERT INTO part SELECT n, 'new', 1, 'x' FROM generate_series(200, 229) n");
    servers.execute("DELETE FROM part WHERE name = 'new' AND number < 210");
    servers.execute("TRUNCATE account");
    caught_up(&servers);
    let changed = |value: &Value| {
        value
            .as_array()
            .unwrap()
            .iter()
            .any(|table| table["name"] == "public.part" && table["changed_at"].is_string())
    };
    pages.await_member("/tables", changed);
    let report = pages.report();
    assert_eq!(report["totals"]["transactions"], 3, "{report}");
    assert_eq!(report["totals"]["changes"], 41, "{report}");
    // The server's own WAL may have moved both meanwhile.
    pages.await_member("", |report| report["position"] == report["received_lsn"]);
    let part = table(&report, "public.part");
    assert_eq!((&part["rows"], &part["changes"]), (&120.into(), &40.into()), "{report}");
    assert_eq!(table(&report, "public.account")["rows"], 0, "{report}");
    assert_eq!(part["state"], "copied");
    // The samples tell of it too, each in its place.
    let sum = |samples: &Value, name: &str| -> f64 {
        samples[name].as_array().unwrap().iter().map(|value| value.as_f64().unwrap_or(0.0)).sum()
    };
    let samples =
        pages.await_member("/samples", |samples| sum(samples, "changes_per_second") > 15.0);
    assert!(sum(&samples, "transactions_per_second") > 1.0, "{samples}");
    let lengths = ["lag_seconds", "txns_per_second", "txn_seconds"]
        .map(|name| samples[name].as_array().unwrap().len());
    assert_eq!(lengths, [samples["changes_per_second"].as_array().unwrap().len(); 3]);
    assert!(sum(&samples, "txn_seconds") > 0.0, "{samples}");

    let page = pages.get("/");
    assert_eq!(page.status, 200);
    for part in ["Content-Type: text/html; charset=utf-8", "default-src 'none'", "nosniff"] {
        assert!(page.head.contains(part), "{part}: {}", page.head);
    }
    for part in
        ["public.keyless", ">120<", "not ready", &format!("127.0.0.1:{}", servers.etcd_port)]
    {
        assert!(page.body.contains(part), "{part}: {}", page.body);
    }
    // It asks nobody else, and is no larger than a page has to be.
    assert!(!page.body.contains("://"), "{}", page.body);
    assert!(page.body.len() < 64 << 10);
    assert!(!page.body.contains("hush") && !report.to_string().contains("hush"));
    let head = pages.ask(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(head.body.is_empty() && head.head.contains("Content-Security-Policy: "), "{head:?}");
    daemon.stop();
}

#[test]
fn a_dump_says_how_far_it_is_and_a_standby_claims_nothing() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    servers.execute(
        "INSERT INTO part SELECT n, 'w', 1, repeat('x', 900) FROM generate_series(1, 6000) n; ANALYZE",
    );
    let proxy = Proxy::before(servers.etcd_port);
    proxy.throttle(100_000);
    let launch = servers.daemon().set("status.listen", "127.0.0.1:0");
    let endpoint = format!("127.0.0.1:{}", proxy.port);
    let mut daemon = launch.clone().set("etcd.endpoints", endpoint).start();
    let pages = daemon.pages();
    pages.await_member("/dump/rows", |rows| rows.as_u64().is_some_and(|rows| rows >= 256));
    let report = pages.report();
    assert_eq!(report["phase"], "dump", "too late to see the dump");
    assert_eq!(report["dump"]["estimated_rows"], 6120, "{report}");
    assert_eq!(table(&report, "public.account")["state"], "copied", "{report}");
    assert_eq!(table(&report, "public.part")["state"], "dumping", "{report}");
    assert!(pages.get("/").body.contains(" of about 6120 rows"));
    proxy.throttle(None);
    pages.await_member("/phase", |phase| phase == "sync");
    assert_eq!(table(&pages.report(), "public.part")["rows"], 6100);

    let mut standby = launch.start();
    let pages = standby.pages();
    pages.await_member("/phase", |phase| phase == "standby");
    let report = pages.report();
    assert_eq!(report["position"], Value::Null, "{report}");
    assert_eq!(report["lag_seconds"], Value::Null, "{report}");
    assert_eq!(report["ready"], false, "{report}");
    assert!(report["error"].as_str().unwrap().contains("pg2etcd"), "{report}");
    standby.stop();
    daemon.stop();
}

#[test]
fn a_browser_shows_what_happens() {
    let (servers, daemon, pages) = start(&[("sync.catalog_period", "500ms")]);
    let Some(mut browser) = Browser::start(&servers.folder) else { return };
    let address = format!("http://{}/", pages.address);
    let busy = AtomicBool::new(true);
    thread::scope(|scope| {
        scope.spawn(|| transactions(&servers, &busy));
        // Also when the test fails.
        let idle = Idle(&busy);
        browser.open(&address, (1100, 900));
        // The numbers move, and the graphs are drawn.
        browser.await_true(&format!("{} > 100", field_number("totals")));
        let before = browser.evaluate(&field_number("totals")).as_f64().unwrap();
        browser.await_true(&format!("{} > {before}", field_number("totals")));
        browser.await_true("document.querySelectorAll('#rate path')[0].getTotalLength() > 1");
        browser.await_true("document.querySelectorAll('#latency path')[0].getTotalLength() > 0");
        browser.await_true(
            "parseFloat(document.querySelector('[data-field=changes]').textContent) > 0",
        );
        browser.await_true("[...document.querySelectorAll('#tables tr')].some(row => \
             row.innerText.includes('public.part') && /20\\d\\d-\\d\\d-\\d\\d/.test(row.innerText))");
        await_a_view(&mut browser, &servers);
        save_picture(&mut browser, "page.png");
        drop(idle);
    });

    // Names do nothing.
    let [copied, left_out] = EVIL;
    servers.execute(&format!("CREATE TABLE \"{copied}\" (id int PRIMARY KEY)"));
    servers.execute(&format!("CREATE TABLE \"{left_out}\" (n int)"));
    servers.execute(&format!("INSERT INTO \"{copied}\" VALUES (1)"));
    let has = |id: &str, text: &str| {
        format!("document.getElementById('{id}').innerText.includes(\"{text}\")")
    };
    browser.await_true(&has("log", left_out));
    for scripts in [true, false] {
        browser.allow_scripts(scripts);
        browser.open(&address, (1100, 900));
        browser.await_true(&has("tables", copied));
        browser.await_true(&has("tables", left_out));
        let elements = "document.scripts.length + document.images.length";
        assert_eq!(browser.evaluate(elements), 1, "scripts run: {scripts}");
        assert!(browser.evaluate("document.title").as_str().unwrap().starts_with("pg2etcd: sync"));
        // Without scripts there are numbers, and no graphs.
        assert!(browser.evaluate(&field_number("totals")).as_f64().unwrap() > 100.0);
        assert_eq!(browser.evaluate("!document.querySelector('.graphs').hidden"), scripts);
    }
    browser.allow_scripts(true);

    // A phone, by night.
    let back = "getComputedStyle(document.body).backgroundColor";
    browser.prefer("light");
    let day = browser.evaluate(back);
    browser.prefer("dark");
    browser.open(&address, (360, 740));
    assert_ne!(browser.evaluate(back), day);
    browser.await_true("document.documentElement.scrollWidth <= 360");
    let heights = "[...document.querySelectorAll('#tables tr')].map(row => row.offsetHeight)";
    browser.await_true(&format!("Math.max(...{heights}) < 300"));
    browser.await_true("!document.querySelector('.graphs').hidden");
    save_picture(&mut browser, "page-on-a-phone.png");

    // An etcd that is away, and is back.
    servers.execute(&format!("DROP TABLE \"{left_out}\"; DROP TABLE IF EXISTS keyless"));
    pages.await_answer("/readyz", None);
    browser.await_true("document.body.dataset.verdict === 'ready'");
    servers.kill(Part::Etcd);
    servers.execute("UPDATE account SET version = version + 1");
    browser.await_true("document.body.dataset.verdict === 'not ready'");
    browser.await_true("document.querySelector('.trouble').innerText.includes('etcd')");
    browser.await_true("document.getElementById('log').innerText.includes('etcd')");
    browser.await_true("document.querySelectorAll('#lag path')[0].getBBox().height > 10");
    servers.restart(Part::Etcd, &[]);
    browser.await_true("document.body.dataset.verdict === 'ready'");
    browser.await_true("document.querySelector('.trouble').innerText === ''");

    // It asked its own server and nobody else, and was let do all that it did.
    let asked = browser.asked_for();
    assert!(asked.len() > 10, "{asked:?}");
    for asked in asked {
        assert!(asked.starts_with(&address) || asked.starts_with("data:"), "{asked}");
    }
    assert_eq!(browser.complaints(), [""; 0]);

    // What does not answer is not shown as if it did.
    daemon.stop();
    browser.await_true("document.body.dataset.verdict === 'gone'");
    browser.await_true("document.querySelector('.trouble').innerText.includes('does not answer')");
}

/// The first number in a field of the page, as an expression.
fn field_number(name: &str) -> String {
    format!("parseFloat(document.querySelector('[data-field={name}]').textContent)")
}

/// Has the load end.
struct Idle<'a>(&'a AtomicBool);

impl Drop for Idle<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

/// One small transaction after the other, in waves.
fn transactions(servers: &Servers, busy: &AtomicBool) {
    let mut sql = servers.sql();
    for number in 0_u64.. {
        if !busy.load(Ordering::SeqCst) {
            return;
        }
        let (one, other) = (number % 20 + 1, (number * 7 + 3) % 20 + 1);
        sql.batch_execute(&format!(
            "BEGIN; UPDATE account SET balance = balance - 1 WHERE id = {one}; \
             UPDATE account SET balance = balance + 1 WHERE id = {other}; COMMIT; \
             UPDATE part SET price = {number} WHERE number = {}",
            number % 100 + 1
        ))
        .unwrap();
        thread::sleep(Duration::from_millis(10 + 8 * (number / 64 % 8)));
    }
}

/// Waits for graphs of some length, and for a page without troubles, if a picture is wanted.
fn await_a_view(browser: &mut Browser, servers: &Servers) {
    if std::env::var_os(PICTURE).is_some() {
        let begin = Instant::now();
        servers.execute("DROP TABLE keyless");
        wait_until("a graph of some length", || begin.elapsed() > Duration::from_secs(110));
        browser.await_true("document.body.dataset.verdict === 'ready'");
    }
}

/// Makes a picture of the page, and puts it where cargo has temporary files, and where one is wanted.
fn save_picture(browser: &mut Browser, name: &str) {
    let picture = browser.picture();
    assert!(picture.starts_with(b"\x89PNG") && picture.len() > 10_000, "{} bytes", picture.len());
    let folders = [Some(env!("CARGO_TARGET_TMPDIR").into()), std::env::var_os(PICTURE)];
    for folder in folders.into_iter().flatten().map(PathBuf::from) {
        fs::write(folder.join(name), &picture).unwrap();
    }
}
