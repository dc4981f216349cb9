//! The sending side: each datagram of the stream goes to all destinations of the list, by an
//! `XcastSocket`.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use serde_json::{Value, json};

use super::list::{Change, List, Request, is_host};
use super::tally::Tally;
use super::{Failure, Gateway, is_at, is_from};
use crate::control::Reply;
use crate::forward::DropReason;
use crate::host::{
    Answer, Destination, HostError, Message, Options, Relay, Trouble, TroubleKind, XcastSocket,
};
use crate::io::datagram::Datagram;
use crate::tools::output;
use crate::tools::ping::aim::words;
use crate::tools::relay::{self, families};

/// How long the start may take: until it is known which gateways handle Xcast.
const SETTLE_TIME: Duration = Duration::from_millis(1500);
/// Answers that are looked at before the stream gets its turn.
const LOOKS_MAX: usize = 256;
/// Sizes of ways of which it is said once that something does not fit.
const SAID_MAX: usize = 64;

/// Sends the stream to the list.
pub(super) struct Carrier {
    listen: SocketAddr,
    socket: XcastSocket,
    list: List,
    channel: u128,
    /// The DSCP of all, if it is not each datagram's own.
    dscp: Option<u8>,
    ttl: u8,
    pub(super) tally: Tally,
    /// By IP version and size of way: something was too big, and that was said.
    said: BTreeSet<(bool, usize)>,
}

impl Carrier {
    /// Opens a socket that knows which gateways handle Xcast.
    pub(super) fn open(gateway: &Gateway, listen: SocketAddr) -> Result<Carrier, Failure> {
        let admit = |destination: &Destination| admit(listen, gateway.channel, destination);
        let mut list = List::new(listen.port());
        list.edit(&Request::Set(gateway.to.clone()), admit).map_err(Failure::Usage)?;
        let code_points = gateway.experiment.code_points()?;
        // The stream never waits for what is not known yet.
        let families = families(list.destinations().iter().map(|it| it.address));
        let patience = Duration::ZERO;
        let relay = gateway.relay.relay(&gateway.experiment, families)?;
        let relay = relay.map(|relay| Relay { patience, ..relay });
        let options = Options { patience, relay, ..Options::default() };
        let mut socket = XcastSocket::open(code_points, &options).map_err(Failure::host)?;
        let settle_time = gateway.relay.settle_time(SETTLE_TIME);
        socket.settle(list.destinations(), settle_time).map_err(Failure::host)?;
        Ok(Carrier {
            listen,
            socket,
            list,
            channel: gateway.channel,
            dscp: gateway.dscp,
            ttl: gateway.ttl.unwrap_or(64),
            tally: Tally::default(),
            said: BTreeSet::new(),
        })
    }

    pub(super) fn destinations(&self) -> usize {
        self.list.destinations().len()
    }

    /// Sends a datagram to all, unless it is one that this side has sent.
    pub(super) fn take(&mut self, datagram: &Datagram) {
        self.tally.take(&datagram.payload);
        if is_from(datagram.source, self.socket.source_port()) {
            return self.tally.refuse("own");
        }
        let destinations = self.list.destinations();
        if destinations.is_empty() {
            return self.tally.refuse("no-destinations");
        }
        let message = Message {
            destinations,
            channel: self.channel,
            dscp: self.dscp.unwrap_or(datagram.traffic_class >> 2),
            ttl: self.ttl,
            payload: &datagram.payload,
            ..Message::default()
        };
        let sent = match self.socket.send(&message) {
            Ok(sent) => sent,
            Err(error) => return self.failed(&error),
        };
        self.tally.packets += sent.packets as u64;
        if sent.unsent.len() == destinations.len() {
            self.tally.refuse("unsent");
        }
        for unsent in sent.unsent {
            let Some(destination) = self.list.destinations().get(unsent.index) else { continue };
            let address = destination.address;
            if unsent.reason == DropReason::TooBig {
                self.too_big(address, datagram.payload.len());
            }
            self.trouble(
                address,
                unsent.reason.name().to_owned(),
                unsent.reason != DropReason::TooBig,
            );
        }
    }

    /// Takes up what the network has to say, and lets the socket do what is due.
    pub(super) fn hear(&mut self) {
        for _ in 0..LOOKS_MAX {
            match self.socket.receive_answer(Some(Duration::ZERO)) {
                Ok(Some(Answer::Trouble(trouble))) => self.told(&trouble),
                Ok(Some(Answer::Datagram(_))) => {} // nobody asks the gateway
                Ok(None) => break,
                Err(error) => {
                    self.failed(&error);
                    break;
                }
            }
        }
        relay::tell(&self.socket.take_relay_events(), None);
        self.tally.copies = self.socket.counters().replicas_sent;
    }

    fn told(&mut self, trouble: &Trouble) {
        let address = trouble.destination.ip();
        // Whoever invents errors does not get us to remember whom we never send to.
        if !self.list.has(address) {
            return;
        }
        let what = match trouble.kind {
            TroubleKind::Unsent(reason) => reason.name().to_owned(),
            TroubleKind::Reported(kind) => words(kind, address.is_ipv6()),
        };
        // Of several, another one may be concerned.
        let what = if trouble.listed > 1 { format!("{what}, perhaps") } else { what };
        self.trouble(address, what, true);
    }

    fn trouble(&mut self, address: IpAddr, what: String, is_to_be_said: bool) {
        let text = format!("{address}: {what}");
        if self.tally.trouble(Some(address), what) && is_to_be_said {
            output::note(&text);
        }
    }

    /// Says once of each size of way that something does not fit.
    fn too_big(&mut self, address: IpAddr, length: usize) {
        let mtu = self.socket.mtu(address);
        if self.said.len() < SAID_MAX && self.said.insert((address.is_ipv6(), mtu)) {
            let headers = if address.is_ipv6() { 48 } else { 28 };
            let room = mtu.min(usize::from(u16::MAX)).saturating_sub(headers);
            output::note(&format!(
                "{address}: too-big: a datagram of {length} bytes; the way there takes packets of \
                 {mtu} bytes (MTU), so datagrams of {room}"
            ));
        }
    }

    /// Nobody got a datagram, or the network cannot be followed for a moment. The next may do.
    fn failed(&mut self, error: &HostError) {
        self.tally.refuse("unsent");
        let what = error.to_string();
        if self.tally.trouble(None, what.clone()) {
            output::note(&what);
        }
    }

    /// Answers a request to the running gateway.
    pub(super) fn answer(&mut self, request: &Request) -> Reply {
        let admit = |destination: &Destination| admit(self.listen, self.channel, destination);
        match self.list.edit(request, admit) {
            Err(why) => Reply::Refused(format!("nothing was changed: {why}")),
            Ok(_) if *request == Request::List => Reply::Done(self.listed()),
            Ok(Change { added, removed }) => {
                let destinations = self.destinations();
                Reply::Done(
                    json!({ "added": added, "removed": removed, "destinations": destinations }),
                )
            }
        }
    }

    fn listed(&self) -> Value {
        let each = self.list.destinations().iter().map(|destination| {
            let Destination { address, port, dscp } = destination;
            let troubles: serde_json::Map<String, Value> = self
                .tally
                .troubles_of(*address)
                .map(|(what, count)| (what.to_owned(), count.into()))
                .collect();
            let address = address.to_string();
            json!({ "address": address, "port": port, "dscp": dscp, "troubles": troubles })
        });
        let list: Vec<Value> = each.collect();
        let mut value = self.tally.json(list.len());
        value.insert("listen".to_owned(), self.listen.to_string().into());
        value.insert("list".to_owned(), list.into());
        value.into()
    }
}

impl AsRawFd for Carrier {
    /// Readable when the network has something to say.
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// Says why the stream cannot go to a destination.
fn admit(listen: SocketAddr, channel: u128, destination: &Destination) -> Result<(), String> {
    let Destination { address, port, .. } = *destination;
    is_host(address)?;
    if address.is_ipv4() && channel > u32::MAX.into() {
        return Err("is of IPv4, which has room for channels of 32 bits".to_owned());
    }
    match is_at(listen, SocketAddr::new(address, port)) {
        true => Err("is where the gateway listens, so it would hear itself".to_owned()),
        false => Ok(()),
    }
}
