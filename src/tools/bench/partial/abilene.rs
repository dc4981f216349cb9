//! The network: the eleven cities and fourteen links of the Abilene backbone of Internet2, a router
//! in each city and a host behind each router. Its shortest paths.

use std::net::Ipv4Addr;

use crate::fib::Prefix;

/// The cities, from west to east.
pub(super) const CITIES: [&str; 11] = [
    "Seattle",
    "Sunnyvale",
    "Los Angeles",
    "Denver",
    "Kansas City",
    "Houston",
    "Chicago",
    "Indianapolis",
    "Atlanta",
    "Washington",
    "New York",
];
pub(super) const COUNT: usize = CITIES.len();
/// The city of the sender, in a corner.
pub(super) const SOURCE: usize = 0;

/// Which routers are joined, by their places in [`CITIES`].
const LINKS: [(Node, Node); 14] = [
    (0, 1),  // Seattle - Sunnyvale
    (0, 3),  // Seattle - Denver
    (1, 2),  // Sunnyvale - Los Angeles
    (1, 3),  // Sunnyvale - Denver
    (2, 5),  // Los Angeles - Houston
    (3, 4),  // Denver - Kansas City
    (4, 5),  // Kansas City - Houston
    (4, 7),  // Kansas City - Indianapolis
    (5, 8),  // Houston - Atlanta
    (6, 7),  // Chicago - Indianapolis
    (6, 10), // Chicago - New York
    (7, 8),  // Indianapolis - Atlanta
    (8, 9),  // Atlanta - Washington
    (9, 10), // Washington - New York
];
/// The links of the backbone, then one from each router to its host.
pub(super) const LINK_COUNT: usize = LINKS.len() + COUNT;

/// A router has its city's number, its host [`COUNT`] more.
pub(super) type Node = usize;

/// The host in a city.
pub(super) fn host(city: usize) -> Node {
    COUNT + city
}

/// The two nodes that a link joins.
pub(super) fn ends(link: usize) -> (Node, Node) {
    match link.checked_sub(LINKS.len()) {
        None => LINKS[link],
        Some(city) => (city, host(city)),
    }
}

/// The links of a node.
pub(super) fn links_of(node: Node) -> impl Iterator<Item = usize> {
    (0..LINK_COUNT).filter(move |link| ends(*link).0 == node || ends(*link).1 == node)
}

/// The node at the other end of a link.
pub(super) fn across(link: usize, node: Node) -> Node {
    let (one, other) = ends(link);
    if one == node { other } else { one }
}

/// How many other routers a city's is joined with.
pub(super) fn degree(city: usize) -> usize {
    LINKS.iter().filter(|(one, other)| [*one, *other].contains(&city)).count()
}

/// What nodes are called in tables.
pub(super) fn name(node: Node) -> String {
    match node.checked_sub(COUNT) {
        None => CITIES[node].to_owned(),
        Some(city) => format!("{} host", CITIES[city]),
    }
}

/// A node's address on a link.
pub(super) fn address_on(link: usize, node: Node) -> Ipv4Addr {
    Ipv4Addr::new(10, link as u8, 0, if ends(link).0 == node { 1 } else { 2 })
}

/// The address that others know a node by: on the link between router and host.
pub(super) fn address(node: Node) -> Ipv4Addr {
    address_on(LINKS.len() + node % COUNT, node)
}

/// The node with an address.
pub(super) fn owner(address: Ipv4Addr) -> Option<Node> {
    let [10, link, 0, end @ (1 | 2)] = address.octets() else { return None };
    let link = usize::from(link);
    let (one, other) = (link < LINK_COUNT).then(|| ends(link))?;
    Some(if end == 1 { one } else { other })
}

/// The subnet of a link.
pub(super) fn subnet(link: usize) -> Option<Prefix> {
    Prefix::new(Ipv4Addr::new(10, link as u8, 0, 0).into(), 24)
}

/// The subnet that a city's host is in.
pub(super) fn prefix(city: usize) -> Option<Prefix> {
    subnet(LINKS.len() + city)
}

/// Shortest paths by the number of links. Of equally short ones that is taken which does without the
/// link that comes last in the list of links. So paths are unique, the way back is the way there,
/// and every part of a path is the path between its ends.
pub(super) struct Paths {
    /// By node and target.
    distances: Vec<Vec<u64>>,
}

impl Paths {
    pub(super) fn new() -> Paths {
        let far = u64::MAX / 2;
        let mut distances = vec![vec![far; 2 * COUNT]; 2 * COUNT];
        (0..2 * COUNT).for_each(|node| distances[node][node] = 0);
        for link in 0..LINK_COUNT {
            let (one, other) = ends(link);
            distances[one][other] = length(link);
            distances[other][one] = length(link);
        }
        // Floyd and Warshall's algorithm.
        for by in 0..2 * COUNT {
            for from in 0..2 * COUNT {
                for to in 0..2 * COUNT {
                    let longer = distances[from][by] + distances[by][to];
                    distances[from][to] = distances[from][to].min(longer);
                }
            }
        }
        Paths { distances }
    }

    /// Tells what is nearer, and means nothing otherwise. No two are the same from one node.
    pub(super) fn distance(&self, from: Node, to: Node) -> u64 {
        self.distances[from][to]
    }

    /// The link that the path begins with; `None` if it has none.
    pub(super) fn next(&self, from: Node, to: Node) -> Option<usize> {
        links_of(from).find(|link| {
            let onward = self.distances[across(*link, from)][to];
            length(*link) + onward == self.distances[from][to]
        })
    }

    /// The nodes behind the first of a path, to the last.
    pub(super) fn beyond(&self, from: Node, to: Node) -> impl Iterator<Item = Node> + '_ {
        std::iter::successors(Some(from), move |at| Some(across(self.next(*at, to)?, *at))).skip(1)
    }
}

/// One, and a little more that no sum of others' equals.
fn length(link: usize) -> u64 {
    (1 << LINK_COUNT) + (1 << link)
}
