//! All workers together: one at least. They share nothing but the Fib, so what the router has
//! counted is the sum of what each has.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};
use mio::Waker;

use super::numbering::Numbering;
use super::sockets::Drivers;
use super::worker::{DroppedPackets, Event, Report, Start, WorkerHandle};
use crate::fib::{Fib, PortId};
use crate::forward::{Counters, PortCounters};
use crate::io::affinity;
use crate::io::tunnel::TunnelSockets;

/// Events that may wait for the control thread.
const EVENTS_MAX: usize = 1024;
/// How long workers may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// The same while they open their first sockets: some milliseconds each, more where a queue of an
/// interface is waited for.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// The control thread's end of the workers.
pub(super) struct Workers {
    /// The first one leads the others.
    each: Vec<WorkerHandle>,
    /// What the workers have to tell.
    pub(super) events: Receiver<Event>,
    numbering: Numbering,
}

impl Workers {
    /// Starts so many workers, each on a core of its own as far as there are enough; one alone
    /// runs on any. `notify` wakes the control thread when there are events.
    pub(super) fn start(
        count: usize,
        fib: &Arc<Fib>,
        drivers: Drivers,
        notify: &Arc<Waker>,
        tunnels: &Arc<TunnelSockets>,
    ) -> io::Result<Workers> {
        let cores = if count > 1 { affinity::cores()? } else { Vec::new() };
        let (sender, events) = bounded(EVENTS_MAX);
        let start = |number: usize| Start {
            fib: Arc::clone(fib),
            events: sender.clone(),
            notify: Arc::clone(notify),
            tunnels: Arc::clone(tunnels),
            core: cores.get(number % cores.len().max(1)).copied(),
        };
        let led = (1..count).map(|number| WorkerHandle::start_led(start(number)));
        let (mut each, peers): (Vec<_>, Vec<_>) =
            led.collect::<io::Result<Vec<_>>>()?.into_iter().unzip();
        each.insert(0, WorkerHandle::start(start(0), drivers, peers)?);
        let numbering = Numbering::new(each.len());
        Ok(Workers { each, events, numbering })
    }

    /// Whether one has ended, which it does only when it is told to or has panicked.
    pub(super) fn any_is_dead(&self) -> bool {
        self.each.iter().any(WorkerHandle::is_dead)
    }

    /// Lets the workers go on with another Fib.
    pub(super) fn publish(&self, fib: Arc<Fib>) {
        self.each[0].publish(fib);
    }

    /// Has other drivers used.
    pub(super) fn set_drivers(&self, drivers: Drivers) {
        self.each[0].set_drivers(drivers);
    }

    /// Has a frame sent by a port; returns whether there is room for it to wait.
    pub(super) fn emit(&self, port: PortId, frame: Vec<u8>) -> bool {
        self.each[0].emit(port, frame)
    }

    /// Waits until all have opened their first sockets; returns whether they have.
    pub(super) fn are_up(&self) -> bool {
        gather(self.each.iter().map(WorkerHandle::ask_report).collect(), START_PATIENCE).is_some()
    }

    /// What all workers have to report; `None` if one does not answer within a second.
    pub(super) fn report(&self) -> Option<Report> {
        let reports = gather(self.each.iter().map(WorkerHandle::ask_report).collect(), PATIENCE)?;
        let mut reports = reports.into_iter();
        let mut sum = reports.next()?;
        if self.each.len() > 1 {
            sum.received = sum.counters.ports.iter().map(|p| vec![p.packets_received]).collect();
        }
        for report in reports {
            add(&mut sum.counters, &report.counters);
            for (all, port) in sum.received.iter_mut().zip(&report.counters.ports) {
                all.push(port.packets_received);
            }
            for (all, device) in sum.devices.iter_mut().zip(&report.devices) {
                all.overruns += device.overruns;
            }
        }
        Some(sum)
    }

    /// The last dropped packets of all workers, the oldest first; `None` if one does not answer
    /// within a second.
    pub(super) fn samples(&mut self) -> Option<DroppedPackets> {
        let each = gather(self.each.iter().map(WorkerHandle::ask_samples).collect(), PATIENCE)?;
        Some(self.numbering.merge(each))
    }
}

/// All answers, if they come in time.
fn gather<T>(inboxes: Vec<Receiver<T>>, patience: Duration) -> Option<Vec<T>> {
    let deadline = Instant::now() + patience;
    inboxes.into_iter().map(|inbox| inbox.recv_deadline(deadline).ok()).collect()
}

/// Adds one worker's counters to another's.
fn add(sum: &mut Counters, more: &Counters) {
    // Every field by name, so that none is forgotten.
    let Counters {
        packets_received,
        packets_forwarded,
        packets_dropped,
        partition_cache_hits,
        replicas_sent,
        unicast_conversions,
        premature_unicast_conversions,
        fragments_lost,
        probes_answered,
        probes_refused,
        probes_returned,
        destinations_received,
        destinations_forwarded,
        destinations_delivered,
        destinations_pending,
        bytes_received,
        bytes_sent,
        drops,
        ports,
    } = more;
    sum.packets_received += packets_received;
    sum.packets_forwarded += packets_forwarded;
    sum.packets_dropped += packets_dropped;
    sum.partition_cache_hits += partition_cache_hits;
    sum.replicas_sent += replicas_sent;
    sum.unicast_conversions += unicast_conversions;
    sum.premature_unicast_conversions += premature_unicast_conversions;
    sum.fragments_lost += fragments_lost;
    sum.probes_answered += probes_answered;
    sum.probes_refused += probes_refused;
    sum.probes_returned += probes_returned;
    sum.destinations_received += destinations_received;
    sum.destinations_forwarded += destinations_forwarded;
    sum.destinations_delivered += destinations_delivered;
    sum.destinations_pending += destinations_pending;
    sum.bytes_received += bytes_received;
    sum.bytes_sent += bytes_sent;
    sum.drops.iter_mut().zip(drops).for_each(|(sum, more)| *sum += more);
    sum.ports.resize(sum.ports.len().max(ports.len()), PortCounters::default());
    for (sum, more) in sum.ports.iter_mut().zip(ports) {
        sum.packets_received += more.packets_received;
        sum.bytes_received += more.bytes_received;
        sum.replicas_sent_xcast += more.replicas_sent_xcast;
        sum.replicas_sent_unicast += more.replicas_sent_unicast;
        sum.bytes_sent += more.bytes_sent;
    }
}
