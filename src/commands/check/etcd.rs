//! What etcd has to have.

use super::report::{Report, of_etcd, size, unmet};
use crate::config::EtcdSettings;
use crate::error::Unmet;
use crate::etcd::{Client, Error, MemberStatus, Options, Reason, Txn, prefix_end};
use crate::state::checkpoint::Checkpoint;
use crate::state::layout;
use crate::state::requests;

const UNREACHABLE: &str = "start etcd there, or correct etcd.endpoints";
const UNANSWERED: &str = "see to it that most members of the cluster run and reach each other";

/// The position, a request beside it, and the client that has read them.
pub(super) struct StoredState {
    pub(super) client: Client,
    pub(super) checkpoint: Option<Checkpoint>,
    pub(super) resync_all: bool,
}

/// Looks at the members and at what they allow; `None` if the position cannot be read.
pub(super) fn check(settings: &EtcdSettings, report: &mut Report) -> Option<StoredState> {
    let members = endpoints(settings, report)?;
    let mut client = log_in(settings, members.reached, report)?;
    let client = &mut client;
    for (name, path) in [
        ("path", settings.path.as_str()),
        ("state_path", &settings.state_path),
        ("claims", layout::CLAIMS),
    ] {
        permissions(settings, client, name, path, report);
    }
    alarms(client, report);
    let room = space(&members.statuses, report);
    limits(settings, client, room, report);
    position(settings, client, report)
}

/// What the endpoints have answered.
struct Members {
    reached: Vec<String>,
    statuses: Vec<MemberStatus>,
}

/// Asks each endpoint.
fn endpoints(settings: &EtcdSettings, report: &mut Report) -> Option<Members> {
    let options = settings.client_options();
    let found: Vec<_> = settings
        .endpoints
        .iter()
        .map(|endpoint| {
            // One that takes a connection and then says nothing costs no more than one that
            // takes none.
            let request_timeout = options.request_timeout.min(options.dial_timeout);
            let endpoints = vec![endpoint.clone()];
            let one = Options { endpoints, request_timeout, ..options.clone() };
            let connected = Client::connect(one);
            let cluster = connected.as_ref().ok().map(Client::cluster_id);
            (endpoint, cluster, connected.and_then(|mut client| client.member_status()))
        })
        .collect();
    let mut members = Members { reached: Vec::new(), statuses: Vec::new() };
    // The copy stays with the cluster that answers first.
    let ours = found.iter().find_map(|(_, cluster, _)| *cluster);
    let any = found.iter().any(|(_, _, status)| status.as_ref().map_or_else(is_there, |_| true));
    for (endpoint, cluster, status) in found {
        if cluster.is_some() && cluster != ours {
            report.fail("endpoint", of_another_cluster(endpoint, cluster, ours));
            continue;
        }
        match status {
            Ok(status) => {
                members.reached.push(endpoint.clone());
                let detail = format!("{endpoint} is etcd {}", status.version);
                match status.has_leader {
                    true => report.ok("endpoint", detail),
                    false => report.warn(
                        "endpoint",
                        Unmet::new(format!("{detail}, which knows no leader"), UNANSWERED),
                    ),
                }
                members.statuses.push(status);
            }
            Err(error) if is_there(&error) => {
                members.reached.push(endpoint.clone());
                report.ok("endpoint", format!("{endpoint} answers"));
            }
            Err(error) if error.reason() == Some(Reason::Learner) => {
                let unmet = Unmet::new(
                    format!("{endpoint} is a learner, which answers no requests yet"),
                    error.cure().unwrap_or_default(),
                );
                match any {
                    true => report.warn("endpoint", unmet),
                    false => report.fail("endpoint", unmet),
                }
            }
            // The copy goes on with the others.
            Err(error) if any => report.warn("endpoint", of_etcd(&error, UNREACHABLE)),
            Err(error) => report.fail("endpoint", of_etcd(&error, UNREACHABLE)),
        }
    }
    any.then_some(members)
}

fn of_another_cluster(endpoint: &str, cluster: Option<u64>, ours: Option<u64>) -> Unmet {
    let [cluster, ours] = [cluster, ours].map(Option::unwrap_or_default);
    Unmet::new(
        format!("{endpoint} belongs to cluster {cluster:x}, and one before it to {ours:x}"),
        "leave the members of one cluster in etcd.endpoints",
    )
}

/// Whether an error is the answer of an etcd that can be used, to the right user.
fn is_there(error: &Error) -> bool {
    is_about_login(error) || error.reason() == Some(Reason::PermissionDenied)
}

fn is_about_login(error: &Error) -> bool {
    let reason = error.reason();
    matches!(reason, Some(Reason::Token | Reason::WrongPassword | Reason::AuthDisabled))
}

/// Logs in and asks something that takes a leader and a user.
fn log_in(settings: &EtcdSettings, reached: Vec<String>, report: &mut Report) -> Option<Client> {
    let options = Options { endpoints: reached, ..settings.client_options() };
    let key = scratch_key(settings);
    let asked = Client::connect(options).and_then(|mut client| match client.get(key.as_bytes()) {
        Err(error) if error.reason() != Some(Reason::PermissionDenied) => Err(error),
        _ => Ok(client),
    });
    match asked {
        Ok(client) => {
            report.ok(
                "login",
                match &settings.username {
                    Some(username) => format!("as user {username}"),
                    None => "none is asked for".to_owned(),
                },
            );
            report.ok("quorum", "etcd has a leader");
            Some(client)
        }
        Err(error) => {
            let name = if is_about_login(&error) { "login" } else { "quorum" };
            report.fail(name, of_etcd(&error, UNANSWERED));
            None
        }
    }
}

/// A key that is never written: what is tried on it is never carried out.
fn scratch_key(settings: &EtcdSettings) -> String {
    format!("/{}/check", settings.state_path)
}

/// Whether keys below a path may be read and written.
fn permissions(
    settings: &EtcdSettings,
    client: &mut Client,
    name: &'static str,
    path: &str,
    report: &mut Report,
) {
    let prefix = format!("/{path}/");
    let end = prefix_end(prefix.as_bytes());
    let read = client.pages(prefix.as_bytes(), &end, true).next_page().map(drop);
    let mut txn = Txn::new();
    // No table's name has a lone percent sign.
    txn.put(format!("{prefix}%").as_bytes(), b"");
    let written = client.try_out(txn, scratch_key(settings).as_bytes());
    let may = [("read", read), ("write", written)];
    let lacking: Vec<_> = may
        .iter()
        .filter(|(_, tried)| {
            tried.as_ref().is_err_and(|e| e.reason() == Some(Reason::PermissionDenied))
        })
        .map(|(verb, _)| *verb)
        .collect();
    if !lacking.is_empty() {
        let user = settings.username.as_deref().unwrap_or_default();
        let problem = format!("user {user} may not {} below {prefix}", lacking.join(" and "));
        let cure = format!(
            "etcdctl role grant-permission ROLE --prefix=true readwrite {prefix}, with a ROLE of \
             that user"
        );
        return report.fail(name, Unmet::new(problem, cure));
    }
    match may.into_iter().find_map(|(_, tried)| tried.err()) {
        // That has a line of its own.
        Some(error) if error.reason() != Some(Reason::NoSpace) => {
            report.fail(name, of_etcd(&error, UNANSWERED));
        }
        _ => report.ok(name, format!("keys below {prefix} may be read and written")),
    }
}

fn alarms(client: &mut Client, report: &mut Report) {
    let cure = "correct its cause (NOSPACE: compact and defragment etcd, or raise its \
                --quota-backend-bytes), then run etcdctl alarm disarm";
    match client.alarms() {
        Ok(alarms) if alarms.is_empty() => report.ok("alarms", "none is raised"),
        Ok(alarms) => {
            report.fail("alarms", Unmet::new(format!("raised: {}", alarms.join(", ")), cure));
        }
        Err(error) if error.reason() == Some(Reason::PermissionDenied) => report.warn(
            "alarms",
            Unmet::new(
                "not known: etcd tells them only to a user with the role root",
                "look at etcdctl alarm list as such a user",
            ),
        ),
        Err(error) => report.warn("alarms", of_etcd(&error, "look at etcdctl alarm list")),
    }
}

/// How much more the fullest member takes, in bytes; `None` if that is not known.
fn space(statuses: &[MemberStatus], report: &mut Report) -> Option<i64> {
    let Some(fullest) = statuses.iter().max_by_key(|status| status.db_bytes) else {
        let problem = "not known: no endpoint tells it this user";
        report.warn("space", Unmet::new(problem, "look at etcdctl endpoint status"));
        return None;
    };
    let MemberStatus { db_bytes, db_used_bytes, .. } = *fullest;
    let detail = format!("{}, {} of it in use", size(db_bytes), size(db_used_bytes));
    let Some(quota) = statuses.iter().filter_map(|status| status.quota_bytes).min() else {
        let detail = format!("{detail}; the quota is not known, since /metrics cannot be read");
        report.ok("space", detail);
        return None;
    };
    let detail = format!("{detail}; the quota is {}", size(quota));
    if db_bytes < quota / 5 * 4 {
        report.ok("space", detail);
    } else {
        let cure = match db_used_bytes < quota / 2 {
            true => "run etcdctl defrag on each member",
            false => "compact and defragment etcd, or raise its --quota-backend-bytes",
        };
        report.warn("space", Unmet::new(format!("{detail}, which is nearly reached"), cure));
    }
    Some(quota - db_bytes)
}

/// Whether requests as large as the settings allow are taken. Nothing is tried that would not
/// fit into the room that is left: etcd would raise an alarm.
fn limits(settings: &EtcdSettings, client: &mut Client, room: Option<i64>, report: &mut Report) {
    let EtcdSettings { max_txn_ops, max_request_bytes, .. } = *settings;
    let key = scratch_key(settings);
    let mut many = Txn::new();
    for number in 0..max_txn_ops {
        many.put(format!("{key}/{number}").as_bytes(), b"");
    }
    let mut large = Txn::new();
    let value = large_value(&key, max_request_bytes);
    large.put(key.as_bytes(), &value);
    for (name, txn, tried) in [
        ("max_txn_ops", many, format!("a transaction of {max_txn_ops} operations")),
        ("max_request_bytes", large, format!("a request of {max_request_bytes} bytes")),
    ] {
        let bytes = i64::try_from(txn.request_bytes()).unwrap_or(i64::MAX);
        if room.is_some_and(|room| room <= bytes.saturating_mul(2)) {
            let problem = format!("{tried} was not tried: etcd has too little space left");
            report.warn(name, Unmet::new(problem, "make room in etcd, and run check again"));
            continue;
        }
        match client.try_out(txn, key.as_bytes()) {
            Ok(()) => report.ok(name, format!("{tried} is taken")),
            Err(error) => {
                let Unmet { problem, cure } = of_etcd(&error, UNANSWERED);
                report.fail(name, Unmet::new(format!("{tried} is not taken: {problem}"), cure));
            }
        }
    }
}

/// A value of the key that makes a request of this size.
fn large_value(key: &str, request_bytes: usize) -> Vec<u8> {
    let mut around = Txn::new();
    around.put(key.as_bytes(), b"");
    around.compare_mod_revision(key.as_bytes(), 0);
    // The longest value has a longer length before it.
    let fixed = around.request_bytes() - Txn::put_bytes(key.len(), 0)
        + Txn::put_bytes(key.len(), request_bytes)
        - request_bytes;
    vec![b'x'; request_bytes.saturating_sub(fixed)]
}

fn position(
    settings: &EtcdSettings,
    client: &mut Client,
    report: &mut Report,
) -> Option<StoredState> {
    let key = layout::checkpoint(&settings.state_path);
    let found = Checkpoint::read(client, &key).and_then(|found| {
        let request = requests::read(client, &settings.state_path)?;
        let resync_all = request.is_some_and(|request| request.is_for_all());
        let checkpoint = found.map(|(checkpoint, _)| checkpoint);
        Ok(StoredState { client: client.clone(), checkpoint, resync_all })
    });
    match &found {
        Ok(StoredState { checkpoint: None, .. }) => {
            report.ok("position", format!("{key} does not exist yet"));
        }
        Ok(StoredState { checkpoint: Some(checkpoint), .. }) => {
            let Checkpoint { phase, lsn, database, path, committed_at, .. } = checkpoint;
            report.ok(
                "position",
                format!(
                    "{key}: {phase} phase of database {database} below /{path}/, at {lsn} of \
                     {committed_at}"
                ),
            );
        }
        Err(error) => report.fail("position", unmet(error, "to begin anew, delete the key")),
    }
    found.ok()
}
