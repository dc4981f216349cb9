//! Why a host cannot send or receive.

use std::io;

use super::MessageError;
use crate::kernel::KernelError;

/// Why a host cannot send or receive.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The kernel's routes and neighbors cannot be read or followed.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// A packet or UDP socket cannot be had.
    #[error("{what}: {error}{}", missing_capability(.error))]
    Socket {
        /// What was tried.
        what: String,
        /// What the kernel said.
        error: io::Error,
    },
    /// The kernel has no route to any of the destinations, so there is no source address either.
    /// Nothing was sent.
    #[error("there is no route to any of the destinations")]
    NoSource,
    /// The interface to send by does not exist, or is not an Ethernet interface.
    #[error("there is no Ethernet interface `{0}` here")]
    NoInterface(String),
    /// No relay answers. Nothing was sent.
    #[error("no relay answers: {hint} (asked: {known})")]
    NoRelay {
        /// Where relays were looked for, and the host's own key.
        known: String,
        /// What may be wrong.
        hint: &'static str,
    },
    /// The relay in use leases no address. Nothing was sent.
    #[error("the relay {0} has no address to lease")]
    NoLease(String),
    /// The message cannot be put in a packet. Nothing was sent.
    #[error(transparent)]
    Message(#[from] MessageError),
}

fn missing_capability(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => " (Xcast packets need CAP_NET_RAW)",
        _ => "",
    }
}

pub(super) fn socket_error(what: impl Into<String>) -> impl FnOnce(io::Error) -> HostError {
    let what = what.into();
    |error| HostError::Socket { what, error }
}
