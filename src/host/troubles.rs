//! What comes back of messages that did not arrive, by destination.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::forward::DropReason;
use crate::io::datagram::{ReportKind, Reported};

/// Troubles that wait to be taken; the oldest are forgotten.
const WAITING_MAX: usize = 4096;
/// Destinations whose path is known to be narrow.
const NARROW_MAX: usize = 4096;
/// How long a path counts as narrow (RFC 1191 section 6.3, RFC 8201 section 4).
const NARROW_TIME: Duration = Duration::from_secs(600);
/// No path is narrower than that (RFC 791: 68; a smaller word is not believed).
const MTU_MIN: u32 = 68;

/// Something that was sent and did not arrive, or not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Whom it was for.
    pub destination: SocketAddr,
    /// Who says so, where it is not this host.
    pub from: Option<IpAddr>,
    /// What happened.
    pub kind: TroubleKind,
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
    /// What the path to a destination takes, in octets, and until when that holds.
    narrow: BTreeMap<IpAddr, (u32, Instant)>,
}

impl Troubles {
    pub(super) fn add(&mut self, trouble: Trouble) {
        if self.waiting.len() == WAITING_MAX {
            self.waiting.pop_front();
        }
        self.waiting.push_back(trouble);
    }

    /// Takes over what the kernel reports; "too big" lowers what is sent to that destination.
    pub(super) fn report(&mut self, reported: &Reported, now: Instant) {
        let Reported { destination, offender, kind, .. } = reported;
        if let ReportKind::TooBig { mtu } = kind
            && *mtu >= MTU_MIN
        {
            self.narrow.retain(|_, (_, until)| *until > now);
            if self.narrow.len() < NARROW_MAX {
                self.narrow.insert(destination.ip(), (*mtu, now + NARROW_TIME));
            }
        }
        let kind = TroubleKind::Reported(*kind);
        self.add(Trouble { destination: *destination, from: *offender, kind });
    }

    /// What the path to a destination takes, as far as is known.
    pub(super) fn path_mtu(&self, destination: IpAddr, now: Instant) -> Option<usize> {
        let (mtu, until) = self.narrow.get(&destination)?;
        (*until > now).then_some(*mtu as usize)
    }

    pub(super) fn take(&mut self) -> Vec<Trouble> {
        self.waiting.drain(..).collect()
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
        assert_eq!(troubles.path_mtu(to, now), Some(1280));
        assert_eq!(troubles.path_mtu(to, now + NARROW_TIME), None);
        troubles.report(&too_big(0), now);
        assert_eq!(troubles.path_mtu(to, now), Some(1280), "0 says nothing");
        assert_eq!(troubles.take().len(), 2);
        assert_eq!(troubles.take(), []);
    }
}
