//! The fast path: most packets, in as few steps as it takes.
//!
//! Most packets are IPv4 without options, list addresses alone, carry UDP or TCP, and lead to neighbors
//! that are resolved and handle Xcast, or are destinations themselves. What holds for all of them needs no
//! decision: they come to the same copies and counters as on the path for all packets, which is what
//! they must come to. Whatever else there is about a packet, [`read`] or [`forward`] leaves it to
//! that path, and has changed nothing.

use std::net::Ipv4Addr;

use super::cache::Key;
use super::notice;
use super::output::{Heads, Output, TRANSPORT_LEN};
use super::packet::{Packet, TransportChecksum, transport_checksum};
use super::partition::Route;
use super::reason::DropReason;
use super::replica::{Form, LINK_HEADER_LEN, Replica, Span, Target};
use super::reverse_path_holds;
use super::rewrite::Made;
use super::scratch::Part;
use crate::fib::{AdjacencyId, Entry, Fib, Rewrite};
use crate::wire::checksum::Sum;
use crate::wire::ipv4::{self, Readdressing, field, protocol};
use crate::wire::xcast4::{self, bit};
use crate::wire::{Pruning, read_u16, read_u32};

/// Octets that every packet of this path has: IP header, Xcast header with one destination, and so much
/// of the transport header.
const SHORTEST: usize = ipv4::HEADER_LEN + SHORTEST_HEADER + TRANSPORT_LEN;
/// An Xcast header with one destination.
const SHORTEST_HEADER: usize = xcast4::header_len(1, false, false);
/// What a unicast copy has of its own.
const UNICAST_LEN: usize = HEADERS_LEN + TRANSPORT_LEN;
/// What is in front of the transport header of a unicast copy.
const HEADERS_LEN: usize = LINK_HEADER_LEN + ipv4::HEADER_LEN;
/// The longest that a copy in Xcast form has of its own: what is in front of the list.
const FRONT_LEN_MAX: usize = LINK_HEADER_LEN + ipv4::HEADER_LEN + xcast4::FIXED_LEN + 16;

const _: () = assert!(LINK_HEADER_LEN + SHORTEST >= FRONT_LEN_MAX);

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
            if !suits(fib, plain, &part) {
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
            if !parts.all().all(|part| suits(fib, plain, &part)) {
                return false;
            }
            match cached {
                Some(_) => out.counters.partition_cache_hits += 1,
                None => {
                    let key = plain.key(packet.buffer);
                    key.inspect(|key| out.cache.keep(key, source, parts));
                }
            }
            let Output { scratch, heads, replicas, .. } = out;
            let parts = scratch.parts.all();
            replicate(fib, packet, plain, answerable, parts, (heads, replicas))
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

/// Whether the copies of a part can simply be sent.
#[inline(always)]
fn suits(fib: &Fib, plain: &Plain, part: &Part) -> bool {
    let adjacency = fib.adjacency(part.adjacency);
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

/// Makes the copy of a packet with one destination left, in the received buffer.
#[inline(always)]
fn only_copy(
    fib: &Fib,
    packet: &mut Packet<'_>,
    plain: &Plain,
    answerable: bool,
    id: AdjacencyId,
) -> Replica {
    let adjacency = fib.adjacency(id);
    adjacency.mark_used();
    let buffer = &mut *packet.buffer;
    let place = plain.live.leading_zeros() as usize;
    let address = read_u32(buffer, plain.list + 4 * place);
    let start = plain.transport - HEADERS_LEN;
    let mut ip = [0; ipv4::HEADER_LEN];
    ip.copy_from_slice(&buffer[plain.ip..][..ipv4::HEADER_LEN]);
    let group = read_u32(&ip, field::DESTINATION);
    let (length, ttl) = (plain.unicast_len() as u16, ip[field::TTL] - 1);
    Readdressing::new(&ip, length, ttl, plain.protocol).apply(&mut ip, address.into());
    if let Some((head, transport)) = buffer[start..plain.end].split_first_chunk_mut::<HEADERS_LEN>()
    {
        let (link, header) = head.split_at_mut(LINK_HEADER_LEN);
        link.copy_from_slice(&adjacency.plain.rewrite);
        header.copy_from_slice(&ip);
        plain.readdress(transport, Sum::default().double(!group).double(address));
    }
    let Made { in_place, head, tail } = Made::in_place(start, plain.end);
    Replica {
        packet: packet.index,
        target: Target::Port(adjacency.port),
        adjacency: Some(id),
        form: Form::Unicast,
        live: plain.live,
        answerable,
        in_place,
        head,
        tail,
    }
}

/// Makes the copies: each has of its own what differs, and shares the rest of the received packet, but
/// for the last one, which is made in the received buffer. Returns those for which there was no room.
#[inline(always)]
fn replicate(
    fib: &Fib,
    packet: &mut Packet<'_>,
    plain: &Plain,
    answerable: bool,
    parts: impl ExactSizeIterator<Item = Part>,
    (heads, replicas): (&mut Heads, &mut Vec<Replica>),
) -> u128 {
    let copies = Copies::new(packet.buffer, plain);
    let (mut parts_left, mut list_is_shared, mut lost) = (parts.len(), false, 0);
    for part in parts {
        parts_left -= 1;
        let adjacency = fib.adjacency(part.adjacency);
        adjacency.mark_used();
        let rewrite = &adjacency.plain.rewrite;
        let replica = Replica {
            packet: packet.index,
            target: Target::Port(adjacency.port),
            adjacency: Some(part.adjacency),
            form: Form::Unicast,
            live: 0,
            answerable,
            in_place: false,
            head: Span::default(),
            tail: Span::default(),
        };
        let mut keep = |form, live, made: Option<Made>| match made {
            Some(Made { in_place, head, tail }) => {
                replicas.push(Replica { form, live, in_place, head, tail, ..replica });
            }
            None => lost |= live,
        };
        let mut rest = part.behind | part.direct;
        if !is_unicast(&part) {
            let is_last = parts_left == 0;
            keep(Form::Xcast, rest, copies.xcast(rest, rewrite, is_last, packet.buffer, heads));
            list_is_shared = true;
            continue;
        }
        while rest != 0 {
            let place = rest.leading_zeros() as usize;
            let one = if rest.count_ones() == 1 { rest } else { bit(place) };
            rest ^= one;
            // In place it would lie over the list.
            let is_last = parts_left == 0 && rest == 0 && !list_is_shared;
            keep(Form::Unicast, one, copies.unicast(place, rewrite, is_last, packet.buffer, heads));
        }
    }
    lost
}

/// What the copies of a packet have in common.
struct Copies<'a> {
    plain: &'a Plain,
    /// The IP header, and the start of the transport header.
    start: [u8; ipv4::HEADER_LEN + TRANSPORT_LEN],
    /// Of unicast copies.
    readdressing: Readdressing,
    /// Takes the destination out of the transport header's checksum.
    without_group: Sum,
    /// Of copies in Xcast form: what the octets from the TTL to the checksum become.
    lowered: [u8; 4],
    pruning: Pruning,
}

impl Copies<'_> {
    #[inline(always)]
    fn new<'a>(buffer: &[u8], plain: &'a Plain) -> Copies<'a> {
        let mut start = [0; ipv4::HEADER_LEN + TRANSPORT_LEN];
        let (ip, transport) = start.split_at_mut(ipv4::HEADER_LEN);
        ip.copy_from_slice(&buffer[plain.ip..][..ipv4::HEADER_LEN]);
        transport.copy_from_slice(&buffer[plain.transport..][..TRANSPORT_LEN]);
        let (length, ttl) = (plain.unicast_len() as u16, ip[field::TTL] - 1);
        let group = read_u32(ip, field::DESTINATION);
        Copies {
            plain,
            readdressing: Readdressing::new(ip, length, ttl, plain.protocol),
            without_group: Sum::default().double(!group),
            lowered: ipv4::lowered(ip),
            pruning: xcast4::pruning(&buffer[plain.ip + ipv4::HEADER_LEN..], plain.live),
            start,
        }
    }

    /// A unicast copy for destination `place` of the list.
    #[inline(always)]
    fn unicast(
        &self,
        place: usize,
        rewrite: &Rewrite,
        in_place: bool,
        buffer: &mut [u8],
        heads: &mut Heads,
    ) -> Option<Made> {
        let plain = self.plain;
        let address = read_u32(buffer, plain.list + 4 * place);
        let (made, head) = match in_place {
            true => {
                let start = plain.transport + TRANSPORT_LEN - UNICAST_LEN;
                (Made::in_place(start, plain.end), &mut buffer[start..])
            }
            false => {
                let (head, octets) = heads.take(UNICAST_LEN)?;
                let tail = Span::new(plain.transport + TRANSPORT_LEN, plain.end);
                (Made { in_place: false, head, tail }, octets)
            }
        };
        let head = head.first_chunk_mut::<UNICAST_LEN>()?;
        let (link, rest) = head.split_at_mut(LINK_HEADER_LEN);
        link.copy_from_slice(rewrite);
        rest.copy_from_slice(&self.start);
        self.readdressing.apply(rest, address.into());
        plain.readdress(&mut rest[ipv4::HEADER_LEN..], self.without_group.double(address));
        Some(made)
    }

    /// A copy in Xcast form for the destinations `live`. The list is that of the packet, whichever are
    /// live.
    #[inline(always)]
    fn xcast(
        &self,
        live: u128,
        rewrite: &Rewrite,
        in_place: bool,
        buffer: &mut [u8],
        heads: &mut Heads,
    ) -> Option<Made> {
        let plain = self.plain;
        let start = plain.ip - LINK_HEADER_LEN;
        if in_place {
            let xcast = self.forwarded(&mut buffer[start..plain.list], rewrite);
            self.pruning.apply(xcast, live);
            return Some(Made::in_place(start, plain.end));
        }
        // As many octets as the longest has are there in any case.
        let (head, octets) = heads.take(FRONT_LEN_MAX)?;
        octets.copy_from_slice(&buffer[start..][..FRONT_LEN_MAX]);
        self.pruning.apply_wide(self.forwarded(octets, rewrite), live);
        let head = Span { len: (plain.list - start) as u32, ..head };
        Some(Made { in_place: false, head, tail: Span::new(plain.list, plain.end) })
    }

    /// Completes what is in front of the Xcast header of a copy, which it returns.
    #[inline(always)]
    fn forwarded<'h>(&self, head: &'h mut [u8], rewrite: &Rewrite) -> &'h mut [u8] {
        let (link, rest) = head.split_at_mut(LINK_HEADER_LEN);
        let (ip, xcast) = rest.split_at_mut(ipv4::HEADER_LEN);
        link.copy_from_slice(rewrite);
        ip[field::TTL..][..4].copy_from_slice(&self.lowered);
        xcast
    }
}
