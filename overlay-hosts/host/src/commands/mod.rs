//! The command line.
//!
//! Exit status: 0 done, 1 the work failed, 2 wrong usage or configuration.

mod ask;
mod multicast;
mod picture;
mod run;
mod sessions;
mod show;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use xcast::tools::{Failure, exit_code, log_to_stderr, output};

/// Run peers of an overlay network, and ask it
#[derive(Parser)]
#[command(name = "overlay-host", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run in the foreground. SIGTERM leaves the overlay and stops with status 0
    Run(run::Run),
    /// Check a configuration file: all errors at once, each as FILE:LINE:COL
    Check(run::Check),
    /// Show the state of a running host
    Show(show::Show),
    /// Keep a value in the overlay
    Put(ask::Put),
    /// Print the value that the overlay keeps under a key
    Get(ask::Get),
    /// Say who is responsible for a key
    FindNode(ask::FindNode),
    /// List hosts of the pool: where they are, and what they have to give
    Pool(multicast::Pool),
    /// Send a file, or what comes by standard input, to many hosts by a tree that is planned
    Multicast(multicast::Multicast),
    /// Receive a multicast session
    Receive(multicast::Receive),
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse(); // exits with 2 on wrong usage
    log_to_stderr();
    let done = match arguments.command {
        Command::Run(run) => run::run(&run),
        Command::Check(check) => run::check(&check),
        Command::Show(show) => show::run(&show),
        Command::Put(put) => ask::put(put),
        Command::Get(get) => ask::get(get),
        Command::FindNode(find) => ask::find_node(find),
        Command::Pool(pool) => multicast::pool(&pool),
        Command::Multicast(multicast) => multicast::multicast(&multicast),
        Command::Receive(receive) => multicast::receive(&receive),
    };
    exit_code("overlay-host", done)
}
