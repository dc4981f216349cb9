//! What a peer is part of: what its machines tell of that, and who begins where nobody is yet.

use overlay_protocols::node::Input;
use overlay_protocols::{Now, locality, ring};

use super::peer::Peer;
use crate::state::Writer;

/// Whether a peer is part of nothing any more, and all is said.
pub(super) fn has_left(peer: &Peer) -> bool {
    let has_group = peer.node.locality().is_some_and(|locality| locality.group().is_some());
    !peer.is_in_ring && !has_group && peer.node.queue().is_empty()
}

/// What the ring tells of itself.
pub(super) fn ring(peer: &mut Peer, event: &ring::Event, now: Now, writer: &Writer) {
    let name = &peer.name;
    match event {
        ring::Event::Joined => {
            tracing::info!(peer = name, "part of the ring");
            peer.is_in_ring = true;
        }
        ring::Event::Left => {
            if peer.is_in_ring {
                tracing::info!(peer = name, "left the ring");
            }
            peer.is_in_ring = false;
        }
        ring::Event::JoinFailed if peer.may_begin => {
            // If others are there after all, the two rings find each other: those that it has known
            // are asked again and again.
            tracing::warn!(peer = name, "no ring answers: it begins one");
            peer.may_begin = false;
            let preset = ring::Command::Preset { leaves: Vec::new(), fingers: Vec::new() };
            for command in [ring::Command::Leave, preset] {
                peer.input(Input::Ring(command), now, writer);
            }
        }
        ring::Event::JoinFailed => {
            tracing::warn!(peer = name, "no ring answers so far; it is tried again");
        }
        ring::Event::Departed(id) => {
            tracing::info!(peer = name, %id, "a neighbor is gone without a word");
        }
        _ => {}
    }
}

/// What the group tells of itself.
pub(super) fn group(peer: &mut Peer, event: &locality::Event, now: Now, writer: &Writer) {
    use locality::Event;
    let name = &peer.name;
    match event {
        Event::Joined { group, leader, steps, .. } => {
            tracing::info!(peer = name, %group, %leader, tested = steps, "member of a group");
        }
        Event::Founded { group, steps, .. } => {
            tracing::info!(peer = name, %group, tested = steps, "founded a group");
        }
        Event::BootFailed { failures } if peer.may_found && *failures >= FAILURES_MAX => {
            tracing::warn!(peer = name, "no rendezvous answers: it founds a group");
            peer.may_found = false;
            peer.input(Input::Locality(locality::Command::Join(Vec::new())), now, writer);
        }
        Event::BootFailed { failures } => {
            tracing::warn!(peer = name, failures, "no rendezvous answers; it is tried again");
        }
        Event::Left { group } => tracing::info!(peer = name, %group, "left the group"),
        Event::LeaderChanged { group, leader } => {
            tracing::info!(peer = name, %group, %leader, "another peer leads the group");
        }
        other => tracing::debug!(peer = name, event = ?other, "the group"),
    }
}

/// After so many searches in vain who may found a group does.
const FAILURES_MAX: u32 = 3;
