//! What Xcast packets carry: transport headers and payloads, their checksums right, absent or
//! wrong, whole or cut short.

use std::net::IpAddr;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use xcast::wire::trace;

use super::generate::{List, pick};
use super::octets::{put, transport_sum};

/// A protocol, and the octets from its header on.
pub(crate) type Transport = (u8, Vec<u8>);

/// A transport header with payload, from a source to the group, for those on the list.
pub(crate) fn transport(
    rng: &mut ChaCha8Rng,
    source: IpAddr,
    group: IpAddr,
    list: &List,
) -> Transport {
    let (is_v6, has_ports) = (source.is_ipv6(), !list.ports.is_empty());
    let kind = match has_ports && rng.random_bool(0.9) {
        true => rng.random_range(0..70),
        false => rng.random_range(0..100),
    };
    let (protocol, header_len, check_at) = match kind {
        0..48 => (17, 8, Some(6)),
        48..60 => (6, 20, Some(16)),
        60..65 => (136, 8, Some(6)),
        65..70 => (33, 16, Some(6)),
        70..80 => (if is_v6 { 58 } else { 1 }, 8, Some(2)),
        80..83 => (if is_v6 { 1 } else { 58 }, 8, None),
        83..87 => (51, 12 + 12 + 8, None),
        87..91 => (50, 8, None),
        91..96 => (pick(rng, &[132, 59, 89, 47, 253, 0, 43, 44, 60]), 4, None),
        _ => (rng.random(), 16, None),
    };
    let mut bytes: Vec<u8> = (0..header_len).map(|_| rng.random()).collect();
    bytes.extend(payload(rng));
    match protocol {
        17 | 136 => {
            put(&mut bytes, 2, if has_ports { 0 } else { 9000 });
            let length = bytes.len().min(65_535) as u16;
            put(&mut bytes, 4, if protocol == 17 { length } else { 0 });
        }
        33 => bytes[4] = 4,
        6 => bytes[12] = 0x50,
        1 | 58 => bytes[0] = pick(rng, &[8, 128, 0, 129, 3, 11, 1, 2, 200]),
        51 => bytes[..4].copy_from_slice(&[17, 4, 0, 0]),
        _ => {}
    }
    if matches!(protocol, 17 | 136) && rng.random_bool(0.05) {
        lead_to_zero(&mut bytes, source, protocol, list);
    }
    if let Some(at) = check_at {
        // The ICMP of IPv4 sums no addresses, which is nothing to a router.
        put(&mut bytes, at, 0);
        let check = !transport_sum(source, group, protocol, &bytes);
        let check = if check == 0 && protocol != 6 { 0xffff } else { check };
        match rng.random_range(0..20) {
            0 => put(&mut bytes, at, 0),
            1 => put(&mut bytes, at, rng.random()),
            2 => put(&mut bytes, at, 0xffff),
            _ => put(&mut bytes, at, check),
        }
    }
    if rng.random_bool(0.03) {
        bytes.truncate(rng.random_range(0..bytes.len() + 1).min(24));
    }
    (protocol, bytes)
}

/// Makes the payload of a datagram such that for the first on the list the checksum comes to 0.
fn lead_to_zero(bytes: &mut Vec<u8>, source: IpAddr, protocol: u8, list: &List) {
    let Some(first) = list.addresses.first() else { return };
    let whole = bytes.len().max(10);
    bytes.resize(whole, 0);
    if protocol == 17 {
        put(bytes, 4, whole.min(65_535) as u16);
    }
    let mut theirs = bytes.clone();
    put(&mut theirs, 6, 0);
    put(&mut theirs, 8, 0);
    if let Some(port) = list.ports.first() {
        put(&mut theirs, 2, *port);
    }
    put(bytes, 8, !transport_sum(source, *first, protocol, &theirs));
}

fn payload(rng: &mut ChaCha8Rng) -> Vec<u8> {
    let length = match rng.random_range(0..1000) {
        0..10 => return trace::request(rng.random()).to_vec(),
        10..700 => rng.random_range(0..64),
        700..900 => rng.random_range(64..600),
        900..990 => rng.random_range(600..1500),
        990..999 => rng.random_range(1500..9100),
        _ => rng.random_range(60_000..65_536),
    };
    let mut payload = vec![rng.random(); length];
    rng.fill(&mut payload[..length.min(16)]);
    payload
}
