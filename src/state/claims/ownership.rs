//! Whose keys are whose: a pure function of the claims that were found.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What is to become of a keyspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict<'f> {
    /// This copy has claimed it.
    Own,
    /// Nobody has claimed it, nor one inside or around it.
    Free,
    /// Another copy has this claim, of the keyspace itself or of one inside or around it.
    Taken(&'f Found),
}

/// Who may have a keyspace, given the claims that were found.
pub(super) fn verdict<'f>(owner: &Owner, found: &'f [Found], keyspace: &[u8]) -> Verdict<'f> {
    let foreign = |found: &&Found| !found.belongs_to(owner) && overlap(&found.keyspace, keyspace);
    if let Some(taken) = found.iter().find(foreign) {
        return Verdict::Taken(taken);
    }
    match found.iter().any(|found| found.keyspace == keyspace) {
        true => Verdict::Own,
        false => Verdict::Free,
    }
}

/// Whether one keyspace is the other, or lies inside it.
pub(crate) fn overlap(one: &[u8], other: &[u8]) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

/// A claim, a JSON object in etcd: the copy that has the keys of a keyspace, and their table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claim {
    /// Where the copy has its position.
    pub(crate) state_path: String,
    /// The PostgreSQL cluster that it copies.
    pub(crate) system_identifier: String,
    /// The database that it copies.
    pub(crate) database: String,
    /// Its replication slot.
    pub(crate) slot: String,
    /// The table, with its schema.
    pub(crate) table: String,
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { state_path, system_identifier, database, slot, table } = self;
        write!(
            f,
            "table {table} of database {database} (slot {slot}, state path {state_path}, cluster \
             {system_identifier})"
        )
    }
}

/// A claim as it is found in etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// What the claimed keys begin with.
    pub(crate) keyspace: Vec<u8>,
    /// `None` if it cannot be read: somebody's it is, and not this copy's.
    pub(crate) claim: Option<Claim>,
    /// The revision that put it.
    pub(crate) mod_revision: i64,
}

impl Found {
    /// Whether it is a claim of this copy.
    pub(super) fn belongs_to(&self, owner: &Owner) -> bool {
        self.claim.as_ref().is_some_and(|claim| owner.owns(claim))
    }
}

/// A copy, as its claims name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    /// Where it has its position: no two copies share that.
    pub(crate) state_path: String,
    /// The PostgreSQL cluster that it copies.
    pub(crate) system_identifier: String,
    /// The database that it copies.
    pub(crate) database: String,
    /// Its replication slot.
    pub(crate) slot: String,
    /// The cluster and the database that it copied before, if it was told to copy these from now on.
    pub(crate) former: Option<(String, String)>,
}

impl Owner {
    /// Its claim of a table's keyspace.
    pub(super) fn claim(&self, table: &str) -> Claim {
        Claim {
            state_path: self.state_path.clone(),
            system_identifier: self.system_identifier.clone(),
            database: self.database.clone(),
            slot: self.slot.clone(),
            table: table.to_owned(),
        }
    }

    /// A slot of another name is one that the same copy has been given since. Two clusters may have
    /// the same state path, by the same slot's name: their copies are two.
    fn owns(&self, claim: &Claim) -> bool {
        let of = |cluster: &str, database: &str| {
            claim.system_identifier == cluster && claim.database == database
        };
        claim.state_path == self.state_path
            && (of(&self.system_identifier, &self.database)
                || self.former.as_ref().is_some_and(|(cluster, database)| of(cluster, database)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(state_path: &str, cluster: &str, database: &str) -> Owner {
        Owner {
            state_path: state_path.to_owned(),
            system_identifier: cluster.to_owned(),
            database: database.to_owned(),
            slot: "s".to_owned(),
            former: None,
        }
    }

    fn found(keyspace: &str, owner: &Owner) -> Found {
        let claim = Some(owner.claim("public.t"));
        Found { keyspace: keyspace.as_bytes().to_vec(), claim, mod_revision: 1 }
    }

    #[test]
    fn who_may_have_a_keyspace() {
        /// In a word.
        fn word(verdict: Verdict<'_>) -> &'static str {
            match verdict {
                Verdict::Own => "own",
                Verdict::Free => "free",
                Verdict::Taken(_) => "taken",
            }
        }
        let ours = owner("state", "7", "shop");
        let other = owner("other", "7", "shop");
        let slot = Owner { slot: "another".to_owned(), ..ours.clone() };
        let unreadable = Found { keyspace: b"/a/t/".to_vec(), claim: None, mod_revision: 1 };
        let cases = [
            (vec![], "free"),
            (vec![found("/a/t/", &ours)], "own"),
            (vec![found("/a/t/", &slot)], "own"),
            (vec![found("/a/t/", &other)], "taken"),
            (vec![unreadable], "taken"),
            // The same state path, of another cluster or another database there.
            (vec![found("/a/t/", &owner("state", "8", "shop"))], "taken"),
            (vec![found("/a/t/", &owner("state", "7", "till"))], "taken"),
            // Inside it and around it, of another and of this copy.
            (vec![found("/a/t/b/", &other)], "taken"),
            (vec![found("/a/", &other)], "taken"),
            (vec![found("/a/t/b/", &ours), found("/a/", &ours)], "free"),
            (vec![found("/a/t/", &ours), found("/a/t/b/", &other)], "taken"),
            // Beside it.
            (vec![found("/a/t2/", &other), found("/a/s/", &other), found("/b/t/", &other)], "free"),
        ];
        for (found, expected) in cases {
            assert_eq!(word(verdict(&ours, &found, b"/a/t/")), expected, "{found:?}");
        }
        let former = Some(("8".to_owned(), "till".to_owned()));
        let accepted = Owner { former, ..ours.clone() };
        for (claimed, expected) in [
            (owner("state", "8", "till"), "own"),
            (owner("state", "8", "shop"), "taken"),
            (owner("other", "8", "till"), "taken"),
            (ours, "own"),
        ] {
            let found = [found("/a/t/", &claimed)];
            assert_eq!(word(verdict(&accepted, &found, b"/a/t/")), expected, "{claimed:?}");
        }
    }

    #[test]
    fn a_claim_has_the_documented_form() {
        let claim = owner("state", "7", "shop").claim("public.t");
        let json = concat!(
            r#"{"state_path":"state","system_identifier":"7","database":"shop","slot":"s","#,
            r#""table":"public.t"}"#
        );
        assert_eq!(serde_json::to_string(&claim).expect("JSON"), json);
        assert_eq!(serde_json::from_str::<Claim>(json).expect("a claim"), claim);
    }
}
