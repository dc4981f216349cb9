//! One measurement: packets and processor time, between two moments while traffic flows.

use std::fs;
use std::time::{Duration, Instant};

use super::cores::Cores;
use super::generator::Generator;
use super::lab::Lab;
use super::method::{Method, Trial};
use crate::tools::Failure;

/// Traffic that flows before the first moment.
const WARM_UP: Duration = Duration::from_millis(150);
/// The kernel's unit of processor time that it shows (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// What one measurement has found.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    /// Packets a second that the sender's interface took.
    pub(super) packets_in: f64,
    /// Packets a second that arrived at the sinks.
    pub(super) replicas: f64,
    /// The share of copies that did not arrive.
    pub(super) loss: f64,
    /// The share of time in which the core that forwards was busy.
    pub(super) core: f64,
    /// The share of time in which the router's process, or the kernel's thread, ran on any core.
    pub(super) process: Option<f64>,
    /// What was not as it should be.
    pub(super) note: Option<String>,
}

/// Everything counted at a moment.
struct Counts {
    time: Instant,
    sent: u64,
    delivered: u64,
    /// Of the core that forwards: busy ticks and all ticks.
    core: [u64; 2],
    process: Option<u64>,
}

/// Measures a method for some time.
pub(super) fn measure(
    method: Method,
    lab: &mut Lab,
    trial: &Trial,
    cores: &Cores,
    time: Duration,
) -> Result<Sample, Failure> {
    let forwarder = method.start(lab, trial, cores)?;
    let generator = Generator::start(method.flood(trial), cores.generator)?;
    std::thread::sleep(WARM_UP);
    let count = |lab: &mut Lab| -> Result<Counts, Failure> {
        Ok(Counts {
            time: Instant::now(),
            sent: lab.sent()?,
            delivered: lab.delivered()?,
            core: core_ticks(method.place(cores).core),
            process: forwarder.process().and_then(process_ticks),
        })
    };
    let before = count(lab)?;
    std::thread::sleep(time);
    let after = count(lab)?;
    generator.stop()?;
    let copies = if method.copies() { trial.outputs } else { 1 };
    let note = forwarder.note.clone();
    Ok(Sample { note, ..difference(&before, &after, copies) })
}

fn difference(before: &Counts, after: &Counts, copies: usize) -> Sample {
    let seconds = after.time.duration_since(before.time).as_secs_f64();
    let sent = (after.sent - before.sent) as f64;
    let delivered = (after.delivered - before.delivered) as f64;
    let [busy, all] = [0, 1].map(|at| after.core[at].saturating_sub(before.core[at]) as f64);
    let process = after.process.zip(before.process);
    Sample {
        packets_in: sent / seconds,
        replicas: delivered / seconds,
        // What was under way at the first moment may make it a little less than nothing.
        loss: if sent > 0.0 { (1.0 - delivered / (sent * copies as f64)).max(0.0) } else { 0.0 },
        core: if all > 0.0 { busy / all } else { 0.0 },
        process: process.map(|(after, before)| {
            after.saturating_sub(before) as f64 / TICKS_PER_SECOND / seconds
        }),
        note: None,
    }
}

/// Busy ticks and all ticks of a core.
fn core_ticks(core: usize) -> [u64; 2] {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let name = format!("cpu{core} ");
    let numbers = text.lines().find_map(|line| line.strip_prefix(&name)).unwrap_or_default();
    // user nice system idle iowait irq softirq steal; what follows is part of the first two.
    let ticks: Vec<u64> =
        numbers.split_whitespace().take(8).filter_map(|number| number.parse().ok()).collect();
    let all = ticks.iter().sum();
    let idle: u64 = ticks.iter().skip(3).take(2).sum();
    [all - idle, all]
}

/// Ticks that a process, or a kernel thread, has run.
fn process_ticks(process: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name may contain anything, parentheses too.
    let (_, rest) = text.rsplit_once(") ")?;
    let numbers: Vec<&str> = rest.split(' ').collect();
    Some(numbers.get(11)?.parse::<u64>().ok()? + numbers.get(12)?.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_the_time_between() {
        let start = Instant::now();
        let counts = |time, sent, delivered, core, process| Counts {
            time: start + Duration::from_millis(time),
            sent,
            delivered,
            core,
            process,
        };
        let sample = difference(
            &counts(0, 100, 700, [10, 100], Some(5)),
            &counts(500, 600, 3700, [60, 150], Some(45)),
            8,
        );
        assert_eq!((sample.packets_in, sample.replicas), (1000.0, 6000.0));
        assert_eq!((sample.loss, sample.core, sample.process), (0.25, 1.0, Some(0.8)));
    }
}
