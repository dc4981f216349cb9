//! Probes, by which neighbors find out whether they handle Xcast (WIRE.md R9): a packet that a
//! neighbor addresses to itself, and that comes back to it by the ordinary rules.

use std::net::IpAddr;

use super::output::{HEARD_MAX, Output};
use super::packet::{Packet, Parsed};
use crate::fib::{Entry, Fib, PortId};
use crate::wire::ipv4::protocol;
use crate::wire::{probe, udp};

/// A probe that came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A neighbor's, which proves that it handles Xcast.
    Asked {
        /// The port it came in by.
        port: PortId,
        /// The neighbor.
        neighbor: IpAddr,
    },
    /// One of this node's own, returned by the neighbor it was sent to.
    Returned {
        /// The port it came in by.
        port: PortId,
        /// What it bears.
        nonce: [u8; probe::NONCE_LEN],
    },
}

/// Whether a packet is a probe that this node is to answer, or one of its own come back.
pub(super) fn recognize(fib: &Fib, packet: &Packet<'_>, parsed: &Parsed) -> Option<Heard> {
    let port = packet.port?;
    if !parsed.keeps_xcast || parsed.live.count_ones() != 1 || parsed.protocol != protocol::UDP {
        return None;
    }
    let index = parsed.live.leading_zeros() as usize;
    let nonce = probe::nonce(parsed.transport(packet.buffer))?;
    if parsed.address(packet.buffer, index) != parsed.source {
        return None;
    }
    let tunnel = fib.port(port).and_then(|port| port.tunnel);
    match parsed.source_entry {
        _ if tunnel.is_some_and(|tunnel| tunnel.remote.ip() == parsed.source) => {
            Some(Heard::Asked { port, neighbor: parsed.source })
        }
        Entry::Local if probe::is_genuine(&nonce, fib.secret()) => {
            Some(Heard::Returned { port, nonce })
        }
        Entry::OnLink(on) if on == port => Some(Heard::Asked { port, neighbor: parsed.source }),
        Entry::Neighbor(id) if fib.adjacency(id).port == port => {
            Some(Heard::Asked { port, neighbor: parsed.source })
        }
        _ => None,
    }
}

/// Keeps a probe for the control plane.
pub(super) fn hear(heard: Heard, out: &mut Output) {
    if out.heard.len() < HEARD_MAX {
        out.heard.push(heard);
    }
}

const _: () = assert!(probe::NONCE_LEN + udp::HEADER_LEN == probe::DATAGRAM_LEN);
