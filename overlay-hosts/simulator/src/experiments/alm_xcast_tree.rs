//! `alm-xcast-tree`: one message down a regular tree of a million hosts, by Xcast and by unicast.
//!
//! Each host has an uplink of 10 Mbit/s, on which packets wait for each other, and forwards a message of
//! 1,000 octets as soon as it has it. By Xcast it sends C = 2 packets to 50 children each, so the tree has
//! 100 + 100^2 + 100^3 receivers at height 3 (seed 002 paragraphs 0042 to 0044). Beside it the same receivers by
//! unicast, in the same tree, and in one where each host has two children. Hosts stand in the tree in the
//! order of their numbers, level by level; where they are in the network is drawn. All packets go through
//! the packet path of the routers, every one of which speaks Xcast.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;
use std::sync::Arc;

use indicatif::ProgressBar;
use overlay_protocols::time::Time;

use super::{Error, Experiment, Flag, Options, Scale};
use crate::network::{Form, Network, Settings, Socket};
use crate::report::{Report, Row, Target};
use crate::underlay::{HostId, TransitStub, Underlay};

/// See the module.
pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "alm-xcast-tree",
    about: "one message to a million receivers down a multicast tree, by Xcast and by unicast",
    run,
};

const SOURCE: &str = "seed 002 paragraphs 0042 to 0044";
/// Xcast packets that a host sends a message.
const PACKETS: usize = 2;
/// Destinations of each, by scale.
const DESTINATIONS: [usize; 2] = [10, 50];
const HEIGHT: u32 = 3;
const UPLINK: u64 = 10_000_000;
const PAYLOAD: usize = 1_000;
const PORT: u16 = 9;
/// How often the bar moves.
const TICK: usize = 1_000;

fn run(options: &Options, bar: &ProgressBar) -> Result<Report, Error> {
    let refused = [Flag::Nodes, Flag::Matrix, Flag::Transport, Flag::Seal];
    options.refuse(EXPERIMENT.name, &refused)?;
    let destinations = match options.scale {
        Scale::Ci => DESTINATIONS[0],
        Scale::Full => DESTINATIONS[1],
    };
    let children = PACKETS * destinations;
    let receivers = (1..=HEIGHT).map(|level| children.pow(level)).sum();
    let mut underlay = TransitStub::ts600().build(options.seed);
    underlay.attach_hosts(receivers + 1, options.seed);
    for host in 0..=receivers {
        underlay.host_mut(host).up = Some(UPLINK);
    }
    let underlay = Arc::new(underlay);
    bar.set_length(3 * receivers as u64);
    let mut report = Report::default();
    for (form, children) in [(Form::Xcast, children), (Form::Unicast, children), (Form::Unicast, 2)]
    {
        let tree = Regular { children, receivers, packet: destinations };
        bar.set_message(format!("{form:?}, {children} children"));
        let run = send_down(&underlay, &tree, form, options.seed, bar)?;
        rows(&tree, form, &run, &mut report);
    }
    report.notes.push(format!(
        "uplinks of {} Mbit/s, {PAYLOAD} octets, {destinations} destinations an Xcast packet; \
         link-copies: packets over all links, link-copies-root: over the root's uplink",
        UPLINK / 1_000_000
    ));
    Ok(report)
}

/// A tree of hosts 0 to `receivers`, in the order of their numbers.
struct Regular {
    children: usize,
    receivers: usize,
    /// Destinations of one Xcast packet.
    packet: usize,
}

impl Regular {
    fn children(&self, host: HostId) -> Range<HostId> {
        let first = host * self.children + 1;
        first.min(self.receivers + 1)..(first + self.children).min(self.receivers + 1)
    }

    /// Links from the root to the last host.
    fn height(&self) -> u32 {
        let mut at = self.receivers;
        let mut height = 0;
        while at > 0 {
            at = (at - 1) / self.children;
            height += 1;
        }
        height
    }
}

/// What came of a message.
struct Run {
    reached: usize,
    /// Copies that somebody got who had one.
    again: usize,
    last: Time,
    copies: u64,
    root_copies: u64,
}

fn send_down(
    underlay: &Arc<Underlay>,
    tree: &Regular,
    form: Form,
    seed: u64,
    bar: &ProgressBar,
) -> Result<Run, Error> {
    let network = Network::new(underlay.clone(), Settings::default(), seed);
    let mut network = network.map_err(|error| Error::Usage(error.to_string()))?;
    let payload = vec![0; PAYLOAD];
    let socket = |host| Socket { host, port: PORT };
    let mut has = vec![false; tree.receivers + 1];
    let mut pending = BinaryHeap::from([Reverse((Time(0), 0))]);
    let (mut reached, mut again, mut last) = (0, 0, Time(0));
    while let Some(Reverse((now, host))) = pending.pop() {
        if std::mem::replace(&mut has[host], true) {
            again += 1;
            continue;
        }
        last = now;
        reached += usize::from(host != 0);
        if reached % TICK == 0 {
            bar.inc(TICK as u64);
        }
        let to: Vec<Socket> = tree.children(host).map(socket).collect();
        for packet in to.chunks(tree.packet) {
            let sent = network.send(now, socket(host), packet, &payload, form);
            let deliveries = sent.map_err(|error| Error::Usage(error.to_string()))?;
            let arrivals = deliveries.into_iter().map(|each| (now + each.after, each.to.host));
            pending.extend(arrivals.map(Reverse));
        }
    }
    let root_copies = network.crossed(underlay.access_link(0))[0].packets;
    Ok(Run { reached, again, last, copies: network.total().packets, root_copies })
}

fn rows(tree: &Regular, form: Form, run: &Run, report: &mut Report) {
    let transport = match form {
        Form::Xcast => "xcast",
        Form::Unicast => "unicast",
    };
    let row = |name, figure: f64| {
        Row::new(name, figure, SOURCE)
            .with("transport", transport)
            .with("children", tree.children)
            .with("nodes", tree.receivers + 1)
    };
    let all = tree.receivers as f64;
    let mut receivers = row("receivers", run.reached as f64).target(Target::Within(all, all));
    let mut height = row("height", f64::from(tree.height()));
    if form == Form::Xcast {
        height = height.target(Target::AtMost(HEIGHT.into())).beside(HEIGHT.into());
        // The source counts the last level alone.
        receivers = receivers.beside((tree.children as f64).powi(HEIGHT as i32));
    }
    let last = run.last.since(Time(0)).as_secs_f64();
    report.rows.extend([
        receivers,
        row("received-again", run.again as f64).target(Target::AtMost(0.0)),
        height,
        row("last-delivery-seconds", last),
        row("link-copies", run.copies as f64),
        row("link-copies-root", run.root_copies as f64),
    ]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regular_trees_have_everybody_once() {
        for (children, receivers, height) in
            [(100, 1_010_100, 3), (2, 1_010_100, 19), (20, 8_420, 3)]
        {
            let tree = Regular { children, receivers, packet: 50 };
            assert_eq!(tree.height(), height);
            let mut next = 1;
            for host in 0..=receivers {
                let range = tree.children(host);
                assert!(range.is_empty() || range.start == next);
                next = next.max(range.end);
            }
            assert_eq!(next, receivers + 1);
        }
    }
}
