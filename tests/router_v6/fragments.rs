//! Unicast copies that are longer than their link takes (WIRE.md R11).
//!
//! ```text
//!   a ── r ── b        the link to `b` takes 700 octets over IPv4
//!         \
//!          c
//! ```

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};

use crate::SOURCE_PORT;
use crate::lab::capture::Capture;
use crate::lab::packets::Packet;
use crate::lab::{Lab, assert_empty, assert_receives};
use crate::support::in_namespaces;

const PORT: u16 = 9000;
const NARROW: usize = 700;
/// The flags of an IPv4 header: "don't fragment" (RFC 791).
const MAY_FRAGMENT: u16 = 0;
const DONT_FRAGMENT: u16 = 0x4000;

struct Narrows {
    lab: Lab,
    towards_b: Capture,
    at_b: UdpSocket,
    at_c: UdpSocket,
}

impl Narrows {
    fn build() -> Narrows {
        let mut lab = Lab::new();
        lab.hosts(&["a", "b", "c"]);
        lab.forwarders(&["r"]);
        for host in ["a", "b", "c"] {
            let link = lab.link(host, "r");
            lab.ip(host, &format!("route add default via {}", link.ends[1].address));
        }
        lab.ip("r", &format!("link set dev b mtu {NARROW}"));
        lab.ip("b", &format!("link set dev r mtu {NARROW}"));
        lab.start_routers(&["r"]);
        let link = lab.links.iter().find(|link| link.ends[0].node == "b").unwrap();
        let towards_b = lab.capture(link);
        let [at_b, at_c] = ["b", "c"]
            .map(|host| lab.receiver(host, SocketAddrV4::new(lab.address(host, "r"), PORT)));
        Narrows { lab, towards_b, at_b, at_c }
    }

    fn source(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.lab.address("a", "r"), SOURCE_PORT)
    }

    /// `a` sends to `b` and `c`.
    fn send(&self, flags: u16, payload: &str) {
        let list: Vec<Ipv4Addr> = ["b", "c"].map(|host| self.lab.address(host, "r")).into();
        let packet = Packet::to(self.source(), &list, PORT, payload);
        self.lab.inject("a", "r", &Packet { fragment: flags, ..packet }.bytes());
    }
}

/// Text in which no piece is like another.
fn text(length: usize) -> String {
    (0..)
        .map(|number| format!("{number} "))
        .flat_map(String::into_bytes)
        .map(char::from)
        .take(length)
        .collect()
}

#[test]
fn a_unicast_copy_that_may_be_fragmented_arrives_whole() {
    in_namespaces("fragments::a_unicast_copy_that_may_be_fragmented_arrives_whole", || {
        let narrows = Narrows::build();
        // Just fits; one octet too many; in two, three fragments, the last of them short.
        let room = NARROW - 20 - 8;
        for (length, pieces) in [(room, 1), (room + 1, 2), (1300, 2), (1400, 3)] {
            let payload = text(length);
            narrows.send(MAY_FRAGMENT, &payload);
            assert_receives(&narrows.at_b, narrows.source(), &payload);
            assert_receives(&narrows.at_c, narrows.source(), &payload);
            let packets = narrows.towards_b.packets();
            narrows.towards_b.take();
            let lengths: Vec<usize> = packets.iter().map(Vec::len).collect();
            assert_eq!(lengths.len(), pieces, "{lengths:?}");
            assert!(lengths.iter().all(|length| *length <= NARROW), "{lengths:?}");
            // All of one packet, and of nothing else.
            let identifications = packets.iter().map(|packet| &packet[4..6]);
            assert!(identifications.clone().all(|own| own == &packets[0][4..6]));
        }
        narrows.lab.assert_identity("r");
        assert_eq!(narrows.lab.counter("r", "destinations-forwarded"), 8);
        assert_eq!(narrows.lab.counter("r", "destinations-dropped"), 0);
    });
}

#[test]
fn packets_that_are_fragmented_one_after_the_other_are_not_mixed_up() {
    in_namespaces(
        "fragments::packets_that_are_fragmented_one_after_the_other_are_not_mixed_up",
        || {
            let narrows = Narrows::build();
            let payloads = ["one", "two", "three"].map(|name| name.repeat(1200 / name.len()));
            for payload in &payloads {
                narrows.send(MAY_FRAGMENT, payload);
            }
            let mut buffer = [0; 2000];
            for payload in &payloads {
                let (length, _) = narrows.at_b.recv_from(&mut buffer).unwrap();
                assert_eq!(String::from_utf8_lossy(&buffer[..length]), *payload);
            }
            assert_empty(&narrows.at_b);
        },
    );
}

#[test]
fn a_unicast_copy_that_must_not_be_fragmented_is_too_big() {
    in_namespaces("fragments::a_unicast_copy_that_must_not_be_fragmented_is_too_big", || {
        let narrows = Narrows::build();
        let payload = text(1300);
        narrows.send(DONT_FRAGMENT, &payload);
        assert_receives(&narrows.at_c, narrows.source(), &payload);
        assert_eq!(narrows.lab.dropped("r", "too-big"), 1);
        assert_eq!(narrows.towards_b.take(), []);
        assert_empty(&narrows.at_b);
        narrows.lab.assert_identity("r");
    });
}
