//! How a message leaves: once for several of its receivers, or to each one alone.

use overlay_protocols::envelope::{OVERHEAD, PART_HEADER_LEN, PARTS_LEN};
use overlay_protocols::machine::{Class, Send};
use overlay_protocols::node::{DATAGRAM_LEN_MAX, DESTINATIONS_MAX};

use crate::config::Transport;

/// Which receivers, by their places in `to`, get what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Each list is one Xcast packet's.
    pub(super) together: Vec<Vec<usize>>,
    /// Each gets a datagram of its own.
    pub(super) alone: Vec<usize>,
}

/// Decides it. `is_reached` says of a place whether Xcast reaches who is there.
pub(super) fn plan(send: &Send, transport: Transport, is_reached: impl Fn(usize) -> bool) -> Plan {
    let goes_together = |index: &usize| {
        // Lists of parts name their receivers.
        let can_be_listed = send.parts.is_empty() || send.to[*index].id.is_some();
        can_be_listed
            && match (transport, send.class) {
                (Transport::Unicast, _) | (_, Class::Repeated) => false,
                (Transport::Xcast, _) | (Transport::Auto, Class::Probe) => true,
                (Transport::Auto, _) => is_reached(*index),
            }
    };
    let (listed, mut alone): (Vec<usize>, Vec<usize>) = (0..send.to.len()).partition(goes_together);
    let mut together = Vec::new();
    // One packet has addresses of one IP version.
    let (v4, v6): (Vec<usize>, Vec<usize>) =
        listed.into_iter().partition(|index| send.to[*index].address.is_ipv4());
    for list in [v4, v6].iter().flat_map(|listed| lists(send, listed)) {
        match list.as_slice() {
            [only] => alone.push(*only),
            _ => together.push(list),
        }
    }
    Plan { together, alone }
}

/// Cut so that each list and each datagram is as long as one may be.
fn lists(send: &Send, listed: &[usize]) -> Vec<Vec<usize>> {
    let mut lists: Vec<Vec<usize>> = Vec::new();
    let mut octets = 0;
    for index in listed {
        let part = PART_HEADER_LEN + send.part(*index).len();
        let fits = match lists.last() {
            None => false,
            Some(list) => {
                list.len() < DESTINATIONS_MAX
                    && (send.parts.is_empty() || octets + part <= DATAGRAM_LEN_MAX)
            }
        };
        match lists.last_mut().filter(|_| fits) {
            Some(list) => list.push(*index),
            None => {
                octets = OVERHEAD + send.shared.len() + PARTS_LEN;
                lists.push(vec![*index]);
            }
        }
        octets += part;
    }
    lists
}

#[cfg(test)]
mod tests {
    use overlay_protocols::envelope::datagram_len;
    use overlay_protocols::machine::Protocol;
    use overlay_protocols::{Endpoint, PeerId};

    use super::*;

    fn send(count: usize, parts: usize, class: Class) -> Send {
        let endpoint = |number: usize| Endpoint {
            address: ([192, 0, 2, 1], 1000 + number as u16).into(),
            id: Some(PeerId::of_public_key(&[number as u8; 32])),
        };
        Send {
            to: (0..count).map(endpoint).collect(),
            protocol: Protocol::Ring,
            shared: vec![1; 10],
            parts: if parts == 0 { Vec::new() } else { vec![vec![2; parts]; count] },
            class,
        }
    }

    #[test]
    fn unicast_and_repeated_messages_go_to_each_alone() {
        for (transport, class) in
            [(Transport::Unicast, Class::Queued), (Transport::Xcast, Class::Repeated)]
        {
            let plan = plan(&send(3, 0, class), transport, |_| true);
            assert_eq!(plan, Plan { together: vec![], alone: vec![0, 1, 2] });
        }
    }

    #[test]
    fn auto_sends_together_only_to_those_that_are_reached() {
        let message = send(4, 0, Class::Queued);
        let reached = plan(&message, Transport::Auto, |index| index != 1);
        assert_eq!(reached, Plan { together: vec![vec![0, 2, 3]], alone: vec![1] });
        let one = plan(&message, Transport::Auto, |index| index == 1);
        assert_eq!(one, Plan { together: vec![], alone: vec![0, 2, 3, 1] });
        let probe = plan(&send(4, 0, Class::Probe), Transport::Auto, |_| false);
        assert_eq!(probe, Plan { together: vec![vec![0, 1, 2, 3]], alone: vec![] });
    }

    #[test]
    fn one_packet_is_of_one_ip_version() {
        let mut message = send(4, 0, Class::Queued);
        message.to[1].address = "[2001:db8::1]:9".parse().unwrap();
        message.to[2].address = "[2001:db8::2]:9".parse().unwrap();
        let plan = plan(&message, Transport::Xcast, |_| true);
        assert_eq!(plan, Plan { together: vec![vec![0, 3], vec![1, 2]], alone: vec![] });
    }

    #[test]
    fn who_has_a_part_and_no_known_identity_gets_a_datagram_alone() {
        let mut message = send(3, 2, Class::Queued);
        message.to[1].id = None;
        let plan = plan(&message, Transport::Xcast, |_| true);
        assert_eq!(plan, Plan { together: vec![vec![0, 2]], alone: vec![1] });
    }

    #[test]
    fn no_list_and_no_datagram_is_longer_than_may_be_and_all_are_as_long_as_can_be() {
        for (count, parts) in
            [(50, 0), (51, 0), (101, 0), (120, 3), (40, 100), (40, 600), (3, 1000)]
        {
            let message = send(count, parts, Class::Queued);
            let plan = plan(&message, Transport::Xcast, |_| true);
            let mut all = plan.alone.clone();
            for list in &plan.together {
                assert!((2..=DESTINATIONS_MAX).contains(&list.len()));
                assert!(datagram_len(&message, list) <= DATAGRAM_LEN_MAX, "{count} of {parts}");
                all.extend(list);
            }
            for pair in plan.together.windows(2) {
                let more = [&pair[0][..], &pair[1][..1]].concat();
                let is_full = more.len() > DESTINATIONS_MAX;
                assert!(is_full || datagram_len(&message, &more) > DATAGRAM_LEN_MAX);
            }
            all.sort_unstable();
            assert_eq!(all, (0..count).collect::<Vec<_>>());
        }
    }
}
