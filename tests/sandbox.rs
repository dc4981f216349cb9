//! What a running router has given up: seen from outside, in `/proc`; by what it still does; and
//! by processes that enter the same sandbox and then do what a router never would.

// A failure of a test is a panic.
#![allow(clippy::unwrap_used)]

// Every test uses some of it.
#[allow(dead_code, unreachable_pub)]
#[path = "support/lab.rs"]
mod lab;
mod support;

use std::fs;
use std::io::{ErrorKind, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::Signal;
use socket2::{Domain, Socket, Type};
use xcast::daemon::sandbox::{self, Strength};

use lab::process::{Process, Stream, until};
use lab::{Lab, socket_path, write_config, xcast};
use support::in_namespaces;

/// `CAP_NET_ADMIN` and `CAP_NET_RAW`, as `/proc` prints them.
const KEPT: &str = "0000000000003000";
const NONE: &str = "0000000000000000";

// --- A running router ---------------------------------------------------------------------------

/// A host and a router, which is not started.
fn wire() -> Lab {
    let mut lab = Lab::new();
    lab.hosts(&["a"]);
    lab.forwarders(&["r"]);
    lab.link("a", "r");
    lab
}

/// A line of a `status` of `/proc`.
fn line<'a>(status: &'a str, name: &str) -> &'a str {
    let mut values = status.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    values.next().unwrap_or_else(|| panic!("no {name} in {status}")).trim()
}

/// Where `/proc` has a process of this test's process namespace. It may be that of the namespace
/// outside, where processes have other numbers.
fn in_proc(process: &Process) -> PathBuf {
    let space = |process: &Path| fs::read_link(process.join("ns/pid")).ok();
    let here = space(Path::new("/proc/self"));
    let number = process.pid().to_string();
    let is_it = |path: &PathBuf| {
        // Others may end meanwhile.
        let text = fs::read_to_string(path.join("status")).unwrap_or_default();
        let numbers = text.lines().find_map(|line| line.strip_prefix("NSpid:"));
        let inmost = numbers.and_then(|numbers| numbers.split_whitespace().last());
        inmost == Some(&number) && space(path) == here
    };
    let mut all = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    all.find(is_it).unwrap_or_else(|| panic!("no process {number}"))
}

/// The `status` of each thread of a process. Threads that serve connections come and go, so one
/// that is listed may have ended.
fn threads(process: &Path) -> Vec<String> {
    let tasks = fs::read_dir(process.join("task")).unwrap();
    let status = |task: PathBuf| fs::read_to_string(task.join("status")).ok();
    let all = tasks.filter_map(|task| status(task.ok()?.path()));
    all.filter(|status| !line(status, "State").starts_with(['Z', 'X'])).collect()
}

/// All threads of the router, one that serves a connection among them, have given up the same.
/// `bounding` is what is left of the bounding set, `filters` how many filters were added.
fn assert_given_up(router: &Process, bounding: &str, filters: u32) {
    // It waits for a request that does not come.
    let _waiting = UnixStream::connect(socket_path("r")).unwrap();
    let process = in_proc(router);
    let threads = until("the connection is served", || {
        let threads = threads(&process);
        threads.iter().any(|status| line(status, "Name") == "connection").then_some(threads)
    });
    for kind in ["control", "worker"] {
        assert!(threads.iter().any(|status| line(status, "Name") == kind), "{threads:?}");
    }
    // The test itself may run behind a filter.
    let here = fs::read_to_string("/proc/self/status").unwrap();
    let own: u32 = line(&here, "Seccomp_filters").parse().unwrap();
    let mode = if filters > 0 { "2" } else { line(&here, "Seccomp") };
    let filters = (own + filters).to_string();
    for status in threads {
        for (name, value) in [
            ("CapEff", KEPT),
            ("CapPrm", KEPT),
            ("CapInh", NONE),
            ("CapAmb", NONE),
            ("CapBnd", bounding),
            ("NoNewPrivs", "1"),
            ("Seccomp", mode),
            ("Seccomp_filters", &filters),
        ] {
            assert_eq!(line(&status, name), value, "{name} of {}", line(&status, "Name"));
        }
    }
}

fn assert_ready(lab: &Lab) {
    lab.wait_for_port("r", "a", "up");
    assert_eq!(lab.port("r", "a")["kernel-drop"], true);
}

#[test]
fn every_thread_keeps_two_capabilities_and_is_confined() {
    in_namespaces("every_thread_keeps_two_capabilities_and_is_confined", || {
        let mut lab = wire();
        lab.start_router("r", "");
        assert_ready(&lab);
        assert_given_up(lab.router("r"), NONE, 3);
        let line = lab.router("r").log.wait_for_part(Stream::Error, "seccomp");
        assert!(line.contains("CAP_NET_ADMIN CAP_NET_RAW alone"), "{line}");
        assert!(line.ends_with("seccomp on"), "{line}");
    });
}

#[test]
fn without_the_switch_capabilities_go_and_calls_stay() {
    in_namespaces("without_the_switch_capabilities_go_and_calls_stay", || {
        let mut lab = wire();
        lab.start_router("r", "sandbox = false");
        assert_ready(&lab);
        assert_given_up(lab.router("r"), NONE, 0);
        let line = lab.router("r").log.wait_for_part(Stream::Error, "seccomp");
        assert!(line.ends_with("landlock off (sandbox = false), seccomp off (sandbox = false)"));
    });
}

/// A user who is not root has no more than the capabilities that came with the program; so it is
/// for a root that is told to be a user like others.
#[test]
fn two_capabilities_are_enough_to_start_with() {
    in_namespaces("two_capabilities_are_enough_to_start_with", || {
        let mut lab = wire();
        let file = write_config("r", "");
        let mut command = Command::new("setpriv");
        command.args(["--securebits=+noroot", "--bounding-set=-all,+net_raw,+net_admin"]);
        command.args(["--inh-caps=-all,+net_raw,+net_admin", "--ambient-caps=+net_raw,+net_admin"]);
        command.arg(env!("CARGO_BIN_EXE_xcast")).args(["router", "run", "--config", &file]);
        let router = lab.run("r", "r", &mut command);
        router.log.wait_for(Stream::Output, "ready");
        assert_ready(&lab);
        // The privilege to empty the bounding set was never there.
        assert_given_up(&router, KEPT, 3);
        router.signal(Signal::SIGTERM);
        assert_eq!(router.finish().status, Some(0));
        assert!(!Path::new(&socket_path("r")).exists());
    });
}

#[test]
fn a_confined_router_takes_ports_up_reads_its_file_again_and_removes_its_socket() {
    in_namespaces(
        "a_confined_router_takes_ports_up_reads_its_file_again_and_removes_its_socket",
        || {
            let mut lab = wire();
            lab.start_router("r", "");
            assert_ready(&lab);
            lab.hosts(&["late"]);
            lab.link("late", "r");
            until("the late port is up", || {
                let ports = lab.show("r", "ports");
                let mut each = ports["ports"].as_array()?.iter();
                each.any(|port| port["interface"] == "late" && port["state"] == "up").then_some(())
            });
            assert_eq!(lab.port("r", "late")["kernel-drop"], true);

            // An editor puts another file in the place of the old one.
            let file = write_config("r", "[ports]\nreverse-path = \"off\"");
            fs::copy(&file, "/run/lab/new").unwrap();
            fs::rename("/run/lab/new", &file).unwrap();
            let reload = xcast().args(["reload", "--socket", &socket_path("r")]).output().unwrap();
            assert!(reload.status.success(), "{reload:?}");
            assert_eq!(lab.port("r", "late")["reverse-path"], "off");
            write_config("r", "[ports]\nreverse-path = \"loose\"");
            lab.router("r").signal(Signal::SIGHUP);
            until("SIGHUP has its way", || {
                (lab.port("r", "late")["reverse-path"] == "loose").then_some(())
            });

            let drain = xcast().args(["drain", "--socket", &socket_path("r")]).output().unwrap();
            assert!(drain.status.success(), "{drain:?}");
            let ended = lab.take_router("r").finish();
            assert_eq!(ended.status, Some(0), "{:?}", ended.errors);
            assert!(!Path::new(&socket_path("r")).exists());
        },
    );
}

#[test]
fn a_file_that_only_its_owner_can_read_is_missed_at_once_and_not_at_the_reload() {
    in_namespaces(
        "a_file_that_only_its_owner_can_read_is_missed_at_once_and_not_at_the_reload",
        || {
            let mut lab = wire();
            // Root reads it by a capability, as it does others' files.
            let file = write_config("r", "");
            fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).unwrap();
            lab.start_router("r", "");
            let warning = lab.router("r").log.wait_for_part(Stream::Error, "a reload will not");
            assert!(warning.contains(&file), "{warning}");
            let reload = xcast().args(["reload", "--socket", &socket_path("r")]).output().unwrap();
            assert_eq!(reload.status.code(), Some(2), "{reload:?}");
            assert_ready(&lab);
        },
    );
}

#[test]
fn a_folder_in_which_no_socket_could_be_removed_is_refused_at_start() {
    in_namespaces("a_folder_in_which_no_socket_could_be_removed_is_refused_at_start", || {
        let mut lab = wire();
        let text = fs::read_to_string(write_config("r", "")).unwrap();
        let closed = Path::new("/run/lab/closed");
        fs::create_dir(closed).unwrap();
        fs::set_permissions(closed, fs::Permissions::from_mode(0o555)).unwrap();
        let text = text.replace(&socket_path("r"), "/run/lab/closed/r.sock");
        fs::write("/run/lab/r.toml", text).unwrap();
        let mut command = xcast();
        command.args(["router", "run", "--config", "/run/lab/r.toml"]);
        let ended = lab.run("r", "r", &mut command).finish();
        assert_eq!(ended.status, Some(1), "{:?}", ended.errors);
        let says_so = |line: &String| line.contains("/run/lab/closed: Permission denied");
        assert!(ended.errors.iter().any(says_so), "{:?}", ended.errors);
        assert!(!closed.join("r.sock").exists());
    });
}

// --- Behind the sandbox -------------------------------------------------------------------------

const BEHIND: &str = "XCAST_TEST_BEHIND";
/// The exit status of a process that has done all it meant to do.
const DONE: i32 = 77;
/// The exit status where the kernel cannot confine as a router asks it to.
const CANNOT: i32 = 78;

/// The files around a router that is none: `etc/r.toml`, `run` for its socket, and a secret.
struct Home(PathBuf);

impl Home {
    fn new() -> Home {
        let name = format!("xcast-sandbox-{}", std::process::id());
        let home = Home(std::env::temp_dir().join(name));
        fs::create_dir_all(home.at("etc")).unwrap();
        let experiment = "[experiment]\nip-protocol = 253\nall-routers-v4 = \"224.0.0.254\"\n\
                          all-routers-v6 = \"ff02::114\"\nrouting-type = 253\n\
                          ports-option = 0x5e\nhop-by-hop-option = 0x1e\ntunnel-port = 1021\n";
        let socket = home.at("run/r.sock");
        let router = format!("[router]\nname = \"r\"\ncontrol-socket = {socket:?}\n");
        fs::write(home.at("etc/r.toml"), format!("{experiment}{router}")).unwrap();
        fs::write(home.at("secret"), "secret").unwrap();
        home
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    /// Gives up what a router gives up.
    fn enter_sandbox(&self) {
        let file = self.at("etc/r.toml");
        let (config, _) = router_config::parse(&fs::read_to_string(&file).unwrap()).unwrap();
        let in_force = sandbox::enter(&config, &file).unwrap();
        if (&in_force.files, &in_force.calls) != (&Strength::Full, &Strength::Full) {
            eprintln!("{in_force}");
            std::process::exit(CANNOT);
        }
    }
}

/// Runs `body` behind the sandbox: in this very test, run again as a process of its own. Returns
/// how that ended, or nothing where there is nothing to see.
fn behind(test: &str, case: &str, body: impl FnOnce(&Home)) -> Option<ExitStatus> {
    let name = format!("{test}/{case}");
    if let Ok(wanted) = std::env::var(BEHIND) {
        let (wanted, folder) = wanted.split_once(' ').unwrap();
        if wanted == name {
            let home = Home(PathBuf::from(folder));
            home.enter_sandbox();
            body(&home);
            std::process::exit(DONE);
        }
        return None; // another case's process
    }
    let home = Home::new();
    let output = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(BEHIND, format!("{name} {}", home.0.display()))
        .current_dir(&home.0)
        .output()
        .unwrap();
    fs::remove_dir_all(&home.0).unwrap();
    if output.status.code() == Some(CANNOT) {
        assert!(std::env::var_os("CI").is_none(), "{test}: {output:?}");
        // Not by a macro, whose output the test runner hides.
        let line = format!("SKIPPED {test}: this kernel cannot confine a process so\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        return None;
    }
    print!("{}", String::from_utf8_lossy(&output.stdout));
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    Some(output.status)
}

fn assert_done(status: Option<ExitStatus>) {
    if let Some(status) = status {
        assert_eq!(status.code(), Some(DONE), "{status}, see above");
    }
}

/// Landlock's refusal, which is not that of seccomp (`EPERM`).
fn assert_kept_from<T>(what: &str, result: std::io::Result<T>) {
    assert_eq!(errno(result), Some(libc::EACCES), "{what}");
}

/// Seccomp's refusal.
fn assert_not_permitted<T>(what: &str, result: std::io::Result<T>) {
    assert_eq!(errno(result), Some(libc::EPERM), "{what}");
}

fn errno<T>(result: std::io::Result<T>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}

#[test]
fn files_are_those_of_a_router_and_no_others() {
    let test = "files_are_those_of_a_router_and_no_others";
    assert_done(behind(test, "files", |home| {
        assert!(fs::read_to_string(home.at("etc/r.toml")).unwrap().contains("[router]"));
        for file in [home.at("secret"), "/etc/passwd".into(), "/proc/self/maps".into()] {
            assert_kept_from("reading", fs::read(file));
        }
        let socket = home.at("run/r.sock");
        drop(UnixListener::bind(&socket).unwrap());
        fs::remove_file(&socket).unwrap();
        let open = |path: &str| fs::OpenOptions::new().append(true).open(home.at(path));
        assert_kept_from("writing the configuration", open("etc/r.toml"));
        assert_kept_from("a file beside the socket", fs::File::create(home.at("run/file")));
        assert_kept_from("a file anywhere", fs::File::create(home.at("file")));
        assert_kept_from("a folder", fs::create_dir(home.at("run/folder")));
        assert_kept_from("removing", fs::remove_file(home.at("etc/r.toml")));
        assert_kept_from("a socket elsewhere", UnixListener::bind(home.at("etc/r.sock")));
        assert_not_permitted("renaming", fs::rename(home.at("etc/r.toml"), home.at("run/r.toml")));
        let open_to_all = fs::Permissions::from_mode(0o777);
        assert_not_permitted("a mode", fs::set_permissions(home.at("secret"), open_to_all));
    }));
}

#[test]
fn sockets_are_those_of_a_router_and_no_others() {
    let test = "sockets_are_those_of_a_router_and_no_others";
    assert_done(behind(test, "sockets", |_| {
        let (netlink, alg, bluetooth) = (libc::AF_NETLINK, libc::AF_ALG, libc::AF_BLUETOOTH);
        for family in [Domain::UNIX, Domain::IPV4, Domain::from(netlink)] {
            Socket::new(family, Type::DGRAM, None).unwrap();
        }
        for family in [Domain::VSOCK, Domain::from(alg), Domain::from(bluetooth)] {
            let socket = Socket::new(family, Type::STREAM, None);
            assert_not_permitted(&format!("{family:?}"), socket);
        }
        // Nobody listens there, which without landlock would be the answer.
        assert_kept_from("connecting by TCP", TcpStream::connect("127.0.0.1:1"));
        assert_kept_from("listening by TCP", TcpListener::bind("127.0.0.1:9464"));
    }));
}

#[test]
fn threads_are_confined_too_and_processes_are_not_made() {
    let test = "threads_are_confined_too_and_processes_are_not_made";
    assert_done(behind(test, "threads", |home| {
        let secret = home.at("secret");
        let read = std::thread::spawn(move || fs::read(secret)).join().unwrap();
        assert_kept_from("a thread's reading", read);
        let spawned = Command::new("/bin/true").spawn().map_err(|error| error.kind());
        assert_eq!(spawned.err(), Some(ErrorKind::PermissionDenied));
    }));
}

#[test]
fn what_no_router_ever_calls_ends_the_process() {
    type Act = fn(&Home);
    let acts: [(&str, Act); 3] = [
        ("execve", |_| panic!("{}", Command::new("/bin/true").exec())),
        ("unshare", |_| panic!("{:?}", unshare(CloneFlags::CLONE_NEWUSER))),
        ("setns", |home| {
            let file = fs::File::open(home.at("etc/r.toml")).unwrap();
            panic!("{:?}", setns(file, CloneFlags::CLONE_NEWNET));
        }),
    ];
    for (name, act) in acts {
        let ended = behind("what_no_router_ever_calls_ends_the_process", name, act);
        if let Some(status) = ended {
            assert_eq!(status.signal(), Some(Signal::SIGSYS as i32), "{name}: {status}");
        }
    }
}
