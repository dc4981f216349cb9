//! The `overlay-host` command.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    overlay_host::commands::main()
}
