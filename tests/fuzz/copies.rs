//! What the copies of a packet must be, to the octet, built anew from the packet and WIRE.md.
//! Checksums that have two forms (0 and 0xffff) are taken over, and verified by themselves.

use super::octets::{mend, octets, put, sum, transport_sum, word};
use super::reading::{A, Reading};

/// DSCPs, the most demanding first (R10); all others rank as default does.
#[rustfmt::skip]
const ORDER: [u8; 23] = [
    46, 44, 56, 48, 40, 34, 36, 38, 32, 26, 28, 30, 24, 18, 20, 22, 16, 10, 12, 14, 8, 0, 1,
];

/// A copy that was made, and of what.
pub(crate) struct Copy<'a> {
    pub(crate) packet: &'a [u8],
    pub(crate) reading: &'a Reading,
    pub(crate) actual: &'a [u8],
    /// By how much the TTL is lower.
    pub(crate) lowered: u8,
    /// It goes to this node itself.
    pub(crate) to_host: bool,
}

impl Copy<'_> {
    /// The copy in Xcast form for `live`.
    pub(crate) fn pruned(&self, live: u128) -> Vec<u8> {
        let Copy { packet, reading, .. } = self;
        let mut copy = packet[..reading.len].to_vec();
        let bits = live.to_be_bytes();
        copy[reading.bitmap.clone()].copy_from_slice(&bits[..reading.bitmap.len()]);
        let each = if reading.is_v6 { 16 } else { 4 };
        for index in reading.indices(!live).into_iter().filter(|_| reading.flags & A != 0) {
            copy[reading.addresses + each * index..][..each].fill(0);
        }
        self.finish_xcast(copy, live)
    }

    /// The same where the list is made to hold `live` alone.
    pub(crate) fn compacted(&self, live: u128) -> Vec<u8> {
        let Copy { packet, reading, .. } = self;
        let (each, unit) = if reading.is_v6 { (16, 8) } else { (4, 4) };
        let indices = reading.indices(live);
        let mut header = packet[reading.xcast.start..reading.bitmap.start].to_vec();
        let count_at = if reading.is_v6 { 5 } else { 1 };
        header[count_at] = header[count_at] & 0x80 | indices.len() as u8;
        let mut bitmap = vec![0; indices.len().div_ceil(8 * unit) * unit];
        (0..indices.len()).for_each(|bit| bitmap[bit / 8] |= 0x80 >> (bit % 8));
        header.extend(bitmap);
        let lists = [(Some(reading.addresses), each), (reading.ds_bytes, 1), (reading.ports, 2)];
        for (list, size) in lists {
            let Some(at) = list else { continue };
            indices.iter().for_each(|index| header.extend(&packet[at + size * index..][..size]));
            header.resize(header.len().div_ceil(unit) * unit, 0);
        }
        match reading.is_v6 {
            true => header[1] = (header.len() / 8 - 1) as u8,
            false => header[9] = (header.len() / 4) as u8,
        }
        let rest = &packet[reading.xcast.end..reading.len];
        let mut copy = [&packet[..reading.xcast.start], &header, rest].concat();
        set_len(&mut copy);
        self.finish_xcast(copy, live)
    }

    /// What both have in common: TTL, DSCP, checksums.
    fn finish_xcast(&self, mut copy: Vec<u8>, live: u128) -> Vec<u8> {
        let Copy { packet, reading, .. } = self;
        copy[reading.ttl_at()] -= self.lowered;
        if let Some(at) = reading.ds_bytes.filter(|_| !self.to_host) {
            let rank =
                |ds_byte: &u8| ORDER.iter().position(|dscp| *dscp == ds_byte >> 2).unwrap_or(21);
            let listed = reading.indices(live).into_iter().map(|index| packet[at + index]);
            set_ds_byte(&mut copy, listed.min_by_key(rank).unwrap());
        }
        self.adopt(&mut copy, reading.xcast.start + if reading.is_v6 { 6 } else { 2 });
        self.adopt_ip_checksum(&mut copy);
        copy
    }

    /// The unicast copy for one destination (X2U).
    pub(crate) fn unicast(&self, index: usize) -> Vec<u8> {
        let Copy { packet, reading, .. } = self;
        let mut rest_at = reading.xcast.end;
        let mut next = packet[reading.xcast.start + if reading.is_v6 { 0 } else { 8 }];
        if let Some((header, true)) = &reading.ports_header {
            (rest_at, next) = (header.end, packet[header.start]);
        }
        let mut rest = packet[rest_at..reading.len].to_vec();
        if let Some((header, false)) = &reading.ports_header {
            let behind = rest.split_off(header.len());
            let option = reading.ports.unwrap() - 2 - rest_at;
            rest = [without_option(&rest, option), behind].concat();
        }
        let gone = reading.len - rest_at - rest.len();
        if let Some(port) = reading.port(packet, index) {
            put(&mut rest, reading.transport - rest_at - gone + 2, port);
        }
        let mut copy = packet[..reading.xcast.start].to_vec();
        copy[reading.named_at] = next;
        copy[reading.ttl_at()] -= self.lowered;
        let address = octets(reading.destination(packet, index));
        let at = if reading.is_v6 { 24 } else { 16 };
        copy[at..at + address.len()].copy_from_slice(&address);
        if let Some(at) = reading.ds_bytes {
            set_ds_byte(&mut copy, packet[at + index]);
        }
        copy.extend(rest);
        set_len(&mut copy);
        self.adopt_ip_checksum(&mut copy);
        if let Ok(Some(at)) = reading.checksum_at(packet) {
            let at = at - (reading.len - copy.len());
            self.adopt(&mut copy, at);
        }
        copy
    }

    /// Whether the transport checksum of a unicast copy is as right or as wrong as the packet's.
    pub(crate) fn checksum_follows(&self, index: usize) -> bool {
        let Copy { packet, reading, actual, .. } = self;
        let Ok(Some(at)) = reading.checksum_at(packet) else { return true };
        let shorter = reading.len - actual.len();
        let (before, after) = (word(packet, at), word(actual, at - shorter));
        if reading.protocol == 17 && before == 0 {
            return after == 0;
        }
        let sum_of = |destination, transport| {
            transport_sum(reading.source(packet), destination, reading.protocol, transport)
        };
        let sum_before = sum_of(reading.group(packet), &packet[reading.transport..reading.len]);
        let sum_after =
            sum_of(reading.destination(packet, index), &actual[reading.transport - shorter..]);
        let is_sent_right = !matches!(reading.protocol, 17 | 136) || after != 0;
        is_sent_right && sum_before % 0xffff == sum_after % 0xffff
    }

    fn adopt_ip_checksum(&self, copy: &mut [u8]) {
        if !self.reading.is_v6 {
            self.adopt(copy, 10);
        }
    }

    fn adopt(&self, copy: &mut [u8], at: usize) {
        if let (Some(to), Some(from)) = (copy.get_mut(at..at + 2), self.actual.get(at..at + 2)) {
            to.copy_from_slice(from);
        }
    }
}

/// Whether the checksums of the IP header and of the Xcast header are right.
pub(crate) fn headers_are_right(copy: &[u8], xcast: Option<(usize, usize)>) -> bool {
    let ip_len = usize::from(copy[0] & 15) * 4;
    (copy[0] >> 4 == 6 || sum(&copy[..ip_len]) == 0xffff)
        && xcast.is_none_or(|(at, len)| sum(&copy[at..at + len]) == 0xffff)
}

pub(crate) fn traffic_class(packet: &[u8]) -> u8 {
    match packet[0] >> 4 {
        4 => packet[1],
        _ => packet[0] << 4 | packet[1] >> 4,
    }
}

/// The DSCP is the DS byte's, the ECN bits stay.
fn set_ds_byte(packet: &mut [u8], ds_byte: u8) {
    let class = ds_byte & 0xfc | traffic_class(packet) & 3;
    match packet[0] >> 4 {
        4 => packet[1] = class,
        _ => {
            packet[0] = 0x60 | class >> 4;
            packet[1] = packet[1] & 15 | class << 4;
        }
    }
}

fn set_len(packet: &mut [u8]) {
    match packet[0] >> 4 {
        4 => put(packet, 2, packet.len() as u16),
        _ => put(packet, 4, (packet.len() - 40) as u16),
    }
}

/// Puts fragments together: `Err` says what is wrong with them.
pub(crate) fn reassemble(fragments: &[Vec<u8>], mtu: usize) -> Result<Vec<u8>, String> {
    let mut whole = fragments[0].clone();
    let header_len = usize::from(whole[0] & 15) * 4;
    whole.truncate(header_len);
    for (number, fragment) in fragments.iter().enumerate() {
        let is_last = number + 1 == fragments.len();
        let flags = word(fragment, 6);
        let more = flags & 0x2000 != 0;
        let at = usize::from(flags & 0x1fff) * 8;
        if fragment.len() > mtu || usize::from(word(fragment, 2)) != fragment.len() {
            return Err(format!("fragment {number} has a wrong length"));
        }
        if !headers_are_right(fragment, None) {
            return Err(format!("fragment {number} has a wrong header checksum"));
        }
        if more == is_last || flags & 0xc000 != 0 || at != whole.len() - header_len {
            return Err(format!("fragment {number} has flags and offset {flags:#06x}"));
        }
        if !is_last && (fragment.len() - header_len) % 8 != 0 {
            return Err(format!("fragment {number} has no multiple of 8 octets"));
        }
        if number > 0 && !is_later_header(&fragments[0], fragment, header_len) {
            return Err(format!("fragment {number} has another header"));
        }
        whole.extend(&fragment[header_len..]);
    }
    put(&mut whole, 6, 0);
    set_len(&mut whole);
    mend(&mut whole[..header_len], 10);
    Ok(whole)
}

/// Whether a later fragment has the header of the first, but for what differs by its nature; of the
/// options those that are to be copied (RFC 791 section 3.1).
fn is_later_header(first: &[u8], later: &[u8], header_len: usize) -> bool {
    let fixed = [0..2, 4..6, 8..10, 12..20];
    let mut at = 20;
    while at < header_len && first[at] != 0 {
        let len = if first[at] == 1 { 1 } else { usize::from(first[at + 1]) };
        let same = match first[at] & 0x80 {
            0 => later[at..at + len].iter().all(|octet| *octet == 1),
            _ => later[at..at + len] == first[at..at + len],
        };
        if !same {
            return false;
        }
        at += len;
    }
    later[0] == first[0] && fixed.into_iter().all(|range| later[range.clone()] == first[range])
}

/// A header of options without the one at `option`: it and the padding around it leave less than 8
/// octets of padding, and the header is as much shorter.
fn without_option(header: &[u8], option: usize) -> Vec<u8> {
    let (mut at, mut begin, mut end) = (2, 2, header.len());
    while at < header.len() {
        let next = at + if header[at] == 0 { 1 } else { 2 + usize::from(header[at + 1]) };
        let stays = !matches!(header[at], 0 | 1) && at != option;
        if stays && at < option {
            begin = next;
        } else if stays {
            end = end.min(at);
        }
        at = next;
    }
    let left = (end - begin) % 8;
    let mut shorter = header[..begin].to_vec();
    match left {
        0 => {}
        1 => shorter.push(0),
        _ => {
            shorter.extend([1, left as u8 - 2]);
            shorter.resize(begin + left, 0);
        }
    }
    shorter.extend(&header[end..]);
    shorter[1] = (shorter.len() / 8 - 1) as u8;
    shorter
}
