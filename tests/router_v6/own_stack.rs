//! The router's own node: ordinary sockets on it get what is for its addresses (WIRE.md R3), and
//! its kernel keeps its hands off Xcast6.
//!
//! ```text
//!   a ── r ── b
//! ```

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};

use crate::lab::capture::{Capture, Form};
use crate::lab::packets::Packet6;
use crate::lab::process::until;
use crate::lab::{Lab, assert_empty, assert_receives};
use crate::support::in_namespaces;
use crate::tree::{Gateways, install_routes};
use crate::{BOTH, SOURCE_PORT, words};

const PORT: u16 = 9000;
/// Of ICMPv6: the parameter problem that a kernel finds in a Routing header it does not know.
const PARAMETER_PROBLEM: Form<SocketAddr> = Form::Other(58, [4, 0]);

fn build() -> (Lab, Capture) {
    let mut lab = Lab::dual_stack();
    lab.hosts(&["a", "b"]);
    lab.forwarders(&["r"]);
    let towards_a = lab.link("a", "r");
    lab.link("r", "b");
    install_routes(&lab, Gateways::Global);
    lab.start_routers(&["r"]);
    let capture = lab.capture(&towards_a);
    (lab, capture)
}

fn source(lab: &Lab) -> SocketAddrV6 {
    SocketAddrV6::new(lab.address_v6("a", "r"), SOURCE_PORT, 0, 0)
}

#[test]
fn sockets_on_the_router_get_what_is_for_its_addresses() {
    in_namespaces("own_stack::sockets_on_the_router_get_what_is_for_its_addresses", || {
        let (mut lab, _) = build();
        for (rounds, version) in (1..).zip(BOTH) {
            let near = lab.address_of(version, "r", "a");
            let far = lab.address_of(version, "r", "b");
            let host = lab.address_of(version, "b", "r");
            let sender = SocketAddr::new(lab.address_of(version, "a", "r"), SOURCE_PORT);
            let to = [near, far, host].map(|address| SocketAddr::new(address, PORT));
            let receivers = ["r", "r", "b"].iter().zip(to).map(|(node, at)| lab.receiver(node, at));
            let receivers: Vec<UdpSocket> = receivers.collect();
            let arguments = format!("--to {} --source-port {SOURCE_PORT} --text", words(&to));
            lab.send("a", &format!("{arguments} near"));
            for receiver in &receivers {
                assert_receives(receiver, sender, "near");
            }
            // They get it at any TTL, though it goes no further.
            lab.send("a", &format!("{arguments} ends --ttl 1"));
            for receiver in &receivers[..2] {
                assert_receives(receiver, sender, "ends");
            }
            assert_empty(&receivers[2]);
            assert_eq!(lab.counter("r", "destinations-delivered"), 4 * rounds);
            assert_eq!(lab.dropped("r", "ttl-expired"), rounds);
            lab.assert_identity("r");
        }
    });
}

/// An Xcast6 packet that no router takes: behind its Routing Type it says that there are segments
/// left (WIRE.md: anything but 0 is malformed). A kernel that sees it answers.
fn provocation(lab: &Lab, destination: Ipv6Addr) -> Vec<u8> {
    let list = [lab.address_v6("b", "r"), destination];
    let packet = Packet6 { destination, ..Packet6::to(source(lab), &list, PORT, "provocation") };
    packet.bytes_with(|header| header[3] = 1)
}

#[test]
fn the_kernel_answers_no_xcast6_while_a_router_runs() {
    in_namespaces("own_stack::the_kernel_answers_no_xcast6_while_a_router_runs", || {
        let (mut lab, capture) = build();
        let own = lab.address_v6("r", "a");
        let provocation = provocation(&lab, own);
        let port = lab.port("r", "a");
        assert_eq!(port["kernel-drop"], true, "{port}");
        lab.inject("a", "r", &provocation);
        until("the router has it", || (lab.dropped("r", "length") == 1).then_some(()));
        // A right packet behind it: whatever the kernel had to say came before.
        let receiver = lab.receiver("b", SocketAddr::new(lab.address_v6("b", "r").into(), PORT));
        let list = [lab.address_v6("b", "r"), own];
        lab.inject("a", "r", &Packet6::to(source(&lab), &list, PORT, "right").bytes());
        assert_receives(&receiver, source(&lab), "right");
        let from_router = |form: &Form<SocketAddr>| {
            let copies = capture.peek_all();
            copies.iter().filter(|copy| copy.from == "r" && copy.form == *form).count()
        };
        assert_eq!(from_router(&PARAMETER_PROBLEM), 0);

        // Without a router the same packet is answered.
        lab.stop_router("r");
        lab.inject("a", "r", &provocation);
        until("the kernel answers", || (from_router(&PARAMETER_PROBLEM) == 1).then_some(()));
    });
}
