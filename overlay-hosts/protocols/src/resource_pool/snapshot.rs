//! A pool as it was gathered, and what a planner asks of it (seed 003 paragraphs 0065, 0086 and 0091).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use super::op::Report;
use super::report::HostReport;
use crate::alm::{LATENCY_MAX, Micros, Pool, Rank, SessionId};
use crate::coordinates::Coordinate;
use crate::id::RingId;

/// Hosts of a snapshot at most; further ones are refused.
pub const HOSTS_MAX: usize = crate::alm::PLACES_MAX;

/// One host of a snapshot.
#[derive(Clone, Debug, PartialEq)]
pub struct Pooled {
    /// Where it stands on the ring.
    pub position: RingId,
    /// What it says.
    pub report: HostReport,
}

/// A place, and how far from it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Near {
    /// The place.
    pub to: Coordinate,
    /// The greatest distance, milliseconds there and back.
    pub within: f64,
}

/// What is asked of hosts: all of it, and of as many as there are unless told otherwise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wanted {
    /// Where they are; hosts without a coordinate are nowhere.
    pub near: Option<Near>,
    /// The least degrees.
    pub degrees: u16,
    /// For whom: what weaker sessions have counts, too. `None`: degrees that nobody has.
    pub session: Option<(SessionId, Rank)>,
    /// The least that is idle, in hundredths of a processor.
    pub idle: u32,
    /// The least memory that could be had, MiB.
    pub memory: u32,
    /// The least disk that could be had, MiB.
    pub disk: u32,
    /// The least rate to others, kilobits a second; above 0 it has to be known.
    pub up: u32,
    /// The same from others.
    pub down: u32,
    /// How many at most.
    pub count: usize,
}

impl Default for Wanted {
    fn default() -> Wanted {
        Wanted {
            near: None,
            degrees: 0,
            session: None,
            idle: 0,
            memory: 0,
            disk: 0,
            up: 0,
            down: 0,
            count: usize::MAX,
        }
    }
}

impl Wanted {
    /// Whether a host has what is asked, wherever it is.
    pub fn fits(&self, host: &HostReport) -> bool {
        let degrees = match self.session {
            None => host.degrees.free(),
            Some((session, rank)) => host.degrees.available(session, rank),
        };
        degrees >= self.degrees
            && host.cpu.idle >= self.idle
            && host.memory.available >= self.memory
            && host.disk.available >= self.disk
            && host.up.unwrap_or(0) >= self.up
            && host.down.unwrap_or(0) >= self.down
    }
}

/// A host that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found<'a> {
    /// Which.
    pub host: &'a Pooled,
    /// How far it is, milliseconds there and back, if a place was asked for.
    pub distance: Option<f64>,
}

/// All hosts that were gathered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// By position.
    hosts: Vec<Pooled>,
    /// Those that are somewhere: the first axis, and the place among the hosts, by both.
    along: Vec<(f64, usize)>,
    refused: usize,
}

impl Snapshot {
    /// A snapshot of the raw reports of a range
    /// ([`Event::Listed`](crate::somo::Event::Listed)): positions and octets. Of two reports from one
    /// position the later one holds; what is no host's report, or another position's, is refused.
    pub fn of(entries: impl IntoIterator<Item = (RingId, Vec<u8>)>) -> Snapshot {
        let (mut hosts, mut refused) = (BTreeMap::new(), 0);
        for (position, bytes) in entries {
            let has_room = hosts.len() < HOSTS_MAX || hosts.contains_key(&position);
            match Report::read(&bytes) {
                Some(Report::Host(report)) if has_room && report.is_at(position) => {
                    hosts.insert(position, Pooled { position, report });
                }
                _ => refused += 1,
            }
        }
        let hosts: Vec<Pooled> = hosts.into_values().collect();
        let places = hosts.iter().enumerate().filter_map(|(place, host)| {
            host.report.coordinate.map(|coordinate| (coordinate.axes[0], place))
        });
        let mut along: Vec<(f64, usize)> = places.collect();
        along.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        Snapshot { hosts, along, refused }
    }

    /// All hosts, by position.
    pub fn hosts(&self) -> &[Pooled] {
        &self.hosts
    }

    /// How many reports were none.
    pub fn refused(&self) -> usize {
        self.refused
    }

    /// The host at a position.
    pub fn host(&self, position: RingId) -> Option<&HostReport> {
        let place = self.hosts.binary_search_by_key(&position, |host| host.position).ok()?;
        Some(&self.hosts[place].report)
    }

    /// Hosts that have what is asked: the nearest first, of equally near ones, and where no place is
    /// asked for, by position.
    pub fn find(&self, wanted: &Wanted) -> Vec<Found<'_>> {
        match wanted.near {
            Some(near) => self.find_near(wanted, near),
            None => {
                let fits = self.hosts.iter().filter(|host| wanted.fits(&host.report));
                fits.map(|host| Found { host, distance: None }).take(wanted.count).collect()
            }
        }
    }

    /// From the place outward along the first axis, until whoever comes next is too far by that axis
    /// alone.
    fn find_near(&self, wanted: &Wanted, near: Near) -> Vec<Found<'_>> {
        let start = near.to.axes[0];
        // The next one upward, and one more than the next one downward.
        let mut above = self.along.partition_point(|(axis, _)| *axis < start);
        let mut below = above;
        // Distances are not negative: their bits are in their order.
        let mut found: BTreeSet<(u64, usize)> = BTreeSet::new();
        loop {
            let down = below.checked_sub(1).map(|next| self.along[next]);
            let up = self.along.get(above).copied();
            let next = match (down, up) {
                (Some(down), Some(up)) if start - down.0 <= up.0 - start => Some((down, true)),
                (_, Some(up)) => Some((up, false)),
                (down, None) => down.map(|down| (down, true)),
            };
            let Some(((axis, place), is_down)) = next else { break };
            let farthest = found.last().filter(|_| found.len() >= wanted.count);
            let limit = farthest.map_or(near.within, |(bits, _)| f64::from_bits(*bits));
            if (axis - start).abs() > limit {
                break;
            }
            if is_down {
                below -= 1
            } else {
                above += 1
            }
            let report = &self.hosts[place].report;
            let distance = report.coordinate.map(|at| at.distance(&near.to));
            let is_near = |distance: &f64| *distance <= near.within;
            if let Some(distance) = distance.filter(is_near).filter(|_| wanted.fits(report)) {
                found.insert((distance.to_bits(), place));
                if found.len() > wanted.count {
                    found.pop_last();
                }
            }
        }
        let told = |(bits, place): (u64, usize)| Found {
            host: &self.hosts[place],
            distance: Some(f64::from_bits(bits)),
        };
        found.into_iter().map(told).collect()
    }
}

/// A planner's view of it: hosts by position, those that are somewhere.
impl Pool<RingId> for Snapshot {
    fn candidates(&self) -> Vec<RingId> {
        let placed = self.hosts.iter().filter(|host| host.report.coordinate.is_some());
        placed.map(|host| host.position).collect()
    }

    fn available(&self, host: RingId, session: SessionId, rank: Rank) -> u16 {
        self.host(host).map_or(0, |report| report.degrees.available(session, rank))
    }

    /// Half of what coordinates say, which is there and back.
    fn latency(&self, from: RingId, to: RingId) -> Micros {
        let at = |host| self.host(host)?.coordinate;
        let between = at(from).zip(at(to)).map(|(from, to)| from.distance(&to) * 500.0);
        between.map_or(LATENCY_MAX, |micros| (micros as Micros).min(LATENCY_MAX))
    }

    fn bandwidth(&self, from: RingId, to: RingId) -> u32 {
        let up = self.host(from).and_then(|report| report.up).unwrap_or(u32::MAX);
        let down = self.host(to).and_then(|report| report.down).unwrap_or(u32::MAX);
        up.min(down)
    }
}
