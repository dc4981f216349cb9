//! Packet system calls, and all `unsafe` of the product.
//!
//! - [`device`]: a port's device, by the best driver that works: the front door to the next two.
//! - [`packet`]: two bound `AF_PACKET` sockets a port: a TPACKET_V2 ring to receive, `sendmmsg`
//!   to send.
//! - [`xdp`]: AF_XDP sockets of a port, to send alone, or to receive too.
//! - [`memory`] and [`pcap`]: the same two faces without a kernel, for tests and files.
//! - [`pcapng`]: Xcast packets as they cross the interfaces, and files to keep them.
//! - [`datagram`]: UDP reception with TTL and DS byte, for `xcast recv`, and what ICMP says about
//!   datagrams sent.
//! - [`inject`]: packets into this node's own IP stack, and ICMP messages out of it.
//! - [`listen`]: Xcast packets that arrive at a host, whatever the interface.
//! - [`link`]: any Ethernet frame, for links that are emulated; [`timer`]: when each leaves.
//! - [`tunnel`]: outer packets of tunnels; [`tun`]: interfaces that stand for tunnels.
//! - [`affinity`]: on which core a thread runs, of several workers or of a measurement.
//! - [`namespace`], [`offload`], [`mroute`] and [`stamps`]: what a measurement needs of the
//!   kernel.
//! - [`disk`]: how much room a file system has.
//! - [`prefetch()`]: memory that will be wanted soon.
//!
//! The packet path sees a device through two traits: [`Receive`] lends received frames, and
//! [`Transmit`] sends replicas that lie in two pieces. Both are used by static dispatch.

#![allow(unsafe_code)]

use std::net::IpAddr;

pub mod affinity;
pub mod datagram;
pub mod device;
pub mod disk;
pub mod icmp;
pub mod inject;
pub mod link;
pub mod listen;
pub mod memory;
pub mod mroute;
pub mod namespace;
pub mod offload;
pub mod packet;
pub mod pcap;
pub mod pcapng;
pub mod stamps;
pub mod timer;
pub mod tun;
pub mod tunnel;
pub mod xdp;

mod fanout;
mod filter;
mod prefetch;
mod process;
mod ring;
mod system;

pub use prefetch::{prefetch, prefetch_at};
pub use process::{forbid_new_privileges, may_change};
pub use system::{
    fill_random, force_receive_buffer, large_pages, raise_descriptor_limit, raise_memory_limit,
};

/// A received frame.
pub struct Frame<'a> {
    /// The whole frame, link-layer header first.
    pub bytes: &'a mut [u8],
    /// Sent to the group's link-layer address, not to this port's own.
    pub to_group: bool,
}

/// The receiving face of a device.
pub trait Receive {
    /// Takes up to `limit` frames that have arrived, without waiting; returns how many. They are
    /// this side's until [`release`](Receive::release), which must come before the next take.
    fn take(&mut self, limit: usize) -> usize;

    /// Frame `index` of those taken, to be read and written.
    fn frame(&mut self, index: usize) -> Frame<'_>;

    /// The bytes of frame `index` of those taken.
    fn bytes(&self, index: usize) -> &[u8];

    /// Gives the first `count` of the frames taken back; the others will be taken again.
    fn release(&mut self, count: usize);
}

/// A frame to be sent: two pieces, one behind the other.
pub type Pieces<'a> = (&'a [u8], &'a [u8]);

/// The sending face of a device.
pub trait Transmit {
    /// Sends `count` frames in order; `pieces(i)` lends frame `i`. Reports each frame's fate,
    /// in order, to `done`: whether the device took it.
    fn transmit<'a>(
        &mut self,
        count: usize,
        pieces: impl Fn(usize) -> Pieces<'a>,
        done: impl FnMut(usize, bool),
    );
}

/// Hands packets to this node's own stack: to be delivered here, and ICMP messages to be sent.
pub trait Deliver {
    /// Delivers a packet given in two pieces, the first with its whole IP header, to its own
    /// destination, which must be an address of this node; `interface` is the one that a
    /// link-local destination is on. A packet to a multicast group, which is one that stays
    /// Xcast (WIRE.md R3), is for this node's Xcast sockets. Returns whether the stack took it.
    fn deliver(&mut self, head: &[u8], tail: &[u8], interface: Option<u32>) -> bool;

    /// Sends an ICMP message (ICMPv6 where `to` is of IPv6), with source and way of the stack's
    /// own choice; `interface` is the one that a link-local `to` is on. The checksum of an IPv4
    /// message is the caller's, that of an IPv6 message is filled in. Returns whether the stack
    /// took it; one that cannot send any takes none.
    fn report(&mut self, to: IpAddr, interface: Option<u32>, icmp: &[u8]) -> bool {
        let _ = (to, interface, icmp);
        false
    }
}
