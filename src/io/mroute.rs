//! The kernel's own multicast forwarding (`ip_mroute`), set up as a multicast routing daemon does
//! by the options of an IGMP socket (linux/mroute.h).

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;

use socket2::{Domain, Socket};

use super::inject::raw;
use super::system::set_option;

const MRT_INIT: libc::c_int = 200;
const MRT_ADD_VIF: libc::c_int = 202;
const MRT_ADD_MFC: libc::c_int = 204;
const VIFF_USE_IFINDEX: u8 = 8;
const INTERFACES_MAX: usize = 32;

/// `struct vifctl`.
#[repr(C)]
struct VifControl {
    number: u16,
    flags: u8,
    threshold: u8,
    rate_limit: u32,
    interface: u32,
    remote: u32,
}

/// `struct mfcctl`.
#[repr(C)]
struct MfcControl {
    origin: [u8; 4],
    group: [u8; 4],
    parent: u16,
    thresholds: [u8; INTERFACES_MAX],
    counts: [u32; 3],
    expire: libc::c_int,
}

/// The one multicast router of a network namespace; dropping it ends its forwarding.
pub struct MulticastRouter {
    socket: Socket,
    interfaces: u16,
}

impl MulticastRouter {
    /// Becomes the multicast router of the calling thread's network namespace.
    ///
    /// # Errors
    /// What the kernel says: `AddrInUse` if there is one, `PermissionDenied` without
    /// `CAP_NET_ADMIN`, `ENOPROTOOPT` if it is not built for that.
    pub fn open() -> io::Result<MulticastRouter> {
        let socket = raw(Domain::IPV4, libc::IPPROTO_IGMP)?;
        set_option(socket.as_raw_fd(), libc::IPPROTO_IP, MRT_INIT, &1)?;
        Ok(MulticastRouter { socket, interfaces: 0 })
    }

    /// Adds an interface by its index; returns the number by which routes name it.
    ///
    /// # Errors
    /// What the kernel says: it takes 32 interfaces.
    pub fn add_interface(&mut self, interface: u32) -> io::Result<u16> {
        let number = self.interfaces;
        let (flags, threshold) = (VIFF_USE_IFINDEX, 1);
        let vif = VifControl { number, flags, threshold, rate_limit: 0, interface, remote: 0 };
        set_option(self.socket.as_raw_fd(), libc::IPPROTO_IP, MRT_ADD_VIF, &vif)?;
        self.interfaces += 1;
        Ok(number)
    }

    /// Forwards packets from a source to a group, which come in by the interface of number
    /// `parent`, by all the others.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn add_route(&self, source: Ipv4Addr, group: Ipv4Addr, parent: u16) -> io::Result<()> {
        let forwards = |number| number != usize::from(parent);
        // A packet leaves if its TTL is above the threshold; 0 and 255 stand for none.
        let threshold = |number| match number < self.interfaces.into() && forwards(number) {
            true => 1,
            false => 255,
        };
        let route = MfcControl {
            origin: source.octets(),
            group: group.octets(),
            parent,
            thresholds: std::array::from_fn(threshold),
            counts: [0; 3],
            expire: 0,
        };
        set_option(self.socket.as_raw_fd(), libc::IPPROTO_IP, MRT_ADD_MFC, &route)
    }
}
