//! Datagrams on their way: one copy of the octets for all receivers.

/// A datagram that arrives.
pub(super) struct Flight {
    pub(super) from: u32,
    pub(super) bytes: Vec<u8>,
    /// A hash over the octets.
    pub(super) digest: u64,
    /// Arrivals that are still to come, and one while it is being sent.
    expected: u32,
}

/// All of them, by number.
#[derive(Default)]
pub(super) struct Flights {
    flights: Vec<Flight>,
    free: Vec<u32>,
}

/// An event's `what`: which datagram, and the TTL that it arrives with.
pub(super) fn pack(flight: u32, ttl: u8) -> u32 {
    flight << 7 | u32::from(ttl & 0x7f)
}

pub(super) fn unpack(what: u32) -> (u32, u8) {
    (what >> 7, (what & 0x7f) as u8)
}

impl Flights {
    /// Begins to send one; [`release`](Flights::release) ends it.
    pub(super) fn launch(&mut self, from: u32, bytes: Vec<u8>, digest: u64) -> u32 {
        let flight = Flight { from, bytes, digest, expected: 1 };
        match self.free.pop() {
            Some(index) => {
                self.flights[index as usize] = flight;
                index
            }
            None => {
                self.flights.push(flight);
                // 25 bits of an event's `what`, less the numbers that mean something else.
                assert!(self.flights.len() < 1 << 24, "too many datagrams on their way");
                self.flights.len() as u32 - 1
            }
        }
    }

    pub(super) fn flight(&self, index: u32) -> &Flight {
        &self.flights[index as usize]
    }

    /// It will arrive once more.
    pub(super) fn expect(&mut self, index: u32) {
        self.flights[index as usize].expected += 1;
    }

    /// One arrival less is to come.
    pub(super) fn release(&mut self, index: u32) {
        let flight = &mut self.flights[index as usize];
        flight.expected -= 1;
        if flight.expected == 0 {
            flight.bytes = Vec::new();
            self.free.push(index);
        }
    }
}
