//! TUN devices: interfaces of the kernel whose packets this process reads and writes. A tunnel has one
//! where routing daemons are to run over it (RFC 5058 section 11.1).

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;

use super::system::check;

/// The device that makes TUN devices.
pub const CONTROL: &str = "/dev/net/tun";

/// `TUNSETCARRIER` (linux/if_tun.h).
pub(crate) const TUNSETCARRIER: libc::c_ulong = 0x4004_54e2;

/// A TUN device. It is gone when this is dropped.
pub struct Tun {
    file: File,
    name: String,
}

impl Tun {
    /// Makes the device, and sets it up.
    ///
    /// # Errors
    /// What the kernel says: it takes `CAP_NET_ADMIN`, and a name that no other interface has.
    pub fn open(name: &str) -> io::Result<Tun> {
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).custom_flags(libc::O_NONBLOCK);
        let tun = Tun { file: options.open(CONTROL)?, name: name.to_owned() };
        let mut request = tun.request();
        request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
        ioctl(tun.file.as_raw_fd(), libc::TUNSETIFF, &mut request)?;
        tun.set_up()?;
        Ok(tun)
    }

    /// The device's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sets the largest packet that the kernel may send by it, in octets.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn set_mtu(&self, mtu: u32) -> io::Result<()> {
        let mut request = self.request();
        request.ifr_ifru.ifru_mtu = mtu as libc::c_int;
        on_any_socket(libc::SIOCSIFMTU, &mut request)
    }

    /// Routes a prefix to it, in the kernel's main table. One that is there already stays.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn add_route(&self, first: IpAddr, length: u8) -> io::Result<()> {
        let added = match first {
            IpAddr::V4(first) => self.add_route_v4(first, length),
            IpAddr::V6(first) => self.add_route_v6(first, length),
        };
        match added {
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
            other => other,
        }
    }

    fn add_route_v4(&self, first: Ipv4Addr, length: u8) -> io::Result<()> {
        let address = |address: Ipv4Addr| {
            let mut octets = [0u8; 16];
            octets[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
            octets[4..8].copy_from_slice(&address.octets());
            // SAFETY: octets and an integer, of which all values are valid, of the same size.
            unsafe { std::mem::transmute::<[u8; 16], libc::sockaddr>(octets) }
        };
        let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
        let mut name = CString::new(self.name.as_str())?.into_bytes_with_nul();
        // SAFETY: integers, addresses and a pointer that may be null, of which zeros are valid.
        let mut route: libc::rtentry = unsafe { std::mem::zeroed() };
        route.rt_dst = address(first);
        route.rt_genmask = address(Ipv4Addr::from_bits(mask));
        route.rt_flags = libc::RTF_UP;
        route.rt_dev = name.as_mut_ptr().cast();
        on_any_socket(libc::SIOCADDRT, &mut route)
    }

    fn add_route_v6(&self, first: Ipv6Addr, length: u8) -> io::Result<()> {
        let name = CString::new(self.name.as_str())?;
        // SAFETY: `name` ends with its first 0.
        let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
        let mut route = RouteV6 {
            destination: first.octets(),
            destination_length: u16::from(length),
            metric: 1,
            flags: u32::from(libc::RTF_UP),
            interface: index as libc::c_int,
            ..RouteV6::default()
        };
        let socket = std::net::UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?;
        ioctl(socket.as_raw_fd(), libc::SIOCADDRT, &mut route)
    }

    /// Tells the kernel, and with it routing daemons, whether anybody is at the other end.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn set_carrier(&self, present: bool) -> io::Result<()> {
        ioctl(self.file.as_raw_fd(), TUNSETCARRIER, &mut libc::c_int::from(present))
    }

    /// Reads the next packet that the kernel sends by it; `None` if there is none now.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn read<'a>(&mut self, buffer: &'a mut [u8]) -> io::Result<Option<&'a mut [u8]>> {
        match self.file.read(buffer) {
            Ok(length) => Ok(Some(&mut buffer[..length])),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Another descriptor of the same device.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn try_clone(&self) -> io::Result<Tun> {
        Ok(Tun { file: self.file.try_clone()?, name: self.name.clone() })
    }

    /// Gives the kernel a packet as if it had come in by the device; returns whether it took it.
    pub fn write(&mut self, packet: &[u8]) -> bool {
        self.file.write(packet).is_ok_and(|length| length == packet.len())
    }

    fn set_up(&self) -> io::Result<()> {
        let mut request = self.request();
        on_any_socket(libc::SIOCGIFFLAGS, &mut request)?;
        // SAFETY: the kernel has filled in the flags.
        let flags = unsafe { request.ifr_ifru.ifru_flags };
        request.ifr_ifru.ifru_flags = flags | (libc::IFF_UP | libc::IFF_MULTICAST) as libc::c_short;
        on_any_socket(libc::SIOCSIFFLAGS, &mut request)
    }

    fn request(&self) -> libc::ifreq {
        // SAFETY: integers and octets, of which zeros are valid.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        let room = request.ifr_name.len() - 1;
        for (to, octet) in request.ifr_name.iter_mut().zip(self.name.bytes().take(room)) {
            *to = octet as libc::c_char;
        }
        request
    }
}

impl AsRawFd for Tun {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

/// `struct in6_rtmsg` (linux/ipv6_route.h).
#[repr(C)]
#[derive(Default)]
struct RouteV6 {
    destination: [u8; 16],
    source: [u8; 16],
    gateway: [u8; 16],
    kind: u32,
    destination_length: u16,
    source_length: u16,
    metric: u32,
    info: libc::c_ulong,
    flags: u32,
    interface: libc::c_int,
}

/// Requests about interfaces go to a socket, whichever.
fn on_any_socket<T>(name: libc::c_ulong, request: &mut T) -> io::Result<()> {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    ioctl(socket.as_raw_fd(), name, request)
}

fn ioctl<T>(fd: RawFd, name: libc::c_ulong, argument: &mut T) -> io::Result<()> {
    // SAFETY: each request named here reads and writes a live value of its own type.
    check(unsafe { libc::ioctl(fd, name as _, std::ptr::from_mut(argument)) }).map(|_| ())
}
