//! What the router adds to a packet's time: from the kernel's note at one end of the way through it
//! to that at the other.
//!
//! The notes are made at the far ends of the router's links, as the sender's interface sends a
//! packet and as the sink of the last output receives the copy: packet sockets at the router's own
//! ends do not see what AF_XDP takes and sends. So both links are part of it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::cores::Cores;
use super::generator::{Generator, Traffic};
use super::lab::{self, Lab, Node, UPLINK};
use super::method::{Method, Trial};
use crate::io::pcapng::interface_index;
use crate::io::stamps::{Sampled, Tap};
use crate::tools::Failure;

/// Traffic that flows before it counts.
const WARM_UP: Duration = Duration::from_millis(150);
/// About how many packets a second are looked at.
const SAMPLES_PER_SECOND: f64 = 4000.0;
/// How much longer it takes at most, where nothing has come in that time.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often the notes are fetched.
const INTERVAL: Duration = Duration::from_millis(1);

/// Times through the router, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Latency {
    /// Packets a second that were sent in.
    pub(super) packets_in: f64,
    /// How many times these figures are of.
    pub(super) samples: usize,
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
}

/// Sends `rate` packets a second for some time. `None` if no copy arrived.
pub(super) fn measure(
    method: Method,
    lab: &Lab,
    trial: &Trial,
    cores: &Cores,
    rate: f64,
    time: Duration,
) -> Result<Option<Latency>, Failure> {
    let _forwarder = method.start(lab, trial, cores)?;
    let load = method.load(trial);
    let skip = (rate / SAMPLES_PER_SECOND).log2().ceil().clamp(0.0, 16.0) as u32;
    let tap = |headers: usize| Sampled {
        frame_len: (headers + trial.payload) as u32,
        number_at: headers as u32,
        skip,
    };
    let before = open(Node::Sender, UPLINK, tap(load.headers_in))?;
    let behind = open(Node::Sinks, &lab::output(trial.outputs - 1), tap(load.headers_out))?;
    let mut notes = Notes::default();
    let interval = Duration::from_secs_f64(1.0 / rate);
    let generator = Generator::start(Traffic::Paced { load, interval }, cores.generator)?;
    let end = Instant::now() + WARM_UP + time;
    let first = (rate * WARM_UP.as_secs_f64()) as u32;
    loop {
        std::thread::sleep(INTERVAL);
        notes.fetch(&before, &behind);
        let now = Instant::now();
        // On a busy machine the generator may have been kept waiting all the time.
        if now >= end && (now >= end + PATIENCE || notes.times(first).next().is_some()) {
            break;
        }
    }
    generator.stop()?;
    std::thread::sleep(INTERVAL);
    notes.fetch(&before, &behind);
    Ok(notes.rate(first).and_then(|rate| summary(rate, notes.times(first).collect())))
}

/// When packets were seen, by their numbers.
#[derive(Default)]
struct Notes {
    entered: BTreeMap<u32, i128>,
    left: BTreeMap<u32, i128>,
}

impl Notes {
    fn fetch(&mut self, before: &Tap, behind: &Tap) {
        for (notes, tap) in [(&mut self.entered, before), (&mut self.left, behind)] {
            notes.extend(std::iter::from_fn(|| tap.next()).map(|stamp| (stamp.number, stamp.time)));
        }
    }

    /// How many packets a second were sent in, from a number on: fewer than were wanted, where the
    /// generator had to wait.
    fn rate(&self, first: u32) -> Option<f64> {
        let mut entered = self.entered.range(first..);
        let ((first, start), (last, end)) = (entered.next()?, entered.next_back()?);
        Some(f64::from(last - first) * 1e9 / (end - start) as f64)
    }

    /// Microseconds between both, of packets from a number on.
    fn times(&self, first: u32) -> impl Iterator<Item = f64> {
        let both = self.entered.range(first..);
        both.filter_map(|(number, then)| Some((self.left.get(number)? - then) as f64 / 1000.0))
    }
}

fn open(node: Node, interface: &str, sampled: Sampled) -> Result<Tap, Failure> {
    node.inside(|| {
        let index = interface_index(interface)
            .ok_or_else(|| Failure::Work(format!("there is no interface {interface}")))?;
        Tap::open(index, sampled).map_err(Failure::work)
    })
}

fn summary(packets_in: f64, mut times: Vec<f64>) -> Option<Latency> {
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times.get(((times.len() as f64 * share) as usize).min(times.len() - 1));
    let max = *times.last()?;
    Some(Latency { packets_in, samples: times.len(), p50: *at(0.5)?, p99: *at(0.99)?, max })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_packets_which_were_sent() {
        let mut notes = Notes::default();
        assert_eq!(notes.rate(0), None);
        // One every 4 microseconds, and then nothing for a while.
        notes.entered.extend((0..=50).map(|number| (number, i128::from(number) * 4000)));
        assert_eq!(notes.rate(10), Some(250_000.0));
        notes.entered.insert(60, 290_000);
        assert_eq!(notes.rate(10), Some(200_000.0));
    }

    #[test]
    fn percentiles_are_of_sorted_times() {
        let times = (1..=100).rev().map(f64::from).collect();
        let found = summary(10.0, times).unwrap();
        assert_eq!((found.p50, found.p99, found.max, found.samples), (51.0, 100.0, 100.0, 100));
        assert_eq!(summary(10.0, Vec::new()), None);
    }
}
