//! Multicast sessions between running hosts: planned on the pool, read and written by the command line.

#![allow(clippy::unwrap_used)]

#[allow(unreachable_pub, dead_code)]
mod support;

use std::io::Write;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use overlay_host::control::Topic;
use serde_json::Value;
use support::{Host, Lab, until, until_one_ring};

const TABLES: &str = "degrees = 3\n\
    [somo]\ndegree = 2\ninterval = \"300ms\"\nheartbeat = \"200ms\"\n\
    [metrics]\ninterval = \"300ms\"\npairs = false\n\
    [sessions]\nsettling = \"200ms\"";

/// Hosts in one ring, all of which have told the pool what they have.
fn pool(lab: &Lab, count: u8) -> Vec<Host> {
    let hosts: Vec<Host> = (1..=count)
        .map(|place| {
            let boot: Vec<u8> = if place == 1 { Vec::new() } else { vec![1] };
            lab.start(place, &boot, TABLES)
        })
        .collect();
    until_one_ring(&hosts.iter().collect::<Vec<_>>());
    until("a pool of all hosts", || {
        let output = hosts[0].command(&["pool", "--degrees", "3", "--json"]);
        let found: Value = serde_json::from_slice(&output.stdout).ok()?;
        let hosts = found["hosts"].as_array()?;
        (hosts.len() == usize::from(count) && found["complete"] == true).then_some(())
    });
    hosts
}

fn addresses(lab: &Lab, places: impl IntoIterator<Item = u8>) -> String {
    let addresses: Vec<String> =
        places.into_iter().map(|place| lab.address(place).to_string()).collect();
    addresses.join(",")
}

/// A command that runs until it is done; ended with the test, whatever happens.
struct Running(Child);

impl Running {
    fn start(host: &Host, arguments: &[&str], stdin: Stdio) -> Running {
        let mut command = Command::new(env!("CARGO_BIN_EXE_overlay-host"));
        command.args(arguments).arg("--socket").arg(&host.socket);
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        Running(command.spawn().unwrap())
    }

    /// Its status, and what it said as JSON.
    fn end(mut self) -> (Option<i32>, Value) {
        let ended = until("the command ends", || self.0.try_wait().unwrap());
        let read = |from: Option<&mut dyn std::io::Read>| {
            let mut text = String::new();
            from.unwrap().read_to_string(&mut text).unwrap();
            text
        };
        let out = read(self.0.stdout.as_mut().map(|out| out as &mut dyn std::io::Read));
        let errors = read(self.0.stderr.as_mut().map(|out| out as &mut dyn std::io::Read));
        let value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}\n{errors}"));
        (ended.code(), value)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

fn receive(host: &Host, file: &Path) -> Running {
    let file = file.display().to_string();
    Running::start(host, &["receive", "--json", "--file", &file], Stdio::null())
}

fn multicast(host: &Host, members: &str) -> (Running, ChildStdin) {
    let arguments = ["multicast", "--json", "--priority", "1", "--members", members];
    let mut running = Running::start(host, &arguments, Stdio::piped());
    let stdin = running.0.stdin.take().unwrap();
    (running, stdin)
}

#[test]
fn a_file_reaches_all_members_whole_and_nobody_else() {
    let lab = Lab::new(1);
    let hosts = pool(&lab, 6);
    let data: Vec<u8> =
        (0..150_000u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let file = lab.path("data");
    std::fs::write(&file, &data).unwrap();
    let readers: Vec<Running> =
        (1..5).map(|at| receive(&hosts[at], &lab.path(&format!("copy-{at}")))).collect();
    let members = addresses(&lab, 2..=5);
    let file = file.display().to_string();
    let arguments = ["multicast", "--json", "--members", &members, "--file", &file];
    let (status, sent) = Running::start(&hosts[0], &arguments, Stdio::null()).end();
    assert_eq!(status, Some(0), "{sent}");
    assert_eq!((&sent["payloads"], &sent["octets"]), (&150.into(), &150_000.into()), "{sent}");
    for (reader, at) in readers.into_iter().zip(1..) {
        let (status, done) = reader.end();
        assert_eq!((status, &done["whole"]), (Some(0), &true.into()), "host {at}: {done}");
        assert_eq!(done["session"], sent["session"]);
        assert!(std::fs::read(lab.path(&format!("copy-{at}"))).unwrap() == data, "host {at}");
    }
    let shown = |host: &Host| host.show(Topic::Sessions)["peers"][0].clone();
    assert_eq!(shown(&hosts[5])["payloads-received"], 0);
    for host in &hosts {
        let free = || (shown(host)["free-degrees"] == 3).then_some(());
        until("all links are free again", free);
        assert_eq!(shown(host)["payloads-again"], 0);
    }
}

#[test]
fn a_stream_is_drawn_and_goes_on_past_hosts_that_crash() {
    let lab = Lab::new(2);
    let mut hosts: Vec<Option<Host>> = pool(&lab, 8).into_iter().map(Some).collect();
    let readers: Vec<Running> = (1..7)
        .map(|at| receive(hosts[at].as_ref().unwrap(), &lab.path(&format!("copy-{at}"))))
        .collect();
    let root = hosts[0].take().unwrap();
    let (sender, mut stdin) = multicast(&root, &addresses(&lab, 2..=7));
    let mut data = Vec::new();
    let mut say = |stdin: &mut ChildStdin, number: u32| {
        let line = format!("line {number}\n").into_bytes();
        stdin.write_all(&line).unwrap();
        data.extend(line);
    };
    say(&mut stdin, 0);
    let links = until("a tree in which everybody has got something", || {
        let session = root.show(Topic::Sessions)["peers"][0]["sends"][0].clone();
        let all = hosts[1..7]
            .iter()
            .flatten()
            .all(|host| host.show(Topic::Sessions)["peers"][0]["receives"][0]["received"] == 1);
        (all && session["whole"] == true).then(|| session["links"].as_array().unwrap().clone())
    });
    assert_eq!(links.iter().filter(|link| link["member"] == true).count(), 6);

    let svg = lab.path("tree.svg");
    let drawn = root.command(&["show", "sessions", "--svg", &svg.display().to_string()]);
    assert_eq!(drawn.status.code(), Some(0), "{drawn:?}");
    let svg = std::fs::read_to_string(svg).unwrap();
    assert_eq!(svg.matches("<path ").count(), links.len());
    let dot = String::from_utf8(root.command(&["show", "tree", "--dot"]).stdout).unwrap();
    assert_eq!(dot.matches(" -> ").count(), links.len(), "{dot}");
    let text = String::from_utf8(root.command(&["show", "sessions"]).stdout).unwrap();
    for link in &links {
        assert!(text.contains(link["address"].as_str().unwrap()), "{text}");
    }

    // Of three links each, some member forwards to others.
    let id = |host: &Option<Host>| host.as_ref().map(|host| host.id(0));
    let ids: Vec<Option<String>> = hosts.iter().map(id).collect();
    let is_inner =
        |at: &usize| links.iter().any(|link| link["parent"].as_str() == ids[*at].as_deref());
    let inner = (1..7).find(|at| ids[*at].is_some() && is_inner(at)).unwrap();
    say(&mut stdin, 1);
    hosts[inner].take().unwrap().kill();
    say(&mut stdin, 2);
    until("a whole tree without it", || {
        let session = root.show(Topic::Sessions)["peers"][0]["sends"][0].clone();
        let links = session["links"].as_array()?;
        let is_gone = links.iter().all(|link| link["child"].as_str() != ids[inner].as_deref());
        (is_gone && session["whole"] == true).then_some(())
    });
    say(&mut stdin, 3);
    drop(stdin);
    let (status, sent) = sender.end();
    // Two lines said at once may be one payload.
    assert_eq!((status, &sent["octets"]), (Some(0), &data.len().into()), "{sent}");
    for (reader, at) in readers.into_iter().zip(1..).filter(|(_, at)| *at != inner) {
        let (status, done) = reader.end();
        assert_eq!((status, &done["whole"]), (Some(0), &true.into()), "host {at}: {done}");
        let copy = std::fs::read(lab.path(&format!("copy-{at}"))).unwrap();
        assert_eq!(String::from_utf8_lossy(&copy), String::from_utf8_lossy(&data), "host {at}");
    }
}

#[test]
fn who_is_not_in_the_pool_and_what_cannot_be_carried_is_said() {
    let lab = Lab::new(3);
    let hosts = pool(&lab, 3);
    let refused = |members: &str| {
        let output = hosts[0].command(&["multicast", "--members", members]);
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (status, why) = refused("192.0.2.9,127.0.0.1");
    assert_eq!(status, Some(2), "{why}");
    assert!(why.contains("nobody in the pool is `192.0.2.9`"), "{why}");
    let (status, why) = refused(&addresses(&lab, [1]));
    assert_eq!(status, Some(2), "{why}");
    let table = String::from_utf8(hosts[1].command(&["pool"]).stdout).unwrap();
    for place in 1..=3 {
        assert!(table.contains(&format!("{}:9000", lab.address(place))), "{table}");
    }
    assert!(table.contains("3 of 3 hosts"), "{table}");
}

#[test]
fn the_tree_of_the_pool_is_drawn_as_the_hosts_have_it() {
    let lab = Lab::new(4);
    let hosts = pool(&lab, 5);
    // Everybody's parent, as it says itself, and as it is drawn.
    let said = |host: &Host| {
        let peer = host.show(Topic::Tree)["peers"][0].clone();
        let parent = peer["parent"]["id"].as_str().map(str::to_owned);
        (peer["root"] == true || parent.is_some()).then(|| (peer["id"].clone(), parent))
    };
    let links: Vec<(Value, Option<String>)> = until("a parent for everybody", || {
        let links: Vec<_> = hosts.iter().map(said).collect::<Option<_>>()?;
        let dot = String::from_utf8(hosts[2].command(&["pool", "--dot"]).stdout).ok()?;
        let is_drawn = |(id, parent): &(Value, Option<String>)| {
            parent.as_ref().is_none_or(|parent| dot.contains(&format!("\"{parent}\" -> {id};")))
        };
        (dot.matches(" -> ").count() == 4 && links.iter().all(is_drawn)).then_some(links)
    });
    assert_eq!(links.iter().filter(|(_, parent)| parent.is_none()).count(), 1);
    let text = String::from_utf8(hosts[0].command(&["pool", "--tree"]).stdout).unwrap();
    assert!(text.starts_with("pool of 5 hosts\n") && text.contains("└─ "), "{text}");
    assert_eq!(text.matches("3/3 free").count(), 5, "{text}");
    let svg = lab.path("pool.svg");
    let drawn = hosts[0].command(&["pool", "--svg", &svg.display().to_string()]);
    assert_eq!(drawn.status.code(), Some(0), "{drawn:?}");
    assert_eq!(std::fs::read_to_string(svg).unwrap().matches("<path ").count(), 4);
    let both = hosts[0].command(&["pool", "--dot", "--count", "3"]);
    assert_eq!(both.status.code(), Some(2), "what is drawn is the whole");
}
