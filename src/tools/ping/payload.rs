//! What a ping carries, and its answer: the same octets, but for kind and time held (WIRE.md "Ping
//! and trace").
//!
//! ```text
//! | "XCPG" | version 1 | kind: 1 request, 2 answer | spread, 2 octets, ms |
//! | session, 8 octets | round, 4 octets | held, 4 octets, us | sent, 8 octets, us | filler ... |
//! ```

/// Octets of a ping without its filler, and of any answer.
pub(in crate::tools) const LEN: usize = 32;
const MAGIC: [u8; 4] = *b"XCPG";
const VERSION: u8 = 1;
const REQUEST: u8 = 1;
const ANSWER: u8 = 2;

/// A request or an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tools) struct Ping {
    pub(in crate::tools) kind: Kind,
    /// How long a responder may wait, at random, before it answers.
    pub(in crate::tools) spread_ms: u16,
    /// Tells the pings of one sender's run from all others.
    pub(in crate::tools) session: u64,
    /// The number of the packet in its session, from 0.
    pub(in crate::tools) round: u32,
    /// When the request was sent, by a clock that only its sender knows, in microseconds.
    pub(in crate::tools) sent_us: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tools) enum Kind {
    Request,
    /// The answer was held for so long, in microseconds.
    Answer(u32),
}

impl Ping {
    /// The payload of `len` octets, or of [`LEN`] if that is more.
    pub(in crate::tools) fn emit(&self, len: usize) -> Vec<u8> {
        let (kind, held_us) = match self.kind {
            Kind::Request => (REQUEST, 0),
            Kind::Answer(held_us) => (ANSWER, held_us),
        };
        let mut bytes = MAGIC.to_vec();
        bytes.extend([VERSION, kind]);
        bytes.extend(self.spread_ms.to_be_bytes());
        bytes.extend(self.session.to_be_bytes());
        bytes.extend(self.round.to_be_bytes());
        bytes.extend(held_us.to_be_bytes());
        bytes.extend(self.sent_us.to_be_bytes());
        bytes.extend((LEN..len).map(|at| at as u8));
        bytes
    }

    /// Reads a payload; `None` if it is none of a ping, or is cut short.
    pub(in crate::tools) fn parse(bytes: &[u8]) -> Option<Ping> {
        let bytes: &[u8; LEN] = bytes.first_chunk()?;
        let word = |at: usize| u32::from_be_bytes([0, 1, 2, 3].map(|octet| bytes[at + octet]));
        let long = |at: usize| u64::from(word(at)) << 32 | u64::from(word(at + 4));
        if bytes[..4] != MAGIC || bytes[4] != VERSION {
            return None;
        }
        let kind = match bytes[5] {
            REQUEST => Kind::Request,
            ANSWER => Kind::Answer(word(20)),
            _ => return None,
        };
        let spread_ms = u16::from_be_bytes([bytes[6], bytes[7]]);
        Some(Ping { kind, spread_ms, session: long(8), round: word(16), sent_us: long(24) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PING: Ping = Ping {
        kind: Kind::Request,
        spread_ms: 0x0102,
        session: 0x1112_1314_1516_1718,
        round: 0x2122_2324,
        sent_us: 0x3132_3334_3536_3738,
    };
    const GOLDEN: [u8; 32] = *b"XCPG\x01\x01\x01\x02\x11\x12\x13\x14\x15\x16\x17\x18\
        \x21\x22\x23\x24\0\0\0\0\x31\x32\x33\x34\x35\x36\x37\x38";

    #[test]
    fn emits_golden_bytes() {
        assert_eq!(PING.emit(0), GOLDEN);
        let mut answer = GOLDEN;
        answer[5] = 2;
        answer[20..24].copy_from_slice(&[0x41, 0x42, 0x43, 0x44]);
        assert_eq!(Ping { kind: Kind::Answer(0x4142_4344), ..PING }.emit(0), answer);
        assert_eq!(PING.emit(34), [&GOLDEN[..], &[32, 33]].concat());
    }

    #[test]
    fn reads_what_it_wrote() {
        for kind in [Kind::Request, Kind::Answer(0), Kind::Answer(u32::MAX)] {
            let ping = Ping { kind, ..PING };
            assert_eq!(Ping::parse(&ping.emit(0)), Some(ping));
            assert_eq!(Ping::parse(&ping.emit(100)), Some(ping));
        }
    }

    #[test]
    fn refuses_what_is_cut_short_or_no_ping() {
        for length in 0..LEN {
            assert_eq!(Ping::parse(&GOLDEN[..length]), None, "cut to {length}");
        }
        for (at, value) in [(0, b'Y'), (3, b'g'), (4, 2), (5, 0), (5, 3)] {
            let mut wrong = GOLDEN;
            wrong[at] = value;
            assert_eq!(Ping::parse(&wrong), None, "octet {at} = {value}");
        }
    }
}
