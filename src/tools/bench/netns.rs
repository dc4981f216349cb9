//! `xcast bench netns`: the router against the kernel, side by side.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use super::cores::Cores;
use super::frames::{self, Form};
use super::lab::{self, Lab};
use super::latency::{self, Latency};
use super::measure::{Sample, measure};
use super::method::{Method, Trial};
use super::plot;
use super::progress::{Progress, watchdog};
use super::report::{Conditions, Report, Row};
use crate::tools::{Failure, output};

/// The longest frame of a veth link.
const FRAME_LEN_MAX: usize = 1514;
/// For the set-up of a measurement, and once for all.
const SPARE: Duration = Duration::from_secs(5);
/// Latencies are measured for so long at most.
const LATENCY_MAX: Duration = Duration::from_secs(20);

/// Measure replicas a second against the kernel's own forwarding, in network namespaces
///
/// Sender, router and sinks are namespaces of their own, linked by veth pairs, which vanish with
/// the command. Sender and router have a core each. In each round every method is measured once,
/// under the same load: as much as the sender can send. Needs `ip` and `mount`, and root or
/// unprivileged user namespaces; only root can pin the kernel's threads and run before others.
#[derive(clap::Args)]
pub(in crate::tools) struct Netns {
    /// How many outputs a packet is copied to
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1,2,4,8,16",
          value_parser = clap::value_parser!(u8).range(1..=31))]
    fan_out: Vec<u8>,
    /// Octets of UDP payload
    #[arg(long, value_name = "OCTETS", default_value_t = 64,
          value_parser = clap::value_parser!(u16).range(8..=1400))]
    payload: u16,
    /// What leaves the router
    #[arg(long, default_value = "x2u")]
    form: Form,
    /// How many times each method is measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// For how long each time
    #[arg(long, default_value_t = 1.0, value_parser = seconds)]
    seconds: f64,
    /// What is measured; else everything
    #[arg(long, value_name = "METHOD,...", value_delimiter = ',')]
    methods: Vec<Method>,
    /// Measure times through the router, too, at half of what it was found to carry
    #[arg(long)]
    latency: bool,
    /// Do not run before other work (SCHED_FIFO): for a quiet machine, where the kernel's own
    /// threads then get their share of the router's core
    #[arg(long)]
    normal: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Draw replicas a second into a file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds @ 0.05..=30.0) => Ok(seconds),
        _ => Err("a number from 0.05 to 30".into()),
    }
}

pub(in crate::tools) fn run(netns: &Netns) -> Result<(), Failure> {
    netns.check()?;
    let cannot = |path: &PathBuf, error| Failure::Work(format!("{}: {error}", path.display()));
    // Before the file system is another.
    let mut svg = match &netns.svg {
        Some(path) => Some(File::create(path).map_err(|error| cannot(path, error))?),
        None => None,
    };
    lab::leave()?;
    let cores = Cores::assign(netns.normal).map_err(Failure::work)?;
    let _watchdog = watchdog(netns.time_at_most());
    let report = netns.measure(&cores)?;
    output::line(&if netns.json { report.json() } else { report.text() })?;
    if let (Some(file), Some(path)) = (&mut svg, &netns.svg) {
        let drawn = file.write_all(plot::draw(&report).as_bytes());
        drawn.map_err(|error| cannot(path, error))?;
    }
    Ok(())
}

impl Netns {
    fn check(&self) -> Result<(), Failure> {
        let longest = self.fan_out.iter().map(|&outputs| {
            let payload = usize::from(self.payload);
            frames::xcast(outputs.into(), self.form, payload).headers_in + payload
        });
        match longest.max().is_some_and(|octets| octets > FRAME_LEN_MAX) {
            true => Err(Failure::usage("the payload and so many destinations do not fit a frame")),
            false => Ok(()),
        }
    }

    fn methods(&self) -> Vec<Method> {
        match self.methods.as_slice() {
            [] => Method::DEFAULT.to_vec(),
            some => some.to_vec(),
        }
    }

    fn time(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    fn latency_time(&self) -> Duration {
        (self.time() * self.rounds.into()).min(LATENCY_MAX)
    }

    fn steps(&self) -> usize {
        let latency = usize::from(self.latency);
        self.fan_out.len() * self.methods().len() * (usize::from(self.rounds) + latency)
    }

    fn time_at_most(&self) -> Duration {
        let longest = if self.latency { self.latency_time() } else { self.time() };
        SPARE + (SPARE + longest) * self.steps() as u32
    }

    fn measure(&self, cores: &Cores) -> Result<Report, Failure> {
        let mut progress = Progress::new(self.steps());
        let conditions =
            Conditions::find(self.payload.into(), self.form, self.rounds, self.seconds, cores);
        let mut report = Report { conditions, rows: Vec::new() };
        for &outputs in &self.fan_out {
            let outputs = usize::from(outputs);
            let trial = Trial { outputs, form: self.form, payload: self.payload.into() };
            report.rows.extend(self.measure_trial(&trial, cores, &mut progress)?);
        }
        Ok(report)
    }

    fn measure_trial(
        &self,
        trial: &Trial,
        cores: &Cores,
        progress: &mut Progress,
    ) -> Result<Vec<Row>, Failure> {
        let outputs = trial.outputs;
        let mut lab = Lab::build(outputs)?;
        let methods = self.methods();
        let mut rows: Vec<Row> = methods.iter().map(|method| Row::new(outputs, *method)).collect();
        for round in 0..usize::from(self.rounds) {
            // No method always follows the same other one.
            for at in 0..methods.len() {
                let row = &mut rows[(at + round) % methods.len()];
                progress.step(&format!(
                    "fan-out {outputs} round {} {}",
                    round + 1,
                    row.method.name()
                ));
                let sample = measure(row.method, &mut lab, trial, cores, self.time());
                row.samples.push(sample.map_err(why));
            }
        }
        for row in rows.iter_mut().filter(|_| self.latency) {
            progress.step(&format!("fan-out {outputs} latency {}", row.method.name()));
            row.latency = self.half_load(row, &lab, trial, cores)?;
        }
        Ok(rows)
    }

    /// Latencies at half the load that a method was found to carry.
    fn half_load(
        &self,
        row: &Row,
        lab: &Lab,
        trial: &Trial,
        cores: &Cores,
    ) -> Result<Option<Latency>, Failure> {
        let rate = row.median(|sample: &Sample| sample.replicas) / trial.outputs as f64 / 2.0;
        if !row.method.copies() || rate < 1.0 {
            return Ok(None);
        }
        latency::measure(row.method, lab, trial, cores, rate, self.latency_time())
    }
}

fn why(failure: Failure) -> String {
    match failure {
        Failure::Work(why) | Failure::Usage(why) => why,
    }
}
