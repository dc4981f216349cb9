//! The command line: what is refused, and what is said. No network is needed.

use std::process::Output;

use crate::lab::xcast;

const EXPERIMENT: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/router-config/examples/experiment.toml");
const KEY: &str = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";

fn run(arguments: &str, relays: Option<&str>) -> Output {
    let mut command = xcast();
    command.args(arguments.split_whitespace()).args(["--experiment", EXPERIMENT]);
    command.env_remove("XCAST_RELAYS").envs(relays.map(|file| ("XCAST_RELAYS", file)));
    command.output().unwrap()
}

fn refused(arguments: &str, relays: Option<&str>) -> (Option<i32>, String) {
    let output = run(arguments, relays);
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// A folder that is this test's own, removed in the end.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("xcast-relay-{name}-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Folder(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn there_is_no_default_key_and_no_relay_is_trusted_unasked() {
    let send = "send --to 192.0.2.1 --port 9 --relay 127.0.0.1";
    let (status, complaint) = refused(send, None);
    assert_eq!(status, Some(2), "{complaint}");
    assert!(complaint.contains("no relay is trusted"), "{complaint}");
    let (status, complaint) = refused(&format!("{send} --relay-key {KEY}"), None);
    assert_eq!(status, Some(2), "{complaint}");
    assert!(complaint.contains("`xcast key generate FILE`"), "{complaint}");
    let (status, complaint) = refused(&format!("{send} --relay-key nonsense"), None);
    assert_eq!(status, Some(2), "{complaint}");
    assert!(complaint.contains("a relay's key `nonsense` must be a key"), "{complaint}");
    let (status, complaint) = refused(&format!("{send} --interface lo"), None);
    assert_eq!(status, Some(2), "{complaint}");
}

#[test]
fn keys_are_made_shown_and_never_overwritten() {
    let folder = Folder::new("keys");
    let file = folder.path("host.key");
    let key = |words: &str| {
        let output = xcast().args(["key", words, &file]).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (status, public) = key("generate");
    assert_eq!((status, public.trim_end().len()), (Some(0), 44));
    assert_eq!(key("public"), (Some(0), public));
    assert_eq!(key("generate"), (Some(1), String::new()));
}

#[test]
fn the_file_of_relays_is_read_and_its_errors_are_shown_by_line() {
    let folder = Folder::new("file");
    let (file, host) = (folder.path("relays.toml"), folder.path("host.key"));
    let auto = "recv --port 9000 --relay auto";
    let (status, complaint) = refused(auto, Some(&file));
    assert_eq!(status, Some(2), "{complaint}");
    assert!(complaint.contains("XCAST_RELAYS names another"), "{complaint}");
    std::fs::write(&file, "relays = [\"127.0.0.1\"]\nkey = []\n").unwrap();
    let (status, complaint) = refused(auto, Some(&file));
    assert_eq!(status, Some(2), "{complaint}");
    let lines: Vec<&str> = complaint.lines().collect();
    assert!(
        lines[0]
            .ends_with("relays.toml:1:11: error: `relays` must be `HOST:PORT`, found `127.0.0.1`"),
        "{complaint}"
    );
    assert!(
        lines[1].contains(":2:1: error: unknown key `key`, did you mean `keys`?"),
        "{complaint}"
    );
    xcast().args(["key", "generate", &host]).output().unwrap();
    // Nobody is at this port.
    let port = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let text = format!(
        "relays = [\"127.0.0.1:{port}\"]\nkeys = [\"{KEY}\"]\nprivate-key-file = \"{host}\"\n"
    );
    std::fs::write(&file, text).unwrap();
    let (status, complaint) = refused(auto, Some(&file));
    assert_eq!(status, Some(1), "{complaint}");
    assert!(
        complaint.contains(&format!("asked: 127.0.0.1:{port}; this host's key is")),
        "{complaint}"
    );
}
