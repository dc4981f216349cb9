//! Answers trace requests, by UDP datagrams to their source.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};

use crate::engine::TraceRequest;
use crate::fib::{Fib, is_link_local};

use super::explain;

pub(super) struct Reporter {
    v4: UdpSocket,
    /// `None` where IPv6 is off.
    v6: Option<UdpSocket>,
}

impl Reporter {
    pub(super) fn open() -> io::Result<Reporter> {
        let v4 = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        v4.set_nonblocking(true)?;
        let v6 = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).and_then(|socket| {
            socket.set_nonblocking(true)?;
            Ok(socket)
        });
        Ok(Reporter { v4, v6: v6.ok() })
    }

    /// Reports what the router `name` does with the destinations of a request.
    pub(super) fn answer(&self, fib: &Fib, name: &str, request: &TraceRequest) {
        let Some((report, port)) = explain::trace(fib, name, request) else { return };
        let scope = fib.port(request.port).filter(|_| is_link_local(request.source));
        let to = match request.source {
            IpAddr::V4(_) => SocketAddr::new(request.source, port),
            IpAddr::V6(v6) => {
                SocketAddrV6::new(v6, port, 0, scope.map_or(0, |port| port.interface)).into()
            }
        };
        let socket = if to.is_ipv4() { Some(&self.v4) } else { self.v6.as_ref() };
        for datagram in report.emit() {
            let sent = socket.map(|socket| socket.send_to(&datagram, to));
            if let Some(Err(error)) = sent {
                tracing::debug!(%to, %error, "cannot send a trace report");
            }
        }
    }
}
