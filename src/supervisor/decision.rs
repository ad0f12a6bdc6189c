//! What to do at a start, from what is found: a pure function, so that every case can be tested.

use super::SlotUse;
use crate::checkpoint::{Checkpoint, Phase};
use crate::error::Unmet;
use crate::postgres::{SlotFacts, TimelineSwitch};

/// What is found.
pub(super) struct Facts<'a> {
    /// The position in etcd.
    pub(super) checkpoint: Option<&'a Checkpoint>,
    /// The server's cluster.
    pub(super) system_identifier: &'a str,
    /// The server's timeline.
    pub(super) timeline: u32,
    /// The timelines before it.
    pub(super) history: &'a [TimelineSwitch],
    /// The slot on this server.
    pub(super) slot: Option<&'a SlotFacts>,
    /// Whether the publication is there.
    pub(super) has_publication: bool,
    /// The database that is to be copied.
    pub(super) database: &'a str,
    /// Where in etcd it is to be.
    pub(super) path: &'a str,
    /// The slot's name.
    pub(super) slot_name: &'a str,
    /// The publication that is to be followed.
    pub(super) publication: &'a str,
    /// Whether dumps are allowed.
    pub(super) dump: bool,
    /// Whether a resync of all tables was asked for: whatever copy etcd has, it may become one of
    /// this database.
    pub(super) resync_all: bool,
    /// Why the stream before this start could not be gone on with.
    pub(super) redump: Option<&'a str>,
}

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Go on from the position.
    Resume,
    /// Begin anew, for this reason.
    Renew {
        /// The reason.
        reason: String,
        /// Where the stream begins.
        slot: SlotUse,
    },
    /// Wait: another process streams from the slot.
    StandBy {
        /// That process.
        pid: Option<i32>,
    },
    /// Stop and say this.
    Refuse(Unmet),
}

/// Decides.
pub(super) fn decide(facts: &Facts<'_>) -> Decision {
    let Facts { system_identifier, database, path, .. } = *facts;
    let another_copy = facts
        .checkpoint
        .and_then(|checkpoint| checkpoint.another_copy(system_identifier, database, path));
    if let Some(what) = another_copy.as_ref().filter(|_| !facts.resync_all) {
        return Decision::Refuse(Unmet::new(
            format!("the position in etcd is that of another copy, {what}"),
            "set another etcd.state_path (or sync.slot), or run pg2etcd resync to make it a copy \
             of this database",
        ));
    }
    let another_use = |slot| another_use(facts.slot_name, facts.database, slot);
    if let Some(unmet) = facts.slot.and_then(another_use) {
        return Decision::Refuse(unmet);
    }
    if let Some(pid) = facts.slot.and_then(|slot| slot.active_pid) {
        return Decision::StandBy { pid: Some(pid) };
    }
    let accepted = another_copy.map(|what| format!("a resync was asked for: {what}"));
    match accepted.or_else(|| reason_to_renew(facts)) {
        None => Decision::Resume,
        Some(reason) => Decision::Renew { reason, slot: slot_use(facts) },
    }
}

/// Why the slot is one that this daemon must not touch.
pub(crate) fn another_use(name: &str, database: &str, slot: &SlotFacts) -> Option<Unmet> {
    let (what, there, here) =
        [("output plugin", &slot.plugin, "pgoutput"), ("database", &slot.database, database)]
            .into_iter()
            .find(|(_, there, here)| there.as_deref() != Some(here))?;
    let there = there.as_deref().unwrap_or("none, it is a physical slot");
    Some(Unmet::new(
        format!("replication slot {name} belongs to something else ({what}: {there}, not {here})"),
        "choose another name in sync.slot",
    ))
}

/// Why the stream cannot go on from the position.
fn reason_to_renew(facts: &Facts<'_>) -> Option<String> {
    let Some(checkpoint) = facts.checkpoint else {
        return Some("there is no position in etcd yet".to_owned());
    };
    if checkpoint.phase == Phase::Dump {
        return Some("the last dump was not finished".to_owned());
    }
    if let Some(reason) = facts.redump {
        return Some(reason.to_owned());
    }
    if checkpoint.publication != facts.publication {
        let Checkpoint { publication, .. } = checkpoint;
        return Some(format!("the publication was {publication} and is {}", facts.publication));
    }
    if !facts.has_publication {
        return Some(format!("publication {} is gone", facts.publication));
    }
    lost_transactions(facts, checkpoint).or_else(|| slot_fault(facts, checkpoint))
}

/// Why etcd has transactions that this server never had.
fn lost_transactions(facts: &Facts<'_>, checkpoint: &Checkpoint) -> Option<String> {
    let Checkpoint { timeline, lsn, .. } = *checkpoint;
    if timeline == facts.timeline {
        return None;
    }
    match facts.history.iter().find(|switch| switch.timeline == timeline) {
        None => Some(format!(
            "the server's timeline {} did not come from timeline {timeline}, which etcd is on",
            facts.timeline
        )),
        Some(switch) if switch.switch_point < lsn => Some(format!(
            "the server left timeline {timeline} at {}, before {lsn}, where etcd is: a failover \
             lost transactions",
            switch.switch_point
        )),
        Some(_) => None,
    }
}

/// Why the slot does not have what follows the position.
fn slot_fault(facts: &Facts<'_>, checkpoint: &Checkpoint) -> Option<String> {
    let name = facts.slot_name;
    let Some(slot) = facts.slot else {
        return Some(format!("replication slot {name} does not exist on this server"));
    };
    if let Some(reason) = &slot.invalidated {
        return Some(format!("replication slot {name} is lost: {reason}"));
    }
    match slot.confirmed_flush_lsn {
        None => Some(format!("replication slot {name} was never complete")),
        Some(confirmed) if confirmed > checkpoint.lsn => Some(format!(
            "replication slot {name} is at {confirmed}, past {}, where etcd is",
            checkpoint.lsn
        )),
        Some(_) => None,
    }
}

/// A dump needs a new slot for its snapshot; without one a slot in order is good as it is.
fn slot_use(facts: &Facts<'_>) -> SlotUse {
    let usable = facts.slot.filter(|slot| slot.invalidated.is_none());
    match usable.and_then(|slot| slot.confirmed_flush_lsn) {
        Some(confirmed) if !facts.dump => SlotUse::From(confirmed),
        _ => SlotUse::New { drop: facts.slot.is_some() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::VERSION;
    use crate::lsn::Lsn;

    fn checkpoint() -> Checkpoint {
        Checkpoint {
            version: VERSION,
            phase: Phase::Sync,
            lsn: Lsn(0x100),
            timeline: 3,
            system_identifier: "7".to_owned(),
            database: "shop".to_owned(),
            slot: "s".to_owned(),
            publication: "p".to_owned(),
            made_publication: true,
            path: "copy".to_owned(),
            committed_at: "2026-01-02T03:04:05.000000Z".to_owned(),
            partial: None,
        }
    }

    fn slot(confirmed: u64) -> SlotFacts {
        SlotFacts {
            plugin: Some("pgoutput".to_owned()),
            database: Some("shop".to_owned()),
            active_pid: None,
            confirmed_flush_lsn: Some(Lsn(confirmed)),
            invalidated: None,
        }
    }

    fn facts<'a>(checkpoint: Option<&'a Checkpoint>, slot: Option<&'a SlotFacts>) -> Facts<'a> {
        Facts {
            checkpoint,
            system_identifier: "7",
            timeline: 3,
            history: &[],
            slot,
            has_publication: true,
            database: "shop",
            path: "copy",
            slot_name: "s",
            publication: "p",
            dump: true,
            resync_all: false,
            redump: None,
        }
    }

    /// What a decision to renew says, or what was decided instead.
    fn renewed(facts: &Facts<'_>) -> (String, SlotUse) {
        match decide(facts) {
            Decision::Renew { reason, slot } => (reason, slot),
            other => panic!("{other:?}"),
        }
    }

    const NEW: SlotUse = SlotUse::New { drop: false };
    const NEW_FOR_OLD: SlotUse = SlotUse::New { drop: true };

    #[test]
    fn without_a_finished_copy_it_dumps() {
        let (slot, unfinished) = (slot(0x80), Checkpoint { phase: Phase::Dump, ..checkpoint() });
        for (checkpoint, slot, expected, slot_use) in [
            (None, None, "no position", NEW),
            (None, Some(&slot), "no position", NEW_FOR_OLD),
            (Some(&unfinished), None, "not finished", NEW),
            (Some(&unfinished), Some(&slot), "not finished", NEW_FOR_OLD),
        ] {
            let (reason, used) = renewed(&facts(checkpoint, slot));
            assert!(reason.contains(expected), "{reason}");
            assert_eq!(used, slot_use);
        }
    }

    #[test]
    fn a_good_slot_is_resumed() {
        let checkpoint = checkpoint();
        for confirmed in [0x80, 0x100] {
            assert_eq!(decide(&facts(Some(&checkpoint), Some(&slot(confirmed)))), Decision::Resume);
        }
    }

    #[test]
    fn a_slot_that_lacks_what_follows_is_made_anew() {
        let checkpoint = checkpoint();
        let lost = SlotFacts { invalidated: Some("wal removed".to_owned()), ..slot(0x80) };
        let incomplete = SlotFacts { confirmed_flush_lsn: None, ..slot(0) };
        for (slot, expected, slot_use) in [
            (None, "does not exist", NEW),
            (Some(&slot(0x101)), "past 0/100", NEW_FOR_OLD),
            (Some(&lost), "wal removed", NEW_FOR_OLD),
            (Some(&incomplete), "never complete", NEW_FOR_OLD),
        ] {
            let (reason, used) = renewed(&facts(Some(&checkpoint), slot));
            assert!(reason.contains(expected), "{reason}");
            assert_eq!(used, slot_use);
        }
    }

    #[test]
    fn a_new_timeline_is_followed_unless_it_lost_transactions() {
        let (checkpoint, slot) = (checkpoint(), slot(0x80));
        let left_at = |timeline, point| TimelineSwitch { timeline, switch_point: Lsn(point) };
        for (history, timeline, expected) in [
            (vec![left_at(3, 0x100)], 4, None),
            (vec![left_at(3, 0x200), left_at(4, 0x300)], 5, None),
            (vec![left_at(3, 0xFF)], 4, Some("lost transactions")),
            (vec![left_at(2, 0x200)], 4, Some("did not come from timeline 3")),
            (vec![left_at(1, 0x50)], 2, Some("did not come from timeline 3")),
        ] {
            let facts =
                Facts { timeline, history: &history, ..facts(Some(&checkpoint), Some(&slot)) };
            match expected {
                None => assert_eq!(decide(&facts), Decision::Resume),
                Some(expected) => assert!(renewed(&facts).0.contains(expected)),
            }
        }
    }

    #[test]
    fn what_the_settings_changed_is_dumped_anew() {
        let (checkpoint, slot) = (checkpoint(), slot(0x80));
        let base = || facts(Some(&checkpoint), Some(&slot));
        for (facts, expected) in [
            (Facts { publication: "q", ..base() }, "was p and is q"),
            (Facts { has_publication: false, ..base() }, "publication p is gone"),
            (Facts { redump: Some("because"), ..base() }, "because"),
        ] {
            let (reason, used) = renewed(&facts);
            assert!(reason.contains(expected), "{reason}");
            assert_eq!(used, NEW_FOR_OLD);
        }
    }

    #[test]
    fn another_daemon_is_waited_for_whatever_else_is_found() {
        let unfinished = Checkpoint { phase: Phase::Dump, ..checkpoint() };
        let active = SlotFacts { active_pid: Some(42), ..slot(0x80) };
        for found in [None, Some(&unfinished), Some(&checkpoint())] {
            let decision = decide(&facts(found, Some(&active)));
            assert_eq!(decision, Decision::StandBy { pid: Some(42) });
        }
    }

    #[test]
    fn what_belongs_to_something_else_is_left_alone() {
        let checkpoint = checkpoint();
        let base = |slot| facts(Some(&checkpoint), slot);
        let active = SlotFacts { active_pid: Some(42), ..slot(0x80) };
        let other_plugin = SlotFacts { plugin: Some("wal2json".to_owned()), ..slot(0x80) };
        let physical = SlotFacts { plugin: None, database: None, ..slot(0x80) };
        let other_database = SlotFacts { database: Some("other".to_owned()), ..slot(0x80) };
        for (facts, expected) in [
            (Facts { system_identifier: "8", ..base(Some(&active)) }, "cluster is 7 there and 8"),
            (Facts { database: "x", ..base(None) }, "database is shop there and x here"),
            (Facts { path: "x", ..base(None) }, "path is copy there and x here"),
            (base(Some(&other_plugin)), "output plugin: wal2json"),
            (base(Some(&physical)), "physical slot"),
            (base(Some(&other_database)), "database: other, not shop"),
        ] {
            match decide(&facts) {
                Decision::Refuse(unmet) => {
                    assert!(unmet.problem.contains(expected), "{unmet}");
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn another_copy_is_accepted_once_a_resync_was_asked_for() {
        let checkpoint = checkpoint();
        let asked = || Facts { resync_all: true, ..facts(Some(&checkpoint), None) };
        for (facts, expected) in [
            (Facts { system_identifier: "8", ..asked() }, "cluster is 7 there and 8"),
            (Facts { database: "x", ..asked() }, "database is shop there and x"),
            (Facts { path: "x", ..asked() }, "path is copy there and x"),
        ] {
            assert!(renewed(&facts).0.contains(expected));
        }
        // The stream goes on where it can, and the watch compares the tables.
        let good = slot(0x80);
        let facts = Facts { slot: Some(&good), ..asked() };
        assert_eq!(decide(&facts), Decision::Resume);
    }

    #[test]
    fn without_dumps_the_slot_is_used_as_it_is() {
        let checkpoint = checkpoint();
        let lost = SlotFacts { invalidated: Some("wal removed".to_owned()), ..slot(0x80) };
        for (found, slot, slot_use) in [
            (None, None, NEW),
            (None, Some(&slot(0x80)), SlotUse::From(Lsn(0x80))),
            (Some(&checkpoint), Some(&slot(0x200)), SlotUse::From(Lsn(0x200))),
            (Some(&checkpoint), Some(&lost), NEW_FOR_OLD),
            (Some(&checkpoint), None, NEW),
        ] {
            assert_eq!(renewed(&Facts { dump: false, ..facts(found, slot) }).1, slot_use);
        }
    }
}
