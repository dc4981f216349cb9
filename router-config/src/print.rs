//! Prints a configuration back as TOML, every default explicit. What is printed parses to an equal
//! configuration.

use std::fmt::{self, Display, Formatter};

use crate::config::{
    Backbone, Config, Experiment, Limits, Metrics, NeighborPin, Port, PortDefaults, RouteTarget,
    Router, StaticRoute, Tunnel, TunnelKind,
};

impl Display for Config {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.experiment.fmt(f)?;
        router(f, &self.router)?;
        port_defaults(f, &self.ports)?;
        self.port.iter().try_for_each(|item| port(f, item))?;
        self.neighbor.iter().try_for_each(|item| neighbor(f, item))?;
        let tables: Vec<String> = self.kernel_tables.iter().map(ToString::to_string).collect();
        writeln!(f, "\n[routes]\nkernel-tables = [{}]", tables.join(", "))?;
        self.route.iter().try_for_each(|item| route(f, item))?;
        self.tunnel.iter().try_for_each(|item| tunnel(f, item))?;
        self.backbone.iter().try_for_each(|item| backbone(f, item))?;
        writeln!(f, "\n[semi-permeable]\naccept = {}", list(&self.semi_permeable.accept))?;
        limits(f, &self.limits)
    }
}

impl Display for Experiment {
    /// The `[experiment]` table, which is a file for [`parse_experiment`](crate::parse_experiment).
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "[experiment]")?;
        writeln!(f, "ip-protocol = {}", self.ip_protocol)?;
        writeln!(f, "all-routers-v4 = {}", quoted(&self.all_routers_v4))?;
        writeln!(f, "all-routers-v6 = {}", quoted(&self.all_routers_v6))?;
        writeln!(f, "routing-type = {}", self.routing_type)?;
        writeln!(f, "ports-option = {:#04x}", self.ports_option)?;
        writeln!(f, "hop-by-hop-option = {:#04x}", self.hop_by_hop_option)?;
        writeln!(f, "tunnel-port = {}", self.tunnel_port)
    }
}

fn router(f: &mut Formatter<'_>, router: &Router) -> fmt::Result {
    writeln!(f, "\n[router]")?;
    writeln!(f, "name = {}", quoted(&router.name))?;
    writeln!(f, "control-socket = {}", quoted(&router.control_socket.display()))?;
    optional(f, "metrics", router.metrics.as_ref().map(Metrics::to_string).as_deref())?;
    writeln!(f, "workers = {}", router.workers)?;
    writeln!(f, "fib = {}", quoted(&router.fib))?;
    writeln!(f, "sandbox = {}", router.sandbox)?;
    writeln!(f, "compact = {}", router.compact)?;
    writeln!(f, "anycast-addresses = {}", list(&router.anycast_addresses))
}

fn port_defaults(f: &mut Formatter<'_>, ports: &PortDefaults) -> fmt::Result {
    writeln!(f, "\n[ports]")?;
    writeln!(f, "driver = {}", quoted(&ports.driver))?;
    writeln!(f, "reverse-path = {}", quoted(&ports.reverse_path))?;
    writeln!(f, "xcast-neighbors = {}", quoted(&ports.xcast_neighbors))?;
    writeln!(f, "accept-group-frames = {}", ports.accept_group_frames)
}

fn port(f: &mut Formatter<'_>, port: &Port) -> fmt::Result {
    writeln!(f, "\n[[port]]")?;
    writeln!(f, "interface = {}", quoted(&port.interface))?;
    writeln!(f, "driver = {}", quoted(&port.driver))?;
    writeln!(f, "reverse-path = {}", quoted(&port.reverse_path))?;
    writeln!(f, "xcast-neighbors = {}", quoted(&port.xcast_neighbors))?;
    writeln!(f, "accept-group-frames = {}", port.accept_group_frames)
}

fn neighbor(f: &mut Formatter<'_>, pin: &NeighborPin) -> fmt::Result {
    writeln!(f, "\n[[neighbor]]")?;
    writeln!(f, "address = {}", quoted(&pin.address))?;
    writeln!(f, "xcast = {}", quoted(&if pin.xcast { "yes" } else { "no" }))
}

fn route(f: &mut Formatter<'_>, route: &StaticRoute) -> fmt::Result {
    writeln!(f, "\n[[route]]")?;
    writeln!(f, "prefix = {}", quoted(&route.prefix))?;
    match &route.target {
        RouteTarget::Via(address) => writeln!(f, "via = {}", quoted(address)),
        RouteTarget::Interface(name) => writeln!(f, "interface = {}", quoted(name)),
        RouteTarget::Tunnel(name) => writeln!(f, "tunnel = {}", quoted(name)),
        RouteTarget::Drop => writeln!(f, "drop = true"),
    }
}

fn tunnel(f: &mut Formatter<'_>, tunnel: &Tunnel) -> fmt::Result {
    writeln!(f, "\n[[tunnel]]")?;
    writeln!(f, "name = {}", quoted(&tunnel.name))?;
    writeln!(f, "kind = {}", quoted(&tunnel.kind))?;
    optional(f, "local", tunnel.local.as_ref())?;
    optional(f, "remote", tunnel.remote.as_ref())?;
    optional(f, "interface", tunnel.interface.as_ref())?;
    match &tunnel.keys {
        Some(keys) => {
            writeln!(f, "private-key-file = {}", quoted(&keys.private_key_file.display()))?;
            writeln!(f, "peer-key = {}", quoted(&keys.peer_key))
        }
        None if tunnel.kind == TunnelKind::Udp => writeln!(f, "insecure = true"),
        None => Ok(()),
    }
}

fn backbone(f: &mut Formatter<'_>, backbone: &Backbone) -> fmt::Result {
    writeln!(f, "\n[backbone]")?;
    writeln!(f, "private-key-file = {}", quoted(&backbone.private_key_file.display()))?;
    writeln!(f, "seeds = {}", list(&backbone.seeds))?;
    writeln!(f, "peers = {}", list(&backbone.peers))?;
    writeln!(f, "prefixes = {}", list(&backbone.prefixes))?;
    writeln!(f, "originate = {}", list(&backbone.originate))?;
    writeln!(f, "hosts = {}", list(&backbone.hosts))?;
    writeln!(f, "leases = {}", list(&backbone.leases))?;
    if let Some(interface) = &backbone.interface {
        writeln!(f, "interface = {}", quoted(interface))?;
    }
    writeln!(f, "accept-default = {}", backbone.accept_default)
}

fn limits(f: &mut Formatter<'_>, limits: &Limits) -> fmt::Result {
    writeln!(f, "\n[limits]")?;
    writeln!(f, "destinations-per-second = {}", limits.destinations_per_second)?;
    writeln!(f, "sources = {}", list(&limits.sources))?;
    writeln!(f, "destinations = {}", list(&limits.destinations))?;
    writeln!(f, "allow-icmp-echo = {}", limits.allow_icmp_echo)?;
    writeln!(f, "icmp-errors-per-second = {}", limits.icmp_errors_per_second)
}

/// A key whose default is to be absent.
fn optional<T: Display + ?Sized>(
    f: &mut Formatter<'_>,
    key: &str,
    value: Option<&T>,
) -> fmt::Result {
    value.map_or(Ok(()), |value| writeln!(f, "{key} = {}", quoted(value)))
}

/// A value as a TOML string.
fn quoted<T: Display + ?Sized>(value: &T) -> String {
    toml::Value::from(value.to_string()).to_string()
}

/// Values as a TOML array of strings.
fn list<T: Display>(values: &[T]) -> String {
    let quoted: Vec<String> = values.iter().map(quoted).collect();
    format!("[{}]", quoted.join(", "))
}
