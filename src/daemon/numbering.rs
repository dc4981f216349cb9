//! One row of numbers for the dropped packets of several workers, each of which counts its own.

use super::worker::DroppedPackets;
use crate::forward::{Sample, Time};

pub(super) struct Numbering {
    /// By worker.
    each: Vec<Numbered>,
    /// How many samples have a number.
    total: u64,
}

/// The samples of one worker.
#[derive(Clone, Default)]
struct Numbered {
    /// How many of them have a number.
    total: u64,
    /// Those of them that are still kept: the worker's own number, and the one given.
    kept: Vec<(u64, u64)>,
}

impl Numbering {
    pub(super) fn new(workers: usize) -> Numbering {
        Numbering { each: vec![Numbered::default(); workers], total: 0 }
    }

    /// Merges what all workers keep, in their order. A sample has the same number each time, and
    /// none is left out: samples that were overwritten before anybody asked come before those that
    /// are new.
    pub(super) fn merge(&mut self, mut each: Vec<DroppedPackets>) -> DroppedPackets {
        if each.len() == 1
            && let Some(only) = each.pop()
        {
            return only;
        }
        // The clocks of workers began at different moments.
        let now = each.iter().map(|dropped| dropped.now).max().unwrap_or_default();
        let mut all: Vec<(usize, Sample)> = Vec::new();
        for (worker, dropped) in each.into_iter().enumerate() {
            let before = self.each[worker].total;
            // The last one that was taken is always among them.
            let last = dropped.samples.last().map_or(before, |sample| sample.number);
            let new = dropped.samples.iter().filter(|sample| sample.number > before).count() as u64;
            self.total += (last - before) - new;
            let behind = now.saturating_sub(dropped.now).as_micros() as u64;
            let on_one_clock =
                |sample: Sample| Sample { time: Time(sample.time.0 + behind), ..sample };
            all.extend(dropped.samples.into_iter().map(|sample| (worker, on_one_clock(sample))));
        }
        all.sort_by_key(|(worker, sample)| (sample.time, *worker, sample.number));
        let before = self.each.clone();
        self.each.iter_mut().for_each(|numbered| numbered.kept.clear());
        for (worker, sample) in &mut all {
            let own = sample.number;
            let known = before[*worker].kept.iter().find(|(number, _)| *number == own);
            sample.number = known.map_or(self.total + 1, |(_, given)| *given);
            self.total = self.total.max(sample.number);
            let numbered = &mut self.each[*worker];
            numbered.total = numbered.total.max(own);
            numbered.kept.push((own, sample.number));
        }
        let mut samples: Vec<Sample> = all.into_iter().map(|(_, sample)| sample).collect();
        samples.sort_by_key(|sample| sample.number);
        DroppedPackets { samples, now }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::forward::DropReason;

    /// Samples by their numbers and times, in microseconds.
    fn dropped(now: u64, samples: &[(u64, u64)]) -> DroppedPackets {
        let sample = |&(number, time): &(u64, u64)| Sample {
            reason: DropReason::Checksum,
            time: Time(time),
            number,
            port: None,
            frame: Vec::new(),
            length: 0,
        };
        let samples = samples.iter().map(sample).collect();
        DroppedPackets { samples, now: Duration::from_micros(now) }
    }

    fn numbers(numbering: &mut Numbering, each: Vec<DroppedPackets>) -> Vec<(u64, u64)> {
        let merged = numbering.merge(each);
        merged.samples.iter().map(|sample| (sample.number, sample.time.0)).collect()
    }

    #[test]
    fn one_workers_numbers_stay() {
        let mut numbering = Numbering::new(1);
        let each = vec![dropped(9, &[(3, 1), (7, 2)])];
        assert_eq!(numbers(&mut numbering, each), [(3, 1), (7, 2)]);
    }

    #[test]
    fn numbers_go_by_time_stay_and_leave_none_out() {
        let mut numbering = Numbering::new(2);
        // The second worker began 100 us later.
        let first = vec![dropped(200, &[(1, 110), (2, 130)]), dropped(100, &[(1, 20)])];
        assert_eq!(numbers(&mut numbering, first), [(1, 110), (2, 120), (3, 130)]);
        // Each has overwritten its first one; the second one has taken four, and keeps two.
        let second = vec![dropped(300, &[(2, 130), (3, 210)]), dropped(200, &[(4, 115), (5, 105)])];
        let found = numbers(&mut numbering, second);
        assert_eq!(found, [(3, 130), (6, 205), (7, 210), (8, 215)]);
        let third = vec![dropped(300, &[(2, 130), (3, 210)]), dropped(200, &[(4, 115), (5, 105)])];
        assert_eq!(numbers(&mut numbering, third), found);
    }
}
