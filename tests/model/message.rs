//! A packet as a list of fields, and its bytes: written one by one from the tables of WIRE.md and
//! the RFCs, by no function of the product.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::transport::Transport;

pub(crate) const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 254);
pub(crate) const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x114);
pub(crate) const PROTOCOL: u8 = 253;
pub(crate) const ROUTING_TYPE: u8 = 253;
pub(crate) const PORTS_OPTION: u8 = 0x5e;

const HOP_BY_HOP: u8 = 0;
pub(crate) const ROUTING: u8 = 43;
pub(crate) const DESTINATION_OPTIONS: u8 = 60;

/// One entry of the list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item {
    pub(crate) live: bool,
    pub(crate) address: IpAddr,
    pub(crate) ds_byte: u8,
    pub(crate) port: u16,
}

/// A packet as it arrives, and how it does.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// The interface it comes in by; `None`: this node sends it.
    pub(crate) ingress: Option<u32>,
    /// The frame was sent to the group's link-layer address.
    pub(crate) to_group: bool,
    pub(crate) source: IpAddr,
    /// The packet's own IP destination.
    pub(crate) group: IpAddr,
    pub(crate) ttl: u8,
    /// DSCP and ECN bits.
    pub(crate) traffic_class: u8,
    pub(crate) v4: FieldsV4,
    pub(crate) v6: FieldsV6,
    pub(crate) anonymous: bool,
    pub(crate) keep_xcast: bool,
    pub(crate) channel: u128,
    /// Sets every reserved bit and octet of padding in the Xcast header.
    pub(crate) noise: bool,
    pub(crate) list: Vec<Item>,
    /// D.
    pub(crate) has_ds_bytes: bool,
    /// P, or the ports option.
    pub(crate) has_ports: bool,
    pub(crate) transport: Transport,
}

/// What IPv4 alone has.
#[derive(Clone, Debug)]
pub(crate) struct FieldsV4 {
    pub(crate) identification: u16,
    pub(crate) forbids_fragments: bool,
    /// Each whole; together at most 40 octets.
    pub(crate) options: Vec<Vec<u8>>,
}

/// What IPv6 alone has.
#[derive(Clone, Debug)]
pub(crate) struct FieldsV6 {
    pub(crate) flow_label: u32,
    /// The options of a Hop-by-Hop header in front of Xcast6.
    pub(crate) hop_by_hop: Option<Vec<u8>>,
    /// Options in front of and behind the list of ports, in the same header.
    pub(crate) beside_ports: [Vec<u8>; 2],
    /// Further extension headers: number, and what follows the first two octets.
    pub(crate) behind: Vec<(u8, Vec<u8>)>,
}

impl Message {
    pub(crate) fn is_v6(&self) -> bool {
        self.source.is_ipv6()
    }

    /// The list indices of the live destinations.
    pub(crate) fn live(&self) -> Vec<usize> {
        (0..self.list.len()).filter(|index| self.list[*index].live).collect()
    }

    /// The packet as it arrives.
    pub(crate) fn packet(&self) -> Vec<u8> {
        self.in_xcast_form(self.list.clone(), self.ttl, self.traffic_class, self.noise)
    }

    /// A copy that stays Xcast: the full list with a pruned bitmap, or the live entries alone.
    pub(crate) fn pruned(
        &self,
        serves: &[usize],
        ttl: u8,
        traffic_class: u8,
        compact: bool,
    ) -> Vec<u8> {
        let compact = compact && serves.len() < self.list.len();
        let mut list = self.list.clone();
        for (index, item) in list.iter_mut().enumerate() {
            item.live = serves.contains(&index);
            if self.anonymous && !item.live {
                item.address = match item.address {
                    IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                    IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
                };
            }
        }
        if compact {
            list.retain(|item| item.live);
        }
        let padding = self.noise && !compact;
        self.in_xcast_form(list, ttl, traffic_class, padding)
    }

    /// The copy for one destination as a plain unicast packet (X2U).
    pub(crate) fn unicast(&self, index: usize, ttl: u8) -> Vec<u8> {
        let item = self.list[index];
        let port = if self.has_ports { item.port } else { self.transport.port };
        let payload = self.transport.bytes(self.source, item.address, port);
        let traffic_class = self.traffic_class_of(&[index]);
        match item.address {
            IpAddr::V4(_) => {
                let protocol = self.transport.protocol(false);
                self.ip_v4(item.address, protocol, ttl, traffic_class, &payload)
            }
            IpAddr::V6(_) => {
                let mut headers = Vec::from_iter(self.hop_by_hop());
                let holds_others = self.v6.beside_ports.iter().any(|options| !options.is_empty());
                if self.has_ports && holds_others {
                    let (number, header) = self.ports_header();
                    headers.push((number, without_ports(&header)));
                }
                headers.extend(self.behind());
                self.ip_v6(item.address, headers, ttl, traffic_class, &payload)
            }
        }
    }

    fn in_xcast_form(&self, list: Vec<Item>, ttl: u8, traffic_class: u8, padding: bool) -> Vec<u8> {
        let payload = self.transport.bytes(self.source, self.group, self.transport.port);
        if self.is_v6() {
            let mut headers = Vec::from_iter(self.hop_by_hop());
            headers.push((ROUTING, self.xcast6(&list, padding)));
            if self.has_ports {
                headers.push(self.ports_header());
            }
            headers.extend(self.behind());
            self.ip_v6(self.group, headers, ttl, traffic_class, &payload)
        } else {
            let mut rest = self.xcast4(&list, padding);
            rest.extend(payload);
            self.ip_v4(self.group, PROTOCOL, ttl, traffic_class, &rest)
        }
    }

    fn flags(&self) -> u8 {
        let flag = |set: bool, value: u8| if set { value } else { 0 };
        0x10 | flag(self.anonymous, 8) | flag(self.keep_xcast, 4) | flag(self.has_ds_bytes, 2)
    }

    fn xcast4(&self, list: &[Item], padding: bool) -> Vec<u8> {
        let fill = if padding { 0xff } else { 0 };
        let mut bytes = vec![self.flags() | u8::from(self.has_ports)];
        bytes.push(list.len() as u8 | if self.noise { 0x80 } else { 0 });
        bytes.extend([0, 0]);
        bytes.extend((self.channel as u32).to_be_bytes());
        bytes.extend([self.transport.protocol(false), 0]);
        bytes.extend(if self.noise { [0xa5, 0x5a] } else { [0, 0] });
        bytes.extend(bitmap(list, 32));
        for item in list {
            let IpAddr::V4(address) = item.address else { panic!("a mixed list") };
            bytes.extend(address.octets());
        }
        if self.has_ds_bytes {
            bytes.extend(list.iter().map(|item| item.ds_byte));
            pad(&mut bytes, 4, fill);
        }
        if self.has_ports {
            bytes.extend(list.iter().flat_map(|item| item.port.to_be_bytes()));
            pad(&mut bytes, 4, fill);
        }
        bytes[9] = (bytes.len() / 4) as u8;
        let check = checksum(&bytes);
        bytes[2..4].copy_from_slice(&check);
        bytes
    }

    /// The Xcast6 header but for its Next Header and checksum.
    fn xcast6(&self, list: &[Item], padding: bool) -> Vec<u8> {
        let mut bytes = vec![0, 0, ROUTING_TYPE, 0, self.flags() | u8::from(self.noise)];
        bytes.push(list.len() as u8 | if self.noise { 0x80 } else { 0 });
        bytes.extend([0, 0]);
        bytes.extend(self.channel.to_be_bytes());
        bytes.extend(bitmap(list, 64));
        for item in list {
            let IpAddr::V6(address) = item.address else { panic!("a mixed list") };
            bytes.extend(address.octets());
        }
        if self.has_ds_bytes {
            bytes.extend(list.iter().map(|item| item.ds_byte));
            pad(&mut bytes, 8, if padding { 0xff } else { 0 });
        }
        bytes[1] = (bytes.len() / 8 - 1) as u8;
        bytes
    }

    fn hop_by_hop(&self) -> Option<(u8, Vec<u8>)> {
        Some((HOP_BY_HOP, extension(self.v6.hop_by_hop.as_ref()?)))
    }

    fn behind(&self) -> impl Iterator<Item = (u8, Vec<u8>)> + '_ {
        self.v6.behind.iter().map(|(number, area)| (*number, extension(area)))
    }

    /// The Destination Options header with the list of ports.
    fn ports_header(&self) -> (u8, Vec<u8>) {
        let ports = self.list.iter().flat_map(|item| item.port.to_be_bytes());
        let [before, after] = &self.v6.beside_ports;
        let mut area = before.clone();
        area.extend([PORTS_OPTION, 2 * self.list.len() as u8]);
        area.extend(ports);
        area.extend(after);
        (DESTINATION_OPTIONS, extension(&area))
    }

    /// The option area of an IPv4 header; in a later fragment only those to be copied remain.
    pub(crate) fn options_v4(&self, later_fragment: bool) -> Vec<u8> {
        let mut area = Vec::new();
        for option in &self.v4.options {
            match later_fragment && option[0] & 0x80 == 0 {
                true => area.extend(option.iter().map(|_| 1)), // no operation
                false => area.extend(option),
            }
        }
        pad(&mut area, 4, 0);
        area
    }

    fn ip_v4(
        &self,
        destination: IpAddr,
        protocol: u8,
        ttl: u8,
        traffic_class: u8,
        payload: &[u8],
    ) -> Vec<u8> {
        let (IpAddr::V4(source), IpAddr::V4(destination)) = (self.source, destination) else {
            panic!("mixed addresses")
        };
        let options = self.options_v4(false);
        let header_len = 20 + options.len();
        let mut bytes = vec![0x40 | (header_len / 4) as u8, traffic_class];
        bytes.extend(((header_len + payload.len()) as u16).to_be_bytes());
        bytes.extend(self.v4.identification.to_be_bytes());
        bytes.extend([if self.v4.forbids_fragments { 0x40 } else { 0 }, 0]);
        bytes.extend([ttl, protocol, 0, 0]);
        bytes.extend(source.octets());
        bytes.extend(destination.octets());
        bytes.extend(options);
        let check = checksum(&bytes);
        bytes[10..12].copy_from_slice(&check);
        bytes.extend(payload);
        bytes
    }

    fn ip_v6(
        &self,
        destination: IpAddr,
        headers: Vec<(u8, Vec<u8>)>,
        hop_limit: u8,
        traffic_class: u8,
        payload: &[u8],
    ) -> Vec<u8> {
        let (IpAddr::V6(source), IpAddr::V6(destination)) = (self.source, destination) else {
            panic!("mixed addresses")
        };
        // From the last header to the first, as each names the next.
        let mut next = self.transport.protocol(true);
        let mut rest = payload.to_vec();
        for (number, mut header) in headers.into_iter().rev() {
            header[0] = next;
            if number == ROUTING && header[2] == ROUTING_TYPE {
                let check = checksum(&header);
                header[6..8].copy_from_slice(&check);
            }
            next = number;
            rest.splice(0..0, header);
        }
        let first = 6 << 28 | u32::from(traffic_class) << 20 | self.v6.flow_label;
        let mut bytes = first.to_be_bytes().to_vec();
        bytes.extend((rest.len() as u16).to_be_bytes());
        bytes.extend([next, hop_limit]);
        bytes.extend(source.octets());
        bytes.extend(destination.octets());
        bytes.extend(rest);
        bytes
    }
}

/// The bitmap of a list, in words of so many bits, the first destination's bit first.
fn bitmap(list: &[Item], word: usize) -> Vec<u8> {
    let mut bits: Vec<u8> = list.iter().map(|item| u8::from(item.live)).collect();
    pad(&mut bits, word, 0);
    bits.chunks(8).map(|octet| octet.iter().fold(0, |value, bit| value << 1 | bit)).collect()
}

/// An extension header with this behind its first two octets, padded as options are.
fn extension(area: &[u8]) -> Vec<u8> {
    let mut header = vec![0, 0];
    header.extend(area);
    match header.len().next_multiple_of(8) - header.len() {
        0 => {}
        1 => header.push(0),
        missing => {
            header.extend([1, missing as u8 - 2]);
            header.resize(header.len() + missing - 2, 0);
        }
    }
    header[1] = (header.len() / 8 - 1) as u8;
    header
}

/// A Destination Options header without its list of ports: of that and the padding around it less
/// than 8 octets of padding are left.
fn without_ports(header: &[u8]) -> Vec<u8> {
    let mut options: Vec<&[u8]> = Vec::new();
    let mut rest = &header[2..];
    while let [kind, ..] = rest {
        let length = if *kind == 0 { 1 } else { 2 + usize::from(rest[1]) };
        options.push(&rest[..length]);
        rest = &rest[length..];
    }
    let goes = |option: &[u8]| matches!(option[0], 0 | 1 | PORTS_OPTION);
    let at = options.iter().position(|option| option[0] == PORTS_OPTION).unwrap();
    let first = options[..at].iter().rposition(|option| !goes(option)).map_or(0, |last| last + 1);
    let last =
        options[at..].iter().position(|option| !goes(option)).map_or(options.len(), |n| at + n);
    let left = options[first..last].concat().len() % 8;
    let padding = match left {
        0 => Vec::new(),
        1 => vec![0],
        _ => [vec![1, left as u8 - 2], vec![0; left - 2]].concat(),
    };
    let area = [options[..first].concat(), padding, options[last..].concat()].concat();
    let mut shorter = [&header[..2], &area].concat();
    shorter[1] = (shorter.len() / 8 - 1) as u8;
    shorter
}

fn pad(bytes: &mut Vec<u8>, multiple: usize, fill: u8) {
    bytes.resize(bytes.len().next_multiple_of(multiple), fill);
}

/// The Internet checksum, the slow way: 16 bits after 16 bits.
pub(crate) fn checksum(bytes: &[u8]) -> [u8; 2] {
    let mut sum: u32 = 0;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}
