//! What the Xcast4 and the Xcast6 header share: the octets of version, flags and number of
//! destinations, the bitmap in memory, and what can be wrong.

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
