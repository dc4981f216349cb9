//! What was counted, as tables and as JSON. Pure.

use serde_json::{Value, json};

use super::abilene::{CITIES, COUNT, Node, SOURCE, host, name};
use super::deployment::{Joined, Order};
use super::traffic::Crossings;
use crate::tools::output;

/// What one message made of one deployment.
pub(super) struct Point {
    pub(super) joined: Joined,
    /// How many routers speak Xcast.
    pub(super) count: usize,
    /// Into which something is routed: from, to, the cities whose prefixes are.
    pub(super) tunnels: Vec<(Node, Node, Vec<usize>)>,
    pub(super) crossings: Crossings,
}

/// Everything.
pub(super) struct Curve {
    pub(super) order: Order,
    /// In the order in which their routers come to speak Xcast.
    pub(super) cities: Vec<usize>,
    pub(super) unicast: Crossings,
    pub(super) points: Vec<Point>,
}

impl Curve {
    /// The numbers of routers.
    fn counts(&self) -> Vec<usize> {
        self.of(Joined::Natively).map(|point| point.count).collect()
    }

    /// The points of one line.
    pub(super) fn of(&self, joined: Joined) -> impl Iterator<Item = &Point> {
        self.points.iter().filter(move |point| point.joined == joined)
    }

    /// What the tree of shortest paths needs: one packet on each of its links.
    pub(super) fn tree(&self) -> u32 {
        self.unicast.each().map(|(_, _, packets)| packets.min(1)).sum()
    }

    /// Each direction of each link: from, to, packets, those of unicast.
    fn beside_unicast(&self, point: &Point) -> impl Iterator<Item = (Node, Node, u32, u32)> {
        let both = point.crossings.each().zip(self.unicast.each());
        both.map(|((from, to, packets), (.., unicast))| (from, to, packets, unicast))
    }

    /// Where a detour makes it worse than unicast.
    fn worse(&self, point: &Point) -> impl Iterator<Item = (Node, Node, u32, u32)> {
        self.beside_unicast(point).filter(|(_, _, packets, unicast)| packets > unicast)
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let order: Vec<&str> = self.cities.iter().map(|city| CITIES[*city]).collect();
        let mut text = format!(
            "Abilene: {COUNT} routers, 14 links, a host behind each router; one datagram from the \
             {} host to all others\nXcast comes to ({}):\n  {}\n\ntotal of all links\n{}",
            CITIES[SOURCE],
            self.order.title(),
            order.join(", "),
            self.totals(),
        );
        for joined in [Joined::Natively, Joined::Backbone] {
            text += &format!("\n\n{}: packets on each link\n", joined.title());
            text += &self.links(joined);
        }
        for point in &self.points {
            let worse = self.worse(point).map(|(from, to, packets, unicast)| {
                format!("{} > {} {packets} ({unicast})", name(from), name(to))
            });
            let worse: Vec<String> = worse.collect();
            if !worse.is_empty() {
                let heading = format!("{} with {}", point.joined.name(), point.count);
                text += &format!("\n\n{heading}: more than by unicast\n  {}", worse.join(", "));
            }
        }
        text
    }

    fn head(&self, first: &str) -> Vec<String> {
        let counts = self.counts().into_iter().map(|count| count.to_string());
        [first.to_owned(), "unicast".to_owned()]
            .into_iter()
            .chain(counts)
            .chain(["tree".to_owned()])
            .collect()
    }

    fn totals(&self) -> String {
        let rows: Vec<Vec<String>> = Joined::ALL
            .into_iter()
            .map(|joined| {
                let totals = self.of(joined).map(|point| point.crossings.total());
                let all = [self.unicast.total()].into_iter().chain(totals).chain([self.tree()]);
                row(joined.name().to_owned(), all)
            })
            .collect();
        table(&self.head("joined"), &rows)
    }

    /// A row for each direction of a link that anything crosses; the links to the receivers, which
    /// are all alike, share one.
    fn links(&self, joined: Joined) -> String {
        let columns: Vec<&Crossings> =
            [&self.unicast].into_iter().chain(self.of(joined).map(|p| &p.crossings)).collect();
        let columns: Vec<Vec<_>> = columns.iter().map(|column| column.each().collect()).collect();
        let (mut rows, mut last) = (Vec::new(), vec![0; columns.len() + 1]);
        for (at, (from, to, unicast)) in columns[0].iter().enumerate() {
            let tree = (*unicast).min(1);
            let packets = columns.iter().map(|column| column[at].2).chain([tree]);
            let packets: Vec<u32> = packets.collect();
            if *to >= COUNT {
                last.iter_mut().zip(&packets).for_each(|(sum, packets)| *sum += packets);
            } else if packets.iter().any(|packets| *packets > 0) {
                let is_first = *from == host(SOURCE);
                rows.push((!is_first, row(format!("{} > {}", name(*from), name(*to)), packets)));
            }
        }
        rows.sort_by_key(|(is_later, _)| *is_later);
        let mut rows: Vec<Vec<String>> = rows.into_iter().map(|(_, row)| row).collect();
        rows.push(row(format!("the {} links to receivers", COUNT - 1), last));
        table(&self.head("link"), &rows)
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let names =
            |cities: &[usize]| -> Vec<&str> { cities.iter().map(|city| CITIES[*city]).collect() };
        let link = |(from, to, packets, unicast)| json!({ "from": name(from), "to": name(to), "packets": packets, "unicast": unicast });
        let tunnel = |(from, to, cities): &(Node, Node, Vec<usize>)| json!({ "from": name(*from), "to": name(*to), "cities": names(cities) });
        let point = |point: &Point| {
            json!({
                "joined": point.joined.name(),
                "aware": point.count,
                "routers": names(&self.cities[..point.count]),
                "tunnels": point.tunnels.iter().map(tunnel).collect::<Vec<_>>(),
                "total": point.crossings.total(),
                "links": self.beside_unicast(point).map(link).collect::<Vec<_>>(),
                "worse": self.worse(point).map(link).collect::<Vec<_>>(),
            })
        };
        json!({
            "source": name(host(SOURCE)),
            "receivers": COUNT - 1,
            "order": names(&self.cities),
            "unicast": self.unicast.total(),
            "tree": self.tree(),
            "results": self.points.iter().map(point).collect::<Vec<_>>(),
        })
    }
}

fn row(first: String, numbers: impl IntoIterator<Item = u32>) -> Vec<String> {
    let numbers = numbers.into_iter().map(|number| number.to_string());
    [first].into_iter().chain(numbers).collect()
}

fn table(head: &[String], rows: &[Vec<String>]) -> String {
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    output::table(&head, rows)
}
