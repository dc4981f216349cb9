//! The `xcast` command.

#![deny(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    xcast::tools::main()
}
