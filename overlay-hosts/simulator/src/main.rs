//! `overlay-sim`: the experiments.

fn main() {}
