//! Why a control message was not taken, and how often.

/// Why a control message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// It is for a session that is not there, or from where the session's end cannot be.
    UnknownEnd,
    /// Its sender's key is not allowed (or not allowed to say this), or it does not verify.
    BadKey,
    /// It has been taken before, or is so old that nobody knows.
    Replay,
    /// It is no control message, or says what no end says.
    Malformed,
    /// Too many handshakes are asked for.
    RateLimit,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Refusal; 5] = [
        Refusal::UnknownEnd,
        Refusal::BadKey,
        Refusal::Replay,
        Refusal::Malformed,
        Refusal::RateLimit,
    ];

    /// What it is called in counters.
    pub fn name(self) -> &'static str {
        match self {
            Refusal::UnknownEnd => "unknown-end",
            Refusal::BadKey => "bad-key",
            Refusal::Replay => "replay",
            Refusal::Malformed => "malformed",
            Refusal::RateLimit => "rate-limit",
        }
    }
}

/// How many control messages were not taken, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters([u64; Refusal::ALL.len()]);

impl Counters {
    /// How many for this reason.
    pub fn count(&self, reason: Refusal) -> u64 {
        self.0[reason as usize]
    }

    pub(super) fn add(&mut self, reason: Refusal) {
        self.0[reason as usize] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_counted_apart() {
        let mut counters = Counters::default();
        counters.add(Refusal::Replay);
        counters.add(Refusal::Replay);
        counters.add(Refusal::RateLimit);
        let counts = Refusal::ALL.map(|reason| (reason.name(), counters.count(reason)));
        let expected = [
            ("unknown-end", 0),
            ("bad-key", 0),
            ("replay", 2),
            ("malformed", 0),
            ("rate-limit", 1),
        ];
        assert_eq!(counts, expected);
    }
}
