//! Members that are down, that do not answer, or that take no part yet.

use std::time::{Duration, Instant};

use pg2etcd::disposition::Disposition;
use pg2etcd::etcd::{Client, ErrorKind, Options, Reason, Txn};
use pg2etcd::stop::Stop;

use super::{Etcd, options};
use crate::members::Members;
use crate::support::{Proxy, wait_for};

fn put(key: &[u8]) -> Txn {
    let mut txn = Txn::new();
    txn.put(key, b"");
    txn
}

/// Three members, of which the first two answer.
fn members(etcd: &Etcd) -> (Members, [String; 3]) {
    let members = Members::start(&etcd.servers);
    members.leader(&etcd.servers);
    let endpoint = |member: usize| format!("127.0.0.1:{}", members.ports[member].0);
    let endpoints = [0, 1, 2].map(endpoint);
    for endpoint in &endpoints {
        wait_for("a member", || {
            let answer = Client::connect(options(&[endpoint])).and_then(|mut one| one.get(b"k"));
            answer.map_err(|error| error.to_string())
        });
    }
    (members, endpoints)
}

fn impatient(endpoints: &[&str]) -> Client {
    let request_timeout = Duration::from_secs(2);
    Client::connect(Options { request_timeout, ..options(endpoints) }).unwrap()
}

#[test]
fn a_member_that_is_down_is_passed_by() {
    let etcd = Etcd::start();
    let (mut members, [one, two, three]) = members(&etcd);
    let mut client = Client::connect(options(&["127.0.0.1:1", &one])).unwrap();
    assert!(client.txn(&mut put(b"k")).unwrap().succeeded);

    // One that does not lead, so that nobody has to be elected.
    let down = (members.leader(&etcd.servers) + 1) % 3;
    let all = [&one[..], &two, &three];
    let mut client = Client::connect(options(&[all[down], all[(down + 1) % 3]])).unwrap();
    assert!(client.get(b"k").unwrap().is_some());
    members.running[down].kill().unwrap();
    members.running[down].wait().unwrap();
    // Nothing was sent, so that a txn too goes on to the next one, in the same call.
    assert!(client.txn(&mut put(b"k2")).unwrap().succeeded);
    assert!(client.get(b"k2").unwrap().is_some());
}

#[test]
fn a_member_that_does_not_answer_is_asked_last() {
    let etcd = Etcd::start();
    let (members, [one, two, _]) = members(&etcd);
    let proxies = members.ports.iter().map(|(port, _)| Proxy::before(*port)).collect::<Vec<_>>();
    let behind: Vec<_> = proxies.iter().map(|proxy| format!("127.0.0.1:{}", proxy.port)).collect();
    let mut client = impatient(&[&behind[0], &two]);
    client.txn(&mut put(b"before")).unwrap();
    proxies[0].hold(true);
    let error = client.txn(&mut put(b"open")).unwrap_err();
    assert!(matches!(error.kind, ErrorKind::TimedOut(_)), "{error}");
    assert!(error.outcome_open(), "it went to no second endpoint");
    assert_eq!(error.disposition(), Disposition::Retry);
    assert_eq!(error.endpoint, behind[0]);
    // The next call begins with the other endpoint, where the txn did not arrive; a clone's too.
    let mut clone = client.clone();
    let begun = Instant::now();
    let found = clone.get_many(&["before", "open"]).unwrap();
    assert_eq!(found.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false]);
    assert!(begun.elapsed() < Duration::from_secs(1));

    // A question goes on to the next one in the same call.
    let mut client = impatient(&[&behind[1], &one]);
    proxies[1].hold(true);
    assert!(client.get(b"before").unwrap().is_some());

    // All that failed are named, and those that were silent before have less time.
    let mut client = impatient(&[&behind[2], &behind[2], &behind[2]]);
    proxies[2].hold(true);
    let error = client.get(b"k").unwrap_err();
    assert_eq!(error.to_string().matches(&behind[2]).count(), 3, "{error}");
    let begun = Instant::now();
    client.get(b"k").unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn a_stop_ends_every_wait() {
    let etcd = Etcd::start();
    let proxy = Proxy::before(etcd.servers.etcd_port);
    let silent = format!("127.0.0.1:{}", proxy.port);
    let stop = Stop::new().unwrap();
    let mut client = Client::connect_until(options(&[silent.as_str(); 5]), &stop).unwrap();
    client.txn(&mut put(b"k")).unwrap();
    proxy.hold(true);
    stop.request().unwrap();
    let begun = Instant::now();
    let error = client.get(b"k").unwrap_err();
    assert_eq!(error.kind, ErrorKind::Stopped);
    let error = Client::connect_until(options(&[silent.as_str(); 5]), &stop).err().unwrap();
    assert_eq!(error.kind, ErrorKind::Stopped);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn a_learner_is_an_endpoint_that_failed() {
    let etcd = Etcd::start();
    let (mut members, [one, two, three]) = members(&etcd);
    etcd.servers.etcdctl_with("ETCDCTL_ENDPOINTS", &one);
    let learner = members.add_learner(&etcd.servers);
    let refused = wait_for("the learner", || {
        let error = Client::connect(options(&[&learner])).err().expect("a learner serves nobody");
        if error.reason() == Some(Reason::Learner) { Ok(error) } else { Err(error.to_string()) }
    });
    assert_eq!(refused.disposition(), Disposition::Retry);
    assert!(refused.to_string().contains("etcdctl member promote"), "{refused}");
    let mut client = Client::connect(options(&[&learner, &two, &three])).unwrap();
    assert!(client.txn(&mut put(b"k")).unwrap().succeeded);
    assert_eq!(client.clusters().len(), 2, "a learner does not say");
}
