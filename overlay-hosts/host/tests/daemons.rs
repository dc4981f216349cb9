//! Hosts on loopback addresses: they form one ring and one group, keep values, leave, come back.

#![allow(clippy::unwrap_used)]

#[allow(unreachable_pub)]
mod support;

use overlay_host::control::{Question, Topic};
use serde_json::Value;
use support::{Host, Lab, overlay_host, until, until_one_ring};
use xcast::control::Reply;

fn done(reply: Reply) -> Value {
    match reply {
        Reply::Done(value) => value,
        refused => panic!("{refused:?}"),
    }
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).trim_end().to_owned()
}

#[test]
fn five_hosts_form_one_ring_in_which_each_finds_what_any_has_put() {
    let lab = Lab::new(1);
    let mut hosts = vec![lab.start(1, &[], "")];
    hosts.extend((2..=5).map(|place| lab.start(place, &[1, 2], "")));
    let all: Vec<&Host> = hosts.iter().collect();
    let ids = until_one_ring(&all);
    assert_eq!(ids.len(), 5);

    let key = || "greeting".to_owned();
    let put = Question::Put { key: key(), value: "hello".to_owned() };
    let stored = done(hosts[1].ask(put));
    assert!(ids.contains(&stored["owner"].as_str().unwrap().to_owned()), "{stored}");
    for host in &hosts {
        let got = done(host.ask(Question::Get { key: key() }));
        assert_eq!(got["value"], "hello");
        assert_eq!(got["value-base64"], "aGVsbG8=");
        let owner = done(host.ask(Question::FindNode { key: key() }));
        assert_eq!(owner["id"], stored["owner"]);
    }
    let shown = hosts[4].command(&["get", "greeting"]);
    assert_eq!((shown.status.code(), text(&shown.stdout)), (Some(0), "hello".to_owned()));

    let traffic = until("heartbeats, which have several receivers", || {
        let traffic = hosts[0].show(Topic::Traffic);
        (traffic["receivers"].as_u64()? > traffic["messages-sent"].as_u64()?).then_some(traffic)
    });
    let count = |name: &str| traffic[name].as_u64().unwrap();
    assert_eq!((count("xcast-packets-sent"), count("receivers-unsent")), (0, 0));
    assert_eq!(count("unicast-packets-sent"), count("receivers"), "{traffic}");
    for host in &hosts {
        let drops = &host.show(Topic::Drops)["drops"];
        // An answer that comes after seconds, on a busy machine, counts as malformed.
        for reason in ["magic", "forged", "replayed", "seal-kind", "oversized"] {
            assert_eq!(drops[reason], 0, "{reason}: {drops}");
        }
    }
}

#[test]
fn hosts_of_one_machine_form_one_group() {
    let lab = Lab::new(2);
    let first = lab.start(1, &[], "");
    let second = lab.start(2, &[1], "");
    let group = |host: &Host| {
        let shown = host.show(Topic::Group);
        let peer = &shown["peers"][0];
        Some((peer["group"].as_str()?.to_owned(), peer["leader"].as_str()?.to_owned()))
    };
    until("the same group", || {
        let (one, other) = (group(&first)?, group(&second)?);
        (one == other).then_some(())
    });
    assert_eq!(group(&second).unwrap().1, first.id(0), "who founds a group leads it");
    let shown = second.command(&["show", "group"]);
    assert_eq!(shown.status.code(), Some(0));
    assert!(text(&shown.stdout).contains("leads: false"), "{}", text(&shown.stdout));
}

#[test]
fn hosts_that_measure_have_coordinates_and_see_how_fast_the_ways_are() {
    let lab = Lab::new(12);
    let measured = "[metrics]\ninterval = \"300ms\"\npair-interval = \"100ms\"\npairs-min = 1";
    let hosts: Vec<Host> = (1..=4u8)
        .map(|place| {
            let boot: Vec<u8> = if place == 1 { Vec::new() } else { vec![1] };
            lab.start(place, &boot, measured)
        })
        .collect();
    until_one_ring(&hosts.iter().collect::<Vec<_>>());
    for host in &hosts {
        let peer = until("a coordinate, delays and pairs", || {
            let shown = host.show(Topic::Coordinates)["peers"][0].clone();
            let is_measured =
                |of: &Value| of["rtt-ms"].is_number() && of["predicted-rtt-ms"].is_number();
            let neighbors = shown["neighbors"].as_array()?;
            let is_done = shown["coordinate-ms"].as_array()?.len() == 5
                && neighbors.len() == 3
                && neighbors.iter().all(is_measured)
                && shown["up-kbps"].is_number()
                && shown["down-kbps"].is_number();
            is_done.then_some(shown)
        });
        assert_eq!(peer["enabled"], true);
        let drops = &host.show(Topic::Drops)["drops"];
        // An answer that comes after seconds, on a busy machine, would count as malformed.
        for reason in ["forged", "oversized", "unknown-protocol"] {
            assert_eq!(drops[reason], 0, "{reason}: {drops}");
        }
    }
    let shown = hosts[0].command(&["show", "coordinates"]);
    assert!(text(&shown.stdout).contains("coordinate-ms: "), "{}", text(&shown.stdout));
}

#[test]
fn four_hosts_gather_what_they_have_and_the_root_sees_all_four() {
    let lab = Lab::new(0);
    let tree = "degrees = 5\n[somo]\ndegree = 2\ninterval = \"300ms\"\nheartbeat = \"200ms\"";
    let hosts: Vec<Host> = (1..=4u8)
        .map(|place| {
            let boot: Vec<u8> = if place == 1 { Vec::new() } else { vec![1] };
            lab.start(place, &boot, tree)
        })
        .collect();
    until_one_ring(&hosts.iter().collect::<Vec<_>>());
    let peer = |host: &Host| host.show(Topic::Tree)["peers"][0].clone();
    let place = until("a root that has gathered from all", || {
        hosts.iter().position(|host| {
            let peer = peer(host);
            let is_gathered = peer["gathered-machines"] == 4 && peer["report"]["degrees"] == 20;
            peer["root"] == true && is_gathered
        })
    });
    let root = peer(&hosts[place]);
    assert_eq!((&root["parent"], &root["machines"]), (&Value::Null, &4.into()), "{root}");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    assert_eq!(root["report"]["cores"], 4 * cores, "{root}");
    assert_eq!(root["report"]["free-degrees"], 20);
    assert!(root["report"]["memory"].as_u64().unwrap() > 0, "{root}");
    assert!(root["report"]["disk"].as_u64().unwrap() > 0, "{root}");
    let links = until("a parent for each other host", || {
        let others: Vec<Value> =
            hosts.iter().map(peer).filter(|peer| peer["root"] == false).collect();
        (others.len() == 3 && others.iter().all(|peer| peer["parent"].is_object()))
            .then_some(others)
    });
    let below: Vec<Value> = hosts
        .iter()
        .map(peer)
        .flat_map(|peer| peer["children"].as_array().cloned().unwrap())
        .collect();
    assert!(
        links.iter().all(|link| below.iter().any(|child| child["id"] == link["id"])),
        "{below:?}"
    );
    let shown = text(&hosts[place].command(&["show", "tree"]).stdout);
    assert!(
        shown.starts_with("the root\n└─ h") && shown.contains("gathered from 4 machines"),
        "{shown}"
    );
}

#[test]
fn a_dedicated_rendezvous_brings_others_together_and_joins_no_group() {
    let lab = Lab::new(11);
    let rendezvous = lab.start_with(1, &[], "", "dedicated = true");
    let hosts = [lab.start(2, &[1], ""), lab.start(3, &[1], "")];
    let group =
        |host: &Host| host.show(Topic::Group)["peers"][0]["group"].as_str().map(String::from);
    until("groups", || hosts.iter().all(|host| group(host).is_some()).then_some(()));
    assert_eq!(group(&rendezvous), None);
    let known = until("a registration", || {
        rendezvous.show(Topic::Group)["peers"][0]["boot-groups"].as_u64().filter(|known| *known > 0)
    });
    assert!(known <= 2, "{known}");
}

#[test]
fn who_is_told_to_end_leaves_and_its_values_stay() {
    let lab = Lab::new(3);
    let hosts: Vec<Host> =
        vec![lab.start(1, &[], ""), lab.start(2, &[1], ""), lab.start(3, &[1], "")];
    until_one_ring(&hosts.iter().collect::<Vec<_>>());
    for number in 0..8 {
        let put = Question::Put { key: format!("k{number}"), value: format!("v{number}") };
        done(hosts[0].ask(put));
    }
    let [first, second, third] = <[Host; 3]>::try_from(hosts).unwrap_or_else(|_| panic!());
    let (socket, id) = (third.socket.clone(), third.id(0));
    let (status, log) = third.terminate();
    assert_eq!(status, Some(0), "{log}");
    assert!(log.contains("left the ring") && log.contains("left the group"), "{log}");
    assert!(!socket.exists(), "its control socket is gone");
    until_one_ring(&[&first, &second]);
    for host in [&first, &second] {
        assert!(!host.log().contains("gone without a word"), "{id} told: {}", host.log());
        for number in 0..8 {
            let got = done(host.ask(Question::Get { key: format!("k{number}") }));
            assert_eq!(got["value"], format!("v{number}"));
        }
    }
}

#[test]
fn who_is_killed_and_comes_back_is_the_same_peer() {
    let lab = Lab::new(4);
    let first = lab.start(1, &[], "");
    let second = lab.start(2, &[1], "");
    let before = until_one_ring(&[&first, &second]);
    let (config, socket) = (second.config.clone(), second.socket.clone());
    second.kill();
    // The control socket that it has left is no obstacle.
    let again = Host::run(config, socket);
    assert_eq!(until_one_ring(&[&first, &again]), before);
}

#[test]
fn a_network_that_was_switched_off_as_a_whole_comes_back() {
    let lab = Lab::new(10);
    // All have the same list: the first on it begins.
    let hosts = [lab.start(1, &[1, 2], ""), lab.start(2, &[1, 2], "")];
    let before = until_one_ring(&[&hosts[0], &hosts[1]]);
    let again = hosts.map(|host| {
        let (config, socket) = (host.config.clone(), host.socket.clone());
        host.kill();
        (config, socket)
    });
    let again = again.map(|(config, socket)| Host::run(config, socket));
    assert_eq!(until_one_ring(&[&again[0], &again[1]]), before);
}

#[test]
fn several_peers_of_one_process_form_a_ring() {
    let lab = Lab::new(5);
    let many = lab.start(1, &[], "peers = 4");
    let other = lab.start(2, &[1], "");
    assert_eq!(until_one_ring(&[&many, &other]).len(), 5);
    let put = many.command(&["put", "k", "v", "--peer", "h1-3", "--json"]);
    assert_eq!(put.status.code(), Some(0), "{}", text(&put.stderr));
    let got = other.command(&["get", "k"]);
    assert_eq!(text(&got.stdout), "v");
    let nobody = many.command(&["get", "k", "--peer", "h9"]);
    assert_eq!(nobody.status.code(), Some(2));
    let complaint = "there is no peer `h9` here; there are h1-1, h1-2, h1-3, h1-4";
    assert!(text(&nobody.stderr).contains(complaint), "{}", text(&nobody.stderr));
}

#[test]
fn who_trusts_everybody_and_who_does_not_keep_apart() {
    let lab = Lab::new(6);
    let signed = lab.start(1, &[], "");
    let open = lab.start(2, &[1], "seal = \"open\"");
    until("drops", || (signed.drops("seal-kind") > 0).then_some(()));
    assert!(open.log().contains("anybody can say anything"), "{}", open.log());
    assert_eq!(signed.show(Topic::Ring)["peers"][0]["leaf-set"], Value::Array(Vec::new()));
    assert_eq!(open.show(Topic::Ring)["peers"][0]["joined"], false);
}

#[test]
fn values_that_nobody_has_and_values_that_are_too_long_fail_by_name() {
    let lab = Lab::new(7);
    let host = lab.start(1, &[], "");
    until("a ring of its own", || {
        host.show(Topic::Ring)["peers"][0]["joined"].as_bool()?.then_some(())
    });
    let nothing = host.command(&["get", "nothing"]);
    assert_eq!(nothing.status.code(), Some(1));
    assert!(text(&nothing.stderr).contains("keeps nothing under this key"));
    let long = host.command(&["put", "k", &"x".repeat(1025)]);
    assert_eq!(long.status.code(), Some(2));
    assert!(text(&long.stderr).contains("at most 1024 octets"), "{}", text(&long.stderr));
    let found = host.command(&["find-node", "k", "--json"]);
    let found: Value = serde_json::from_slice(&found.stdout).unwrap();
    assert_eq!(found["id"].as_str(), Some(host.id(0).as_str()));
    let second = overlay_host(&["run", "--config", &host.config.display().to_string()]);
    assert_eq!(second.status.code(), Some(1), "one host a control socket");
    assert!(text(&second.stderr).contains("another process answers there"));
}

#[test]
fn a_damaged_key_is_fatal_and_a_damaged_cache_is_not() {
    let lab = Lab::new(8);
    let host = lab.start(1, &[], "");
    let (config, socket) = (host.config.clone(), host.socket.clone());
    assert_eq!(host.terminate().0, Some(0));
    let folder = lab.path("h1").join("h1");
    std::fs::write(folder.join("ring.store"), "rubbish").unwrap();
    let again = Host::run(config.clone(), socket);
    until("a complaint", || again.log().contains("what was kept is damaged").then_some(()));
    assert_eq!(again.terminate().0, Some(0));
    assert!(folder.join("ring.damaged").exists());
    std::fs::write(folder.join("identity.key"), "rubbish").unwrap();
    let refused = overlay_host(&["run", "--config", &config.display().to_string()]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("holds no private key"), "{}", text(&refused.stderr));
}

#[test]
fn wrong_usage_is_status_2_and_says_what_to_do() {
    let lab = Lab::new(9);
    let config = lab.path("wrong.toml");
    std::fs::write(&config, "[host]\nname = \"h\"\ntransprot = \"unicast\"\n").unwrap();
    let file = config.display().to_string();
    let wrong = overlay_host(&["check", "--config", &file]);
    assert_eq!(wrong.status.code(), Some(2));
    let complaint = text(&wrong.stderr);
    let hint = format!("{file}:3:1: error: unknown key `transprot`, did you mean `transport`?");
    assert!(complaint.contains(&hint), "{complaint}");
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/overlay-host.toml");
    let printed = overlay_host(&["check", "--print", "--config", example]);
    assert_eq!(printed.status.code(), Some(0), "{}", text(&printed.stderr));
    std::fs::write(&config, &printed.stdout).unwrap();
    assert_eq!(overlay_host(&["check", "--config", &file]).status.code(), Some(0));
    let nobody = overlay_host(&["show", "ring", "--socket", "/nowhere/at/all"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(text(&nobody.stderr).contains("no answer from an overlay host at /nowhere/at/all"));
    assert_eq!(overlay_host(&["show", "rings"]).status.code(), Some(2));
}
