//! The claims: for each keyspace a key in etcd that says which copy has the keys below, so that no
//! two copies ever write, or delete, the same ones.
//!
//! A keyspace is claimed before anything below it is written, and given up after all below it is
//! deleted. A table whose keyspace is not this copy's is left out like one without a key.

mod ownership;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use self::ownership::{Claim, Verdict, verdict};
pub(crate) use self::ownership::{Found, Owner, overlap};
use crate::error::{Error, Result, Unmet};
use crate::etcd::{Client, Txn, prefix_end};
use crate::mapping::{
    CopiedTable, Keyspace, PublishedTables, keyspace_in_key, keyspace_of, table_named,
};
use crate::state::layout;
use crate::state::records::{Name, TableRecord};

/// How many foreign keys are named.
const NAMED: usize = 3;
/// How many claims are put at once, at most.
const BATCH: usize = 128;

/// What this copy has claimed, and may claim.
#[derive(Debug)]
pub(crate) struct Claims {
    owner: Owner,
    /// Whether keys that nobody claims are taken over.
    adopt: bool,
    /// How many claims are put at once.
    batch: usize,
    known: Mutex<Known>,
}

/// What was found out in this life.
#[derive(Debug, Default)]
struct Known {
    /// The keyspaces that are claimed.
    held: BTreeSet<Vec<u8>>,
    /// Those that cannot be.
    refused: BTreeSet<Vec<u8>>,
    /// Those that are about to be given up: their claims may go at any moment, so whoever needs one puts it
    /// anew.
    leaving: BTreeSet<Vec<u8>>,
}

/// A keyspace that is to be claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// What the keys begin with.
    pub(crate) keyspace: Vec<u8>,
    /// The keys that the table can have there.
    pub(crate) keys: Keyspace,
    /// The table.
    pub(crate) table: String,
    /// Whether a record says that what is there is this copy's, as one of an earlier version does,
    /// which made no claims.
    pub(crate) recorded: bool,
}

/// A keyspace that this copy cannot have.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    /// The keyspace, and the table.
    pub(crate) wanted: Wanted,
    /// Why, and what to do.
    pub(crate) reason: Unmet,
}

/// All claims of all copies, as they were at one revision.
struct Store {
    found: Vec<Found>,
    revision: i64,
}

/// What is to become of keyspaces that are wanted.
#[derive(Default)]
struct Judgement {
    /// The claims that have to be put, by their keyspaces.
    put: BTreeMap<Vec<u8>, Claim>,
    /// Those that cannot be claimed.
    refused: Vec<Refusal>,
}

impl Claims {
    /// Those of a copy; a txn may have so many operations.
    pub(crate) fn new(owner: Owner, adopt: bool, max_txn_ops: usize) -> Self {
        let batch = BATCH.min(max_txn_ops).max(1);
        Self { owner, adopt, batch, known: Mutex::default() }
    }

    /// Which of these keyspaces this copy cannot have. Nothing is changed.
    pub(crate) fn refusals(&self, client: &mut Client, wanted: &[Wanted]) -> Result<Vec<Refusal>> {
        let store = Store::read(client)?;
        Ok(self.judge(client, &store, wanted)?.refused)
    }

    /// Claims those of these keyspaces that this copy can have, and returns the others.
    pub(crate) fn take(&self, client: &mut Client, wanted: &[Wanted]) -> Result<Vec<Refusal>> {
        loop {
            let store = Store::read(client)?;
            let Judgement { put, refused } = self.judge(client, &store, wanted)?;
            // Whoever has put a claim since may have one of these keyspaces now.
            let put: Vec<_> = put.into_iter().collect();
            if self.put(client, &put, store.revision)? {
                self.learn(wanted, &refused);
                return Ok(refused);
            }
        }
    }

    /// Claims the keyspace of a table if that is not done yet; if this copy cannot have it, why.
    pub(crate) fn require(&self, client: &mut Client, wanted: Wanted) -> Result<Option<Unmet>> {
        if self.known().held.contains(&wanted.keyspace) {
            return Ok(None);
        }
        let refused = self.take(client, &[wanted])?;
        Ok(refused.into_iter().next().map(|refusal| refusal.reason))
    }

    /// Claims the keyspaces of tables that are to be copied, and leaves those out that this copy
    /// cannot have.
    pub(crate) fn admit(
        &self,
        client: &mut Client,
        mut tables: PublishedTables,
    ) -> Result<PublishedTables> {
        let wanted: Vec<_> = tables.copied.iter().flat_map(Wanted::of).collect();
        let refused = self.take(client, &wanted)?;
        tables.leave_out(
            refused.into_iter().map(|refused| (refused.wanted.keyspace, refused.reason)),
        );
        Ok(tables)
    }

    /// What this copy has claimed.
    pub(crate) fn own(&self, client: &mut Client) -> Result<Vec<Found>> {
        let mut found = Store::read(client)?.found;
        found.retain(|found| found.belongs_to(&self.owner));
        Ok(found)
    }

    /// Takes note that a keyspace is about to be given up: whoever needs it claims it anew.
    pub(crate) fn forget(&self, keyspace: &[u8]) {
        let mut known = self.known();
        known.held.remove(keyspace);
        known.leaving.insert(keyspace.to_vec());
    }

    /// Gives up claims of keyspaces of which no key is left. One that was put anew meanwhile stays,
    /// and those beside it: the watch gives them up later.
    pub(crate) fn release(&self, client: &mut Client, claims: &[Found]) -> Result<()> {
        for batch in claims.chunks(self.batch) {
            let mut txn = Txn::new();
            for Found { keyspace, mod_revision, .. } in batch {
                self.forget(keyspace);
                txn.delete(&key(keyspace));
                txn.compare_mod_revision(&key(keyspace), *mod_revision);
            }
            client.txn(&mut txn)?;
        }
        Ok(())
    }

    fn judge(&self, client: &mut Client, store: &Store, wanted: &[Wanted]) -> Result<Judgement> {
        let own: Vec<_> =
            store.found.iter().filter(|found| found.belongs_to(&self.owner)).collect();
        let mut judgement = Judgement::default();
        // What was claimed in the name of another slot, cluster or database goes on in this one's.
        for found in &own {
            if let Some(claim) = &found.claim
                && *claim != self.owner.claim(&claim.table)
            {
                judgement.put.insert(found.keyspace.clone(), self.owner.claim(&claim.table));
            }
        }
        for wanted in wanted {
            let Wanted { keyspace, table, recorded, .. } = wanted;
            let refuse = |reason| Refusal { wanted: wanted.clone(), reason };
            match verdict(&self.owner, &store.found, keyspace) {
                Verdict::Taken(taken) => {
                    judgement.refused.push(refuse(self.taken(wanted, taken)));
                    continue;
                }
                Verdict::Own if !self.known().leaving.contains(keyspace) => continue,
                Verdict::Own => {}
                Verdict::Free if *recorded || self.adopt => {}
                Verdict::Free => {
                    let keys = foreign_keys(client, &wanted.keys, &own)?;
                    if !keys.is_empty() {
                        judgement.refused.push(refuse(foreign(wanted, &keys)));
                        continue;
                    }
                }
            }
            judgement.put.insert(keyspace.clone(), self.owner.claim(table));
        }
        Ok(judgement)
    }

    /// Puts claims, unless somebody has put one after `revision`; then it returns false.
    fn put(
        &self,
        client: &mut Client,
        claims: &[(Vec<u8>, Claim)],
        mut revision: i64,
    ) -> Result<bool> {
        for batch in claims.chunks(self.batch) {
            let mut txn = Txn::new();
            for (keyspace, claim) in batch {
                // Texts always have a JSON form.
                txn.put(&key(keyspace), &serde_json::to_vec(claim).unwrap_or_default());
            }
            txn.compare_none_newer(&layout::claims(), revision);
            let reply = client.txn(&mut txn)?;
            if !reply.succeeded {
                return Ok(false);
            }
            revision = reply.revision;
        }
        Ok(true)
    }

    /// Takes note of what is claimed and what cannot be. The watch says what is not copied.
    fn learn(&self, wanted: &[Wanted], refused: &[Refusal]) {
        let mut known = self.known();
        for Wanted { keyspace, .. } in wanted {
            if !refused.iter().any(|refused| refused.wanted.keyspace == *keyspace) {
                known.refused.remove(keyspace);
                known.leaving.remove(keyspace);
                known.held.insert(keyspace.clone());
            }
        }
        for Refusal { wanted: Wanted { keyspace, table, .. }, reason } in refused {
            known.held.remove(keyspace);
            if known.refused.insert(keyspace.clone()) {
                log::debug!("No claim for table {table}: {reason}");
            }
        }
    }

    fn taken(&self, Wanted { keyspace, table, .. }: &Wanted, taken: &Found) -> Unmet {
        let keyspace = String::from_utf8_lossy(keyspace);
        let theirs = String::from_utf8_lossy(&taken.keyspace);
        let them = match &taken.claim {
            Some(claim) => claim.to_string(),
            None => {
                format!(
                    "a claim that cannot be read, {}",
                    String::from_utf8_lossy(&key(&taken.keyspace))
                )
            }
        };
        Unmet::new(
            format!(
                "the keys below {theirs} are claimed by another copy, for {them}, and those below \
                 {keyspace} would be for {}",
                self.owner.claim(table)
            ),
            "set another etcd.path, or run pg2etcd drop with the settings of the other copy if \
             that is no longer wanted",
        )
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // A thread that panicked left whole sets.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wanted {
    /// These keys of a table of this name.
    pub(crate) fn new(keys: &Keyspace, table: String, recorded: bool) -> Self {
        Self { keyspace: keys.prefix().to_vec(), keys: keys.clone(), table, recorded }
    }

    /// The keyspaces of a table that is to be copied.
    pub(crate) fn of(table: &CopiedTable) -> Vec<Self> {
        let name = table.published.name.to_string();
        let keyspaces = table.plan.keyspaces().iter();
        keyspaces.map(|keys| Self::new(keys, name.clone(), false)).collect()
    }

    /// The keyspaces of a table that was copied.
    pub(crate) fn of_record((name, record): (&Name, &TableRecord)) -> Vec<Self> {
        let text = || String::from_utf8_lossy(name).into_owned();
        let table = table_named(name).map_or_else(text, |name| name.to_string());
        let keyspaces = record.keyspaces();
        keyspaces.iter().map(|keys| Self::new(keys, table.clone(), true)).collect()
    }
}

impl Store {
    fn read(client: &mut Client) -> Result<Self> {
        let prefix = layout::claims();
        let mut pages = client.pages(&prefix, &prefix_end(&prefix), false);
        let mut found = Vec::new();
        while let Some(page) = pages.next_page().map_err(Error::from)? {
            found.extend(page.into_iter().filter_map(|kv| {
                let keyspace = keyspace_of(kv.key.strip_prefix(&prefix[..])?)?;
                let claim = serde_json::from_slice(&kv.value).ok();
                Some(Found { keyspace, claim, mod_revision: kv.mod_revision })
            }));
        }
        Ok(Self { found, revision: pages.revision().unwrap_or(0) })
    }
}

/// The key of the claim of a keyspace.
pub(crate) fn key(keyspace: &[u8]) -> Vec<u8> {
    [layout::claims(), keyspace_in_key(keyspace)].concat()
}

/// Some of the keys in a keyspace that are in none that this copy has claimed.
fn foreign_keys(client: &mut Client, wanted: &Keyspace, own: &[&Found]) -> Result<Vec<String>> {
    let keyspace = wanted.prefix();
    let mut keys = Vec::new();
    let mut pages = client.pages(keyspace, &prefix_end(keyspace), true).at_most(NAMED);
    while let Some(page) = pages.next_page().map_err(Error::from)? {
        let is_own = |key: &[u8]| own.iter().any(|own| key.starts_with(&own.keyspace));
        let foreign =
            page.into_iter().map(|kv| kv.key).filter(|key| wanted.gives(key) && !is_own(key));
        keys.extend(foreign.map(|key| String::from_utf8_lossy(&key).into_owned()));
        if keys.len() >= NAMED {
            break;
        }
    }
    keys.truncate(NAMED);
    Ok(keys)
}

fn foreign(Wanted { keyspace, table, .. }: &Wanted, keys: &[String]) -> Unmet {
    Unmet::new(
        format!(
            "there are keys below {} already, where the rows of table {table} would go, and no copy \
             claims them: {}",
            String::from_utf8_lossy(keyspace),
            keys.join(", ")
        ),
        "set another etcd.path, or sync.adopt = true to take them over: those without a row are \
         then deleted",
    )
}
