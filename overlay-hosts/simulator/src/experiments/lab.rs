//! `lab`: what the overlay lab of the network namespaces does (`netns-scripts/overlay`), packet by
//! packet: 24 hosts in four localities behind six routers that all speak Xcast. `overlay compare`
//! runs the daemons of the lab with the same identities, seeds and timers and lays both side by side.
//!
//! All join as in the lab: the first of each locality one after the other, then the others at once.
//! Once there is one ring and a group a locality, packets are counted on every link and direction for
//! the length of the window, in which one operation is begun every second: a value is put, another
//! host gets it, a third looks for its owner.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use indicatif::ProgressBar;
use overlay_protocols::node::{self, Input};
use overlay_protocols::{Contact, RingId, Time, locality, ring};

use super::packets::Packets;
use super::{Error, Experiment, Flag, Options, Scale, TransportChoice};
use crate::network::{Network, Settings};
use crate::report::{Report, Row, Target};
use crate::underlay::{Link, LinkId, Underlay};
use crate::world::{self, Happening, Transport, World, address, place_of};

/// The experiment.
pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "lab",
    about: "Packets on each link, and what operations find, of the lab's 24 hosts in four localities",
    run,
};

const ROUTERS: [&str; 6] = ["RA", "RB", "RC", "RD", "X1", "X2"];
/// Links between routers, by their places in [`ROUTERS`], in milliseconds one way.
const LINKS: [(usize, usize, u64); 5] =
    [(0, 4, 25), (4, 1, 25), (4, 5, 75), (5, 2, 25), (5, 3, 25)];
const LOCALITIES: [&str; 4] = ["A", "B", "C", "D"];
/// Hosts of a locality.
const HOSTS: usize = 6;
/// Heartbeats of the lab's hosts: often enough for many packets in a window.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// A peer is given up after so many heartbeats that did not come.
const MISSED: u32 = 10;
/// Groups nearer than this are joined: hosts of a locality are up to 12 ms apart, localities 104.
const NEAR: u32 = 80_000;
/// One operation is begun after each.
const PACE: Duration = Duration::from_secs(1);
/// How long all may take to come together.
const SETTLING_MAX: Duration = Duration::from_secs(300);
/// From then to the window: what changes have caused is over.
const CALM: Duration = Duration::from_secs(10);
/// How long operations of the window may take beyond it.
const PATIENCE: Duration = Duration::from_secs(10);
const SOURCE: &str = "overlay lab";

fn run(options: &Options, progress: &ProgressBar) -> Result<Report, Error> {
    options.refuse(EXPERIMENT.name, &[Flag::Matrix])?;
    if options.nodes.is_some_and(|nodes| nodes != hosts()) {
        let problem = "lab has 24 hosts; leave out --nodes";
        return Err(Error::Usage(problem.to_owned()));
    }
    let window = match options.scale {
        Scale::Ci => Duration::from_secs(30),
        Scale::Full => Duration::from_secs(120),
    };
    let transports = match options.transport {
        Some(TransportChoice::Unicast) => &[Transport::Unicast][..],
        Some(TransportChoice::Xcast) => &[Transport::Xcast],
        Some(TransportChoice::Both) | None => &[Transport::Unicast, Transport::Xcast],
    };
    progress.set_length(transports.len() as u64);
    let mut report = Report::default();
    for transport in transports {
        let mut lab = Lab::new(options, *transport)?;
        lab.come_together()?;
        lab.pass_window(window);
        lab.report(*transport, window, &mut report);
        progress.inc(1);
    }
    report.notes.push(format!(
        "a window of {} s, a heartbeat every {} ms; {}",
        window.as_secs(),
        HEARTBEAT.as_millis(),
        options.seal_note(hosts())
    ));
    Ok(report)
}

fn hosts() -> usize {
    LOCALITIES.len() * HOSTS
}

/// What the lab calls a host.
fn name(place: usize) -> String {
    format!("{}{}", LOCALITIES[place / HOSTS], place % HOSTS + 1)
}

fn underlay() -> Underlay {
    let milliseconds = Duration::from_millis;
    let links = LINKS.map(|(one, other, delay)| Link::new(one, other, milliseconds(delay)));
    let mut underlay = Underlay::new(ROUTERS.len(), links.to_vec());
    for place in 0..hosts() {
        // 1 to 3 ms.
        underlay.attach(place / HOSTS, Duration::from_micros(1_000 + 400 * (place % HOSTS) as u64));
    }
    underlay
}

/// What a link is called in its direction.
fn ends(link: LinkId) -> (String, String) {
    match LINKS.get(link) {
        Some((one, other, _)) => (ROUTERS[*one].to_owned(), ROUTERS[*other].to_owned()),
        None => {
            let host = link - LINKS.len();
            (name(host), ROUTERS[host / HOSTS].to_owned())
        }
    }
}

fn config() -> node::Config {
    let ring = ring::Config { heartbeat: HEARTBEAT, missed: MISSED, ..ring::Config::default() };
    let locality = locality::Config {
        tolerance: locality::Distance(NEAR),
        near_leader: Some(locality::Distance(NEAR)),
        ..locality::Config::default()
    };
    node::Config { ring, locality: Some(locality), ..node::Config::default() }
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Put,
    Get,
    FindNode,
}

/// An operation of the window: the number tells who asks for what.
#[derive(Clone, Copy)]
struct Operation(usize);

impl Operation {
    fn kind(self) -> Kind {
        [Kind::Put, Kind::Get, Kind::FindNode][self.0 % 3]
    }

    /// The three operations on a value are asked by different hosts.
    fn place(self) -> usize {
        let shift = [0, 7, 13][self.0 % 3];
        (self.0 / 3 + shift) % hosts()
    }

    fn key(self) -> String {
        format!("lab-{}", self.0 / 3)
    }

    fn value(self) -> String {
        format!("value {}", self.0 / 3)
    }

    fn word(self) -> &'static str {
        match self.kind() {
            Kind::Put => "put",
            Kind::Get => "get",
            Kind::FindNode => "find-node",
        }
    }

    fn command(self) -> ring::Command {
        let (request, key) = (self.0 as u64, RingId::of_key(self.key().as_bytes()));
        match self.kind() {
            Kind::Put => ring::Command::Insert { request, key, value: self.value().into_bytes() },
            Kind::Get => ring::Command::Get { request, key },
            Kind::FindNode => ring::Command::Lookup { request, key },
        }
    }
}

fn owner_name(owner: &Contact) -> String {
    place_of(owner.address).map_or_else(|| "nobody".to_owned(), name)
}

/// What came of an operation: its number, and the answer as the lab writes it.
fn answer(event: ring::Event) -> Option<(usize, String)> {
    match event {
        ring::Event::Found { request, owner, .. } => Some((request as usize, owner_name(&owner))),
        ring::Event::Inserted { request, owner, .. } => {
            Some((request as usize, owner_name(&owner)))
        }
        ring::Event::Value { request, record, .. } => {
            let value = record.map(|record| String::from_utf8_lossy(&record.value).into_owned());
            Some((request as usize, value.unwrap_or_else(|| "nothing".to_owned())))
        }
        ring::Event::Failed { request, .. } => Some((request as usize, "failed".to_owned())),
        _ => None,
    }
}

struct Lab {
    world: World,
    network: Rc<RefCell<Network>>,
    /// By operation.
    answers: Vec<Option<String>>,
    /// By link: packets and octets in its direction, and against it.
    crossed: Vec<[crate::network::Tally; 2]>,
}

impl Lab {
    fn new(options: &Options, transport: Transport) -> Result<Lab, Error> {
        let network = Network::new(Arc::new(underlay()), Settings::default(), options.seed);
        let network = network.map_err(|error| Error::Usage(error.to_string()))?;
        let network = Rc::new(RefCell::new(network));
        let signed = options.is_signed(hosts());
        let settings = world::Settings { seed: options.seed, transport, signed };
        let carrier = Packets { network: Rc::clone(&network) };
        let world = World::new(settings, Box::new(carrier));
        Ok(Lab { world, network, answers: Vec::new(), crossed: Vec::new() })
    }

    /// Lets all join, in the lab's order.
    fn come_together(&mut self) -> Result<(), Error> {
        for _ in 0..hosts() {
            self.world.add_host();
        }
        let (firsts, others): (Vec<usize>, Vec<usize>) =
            (0..hosts()).partition(|place| place % HOSTS == 0);
        for place in firsts {
            self.join(place);
            self.wait(|world| group(world, place).is_some())?;
        }
        others.into_iter().for_each(|place| self.join(place));
        self.wait(is_settled)?;
        self.world.run_until(self.world.now() + CALM);
        Ok(())
    }

    fn join(&mut self, place: usize) {
        self.world.start(place, config());
        let boot = if place == 0 { Vec::new() } else { vec![address(0)] };
        self.world.input(place, Input::Ring(ring::Command::Join(boot.clone())));
        self.world.input(place, Input::Locality(locality::Command::Join(boot)));
    }

    fn wait(&mut self, is_so: impl Fn(&World) -> bool) -> Result<(), Error> {
        let deadline = self.world.now() + SETTLING_MAX;
        while !is_so(&self.world) {
            if self.world.now() >= deadline {
                let problem = "the hosts do not come to one ring, and to a group a locality";
                return Err(Error::Usage(problem.to_owned()));
            }
            self.world.run_until(self.world.now() + Duration::from_millis(100));
        }
        Ok(())
    }

    fn pass_window(&mut self, window: Duration) {
        let start = self.world.now();
        let count = (window.as_micros() / PACE.as_micros()) as usize;
        self.answers = vec![None; count];
        for number in 0..count {
            let at = start + PACE * number as u32;
            self.world.mark(at, Operation(number).place(), number as u64);
        }
        self.network.borrow_mut().clear_counters();
        self.follow(start + window);
        let network = self.network.borrow();
        let links = 0..network.underlay().link_count();
        self.crossed = links.map(|link| network.crossed(link)).collect();
        drop(network);
        self.follow(start + window + PATIENCE);
    }

    fn follow(&mut self, until: Time) {
        while let Some(happening) = self.world.next(until) {
            match happening {
                Happening::Mark { place, tag } => {
                    let command = Operation(tag as usize).command();
                    self.world.input(place, Input::Ring(command));
                }
                Happening::Told { event: node::Event::Ring(event), .. } => {
                    if let Some((number, text)) = answer(event)
                        && let Some(place) = self.answers.get_mut(number)
                    {
                        *place = Some(text);
                    }
                }
                Happening::Told { .. } => {}
            }
        }
    }

    fn report(&self, transport: Transport, window: Duration, report: &mut Report) {
        let word = match transport {
            Transport::Unicast => "unicast",
            Transport::Xcast => "xcast",
        };
        let row = |name, figure| Row::new(name, figure, SOURCE).with("transport", word);
        for (link, crossed) in self.crossed.iter().enumerate() {
            let (one, other) = ends(link);
            for (tally, from, to) in [(crossed[0], &one, &other), (crossed[1], &other, &one)] {
                for (name, figure) in
                    [("link-packets", tally.packets), ("link-octets", tally.bytes)]
                {
                    let row = row(name, figure as f64);
                    report.rows.push(row.with("from", from.as_str()).with("to", to.as_str()));
                }
            }
        }
        let mut right = 0;
        for (number, text) in self.answers.iter().enumerate() {
            let operation = Operation(number);
            let text = text.as_deref().unwrap_or("no answer");
            let is_right = match operation.kind() {
                Kind::Put => !["no answer", "failed"].contains(&text),
                Kind::Get => text == operation.value(),
                Kind::FindNode => self.answers[number - 2].as_deref() == Some(text),
            };
            right += usize::from(is_right);
            let row = row("delivered", f64::from(u8::from(is_right)));
            let row = row.with("operation", operation.word()).with("key", operation.key());
            report.rows.push(row.with("peer", name(operation.place())).with("result", text));
        }
        let all = self.answers.len().max(1);
        let share = right as f64 / all as f64;
        let seconds = window.as_secs();
        let summary = row("operations-right", share).with("seconds", seconds);
        report.rows.push(summary.target(Target::AtLeast(1.0)));
        report.event_hash = Some(report.event_hash.unwrap_or(0) ^ self.world.hash());
    }
}

fn group(world: &World, place: usize) -> Option<locality::GroupId> {
    world.node(place)?.locality()?.group()
}

/// One ring in which everybody knows everybody, and a group a locality.
fn is_settled(world: &World) -> bool {
    let knows_all = |place: usize| {
        world.node(place).is_some_and(|node| {
            node.ring().is_joined() && node.ring().view().leaves.len() == hosts() - 1
        })
    };
    let mut groups: Vec<_> = (0..hosts()).step_by(HOSTS).map(|place| group(world, place)).collect();
    let is_grouped =
        |place: usize| group(world, place).is_some_and(|own| groups[place / HOSTS] == Some(own));
    let is_settled = (0..hosts()).all(|place| knows_all(place) && is_grouped(place));
    groups.sort();
    groups.dedup();
    is_settled && groups.len() == LOCALITIES.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_from_a_host_to_another_takes_as_long_as_in_the_lab() {
        let underlay = underlay();
        // A1 to D6: 1 + 25 + 75 + 25 + 3 ms; B2 to B3: 1.4 + 1.8 ms.
        assert_eq!(underlay.one_way(0, 23), Duration::from_millis(129));
        assert_eq!(underlay.one_way(7, 8), Duration::from_micros(3_200));
        assert_eq!((name(0), name(23)), ("A1".to_owned(), "D6".to_owned()));
        assert_eq!(ends(5 + 23), ("D6".to_owned(), "RD".to_owned()));
    }

    #[test]
    fn a_value_is_put_got_and_looked_for_by_different_hosts() {
        let places = [0, 1, 2].map(|number| Operation(number).place());
        assert_eq!((places, Operation(2).key()), ([0, 7, 13], "lab-0".to_owned()));
    }
}
