//! From the configuration to what the rib needs of it.

use router_config::{
    Backbone, Config, FibKind, IpNetwork, Port, ReversePath, RouteTarget, XcastNeighbors,
};

use super::code_points;
use super::sockets::Drivers;
use crate::fib::{self, Emission, Limits, Prefix, TableKind};
use crate::io::device::Driver;
use crate::io::large_pages;
use crate::rib::{NeighborPolicy, PortPolicy, PortSettings, Settings, StaticRoute, StaticTarget};

/// The rib's settings; `secret` is a random number.
pub fn rib_settings(config: &Config, secret: u64) -> Settings {
    let ports = match config.port.as_slice() {
        [] => PortPolicy::All(port_settings(&config.ports.port(""))),
        listed => PortPolicy::Listed(
            listed.iter().map(|port| (port.interface.clone(), port_settings(port))).collect(),
        ),
    };
    let routes = config.route.iter().map(|route| StaticRoute {
        prefix: prefix(route.prefix),
        target: match &route.target {
            RouteTarget::Via(gateway) => StaticTarget::Via(*gateway),
            RouteTarget::Interface(name) => StaticTarget::Interface(name.clone()),
            RouteTarget::Tunnel(name) => StaticTarget::Tunnel(name.clone()),
            RouteTarget::Drop => StaticTarget::Drop,
        },
    });
    Settings {
        code_points: code_points(&config.experiment),
        ports,
        pins: config.neighbor.iter().map(|pin| (pin.address, pin.xcast)).collect(),
        kernel_tables: config.kernel_tables.clone(),
        static_routes: leases(config).chain(routes).collect(),
        limits: Limits {
            emission: config.backbone.as_ref().map(emission),
            anycast: config.router.anycast_addresses.clone(),
            accept: config.semi_permeable.accept.iter().copied().map(prefix).collect(),
            sources: config.limits.sources.iter().copied().map(prefix).collect(),
            destinations: config.limits.destinations.iter().copied().map(prefix).collect(),
            allow_icmp_echo: config.limits.allow_icmp_echo,
            destinations_per_second: share(config, config.limits.destinations_per_second),
            icmp_errors_per_second: share(config, config.limits.icmp_errors_per_second),
        },
        compact: config.router.compact,
        table: match config.router.fib {
            FibKind::Poptrie => TableKind::Poptrie(large_pages),
            FibKind::Dir24 => TableKind::Dir24(large_pages),
        },
        secret,
    }
}

/// Addresses that could be leased and are not: they are nowhere. Who has leased one is behind a
/// longer prefix.
fn leases(config: &Config) -> impl Iterator<Item = StaticRoute> {
    let pools = config.backbone.iter().flat_map(|backbone| &backbone.leases);
    pools.map(|pool| StaticRoute { prefix: prefix(*pool), target: StaticTarget::Drop })
}

/// What a relay may emit: what the operator says, and what comes from the addresses that it leases.
fn emission(backbone: &Backbone) -> Emission {
    let prefixes = |networks: &[IpNetwork]| networks.iter().copied().map(prefix).collect();
    Emission {
        originate: prefixes(&[&backbone.originate[..], &backbone.leases].concat()),
        near: prefixes(&backbone.prefixes),
    }
}

/// A worker's share of a rate. It knows nothing of what the others let pass, and all together must
/// not let more pass than the rate; 0 stays 0, which has a meaning of its own.
fn share(config: &Config, rate: u32) -> u32 {
    (rate / u32::from(config.router.workers.max(1))).max(rate.min(1))
}

/// The drivers that the configuration asks for.
pub(super) fn drivers(config: &Config, may_load: bool) -> Drivers {
    let listed = config.port.iter().map(|port| (port.interface.clone(), driver(port.driver)));
    Drivers { listed: listed.collect(), other: driver(config.ports.driver), may_load }
}

fn driver(wanted: router_config::Driver) -> Driver {
    match wanted {
        router_config::Driver::Auto => Driver::Auto,
        router_config::Driver::Packet => Driver::Packet,
        router_config::Driver::Xdp => Driver::Xdp,
    }
}

fn port_settings(port: &Port) -> PortSettings {
    PortSettings {
        reverse_path: match port.reverse_path {
            ReversePath::Strict => fib::ReversePath::Strict,
            ReversePath::Loose => fib::ReversePath::Loose,
            ReversePath::Off => fib::ReversePath::Off,
        },
        neighbors: match port.xcast_neighbors {
            XcastNeighbors::Probe => NeighborPolicy::Probe,
            XcastNeighbors::All => NeighborPolicy::All,
            XcastNeighbors::None => NeighborPolicy::None,
        },
        accept_group_frames: port.accept_group_frames,
    }
}

fn prefix(network: IpNetwork) -> Prefix {
    Prefix::new(network.network(), network.prefix()).expect("a network's prefix has its length")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_share_the_rates() {
        let example = include_str!("../../router-config/examples/lab.toml");
        let (mut config, _) = router_config::parse(example).expect("it is an example");
        for (workers, rate, expected) in
            [(1, 100, 100), (3, 100, 33), (64, 100, 1), (64, 10, 1), (2, 0, 0), (64, 0, 0)]
        {
            config.router.workers = workers;
            config.limits.destinations_per_second = rate;
            config.limits.icmp_errors_per_second = rate;
            let limits = rib_settings(&config, 0).limits;
            assert_eq!(limits.destinations_per_second, expected, "{workers} {rate}");
            assert_eq!(limits.icmp_errors_per_second, expected, "{workers} {rate}");
        }
    }
}
