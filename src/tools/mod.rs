//! The command line: one file a subcommand.
//!
//! Exit status: 0 done, 1 the work failed, 2 wrong usage or configuration.

mod bench;
mod capture;
mod experiment;
mod explain;
mod gateway;
mod key;
mod link_emulator;
pub mod output;
mod ping;
mod recv;
mod relay;
mod respond;
mod router;
mod send;
mod show;
mod trace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use show::exchange;

use crate::host::HostError;

/// Send one packet to many destinations: an Xcast (RFC 5058) router and its tools
#[derive(Parser)]
#[command(name = "xcast", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a router, or check its configuration
    #[command(subcommand)]
    Router(router::Command),
    /// Show the state of a running router
    Show(show::Show),
    /// Say what a running router would do with a packet, destination by destination, and why
    Explain(explain::Explain),
    /// Have a running router read its configuration file again
    Reload(show::Control),
    /// Stop a running router
    Drain(show::Control),
    /// Send a UDP datagram to many destinations in one packet
    Send(send::Send),
    /// Receive UDP datagrams and print them
    Recv(recv::Recv),
    Ping(ping::Ping),
    Trace(trace::Trace),
    Respond(respond::Respond),
    /// Write dropped packets, or those that cross a router's ports, to a file for Wireshark
    Capture(capture::Capture),
    Gateway(gateway::Gateway),
    /// Make a key, or show the public key of one: relays and hosts know each other by theirs
    #[command(subcommand)]
    Key(key::Command),
    LinkEmulator(link_emulator::LinkEmulator),
    /// Measure how fast it is on this machine
    #[command(subcommand)]
    Bench(bench::Command),
}

/// Why a command ends without success.
#[derive(Debug)]
pub enum Failure {
    /// The work failed: exit status 1.
    Work(String),
    /// Wrong usage or configuration: exit status 2.
    Usage(String),
}

impl Failure {
    fn work(error: impl std::fmt::Display) -> Failure {
        Failure::Work(error.to_string())
    }

    fn usage(error: impl std::fmt::Display) -> Failure {
        Failure::Usage(error.to_string())
    }

    /// Of a host's socket: what was asked for cannot be, or the system does not let us.
    fn host(error: HostError) -> Failure {
        match error {
            HostError::NoInterface(_) | HostError::Message(_) => Failure::usage(error),
            _ => Failure::work(error),
        }
    }
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    if let Some(lacking) = lacking_feature() {
        let message = format!(
            "this program was compiled for processors that have {lacking}, which this one lacks; \
             compile it with RUSTFLAGS=\"-C target-cpu=x86-64\""
        );
        output::complain("xcast", &message);
        return ExitCode::from(2);
    }
    let arguments = Arguments::parse(); // exits with 2 on wrong usage
    log_to_stderr();
    let done = match arguments.command {
        Command::Router(command) => router::run(command),
        Command::Show(show) => show::show(&show),
        Command::Explain(explain) => explain::run(&explain),
        Command::Reload(control) => show::reload(&control),
        Command::Drain(control) => show::drain(&control),
        Command::Send(send) => send::run(&send),
        Command::Recv(recv) => recv::run(&recv),
        Command::Ping(ping) => ping::run(&ping),
        Command::Trace(trace) => trace::run(&trace),
        Command::Respond(respond) => respond::run(&respond),
        Command::Capture(capture) => capture::run(&capture),
        Command::Gateway(gateway) => gateway::run(&gateway),
        Command::Key(command) => key::run(&command),
        Command::LinkEmulator(emulator) => link_emulator::run(&emulator),
        Command::Bench(command) => bench::run(&command),
    };
    exit_code("xcast", done)
}

/// Ends a command of `program`: complains if it has failed and there is something to say. Exit
/// status: 0 done, 1 the work failed, 2 wrong usage or configuration.
pub fn exit_code(program: &str, done: Result<(), Failure>) -> ExitCode {
    let (message, status) = match done {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Work(message)) => (message, 1),
        Err(Failure::Usage(message)) => (message, 2),
    };
    if !message.is_empty() {
        output::complain(program, &message);
    }
    ExitCode::from(status)
}

/// What the program was compiled for (`.cargo/config.toml`) and the processor lacks, by the kernel's
/// word. Compilers take what they compile for as given, so it is no use to ask the processor.
fn lacking_feature() -> Option<&'static str> {
    use std::io::Read;
    if !cfg!(all(target_arch = "x86_64", target_feature = "avx2")) {
        return None;
    }
    let mut first = String::new();
    let processors = std::fs::File::open("/proc/cpuinfo").ok()?;
    processors.take(8192).read_to_string(&mut first).ok()?;
    let flags = first.lines().find(|line| line.starts_with("flags"))?;
    ["avx2", "bmi2", "movbe", "abm"].into_iter().find(|name| !flags.split(' ').any(|f| f == *name))
}

/// Has what happens logged, to standard error: `XCAST_LOG` chooses what, such as `debug` or
/// `xcast::daemon=debug`. Once in a process.
pub fn log_to_stderr() {
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
