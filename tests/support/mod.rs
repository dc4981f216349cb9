//! What network tests share: namespaces of their own that vanish with them.

use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

const INSIDE: &str = "XCAST_TEST_INSIDE";

/// Runs `body` in network, mount and process namespaces of its own (and, without root, a user
/// namespace), by running this very test again under `unshare`. `/run` is private there, so
/// `ip netns add` works and clashes with nobody. Whatever is left when the test ends or crashes
/// is removed by the kernel: the process namespace takes its processes along, they the namespaces.
///
/// Where the kernel refuses namespaces the test says so and does nothing. On a machine that must
/// not skip (`CI` is set) a refusal fails the test.
pub(crate) fn in_namespaces(test: &str, body: impl FnOnce()) {
    if std::env::var(INSIDE).as_deref() == Ok(test) {
        private_run();
        body();
        return;
    }
    if let Err(why) = namespaces_allowed() {
        assert!(std::env::var_os("CI").is_none(), "{test}: no namespaces: {why}");
        // Not by a macro, whose output the test runner hides.
        let line = format!("SKIPPED {test}: no network namespaces here: {why}\n");
        return std::io::stderr().write_all(line.as_bytes()).expect("stderr is open");
    }
    let output = unshare()
        .arg(std::env::current_exe().expect("this test has a path"))
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(INSIDE, test)
        .output()
        .expect("unshare was just there");
    print!("{}", String::from_utf8_lossy(&output.stdout));
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{test} failed in its namespaces, see above");
    // A wrong name runs no test at all, which is a success, too.
    let ran = String::from_utf8_lossy(&output.stdout).contains("1 passed");
    assert!(ran, "`{test}` is not the whole name of this test");
}

/// Runs a command to its end and returns what it printed; panics with everything it said if it
/// fails.
pub(crate) fn run(command: &str) -> String {
    let words: Vec<&str> = command.split_whitespace().collect();
    let output = Command::new(words[0])
        .args(&words[1..])
        .output()
        .unwrap_or_else(|error| panic!("{command}: {error}"));
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {}\n{out}{err}", output.status);
    out
}

/// `va` (10.0.0.1, fd00::1) here, its peer `vb` (10.0.0.2, fd00::2) in namespace `peer`.
#[allow(dead_code, reason = "not every test program wants it")]
pub(crate) fn wire() {
    run("ip netns add peer");
    run("ip link add name va type veth peer name vb netns peer");
    run("ip addr add 10.0.0.1/24 broadcast 10.0.0.255 dev va");
    run("ip addr add fd00::1/64 dev va nodad");
    run("ip link set va up");
    run("ip -n peer addr add 10.0.0.2/24 dev vb");
    run("ip -n peer addr add fd00::2/64 dev vb nodad");
    run("ip -n peer link set vb up");
    wait_for_carrier("", "va");
    wait_for_carrier("-n peer", "vb");
}

/// Waits until an interface that is up has its carrier, too: the kernel notices a moment later, and
/// until then takes what is sent and drops it without a word. `node` is of `ip`'s arguments.
#[allow(dead_code, reason = "not every test program wants it")]
pub(crate) fn wait_for_carrier(node: &str, interface: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !run(&format!("ip {node} -br link show dev {interface}")).contains(" UP ") {
        assert!(Instant::now() < deadline, "{interface} ({node}) gets no carrier");
    }
}

fn unshare() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--pid", "--fork", "--kill-child"]);
    if !is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.arg("--");
    command
}

fn is_root() -> bool {
    run("id -u").trim() == "0"
}

fn namespaces_allowed() -> Result<(), String> {
    let output = unshare().arg("true").output().map_err(|e| format!("unshare: {e}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

fn private_run() {
    run("mount --make-rprivate /");
    run("mount -t tmpfs tmpfs /run");
    run("mkdir /run/netns");
    run("ip link set lo up");
}
