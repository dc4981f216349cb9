//! The Xcast6 header (RFC 5058 section 9.3.2, figure 6), an IPv6 Routing header, and the list of
//! ports in a Destination Options header behind it (figure 7).
//!
//! ```text
//!  0               1               2               3
//! |  Next Header  |   HdrExtLen   | Routing Type  |       0       |
//! |VERSION|A|X|D|R|R| NBR_OF_DEST |           CHECKSUM            |
//! |                 CHANNEL IDENTIFIER, 16 octets                 |
//! |  BITMAP, ceil(N/64) x 8 octets, first destination's bit first |
//! |  DESTINATIONS, N x 16 octets                                  |
//! |  DS BYTES, N octets, padded to 8, if D                        |
//! ```
//!
//! A bitmap is held as a `u128` whose most significant bit is the first destination's, just as
//! on the wire: see [`bit`] and [`live_indices`].

mod ports;

use std::net::Ipv6Addr;

use super::checksum::{self, Sum};
use super::list::{
    ANONYMOUS, DS_BYTES, KEEP_XCAST, Lists, Pruning, RESERVED, VERSION, read_bitmap,
};
pub use super::list::{Malformed, all, bit, live_indices};
use super::{ipv6, read_address, read_u16};
pub(crate) use ports::{
    PORTS_HEADER_LEN_MAX, emit_ports, fill_padding, find_ports, ports_option_len,
};

/// Length of the fixed part, in octets.
pub const FIXED_LEN: usize = 24;
/// The most destinations a header without DS bytes can list: HdrExtLen counts no further.
pub const DESTINATIONS_MAX: usize = 125;
/// The most destinations a header with DS bytes can list.
pub const DESTINATIONS_MAX_WITH_DS: usize = 118;
/// The longest header, in octets.
pub const HEADER_LEN_MAX: usize = 2048;

const HDR_EXT_LEN: usize = 1;
const ROUTING_TYPE: usize = 2;
const ZERO: usize = 3;
const FLAGS: usize = 4;
const COUNT: usize = 5;
const CHECKSUM: usize = 6;
const CHANNEL: usize = 8;

/// Length in octets of a header for `count` destinations.
pub const fn header_len(count: usize, ds_bytes: bool) -> usize {
    let ds_len = if ds_bytes { count.next_multiple_of(8) } else { 0 };
    destinations_at(count) + 16 * count + ds_len
}

/// A checked view of an Xcast6 header.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a> {
    bytes: &'a [u8],
}

impl<'a> Header<'a> {
    /// Checks the Routing header at the start of `bytes`, whose first octet is its Next Header.
    /// That its Routing Type is the network's is for the caller to see: a Routing header of
    /// another type is not a malformed Xcast6 header, it is none.
    pub fn parse(bytes: &'a [u8]) -> Result<Header<'a>, Malformed> {
        match bytes.get(FLAGS) {
            None => return Err(Malformed::Length),
            Some(flags) if flags >> 4 != VERSION => return Err(Malformed::Version),
            Some(_) if bytes.len() < FIXED_LEN || bytes[ZERO] != 0 => {
                return Err(Malformed::Length);
            }
            Some(_) => {}
        }
        let header = Header { bytes };
        // Too many destinations imply more octets than HdrExtLen can say, so never equal it.
        let length = (usize::from(bytes[HDR_EXT_LEN]) + 1) * 8;
        let implied = header_len(header.count(), header.has_ds_bytes());
        if length != implied || bytes.len() < length {
            return Err(Malformed::Length);
        }
        let header = Header { bytes: &bytes[..length] };
        if checksum::checksum(header.bytes) != 0 {
            return Err(Malformed::Checksum);
        }
        if header.count() == 0 {
            return Err(Malformed::NoDestination);
        }
        if header.bitmap() & !all(header.count()) != 0 {
            return Err(Malformed::SpareBits);
        }
        Ok(header)
    }

    /// A: addresses that are no longer live are to be zeroed.
    pub fn is_anonymous(&self) -> bool {
        self.bytes[FLAGS] & ANONYMOUS != 0
    }

    /// X: the packet stays Xcast to its end.
    pub fn keeps_xcast(&self) -> bool {
        self.bytes[FLAGS] & KEEP_XCAST != 0
    }

    /// D: there is a DS byte for each destination.
    pub fn has_ds_bytes(&self) -> bool {
        self.bytes[FLAGS] & DS_BYTES != 0
    }

    /// The number of destinations listed, live or not.
    pub fn count(&self) -> usize {
        count(self.bytes)
    }

    /// The channel identifier; 0 = none.
    pub fn channel(&self) -> u128 {
        read_address(self.bytes, CHANNEL).to_bits()
    }

    /// What follows the header: an extension header or a protocol.
    pub fn next_header(&self) -> u8 {
        self.bytes[0]
    }

    /// The Routing Type.
    pub fn routing_type(&self) -> u8 {
        self.bytes[ROUTING_TYPE]
    }

    /// Length of the header in octets.
    pub fn header_len(&self) -> usize {
        self.bytes.len()
    }

    /// The live destinations.
    #[inline]
    pub fn bitmap(&self) -> u128 {
        read_bitmap(&self.bytes[FIXED_LEN..], bitmap_len(self.count()))
    }

    /// Destination `index` of the list, which must be below [`count`](Header::count).
    pub fn destination(&self, index: usize) -> Ipv6Addr {
        read_address(self.bytes, destinations_at(self.count()) + 16 * index)
    }

    /// The DS byte of destination `index` (below the count), if D.
    pub fn ds_byte(&self, index: usize) -> Option<u8> {
        lists(self.count(), self.has_ds_bytes()).ds_bytes.map(|at| self.bytes[at + index])
    }
}

fn count(header: &[u8]) -> usize {
    usize::from(header[COUNT] & !RESERVED)
}

const fn bitmap_len(count: usize) -> usize {
    count.div_ceil(64) * 8
}

const fn destinations_at(count: usize) -> usize {
    FIXED_LEN + bitmap_len(count)
}

/// How copies of a checked header, whose bitmap is `live`, get bitmaps of their own.
#[inline]
pub(crate) fn pruning(header: &[u8], live: u128) -> Pruning {
    let count = count(header);
    let others = Sum::default().bitmap(live).negated().word(!read_u16(header, CHECKSUM));
    Pruning {
        checksum_at: CHECKSUM as u8,
        bitmap_at: FIXED_LEN as u8,
        bitmap_len: bitmap_len(count) as u8,
        address_len: 16,
        count: count as u8,
        anonymous: header[FLAGS] & ANONYMOUS != 0,
        others,
    }
}

/// Where the lists begin of a header for `count` destinations.
pub(crate) fn lists(count: usize, ds_bytes: bool) -> Lists {
    let ds_bytes = ds_bytes.then(|| header_len(count, false));
    Lists { addresses: destinations_at(count), ds_bytes, ports: None }
}

/// Writes into all of `out` what a checked header is when it lists its `live` destinations alone;
/// its length is [`header_len`] of their number.
pub(crate) fn compact(header: &[u8], live: u128, out: &mut [u8]) {
    let after = live.count_ones() as usize;
    let ds_bytes = header[FLAGS] & DS_BYTES != 0;
    let (from, to) = (lists(count(header), ds_bytes), lists(after, ds_bytes));
    out.fill(0);
    out[..FIXED_LEN].copy_from_slice(&header[..FIXED_LEN]);
    out[1] = (out.len() / 8 - 1) as u8;
    out[COUNT] = header[COUNT] & RESERVED | after as u8;
    out[FIXED_LEN..to.addresses].copy_from_slice(&all(after).to_be_bytes()[..bitmap_len(after)]);
    for (new, old) in live_indices(live).enumerate() {
        let (at, was) = (to.addresses + 16 * new, from.addresses + 16 * old);
        out[at..at + 16].copy_from_slice(&header[was..was + 16]);
        if let (Some(from), Some(to)) = (from.ds_bytes, to.ds_bytes) {
            out[to + new] = header[from + old];
        }
    }
    out[CHECKSUM..CHECKSUM + 2].fill(0);
    let check = checksum::checksum(out);
    out[CHECKSUM..CHECKSUM + 2].copy_from_slice(&check.to_be_bytes());
}

/// Where the transport header begins in a packet of IPv6 that has been found to be Xcast: behind
/// all extension headers that say how long they are.
pub(crate) fn transport(packet: &[u8]) -> Option<usize> {
    use super::ipv6::next_header::{DESTINATION_OPTIONS, HOP_BY_HOP, ROUTING};
    let mut protocol = *packet.get(ipv6::field::NEXT_HEADER)?;
    let mut at = ipv6::HEADER_LEN;
    while matches!(protocol, HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS) {
        let header = packet.get(at..)?;
        at += ipv6::extension_len(header)?;
        protocol = header[0];
    }
    Some(at)
}

/// A header to be emitted: what a sender decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repr {
    /// A: hide the destinations that a copy does not serve.
    pub anonymous: bool,
    /// X: never become unicast.
    pub keep_xcast: bool,
    /// The channel identifier; 0 = none.
    pub channel: u128,
    /// What follows the header: an extension header or a protocol.
    pub next_header: u8,
    /// The Routing Type, a code point of the network.
    pub routing_type: u8,
    /// The live destinations, see [`all`].
    pub bitmap: u128,
    /// The list, 1 to 125 addresses, with DS bytes 1 to 118.
    pub destinations: Vec<Ipv6Addr>,
    /// One DS byte a destination (DSCP in the high six bits), or none at all.
    pub ds_bytes: Vec<u8>,
}

/// A header that cannot be written; nothing was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unwritable {
    /// No destination, or more than 125.
    #[error("an Xcast6 header lists 1 to 125 destinations, not {0}")]
    Count(usize),
    /// More than 118 destinations, with DS bytes.
    #[error("an Xcast6 header with DS bytes lists 1 to 118 destinations, not {0}")]
    CountWithDs(usize),
    /// DS bytes are present in another number than destinations.
    #[error("there must be as many DS bytes as destinations, or none")]
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
            next_header: header.next_header(),
            routing_type: header.routing_type(),
            bitmap: header.bitmap(),
            destinations: each.clone().map(|i| header.destination(i)).collect(),
            ds_bytes: each.filter_map(|i| header.ds_byte(i)).collect(),
        }
    }

    /// The length of the header in octets.
    pub fn header_len(&self) -> usize {
        header_len(self.destinations.len(), !self.ds_bytes.is_empty())
    }

    /// Writes the header into the first [`header_len`](Repr::header_len) octets of `buffer`.
    pub fn emit(&self, buffer: &mut [u8]) -> Result<(), Unwritable> {
        let count = self.destinations.len();
        if !(1..=DESTINATIONS_MAX).contains(&count) {
            return Err(Unwritable::Count(count));
        }
        if !self.ds_bytes.is_empty() && count > DESTINATIONS_MAX_WITH_DS {
            return Err(Unwritable::CountWithDs(count));
        }
        if !self.ds_bytes.is_empty() && self.ds_bytes.len() != count {
            return Err(Unwritable::Unequal);
        }
        let header = &mut buffer[..self.header_len()];
        header.fill(0);
        header[0] = self.next_header;
        header[HDR_EXT_LEN] = (header.len() / 8 - 1) as u8;
        header[ROUTING_TYPE] = self.routing_type;
        header[FLAGS] = VERSION << 4 | self.flags();
        header[COUNT] = count as u8;
        header[CHANNEL..FIXED_LEN].copy_from_slice(&self.channel.to_be_bytes());
        let octets = bitmap_len(count);
        header[FIXED_LEN..][..octets].copy_from_slice(&self.bitmap.to_be_bytes()[..octets]);
        let (addresses, ds_bytes) = header[destinations_at(count)..].split_at_mut(16 * count);
        for (octets, address) in addresses.chunks_exact_mut(16).zip(&self.destinations) {
            octets.copy_from_slice(&address.octets());
        }
        ds_bytes[..self.ds_bytes.len()].copy_from_slice(&self.ds_bytes);
        let check = checksum::checksum(header);
        header[CHECKSUM..CHECKSUM + 2].copy_from_slice(&check.to_be_bytes());
        Ok(())
    }

    fn flags(&self) -> u8 {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        flag(self.anonymous, ANONYMOUS)
            | flag(self.keep_xcast, KEEP_XCAST)
            | flag(!self.ds_bytes.is_empty(), DS_BYTES)
    }
}

#[cfg(test)]
mod tests;
