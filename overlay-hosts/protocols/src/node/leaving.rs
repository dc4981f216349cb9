//! What leaves a node: messages on their way to the queue, whole or in pieces, and the octets of their
//! datagrams.

use alloc::vec::Vec;

use super::{DATAGRAM_LEN_MAX, Event, Message, OUTPUTS_MAX, OverlayNode, PAIR_LEN_MAX};
use crate::contact::Endpoint;
use crate::envelope::{self, Stamp};
use crate::machine::{Class, Output, Protocol, Send};
use crate::pieces;
use crate::time::{Now, Time};

impl OverlayNode {
    /// The datagram to some of the receivers of a message, by their places in `send.to`: to all of
    /// them together by Xcast, or to one alone. Empty, and counted as lost, if there can be none (see
    /// [`envelope::emit`]): what [`poll_output`](OverlayNode::poll_output) gives can be sent whole
    /// and to any of its receivers.
    pub fn datagram(&mut self, send: &Send, select: &[usize], now: Now) -> Vec<u8> {
        let stamp = self.stamp(now);
        envelope::emit(send, select, &stamp, &self.identity).unwrap_or_else(|| {
            self.traffic.lost += 1;
            Vec::new()
        })
    }

    /// A datagram of [`Output::Pair`] to `to`, as long as makes an IP packet of `size` octets. Empty,
    /// and counted as lost, if its message does not fit.
    pub fn padded(
        &mut self,
        to: Endpoint,
        size: usize,
        protocol: Protocol,
        message: &[u8],
        now: Now,
    ) -> Vec<u8> {
        let headers = if to.address.is_ipv6() { 48 } else { 28 };
        let len = size.min(PAIR_LEN_MAX).saturating_sub(headers);
        let stamp = self.stamp(now);
        let bytes = envelope::emit_padded(protocol, message, len, &stamp, &self.identity);
        bytes.unwrap_or_else(|| {
            self.traffic.lost += 1;
            Vec::new()
        })
    }

    fn stamp(&mut self, now: Now) -> Stamp {
        self.sequence += 1;
        Stamp {
            key: self.identity.key,
            epoch: self.epoch,
            sequence: self.sequence,
            sent: now.wall.seconds() as u32,
        }
    }

    /// A message on its way to the queue, which cuts lists that are too long. Whose message is too
    /// long for a datagram gets it in pieces, by itself.
    pub(super) fn send(&mut self, send: Send, now: Time) {
        let room = DATAGRAM_LEN_MAX - envelope::OVERHEAD;
        let is_long = |index: &usize| send.shared.len() + send.part(*index).len() > room;
        if !(0..send.to.len()).any(|index| is_long(&index)) {
            return self.queue.push(send, now);
        }
        let (long, short): (Vec<usize>, Vec<usize>) = (0..send.to.len()).partition(is_long);
        if send.parts.is_empty() {
            let Send { to, protocol, shared, class, .. } = send;
            return self.send_in_pieces(to, protocol, &shared, class, now);
        }
        for index in long {
            let message = send.message_for(index);
            let to = alloc::vec![send.to[index]];
            self.send_in_pieces(to, send.protocol, &message, send.class, now);
        }
        let to = short.iter().map(|index| send.to[*index]).collect();
        let parts = short.iter().map(|index| send.part(*index).to_vec()).collect();
        self.queue.push(Send { to, parts, ..send }, now);
    }

    fn send_in_pieces(
        &mut self,
        to: Vec<Endpoint>,
        protocol: Protocol,
        message: &[u8],
        class: Class,
        now: Time,
    ) {
        // What a piece says beside the octets that it holds: the variant's number, one of up to 5
        // octets, three of one, and a length of 2.
        const PIECE_OVERHEAD: usize = 1 + 5 + 3 + 2;
        let room = DATAGRAM_LEN_MAX - envelope::OVERHEAD - PIECE_OVERHEAD;
        self.piece_number = self.piece_number.wrapping_add(1);
        let Some(pieces) = pieces::cut(self.piece_number, protocol, message, room) else {
            self.traffic.lost += to.len() as u64;
            return;
        };
        for piece in pieces {
            let piece = self.message(to.clone(), &Message::Piece(piece), class);
            self.queue.push(piece, now);
        }
    }

    pub(super) fn put(&mut self, output: Output<Event>) {
        if self.outputs.len() >= OUTPUTS_MAX {
            self.traffic.lost += 1;
            return;
        }
        if let Output::Send(send) = &output {
            self.traffic.sent += 1;
            self.traffic.receivers += send.to.len() as u64;
        }
        self.outputs.push_back(output);
    }
}
