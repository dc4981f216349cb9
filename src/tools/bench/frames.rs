//! The packets of a measurement, and what becomes of them. Pure.

use std::net::Ipv4Addr;

use super::lab::{ROUTER_MAC, SENDER, SENDER_MAC, XCAST, behind, neighbor, output_macs};
use crate::wire::ethernet::{self, TYPE_IPV4};
use crate::wire::{ipv4, udp, xcast4};

/// The group that the kernel's multicast forwarding is measured with, and that of Xcast routers.
pub(super) const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 1, 1);
const ALL_XCAST_ROUTERS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 254);
/// The port at which no sink listens.
pub(super) const PORT: u16 = 9;
/// Octets of an unicast packet, link-layer header first, in front of its payload.
const UNICAST_HEADERS_LEN: usize = ethernet::HEADER_LEN + ipv4::HEADER_LEN + udp::HEADER_LEN;

/// What the router makes of an Xcast packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Form {
    /// One destination behind each output: unicast packets, as `ip_mroute` delivers one each
    X2u,
    /// Two destinations behind each output's neighbor, which handles Xcast: Xcast packets
    Xcast,
}

impl Form {
    pub(super) fn name(self) -> &'static str {
        if self == Form::X2u { "x2u" } else { "xcast" }
    }
}

/// Frames that are sent in turn, and where their payload is before and behind the router.
pub(super) struct Load {
    pub(super) frames: Vec<Vec<u8>>,
    pub(super) headers_in: usize,
    pub(super) headers_out: usize,
}

/// One Xcast packet for all outputs.
pub(super) fn xcast(outputs: usize, form: Form, payload: usize) -> Load {
    let repr = xcast_header(outputs, form);
    let header = repr.header_len();
    let mut packet = vec![0; header];
    repr.emit(&mut packet).expect("a measurement has 1 to 31 outputs");
    packet.extend(datagram(ALL_XCAST_ROUTERS, payload));
    let headers_in = UNICAST_HEADERS_LEN + header;
    let headers_out = if form == Form::X2u { UNICAST_HEADERS_LEN } else { headers_in };
    let frame = frame(ROUTER_MAC, ALL_XCAST_ROUTERS, XCAST, &packet);
    Load { frames: vec![frame], headers_in, headers_out }
}

fn xcast_header(outputs: usize, form: Form) -> xcast4::Repr {
    let destinations: Vec<Ipv4Addr> = match form {
        Form::X2u => (0..outputs).map(neighbor).collect(),
        Form::Xcast => (0..outputs).flat_map(|k| [behind(k, 0), behind(k, 1)]).collect(),
    };
    xcast4::Repr {
        anonymous: false,
        keep_xcast: false,
        channel: 0,
        protocol: ipv4::protocol::UDP,
        bitmap: xcast4::all(destinations.len()),
        destinations,
        ds_bytes: Vec::new(),
        ports: Vec::new(),
    }
}

/// One packet to a group.
pub(super) fn group(payload: usize) -> Load {
    let datagram = datagram(GROUP, payload);
    let link = ethernet::group_address(GROUP);
    let frames = vec![frame(link, GROUP, ipv4::protocol::UDP, &datagram)];
    let headers = UNICAST_HEADERS_LEN;
    Load { frames, headers_in: headers, headers_out: headers }
}

/// A packet for each output.
pub(super) fn unicast(outputs: usize, payload: usize) -> Load {
    let frame = |k| {
        let to = neighbor(k);
        frame(ROUTER_MAC, to, ipv4::protocol::UDP, &datagram(to, payload))
    };
    let frames = (0..outputs).map(frame).collect();
    let headers = UNICAST_HEADERS_LEN;
    Load { frames, headers_in: headers, headers_out: headers }
}

/// What a copy loop puts in front of the rest of an Xcast frame for output `k`, and how many octets
/// of the frame it stands for, so that as many octets leave as the router sends.
pub(super) fn copy_head(outputs: usize, k: usize, form: Form, payload: usize) -> (Vec<u8>, usize) {
    let (own, its) = output_macs(k);
    let mut head = ethernet::header(its, own, TYPE_IPV4).to_vec();
    match form {
        Form::X2u => {
            let datagram = (udp::HEADER_LEN + payload) as u16;
            head.extend(ip_header(neighbor(k), ipv4::protocol::UDP, datagram));
            let header = xcast_header(outputs, form).header_len();
            (head, ethernet::HEADER_LEN + ipv4::HEADER_LEN + header)
        }
        Form::Xcast => (head, ethernet::HEADER_LEN),
    }
}

/// Writes a number into the payload, which begins at octet `at`, without any effect on its
/// checksum: its complement follows.
pub(super) fn number(frame: &mut [u8], at: usize, number: u32) {
    frame[at..at + 4].copy_from_slice(&number.to_be_bytes());
    frame[at + 4..at + 8].copy_from_slice(&(!number).to_be_bytes());
}

/// A UDP datagram with a payload of at least eight octets, and its number 0.
fn datagram(to: Ipv4Addr, payload: usize) -> Vec<u8> {
    let mut datagram = vec![0; udp::HEADER_LEN + payload];
    number(&mut datagram, udp::HEADER_LEN, 0);
    udp::Repr { source_port: PORT, destination_port: PORT }.emit(&mut datagram, SENDER, to);
    datagram
}

fn frame(link: [u8; 6], to: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = ethernet::header(link, SENDER_MAC, TYPE_IPV4).to_vec();
    frame.extend(ip_header(to, protocol, payload.len() as u16));
    frame.extend(payload);
    frame
}

fn ip_header(destination: Ipv4Addr, protocol: u8, payload_len: u16) -> [u8; ipv4::HEADER_LEN] {
    let mut header = [0; ipv4::HEADER_LEN];
    ipv4::Repr { source: SENDER, destination, protocol, traffic_class: 0, ttl: 64, payload_len }
        .emit(&mut header);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_leave_the_checksum_right() {
        let load = group(64);
        let mut frame = load.frames[0].clone();
        for value in [0, 1, 0xffff, 0x1_0000, u32::MAX] {
            number(&mut frame, load.headers_in, value);
            assert!(udp::checksum_valid(&frame[34..], SENDER, GROUP));
        }
    }

    #[test]
    fn a_copy_is_as_long_as_a_replica() {
        for (form, outputs) in [(Form::X2u, 1), (Form::X2u, 16), (Form::Xcast, 8)] {
            let load = xcast(outputs, form, 100);
            let (head, skip) = copy_head(outputs, 0, form, 100);
            assert_eq!(head.len() + load.frames[0].len() - skip, load.headers_out + 100);
            assert_eq!(load.frames[0].len(), load.headers_in + 100);
        }
    }
}
