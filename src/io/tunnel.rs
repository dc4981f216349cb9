//! Outer packets of tunnels (WIRE.md "Tunnels") by ordinary sockets: raw ones for IP in IP, UDP ones for
//! the rest. So the kernel routes outer packets, resolves neighbors and learns what paths carry.
//!
//! [`TunnelSockets`] are those of a node, opened as they are needed, and shared by all that send;
//! one [`TunnelReceiver`] reads them all. Ends are told apart by whoever reads.

mod hosts;
mod receive;
mod transmit;

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use mio::Waker;
use socket2::{Domain, MsgHdr, Protocol, Socket, Type};

pub use hosts::HostsTransmitter;
pub use receive::TunnelReceiver;
pub use transmit::TunnelTransmitter;
use transmit::push_source;

use super::system::{option, set_option};
use super::tun::Tun;
use crate::wire::tunnel::{Encapsulation, OUTER_TTL, PROTOCOL_IPV4, PROTOCOL_IPV6};

/// Octets that may wait in a socket, each way.
const BUFFER_LEN: libc::c_int = 4 << 20;

/// Errors that are taken off a socket at once.
const ERRORS_MAX: usize = 64;

/// Which of a node's sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kind {
    /// Of outer packets.
    is_v6: bool,
    /// The protocol behind the outer IP header.
    protocol: u8,
}

impl Kind {
    const UDP: u8 = 17;
    const ALL: [Kind; 6] = [
        Kind { is_v6: false, protocol: PROTOCOL_IPV4 },
        Kind { is_v6: false, protocol: PROTOCOL_IPV6 },
        Kind { is_v6: false, protocol: Kind::UDP },
        Kind { is_v6: true, protocol: PROTOCOL_IPV4 },
        Kind { is_v6: true, protocol: PROTOCOL_IPV6 },
        Kind { is_v6: true, protocol: Kind::UDP },
    ];

    fn place(self) -> usize {
        Kind::ALL.iter().position(|kind| *kind == self).unwrap_or(0)
    }
}

/// A node's sockets for outer packets.
pub struct TunnelSockets {
    /// By [`Kind::place`].
    each: [OnceLock<Socket>; Kind::ALL.len()],
    udp_port: u16,
    /// The port that UDP has got, once it is open.
    bound_port: OnceLock<u16>,
    /// Some path has turned out to carry less than was sent.
    narrowed: AtomicBool,
    /// Woken when that happens.
    alarm: Option<Arc<Waker>>,
    /// The TUN devices of tunnels, by the tunnels' names.
    devices: Mutex<BTreeMap<String, Tun>>,
}

impl TunnelSockets {
    /// None is open yet. UDP will be bound to `udp_port`; 0 is any. `alarm` is woken when
    /// [`take_narrowed`](TunnelSockets::take_narrowed) has something to say.
    pub fn new(udp_port: u16, alarm: Option<Arc<Waker>>) -> TunnelSockets {
        TunnelSockets {
            each: Default::default(),
            udp_port,
            bound_port: OnceLock::new(),
            narrowed: AtomicBool::new(false),
            alarm,
            devices: Mutex::default(),
        }
    }

    /// Sets the interfaces of the kernel that stand for tunnels, by the tunnels' names.
    pub fn set_devices(&self, devices: BTreeMap<String, Tun>) {
        *self.devices.lock().unwrap_or_else(PoisonError::into_inner) = devices;
    }

    /// The interface of the kernel that stands for a tunnel, if there is one.
    pub fn device(&self, tunnel: &str) -> Option<Tun> {
        let devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        devices.get(tunnel)?.try_clone().ok()
    }

    /// Opens what tunnels need whose ends are of the IP version of `end`; what is open already
    /// stays.
    ///
    /// # Errors
    /// What the kernel says: raw sockets need `CAP_NET_RAW`, ports below 1024
    /// `CAP_NET_BIND_SERVICE`.
    pub fn open(&self, encapsulation: Encapsulation, end: IpAddr) -> io::Result<()> {
        let protocols: &[u8] = match encapsulation {
            Encapsulation::Ipip => &[PROTOCOL_IPV4, PROTOCOL_IPV6],
            Encapsulation::Udp => &[Kind::UDP],
            Encapsulation::SemiPermeable | Encapsulation::Anycast => &[],
            Encapsulation::Hosts => {
                // Hosts may be of either version, as far as this node is.
                let v6 = self.open(Encapsulation::Ipip, Ipv6Addr::UNSPECIFIED.into());
                return self.open(Encapsulation::Ipip, Ipv4Addr::UNSPECIFIED.into()).or(v6);
            }
        };
        for &protocol in protocols {
            let kind = Kind { is_v6: end.is_ipv6(), protocol };
            let place = &self.each[kind.place()];
            if place.get().is_none() {
                let port = *self.bound_port.get().unwrap_or(&self.udp_port);
                let socket = open(kind, port)?;
                if let (true, Ok(address)) = (protocol == Kind::UDP, socket.local_addr()) {
                    let port = address.as_socket().map_or(port, |address| address.port());
                    let _same = self.bound_port.set(port);
                }
                // Whoever was faster has opened the same.
                let _other = place.set(socket);
            }
        }
        Ok(())
    }

    /// Whether any is open.
    pub fn any_open(&self) -> bool {
        self.each.iter().any(|socket| socket.get().is_some())
    }

    /// How many are open.
    pub fn count(&self) -> usize {
        self.each.iter().filter(|socket| socket.get().is_some()).count()
    }

    /// The port that UDP has got here.
    pub fn udp_port(&self) -> u16 {
        *self.bound_port.get().unwrap_or(&self.udp_port)
    }

    /// Sends the payload of one UDP datagram `from` an address of this node (`None`: whichever the
    /// kernel chooses) to `to`: a control message, say, or a whole IP packet.
    /// Returns whether the kernel took it.
    pub fn send_datagram(&self, from: Option<IpAddr>, to: SocketAddr, payload: &[u8]) -> bool {
        let kind = Kind { is_v6: to.is_ipv6(), protocol: Kind::UDP };
        let mut control = Vec::new();
        from.into_iter().for_each(|from| push_source(&mut control, from));
        let (to, payload) = (to.into(), [IoSlice::new(payload)]);
        let message = MsgHdr::new().with_addr(&to).with_buffers(&payload).with_control(&control);
        let sent = |socket: &Socket| socket.sendmsg(&message, libc::MSG_DONTWAIT);
        // The first error may be an old one, of another datagram.
        self.of(kind).is_some_and(|socket| sent(socket).is_ok() || sent(socket).is_ok())
    }

    /// Whether a path has turned out to carry less than was sent, since the last call.
    pub fn take_narrowed(&self) -> bool {
        self.narrowed.swap(false, Ordering::Relaxed)
    }

    fn of(&self, kind: Kind) -> Option<&Socket> {
        self.each[kind.place()].get()
    }

    fn note_narrowed(&self) {
        self.narrowed.store(true, Ordering::Relaxed);
        if let Some(alarm) = &self.alarm {
            // The control thread looks by itself now and then.
            let _unheard = alarm.wake();
        }
    }

    /// Takes what ICMP, and the kernel itself, have said about packets sent off a socket: it counts
    /// against what may wait there to be received.
    fn heed_errors(&self, fd: RawFd) {
        let mut octets = [0u8; 64];
        let mut any = false;
        // Bounded, as each that is read may make room for the next.
        for _ in 0..ERRORS_MAX {
            let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
            // SAFETY: `octets` is a live buffer of the length passed with it.
            let read = unsafe { libc::recv(fd, octets.as_mut_ptr().cast(), octets.len(), flags) };
            if read < 0 {
                break;
            }
            any = true;
        }
        if any {
            self.note_narrowed();
        }
    }

    fn descriptors(&self) -> impl Iterator<Item = (Kind, RawFd)> + '_ {
        let open = Kind::ALL.iter().zip(&self.each);
        open.filter_map(|(kind, socket)| Some((*kind, socket.get()?.as_raw_fd())))
    }
}

fn open(kind: Kind, udp_port: u16) -> io::Result<Socket> {
    let domain = if kind.is_v6 { Domain::IPV6 } else { Domain::IPV4 };
    let is_udp = kind.protocol == Kind::UDP;
    let protocol = Some(Protocol::from(libc::c_int::from(kind.protocol)));
    let socket = Socket::new(domain, if is_udp { Type::DGRAM } else { Type::RAW }, protocol)?;
    socket.set_nonblocking(true)?;
    let fd = socket.as_raw_fd();
    let ttl = libc::c_int::from(OUTER_TTL);
    let options: &[(libc::c_int, libc::c_int)] = if kind.is_v6 {
        &[
            (libc::IPV6_UNICAST_HOPS, ttl),
            (libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DO),
            (libc::IPV6_RECVPKTINFO, 1),
            (libc::IPV6_RECVTCLASS, 1),
            (libc::IPV6_RECVERR, 1),
        ]
    } else {
        &[
            (libc::IP_TTL, ttl),
            (libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DO),
            (libc::IP_PKTINFO, 1),
            (libc::IP_RECVTOS, 1),
            (libc::IP_RECVERR, 1),
        ]
    };
    let level = if kind.is_v6 { libc::IPPROTO_IPV6 } else { libc::IPPROTO_IP };
    options.iter().try_for_each(|(name, value)| set_option(fd, level, *name, value))?;
    for (forced, asked) in
        [(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF), (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)]
    {
        set_option(fd, libc::SOL_SOCKET, forced, &BUFFER_LEN)
            .or_else(|_| set_option(fd, libc::SOL_SOCKET, asked, &BUFFER_LEN))?;
    }
    if is_udp && kind.is_v6 {
        set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, &1)?;
    }
    if is_udp {
        let any: IpAddr = match kind.is_v6 {
            true => Ipv6Addr::UNSPECIFIED.into(),
            false => Ipv4Addr::UNSPECIFIED.into(),
        };
        socket.bind(&SocketAddr::new(any, udp_port).into())?;
    }
    Ok(socket)
}

/// What the path from here to `remote` carries, in octets of an IP packet, as the kernel has learnt it
/// so far: from the link, and from ICMP, which it forgets after `net.ipv4.route.mtu_expires`.
///
/// # Errors
/// What the kernel says: there is no way to `remote`, say, or `local` is no address of this node.
pub fn path_mtu(local: IpAddr, remote: IpAddr) -> io::Result<u32> {
    /// Any port will do: nothing is sent.
    const DISCARD: u16 = 9;
    let socket = UdpSocket::bind(SocketAddr::new(local, 0))?;
    socket.connect(SocketAddr::new(remote, DISCARD))?;
    let (level, name) = match remote {
        IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_MTU),
        IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_MTU),
    };
    let mtu: libc::c_int = option(socket.as_raw_fd(), level, name, 0)?;
    Ok(u32::try_from(mtu).unwrap_or(0))
}
