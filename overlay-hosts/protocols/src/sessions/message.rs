//! What roots of sessions and hosts say to each other.

use serde::{Deserialize, Serialize};

use crate::alm::{Claim, SessionId};

/// A message. Who has sent it is what the seal proves: a session's claims are those of the one who made
/// the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Message {
    /// From a root: the session has so many degrees here from now on, and for a while. Of two claims the
    /// one with the higher number holds.
    Claim { claim: Claim, serial: u32 },
    /// To a root: so it is.
    Granted { session: SessionId, serial: u32 },
    /// To a root: there are only so many, and nothing has changed.
    Refused { session: SessionId, serial: u32, available: u16 },
    /// To a root: a stronger claim has taken what the session had by the claim of this number.
    Preempted { session: SessionId, serial: u32 },
    /// From a root: it knows that.
    Noted { session: SessionId, serial: u32 },
}
