//! What the packet path counts.

use super::reason::DropReason;
use super::replica::{Form, Replica, Target};
use crate::fib::PortId;

/// The counters of one worker. Plain numbers: each worker owns its own, and lends a copy when
/// it is asked.
///
/// At any moment between two packets
/// `destinations_received = destinations_forwarded + destinations_delivered +
/// destinations_dropped() + destinations_pending`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets that reached the packet path.
    pub packets_received: u64,
    /// Packets that came to at least one copy, or were delivered here.
    pub packets_forwarded: u64,
    /// Packets that came to nothing.
    pub packets_dropped: u64,
    /// Packets whose partition by next hop was that of an earlier one.
    pub partition_cache_hits: u64,
    /// Replicas handed to a link.
    pub replicas_sent: u64,
    /// Replicas that became unicast because one destination was left (X2U).
    pub unicast_conversions: u64,
    /// Replicas that became unicast because the next hop does not speak Xcast.
    pub premature_unicast_conversions: u64,
    /// Fragments of unicast copies that were not sent; their copies count as sent or dropped by
    /// their last fragments.
    pub fragments_lost: u64,
    /// Probes of neighbors that were answered. Probes count nowhere else.
    pub probes_answered: u64,
    /// Probes of neighbors that were not: they came by the wrong port, say, or would be too big.
    pub probes_refused: u64,
    /// Probes of this node's own that came back.
    pub probes_returned: u64,
    /// Live destinations of all packets whose list could be trusted.
    pub destinations_received: u64,
    /// Destinations served by replicas that were sent.
    pub destinations_forwarded: u64,
    /// Destinations that are addresses of this node.
    pub destinations_delivered: u64,
    /// Destinations whose replicas wait for a neighbor.
    pub destinations_pending: u64,
    /// Octets of IP packets received.
    pub bytes_received: u64,
    /// Octets of IP packets sent.
    pub bytes_sent: u64,
    /// By reason, at the index of [`DropReason`].
    pub drops: [u64; DropReason::COUNT],
    /// By port, at the index of [`PortId`].
    pub ports: Vec<PortCounters>,
}

/// What one port has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortCounters {
    /// Packets received.
    pub packets_received: u64,
    /// Octets of IP packets received.
    pub bytes_received: u64,
    /// Replicas sent in Xcast form.
    pub replicas_sent_xcast: u64,
    /// Replicas sent as unicast packets.
    pub replicas_sent_unicast: u64,
    /// Octets of IP packets sent.
    pub bytes_sent: u64,
}

impl Counters {
    /// How many destinations were dropped, for all reasons that count destinations.
    pub fn destinations_dropped(&self) -> u64 {
        let each = DropReason::ALL.iter().zip(self.drops);
        each.filter(|(reason, _)| !reason.counts_packets()).map(|(_, count)| count).sum()
    }

    /// Counts `count` packets or destinations (as the reason has it) under `reason`.
    #[inline]
    pub fn drop(&mut self, reason: DropReason, count: u32) {
        self.drops[reason as usize] += u64::from(count);
    }

    pub(super) fn received(&mut self, port: Option<PortId>, bytes: usize) {
        self.packets_received += 1;
        self.bytes_received += bytes as u64;
        if let Some(port) = port.and_then(|port| self.ports.get_mut(usize::from(port))) {
            port.packets_received += 1;
            port.bytes_received += bytes as u64;
        }
    }

    /// A replica was handed to its link, or delivered to this node.
    pub fn sent(&mut self, replica: &Replica) {
        match replica.target {
            Target::Host { .. } if replica.form == Form::Probe => self.probes_answered += 1,
            Target::Host { .. } => {
                self.destinations_delivered += u64::from(replica.destinations());
            }
            Target::Port(port) | Target::Neighbor { port, .. } => {
                let mut sent = Sent::default();
                sent.add(replica);
                self.sent_by(port, &sent);
            }
        }
    }

    /// Replicas were handed to the link of a port.
    pub fn sent_by(&mut self, port: PortId, sent: &Sent) {
        let (xcast, unicast) = (sent.frames[Form::Xcast as usize], sent.unicast());
        self.probes_answered += sent.frames[Form::Probe as usize];
        self.destinations_forwarded += sent.destinations;
        self.replicas_sent += xcast + unicast;
        self.bytes_sent += sent.bytes;
        self.unicast_conversions += sent.copies[Form::Unicast as usize];
        self.premature_unicast_conversions += sent.copies[Form::PrematureUnicast as usize];
        if let Some(port) = self.ports.get_mut(usize::from(port)) {
            port.bytes_sent += sent.bytes;
            port.replicas_sent_xcast += xcast;
            port.replicas_sent_unicast += unicast;
        }
    }

    /// A replica was neither sent nor delivered.
    pub fn failed(&mut self, replica: &Replica, reason: DropReason) {
        if replica.live == 0 {
            self.fragments_lost += 1;
        }
        self.drop(reason, traffic(replica));
    }

    /// A replica began to wait for its neighbor.
    pub fn held(&mut self, replica: &Replica) {
        self.destinations_pending += u64::from(traffic(replica));
    }

    /// A replica's waiting is over; [`sent`](Counters::sent) or [`failed`](Counters::failed)
    /// follows.
    pub fn released(&mut self, replica: &Replica) {
        self.destinations_pending -= u64::from(traffic(replica));
    }
}

/// Replicas that were handed to the link of one port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// By form.
    frames: [u64; FORMS],
    /// By form: of the fragments of a copy the last one counts.
    copies: [u64; FORMS],
    destinations: u64,
    bytes: u64,
}

const FORMS: usize = 4;

impl Sent {
    /// Adds one.
    #[inline]
    pub fn add(&mut self, replica: &Replica) {
        let (form, destinations) = (replica.form as usize, u64::from(replica.destinations()));
        self.frames[form] += 1;
        self.copies[form] += u64::from(destinations > 0);
        if replica.form != Form::Probe {
            self.destinations += destinations;
            self.bytes += replica.ip_len() as u64;
        }
    }

    fn unicast(&self) -> u64 {
        self.frames[Form::Unicast as usize] + self.frames[Form::PrematureUnicast as usize]
    }
}

/// How many destinations a replica stands for in the counters.
fn traffic(replica: &Replica) -> u32 {
    if replica.form == Form::Probe { 0 } else { replica.destinations() }
}
