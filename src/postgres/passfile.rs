//! The password file (manual, "libpq - C Library", "The Password File").

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::logging::warn_once;

/// The password for a connection by the file at `path`, as libpq finds it: the first line whose
/// `host:port:database:user:password` matches.
///
/// `None` if no line matches, if there is no such file, and, with a warning, if the file cannot
/// be read, is no plain file, or has group or world access. A socket directory that is a default
/// one is looked up as `localhost`.
#[must_use]
pub(crate) fn lookup(
    path: &Path,
    host: &str,
    port: u16,
    database: &str,
    user: &str,
) -> Option<String> {
    let shown = path.display();
    let metadata = fs::metadata(path).ok()?;
    if !metadata.is_file() {
        warn_once(format!("password file {shown} is not a plain file: it is ignored"));
        return None;
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        warn_once(format!(
            "password file {shown} has group or world access, it should be 0600: it is ignored"
        ));
        return None;
    }
    let content = match fs::read(path) {
        Ok(content) => content,
        Err(error) => {
            warn_once(format!("password file {shown}: {error}"));
            return None;
        }
    };
    let host = if DEFAULT_SOCKET_DIRECTORIES.contains(&host) { "localhost" } else { host };
    find(&content, [host, &port.to_string(), database, user])
}

/// Where PostgreSQL, and the packages of the distributions, put the socket unless told otherwise.
const DEFAULT_SOCKET_DIRECTORIES: [&str; 3] = ["/tmp", "/run/postgresql", "/var/run/postgresql"];

fn find(content: &[u8], wanted: [&str; 4]) -> Option<String> {
    let mut lines = content.split(|byte| *byte == b'\n').filter(|line| !line.starts_with(b"#"));
    let password = lines.find_map(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        wanted.iter().try_fold(line, |rest, field| match_field(rest, field.as_bytes()))
    })?;
    let (password, _) = unescape(password);
    String::from_utf8(password).ok()
}

/// What follows the line's first field and its colon, if that field is `*` or is `wanted`.
fn match_field<'a>(line: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    if let Some(rest) = line.strip_prefix(b"*:") {
        return Some(rest);
    }
    let (field, rest) = unescape(line);
    rest.filter(|_| field == wanted)
}

/// The text up to the first colon, `\` taken off whatever it protects, and what follows the colon.
fn unescape(line: &[u8]) -> (Vec<u8>, Option<&[u8]>) {
    let mut text = Vec::new();
    let mut rest = line;
    loop {
        rest = match rest {
            [] => return (text, None),
            [b':', rest @ ..] => return (text, Some(rest)),
            [b'\\', protected, rest @ ..] => {
                text.push(*protected);
                rest
            }
            [byte, rest @ ..] => {
                text.push(*byte);
                rest
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WANTED: [&str; 4] = ["db.example", "5432", "shop", "reader"];

    fn found(content: &str) -> Option<String> {
        find(content.as_bytes(), WANTED)
    }

    #[test]
    fn the_first_line_that_matches_wins() {
        let content = "# db.example:5432:shop:reader:comment\n\
                       \n\
                       db.example:5433:shop:reader:other port\n\
                       *:*:shop:reader:first\r\n\
                       db.example:5432:shop:reader:second\n";
        assert_eq!(found(content).as_deref(), Some("first"));
    }

    #[test]
    fn escapes_protect_colons_and_backslashes() {
        assert_eq!(found(r"*:*:*:*:a\:b\\c\d:rest").as_deref(), Some(r"a:b\cd"));
        assert_eq!(find(br"\:\:1:*:*:*:six", ["::1", "1", "d", "u"]).as_deref(), Some("six"));
        assert_eq!(find(br"\*:*:*:*:star", ["*", "1", "d", "u"]).as_deref(), Some("star"));
    }

    #[test]
    fn lines_that_say_less_match_nothing() {
        for content in ["", ":", "*:*:*:*", "db.example:5432:shop:reader", "*x:*:*:*:no"] {
            assert_eq!(found(content), None, "{content:?}");
        }
    }

    #[test]
    fn only_a_private_plain_file_is_used() {
        let directory =
            std::env::temp_dir().join(format!("pg2etcd-passfile-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a folder");
        let file = directory.join("pgpass");
        fs::write(&file, "localhost:5432:shop:reader:found\n").expect("a file");
        let lookup = |path: &Path, mode: u32| {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("a mode");
            lookup(path, "/var/run/postgresql", 5432, "shop", "reader")
        };
        assert_eq!(lookup(&file, 0o600).as_deref(), Some("found"));
        assert_eq!(lookup(&file, 0o640), None);
        assert_eq!(lookup(&file, 0o604), None);
        assert_eq!(lookup(&directory, 0o600), None);
        assert_eq!(lookup(&directory.join("none"), 0o600), None);
        fs::remove_dir_all(&directory).expect("cleaned up");
    }

    proptest! {
        #[test]
        fn no_file_panics(content: Vec<u8>) {
            let _ = find(&content, WANTED);
        }
    }
}
