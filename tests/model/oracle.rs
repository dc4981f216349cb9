//! Checks of copies by an implementation that is not ours (etherparse).

use etherparse::{
    Icmpv6Slice, IpSlice, Ipv4HeaderSlice, Ipv6HeaderSlice, TcpSlice, UdpSlice, ip_number,
};

use super::message::Message;
use super::transport::{AH, Kind};
use super::{Copy, Form};

/// The IP header: well-formed, with the right length and, in IPv4, checksum.
pub(crate) fn check_header(packet: &[u8]) {
    match packet[0] >> 4 {
        4 => {
            let header = Ipv4HeaderSlice::from_slice(packet).unwrap();
            assert_eq!(usize::from(header.total_len()), packet.len());
            assert_eq!(header.header_checksum(), header.to_header().calc_header_checksum());
        }
        _ => {
            let header = Ipv6HeaderSlice::from_slice(packet).unwrap();
            assert_eq!(usize::from(header.payload_length()), packet.len() - 40);
        }
    }
}

/// The transport header and its checksum, where the sender's was right and it can be found.
pub(crate) fn check_transport(message: &Message, copy: &Copy) {
    let is_v6 = message.is_v6();
    let hidden = copy.form == Form::Xcast && !is_v6; // behind a protocol it does not know
    let protocol = message.transport.protocol(is_v6);
    let damaged = message.transport.error != 0 || matches!(message.transport.kind, Kind::Cut(_));
    if hidden || damaged || protocol == AH {
        return;
    }
    let ip = IpSlice::from_slice(&copy.packet).unwrap();
    let (source, destination) = (ip.source_addr(), ip.destination_addr());
    assert_eq!(source, message.source);
    let expected = match copy.form {
        Form::Xcast => message.group,
        _ => message.list[copy.serves[0]].address,
    };
    assert_eq!(destination, expected);
    let (found, bytes) = (ip.payload().ip_number, ip.payload().payload);
    assert_eq!(found.0, protocol);
    let valid = match (found, ip) {
        (ip_number::UDP, IpSlice::Ipv4(ip)) => {
            let udp = UdpSlice::from_slice(bytes).unwrap();
            let (source, destination) = (ip.header().source(), ip.header().destination());
            let header = udp.to_header();
            let check = header.calc_checksum_ipv4_raw(source, destination, udp.payload()).unwrap();
            let absent = message.transport.kind == Kind::Udp { has_checksum: false };
            udp.checksum() == if absent { 0 } else { check }
        }
        (ip_number::UDP, IpSlice::Ipv6(ip)) => {
            let udp = UdpSlice::from_slice(bytes).unwrap();
            let (source, destination) = (ip.header().source(), ip.header().destination());
            let header = udp.to_header();
            let check = header.calc_checksum_ipv6_raw(source, destination, udp.payload()).unwrap();
            let absent = message.transport.kind == Kind::Udp { has_checksum: false };
            udp.checksum() == if absent { 0 } else { check }
        }
        (ip_number::TCP, IpSlice::Ipv4(ip)) => {
            let tcp = TcpSlice::from_slice(bytes).unwrap();
            let (source, destination) = (ip.header().source(), ip.header().destination());
            tcp.checksum() == tcp.calc_checksum_ipv4(source, destination).unwrap()
        }
        (ip_number::TCP, IpSlice::Ipv6(ip)) => {
            let tcp = TcpSlice::from_slice(bytes).unwrap();
            let (source, destination) = (ip.header().source(), ip.header().destination());
            tcp.checksum() == tcp.calc_checksum_ipv6(source, destination).unwrap()
        }
        (ip_number::IPV6_ICMP, IpSlice::Ipv6(ip)) => {
            let icmp = Icmpv6Slice::from_slice(bytes).unwrap();
            icmp.is_checksum_valid(ip.header().source(), ip.header().destination())
        }
        _ => true,
    };
    assert!(valid, "a wrong transport checksum: {copy:?}");
}
