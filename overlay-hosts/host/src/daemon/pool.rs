//! What a peer reports of its host to the pool: processors and memory as /proc tells them, the disk that
//! its state is on, its coordinate and rates if it measures, and the degrees that it has.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use overlay_protocols::alm::Degrees;
use overlay_protocols::node::Input;
use overlay_protocols::resource_pool::{Cpu, DegreeTable, Disk, HostReport, Memory, Snapshot};
use overlay_protocols::sessions::{self, Sessions};
use overlay_protocols::somo::{self, Command, Event, Tree};
use overlay_protocols::{Now, PeerId, RingId, Time};
use xcast::io::disk;

use super::peer::Peer;
use crate::state::Writer;

/// How often the host is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// A peer's part in the pool.
pub(crate) struct Share {
    degrees: Degrees,
    /// When the host is looked at next.
    next: Time,
    /// What the tree was told last.
    told: Vec<u8>,
    gathered: Option<(Time, u32)>,
}

impl Share {
    /// Of a peer that can carry so many links.
    pub(super) fn new(degrees: u16, now: Now) -> Share {
        Share { degrees: Degrees::new(degrees), next: now.time, told: Vec::new(), gathered: None }
    }

    /// When this peer has gathered reports as the root, and from how many machines.
    pub(super) fn gathered(&self) -> Option<(Time, u32)> {
        self.gathered
    }
}

impl Peer {
    /// When it wants to report.
    pub(super) fn report_deadline(&self) -> Option<Time> {
        self.node.somo().map(|_| self.share.next)
    }

    /// Tells the tree what this host has to give, if that is due and has changed.
    pub(super) fn report(&mut self, now: Now, writer: &Writer) {
        if self.report_deadline().is_none_or(|at| at > now.time) {
            return;
        }
        self.share.next = now.time + LOOK_INTERVAL;
        let mut report = HostReport::new(self.node.contact());
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
        report.cpu = cpu(cores, &read("/proc/loadavg"));
        report.memory = memory(&read("/proc/meminfo"));
        report.disk = disk_of(&self.folder);
        if let Some(metrics) = self.node.metrics() {
            report.coordinate = metrics.coordinate();
            (report.up, report.down) = metrics.bandwidth();
        }
        let sessions = self.node.sessions().map(Sessions::degrees);
        report.degrees = DegreeTable::of(sessions.unwrap_or(&self.share.degrees));
        let bytes = report.to_bytes();
        if bytes != self.share.told {
            self.share.told.clone_from(&bytes);
            self.input(Input::Somo(Command::Sample(bytes)), now, writer);
        }
    }

    /// What sessions tell.
    pub(super) fn heed_sessions(&mut self, event: &sessions::Event, now: Now) {
        if *event == sessions::Event::DegreesChanged {
            self.share.next = now.time;
        }
    }

    /// What the tree tells.
    pub(super) fn heed_tree(&mut self, event: &Event, now: Now) {
        match event {
            Event::Gathered { span, .. } => {
                tracing::debug!(peer = self.name, machines = span.machines, "has gathered");
                self.share.gathered = Some((now.time, span.machines));
            }
            // It is at another place, by which reports name it.
            Event::Exchanged { .. } => self.share.next = now.time,
            _ => {}
        }
    }
}

/// Through whom the report of each host goes up, by its position: that follows from where all stand, once
/// they know it. The root's goes nowhere.
pub(super) fn parents(snapshot: &Snapshot, tree: Tree) -> BTreeMap<RingId, PeerId> {
    let hosts = snapshot.hosts();
    let positions: Vec<RingId> = hosts.iter().map(|host| host.position).collect();
    let parents = somo::parents(tree, &positions).into_iter().zip(hosts);
    let above = |place: u32| hosts[place as usize].report.contact.id;
    parents.filter_map(|(place, host)| Some((host.position, above(place?)))).collect()
}

/// Idle is what the load of the last minute leaves; of a host that does not tell, nothing is known to be.
fn cpu(cores: usize, loadavg: &str) -> Cpu {
    let cores = u16::try_from(cores).unwrap_or(u16::MAX);
    let load: Option<f64> = loadavg.split_whitespace().next().and_then(|load| load.parse().ok());
    let idle = load.map_or(0.0, |load| (f64::from(cores) - load) * 100.0);
    // Negative and absurd loads end at the bounds of the type.
    Cpu { cores, idle: (idle.max(0.0) as u32).min(u32::from(cores) * 100) }
}

fn memory(meminfo: &str) -> Memory {
    let mebibytes = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        u32::try_from(kibibytes.unwrap_or(0) / 1024).unwrap_or(u32::MAX)
    };
    Memory {
        total: mebibytes("MemTotal"),
        available: mebibytes("MemAvailable"),
        cache: mebibytes("Cached"),
    }
}

/// The file system that a folder is on; of one that does not tell, nothing is known to be there.
fn disk_of(folder: &Path) -> Disk {
    let Ok(space) = disk::space(folder) else { return Disk::default() };
    let mebibytes = |octets: u64| u32::try_from(octets >> 20).unwrap_or(u32::MAX);
    Disk { total: mebibytes(space.total), available: mebibytes(space.available) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_proc_tells_is_read() {
        assert_eq!(cpu(4, "1.25 0.9 0.8 2/300 4711\n"), Cpu { cores: 4, idle: 275 });
        assert_eq!(cpu(2, "7.74 8.08 6.36 1/2 3"), Cpu { cores: 2, idle: 0 });
        for text in ["", "rubbish", "NaN", "inf"] {
            assert_eq!(cpu(2, text), Cpu { cores: 2, idle: 0 }, "{text}");
        }
        assert_eq!(cpu(2, "-1e300"), Cpu { cores: 2, idle: 200 });
        let text = "MemTotal:  8145920 kB\nMemFree: 1 kB\nMemAvailable:  4194304 kB\nBuffers: 9 kB\n\
                    Cached:  2048 kB\nSwapCached: 77777 kB\n";
        assert_eq!(memory(text), Memory { total: 7955, available: 4096, cache: 2 });
        assert_eq!(memory("MemTotal: x kB\nCached"), Memory::default());
    }

    #[test]
    fn the_disk_is_the_one_of_the_folder() {
        let found = disk_of(&std::env::temp_dir());
        assert!(found.total > 0 && found.available <= found.total, "{found:?}");
        assert_eq!(disk_of(Path::new("/no/such/folder")), Disk::default());
    }
}
