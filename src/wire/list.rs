//! What the Xcast4 and the Xcast6 header share: the octets of version, flags and number of
//! destinations, the bitmap in memory, and what can be wrong.

use super::checksum::Sum;

pub(super) const VERSION: u8 = 1;
pub(super) const ANONYMOUS: u8 = 0x08;
pub(super) const KEEP_XCAST: u8 = 0x04;
pub(super) const DS_BYTES: u8 = 0x02;
/// The reserved bit in front of NBR_OF_DEST.
pub(super) const RESERVED: u8 = 0x80;

/// Where the lists of a header begin that have an item for each destination: octets from its
/// start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lists {
    pub(crate) addresses: usize,
    pub(crate) ds_bytes: Option<usize>,
    pub(crate) ports: Option<usize>,
}

/// The bitmap with nothing but the bit of destination `index` (< 128).
pub const fn bit(index: usize) -> u128 {
    1 << (127 - index)
}

/// The bitmap in which the first `count` (<= 127) destinations are live.
pub const fn all(count: usize) -> u128 {
    !(u128::MAX >> count)
}

/// The bitmap that the first `len` (<= 16) octets hold, a multiple of 4.
#[inline(always)]
pub(super) fn read_bitmap(octets: &[u8], len: usize) -> u128 {
    // Most are of one word. Where there are 16 octets, behind the bitmap or not, they are read at once.
    match (octets.first_chunk::<4>(), octets.first_chunk::<16>()) {
        (Some(word), _) if len == 4 => u128::from(u32::from_be_bytes(*word)) << 96,
        (_, Some(octets)) => {
            u128::from_be_bytes(*octets) & !(u128::MAX.unbounded_shr(8 * len as u32))
        }
        (_, None) => {
            let mut bitmap = [0; 16];
            bitmap[..len].copy_from_slice(&octets[..len]);
            u128::from_be_bytes(bitmap)
        }
    }
}

/// The indices of the destinations that are live in `bitmap`, in list order.
pub fn live_indices(mut bitmap: u128) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let index = bitmap.leading_zeros() as usize;
        (index < 128).then(|| {
            bitmap &= !bit(index);
            index
        })
    })
}

/// How copies of a checked header get bitmaps of their own: what the copies share is found out once.
/// With A set, addresses that are not live are zeroed. The checksum follows incrementally
/// (RFC 1624).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pruning {
    pub(super) checksum_at: u8,
    pub(super) bitmap_at: u8,
    pub(super) bitmap_len: u8,
    /// Octets of an address; addresses follow the bitmap.
    pub(super) address_len: u8,
    pub(super) count: u8,
    pub(super) anonymous: bool,
    /// What the checksum is the complement of, without the bitmap.
    pub(super) others: Sum,
}

impl Pruning {
    /// Makes `live` the bitmap of a copy of the header.
    #[inline]
    pub(crate) fn apply(&self, header: &mut [u8], live: u128) {
        let mut sum = self.others.bitmap(live);
        let (at, len) = (usize::from(self.bitmap_at), usize::from(self.bitmap_len));
        if self.anonymous {
            sum = self.hide(header, live, sum);
        }
        let bitmap = live.to_be_bytes();
        match header[at..at + len].as_chunks_mut::<4>().0 {
            [one] => *one = [bitmap[0], bitmap[1], bitmap[2], bitmap[3]],
            words => {
                for (word, new) in words.iter_mut().zip(bitmap.as_chunks().0) {
                    *word = *new;
                }
            }
        }
        let at = usize::from(self.checksum_at);
        header[at..at + 2].copy_from_slice(&sum.checksum().to_be_bytes());
    }

    /// The same, in as few steps as it takes, where 16 octets follow the header's fixed part: those behind
    /// the bitmap stay as they are. Not for a header with A set.
    #[inline(always)]
    pub(crate) fn apply_wide(&self, header: &mut [u8], live: u128) {
        let (at, check) = (usize::from(self.bitmap_at), usize::from(self.checksum_at));
        let Some(room) = header.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<16>) else {
            return;
        };
        let behind = u128::MAX.unbounded_shr(8 * u32::from(self.bitmap_len));
        *room = (u128::from_be_bytes(*room) & behind | live).to_be_bytes();
        header[check..check + 2]
            .copy_from_slice(&self.others.bitmap(live).checksum().to_be_bytes());
    }

    #[cold]
    fn hide(&self, header: &mut [u8], live: u128, mut sum: Sum) -> Sum {
        let addresses = usize::from(self.bitmap_at) + usize::from(self.bitmap_len);
        let length = usize::from(self.address_len);
        for index in live_indices(all(usize::from(self.count)) & !live) {
            let address = &mut header[addresses + length * index..][..length];
            sum = sum.word(!Sum::default().bytes(address).fold());
            address.fill(0);
        }
        sum
    }
}

/// Why bytes are not an Xcast header; the first failure in the order given here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// VERSION is not 1.
    #[error("the version is not 1")]
    Version,
    /// The header is cut short, or its length is not what NBR_OF_DEST and the flags imply.
    #[error("the length is not what the number of destinations and the flags imply")]
    Length,
    /// The header's checksum is wrong.
    #[error("the header checksum is wrong")]
    Checksum,
    /// NBR_OF_DEST is 0.
    #[error("there is no destination")]
    NoDestination,
    /// A bit behind the last destination's is set.
    #[error("a spare bit of the bitmap is set")]
    SpareBits,
}
