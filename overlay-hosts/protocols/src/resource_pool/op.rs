//! How reports of hosts become one on their way up the tree (seed 003 paragraphs 0065 and 0067).

use alloc::vec::Vec;

use super::report::HostReport;
use crate::machine::{decode, encode};
use crate::somo::{CLASSES_MAX, Op, REPORT_LEN_MAX, SUMS_MAX, Statistics};
use crate::time::Now;

/// What a report begins with.
const HOST: u8 = 0;
const STATISTICS: u8 = 1;

/// What the sums of merged reports are, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sum {
    /// Processors.
    Cores,
    /// What is idle of them, in hundredths of a processor.
    Idle,
    /// Memory that could be had, MiB.
    Memory,
    /// Disk that could be had, MiB.
    Disk,
    /// Bottleneck bandwidth to others, kilobits a second.
    Up,
    /// The same from others.
    Down,
    /// Degrees.
    Degrees,
    /// Degrees that nobody has.
    Free,
}

impl Sum {
    /// All of them, in the order of a report.
    pub const ALL: [Sum; SUMS_MAX] = [
        Sum::Cores,
        Sum::Idle,
        Sum::Memory,
        Sum::Disk,
        Sum::Up,
        Sum::Down,
        Sum::Degrees,
        Sum::Free,
    ];

    /// What merged reports say of it.
    pub fn of(self, statistics: &Statistics) -> u64 {
        statistics.sums.get(self as usize).copied().unwrap_or(0)
    }

    fn of_host(self, host: &HostReport) -> u64 {
        match self {
            Sum::Cores => host.cpu.cores.into(),
            Sum::Idle => host.cpu.idle.into(),
            Sum::Memory => host.memory.available.into(),
            Sum::Disk => host.disk.available.into(),
            Sum::Up => host.up.unwrap_or(0).into(),
            Sum::Down => host.down.unwrap_or(0).into(),
            Sum::Degrees => host.degrees.total().into(),
            Sum::Free => host.degrees.free().into(),
        }
    }
}

/// A report in the tree.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// Of one host: all that it says.
    Host(HostReport),
    /// Of several, or of one that has said nothing yet: sums ([`Sum`]), how many hosts have 0, 1, 2, ...
    /// free degrees (the last class: and more), and the most capable ones ([`HostReport::score`]).
    Statistics(Statistics),
}

impl Report {
    /// Reads one; `None` if it is none, or says what cannot be.
    pub fn read(bytes: &[u8]) -> Option<Report> {
        match bytes.split_first()? {
            (&HOST, rest) => {
                let host: HostReport = decode(rest)?;
                host.is_possible().then_some(Report::Host(host))
            }
            (&STATISTICS, rest) => Statistics::read(rest).map(Report::Statistics),
            _ => None,
        }
    }

    /// Its octets.
    pub fn to_bytes(&self) -> Vec<u8> {
        let (kind, bytes) = match self {
            Report::Host(host) => (HOST, encode(host)),
            Report::Statistics(statistics) => (STATISTICS, statistics.to_bytes()),
        };
        [&[kind], bytes.as_slice()].concat()
    }

    /// As statistics: a host is one machine among others.
    pub fn into_statistics(self) -> Statistics {
        let host = match self {
            Report::Statistics(statistics) => return statistics,
            Report::Host(host) => host,
        };
        let mut histogram = alloc::vec![0; CLASSES_MAX];
        histogram[usize::from(host.degrees.free()).min(CLASSES_MAX - 1)] = 1;
        Statistics {
            machines: 1,
            sums: Sum::ALL.iter().map(|sum| sum.of_host(&host)).collect(),
            histogram,
            top: alloc::vec![(host.score(), host.place)],
        }
    }
}

/// Merges reports of hosts; [`Config::op`](crate::somo::Config::op) of a tree that gathers a pool.
#[derive(Clone, Copy, Debug)]
pub struct HostPool;

impl Op for HostPool {
    fn own(&self, sample: &[u8], _: Now) -> Vec<u8> {
        match sample.is_empty() {
            true => {
                let unknown = Statistics { machines: 1, ..Statistics::default() };
                Report::Statistics(unknown).to_bytes()
            }
            false => sample.to_vec(),
        }
    }

    fn is_report(&self, report: &[u8]) -> bool {
        Report::read(report).is_some()
    }

    /// One report alone stays as it is: so a host without children below is told of in full.
    fn merge(&self, reports: &[&[u8]]) -> Vec<u8> {
        if let [only] = reports {
            return only.to_vec();
        }
        let mut sum = Statistics::default();
        for report in reports.iter().filter_map(|report| Report::read(report)) {
            sum.add(&report.into_statistics());
        }
        let bytes = Report::Statistics(sum).to_bytes();
        debug_assert!(bytes.len() <= REPORT_LEN_MAX);
        bytes
    }

    fn best(&self, report: &[u8]) -> Option<(u32, u64)> {
        Report::read(report)?.into_statistics().top.first().copied()
    }
}
