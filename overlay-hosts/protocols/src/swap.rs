//! Positions that two peers have exchanged (seed 003 paragraph 0061), as both have signed it. Each has
//! the one that the other's identity gives, so that nobody stands where it likes, whomever it signs with;
//! whoever has exchanged its position does not exchange it again.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::id::{PeerId, RingId};

/// One of the two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swapped {
    /// Its public key, which its identity follows from.
    pub key: [u8; 32],
    /// Where it stands from now on.
    pub position: RingId,
    /// Its signature over [`SwapRecord::signed`], in two halves.
    pub signature: ([u8; 32], [u8; 32]),
}

/// Two peers stand in each other's place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwapRecord {
    /// Both.
    pub peers: [Swapped; 2],
    /// Of two records of a peer the one with the higher term holds.
    pub term: u64,
}

impl SwapRecord {
    /// Where a peer stands by this record; `None` if it is neither of the two.
    pub fn position_of(&self, id: PeerId) -> Option<RingId> {
        let is_it = |swapped: &&Swapped| PeerId::of_public_key(&swapped.key) == id;
        self.peers.iter().find(is_it).map(|swapped| swapped.position)
    }

    /// What both sign: identities, positions and the term.
    pub fn signed(&self) -> Vec<u8> {
        let mut signed = b"xcast overlay swap 1".to_vec();
        for swapped in &self.peers {
            signed.extend(PeerId::of_public_key(&swapped.key).0);
            signed.extend(swapped.position.0);
        }
        signed.extend(self.term.to_be_bytes());
        signed
    }

    /// Whether two peers stand in each other's own place, and both have signed that, by `verify(key,
    /// signed, signature)`.
    pub fn is_proved(&self, verify: impl Fn(&[u8; 32], &[u8], &[u8; 64]) -> bool) -> bool {
        let own = |swapped: &Swapped| PeerId::of_public_key(&swapped.key).position();
        let [one, other] = &self.peers;
        let is_exchange =
            one.key != other.key && one.position == own(other) && other.position == own(one);
        let signed = self.signed();
        is_exchange && self.peers.iter().all(|swapped| swapped.is_signed(&signed, &verify))
    }

    /// Has one of the two sign it, by `sign(signed)`.
    pub fn sign(&mut self, place: usize, sign: impl Fn(&[u8]) -> [u8; 64]) {
        let signature = sign(&self.signed());
        if let Some(swapped) = self.peers.get_mut(place) {
            swapped.signature.0.copy_from_slice(&signature[..32]);
            swapped.signature.1.copy_from_slice(&signature[32..]);
        }
    }
}

impl Swapped {
    /// Whether this one has signed, by `verify(key, signed, signature)`.
    pub fn is_signed(
        &self,
        signed: &[u8],
        verify: impl Fn(&[u8; 32], &[u8], &[u8; 64]) -> bool,
    ) -> bool {
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&self.signature.0);
        signature[32..].copy_from_slice(&self.signature.1);
        verify(&self.key, signed, &signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::{Identity, verify};

    /// Two peers who say that they stand there, with genuine signatures.
    fn record(keys: [u8; 2], positions: [RingId; 2]) -> SwapRecord {
        let identities = keys.map(|number| Identity::signed(&[number; 32]));
        let swapped = |place: usize| Swapped {
            key: identities[place].key,
            position: positions[place],
            signature: ([0; 32], [0; 32]),
        };
        let mut record = SwapRecord { peers: [swapped(0), swapped(1)], term: 1 };
        (0..2).for_each(|place| {
            record.sign(place, |signed| identities[place].seal.seal(signed));
        });
        record
    }

    #[test]
    fn peers_stand_in_each_others_place_and_nowhere_else() {
        let own = [1, 2].map(|number| Identity::signed(&[number; 32]).id.position());
        assert!(record([1, 2], [own[1], own[0]]).is_proved(verify));
        assert!(!record([1, 2], own).is_proved(verify), "it is no exchange");
        assert!(!record([1, 2], [own[1], RingId::ZERO]).is_proved(verify), "a place they like");
        assert!(!record([1, 1], [own[0], own[0]]).is_proved(verify), "with itself");
        let mut forged = record([1, 2], [own[1], own[0]]);
        forged.term = 2;
        assert!(!forged.is_proved(verify), "they have signed something else");
    }
}
