//! One host floods the router with malformed packets; what others send by other ports gets
//! through all the same, and every malformed packet is counted.
//!
//! ```text
//!   x ─┐               `x` floods, `a` sends to `b` and `c`
//!      r ── lan1 ── b
//!   a ─┘         └─ c
//! ```

// A failure of a test is a panic.
#![allow(clippy::unwrap_used)]

// Every test uses some of it.
#[allow(dead_code, unreachable_pub)]
#[path = "support/lab.rs"]
mod lab;
mod support;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lab::Lab;
use lab::ask::number;
use lab::capture::open;
use lab::inside;
use lab::packets::{Packet, Packet6};
use lab::process::until;
use support::in_namespaces;

const PORT: u16 = 9000;
const SOURCE_PORT: u16 = 5000;
/// Malformed packets a second, and how many of them may leave at once where the flood was late.
const FLOOD_RATE: f64 = 100_000.0;
const BURST_MAX: u64 = 2_000;
/// Messages in each round, one a millisecond, each to two receivers.
const MESSAGES: u64 = 2_000;
/// The last message of a round, and the file that it is sent from.
const END: &str = "the end of a round";
const END_FILE: &str = "/run/lab/end";
/// The part of the datagrams that a flood may cost.
const LOSS_MAX: f64 = 0.001;
const ATTEMPTS: usize = 2;

/// Frames that are wrong, each with the reason for which it is dropped.
type Frames = Vec<(&'static str, Vec<u8>)>;

struct Crossing {
    lab: Lab,
    frames: Frames,
}

/// What came of a round.
struct Round {
    sent: u64,
    received: u64,
    flood: Option<Flood>,
}

/// What a flood has sent.
struct Flood {
    /// By reason.
    packets: BTreeMap<&'static str, u64>,
    duration: Duration,
}

impl Crossing {
    fn build() -> Crossing {
        let mut lab = Lab::dual_stack();
        lab.hosts(&["x", "a", "b", "c"]);
        lab.forwarders(&["r"]);
        lab.link("x", "r");
        lab.link("a", "r");
        lab.lan("lan1", &["r", "b", "c"]);
        lab.ip("a", &format!("route add default via {}", lab.address("r", "a")));
        for host in ["b", "c"] {
            lab.ip(host, &format!("route add default via {}", lab.address("r", "lan1")));
        }
        lab.start_routers(&["r"]);
        let packets = malformed_v4(&lab).into_iter().chain(malformed_v6(&lab));
        let (from, to) = (lab.end("x", "r").mac, lab.end("r", "x").mac);
        let frame = |(reason, packet): (&'static str, Vec<u8>)| {
            let kind = if packet[0] >> 4 == 6 { [0x86, 0xdd] } else { [0x08, 0x00] };
            (reason, [&to[..], &from, &kind, &packet].concat())
        };
        let frames = packets.map(frame).collect();
        Crossing { lab, frames }
    }

    fn receivers(&self) -> Vec<UdpSocket> {
        let hosts = ["b", "c"].into_iter();
        hosts.map(|host| self.lab.receiver(host, self.destination(host))).collect()
    }

    fn destination(&self, host: &str) -> SocketAddrV4 {
        SocketAddrV4::new(self.lab.address(host, "lan1"), PORT)
    }

    fn send(&mut self, more: &str) {
        let to = [self.destination("b"), self.destination("c")];
        let arguments = format!("--to {},{} --source-port {SOURCE_PORT} {more}", to[0], to[1]);
        self.lab.send("a", &arguments);
    }

    /// Sends all messages, with a flood beside them or without one.
    fn round(&mut self, with_flood: bool) -> Round {
        let counts: Vec<JoinHandle<u64>> = self.receivers().into_iter().map(count).collect();
        let flood = with_flood.then(|| start_flood(self.frames.clone()));
        self.send(&format!("--count {MESSAGES} --interval 1ms --size 100"));
        let flood = flood.map(|(stop, flood)| {
            drop(stop);
            flood.join().unwrap()
        });
        self.send(&format!("--file {END_FILE}"));
        let received = counts.into_iter().map(|count| count.join().unwrap()).sum();
        Round { sent: 2 * MESSAGES, received, flood }
    }
}

/// Counts datagrams until the end of the round.
fn count(receiver: UdpSocket) -> JoinHandle<u64> {
    std::thread::spawn(move || {
        let mut buffer = [0; 2000];
        let next = || receiver.recv(&mut buffer).map(|length| buffer[..length] == *END.as_bytes());
        std::iter::repeat_with(next).take_while(|is_end| !is_end.as_ref().unwrap()).count() as u64
    })
}

/// Floods the router until told to stop.
fn start_flood(frames: Frames) -> (Sender<()>, JoinHandle<Flood>) {
    let (stop, stopped) = mpsc::channel::<()>();
    let flood = move || {
        let mut sender = inside("x", || open("r").0);
        let mut packets: BTreeMap<&str, u64> = BTreeMap::new();
        let mut total: u64 = 0;
        let mut next = frames.iter().cycle();
        let start = Instant::now();
        // It waits to be stopped, a moment at a time.
        while stopped.recv_timeout(Duration::from_millis(1)) == Err(RecvTimeoutError::Timeout) {
            let due = (start.elapsed().as_secs_f64() * FLOOD_RATE) as u64;
            for (reason, frame) in
                next.by_ref().take(due.saturating_sub(total).min(BURST_MAX) as usize)
            {
                if sender.send_to(frame, None).unwrap().is_ok() {
                    *packets.entry(reason).or_default() += 1;
                    total += 1;
                }
            }
        }
        Flood { packets, duration: start.elapsed() }
    };
    (stop, std::thread::spawn(flood))
}

fn malformed_v4(lab: &Lab) -> Frames {
    let source = SocketAddrV4::new(lab.address("x", "r"), SOURCE_PORT);
    let list = ["b", "c"].map(|host| lab.address(host, "lan1"));
    let right = Packet::to(source, &list, PORT, "flood");
    let with = |change: fn(&mut [u8])| right.bytes_with(change);
    let torn = |at: usize| {
        let mut bytes = right.bytes();
        bytes[at] ^= 1;
        bytes
    };
    vec![
        ("ip-header", torn(10)),
        ("fragment", Packet { fragment: 0x2000, ..right.clone() }.bytes()),
        ("source", Packet { source: Ipv4Addr::new(224, 0, 0, 1), ..right.clone() }.bytes()),
        ("version", with(|header| header[0] = 0x20)),
        ("length", with(|header| header[9] += 1)),
        ("checksum", torn(20 + 4)),
        ("no-destination", Packet { list: Vec::new(), ..right.clone() }.bytes()),
        ("spare-bits", with(|header| header[15] |= 1)),
        ("no-live-destination", with(|header| header[12] = 0)),
    ]
}

fn malformed_v6(lab: &Lab) -> Frames {
    let source = SocketAddrV6::new(lab.address_v6("x", "r"), SOURCE_PORT, 0, 0);
    let list = ["b", "c"].map(|host| lab.address_v6(host, "lan1"));
    let right = Packet6::to(source, &list, PORT, "flood");
    let with = |change: fn(&mut [u8])| right.bytes_with(change);
    let torn = |at: usize| {
        let mut bytes = right.bytes();
        bytes[at] ^= 1;
        bytes
    };
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    vec![
        ("ip-header", torn(4)),
        ("source", Packet6 { source: group, ..right.clone() }.bytes()),
        ("version", with(|header| header[4] = 0x20)),
        ("length", with(|header| header[3] = 1)),
        ("checksum", torn(40 + 8)),
        ("no-destination", Packet6 { list: Vec::new(), ..right.clone() }.bytes()),
        ("spare-bits", with(|header| header[31] |= 1)),
        ("no-live-destination", with(|header| header[24] = 0)),
    ]
}

impl Round {
    fn loss(&self) -> f64 {
        1.0 - self.received as f64 / self.sent as f64
    }
}

/// Drops by the reasons of the flood.
fn dropped(lab: &Lab, frames: &Frames) -> BTreeMap<&'static str, u64> {
    let drops = lab.show("r", "drops");
    frames.iter().map(|(reason, _)| (*reason, number(&drops["drops"], reason))).collect()
}

/// Each kind of packet is dropped for the reason it is meant to be.
fn assert_reasons(crossing: &Crossing) {
    for (reason, frame) in &crossing.frames {
        let before = crossing.lab.dropped("r", reason);
        crossing.lab.inject_frame("x", "r", frame);
        until(&format!("one more {reason}"), || {
            (crossing.lab.dropped("r", reason) == before + 1).then_some(())
        });
    }
}

/// Every packet of a flood is counted by its reason, or had no room in the ring of its port.
fn assert_counted(crossing: &Crossing, flood: &Flood, before: &BTreeMap<&str, u64>, overruns: u64) {
    let sent: u64 = flood.packets.values().sum();
    let (counted, lost) = until("every packet is counted", || {
        let after = dropped(&crossing.lab, &crossing.frames);
        let by_reason = flood.packets.iter().map(|(reason, sent)| {
            let dropped = after[reason] - before[reason];
            assert!(dropped <= *sent, "{reason}: {dropped} of {sent}");
            dropped
        });
        let counted: u64 = by_reason.sum();
        let lost = overruns_of_x(&crossing.lab) - overruns;
        assert!(counted + lost <= sent, "{counted} and {lost} of {sent}");
        (counted + lost == sent).then_some((counted, lost))
    });
    let rate = sent as f64 / flood.duration.as_secs_f64();
    println!("  flood: {sent} packets, {rate:.0} a second; counted {counted}, overruns {lost}");
}

fn overruns_of_x(lab: &Lab) -> u64 {
    number(&lab.port("r", "x"), "receive-overruns")
}

#[test]
fn a_flood_of_malformed_packets_costs_others_nothing_and_is_counted() {
    in_namespaces("a_flood_of_malformed_packets_costs_others_nothing_and_is_counted", || {
        let mut crossing = Crossing::build();
        std::fs::write(END_FILE, END).unwrap();
        assert_reasons(&crossing);
        let mut added = f64::INFINITY;
        // A machine that is busy with other things loses datagrams without any flood.
        for attempt in 1..=ATTEMPTS {
            let calm = crossing.round(false);
            let before = dropped(&crossing.lab, &crossing.frames);
            let overruns = overruns_of_x(&crossing.lab);
            let rough = crossing.round(true);
            println!("attempt {attempt}:");
            for (name, round) in [("without", &calm), ("with", &rough)] {
                let (received, sent) = (round.received, round.sent);
                println!("  {name} a flood: {received} of {sent} datagrams arrived");
            }
            assert_counted(&crossing, rough.flood.as_ref().unwrap(), &before, overruns);
            crossing.lab.assert_identity("r");
            let other = crossing.lab.port("r", "a");
            println!("  overruns of the other port: {}", number(&other, "receive-overruns"));
            added = rough.loss() - calm.loss();
            if added < LOSS_MAX {
                return;
            }
        }
        panic!("the flood costs {:.2} % of the datagrams", 100.0 * added);
    });
}
