//! What pgoutput says of a table.

/// A table, as its last `Relation` message describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Relation {
    pub oid: u32,
    /// Its schema; pgoutput sends an empty one for `pg_catalog`.
    pub schema: String,
    pub name: String,
    /// What the log holds of rows that are updated or deleted.
    pub replica_identity: ReplicaIdentity,
    pub columns: Vec<Column>,
}

/// A published column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    /// Whether it is part of the replica identity. Under FULL every column is.
    pub identity: bool,
    pub name: String,
    /// The OID of its type.
    pub type_oid: u32,
    /// The type's modifier (`atttypmod`), -1 for none.
    pub type_modifier: i32,
}

/// `pg_class.relreplident`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReplicaIdentity {
    Default,
    Nothing,
    /// The whole row.
    Full,
    /// A chosen index.
    Index,
}
