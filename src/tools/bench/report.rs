//! What was measured, as a table and as JSON. Pure, but for the machine's name.

use serde_json::{Value, json};

use super::cores::Cores;
use super::frames::Form;
use super::latency::Latency;
use super::measure::Sample;
use super::method::Method;
use crate::tools::output;

/// What ratios are to.
const REFERENCE: Method = Method::MroutePinned;
/// A load average above this is other work that disturbs.
const QUIET: f64 = 0.5;
/// A share of copies that the kernel may lose behind its own forwarding without a word.
const LOSS: f64 = 0.01;

/// What was the same for all.
pub(super) struct Conditions {
    pub(super) payload: usize,
    pub(super) form: Form,
    rounds: u16,
    seconds: f64,
    cores: Cores,
    kernel: String,
    processor: String,
    core_count: usize,
    /// Of the last minute, when it began.
    load: f64,
}

/// A method at a fan-out.
pub(super) struct Row {
    pub(super) outputs: usize,
    pub(super) method: Method,
    /// By round; what went wrong instead.
    pub(super) samples: Vec<Result<Sample, String>>,
    pub(super) latency: Option<Latency>,
}

/// Everything.
pub(super) struct Report {
    pub(super) conditions: Conditions,
    pub(super) rows: Vec<Row>,
}

/// The middle and the ends of some numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Spread {
    /// `None` of no numbers.
    pub(super) fn of(numbers: impl Iterator<Item = f64>) -> Option<Spread> {
        let mut sorted: Vec<f64> = numbers.collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let (low, high) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        Some(Spread { median: f64::midpoint(low, high), min, max })
    }

    /// Each number changed.
    pub(super) fn map(self, change: impl Fn(f64) -> f64) -> Spread {
        Spread { median: change(self.median), min: change(self.min), max: change(self.max) }
    }

    pub(super) fn json(self, digits: i32) -> Value {
        let [median, min, max] = [self.median, self.min, self.max].map(|n| rounded(n, digits));
        json!({ "median": median, "min": min, "max": max })
    }
}

/// To so many digits behind the point.
pub(super) fn rounded(number: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (number * scale).round() / scale
}

impl Conditions {
    /// Of this machine.
    pub(super) fn find(
        payload: usize,
        form: Form,
        rounds: u16,
        seconds: f64,
        cores: &Cores,
    ) -> Conditions {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let processors = read("/proc/cpuinfo");
        let name = processors.lines().find_map(|line| line.strip_prefix("model name"));
        let load = read("/proc/loadavg");
        let name = name.and_then(|line| line.split_once(':')).map_or("", |(_, name)| name);
        Conditions {
            payload,
            form,
            rounds,
            seconds,
            cores: *cores,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            processor: name.trim().to_owned(),
            load: load.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0),
            core_count: processors.lines().filter(|line| line.starts_with("processor")).count(),
        }
    }

    fn line(&self) -> String {
        let Conditions {
            payload, form, rounds, seconds, cores, kernel, processor, core_count, ..
        } = self;
        format!(
            "{processor}, {core_count} cores, Linux {kernel}; {payload} octets of payload, {}, \
             {rounds} rounds of {seconds} s, scheduling {}",
            form.name(),
            cores.scheduling()
        )
    }
}

impl Row {
    pub(super) fn new(outputs: usize, method: Method) -> Row {
        Row { outputs, method, samples: Vec::new(), latency: None }
    }

    fn good(&self) -> impl Iterator<Item = &Sample> {
        self.samples.iter().flatten()
    }

    /// Of something measured, over the rounds; 0 if there is nothing.
    pub(super) fn median(&self, value: impl Fn(&Sample) -> f64) -> f64 {
        self.spread(value).map_or(0.0, |spread| spread.median)
    }

    /// Of something measured, over the rounds.
    pub(super) fn spread(&self, value: impl Fn(&Sample) -> f64) -> Option<Spread> {
        Spread::of(self.good().map(value))
    }

    fn process(&self) -> Option<Spread> {
        Spread::of(self.good().filter_map(|sample| sample.process))
    }

    fn error(&self) -> Option<&String> {
        self.samples.iter().find_map(|sample| sample.as_ref().err())
    }

    fn note(&self) -> Option<&String> {
        self.error().or_else(|| self.good().find_map(|sample| sample.note.as_ref()))
    }
}

impl Report {
    /// Replicas a second to those of another method in the same round.
    fn ratio(&self, row: &Row, to: Method) -> Option<Spread> {
        let same = |other: &&Row| (other.outputs, other.method) == (row.outputs, to);
        let reference = self.rows.iter().find(same)?;
        let pairs = row.samples.iter().zip(&reference.samples);
        Spread::of(pairs.filter_map(|(sample, reference)| {
            let (sample, reference) = (sample.as_ref().ok()?, reference.as_ref().ok()?);
            (reference.replicas > 0.0).then(|| sample.replicas / reference.replicas)
        }))
    }

    /// What is to be known of all figures, each once.
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let cores = &self.conditions.cores;
        if cores.is_shared() {
            notes.push("sender and router share the only core: the figures are of both".to_owned());
        } else if cores.scheduling() == "normal" {
            notes.push(
                "sender and router do not run before other work (CAP_SYS_NICE, --normal)"
                    .to_owned(),
            );
        }
        let load = self.conditions.load;
        if load > QUIET {
            notes.push(format!(
                "other work was running when this began (load average {load:.1}): the figures are \
                 disturbed, above all p99 and max"
            ));
        }
        for row in &self.rows {
            let loss = row.median(|sample| sample.loss);
            if row.method == REFERENCE && loss > LOSS {
                notes.push(format!(
                    "{} lost {:.0}% behind its forwarding at fan-out {}, so ratios there flatter: \
                     the kernel's queue for receivers overflowed (net.core.netdev_max_backlog), \
                     whose threads may lack time beside one that runs first: see {}, or --normal",
                    row.method.name(),
                    loss * 100.0,
                    row.outputs,
                    Method::MrouteInline.name()
                ));
            }
            if let Some(note) = row.note() {
                let note = format!("{}: {note}", row.method.name());
                if !notes.contains(&note) {
                    notes.push(note);
                }
            }
        }
        notes
    }

    /// A table for people.
    pub(super) fn text(&self) -> String {
        let mut head = vec![
            "fan-out",
            "method",
            "kpps-in",
            "kreplicas/s",
            "min-max",
            "loss",
            "core",
            "process",
            "ratio",
            "min-max",
            "of-copy-loop",
        ];
        let latency = self.rows.iter().any(|row| row.latency.is_some());
        if latency {
            head.extend(["at-kpps", "p50-us", "p99-us", "max-us"]);
        }
        let rows: Vec<_> = self.rows.iter().map(|row| self.cells(row, latency)).collect();
        let mut lines = vec![self.conditions.line(), output::table(&head, &rows)];
        lines.push(format!(
            "ratio: replicas/s to those of {} in the same round; of-copy-loop: to those of the copy \
             loop of the same driver",
            REFERENCE.name()
        ));
        lines.extend(self.notes().into_iter().map(|note| format!("note: {note}")));
        lines.join("\n")
    }

    fn cells(&self, row: &Row, latency: bool) -> Vec<String> {
        let none = || "-".to_owned();
        let range = |spread: Spread, scale: f64, digits: usize| {
            format!("{:.digits$}-{:.digits$}", spread.min / scale, spread.max / scale)
        };
        let percent = |share: f64| format!("{:.0}%", share * 100.0);
        let replicas = row.spread(|sample| sample.replicas);
        let ratio = self.ratio(row, REFERENCE);
        let own = row.method.copy_loop().and_then(|other| self.ratio(row, other));
        let shown = |value: Option<String>| value.unwrap_or_else(none);
        let any = |value: fn(&Sample) -> f64| row.spread(value).map(|spread| spread.median);
        let mut cells = vec![
            row.outputs.to_string(),
            row.method.name().to_owned(),
            shown(any(|sample| sample.packets_in).map(|number| format!("{:.0}", number / 1e3))),
            shown(replicas.map(|spread| format!("{:.0}", spread.median / 1e3))),
            shown(replicas.map(|spread| range(spread, 1e3, 0))),
            shown(any(|sample| sample.loss).map(percent)),
            shown(any(|sample| sample.core).map(percent)),
            shown(row.process().map(|spread| percent(spread.median))),
            shown(ratio.map(|spread| format!("{:.2}", spread.median))),
            shown(ratio.map(|spread| range(spread, 1.0, 2))),
            shown(own.map(|spread| format!("{:.2}", spread.median))),
        ];
        if latency {
            let numbers = row.latency.map(|l| [l.packets_in / 1e3, l.p50, l.p99, l.max]);
            cells.extend(
                (0..4).map(|at| shown(numbers.map(|numbers| format!("{:.1}", numbers[at])))),
            );
        }
        cells
    }

    /// One object.
    pub(super) fn json(&self) -> String {
        let conditions = &self.conditions;
        let results: Vec<Value> = self.rows.iter().map(|row| self.result(row)).collect();
        json!({
            "machine": {
                "processor": conditions.processor,
                "cores": conditions.core_count,
                "kernel": conditions.kernel,
            },
            "payload": conditions.payload,
            "form": conditions.form.name(),
            "rounds": conditions.rounds,
            "seconds": conditions.seconds,
            "load-average": conditions.load,
            "scheduling": conditions.cores.scheduling(),
            "sender-core": conditions.cores.generator.core,
            "router-core": conditions.cores.router.core,
            "ratio-to": REFERENCE.name(),
            "notes": self.notes(),
            "results": results,
        })
        .to_string()
    }

    fn result(&self, row: &Row) -> Value {
        let spread =
            |value: fn(&Sample) -> f64, digits| row.spread(value).map(|spread| spread.json(digits));
        let copy_loop = row.method.copy_loop().and_then(|other| self.ratio(row, other));
        let by_round: Vec<f64> = row.good().map(|sample| rounded(sample.replicas, 0)).collect();
        json!({
            "fan-out": row.outputs,
            "method": row.method.name(),
            "packets-in-per-second": spread(|sample| sample.packets_in, 0),
            "replicas-per-second": spread(|sample| sample.replicas, 0),
            "replicas-per-second-by-round": by_round,
            "loss": spread(|sample| sample.loss, 4),
            "core-busy": spread(|sample| sample.core, 3),
            "process-busy": row.process().map(|spread| spread.json(3)),
            "ratio": self.ratio(row, REFERENCE).map(|spread| spread.json(3)),
            "ratio-to-copy-loop": copy_loop.map(|spread| spread.json(3)),
            "latency-microseconds": row.latency.map(|latency| json!({
                "packets-in-per-second": rounded(latency.packets_in, 0),
                "samples": latency.samples,
                "p50": rounded(latency.p50, 1),
                "p99": rounded(latency.p99, 1),
                "max": rounded(latency.max, 1),
            })),
            "error": row.error(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_its_median_in_the_middle() {
        let of = |numbers: &[f64]| Spread::of(numbers.iter().copied());
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(of(&[4.0, 1.0, 2.0, 3.0]), Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
    }
}
