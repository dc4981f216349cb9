//! What machines do with the information that passes through them (seed 003 paragraph 0067: the member
//! `op`): merge, sort, arithmetic, or any other function, up and down.

use alloc::vec::Vec;
use core::fmt::Debug;

use serde::{Deserialize, Serialize};

use super::config::REPORT_LEN_MAX;
use crate::machine::{decode, encode};
use crate::time::Now;

/// What is done with reports and news. It holds no state: a machine gives it all that it may use.
pub trait Op: Debug + Sync {
    /// A machine's own report, made now of what it was last told to report (empty: nothing yet).
    fn own(&self, sample: &[u8], now: Now) -> Vec<u8> {
        let _ = now;
        sample.to_vec()
    }

    /// Whether this is a report; what is not does not get into a machine.
    fn is_report(&self, report: &[u8]) -> bool;

    /// One report of several, the machine's own first, then its children's in the order of their
    /// virtual nodes: at most [`REPORT_LEN_MAX`] octets, what is longer is cut off.
    fn merge(&self, reports: &[&[u8]]) -> Vec<u8>;

    /// News as they are passed on to the children.
    fn pass(&self, news: &[u8]) -> Vec<u8> {
        news.to_vec()
    }

    /// What a registered query has to say of a report, if anything (paragraph 0069). By default it is
    /// the report, always.
    fn answer(&self, query: &[u8], report: &[u8]) -> Option<Vec<u8>> {
        let _ = query;
        Some(report.to_vec())
    }

    /// The score and the place ([`place_of`](super::place_of)) of the most capable machine that a
    /// report names, if it does: what the merge-sort on the way up has put first (paragraph 0061).
    fn best(&self, report: &[u8]) -> Option<(u32, u64)> {
        let _ = report;
        None
    }
}

/// Sums of one report at most.
pub const SUMS_MAX: usize = 8;
/// Classes of a report's histogram at most.
pub const CLASSES_MAX: usize = 16;
/// The best machines that a report names at most.
pub const TOP_MAX: usize = 64;
/// Octets that the names of the best may take.
const TOP_LEN_MAX: usize = 704;

/// Counts, sums, a histogram and the best machines: what a pool's reports are made of where nothing
/// else is said (seed 003 paragraph 0065: "an aggregation of the gathered statistics into a snapshot").
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    /// Machines that have said something.
    pub machines: u32,
    /// Sums, as whoever reports means them.
    pub sums: Vec<u64>,
    /// How many machines are of each class.
    pub histogram: Vec<u32>,
    /// Scores and places of machines (the first 48 bits of their positions), the best first.
    pub top: Vec<(u32, u64)>,
}

impl Statistics {
    /// Takes another one in.
    pub fn add(&mut self, other: &Statistics) {
        self.machines = self.machines.saturating_add(other.machines);
        add_each(&mut self.sums, &other.sums, u64::saturating_add);
        add_each(&mut self.histogram, &other.histogram, u32::saturating_add);
        self.top.extend(&other.top);
        self.top.sort_unstable_by(|one, other| other.cmp(one));
        self.top.dedup();
        self.shorten();
    }

    fn shorten(&mut self) {
        self.sums.truncate(SUMS_MAX);
        self.histogram.truncate(CLASSES_MAX);
        self.top.truncate(TOP_MAX);
        let mut len = 0;
        let fits = |(score, place): &&(u32, u64)| {
            len += varint_len(u64::from(*score)) + varint_len(*place);
            len <= TOP_LEN_MAX
        };
        let kept = self.top.iter().take_while(fits).count();
        self.top.truncate(kept);
    }

    /// Reads one; `None` if it is none, or has longer lists than it may.
    pub fn read(report: &[u8]) -> Option<Statistics> {
        let read: Statistics = decode(report)?;
        let is_bounded = read.sums.len() <= SUMS_MAX
            && read.histogram.len() <= CLASSES_MAX
            && read.top.len() <= TOP_MAX;
        is_bounded.then_some(read)
    }

    /// Its octets.
    pub fn to_bytes(&self) -> Vec<u8> {
        encode(self)
    }
}

fn add_each<T: Copy + Default>(to: &mut Vec<T>, from: &[T], add: impl Fn(T, T) -> T) {
    if to.len() < from.len() {
        to.resize(from.len(), T::default());
    }
    to.iter_mut().zip(from).for_each(|(to, from)| *to = add(*to, *from));
}

/// Octets of a number as postcard writes it.
fn varint_len(number: u64) -> usize {
    (64 - (number | 1).leading_zeros() as usize).div_ceil(7)
}

/// Merges [`Statistics`]; a machine that has been told nothing yet counts as one machine.
#[derive(Clone, Copy, Debug)]
pub struct Pool;

impl Op for Pool {
    fn own(&self, sample: &[u8], _: Now) -> Vec<u8> {
        match sample.is_empty() {
            true => Statistics { machines: 1, ..Statistics::default() }.to_bytes(),
            false => sample.to_vec(),
        }
    }

    fn is_report(&self, report: &[u8]) -> bool {
        Statistics::read(report).is_some()
    }

    fn best(&self, report: &[u8]) -> Option<(u32, u64)> {
        Statistics::read(report)?.top.first().copied()
    }

    fn merge(&self, reports: &[&[u8]]) -> Vec<u8> {
        let mut sum = Statistics::default();
        for report in reports.iter().filter_map(|report| Statistics::read(report)) {
            sum.add(&report);
        }
        let bytes = sum.to_bytes();
        debug_assert!(bytes.len() <= REPORT_LEN_MAX);
        bytes
    }
}
