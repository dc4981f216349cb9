//! A slow router that is obviously right: no bitmaps, no tries, no increments. It decides
//! destination by destination over plain lists, and builds every copy anew from its fields. Written
//! from WIRE.md; `message`, `transport` and `classes` are its packets, `random` makes nodes and
//! packets, `kernel` tells a Rib what a node is, `observe` runs the product and reads what it did.

mod classes;
pub(crate) mod kernel;
mod message;
pub(crate) mod observe;
mod oracle;
pub(crate) mod random;
mod transport;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use message::{GROUP_V4, GROUP_V6};
pub(crate) use message::{Message, checksum};
use xcast::fib::{Prefix, ReversePath};

/// What a route leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    OnLink(u32),
    /// To one of these gateways (never none).
    Via(Vec<Hop>),
    Drop,
    Throw,
}

/// A gateway on an interface, and its share.
pub(crate) type Hop = (u32, IpAddr, u16);

/// Which gateway is taken where a route has several.
pub(crate) type Choices = BTreeMap<Vec<Hop>, Hop>;

#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) table: u32,
    pub(crate) prefix: Prefix,
    pub(crate) metric: u32,
    pub(crate) action: Action,
}

#[derive(Clone, Debug)]
pub(crate) struct Interface {
    pub(crate) index: u32,
    pub(crate) up: bool,
    pub(crate) mtu: usize,
    pub(crate) reverse_path: ReversePath,
    pub(crate) accept_group_frames: bool,
}

/// A node's whole state, as lists.
#[derive(Clone, Debug, Default)]
pub(crate) struct Node {
    pub(crate) interfaces: Vec<Interface>,
    /// Tables in the order in which they are consulted.
    pub(crate) tables: Vec<u32>,
    pub(crate) routes: Vec<Route>,
    /// (interface, address) that are resolved.
    pub(crate) neighbors: Vec<(u32, IpAddr)>,
    /// (interface, address) that are known to handle Xcast.
    pub(crate) capable: Vec<(u32, IpAddr)>,
    pub(crate) own: Vec<(u32, IpAddr)>,
    pub(crate) broadcast: Vec<Ipv4Addr>,
    /// Prefixes that may send and be reached; none = all.
    pub(crate) sources: Vec<Prefix>,
    pub(crate) destinations: Vec<Prefix>,
    pub(crate) allow_icmp_echo: bool,
    pub(crate) compact: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Form {
    Xcast,
    Unicast,
    /// Unicast as the next hop does not handle Xcast.
    Premature,
}

/// One copy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Copy {
    /// The interface and next hop it is for; `None`: this node itself.
    pub(crate) to: Option<(u32, IpAddr)>,
    pub(crate) resolved: bool,
    pub(crate) form: Form,
    /// Indices of the list.
    pub(crate) serves: Vec<usize>,
    /// The IP packet leaves in fragments; below it is whole.
    pub(crate) in_fragments: bool,
    pub(crate) packet: Vec<u8>,
}

/// All that becomes of a packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) copies: Vec<Copy>,
    /// Destinations dropped, by reason; or the one reason why a packet is malformed.
    pub(crate) drops: BTreeMap<&'static str, u64>,
    /// Destinations that are this node, of a packet that its sockets take from the link.
    pub(crate) seen_here: u64,
    /// What the source is told.
    pub(crate) notices: BTreeSet<String>,
    /// The live destinations that count.
    pub(crate) received: u64,
}

/// What becomes of a destination.
enum Fate {
    Delivered,
    Dropped(&'static str),
    /// Interface, next hop, and whether that is a gateway.
    Leaves(u32, IpAddr, bool),
}

impl Node {
    pub(crate) fn forward(&self, message: &Message, choices: &Choices) -> Outcome {
        let live = message.live();
        if let Some(reason) = self.malformed(message) {
            return Outcome { drops: BTreeMap::from([(reason, 1)]), ..Outcome::default() };
        }
        let mut outcome = Outcome { received: live.len() as u64, ..Outcome::default() };
        if let Some(reason) = self.refusal(message) {
            outcome.drops.insert(reason, live.len() as u64);
            return outcome;
        }
        // By next hop: the list indices of those on the link and of those behind it.
        let mut parts: BTreeMap<(u32, IpAddr), [Vec<usize>; 2]> = BTreeMap::new();
        for index in live {
            match self.fate(message, message.list[index].address, choices) {
                Fate::Dropped(reason) => outcome.drop(reason, 1),
                Fate::Delivered if message.keep_xcast && message.ingress.is_some() => {
                    outcome.seen_here += 1;
                }
                Fate::Delivered => self.deliver(message, index, &mut outcome),
                Fate::Leaves(interface, hop, gateway) => {
                    parts.entry((interface, hop)).or_default()[usize::from(gateway)].push(index);
                }
            }
        }
        let mut narrowest = usize::MAX;
        for (hop, [direct, behind]) in parts {
            self.send(message, hop, direct, behind, &mut narrowest, &mut outcome);
        }
        self.tell(message, narrowest, &mut outcome);
        outcome.copies.sort();
        outcome
    }

    /// Reasons that count packets, as far as fields can be wrong that are well-formed.
    fn malformed(&self, message: &Message) -> Option<&'static str> {
        let source = message.source;
        if self.is_bad(source) && !self.is_own(source) {
            return Some("source");
        }
        if message.live().is_empty() {
            return Some("no-live-destination");
        }
        let near = |index: &usize| self.is_near(message, message.list[*index].address);
        let off_link = message.ingress.is_some() && !message.live().iter().all(near);
        (is_link_local(source) && off_link).then_some("source")
    }

    /// Whether a destination is this node or on the link that the packet came in by.
    fn is_near(&self, message: &Message, address: IpAddr) -> bool {
        if is_scoped(address) {
            return true;
        }
        let on_link = || message.ingress.map(Action::OnLink) == self.route(address);
        self.is_own(address) || !self.is_bad(address) && on_link()
    }

    /// Reasons that concern a packet as a whole.
    fn refusal(&self, message: &Message) -> Option<&'static str> {
        let ingress = message.ingress?;
        let interface = self.interface(ingress);
        let group = if message.is_v6() { IpAddr::V6(GROUP_V6) } else { IpAddr::V4(GROUP_V4) };
        if message.group != group || message.to_group && !interface.accept_group_frames {
            return Some("not-for-this-router");
        }
        if !self.reverse_path_holds(interface, message.source) {
            return Some("reverse-path");
        }
        if !may(&self.sources, message.source) {
            return Some("source-not-allowed");
        }
        let echo = message.transport.is_echo_request(message.is_v6());
        (echo && !self.allow_icmp_echo).then_some("icmp-echo")
    }

    fn reverse_path_holds(&self, interface: &Interface, source: IpAddr) -> bool {
        let own = match is_scoped(source) {
            true => self.own.contains(&(interface.index, source)),
            false => self.is_own(source),
        };
        match interface.reverse_path {
            ReversePath::Off => true,
            _ if own => false,
            _ if is_scoped(source) => true, // it is on the link
            // There is a route back, even if it cannot be used now.
            ReversePath::Loose => match self.route(source) {
                Some(action) => action != Action::Drop,
                None => self.has_dead_route(source),
            },
            ReversePath::Strict => match self.route(source) {
                Some(Action::OnLink(back)) => back == interface.index,
                Some(Action::Via(group)) => group.iter().any(|hop| hop.0 == interface.index),
                _ => false,
            },
        }
    }

    /// Every way in which this packet's destinations may use gateways: all that share a group share
    /// its choice (R5).
    pub(crate) fn all_choices(&self, message: &Message) -> Vec<Choices> {
        let mut all = vec![Choices::new()];
        for index in message.live() {
            let Some(Action::Via(group)) = self.route(message.list[index].address) else {
                continue;
            };
            if all[0].contains_key(&group) {
                continue;
            }
            let with = |hop: &Hop| {
                let (group, hop) = (group.clone(), *hop);
                all.iter().cloned().map(move |mut choices| {
                    choices.insert(group.clone(), hop);
                    choices
                })
            };
            all = group.iter().flat_map(with).collect();
        }
        all
    }

    fn fate(&self, message: &Message, address: IpAddr, choices: &Choices) -> Fate {
        // An address with a link for its scope is on the one the packet came in by, which is up.
        let link = message.ingress.or(match &self.interfaces[..] {
            [only] => Some(only.index),
            _ => None,
        });
        let own = match (is_scoped(address), link) {
            (true, link) => link.is_some_and(|link| self.own.contains(&(link, address))),
            (false, _) => self.is_own(address),
        };
        if own {
            return Fate::Delivered;
        }
        if message.ingress.is_some() && message.ttl <= 1 {
            return Fate::Dropped("ttl-expired");
        }
        if self.is_bad(address) || is_scoped(address) && link.is_none() {
            return Fate::Dropped("bad-destination");
        }
        let route = match (is_scoped(address), link) {
            (true, Some(link)) => Some(Action::OnLink(link)),
            _ => self.route(address),
        };
        if is_link_local(address) && !is_scoped(address) {
            match route {
                Some(Action::OnLink(out)) if message.ingress.is_none_or(|link| link == out) => {}
                _ => return Fate::Dropped("bad-destination"),
            }
        }
        if !may(&self.destinations, address) {
            return Fate::Dropped("destination-not-allowed");
        }
        match route {
            Some(Action::OnLink(interface)) => Fate::Leaves(interface, address, false),
            Some(Action::Via(group)) => {
                let (interface, hop, _) = choices[&group];
                Fate::Leaves(interface, hop, true)
            }
            Some(_) => Fate::Dropped("route-drop"),
            None if self.has_dead_route(address) => Fate::Dropped("port-down"),
            None => Fate::Dropped("no-route"),
        }
    }

    /// Into this node's own IP stack as a unicast packet, or whole to its Xcast sockets (R3).
    fn deliver(&self, message: &Message, index: usize, outcome: &mut Outcome) {
        let serves = vec![index];
        let (form, packet) = match message.keep_xcast {
            true => {
                let traffic_class = message.traffic_class;
                (Form::Xcast, message.pruned(&serves, message.ttl, traffic_class, false))
            }
            false if !message.can_be_unicast() => return outcome.drop("x2u-impossible", 1),
            false => (Form::Unicast, message.unicast(index, message.ttl)),
        };
        let in_fragments = false;
        outcome.copies.push(Copy { to: None, resolved: true, form, serves, in_fragments, packet });
    }

    /// The copies for one next hop (R6 to R11).
    fn send(
        &self,
        message: &Message,
        hop: (u32, IpAddr),
        direct: Vec<usize>,
        behind: Vec<usize>,
        narrowest: &mut usize,
        outcome: &mut Outcome,
    ) {
        let mut groups: Vec<(Form, Vec<usize>)> = Vec::new();
        if !behind.is_empty() && self.capable.contains(&hop) {
            let classes = message.classes([direct, behind].concat());
            groups.extend(classes.into_iter().map(|class| (Form::Unicast, class)));
        } else {
            // One for each. Of one behind a router alone it cannot be said that it is early.
            let early = if behind.len() > 1 { Form::Premature } else { Form::Unicast };
            groups.extend(direct.into_iter().map(|index| (Form::Unicast, vec![index])));
            if message.keep_xcast && !behind.is_empty() {
                outcome.drop("incapable-with-x", behind.len());
            } else {
                groups.extend(behind.into_iter().map(|index| (early, vec![index])));
            }
        }
        let ttl = message.ttl - u8::from(message.ingress.is_some());
        let mtu = self.interface(hop.0).mtu;
        for (form, serves) in groups {
            let stays = message.keep_xcast || serves.len() > 1;
            if !stays && !message.can_be_unicast() {
                outcome.drop("x2u-impossible", serves.len());
                continue;
            }
            let (form, packet) = match stays {
                true => {
                    let (class, compact) =
                        (message.traffic_class_of(&serves), self.compacts(message));
                    (Form::Xcast, message.pruned(&serves, ttl, class, compact))
                }
                false => (form, message.unicast(serves[0], ttl)),
            };
            let in_fragments = packet.len() > mtu;
            let may_fragment = !stays && !message.is_v6() && !message.v4.forbids_fragments;
            if in_fragments && !may_fragment {
                *narrowest = mtu.min(*narrowest);
                outcome.drop("too-big", serves.len());
                continue;
            }
            let resolved = self.neighbors.contains(&hop);
            let to = Some(hop);
            outcome.copies.push(Copy { to, resolved, form, serves, in_fragments, packet });
        }
    }

    /// Whether copies that stay Xcast list their live destinations alone (R6).
    fn compacts(&self, message: &Message) -> bool {
        let is_ah = message.transport.protocol(message.is_v6()) == transport::AH;
        let has_option = message.is_v6() && message.has_ports;
        // A trace is drawn by places in the list.
        let never = message.keep_xcast || is_ah || has_option || message.asks_for_trace();
        self.compact && !never
    }

    /// What the source is told (R12).
    fn tell(&self, message: &Message, narrowest: usize, outcome: &mut Outcome) {
        let Some(ingress) = message.ingress else { return };
        let source = message.source;
        let has_way_back = match is_scoped(source) {
            true => !self.own.contains(&(ingress, source)),
            false => {
                let route = self.route(source);
                !self.is_own(source) && matches!(route, Some(Action::OnLink(_) | Action::Via(_)))
            }
        };
        if !has_way_back || message.transport.is_icmp_error(message.is_v6()) {
            return;
        }
        let dropped = |reason| outcome.drops.contains_key(reason);
        let mut notices = BTreeSet::new();
        if dropped("ttl-expired") {
            let kind = if message.asks_for_trace() { "trace" } else { "time-exceeded" };
            notices.insert(kind.to_owned());
        }
        if dropped("no-route") {
            notices.insert("no-route".to_owned());
        }
        if dropped("too-big") {
            notices.insert(format!("too-big {narrowest}"));
        }
        outcome.notices = notices;
    }

    fn interface(&self, index: u32) -> &Interface {
        self.interfaces.iter().find(|interface| interface.index == index).unwrap()
    }

    fn is_own(&self, address: IpAddr) -> bool {
        self.own.iter().any(|own| own.1 == address)
    }

    /// Not an address of any one node (R2), wherever the packet comes from.
    fn is_bad(&self, address: IpAddr) -> bool {
        address.is_unspecified()
            || address.is_multicast()
            || address.is_loopback()
            || self.broadcast.iter().any(|broadcast| *broadcast == address)
            || address == Ipv4Addr::BROADCAST
    }

    /// The first table with any match wins, unless it says throw.
    fn route(&self, address: IpAddr) -> Option<Action> {
        let found = self.tables.iter().filter_map(|table| self.best(*table, address));
        found.into_iter().find(|action| *action != Action::Throw)
    }

    /// The longest prefix with a live route, and of those the lowest metric.
    fn best(&self, table: u32, address: IpAddr) -> Option<Action> {
        let fitting = self.routes.iter().filter(|route| {
            route.table == table && route.prefix.contains(address) && self.is_live(&route.action)
        });
        let best = fitting.min_by_key(|route| (128 - route.prefix.length(), route.metric))?;
        let mut action = best.action.clone();
        if let Action::Via(group) = &mut action {
            group.retain(|hop| self.interface(hop.0).up);
        }
        Some(action)
    }

    fn is_live(&self, action: &Action) -> bool {
        match action {
            Action::OnLink(interface) => self.interface(*interface).up,
            Action::Via(group) => group.iter().any(|hop| self.interface(hop.0).up),
            Action::Drop | Action::Throw => true,
        }
    }

    fn has_dead_route(&self, address: IpAddr) -> bool {
        let consulted = |route: &&Route| self.tables.contains(&route.table);
        let mut holding = self.routes.iter().filter(consulted);
        holding.any(|route| route.prefix.contains(address) && !self.is_live(&route.action))
    }
}

impl Outcome {
    fn drop(&mut self, reason: &'static str, count: usize) {
        *self.drops.entry(reason).or_default() += count as u64;
    }
}

impl Message {
    fn can_be_unicast(&self) -> bool {
        self.transport.can_be_unicast(self.is_v6(), self.has_ports)
    }

    fn asks_for_trace(&self) -> bool {
        // "XCTR", version 1, a request.
        let is_udp = matches!(self.transport.kind, transport::Kind::Udp { .. });
        is_udp
            && self.transport.payload.starts_with(b"XCTR\x01\x01")
            && self.transport.payload.len() >= 16
    }
}

fn may(prefixes: &[Prefix], address: IpAddr) -> bool {
    prefixes.is_empty() || prefixes.iter().any(|prefix| prefix.contains(address))
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.octets()[..2] == [169, 254],
        IpAddr::V6(_) => is_scoped(address),
    }
}

/// A link-local address of IPv6, which means something on one link alone.
fn is_scoped(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => address.segments()[0] & 0xffc0 == 0xfe80,
    }
}
