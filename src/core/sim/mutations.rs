//! That each fault which is put into the core is found.

use super::super::mutation::Mutation::{self, *};
use super::run_all;

/// How many histories are tried for each.
const HISTORIES: u64 = 20_000;

/// Every fault that is there to be put in.
const ALL: [Mutation; 30] = [
    Unfenced,
    RefusalBelieved,
    PositionEarly,
    GuardStays,
    PartUnfenced,
    Unclaimed,
    KeysShared,
    PutInRange,
    LastPartEarly,
    Unmarked,
    TruncateEarly,
    CacheStale,
    ReadAheadStale,
    ReadBehind,
    InFlightForgotten,
    OldestTaken,
    ReplayFromParts,
    RepairOverrules,
    NotAgain,
    OldKeyStays,
    MovedStays,
    NothingWaits,
    HollowStays,
    EmptiedForgotten,
    SpliceUnnoted,
    KeepaliveInside,
    OthersEmptied,
    UnderwayKept,
    AppliedAgain,
    CompareForgotten,
];

#[test]
fn every_fault_is_found() {
    std::panic::set_hook(Box::new(|_| {}));
    let missed: Vec<_> = ALL
        .into_iter()
        .filter(|mutation| match run_all(0..HISTORIES, Some(*mutation)) {
            Some((seed, cause)) => {
                println!("{mutation:?}: seed {seed}: {}", cause.lines().next().unwrap_or_default());
                false
            }
            None => true,
        })
        .collect();
    let _ = std::panic::take_hook();
    assert!(missed.is_empty(), "not found: {missed:?}");
}
