//! What peers say to each other of what they measure, and what can be believed of it.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::coordinates::{Coordinate, DIMENSIONS_MAX};

/// No coordinate is farther out on any axis, milliseconds.
const AXIS_MAX: f32 = 1e5;
/// Pairs that a heartbeat tells of: with a coordinate they fill a slot at most
/// ([`SLOT_LEN_MAX`](crate::ring::SLOT_LEN_MAX)).
pub(super) const TOLD_MAX: usize = 6;

/// A coordinate as it travels: a number for each dimension, milliseconds.
pub(super) type Place = Vec<f32>;

/// A message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Message {
    /// How far are you? Answered at once.
    Measure { nonce: u64 },
    /// So far; and there I stand, if I stand anywhere.
    Measured { nonce: u64, at: Option<Place> },
    /// One of two that leave back to back.
    Pair { number: u32 },
}

/// What a heartbeat says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Slot {
    /// Where the sender stands.
    pub(super) at: Option<Place>,
    /// What the last pairs that it has received say.
    pub(super) pairs: Vec<Told>,
}

/// What a pair says, told to who has sent it (seed 003 paragraph 0077).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Told {
    /// To whom.
    pub(super) tag: u32,
    /// Of which pair.
    pub(super) number: u32,
    /// How many kilobits a second.
    pub(super) kilobits: u32,
}

/// A coordinate to be sent.
pub(super) fn emit(at: &Coordinate, dimensions: usize) -> Place {
    at.axes[..dimensions].iter().map(|axis| *axis as f32).collect()
}

/// A coordinate that was received: `None` if it has other dimensions, or cannot be.
pub(super) fn read(place: &[f32], dimensions: usize) -> Option<Coordinate> {
    let is_possible = |axis: &f32| axis.is_finite() && axis.abs() <= AXIS_MAX;
    if place.len() != dimensions.min(DIMENSIONS_MAX) || !place.iter().all(is_possible) {
        return None;
    }
    let mut at = Coordinate::ORIGIN;
    at.axes.iter_mut().zip(place).for_each(|(axis, said)| *axis = f64::from(*said));
    Some(at)
}
