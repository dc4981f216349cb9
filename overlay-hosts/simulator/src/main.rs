//! `overlay-sim`: the experiments.

use std::process::ExitCode;

fn main() -> ExitCode {
    overlay_simulator::cli::main()
}
