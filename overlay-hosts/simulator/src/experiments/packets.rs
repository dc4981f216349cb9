//! Datagrams of a world as packets of a network.

use std::cell::RefCell;
use std::rc::Rc;

use overlay_protocols::Time;

use crate::network::{Form, Network, Socket};
use crate::world::carrier::{Arrival, Carrier, Packet};

/// The port of every host.
const PORT: u16 = 9000;

/// Carries datagrams as packets.
pub(super) struct Packets {
    pub(super) network: Rc<RefCell<Network>>,
}

impl Carrier for Packets {
    fn carry(&mut self, now: Time, packet: &Packet<'_>, arrivals: &mut Vec<Arrival>) {
        let socket = |host: usize| Socket { host, port: PORT };
        let to: Vec<Socket> = packet.to.iter().map(|place| socket(*place)).collect();
        // To one alone a datagram goes as any other does.
        let form = if to.len() > 1 { Form::Xcast } else { Form::Unicast };
        let from = socket(packet.from);
        let deliveries = self.network.borrow_mut().send(now, from, &to, packet.bytes, form);
        // Datagrams are cut so that they fit.
        for delivery in deliveries.unwrap_or_default() {
            let (to, at, ttl) = (delivery.to.host, now + delivery.after, delivery.ttl);
            arrivals.push(Arrival { to, at, ttl, flight: packet.flight });
        }
    }
}
