//! What to do at a start, from what is found: a pure function, so that every case can be tested.

use crate::error::Unmet;
use crate::lsn::Lsn;
use crate::postgres::{SlotFacts, TimelineSwitch};
use crate::state::checkpoint::{Checkpoint, Phase};

/// What is found.
pub(super) struct Facts<'a> {
    /// The position in etcd.
    pub(super) checkpoint: Option<&'a Checkpoint>,
    /// The server's cluster.
    pub(super) system_identifier: &'a str,
    /// The server's timeline.
    pub(super) timeline: u32,
    /// Up to where it has flushed its write-ahead log, asked for after the position was read.
    pub(super) flushed: Lsn,
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
    pub(super) redump: Option<&'a Reason>,
}

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Go on from the position, once the stream has shown that the server still has what etcd has.
    Resume,
    /// Begin anew, for this reason.
    Renew {
        /// The reason.
        reason: Reason,
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

/// Where the stream begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SlotUse {
    /// With a new slot.
    New {
        /// Whether one of that name has to go first.
        drop: bool,
    },
    /// With what the slot has, from this position on.
    From(Lsn),
}

/// Why etcd has to be compared with the database, or filled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reason {
    /// Its kind, one of those that the metrics know.
    pub(super) kind: &'static str,
    /// What the log says of it.
    pub(crate) text: String,
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
            "set another etcd.state_path (or sync.slot) and another etcd.path for this one, or run \
             pg2etcd drop with the settings of that copy if it is no longer wanted, or run pg2etcd \
             resync to make it a copy of this database",
        ));
    }
    let another_use = |slot| another_use(facts.slot_name, facts.database, slot);
    if let Some(unmet) = facts.slot.and_then(another_use) {
        return Decision::Refuse(unmet);
    }
    if let Some(pid) = facts.slot.and_then(|slot| slot.active_pid) {
        return Decision::StandBy { pid: Some(pid) };
    }
    let accepted =
        another_copy.map(|what| reason("resync", format!("a resync was asked for: {what}")));
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
fn reason_to_renew(facts: &Facts<'_>) -> Option<Reason> {
    let Some(checkpoint) = facts.checkpoint else {
        return Some(reason("first", "there is no position in etcd yet"));
    };
    if checkpoint.phase == Phase::Dump {
        return Some(reason("unfinished", "the last dump was not finished"));
    }
    if let Some(reason) = facts.redump {
        return Some(reason.clone());
    }
    if checkpoint.publication != facts.publication {
        let Checkpoint { publication, .. } = checkpoint;
        let text = format!("the publication was {publication} and is {}", facts.publication);
        return Some(reason("publication", text));
    }
    if !facts.has_publication {
        let text = format!("publication {} is gone", facts.publication);
        return Some(reason("publication", text));
    }
    lost_transactions(facts, checkpoint)
        .map(|text| reason("timeline", text))
        .or_else(|| went_back(facts, checkpoint).map(|text| reason("history", text)))
        .or_else(|| slot_fault(facts, checkpoint))
}

fn reason(kind: &'static str, text: impl Into<String>) -> Reason {
    Reason { kind, text: text.into() }
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

/// Why the server is in an older state than the one that etcd has a copy of.
///
/// Nothing is streamed, and no position moved by it, before it is flushed, and what is flushed
/// survives a crash. A server that was promoted has flushed all up to its switch point at least.
/// So whoever has flushed less than etcd has is not the server that etcd has it from.
fn went_back(facts: &Facts<'_>, checkpoint: &Checkpoint) -> Option<String> {
    (facts.flushed < checkpoint.lsn).then(|| {
        format!(
            "the server's WAL ends at {}, before {}, where etcd is: it went back in time (a disk \
             restored from a snapshot, a clone)",
            facts.flushed, checkpoint.lsn
        )
    })
}

/// Why the slot does not have what follows the position.
fn slot_fault(facts: &Facts<'_>, checkpoint: &Checkpoint) -> Option<Reason> {
    let name = facts.slot_name;
    let lost = |text| Some(reason("slot_lost", text));
    let Some(slot) = facts.slot else {
        return lost(format!("replication slot {name} does not exist on this server"));
    };
    if let Some(cause) = &slot.invalidated {
        return lost(format!("replication slot {name} is lost: {cause}"));
    }
    match slot.confirmed_flush_lsn {
        None => lost(format!("replication slot {name} was never complete")),
        Some(confirmed) if confirmed > checkpoint.lsn => {
            let etcd = checkpoint.lsn;
            let text =
                format!("replication slot {name} is at {confirmed}, past {etcd}, where etcd is");
            Some(reason("slot_ahead", text))
        }
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
mod tests;
