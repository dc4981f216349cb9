//! Messages that are too long for a datagram: cut by the node, put together again, within bounds.

use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::drops::DropReason;
use crate::id::PeerId;
use crate::machine::Protocol;
use crate::time::Time;

/// The longest message, in octets.
pub const MESSAGE_LEN_MAX: usize = 64 * 1024;
/// Messages of all senders that may wait for pieces at the same time; of one sender no more than
/// [`WAITING_OF_ONE_MAX`].
pub const WAITING_MAX: usize = 64;
/// See [`WAITING_MAX`]. So a host holds at most 4 MiB of pieces, and one sender at most 256 KiB.
pub const WAITING_OF_ONE_MAX: usize = 4;
/// How long pieces wait for the others.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// One piece of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// Which of its sender's messages it is of.
    pub number: u32,
    /// Whose message that is.
    pub protocol: u8,
    /// How many pieces there are, at least 2.
    pub count: u8,
    /// Its place, from 0.
    pub index: u8,
    /// What it holds.
    pub bytes: Vec<u8>,
}

/// Cuts a message into pieces of at most `len` octets; `None` if it is too long for that.
pub fn cut(number: u32, protocol: Protocol, message: &[u8], len: usize) -> Option<Vec<Piece>> {
    if message.len() > MESSAGE_LEN_MAX || len == 0 {
        return None;
    }
    let count = u8::try_from(message.len().div_ceil(len)).ok()?;
    let pieces = message.chunks(len).enumerate().map(|(index, chunk)| Piece {
        number,
        protocol: protocol as u8,
        count,
        index: index as u8,
        bytes: chunk.to_vec(),
    });
    Some(pieces.collect())
}

/// A message of which pieces have come.
#[derive(Clone, Debug)]
struct Waiting {
    from: PeerId,
    number: u32,
    protocol: Protocol,
    since: Time,
    len: usize,
    pieces: Vec<Option<Vec<u8>>>,
}

/// What waits for further pieces.
#[derive(Clone, Debug, Default)]
pub struct Reassembly {
    waiting: Vec<Waiting>,
}

impl Reassembly {
    /// Takes a piece over; gives the message that is whole with it.
    ///
    /// # Errors
    /// The piece is dropped.
    pub fn accept(
        &mut self,
        from: PeerId,
        piece: Piece,
        now: Time,
    ) -> Result<Option<(Protocol, Vec<u8>)>, DropReason> {
        self.waiting.retain(|waiting| now.since(waiting.since) < PATIENCE);
        let protocol = Protocol::from_number(piece.protocol).ok_or(DropReason::BadPiece)?;
        let may_be_long = protocol != Protocol::Node;
        if !may_be_long || piece.count < 2 || piece.index >= piece.count || piece.bytes.is_empty() {
            return Err(DropReason::BadPiece);
        }
        let known = |waiting: &Waiting| waiting.from == from && waiting.number == piece.number;
        let place = match self.waiting.iter().position(known) {
            Some(place) => place,
            None => self.begin(from, &piece, protocol, now)?,
        };
        let waiting = &mut self.waiting[place];
        let fits = waiting.pieces.len() == usize::from(piece.count)
            && waiting.protocol == protocol
            && waiting.pieces[usize::from(piece.index)].is_none();
        if !fits {
            return Err(DropReason::BadPiece);
        }
        waiting.len += piece.bytes.len();
        if waiting.len > MESSAGE_LEN_MAX {
            self.waiting.swap_remove(place);
            return Err(DropReason::Oversized);
        }
        waiting.pieces[usize::from(piece.index)] = Some(piece.bytes);
        if waiting.pieces.iter().any(Option::is_none) {
            return Ok(None);
        }
        let whole = self.waiting.swap_remove(place);
        let message = whole.pieces.into_iter().flatten().flatten().collect();
        Ok(Some((protocol, message)))
    }

    fn begin(
        &mut self,
        from: PeerId,
        piece: &Piece,
        protocol: Protocol,
        now: Time,
    ) -> Result<usize, DropReason> {
        let of_one = self.waiting.iter().filter(|waiting| waiting.from == from).count();
        if self.waiting.len() >= WAITING_MAX || of_one >= WAITING_OF_ONE_MAX {
            return Err(DropReason::ReassemblyFull);
        }
        let pieces = alloc::vec![None; usize::from(piece.count)];
        let number = piece.number;
        self.waiting.push(Waiting { from, number, protocol, since: now, len: 0, pieces });
        Ok(self.waiting.len() - 1)
    }

    /// Octets that wait.
    pub fn waiting_octets(&self) -> usize {
        self.waiting.iter().map(|waiting| waiting.len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: PeerId = PeerId([3; 20]);

    #[test]
    fn pieces_in_any_order_make_the_message_again() {
        let message: Vec<u8> = (0..5000u32).map(|n| n as u8).collect();
        let mut pieces = cut(7, Protocol::Ring, &message, 900).unwrap();
        assert_eq!(pieces.len(), 6);
        pieces.reverse();
        let mut reassembly = Reassembly::default();
        let last = pieces.pop().unwrap();
        for piece in pieces {
            assert_eq!(reassembly.accept(FROM, piece, Time(0)), Ok(None));
        }
        let whole = reassembly.accept(FROM, last, Time(1)).unwrap();
        assert_eq!(whole, Some((Protocol::Ring, message)));
        assert_eq!(reassembly.waiting_octets(), 0);
    }

    #[test]
    fn nobody_can_fill_the_memory() {
        let mut reassembly = Reassembly::default();
        let piece =
            |number, index| Piece { number, protocol: 1, count: 200, index, bytes: vec![0; 1000] };
        let mut refused = 0;
        for sender in 0..100u8 {
            for number in 0..10 {
                for index in 0..100 {
                    let from = PeerId([sender; 20]);
                    refused +=
                        u32::from(reassembly.accept(from, piece(number, index), Time(0)).is_err());
                }
            }
        }
        assert!(refused > 0);
        assert!(reassembly.waiting_octets() <= WAITING_MAX * MESSAGE_LEN_MAX);
        // What waits in vain goes.
        let later = Time(0) + PATIENCE;
        assert_eq!(reassembly.accept(FROM, piece(1, 0), later), Ok(None));
        assert_eq!(reassembly.waiting_octets(), 1000);
    }

    #[test]
    fn a_piece_that_does_not_fit_is_dropped_by_name() {
        let mut reassembly = Reassembly::default();
        let piece = Piece { number: 1, protocol: 1, count: 3, index: 0, bytes: vec![1] };
        assert_eq!(reassembly.accept(FROM, piece.clone(), Time(0)), Ok(None));
        for wrong in [
            piece.clone(),
            Piece { count: 4, index: 1, ..piece.clone() },
            Piece { index: 3, ..piece.clone() },
            Piece { protocol: 0, ..piece.clone() },
            Piece { protocol: 99, ..piece.clone() },
            Piece { index: 1, bytes: vec![], ..piece.clone() },
        ] {
            assert_eq!(reassembly.accept(FROM, wrong, Time(0)), Err(DropReason::BadPiece));
        }
    }
}
