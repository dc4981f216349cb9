//! Link-local addresses, which mean something on one link alone (WIRE.md R2).
//!
//! ```text
//!   a ─┐
//!      lan1 ── r ── b
//!   c ─┘
//! ```

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};

use crate::SOURCE_PORT;
use crate::lab::packets::Packet6;
use crate::lab::process::until;
use crate::lab::{Lab, assert_empty, assert_receives, inside};
use crate::support::in_namespaces;

const PORT: u16 = 9000;

struct Hall {
    lab: Lab,
    /// Listens at the router's link-local address on the LAN, and at its one towards `b`.
    at_router: [UdpSocket; 2],
    /// Listen at a link-local address, and at a global one.
    at_c: UdpSocket,
    at_b: UdpSocket,
}

impl Hall {
    fn build() -> Hall {
        let mut lab = Lab::dual_stack();
        lab.hosts(&["a", "b", "c"]);
        lab.forwarders(&["r"]);
        lab.lan("lan1", &["a", "c", "r"]);
        lab.link("r", "b");
        let gateway = lab.address_v6("r", "lan1");
        lab.ip("a", &format!("route add default via {gateway}"));
        lab.ip("b", &format!("route add default via {}", lab.address_v6("r", "b")));
        lab.start_routers(&["r"]);
        let at_router = ["lan1", "b"].map(|interface| scoped_receiver(&lab, "r", interface));
        let at_c = scoped_receiver(&lab, "c", "lan1");
        let global = SocketAddr::new(lab.address_v6("b", "r").into(), PORT);
        let at_b = lab.receiver("b", global);
        Hall { lab, at_router, at_c, at_b }
    }

    fn global(&self) -> Ipv6Addr {
        self.lab.address_v6("a", "lan1")
    }

    fn link_local(&self, node: &str, interface: &str) -> Ipv6Addr {
        self.lab.link_local(node, interface)
    }

    /// `a` sends to a list, by the router.
    fn send(&self, source: Ipv6Addr, list: &[Ipv6Addr], payload: &str) {
        let source = SocketAddrV6::new(source, SOURCE_PORT, 0, 0);
        let packet = Packet6::to(source, list, PORT, payload).bytes();
        self.lab.inject_to("a", "lan1", self.lab.end("r", "lan1").mac, &packet);
    }
}

fn index_of(node: &str, interface: &str) -> u32 {
    let all = inside(node, pnet_datalink::interfaces);
    all.iter().find(|found| found.name == interface).unwrap().index
}

/// A socket at a node's link-local address on a link.
fn scoped_receiver(lab: &Lab, node: &str, interface: &str) -> UdpSocket {
    let (address, scope) = (lab.link_local(node, interface), index_of(node, interface));
    lab.receiver(node, SocketAddrV6::new(address, PORT, 0, scope))
}

#[test]
fn a_link_local_destination_is_one_on_the_receiving_link() {
    in_namespaces("link_local::a_link_local_destination_is_one_on_the_receiving_link", || {
        let hall = Hall::build();
        let source = SocketAddrV6::new(hall.global(), SOURCE_PORT, 0, 0);
        let b = hall.lab.address_v6("b", "r");
        // The router itself, a host on the same link, and one behind the router.
        let list = [hall.link_local("r", "lan1"), hall.link_local("c", "lan1"), b];
        hall.send(hall.global(), &list, "near");
        for receiver in [&hall.at_router[0], &hall.at_c, &hall.at_b] {
            assert_receives(receiver, source, "near");
        }
        // An address of the router's, but on another link: nobody has it here.
        hall.send(hall.global(), &[hall.link_local("r", "b"), b], "far");
        assert_receives(&hall.at_b, source, "far");
        until("the router has asked for it in vain", || {
            (hall.lab.dropped("r", "neighbor-unresolved") == 1).then_some(())
        });
        hall.at_router.iter().chain([&hall.at_c]).for_each(assert_empty);
        hall.lab.assert_identity("r");
        assert_eq!(hall.lab.counter("r", "destinations-dropped"), 1);
    });
}

#[test]
fn a_link_local_source_reaches_its_own_link_alone() {
    in_namespaces("link_local::a_link_local_source_reaches_its_own_link_alone", || {
        let hall = Hall::build();
        let own = hall.link_local("a", "lan1");
        let near = [hall.link_local("r", "lan1"), hall.link_local("c", "lan1")];
        hall.send(own, &near, "near");
        // Each sees the source with its own number of the link.
        for (receiver, node) in [(&hall.at_router[0], "r"), (&hall.at_c, "c")] {
            let source = SocketAddrV6::new(own, SOURCE_PORT, 0, index_of(node, "lan1"));
            assert_receives(receiver, source, "near");
        }
        hall.send(own, &[near[1], hall.lab.address_v6("b", "r")], "far");
        until("it is dropped", || (hall.lab.dropped("r", "source") == 1).then_some(()));
        [&hall.at_router[0], &hall.at_c, &hall.at_b].into_iter().for_each(assert_empty);
    });
}

#[test]
fn a_host_sends_to_link_local_addresses_of_its_only_link() {
    in_namespaces("link_local::a_host_sends_to_link_local_addresses_of_its_only_link", || {
        let mut hall = Hall::build();
        let near = [hall.link_local("r", "lan1"), hall.link_local("c", "lan1")];
        let to = near.map(|address| SocketAddrV6::new(address, PORT, 0, 0).to_string()).join(",");
        hall.lab.send(
            "a",
            &format!("--to {to} --source-port {SOURCE_PORT} --interface lan1 --text near"),
        );
        let own = hall.link_local("a", "lan1");
        for (receiver, node) in [(&hall.at_router[0], "r"), (&hall.at_c, "c")] {
            let source = SocketAddrV6::new(own, SOURCE_PORT, 0, index_of(node, "lan1"));
            assert_receives(receiver, source, "near");
        }
    });
}
