//! Why datagrams are not taken, counted by name.

/// Why a datagram, or a message in it, is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum DropReason {
    /// It does not begin as ours do.
    Magic,
    /// A version that is not spoken here; answered by name.
    Version,
    /// It ends too early.
    Truncated,
    /// It is longer than it says, or than anything may be.
    Oversized,
    /// Unsealed where seals are asked for, or sealed where everybody is trusted.
    SealKind,
    /// Whoever made it does not have the key that it names.
    Forged,
    /// It has been received before.
    Replayed,
    /// Older than the window of what was received, from an earlier start of its sender, or sealed
    /// too long ago by the clock.
    Ancient,
    /// Too many senders at once are to be remembered.
    TooManySenders,
    /// It has a list of parts, and none is ours.
    NotForUs,
    /// Of a protocol that is not known here.
    UnknownProtocol,
    /// Not a message of its protocol, or one that says what cannot be.
    Malformed,
    /// A piece of a long message that does not go with the others.
    BadPiece,
    /// More pieces of long messages wait than may.
    ReassemblyFull,
    /// It names a position on the ring that is not proved.
    UnprovedPosition,
    /// Our own, come back.
    OwnMessage,
    /// It is for children or parents in a tree, and from nobody who is one.
    NotInTree,
    /// More children report, or more news are told, than a machine takes.
    TreeFull,
    /// More sessions, or more of one, than a host takes.
    SessionFull,
}

impl DropReason {
    /// All of them.
    pub const ALL: [DropReason; 19] = [
        DropReason::Magic,
        DropReason::Version,
        DropReason::Truncated,
        DropReason::Oversized,
        DropReason::SealKind,
        DropReason::Forged,
        DropReason::Replayed,
        DropReason::Ancient,
        DropReason::TooManySenders,
        DropReason::NotForUs,
        DropReason::UnknownProtocol,
        DropReason::Malformed,
        DropReason::BadPiece,
        DropReason::ReassemblyFull,
        DropReason::UnprovedPosition,
        DropReason::OwnMessage,
        DropReason::NotInTree,
        DropReason::TreeFull,
        DropReason::SessionFull,
    ];

    /// What tables call it.
    pub fn name(self) -> &'static str {
        match self {
            DropReason::Magic => "magic",
            DropReason::Version => "version",
            DropReason::Truncated => "truncated",
            DropReason::Oversized => "oversized",
            DropReason::SealKind => "seal-kind",
            DropReason::Forged => "forged",
            DropReason::Replayed => "replayed",
            DropReason::Ancient => "ancient",
            DropReason::TooManySenders => "too-many-senders",
            DropReason::NotForUs => "not-for-us",
            DropReason::UnknownProtocol => "unknown-protocol",
            DropReason::Malformed => "malformed",
            DropReason::BadPiece => "bad-piece",
            DropReason::ReassemblyFull => "reassembly-full",
            DropReason::UnprovedPosition => "unproved-position",
            DropReason::OwnMessage => "own-message",
            DropReason::NotInTree => "not-in-tree",
            DropReason::TreeFull => "tree-full",
            DropReason::SessionFull => "session-full",
        }
    }
}

/// How often each was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drops([u64; DropReason::ALL.len()]);

impl Drops {
    /// One more.
    pub fn count(&mut self, reason: DropReason) {
        self.0[reason as usize] += 1;
    }

    /// How many so far.
    pub fn of(&self, reason: DropReason) -> u64 {
        self.0[reason as usize]
    }

    /// All of them by name, zeros too.
    pub fn each(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.into_iter().map(|reason| (reason, self.of(reason)))
    }

    /// All together.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}
