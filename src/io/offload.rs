//! What `ethtool -K` sets, as far as a measurement needs it.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use super::system::check;

/// What an interface can take over from the kernel's stack; the commands are those of
/// linux/ethtool.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Offload {
    /// TCP segmentation (`ETHTOOL_STSO`). What a veth end sends is polled by NAPI at the other
    /// only without it.
    Tso = 0x1f,
    /// Generic receive offload (`ETHTOOL_SGRO`). A veth end has NAPI only with it.
    Gro = 0x2c,
}

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    value: u32,
}

/// Switches an offload of an interface on or off.
///
/// # Errors
/// What the kernel says: there is no such interface, or `PermissionDenied` without
/// `CAP_NET_ADMIN`.
pub fn switch(interface: &str, offload: Offload, on: bool) -> io::Result<()> {
    let mut value = Value { command: offload as u32, value: on.into() };
    // SAFETY: a request of integers and a null pointer is valid when all of it is zero.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let room = request.ifr_name.len() - 1;
    for (to, from) in request.ifr_name[..room].iter_mut().zip(interface.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // Any socket will do.
    let socket = UdpSocket::bind(("0.0.0.0", 0))?;
    // SAFETY: `request` is live and points to `value`, which is what this command expects.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) })
        .map(|_| ())
}
