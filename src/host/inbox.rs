//! Receiving alone: what arrives at a port, without anything being sent.

use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use mio::{Events, Poll};

use super::error::socket_error;
use super::native::{LOOKS_MAX, watch};
use super::{HostError, Network, Received, Receiver};
use crate::rib::Settings;
use crate::wire::CodePoints;

/// A UDP port, and with code points the Xcast packets for it.
pub struct Inbox {
    receiver: Receiver,
    /// Tells which addresses are this host's.
    network: Option<Network>,
    poll: Poll,
}

impl Inbox {
    /// Takes a port of one address, or of all addresses of both IP versions.
    ///
    /// # Errors
    /// The port is taken; with code points also: `CAP_NET_RAW` is missing (`PermissionDenied`).
    pub fn open(
        address: Option<IpAddr>,
        port: u16,
        code_points: Option<CodePoints>,
    ) -> Result<Inbox, HostError> {
        let poll = Poll::new().map_err(socket_error("cannot make an event queue"))?;
        let receiver = Receiver::open(address, port, code_points.as_ref())
            .map_err(socket_error(format!("UDP port {port}")))?;
        receiver.descriptors().try_for_each(|descriptor| watch(&poll, descriptor))?;
        let network = code_points.map(|code_points| Network::open(Settings::open(code_points)));
        Ok(Inbox { receiver, network: network.transpose()?, poll })
    }

    /// Answers a datagram, from the address and port that it was for.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn answer(&self, to: &Received, payload: &[u8]) -> io::Result<()> {
        self.receiver.answer(to, payload)
    }

    /// The next datagram, plain or in Xcast form; `None` if there is none by the deadline.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn next(&mut self, deadline: Option<Instant>) -> Result<Option<Received>, HostError> {
        let mut events = Events::with_capacity(8);
        loop {
            let datagram = self.receiver.next_datagram();
            if let Some(received) = datagram.map_err(socket_error("cannot receive"))? {
                return Ok(Some(received));
            }
            let mut looks = LOOKS_MAX;
            if let Some(network) = &mut self.network {
                network.follow()?;
                let next = self.receiver.next_xcast(network, &mut looks, |_, _| {});
                let next = next.map_err(socket_error("cannot receive Xcast packets"))?;
                if next.is_some() {
                    return Ok(next);
                }
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok(None);
            }
            // There may be more: the queue tells only what is new.
            let wait = if looks == 0 { Some(Duration::ZERO) } else { left };
            match self.poll.poll(&mut events, wait) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    return Err(socket_error("cannot wait")(error));
                }
                _ => {}
            }
        }
    }
}
