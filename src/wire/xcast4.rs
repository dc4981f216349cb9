//! The Xcast4 header (RFC 5058 section 9.2.2, figures 4 and 5), which stands between the IPv4
//! header and the transport header.
//!
//! ```text
//!  0               1               2               3
//! |VERSION|A|X|D|P|R| NBR_OF_DEST |           CHECKSUM            |
//! |                       CHANNEL IDENTIFIER                      |
//! |    PROT ID    |    LENGTH     |             RESV              |
//! |  BITMAP, ceil(N/32) words, the first destination's bit first  |
//! |  DESTINATIONS, N x 4 octets                                   |
//! |  DS BYTES, N octets, padded to a word, if D                   |
//! |  PORTS, N x 2 octets, padded to a word, if P                  |
//! ```
//!
//! A bitmap is held as a `u128` whose most significant bit is the first destination's, just as
//! on the wire: see [`bit`] and [`live_indices`].

use std::net::Ipv4Addr;

use super::checksum::{self, Sum};
use super::list::{
    ANONYMOUS, DS_BYTES, KEEP_XCAST, Lists, Pruning, RESERVED, VERSION, read_bitmap,
};
pub use super::list::{Malformed, all, bit, live_indices};
use super::{read_u16, read_u32};

/// Length of the fixed part, in octets.
pub const FIXED_LEN: usize = 12;
/// The most destinations a header can list.
pub const DESTINATIONS_MAX: usize = 127;
/// The longest header, with 127 destinations, DS bytes and ports, in octets.
pub const HEADER_LEN_MAX: usize = 230 * 4;

const PORTS: u8 = 0x01;
const CHECKSUM: usize = 2;

/// Length in octets of a header for `count` destinations.
pub const fn header_len(count: usize, ds_bytes: bool, ports: bool) -> usize {
    let mut words = FIXED_LEN / 4 + count.div_ceil(32) + count;
    if ds_bytes {
        words += count.div_ceil(4);
    }
    if ports {
        words += count.div_ceil(2);
    }
    words * 4
}

/// A checked view of an Xcast4 header.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a> {
    fixed: &'a [u8; FIXED_LEN],
    /// All of it.
    bytes: &'a [u8],
    bitmap: u128,
}

impl<'a> Header<'a> {
    /// Checks the header at the start of `bytes`, the payload of an IPv4 packet.
    #[inline(always)]
    pub fn parse(bytes: &'a [u8]) -> Result<Header<'a>, Malformed> {
        let Some(fixed) = bytes.first_chunk::<FIXED_LEN>() else {
            return Err(match bytes.first() {
                Some(first) if first >> 4 != VERSION => Malformed::Version,
                _ => Malformed::Length,
            });
        };
        if fixed[0] >> 4 != VERSION {
            return Err(Malformed::Version);
        }
        let header = Header { fixed, bytes, bitmap: 0 };
        let length = usize::from(fixed[9]) * 4;
        let implied = header_len(header.count(), header.has_ds_bytes(), header.has_ports());
        if length != implied || bytes.len() < length {
            return Err(Malformed::Length);
        }
        let (bytes, count) = (&bytes[..length], header.count());
        if checksum::checksum(bytes) != 0 {
            return Err(Malformed::Checksum);
        }
        if count == 0 {
            return Err(Malformed::NoDestination);
        }
        let bitmap = read_bitmap(&bytes[FIXED_LEN..], bitmap_len(count));
        if bitmap & !all(count) != 0 {
            return Err(Malformed::SpareBits);
        }
        Ok(Header { fixed, bytes, bitmap })
    }

    /// A: addresses that are no longer live are to be zeroed.
    #[inline]
    pub fn is_anonymous(&self) -> bool {
        self.fixed[0] & ANONYMOUS != 0
    }

    /// X: the packet stays Xcast to its end.
    #[inline]
    pub fn keeps_xcast(&self) -> bool {
        self.fixed[0] & KEEP_XCAST != 0
    }

    /// D: there is a DS byte for each destination.
    #[inline]
    pub fn has_ds_bytes(&self) -> bool {
        self.fixed[0] & DS_BYTES != 0
    }

    /// P: there is a port for each destination.
    #[inline]
    pub fn has_ports(&self) -> bool {
        self.fixed[0] & PORTS != 0
    }

    /// The number of destinations listed, live or not.
    #[inline]
    pub fn count(&self) -> usize {
        usize::from(self.fixed[1] & !RESERVED)
    }

    /// The channel identifier; 0 = none.
    #[inline]
    pub fn channel(&self) -> u32 {
        read_u32(self.fixed, 4)
    }

    /// The protocol of what follows (PROT ID).
    #[inline]
    pub fn protocol(&self) -> u8 {
        self.fixed[8]
    }

    /// Length of the header in octets.
    #[inline]
    pub fn header_len(&self) -> usize {
        self.bytes.len()
    }

    /// The live destinations.
    #[inline]
    pub fn bitmap(&self) -> u128 {
        self.bitmap
    }

    /// Destination `index` of the list, which must be below [`count`](Header::count).
    pub fn destination(&self, index: usize) -> Ipv4Addr {
        read_u32(self.bytes, destinations_at(self.count()) + 4 * index).into()
    }

    /// The DS byte of destination `index` (below the count), if D.
    pub fn ds_byte(&self, index: usize) -> Option<u8> {
        self.lists().ds_bytes.map(|at| self.bytes[at + index])
    }

    /// The port of destination `index` (below the count), if P.
    pub fn port(&self, index: usize) -> Option<u16> {
        self.lists().ports.map(|at| read_u16(self.bytes, at + 2 * index))
    }

    fn lists(&self) -> Lists {
        lists(self.count(), self.has_ds_bytes(), self.has_ports())
    }
}

const fn bitmap_len(count: usize) -> usize {
    count.div_ceil(32) * 4
}

const fn destinations_at(count: usize) -> usize {
    FIXED_LEN + bitmap_len(count)
}

/// How copies of a checked header, whose bitmap is `live`, get bitmaps of their own.
#[inline]
pub(crate) fn pruning(header: &[u8], live: u128) -> Pruning {
    let Some(fixed) = header.first_chunk::<FIXED_LEN>() else { return Pruning::default() };
    let count = fixed[1] & !RESERVED;
    let others = Sum::default().bitmap(live).negated().word(!read_u16(fixed, CHECKSUM));
    Pruning {
        checksum_at: CHECKSUM as u8,
        bitmap_at: FIXED_LEN as u8,
        bitmap_len: bitmap_len(usize::from(count)) as u8,
        address_len: 4,
        count,
        anonymous: fixed[0] & ANONYMOUS != 0,
        others,
    }
}

/// Whether a header has no flags, so that it lists addresses alone.
#[inline]
pub(crate) fn lists_addresses_alone(header: &[u8]) -> bool {
    header.first() == Some(&(VERSION << 4))
}

/// Where the lists begin of a header for `count` destinations.
pub(crate) fn lists(count: usize, ds_bytes: bool, ports: bool) -> Lists {
    Lists {
        addresses: destinations_at(count),
        ds_bytes: ds_bytes.then(|| destinations_at(count) + 4 * count),
        ports: ports.then(|| header_len(count, ds_bytes, false)),
    }
}

/// Writes into all of `out` what a checked header is when it lists its `live` destinations alone;
/// its length is [`header_len`] of their number.
pub(crate) fn compact(header: &[u8], live: u128, out: &mut [u8]) {
    let (before, after) = (usize::from(header[1] & !RESERVED), live.count_ones() as usize);
    let (ds_bytes, ports) = (header[0] & DS_BYTES != 0, header[0] & PORTS != 0);
    let from = lists(before, ds_bytes, ports);
    let to = lists(after, ds_bytes, ports);
    out.fill(0);
    out[..FIXED_LEN].copy_from_slice(&header[..FIXED_LEN]);
    out[1] = header[1] & RESERVED | after as u8;
    out[9] = (out.len() / 4) as u8;
    out[FIXED_LEN..to.addresses].copy_from_slice(&all(after).to_be_bytes()[..bitmap_len(after)]);
    let mut copy = |from: usize, to: usize, len: usize| {
        out[to..to + len].copy_from_slice(&header[from..from + len]);
    };
    for (new, old) in live_indices(live).enumerate() {
        copy(from.addresses + 4 * old, to.addresses + 4 * new, 4);
        if let (Some(from), Some(to)) = (from.ds_bytes, to.ds_bytes) {
            copy(from + old, to + new, 1);
        }
        if let (Some(from), Some(to)) = (from.ports, to.ports) {
            copy(from + 2 * old, to + 2 * new, 2);
        }
    }
    out[CHECKSUM..CHECKSUM + 2].fill(0);
    let check = checksum::checksum(out);
    out[CHECKSUM..CHECKSUM + 2].copy_from_slice(&check.to_be_bytes());
}

/// A header to be emitted: what a sender decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repr {
    /// A: hide the destinations that a copy does not serve.
    pub anonymous: bool,
    /// X: never become unicast.
    pub keep_xcast: bool,
    /// The channel identifier; 0 = none.
    pub channel: u32,
    /// Protocol of what follows.
    pub protocol: u8,
    /// The live destinations, see [`all`].
    pub bitmap: u128,
    /// The list, 1 to 127 addresses.
    pub destinations: Vec<Ipv4Addr>,
    /// One DS byte a destination (DSCP in the high six bits), or none at all.
    pub ds_bytes: Vec<u8>,
    /// One port a destination, or none at all.
    pub ports: Vec<u16>,
}

/// A header that cannot be written; nothing was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unwritable {
    /// No destination, or more than 127.
    #[error("an Xcast4 header lists 1 to 127 destinations, not {0}")]
    Count(usize),
    /// DS bytes or ports are present in another number than destinations.
    #[error("there must be as many DS bytes and ports as destinations, or none")]
    Unequal,
}

impl Repr {
    /// What a view holds.
    pub fn of(header: &Header<'_>) -> Repr {
        let each = 0..header.count();
        Repr {
            anonymous: header.is_anonymous(),
            keep_xcast: header.keeps_xcast(),
            channel: header.channel(),
            protocol: header.protocol(),
            bitmap: header.bitmap(),
            destinations: each.clone().map(|i| header.destination(i)).collect(),
            ds_bytes: each.clone().filter_map(|i| header.ds_byte(i)).collect(),
            ports: each.filter_map(|i| header.port(i)).collect(),
        }
    }

    /// The length of the header in octets.
    pub fn header_len(&self) -> usize {
        header_len(self.destinations.len(), !self.ds_bytes.is_empty(), !self.ports.is_empty())
    }

    /// Writes the header into the first [`header_len`](Repr::header_len) octets of `buffer`.
    pub fn emit(&self, buffer: &mut [u8]) -> Result<(), Unwritable> {
        let count = self.destinations.len();
        if !(1..=DESTINATIONS_MAX).contains(&count) {
            return Err(Unwritable::Count(count));
        }
        if [self.ds_bytes.len(), self.ports.len()].iter().any(|&n| n != 0 && n != count) {
            return Err(Unwritable::Unequal);
        }
        let header = &mut buffer[..self.header_len()];
        header.fill(0);
        header[0] = VERSION << 4 | self.flags();
        header[1] = count as u8;
        header[4..8].copy_from_slice(&self.channel.to_be_bytes());
        header[8] = self.protocol;
        header[9] = (header.len() / 4) as u8;
        let octets = bitmap_len(count);
        header[FIXED_LEN..][..octets].copy_from_slice(&self.bitmap.to_be_bytes()[..octets]);
        self.emit_lists(&mut header[destinations_at(count)..]);
        let check = checksum::checksum(header);
        header[CHECKSUM..CHECKSUM + 2].copy_from_slice(&check.to_be_bytes());
        Ok(())
    }

    fn flags(&self) -> u8 {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        flag(self.anonymous, ANONYMOUS)
            | flag(self.keep_xcast, KEEP_XCAST)
            | flag(!self.ds_bytes.is_empty(), DS_BYTES)
            | flag(!self.ports.is_empty(), PORTS)
    }

    fn emit_lists(&self, lists: &mut [u8]) {
        let (addresses, rest) = lists.split_at_mut(4 * self.destinations.len());
        for (octets, address) in addresses.chunks_exact_mut(4).zip(&self.destinations) {
            octets.copy_from_slice(&address.octets());
        }
        let (ds_bytes, ports) = rest.split_at_mut(self.ds_bytes.len().next_multiple_of(4));
        ds_bytes[..self.ds_bytes.len()].copy_from_slice(&self.ds_bytes);
        for (octets, port) in ports.chunks_exact_mut(2).zip(&self.ports) {
            octets.copy_from_slice(&port.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests;
