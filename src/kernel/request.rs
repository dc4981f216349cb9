//! The rtnetlink requests we send, as octets. Pure.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REQUEST};

use super::framing::Writer;
use crate::rib::InterfaceIndex;

/// `RTM_GETNEXTHOP`, which libc lacks; see `linux/rtnetlink.h`.
const RTM_GETNEXTHOP: u16 = 106;
const RTM_GETLINK: u16 = libc::RTM_GETLINK;
/// Attribute of a link request that leaves parts of the answer out.
const IFLA_EXT_MASK: u16 = 29;
/// ... namely the statistics, which are most of a link message.
const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;
/// The loopback interface's index in every network namespace.
const LOOPBACK: u32 = 1;

const DUMP: u16 = NLM_F_REQUEST | NLM_F_DUMP;

fn build(kind: u16, flags: u16, sequence: u32, write: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.message(kind, flags, sequence, write);
    writer.into_bytes()
}

/// All links.
pub(super) fn links(sequence: u32) -> Vec<u8> {
    build(RTM_GETLINK, DUMP, sequence, |body| {
        body.raw(&[0; 16]);
        body.attribute(IFLA_EXT_MASK, &RTEXT_FILTER_SKIP_STATS.to_ne_bytes());
    })
}

/// All addresses of both IP versions.
pub(super) fn addresses(sequence: u32) -> Vec<u8> {
    build(libc::RTM_GETADDR, DUMP, sequence, |body| body.raw(&[0; 8]))
}

/// All routes of all tables, of one IP version (`AF_INET`, `AF_INET6`).
pub(super) fn routes(family: u8) -> impl Fn(u32) -> Vec<u8> {
    move |sequence| {
        build(libc::RTM_GETROUTE, DUMP, sequence, |body| {
            body.raw(&[family]);
            body.raw(&[0; 11]);
        })
    }
}

/// All neighbors of both IP versions.
pub(super) fn neighbors(sequence: u32) -> Vec<u8> {
    build(libc::RTM_GETNEIGH, DUMP, sequence, |body| body.raw(&[0; 12]))
}

/// All policy rules of one IP version (`AF_INET`, `AF_INET6`).
pub(super) fn rules(family: u8) -> impl Fn(u32) -> Vec<u8> {
    move |sequence| {
        build(libc::RTM_GETRULE, DUMP, sequence, |body| {
            body.raw(&[family]);
            body.raw(&[0; 11]);
        })
    }
}

/// All nexthop objects.
pub(super) fn nexthops(sequence: u32) -> Vec<u8> {
    build(RTM_GETNEXTHOP, DUMP, sequence, |body| body.raw(&[0; 8]))
}

/// A request whose answer matters less than its time: the kernel serves it under its
/// configuration lock (`rtnl_lock`), so whatever holds that lock now is finished by the answer.
pub(super) fn barrier(sequence: u32) -> Vec<u8> {
    build(RTM_GETLINK, NLM_F_REQUEST | NLM_F_ACK, sequence, |body| {
        body.raw(&[0; 4]);
        body.raw(&LOOPBACK.to_ne_bytes());
        body.raw(&[0; 8]);
        body.attribute(IFLA_EXT_MASK, &RTEXT_FILTER_SKIP_STATS.to_ne_bytes());
    })
}

/// Tells the kernel that a neighbor is being used (`NTF_USE`, `neigh_event_send`): it asks for
/// its link-layer address if it does not know it, or confirms it if that is old.
pub(super) fn resolve(interface: InterfaceIndex, address: IpAddr, sequence: u32) -> Vec<u8> {
    let flags = NLM_F_REQUEST | NLM_F_CREATE;
    build(libc::RTM_NEWNEIGH, flags, sequence, |body| {
        let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        body.raw(&[family as u8, 0, 0, 0]);
        body.raw(&interface.to_ne_bytes());
        body.raw(&libc::NUD_NONE.to_ne_bytes());
        body.raw(&[libc::NTF_USE, 0]);
        match address {
            IpAddr::V4(v4) => body.attribute(libc::NDA_DST, &v4.octets()),
            IpAddr::V6(v6) => body.attribute(libc::NDA_DST, &v6.octets()),
        }
    })
}

#[cfg(all(test, target_endian = "little"))]
mod tests {
    use super::*;

    #[test]
    fn resolve_is_a_use_of_the_neighbor() {
        let bytes = resolve(3, "10.0.0.2".parse().unwrap(), 9);
        #[rustfmt::skip]
        assert_eq!(bytes, [
            36, 0, 0, 0, 28, 0, 0x01, 0x04, 9, 0, 0, 0, 0, 0, 0, 0,
            2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 1, 0,
            8, 0, 1, 0, 10, 0, 0, 2,
        ]);
        assert_eq!(resolve(3, "fe80::1".parse().unwrap(), 9).len(), 48);
    }

    #[test]
    fn dumps_ask_for_everything() {
        #[rustfmt::skip]
        assert_eq!(routes(libc::AF_INET6 as u8)(1), [
            28, 0, 0, 0, 26, 0, 0x01, 0x03, 1, 0, 0, 0, 0, 0, 0, 0,
            10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ]);
        #[rustfmt::skip]
        assert_eq!(links(2), [
            40, 0, 0, 0, 18, 0, 0x01, 0x03, 2, 0, 0, 0, 0, 0, 0, 0,
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            8, 0, 29, 0, 8, 0, 0, 0,
        ]);
    }
}
