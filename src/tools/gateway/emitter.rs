//! The reverse side: what arrives goes to a group of the local network, or to one address.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::tally::Tally;
use super::{Failure, is_from};
use crate::io::datagram::Datagram;
use crate::tools::output;

/// How long the local network may take to accept a datagram.
const PATIENCE: Duration = Duration::from_millis(100);

/// Sends what arrives on.
pub(super) struct Emitter {
    pub(super) to: SocketAddr,
    socket: UdpSocket,
    own_port: u16,
    /// The DSCP of all, if it is not each one's own.
    dscp: Option<u8>,
    /// That of the socket.
    current: u8,
    pub(super) tally: Tally,
}

impl Emitter {
    pub(super) fn open(
        to: SocketAddr,
        interface: Option<&str>,
        ttl: Option<u8>,
        dscp: Option<u8>,
    ) -> Result<Emitter, Failure> {
        let emitter = || -> io::Result<Emitter> {
            let socket = open(to, interface, ttl)?;
            let own_port = socket.local_addr()?.port();
            Ok(Emitter { to, socket, own_port, dscp, current: 0, tally: Tally::default() })
        };
        emitter().map_err(|error| Failure::Work(format!("cannot send to {to}: {error}")))
    }

    /// Sends a datagram on, unless it is one that this side has sent.
    pub(super) fn take(&mut self, datagram: &Datagram) {
        self.tally.take(&datagram.payload);
        if is_from(datagram.source, self.own_port) {
            return self.tally.refuse("own");
        }
        let sent = self.mark(datagram.traffic_class >> 2);
        match sent.and_then(|()| self.send(&datagram.payload)) {
            Ok(()) => {
                self.tally.packets += 1;
                self.tally.copies += 1;
            }
            Err(error) => {
                self.tally.refuse("unsent");
                let length = datagram.payload.len();
                let what = match error.raw_os_error() {
                    Some(libc::EMSGSIZE) => format!("too-big: {length} bytes"),
                    _ => error.to_string(),
                };
                if self.tally.trouble(Some(self.to.ip()), what.clone()) {
                    output::note(&format!("{}: {what}", self.to));
                }
            }
        }
    }

    fn send(&self, payload: &[u8]) -> io::Result<()> {
        loop {
            match self.socket.send_to(payload, self.to) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                sent => return sent.map(|_| ()),
            }
        }
    }

    /// Gives what is sent from now on its DSCP.
    fn mark(&mut self, own: u8) -> io::Result<()> {
        let dscp = self.dscp.unwrap_or(own);
        if dscp != self.current {
            let (socket, octet) = (SockRef::from(&self.socket), u32::from(dscp) << 2);
            match self.to {
                SocketAddr::V4(_) => socket.set_tos_v4(octet)?,
                SocketAddr::V6(_) => socket.set_tclass_v6(octet)?,
            }
            self.current = dscp;
        }
        Ok(())
    }
}

fn open(to: SocketAddr, interface: Option<&str>, ttl: Option<u8>) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(to), Type::DGRAM, Some(Protocol::UDP))?;
    if let Some(name) = interface.filter(|_| to.ip().is_multicast()) {
        socket.bind_device(Some(name.as_bytes()))?;
    }
    let any = match to {
        SocketAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
    };
    socket.bind(&SocketAddr::new(any, 0).into())?;
    socket.set_write_timeout(Some(PATIENCE))?;
    match to.ip() {
        IpAddr::V4(group) if group.is_multicast() => {
            socket.set_multicast_ttl_v4(ttl.unwrap_or(1).into())?;
        }
        IpAddr::V6(group) if group.is_multicast() => {
            socket.set_multicast_hops_v6(ttl.unwrap_or(1).into())?;
        }
        IpAddr::V4(_) => socket.set_ttl_v4(ttl.unwrap_or(64).into())?,
        IpAddr::V6(_) => socket.set_unicast_hops_v6(ttl.unwrap_or(64).into())?,
    }
    Ok(socket.into())
}
