//! RFC 5058 figure 1 over IPv6, and over both IP versions at once.
//!
//! ```text
//!                              R4 ---- B
//!                             /
//!   A----- R1 ---- R2 ---- R3                      R8 ---- C
//!                            \                    /
//!                              R5 ---- R6 ---- R7
//!                                               \
//!                                                  R9 ---- D
//! ```

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use serde_json::Value;

use crate::lab::capture::{Capture, Copy, Form};
use crate::lab::process::{Process, Stream};
use crate::lab::reading::{ANONYMOUS, DS_BYTES, Heading, KEEP_XCAST, PORTS};
use crate::lab::{EXPERIMENT_FILE, Lab, Version, assert_empty, assert_receives, xcast};
use crate::support::in_namespaces;
use crate::tree::{Gateways, Message, assert_same, crossed, install_routes};
use crate::{BOTH, SOURCE_PORT, words};

const ROUTERS: [&str; 9] = ["r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9"];
const LINKS: [(&str, &str); 12] = [
    ("a", "r1"),
    ("r1", "r2"),
    ("r2", "r3"),
    ("r3", "r4"),
    ("r4", "b"),
    ("r3", "r5"),
    ("r5", "r6"),
    ("r6", "r7"),
    ("r7", "r8"),
    ("r8", "c"),
    ("r7", "r9"),
    ("r9", "d"),
];
const RECEIVERS: [(&str, &str); 3] = [("b", "r4"), ("c", "r8"), ("d", "r9")];
/// A channel of 128 bits, and one that fits IPv4.
const LONG_CHANNEL: &str = "0x0123456789abcdef0011223344556677";
const SHORT_CHANNEL: &str = "0xfedcba98";

/// The network, with all routers running.
struct Figure {
    lab: Lab,
    captures: Vec<Capture>,
}

impl Figure {
    fn build(gateways: Gateways) -> Figure {
        let mut lab = Lab::dual_stack();
        lab.hosts(&["a", "b", "c", "d"]);
        lab.forwarders(&ROUTERS);
        for (one, other) in LINKS {
            lab.link(one, other);
        }
        install_routes(&lab, gateways);
        lab.start_routers(&ROUTERS);
        let captures = lab.capture_all();
        Figure { lab, captures }
    }

    /// Where the receivers listen: at ports of their own, counted on from `port`, or all at it.
    fn destinations(&self, version: Version, port: u16, step: u16) -> Vec<SocketAddr> {
        let ports = (0..).map(|at| port + at * step);
        let each = RECEIVERS.iter().zip(ports);
        each.map(|((host, edge), port)| {
            SocketAddr::new(self.lab.address_of(version, host, edge), port)
        })
        .collect()
    }

    fn receivers(&self, to: &[SocketAddr]) -> Vec<UdpSocket> {
        let hosts = RECEIVERS.iter().map(|(host, _)| host);
        hosts.zip(to).map(|(host, to)| self.lab.receiver(host, *to)).collect()
    }

    fn source(&self, version: Version) -> SocketAddr {
        SocketAddr::new(self.lab.address_of(version, "a", "r1"), SOURCE_PORT)
    }

    fn send(&mut self, to: &str, payload: &str, more: &str) {
        let arguments = format!("--to {to} --source-port {SOURCE_PORT} --text {payload} {more}");
        self.lab.send("a", arguments.trim_end());
    }

    fn expected(
        &self,
        to: &[SocketAddr],
        payload: &str,
        keeps_xcast: bool,
    ) -> Vec<Copy<SocketAddr>> {
        let version = if to[0].is_ipv6() { Version::V6 } else { Version::V4 };
        let (source, to) = (self.source(version), to.to_vec());
        Message { from: "a", source, to, payload, keeps_xcast }.copies(&self.lab, &[])
    }

    fn crossed(&self) -> Vec<Copy<SocketAddr>> {
        crossed(&self.captures)
    }

    fn crossed_with_headings(&self) -> Vec<(Copy<SocketAddr>, Heading)> {
        self.captures.iter().flat_map(Capture::take_with_headings).collect()
    }

    /// `xcast recv` at each receiver, listening.
    fn listen(&mut self, port: u16, count: usize) -> Vec<Process> {
        let (port, count) = (port.to_string(), count.to_string());
        let words = ["recv", "--json", "--timeout", "30s", "--experiment", EXPERIMENT_FILE];
        RECEIVERS
            .map(|(host, _)| {
                let mut command = xcast();
                command.args(words).args(["--count", &count, "--port", &port]);
                let receiver = self.lab.run(host, host, &mut command);
                receiver.log.wait_for(Stream::Error, "listening");
                receiver
            })
            .into()
    }

    fn assert_no_drops(&self) {
        for router in ROUTERS {
            self.lab.assert_identity(router);
            for counter in ["packets-dropped", "destinations-dropped"] {
                assert_eq!(self.lab.counter(router, counter), 0, "{counter} of {router}");
            }
        }
    }
}

/// What each receiver has printed, in the order of [`RECEIVERS`].
fn printed(receivers: Vec<Process>) -> Vec<Vec<Value>> {
    let finish = |receiver: Process| {
        let ended = receiver.finish();
        assert_eq!(ended.status, Some(0), "{:?}", ended.errors);
        ended.output.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    receivers.into_iter().map(finish).collect()
}

/// Sends to all over IPv6, at ports that differ and at one port, and looks at every link.
fn check_every_link(figure: &mut Figure) {
    for (round, step) in [("ports", 1), ("port", 0)] {
        let to = figure.destinations(Version::V6, 9001 + 100 * (1 - step), step);
        let receivers = figure.receivers(&to);
        for number in 0..3 {
            let payload = format!("{round}-{number}");
            figure.send(&words(&to), &payload, "");
            for receiver in &receivers {
                assert_receives(receiver, figure.source(Version::V6), &payload);
            }
            let found = figure.crossed_with_headings();
            for (copy, heading) in &found {
                let is_xcast = matches!(copy.form, Form::Xcast(_));
                assert_eq!(heading.has_ports_option, is_xcast && step == 1, "{copy:?}");
                assert_eq!(heading.flags & PORTS, 0, "the bit is reserved: {copy:?}");
            }
            let found = found.into_iter().map(|(copy, _)| copy).collect();
            assert_same(found, figure.expected(&to, &payload, false));
        }
        receivers.iter().for_each(assert_empty);
    }
    figure.assert_no_drops();
}

#[test]
fn each_link_carries_one_copy_of_ipv6() {
    in_namespaces("figure1::each_link_carries_one_copy_of_ipv6", || {
        check_every_link(&mut Figure::build(Gateways::Global));
    });
}

#[test]
fn each_link_carries_one_copy_where_gateways_are_link_local() {
    in_namespaces("figure1::each_link_carries_one_copy_where_gateways_are_link_local", || {
        let mut figure = Figure::build(Gateways::LinkLocal);
        let via = figure.lab.link_local("r4", "r3").to_string();
        let neighbors = figure.lab.show("r3", "neighbors");
        let mut each = neighbors["neighbors"].as_array().unwrap().iter();
        let r4 = each.find(|neighbor| neighbor["address"] == via.as_str()).unwrap();
        assert_eq!((&r4["interface"], &r4["xcast"]), (&"r4".into(), &"capable".into()));
        check_every_link(&mut figure);
    });
}

#[test]
fn classes_of_dscps_travel_apart() {
    in_namespaces("figure1::classes_of_dscps_travel_apart", || {
        let mut figure = Figure::build(Gateways::Global);
        for version in BOTH {
            let [b, c, d] = figure.destinations(version, 9001, 1).try_into().unwrap();
            let late = SocketAddr::new(d.ip(), 9009);
            // EF, AF41, AF31 and AF32: {EF, AF41} and {AF31, AF32}.
            let wanted = [(b, 46), (c, 34), (d, 26), (late, 28)];
            let receivers = [("b", b), ("c", c), ("d", d), ("d", late)]
                .map(|(host, at)| figure.lab.receiver(host, at));
            let list = wanted.map(|(to, dscp)| format!("{to}/{dscp}")).join(",");
            figure.send(&list, "classes", "");
            for receiver in &receivers {
                assert_receives(receiver, figure.source(version), "classes");
            }
            let found = figure.crossed_with_headings();
            let own: BTreeMap<SocketAddr, u8> = wanted.into();
            for (copy, heading) in &found {
                let (dscp, flag) = match &copy.form {
                    Form::Unicast(to) => (own[to], 0),
                    Form::Xcast(live) if live.contains(&b) => (46, DS_BYTES),
                    _ => (26, DS_BYTES),
                };
                assert_eq!((heading.dscp, heading.flags & DS_BYTES), (dscp, flag), "{copy:?}");
            }
            let first = figure.expected(&[b, c], "classes", false);
            let second = figure.expected(&[d, late], "classes", false);
            let found = found.into_iter().map(|(copy, _)| copy).collect();
            assert_same(found, [first, second].concat());
        }
        figure.assert_no_drops();
    });
}

#[test]
fn anonymous_lists_show_nobody_the_destinations_of_others() {
    in_namespaces("figure1::anonymous_lists_show_nobody_the_destinations_of_others", || {
        let mut figure = Figure::build(Gateways::Global);
        for version in BOTH {
            let to = figure.destinations(version, 9001, 1);
            let receivers = figure.receivers(&to);
            figure.send(&words(&to), "hidden", "--anonymous");
            for receiver in &receivers {
                assert_receives(receiver, figure.source(version), "hidden");
            }
            let found = figure.crossed_with_headings();
            for (copy, heading) in &found {
                let Form::Xcast(live) = &copy.form else { continue };
                assert_eq!(heading.flags & ANONYMOUS, ANONYMOUS);
                let live: Vec<IpAddr> = live.iter().map(SocketAddr::ip).collect();
                let shown = heading.listed.iter().filter(|address| !address.is_unspecified());
                assert_eq!(shown.copied().collect::<Vec<_>>(), live, "{copy:?}");
                assert_eq!(heading.listed.len(), to.len(), "{copy:?}");
            }
            let found: Vec<_> = found.into_iter().map(|(copy, _)| copy).collect();
            assert_same(found, figure.expected(&to, "hidden", false));
        }
        figure.assert_no_drops();
    });
}

#[test]
fn packets_that_must_stay_xcast_arrive_so_with_their_channel() {
    in_namespaces("figure1::packets_that_must_stay_xcast_arrive_so_with_their_channel", || {
        let mut figure = Figure::build(Gateways::Global);
        let receivers = figure.listen(9000, 2);
        for (version, channel) in [(Version::V6, LONG_CHANNEL), (Version::V4, SHORT_CHANNEL)] {
            let to = figure.destinations(version, 9000, 0);
            figure.send(&words(&to), "kept", &format!("--keep-xcast --channel {channel}"));
        }
        let expected = [Version::V6, Version::V4]
            .map(|version| figure.expected(&figure.destinations(version, 9000, 0), "kept", true));
        for (host, lines) in RECEIVERS.iter().zip(printed(receivers)) {
            let mut channels = Vec::new();
            for json in lines {
                assert_eq!((&json["form"], &json["bytes"]), (&"xcast".into(), &4.into()), "{json}");
                assert_eq!(json["source-port"], SOURCE_PORT);
                let source: IpAddr = json["source"].as_str().unwrap().parse().unwrap();
                let version = if source.is_ipv6() { Version::V6 } else { Version::V4 };
                assert_eq!(source, figure.source(version).ip());
                let own = figure.lab.address_of(version, host.0, host.1).to_string();
                assert_eq!(json["destination"], own);
                channels.push(json["channel"].clone());
            }
            channels.sort_by_key(Value::is_string);
            assert_eq!(channels, [Value::from(0xfedc_ba98u32), LONG_CHANNEL.into()], "{host:?}");
        }
        let found = figure.crossed_with_headings();
        for (copy, heading) in &found {
            assert_eq!(heading.flags & KEEP_XCAST, KEEP_XCAST, "{copy:?}");
            let channel = if copy.source.is_ipv6() { LONG_CHANNEL } else { SHORT_CHANNEL };
            let channel = u128::from_str_radix(&channel[2..], 16).unwrap();
            assert_eq!(heading.channel, channel, "{copy:?}");
        }
        assert_same(found.into_iter().map(|(copy, _)| copy).collect(), expected.concat());
        figure.assert_no_drops();
    });
}

#[test]
fn a_list_of_both_ip_versions_is_one_message() {
    in_namespaces("figure1::a_list_of_both_ip_versions_is_one_message", || {
        let mut figure = Figure::build(Gateways::Global);
        let [v4, v6] = BOTH.map(|version| figure.destinations(version, 9000, 0));
        let receivers = [figure.receivers(&v4), figure.receivers(&v6)];
        // Alternately, so that no order of versions helps.
        let mixed: Vec<SocketAddr> = v6.iter().zip(&v4).flat_map(|(a, b)| [*a, *b]).collect();
        figure.send(&words(&mixed), "both", "");
        for (version, receivers) in BOTH.into_iter().zip(&receivers) {
            for receiver in receivers {
                assert_receives(receiver, figure.source(version), "both");
            }
        }
        let expected = [v4, v6].map(|to| figure.expected(&to, "both", false));
        assert_same(figure.crossed(), expected.concat());
        figure.assert_no_drops();
    });
}

#[test]
fn explain_tells_the_fate_of_ipv6_destinations() {
    in_namespaces("figure1::explain_tells_the_fate_of_ipv6_destinations", || {
        let figure = Figure::build(Gateways::Global);
        let [b, c, d] = figure.destinations(Version::V6, 9000, 0).try_into().unwrap();
        let own = figure.lab.address_v6("r3", "r2");
        let list = [b.ip(), c.ip(), own.into(), "2001:db8::1".parse().unwrap(), d.ip()];
        let list = list.map(|address: IpAddr| address.to_string()).join(",");
        let socket = crate::lab::socket_path("r3");
        let source = figure.source(Version::V6).ip().to_string();
        let words = ["explain", &list, "--source", &source, "--json", "--socket", &socket];
        let output = xcast().args(words).output().unwrap();
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        let fates = json["destinations"].as_array().unwrap();
        let each = |key: &str| fates.iter().map(|fate| fate[key].clone()).collect::<Vec<Value>>();
        assert_eq!(each("outcome"), ["forward", "forward", "deliver", "drop", "forward"]);
        assert_eq!(each("reason")[3], "no-route");
        let via = |next: &str| Value::from(figure.lab.address_v6(next, "r3").to_string());
        assert_eq!(each("via")[..2], [via("r4"), via("r5")]);
        assert_eq!(each("interface")[..2], ["r4", "r5"]);
        let subnets = each("prefix")[1].clone();
        let of_c = figure.lab.links.iter().find(|link| link.ends[1].node == "c").unwrap();
        assert_eq!(subnets, of_c.subnet_v6());
        let copies = json["replicas"].as_array().unwrap();
        let copy = |fate: usize| &copies[fates[fate]["replica"].as_u64().unwrap() as usize];
        assert_eq!(copy(1), copy(4), "one copy for both");
        assert_eq!((&copy(1)["form"], &copy(1)["to"]), (&"xcast".into(), &via("r5")));
        assert_eq!((&copy(0)["form"], &copy(0)["to"]), (&"unicast".into(), &via("r4")));
        // IPv6, UDP and 64 octets; with 24 + 8 + 5 x 16 of Xcast6.
        assert_eq!((&copy(0)["bytes"], &copy(1)["bytes"]), (&112.into(), &224.into()));
    });
}
