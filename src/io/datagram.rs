//! UDP datagrams with what their IP header said: where to, TTL and DS byte; and what became of
//! datagrams sent, as far as ICMP or the kernel says.

use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use super::system::{check, option, set_option, socklen};

/// A received datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Who sent it; the scope of a link-local address is the interface it came in on.
    pub source: SocketAddr,
    /// The address it was sent to.
    pub destination: IpAddr,
    /// Its TTL or hop limit on arrival.
    pub ttl: u8,
    /// Its DS and ECN octet.
    pub traffic_class: u8,
    /// When the kernel got it, since 1970, if it was asked to say so (see [`report_times`]).
    pub stamp: Option<Duration>,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// What became of a datagram that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reported {
    /// Whom the datagram was for.
    pub destination: SocketAddr,
    /// Who says so: the router or host that sent the ICMP error, if one did.
    pub offender: Option<IpAddr>,
    /// What happened.
    pub kind: ReportKind,
    /// The error number (`errno`) that the kernel makes of it.
    pub errno: i32,
    /// The datagram's payload, as much of it as came back: an ICMP error over IPv4 need not quote
    /// any.
    pub payload: Vec<u8>,
}

/// Why a datagram did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportKind {
    /// The destination cannot be reached, for a reason other than those below.
    Unreachable {
        /// The ICMP code: RFC 792 (and RFC 1812 section 5.2.7.1) or RFC 4443 section 3.1.
        code: u8,
    },
    /// The host has nobody at this port.
    PortUnreachable,
    /// The datagram is longer than the path takes.
    TooBig {
        /// What the path takes, in octets of an IP packet. 0 comes from IPv4 routers older than
        /// RFC 1191.
        mtu: u32,
    },
    /// TTL or hop limit ended on the way.
    TimeExceeded,
    /// Anything else.
    Other {
        /// The ICMP type; 0 where the report is the kernel's own.
        kind: u8,
        /// The ICMP code.
        code: u8,
    },
}

/// Asks the kernel to report destination, TTL and DS byte with every datagram.
///
/// A socket of IPv6 should be of IPv6 alone (`IPV6_V6ONLY`): of an IPv4 datagram it would not
/// report TTL and DS byte.
///
/// # Errors
/// What the kernel says.
pub fn report_headers(socket: &UdpSocket) -> io::Result<()> {
    let (level, options) = match socket.local_addr()? {
        SocketAddr::V4(_) => {
            (libc::IPPROTO_IP, [libc::IP_PKTINFO, libc::IP_RECVTTL, libc::IP_RECVTOS])
        }
        SocketAddr::V6(_) => (
            libc::IPPROTO_IPV6,
            [libc::IPV6_RECVPKTINFO, libc::IPV6_RECVHOPLIMIT, libc::IPV6_RECVTCLASS],
        ),
    };
    options.into_iter().try_for_each(|option| set_option(socket.as_raw_fd(), level, option, &1))
}

/// From now on the kernel says of each datagram when it got it, before anybody had to wake up.
///
/// # Errors
/// What the kernel says.
pub fn report_times(socket: &UdpSocket) -> io::Result<()> {
    set_option(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &1)
}

/// Asks the kernel to queue what becomes of datagrams sent, for [`take_error`]. From now on any
/// call on the socket may fail, once, with the error of a report.
///
/// # Errors
/// What the kernel says.
pub fn report_errors(socket: &UdpSocket) -> io::Result<()> {
    let (level, option) = match socket.local_addr()? {
        SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_RECVERR),
        SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_RECVERR),
    };
    set_option(socket.as_raw_fd(), level, option, &1)
}

/// From now on datagrams are never fragmented: one that the path does not take is refused
/// (`EMSGSIZE`), or lost and reported as too big (see [`report_errors`]).
///
/// # Errors
/// What the kernel says.
pub fn forbid_fragments(socket: &UdpSocket) -> io::Result<()> {
    let (level, option, value) = match socket.local_addr()? {
        SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DO),
        SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DO),
    };
    set_option(socket.as_raw_fd(), level, option, &value)
}

/// How many datagrams a socket has lost since it was opened, as nobody took them in time.
///
/// # Errors
/// What the kernel says.
pub fn lost(socket: &UdpSocket) -> io::Result<u32> {
    // As `SK_MEMINFO_*` number them (linux/sock_diag.h).
    let counts = [0u32; 9];
    let counts = option(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_MEMINFO, counts)?;
    Ok(counts[libc::SK_MEMINFO_DROPS as usize])
}

/// Receives one datagram of up to 65,535 octets.
///
/// # Errors
/// What the kernel says; `WouldBlock` when the socket's read timeout is over.
pub fn receive(socket: &UdpSocket) -> io::Result<Datagram> {
    let received = read(socket, 0)?;
    let source = received.address()?;
    let mut datagram = Datagram {
        source,
        destination: match source {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        },
        ttl: 0,
        traffic_class: 0,
        stamp: None,
        payload: Vec::new(),
    };
    for (level, kind, value) in &received.control {
        match (*level, *kind) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // struct in_pktinfo: interface, local address, destination.
                if let Some([.., a, b, c, d]) = value.first_chunk::<12>() {
                    datagram.destination = Ipv4Addr::new(*a, *b, *c, *d).into();
                }
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                // struct in6_pktinfo: destination, interface.
                if let Some(octets) = value.first_chunk::<16>() {
                    datagram.destination = IpAddr::from(*octets);
                }
            }
            (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => {
                datagram.ttl = number(value) as u8;
            }
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                datagram.traffic_class = number(value) as u8;
            }
            (libc::IPPROTO_IP, libc::IP_TOS) => {
                datagram.traffic_class = value.first().copied().unwrap_or(0);
            }
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => datagram.stamp = time(value),
            _ => {}
        }
    }
    datagram.payload = received.payload;
    Ok(datagram)
}

/// Takes the oldest report from the socket's error queue (see [`report_errors`]), without
/// waiting; `None` if there is none.
///
/// # Errors
/// What the kernel says.
pub fn take_error(socket: &UdpSocket) -> io::Result<Option<Reported>> {
    loop {
        let received = match read(socket, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT) {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let error = received.control.iter().find_map(|(level, kind, value)| {
            let known =
                [(libc::IPPROTO_IP, libc::IP_RECVERR), (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)];
            known.contains(&(*level, *kind)).then(|| extended_error(value))?
        });
        // Time stamps of sending, which others may have asked for, are in this queue too.
        if let Some((kind, errno, offender)) = error {
            let destination = received.address()?;
            let payload = received.payload;
            return Ok(Some(Reported { destination, offender, kind, errno, payload }));
        }
    }
}

/// Reads `struct sock_extended_err` (linux/errqueue.h) and the offender's address behind it:
///
/// ```text
/// | errno (4) | origin | type | code | 0 | info (4) | data (4) | struct sockaddr ...
/// ```
fn extended_error(value: &[u8]) -> Option<(ReportKind, i32, Option<IpAddr>)> {
    let (fixed, offender) = value.split_first_chunk::<16>()?;
    let [origin, kind, code] = [fixed[4], fixed[5], fixed[6]];
    let errno = number(fixed);
    let info = number(&fixed[8..]) as u32;
    let other = ReportKind::Other { kind, code };
    let kind = match (origin, kind, code) {
        (libc::SO_EE_ORIGIN_LOCAL, ..) if errno == libc::EMSGSIZE => {
            ReportKind::TooBig { mtu: info }
        }
        (libc::SO_EE_ORIGIN_LOCAL, ..) => other,
        (libc::SO_EE_ORIGIN_ICMP, 3, 3) | (libc::SO_EE_ORIGIN_ICMP6, 1, 4) => {
            ReportKind::PortUnreachable
        }
        (libc::SO_EE_ORIGIN_ICMP, 3, 4) | (libc::SO_EE_ORIGIN_ICMP6, 2, _) => {
            ReportKind::TooBig { mtu: info }
        }
        (libc::SO_EE_ORIGIN_ICMP, 3, _) | (libc::SO_EE_ORIGIN_ICMP6, 1, _) => {
            ReportKind::Unreachable { code }
        }
        // Code 1 is a fragment's reassembly that took too long.
        (libc::SO_EE_ORIGIN_ICMP, 11, 0) | (libc::SO_EE_ORIGIN_ICMP6, 3, 0) => {
            ReportKind::TimeExceeded
        }
        (libc::SO_EE_ORIGIN_ICMP | libc::SO_EE_ORIGIN_ICMP6, ..) => other,
        _ => return None,
    };
    Some((kind, errno, socket_address(offender).map(|offender| offender.ip())))
}

/// A message of `recvmsg`.
struct Received {
    payload: Vec<u8>,
    address: Option<SocketAddr>,
    /// Control messages: level, type, value.
    control: Vec<(libc::c_int, libc::c_int, Vec<u8>)>,
}

impl Received {
    fn address(&self) -> io::Result<SocketAddr> {
        self.address.ok_or_else(|| io::Error::other("a datagram without an address"))
    }
}

fn read(socket: &UdpSocket, flags: libc::c_int) -> io::Result<Received> {
    let mut payload = vec![0; 1 << 16];
    // As long as any address, and as aligned as any control message needs.
    let mut name = [0u64; size_of::<libc::sockaddr_storage>() / 8];
    let mut control = [0u64; 64];
    let mut piece = libc::iovec { iov_base: payload.as_mut_ptr().cast(), iov_len: payload.len() };
    // SAFETY: a message header of null pointers and zeros is valid: it has no parts.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_name = name.as_mut_ptr().cast();
    message.msg_namelen = socklen::<libc::sockaddr_storage>();
    message.msg_iov = &raw mut piece;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control);
    // SAFETY: every part of `message` is a live buffer of the length that stands beside it.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) };
    let length = check(length as libc::c_int)? as usize;
    payload.truncate(length);
    // Who keeps many small ones need not keep room for large ones.
    payload.shrink_to_fit();
    let name: Vec<u8> = name.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let control = control_messages(&message);
    Ok(Received { payload, address: socket_address(&name), control })
}

/// The control messages of a received message.
fn control_messages(message: &libc::msghdr) -> Vec<(libc::c_int, libc::c_int, Vec<u8>)> {
    let mut all = Vec::new();
    each_control(message, |level, kind, value| all.push((level, kind, value.to_vec())));
    all
}

/// Shows each control message of a received message: its level, type and value.
pub(super) fn each_control(
    message: &libc::msghdr,
    mut show: impl FnMut(libc::c_int, libc::c_int, &[u8]),
) {
    // SAFETY: the kernel has filled the control buffer of `message` with well-formed control
    // messages, over which CMSG_FIRSTHDR and CMSG_NXTHDR iterate; a message's length counts its
    // header, and what is behind that is inside the buffer and initialized.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while let Some(control) = header.as_ref() {
            let length = control.cmsg_len.saturating_sub(libc::CMSG_LEN(0) as usize);
            let value = std::slice::from_raw_parts(libc::CMSG_DATA(control), length);
            show(control.cmsg_level, control.cmsg_type, value);
            header = libc::CMSG_NXTHDR(message, control);
        }
    }
}

/// The number at the start of a control message; 0 if there is none.
fn number(value: &[u8]) -> i32 {
    value.first_chunk().map_or(0, |octets| i32::from_ne_bytes(*octets))
}

/// The time in the octets of a `struct timespec`.
fn time(value: &[u8]) -> Option<Duration> {
    let (seconds, rest) = value.split_first_chunk()?;
    let nanoseconds = i64::from_ne_bytes(*rest.first_chunk()?);
    let seconds = u64::try_from(i64::from_ne_bytes(*seconds)).ok()?;
    Some(Duration::new(seconds, u32::try_from(nanoseconds).ok()?))
}

/// The address in the octets of a `struct sockaddr_in` or `sockaddr_in6`; `None` of another
/// family.
fn socket_address(bytes: &[u8]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes(*bytes.first_chunk()?);
    let port = u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?);
    match i32::from(family) {
        libc::AF_INET => {
            let octets: [u8; 4] = *bytes.get(4..)?.first_chunk()?;
            Some(SocketAddrV4::new(octets.into(), port).into())
        }
        libc::AF_INET6 => {
            let flow = u32::from_be_bytes(*bytes.get(4..)?.first_chunk()?);
            let octets: [u8; 16] = *bytes.get(8..)?.first_chunk()?;
            let scope = u32::from_ne_bytes(*bytes.get(24..)?.first_chunk()?);
            Some(SocketAddrV6::new(octets.into(), port, flow, scope).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `struct sock_extended_err`, and the offender 10.0.0.9.
    fn extended(errno: i32, origin: u8, kind: u8, code: u8, info: u32) -> Vec<u8> {
        let mut value = errno.to_ne_bytes().to_vec();
        value.extend([origin, kind, code, 0]);
        value.extend(info.to_ne_bytes());
        value.extend([0; 4]);
        value.extend((libc::AF_INET as u16).to_ne_bytes());
        value.extend([0, 0, 10, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0]);
        value
    }

    #[test]
    fn icmp_errors_have_their_names() {
        use ReportKind::*;
        let (local, icmp, icmpv6) = (1, 2, 3);
        for (origin, kind, code, expected) in [
            (icmp, 3, 3, PortUnreachable),
            (icmp, 3, 1, Unreachable { code: 1 }),
            (icmp, 3, 13, Unreachable { code: 13 }),
            (icmp, 3, 4, TooBig { mtu: 1400 }),
            (icmp, 11, 0, TimeExceeded),
            (icmp, 11, 1, Other { kind: 11, code: 1 }),
            (icmp, 12, 0, Other { kind: 12, code: 0 }),
            (icmpv6, 1, 4, PortUnreachable),
            (icmpv6, 1, 0, Unreachable { code: 0 }),
            (icmpv6, 2, 0, TooBig { mtu: 1400 }),
            (icmpv6, 3, 0, TimeExceeded),
            (icmpv6, 4, 1, Other { kind: 4, code: 1 }),
            (local, 0, 0, TooBig { mtu: 1400 }),
        ] {
            let value = extended(libc::EMSGSIZE, origin, kind, code, 1400);
            let offender = Some(IpAddr::from([10, 0, 0, 9]));
            assert_eq!(extended_error(&value), Some((expected, libc::EMSGSIZE, offender)));
        }
        let local_error = extended(libc::EHOSTUNREACH, local, 0, 0, 0);
        let expected = Other { kind: 0, code: 0 };
        assert_eq!(extended_error(&local_error).map(|(kind, ..)| kind), Some(expected));
        // A time stamp, and something cut short.
        assert_eq!(extended_error(&extended(libc::ENOMSG, 4, 0, 0, 0)), None);
        assert_eq!(extended_error(&local_error[..15]), None);
    }

    #[test]
    fn addresses_are_read_from_their_octets() {
        let mut v6 = (libc::AF_INET6 as u16).to_ne_bytes().to_vec();
        v6.extend([0x1f, 0x90, 0, 0, 0, 0]);
        v6.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        v6.extend(7u32.to_ne_bytes());
        let expected = SocketAddrV6::new("fe80::1".parse().unwrap(), 8080, 0, 7);
        assert_eq!(socket_address(&v6), Some(expected.into()));
        for length in 0..v6.len() {
            assert_eq!(socket_address(&v6[..length]), None);
        }
        // No offender: the family is AF_UNSPEC.
        assert_eq!(socket_address(&[0; 28]), None);
    }
}
