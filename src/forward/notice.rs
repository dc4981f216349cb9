//! What the source of a packet is to be told: ICMP errors (WIRE.md R12) and trace reports. The packet
//! path only notes them, with as much of the packet as may be quoted; sending is up to the
//! engine.

use std::net::IpAddr;

use super::Time;
use super::packet::{Packet, Parsed};
use super::reason::DropReason;
use super::replica::Span;
use super::scratch::Drops;
use crate::fib::{Entry, PortId};
use crate::wire::ipv4::protocol;
use crate::wire::{trace, udp};

/// Notices that may be noted in a batch; more are forgotten.
const COUNT_MAX: usize = 64;
/// Octets of packets that are quoted in a batch.
const OCTETS_MAX: usize = 64 * 1024;
const SECOND: u64 = 1_000_000;

/// What a source is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeKind {
    /// The TTL or hop limit was used up.
    TimeExceeded,
    /// There is no route to some destination.
    NoRoute,
    /// A copy is larger than the MTU of its link, in octets.
    TooBig(u32),
    /// It asked for a trace report, and the TTL ends here.
    Trace,
}

/// A notice, and the packet it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What is to be told.
    pub kind: NoticeKind,
    /// Whom to tell: the packet's source.
    pub to: IpAddr,
    /// The port that the packet came in by.
    pub port: PortId,
    packet: Span,
}

/// The notices of a batch, and how many more may be sent.
#[derive(Default)]
pub struct Notices {
    list: Vec<Notice>,
    octets: Vec<u8>,
    /// A second; 0 = none.
    rate: u32,
    /// Until when all notices so far are paid for, as for budgets.
    paid_at: u64,
}

impl Notices {
    pub(super) fn prepare(&mut self, rate: u32) {
        self.rate = rate;
        self.list.reserve(COUNT_MAX);
        self.octets.reserve(OCTETS_MAX);
    }

    /// The notices of the batch.
    pub fn list(&self) -> &[Notice] {
        &self.list
    }

    /// The packet that a notice is about, from its IP header on.
    pub fn packet(&self, notice: &Notice) -> &[u8] {
        notice.packet.of(&self.octets)
    }

    /// Whether one more may be sent now; if so it counts.
    pub fn allow(&mut self, Time(now): Time) -> bool {
        if self.rate == 0 {
            return false;
        }
        let paid_at = self.paid_at.max(now) + (SECOND / u64::from(self.rate)).max(1);
        let allowed = paid_at - now <= SECOND;
        if allowed {
            self.paid_at = paid_at;
        }
        allowed
    }

    pub(super) fn clear(&mut self) {
        self.list.clear();
        self.octets.clear();
    }

    fn note(&mut self, kind: NoticeKind, parsed: &Parsed, packet: &Packet<'_>, now: Time) {
        let Some(port) = packet.port else { return };
        let quoted = &packet.buffer[parsed.ip..parsed.end.min(parsed.ip + QUOTE_LEN_MAX)];
        let room = self.list.len() < COUNT_MAX && self.octets.len() + quoted.len() <= OCTETS_MAX;
        if room && self.allow(now) {
            let start = self.octets.len();
            self.octets.extend_from_slice(quoted);
            let packet = Span::new(start, self.octets.len());
            self.list.push(Notice { kind, to: parsed.source, port, packet });
        }
    }
}

/// More than any ICMP error quotes; a trace request lies in it whole.
const QUOTE_LEN_MAX: usize = 2304;

/// Notes what the source of a packet, whose drops are known, is to be told: at most one notice of a
/// kind.
pub(super) fn note(
    packet: &Packet<'_>,
    parsed: &Parsed,
    drops: &Drops,
    notices: &mut Notices,
    now: Time,
) {
    if packet.port.is_none() || !is_answerable(packet, parsed) {
        return;
    }
    for (reason, _) in drops.iter() {
        let kind = match reason {
            DropReason::TtlExpired if asks_for_trace(packet, parsed) => NoticeKind::Trace,
            DropReason::TtlExpired => NoticeKind::TimeExceeded,
            DropReason::NoRoute => NoticeKind::NoRoute,
            DropReason::TooBig => NoticeKind::TooBig(drops.narrowest),
            _ => continue,
        };
        notices.note(kind, parsed, packet, now);
    }
}

/// Whether the source may get an error: there is a way back to it, and the packet is no error
/// itself.
pub(super) fn is_answerable(packet: &Packet<'_>, parsed: &Parsed) -> bool {
    is_answerable_to(parsed.source_entry) && !parsed.is_icmp_error(packet.buffer)
}

/// Whether a source may be told that is behind this entry.
pub(super) fn is_answerable_to(source: Entry) -> bool {
    matches!(source, Entry::OnLink(_) | Entry::Neighbor(_) | Entry::Gateways(_))
}

/// Whether a packet is a trace request.
pub(super) fn asks_for_trace(packet: &Packet<'_>, parsed: &Parsed) -> bool {
    let payload = parsed.transport(packet.buffer).get(udp::HEADER_LEN..);
    parsed.protocol == protocol::UDP && payload.is_some_and(trace::is_request)
}
