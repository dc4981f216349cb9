//! The fast path: most packets, in as few steps as it takes.
//!
//! Most packets are IPv4 without options, list addresses alone, carry UDP or TCP, and lead to neighbors
//! that are resolved and handle Xcast, or are destinations themselves. What holds for all of them needs no
//! decision: they come to the same copies and counters as on the path for all packets, which is what
//! they must come to. Whatever else there is about a packet, [`read`] or [`forward`] leaves it to
//! that path, and has changed nothing.

mod copies;

use std::net::Ipv4Addr;

use super::cache::Key;
use super::notice;
use super::output::{Output, TRANSPORT_LEN};
use super::packet::{Packet, TransportChecksum, transport_checksum};
use super::partition::Route;
use super::reason::DropReason;
use super::replica::LINK_HEADER_LEN;
use super::reverse_path_holds;
use super::scratch::Part;
use crate::fib::{Adjacency, Entry, Fib};
use crate::wire::checksum::Sum;
use crate::wire::ipv4::{self, field, protocol};
use crate::wire::{read_u16, read_u32, xcast4};
use copies::{only_copy, replicate};

/// Octets that every packet of this path has: IP header, Xcast header with one destination, and so much
/// of the transport header.
const SHORTEST: usize = ipv4::HEADER_LEN + SHORTEST_HEADER + TRANSPORT_LEN;
/// An Xcast header with one destination.
const SHORTEST_HEADER: usize = xcast4::header_len(1, false, false);

/// A packet that seems to be like most. All offsets are in its buffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plain {
    ip: usize,
    /// Where the destinations begin.
    list: usize,
    /// The transport header.
    transport: usize,
    end: usize,
    pub(super) source: u32,
    pub(super) live: u128,
    channel: u32,
    /// Of the transport header: UDP or TCP.
    protocol: u8,
    /// Where that has its checksum.
    checksum_at: usize,
}

impl Plain {
    /// The octets of the list.
    #[inline]
    pub(super) fn list<'b>(&self, buffer: &'b [u8]) -> &'b [u8] {
        &buffer[self.list..self.transport]
    }

    /// What a partition of the packet is kept by. For one destination it does not pay.
    #[inline]
    pub(super) fn key<'b>(&self, buffer: &'b [u8]) -> Option<Key<'b>> {
        if self.is_alone() {
            return None;
        }
        let header = &buffer[self.ip + ipv4::HEADER_LEN..self.transport];
        Key::new(Ipv4Addr::from_bits(self.source).into(), self.channel.into(), header)
    }

    /// Whether one destination is left.
    #[inline]
    fn is_alone(&self) -> bool {
        self.live.count_ones() == 1
    }

    /// Lets the checksum of the transport header follow a change of addresses.
    #[inline(always)]
    fn readdress(&self, transport: &mut [u8], change: Sum) {
        let Some(field) = transport.get_mut(self.checksum_at..) else { return };
        let Some(field) = field.first_chunk_mut::<2>() else { return };
        let is_udp = self.protocol == protocol::UDP;
        let old = u16::from_be_bytes(*field);
        // Over UDP, 0 says that there is none.
        if old != 0 || !is_udp {
            let new = change.word(!old).checksum();
            *field = if new == 0 && is_udp { 0xffff } else { new }.to_be_bytes();
        }
    }

    fn unicast_len(&self) -> usize {
        ipv4::HEADER_LEN + self.end - self.transport
    }

    fn xcast_len(&self) -> usize {
        self.end - self.ip
    }
}

/// Reads a packet that is like most; `None`: it is to be looked at closely.
#[inline(always)]
pub(super) fn read(fib: &Fib, packet: &Packet<'_>) -> Option<Plain> {
    let port = fib.port(packet.port?)?;
    let ip = packet.start;
    let bytes = packet.buffer.get(ip..)?;
    let first = bytes.first_chunk::<SHORTEST>()?;
    let total = usize::from(read_u16(first, field::TOTAL_LENGTH));
    let may_pass = fib.is_plain()
        && port.tunnel.is_none()
        && ip >= LINK_HEADER_LEN
        && (port.accept_group_frames || !packet.to_group);
    let ip_is_plain = first[0] == 0x45
        && first[field::PROTOCOL] == fib.code_points().ip_protocol
        && read_u16(first, field::FLAGS) & 0x3fff == 0
        && first[field::TTL] > 1
        && read_u32(first, field::DESTINATION) == fib.code_points().all_routers_v4.to_bits()
        && ipv4::is_checked(first);
    if !may_pass || !ip_is_plain || !xcast4::lists_addresses_alone(&first[ipv4::HEADER_LEN..]) {
        return None;
    }
    let payload = bytes.get(ipv4::HEADER_LEN..total)?;
    let header = match first[ipv4::HEADER_LEN..].first_chunk::<SHORTEST_HEADER>() {
        // Of this length it takes half as many steps.
        Some(header) if header[1] == 1 => xcast4::Header::parse(header).ok()?,
        _ => xcast4::Header::parse(payload).ok()?,
    };
    let (live, source) = (header.bitmap(), read_u32(first, field::SOURCE));
    let (protocol, header_len) = (header.protocol(), ipv4::HEADER_LEN + header.header_len());
    let is_known = matches!(protocol, protocol::UDP | protocol::TCP);
    if live == 0 || !is_known || is_link_local(source) || total < header_len + TRANSPORT_LEN {
        return None;
    }
    let behind = &bytes[header_len..total];
    let TransportChecksum::At(checksum_at) = transport_checksum(false, protocol, false, behind)
    else {
        return None;
    };
    let transport = ip + header_len;
    Some(Plain {
        ip,
        list: transport - 4 * header.count(),
        transport,
        end: ip + total,
        source,
        live,
        channel: header.channel(),
        protocol,
        checksum_at,
    })
}

/// Whether an address means something on its own link only.
#[inline]
pub(super) fn is_link_local(address: u32) -> bool {
    Ipv4Addr::from_bits(address).is_link_local()
}

/// Does all that is to be done for a packet; or nothing, and returns false.
#[inline]
pub(super) fn forward(
    fib: &Fib,
    packet: &mut Packet<'_>,
    plain: &Plain,
    Route { source, entries, cached }: Route<'_>,
    out: &mut Output,
) -> bool {
    let Some(id) = packet.port else { return false };
    let Some(port) = fib.port(id) else { return false };
    let came_from = *fib.entry(source);
    if came_from == Entry::Bad || !reverse_path_holds(fib, port.reverse_path, id, came_from) {
        return false;
    }
    if !out.has_room() {
        return false;
    }
    let answerable = notice::is_answerable_to(came_from);
    let lost = match (entries, cached) {
        ([only], _) => {
            let Some(part) = Part::of(fib.leads()[*only as usize], plain.live) else {
                return false;
            };
            if !suits(fib.adjacency(part.adjacency), plain, &part) {
                return false;
            }
            out.replicas.push(only_copy(fib, packet, plain, answerable, part.adjacency));
            0
        }
        _ => {
            let parts = &mut out.scratch.parts;
            match cached {
                Some(place) => parts.fill(out.cache.parts(place)),
                None if parts.sort(fib.leads(), plain.live, entries) != 0 => return false,
                None => {}
            }
            if cached.is_none() {
                let key = plain.key(packet.buffer);
                key.inspect(|key| out.cache.keep(key, source, parts));
            }
            let Output { scratch, heads, replicas, .. } = out;
            let parts = scratch.parts.all();
            let made = replicate(fib, packet, plain, answerable, parts, (heads, replicas));
            let Some(lost) = made else { return false };
            out.counters.partition_cache_hits += u64::from(cached.is_some());
            lost
        }
    };
    out.counters.received(packet.port, plain.xcast_len());
    out.counters.destinations_received += u64::from(plain.live.count_ones());
    out.counters.packets_forwarded += 1;
    if lost != 0 {
        out.drop_late(DropReason::TransmitFailed, lost);
    }
    true
}

/// Whether the copies of a part can simply be sent, to this adjacency.
#[inline(always)]
fn suits(adjacency: &Adjacency, plain: &Plain, part: &Part) -> bool {
    let length = match is_unicast(part) {
        true => plain.unicast_len(),
        false => plain.xcast_len(),
    };
    let way = adjacency.plain;
    length <= way.mtu as usize && (part.behind == 0 || way.speaks_xcast)
}

/// Whether each destination of a part has a copy of its own.
#[inline(always)]
fn is_unicast(part: &Part) -> bool {
    part.behind == 0 || (part.behind | part.direct).count_ones() == 1
}
