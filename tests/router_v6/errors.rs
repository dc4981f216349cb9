//! What the source of a packet is told by ICMP, and what it is not told (WIRE.md R12).
//!
//! ```text
//!   a ── r ── c
//!         \
//!          r2 ── d        the link between the routers takes 1280 octets
//!           \
//!            e
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};

use serde_json::Value;

use crate::lab::ask::number;
use crate::lab::capture::Capture;
use crate::lab::packets::{Packet, Packet6, mend};
use crate::lab::process::until;
use crate::lab::reading::IcmpError;
use crate::lab::{Lab, Version, assert_empty, assert_receives};
use crate::support::in_namespaces;
use crate::tree::{Gateways, install_routes};
use crate::{BOTH, SOURCE_PORT};

const PORT: u16 = 9000;
const NARROW: u32 = 1280;
/// Types and codes, of ICMP and ICMPv6.
const TIME_EXCEEDED: [(u8, u8); 2] = [(11, 0), (3, 0)];
const NO_ROUTE: [(u8, u8); 2] = [(3, 0), (1, 0)];
const TOO_BIG: [(u8, u8); 2] = [(3, 4), (2, 0)];
/// The longest quotations: the errors have 576 and 1280 octets at most.
const QUOTED_MAX: [usize; 2] = [576 - 28, 1280 - 48];

/// The network above, looked at over one IP version.
struct Way {
    lab: Lab,
    towards_a: Capture,
    version: Version,
    /// Of each version.
    receivers: [UdpSocket; 2],
    sent: usize,
    /// What the router had dropped before.
    before: Value,
}

impl Way {
    fn build(more: &str) -> Way {
        let mut lab = Lab::dual_stack();
        lab.hosts(&["a", "c", "d", "e"]);
        lab.forwarders(&["r", "r2"]);
        let link = lab.link("a", "r");
        for (one, other) in [("r", "c"), ("r", "r2"), ("r2", "d"), ("r2", "e")] {
            lab.link(one, other);
        }
        lab.ip("r", &format!("link set dev r2 mtu {NARROW}"));
        lab.ip("r2", &format!("link set dev r mtu {NARROW}"));
        install_routes(&lab, Gateways::Global);
        lab.start_routers_with(&[("r", more), ("r2", more)]);
        let towards_a = lab.capture(&link);
        let version = Version::V4;
        let receivers = BOTH.map(|version| {
            let address = lab.address_of(version, "c", "r");
            lab.receiver("c", SocketAddr::new(address, PORT))
        });
        let before = lab.show("r", "drops");
        Way { lab, towards_a, version, receivers, sent: 0, before }
    }

    /// From now on over this version, with everything counted anew.
    fn begin(&mut self, version: Version) {
        self.version = version;
        self.towards_a.clear();
        self.before = self.lab.show("r", "drops");
    }

    fn at_c(&self) -> &UdpSocket {
        &self.receivers[usize::from(self.version == Version::V6)]
    }

    /// What the router has dropped since the beginning.
    fn dropped(&self, reason: &str) -> u64 {
        self.lab.dropped("r", reason) - number(&self.before["drops"], reason)
    }

    fn wait_for_errors(&self, count: usize) {
        // The kernel may have to resolve `a` before it can tell.
        until("the errors arrive", || (self.towards_a.errors().len() >= count).then_some(()));
    }

    fn at(&self, host: &str) -> IpAddr {
        let gateway = if ["d", "e"].contains(&host) { "r2" } else { "r" };
        self.lab.address_of(self.version, host, gateway)
    }

    fn source(&self) -> SocketAddr {
        SocketAddr::new(self.at("a"), SOURCE_PORT)
    }

    /// Addresses that no route leads to.
    fn nowhere(&self) -> [IpAddr; 2] {
        match self.version {
            Version::V4 => [1, 2].map(|host| Ipv4Addr::new(203, 0, 113, host).into()),
            Version::V6 => {
                [1, 2].map(|host| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host).into())
            }
        }
    }

    /// What is the version's own.
    fn of<T: Copy>(&self, both: [T; 2]) -> T {
        both[usize::from(self.version == Version::V6)]
    }

    /// A packet of `a`'s with this TTL.
    fn packet(&self, list: &[IpAddr], ttl: u8, payload: &str) -> Vec<u8> {
        match self.source() {
            SocketAddr::V4(source) => {
                let packet = packet_v4(source, list, payload);
                Packet { ttl, ..packet }.bytes()
            }
            SocketAddr::V6(source) => {
                let packet = packet_v6(source, list, payload);
                Packet6 { hop_limit: ttl, ..packet }.bytes()
            }
        }
    }

    /// An ICMP message of a kind in an Xcast packet, whose TTL ends at the router.
    fn icmp_packet(&self, kind: u8) -> Vec<u8> {
        let mut message = vec![kind, 0, 0, 0, 0, 0, 0, 0];
        match self.source() {
            SocketAddr::V4(source) => {
                mend(&mut message, 2);
                let packet = packet_v4(source, &[self.at("c")], "");
                Packet { ttl: 1, protocol: 1, transport: message, ..packet }.bytes()
            }
            SocketAddr::V6(source) => {
                let packet = packet_v6(source, &[self.at("c")], "");
                Packet6 { hop_limit: 1, protocol: 58, transport: message, ..packet }.bytes()
            }
        }
    }

    fn inject(&self, packet: &[u8]) {
        self.lab.inject("a", "r", packet);
    }

    /// A right packet gets through: whatever came before it has been dealt with.
    fn assert_forwards(&mut self) {
        self.sent += 1;
        let payload = format!("right-{}", self.sent);
        self.inject(&self.packet(&[self.at("c")], 64, &payload));
        assert_receives(self.at_c(), self.source(), &payload);
        self.lab.assert_identity("r");
    }

    /// The errors that `a` gets for a packet; there are `count` of them in all.
    fn errors_about(&mut self, packet: &[u8], count: usize) -> Vec<IcmpError> {
        let before = self.towards_a.errors().len();
        self.inject(packet);
        self.wait_for_errors(before + count);
        self.assert_forwards();
        let errors = self.towards_a.errors().split_off(before);
        assert_eq!(errors.len(), count, "{errors:?}");
        for error in &errors {
            let router = self.lab.address_of(self.version, "r", "a");
            assert_eq!((error.source, error.destination), (router, self.at("a")));
            let quoted = packet.len().min(self.of(QUOTED_MAX));
            assert_eq!(error.quoted, packet[..quoted], "as much as fits, as it came");
        }
        errors
    }
}

fn packet_v4(source: SocketAddrV4, list: &[IpAddr], payload: &str) -> Packet {
    let v4 = list.iter().filter_map(|address| match address {
        IpAddr::V4(v4) => Some(*v4),
        IpAddr::V6(_) => None,
    });
    Packet::to(source, &v4.collect::<Vec<_>>(), PORT, payload)
}

fn packet_v6(source: SocketAddrV6, list: &[IpAddr], payload: &str) -> Packet6 {
    let v6 = list.iter().filter_map(|address| match address {
        IpAddr::V6(v6) => Some(*v6),
        IpAddr::V4(_) => None,
    });
    Packet6::to(source, &v6.collect::<Vec<_>>(), PORT, payload)
}

fn kind(error: &IcmpError) -> (u8, u8) {
    (error.kind, error.code)
}

/// Runs `body` over each IP version.
fn over_both(test: &str, more: &str, body: impl Fn(&mut Way)) {
    in_namespaces(test, || {
        let mut way = Way::build(more);
        for version in BOTH {
            way.begin(version);
            body(&mut way);
        }
    });
}

#[test]
fn an_expired_packet_is_reported_once() {
    over_both("errors::an_expired_packet_is_reported_once", "", |way| {
        // Both destinations end here, and one error is enough.
        let packet = way.packet(&[way.at("c"), way.at("d")], 1, "expired");
        let errors = way.errors_about(&packet, 1);
        assert_eq!(errors.iter().map(kind).collect::<Vec<_>>(), [way.of(TIME_EXCEEDED)]);
        assert_eq!(way.dropped("ttl-expired"), 2);
        // Where the next router finds it expired, that one tells.
        let packet = way.packet(&[way.at("d"), way.at("e")], 2, "expires");
        way.inject(&packet);
        way.wait_for_errors(2);
        let error = way.towards_a.errors().swap_remove(1);
        assert_eq!(kind(&error), way.of(TIME_EXCEEDED));
        assert_eq!(error.source, way.lab.address_of(way.version, "r2", "r"));
    });
}

#[test]
fn a_destination_without_a_route_is_reported() {
    over_both("errors::a_destination_without_a_route_is_reported", "", |way| {
        let [one, other] = way.nowhere();
        let packet = way.packet(&[one, way.at("c"), other], 64, "unreachable");
        way.inject(&packet);
        assert_receives(way.at_c(), way.source(), "unreachable");
        way.wait_for_errors(1);
        let errors = way.errors_about(&way.packet(&[one, other], 64, "nowhere"), 1);
        assert_eq!(errors.iter().map(kind).collect::<Vec<_>>(), [way.of(NO_ROUTE)]);
        assert_eq!(way.towards_a.errors().len(), 2);
        assert_eq!(way.dropped("no-route"), 4);
    });
}

#[test]
fn a_copy_that_does_not_fit_is_reported_with_the_mtu() {
    over_both("errors::a_copy_that_does_not_fit_is_reported_with_the_mtu", "", |way| {
        // A copy in Xcast form is never fragmented; `c` gets its own all the same.
        let payload = "x".repeat(1300);
        let list = [way.at("d"), way.at("c"), way.at("e")];
        let packet = way.packet(&list, 64, &payload);
        way.inject(&packet);
        assert_receives(way.at_c(), way.source(), &payload);
        way.wait_for_errors(1);
        let errors = way.errors_about(&way.packet(&list[..1], 64, &payload), 1);
        for error in way.towards_a.errors().iter().chain(&errors) {
            assert_eq!((kind(error), error.rest), (way.of(TOO_BIG), NARROW));
        }
        assert_eq!(way.dropped("too-big"), 3);
    });
}

#[test]
fn a_packet_with_two_troubles_has_one_error_of_each_kind() {
    over_both("errors::a_packet_with_two_troubles_has_one_error_of_each_kind", "", |way| {
        let [one, other] = way.nowhere();
        let list = [one, way.at("d"), other, way.at("e")];
        let errors = way.errors_about(&way.packet(&list, 64, &"x".repeat(1300)), 2);
        let mut kinds: Vec<_> = errors.iter().map(kind).collect();
        let mut expected = [way.of(NO_ROUTE), way.of(TOO_BIG)];
        kinds.sort_unstable();
        expected.sort_unstable();
        assert_eq!(kinds, expected);
    });
}

#[test]
fn what_must_not_be_answered_is_not() {
    over_both("errors::what_must_not_be_answered_is_not", "", |way| {
        let expired = way.packet(&[way.at("c"), way.at("d")], 1, "expired");
        way.errors_about(&expired, 1);
        // An ICMP error inside; a malformed list; a source that is elsewhere; an echo request.
        let (error, echo) = way.of([(3, 8), (1, 128)]);
        way.inject(&way.icmp_packet(error));
        let mut malformed = expired.clone();
        let channel_at = way.of([20 + 4, 40 + 8]);
        malformed[channel_at] ^= 1;
        way.inject(&malformed);
        let elsewhere = SocketAddr::new(way.at("d"), SOURCE_PORT);
        let strange = match elsewhere {
            SocketAddr::V4(source) => {
                Packet { ttl: 1, ..packet_v4(source, &[way.at("c")], "strange") }.bytes()
            }
            SocketAddr::V6(source) => {
                Packet6 { hop_limit: 1, ..packet_v6(source, &[way.at("c")], "strange") }.bytes()
            }
        };
        way.inject(&strange);
        way.inject(&way.icmp_packet(echo));
        way.assert_forwards();
        let reasons = ["ttl-expired", "checksum", "reverse-path", "icmp-echo"];
        assert_eq!(reasons.map(|reason| way.dropped(reason)), [3, 1, 1, 1]);
        assert_eq!(way.towards_a.errors().len(), 1, "{:?}", way.towards_a.errors());
        assert_empty(way.at_c());
    });
}

#[test]
fn no_errors_are_sent_where_the_limit_is_none() {
    over_both(
        "errors::no_errors_are_sent_where_the_limit_is_none",
        "[limits]\nicmp-errors-per-second = 0\n",
        |way| {
            way.inject(&way.packet(&[way.at("c"), way.at("d")], 1, "expired"));
            way.inject(&way.packet(&way.nowhere(), 64, "nowhere"));
            way.assert_forwards();
            assert_eq!(way.dropped("ttl-expired") + way.dropped("no-route"), 4);
            assert_eq!(way.towards_a.errors(), []);
        },
    );
}
