//! What was asked of the overlay and is not answered yet.

use std::time::Duration;

use crossbeam_channel::Sender;
use overlay_protocols::{Now, Time, ring};
use xcast::control::Reply;

use super::peer::Peer;
use crate::control::Question;
use crate::state::Writer;

/// What was asked and is not answered yet.
#[derive(Default)]
pub(super) struct Operations {}

impl Operations {
    pub(super) fn deadline(&self) -> Option<Time> {
        None
    }

    pub(super) fn expire(&mut self, _: Time) {}
}

impl Operations {
    pub(super) fn begin(
        &mut self,
        _: (usize, &mut Peer),
        _: Question,
        sender: Sender<Reply>,
        _: Now,
        _: &Writer,
    ) {
        let _gone = sender.send(Reply::Failed("not yet".into()));
    }

    pub(super) fn ring(&mut self, _: usize, peer: &Peer, event: ring::Event) {
        tracing::info!(peer = peer.name, ?event, "the ring");
    }
}
pub(super) fn has_left(_: &Peer) -> bool {
    false
}
pub(super) fn find(peers: &mut [Peer], name: Option<&str>) -> Result<usize, String> {
    let Some(name) = name else { return Ok(0) };
    peers
        .iter()
        .position(|peer| peer.name == name)
        .ok_or_else(|| format!("there is no peer {name}"))
}
