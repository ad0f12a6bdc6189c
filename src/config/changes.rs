//! What is not as it was when the settings are read again.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::{Field, KEYS, Loaded, Settings};
use crate::mapping::TableShape;

/// The settings that name a file of which the content counts: it may be replaced, and keep its
/// name.
const FILES: [&str; 8] = [
    "database.password_file",
    "database.sslrootcert",
    "database.sslcert",
    "database.sslkey",
    "etcd.password_file",
    "etcd.tls.trusted_ca_path",
    "etcd.tls.certificate_path",
    "etcd.tls.key_path",
];

/// The settings at one moment, with a digest of each file that they name.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The settings.
    pub loaded: Loaded,
    /// In the order of [`FILES`]; `None` where there is no such file.
    digests: [Option<u64>; FILES.len()],
}

/// A setting that is not as it was.
#[derive(Debug, PartialEq, Eq)]
pub struct Change {
    /// The setting's name, or `tables` for the block of a table.
    pub name: &'static str,
    /// What has become of it, in words.
    pub text: String,
}

impl Reading {
    /// Reads the files that the settings name.
    #[must_use]
    pub fn new(mut loaded: Loaded) -> Self {
        let digests = FILES.map(|name| digest(&mut loaded.settings, name));
        Self { loaded, digests }
    }

    /// What has changed from this reading to `later`: a setting's value, or the content of the file
    /// that it names.
    #[must_use]
    pub fn changes(&self, later: &Self) -> Vec<Change> {
        // A field is reached by a mutable reference, for the parser sets it.
        let mut before = self.loaded.settings.clone();
        let mut after = later.loaded.settings.clone();
        let mut changes = Vec::new();
        for key in KEYS {
            let (old, new) = ((key.field)(&mut before), (key.field)(&mut after));
            let file = FILES.iter().position(|name| *name == key.name);
            let same_file = file.is_none_or(|at| self.digests[at] == later.digests[at]);
            let printed = |field: &Field<'_>| field.to_toml().unwrap_or_else(|| "not set".into());
            let text = match (old.is(&new), same_file) {
                (true, true) => continue,
                (true, false) => format!("{} (its file has another content)", key.name),
                (false, _) => {
                    let origin = later.loaded.origin(key.name);
                    format!("{} = {} ({origin}; was {})", key.name, printed(&new), printed(&old))
                }
            };
            changes.push(Change { name: key.name, text });
        }
        changes.extend(changed_blocks(&before, &after));
        changes
    }
}

/// The blocks of tables that came, went, or have other words.
fn changed_blocks(before: &Settings, after: &Settings) -> Vec<Change> {
    let words = |shape: &TableShape| -> Vec<_> {
        shape.words.iter().map(|word| (word.name.clone(), word.value.clone())).collect()
    };
    let change = |text| Change { name: "tables", text };
    let gone = before.tables.iter().filter(|(table, _)| !after.tables.contains_key(table));
    let gone = gone.map(|(table, _)| change(format!("[tables.{table}] is gone")));
    let now = after.tables.iter().filter_map(|(table, shape)| {
        let what = match before.tables.get(table) {
            None => "is new",
            Some(old) if words(old) != words(shape) => "has changed",
            Some(_) => return None,
        };
        Some(change(format!("[tables.{table}] {what} ({})", shape.place)))
    });
    gone.chain(now).collect()
}

/// A digest of the file that this setting names. A pipe is left alone: it can be read only once.
fn digest(settings: &mut Settings, name: &str) -> Option<u64> {
    let key = KEYS.iter().find(|key| key.name == name)?;
    let Field::OptionalText(Some(path), _) = (key.field)(settings) else { return None };
    let content = fs::metadata(&*path).ok()?.is_file().then(|| fs::read(&*path).ok())??;
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    Some(hasher.finish())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::load;

    fn reading(options: &[&str]) -> Reading {
        let options: Vec<_> = ["database.user=u"].iter().chain(options).collect();
        let options: Vec<_> = options.into_iter().map(ToString::to_string).collect();
        let environment = [].into_iter().collect();
        Reading::new(load(Some(Path::new("/dev/null")), &options, &environment).unwrap())
    }

    fn texts(before: &Reading, after: &Reading) -> Vec<String> {
        before.changes(after).into_iter().map(|change| change.text).collect()
    }

    #[test]
    fn what_changed_is_named_and_secrets_are_hidden() {
        let before = reading(&["database.password=one", "sync.writers=4"]);
        assert_eq!(texts(&before, &reading(&["database.password=one"])), [""; 0]);
        let after = reading(&["database.password=two", "sync.writers=7", "sync.tables=a"]);
        assert_eq!(
            texts(&before, &after),
            [
                r#"database.password = "********" (-o; was "********")"#,
                r#"sync.tables = ["public.a"] (-o; was [])"#,
                "sync.writers = 7 (-o; was 4)",
            ]
        );
    }

    #[test]
    fn a_file_that_was_replaced_is_a_change() {
        let path = std::env::temp_dir().join(format!("pg2etcd-changes-{}", std::process::id()));
        let option = format!("database.password_file={}", path.display());
        let read = |content: &str| {
            fs::write(&path, content).unwrap();
            reading(&[&option])
        };
        let (first, same, other) = (read("a"), read("a"), read("b"));
        fs::remove_file(&path).unwrap();
        assert_eq!(texts(&first, &same), [""; 0]);
        let expected = ["database.password_file (its file has another content)"];
        assert_eq!(texts(&first, &other), expected);
    }

    #[test]
    fn the_files_are_settings() {
        for name in FILES {
            let key = KEYS.iter().find(|key| key.name == name).unwrap();
            let mut settings = Settings::default();
            assert!(matches!((key.field)(&mut settings), Field::OptionalText(..)), "{name}");
        }
    }
}
