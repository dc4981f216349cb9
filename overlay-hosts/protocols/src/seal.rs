//! Who has sent a datagram, proved: one layer behind one trait.

use alloc::boxed::Box;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

use crate::id::PeerId;

/// Octets of a seal, whoever makes it.
pub const SEAL_LEN: usize = 64;

/// Makes and checks seals. One seal serves all receivers of a packet.
pub trait Seal {
    /// Whether its seals prove anything; datagrams say so, and none of the other kind is accepted.
    fn is_proof(&self) -> bool;
    /// A seal over `bytes`.
    fn seal(&self, bytes: &[u8]) -> [u8; SEAL_LEN];
    /// Whether the owner of a public key has sealed `bytes`.
    fn is_genuine(&self, key: &[u8; 32], bytes: &[u8], seal: &[u8; SEAL_LEN]) -> bool;
}

/// A peer's key, which its identity follows from, and how it seals.
pub struct Identity {
    /// Its public key.
    pub key: [u8; 32],
    /// Who it is.
    pub id: PeerId,
    /// How it seals.
    pub seal: Box<dyn Seal + Send>,
}

impl Identity {
    /// Signs with Ed25519 (RFC 8032); `secret` is its private key.
    pub fn signed(secret: &[u8; 32]) -> Identity {
        let signer = SigningKey::from_bytes(secret);
        let key = signer.verifying_key().to_bytes();
        Identity { key, id: PeerId::of_public_key(&key), seal: Box::new(Signed(signer)) }
    }

    /// Proves nothing: for labs that trust everybody, and simulations. `key` takes a public key's
    /// place.
    pub fn open(key: [u8; 32]) -> Identity {
        Identity { key, id: PeerId::of_public_key(&key), seal: Box::new(Open) }
    }
}

/// Ed25519 signatures (RFC 8032), checked strictly.
struct Signed(SigningKey);

impl Seal for Signed {
    fn is_proof(&self) -> bool {
        true
    }

    fn seal(&self, bytes: &[u8]) -> [u8; SEAL_LEN] {
        self.0.sign(bytes).to_bytes()
    }

    fn is_genuine(&self, key: &[u8; 32], bytes: &[u8], seal: &[u8; SEAL_LEN]) -> bool {
        verify(key, bytes, seal)
    }
}

/// Whether it is the Ed25519 signature of the owner of `key` over `bytes`.
pub fn verify(key: &[u8; 32], bytes: &[u8], signature: &[u8; SEAL_LEN]) -> bool {
    VerifyingKey::from_bytes(key)
        .is_ok_and(|key| key.verify_strict(bytes, &Signature::from_bytes(signature)).is_ok())
}

/// As long as a signature, and proves nothing.
struct Open;

impl Seal for Open {
    fn is_proof(&self) -> bool {
        false
    }

    fn seal(&self, _: &[u8]) -> [u8; SEAL_LEN] {
        [0; SEAL_LEN]
    }

    fn is_genuine(&self, _: &[u8; 32], _: &[u8], seal: &[u8; SEAL_LEN]) -> bool {
        *seal == [0; SEAL_LEN]
    }
}
