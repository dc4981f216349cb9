//! Ends that are known by their keys: configured tunnels with keys, and relays that find each other.

use std::fs;

use xcast::backbone::PrivateKey;

use crate::lab::Lab;
use crate::lab::Version::V4;
use crate::lab::capture::Capture;
use crate::lab::process::until;
use crate::support::in_namespaces;
use crate::{Line, PORT, tunnel};

/// Writes the private key of a node; returns the file and the public key.
fn key(node: &str, number: u8) -> (String, String) {
    let private = PrivateKey::new([number; 32]);
    let file = format!("/run/lab/{node}.key");
    fs::write(&file, private.to_base64() + "\n").unwrap();
    (file, private.public().to_string())
}

/// A `[backbone]` with this key, these peers, and what the node is near to.
fn backbone(file: &str, peers: &[&str], seeds: &[String], near: &str, more: &str) -> String {
    let quoted = |all: &[&str]| all.iter().map(|one| format!("\"{one}\"")).collect::<Vec<_>>();
    let seeds: Vec<&str> = seeds.iter().map(String::as_str).collect();
    format!(
        "[backbone]\nprivate-key-file = \"{file}\"\npeers = [{}]\nseeds = [{}]\n\
         prefixes = [{near}]\n{more}",
        quoted(peers).join(", "),
        quoted(&seeds).join(", "),
    )
}

pub(crate) struct Relays {
    pub(crate) line: Line,
    back: String,
}

/// x1 and x3 as relays: x3 knows the seed, x1 only the key. `originate` is x1's and x3's.
pub(crate) fn relays(originate: [&str; 2]) -> Relays {
    let mut lab = Line::network();
    let ((one, one_key), (three, three_key)) = (key("x1", 1), key("x3", 3));
    let near = |links: &[usize]| {
        let subnets: Vec<String> =
            links.iter().map(|at| format!("\"{}\"", lab.links[*at].subnet())).collect();
        subnets.join(", ")
    };
    let seeds = [format!("{}:1021", lab.address("x1", "r"))];
    let more = originate.map(|list| format!("originate = [{list}]\n"));
    let forth = backbone(&one, &[&three_key], &[], &near(&[0]), &more[0]);
    let back = backbone(&three, &[&one_key], &seeds, &near(&[3, 4]), &more[1]);
    lab.start_routers_with(&[("x1", &forth), ("x3", &back)]);
    Relays { line: with_receivers(lab), back }
}

fn with_receivers(lab: Lab) -> Line {
    let to: Vec<std::net::SocketAddr> = ["b", "c"]
        .map(|host| std::net::SocketAddr::new(lab.address_of(V4, host, "x3"), PORT))
        .into();
    let receivers = ["b", "c"].iter().zip(&to).map(|(host, to)| lab.receiver(host, *to));
    let receivers = receivers.collect();
    let captures = lab.capture_all();
    Line { lab, receivers, to, captures, inner: V4 }
}

impl Lab {
    /// The state of the only end that a router knows by its key.
    pub(crate) fn end_state(&self, node: &str) -> Option<(String, usize)> {
        let shown = self.show(node, "backbone");
        let end = shown["ends"].as_array()?.first()?.clone();
        let prefixes = end["prefixes"].as_array()?.len();
        Some((end["state"].as_str()?.to_owned(), prefixes))
    }

    pub(crate) fn wait_for_end(&self, node: &str, state: &str, prefixes: usize) {
        until(&format!("{node} sees the other end {state}, near to {prefixes}"), || {
            (self.end_state(node)? == (state.to_owned(), prefixes)).then_some(())
        });
    }
}

/// How many IP packets on a link hold a payload, by the outer protocol.
fn protocols(capture: &Capture, payload: &str) -> Vec<u8> {
    let packets = capture.all_packets();
    let holding = packets
        .iter()
        .filter(|packet| packet.windows(payload.len()).any(|octets| octets == payload.as_bytes()));
    holding.map(|packet| packet[9]).collect()
}

/// They authenticate each other, say what they are near to, and carry what is for there; one that
/// dies is passed by, and found again when it is back.
#[test]
fn relays_find_each_other_and_lose_each_other() {
    in_namespaces("keys::relays_find_each_other_and_lose_each_other", || {
        let all = "\"10.0.0.0/8\"";
        let Relays { mut line, back } = relays([all, all]);
        line.lab.wait_for_end("x1", "up", 2);
        line.lab.wait_for_end("x3", "up", 1);
        let routes = line.lab.show("x1", "routes");
        let learnt: Vec<_> = routes["routes"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|route| route["source"] == "backbone" && route["state"] == "live")
            .collect();
        assert_eq!(learnt.len(), 2, "{routes}");
        line.captures.iter().for_each(Capture::clear);
        line.assert_serves("through-the-backbone");
        assert_eq!(protocols(&line.captures[1], "through-the-backbone"), [17], "one outer packet");

        line.lab.kill_router("x3");
        until("x1 has lost x3", || {
            let tunnels = line.lab.show("x1", "tunnels");
            tunnels["tunnels"].as_array()?.is_empty().then_some(())
        });
        line.assert_serves("without-it");
        line.lab.start_router("x3", &back);
        line.lab.wait_for_end("x1", "up", 2);
        line.lab.wait_for_end("x3", "up", 1);
        line.captures.iter().for_each(Capture::clear);
        line.assert_serves("back-again");
        assert_eq!(protocols(&line.captures[1], "back-again"), [17]);
        line.lab.assert_identity("x1");
    });
}

/// What a relay may not emit natively goes from tunnel to tunnel to one that is near.
#[test]
fn a_relay_emits_natively_only_what_it_originates_or_is_near_to() {
    in_namespaces("keys::a_relay_emits_natively_only_what_it_originates_or_is_near_to", || {
        let Relays { mut line, .. } = relays(["", ""]);
        line.lab.wait_for_end("x1", "up", 2);
        line.lab.wait_for_end("x3", "up", 1);
        // x1 originates nothing: a lone destination takes the tunnel, too; x3 is near to it.
        let other = std::net::SocketAddr::new(line.lab.address("r", "x1").into(), PORT);
        let _listens = line.lab.receiver("r", other);
        line.captures.iter().for_each(Capture::clear);
        let to = [line.to[0], other];
        line.send(&to, "alone-inside");
        crate::assert_receives(&line.receivers[0], line.source(), "alone-inside");
        let found = protocols(&line.captures[2], "alone-inside");
        assert_eq!(found, [17], "as a datagram of the tunnel");
        let outer = line.captures[2].all_packets();
        let ends = (line.lab.address("x1", "r"), line.lab.address("x3", "r"));
        let inside = outer.iter().filter(|p| p.windows(12).any(|o| o == b"alone-inside"));
        let inside: Vec<_> =
            inside.filter(|p| crate::is_outer(p, 17, ends.0.into(), ends.1.into())).collect();
        assert_eq!(inside.len(), 1);
        line.assert_serves("both-inside");

        // Without the other relay there is no way that it may take.
        line.lab.kill_router("x3");
        let before = line.lab.dropped("x1", "no-route");
        until("x1 drops it by name", || {
            let to = line.to.clone();
            line.send(&to, "nowhere");
            (line.lab.dropped("x1", "no-route") > before).then_some(())
        });
        line.lab.assert_identity("x1");
    });
}

/// Without the right key there is no tunnel, and both sides say why.
#[test]
fn a_wrong_key_opens_nothing() {
    in_namespaces("keys::a_wrong_key_opens_nothing", || {
        let mut lab = Line::network();
        let ((one, _), (three, three_key)) = (key("x1", 1), key("x3", 3));
        let (_, stranger) = key("stranger", 9);
        let ends = ["x1", "x3"].map(|node| lab.address(node, "r").to_string());
        let keyed = |file: &str, key: &str| {
            format!("private-key-file = \"{file}\"\npeer-key = \"{key}\"\n")
        };
        let secured = |local: &str, remote: &str, keys: &str| {
            tunnel("t", "udp", (local, remote), keys, &[]).replace("insecure = true\n", "")
        };
        let forth = secured(&ends[0], &ends[1], &keyed(&one, &three_key));
        // x3 expects somebody else at x1.
        let back = secured(&ends[1], &ends[0], &keyed(&three, &stranger));
        lab.start_routers_with(&[("x1", &forth), ("x3", &back)]);
        until("x3 has refused the key", || (lab.dropped("x3", "bad-key") > 0).then_some(()));
        assert_eq!(lab.tunnel("x1")["state"], "down");
        assert_eq!(lab.tunnel("x3")["state"], "down");
        // The right one, after a reload.
        let (_, one_key) = key("x1", 1);
        let back = secured(&ends[1], &ends[0], &keyed(&three, &one_key));
        crate::lab::write_config("x3", &back);
        lab.router("x3").signal(nix::sys::signal::Signal::SIGHUP);
        lab.wait_for_tunnel("x1", "up");
        lab.wait_for_tunnel("x3", "up");
        assert_eq!(lab.tunnel("x1")["peer-key"].as_str(), Some(three_key.as_str()));
        lab.assert_identity("x3");
    });
}

/// Keys that are taken out of the configuration are taken out of use.
#[test]
fn a_backbone_that_is_reloaded_away_is_gone() {
    in_namespaces("keys::a_backbone_that_is_reloaded_away_is_gone", || {
        let all = "\"10.0.0.0/8\"";
        let Relays { mut line, .. } = relays([all, all]);
        line.lab.wait_for_end("x1", "up", 2);
        line.lab.wait_for_end("x3", "up", 1);
        crate::lab::write_config("x3", "");
        line.lab.router("x3").signal(nix::sys::signal::Signal::SIGHUP);
        until("x3 has no tunnel", || {
            let tunnels = line.lab.show("x3", "tunnels");
            tunnels["tunnels"].as_array()?.is_empty().then_some(())
        });
        // x1 was told.
        until("x1 has none either", || {
            let tunnels = line.lab.show("x1", "tunnels");
            tunnels["tunnels"].as_array()?.is_empty().then_some(())
        });
        line.assert_serves("by-unicast");
        line.lab.assert_identity("x3");
    });
}

/// A tunnel that gets another name goes on with the session that it has, and by the same device.
#[test]
fn a_keyed_tunnel_is_renamed_by_a_reload() {
    in_namespaces("keys::a_keyed_tunnel_is_renamed_by_a_reload", || {
        let mut lab = Line::network();
        let ((one, one_key), (three, three_key)) = (key("x1", 1), key("x3", 3));
        let ends = ["x1", "x3"].map(|node| lab.address(node, "r").to_string());
        let secured = |name: &str, local: &str, remote: &str, file: &str, key: &str, more: &str| {
            let keys = format!("private-key-file = \"{file}\"\npeer-key = \"{key}\"\n{more}");
            tunnel(name, "udp", (local, remote), &keys, &[]).replace("insecure = true\n", "")
        };
        let device = "interface = \"xt3\"\n";
        let forth = secured("t", &ends[0], &ends[1], &one, &three_key, device);
        let back = secured("t", &ends[1], &ends[0], &three, &one_key, "");
        lab.start_routers_with(&[("x1", &forth), ("x3", &back)]);
        lab.wait_for_tunnel("x1", "up");
        let renamed = secured("other", &ends[0], &ends[1], &one, &three_key, device);
        crate::lab::write_config("x1", &renamed);
        lab.router("x1").signal(nix::sys::signal::Signal::SIGHUP);
        until("it is up under its new name", || {
            let tunnel = lab.tunnel("x1");
            (tunnel["name"] == "other" && tunnel["state"] == "up").then_some(())
        });
        assert!(lab.ip("x1", "link show dev xt3").contains("mtu 1472"));
        // The same device for another end.
        let moved = secured("other", &ends[0], "10.9.9.9", &one, &three_key, device);
        crate::lab::write_config("x1", &moved);
        lab.router("x1").signal(nix::sys::signal::Signal::SIGHUP);
        until("it has moved", || {
            let tunnel = lab.tunnel("x1");
            (tunnel["remote"] == "10.9.9.9:1021" && tunnel["note"] == "").then_some(())
        });
        lab.assert_identity("x1");
    });
}
