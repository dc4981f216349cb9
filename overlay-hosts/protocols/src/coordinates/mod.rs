//! Network coordinates (seed 003 paragraphs 0073 and 0074): every peer has a place in a Euclidean
//! space, so that the latency of any two is the distance of their places, and nobody needs to ping.

mod embedding;
mod fit;
mod point;
mod simplex;
mod vivaldi;

pub use embedding::Embedding;
pub use fit::{Fit, Measured, error};
pub use point::{Coordinate, DIMENSIONS_MAX};
pub use vivaldi::{Spot, Vivaldi, VivaldiConfig};

#[cfg(test)]
mod tests;
