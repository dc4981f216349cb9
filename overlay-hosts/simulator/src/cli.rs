//! The command line. Exit status: 0 done, 1 the work failed or a figure missed its target, 2 wrong
//! usage.

use std::io::{IsTerminal, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::{Args, Parser, Subcommand};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::event_queue::bench;
use crate::experiments::{self, Error, Experiment, Options, Scale, SealKind, TransportChoice};
use crate::report::{Report, chart, table};

/// Overlay hosts behind Xcast routers, simulated: the experiments of the sources.
#[derive(Parser)]
#[command(name = "overlay-sim", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the experiments.
    List,
    /// Run an experiment and print its figures beside those of its sources.
    Run(Run),
    /// Compare event queues.
    BenchQueue {
        /// Events that are pending all the time; several: a comparison each.
        #[arg(long, value_delimiter = ',', default_values_t = [100_000, 1_000_000])]
        pending: Vec<usize>,
    },
}

#[derive(Args)]
struct Run {
    /// Its name, as `overlay-sim list` shows it.
    experiment: String,
    /// Rows for this many hosts only.
    #[arg(long, value_parser = clap::value_parser!(u64).range(2..=10_000_000))]
    nodes: Option<u64>,
    /// All randomness follows from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// As much as is tested at every change, or the whole table.
    #[arg(long, default_value = "full")]
    scale: Scale,
    /// How messages to several peers leave; the experiment's own way if it is not said.
    #[arg(long)]
    transport: Option<TransportChoice>,
    /// A file of round-trip times in place of the experiment's own network.
    #[arg(long, value_name = "FILE")]
    matrix: Option<PathBuf>,
    /// How datagrams are sealed [default: signed up to 1,000 nodes, null above].
    #[arg(long)]
    seal: Option<SealKind>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Draw the figures, too.
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

/// Does what the arguments of the process say.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::List => list(),
        Command::Run(run) => {
            use_large_pages();
            run_experiment(run)
        }
        Command::BenchQueue { pending } => bench_queue(&pending),
    }
}

/// Starts the program anew with memory in large pages, unless somebody has chosen: large simulations
/// mostly wait for memory, and take a fifth less time. Libraries other than glibc take no notice.
fn use_large_pages() {
    const TUNABLES: &str = "GLIBC_TUNABLES";
    if std::env::var_os(TUNABLES).is_some() {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    let mut anew = std::process::Command::new(program);
    anew.args(std::env::args_os().skip(1)).env(TUNABLES, "glibc.malloc.hugetlb=1");
    // It comes back only where it has failed, and all goes on as it was.
    let _failed = anew.exec();
}

fn list() -> ExitCode {
    let width = experiments::ALL.iter().map(|one| one.name.len()).max().unwrap_or(0);
    let lines = experiments::ALL.iter().map(|one| format!("{:width$}  {}\n", one.name, one.about));
    print(&lines.collect::<String>())
}

fn bench_queue(pending: &[usize]) -> ExitCode {
    let mut text = String::from("queue        pending     ns a hold\n");
    for pending in pending {
        for holds in bench::compare(*pending, 3_000_000) {
            let bench::Holds { queue, pending, nanoseconds } = holds;
            text += &format!("{queue:12} {pending:<11} {nanoseconds:.0}\n");
        }
    }
    print(&text)
}

fn run_experiment(run: Run) -> ExitCode {
    let Some(experiment) = experiments::ALL.iter().find(|one| one.name == run.experiment) else {
        let nearest = nearest(&run.experiment).map(|one| format!("; did you mean `{one}`?"));
        let nearest = nearest.unwrap_or_default();
        return fail(2, &format!("no experiment is called `{}`{nearest}", run.experiment));
    };
    let options = Options {
        nodes: run.nodes.map(|nodes| nodes as usize),
        seed: run.seed,
        scale: run.scale,
        transport: run.transport,
        matrix: run.matrix,
        seal: run.seal,
    };
    let start = Instant::now();
    let bar = progress();
    let report = (experiment.run)(&options, &bar);
    bar.finish_and_clear();
    match report {
        Ok(report) => {
            let seconds = start.elapsed().as_secs_f64();
            show(experiment, &report, run.seed, seconds, run.json, run.plot.as_deref())
        }
        Err(error @ Error::Usage(_)) => fail(2, &error.to_string()),
        Err(error) => fail(1, &error.to_string()),
    }
}

fn show(
    experiment: &Experiment,
    report: &Report,
    seed: u64,
    seconds: f64,
    json: bool,
    plot: Option<&Path>,
) -> ExitCode {
    let text = match json {
        true => format!("{}\n", report.to_json(experiment.name, seed, seconds)),
        false => table::draw(experiment.name, report, seed, seconds),
    };
    let printed = print(&text);
    if printed != ExitCode::SUCCESS {
        return printed;
    }
    if let Some(file) = plot
        && let Err(error) = std::fs::write(file, chart::draw(experiment.name, report, seed))
    {
        return fail(1, &format!("{}: {error}", file.display()));
    }
    ExitCode::from(u8::from(report.missed() > 0))
}

/// Writes to the standard output; nobody reading any more is no failure.
fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            fail(1, &format!("standard output: {error}"))
        }
        _ => ExitCode::SUCCESS,
    }
}

fn fail(status: u8, reason: &str) -> ExitCode {
    // Nobody reads it if this fails.
    let _written = writeln!(std::io::stderr(), "overlay-sim: {reason}");
    ExitCode::from(status)
}

/// A bar on the terminal; hidden if there is none.
fn progress() -> ProgressBar {
    let bar = ProgressBar::new(0);
    if !std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let style = ProgressStyle::with_template("{elapsed_precise} {bar:40} {pos}/{len} {msg}");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar
}

/// The name that takes the fewest changes, unless it is another altogether.
fn nearest(name: &str) -> Option<&'static str> {
    let all = experiments::ALL.iter().map(|one| (distance(name, one.name), one.name));
    all.min().filter(|(distance, other)| 2 * distance <= other.len()).map(|(_, other)| other)
}

/// How many octets have to be put in, taken out or changed (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.bytes().enumerate() {
            let changed = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_of_names_counts_changes() {
        for (one, other, expected) in [("", "abc", 3), ("kitten", "sitting", 3), ("a", "a", 0)] {
            assert_eq!(distance(one, other), expected);
        }
    }

    #[test]
    fn a_slip_of_the_finger_finds_its_experiment() {
        assert_eq!(nearest("locality-distanse"), Some("locality-distance"));
        assert_eq!(nearest("zzzz"), None);
    }
}
