//! Routes: `RTM_NEWROUTE` and `RTM_DELROUTE`, of notifications and dumps.
//!
//! What is not a route that forwards a packet by its destination alone is skipped: the local
//! table and local, broadcast, anycast and multicast routes, cached routes, routes for one type
//! of service and, in IPv6, for one source prefix.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{DecodeError, NLM_F_APPEND, NLM_F_REPLACE, ParseableParametrized};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteLwEnCapType, RouteNextHop,
    RouteType, RouteVia,
};

use super::attributes;
use crate::fib::Prefix;
use crate::rib::{KernelRoute, NextHop, Placement, RouteAction};

/// The octets of `struct rtmsg`.
const HEADER: usize = 12;

/// The table of the kernel's own addresses (`RT_TABLE_LOCAL`).
const TABLE_LOCAL: u32 = 255;

/// The route a message carries; `None` if it is one of those we do not follow.
pub(super) fn route(body: &[u8]) -> Result<Option<KernelRoute>, DecodeError> {
    let header = RouteHeader::parse(body)?;
    if !followed(&header) {
        return Ok(None);
    }
    let mut parts = Parts::default();
    for attribute in attributes(body, HEADER) {
        let attribute = attribute?;
        let (libc::RTA_DST
        | libc::RTA_OIF
        | libc::RTA_GATEWAY
        | libc::RTA_PRIORITY
        | libc::RTA_MULTIPATH
        | libc::RTA_TABLE
        | libc::RTA_VIA) = attribute.kind()
        else {
            continue;
        };
        let context = (header.address_family, header.kind, RouteLwEnCapType::None);
        parts.take(RouteAttribute::parse_with_param(&attribute, context)?);
    }
    // A table above 255 is in its attribute; the header then says RT_TABLE_COMPAT.
    let table = parts.table.unwrap_or(u32::from(header.table));
    if table == TABLE_LOCAL || table == u32::from(RouteHeader::RT_TABLE_UNSPEC) {
        return Ok(None);
    }
    let unspecified = match header.address_family {
        AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        _ => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let destination = parts.destination.unwrap_or(unspecified);
    let prefix = Prefix::new(destination, header.destination_prefix_length)
        .ok_or_else(|| DecodeError::from("a prefix longer than an address"))?;
    // Routes to IPv6 multicast, which every link has, are of type unicast in old kernels.
    if destination.is_multicast() {
        return Ok(None);
    }
    let action = match header.kind {
        RouteType::BlackHole | RouteType::Unreachable | RouteType::Prohibit => RouteAction::Drop,
        RouteType::Throw => RouteAction::Throw,
        _ => RouteAction::Forward(parts.next_hops()?),
    };
    Ok(Some(KernelRoute { table, prefix, metric: parts.metric, action }))
}

fn followed(header: &RouteHeader) -> bool {
    matches!(header.address_family, AddressFamily::Inet | AddressFamily::Inet6)
        && matches!(
            header.kind,
            RouteType::Unicast
                | RouteType::BlackHole
                | RouteType::Unreachable
                | RouteType::Prohibit
                | RouteType::Throw
        )
        && header.tos == 0
        && header.source_prefix_length == 0
        && !header.flags.contains(RouteFlags::Cloned)
}

/// Where a notification's route stands among those of its table, prefix and metric.
///
/// IPv4 tells by its flags (`fib_table_insert`): `NLM_F_REPLACE` took the first one's place,
/// `NLM_F_APPEND` went last, neither went first. IPv6 replaces the first too, but adds behind the
/// others whatever is asked (`fib6_add_rt2node`).
pub(super) fn placement(route: &KernelRoute, flags: u16) -> Placement {
    if flags & NLM_F_REPLACE != 0 {
        Placement::Replace
    } else if flags & NLM_F_APPEND != 0 || route.prefix.address().is_ipv6() {
        Placement::Last
    } else {
        Placement::First
    }
}

/// The attributes of a route that matter.
#[derive(Default)]
struct Parts {
    table: Option<u32>,
    destination: Option<IpAddr>,
    /// IPv4 omits a priority of 0; IPv6 always gives one.
    metric: u32,
    interface: Option<u32>,
    gateway: Option<IpAddr>,
    multipath: Vec<RouteNextHop>,
}

impl Parts {
    fn take(&mut self, attribute: RouteAttribute) {
        match attribute {
            RouteAttribute::Destination(address) => self.destination = ip(&address),
            RouteAttribute::Oif(interface) => self.interface = Some(interface),
            RouteAttribute::Priority(metric) => self.metric = metric,
            RouteAttribute::Table(table) => self.table = Some(table),
            RouteAttribute::MultiPath(hops) => self.multipath = hops,
            other => self.gateway = gateway(&other).or(self.gateway),
        }
    }

    /// The next hops, of which a route that forwards has at least one.
    fn next_hops(&self) -> Result<Vec<NextHop>, DecodeError> {
        if let Some(interface) = self.interface {
            return Ok(vec![NextHop { interface, gateway: self.gateway, weight: 1 }]);
        }
        if self.multipath.is_empty() {
            // A route by a nexthop object shows its hops only where the kernel is told to.
            return Err(DecodeError::from(
                "a route without next hops (is net.ipv4.nexthop_compat_mode 0?)",
            ));
        }
        Ok(self.multipath.iter().map(next_hop).collect())
    }
}

fn next_hop(hop: &RouteNextHop) -> NextHop {
    NextHop {
        interface: hop.interface_index,
        gateway: hop.attributes.iter().find_map(gateway),
        // rtnh_hops is the weight less one.
        weight: u16::from(hop.hops) + 1,
    }
}

/// The gateway in an attribute: of the route's own IP version, or (`RTA_VIA`) of the other.
fn gateway(attribute: &RouteAttribute) -> Option<IpAddr> {
    match attribute {
        RouteAttribute::Gateway(address) => ip(address),
        RouteAttribute::Via(RouteVia::Inet(v4)) => Some(IpAddr::V4(*v4)),
        RouteAttribute::Via(RouteVia::Inet6(v6)) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}
