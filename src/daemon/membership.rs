//! A port's membership in the All_Xcast_Routers groups (RFC 5058 section 9.1), held by a socket
//! and given up with it.

use std::io;
use std::net::Ipv4Addr;

use socket2::{Domain, InterfaceIndexOrAddress, Socket, Type};

use crate::wire::CodePoints;

/// One interface's membership.
pub(super) struct Membership {
    _v4: Socket,
    _v6: Option<Socket>,
}

impl Membership {
    /// Joins both groups on an interface. Where IPv6 is off, the IPv4 group alone.
    pub(super) fn join(interface: u32, code_points: &CodePoints) -> io::Result<Membership> {
        // A socket for each port: one socket can hold 20 memberships only.
        let v4 = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
        let on = InterfaceIndexOrAddress::Index(interface);
        let group: &Ipv4Addr = &code_points.all_routers_v4;
        v4.join_multicast_v4_n(group, &on)?;
        let v6 = Socket::new(Domain::IPV6, Type::DGRAM, None).and_then(|socket| {
            socket.join_multicast_v6(&code_points.all_routers_v6, interface)?;
            Ok(socket)
        });
        if let Err(error) = &v6 {
            tracing::debug!(interface, %error, "no membership in the IPv6 group");
        }
        Ok(Membership { _v4: v4, _v6: v6.ok() })
    }
}
