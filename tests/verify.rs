//! `verify`: what it finds, and what it does not take for a difference.

use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use postgres::Client;
use postgres::error::SqlState;
use rustix::process::Signal;

use crate::support::{Launch, Random, SCHEMA, Servers, assert_equal, wait_until};

/// Exit status, and the lines of the result.
#[track_caller]
fn verified(launch: &Launch, tables: &[&str]) -> (i32, Vec<String>, String) {
    let (status, result, message) = launch.ask(&[&["verify"], tables].concat());
    (status, result.lines().map(str::to_owned).collect(), message)
}

#[test]
fn what_differs_is_found_and_nothing_else() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    servers.execute(
        "CREATE TABLE odd (a bpchar(3), b bool, c timestamptz, d float8, PRIMARY KEY (a, b, c, d));
         INSERT INTO odd VALUES ('a', true, '2020-01-02', 1e100), ('', false, 'infinity', 'NaN'),
            (E'\\\\''', true, '2020-01-02', 0.1);
         CREATE TABLE gone (id int PRIMARY KEY); INSERT INTO gone VALUES (1), (2);
         CREATE SCHEMA other; CREATE TABLE other.many (id int PRIMARY KEY);
         INSERT INTO other.many SELECT generate_series(1, 2500)",
    );
    let launch = servers.daemon();
    let (status, lines, message) = verified(&launch, &[]);
    assert_eq!((status, lines.len()), (2, 0), "{message}");
    let mut daemon = launch.start();
    daemon.await_line("Dump finished");
    assert_equal(&servers, &["account", "part", "odd", "gone", "other.many"]);
    for tables in [&[][..], &["account"], &["public.account", "part"], &["other.many"]] {
        let (status, lines, message) = verified(&launch, tables);
        assert_eq!((status, lines.len()), (0, 0), "{message}");
        assert!(message.contains("0 differ"), "{message}");
    }
    for unknown in ["nowhere", "other.account", "many", "a.b.c", ""] {
        let (status, lines, message) = verified(&launch, &["account", unknown]);
        assert_eq!((status, lines.len()), (2, 0), "{unknown}: {message}");
    }

    for key in ["/copy/account/5", "/copy/account/stray", "/copy/account/21", "/copy/part/1/2/3"] {
        servers.put(key, "{}");
    }
    servers.put("/copy/part/a%2Fb%251/x\ny", "{}");
    servers.put("/copy/elsewhere/1", "{}");
    let keys = [
        "/copy/account/6",
        "/copy/part/a%2Fb%251/1",
        "/copy/odd/a  /t/2020-01-02 00:00:00+00/1e+100",
    ];
    for key in keys {
        assert!(servers.keys(key).contains_key(key), "{key}");
        servers.delete(key);
    }
    let expected = [
        "differs /copy/account/5",
        "missing /copy/account/6",
        "stale /copy/account/21",
        "stale /copy/account/stray",
        "missing /copy/odd/a  /t/2020-01-02 00:00:00+00/1e+100",
        "stale /copy/part/1/2/3",
        "missing /copy/part/a%2Fb%251/1",
        "stale /copy/part/a%2Fb%251/x\\ny",
    ];
    let sorted = |mut lines: Vec<String>| {
        lines.sort();
        lines
    };
    let (status, lines, message) = verified(&launch, &[]);
    assert_eq!(status, 1, "{message}");
    assert_eq!(sorted(lines), sorted(expected.map(str::to_owned).to_vec()));
    assert!(message.contains("8 differ"), "{message}");
    let (status, lines, _) = verified(&launch, &["account"]);
    assert_eq!((status, lines.len()), (1, 4));
    assert_eq!(verified(&launch, &["other.many"]).0, 0);

    // More than is held at once; and a reader that does not read on.
    let range = ["del", "/copy/other.many/1", "/copy/other.many/9"];
    assert!(servers.etcdctl().args(range).output().unwrap().status.success());
    let (status, lines, message) = verified(&launch, &["other.many"]);
    assert_eq!(status, 1, "{message}");
    let found = servers.keys("/copy/other.many/").len();
    assert_eq!(lines.len(), 2500 - found);
    assert!(lines.len() > 2000 && lines.iter().all(|line| line.starts_with("missing ")));
    let mut deaf = launch.command(&["verify", "other.many"]);
    let mut deaf = deaf.stdout(Stdio::piped()).spawn().unwrap();
    drop(deaf.stdout.take());
    let output = deaf.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    daemon.stop();

    // Tables that are no more, and rows that no daemon brings.
    servers.execute("DROP TABLE gone; INSERT INTO account VALUES (50, 50)");
    let (status, lines, message) = verified(&launch, &["public.gone"]);
    assert_eq!(
        (status, lines),
        (1, vec!["stale /copy/gone/1".into(), "stale /copy/gone/2".into()])
    );
    assert!(message.contains("no daemon streams"), "{message}");
    let (status, lines, message) = verified(&launch, &["account"]);
    assert_eq!(status, 1);
    assert!(lines.contains(&"missing /copy/account/50".to_owned()), "{lines:?}");
    assert!(message.contains("etcd is behind"), "{message}");
}

/// Changes of about a thousand rows a second, until `stop`: puts, updates, deletes, changed keys.
fn busy(mut sql: Client, mut random: Random, stop: &AtomicBool) {
    while !stop.load(Ordering::SeqCst) {
        let mut row = || random.below(5000);
        let statements = format!(
            "INSERT INTO busy VALUES ({}, 0) ON CONFLICT (id) DO UPDATE SET n = busy.n + 1;
             UPDATE busy SET n = 1 - n WHERE id IN ({}, {});
             UPDATE busy SET n = n + 1 WHERE id = 1;
             UPDATE busy SET id = id + 5000 WHERE id = {};
             DELETE FROM busy WHERE id IN ({}, {} + 5000)",
            row(),
            row(),
            row(),
            row(),
            row(),
            row()
        );
        match sql.batch_execute(&statements) {
            Err(error) if error.code() != Some(&SqlState::UNIQUE_VIOLATION) => panic!("{error}"),
            _ => thread::sleep(Duration::from_millis(3)),
        }
    }
}

#[test]
fn a_busy_database_gives_no_false_alarm() {
    let (servers, mut random) = (Servers::start(), Random::new());
    servers.execute(
        "CREATE TABLE busy (id int PRIMARY KEY, n int);
         INSERT INTO busy SELECT id, 0 FROM generate_series(0, 4999) id",
    );
    let launch = servers.daemon();
    let mut daemon = launch.start();
    daemon.await_line("Dump finished");
    let (sql, stop) = (servers.sql(), AtomicBool::new(false));
    // The number of runs for those who have time.
    let begun = Instant::now();
    let runs = std::env::var("PG2ETCD_TEST_RUNS").map_or(4, |runs| runs.parse().unwrap());
    thread::scope(|scope| {
        scope.spawn(|| busy(sql, random.fork(), &stop));
        let _stop = Stop(&stop);
        for _ in 0..runs {
            let before = servers.revision();
            wait_until("load", || servers.revision() > before + 20);
            let (status, lines, message) = verified(&launch, &[]);
            assert_eq!((status, lines), (0, vec![]), "{message}");
        }
        let sql = "SELECT n_tup_ins + n_tup_upd + n_tup_del - 5000 FROM pg_stat_user_tables WHERE relname = 'busy'";
        let changes: f64 = servers.value(sql).unwrap().parse().unwrap();
        println!("{runs} runs, {:.0} changes a second", changes / begun.elapsed().as_secs_f64());
        // What differs is found all the same.
        servers.put("/copy/busy/-1", "{}");
        servers.put("/copy/busy/stray", "{}");
        let (status, lines, message) = verified(&launch, &[]);
        assert_eq!(lines, ["stale /copy/busy/-1", "stale /copy/busy/stray"], "{message}");
        assert_eq!(status, 1);
    });
    servers.delete("/copy/busy/-1");
    servers.delete("/copy/busy/stray");
    assert_equal(&servers, &["busy"]);

    // A daemon that is slow, or does nothing for a while, is waited for.
    daemon.signal(Signal::STOP);
    servers.execute("INSERT INTO busy VALUES (20000, 1)");
    let mut verify = launch.command(&["verify"]).spawn().unwrap();
    servers.await_watch();
    assert!(verify.try_wait().unwrap().is_none(), "it did not wait");
    daemon.signal(Signal::CONT);
    assert_eq!(verify.wait().unwrap().code(), Some(0));
}

/// Stops the load, also when the test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
