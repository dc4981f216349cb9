//! The octets of a datagram between overlay hosts.
//!
//! ```text
//! octet 0-1    MAGIC    0x58 0x6f ("Xo")
//! octet 2      VERSION  1
//! octet 3      FLAGS    1: the seal is a signature; 2: there is a list of parts; no others
//! octet 4      PROTOCOL (machine::Protocol)
//! octet 5      TYPE     the number of the message's variant, the first octet of its shared part
//! octet 6-7    LENGTH   of the rest of the shared part, octets
//! octet 8-39   KEY      the sender's public key
//! octet 40-47  EPOCH    when the sender started: its wall clock, microseconds
//! octet 48-55  SEQUENCE 1, 2, 3, ... of this epoch
//! octet 56-59  SENT     the sender's wall clock when it sealed, seconds
//! then         SHARED   LENGTH octets (postcard)
//! then, flag 2 COUNT    of the parts, 1 to 255; no tag twice
//!              PARTS    COUNT times: TAG 4 octets (the receiver's identity begins so), LENGTH 2,
//!                       PART
//! then         SEAL     64 octets over all before
//! ```
//!
//! Integers are in network order. A receiver's message is TYPE, SHARED, and its part. A datagram
//! to one peer alone has no list of parts: the part stands at the end of SHARED, so it is as long
//! as the plain message. All peers agree on this (seed 002 paragraph 0028).

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use crate::drops::DropReason;
use crate::id::PeerId;
use crate::machine::{Protocol, Send};
use crate::seal::{Identity, SEAL_LEN};

/// The only version there is.
pub const VERSION: u8 = 1;
/// Octets before the shared part.
pub const HEADER_LEN: usize = 60;
/// Octets of a datagram that are not message, for one receiver.
pub const OVERHEAD: usize = HEADER_LEN - 1 + SEAL_LEN;
/// Octets that the list of parts costs, beside the parts: once, and for each.
pub const PARTS_LEN: usize = 1;
/// See [`PARTS_LEN`].
pub const PART_HEADER_LEN: usize = 6;

const MAGIC: [u8; 2] = *b"Xo";
const SIGNED: u8 = 1;
const PARTED: u8 = 2;

/// What a datagram says of its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Its public key.
    pub key: [u8; 32],
    /// When it started, by its own clock, microseconds.
    pub epoch: u64,
    /// The number of the datagram in this epoch.
    pub sequence: u64,
    /// When it was sealed, by the sender's clock, seconds.
    pub sent: u32,
}

/// Octets of the datagram to some of the receivers of a message, by their places in `send.to`.
pub fn datagram_len(send: &Send, select: &[usize]) -> usize {
    let parts: usize = select.iter().map(|index| send.part(*index).len()).sum();
    let listed = match send.parts.is_empty() || select.len() == 1 {
        true => 0,
        false => PARTS_LEN + select.len() * PART_HEADER_LEN,
    };
    OVERHEAD + send.shared.len() + parts + listed
}

/// The datagram to some of the receivers of a message, by their places in `send.to`. `None` if there
/// can be none: nobody is selected or a place is not there, several have parts and one of them no
/// identity or two the same tag, a message is empty, or a length does not fit its field.
pub fn emit(send: &Send, select: &[usize], stamp: &Stamp, identity: &Identity) -> Option<Vec<u8>> {
    let is_there = |index: &usize| *index < send.to.len();
    if select.is_empty() || !select.iter().all(is_there) {
        return None;
    }
    let alone = if let [only] = select { Some(send.part(*only)) } else { None };
    let listed = alone.is_none() && !send.parts.is_empty();
    let signed = if identity.seal.is_proof() { SIGNED } else { 0 };
    let alone = alone.unwrap_or(&[]);
    // A plain message may stand in its part alone.
    let (kind, shared, alone) = match (send.shared.split_first(), alone.split_first()) {
        (Some((kind, shared)), _) => (kind, shared, alone),
        (None, Some((kind, alone))) => (kind, &[][..], alone),
        (None, None) => return None,
    };
    let length = u16::try_from(shared.len() + alone.len()).ok()?;
    let mut bytes = Vec::with_capacity(datagram_len(send, select));
    bytes.extend(MAGIC);
    bytes.push(VERSION);
    bytes.push(signed | if listed { PARTED } else { 0 });
    bytes.push(send.protocol as u8);
    bytes.push(*kind);
    bytes.extend(length.to_be_bytes());
    bytes.extend(stamp.key);
    bytes.extend(stamp.epoch.to_be_bytes());
    bytes.extend(stamp.sequence.to_be_bytes());
    bytes.extend(stamp.sent.to_be_bytes());
    bytes.extend(shared);
    bytes.extend(alone);
    if listed {
        emit_parts(send, select, &mut bytes)?;
    }
    let seal = identity.seal.seal(&bytes);
    bytes.extend(seal);
    Some(bytes)
}

fn emit_parts(send: &Send, select: &[usize], bytes: &mut Vec<u8>) -> Option<()> {
    bytes.push(u8::try_from(select.len()).ok()?);
    let mut tags = BTreeSet::new();
    for index in select {
        let tag = send.to.get(*index)?.id?.tag();
        let part = send.part(*index);
        let is_new = tags.insert(tag);
        bytes.extend(tag.to_be_bytes());
        bytes.extend(u16::try_from(part.len()).ok().filter(|_| is_new)?.to_be_bytes());
        bytes.extend(part);
    }
    Some(())
}

/// A datagram whose seal is genuine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Whose message it is.
    pub protocol: Protocol,
    /// Who has sent it.
    pub stamp: Stamp,
    /// The receiver's message, type octet first.
    pub message: Vec<u8>,
}

/// Reads a datagram and checks its seal; `me` is who receives it.
///
/// # Errors
/// Why it is dropped.
pub fn open(bytes: &[u8], me: PeerId, identity: &Identity) -> Result<Opened, DropReason> {
    let header = bytes.first_chunk::<HEADER_LEN>().ok_or(DropReason::Truncated)?;
    if header[..2] != MAGIC {
        return Err(DropReason::Magic);
    }
    if header[2] != VERSION {
        return Err(DropReason::Version);
    }
    let flags = header[3];
    if (flags & SIGNED != 0) != identity.seal.is_proof() {
        return Err(DropReason::SealKind);
    }
    if flags & !(SIGNED | PARTED) != 0 {
        return Err(DropReason::Malformed);
    }
    let (covered, seal) = bytes.split_last_chunk::<SEAL_LEN>().ok_or(DropReason::Truncated)?;
    let rest = covered.get(HEADER_LEN..).ok_or(DropReason::Truncated)?;
    let length = usize::from(u16::from_be_bytes([header[6], header[7]]));
    let shared = rest.get(..length).ok_or(DropReason::Truncated)?;
    let part = match flags & PARTED != 0 {
        true => own_part(&rest[length..], me)?,
        false if rest.len() > length => return Err(DropReason::Oversized),
        false => &[],
    };
    let stamp = read_stamp(header);
    if !identity.seal.is_genuine(&stamp.key, covered, seal) {
        return Err(DropReason::Forged);
    }
    let protocol = Protocol::from_number(header[4]).ok_or(DropReason::UnknownProtocol)?;
    let mut message = Vec::with_capacity(1 + shared.len() + part.len());
    message.push(header[5]);
    message.extend(shared);
    message.extend(part);
    Ok(Opened { protocol, stamp, message })
}

/// The version that a datagram of ours is of, whatever else it says.
pub fn version_of(bytes: &[u8]) -> Option<u8> {
    (bytes.len() >= HEADER_LEN && bytes[..2] == MAGIC).then(|| bytes[2])
}

fn read_stamp(header: &[u8; HEADER_LEN]) -> Stamp {
    let octets = |at: usize| header[at..at + 8].iter().fold(0, |sum, o| sum << 8 | u64::from(*o));
    let mut key = [0; 32];
    key.copy_from_slice(&header[8..40]);
    Stamp { key, epoch: octets(40), sequence: octets(48), sent: (octets(52) & 0xffff_ffff) as u32 }
}

/// The part of `me` in a list that must end where the bytes do.
fn own_part(mut list: &[u8], me: PeerId) -> Result<&[u8], DropReason> {
    let (count, rest) = list.split_first().ok_or(DropReason::Truncated)?;
    list = rest;
    let mut own = None;
    for _ in 0..*count {
        let header = list.first_chunk::<PART_HEADER_LEN>().ok_or(DropReason::Truncated)?;
        let [a, b, c, d, high, low] = *header;
        let length = usize::from(u16::from_be_bytes([high, low]));
        let part = list[PART_HEADER_LEN..].get(..length).ok_or(DropReason::Truncated)?;
        list = &list[PART_HEADER_LEN + length..];
        if u32::from_be_bytes([a, b, c, d]) == me.tag() && own.replace(part).is_some() {
            return Err(DropReason::Malformed);
        }
    }
    match list.is_empty() {
        true => own.ok_or(DropReason::NotForUs),
        false => Err(DropReason::Oversized),
    }
}

#[cfg(test)]
mod tests;
