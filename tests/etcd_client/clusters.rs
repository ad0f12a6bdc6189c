//! Two clusters behind one name: the second one is never written.

use pg2etcd::disposition::Disposition;
use pg2etcd::etcd::{Client, ErrorKind, Txn};

use super::{Etcd, options};
use crate::support::Proxy;

fn put(client: &mut Client, key: &[u8]) -> pg2etcd::etcd::Result<bool> {
    let mut txn = Txn::new();
    txn.put(key, b"");
    client.txn(&mut txn).map(|reply| reply.succeeded)
}

#[test]
fn another_cluster_is_not_written_after_a_reconnect() {
    let (ours, other) = (Etcd::start(), Etcd::start());
    let proxy = Proxy::before(ours.servers.etcd_port);
    let name = format!("127.0.0.1:{}", proxy.port);
    let mut client = Client::connect(options(&[&name])).unwrap();
    assert_eq!(client.cluster_id(), ours.client().cluster_id());
    assert!(put(&mut client, b"first").unwrap());

    proxy.lead_to(other.servers.etcd_port);
    proxy.cut();
    for _ in 0..2 {
        let error = put(&mut client, b"second").unwrap_err();
        let is_other = matches!(error.kind, ErrorKind::OtherCluster { .. });
        assert!(is_other && !error.outcome_open(), "{error}");
        assert_eq!(error.disposition(), Disposition::Retry);
    }
    let error = client.clone().get(b"first").unwrap_err();
    assert!(error.to_string().contains(&format!("{:x}", other.client().cluster_id())), "{error}");
    assert_eq!(other.servers.revision(), 1, "it was written");

    // An endpoint of ours is gone on with, in the same call.
    let mut both = Client::connect(options(&[&ours.endpoint, &name])).unwrap();
    assert!(put(&mut both, b"third").unwrap());
    assert_eq!(both.clusters().len(), 2);
    proxy.lead_to(ours.servers.etcd_port);
    proxy.cut();
    assert!(put(&mut client, b"fourth").unwrap());
    assert_eq!(other.servers.revision(), 1, "it was written");
}
