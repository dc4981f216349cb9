//! The handshake by which two ends make a [`Session`]: Noise XX, three messages.
//!
//! Noise draws its ephemeral keys from octets that were given beforehand: nothing here asks the
//! system for randomness. Both sides keep those octets too: Noise's state is of no use any more
//! after a message that did not verify, and is made anew, so that a forged one leaves no trace.

use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, Error, HandshakeState, StatelessTransportState};

use super::keys::{PrivateKey, PublicKey};
use super::refusal::Refusal;
use super::session::Session;
use crate::forward::Time;
use crate::wire::control::{CONFIRMATION_LEN, Header, KEY_LEN, Kind, OPENING_LEN};

const PATTERN: &str = "Noise_XX_25519_ChaChaPoly_BLAKE2s";
/// Both ends must speak the same protocol; it is part of all that is verified.
const PROLOGUE: &[u8] = b"xcast tunnel control 1";
/// Octets of a session's number.
const INDEX_LEN: usize = 4;
/// What an initiation carries in clear: the initiator's number, and zeros up to the length of what
/// it is answered with.
const CLEAR_LEN: usize = OPENING_LEN - KEY_LEN;

/// Random octets for one ephemeral key.
pub(super) type Seed = [u8; KEY_LEN];

/// One side that has asked for a session.
pub(super) struct Initiator {
    /// The session's number here.
    pub index: u32,
    seed: Seed,
}

impl Initiator {
    /// Asks for a session that is `index` here.
    pub(super) fn new(index: u32, seed: Seed) -> Initiator {
        Initiator { index, seed }
    }

    /// The datagram that asks; always the same.
    pub(super) fn initiation(&self, own: &PrivateKey) -> Option<Vec<u8>> {
        self.begin(own).map(|(_, datagram)| datagram)
    }

    fn begin(&self, own: &PrivateKey) -> Option<(HandshakeState, Vec<u8>)> {
        let mut state = build(own, self.seed, true)?;
        let mut clear = [0; CLEAR_LEN];
        clear[..INDEX_LEN].copy_from_slice(&self.index.to_be_bytes());
        let datagram = write(&mut state, Kind::Initiation, 0, &clear)?;
        Some((state, datagram))
    }

    /// Reads the body of an answer.
    pub(super) fn read(&self, own: &PrivateKey, body: &[u8]) -> Result<Answered, Refusal> {
        let (mut state, _) = self.begin(own).ok_or(Refusal::BadKey)?;
        let (key, remote_index) = read_response(&mut state, body)?;
        Ok(Answered { state, key, index: self.index, remote_index })
    }
}

/// An answer that verifies. Whether its sender is welcome is still to be asked.
pub(super) struct Answered {
    state: HandshakeState,
    /// Who has answered.
    pub key: PublicKey,
    index: u32,
    remote_index: u32,
}

impl Answered {
    /// The session, and the datagram that makes the other side have it.
    pub(super) fn finish(mut self, now: Time) -> Option<(Session, Vec<u8>)> {
        let datagram = write(&mut self.state, Kind::Confirmation, self.remote_index, &[])?;
        let transport = self.state.into_stateless_transport_mode().ok()?;
        let numbers = (self.index, self.remote_index);
        Some((Session::new(transport, numbers, true, now), datagram))
    }
}

/// One side that was asked for a session and has answered.
pub(super) struct Responder {
    /// `None` after a confirmation that did not verify.
    state: Option<HandshakeState>,
    seed: Seed,
    /// The session's number here.
    pub index: u32,
    remote_index: u32,
    /// The body of what it was asked with.
    pub initiation: Vec<u8>,
    /// The answer, for who asks again.
    pub response: Vec<u8>,
}

impl Responder {
    /// Answers an initiation; the session will be `index` here.
    pub(super) fn new(
        own: &PrivateKey,
        index: u32,
        seed: Seed,
        body: &[u8],
    ) -> Result<Responder, Refusal> {
        let (state, remote_index, response) = respond(own, index, seed, body)?;
        let initiation = body.to_vec();
        Ok(Responder { state: Some(state), seed, index, remote_index, initiation, response })
    }

    /// Reads the body of a confirmation. One that does not verify changes nothing.
    pub(super) fn read(&mut self, own: &PrivateKey, body: &[u8]) -> Result<Confirmed, Refusal> {
        let mut state = match self.state.take() {
            Some(state) => state,
            None => respond(own, self.index, self.seed, &self.initiation)?.0,
        };
        state.read_message(body, &mut [0; KEY_LEN]).map_err(|_| Refusal::BadKey)?;
        let key = remote_key(&state).ok_or(Refusal::BadKey)?;
        Ok(Confirmed { state, key, index: self.index, remote_index: self.remote_index })
    }
}

/// A confirmation that verifies. Whether its sender is welcome is still to be asked.
pub(super) struct Confirmed {
    state: HandshakeState,
    /// Who has sent it.
    pub key: PublicKey,
    index: u32,
    remote_index: u32,
}

impl Confirmed {
    /// The session.
    pub(super) fn finish(self, now: Time) -> Option<Session> {
        let transport = self.state.into_stateless_transport_mode().ok()?;
        Some(Session::new(transport, (self.index, self.remote_index), false, now))
    }
}

/// Noise's state after the answer to an initiation, the initiator's number, and the answer.
fn respond(
    own: &PrivateKey,
    index: u32,
    seed: Seed,
    initiation: &[u8],
) -> Result<(HandshakeState, u32, Vec<u8>), Refusal> {
    let mut state = build(own, seed, false).ok_or(Refusal::BadKey)?;
    let mut clear = [0; CLEAR_LEN];
    let read = state.read_message(initiation, &mut clear).map_err(|_| Refusal::BadKey)?;
    if read != CLEAR_LEN || clear[INDEX_LEN..] != [0; CLEAR_LEN - INDEX_LEN] {
        return Err(Refusal::Malformed);
    }
    let remote_index = number(&clear);
    let response = write(&mut state, Kind::Response, remote_index, &index.to_be_bytes());
    Ok((state, remote_index, response.ok_or(Refusal::BadKey)?))
}

fn read_response(state: &mut HandshakeState, body: &[u8]) -> Result<(PublicKey, u32), Refusal> {
    let mut payload = [0; KEY_LEN];
    let read = state.read_message(body, &mut payload).map_err(|_| Refusal::BadKey)?;
    let key = remote_key(state).ok_or(Refusal::BadKey)?;
    if read == INDEX_LEN { Ok((key, number(&payload))) } else { Err(Refusal::Malformed) }
}

fn number(payload: &[u8]) -> u32 {
    u32::from_be_bytes([payload[0], payload[1], payload[2], payload[3]])
}

fn remote_key(state: &HandshakeState) -> Option<PublicKey> {
    Some(PublicKey(state.get_remote_static()?.try_into().ok()?))
}

/// One handshake message as a datagram.
fn write(state: &mut HandshakeState, kind: Kind, session: u32, payload: &[u8]) -> Option<Vec<u8>> {
    let mut body = [0; OPENING_LEN + CONFIRMATION_LEN];
    let length = state.write_message(payload, &mut body).ok()?;
    let header = Header { kind, session, counter: 0 };
    Some([&header.emit()[..], &body[..length]].concat())
}

fn build(own: &PrivateKey, seed: Seed, initiator: bool) -> Option<HandshakeState> {
    let builder = Builder::with_resolver(PATTERN.parse().ok()?, Box::new(Seeded(seed)))
        .local_private_key(own.octets())
        .and_then(|builder| builder.prologue(PROLOGUE))
        .ok()?;
    if initiator { builder.build_initiator().ok() } else { builder.build_responder().ok() }
}

/// Noise's primitives, with randomness that was given beforehand.
struct Seeded(Seed);

impl CryptoResolver for Seeded {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Once(Some(self.0))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        DefaultResolver.resolve_dh(choice)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

/// Gives its octets once, to the one ephemeral key of a handshake.
struct Once(Option<Seed>);

impl Random for Once {
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        let seed = self.0.take().ok_or(Error::Rng)?;
        if bytes.len() != seed.len() {
            return Err(Error::Rng);
        }
        bytes.copy_from_slice(&seed);
        Ok(())
    }
}

/// What is left of a handshake.
pub(super) type Transport = StatelessTransportState;
