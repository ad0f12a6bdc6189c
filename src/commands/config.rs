//! `pg2etcd config`: the settings as they are, and where each is from.

use crate::config::{KEYS, Loaded};
use crate::mapping::Word;

/// The settings as a TOML file, secrets hidden, with the origin of each in a comment.
#[must_use]
pub fn to_toml(loaded: &Loaded) -> String {
    // A field is reached by a mutable reference, for the parser sets it.
    let mut settings = loaded.settings.clone();
    let mut toml = String::new();
    let mut open_table = "";
    for key in KEYS {
        let (table, name) = key.in_table();
        if table != open_table {
            open_table = table;
            toml.push_str(&format!("\n[{table}]\n"));
        }
        toml.push_str(&match (key.field)(&mut settings).to_toml() {
            Some(value) => format!("{name} = {value}  # {}\n", loaded.origin(key.name)),
            None => format!("# {name} is not set\n"),
        });
    }
    for (name, shape) in &loaded.settings.tables {
        let name = serde_json::Value::from(name.to_string());
        toml.push_str(&format!("\n[tables.{name}]  # {}\n", shape.place));
        for Word { name, value, place } in &shape.words {
            toml.push_str(&format!("{name} = {value}  # {place}\n"));
        }
    }
    toml
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::config::load;

    const OPTIONS: [&str; 14] = [
        "log_level=info,ureq=debug",
        "database.host=a,/run/b c",
        "database.port=1,2",
        "database.user=say \"hi\" \\ é",
        "database.password=hunter2",
        "database.connect_timeout=1m 30s",
        "database.sslmode=verify-ca",
        "etcd.endpoints=a:1,https://[::1]:2",
        "etcd.tls.trusted_ca_path=/ca.crt",
        "etcd.max_request_bytes=100000B",
        "sync.tables=\"a.b\".\"c,d\",e.f",
        "sync.oversized=skip",
        "sync.coalesce=true",
        "sync.writers=7",
    ];

    /// Each line of the output without its comment.
    fn values(toml: &str) -> Vec<&str> {
        toml.lines().map(|line| line.split("  # ").next().unwrap_or_default()).collect()
    }

    #[test]
    fn the_output_is_a_file_with_the_same_settings() {
        let environment = [("ETCDCTL_USER".into(), "root:sesame".into())].into_iter().collect();
        let options = OPTIONS.map(str::to_owned);
        let first = to_toml(&load(Some(Path::new("/dev/null")), &options, &environment).unwrap());

        let path = std::env::temp_dir().join(format!("pg2etcd-config-{}.toml", std::process::id()));
        fs::write(&path, &first).unwrap();
        let again = load(Some(&path), &[], &[].into_iter().collect()).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(values(&to_toml(&again)), values(&first));

        assert!(!first.contains("hunter2") && !first.contains("sesame"), "{first}");
        for line in [
            "log_level = \"info,ureq=debug\"  # -o",
            "port = [1, 2]  # -o",
            "password = \"********\"  # environment ETCDCTL_USER",
            "username = \"root\"  # environment ETCDCTL_USER",
            "catalog_period = \"1m\"  # default",
        ] {
            assert!(first.lines().any(|printed| printed == line), "{line} in {first}");
        }
    }

    #[test]
    fn what_has_no_value_is_a_comment() {
        let options = ["database.user=u".to_owned()];
        let loaded =
            load(Some(Path::new("/dev/null")), &options, &[].into_iter().collect()).unwrap();
        assert_eq!(to_toml(&loaded).matches("# password is not set\n").count(), 2);
    }
}
