//! Making copies of one Xcast packet: in Xcast form with a pruned list, or as plain unicast
//! packets (X2U, WIRE.md R7).
//!
//! A copy's head is laid out either in the output's room for heads ([`Maker::copy`]) or around the
//! received packet itself ([`Maker::in_place`]), and then finished by the same functions. To become
//! unicast in place, the IP header moves up to what follows, over the Xcast header. What all
//! copies share is computed once.

use std::net::IpAddr;

use super::output::{Heads, TRANSPORT_LEN, unresolved_rewrite};
use super::packet::{Packet, Parsed, TransportChecksum};
use super::replica::{LINK_HEADER_LEN, Span, Target};
use super::scratch::{Forms, Plan, Travels, Way};
use crate::fib::Fib;
use crate::wire::checksum::Sum;
use crate::wire::ipv4::{self, Readdressing, protocol};
use crate::wire::semi_permeable::{self, Envelope};
use crate::wire::{Pruning, ethernet, ipv6, read_address, read_u16, tunnel, xcast4, xcast6};

/// Where a replica's bytes are.
pub(super) struct Made {
    /// The head is in the packet's buffer, else in the output.
    pub(super) in_place: bool,
    pub(super) head: Span,
    pub(super) tail: Span,
}

/// Makes the copies of one packet; holds what they have in common.
pub(super) struct Maker<'a> {
    fib: &'a Fib,
    parsed: &'a Parsed,
    is_v6: bool,
    /// The TTL falls where a packet is forwarded, not where it starts or ends (R3, R4).
    forwards: bool,
    pruning: Pruning,
    /// What the octets from the TTL to the checksum of an IPv4 header become.
    lowered: [u8; 4],
    /// Of unicast copies that are forwarded over IPv4.
    readdressing: Readdressing,
    /// Takes the address that came out of a checksum.
    without_group: Sum,
}

/// What the lists say of the only destination of a unicast copy; taken before they may be
/// overwritten.
struct Only {
    address: IpAddr,
    port: Option<u16>,
    ds_byte: Option<u8>,
}

impl Only {
    #[inline]
    fn of(buffer: &[u8], parsed: &Parsed, live: u128) -> Only {
        let index = live.leading_zeros() as usize;
        Only {
            address: parsed.address(buffer, index),
            port: parsed.port(buffer, index),
            ds_byte: parsed.ds_byte(buffer, index),
        }
    }
}

impl Made {
    /// In the packet's buffer, all in one piece.
    pub(super) fn in_place(start: usize, end: usize) -> Made {
        Made { in_place: true, head: Span::new(start, end), tail: Span::default() }
    }
}

impl<'a> Maker<'a> {
    #[inline(always)]
    pub(super) fn new(
        fib: &'a Fib,
        packet: &Packet<'_>,
        parsed: &'a Parsed,
        forms: Forms,
    ) -> Maker<'a> {
        let (ip, list) = (&packet.buffer[parsed.ip..], &packet.buffer[parsed.xcast..]);
        let is_v6 = parsed.is_v6();
        let mut maker = Maker {
            fib,
            parsed,
            is_v6,
            forwards: packet.port.is_some(),
            pruning: Pruning::default(),
            lowered: [0; 4],
            readdressing: Readdressing::default(),
            without_group: Sum::default(),
        };
        if forms.xcast {
            maker.pruning = match is_v6 {
                true => xcast6::pruning(list, parsed.live),
                false => xcast4::pruning(list, parsed.live),
            };
            maker.lowered = if is_v6 { [0; 4] } else { ipv4::lowered(ip) };
        }
        if forms.unicast {
            let (length, ttl) = (parsed.unicast_len() as u16, parsed.ttl.wrapping_sub(1));
            if !is_v6 {
                maker.readdressing = Readdressing::new(ip, length, ttl, parsed.rest_protocol);
            }
            maker.without_group = Sum::default().address(parsed.destination).negated();
        }
        maker
    }

    /// Where a planned copy goes, that came in the packet in `buffer`.
    #[inline]
    pub(super) fn target(&self, plan: &Plan, packet: &Packet<'_>) -> Target {
        match plan.way {
            Way::Adjacency(id) => {
                let adjacency = self.fib.adjacency(id);
                let (port, address) = (adjacency.port, adjacency.address);
                match adjacency.rewrite {
                    Some(_) => Target::Port(port),
                    None => Target::Neighbor { port, address },
                }
            }
            Way::OnLink(port) => {
                let index = plan.live.leading_zeros() as usize;
                Target::Neighbor { port, address: self.parsed.address(packet.buffer, index) }
            }
            Way::Host => Target::Host { from: packet.port },
        }
    }

    /// Makes a copy in Xcast form that is addressed otherwise than its packet; it has a head of its own.
    #[cold]
    #[inline(never)]
    pub(super) fn readdressed(
        &self,
        plan: &Plan,
        buffer: &[u8],
        heads: &mut Heads,
    ) -> Option<Made> {
        let parsed = self.parsed;
        let plain = Plan { travels: Travels::Plainly, ..*plan };
        let to = match plan.travels {
            Travels::Plainly => return self.copy_apart(plan, buffer, heads),
            Travels::Unopened => {
                let (span, head) = heads.take(LINK_HEADER_LEN + parsed.tail - parsed.outer)?;
                let (link, ip) = head.split_at_mut(LINK_HEADER_LEN);
                link.copy_from_slice(&self.link_header(plan));
                ip.copy_from_slice(&buffer[parsed.outer..parsed.tail]);
                ipv6::decrement_hop_limit(ip);
                let tail = Span::new(parsed.tail, parsed.end);
                return Some(Made { in_place: false, head: span, tail });
            }
            Travels::Enveloped { hop_limit } => {
                // The head of the packet in it is taken right behind.
                let (front, _) = heads.take(semi_permeable::OVERHEAD)?;
                let made = self.copy_apart(&plain, buffer, heads)?;
                let head = Span { len: front.len + made.head.len, ..front };
                let inner_len = (made.head.len + made.tail.len) as usize - LINK_HEADER_LEN;
                let envelope = self.envelope(plan, buffer, hop_limit);
                self.put_in(heads.of(head), plan, envelope, inner_len);
                return Some(Made { head, ..made });
            }
            Travels::ToGroup => match self.is_v6 {
                true => self.fib.code_points().all_routers_v6.into(),
                false => self.fib.code_points().all_routers_v4.into(),
            },
            Travels::ToService(id) => self.fib.adjacency(id).address,
        };
        let made = self.copy_apart(&plain, buffer, heads)?;
        let gain = if plan.compact { compact_gain(parsed, plan.live) } else { 0 };
        let ip = &mut heads.of(made.head)[LINK_HEADER_LEN..];
        match to {
            IpAddr::V4(to) => ipv4::set_destination(ip, to),
            IpAddr::V6(to) => ip[ipv6::field::DESTINATION..][..16].copy_from_slice(&to.octets()),
        }
        let change = Sum::default().address(parsed.destination).negated().address(to);
        self.to_port(&mut ip[parsed.transport - parsed.ip - gain..], None, change);
        Some(made)
    }

    /// The envelope of a copy: from whom it came in one, or else from its sender.
    fn envelope(&self, plan: &Plan, buffer: &[u8], hop_limit: u8) -> Envelope {
        let outer = if self.parsed.is_enveloped() { self.parsed.outer } else { self.parsed.ip };
        let destination = self.parsed.address_v6(buffer, plan.live.leading_zeros() as usize);
        let source = read_address(buffer, outer + ipv6::field::SOURCE);
        Envelope { source, destination, hop_limit, traffic_class: 0 }
    }

    /// Puts a packet, whose head is laid out as if it were alone, into an envelope.
    fn put_in(&self, head: &mut [u8], plan: &Plan, envelope: Envelope, inner_len: usize) {
        let (front, inner) = head.split_at_mut(LINK_HEADER_LEN + semi_permeable::OVERHEAD);
        let (link, outer) = front.split_at_mut(LINK_HEADER_LEN);
        link.copy_from_slice(&self.link_header(plan));
        let envelope = Envelope { traffic_class: tunnel::traffic_class(inner), ..envelope };
        envelope.emit(self.fib.code_points().hop_by_hop_option, inner_len, outer);
    }

    /// Where a copy goes that is addressed otherwise: on its link, to whom it is addressed.
    pub(super) fn readdressed_target(&self, plan: &Plan, packet: &Packet<'_>) -> Target {
        let address = match plan.travels {
            Travels::ToService(id) => Some(self.fib.adjacency(id).address),
            Travels::Unopened => Some(self.parsed.outer_destination(packet.buffer).into()),
            _ => None,
        };
        match (plan.way, address) {
            (Way::OnLink(port), Some(address)) => Target::Neighbor { port, address },
            _ => self.target(plan, packet),
        }
    }

    /// As [`copy`](Maker::copy), for who makes few: that is to lie in the loop that makes most.
    #[cold]
    #[inline(never)]
    fn copy_apart(&self, plan: &Plan, buffer: &[u8], heads: &mut Heads) -> Option<Made> {
        self.copy(plan, buffer, heads)
    }

    /// Makes a copy with a head of its own, leaving the buffer as it is. `None` if there is no room.
    #[inline(always)]
    pub(super) fn copy(&self, plan: &Plan, buffer: &[u8], heads: &mut Heads) -> Option<Made> {
        let parsed = self.parsed;
        let span = if plan.form.is_unicast() {
            let front = parsed.xcast - parsed.ip;
            let rest = parsed.tail - parsed.rest - parsed.ports_gain();
            let (span, head) = heads.take(LINK_HEADER_LEN + front + rest)?;
            let (before, after) = head[LINK_HEADER_LEN..].split_at_mut(front);
            copy_short(before, &buffer[parsed.ip..parsed.xcast]);
            match parsed.ports_run {
                None => copy_short(after, &buffer[parsed.rest..parsed.tail]),
                Some(run) => without_ports(&buffer[..parsed.tail], parsed.rest, run, after),
            }
            self.finish_unicast(head, plan, Only::of(buffer, parsed, plan.live));
            span
        } else {
            let (span, head) = match plan.compact {
                true => copy_compact(buffer, parsed, plan.live, heads)?,
                false => {
                    let taken = heads.take(LINK_HEADER_LEN + parsed.tail - parsed.ip)?;
                    taken.1[LINK_HEADER_LEN..].copy_from_slice(&buffer[parsed.ip..parsed.tail]);
                    taken
                }
            };
            self.finish_xcast(head, plan, self.dscp(buffer, plan));
            span
        };
        Some(Made { in_place: false, head: span, tail: Span::new(parsed.tail, parsed.end) })
    }

    /// Makes the last copy in the buffer. Where that has no room in front, or a list shrinks, it gets
    /// a head after all.
    #[inline]
    pub(super) fn in_place(
        &self,
        plan: &Plan,
        buffer: &mut [u8],
        heads: &mut Heads,
    ) -> Option<Made> {
        let parsed = self.parsed;
        let is_unicast = plan.form.is_unicast();
        let moved = if is_unicast { parsed.rest - parsed.xcast } else { 0 };
        let shrinks = plan.compact || is_unicast && parsed.ports_run.is_some();
        let start = (parsed.ip + moved).checked_sub(LINK_HEADER_LEN).filter(|_| !shrinks);
        let Some(start) = start else { return self.copy_apart(plan, buffer, heads) };
        if is_unicast {
            let only = Only::of(buffer, parsed, plan.live);
            buffer.copy_within(parsed.ip..parsed.xcast, parsed.ip + moved);
            self.finish_unicast(&mut buffer[start..parsed.end], plan, only);
        } else {
            let dscp = self.dscp(buffer, plan);
            self.finish_xcast(&mut buffer[start..parsed.end], plan, dscp);
        }
        Some(Made::in_place(start, parsed.end))
    }

    /// What a copy in Xcast form is to bear: one that is for one alone, that one's own (R10).
    #[inline]
    fn dscp(&self, buffer: &[u8], plan: &Plan) -> Option<u8> {
        if self.parsed.lists.ds_bytes.is_none() || plan.dscp.is_some() || plan.way == Way::Host {
            return plan.dscp;
        }
        let index = plan.live.leading_zeros() as usize;
        self.parsed.ds_byte(buffer, index).map(|ds_byte| ds_byte >> 2)
    }

    /// The link-layer header of a copy.
    #[inline]
    fn link_header(&self, plan: &Plan) -> [u8; LINK_HEADER_LEN] {
        let mut header = match plan.way {
            Way::Adjacency(id) => {
                let adjacency = self.fib.adjacency(id);
                match adjacency.rewrite {
                    Some(rewrite) => rewrite,
                    None => unresolved_rewrite(self.fib, adjacency.port),
                }
            }
            Way::OnLink(port) => unresolved_rewrite(self.fib, port),
            Way::Host => [0; LINK_HEADER_LEN],
        };
        if self.is_v6 {
            header[12..].copy_from_slice(&ethernet::TYPE_IPV6.to_be_bytes());
        }
        header
    }

    /// Turns a head that holds the packet's own headers into that of a copy in Xcast form.
    #[inline]
    fn finish_xcast(&self, head: &mut [u8], plan: &Plan, dscp: Option<u8>) {
        let Some((link, ip)) = head.split_first_chunk_mut::<LINK_HEADER_LEN>() else { return };
        *link = self.link_header(plan);
        let parsed = self.parsed;
        if self.forwards && plan.way != Way::Host {
            match self.is_v6 {
                true => ipv6::decrement_hop_limit(ip),
                false => ip[ipv4::field::TTL..][..4].copy_from_slice(&self.lowered),
            }
        }
        if plan.compact {
            let total = parsed.xcast_len() - compact_gain(parsed, plan.live);
            match self.is_v6 {
                true => ipv6::set_payload_len(ip, (total - ipv6::HEADER_LEN) as u16),
                false => ipv4::set_total_len(ip, total as u16),
            }
        } else {
            self.pruning.apply(&mut ip[parsed.xcast - parsed.ip..], plan.live);
        }
        match (self.is_v6, dscp) {
            (true, Some(dscp)) => ipv6::set_dscp(ip, dscp),
            (false, Some(dscp)) => ipv4::set_dscp(ip, dscp),
            (_, None) => {}
        }
    }

    /// Turns a head that holds the packet's own headers, but those of Xcast, into that of a unicast
    /// copy.
    #[inline]
    fn finish_unicast(&self, head: &mut [u8], plan: &Plan, only: Only) {
        let Some((link, ip)) = head.split_first_chunk_mut::<LINK_HEADER_LEN>() else { return };
        *link = self.link_header(plan);
        let lowers = self.forwards && plan.way != Way::Host;
        let (header, rest) = ip.split_at_mut(self.parsed.xcast - self.parsed.ip);
        match only.address {
            IpAddr::V4(_) => self.to_unicast_v4(header, rest, only, lowers),
            IpAddr::V6(_) => self.to_unicast_v6(header, rest, only, lowers),
        }
    }

    /// X2U over IPv4.
    #[inline]
    fn to_unicast_v4(&self, header: &mut [u8], transport: &mut [u8], only: Only, lowers: bool) {
        let IpAddr::V4(address) = only.address else { return };
        match lowers {
            true => self.readdressing.apply(header, address),
            false => {
                let parsed = self.parsed;
                let (length, protocol) = (parsed.unicast_len() as u16, parsed.rest_protocol);
                Readdressing::new(header, length, parsed.ttl, protocol).apply(header, address);
            }
        }
        if let Some(ds_byte) = only.ds_byte {
            ipv4::set_dscp(header, ds_byte >> 2);
        }
        self.to_port(transport, only.port, self.without_group.double(address.to_bits()));
    }

    /// X2U over IPv6: `rest` is what a unicast copy goes on with behind the headers in front of
    /// Xcast6.
    fn to_unicast_v6(&self, header: &mut [u8], rest: &mut [u8], only: Only, lowers: bool) {
        use ipv6::field;
        let parsed = self.parsed;
        let IpAddr::V6(address) = only.address else { return };
        header[field::DESTINATION..field::DESTINATION + 16].copy_from_slice(&address.octets());
        let transport = parsed.transport - parsed.rest - parsed.ports_gain();
        let change = self.without_group.bytes(&address.octets());
        self.to_port(&mut rest[transport..], only.port, change);
        ipv6::set_payload_len(header, (parsed.unicast_len() - ipv6::HEADER_LEN) as u16);
        header[parsed.protocol_at - parsed.ip] = parsed.rest_protocol;
        header[field::HOP_LIMIT] -= u8::from(lowers);
        if let Some(ds_byte) = only.ds_byte {
            ipv6::set_dscp(header, ds_byte >> 2);
        }
    }

    /// Sets the destination's own port, and lets the checksum follow it and the `change` of the
    /// pseudo-header (RFC 5058 section 10.1, RFC 1624). Over UDP, 0 says that there is no checksum, and
    /// stays; there and over UDP-Lite a result of 0 travels as 0xffff.
    #[inline]
    fn to_port(&self, transport: &mut [u8], port: Option<u16>, mut change: Sum) {
        if let Some(port) = port {
            change = change.word(!read_u16(transport, 2)).word(port);
            transport[2..4].copy_from_slice(&port.to_be_bytes());
        }
        let TransportChecksum::At(at) = self.parsed.checksum else { return };
        let before = read_u16(transport, at);
        let protocol = self.parsed.protocol;
        if before == 0 && protocol == protocol::UDP {
            return;
        }
        let after = match change.word(!before).checksum() {
            0 if matches!(protocol, protocol::UDP | protocol::UDP_LITE) => 0xffff,
            after => after,
        };
        transport[at..at + 2].copy_from_slice(&after.to_be_bytes());
    }
}

/// Copies what is mostly an IPv4 header without options, or as much of a transport header as a head
/// holds, without a call.
#[inline]
fn copy_short(to: &mut [u8], from: &[u8]) {
    match (to.first_chunk_mut::<TRANSPORT_LEN>(), from.first_chunk()) {
        (Some(first), Some(octets)) if from.len() == TRANSPORT_LEN => *first = *octets,
        _ => to.copy_from_slice(from),
    }
}

const _: () = assert!(TRANSPORT_LEN == ipv4::HEADER_LEN);

/// Lays out the head of a copy whose list shrinks to its live destinations.
fn copy_compact<'h>(
    buffer: &[u8],
    parsed: &Parsed,
    live: u128,
    heads: &'h mut Heads,
) -> Option<(Span, &'h mut [u8])> {
    let front = parsed.xcast - parsed.ip;
    let list = compact_len(parsed, live);
    let rest = parsed.tail - parsed.xcast_end;
    let (span, head) = heads.take(LINK_HEADER_LEN + front + list + rest)?;
    let (before, behind) = head[LINK_HEADER_LEN..].split_at_mut(front);
    let (header, after) = behind.split_at_mut(list);
    before.copy_from_slice(&buffer[parsed.ip..parsed.xcast]);
    after.copy_from_slice(&buffer[parsed.xcast_end..parsed.tail]);
    let whole = &buffer[parsed.xcast..parsed.xcast_end];
    match parsed.is_v6() {
        false => xcast4::compact(whole, live, header),
        true => xcast6::compact(whole, live, header),
    }
    Some((span, head))
}

/// Copies what follows from `start` on without a run of ports and padding, of which less than 8
/// octets of padding are left; the Destination Options header at `start` shrinks by the rest.
fn without_ports(buffer: &[u8], start: usize, (run, length): (usize, usize), into: &mut [u8]) {
    let (before, rest) = into.split_at_mut(run - start);
    let (padding, after) = rest.split_at_mut(length % 8);
    before.copy_from_slice(&buffer[start..run]);
    xcast6::fill_padding(padding);
    after.copy_from_slice(&buffer[run + length..]);
    into[1] -= (length / 8) as u8;
}

/// How many octets shorter the IP packet is when its list holds the live destinations alone.
pub(super) fn compact_gain(parsed: &Parsed, live: u128) -> usize {
    parsed.xcast_end - parsed.xcast - compact_len(parsed, live)
}

fn compact_len(parsed: &Parsed, live: u128) -> usize {
    let (count, lists) = (live.count_ones() as usize, parsed.lists);
    match parsed.is_v6() {
        true => xcast6::header_len(count, lists.ds_bytes.is_some()),
        false => xcast4::header_len(count, lists.ds_bytes.is_some(), lists.ports.is_some()),
    }
}
