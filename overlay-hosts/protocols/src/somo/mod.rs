//! The self-organized metadata overlay (seed 003 paragraphs 0045 to 0070): a tree of all machines of a
//! ring, in which reports go up and news go down.

mod shape;
mod tree;
mod wide;

pub use shape::{Shape, owner, parents};
pub use tree::{DEGREE_MAX, DEGREE_MIN, LEVEL_MAX, Range, Tree, VirtualNode};
