//! What carries datagrams from host to host, and how long that takes.

use std::time::Duration;

use overlay_protocols::Time;
use overlay_protocols::random::Random;

use super::TTL;

/// A datagram that leaves.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// The host that sends it.
    pub from: usize,
    /// The hosts that it is for; several: one datagram by Xcast.
    pub to: &'a [usize],
    /// What is in the datagram.
    pub bytes: &'a [u8],
    /// Its number, which arrivals of it repeat.
    pub flight: u32,
}

/// A datagram that will arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Where.
    pub to: usize,
    /// When.
    pub at: Time,
    /// With this TTL.
    pub ttl: u8,
    /// Which.
    pub flight: u32,
}

/// Carries datagrams.
pub trait Carrier {
    /// Takes a datagram that leaves now, and says which arrivals follow from it. All of them are
    /// said at once: paths are computed when it leaves.
    fn carry(&mut self, now: Time, packet: &Packet<'_>, arrivals: &mut Vec<Arrival>);
}

/// No routers: a datagram to several hosts arrives at each as if it were sent to that one alone.
pub struct Direct<F> {
    /// From one host to another: how long, and over how many routers.
    path: F,
}

impl<F: FnMut(usize, usize) -> (Duration, u8)> Direct<F> {
    /// Along these paths.
    pub fn new(path: F) -> Direct<F> {
        Direct { path }
    }
}

impl<F: FnMut(usize, usize) -> (Duration, u8)> Carrier for Direct<F> {
    fn carry(&mut self, now: Time, packet: &Packet<'_>, arrivals: &mut Vec<Arrival>) {
        for to in packet.to {
            let (delay, routers) = (self.path)(packet.from, *to);
            let ttl = TTL.saturating_sub(routers);
            if ttl > 0 {
                arrivals.push(Arrival { to: *to, at: now + delay, ttl, flight: packet.flight });
            }
        }
    }
}

/// A delay for each pair of hosts, the same both ways and always, that only a seed decides:
/// between the shortest and the longest.
pub fn random_pairs(
    seed: u64,
    shortest: Duration,
    longest: Duration,
) -> impl Fn(usize, usize) -> (Duration, u8) {
    let span = longest.saturating_sub(shortest).as_micros() as u64 + 1;
    move |one, other| {
        let (low, high) = (one.min(other) as u64, one.max(other) as u64);
        let number = super::hash::mix(seed ^ super::hash::mix(low << 32 | high)) % span;
        (shortest + Duration::from_micros(number), 4)
    }
}

/// Places on a square of a side, one way in proportion to their distance, and a fixed part.
pub fn on_a_square(
    seed: u64,
    hosts: usize,
    side: Duration,
    fixed: Duration,
) -> impl Fn(usize, usize) -> (Duration, u8) {
    let mut random = Random::new(seed, 0x0073_7175_6172_6521);
    let at: Vec<(f32, f32)> =
        (0..hosts).map(|_| (random.unit() as f32, random.unit() as f32)).collect();
    let side = side.as_micros() as f32;
    move |one, other| {
        let ((x, y), (u, v)) = (at[one], at[other]);
        let distance = ((x - u) * (x - u) + (y - v) * (y - v)).sqrt() * side;
        (fixed + Duration::from_micros(distance as u64), 4)
    }
}
