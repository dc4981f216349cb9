//! One message, as many packets as it takes: lists are split by what a header can list and by what
//! the ways to the destinations carry, and never mix IP versions. Pure.

use std::net::IpAddr;

use super::message::{Listed, Message};
use crate::wire::{xcast4, xcast6};

/// A message's destinations, as their indices in its list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Split {
    /// By packet, in list order.
    pub(super) packets: Vec<Vec<usize>>,
    /// Those that not even a packet of their own reaches: it would be too big.
    pub(super) too_big: Vec<usize>,
}

/// How many octets an IP packet to a destination may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limit {
    /// One for it alone.
    pub(super) alone: usize,
    /// One in Xcast form, which lists others too.
    pub(super) listed: usize,
}

/// Splits the destinations of one IP version.
pub(super) fn split(message: &Message<'_>, is_v6: bool, limit: impl Fn(IpAddr) -> Limit) -> Split {
    let lists = Listed::of(message.destinations);
    let most = match (is_v6, lists.dscps) {
        (false, _) => xcast4::DESTINATIONS_MAX,
        (true, false) => xcast6::DESTINATIONS_MAX,
        (true, true) => xcast6::DESTINATIONS_MAX_WITH_DS,
    };
    // A list of one leaves as plain unicast, unless the packet must stay Xcast.
    let alone = match message.keep_xcast {
        true => message.packet_len(is_v6, 1, lists),
        false => message.unicast_len(is_v6),
    };
    let longest = usize::from(u16::MAX);
    let mut split = Split::default();
    let mut packet: Vec<usize> = Vec::new();
    let mut room = longest;
    for (index, destination) in message.destinations.iter().enumerate() {
        if destination.address.is_ipv6() != is_v6 {
            continue;
        }
        let Limit { alone: path, listed } = limit(destination.address);
        let path = if message.keep_xcast { listed } else { path };
        if alone > path.min(longest) {
            split.too_big.push(index);
            continue;
        }
        let length = message.packet_len(is_v6, packet.len() + 1, lists);
        if !packet.is_empty() && (packet.len() == most || length > room.min(listed)) {
            split.packets.push(std::mem::take(&mut packet));
            room = longest;
        }
        packet.push(index);
        room = room.min(listed);
    }
    if !packet.is_empty() {
        split.packets.push(packet);
    }
    split
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::super::Destination;
    use super::*;

    fn list(v4: u8, v6: u8, dscp: Option<u8>) -> Vec<Destination> {
        let v4 = (0..v4).map(|host| IpAddr::from(Ipv4Addr::new(10, 0, 0, host)));
        let v6 = (0..v6).map(|host| Ipv6Addr::from_bits(0xfd << 120 | u128::from(host)).into());
        v4.chain(v6).map(|address| Destination { address, port: 9, dscp }).collect()
    }

    fn sizes(
        destinations: &[Destination],
        payload: usize,
        is_v6: bool,
        limit: usize,
    ) -> Vec<usize> {
        let payload = vec![0; payload];
        let message = Message { destinations, payload: &payload, ..Message::default() };
        let split = split(&message, is_v6, |_| Limit { alone: limit, listed: limit });
        let served = split.packets.iter().map(Vec::len).sum::<usize>() + split.too_big.len();
        let wanted = destinations.iter().filter(|d| d.address.is_ipv6() == is_v6).count();
        assert_eq!(served, wanted, "each destination is somewhere");
        split.packets.iter().map(Vec::len).collect()
    }

    #[test]
    fn a_header_lists_so_many() {
        assert_eq!(sizes(&list(255, 3, None), 10, false, 60_000), [127, 127, 1]);
        assert_eq!(sizes(&list(3, 255, None), 10, true, 60_000), [125, 125, 5]);
        assert_eq!(sizes(&list(0, 200, Some(46)), 10, true, 60_000), [118, 82]);
        assert_eq!(sizes(&list(0, 3, None), 10, false, 60_000), [0; 0]);
    }

    #[test]
    fn a_packet_is_never_longer_than_its_ways_take() {
        // IP 20, Xcast 12, two bitmap words 8, 4 n, UDP 8, payload 1000: 1280 hold n = 58.
        assert_eq!(sizes(&list(100, 0, None), 1000, false, 1280), [58, 42]);
        // Where no list fits, each leaves alone.
        assert_eq!(sizes(&list(3, 0, None), 1252, false, 1280), [1, 1, 1]);
        assert_eq!(sizes(&list(3, 0, None), 1253, false, 1280), [0; 0]);
    }

    #[test]
    fn where_no_link_limits_it_ip_does() {
        // IP 20, Xcast 12, bitmap 4, 4 n, UDP 8, payload 65,480: 65,535 hold n = 2.
        assert_eq!(sizes(&list(5, 0, None), 65_480, false, usize::MAX), [2, 2, 1]);
    }

    #[test]
    fn what_stays_xcast_fits_where_lists_do() {
        let destinations = list(2, 0, None);
        // IP 20, Xcast 12, bitmap 4, address 4, UDP 8.
        for (payload, packets) in [(1232, 2), (1233, 0)] {
            let payload = vec![0; payload];
            let message =
                Message { destinations: &destinations, payload: &payload, ..Message::default() };
            let message = Message { keep_xcast: true, ..message };
            let split = split(&message, false, |_| Limit { alone: 1500, listed: 1280 });
            assert_eq!((split.packets.len(), split.too_big.len()), (packets, 2 - packets));
        }
    }

    #[test]
    fn a_narrow_way_narrows_its_own_packet_alone() {
        let destinations = list(4, 0, None);
        let payload = [0; 1000];
        let message =
            Message { destinations: &destinations, payload: &payload, ..Message::default() };
        let narrow = IpAddr::from(Ipv4Addr::new(10, 0, 0, 1));
        let limit =
            |address| Limit { alone: 1500, listed: if address == narrow { 1028 } else { 1500 } };
        let split = split(&message, false, limit);
        assert_eq!(split.packets, [vec![0], vec![1], vec![2, 3]]);
    }
}
