//! The style that no compiler enforces: which room may use which, where `unsafe` may stand, how
//! long files and functions may be.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What every room may use: a hint to the processor, which changes nothing but time.
const EVERYBODYS: &str = "io::prefetch";
const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;

/// The rooms of `src/`, each with those it may use. ARCHITECTURE.md says why.
const ROOMS: [(&str, &[&str]); 12] = [
    ("wire", &[]),
    ("fib", &["wire"]),
    ("rib", &["fib", "wire"]),
    ("forward", &["fib", "wire"]),
    ("backbone", &["fib", "forward", "wire"]),
    ("io", &["wire"]),
    ("kernel", &["rib", "fib"]),
    ("engine", &["fib", "forward", "io", "wire"]),
    ("host", &["backbone", "engine", "fib", "forward", "io", "kernel", "rib", "wire"]),
    ("control", &["fib", "forward", "rib"]),
    (
        "daemon",
        &["backbone", "control", "engine", "fib", "forward", "host", "io", "kernel", "rib", "wire"],
    ),
    (
        "tools",
        &["control", "daemon", "engine", "fib", "forward", "host", "io", "kernel", "rib", "wire"],
    ),
];

fn sources(folders: &[&str]) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pending: Vec<PathBuf> = folders.iter().map(|folder| root.join(folder)).collect();
    let mut files = Vec::new();
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).unwrap().display().to_string();
            files.push((name, std::fs::read_to_string(&path).unwrap()));
        }
    }
    assert!(!files.is_empty());
    files.sort();
    files
}

fn all_sources() -> Vec<(String, String)> {
    sources(&["src", "tests", "benches", "router-config", "overlay-hosts"])
}

/// The packages of the overlay hosts, each with those of ours that it may use. The protocols know
/// nothing but themselves.
const OVERLAY: [(&str, &[&str]); 3] = [
    ("protocols", &[]),
    ("simulator", &["overlay_protocols", "xcast"]),
    ("host", &["overlay_protocols", "router_config", "xcast"]),
];

/// Fails with every complaint at once.
fn no_complaints(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// The code in front of a file's tests, without comments.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    let lines = lines.take_while(|(_, line)| !line.starts_with("#[cfg(test)]"));
    lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
}

#[test]
fn rooms_use_only_the_rooms_they_may() {
    let allowed: BTreeMap<_, _> = ROOMS.into_iter().collect();
    let mut complaints = Vec::new();
    for (file, text) in sources(&["src"]) {
        let Some((room, _)) = file.strip_prefix("src/").unwrap().split_once('/') else { continue };
        let may = allowed.get(room).unwrap_or_else(|| panic!("{room} is no known room"));
        if file.ends_with("/tests.rs") || file.contains("/tests/") {
            continue; // tests may look around
        }
        for (line, code) in code(&text) {
            for used in code.split("crate::").skip(1).filter(|used| !used.starts_with(EVERYBODYS)) {
                let used: String =
                    used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if used != room && allowed.contains_key(used.as_str()) && !may.contains(&&*used) {
                    complaints.push(format!("{file}:{line}: `{room}` may not use `{used}`"));
                }
            }
        }
    }
    no_complaints(complaints);
}

#[test]
fn unsafe_stands_in_the_io_room_alone() {
    let word = ["un", "safe "].concat();
    let elsewhere = all_sources().into_iter().filter(|(file, _)| !file.starts_with("src/io/"));
    let mut complaints = Vec::new();
    for (file, text) in elsewhere {
        let lines = code(&text).filter(|(_, line)| line.contains(&word));
        complaints.extend(lines.map(|(line, _)| format!("{file}:{line}: {word}outside `io`")));
    }
    no_complaints(complaints);
}

#[test]
fn pure_rooms_know_no_clock_no_system_and_no_randomness() {
    let pure = ["src/wire", "src/fib", "src/rib", "src/forward", "src/backbone", "src/control"];
    let banned =
        ["std::time", "std::fs", "std::thread", "std::env", "std::os", "UdpSocket", "libc"];
    let mut complaints = Vec::new();
    for (file, text) in sources(&pure) {
        for (line, code) in code(&text) {
            for word in banned.iter().filter(|word| code.contains(**word)) {
                complaints.push(format!("{file}:{line}: `{word}` in a pure room"));
            }
        }
    }
    no_complaints(complaints);
}

#[test]
fn overlay_protocols_are_pure_and_the_same_everywhere() {
    // What the compiler lets through: floats that differ between machines, orders that differ
    // between runs, and everything that `std` has beyond `core` and `alloc`.
    let banned = [
        "HashMap",
        "HashSet",
        "hash_map",
        "std::",
        ".sqrt()",
        ".powf(",
        ".powi(",
        ".ln()",
        ".exp()",
        ".log2()",
        ".sin()",
        ".cos()",
        ".tan()",
        ".mul_add(",
        "static mut",
        "println",
        "panic!",
    ];
    let mut complaints = Vec::new();
    for (file, text) in sources(&["overlay-hosts/protocols/src"]) {
        if file.contains("/tests") || file.ends_with("/testing.rs") {
            continue;
        }
        for (line, code) in code(&text) {
            for word in banned.iter().filter(|word| code.contains(**word)) {
                complaints.push(format!("{file}:{line}: `{word}` in a pure machine"));
            }
        }
    }
    let front = std::fs::read_to_string("overlay-hosts/protocols/src/lib.rs").unwrap();
    for word in ["#![no_std]", "#![forbid(unsafe_code)]"] {
        if !front.contains(word) {
            complaints.push(format!("overlay-hosts/protocols/src/lib.rs: no {word}"));
        }
    }
    no_complaints(complaints);
}

#[test]
fn overlay_packages_use_only_what_they_may() {
    let ours = ["overlay_protocols", "overlay_simulator", "overlay_host", "router_config", "xcast"];
    let mut complaints = Vec::new();
    for (package, may) in OVERLAY {
        for (file, text) in sources(&[&format!("overlay-hosts/{package}/src")]) {
            let own = format!("overlay_{package}");
            for (line, code) in code(&text) {
                let used = ours.iter().filter(|name| code.contains(&format!("{name}::")));
                let wrong = used.filter(|name| !may.contains(name) && **name != own);
                complaints.extend(wrong.map(|name| format!("{file}:{line}: uses `{name}`")));
            }
        }
    }
    no_complaints(complaints);
}

#[test]
fn the_packet_path_takes_no_lock_and_writes_no_log() {
    let banned = ["Mutex", "RwLock", "tracing", "dyn ", "Box<", "format!", "vec!", "println"];
    let mut complaints = Vec::new();
    for (file, text) in sources(&[
        "src/forward",
        "src/fib/mod.rs",
        "src/fib/poptrie.rs",
        "src/fib/dir24.rs",
        "src/fib/overlap.rs",
    ]) {
        if file.ends_with("/tests.rs") || file.contains("/tests/") {
            continue;
        }
        for (line, code) in code(&text) {
            // What is made once, before any packet.
            let rooms = [
                "octets: vec![",
                "self.places = vec![",
                "places: vec![",
                "headers: vec![",
                "adjacencies: vec![",
                "direct: vec![",
                "behind: vec![",
                "slots: vec![",
            ];
            let once = rooms.iter().any(|room| code.contains(room));
            for word in banned.iter().filter(|word| code.contains(**word) && !once) {
                complaints.push(format!("{file}:{line}: `{word}` on the packet path"));
            }
        }
    }
    no_complaints(complaints);
}

#[test]
fn files_and_functions_stay_short() {
    let mut complaints = Vec::new();
    for (file, text) in all_sources() {
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            complaints.push(format!("{file}: {lines} lines, more than {FILE_LINES_MAX}"));
        }
        let mut function: Option<(usize, String)> = None;
        for (index, line) in text.lines().enumerate() {
            let indent = &line[..line.len() - line.trim_start().len()];
            let starts = line.split_whitespace().take(5).any(|word| word == "fn");
            if function.is_none() && starts && !line.trim_end().ends_with(';') {
                function = Some((index, format!("{indent}}}")));
            }
            let ended = function.as_ref().is_some_and(|(_, end)| line == end);
            if let Some((start, _)) = function.take_if(|_| ended)
                && index - start > FUNCTION_LINES_MAX
            {
                let (line, length) = (start + 1, index - start);
                complaints.push(format!("{file}:{line}: a function of {length} lines"));
            }
        }
    }
    no_complaints(complaints);
}

#[test]
fn tests_wait_for_conditions_and_never_sleep() {
    let word = ["thread::", "sleep"].concat();
    let mut complaints = Vec::new();
    let everywhere = all_sources().into_iter();
    for (file, text) in everywhere.filter(|(file, _)| file.contains("tests")) {
        for (index, _) in text.lines().enumerate().filter(|(_, line)| line.contains(&word)) {
            complaints.push(format!("{file}:{}: wait for a condition instead", index + 1));
        }
    }
    no_complaints(complaints);
}

#[test]
fn every_file_says_what_it_owns() {
    let mut complaints = Vec::new();
    for (file, text) in sources(&["src", "router-config/src", "overlay-hosts"]) {
        if !file.ends_with("tests.rs") && !text.starts_with("//!") {
            complaints.push(format!("{file}: begins without saying what it is for"));
        }
    }
    no_complaints(complaints);
}
