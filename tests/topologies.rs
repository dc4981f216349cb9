//! Random networks: on every link exactly the copies that the network's shape calls for, and at
//! every receiver exactly its datagrams.
//!
//! ```text
//!        h1 ── r1 ───── r2 ══ lan1 ══ r3 ── h4        3 to 12 routers, 1 to 20 receivers, links
//!               │        │     ║ ║     │              between two nodes and links shared by
//!              r4 ──────r5    h2 h3   r6 ── ...       many; hosts on both
//! ```
//!
//! `XCAST_TEST_SEED` sets the first network's seed, the others count on from it. A failure prints
//! the seed, the network, and the logs of all programs.

// A failure of a test is a panic.
#![allow(clippy::unwrap_used)]

// Every test uses some of it.
#[allow(dead_code, unreachable_pub)]
#[path = "support/lab.rs"]
mod lab;
mod support;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};

use lab::Lab;
use lab::capture::{Capture, Copy};
use lab::topology::{Message, Plan, Routing, as_strs};
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use support::in_namespaces;

const SEED: u64 = 20_071_101; // RFC 5058 is of November 2007
const PACKETS: usize = 4;
const SOURCE_PORT: u16 = 5000;
/// Where receivers listen if all use the same port.
const COMMON_PORT: u16 = 9000;

#[test]
fn copies_are_as_the_first_random_network_calls_for() {
    check("copies_are_as_the_first_random_network_calls_for", 0);
}

#[test]
fn copies_are_as_the_second_random_network_calls_for() {
    check("copies_are_as_the_second_random_network_calls_for", 1);
}

#[test]
fn copies_are_as_the_third_random_network_calls_for() {
    check("copies_are_as_the_third_random_network_calls_for", 2);
}

#[test]
fn copies_are_as_the_fourth_random_network_calls_for() {
    check("copies_are_as_the_fourth_random_network_calls_for", 3);
}

#[test]
fn copies_are_as_the_fifth_random_network_calls_for() {
    check("copies_are_as_the_fifth_random_network_calls_for", 4);
}

#[test]
fn copies_are_as_the_sixth_random_network_calls_for() {
    check("copies_are_as_the_sixth_random_network_calls_for", 5);
}

/// The whole test with one seed: the network, then some packets.
fn check(test: &str, number: u64) {
    let first = std::env::var("XCAST_TEST_SEED");
    let first = first.map_or(SEED, |text| text.parse().expect("XCAST_TEST_SEED is a number"));
    let seed = first + number;
    in_namespaces(test, || {
        println!("{test}: the first of all with XCAST_TEST_SEED={seed}");
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let plan = Plan::random(&mut random);
        println!("{plan}");
        let mut lab = plan.build();
        let lengths: Vec<u64> =
            lab.links.iter().map(|_| (1 << 40) + u64::from(random.random::<u32>())).collect();
        let routing = Routing::shortest(&lab, &plan.routers, &lengths);
        routing.install(plan.routers.iter().chain(&plan.hosts).cloned());
        lab.start_routers(&as_strs(&plan.routers));
        let captures = lab.capture_all();
        for packet in 0..PACKETS {
            let (sender, message) = random_message(&mut random, &lab, &plan, packet);
            println!("  {sender} to {:?}", message.to);
            check_message(&mut lab, &routing, &captures, sender, &message);
        }
        assert_eq!(crossed(&captures), [], "nothing comes late");
        for router in &plan.routers {
            lab.assert_identity(router);
            assert_eq!(lab.counter(router, "packets-dropped"), 0, "{router}");
            assert_eq!(lab.counter(router, "destinations-dropped"), 0, "{router}");
        }
    });
}

/// Any host, to some of the other hosts, often to routers, now and then to itself, some of them twice.
fn random_message<'a>(
    random: &mut impl Rng,
    lab: &Lab,
    plan: &'a Plan,
    number: usize,
) -> (&'a str, Message) {
    let ends: Vec<_> = lab.links.iter().flat_map(|link| &link.ends).collect();
    let of = |node: &String| ends.iter().filter(|end| end.node == *node).collect::<Vec<_>>();
    let sender = plan.hosts.choose(random).unwrap();
    let mut to: Vec<Ipv4Addr> =
        plan.hosts.iter().filter(|host| *host != sender).map(|host| of(host)[0].address).collect();
    to.shuffle(random);
    to.truncate(random.random_range(1..=to.len()));
    if random.random_bool(0.6) {
        let routers = plan.routers.sample(random, 3);
        to.extend(routers.map(|router| of(router).choose(random).unwrap().address));
    }
    if random.random_bool(0.2) {
        to.push(of(sender)[0].address);
    }
    if random.random_bool(0.4) {
        let repeated: Vec<_> = to.sample(random, 2).copied().collect();
        to.extend(repeated);
    }
    to.shuffle(random);
    let own_ports = random.random_bool(0.5);
    let port = |address: Ipv4Addr| match own_ports {
        true => 10_000 + u16::from_be_bytes([0, address.octets()[3]]),
        false => COMMON_PORT,
    };
    let to = to.into_iter().map(|address| SocketAddrV4::new(address, port(address))).collect();
    let source = SocketAddrV4::new(of(sender)[0].address, SOURCE_PORT);
    (sender, Message { source, to, payload: format!("packet-{number}") })
}

fn check_message(
    lab: &mut Lab,
    routing: &Routing,
    captures: &[Capture],
    sender: &str,
    message: &Message,
) {
    let receivers = receivers(lab, message);
    let to: Vec<String> = message.to.iter().map(SocketAddrV4::to_string).collect();
    let (to, payload) = (to.join(","), &message.payload);
    lab.send(sender, &format!("--to {to} --source-port {SOURCE_PORT} --text {payload}"));
    for (at, (socket, count)) in &receivers {
        for _ in 0..*count {
            let mut buffer = [0; 2000];
            let (length, source) = socket.recv_from(&mut buffer).unwrap_or_else(|error| {
                let found = crossed(captures);
                panic!("{at} waits in vain: {error}; so far {found:#?}")
            });
            assert_eq!(String::from_utf8_lossy(&buffer[..length]), *payload);
            assert_eq!(source, message.source.into());
        }
        socket.set_nonblocking(true).unwrap();
        assert!(socket.recv_from(&mut [0; 2000]).is_err(), "{at} gets more than {count}");
    }
    let (mut found, mut expected) = (crossed(captures), routing.copies(message));
    found.sort();
    expected.sort();
    assert!(found == expected, "found {found:#?}\nexpected {expected:#?}");
}

/// A socket for each address and port, with the number of datagrams it is to get.
fn receivers(lab: &Lab, message: &Message) -> BTreeMap<SocketAddrV4, (UdpSocket, usize)> {
    let mut receivers = BTreeMap::new();
    for at in &message.to {
        let open = || {
            let mut ends = lab.links.iter().flat_map(|link| &link.ends);
            let node = &ends.find(|end| end.address == *at.ip()).unwrap().node;
            (lab.receiver(node, *at), 0)
        };
        receivers.entry(*at).or_insert_with(open).1 += 1;
    }
    receivers
}

/// Everything captured on all links since the last call.
fn crossed(captures: &[Capture]) -> Vec<Copy> {
    captures.iter().flat_map(Capture::take).collect()
}
