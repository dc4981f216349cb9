//! What comes back of messages that did not arrive, by destination.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::split::Limit;
use crate::forward::DropReason;
use crate::io::datagram::{ReportKind, Reported};
use crate::wire::icmp::{self, UnreachableKind};
use crate::wire::quote::Quote;

/// Troubles that wait to be taken; the oldest are forgotten.
const WAITING_MAX: usize = 4096;
/// Destinations whose path is known to be narrow.
const NARROW_MAX: usize = 4096;
/// How long a path counts as narrow (RFC 1191 section 6.3, RFC 8201 section 4).
const NARROW_TIME: Duration = Duration::from_secs(600);
/// No path is narrower than that (RFC 791, RFC 8201 section 4): a smaller word is not believed.
const MTU_MIN_V4: u32 = 68;
const MTU_MIN_V6: u32 = 1280;

/// Octets of a payload that are kept.
const PAYLOAD_LEN_MAX: usize = 64;

/// Something that was sent and did not arrive, or not whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Whom it was for.
    pub destination: SocketAddr,
    /// Who says so, where it is not this host.
    pub from: Option<IpAddr>,
    /// What happened.
    pub kind: TroubleKind,
    /// The first octets of the payload, up to 64, as far as the report quotes it; one over IPv4 need
    /// not (RFC 792).
    pub payload: Vec<u8>,
    /// How many live destinations the Xcast packet had that this is about. With several it may be
    /// another one that is unreachable or behind a narrow link. 0: it was a plain datagram.
    pub listed: usize,
}

impl Trouble {
    /// One that this host itself tells, of a plain datagram as far as is known.
    pub(super) fn new(destination: SocketAddr, kind: TroubleKind) -> Trouble {
        Trouble { destination, from: None, kind, payload: Vec::new(), listed: 0 }
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TroubleKind {
    /// This host could not send it after all: the neighbor did not answer, say.
    Unsent(DropReason),
    /// An ICMP error came back: unreachable, too big, time exceeded.
    Reported(ReportKind),
}

/// What is known of them.
#[derive(Default)]
pub(super) struct Troubles {
    waiting: VecDeque<Trouble>,
    /// What the way to a destination takes, by whether the packet lists others too.
    narrow: BTreeMap<(IpAddr, bool), Narrow>,
}

/// How many octets a packet may have, and until when that holds.
struct Narrow {
    mtu: u32,
    until: Instant,
}

impl Troubles {
    pub(super) fn add(&mut self, trouble: Trouble) {
        if self.waiting.len() == WAITING_MAX {
            self.waiting.pop_front();
        }
        self.waiting.push_back(trouble);
    }

    /// Takes over what the kernel reports of a plain datagram. What it says of Xcast packets to the
    /// group comes by [`quoted`](Troubles::quoted), with the destinations.
    pub(super) fn report(&mut self, reported: &Reported, now: Instant) {
        let Reported { destination, offender, kind, .. } = reported;
        if destination.ip().is_multicast() {
            return;
        }
        if let ReportKind::TooBig { mtu } = kind {
            self.narrow(destination.ip(), false, *mtu, now);
        }
        let kind = TroubleKind::Reported(*kind);
        let payload = reported.payload.iter().copied().take(PAYLOAD_LEN_MAX).collect();
        let trouble = Trouble::new(*destination, kind);
        self.add(Trouble { from: *offender, payload, ..trouble });
    }

    /// Takes over an ICMP error about an Xcast packet. Where the packet had more live destinations
    /// than one, each may be the one concerned.
    pub(super) fn quoted(
        &mut self,
        error: icmp::Error,
        quote: &Quote,
        from: Option<IpAddr>,
        now: Instant,
    ) {
        let kind = match error {
            icmp::Error::TooBig { mtu } => {
                ReportKind::TooBig { mtu: mtu.saturating_sub(quote.overhead) }
            }
            icmp::Error::TimeExceeded => ReportKind::TimeExceeded,
            icmp::Error::Unreachable(kind) => {
                ReportKind::Unreachable { code: code(kind, quote.source.is_ipv6()) }
            }
        };
        if let ReportKind::TooBig { mtu } = kind {
            quote.live.iter().for_each(|destination| self.narrow(*destination, true, mtu, now));
        }
        self.tell(kind, quote, from);
    }

    /// Tells all live destinations of an Xcast packet what happened to it.
    pub(super) fn tell(&mut self, kind: ReportKind, quote: &Quote, from: Option<IpAddr>) {
        for destination in &quote.live {
            // The port is not quoted for certain, and does not matter.
            let destination = SocketAddr::new(*destination, 0);
            let kind = TroubleKind::Reported(kind);
            let listed = quote.live.len();
            self.add(Trouble { from, listed, ..Trouble::new(destination, kind) });
        }
    }

    fn narrow(&mut self, destination: IpAddr, listed: bool, mtu: u32, now: Instant) {
        if mtu < if destination.is_ipv6() { MTU_MIN_V6 } else { MTU_MIN_V4 } {
            return;
        }
        self.narrow.retain(|_, narrow| narrow.until > now);
        let key = (destination, listed);
        if self.narrow.len() >= NARROW_MAX && !self.narrow.contains_key(&key) {
            // The oldest makes room, so that nobody keeps the true ones out.
            let oldest = self.narrow.iter().min_by_key(|(_, narrow)| narrow.until);
            let oldest = oldest.map(|(key, _)| *key);
            oldest.and_then(|oldest| self.narrow.remove(&oldest));
        }
        self.narrow.insert(key, Narrow { mtu, until: now + NARROW_TIME });
    }

    /// What the ways to a destination take, as far as is known, of a link that takes `link` octets.
    pub(super) fn limit(&self, destination: IpAddr, link: usize, now: Instant) -> Limit {
        let known = |listed| {
            let narrow = self.narrow.get(&(destination, listed)).filter(|n| n.until > now);
            narrow.map_or(link, |narrow| link.min(narrow.mtu as usize))
        };
        let alone = known(false);
        Limit { alone, listed: alone.min(known(true)) }
    }

    pub(super) fn next(&mut self) -> Option<Trouble> {
        self.waiting.pop_front()
    }

    pub(super) fn take(&mut self) -> Vec<Trouble> {
        self.waiting.drain(..).collect()
    }
}

/// The code of ICMP (RFC 792, RFC 1812 section 5.2.7.1) or ICMPv6 (RFC 4443 section 3.1).
fn code(kind: UnreachableKind, is_v6: bool) -> u8 {
    match (kind, is_v6) {
        (UnreachableKind::NoRoute, _) => 0,
        (UnreachableKind::Host, false) => 1,
        (UnreachableKind::Host, true) => 3,
        (UnreachableKind::Prohibited, false) => 13,
        (UnreachableKind::Prohibited, true) => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn too_big(mtu: u32) -> Reported {
        Reported {
            destination: "10.0.0.1:9".parse().unwrap(),
            offender: None,
            kind: ReportKind::TooBig { mtu },
            errno: 90,
            payload: Vec::new(),
        }
    }

    #[test]
    fn a_path_is_narrow_for_a_while() {
        let (mut troubles, now) = (Troubles::default(), Instant::now());
        let to = too_big(0).destination.ip();
        troubles.report(&too_big(1280), now);
        let narrow = Limit { alone: 1280, listed: 1280 };
        let wide = Limit { alone: 1500, listed: 1500 };
        assert_eq!(troubles.limit(to, 1500, now), narrow);
        assert_eq!(troubles.limit(to, 1500, now + NARROW_TIME), wide);
        troubles.report(&too_big(0), now);
        assert_eq!(troubles.limit(to, 1500, now), narrow, "0 says nothing");
        assert_eq!(troubles.take().len(), 2);
        assert_eq!(troubles.take(), []);
    }

    #[test]
    fn no_path_is_narrower_than_ip_allows() {
        let (mut troubles, now) = (Troubles::default(), Instant::now());
        for (to, allowed) in [("10.0.0.1:9", 68), ("[fd00::1]:9", 1280)] {
            let to: SocketAddr = to.parse().unwrap();
            troubles.report(&Reported { destination: to, ..too_big(allowed - 1) }, now);
            assert_eq!(troubles.limit(to.ip(), 1500, now).alone, 1500);
            troubles.report(&Reported { destination: to, ..too_big(allowed) }, now);
            assert_eq!(troubles.limit(to.ip(), 1500, now).alone, allowed as usize);
        }
    }

    #[test]
    fn why_it_is_unreachable_is_told_in_the_codes_of_its_ip_version() {
        use UnreachableKind::{Host, NoRoute, Prohibited};
        let mut troubles = Troubles::default();
        for (address, codes) in [
            ("10.0.0.1", [(NoRoute, 0), (Host, 1), (Prohibited, 13)]),
            ("fd00::1", [(NoRoute, 0), (Host, 3), (Prohibited, 1)]),
        ] {
            let address: IpAddr = address.parse().unwrap();
            let quote = Quote { source: address, live: vec![address], count: 1, overhead: 0 };
            for (kind, code) in codes {
                troubles.quoted(icmp::Error::Unreachable(kind), &quote, None, Instant::now());
                let expected = TroubleKind::Reported(ReportKind::Unreachable { code });
                assert_eq!(troubles.take()[0].kind, expected);
            }
        }
    }

    #[test]
    fn a_list_that_was_too_big_narrows_lists_alone() {
        let (mut troubles, now) = (Troubles::default(), Instant::now());
        let live = vec![IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2])];
        let quote =
            Quote { source: [10, 0, 0, 9].into(), live: live.clone(), count: 2, overhead: 0 };
        troubles.quoted(icmp::Error::TooBig { mtu: 1280 }, &quote, None, now);
        for destination in live {
            let limit = troubles.limit(destination, 1500, now);
            assert_eq!(limit, Limit { alone: 1500, listed: 1280 });
        }
        let listed: Vec<usize> = troubles.take().iter().map(|trouble| trouble.listed).collect();
        assert_eq!(listed, [2, 2]);
    }
}
