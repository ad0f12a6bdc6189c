//! Which endpoint answers, and under which path its gateway is.

use super::error::{Error, ErrorKind, Result};
use super::http::Http;
use super::reply::{self, Version};

/// The index of the first endpoint that answers, and its gateway's path.
pub(super) fn find(http: &mut Http, endpoints: &[String]) -> Result<(usize, &'static str)> {
    let mut last = None;
    for (at, endpoint) in endpoints.iter().enumerate() {
        let url = format!("http://{endpoint}/version");
        let prefix = http.get(&url).and_then(|()| prefix(http.reply()));
        match prefix.map_err(|kind| Error { doing: "connecting", endpoint: endpoint.clone(), kind })
        {
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

/// The name, `host:port`, of an endpoint given as that or as a URL.
pub(super) fn name(text: &str) -> Result<String> {
    let fault = |rule| Error {
        doing: "reading etcd.endpoints",
        // What stands before an @ may be a password.
        endpoint: text.rsplit('@').next().unwrap_or_default().to_owned(),
        kind: ErrorKind::Endpoint(rule),
    };
    let name = text.strip_prefix("http://").unwrap_or(text);
    if name.contains("://") {
        return Err(fault("only http:// is known"));
    }
    let name = name.strip_suffix('/').unwrap_or(name);
    let (host, port) = name.rsplit_once(':').unwrap_or_default();
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    if host.is_empty() || !host.bytes().all(allowed) || port.parse::<u16>().is_err() {
        return Err(fault("it is written host:port or http://host:port"));
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Disposition;

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
        for (text, expected) in [
            ("127.0.0.1:2379", "127.0.0.1:2379"),
            ("http://etcd.example:2379/", "etcd.example:2379"),
            ("[::1]:2379", "[::1]:2379"),
        ] {
            assert_eq!(name(text).unwrap(), expected);
        }
        for text in [
            "",
            "etcd",
            ":2379",
            "etcd:port",
            "https://etcd:2379",
            "http://etcd:2379/x",
            "a/b:2379",
            "a b:1",
        ] {
            assert_eq!(name(text).unwrap_err().disposition(), Disposition::Fatal, "{text}");
        }
        let error = name("http://root:secret@etcd:2379").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("secret"));
    }
}
