//! Control messages of authenticated UDP tunnels (WIRE.md, "Control messages of UDP tunnels").
//!
//! A datagram is a [`Header`] and a body. The bodies of a handshake belong to Noise; that of a
//! sealed datagram is, once opened, a [`Message`].
//!
//! ```text
//! | 0 | version 1 | kind | 0, 2 octets | receiver's session | counter, 8 octets | body |
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The protocol's version, in the low half of the first octet; the high half is 0.
const VERSION: u8 = 1;
/// Octets in front of the body.
pub const HEADER_LEN: usize = 16;
/// Octets of a public key.
pub const KEY_LEN: usize = 32;
/// Octets of the code that ends what is sealed.
pub const TAG_LEN: usize = 16;
/// Octets of the body of an [`Initiation`](Kind::Initiation), and of a [`Response`](Kind::Response):
/// who answers a stranger never sends more than was sent to it.
pub const OPENING_LEN: usize = 100;
/// Octets of the body of a [`Confirmation`](Kind::Confirmation).
pub const CONFIRMATION_LEN: usize = 64;
/// Octets of a message before it is sealed: with all headers it fits an IPv6 link's least MTU.
pub const MESSAGE_MAX: usize = 1280 - 40 - 8 - HEADER_LEN - TAG_LEN;
/// Prefixes in one announcement.
pub const PREFIXES_MAX: usize = 64;
/// Relays named in one message.
pub const RELAYS_MAX: usize = 16;
/// Octets of a relay's name.
pub const NAME_MAX: usize = 32;

/// What a datagram is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The first message of a handshake.
    Initiation,
    /// The second one, from who was asked.
    Response,
    /// The third one.
    Confirmation,
    /// A sealed message of an established session.
    Sealed,
}

/// What stands in front of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What follows.
    pub kind: Kind,
    /// The session, by the number that the receiver gave it; 0 in an initiation.
    pub session: u32,
    /// How many messages were sealed before with the same key; 0 in a handshake.
    pub counter: u64,
}

impl Header {
    /// The header's octets.
    pub fn emit(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[0] = VERSION;
        bytes[1] = match self.kind {
            Kind::Initiation => 1,
            Kind::Response => 2,
            Kind::Confirmation => 3,
            Kind::Sealed => 4,
        };
        bytes[4..8].copy_from_slice(&self.session.to_be_bytes());
        bytes[8..].copy_from_slice(&self.counter.to_be_bytes());
        bytes
    }

    /// Reads a datagram's header and returns it with the body, whose length fits its kind.
    pub fn parse(datagram: &[u8]) -> Option<(Header, &[u8])> {
        let (header, body) = datagram.split_at_checked(HEADER_LEN)?;
        let mut reader = Reader(header);
        let start = reader.array::<4>()?;
        let (session, counter) = (reader.u32()?, u64::from_be_bytes(reader.array()?));
        if (start[0], &start[2..]) != (VERSION, &[0, 0]) {
            return None;
        }
        let (kind, fits) = match start[1] {
            1 => (Kind::Initiation, body.len() == OPENING_LEN && session == 0),
            2 => (Kind::Response, body.len() == OPENING_LEN),
            3 => (Kind::Confirmation, body.len() == CONFIRMATION_LEN),
            4 => (Kind::Sealed, (TAG_LEN + 1..=TAG_LEN + MESSAGE_MAX).contains(&body.len())),
            _ => return None,
        };
        let fits = fits && (kind == Kind::Sealed || counter == 0);
        fits.then_some((Header { kind, session, counter }, body))
    }
}

/// Whether a UDP payload from a tunnel's end is control, not an IP packet.
pub fn is_control(payload: &[u8]) -> bool {
    payload.first().is_some_and(|octet| octet >> 4 == 0)
}

/// What the ends of a session tell each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Are you there? To be answered by a pong with the same number.
    Ping(u64),
    /// The answer to the ping with this number.
    Pong(u64),
    /// The prefixes the sender is near, in place of all it has announced before.
    Announce {
        /// Greater than that of what was announced before in the same session.
        sequence: u32,
        /// First address and length, host bits 0. At most [`PREFIXES_MAX`]; more are left out.
        prefixes: Vec<(IpAddr, u8)>,
    },
    /// The announcement with this sequence number has arrived.
    AnnounceAck(u32),
    /// Other relays the sender has sessions with. At most [`RELAYS_MAX`]; more are left out.
    Relays(Vec<RelayAddress>),
    /// An address is asked for.
    LeaseRequest {
        /// Of these IP versions.
        families: Families,
        /// This one, if it can be had.
        wish: Option<IpAddr>,
    },
    /// The answer to a request for an address.
    Lease(Lease),
    /// The session is over.
    Close(CloseReason),
}

/// Where another relay is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayAddress {
    /// Where it takes tunnels.
    pub address: SocketAddr,
    /// Its public key.
    pub key: [u8; KEY_LEN],
}

/// IP versions; at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Families {
    /// IPv4.
    pub v4: bool,
    /// IPv6.
    pub v6: bool,
}

impl Families {
    /// Whether an address is of one of them.
    pub fn contain(self, address: IpAddr) -> bool {
        if address.is_ipv4() { self.v4 } else { self.v6 }
    }
}

/// An address lent by a relay, which routes it to the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The address; none where the relay has none to give.
    pub address: Option<IpAddr>,
    /// For so long, in seconds, unless it is asked for again.
    pub seconds: u32,
    /// What the relay calls itself: at most [`NAME_MAX`] octets without control characters.
    pub relay: String,
}

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The sender ends.
    Leaving,
    /// The sender's configuration does not allow the receiver any more.
    NotAllowed,
}

mod kind {
    pub(super) const PING: u8 = 1;
    pub(super) const PONG: u8 = 2;
    pub(super) const ANNOUNCE: u8 = 3;
    pub(super) const ANNOUNCE_ACK: u8 = 4;
    pub(super) const RELAYS: u8 = 5;
    pub(super) const LEASE_REQUEST: u8 = 6;
    pub(super) const LEASE: u8 = 7;
    pub(super) const CLOSE: u8 = 8;
}

impl Message {
    /// The message's octets, at most [`MESSAGE_MAX`].
    pub fn emit(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self {
            Message::Ping(number) => {
                bytes.push(kind::PING);
                bytes.extend(number.to_be_bytes());
            }
            Message::Pong(number) => {
                bytes.push(kind::PONG);
                bytes.extend(number.to_be_bytes());
            }
            Message::Announce { sequence, prefixes } => {
                bytes.push(kind::ANNOUNCE);
                bytes.extend(sequence.to_be_bytes());
                bytes.push(prefixes.len().min(PREFIXES_MAX) as u8);
                for (address, length) in prefixes.iter().take(PREFIXES_MAX) {
                    put_address(&mut bytes, Some(*address));
                    bytes.push(*length);
                }
            }
            Message::AnnounceAck(sequence) => {
                bytes.push(kind::ANNOUNCE_ACK);
                bytes.extend(sequence.to_be_bytes());
            }
            Message::Relays(relays) => {
                bytes.extend([kind::RELAYS, relays.len().min(RELAYS_MAX) as u8]);
                for relay in relays.iter().take(RELAYS_MAX) {
                    put_address(&mut bytes, Some(relay.address.ip()));
                    bytes.extend(relay.address.port().to_be_bytes());
                    bytes.extend(relay.key);
                }
            }
            Message::LeaseRequest { families, wish } => {
                let wanted = u8::from(families.v4) | u8::from(families.v6) << 1;
                bytes.extend([kind::LEASE_REQUEST, wanted]);
                put_address(&mut bytes, *wish);
            }
            Message::Lease(lease) => {
                bytes.push(kind::LEASE);
                put_address(&mut bytes, lease.address);
                bytes.extend(lease.seconds.to_be_bytes());
                let name = cut(&lease.relay);
                bytes.push(name.len() as u8);
                bytes.extend(name.as_bytes());
            }
            Message::Close(reason) => bytes.extend([kind::CLOSE, *reason as u8 + 1]),
        }
        bytes
    }

    /// Reads a message; nothing may be missing, be out of range or follow it.
    pub fn parse(bytes: &[u8]) -> Option<Message> {
        let mut reader = Reader(bytes);
        let message = match reader.u8()? {
            kind::PING => Message::Ping(u64::from_be_bytes(reader.array()?)),
            kind::PONG => Message::Pong(u64::from_be_bytes(reader.array()?)),
            kind::ANNOUNCE => {
                let sequence = reader.u32()?;
                Message::Announce { sequence, prefixes: reader.list(PREFIXES_MAX, Reader::prefix)? }
            }
            kind::ANNOUNCE_ACK => Message::AnnounceAck(reader.u32()?),
            kind::RELAYS => Message::Relays(reader.list(RELAYS_MAX, Reader::relay)?),
            kind::LEASE_REQUEST => {
                let wanted = reader.u8().filter(|wanted| (1..=3).contains(wanted))?;
                let families = Families { v4: wanted & 1 != 0, v6: wanted & 2 != 0 };
                Message::LeaseRequest { families, wish: reader.address()? }
            }
            kind::LEASE => Message::Lease(Lease {
                address: reader.address()?,
                seconds: reader.u32()?,
                relay: reader.name()?,
            }),
            kind::CLOSE => Message::Close(match reader.u8()? {
                1 => CloseReason::Leaving,
                2 => CloseReason::NotAllowed,
                _ => return None,
            }),
            _ => return None,
        };
        reader.0.is_empty().then_some(message)
    }
}

/// | 0, 4 or 6 | octets of the address |
fn put_address(bytes: &mut Vec<u8>, address: Option<IpAddr>) {
    match address {
        None => bytes.push(0),
        Some(IpAddr::V4(address)) => {
            bytes.push(4);
            bytes.extend(address.octets());
        }
        Some(IpAddr::V6(address)) => {
            bytes.push(6);
            bytes.extend(address.octets());
        }
    }
}

/// As much of a name as may be sent.
fn cut(name: &str) -> &str {
    &name[..name.floor_char_boundary(NAME_MAX)]
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        Some(self.array::<1>()?[0])
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.array()?))
    }

    fn address(&mut self) -> Option<Option<IpAddr>> {
        Some(match self.u8()? {
            0 => None,
            4 => Some(Ipv4Addr::from(self.array::<4>()?).into()),
            6 => Some(Ipv6Addr::from(self.array::<16>()?).into()),
            _ => return None,
        })
    }

    fn list<T>(&mut self, max: usize, read: fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = usize::from(self.u8()?);
        if count > max {
            return None;
        }
        (0..count).map(|_| read(self)).collect()
    }

    fn prefix(&mut self) -> Option<(IpAddr, u8)> {
        let (address, length) = (self.address()??, self.u8()?);
        let host_bits = match address {
            IpAddr::V4(v4) if length <= 32 => {
                v4.to_bits().checked_shl(length.into()).unwrap_or(0) != 0
            }
            IpAddr::V6(v6) if length <= 128 => {
                v6.to_bits().checked_shl(length.into()).unwrap_or(0) != 0
            }
            _ => return None,
        };
        (!host_bits).then_some((address, length))
    }

    fn relay(&mut self) -> Option<RelayAddress> {
        let address = self.address()??;
        let port = u16::from_be_bytes(self.array()?);
        Some(RelayAddress { address: SocketAddr::new(address, port), key: self.array()? })
    }

    fn name(&mut self) -> Option<String> {
        let length = usize::from(self.u8()?);
        let name = std::str::from_utf8(self.take(length)?).ok()?;
        let fits = length <= NAME_MAX && !name.contains(char::is_control);
        fits.then(|| name.to_owned())
    }
}

#[cfg(test)]
mod tests;
