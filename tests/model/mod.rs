//! A slow router that is obviously right: no bitmaps, no tries, no increments. It decides
//! destination by destination over plain lists, and builds every copy anew from its fields.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use xcast::fib::Prefix;
use xcast::wire::{ipv4, udp, xcast4};

pub(crate) const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 254);
pub(crate) const PROTOCOL: u8 = 253;

/// What a route leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    OnLink(u32),
    Via(u32, Ipv4Addr),
    Drop,
    Throw,
}

#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) table: u32,
    pub(crate) prefix: Prefix,
    pub(crate) metric: u32,
    pub(crate) action: Action,
}

/// A node's whole state, as lists.
#[derive(Clone, Debug, Default)]
pub(crate) struct Node {
    /// The interface that packets come in by.
    pub(crate) ingress: u32,
    /// Interfaces that are up.
    pub(crate) up: Vec<u32>,
    /// Tables in the order in which they are consulted.
    pub(crate) tables: Vec<u32>,
    pub(crate) routes: Vec<Route>,
    /// (interface, address) that are resolved.
    pub(crate) neighbors: Vec<(u32, Ipv4Addr)>,
    pub(crate) incapable: Vec<Ipv4Addr>,
    pub(crate) own: Vec<Ipv4Addr>,
    pub(crate) broadcast: Vec<Ipv4Addr>,
}

/// A packet's fields.
#[derive(Clone, Debug)]
pub(crate) struct Fields {
    pub(crate) source: Ipv4Addr,
    pub(crate) ttl: u8,
    /// DSCP and ECN bits.
    pub(crate) traffic_class: u8,
    pub(crate) header: xcast4::Repr,
    pub(crate) payload: Vec<u8>,
}

/// One copy: the interface and next hop it is for (none for this node), and the IP packet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Copy {
    pub(crate) to: Option<(u32, Ipv4Addr)>,
    pub(crate) resolved: bool,
    pub(crate) packet: Vec<u8>,
}

/// What becomes of a destination.
enum Fate {
    Delivered,
    Dropped(&'static str),
    /// Interface, next hop, and whether that is a gateway.
    Leaves(u32, Ipv4Addr, bool),
}

impl Node {
    /// All copies, and all drops by reason.
    pub(crate) fn forward(&self, fields: &Fields) -> (Vec<Copy>, BTreeMap<&'static str, u64>) {
        let mut copies = Vec::new();
        let mut drops = BTreeMap::new();
        if !self.reverse_path_holds(fields.source) {
            let live = u64::from(fields.header.bitmap.count_ones());
            return (copies, BTreeMap::from([("reverse-path", live)]));
        }
        // By next hop: the list indices of those on the link and of those behind it.
        let mut parts: BTreeMap<(u32, Ipv4Addr), [Vec<usize>; 2]> = BTreeMap::new();
        for index in 0..fields.header.destinations.len() {
            if fields.header.bitmap << index >> 127 == 0 {
                continue;
            }
            match self.fate(fields, fields.header.destinations[index]) {
                Fate::Dropped(reason) => *drops.entry(reason).or_default() += 1,
                Fate::Delivered => {
                    let packet = fields.unicast(index, fields.ttl);
                    copies.push(Copy { to: None, resolved: true, packet });
                }
                Fate::Leaves(interface, hop, gateway) => {
                    parts.entry((interface, hop)).or_default()[usize::from(gateway)].push(index);
                }
            }
        }
        for ((interface, hop), [direct, behind]) in parts {
            let together = !behind.is_empty() && !self.incapable.contains(&hop);
            let all = direct.iter().chain(&behind).copied();
            let groups: Vec<(Vec<usize>, u8)> = match together {
                true => fields.classes(all.collect()),
                false => all.map(|index| (vec![index], 0)).collect(),
            };
            let resolved = self.neighbors.contains(&(interface, hop));
            for (group, traffic_class) in groups {
                let packet = match group[..] {
                    [index] => fields.unicast(index, fields.ttl - 1),
                    _ => fields.pruned(&group, traffic_class),
                };
                copies.push(Copy { to: Some((interface, hop)), resolved, packet });
            }
        }
        copies.sort();
        (copies, drops)
    }

    fn fate(&self, fields: &Fields, address: Ipv4Addr) -> Fate {
        let bad = address.is_unspecified()
            || address.is_multicast()
            || address.is_broadcast()
            || address.is_loopback()
            || self.broadcast.contains(&address) && !self.own.contains(&address);
        if self.own.contains(&address) && !bad {
            return Fate::Delivered;
        }
        if fields.ttl <= 1 {
            return Fate::Dropped("ttl-expired");
        }
        if bad {
            return Fate::Dropped("bad-destination");
        }
        let route = self.route(address);
        if address.is_link_local() && route != Some(Action::OnLink(self.ingress)) {
            return Fate::Dropped("bad-destination");
        }
        match route {
            None => {}
            Some(Action::OnLink(interface)) => return Fate::Leaves(interface, address, false),
            Some(Action::Via(interface, hop)) => return Fate::Leaves(interface, hop, true),
            Some(_) => return Fate::Dropped("route-drop"),
        }
        let dead = self.routes.iter().any(|route| {
            self.tables.contains(&route.table)
                && route.prefix.contains(address.into())
                && !self.is_live(&route.action)
        });
        Fate::Dropped(if dead { "port-down" } else { "no-route" })
    }

    /// Strict: the route back to the source leaves by the interface the packet came in on.
    fn reverse_path_holds(&self, source: Ipv4Addr) -> bool {
        match self.route(source) {
            Some(Action::OnLink(interface) | Action::Via(interface, _)) => {
                interface == self.ingress
            }
            _ => false,
        }
    }

    /// The first table with any match wins, unless it says throw.
    fn route(&self, address: Ipv4Addr) -> Option<Action> {
        let found = self.tables.iter().filter_map(|table| self.best(*table, address));
        found.into_iter().find(|action| *action != Action::Throw)
    }

    /// The longest prefix with a live route, and of those the lowest metric.
    fn best(&self, table: u32, address: Ipv4Addr) -> Option<Action> {
        let fitting = self.routes.iter().filter(|route| {
            route.table == table
                && route.prefix.contains(address.into())
                && self.is_live(&route.action)
        });
        let best = fitting.min_by_key(|route| (128 - route.prefix.length(), route.metric))?;
        Some(best.action.clone())
    }

    fn is_live(&self, action: &Action) -> bool {
        match action {
            Action::OnLink(interface) | Action::Via(interface, _) => self.up.contains(interface),
            Action::Drop | Action::Throw => true,
        }
    }
}

impl Fields {
    /// The packet as it arrives.
    pub(crate) fn packet(&self) -> Vec<u8> {
        let port = if self.header.ports.is_empty() { 9000 } else { 0 };
        self.xcast(self.header.clone(), self.ttl, self.traffic_class, port)
    }

    /// Which of these may share a copy, and the DSCP and ECN bits it bears.
    fn classes(&self, mut live: Vec<usize>) -> Vec<(Vec<usize>, u8)> {
        const ORDER: &str = "EF VA CS7 CS6 CS5 AF41 AF42 AF43 CS4 AF31 AF32 AF33 CS3 AF21 AF22 \
                             AF23 CS2 AF11 AF12 AF13 CS1 default LE";
        live.sort_unstable();
        if self.header.ds_bytes.is_empty() {
            return vec![(live, self.traffic_class)];
        }
        let name = |index: &usize| match self.header.ds_bytes[*index] >> 2 {
            46 => "EF".to_owned(),
            44 => "VA".to_owned(),
            1 => "LE".to_owned(),
            dscp if dscp % 8 == 0 && dscp > 0 => format!("CS{}", dscp / 8),
            dscp @ (10 | 12 | 14 | 18 | 20 | 22 | 26 | 28 | 30 | 34 | 36 | 38) => {
                format!("AF{}{}", dscp / 8, dscp % 8 / 2)
            }
            _ => "default".to_owned(),
        };
        let class_of = |name: &str| name.strip_prefix("AF").map_or(0, |rest| rest.as_bytes()[0]);
        let highest = live.iter().map(|index| class_of(&name(index))).max().unwrap_or(0);
        let mut classes: BTreeMap<u8, Vec<usize>> = BTreeMap::new();
        for index in live {
            let class = match class_of(&name(&index)) {
                0 => highest,
                class => class,
            };
            classes.entry(class).or_default().push(index);
        }
        let each = classes.into_values().map(|members| {
            let rank = |index: &&usize| ORDER.split_whitespace().position(|n| n == name(index));
            let first = *members.iter().min_by_key(rank).unwrap();
            let dscp = self.header.ds_bytes[first] & 0xfc;
            (members, dscp | self.traffic_class & 3)
        });
        each.collect()
    }

    fn pruned(&self, live: &[usize], traffic_class: u8) -> Vec<u8> {
        let mut header = self.header.clone();
        header.bitmap = 0;
        for index in live {
            header.bitmap |= 1 << (127 - index);
        }
        if header.anonymous {
            for (index, address) in header.destinations.iter_mut().enumerate() {
                if !live.contains(&index) {
                    *address = Ipv4Addr::UNSPECIFIED;
                }
            }
        }
        let port = if header.ports.is_empty() { 9000 } else { 0 };
        self.xcast(header, self.ttl - 1, traffic_class, port)
    }

    fn xcast(&self, header: xcast4::Repr, ttl: u8, traffic_class: u8, port: u16) -> Vec<u8> {
        let mut xcast = vec![0; header.header_len()];
        header.emit(&mut xcast).unwrap();
        xcast.extend(self.datagram(GROUP, port));
        self.ip(GROUP, PROTOCOL, ttl, traffic_class, &xcast)
    }

    fn unicast(&self, index: usize, ttl: u8) -> Vec<u8> {
        let destination = self.header.destinations[index];
        let port = self.header.ports.get(index).copied().unwrap_or(9000);
        let own = self.header.ds_bytes.get(index);
        let traffic_class =
            own.map_or(self.traffic_class, |own| own & 0xfc | self.traffic_class & 3);
        self.ip(destination, 17, ttl, traffic_class, &self.datagram(destination, port))
    }

    fn datagram(&self, destination: Ipv4Addr, port: u16) -> Vec<u8> {
        let mut datagram = vec![0; 8];
        datagram.extend(&self.payload);
        let repr = udp::Repr { source_port: 5000, destination_port: port };
        repr.emit(&mut datagram, self.source, destination);
        datagram
    }

    fn ip(
        &self,
        destination: Ipv4Addr,
        protocol: u8,
        ttl: u8,
        traffic_class: u8,
        payload: &[u8],
    ) -> Vec<u8> {
        let payload_len = payload.len() as u16;
        let source = self.source;
        let repr = ipv4::Repr { source, destination, protocol, traffic_class, ttl, payload_len };
        let mut packet = vec![0; 20];
        repr.emit(&mut packet);
        packet.extend(payload);
        packet
    }
}
