//! Ports: what the router receives on and sends by.

use std::net::{IpAddr, SocketAddr};

use crate::wire::tunnel::Encapsulation;

/// A port: an interface or a tunnel that the router receives on and sends by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// The kernel's index of the interface; a tunnel has a number that no interface has.
    pub interface: u32,
    /// Tells interfaces apart that had the same index, one after the other.
    pub instance: u64,
    /// The interface's name.
    pub name: String,
    /// The largest IP packet it carries, in octets.
    pub mtu: u32,
    /// Its own link-layer address.
    pub link_address: [u8; 6],
    /// Its own addresses, link-local ones included.
    pub addresses: Vec<IpAddr>,
    /// Can send and receive now.
    pub up: bool,
    /// The reverse-path check of packets that arrive here.
    pub reverse_path: ReversePath,
    /// Forward frames that were sent to the group's own link-layer address.
    pub accept_group_frames: bool,
    /// It is a tunnel: no interface of the kernel, but packets inside others.
    pub tunnel: Option<Tunnel>,
}

impl Port {
    /// Which interface it is: index and instance, the same as long as the interface exists.
    pub fn identity(&self) -> (u32, u64) {
        (self.interface, self.instance)
    }

    /// The own address that is most like a neighbor's: of its IP version, and with the most leading
    /// bits in common.
    pub fn address_towards(&self, neighbor: IpAddr) -> Option<IpAddr> {
        let alike = |own: &&IpAddr| match (**own, neighbor) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (own.to_bits() ^ other.to_bits()).leading_zeros()
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                (own.to_bits() ^ other.to_bits()).leading_zeros()
            }
            _ => 0,
        };
        let of_version = self.addresses.iter().filter(|a| a.is_ipv6() == neighbor.is_ipv6());
        of_version.max_by_key(alike).copied()
    }
}

/// The two ends of a tunnel (RFC 5058 section 11.1, WIRE.md "Tunnels").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// How packets travel in it.
    pub encapsulation: Encapsulation,
    /// This end. The port is 0 where the encapsulation has none.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// The other end has a key: while it has not proved that it is there, nothing is taken from
    /// where it should be.
    pub keyed: bool,
}

/// What must hold for the source of a packet (WIRE.md R13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReversePath {
    /// The route back to it leaves by the port it came in on.
    Strict,
    /// There is a route back to it.
    Loose,
    /// Nothing.
    Off,
}
