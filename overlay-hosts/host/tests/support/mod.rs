//! Running hosts: each test has a folder and loopback addresses of its own, and nothing of it is
//! left when it ends.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use overlay_host::control::{Question, Request, Topic};
use serde_json::Value;
use xcast::control::Reply;
use xcast::tools::exchange;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program under test, with these arguments.
pub fn overlay_host(arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_overlay-host");
    let mut command = Command::new(program);
    command.args(arguments).env_remove("XCAST_OVERLAY_SOCKET").env_remove("XCAST_LOG");
    command.output().expect("it runs")
}

/// A test's own folder and addresses.
pub struct Lab {
    folder: PathBuf,
    number: u8,
}

impl Lab {
    /// `number` is the test's own.
    pub fn new(number: u8) -> Lab {
        let folder = format!("overlay-host-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        fs::create_dir(&folder).expect("it is this test's own");
        Lab { folder, number }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The address of a host: others' tests have others.
    pub fn address(&self, place: u8) -> Ipv4Addr {
        let [.., high, low] = std::process::id().to_be_bytes();
        // Not 127.0.0.0/16, where services live.
        Ipv4Addr::new(127, 1 + high % 250, low, 20 * self.number + place)
    }

    /// Runs a host. `more` goes behind `[host]`, `boot` says whom it asks first.
    pub fn start(&self, place: u8, boot: &[u8], more: &str) -> Host {
        self.start_with(place, boot, more, "")
    }

    /// The same; `rendezvous` goes behind `[rendezvous]`.
    pub fn start_with(&self, place: u8, boot: &[u8], more: &str, rendezvous: &str) -> Host {
        let boot: Vec<String> =
            boot.iter().map(|place| format!("\"{}:9000\"", self.address(*place))).collect();
        let (name, address) = (format!("h{place}"), self.address(place));
        let socket = self.path(&format!("{name}.sock"));
        let text = format!(
            "[host]\nname = \"{name}\"\ntransport = \"unicast\"\nlisten = [\"{address}:9000\"]\n\
             control-socket = \"{}\"\nstate-directory = \"{}\"\n{more}\n\
             [rendezvous]\nboot = [{}]\n{rendezvous}\n[ring]\nheartbeat = \"300ms\"\n",
            socket.display(),
            self.path(&name).display(),
            boot.join(", "),
        );
        let config = self.path(&format!("{name}.toml"));
        fs::write(&config, text).expect("the folder is there");
        Host::run(config, socket)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.folder);
    }
}

/// A running host.
pub struct Host {
    child: Child,
    pub config: PathBuf,
    pub socket: PathBuf,
    log: Arc<Mutex<String>>,
}

impl Host {
    /// Runs the host of a configuration, and waits until it is ready.
    pub fn run(config: PathBuf, socket: PathBuf) -> Host {
        let mut child = Command::new(env!("CARGO_BIN_EXE_overlay-host"))
            .args(["run", "--config"])
            .arg(&config)
            .env("XCAST_LOG", "info")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let log = Arc::new(Mutex::new(String::new()));
        let (stderr, kept) = (child.stderr.take().expect("piped"), Arc::clone(&log));
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut kept = kept.lock().expect("nobody panics with it");
                kept.push_str(&line);
                kept.push('\n');
            }
        });
        let stdout = child.stdout.take().expect("piped");
        let (sender, first): (_, Receiver<String>) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _unread = sender.send(line);
            }
        });
        let host = Host { child, config, socket, log };
        let line = first.recv_timeout(PATIENCE);
        let ready = line.as_ref().is_ok_and(|line| line.starts_with("ready: overlay host"));
        assert!(ready, "{line:?}\n{}", host.log());
        host
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().expect("nobody panics with it").clone()
    }

    pub fn show(&self, topic: Topic) -> Value {
        match self.exchange(Request::Show(topic)) {
            Reply::Done(value) => value,
            refused => panic!("{refused:?}\n{}", self.log()),
        }
    }

    pub fn ask(&self, question: Question) -> Reply {
        self.exchange(Request::Ask { peer: None, question })
    }

    fn exchange(&self, request: Request) -> Reply {
        exchange(&self.socket, request, PATIENCE)
            .unwrap_or_else(|error| panic!("{error}\n{}", self.log()))
    }

    /// The identity of a peer.
    pub fn id(&self, peer: usize) -> String {
        self.show(Topic::Ring)["peers"][peer]["id"].as_str().expect("it has one").to_owned()
    }

    /// How often something was dropped.
    pub fn drops(&self, reason: &str) -> u64 {
        self.show(Topic::Drops)["drops"][reason].as_u64().expect("it is counted")
    }

    /// Runs `overlay-host` against it.
    pub fn command(&self, arguments: &[&str]) -> Output {
        let socket = self.socket.display().to_string();
        overlay_host(&[arguments, &["--socket", &socket]].concat())
    }

    /// SIGTERM; its exit status.
    pub fn terminate(mut self) -> (Option<i32>, String) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status().expect("kill runs");
        assert!(sent.success());
        let ended = until("it ends", || self.child.try_wait().expect("it is ours"));
        (ended.code(), self.log())
    }

    /// SIGKILL: it is gone without a word.
    pub fn kill(mut self) {
        self.child.kill().expect("it is ours");
        self.child.wait().expect("it is ours");
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// Waits until there is something.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    // Nobody sends: it only paces the looks.
    let (_sender, pause): (_, Receiver<()>) = channel();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "in vain: {what}");
        let _nothing = pause.recv_timeout(Duration::from_millis(50));
    }
}

/// Waits until these hosts' peers form one ring: everybody is somebody's successor, once around.
pub fn until_one_ring(hosts: &[&Host]) -> Vec<String> {
    until("one ring", || {
        let mut around: Vec<(String, String)> = Vec::new();
        for host in hosts {
            for peer in host.show(Topic::Ring)["peers"].as_array()? {
                let text = |name: &str| Some(peer[name].as_str()?.to_owned());
                around.push((text("id")?, text("successor")?));
            }
        }
        // Clockwise: by identity, as nobody has swapped positions.
        around.sort();
        let next = |place: usize| &around[(place + 1) % around.len()].0;
        let is_ring = around.iter().enumerate().all(|(place, (_, after))| after == next(place));
        is_ring.then(|| around.iter().map(|(id, _)| id.clone()).collect())
    })
}
