//! A tunnel as an interface of the kernel, over which programs that know nothing of Xcast talk.

use std::net::{SocketAddr, UdpSocket};

use crate::lab::process::until;
use crate::lab::{Lab, assert_receives, inside};
use crate::support::in_namespaces;
use crate::{Line, PORT, said, tunnel};

/// x1 and x3 with a TUN device each, 192.168.0.1 and 192.168.0.3.
fn joined() -> Lab {
    let mut lab = Line::network();
    let (x1, x3) = (lab.address("x1", "r").to_string(), lab.address("x3", "r").to_string());
    let tables = "[routes]\nkernel-tables = [100, 254]\n";
    let config = |ends, name: &str| {
        tables.to_owned() + &tunnel("t", "ipip", ends, &format!("interface = \"{name}\"\n"), &[])
    };
    let forth = config((&x1, &x3), "xt3");
    let back = config((&x3, &x1), "xt1");
    lab.start_routers_with(&[("x1", &forth), ("x3", &back)]);
    lab.ip("x1", "address add 192.168.0.1/24 dev xt3");
    lab.ip("x3", "address add 192.168.0.3/24 dev xt1");
    lab.wait_for_tunnel("x1", "up");
    lab.wait_for_tunnel("x3", "up");
    lab
}

/// What the kernel sends by the device comes out at the other one, multicast included, as routing
/// daemons need it.
#[test]
fn the_kernels_own_packets_cross_it() {
    in_namespaces("daemons::the_kernels_own_packets_cross_it", || {
        let lab = joined();
        let (one, three): (SocketAddr, SocketAddr) =
            ("192.168.0.1:7000".parse().unwrap(), "192.168.0.3:7000".parse().unwrap());
        let receiver = lab.receiver("x3", three);
        let sender = lab.receiver("x1", one);
        sender.send_to(b"unicast", three).unwrap();
        assert_receives(&receiver, one, "unicast");
        receiver.send_to(b"answer", one).unwrap();
        assert_receives(&sender, three, "answer");

        let group: SocketAddr = "239.1.2.3:7001".parse().unwrap();
        let listener = inside("x3", || {
            let socket = UdpSocket::bind(group).unwrap();
            let (group, own) = ("239.1.2.3".parse().unwrap(), "192.168.0.3".parse().unwrap());
            socket.join_multicast_v4(&group, &own).unwrap();
            socket.set_read_timeout(Some(crate::lab::process::PATIENCE)).unwrap();
            socket
        });
        lab.ip("x1", "route add 239.1.2.3/32 dev xt3");
        sender.send_to(b"multicast", group).unwrap();
        assert_receives(&listener, one, "multicast");
        let mtu = lab.ip("x1", "link show dev xt3");
        assert!(mtu.contains("mtu 1480"), "{mtu}");
    });
}

/// Routes through the device in a table of their own are routes into the tunnel (section 11.1: the
/// Xcast routing table), and end with it.
#[test]
fn routes_through_the_device_lead_into_the_tunnel() {
    in_namespaces("daemons::routes_through_the_device_lead_into_the_tunnel", || {
        let mut lab = joined();
        for at in [3, 4] {
            let subnet = lab.links[at].subnet();
            lab.ip("x1", &format!("route add {subnet} via 192.168.0.3 dev xt3 table 100"));
        }
        lab.ip("x3", &format!("route add {} via 192.168.0.1 table 100", lab.links[0].subnet()));
        lab.wait_for_route("x1", &lab.links[4].subnet(), Some([192, 168, 0, 3].into()), "live");
        let routes = lab.show("x1", "routes");
        let tunnels: Vec<_> = routes["routes"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|route| route["source"] == "kernel:100")
            .filter_map(|route| route["tunnel"].as_str())
            .collect();
        assert_eq!(tunnels, ["t"; 2], "{routes}");
        let to = ["b", "c"].map(|host| SocketAddr::new(lab.address(host, "x3").into(), PORT));
        let receivers: Vec<UdpSocket> =
            ["b", "c"].iter().zip(to).map(|(host, to)| lab.receiver(host, to)).collect();
        let source = SocketAddr::new(lab.address("a", "x1").into(), 5000);
        let words = format!("--to {},{} --source-port 5000 --text both", to[0], to[1]);
        lab.send("a", &words);
        receivers.iter().for_each(|receiver| assert_receives(receiver, source, "both"));
        assert_eq!(lab.counter("x1", "replicas-sent"), 1);
        let reply = lab.ip("x1", "-d link show dev xt3");
        assert!(reply.contains("tun"), "{reply}");

        // The other end dies: its device loses its carrier here, and copies go by unicast.
        lab.kill_router("x3");
        until("the device has no carrier", || {
            lab.ip("x1", "link show dev xt3").contains("NO-CARRIER").then_some(())
        });
        lab.send("a", &words.replace("both", "apart"));
        receivers.iter().for_each(|receiver| assert_receives(receiver, source, "apart"));
        assert!(!said(lab.router("x1")).contains("ERROR"));
        lab.assert_identity("x1");
    });
}

/// A next-hop group over two tunnels, as FRR installs for paths of equal cost: channels are shared
/// out, and all go by the other tunnel when one dies.
#[test]
fn a_next_hop_group_shares_channels_between_tunnels() {
    in_namespaces("daemons::a_next_hop_group_shares_channels_between_tunnels", || {
        let mut lab = Line::network();
        let ends = ["x1", "x3"].map(|node| lab.address(node, "r").to_string());
        let both = |local: &str, remote: &str| {
            let one = tunnel("one", "ipip", (local, remote), "interface = \"xone\"\n", &[]);
            let two = tunnel("two", "udp", (local, remote), "interface = \"xtwo\"\n", &[]);
            format!("[routes]\nkernel-tables = [100, 254]\n{one}{two}")
        };
        let (forth, back) = (both(&ends[0], &ends[1]), both(&ends[1], &ends[0]));
        lab.start_routers_with(&[("x1", &forth), ("x3", &back)]);
        for (device, net) in [("xone", 1), ("xtwo", 2)] {
            lab.ip("x1", &format!("address add 192.168.{net}.1/24 dev {device}"));
            lab.ip("x3", &format!("address add 192.168.{net}.3/24 dev {device}"));
        }
        lab.ip("x1", "nexthop add id 1 via 192.168.1.3 dev xone");
        lab.ip("x1", "nexthop add id 2 via 192.168.2.3 dev xtwo");
        lab.ip("x1", "nexthop add id 10 group 1/2");
        for at in [3, 4] {
            let subnet = lab.links[at].subnet();
            lab.ip("x1", &format!("route add {subnet} nhid 10 table 100"));
        }
        let live = |lab: &Lab| -> Vec<String> {
            let routes = lab.show("x1", "routes");
            let routes = routes["routes"].as_array().unwrap();
            let live =
                routes.iter().filter(|r| r["source"] == "kernel:100" && r["state"] == "live");
            live.filter_map(|route| Some(route["tunnel"].as_str()?.to_owned())).collect()
        };
        until("both tunnels carry both routes", || {
            (live(&lab) == ["one", "two", "one", "two"]).then_some(())
        });
        let to = ["b", "c"].map(|host| SocketAddr::new(lab.address(host, "x3").into(), PORT));
        let receivers: Vec<UdpSocket> =
            ["b", "c"].iter().zip(to).map(|(host, to)| lab.receiver(host, to)).collect();
        let source = SocketAddr::new(lab.address("a", "x1").into(), 5000);
        let capture = lab.capture(&lab.links[1].clone());
        let send = |lab: &mut Lab, channel: u32| {
            let payload = format!("channel-{channel:04}");
            let words = format!("--to {},{} --source-port 5000", to[0], to[1]);
            lab.send("a", &format!("{words} --channel {channel} --text {payload}"));
            receivers.iter().for_each(|receiver| assert_receives(receiver, source, &payload));
        };
        (1..=16).for_each(|channel| send(&mut lab, channel));
        let packets = capture.all_packets();
        let holding = packets.iter().filter(|p| p.windows(8).any(|octets| octets == b"channel-"));
        let protocols: std::collections::BTreeSet<u8> = holding.map(|packet| packet[9]).collect();
        assert_eq!(protocols, [4, 17].into(), "some in IP, some in UDP");

        lab.ip("x1", "link set dev xone down");
        until("only the other one is left", || {
            live(&lab).iter().all(|tunnel| tunnel == "two").then_some(())
        });
        (17..=20).for_each(|channel| send(&mut lab, channel));
        lab.assert_identity("x1");
    });
}
