//! The socket that sends to lists of destinations: by this host's own links, or by a relay.

use std::net::IpAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

use super::native::Native;
use super::relay::ByRelay;
use super::{Answer, Destination, HostError, Message, Received, Sent, Trouble};
use super::{Relay, RelayEvent, RelayView};
use crate::forward::Counters;
use crate::wire::CodePoints;

/// How a socket is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// Send by this interface alone.
    pub interface: Option<String>,
    /// The UDP port that messages come from and answers go to; 0 chooses one.
    pub source_port: u16,
    /// How long the first message through a gateway waits until it is known whether the gateway
    /// handles Xcast. After that, or with zero at once, the gateway gets unicast copies until it
    /// is known.
    pub patience: Duration,
    /// Send lists to the routers that serve this unicast address (RFC 5058 section 11.5), whatever the
    /// routers on the way there speak; a destination alone, or of the other IP version, goes as ever.
    pub service: Option<IpAddr>,
    /// Send each list to the first of its destinations, which sends on to the next (RFC 5058 section
    /// 11.4): they all take part, and no router has to.
    pub among_hosts: bool,
    /// Send and receive by a relay, and by nothing else.
    pub relay: Option<Relay>,
}

impl Default for Options {
    fn default() -> Options {
        let patience = Duration::from_millis(1500);
        Options {
            interface: None,
            source_port: 0,
            patience,
            service: None,
            among_hosts: false,
            relay: None,
        }
    }
}

/// A socket that sends UDP datagrams to lists of destinations, and receives.
///
/// Needs `CAP_NET_RAW`; to have neighbors resolved also `CAP_NET_ADMIN`. By a relay it needs
/// neither.
pub struct XcastSocket {
    way: Way,
}

enum Way {
    Native(Box<Native>),
    Relay(Box<ByRelay>),
}

impl XcastSocket {
    /// Learns the kernel's routes and takes the source port; or begins to look for relays, which
    /// are waited for by what needs one.
    ///
    /// # Errors
    /// A privilege is missing, the port is taken, or the interface does not exist.
    pub fn open(code_points: CodePoints, options: &Options) -> Result<XcastSocket, HostError> {
        let way = match &options.relay {
            None => Way::Native(Box::new(Native::open(code_points, options)?)),
            Some(relay) => {
                let by_relay = ByRelay::open(code_points, options.source_port, relay)?;
                Way::Relay(Box::new(by_relay))
            }
        };
        Ok(XcastSocket { way })
    }

    /// The UDP port that messages come from.
    pub fn source_port(&self) -> u16 {
        match &self.way {
            Way::Native(native) => native.source_port(),
            Way::Relay(by_relay) => by_relay.source_port(),
        }
    }

    /// Sends one message, in as many packets as it takes. Copies whose neighbor is not resolved
    /// yet are held; [`flush`](XcastSocket::flush) waits for them. By a relay, it waits until that
    /// has leased an address; if it has waited in vain, later calls fail at once until it has.
    ///
    /// # Errors
    /// Nothing was sent: there is no route to anybody, or no packet can hold the message; or no
    /// relay has answered, or none has an address to lease.
    pub fn send(&mut self, message: &Message<'_>) -> Result<Sent, HostError> {
        match &mut self.way {
            Way::Native(native) => native.send(message),
            Way::Relay(by_relay) => by_relay.send(message),
        }
    }

    /// How many octets an IP packet to a destination alone may have, as far as is known.
    pub fn mtu(&self, to: IpAddr) -> usize {
        match &self.way {
            Way::Native(native) => native.mtu(to),
            Way::Relay(by_relay) => by_relay.mtu(to),
        }
    }

    /// Waits until nothing is held any more: every copy was sent, or its neighbor did not answer
    /// (within 3.5 seconds), which [`take_troubles`](XcastSocket::take_troubles) tells.
    ///
    /// # Errors
    /// The kernel cannot be followed.
    pub fn flush(&mut self) -> Result<(), HostError> {
        match &mut self.way {
            Way::Native(native) => native.flush(),
            Way::Relay(_) => Ok(()),
        }
    }

    /// The next datagram that arrives at the source port, plain or in Xcast form; `None` if the
    /// timeout passes. Without a timeout it waits for one.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn receive(&mut self, timeout: Option<Duration>) -> Result<Option<Received>, HostError> {
        match &mut self.way {
            Way::Native(native) => native.receive(timeout),
            Way::Relay(by_relay) => by_relay.wait_for(timeout, ByRelay::next_received),
        }
    }

    /// As [`receive`](XcastSocket::receive), and what
    /// [`take_troubles`](XcastSocket::take_troubles) tells, one by one and as it comes.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn receive_answer(
        &mut self,
        timeout: Option<Duration>,
    ) -> Result<Option<Answer>, HostError> {
        match &mut self.way {
            Way::Native(native) => native.receive_answer(timeout),
            Way::Relay(by_relay) => by_relay.wait_for(timeout, ByRelay::next_answer),
        }
    }

    /// What has come back since the last call: copies that were held in vain, and ICMP errors by
    /// destination. "Too big" has lowered what is sent to that destination.
    pub fn take_troubles(&mut self) -> Vec<Trouble> {
        match &mut self.way {
            Way::Native(native) => native.take_troubles(),
            Way::Relay(by_relay) => by_relay.take_troubles(),
        }
    }

    /// How many packets were forgotten as nobody received them: those in Xcast form, or all that
    /// came by a relay.
    pub fn lost(&self) -> u64 {
        match &self.way {
            Way::Native(native) => native.lost(),
            Way::Relay(by_relay) => by_relay.lost(),
        }
    }

    /// What became of everything sent so far.
    pub fn counters(&self) -> &Counters {
        match &self.way {
            Way::Native(native) => native.counters(),
            Way::Relay(by_relay) => by_relay.counters(),
        }
    }

    /// Waits until it is known of the gateways to these destinations whether they handle Xcast, or
    /// by a relay until that has leased an address; `patience` at the longest.
    /// [`send`](XcastSocket::send) does it by itself; who measures time does it before.
    ///
    /// # Errors
    /// The kernel cannot be followed; no relay has answered, or none has an address to lease.
    pub fn settle(
        &mut self,
        destinations: &[Destination],
        patience: Duration,
    ) -> Result<(), HostError> {
        match &mut self.way {
            Way::Native(native) => native.settle(destinations, patience),
            Way::Relay(by_relay) => by_relay.attach(patience).map(|_| ()),
        }
    }

    /// The relay in use, if there is one; with it, the address that it has leased.
    pub fn relay(&self) -> Option<RelayView> {
        match &self.way {
            Way::Native(_) => None,
            Way::Relay(by_relay) => by_relay.relay(),
        }
    }

    /// What has become of the relay since the last call. After a switch the leased address may be
    /// another one.
    pub fn take_relay_events(&mut self) -> Vec<RelayEvent> {
        match &mut self.way {
            Way::Native(_) => Vec::new(),
            Way::Relay(by_relay) => std::iter::from_fn(|| by_relay.next_event()).collect(),
        }
    }
}

impl ByRelay {
    /// The next one of what comes; `None` if the timeout passes. What is there then is taken all
    /// the same.
    fn wait_for<T>(
        &mut self,
        timeout: Option<Duration>,
        next: impl Fn(&mut ByRelay) -> Option<T>,
    ) -> Result<Option<T>, HostError> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut is_over = false;
        loop {
            let found = next(self);
            if found.is_some() || is_over {
                return Ok(found);
            }
            is_over = self.wait_before(deadline)?;
        }
    }
}

impl AsRawFd for XcastSocket {
    /// Readable when [`receive`](XcastSocket::receive) has something to do.
    fn as_raw_fd(&self) -> RawFd {
        match &self.way {
            Way::Native(native) => native.as_raw_fd(),
            Way::Relay(by_relay) => by_relay.as_raw_fd(),
        }
    }
}
