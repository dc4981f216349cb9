//! What a host reports of itself (seed 003 paragraph 0086 and Fig. 12): its load, its memory and disk,
//! where it is, and what its links can carry.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::degree_table::DegreeTable;
use super::op::Report;
use crate::contact::Contact;
use crate::coordinates::Coordinate;
use crate::id::RingId;
use crate::somo::place_of;

/// Processors of a host at most.
pub const CORES_MAX: u16 = 4096;
/// Memory of a host at most, MiB: 256 TiB.
pub const MEMORY_MAX: u32 = 1 << 28;
/// Disk of a host at most, MiB: 1 PiB.
pub const DISK_MAX: u32 = 1 << 30;
/// The fastest link of a host, kilobits a second: 1 Tbit/s.
pub const RATE_MAX: u32 = 1_000_000_000;
/// No coordinate is farther out on any axis, milliseconds.
pub const AXIS_MAX: f64 = 1e5;
/// Scores count rates up to this, kilobits a second: 1 Gbit/s.
const SCORED_RATE_MAX: u32 = (1 << SCORED_RATE_BITS) - 1;
const SCORED_RATE_BITS: u32 = 20;

/// Cycles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cpu {
    /// Processors, [`CORES_MAX`] at most.
    pub cores: u16,
    /// What is idle of them, in hundredths of a processor.
    pub idle: u32,
}

/// Memory, MiB each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// All, [`MEMORY_MAX`] at most.
    pub total: u32,
    /// What could be had.
    pub available: u32,
    /// What caches files.
    pub cache: u32,
}

/// A disk, MiB each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// All, [`DISK_MAX`] at most.
    pub total: u32,
    /// What could be had.
    pub available: u32,
}

/// One host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HostReport {
    /// Who it is, and at which addresses; without the proof of a position that is not its own, which
    /// who asks the tree gets with the tree's own contacts.
    pub contact: Contact,
    /// Where it stands on the ring ([`place_of`]).
    pub place: u64,
    /// Cycles.
    pub cpu: Cpu,
    /// Memory.
    pub memory: Memory,
    /// Disk.
    pub disk: Disk,
    /// Where it stands in the network, milliseconds on each axis, if it measures that.
    #[serde(with = "axes")]
    pub coordinate: Option<Coordinate>,
    /// Its bottleneck bandwidth to others, kilobits a second, if it is known.
    pub up: Option<u32>,
    /// The same from others.
    pub down: Option<u32>,
    /// Who has its degrees.
    pub degrees: DegreeTable,
}

impl HostReport {
    /// A host that has nothing to give yet.
    pub fn new(contact: &Contact) -> HostReport {
        HostReport {
            contact: Contact { swap: None, ..contact.clone() },
            place: place_of(contact.position()),
            cpu: Cpu::default(),
            memory: Memory::default(),
            disk: Disk::default(),
            coordinate: None,
            up: None,
            down: None,
            degrees: DegreeTable::default(),
        }
    }

    /// As a report for the tree ([`Command::Sample`](crate::somo::Command::Sample)): what was measured
    /// beyond what others take is set to the most that they do.
    pub fn to_bytes(&self) -> Vec<u8> {
        Report::Host(self.bounded()).to_bytes()
    }

    /// How capable it is: by its degrees, whoever has them now, and among equals by the narrower one of
    /// its two links. Sessions that come and go do not change it.
    pub fn score(&self) -> u32 {
        let rate = self.up.unwrap_or(0).min(self.down.unwrap_or(0)).min(SCORED_RATE_MAX);
        u32::from(self.degrees.total()) << SCORED_RATE_BITS | rate
    }

    /// Whether it says that it is at this position.
    pub fn is_at(&self, position: RingId) -> bool {
        self.place == place_of(position)
    }

    fn bounded(&self) -> HostReport {
        let mut report = self.clone();
        report.contact.swap = None;
        let cpu = &mut report.cpu;
        cpu.cores = cpu.cores.min(CORES_MAX);
        cpu.idle = cpu.idle.min(u32::from(cpu.cores) * 100);
        let memory = &mut report.memory;
        memory.total = memory.total.min(MEMORY_MAX);
        memory.available = memory.available.min(memory.total);
        memory.cache = memory.cache.min(memory.total);
        let disk = &mut report.disk;
        disk.total = disk.total.min(DISK_MAX);
        disk.available = disk.available.min(disk.total);
        report.coordinate = report.coordinate.filter(axes::is_possible);
        report.up = report.up.map(|rate| rate.min(RATE_MAX));
        report.down = report.down.map(|rate| rate.min(RATE_MAX));
        report
    }

    /// Whether a host may say this.
    pub(super) fn is_possible(&self) -> bool {
        let Cpu { cores, idle } = self.cpu;
        let Memory { total, available, cache } = self.memory;
        let is_rate = |rate: Option<u32>| rate.is_none_or(|rate| rate <= RATE_MAX);
        self.contact.swap.is_none()
            && self.contact.is_acceptable(|_| false)
            && cores <= CORES_MAX
            && idle <= u32::from(cores) * 100
            && total <= MEMORY_MAX
            && available.max(cache) <= total
            && self.disk.total <= DISK_MAX
            && self.disk.available <= self.disk.total
            && is_rate(self.up)
            && is_rate(self.down)
            && self.degrees.is_possible()
    }
}

/// Coordinates as they travel: a number for each axis up to the last that is not 0. What cannot be is
/// no report.
mod axes {
    use alloc::vec::Vec;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::AXIS_MAX;
    use crate::coordinates::{Coordinate, DIMENSIONS_MAX};

    pub(super) fn is_possible(at: &Coordinate) -> bool {
        at.axes.iter().all(|axis| axis.is_finite() && axis.abs() <= AXIS_MAX)
    }

    pub(super) fn serialize<S: Serializer>(
        at: &Option<Coordinate>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let axes = at.map(|at| {
            let used = at.axes.iter().rposition(|axis| *axis != 0.0).map_or(0, |last| last + 1);
            at.axes[..used].iter().map(|axis| *axis as f32).collect::<Vec<f32>>()
        });
        axes.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Coordinate>, D::Error> {
        let axes: Option<Vec<f32>> = Option::deserialize(deserializer)?;
        let Some(axes) = axes else { return Ok(None) };
        if axes.len() > DIMENSIONS_MAX {
            return Err(D::Error::custom("too many axes"));
        }
        let mut at = Coordinate::ORIGIN;
        at.axes.iter_mut().zip(&axes).for_each(|(axis, said)| *axis = f64::from(*said));
        match is_possible(&at) {
            true => Ok(Some(at)),
            false => Err(D::Error::custom("a place that cannot be")),
        }
    }
}
