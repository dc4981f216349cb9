//! IPv4: `| IPv4 header | Xcast4 header | transport ... |`

use super::*;
use crate::wire::ipv4;

#[inline]
pub(super) fn parse(
    fib: &Fib,
    packet: &Packet<'_>,
    bytes: &[u8],
    parsed: &mut Parsed,
) -> Result<(), Unread> {
    let ip = ipv4::Packet::parse(bytes).map_err(|_| DropReason::IpHeader)?;
    if ip.protocol() != fib.code_points().ip_protocol {
        return Err(DropReason::IpHeader.into());
    }
    if ip.is_fragment() {
        return Err(DropReason::Fragment.into());
    }
    let source = ip.source().into();
    let header = xcast4::Header::parse(ip.payload())
        .map_err(|malformed| Unread { reason: malformed.into(), source: Some(source) })?;
    let xcast = packet.start + ip.header_len();
    let transport = xcast + header.header_len();
    let end = packet.start + ip.total_len();
    let lists = xcast4::lists(header.count(), header.has_ds_bytes(), header.has_ports());
    *parsed = Parsed {
        outer: packet.start,
        ip: packet.start,
        protocol_at: packet.start + ipv4::field::PROTOCOL,
        xcast,
        xcast_end: transport,
        rest: transport,
        rest_protocol: header.protocol(),
        ports_run: None,
        transport,
        tail: end.min(transport + TRANSPORT_LEN),
        end,
        source,
        source_entry: Entry::NoRoute,
        destination: ip.destination().into(),
        ttl: ip.ttl(),
        may_fragment: !ip.forbids_fragments(),
        count: header.count(),
        live: header.bitmap(),
        any_link_local: false,
        channel: header.channel().into(),
        keeps_xcast: header.keeps_xcast(),
        lists: Lists {
            addresses: xcast + lists.addresses,
            ds_bytes: lists.ds_bytes.map(|at| xcast + at),
            ports: lists.ports.map(|at| xcast + at),
        },
        protocol: header.protocol(),
        checksum: transport_checksum(
            false,
            header.protocol(),
            header.has_ports(),
            &packet.buffer[transport..end],
        ),
    };
    Ok(())
}
