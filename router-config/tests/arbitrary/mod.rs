//! Strategies for valid configurations: every value that could have been read from a text.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use proptest::sample::select;
use router_config::{
    Backbone, Config, Driver, Experiment, FibKind, IpNetwork, Limits, MAIN_TABLE, Metrics,
    NeighborPin, PortDefaults, ReversePath, RouteTarget, Router, SemiPermeable, StaticRoute,
    Tunnel, TunnelKeys, TunnelKind, XcastNeighbors,
};

/// Any valid configuration.
pub(crate) fn config() -> impl Strategy<Value = Config> {
    let ports = (defaults(), btree_map("[a-zA-Z0-9][a-zA-Z0-9._@-]{0,14}", defaults(), 0..4));
    let neighbor = btree_map(unicast(), any::<bool>(), 0..4);
    let tables = btree_set(1..=u32::MAX, 0..4);
    let tail = (proptest::option::of(backbone()), vec(prefix(), 0..3), limits());
    (experiment(), router(), ports, neighbor, tables, tunnels_and_routes(), tail).prop_map(
        |(experiment, router, (ports, port), neighbor, tables, (tunnel, route), tail)| Config {
            experiment,
            // Service addresses need listed sources.
            router: match tail.2.sources.is_empty() {
                true => Router { anycast_addresses: Vec::new(), ..router },
                false => router,
            },
            port: port.into_iter().map(|(name, settings)| settings.port(&name)).collect(),
            ports,
            neighbor: neighbor
                .into_iter()
                .map(|(address, xcast)| NeighborPin { address, xcast })
                .collect(),
            kernel_tables: tables
                .into_iter()
                .filter(|table| *table != MAIN_TABLE)
                .chain([MAIN_TABLE])
                .collect(),
            route,
            tunnel,
            backbone: tail.0,
            semi_permeable: SemiPermeable { accept: tail.1 },
            limits: tail.2,
        },
    )
}

fn experiment() -> impl Strategy<Value = Experiment> {
    let groups = (0xe000_0000..=0xefff_ffff_u32, any::<u128>());
    (61..=131_u8, groups, 7..=255_u8, 0x40..=0x5f_u8, 0x09..=0x1f_u8, 1..=u16::MAX).prop_map(
        |(ip_protocol, (v4, v6), routing_type, ports_option, hop_by_hop_option, tunnel_port)| {
            Experiment {
                ip_protocol,
                all_routers_v4: Ipv4Addr::from(v4),
                all_routers_v6: Ipv6Addr::from(v6 | 0xff << 120),
                routing_type,
                ports_option,
                hop_by_hop_option,
                tunnel_port,
            }
        },
    )
}

fn router() -> impl Strategy<Value = Router> {
    let metrics = prop_oneof![
        Just(None),
        any::<std::net::SocketAddr>().prop_filter_map("no flow label in text", |address| {
            address.to_string().parse().ok().map(|address| Some(Metrics::Tcp(address)))
        }),
        path().prop_map(|path| Some(Metrics::Unix(path))),
    ];
    let fib = select(vec![FibKind::Poptrie, FibKind::Dir24]);
    let anycast = vec(unicast(), 0..3);
    (name(), path(), metrics, 1..=64_u8, fib, any::<(bool, bool)>(), anycast).prop_map(
        |(name, control_socket, metrics, workers, fib, (sandbox, compact), anycast_addresses)| {
            Router {
                name,
                control_socket,
                metrics,
                workers,
                fib,
                sandbox,
                compact,
                anycast_addresses,
            }
        },
    )
}

fn defaults() -> impl Strategy<Value = PortDefaults> {
    (
        select(vec![Driver::Auto, Driver::Packet, Driver::Xdp]),
        select(vec![ReversePath::Strict, ReversePath::Loose, ReversePath::Off]),
        select(vec![XcastNeighbors::Probe, XcastNeighbors::All, XcastNeighbors::None]),
        any::<bool>(),
    )
        .prop_map(|(driver, reverse_path, xcast_neighbors, accept_group_frames)| {
            PortDefaults { driver, reverse_path, xcast_neighbors, accept_group_frames }
        })
}

/// Tunnels, and routes that lead to them and elsewhere.
fn tunnels_and_routes() -> impl Strategy<Value = (Vec<Tunnel>, Vec<StaticRoute>)> {
    let tunnels = btree_map(name(), tunnel(), 0..4);
    let seeds = (any::<u8>(), interface(), any::<prop::sample::Index>(), any::<u32>());
    let routes = btree_map(prefix(), seeds, 0..6);
    (tunnels, routes).prop_map(|(tunnels, routes)| {
        let tunnels: Vec<Tunnel> =
            tunnels.into_iter().map(|(name, tunnel)| Tunnel { name, ..tunnel }).collect();
        let routes: BTreeMap<IpNetwork, RouteTarget> = routes
            .into_iter()
            .map(|(prefix, (choice, interface, index, bits))| {
                let target = match choice % 4 {
                    0 if prefix.is_ipv4() => {
                        RouteTarget::Via(Ipv4Addr::from(bits >> 8 | 10 << 24).into())
                    }
                    0 => RouteTarget::Via(Ipv6Addr::from(u128::from(bits) | 0xfd << 120).into()),
                    1 if !tunnels.is_empty() => {
                        RouteTarget::Tunnel(tunnels[index.index(tunnels.len())].name.clone())
                    }
                    2 => RouteTarget::Drop,
                    _ => RouteTarget::Interface(interface),
                };
                (prefix, target)
            })
            .collect();
        let routes =
            routes.into_iter().map(|(prefix, target)| StaticRoute { prefix, target }).collect();
        (tunnels, routes)
    })
}

/// A tunnel without its name. Its interface goes with its name elsewhere, so it has none here.
fn tunnel() -> impl Strategy<Value = Tunnel> {
    let keys = (path(), "[A-Za-z0-9+/]{43}=")
        .prop_map(|(private_key_file, peer_key)| TunnelKeys { private_key_file, peer_key });
    let kinds = vec![
        TunnelKind::Ipip,
        TunnelKind::Udp,
        TunnelKind::SemiPermeable,
        TunnelKind::Anycast,
        TunnelKind::Hosts,
    ];
    (select(kinds), 1..0x00ff_ffff_u32, proptest::option::of(keys)).prop_map(|(kind, low, keys)| {
        let local = IpAddr::from(Ipv4Addr::from(10 << 24 | low));
        let remote = IpAddr::from(Ipv4Addr::from(11 << 24 | low));
        let (local, remote) = match kind {
            TunnelKind::Ipip | TunnelKind::Udp => (Some(local), Some(remote)),
            TunnelKind::SemiPermeable | TunnelKind::Hosts => (None, None),
            TunnelKind::Anycast => (None, Some(remote)),
        };
        let keys = keys.filter(|_| kind == TunnelKind::Udp);
        Tunnel { name: String::new(), kind, local, remote, interface: None, keys }
    })
}

fn backbone() -> impl Strategy<Value = Backbone> {
    let prefixes = || vec(prefix(), 0..3);
    (
        path(),
        vec("[a-z0-9.-]{1,20}:[1-9][0-9]{0,3}", 0..3),
        vec("[A-Za-z0-9+/]{1,43}={0,2}", 0..3),
        prefixes(),
        prefixes(),
        vec("[A-Za-z0-9+/]{1,43}={0,2}", 0..3),
        prefixes(),
        proptest::option::of("[a-z]{1,15}"),
        any::<bool>(),
    )
        .prop_map(
            |(file, seeds, peers, prefixes, originate, hosts, leases, interface, all)| Backbone {
                private_key_file: file,
                seeds,
                peers,
                prefixes,
                originate,
                hosts,
                leases,
                interface,
                accept_default: all,
            },
        )
}

fn limits() -> impl Strategy<Value = Limits> {
    let prefixes = || vec(prefix(), 0..3);
    (any::<u32>(), prefixes(), prefixes(), any::<bool>(), any::<u32>()).prop_map(
        |(destinations_per_second, sources, destinations, allow_icmp_echo, icmp)| Limits {
            destinations_per_second,
            sources,
            destinations,
            allow_icmp_echo,
            icmp_errors_per_second: icmp,
        },
    )
}

fn name() -> impl Strategy<Value = String> {
    "[A-Za-z0-9._-]{1,64}"
}

fn interface() -> impl Strategy<Value = String> {
    // Two characters at least, and no dot, so that it is neither `.` nor `..`.
    "[^\\pC\\pZ/:.]{2,3}"
}

/// Paths with everything that a TOML string must escape.
fn path() -> impl Strategy<Value = PathBuf> {
    "/[ -~é]{0,60}".prop_map(PathBuf::from)
}

fn unicast() -> impl Strategy<Value = IpAddr> {
    any::<IpAddr>().prop_filter("unicast", |address| {
        !address.is_multicast()
            && !address.is_unspecified()
            && *address != IpAddr::V4(Ipv4Addr::BROADCAST)
    })
}

fn prefix() -> impl Strategy<Value = IpNetwork> {
    (any::<IpAddr>(), 0..=128_u8).prop_map(|(address, length)| {
        let length = if address.is_ipv4() { length % 33 } else { length };
        let network = IpNetwork::new(address, length).expect("the length fits");
        IpNetwork::new(network.network(), length).expect("the length fits")
    })
}
