//! A received packet and its validation (WIRE.md R1).

use std::net::Ipv4Addr;

use super::output::TRANSPORT_LEN;
use super::reason::DropReason;
use crate::fib::{Entry, EntryId, Fib, PortId};
use crate::wire::ipv4::{self, protocol};
use crate::wire::xcast4;

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
#[derive(Clone, Copy, Debug)]
pub(super) struct Parsed {
    pub(super) ip: usize,
    pub(super) xcast: usize,
    pub(super) transport: usize,
    /// Where the tail begins that replicas share.
    pub(super) tail: usize,
    pub(super) end: usize,
    pub(super) source: Ipv4Addr,
    /// Where a packet to the source would go.
    pub(super) source_entry: EntryId,
    pub(super) destination: Ipv4Addr,
    pub(super) ttl: u8,
    pub(super) live: u128,
    pub(super) channel: u32,
    pub(super) keeps_xcast: bool,
    pub(super) has_ports: bool,
    pub(super) has_ds_bytes: bool,
    /// Protocol behind the Xcast header.
    pub(super) protocol: u8,
}

impl Parsed {
    /// The length of the IP packet as it is.
    pub(super) fn xcast_len(&self) -> usize {
        self.end - self.ip
    }

    /// The length of the IP packet without its Xcast header.
    pub(super) fn unicast_len(&self) -> usize {
        self.xcast_len() - (self.transport - self.xcast)
    }

    /// Where the transport header has its checksum over the IP addresses, if it has one; an
    /// error if the packet cannot become unicast (WIRE.md R7).
    pub(super) fn transport_checksum(&self) -> Result<Option<usize>, DropReason> {
        let (needed, at) = match self.protocol {
            protocol::UDP | protocol::UDP_LITE | protocol::DCCP => (8, Some(6)),
            protocol::TCP => (20, Some(16)),
            protocol::AH | protocol::ESP => return Err(DropReason::X2uImpossible),
            _ if self.has_ports => return Err(DropReason::X2uImpossible),
            _ => (0, None),
        };
        match self.end - self.transport >= needed {
            true => Ok(at),
            false => Err(DropReason::X2uImpossible),
        }
    }

    /// Whether the packet is an ICMP echo request.
    pub(super) fn is_icmp_echo(&self, buffer: &[u8]) -> bool {
        const ECHO_REQUEST: u8 = 8;
        self.protocol == protocol::ICMP
            && buffer[self.transport..self.end].first() == Some(&ECHO_REQUEST)
    }
}

/// Step 1 of the flow: what must hold before the list of destinations can be trusted, in the
/// order of the reasons.
pub(super) fn parse(fib: &Fib, packet: &Packet<'_>) -> Result<Parsed, DropReason> {
    let bytes = packet.buffer.get(packet.start..).unwrap_or_default();
    let ip = ipv4::Packet::parse(bytes).map_err(|_| DropReason::IpHeader)?;
    if ip.protocol() != fib.code_points().ip_protocol {
        return Err(DropReason::IpHeader);
    }
    if ip.is_fragment() {
        return Err(DropReason::Fragment);
    }
    let source_entry = fib.lookup(ip.source());
    if *fib.entry(source_entry) == Entry::Bad {
        return Err(DropReason::Source);
    }
    let header = xcast4::Header::parse(ip.payload())?;
    let live = header.bitmap();
    if live == 0 {
        return Err(DropReason::NoLiveDestination);
    }
    if ip.source().is_link_local() && !all_on_link(fib, packet.port, &header) {
        return Err(DropReason::Source);
    }
    let xcast = packet.start + ip.header_len();
    let transport = xcast + header.header_len();
    let end = packet.start + ip.total_len();
    Ok(Parsed {
        ip: packet.start,
        xcast,
        transport,
        tail: end.min(transport + TRANSPORT_LEN),
        end,
        source: ip.source(),
        source_entry,
        destination: ip.destination(),
        ttl: ip.ttl(),
        live,
        channel: header.channel(),
        keeps_xcast: header.keeps_xcast(),
        has_ports: header.has_ports(),
        has_ds_bytes: header.has_ds_bytes(),
        protocol: header.protocol(),
    })
}

/// Whether every live destination is on the link the packet came in by, or is this node.
fn all_on_link(fib: &Fib, port: Option<PortId>, header: &xcast4::Header<'_>) -> bool {
    let Some(port) = port else { return true };
    xcast4::live_indices(header.bitmap()).all(|index| {
        match fib.entry(fib.lookup(header.destination(index))) {
            Entry::Local => true,
            Entry::OnLink(on) => *on == port,
            Entry::Neighbor(adjacency) => fib.adjacency(*adjacency).port == port,
            _ => false,
        }
    })
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
