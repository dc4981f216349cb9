//! The backbone of Internet2 as it was from 2003 to 2007, called Abilene: eleven routers, fixed.

use std::time::Duration;

use super::{Link, Underlay};

/// The cities of the routers, from west to east.
pub const CITIES: [&str; 11] = [
    "Seattle",
    "Sunnyvale",
    "Los Angeles",
    "Denver",
    "Kansas City",
    "Houston",
    "Chicago",
    "Indianapolis",
    "Atlanta",
    "Washington",
    "New York",
];

/// Which routers are joined, by their places in [`CITIES`], and how far apart the two cities are: the
/// great circle between their centers, in kilometers, on a sphere of 6,371 km.
const LINKS: [(usize, usize, u64); 14] = [
    (0, 1, 1139),  // Seattle - Sunnyvale
    (0, 3, 1641),  // Seattle - Denver
    (1, 2, 504),   // Sunnyvale - Los Angeles
    (1, 3, 1503),  // Sunnyvale - Denver
    (2, 5, 2206),  // Los Angeles - Houston
    (3, 4, 897),   // Denver - Kansas City
    (4, 5, 1041),  // Kansas City - Houston
    (4, 7, 727),   // Kansas City - Indianapolis
    (5, 8, 1128),  // Houston - Atlanta
    (6, 7, 265),   // Chicago - Indianapolis
    (6, 10, 1144), // Chicago - New York
    (7, 8, 688),   // Indianapolis - Atlanta
    (8, 9, 873),   // Atlanta - Washington
    (9, 10, 327),  // Washington - New York
];

/// Light takes so long for a kilometer of fiber (refractive index 1.47, rounded up).
const MICROS_PER_KILOMETER: u64 = 5;

/// The network, without hosts.
pub fn abilene() -> Underlay {
    let delay = |kilometers| Duration::from_micros(kilometers * MICROS_PER_KILOMETER);
    let links = LINKS.map(|(one, other, kilometers)| Link::new(one, other, delay(kilometers)));
    Underlay::new(CITIES.len(), links.to_vec())
}
