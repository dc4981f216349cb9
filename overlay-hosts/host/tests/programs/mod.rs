//! The programs beside the one under test, and labs run with them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};

pub const OVERLAY_HOST: &str = env!("CARGO_BIN_EXE_overlay-host");
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
/// What makes namespaces in which everything ends with the test, however it ends.
const UNSHARE: [&str; 8] =
    ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"];
/// A `/run` of its own, before what a test does with the lab.
const PREPARE: &str = "mount --make-rprivate / && mount -t tmpfs tmpfs /run &&
    mkdir /run/netns && ip link set lo up &&";

/// A script that runs until its standard input ends, and with it everything that it has started.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

/// Another program of this workspace, which lies beside the one under test where all was built.
pub fn program(package: &str, name: &str) -> PathBuf {
    let beside = Path::new(OVERLAY_HOST).with_file_name(name);
    if !beside.exists() {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--locked", "--quiet", "--package", package, "--bin", name]);
        assert!(cargo.current_dir(ROOT).status().unwrap().success(), "{name} does not build");
    }
    beside
}

/// Runs `script`, in which `$LAB` is `netns-scripts/overlay` and `$SUFFIX` is this test's own: what
/// it printed. Without it where this machine lacks what the lab needs; that is a failure in CI.
pub fn run_overlay_lab(name: &str, script: &str) -> Option<String> {
    let mut command = Command::new(UNSHARE[0]);
    command
        .args(&UNSHARE[1..])
        .args(["bash", "-c", &format!("{PREPARE} {script}")])
        .env("LAB", format!("{ROOT}/netns-scripts/overlay"))
        .env("XCAST", program("xcast", "xcast"))
        .env("OVERLAY_SIM", program("overlay-simulator", "overlay-sim"))
        .env("OVERLAY_HOST", OVERLAY_HOST)
        .env("SUFFIX", format!("{name}{}", std::process::id()));
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    if is_refusal(&output) {
        assert!(std::env::var_os("CI").is_none(), "the lab overlay: {errors}");
        // Not by a macro, whose output the test runner hides.
        let line = format!("SKIPPED the lab overlay: {errors}\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        return None;
    }
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}\n{errors}\n{text}", output.status);
    Some(text.into_owned())
}

/// Whether this machine cannot run the lab: no namespaces, or status 2, of what it lacks.
fn is_refusal(output: &Output) -> bool {
    let said = String::from_utf8_lossy(&output.stderr);
    (output.stdout.is_empty() && said.contains("unshare")) || output.status.code() == Some(2)
}
