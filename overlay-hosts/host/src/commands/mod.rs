//! The command line.
//!
//! Exit status: 0 done, 1 the work failed, 2 wrong usage or configuration.

mod ask;
mod output;
mod run;
mod show;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
}

/// Why a command ends without success.
#[derive(Debug)]
enum Failure {
    /// The work failed: exit status 1.
    Work(String),
    /// Wrong usage or configuration: exit status 2.
    Usage(String),
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
    };
    let (message, status) = match done {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Work(message)) => (message, 1),
        Err(Failure::Usage(message)) => (message, 2),
    };
    if !message.is_empty() {
        output::complain(&message);
    }
    ExitCode::from(status)
}

/// `XCAST_LOG` chooses what is logged, such as `debug` or `overlay_host::daemon=debug`.
fn log_to_stderr() {
    use std::io::IsTerminal;
    let filter = tracing_subscriber::EnvFilter::try_from_env("XCAST_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        // Where the log cannot be written, there is nowhere to complain either.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
}
