//! Programs that a test needs beside the servers.

use std::process::Command;

/// The path of a program, or of another file, of a package of Debian's. It is installed where it is missing; where that cannot be done it is said, and the
/// caller goes without.
pub(crate) fn installed(program: &str, package: &str) -> Option<String> {
    let script = format!(
        "source test-env/lib.sh && need {program}:{package} && {{ command -v {program} || echo {program}; }}"
    );
    let mut bash = Command::new("bash");
    let output =
        bash.args(["-c", &script]).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    if output.status.success() {
        return Some(String::from_utf8(output.stdout).unwrap().trim().to_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    println!(
        "skipped: {program}, of Debian's package {package}, cannot be installed: {}",
        said.trim()
    );
    None
}
