//! `drop`: removes what pg2etcd made for a copy.

use std::thread;
use std::time::{Duration, Instant};

use super::no_stop;
use super::output::{note, print};
use crate::config::Settings;
use crate::error::{Error, Result, Unmet};
use crate::etcd::{Client, Txn, prefix_end};
use crate::mapping::Keyspace;
use crate::postgres::{Session, SlotFacts};
use crate::state::checkpoint::{Checkpoint, Phase};
use crate::state::claims::{self, Wanted};
use crate::state::layout;
use crate::state::own_publication;
use crate::state::records::Records;
use crate::supervisor::claiming;

/// How long a daemon that comes back again and again is worked against.
const STRUGGLE: Duration = Duration::from_secs(10);
/// The pause between two looks at whether its stream has ended.
const PAUSE: Duration = Duration::from_millis(10);

/// What is to be removed, and how.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extent {
    /// The stream of a daemon is ended; without that, it is a reason not to remove anything.
    pub force: bool,
    /// The keys of the tables go too.
    pub keys: bool,
    /// Nothing is changed: it is only said what would go.
    pub dry_run: bool,
}

/// Removes slot, publication, claims and position, and what else the extent names.
///
/// What was removed is printed. After a failure it can be run again: the position, which says what
/// else there is, goes last.
///
/// # Errors
/// [`Error::Requirement`] beside a daemon, and for a position of another copy; those of both
/// servers.
pub fn run(settings: &Settings, Extent { force, keys, dry_run }: Extent) -> Result<()> {
    let mut client = Client::connect(settings.etcd.client_options())?;
    let options = settings.database.connect_options();
    let hosts = settings.database.hosts();
    let (session, _) = Session::connect_to_primary(&options, &hosts, &no_stop()?)?;
    let key = layout::checkpoint(&settings.etcd.state_path);
    let found = Checkpoint::read(&mut client, &key)?;
    let (checkpoint, mod_revision) = found.unzip();
    let mod_revision = mod_revision.unwrap_or(0);
    let mut removal = Removal {
        settings,
        session,
        client,
        key,
        checkpoint,
        mod_revision,
        dry_run,
        removed: false,
    };
    removal.require_own_copy()?;
    let ended = if dry_run { removal.slot_that_would_go(force)? } else { removal.slot(force)? };
    if !dry_run {
        removal.fence()?;
    }
    removal.tables(keys)?;
    removal.publication()?;
    removal.position()?;
    if !removal.removed {
        print("Nothing to remove\n")?;
    }
    if let (Some(pid), false) = (ended, dry_run) {
        note(format!(
            "the stream of server process {pid} was ended: a daemon that is still running begins \
             anew, so stop it"
        ));
    }
    Ok(())
}

/// A removal under way.
struct Removal<'a> {
    settings: &'a Settings,
    session: Session,
    client: Client,
    /// The position's key.
    key: String,
    checkpoint: Option<Checkpoint>,
    /// The position's `mod_revision`; 0 if there is none.
    mod_revision: i64,
    /// Whether nothing is to be changed.
    dry_run: bool,
    /// Whether there was anything.
    removed: bool,
}

impl Removal<'_> {
    /// Refuses to touch what another copy needs.
    fn require_own_copy(&mut self) -> Result<()> {
        let Some(checkpoint) = &self.checkpoint else { return Ok(()) };
        let Settings { database, etcd, .. } = self.settings;
        let identifier = self.session.system_identifier()?;
        match checkpoint.another_copy(&identifier, &database.name, &etcd.path) {
            None => Ok(()),
            Some(what) => {
                let key = &self.key;
                let problem =
                    format!("{key} is the position of another copy: {what}; nothing was removed");
                Err(Unmet::new(problem, "run drop with the settings of that copy").into())
            }
        }
    }

    /// Drops the slot, and returns the process whose stream was ended for it. From then on, until
    /// this session ends, no daemon makes a new one.
    fn slot(&mut self, force: bool) -> Result<Option<i32>> {
        let slot = &self.settings.sync.slot;
        let deadline = Instant::now() + STRUGGLE;
        let mut locked = false;
        let mut ended = None;
        loop {
            let facts = self.session.slot(slot)?;
            if facts.as_ref().is_some_and(|facts| !self.is_own(facts)) {
                print(&format!("Left slot {slot}: it belongs to something else\n"))?;
                return Ok(ended);
            }
            let active_pid = facts.as_ref().and_then(|facts| facts.active_pid);
            if let Some(pid) = active_pid {
                if !force {
                    return Err(in_use(slot, &format!("server process {pid} streams from it")));
                }
                self.session.terminate(pid)?;
                ended = Some(pid);
            }
            locked = locked || self.lock(force)?;
            if locked && active_pid.is_none() {
                match facts.map(|_| self.session.drop_slot(slot)) {
                    None => return Ok(ended),
                    // The daemon was faster. Without force the next look says so.
                    Some(Err(Error::SlotInUse { .. })) => {}
                    Some(dropped) => {
                        dropped?;
                        self.say(&format!("slot {slot}"))?;
                        return Ok(ended);
                    }
                }
            }
            if Instant::now() >= deadline {
                return Err(in_use(slot, "its daemon comes back again and again"));
            }
            thread::sleep(PAUSE);
        }
    }

    /// Says whether the slot would go, and returns the process whose stream would be ended for it.
    fn slot_that_would_go(&mut self, force: bool) -> Result<Option<i32>> {
        let slot = &self.settings.sync.slot;
        let Some(facts) = self.session.slot(slot)? else { return Ok(None) };
        if !self.is_own(&facts) {
            print(&format!("Would leave slot {slot}: it belongs to something else\n"))?;
            return Ok(None);
        }
        match facts.active_pid {
            Some(pid) if !force => note(format!(
                "server process {pid} streams from slot {slot}: drop refuses beside it, unless with -f"
            )),
            Some(pid) => note(format!("the stream of server process {pid} would be ended")),
            None => {}
        }
        self.say(&format!("slot {slot}"))?;
        Ok(facts.active_pid)
    }

    /// Keeps daemons from making the slot; false if one is about to and that is to be waited for.
    fn lock(&mut self, wait: bool) -> Result<bool> {
        let slot = &self.settings.sync.slot;
        match self.session.lock_start(slot) {
            Err(Error::SlotInUse { .. }) if wait => Ok(false),
            Err(Error::SlotInUse { .. }) => Err(in_use(slot, "a daemon is about to make it anew")),
            locked => locked.map(|()| true),
        }
    }

    /// Whether it is a slot that a daemon with these settings would use.
    fn is_own(&self, slot: &SlotFacts) -> bool {
        let Settings { database, .. } = self.settings;
        slot.plugin.as_deref() == Some("pgoutput") && slot.database.as_ref() == Some(&database.name)
    }

    /// Makes void what a daemon, whose stream has ended, may still have at hand. And a copy of
    /// which a part is gone is not to be gone on with.
    fn fence(&mut self) -> Result<()> {
        while let Some(checkpoint) = &self.checkpoint {
            let checkpoint = Checkpoint { phase: Phase::Dump, ..checkpoint.clone() };
            match checkpoint.put(&mut self.client, &self.key, self.mod_revision) {
                Ok(mod_revision) => {
                    self.mod_revision = mod_revision;
                    return Ok(());
                }
                // The daemon's last txns.
                Err(Error::Fenced { .. }) => {
                    let found = Checkpoint::read(&mut self.client, &self.key)?;
                    let (checkpoint, mod_revision) = found.unzip();
                    (self.checkpoint, self.mod_revision) = (checkpoint, mod_revision.unwrap_or(0));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Removes what etcd remembers of the tables, the claims of their keys and, if `keys`, these.
    fn tables(&mut self, keys: bool) -> Result<()> {
        let etcd = &self.settings.etcd;
        let records = Records::new(&etcd.state_path, self.settings.shapes());
        let mut claims = 0;
        for keyspace in self.keyspaces(&records)? {
            let deleted = if keys { self.delete_keys(&keyspace)? } else { 0 };
            if deleted > 0 {
                let keyspace = String::from_utf8_lossy(keyspace.prefix());
                self.say(&format!("{deleted} keys below {keyspace}"))?;
            }
            // Nobody else takes the keys before they are gone.
            claims += self.delete_key(&claims::key(keyspace.prefix()))?;
        }
        if claims > 0 {
            self.say(&format!("{claims} claims below /{}/", layout::CLAIMS))?;
        }
        for below in [layout::notes, layout::guards, layout::without_key] {
            self.delete_below(&below(&etcd.state_path))?;
        }
        for key in [layout::writer, layout::last_commit, layout::partial, layout::left_out] {
            self.delete_key(key(&etcd.state_path).as_bytes())?;
        }
        let prefix = records.prefix();
        if self.delete_below(prefix)? > 0 {
            self.say(&format!("the records below {}", String::from_utf8_lossy(prefix)))?;
        }
        let request = layout::resync(&etcd.state_path);
        if self.delete_key(request.as_bytes())? > 0 {
            self.say(&format!("the request {request}"))?;
        }
        Ok(())
    }

    /// The keyspaces that this copy has claimed, and those that the records of an earlier version
    /// name, but for what another copy has claimed since.
    fn keyspaces(&mut self, records: &Records) -> Result<Vec<Keyspace>> {
        let cluster = self.session.system_identifier()?;
        let claims = claiming::claims(self.settings, &cluster, None);
        let client = &mut self.client;
        let mut recorded: Vec<_> =
            records.read(client)?.iter().flat_map(Wanted::of_record).collect();
        let others = claims.refusals(client, &recorded)?;
        recorded.retain(|wanted| others.iter().all(|other| other.wanted != *wanted));
        let own = claims.own(client)?;
        let known: Vec<_> = recorded.iter().map(|wanted| wanted.keyspace.clone()).collect();
        let claimed = own.into_iter().filter(|found| !known.contains(&found.keyspace));
        let claimed: Vec<_> = claimed.map(|found| records.keys_of_claim(&found.keyspace)).collect();
        let mut keyspaces: Vec<_> = recorded.into_iter().map(|wanted| wanted.keys).collect();
        keyspaces.extend(claimed);
        keyspaces.sort_by(|one, other| one.prefix().cmp(other.prefix()));
        keyspaces.dedup();
        Ok(keyspaces)
    }

    /// Deletes the keys that can be in a keyspace, or counts them.
    fn delete_keys(&mut self, keyspace: &Keyspace) -> Result<i64> {
        if keyspace.is_whole() {
            return self.delete_below(keyspace.prefix());
        }
        // The position is compared beside them.
        let most = self.settings.etcd.max_txn_ops.saturating_sub(1).max(1);
        let (mut next, end) = (keyspace.prefix().to_vec(), prefix_end(keyspace.prefix()));
        let mut count = 0;
        loop {
            let page = self.client.pages(&next, &end, true).next_page()?;
            let Some(last) = page.as_ref().and_then(|page| page.last()) else { return Ok(count) };
            next = [&last.key[..], b"\0"].concat();
            let own = page.iter().flatten().filter(|found| keyspace.gives(&found.key));
            let own: Vec<_> = own.map(|found| &found.key[..]).collect();
            for keys in own.chunks(most) {
                count += match self.dry_run {
                    true => i64::try_from(keys.len()).unwrap_or(i64::MAX),
                    false => self.delete(|txn| keys.iter().for_each(|key| txn.delete(key)))?,
                };
            }
        }
    }

    /// Drops the publication if it is the one that pg2etcd made.
    fn publication(&mut self) -> Result<()> {
        let publication = match &self.checkpoint {
            Some(checkpoint) => checkpoint.publication.clone(),
            None => self.settings.sync.publication.clone(),
        };
        let Some(oid) = self.session.publication_oid(&publication)? else { return Ok(()) };
        let state_path = &self.settings.etcd.state_path;
        let noted = own_publication::noted(&mut self.client, state_path, &publication)?;
        let made = self.checkpoint.as_ref().is_some_and(|checkpoint| checkpoint.made_publication);
        let why = match made {
            true if own_publication::is_it(noted, oid) => None,
            true => Some("pg2etcd made another, which was dropped"),
            false => Some("it was there before"),
        };
        if let Some(why) = why {
            let left = if self.dry_run { "Would leave" } else { "Left" };
            return print(&format!("{left} publication {publication}: {why}\n")).map(drop);
        }
        if !self.dry_run {
            self.session.drop_publication(&publication)?;
        }
        self.say(&format!("publication {publication}"))
    }

    /// Deletes the position, and what was needed until now.
    fn position(&mut self) -> Result<()> {
        self.delete_below(&layout::publications(&self.settings.etcd.state_path))?;
        let key = self.key.clone();
        match self.delete_key(key.as_bytes())? {
            0 => Ok(()),
            _ => self.say(&format!("position {key}")),
        }
    }

    /// Deletes the keys with a prefix, or counts them.
    fn delete_below(&mut self, prefix: &[u8]) -> Result<i64> {
        let end = prefix_end(prefix);
        if !self.dry_run {
            return self.delete(|txn| txn.delete_range(prefix, &end));
        }
        let mut count = 0;
        let mut pages = self.client.pages(prefix, &end, true);
        while let Some(page) = pages.next_page()? {
            count += page.len();
        }
        Ok(i64::try_from(count).unwrap_or(i64::MAX))
    }

    /// Deletes a key, or looks whether it is there.
    fn delete_key(&mut self, key: &[u8]) -> Result<i64> {
        match self.dry_run {
            true => Ok(self.client.get(key)?.map_or(0, |_| 1)),
            false => self.delete(|txn| txn.delete(key)),
        }
    }

    /// Deletes keys, as long as the position is as it was left, and says how many there were.
    fn delete(&mut self, operation: impl FnOnce(&mut Txn)) -> Result<i64> {
        let mut txn = Txn::new();
        operation(&mut txn);
        txn.compare_mod_revision(self.key.as_bytes(), self.mod_revision);
        let reply = self.client.txn(&mut txn)?;
        match reply.succeeded {
            true => Ok(reply.deleted),
            false => Err(Error::Fenced { key: self.key.clone() }),
        }
    }

    fn say(&mut self, what: &str) -> Result<()> {
        self.removed = true;
        let verb = if self.dry_run { "Would remove" } else { "Removed" };
        print(&format!("{verb} {what}\n")).map(drop)
    }
}

fn in_use(slot: &str, why: &str) -> Error {
    let cure = "stop the daemon first, or end its stream with drop -f";
    Unmet::new(format!("slot {slot} is in use, {why}"), cure).into()
}
