//! Waxman's random graphs ("Routing of multipoint connections", IEEE JSAC 6(9), 1988): the nearer two
//! routers on a square are, the likelier they have a link.

use std::time::Duration;

use overlay_protocols::random::Random;

use super::{Link, Underlay, stream};

/// What a Waxman graph is like: two routers at a distance d have a link with the probability
/// alpha · exp(-d / (beta · L)), where L is the diagonal of the square.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Waxman {
    /// How many routers are put anywhere on the square.
    pub routers: usize,
    /// The more, the more links.
    pub alpha: f64,
    /// The more, the more long links.
    pub beta: f64,
    /// The delay of a link as long as the square's side, one way. A link takes its share, at least
    /// a microsecond.
    pub side: Duration,
}

impl Waxman {
    /// A network, without hosts; every seed has its own. Parts without a link between them get the
    /// shortest one there can be.
    pub fn build(&self, seed: u64) -> Underlay {
        let mut random = Random::new(seed, stream::TOPOLOGY);
        let places: Vec<(f64, f64)> =
            (0..self.routers).map(|_| (random.unit(), random.unit())).collect();
        let distance = |one: usize, other: usize| {
            let (x, y) = (places[one].0 - places[other].0, places[one].1 - places[other].1);
            (x * x + y * y).sqrt()
        };
        let mut links = Vec::new();
        let mut parts = Parts((0..self.routers).collect());
        let mut join = |one, other, parts: &mut Parts| {
            let micros = self.side.as_micros() as f64 * distance(one, other);
            let delay = Duration::from_micros((micros as u64).max(1));
            links.push(Link::new(one, other, delay));
            parts.join(one, other);
        };
        let mut apart = Vec::new();
        for other in 0..self.routers {
            for one in 0..other {
                let reach = self.beta * std::f64::consts::SQRT_2;
                let likely = self.alpha * libm::exp(-distance(one, other) / reach);
                match random.unit() < likely {
                    true => join(one, other, &mut parts),
                    false => apart.push((one, other)),
                }
            }
        }
        apart.sort_by(|a, b| distance(a.0, a.1).total_cmp(&distance(b.0, b.1)));
        for (one, other) in apart {
            if parts.of(one) != parts.of(other) {
                join(one, other, &mut parts);
            }
        }
        Underlay::new(self.routers, links)
    }
}

/// Which routers have a way between them: each points to another one of its part, or to itself.
struct Parts(Vec<usize>);

impl Parts {
    fn of(&mut self, mut router: usize) -> usize {
        while self.0[router] != router {
            self.0[router] = self.0[self.0[router]];
            router = self.0[router];
        }
        router
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.of(one), self.of(other));
        self.0[one] = other;
    }
}
