//! Links that change their name, their address or their kind under the router.

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::lab::assert_receives;
use crate::lab::packets::Packet;
use crate::lab::process::until;
use crate::support::in_namespaces;
use crate::{PORT, SOURCE_PORT, Star};

/// The names of the ports that are up and have their drop.
fn ready_ports(star: &Star) -> Vec<String> {
    let ports = star.lab.show("r", "ports");
    let ready = |port: &&serde_json::Value| port["state"] == "up" && port["kernel-drop"] == true;
    let each = ports["ports"].as_array().unwrap().iter().filter(ready);
    each.map(|port| port["interface"].as_str().unwrap().to_owned()).collect()
}

fn wait_for_ready_ports(star: &Star, names: &[&str]) {
    until(&format!("exactly {names:?} are ready"), || (ready_ports(star) == names).then_some(()));
}

#[test]
fn a_renamed_interface_goes_on_under_its_new_name() {
    in_namespaces("links::a_renamed_interface_goes_on_under_its_new_name", || {
        let mut star = Star::new();
        star.assert_forwards();
        star.lab.ip("r", "link set dev b down");
        star.lab.ip("r", "link set dev b name renamed");
        star.lab.ip("r", "link set dev renamed up");
        wait_for_ready_ports(&star, &["a", "c", "n", "renamed"]);
        star.lab.wait_for_route("r", "10.9.2.0/24", None, "live");
        star.assert_forwards();
        assert!(star.lab.ip("r", "maddr show dev renamed").contains("224.0.0.254"));
        star.lab.stop_router("r");
        assert!(!star.lab.ip("r", "maddr show dev renamed").contains("224.0.0.254"));
    });
}

#[test]
fn copies_carry_the_link_layer_addresses_that_are_valid_now() {
    in_namespaces("links::copies_carry_the_link_layer_addresses_that_are_valid_now", || {
        let mut star = Star::new();
        star.assert_forwards();
        for (node, interface, mac) in
            [("r", "b", "02:00:00:00:0b:01"), ("b", "r", "02:00:00:00:0b:02")]
        {
            star.lab.ip(node, &format!("link set dev {interface} address {mac}"));
            // As hosts do that change their address, it tells its neighbors.
            star.lab.ip("r", "neighbor flush dev b");
            star.lab.ip("b", "neighbor flush dev r");
            star.assert_forwards();
        }
        let tap = star.lab.capture(&star.lab.links[1]);
        star.assert_forwards();
        let copies = tap.take();
        assert!(copies.iter().any(|copy| copy.from == "[02, 00, 00, 00, 0b, 01]"), "{copies:#?}");
    });
}

#[test]
fn an_address_of_the_loopback_is_the_routers_own_as_long_as_it_is_there() {
    in_namespaces(
        "links::an_address_of_the_loopback_is_the_routers_own_as_long_as_it_is_there",
        || {
            let star = Star::new();
            let own = Ipv4Addr::new(10, 7, 7, 7);
            star.lab.ip("r", &format!("address add {own}/32 dev lo"));
            let socket = star.lab.receiver("r", SocketAddrV4::new(own, PORT));
            until("it is delivered", || {
                star.send(&star.packet(&[own], "own"));
                (star.lab.counter("r", "destinations-delivered") > 0).then_some(())
            });
            let (length, from) = socket.recv_from(&mut [0; 100]).unwrap();
            assert_eq!((length, from), (3, star.source().into()));
            star.lab.ip("r", &format!("address del {own}/32 dev lo"));
            until("it is no more", || {
                star.send(&star.packet(&[own], "own"));
                (star.lab.dropped("r", "no-route") > 0).then_some(())
            });
            star.lab.assert_identity("r");
        },
    );
}

#[test]
fn a_bridge_is_a_port_and_its_members_are_not() {
    in_namespaces("links::a_bridge_is_a_port_and_its_members_are_not", || {
        let mut star = Star::new();
        star.assert_forwards();
        star.lab.ip("r", "link add name br type bridge forward_delay 0");
        star.lab.ip("r", "link set dev b master br");
        star.lab.ip("r", &format!("address del {}/24 dev b", star.gateway("b")));
        star.lab.ip("r", &format!("address add {}/24 dev br", star.gateway("b")));
        star.lab.ip("r", "link set dev br up");
        wait_for_ready_ports(&star, &["a", "br", "c", "n"]);
        star.lab.ip("b", "neighbor flush dev r");
        star.lab.wait_for_route("r", "10.9.2.0/24", None, "live");
        star.assert_forwards();
        // In by the bridge: the frame is for its address.
        let mac = star.lab.ip("r", "-o link show dev br");
        let mac = mac.split("link/ether ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
        let octets: Vec<u8> = mac.split(':').map(|o| u8::from_str_radix(o, 16).unwrap()).collect();
        let from = SocketAddrV4::new(star.at("b"), SOURCE_PORT);
        let packet = Packet::to(from, &[star.at("c"), star.at("a")], PORT, "by the bridge");
        star.lab.inject_to("b", "r", octets.try_into().unwrap(), &packet.bytes());
        assert_receives(&star.receivers[1], from, "by the bridge");
    });
}
