//! `xcast link-emulator`: links with delay, jitter, loss and a rate, between interfaces of network
//! namespaces. One process emulates any number of them.

mod config;
mod direction;
mod ends;
mod quantity;
mod session;
mod shaper;
mod tally;

use std::path::PathBuf;
use std::time::Duration;

use super::Failure;
use crate::io::affinity;
use config::LinkArguments;
use session::Session;

const EXAMPLE: &str = "\
Example: two namespaces, each with one end of a veth pair, whose other ends are joined here

  ip netns add red;  ip link add red-end type veth peer name eth0 netns red
  ip netns add blue; ip link add blue-end type veth peer name eth0 netns blue
  ip link set red-end up addrgenmode none; ip link set blue-end up addrgenmode none
  xcast link-emulator --interfaces red-end,blue-end --delay 25ms --jitter 2ms --rate 5mbit/1mbit

Where the two directions differ, any quality is THERE/BACK; there is from the first end to the
second. A file (--file) has a [[link]] for each link with the same words as keys, and [defaults]:

  [defaults]
  delay = \"25ms\"
  [[link]]
  between = \"lab:red-end\"
  and = \"lab:blue-end\"
  loss = 0.01";

/// Emulate links: delay, jitter, loss, rate, queue, duplicates
///
/// Every Ethernet frame that arrives at one end leaves by the other, as over a cable. Ends are
/// interfaces that are up and that nothing else uses: those behind the interfaces of hosts, such as
/// the other ends of their veth pairs. It needs CAP_NET_RAW in their namespaces. It prints a line
/// with `ready` once all links carry frames. SIGUSR1 has it print statistics; at SIGTERM it lets
/// through what is on the way, prints them, and ends.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLE)]
pub(super) struct LinkEmulator {
    #[command(flatten)]
    link: LinkArguments,
    /// A file with many links instead
    #[arg(long, value_name = "FILE", conflicts_with_all = ["LinkArguments"])]
    file: Option<PathBuf>,
    /// Print statistics as often as this, too
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    statistics: Option<Duration>,
    /// Do not sleep for the last bit before a frame is due, such as 50us: more precise, and takes a
    /// core
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = humantime::parse_duration)]
    spin: Duration,
    /// Run before ordinary programs, from 1 to 99: on a busy machine frames are late without. It
    /// takes CAP_SYS_NICE; where that is missing it goes on without
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=99))]
    priority: Option<i32>,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

/// The calling thread, to the kernel.
const CALLER: i32 = 0;

pub(super) fn run(emulator: &LinkEmulator) -> Result<(), Failure> {
    let links = match &emulator.file {
        Some(file) => config::read(file).map_err(Failure::Usage)?,
        None => vec![emulator.link.link().map_err(|what| {
            Failure::Usage(format!("{what} (or --file; see xcast link-emulator --help)"))
        })?],
    };
    config::check(&links).map_err(Failure::Usage)?;
    if emulator.statistics.is_some_and(|interval| interval.is_zero()) {
        return Err(Failure::usage("--statistics 0s: say how often, such as 10s"));
    }
    let options = session::Options {
        json: emulator.json,
        statistics: emulator.statistics,
        spin: emulator.spin,
    };
    let session = Session::open(&links, options)?;
    if let Some(priority) = emulator.priority
        && let Err(error) = affinity::run_first(CALLER, priority, false)
    {
        tracing::warn!(%error, "--priority {priority} is not to be had; frames may be late");
    }
    session.run()
}
