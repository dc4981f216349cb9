//! Printing: lines and complaints. A reader that has gone away ends the command quietly.

use std::io::{self, Write};

use super::Failure;

/// Prints one line to standard output, at once.
pub(super) fn line(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = writeln!(out, "{text}").and_then(|()| out.flush());
    written.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::Work(String::new()),
        _ => Failure::Work(format!("cannot write to standard output: {error}")),
    })
}

/// Prints an error for people. Where even that fails there is nobody to tell.
pub(super) fn complain(text: &str) {
    let _nobody = writeln!(io::stderr(), "overlay-host: {text}");
}

/// Prints a note that is not part of the output.
pub(super) fn note(text: &str) {
    let _nobody = writeln!(io::stderr(), "{text}");
}
