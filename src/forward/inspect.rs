//! What a valid packet says, for those who receive Xcast packets and forward none.

use std::net::IpAddr;

use super::packet::{Packet, Parsed, parse};
use super::reason::DropReason;
use crate::fib::{Entry, Fib, PortId, is_link_local};
use crate::wire::{ipv4, ipv6, xcast4};

/// A valid Xcast packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspected<'a> {
    /// Its source address.
    pub source: IpAddr,
    /// Its IP destination: the group.
    pub destination: IpAddr,
    /// Its TTL or hop limit.
    pub ttl: u8,
    /// Its DS and ECN octet.
    pub traffic_class: u8,
    /// Its channel identifier.
    pub channel: u128,
    /// X: it is to arrive as it is.
    pub keeps_xcast: bool,
    /// Its live destinations, each with its port if ports are listed.
    pub live: Vec<(IpAddr, Option<u16>)>,
    /// The protocol of its transport.
    pub protocol: u8,
    /// The transport header, and what follows.
    pub transport: &'a [u8],
}

/// Validates the IP packet in `bytes`, which came in by `port`, as a router would.
///
/// # Errors
/// The reason by which a router would drop it.
pub fn inspect<'a>(
    fib: &Fib,
    bytes: &'a mut [u8],
    port: Option<PortId>,
) -> Result<Inspected<'a>, DropReason> {
    let packet = Packet { buffer: bytes, start: 0, port, to_group: false, index: 0 };
    let mut parsed = Parsed::NOTHING;
    parse(fib, &packet, &mut parsed).map_err(|unread| unread.reason(fib, &packet))?;
    let is_bad = fib.entry_for(parsed.source, port) == Entry::Bad;
    if is_bad || is_link_local(parsed.source) && !parsed.all_on_link(fib, &packet) {
        return Err(DropReason::Source);
    }
    let buffer = &*packet.buffer;
    let listed = |index| (parsed.address(buffer, index), parsed.port(buffer, index));
    let live = xcast4::live_indices(parsed.live).map(listed).collect();
    Ok(Inspected {
        source: parsed.source,
        destination: parsed.destination,
        ttl: parsed.ttl,
        traffic_class: match parsed.is_v6() {
            true => ipv6::Packet::parse(buffer).map_or(0, |ip| ip.traffic_class()),
            false => buffer[ipv4::field::TRAFFIC_CLASS],
        },
        channel: parsed.channel,
        keeps_xcast: parsed.keeps_xcast,
        live,
        protocol: parsed.protocol,
        transport: &packet.buffer[parsed.transport..parsed.end],
    })
}
