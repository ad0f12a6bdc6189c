//! Faults that the simulator's tests put into the core, to see that the simulator finds each. Outside
//! the tests there are none, and the compiler leaves the questions out.

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// A txn of the ordered lane does not compare the position.
    Unfenced,
    /// A refused txn is taken for one that went through.
    RefusalBelieved,
    /// PostgreSQL is told of a position before etcd has it.
    PositionEarly,
    /// A part neither moves nor compares its lane's guard.
    GuardStays,
    /// A part does not compare the position.
    PartUnfenced,
    /// A life begins without moving the position.
    Unclaimed,
    /// Transactions share a txn though they share a key.
    KeysShared,
    /// A put goes into a txn that deletes its range.
    PutInRange,
    /// The last part does not wait for the others.
    LastPartEarly,
    /// A large transaction does not mark the position before its parts.
    Unmarked,
    /// A TRUNCATE among the parts does not wait for those before it.
    TruncateEarly,
    /// What was read of a key stays in the cache when the key changes.
    CacheStale,
    /// A document that was read ahead is taken for the newest though its key has changed meanwhile.
    ReadAheadStale,
    /// A document is read as of a revision that may lack what this life has written.
    ReadBehind,
    /// What is on its way to etcd is not looked at for a row's newest version.
    InFlightForgotten,
    /// The oldest version on the way is taken, not the newest.
    OldestTaken,
    /// A replayed transaction takes what a former life's parts have made of a row for what it was.
    ReplayFromParts,
    /// What a compare finds overrules what the stream did meanwhile.
    RepairOverrules,
    /// A row that was filled from an uncompared one is not compared again.
    NotAgain,
    /// An update that changes the key leaves the old one.
    OldKeyStays,
    /// A nested row that moves stays in its old document too.
    MovedStays,
    /// What is nested in a document does not wait for the row that comes under its key.
    NothingWaits,
    /// A nested table that is emptied leaves what waits for a row as it is.
    HollowStays,
    /// A replayed transaction takes a document as it was before it, though it has emptied the table.
    EmptiedForgotten,
    /// A nested row that changes while its document is compared is not taken note of.
    SpliceUnnoted,
    /// A keepalive inside a transaction moves the position.
    KeepaliveInside,
    /// A table that is emptied key by key loses others' keys, too.
    OthersEmptied,
    /// A table that is emptied key by key keeps what is on its way to etcd.
    UnderwayKept,
    /// A transaction that etcd has is applied again.
    #[cfg(test)]
    AppliedAgain,
    /// A text that is left open has no compare follow.
    #[cfg(test)]
    CompareForgotten,
}

#[cfg(test)]
thread_local! {
    static ACTIVE: std::cell::Cell<Option<Mutation>> = const { std::cell::Cell::new(None) };
}

/// Whether this thread's core has the fault.
#[cfg(test)]
pub(super) fn is(mutation: Mutation) -> bool {
    ACTIVE.get() == Some(mutation)
}

/// There is none.
#[cfg(not(test))]
pub(super) const fn is(_: Mutation) -> bool {
    false
}

/// Puts the fault into this thread's core, or takes it out.
#[cfg(test)]
pub(super) fn set(mutation: Option<Mutation>) {
    ACTIVE.set(mutation);
}
