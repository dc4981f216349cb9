//! Networks that are trees: their routes, and what must cross each of their links, which follows
//! from the paths alone.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use crate::lab::capture::{Capture, Copy, Form};
use crate::lab::{End, Lab, ip_batch};

/// Which address of a gateway the routes of IPv6 name.
#[derive(Clone, Copy)]
pub(crate) enum Gateways {
    Global,
    LinkLocal,
}

/// Tells every node how to reach every link, over both IP versions.
pub(crate) fn install_routes(lab: &Lab, gateways: Gateways) {
    let mut commands: BTreeMap<&str, String> = BTreeMap::new();
    for target in &lab.links {
        let mut reached: Vec<&str> = target.ends.iter().map(|end| &*end.node).collect();
        let mut open: VecDeque<&str> = reached.iter().copied().collect();
        while let Some(nearer) = open.pop_front() {
            for (own, far) in neighbors(lab, nearer) {
                if reached.contains(&&*far.node) {
                    continue;
                }
                reached.push(&far.node);
                open.push_back(&far.node);
                let (interface, v4) = (&far.interface, own.address);
                let v6 = match gateways {
                    Gateways::Global => own.address_v6,
                    Gateways::LinkLocal => own.link_local,
                };
                let (to_v4, to_v6) = (target.subnet(), target.subnet_v6());
                *commands.entry(&far.node).or_default() += &format!(
                    "route add {to_v4} via {v4}\nroute add {to_v6} via {v6} dev {interface}\n"
                );
            }
        }
    }
    for (node, lines) in commands {
        ip_batch(&["-n", node], &lines);
    }
}

/// The ends of a node's links: its own, and each of the others.
fn neighbors<'a>(lab: &'a Lab, node: &str) -> Vec<(&'a End, &'a End)> {
    let mut found = Vec::new();
    for link in &lab.links {
        if let Some(own) = link.ends.iter().find(|end| end.node == node) {
            let others = link.ends.iter().filter(|end| end.node != node);
            found.extend(others.map(|far| (own, far)));
        }
    }
    found
}

/// One packet's message: its destinations are hosts, all of one IP version.
pub(crate) struct Message<'a> {
    /// The node that sends it.
    pub(crate) from: &'a str,
    pub(crate) source: SocketAddr,
    pub(crate) to: Vec<SocketAddr>,
    pub(crate) payload: &'a str,
    pub(crate) keeps_xcast: bool,
}

impl Message<'_> {
    /// Every copy of it that crosses a link, where all forwarders but the `incapable` ones handle
    /// Xcast (WIRE.md R6 to R9).
    pub(crate) fn copies(&self, lab: &Lab, incapable: &[&str]) -> Vec<Copy<SocketAddr>> {
        let paths = self.to.iter().map(|to| path(lab, self.from, owner(lab, *to)));
        let paths: Vec<Vec<&str>> = paths.collect();
        let mut copies = Vec::new();
        let all = (0..self.to.len()).collect::<Vec<_>>();
        self.branch(&paths, incapable, 0, &all, &mut copies);
        copies
    }

    /// The node at place `at` of the paths has the packet for the `live` destinations.
    fn branch(
        &self,
        paths: &[Vec<&str>],
        incapable: &[&str],
        at: usize,
        live: &[usize],
        out: &mut Vec<Copy<SocketAddr>>,
    ) {
        let mut groups: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for index in live {
            groups.entry(paths[*index][at + 1]).or_default().push(*index);
        }
        for (next, group) in groups {
            let node = paths[group[0]][at];
            let xcast = |live: &[usize]| {
                let form = Form::Xcast(live.iter().map(|index| self.to[*index]).collect());
                self.copy(node, next, at, form)
            };
            let is_last = paths[group[0]].len() == at + 2;
            let speaks = !is_last && !incapable.contains(&next);
            if speaks && (group.len() > 1 || self.keeps_xcast) {
                out.push(xcast(&group));
                self.branch(paths, incapable, at + 1, &group, out);
            } else if is_last && self.keeps_xcast {
                out.extend(group.iter().map(|index| xcast(&[*index])));
            } else if !self.keeps_xcast {
                for index in group {
                    let hops = paths[index].windows(2).enumerate().skip(at);
                    let form = Form::Unicast(self.to[index]);
                    out.extend(hops.map(|(at, hop)| self.copy(hop[0], hop[1], at, form.clone())));
                }
            }
        }
    }

    /// A copy that crosses the link behind place `at` of a path.
    fn copy(&self, from: &str, to: &str, at: usize, form: Form<SocketAddr>) -> Copy<SocketAddr> {
        let (from, to, payload) = (from.to_owned(), to.to_owned(), self.payload.to_owned());
        Copy { from, to, form, source: self.source, ttl: 64 - at as u8, payload }
    }
}

/// The node with an address.
pub(crate) fn owner(lab: &Lab, address: SocketAddr) -> &str {
    let mut ends = lab.links.iter().flat_map(|link| &link.ends);
    let has = |end: &&End| [end.address.into(), end.address_v6.into()].contains(&address.ip());
    &ends.find(has).unwrap_or_else(|| panic!("{address} is nobody's")).node
}

/// The nodes on the way, both ends among them.
fn path<'a>(lab: &'a Lab, from: &'a str, to: &str) -> Vec<&'a str> {
    let mut open = VecDeque::from([vec![from]]);
    while let Some(path) = open.pop_front() {
        let last = path[path.len() - 1];
        if last == to {
            return path;
        }
        let next = neighbors(lab, last).into_iter().map(|(_, far)| &*far.node);
        let next = next.filter(|node| !path.contains(node));
        open.extend(next.map(|node| [&path[..], &[node]].concat()));
    }
    panic!("there is no way from {from} to {to}");
}

/// Everything captured on all links since the last call.
pub(crate) fn crossed(captures: &[Capture]) -> Vec<Copy<SocketAddr>> {
    captures.iter().flat_map(Capture::take_all).collect()
}

/// The same copies, in whatever order.
pub(crate) fn assert_same(mut found: Vec<Copy<SocketAddr>>, mut expected: Vec<Copy<SocketAddr>>) {
    found.sort();
    expected.sort();
    assert!(found == expected, "found {found:#?}\nexpected {expected:#?}");
}
