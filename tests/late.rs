//! Requests that arrive late, long after they were given up and sent again; and an etcd that went back.

use crate::support::{Daemon, Part, Proxy, Servers, assert_equal, caught_up, wait_until};

/// Two tables: one whose rows a late request would change, and one whose changes take a while.
const ROWS: &str = "CREATE TABLE r (id int PRIMARY KEY, v text);
    CREATE TABLE f (id int PRIMARY KEY, v text);
    INSERT INTO r SELECT i, 'before' FROM generate_series(1, 5000) i;
    INSERT INTO f SELECT i, 'before' FROM generate_series(1, 30000) i";

/// The rows in etcd, and a daemon that soon gives a request up.
fn copied_behind_a_proxy() -> (Servers, Proxy, Daemon) {
    let servers = Servers::start();
    servers.execute(ROWS);
    let proxy = Proxy::before(servers.etcd_port);
    let launch = servers.daemon().set("etcd.request_timeout", "1s");
    let mut daemon = launch.set("etcd.endpoints", format!("127.0.0.1:{}", proxy.port)).start();
    daemon.await_line("Dump finished");
    caught_up(&servers);
    (servers, proxy, daemon)
}

/// Delivers what was withheld: etcd has to refuse each.
#[track_caller]
fn deliver_in_vain(proxy: &Proxy) {
    for answer in proxy.deliver_withheld() {
        assert!(answer.contains("200 OK") && !answer.contains("\"succeeded\":true"), "{answer}");
    }
}

/// A part of a large transaction arrives when the same keys have been put again, and the transaction is
/// still being written.
#[test]
fn a_part_that_arrives_late_changes_nothing() {
    let (servers, proxy, _daemon) = copied_behind_a_proxy();
    proxy.withhold(8_000, &[], 3);
    servers.execute(
        "BEGIN; UPDATE r SET v = 'p1'; UPDATE r SET v = 'p2'; UPDATE f SET v = 'p1'; UPDATE f SET v = 'p2'; COMMIT",
    );
    wait_until("later parts", || {
        let rows = servers.keys("/copy/r/");
        proxy.withheld() > 0 && rows.values().all(|row| row.contains("p2"))
    });
    assert!(servers.position().is_some_and(|position| position.partial.is_some()), "too late");
    deliver_in_vain(&proxy);
    assert_equal(&servers, &["r", "f"]);
    // When all is done they are as void.
    proxy.withhold(8_000, &[], 1);
    servers.execute("BEGIN; UPDATE r SET v = 'p3'; UPDATE r SET v = 'p4'; COMMIT");
    wait_until("a part that is given up", || proxy.withheld() > 0);
    assert_equal(&servers, &["r", "f"]);
    deliver_in_vain(&proxy);
    assert_equal(&servers, &["r", "f"]);
}

/// The part that empties a table arrives when its new rows are there.
#[test]
fn a_truncate_that_arrives_late_takes_no_row_away() {
    let (servers, proxy, _daemon) = copied_behind_a_proxy();
    // The range of the keys below /copy/r/.
    proxy.withhold(0, &["L2NvcHkvci8=", "range_end"], 1);
    servers.execute(
        "BEGIN; TRUNCATE r; INSERT INTO r SELECT i, 'after' FROM generate_series(1, 5000) i;
         UPDATE f SET v = 'after'; COMMIT",
    );
    wait_until("the new rows", || {
        let rows = servers.keys("/copy/r/");
        proxy.withheld() > 0 && rows.len() == 5000 && rows.values().all(|row| row.contains("after"))
    });
    deliver_in_vain(&proxy);
    assert_equal(&servers, &["r", "f"]);
}

/// The same for a txn of the ordered lane.
#[test]
fn a_small_transaction_that_arrives_late_changes_nothing() {
    let (servers, proxy, _daemon) = copied_behind_a_proxy();
    for round in 0..5 {
        // The key /copy/r/1 alone.
        proxy.withhold(0, &["\"L2NvcHkvci8x\""], 1);
        servers.execute(&format!("UPDATE r SET v = 'a{round}' WHERE id = 1"));
        wait_until("a txn that is given up", || proxy.withheld() > 0);
        servers.execute(&format!("UPDATE r SET v = 'b{round}' WHERE id = 1"));
        assert_equal(&servers, &["r", "f"]);
        deliver_in_vain(&proxy);
        assert_equal(&servers, &["r", "f"]);
    }
}

/// etcd is stopped, an older copy of its disk is put back, and it starts again; no row changes. That is
/// noticed all the same.
#[test]
fn an_etcd_that_went_back_is_noticed_while_the_database_is_idle() {
    let servers = Servers::start();
    servers.execute(ROWS);
    let mut daemon = servers.daemon().start();
    daemon.await_line("Dump finished");
    servers.execute("UPDATE r SET v = 'old' WHERE id <= 10");
    assert_equal(&servers, &["r", "f"]);
    servers.kill(Part::Etcd);
    let copy = "rm -rf etcd.copy && cp -a etcd etcd.copy";
    servers.shell(copy);
    servers.restart(Part::Etcd, &[]);
    servers.execute("UPDATE r SET v = 'new' WHERE id <= 10");
    assert_equal(&servers, &["r", "f"]);
    servers.kill(Part::Etcd);
    servers.shell("rm -rf etcd && mv etcd.copy etcd");
    servers.restart(Part::Etcd, &[]);
    daemon.await_line("etcd went back");
    daemon.await_line("Redumping: ");
    assert_equal(&servers, &["r", "f"]);
}
