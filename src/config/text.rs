//! What a text setting may hold. Each function gives the form that is kept, or says what is wrong.

use std::str::FromStr;

use log::LevelFilter;

use crate::table_name::{self, LONGEST_IDENTIFIER};

/// Any text of one line that is not empty.
pub(super) fn any(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("must not be empty".to_owned());
    }
    if text.chars().any(char::is_control) {
        return Err(format!("has a control character: {text:?}"));
    }
    Ok(text.to_owned())
}

/// The name of a PostgreSQL object.
pub(super) fn identifier(text: &str) -> Result<String, String> {
    table_name::identifier(text)
}

/// The name of a replication slot (PostgreSQL manual, "Replication Slots").
pub(super) fn slot_name(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
    if text.is_empty() || text.len() > LONGEST_IDENTIFIER || !text.bytes().all(allowed) {
        return Err(format!(
            "a slot's name is 1 to {LONGEST_IDENTIFIER} lower-case letters, digits and \
             underscores, got {text:?}"
        ));
    }
    Ok(text.to_owned())
}

/// The name or the address of a server, or the directory of its socket.
pub(super) fn host(text: &str) -> Result<String, String> {
    let text = any(text.trim())?;
    // A directory may have any name; elsewhere these are a slip of the pen.
    if !text.starts_with('/') && text.contains([',', ' ', '/']) {
        return Err(format!(
            "expected a host name, an address or a socket directory, got {text:?}"
        ));
    }
    Ok(text)
}

/// A member of etcd, `host:port`, `http://host:port` or `https://host:port`.
pub(super) fn endpoint(text: &str) -> Result<String, String> {
    let text = any(text.trim())?;
    if text.contains('@') {
        // The text is not repeated, for it has a password in it.
        return Err("an endpoint has no user in it: set etcd.username and etcd.password".to_owned());
    }
    let malformed =
        || format!("expected host:port, http://host:port or https://host:port, got {text:?}");
    let text = text.strip_suffix('/').unwrap_or(&text);
    let authority = ["http://", "https://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    let authority = authority.unwrap_or(text);
    let (host, port) = authority.rsplit_once(':').ok_or_else(malformed)?;
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let well_formed =
        !host.is_empty() && !host.contains(['/', ' ']) && (bracketed || !host.contains(':'));
    let numbered = port.bytes().all(|byte| byte.is_ascii_digit())
        && port.parse::<u16>().is_ok_and(|port| port > 0);
    if well_formed && numbered { Ok(text.to_owned()) } else { Err(malformed()) }
}

/// Where to listen, `address:port`. The port 0 is any that is free.
pub(super) fn listen(text: &str) -> Result<String, String> {
    let text = any(text.trim())?;
    let (address, port) = text.rsplit_once(':').unwrap_or((&text, ""));
    let number = port.bytes().all(|byte| byte.is_ascii_digit());
    let bracketed = address.starts_with('[') && address.ends_with(']');
    let plain = !address.is_empty() && !address.contains([':', '[', ']', '/', ' ']);
    if (bracketed || plain) && number && port.parse::<u16>().is_ok() {
        return Ok(text);
    }
    Err(format!("expected address:port, such as 127.0.0.1:9187 or [::1]:9187, got {text:?}"))
}

/// What keys in etcd are below: the slashes at the ends are dropped.
pub(super) fn key_path(text: &str) -> Result<String, String> {
    any(text.trim_matches('/'))
}

/// The levels of the log, from none to all.
pub(super) const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// What is logged: a level, or `module=level`, or several of them with commas between.
pub(super) fn log_filter(text: &str) -> Result<String, String> {
    let text = any(text.trim())?;
    let in_module = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | ':');
    for directive in text.split(',').map(str::trim) {
        let (module, level) = directive.rsplit_once('=').unwrap_or(("", directive));
        if LevelFilter::from_str(level).is_err() || !module.chars().all(in_module) {
            return Err(format!(
                "expected {} or module=level, got {directive:?}",
                LEVELS.join(", ")
            ));
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Check = fn(&str) -> Result<String, String>;

    #[test]
    fn good_texts_are_kept_in_one_form() {
        let checks: [(Check, &str, &str); 21] = [
            (any, "ä b", "ä b"),
            (identifier, "Any Name", "Any Name"),
            (slot_name, "pg2etcd_01", "pg2etcd_01"),
            (host, " db.example ", "db.example"),
            (host, "::1", "::1"),
            (host, "/run/my sockets", "/run/my sockets"),
            (endpoint, "127.0.0.1:2379", "127.0.0.1:2379"),
            (endpoint, " http://etcd-0:2379/", "http://etcd-0:2379"),
            (endpoint, "https://[::1]:2379", "https://[::1]:2379"),
            (endpoint, "[::1]:2379", "[::1]:2379"),
            (listen, " 127.0.0.1:9187 ", "127.0.0.1:9187"),
            (listen, "[::]:0", "[::]:0"),
            (listen, "localhost:9187", "localhost:9187"),
            (key_path, "/a/b//c/", "a/b//c"),
            (key_path, ".pg2etcd/x", ".pg2etcd/x"),
            (log_filter, "info", "info"),
            (log_filter, "INFO", "INFO"),
            (log_filter, "off", "off"),
            (log_filter, "warn,pg2etcd::etcd=debug", "warn,pg2etcd::etcd=debug"),
            (log_filter, "info, ureq=trace", "info, ureq=trace"),
            (identifier, &"x".repeat(63), &"x".repeat(63)),
        ];
        for (check, text, kept) in checks {
            assert_eq!(check(text).as_deref(), Ok(kept));
        }
    }

    #[test]
    fn bad_texts_are_refused() {
        let checks: [(Check, &[&str]); 8] = [
            (any, &["", "a\0b", "a\nb"]),
            (identifier, &["", &"x".repeat(64)]),
            (slot_name, &["", "Upper", "a-b", "a b", &"x".repeat(64)]),
            (host, &["", "a,b", "a b", "http://a"]),
            (
                endpoint,
                &[
                    "",
                    "a",
                    "a:",
                    ":2379",
                    "a:0",
                    "a:65536",
                    "a:+1",
                    "::1:2379",
                    "a:1/x",
                    "ftp://a:1",
                    "b c:1",
                ],
            ),
            (listen, &["", "9187", ":9187", "a:", "a:+1", "a:65536", "::1:9187", "http://a:1"]),
            (key_path, &["", "/", "//", "a\0"]),
            (log_filter, &["", "inof", "info,", "ureq", "ureq=loud", "info;ureq=trace"]),
        ];
        for (check, texts) in checks {
            for text in texts {
                assert!(check(text).is_err(), "{text:?}");
            }
        }
    }

    #[test]
    fn an_endpoint_says_why_it_is_refused() {
        let problem = endpoint("http://root:hunter2@etcd-0:2379").unwrap_err();
        assert!(problem.contains("etcd.username") && !problem.contains("hunter2"), "{problem}");
    }
}
