//! Xcast packets of every kind, written octet by octet: mostly right, some wrong in one way that
//! no chance would find.

use std::net::{IpAddr, Ipv6Addr};

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use xcast::fib::PortId;
use xcast::wire::probe;

use super::nodes::{BEHIND, BEHIND_END, GROUP_V4, GROUP_V6, SECRET, address};
use super::octets::{mend, octets, put};
use super::reading::{A, D, P, PORTS_OPTION, PROTOCOL, ROUTING_TYPE, X};
use super::transports::{Transport, transport};

/// What the Xcast header says.
#[derive(Clone)]
pub(crate) struct List {
    pub(crate) flags: u8,
    pub(crate) bitmap: u128,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) ds_bytes: Vec<u8>,
    pub(crate) ports: Vec<u16>,
}

/// One of some values.
pub(crate) fn pick<T: Copy>(rng: &mut ChaCha8Rng, from: &[T]) -> T {
    from[rng.random_range(0..from.len())]
}

/// A packet that comes in by `port`.
pub(crate) fn packet(rng: &mut ChaCha8Rng, is_v6: bool, port: Option<PortId>) -> Vec<u8> {
    if rng.random_bool(0.02) {
        return a_probe(rng, is_v6, port);
    }
    let source = source(rng, is_v6, port);
    let group: IpAddr = match (rng.random_bool(0.97), is_v6) {
        (false, _) => address(is_v6, BEHIND, 1),
        (true, false) => GROUP_V4.into(),
        (true, true) => GROUP_V6.into(),
    };
    let list = list(rng, is_v6);
    let transport = transport(rng, source, group, &list);
    assembled(rng, source, group, &list, &transport)
}

/// What a neighbor asks, or what comes back of this node's own.
fn a_probe(rng: &mut ChaCha8Rng, is_v6: bool, port: Option<PortId>) -> Vec<u8> {
    let elsewhere = rng.random_bool(0.2);
    let network = if elsewhere { rng.random_range(0..5) } else { port.unwrap_or(0) };
    let link_local = is_v6 && rng.random_bool(0.3);
    let host = rng.random_range(1..7);
    let own = match link_local {
        true => Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, host).into(),
        false => address(is_v6, network, host),
    };
    let secret = if rng.random_bool(0.8) { SECRET } else { rng.random() };
    let nonce = probe::make_nonce(rng.random(), secret);
    probe::packet(&super::nodes::code_points(), own, &nonce)
}

/// A list and transport as a packet, all checksums of headers right.
pub(crate) fn assembled(
    rng: &mut ChaCha8Rng,
    source: IpAddr,
    group: IpAddr,
    list: &List,
    transport: &Transport,
) -> Vec<u8> {
    let is_v6 = source.is_ipv6();
    let ttl = pick(rng, &[0, 1, 2, 3, 64, 64, 64, 64, 64, 64, 64, 64, 255]);
    let class = if rng.random_bool(0.5) { 0 } else { rng.random() };
    match is_v6 {
        true => assembled_v6(rng, [source, group], list, transport, (ttl, class)),
        false => assembled_v4(rng, [source, group], list, transport, (ttl, class)),
    }
}

fn assembled_v4(
    rng: &mut ChaCha8Rng,
    ends: [IpAddr; 2],
    list: &List,
    (protocol, transport): &Transport,
    (ttl, class): (u8, u8),
) -> Vec<u8> {
    let options = options_v4(rng);
    let mut xcast = vec![0x10 | list.flags, list.addresses.len() as u8, 0, 0];
    let channel: u32 = if rng.random_bool(0.5) { 0 } else { rng.random() };
    xcast.extend(channel.to_be_bytes());
    xcast.extend([*protocol, 0, 0, 0]);
    lists(&mut xcast, list, 4);
    xcast[9] = (xcast.len() / 4) as u8;
    reserve(rng, &mut xcast, 1, 10);
    mend(&mut xcast, 2);
    let ip_len = 20 + options.len();
    let total = (ip_len + xcast.len() + transport.len()).min(65_535);
    let mut packet = vec![0x40 | (ip_len / 4) as u8, class];
    packet.extend((total as u16).to_be_bytes());
    packet.extend(rng.random::<u16>().to_be_bytes());
    let fragment: u16 = match rng.random_range(0..200) {
        0 => 0x2000,
        1 => 0x0001,
        2 => 0x8000,
        3..90 => 0,
        _ => 0x4000,
    };
    packet.extend(fragment.to_be_bytes());
    packet.extend([ttl, PROTOCOL, 0, 0]);
    ends.iter().for_each(|end| packet.extend(octets(*end)));
    packet.extend(options);
    mend(&mut packet, 10);
    packet.extend(xcast);
    packet.extend(transport);
    packet.truncate(total);
    packet
}

/// IPv4 options, most of them harmless.
fn options_v4(rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut options = Vec::new();
    while rng.random_bool(0.15) && options.len() < 28 {
        options.extend(match rng.random_range(0..60) {
            0 => vec![131, 7, 4, 10, 0, 0, 1],
            1 => vec![137, 3, 4],
            2..15 => vec![1],
            15..30 => vec![148, 4, 0, 0],
            30..40 => vec![7, 7, 4, 0, 0, 0, 0],
            40..50 => vec![68, 8, 5, 0, 0, 0, 0, 0],
            50..55 => vec![130, 3, 9],
            _ => vec![0],
        });
    }
    options.resize(options.len().div_ceil(4) * 4, 0);
    options
}

fn assembled_v6(
    rng: &mut ChaCha8Rng,
    ends: [IpAddr; 2],
    list: &List,
    (protocol, transport): &Transport,
    (hop_limit, class): (u8, u8),
) -> Vec<u8> {
    let mut headers: Vec<(u8, Vec<u8>)> = Vec::new();
    if rng.random_bool(0.15) {
        headers.push((0, options_header(rng, None)));
    }
    headers.push((43, xcast6(rng, list)));
    let xcast = headers.len() - 1;
    if !list.ports.is_empty() {
        headers.push((60, options_header(rng, Some(&list.ports))));
    }
    while rng.random_bool(0.12) {
        headers.push(match rng.random_range(0..40) {
            0 => (44, vec![0, 0, 0, 0, 0, 0, 0, 1]),
            1..3 => (60, oversized(rng)),
            3..12 => (43, vec![0, 2, 4, 0, 0, 0, 0, 0].into_iter().chain([7; 16]).collect()),
            _ => (60, options_header(rng, None)),
        });
    }
    let mut next = *protocol;
    for (kind, header) in headers.iter_mut().rev() {
        header[0] = next;
        next = *kind;
    }
    mend(&mut headers[xcast].1, 6);
    let mut payload: Vec<u8> = headers.into_iter().flat_map(|(_, header)| header).collect();
    payload.extend(transport);
    payload.truncate(65_535);
    let flow: u32 = rng.random_range(0..1 << 20);
    let mut packet = (6 << 28 | u32::from(class) << 20 | flow).to_be_bytes().to_vec();
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next, hop_limit]);
    ends.iter().for_each(|end| packet.extend(octets(*end)));
    packet.extend(payload);
    packet
}

/// Without its next header and checksum.
fn xcast6(rng: &mut ChaCha8Rng, list: &List) -> Vec<u8> {
    let mut xcast = vec![0, 0, ROUTING_TYPE, 0, 0x10 | list.flags & !P, 0, 0, 0];
    xcast[5] = list.addresses.len() as u8;
    let channel: u128 = if rng.random_bool(0.5) { 0 } else { rng.random() };
    xcast.extend(channel.to_be_bytes());
    lists(&mut xcast, &List { ports: Vec::new(), ..list.clone() }, 8);
    xcast[1] = (xcast.len() / 8 - 1) as u8;
    if rng.random_bool(0.1) {
        xcast[4] |= P; // reserved in IPv6
        xcast[5] |= 0x80;
    }
    xcast
}

/// Sets reserved bits now and then, which are carried unchanged.
fn reserve(rng: &mut ChaCha8Rng, header: &mut [u8], count_at: usize, at: usize) {
    if rng.random_bool(0.1) {
        header[count_at] |= 0x80;
        put(header, at, rng.random());
    }
}

/// Bitmap, addresses and what else is listed, each padded to a multiple of `unit` octets.
fn lists(header: &mut Vec<u8>, list: &List, unit: usize) {
    let count = list.addresses.len();
    header.extend(&list.bitmap.to_be_bytes()[..count.div_ceil(8 * unit) * unit]);
    list.addresses.iter().for_each(|address| header.extend(octets(*address)));
    header.extend(&list.ds_bytes);
    header.resize(header.len().div_ceil(unit) * unit, 0);
    list.ports.iter().for_each(|port| header.extend(port.to_be_bytes()));
    header.resize(header.len().div_ceil(unit) * unit, 0);
}

/// An options header, perhaps with the list of ports, perhaps with others.
fn options_header(rng: &mut ChaCha8Rng, ports: Option<&[u16]>) -> Vec<u8> {
    let mut header = vec![0, 0];
    let other = |rng: &mut ChaCha8Rng, header: &mut Vec<u8>| match rng.random_range(0..4) {
        0 => header.push(0),
        1 => header.extend([1, 2, 0, 0]),
        2 => header.extend([5, 2, 0, 0]),
        _ => header.extend([0x1e, 5, 1, 2, 3, 4, 5]),
    };
    if ports.is_none() || rng.random_bool(0.2) {
        other(rng, &mut header);
    }
    if let Some(ports) = ports {
        // Now and then a list of another length, which cannot be told by chance alone.
        let listed = match rng.random_range(0..60) {
            0 => ports.len() - 1,
            1 => ports.len() + 1,
            _ => ports.len(),
        };
        header.extend([PORTS_OPTION, (2 * listed) as u8]);
        ports.iter().for_each(|port| header.extend(port.to_be_bytes()));
        header.resize(header.len() - 2 * ports.len() + 2 * listed, 0);
        if rng.random_bool(0.1) {
            other(rng, &mut header);
        }
    }
    match header.len().next_multiple_of(8) - header.len() {
        0 => {}
        1 => header.push(0),
        padding => {
            header.extend([1, (padding - 2) as u8]);
            header.resize(header.len() + padding - 2, 0);
        }
    }
    header[1] = (header.len() / 8 - 1) as u8;
    header
}

/// About as many options as a router takes, and more.
fn oversized(rng: &mut ChaCha8Rng) -> Vec<u8> {
    let padding = rng.random_range(0..4);
    let mut header = vec![0, 30 + padding, 1, 242];
    header.resize(4 + 242, 0);
    header.extend([1, 8 * padding]);
    header.resize((31 + usize::from(padding)) * 8, 0);
    header
}

fn source(rng: &mut ChaCha8Rng, is_v6: bool, port: Option<PortId>) -> IpAddr {
    let network = port.unwrap_or(0);
    match rng.random_range(0..60) {
        0..2 => bad(rng, is_v6),
        2..5 => link_local(rng, is_v6),
        5 => address(is_v6, network, 1),
        6..9 => {
            let behind = rng.random_range(BEHIND..BEHIND_END);
            address(is_v6, behind, rng.random_range(1..9))
        }
        9 => anything(rng, is_v6),
        10 => address(is_v6, 99, 1),
        _ => address(is_v6, network, rng.random_range(2..9)),
    }
}

fn bad(rng: &mut ChaCha8Rng, is_v6: bool) -> IpAddr {
    let (v4, v6) = (
        ["0.0.0.0", "127.0.0.1", "224.0.0.9", "255.255.255.255", "10.0.0.255"],
        ["::", "::1", "ff02::1", "ff02::114", "ff0e::1"],
    );
    pick(rng, if is_v6 { &v6 } else { &v4 }).parse().unwrap()
}

fn link_local(rng: &mut ChaCha8Rng, is_v6: bool) -> IpAddr {
    let host = rng.random_range(1..6);
    match is_v6 {
        true => Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, host).into(),
        false => IpAddr::from([169, 254, 1, host as u8]),
    }
}

fn anything(rng: &mut ChaCha8Rng, is_v6: bool) -> IpAddr {
    match is_v6 {
        true => IpAddr::from(rng.random::<[u8; 16]>()),
        false => IpAddr::from(rng.random::<[u8; 4]>()),
    }
}

fn destination(rng: &mut ChaCha8Rng, is_v6: bool) -> IpAddr {
    match rng.random_range(0..100) {
        0..30 => address(is_v6, rng.random_range(0..6), rng.random_range(2..9)),
        30..33 => address(is_v6, rng.random_range(0..3), 1),
        33..35 => bad(rng, is_v6),
        35..39 => link_local(rng, is_v6),
        39..41 => anything(rng, is_v6),
        41..43 => address(is_v6, 99, 5),
        _ => {
            let behind = rng.random_range(BEHIND..BEHIND_END);
            address(is_v6, behind, rng.random_range(1..400))
        }
    }
}

fn list(rng: &mut ChaCha8Rng, is_v6: bool) -> List {
    let mut flags = 0;
    for (flag, share) in [(A, 0.15), (X, 0.15), (D, 0.25), (P, 0.25)] {
        flags |= if rng.random_bool(share) { flag } else { 0 };
    }
    let most = match (is_v6, flags & D != 0) {
        (false, _) => 127,
        (true, false) => 125,
        (true, true) => 118,
    };
    let count = match rng.random_range(0..200) {
        0..2 => 0,
        2..30 => 1,
        30..160 => rng.random_range(2..9),
        160..190 => rng.random_range(9..41),
        190..197 => rng.random_range(41..=most),
        _ => most,
    };
    let alike = rng.random_bool(0.3).then(|| rng.random_range(BEHIND..BEHIND_END));
    let addresses: Vec<IpAddr> = (0..count)
        .map(|_| match alike {
            Some(behind) => address(is_v6, behind, rng.random_range(1..400)),
            None => destination(rng, is_v6),
        })
        .collect();
    let all = if count == 0 { 0 } else { u128::MAX << (128 - count) };
    let bitmap = match rng.random_range(0..200) {
        0 => 0,
        1..3 => u128::MAX,
        3..20 if count > 0 => 1 << (127 - rng.random_range(0..count)),
        20..100 => all & (rng.random::<u128>() | 1 << 127),
        _ => all,
    };
    let named = [0, 1, 8, 10, 12, 18, 26, 28, 30, 34, 38, 44, 46, 48];
    let ds_bytes = (0..if flags & D == 0 { 0 } else { count })
        .map(|_| if rng.random_bool(0.8) { pick(rng, &named) << 2 } else { rng.random() });
    let ds_bytes = ds_bytes.collect();
    let ports = (0..if flags & P == 0 { 0 } else { count }).map(|_| rng.random()).collect();
    List { flags, bitmap, addresses, ds_bytes, ports }
}
