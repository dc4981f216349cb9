//! The dissector run by `tshark` on captures made here.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What was captured of a frame, and how long it was on the wire.
pub(crate) type Captured = (Vec<u8>, usize);

/// `tshark` with the dissector, away from the settings and plugins of whoever runs it.
pub(crate) struct Tshark {
    folder: PathBuf,
    preferences: Vec<String>,
}

impl Tshark {
    /// None, said aloud, where there is no `tshark`; on a machine that must not skip (`CI` is
    /// set) that fails the test.
    pub(crate) fn find(test: &str) -> Option<Tshark> {
        if let Err(why) = Command::new("tshark").arg("--version").output() {
            assert!(std::env::var_os("CI").is_none(), "{test}: no tshark: {why}");
            // Not by a macro, whose output the test runner hides.
            let line = format!("SKIPPED {test}: no tshark here: {why}\n");
            std::io::stderr().write_all(line.as_bytes()).expect("stderr is open");
            return None;
        }
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("xcast-dissector-test-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).expect("the folder is new");
        Some(Tshark { folder, preferences: Vec::new() })
    }

    /// The same with preferences set, each as `NAME:VALUE`.
    pub(crate) fn with(mut self, preferences: &[&str]) -> Tshark {
        self.preferences = preferences.iter().map(|preference| format!("-o{preference}")).collect();
        self
    }

    /// The fields of every frame; one that occurs several times has its values behind commas.
    pub(crate) fn fields<const N: usize>(
        &self,
        frames: &[Vec<u8>],
        fields: [&str; N],
    ) -> Vec<[String; N]> {
        let mut arguments = vec!["-T", "fields", "-E", "separator=/t"];
        arguments.extend(fields.iter().flat_map(|field| ["-e", field]));
        let rows = self.read(&whole(frames), &arguments);
        let split = |row: &str| -> [String; N] {
            let columns: Vec<String> = row.split('\t').map(str::to_owned).collect();
            columns.try_into().expect("a column a field")
        };
        rows.lines().map(split).collect()
    }

    /// The numbers of the frames that a display filter shows, counted from 1.
    pub(crate) fn shown(&self, frames: &[Vec<u8>], filter: &str) -> String {
        let arguments = ["-Y", filter, "-T", "fields", "-e", "frame.number"];
        self.read(&whole(frames), &arguments).split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// What `tshark` prints about a capture. Panics where it complains about anything.
    pub(crate) fn read(&self, frames: &[Captured], arguments: &[&str]) -> String {
        let capture = self.folder.join("frames.pcap");
        fs::write(&capture, pcap(frames)).expect("the folder is ours");
        let capture = capture.to_str().expect("a plain name");
        let printed = self.run(&[&["-n", "-r", capture], arguments].concat());
        let errors: Vec<&str> = printed.lines().filter(|line| line.contains("Lua Error")).collect();
        assert!(errors.is_empty(), "{arguments:?}: {errors:#?}");
        printed
    }

    /// The names of all fields of the dissector.
    pub(crate) fn names(&self) -> Vec<String> {
        let list = self.run(&["-G", "fields"]);
        let names = list.lines().filter_map(|line| line.split('\t').nth(2));
        names.filter(|name| name.starts_with("xcast.")).map(str::to_owned).collect()
    }

    fn run(&self, arguments: &[&str]) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("wireshark/xcast.lua");
        let output = Command::new("tshark")
            .args(arguments)
            .arg(format!("-Xlua_script:{}", script.display()))
            .args(&self.preferences)
            .env("HOME", &self.folder)
            .env("WIRESHARK_CONFIG_DIR", &self.folder)
            .env_remove("XDG_CONFIG_HOME")
            .output()
            .expect("it was just there");
        let complaints = String::from_utf8_lossy(&output.stderr);
        let complaints: Vec<&str> = complaints.lines().filter(|line| !is_harmless(line)).collect();
        assert!(output.status.success() && complaints.is_empty(), "{arguments:?}: {complaints:#?}");
        String::from_utf8(output.stdout).expect("text")
    }
}

impl Drop for Tshark {
    fn drop(&mut self) {
        let removed = fs::remove_dir_all(&self.folder);
        assert!(removed.is_ok() || std::thread::panicking(), "{removed:?}");
    }
}

fn is_harmless(line: &str) -> bool {
    line.is_empty() || line.starts_with("Running as user \"root\"")
}

fn whole(frames: &[Vec<u8>]) -> Vec<Captured> {
    frames.iter().map(|frame| (frame.clone(), frame.len())).collect()
}

/// A classic capture file of Ethernet frames, all from one moment.
fn pcap(frames: &[Captured]) -> Vec<u8> {
    let mut file = Vec::new();
    // Magic, version 2.4, zone, accuracy, snap length, Ethernet.
    for field in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 0x4_0000, 1] {
        file.extend(u32::to_le_bytes(field));
    }
    for (bytes, length) in frames {
        for field in [0, 0, bytes.len() as u32, *length as u32] {
            file.extend(field.to_le_bytes());
        }
        file.extend(bytes);
    }
    file
}
