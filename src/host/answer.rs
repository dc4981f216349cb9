//! A datagram from a chosen one of this host's addresses: who asked one address does not take an
//! answer from another.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr, UdpSocket};

use socket2::{MsgHdr, SockAddr, SockRef};

/// Sends a datagram from `source`, which is an address of this host, by the socket's own port.
pub(super) fn send(
    socket: &UdpSocket,
    source: IpAddr,
    to: SocketAddr,
    payload: &[u8],
) -> io::Result<()> {
    let (to, scope) = match to {
        SocketAddr::V6(v6) => (SockAddr::from(v6), v6.scope_id()),
        SocketAddr::V4(v4) => (SockAddr::from(v4), 0),
    };
    let pieces = [IoSlice::new(payload)];
    let control = from(source, scope);
    let message = MsgHdr::new().with_addr(&to).with_buffers(&pieces).with_control(&control);
    SockRef::from(socket).sendmsg(&message, 0).map(|_| ())
}

/// The control message that names the source address (ip(7), RFC 3542 section 6.1), in the order
/// and alignment of C:
///
/// ```text
/// | length, size_t | level, int | type, int |
/// | IPv4: interface, int | source, 4 octets | destination, 4 octets, ignored | padding
/// | IPv6: source, 16 octets | interface, int                                 | padding
/// ```
fn from(source: IpAddr, interface: u32) -> Vec<u8> {
    let (level, kind, information) = match source {
        IpAddr::V4(v4) => {
            let of_any = 0u32.to_ne_bytes();
            (libc::IPPROTO_IP, libc::IP_PKTINFO, [of_any, v4.octets(), [0; 4]].concat())
        }
        IpAddr::V6(v6) => {
            let mut information = v6.octets().to_vec();
            information.extend(interface.to_ne_bytes());
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, information)
        }
    };
    let length = size_of::<usize>() + 8 + information.len();
    let mut control = length.to_ne_bytes().to_vec();
    control.extend(level.to_ne_bytes());
    control.extend(kind.to_ne_bytes());
    control.extend(information);
    control.resize(length.next_multiple_of(size_of::<usize>()), 0);
    control
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;
    use crate::io::datagram;

    /// 127.0.0.9 would never be chosen by itself.
    #[test]
    fn the_answer_comes_from_the_address_that_was_asked() {
        let asked = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let asker = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let own = IpAddr::from([127, 0, 0, 9]);
        send(&asked, own, asker.local_addr().unwrap(), b"here").unwrap();
        let expected = SocketAddr::new(own, asked.local_addr().unwrap().port());
        let received = datagram::receive(&asker).unwrap();
        assert_eq!((received.source, &received.payload[..]), (expected, &b"here"[..]));
    }

    #[test]
    fn an_address_of_somebody_else_is_refused() {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let to = socket.local_addr().unwrap();
        let to = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), to.port());
        assert!(send(&socket, IpAddr::from([203, 0, 113, 9]), to, b"").is_err());
    }

    #[test]
    fn control_messages_have_the_lengths_of_c() {
        let word = size_of::<usize>();
        let v4 = from(Ipv4Addr::LOCALHOST.into(), 0);
        assert_eq!((v4.len() % word, v4[..word].to_vec()), (0, (word + 20).to_ne_bytes().to_vec()));
        let v6 = from(Ipv6Addr::LOCALHOST.into(), 7);
        assert_eq!(v6[..word], (word + 28).to_ne_bytes());
        assert_eq!(v6[word + 24..word + 28], 7u32.to_ne_bytes());
    }
}
