//! A received packet and its validation (WIRE.md R1). What depends on the IP version stands in
//! `v4` and `v6`; both come to a [`Parsed`], which says where everything is.

mod v4;
mod v6;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(super) use v6::EXTENSIONS_LEN_MAX;

use super::cache::Key;
use super::output::TRANSPORT_LEN;
use super::reason::DropReason;
use crate::fib::{Entry, Fib, PortId, mix};
use crate::wire::ipv4::protocol;
use crate::wire::ipv6::next_header;
use crate::wire::{ipv6, read_address, read_u16, xcast4};

/// A packet that is to be processed. Its buffer is changed: the last replica is made in it.
pub struct Packet<'a> {
    /// The buffer it lies in. Where the IP packet begins at octet 14 or later, all of it can be
    /// made in place.
    pub buffer: &'a mut [u8],
    /// Where the IP packet begins.
    pub start: usize,
    /// The port it came in by; `None` if this node itself sends it.
    pub port: Option<PortId>,
    /// The frame was sent to the group's link-layer address, not to this port's own.
    pub to_group: bool,
    /// The index that its replicas will bear.
    pub index: u16,
}

/// What a valid packet says, and where. All offsets are in the buffer.
#[derive(Clone, Debug)]
pub(super) struct Parsed {
    /// Where the envelope begins that it came in; where it has none, as `ip`.
    pub(super) outer: usize,
    pub(super) ip: usize,
    /// The octet that names the Xcast header's protocol.
    pub(super) protocol_at: usize,
    pub(super) xcast: usize,
    pub(super) xcast_end: usize,
    /// Where a unicast copy goes on: behind the Xcast header, and behind an IPv6 header that holds
    /// nothing but ports.
    pub(super) rest: usize,
    /// The protocol of what is there.
    pub(super) rest_protocol: u8,
    /// A list of ports among other options, with the padding around it: where it begins and its
    /// length. In a unicast copy less than 8 octets of padding are left of it, so that other options
    /// stay aligned; hosts may refuse longer padding (RFC 4942 section 2.1.9.5).
    pub(super) ports_run: Option<(usize, usize)>,
    pub(super) transport: usize,
    /// Where the tail begins that replicas share.
    pub(super) tail: usize,
    pub(super) end: usize,
    pub(super) source: IpAddr,
    /// Where a packet to the source would go; found out after the packet was parsed.
    pub(super) source_entry: Entry,
    pub(super) destination: IpAddr,
    /// That of the envelope, where there is one.
    pub(super) ttl: u8,
    /// Whether routers on the way may fragment unicast copies.
    pub(super) may_fragment: bool,
    /// How many destinations are listed, live or not.
    pub(super) count: usize,
    pub(super) live: u128,
    /// Some live destination is of 169.254.0.0/16; found out with `source_entry`.
    pub(super) any_link_local: bool,
    pub(super) channel: u128,
    pub(super) keeps_xcast: bool,
    pub(super) lists: Lists,
    /// Protocol of the transport header, or of what hides it.
    pub(super) protocol: u8,
    pub(super) checksum: TransportChecksum,
}

/// Where the lists begin that have an item for each destination.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lists {
    pub(super) addresses: usize,
    pub(super) ds_bytes: Option<usize>,
    pub(super) ports: Option<usize>,
}

/// How the transport header follows a change of address and port (WIRE.md R7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TransportChecksum {
    /// It has none over addresses.
    None,
    /// It is at this offset of the transport header.
    At(usize),
    /// It cannot follow, so the packet cannot become unicast.
    Impossible,
}

impl Parsed {
    /// What stands where no packet was parsed yet.
    pub(super) const NOTHING: Parsed = Parsed {
        outer: 0,
        ip: 0,
        protocol_at: 0,
        xcast: 0,
        xcast_end: 0,
        rest: 0,
        rest_protocol: 0,
        ports_run: None,
        transport: 0,
        tail: 0,
        end: 0,
        source: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        source_entry: Entry::NoRoute,
        destination: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        ttl: 0,
        may_fragment: false,
        count: 0,
        live: 0,
        any_link_local: false,
        channel: 0,
        keeps_xcast: false,
        lists: Lists { addresses: 0, ds_bytes: None, ports: None },
        protocol: 0,
        checksum: TransportChecksum::None,
    };

    /// Whether it is a packet of IPv6.
    #[inline]
    pub(super) fn is_v6(&self) -> bool {
        self.source.is_ipv6()
    }

    /// Whether it came in the envelope of a semi-permeable tunnel.
    #[inline]
    pub(super) fn is_enveloped(&self) -> bool {
        self.outer != self.ip
    }

    /// To whom the envelope is addressed that it came in.
    pub(super) fn outer_destination(&self, buffer: &[u8]) -> Ipv6Addr {
        read_address(buffer, self.outer + ipv6::field::DESTINATION)
    }

    /// The length of what came, an envelope included.
    pub(super) fn received_len(&self) -> usize {
        self.end - self.outer
    }

    /// The length of the IP packet as it is.
    pub(super) fn xcast_len(&self) -> usize {
        self.end - self.ip
    }

    /// The length of the IP packet without its Xcast header.
    pub(super) fn unicast_len(&self) -> usize {
        self.xcast_len() - (self.rest - self.xcast) - self.ports_gain()
    }

    /// How many octets of a Destination Options header a unicast copy does without.
    pub(super) fn ports_gain(&self) -> usize {
        self.ports_run.map_or(0, |(_, length)| length - length % 8)
    }

    /// Destination `index` of the list.
    #[inline]
    pub(super) fn address(&self, buffer: &[u8], index: usize) -> IpAddr {
        match self.is_v6() {
            true => self.address_v6(buffer, index).into(),
            false => self.address_v4(buffer, index).into(),
        }
    }

    #[inline]
    pub(super) fn address_v4(&self, buffer: &[u8], index: usize) -> Ipv4Addr {
        let octets = buffer[self.lists.addresses + 4 * index..].first_chunk::<4>();
        octets.map_or(Ipv4Addr::UNSPECIFIED, |octets| (*octets).into())
    }

    #[inline]
    pub(super) fn address_v6(&self, buffer: &[u8], index: usize) -> Ipv6Addr {
        let octets = buffer[self.lists.addresses + 16 * index..].first_chunk::<16>();
        octets.map_or(Ipv6Addr::UNSPECIFIED, |octets| (*octets).into())
    }

    /// The DS byte of destination `index`, if D.
    pub(super) fn ds_byte(&self, buffer: &[u8], index: usize) -> Option<u8> {
        self.lists.ds_bytes.map(|at| buffer[at + index])
    }

    /// The port of destination `index`, if P.
    pub(super) fn port(&self, buffer: &[u8], index: usize) -> Option<u16> {
        self.lists.ports.map(|at| read_u16(buffer, at + 2 * index))
    }

    /// The transport header and what follows.
    pub(super) fn transport<'a>(&self, buffer: &'a [u8]) -> &'a [u8] {
        &buffer[self.transport..self.end]
    }

    /// The same for all packets of a source's channel.
    pub(super) fn flow(&self) -> u64 {
        flow(self.source, self.channel)
    }

    /// What a partition of the packet is kept by, where it may be.
    #[inline]
    pub(super) fn key<'b>(&self, buffer: &'b [u8]) -> Option<Key<'b>> {
        let header = &buffer[self.xcast..self.xcast_end];
        Key::new(self.source, self.channel, header).filter(|_| !self.is_enveloped())
    }

    /// Whether the packet is an ICMP echo request.
    pub(super) fn is_icmp_echo(&self, buffer: &[u8]) -> bool {
        let kind = self.transport(buffer).first();
        match self.protocol {
            protocol::ICMP => kind == Some(&8),
            next_header::ICMPV6 => kind == Some(&128),
            _ => false,
        }
    }

    /// Whether the packet is an ICMP error, which is never answered by another (R12).
    pub(super) fn is_icmp_error(&self, buffer: &[u8]) -> bool {
        let kind = self.transport(buffer).first();
        match self.protocol {
            protocol::ICMP => kind.is_none_or(|kind| matches!(kind, 3 | 4 | 5 | 11 | 12)),
            next_header::ICMPV6 => kind.is_none_or(|kind| *kind < 128),
            _ => false,
        }
    }
}

/// The same for all packets of a source's channel.
#[inline]
pub(super) fn flow(source: IpAddr, channel: u128) -> u64 {
    let channel = (channel ^ channel >> 64) as u64;
    match source {
        IpAddr::V4(source) => mix(u64::from(source.to_bits()) << 32 | channel),
        IpAddr::V6(source) => {
            let source = source.to_bits();
            mix(mix((source >> 64) as u64) ^ mix(source as u64 ^ channel.rotate_left(32)))
        }
    }
}

/// Why a packet cannot be read. Its source counts before what is wrong behind its IP header.
pub(super) struct Unread {
    reason: DropReason,
    source: Option<IpAddr>,
}

impl Unread {
    /// The reason that counts.
    pub(super) fn reason(&self, fib: &Fib, packet: &Packet<'_>) -> DropReason {
        match self.source.map(|source| fib.entry_for(source, packet.port)) {
            Some(Entry::Bad) => DropReason::Source,
            _ => self.reason,
        }
    }
}

impl From<DropReason> for Unread {
    fn from(reason: DropReason) -> Unread {
        Unread { reason, source: None }
    }
}

/// What must hold before the list of destinations can be trusted, in the order of the reasons, but
/// for what the source leads to. `parsed` receives what the packet says, if it can be read.
#[inline]
pub(super) fn parse(fib: &Fib, packet: &Packet<'_>, parsed: &mut Parsed) -> Result<(), Unread> {
    let bytes = packet.buffer.get(packet.start..).unwrap_or_default();
    match bytes.first().map(|first| first >> 4) {
        Some(4) => v4::parse(fib, packet, bytes, parsed)?,
        Some(6) => *parsed = v6::parse(fib, packet, bytes)?,
        _ => return Err(DropReason::IpHeader.into()),
    }
    match parsed.live {
        0 => Err(Unread { reason: DropReason::NoLiveDestination, source: Some(parsed.source) }),
        _ => Ok(()),
    }
}

impl Parsed {
    /// Whether every live destination is on the link the packet came in by, or is this node.
    pub(super) fn all_on_link(&self, fib: &Fib, packet: &Packet<'_>) -> bool {
        let Some(port) = packet.port else { return true };
        xcast4::live_indices(self.live).all(|index| {
            match fib.entry_for(self.address(packet.buffer, index), Some(port)) {
                Entry::Local => true,
                Entry::OnLink(on) => on == port,
                Entry::Neighbor(adjacency) => fib.adjacency(adjacency).port == port,
                _ => false,
            }
        })
    }
}

/// How the transport header at the start of `transport` follows a change of addresses.
#[inline(always)]
pub(super) fn transport_checksum(
    is_v6: bool,
    protocol: u8,
    has_ports: bool,
    transport: &[u8],
) -> TransportChecksum {
    let (needed, at) = match protocol {
        protocol::UDP | protocol::UDP_LITE | protocol::DCCP => (8, 6),
        protocol::TCP => (TRANSPORT_LEN, 16),
        protocol::AH | protocol::ESP => return TransportChecksum::Impossible,
        _ if has_ports => return TransportChecksum::Impossible,
        next_header::ICMPV6 if is_v6 => (4, 2),
        _ => return TransportChecksum::None,
    };
    // Over IPv6 a datagram must have a checksum (RFC 8200 section 8.1).
    let lacks = |at| is_v6 && protocol == protocol::UDP && read_u16(transport, at) == 0;
    match transport.len() >= needed && !lacks(at) {
        true => TransportChecksum::At(at),
        false => TransportChecksum::Impossible,
    }
}

impl From<xcast4::Malformed> for DropReason {
    fn from(malformed: xcast4::Malformed) -> DropReason {
        match malformed {
            xcast4::Malformed::Version => DropReason::Version,
            xcast4::Malformed::Length => DropReason::Length,
            xcast4::Malformed::Checksum => DropReason::Checksum,
            xcast4::Malformed::NoDestination => DropReason::NoDestination,
            xcast4::Malformed::SpareBits => DropReason::SpareBits,
        }
    }
}
