//! rtnetlink messages to [`Change`]s: links, addresses and neighbors here, routes in [`route`].
//! Pure.
//!
//! `netlink-packet-route` reads headers and values. Only the attributes that matter are looked
//! at, so that one it does not know, of a kernel or a device newer than it, hides nothing.

mod route;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr};

use netlink_packet_core::{DecodeError, NlaBuffer, NlasIterator, Parseable, ParseableParametrized};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressHeader, AddressHeaderFlags};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkHeader, LinkLayerType};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourHeader, NeighbourState,
};

use super::framing::Message;
use crate::rib::{Address, Change, Link, LinkKind, Neighbor, NeighborState};

// Attribute kinds of `linux/if_link.h` and `linux/if_addr.h`, which libc has for some C libraries
// only.
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const NHA_ID: u16 = 1;

/// `RTM_NEWNEXTHOP` and `RTM_DELNEXTHOP`, which libc lacks; see `linux/rtnetlink.h`.
const RTM_NEWNEXTHOP: u16 = 104;
const RTM_DELNEXTHOP: u16 = 105;

/// The octets of `struct ifinfomsg`, `struct ifaddrmsg`, `struct ndmsg` and `struct nhmsg`.
const LINK_HEADER: usize = 16;
const ADDRESS_HEADER: usize = 8;
const NEIGHBOR_HEADER: usize = 12;
const NEXTHOP_HEADER: usize = 8;

/// What a message says, in our words; `None` if it is none of our business.
///
/// # Errors
/// The message is malformed, or a value in it is: it has said nothing then.
pub(super) fn change(message: &Message<'_>) -> Result<Option<Change>, DecodeError> {
    match message.kind {
        libc::RTM_NEWLINK => Ok(link(message.body)?.map(Change::Link)),
        libc::RTM_DELLINK => Ok(link(message.body)?.map(|link| Change::LinkGone(link.index))),
        libc::RTM_NEWADDR => Ok(address(message.body)?.map(|(address, usable)| match usable {
            true => Change::Address(address),
            false => Change::AddressGone(address),
        })),
        libc::RTM_DELADDR => {
            Ok(address(message.body)?.map(|(address, _)| Change::AddressGone(address)))
        }
        libc::RTM_NEWNEIGH => neighbor(message.body, false),
        libc::RTM_DELNEIGH => neighbor(message.body, true),
        libc::RTM_NEWROUTE => Ok(route::route(message.body)?
            .map(|route| Change::Route(route.clone(), route::placement(&route, message.flags)))),
        libc::RTM_DELROUTE => Ok(route::route(message.body)?.map(Change::RouteGone)),
        _ => Ok(None),
    }
}

/// What a message says about a nexthop object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nexthop {
    /// It was made or changed.
    Set(u32),
    /// It was deleted.
    Gone(u32),
}

/// What a message says about a nexthop object, if it is about one.
pub(super) fn nexthop(message: &Message<'_>) -> Option<Nexthop> {
    let outcome = match message.kind {
        RTM_NEWNEXTHOP => Nexthop::Set,
        RTM_DELNEXTHOP => Nexthop::Gone,
        _ => return None,
    };
    attributes(message.body, NEXTHOP_HEADER)
        .filter_map(Result::ok)
        .find(|attribute| attribute.kind() == NHA_ID)
        .and_then(|attribute| attribute.value().first_chunk().map(|id| u32::from_ne_bytes(*id)))
        .map(outcome)
}

/// The attributes behind a header of `header` octets.
pub(super) fn attributes(
    body: &[u8],
    header: usize,
) -> impl Iterator<Item = Result<NlaBuffer<&[u8]>, DecodeError>> {
    NlasIterator::new(body.get(header..).unwrap_or_default())
}

fn link(body: &[u8]) -> Result<Option<Link>, DecodeError> {
    let header = LinkHeader::parse(body)?;
    // Links have no family. AF_BRIDGE speaks of a port of a bridge: its RTM_DELLINK says that
    // the link left the bridge, not that it vanished (br_ifinfo_notify).
    if header.interface_family != AddressFamily::Unspec {
        return Ok(None);
    }
    let mut link = Link {
        index: header.index,
        name: String::new(),
        mtu: 0,
        kind: match header.link_layer_type {
            LinkLayerType::Ether => LinkKind::Ethernet,
            LinkLayerType::Loopback => LinkKind::Loopback,
            _ => LinkKind::Other,
        },
        address: None,
        admin_up: header.flags.contains(LinkFlags::Up),
        // The operational state says the same up to a second later (linkwatch).
        carrier: header.flags.contains(LinkFlags::LowerUp),
        master: None,
    };
    for attribute in attributes(body, LINK_HEADER) {
        let attribute = attribute?;
        let (IFLA_ADDRESS | IFLA_IFNAME | IFLA_MTU | IFLA_MASTER) = attribute.kind() else {
            continue;
        };
        match LinkAttribute::parse_with_param(&attribute, AddressFamily::Unspec)? {
            LinkAttribute::Address(octets) => link.address = octets.try_into().ok(),
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Controller(master) => link.master = (master != 0).then_some(master),
            _ => {}
        }
    }
    Ok(Some(link))
}

/// An address, and whether it is this node's: one of IPv6 is not before it was tried, and not if
/// another node was found to have it (RFC 4862 section 5.4), but is while it is tried if it is
/// optimistic (RFC 4429).
fn address(body: &[u8]) -> Result<Option<(Address, bool)>, DecodeError> {
    let header = AddressHeader::parse(body)?;
    if !matches!(header.family, AddressFamily::Inet | AddressFamily::Inet6) {
        return Ok(None);
    }
    let (mut local, mut end, mut broadcast): (Option<IpAddr>, _, Option<Ipv4Addr>) =
        (None, None, None);
    for attribute in attributes(body, ADDRESS_HEADER) {
        let attribute = attribute?;
        let (IFA_ADDRESS | IFA_LOCAL | IFA_BROADCAST) = attribute.kind() else {
            continue;
        };
        match AddressAttribute::parse(&attribute)? {
            AddressAttribute::Local(address) => local = Some(address),
            AddressAttribute::Address(address) => end = Some(address),
            AddressAttribute::Broadcast(address) => broadcast = Some(address),
            _ => {}
        }
    }
    let has = |flag| header.flags.contains(flag);
    let tried = !has(AddressHeaderFlags::Tentative) || has(AddressHeaderFlags::Optimistic);
    let usable = tried && !has(AddressHeaderFlags::Dadfailed);
    // IFA_ADDRESS is the other end where there are two.
    Ok(local.or(end).map(|address| {
        let address = Address {
            interface: header.index,
            address,
            prefix_length: header.prefix_len,
            peer: end.filter(|end| *end != address),
            broadcast,
        };
        (address, usable)
    }))
}

fn neighbor(body: &[u8], gone: bool) -> Result<Option<Change>, DecodeError> {
    let header = NeighbourHeader::parse(body)?;
    let family = header.family;
    // AF_BRIDGE is a forwarding table of Ethernet; a proxy entry is an address we answer for.
    if !matches!(family, AddressFamily::Inet | AddressFamily::Inet6)
        || header.flags.contains(NeighbourFlags::Proxy)
    {
        return Ok(None);
    }
    let (mut destination, mut link_address) = (None, None);
    for attribute in attributes(body, NEIGHBOR_HEADER) {
        let attribute = attribute?;
        let (libc::NDA_DST | libc::NDA_LLADDR) = attribute.kind() else {
            continue;
        };
        match NeighbourAttribute::parse_with_param(&attribute, family)? {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => {
                destination = Some(IpAddr::V4(v4));
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => {
                destination = Some(IpAddr::V6(v6));
            }
            NeighbourAttribute::LinkLayerAddress(octets) => link_address = octets.try_into().ok(),
            _ => {}
        }
    }
    // The kernel makes entries for multicast without telling, and nobody needs them.
    let Some(address) = destination.filter(|address| !address.is_multicast()) else {
        return Ok(None);
    };
    let interface = header.ifindex;
    Ok(Some(match neighbor_state(header.state) {
        Some(state) if !gone => {
            Change::Neighbor(Neighbor { interface, address, link_address, state })
        }
        _ => Change::NeighborGone { interface, address },
    }))
}

/// `None` where the entry holds nothing: `NUD_NONE`, or a state that no kernel has today.
fn neighbor_state(state: NeighbourState) -> Option<NeighborState> {
    Some(match state {
        NeighbourState::Incomplete => NeighborState::Incomplete,
        NeighbourState::Reachable => NeighborState::Reachable,
        NeighbourState::Stale => NeighborState::Stale,
        NeighbourState::Delay => NeighborState::Delay,
        NeighbourState::Probe => NeighborState::Probe,
        NeighbourState::Failed => NeighborState::Failed,
        NeighbourState::Noarp => NeighborState::NoArp,
        NeighbourState::Permanent => NeighborState::Permanent,
        _ => return None,
    })
}
