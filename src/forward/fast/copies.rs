//! The copies of the fast path: each has of its own what differs, and shares the rest of the received
//! packet.

use super::{Plain, is_unicast, suits};
use crate::fib::{AdjacencyId, Fib, Rewrite};
use crate::forward::output::{Heads, TRANSPORT_LEN};
use crate::forward::packet::Packet;
use crate::forward::replica::{Form, LINK_HEADER_LEN, Replica, Span, Target};
use crate::forward::rewrite::Made;
use crate::forward::scratch::Part;
use crate::wire::checksum::Sum;
use crate::wire::ipv4::{self, Readdressing, field};
use crate::wire::xcast4::{self, bit};
use crate::wire::{Pruning, read_u32};

/// What a unicast copy has of its own.
const UNICAST_LEN: usize = HEADERS_LEN + TRANSPORT_LEN;
/// What is in front of the transport header of a unicast copy.
const HEADERS_LEN: usize = LINK_HEADER_LEN + ipv4::HEADER_LEN;
/// The longest that a copy in Xcast form has of its own: what is in front of the list.
const FRONT_LEN_MAX: usize = LINK_HEADER_LEN + ipv4::HEADER_LEN + xcast4::FIXED_LEN + 16;

const _: () = assert!(LINK_HEADER_LEN + super::SHORTEST >= FRONT_LEN_MAX);

/// Makes the copy of a packet with one destination left, in the received buffer.
#[inline(always)]
pub(super) fn only_copy(
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
/// for the last one, which is made in the received buffer. Returns those for which there was no room;
/// `None`: some cannot simply be sent, and nothing has changed.
#[inline(always)]
pub(super) fn replicate(
    fib: &Fib,
    packet: &mut Packet<'_>,
    plain: &Plain,
    answerable: bool,
    parts: impl ExactSizeIterator<Item = Part>,
    (heads, replicas): (&mut Heads, &mut Vec<Replica>),
) -> Option<u128> {
    let copies = Copies::new(packet.buffer, plain);
    let before = (heads.used(), replicas.len());
    let (mut parts_left, mut list_is_shared, mut lost) = (parts.len(), false, 0);
    for part in parts {
        parts_left -= 1;
        let adjacency = fib.adjacency(part.adjacency);
        if !suits(adjacency, plain, &part) {
            heads.give_back(before.0);
            replicas.truncate(before.1);
            return None;
        }
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
    Some(lost)
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
        // As many octets as the longest has are there in any case.
        let (made, octets) = match in_place {
            true => (Made::in_place(start, plain.end), &mut buffer[start..][..FRONT_LEN_MAX]),
            false => {
                let (head, octets) = heads.take(FRONT_LEN_MAX)?;
                octets.copy_from_slice(&buffer[start..][..FRONT_LEN_MAX]);
                let head = Span { len: (plain.list - start) as u32, ..head };
                (Made { in_place: false, head, tail: Span::new(plain.list, plain.end) }, octets)
            }
        };
        self.pruning.apply_wide(self.forwarded(octets, rewrite), live);
        Some(made)
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
