//! The SQLSTATE codes that pg2etcd acts on, by their names in PostgreSQL's manual (appendix
//! "PostgreSQL Error Codes").

/// The server, or its way of authentication, does not have what was asked for.
pub(crate) const FEATURE_NOT_SUPPORTED: &str = "0A000";
/// `pg_hba.conf` has no line for the client, or the role is missing or may not log in.
pub(crate) const INVALID_AUTHORIZATION_SPECIFICATION: &str = "28000";
pub(crate) const INVALID_PASSWORD: &str = "28P01";
/// There is no database of this name.
pub(crate) const INVALID_CATALOG_NAME: &str = "3D000";
pub(crate) const INSUFFICIENT_PRIVILEGE: &str = "42501";
pub(crate) const SYNTAX_ERROR: &str = "42601";
pub(crate) const INVALID_NAME: &str = "42602";
/// Up to version 17 a stream ends with it whose publication is missing.
pub(crate) const UNDEFINED_OBJECT: &str = "42704";
pub(crate) const UNDEFINED_FUNCTION: &str = "42883";
pub(crate) const TOO_MANY_CONNECTIONS: &str = "53300";
/// From version 18 on a stream warns with it that it leaves out the changes of a publication that
/// is missing.
pub(crate) const OBJECT_NOT_IN_PREREQUISITE_STATE: &str = "55000";
/// A slot that another process streams from.
pub(crate) const OBJECT_IN_USE: &str = "55006";
/// A query that was cancelled, or that took longer than it may.
pub(crate) const QUERY_CANCELED: &str = "57014";
pub(crate) const ADMIN_SHUTDOWN: &str = "57P01";
pub(crate) const CRASH_SHUTDOWN: &str = "57P02";
/// A server that starts or shuts down, or a standby that takes no queries.
pub(crate) const CANNOT_CONNECT_NOW: &str = "57P03";
