//! Objects on the peers of a DHT that refer to each other (seed 003 paragraphs 0033 to 0040).

mod reference;

pub use reference::Reference;
