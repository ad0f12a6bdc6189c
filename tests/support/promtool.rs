//! Prometheus's own tool.

use std::process::Command;

/// Its path. It is installed where it is missing; where that cannot be done it is said, and the caller goes without.
pub(crate) fn promtool() -> Option<String> {
    let script = "source test-env/lib.sh && need promtool:prometheus && command -v promtool";
    let mut bash = Command::new("bash");
    let output =
        bash.args(["-c", script]).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    if output.status.success() {
        return Some(String::from_utf8(output.stdout).unwrap().trim().to_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    println!(
        "skipped: promtool, of Debian's package prometheus, cannot be installed: {}",
        said.trim()
    );
    None
}
