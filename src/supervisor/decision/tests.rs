use super::*;
use crate::state::checkpoint::VERSION;

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
        flushed: Lsn(0x1000),
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
        Decision::Renew { reason: Reason { kind, text }, slot } => {
            assert!(crate::status::DUMP_REASONS.contains(&kind), "{kind}");
            (text, slot)
        }
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
        let facts = Facts { timeline, history: &history, ..facts(Some(&checkpoint), Some(&slot)) };
        match expected {
            None => assert_eq!(decide(&facts), Decision::Resume),
            Some(expected) => assert!(renewed(&facts).0.contains(expected)),
        }
    }
}

#[test]
fn a_server_that_went_back_in_time_is_noticed_by_its_log() {
    let (checkpoint, slot) = (checkpoint(), slot(0x80));
    let left = [TimelineSwitch { timeline: 3, switch_point: Lsn(0x100) }];
    for (flushed, timeline, history, expected) in [
        (0xFF, 3, &[][..], Some("ends at 0/FF, before 0/100")),
        (0x100, 3, &[], None),
        (0x101, 3, &[], None),
        (0x100, 4, &left, None),
    ] {
        let base = facts(Some(&checkpoint), Some(&slot));
        let facts = Facts { flushed: Lsn(flushed), timeline, history, ..base };
        match (decide(&facts), expected) {
            (Decision::Resume, None) => {}
            (Decision::Renew { reason, slot }, Some(expected)) => {
                assert!(reason.text.contains(expected), "{}", reason.text);
                assert_eq!((reason.kind, slot), ("history", NEW_FOR_OLD));
            }
            (other, _) => panic!("{flushed:X}: {other:?}"),
        }
    }
    // It goes on with what its slot has, if there is to be no dump.
    let base = facts(Some(&checkpoint), Some(&slot));
    let facts = Facts { flushed: Lsn(0xFF), dump: false, ..base };
    assert_eq!(renewed(&facts).1, SlotUse::From(Lsn(0x80)));
}

#[test]
fn what_the_settings_changed_is_dumped_anew() {
    let (checkpoint, slot) = (checkpoint(), slot(0x80));
    let base = || facts(Some(&checkpoint), Some(&slot));
    for (facts, expected) in [
        (Facts { publication: "q", ..base() }, "was p and is q"),
        (Facts { has_publication: false, ..base() }, "publication p is gone"),
        (Facts { redump: Some(&reason("stream", "because")), ..base() }, "because"),
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
            Decision::Refuse(unmet) => assert!(unmet.problem.contains(expected), "{unmet}"),
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
