//! Users: a login is renewed when it is no longer good.

use std::ops::ControlFlow;
use std::time::Duration;

use super::{Etcd, options};
use pg2etcd::disposition::Disposition;
use pg2etcd::etcd::{Client, Error, Options, Reason, Txn};
use pg2etcd::secret::{Password, Secret};

fn user(etcd: &Etcd, name: &str, password: &str) -> Options {
    Options {
        username: Some(name.to_owned()),
        password: Some(Password::Given(Secret::new(password))),
        ..options(&[&etcd.endpoint])
    }
}

fn put(client: &mut Client, key: &[u8]) -> Result<bool, Error> {
    let mut txn = Txn::new();
    txn.put(key, b"");
    client.txn(&mut txn).map(|reply| reply.succeeded)
}

/// The values of a key that a watch shows, of which the last is put before the watch begins.
fn followed(client: &mut Client, other: &mut Client, key: &[u8]) -> Vec<Option<Vec<u8>>> {
    let mut seen = Vec::new();
    let followed = client.follow(key, Duration::from_secs(60), |found| {
        seen.push(found.map(|found| found.value.clone()));
        if seen.len() == 3 {
            return ControlFlow::Break(());
        }
        if seen.len() == 1 {
            let mut txn = Txn::new();
            txn.delete(key);
            assert!(other.txn(&mut txn).unwrap().succeeded && put(other, key).unwrap());
        }
        ControlFlow::Continue(())
    });
    assert_eq!(followed.unwrap(), Some(()));
    seen
}

fn refused(error: &Error, reason: Reason) {
    assert_eq!(error.reason(), Some(reason), "{error}");
    assert_eq!(error.disposition(), Disposition::Refused);
    assert!(!error.outcome_open());
    assert!(!format!("{error} {error:?}").contains("s3cret"));
}

#[test]
fn a_login_is_renewed_when_it_is_no_longer_good() {
    const ROOT: &str = "root:s3cret \"\\";
    let etcd = Etcd::start();
    let error = Client::connect(user(&etcd, "root", "s3cret")).err().unwrap();
    refused(&error, Reason::AuthDisabled);

    let mut anonymous = etcd.client();
    etcd.ctl(&["user", "add", ROOT]);
    etcd.ctl(&["user", "grant-role", "root", "root"]);
    etcd.ctl(&["auth", "enable"]);
    refused(&anonymous.get(b"k").unwrap_err(), Reason::Token);
    refused(&put(&mut anonymous, b"k").unwrap_err(), Reason::Token);
    refused(&Client::connect(user(&etcd, "root", "s3cret!")).err().unwrap(), Reason::WrongPassword);
    refused(
        &Client::connect(user(&etcd, "nobody", "s3cret")).err().unwrap(),
        Reason::WrongPassword,
    );

    let mut client = Client::connect(user(&etcd, "root", "s3cret \"\\")).unwrap();
    let mut clone = client.clone();
    assert!(put(&mut client, b"k").unwrap() && put(&mut clone, b"k").unwrap());

    // A change of users makes the auth store's revision newer than the token's.
    etcd.ctl(&["--user", ROOT, "user", "add", "writer:s3cret"]);
    assert!(put(&mut client, b"k").unwrap());
    // A restart forgets every token.
    etcd.restart();
    assert!(put(&mut client, b"k").unwrap() && put(&mut clone, b"k").unwrap());
    assert!(clone.get(b"k").unwrap().is_some());
    etcd.restart();
    let value = Some(Vec::new());
    assert_eq!(followed(&mut client, &mut clone, b"k"), [value.clone(), None, value]);

    // A user without a role may log in, and that is all.
    let mut writer = Client::connect(user(&etcd, "writer", "s3cret")).unwrap();
    refused(&put(&mut writer, b"k").unwrap_err(), Reason::PermissionDenied);
    refused(&writer.get(b"k").unwrap_err(), Reason::PermissionDenied);
    let followed = writer.follow(b"k", Duration::ZERO, |_| ControlFlow::Break(()));
    refused(&followed.unwrap_err(), Reason::PermissionDenied);
}
