//! Prometheus's own tool.

use super::installed;

/// Its path. It is installed where it is missing; where that cannot be done it is said, and the caller goes without.
pub(crate) fn promtool() -> Option<String> {
    installed("promtool", "prometheus")
}
