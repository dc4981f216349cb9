//! The last packets that were dropped for each reason, for whoever asks why. Each is kept as it
//! came, as far as it fits.

use super::Time;
use super::packet::Packet;
use super::reason::DropReason;
use super::replica::LINK_HEADER_LEN;
use crate::fib::PortId;

/// Packets kept for each reason.
const PER_REASON: usize = 8;
/// Octets kept of a packet.
const LEN_MAX: usize = 1024;

const SLOTS: usize = DropReason::COUNT * PER_REASON;

/// A packet that was dropped, or of which destinations were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Why.
    pub reason: DropReason,
    /// When, on the packet path's clock.
    pub time: Time,
    /// Counts all samples ever taken, so that they can be told apart and put in order.
    pub number: u64,
    /// The port it came in by; `None` if this node sent it.
    pub port: Option<PortId>,
    /// The frame from its link-layer header on, cut off after 1024 octets.
    pub frame: Vec<u8>,
    /// Its length.
    pub length: usize,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    number: u64,
    time: Time,
    port: Option<PortId>,
    kept: u32,
    length: u32,
}

/// Room for the samples of one worker, taken before packets are processed.
pub struct Samples {
    slots: Vec<Slot>,
    octets: Vec<u8>,
    taken: u64,
    /// By reason.
    counts: [u64; DropReason::COUNT],
}

impl Default for Samples {
    fn default() -> Samples {
        Samples {
            slots: vec![Slot::default(); SLOTS],
            octets: vec![0; SLOTS * LEN_MAX],
            taken: 0,
            counts: [0; DropReason::COUNT],
        }
    }
}

impl Samples {
    /// Keeps a packet as it came.
    pub(super) fn keep(&mut self, reason: DropReason, packet: &Packet<'_>, now: Time) {
        let start = packet.start.saturating_sub(LINK_HEADER_LEN);
        let frame = packet.buffer.get(start..).unwrap_or_default();
        self.keep_frame(reason, packet.port, frame, &[], now);
    }

    /// Keeps a frame that lies in two pieces.
    pub fn keep_frame(
        &mut self,
        reason: DropReason,
        port: Option<PortId>,
        head: &[u8],
        tail: &[u8],
        now: Time,
    ) {
        let count = &mut self.counts[reason as usize];
        let at = reason as usize * PER_REASON + *count as usize % PER_REASON;
        *count += 1;
        self.taken += 1;
        let room = &mut self.octets[at * LEN_MAX..][..LEN_MAX];
        let first = head.len().min(LEN_MAX);
        let second = tail.len().min(LEN_MAX - first);
        room[..first].copy_from_slice(&head[..first]);
        room[first..first + second].copy_from_slice(&tail[..second]);
        self.slots[at] = Slot {
            number: self.taken,
            time: now,
            port,
            kept: (first + second) as u32,
            length: (head.len() + tail.len()) as u32,
        };
    }

    /// How many samples were ever taken.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// All samples that are kept, the oldest first.
    pub fn all(&self) -> Vec<Sample> {
        let reasons = DropReason::ALL.iter().flat_map(|reason| [*reason; PER_REASON]);
        let slots = self.slots.iter().zip(self.octets.chunks_exact(LEN_MAX)).zip(reasons);
        let kept = slots.filter(|((slot, _), _)| slot.number > 0);
        let sample = |((slot, octets), reason): ((&Slot, &[u8]), DropReason)| Sample {
            reason,
            time: slot.time,
            number: slot.number,
            port: slot.port,
            frame: octets[..slot.kept as usize].to_vec(),
            length: slot.length as usize,
        };
        let mut samples: Vec<Sample> = kept.map(sample).collect();
        samples.sort_by_key(|sample| sample.number);
        samples
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_last_of_each_reason() {
        let mut samples = Samples::default();
        for at in 0..20u8 {
            let long = vec![at; 700];
            samples.keep_frame(DropReason::Checksum, Some(1), &[at], &[], Time(u64::from(at)));
            samples.keep_frame(DropReason::TooBig, None, &long, &long, Time(u64::from(at)));
        }
        let all = samples.all();
        assert_eq!((all.len(), samples.taken()), (2 * PER_REASON, 40));
        assert!(all.is_sorted_by_key(|sample| sample.number));
        let of = |reason| all.iter().filter(move |sample| sample.reason == reason);
        let kept: Vec<_> = of(DropReason::Checksum).map(|sample| sample.frame.clone()).collect();
        assert_eq!(kept, (12..20u8).map(|at| vec![at]).collect::<Vec<_>>());
        let last = of(DropReason::TooBig).next_back().unwrap();
        assert_eq!((last.frame.len(), last.length, last.time), (1024, 1400, Time(19)));
    }
}
