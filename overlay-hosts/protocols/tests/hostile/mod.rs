//! Messages of every type as hostile peers would make them: well formed, with any values in any
//! field, of which some are true.

#![allow(dead_code, clippy::unwrap_used)]

use std::net::SocketAddr;

use overlay_protocols::machine::{self, Output, Protocol, Send};
use overlay_protocols::random::Random;
use overlay_protocols::{Contact, Identity, PeerId};

/// What a field of a message holds.
#[derive(Clone, Copy)]
pub(crate) enum Field {
    /// A number, as long as it is.
    Number,
    /// What a request said, if that is known.
    Nonce,
    Flag,
    /// One of so many variants.
    Variant(u64),
    Octet,
    /// A number with a point: any at all, or one that may be.
    Float,
    /// A clock, near to now or anywhere.
    Wall,
    Peer,
    /// The sender itself.
    Sender,
    Group,
    Contact,
    Octets,
    List(&'static [Field]),
    Maybe(&'static [Field]),
}

use Field::*;

const RECORD: &[Field] = &[Peer, Wall, Peer, Octets];
const REFERENCE: &[Field] = &[Group, Contact];
const OWN: &[Field] = &[Group, Sender];
const NEIGHBOR: &[Field] = &[Group, Contact, Number, Flag];
const STATE: &[Field] = &[Contact, List(&[Contact]), List(NEIGHBOR)];

/// The fields of the messages of the ring, by type.
const RING: &[&[Field]] = &[
    &[Number, List(&[Octet, Octets])],
    &[Number, Flag, Sender, List(&[Contact])],
    &[Sender],
    &[Number, Sender],
    &[Nonce, Flag, Sender],
    &[List(&[Peer])],
    &[Number, Peer, List(&[Peer])],
    &[Nonce, Sender],
    &[Nonce, Flag, List(&[Contact])],
    &[Number, Sender],
    &[Nonce, Sender, List(&[Contact]), List(&[Contact])],
    &[Number],
    &[Nonce],
    &[Number, Peer, Octets],
    &[Nonce, Number, Octet],
    &[Nonce, Variant(3)],
    &[Number, Peer],
    &[Nonce, Maybe(RECORD), List(&[Contact])],
    &[Number, List(RECORD)],
    &[Nonce, Flag],
    &[Peer, Peer, Number],
    &[Peer, Peer, Peer, List(&[Peer, Wall, Peer])],
    &[List(&[Peer])],
];

/// The fields of the messages of groups, by type.
const LOCALITY: &[&[Field]] = &[
    &[Number],
    &[Nonce, Wall],
    &[Number],
    &[Nonce, List(REFERENCE)],
    OWN,
    &[Number],
    &[Nonce, Group, List(REFERENCE)],
    &[Number],
    &[Nonce, Group, List(&[Group, Number])],
    &[Number],
    &[Nonce, Group, List(NEIGHBOR)],
    &[Nonce, Maybe(REFERENCE)],
    &[Number, Group, Sender, Number, Flag],
    &[Number, Group, Sender],
    &[Nonce, Group],
    &[Nonce],
    &[Group],
    &[Number, Group, Sender, Flag],
    &[Number, Group],
    &[
        Nonce,
        Group,
        Number,
        Wall,
        Peer,
        Octet,
        Contact,
        List(&[Contact]),
        List(NEIGHBOR),
        List(&[Contact]),
    ],
    &[Number, Group, Sender],
    &[Nonce, Group, Number, Wall, Peer, List(&[Contact])],
    &[Nonce, List(&[Contact])],
    &[Group],
    &[Group, Number, Wall, Peer, Number, Octet, Maybe(STATE)],
    &[Number, Group, Number, Wall, Peer, Sender],
    &[Nonce, Group, Number, Wall, Peer, Contact],
    &[Group, Octet, Number, Wall, Peer, Contact],
    &[Group, Number, Wall, Peer, Contact],
    &[Group, Number, Wall, Peer],
];

/// The fields of the messages of what is measured, by type.
const METRICS: &[&[Field]] = &[&[Number], &[Nonce, Maybe(&[List(&[Float])])], &[Number]];

/// A hostile peer's identity.
pub(crate) fn identity(number: u64) -> Identity {
    let mut key = [0x33; 32];
    key[..8].copy_from_slice(&number.to_be_bytes());
    Identity::open(key)
}

/// Where it is.
pub(crate) fn contact(number: u64) -> Contact {
    let [.., a, b] = number.to_be_bytes();
    Contact::new(identity(number).id, SocketAddr::from(([10, 0, a, b], 9000)))
}

/// Makes messages.
pub(crate) struct Liar {
    pub(crate) random: Random,
    /// How many peers it can name.
    pub(crate) peers: u64,
    /// What requests have said lately.
    pub(crate) nonces: Vec<u64>,
    pub(crate) groups: Vec<[u8; 16]>,
    /// What clocks say.
    pub(crate) wall: u64,
}

impl Liar {
    /// Remembers what a request said, so as to answer it.
    pub(crate) fn overhear<E>(&mut self, output: &Output<E>) {
        let Output::Send(Send { shared, .. }) = output else { return };
        let (mut nonce, mut shift) = (0u64, 0);
        for octet in shared.iter().skip(1) {
            nonce |= u64::from(octet & 0x7f).checked_shl(shift).unwrap_or(0);
            shift += 7;
            if octet & 0x80 == 0 || shift > 63 {
                break;
            }
        }
        if self.nonces.len() >= 64 {
            self.nonces.remove(0);
        }
        self.nonces.push(nonce);
    }

    /// A message of any type from a peer.
    pub(crate) fn message(&mut self, sender: u64) -> (Protocol, Vec<u8>) {
        let (protocol, all) = match self.random.below(5) {
            0 | 1 => (Protocol::Ring, RING),
            2 => (Protocol::Metrics, METRICS),
            _ => (Protocol::Locality, LOCALITY),
        };
        let kind = self.random.below(all.len() as u64) as usize;
        let mut bytes = vec![kind as u8];
        self.write(all[kind], sender, &mut bytes);
        if self.random.below(50) == 0 {
            let place = self.random.below(bytes.len() as u64) as usize;
            bytes[place] = self.random.number() as u8;
        }
        (protocol, bytes)
    }

    fn write(&mut self, fields: &[Field], sender: u64, bytes: &mut Vec<u8>) {
        for field in fields {
            self.write_field(*field, sender, bytes);
        }
    }

    fn write_field(&mut self, field: Field, sender: u64, bytes: &mut Vec<u8>) {
        let any = self.random.number();
        match field {
            Number => {
                let number = [any % 4, any % 300, u64::from(any as u32), any, u64::MAX]
                    [self.random.below(5) as usize];
                let is_short = self.random.below(20) > 0;
                let number = if is_short { u64::from(number as u32) } else { number };
                bytes.extend(machine::encode(&number));
            }
            Nonce => {
                let nonces = self.nonces.clone();
                let nonce = self.random.choose(&nonces).copied().unwrap_or(any);
                bytes.extend(machine::encode(&nonce));
            }
            Flag => bytes.push((any % 2) as u8),
            Variant(count) => bytes.push((any % count) as u8),
            Octet => bytes.push((any % 6) as u8),
            Float => {
                let float = [any as f32 / 1e17, f32::from_bits(any as u32)];
                bytes.extend(machine::encode(&float[self.random.below(2) as usize]));
            }
            Wall => {
                let near = self.wall + any % 4_000_000 - 2_000_000;
                let wall = [near, near, near, 0, u64::MAX][self.random.below(5) as usize];
                bytes.extend(machine::encode(&wall));
            }
            Peer => bytes.extend(self.peer(sender).0),
            Sender => bytes.extend(machine::encode(&contact(sender))),
            Group => {
                let mut group = [0; 16];
                self.random.fill(&mut group);
                let groups = self.groups.clone();
                let known = self.random.choose(&groups).filter(|_| !any.is_multiple_of(4));
                bytes.extend(known.unwrap_or(&group));
            }
            Contact => {
                let number = self.random.below(self.peers);
                bytes.extend(machine::encode(&contact(number)));
            }
            Octets => {
                let len = [0, 1, 100, 1024][self.random.below(4) as usize];
                bytes.extend(machine::encode(&vec![any as u8; len]));
            }
            List(fields) => {
                let count = [0, 1, 3, 8, 16][self.random.below(5) as usize];
                bytes.push(count);
                (0..count).for_each(|_| self.write(fields, sender, bytes));
            }
            Maybe(fields) => {
                bytes.push((any % 2) as u8);
                if any % 2 == 1 {
                    self.write(fields, sender, bytes);
                }
            }
        }
    }

    fn peer(&mut self, sender: u64) -> PeerId {
        match self.random.below(3) {
            0 => contact(sender).id,
            _ => contact(self.random.below(self.peers)).id,
        }
    }
}
