//! Which endpoint answers, and under which path its gateway is.

use super::error::{Error, ErrorKind, Result};
use super::http::Http;
use super::reply::{self, Version};

/// The index of the first endpoint that answers, and its gateway's path.
pub(super) fn find(http: &mut Http, endpoints: &[Endpoint]) -> Result<(usize, &'static str)> {
    let mut last = None;
    for (at, Endpoint { name, url }) in endpoints.iter().enumerate() {
        let version = http.get(&format!("{url}/version"));
        let prefix = version.and_then(|()| prefix(http.reply())).map_err(|kind| match kind {
            // So a server with TLS ends a request in clear text.
            ErrorKind::Broken(cause) if url.starts_with("http://") => {
                ErrorKind::Broken(format!("{cause}: does it speak TLS? Then write https://{name}"))
            }
            kind => kind,
        });
        match prefix.map_err(|kind| Error { doing: "connecting", endpoint: name.clone(), kind }) {
            Ok(prefix) => return Ok((at, prefix)),
            Err(error) if error.endpoint_failed() => last = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(last.unwrap_or(Error {
        doing: "connecting",
        endpoint: "etcd.endpoints".to_owned(),
        kind: ErrorKind::Endpoint("there is none"),
    }))
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
    let fault = |rule| Error {
        doing: "reading etcd.endpoints",
        // What stands before an @ may be a password.
        endpoint: text.rsplit('@').next().unwrap_or_default().to_owned(),
        kind: ErrorKind::Endpoint(rule),
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
