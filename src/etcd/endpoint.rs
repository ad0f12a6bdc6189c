//! Which endpoint answers, under which path its gateway is, and which cluster it belongs to.

use super::error::{Error, ErrorKind, Result};
use super::http::{Http, Over};
use super::reply::{self, Version};

/// A txn of nothing: every member but a learner answers it by itself, whoever asks, and its
/// answer names the cluster.
const NOTHING: &[u8] = b"{}";

/// What answers at an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The endpoint's index.
    pub(super) at: usize,
    /// The gateway's path, such as `/v3`.
    pub(super) prefix: &'static str,
    /// The cluster's ID.
    pub(super) cluster: u64,
}

/// The first endpoint that answers, and the connection to it. `connect` gives one that is not made
/// yet: none is kept to an endpoint that failed.
pub(super) fn find(connect: impl Fn() -> Http, endpoints: &[Endpoint]) -> Result<(Http, Found)> {
    let mut earlier = Vec::new();
    for (at, Endpoint { name, url }) in endpoints.iter().enumerate() {
        let mut http = connect();
        let answer = version(&mut http, url)
            .and_then(|prefix| Ok(Found { at, prefix, cluster: cluster(&mut http, url, prefix)? }))
            .map_err(|kind| explained(kind, name, url));
        match answer {
            Ok(found) => {
                for error in earlier {
                    log::warn!("etcd: {error}; {name} answered instead");
                }
                return Ok((http, found));
            }
            Err(kind) => {
                let error = Error::at_start(name.clone(), kind);
                if !error.endpoint_failed() {
                    return Err(error.after(earlier));
                }
                earlier.push(error);
            }
        }
    }
    let none = || {
        let rule = ErrorKind::Endpoint("there is none");
        Error::at_start("etcd.endpoints".to_owned(), rule)
    };
    Err(earlier.pop().map_or_else(none, |last| last.after(earlier)))
}

fn version(http: &mut Http, url: &str) -> std::result::Result<&'static str, ErrorKind> {
    http.get(&format!("{url}/version"))?;
    prefix(http.reply())
}

/// The cluster of the member at `url`.
pub(super) fn cluster(
    http: &mut Http,
    url: &str,
    prefix: &str,
) -> std::result::Result<u64, ErrorKind> {
    http.post(&format!("{url}{prefix}/kv/txn"), None, NOTHING, Over::Any)?;
    reply::txn(http.reply())?;
    reply::cluster(http.reply()).ok_or_else(|| ErrorKind::NotEtcd {
        status: 200,
        problem: "it names no cluster".to_owned(),
    })
}

/// Says more of a server that does not speak the gateway's language.
fn explained(kind: ErrorKind, name: &str, url: &str) -> ErrorKind {
    let is_plain = url.starts_with("http://");
    let hint = match is_plain {
        true => format!(
            "does it speak TLS? Then write https://{name}. Or gRPC alone? Then name the server's \
             --listen-client-http-urls"
        ),
        false => {
            "does it speak gRPC alone? Then name the server's --listen-client-http-urls".to_owned()
        }
    };
    match kind {
        ErrorKind::Closed => {
            ErrorKind::Broken(format!("the server closed it without an answer: {hint}"))
        }
        // So a server with TLS ends a request in clear text.
        ErrorKind::Broken(cause) if is_plain => ErrorKind::Broken(format!("{cause}: {hint}")),
        kind => kind,
    }
}

/// The gateway's path (etcd manual, "gRPC gateway": "Notes").
pub(super) fn prefix(version: &[u8]) -> std::result::Result<&'static str, ErrorKind> {
    let Version { etcdserver: version } = reply::parse(version)?;
    let mut numbers = version.split('.').map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= (3, 4) => Ok("/v3"),
        (Some(Ok(3)), Some(Ok(3))) => Ok("/v3beta"),
        _ => Err(ErrorKind::TooOld(version.into_owned())),
    }
}

/// A server of etcd.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// `host:port`.
    pub(super) name: String,
    /// The URL, without a slash at its end.
    pub(super) url: String,
}

/// An endpoint given as its name or as a URL; `tls` says whether a name alone stands for TLS.
pub(super) fn parse(text: &str, tls: bool) -> Result<Endpoint> {
    let fault = |rule| {
        // What stands before an @ may be a password.
        let endpoint = text.rsplit('@').next().unwrap_or_default().to_owned();
        let doing = "reading etcd.endpoints";
        Error { doing, ..Error::at_start(endpoint, ErrorKind::Endpoint(rule)) }
    };
    let (scheme, name) = match text.split_once("://") {
        Some((scheme @ ("http" | "https"), name)) => (scheme, name),
        Some(_) => return Err(fault("only http:// and https:// are known")),
        None => (if tls { "https" } else { "http" }, text),
    };
    let name = name.strip_suffix('/').unwrap_or(name);
    let (host, port) = name.rsplit_once(':').unwrap_or_default();
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    if host.is_empty() || !host.bytes().all(allowed) || port.parse::<u16>().is_err() {
        return Err(fault("it is written host:port, http://host:port or https://host:port"));
    }
    Ok(Endpoint { name: name.to_owned(), url: format!("{scheme}://{name}") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disposition::Disposition;

    #[test]
    fn the_prefix_follows_the_version() {
        for (version, expected) in [
            ("3.4.0", Some("/v3")),
            ("3.6.0-rc.1", Some("/v3")),
            ("3.10.1", Some("/v3")),
            ("4.0.0", Some("/v3")),
            ("3.3.27", Some("/v3beta")),
            ("3.2.0", None),
            ("2.3.8", None),
            ("newest", None),
        ] {
            let reply = format!("{{\"etcdserver\":\"{version}\",\"etcdcluster\":\"3.0.0\"}}");
            assert_eq!(prefix(reply.as_bytes()).ok(), expected, "{version}");
        }
        assert!(matches!(prefix(b"{}"), Err(ErrorKind::NotEtcd { .. })));
    }

    #[test]
    fn endpoints_are_host_and_port_or_urls() {
        for (text, tls, name, url) in [
            ("127.0.0.1:2379", false, "127.0.0.1:2379", "http://127.0.0.1:2379"),
            ("127.0.0.1:2379", true, "127.0.0.1:2379", "https://127.0.0.1:2379"),
            ("http://etcd.example:2379/", true, "etcd.example:2379", "http://etcd.example:2379"),
            ("https://[::1]:2379", false, "[::1]:2379", "https://[::1]:2379"),
        ] {
            let expected = Endpoint { name: name.to_owned(), url: url.to_owned() };
            assert_eq!(parse(text, tls).unwrap(), expected);
        }
        for text in [
            "",
            "etcd",
            ":2379",
            "etcd:port",
            "ftp://etcd:2379",
            "http://etcd:2379/x",
            "a/b:2379",
            "a b:1",
        ] {
            assert_eq!(parse(text, true).unwrap_err().disposition(), Disposition::Fatal, "{text}");
        }
        let error = parse("http://root:secret@etcd:2379", false).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("secret"));
    }
}
