//! Nothing is lost without a count, and the counts add up.

use super::*;
use crate::wire::ipv4;

/// The address that the fake with number 1 leases.
const OWN: [u8; 4] = [10, 99, 1, 1];

fn assert_balanced(counters: &Counters) {
    let accounted = counters.destinations_forwarded
        + counters.destinations_delivered
        + counters.destinations_dropped()
        + counters.destinations_pending;
    assert_eq!(counters.destinations_received, accounted, "{counters:?}");
    let packets = counters.packets_forwarded + counters.packets_dropped;
    assert_eq!(counters.packets_received, packets, "{counters:?}");
}

fn drops(counters: &Counters, reason: DropReason) -> u64 {
    counters.drops[reason as usize]
}

fn own(port: u16) -> Destination {
    Destination { address: OWN.into(), port, dscp: None }
}

#[test]
fn a_source_that_is_not_leased_counts_as_one_packet() {
    let fake = Fake::new(1, private(100).public());
    let mut socket = open(relay(&[&fake], &[1]));
    let mut to = list(3);
    to.push(Destination { address: [224, 1, 1, 1].into(), port: PORT, dscp: None });
    let source = Some([192, 0, 2, 77].into());
    let message = Message { destinations: &to, source, ..Message::default() };
    let sent = socket.send(&message).unwrap();
    let reasons: Vec<DropReason> = sent.unsent.iter().map(|unsent| unsent.reason).collect();
    use DropReason::{BadDestination, Source};
    assert_eq!((sent.packets, reasons), (0, vec![Source, Source, Source, BadDestination]));
    let counters = socket.counters();
    assert_eq!((drops(counters, Source), drops(counters, BadDestination)), (1, 1));
    assert_eq!(counters.destinations_received, 1, "the list of the others is not trusted");
    assert_balanced(counters);
}

#[test]
fn what_comes_in_for_nobody_here_is_received_and_dropped() {
    let fake = Fake::new(1, private(100).public());
    let mut socket = open(relay(&[&fake], &[1]));
    send(&mut socket, &list(2), b"hello");
    let (mut elsewhere, mut forged) = (datagram(OWN, b"no checksum"), datagram(OWN, b"forged"));
    elsewhere[22..24].copy_from_slice(&(PORT + 1).to_be_bytes());
    elsewhere[26..28].fill(0);
    forged[26] ^= 1;
    for packet in [elsewhere, forged, datagram([10, 99, 1, 2], b"stray"), datagram(OWN, b"good")] {
        fake.order(Order::Send(packet));
    }
    assert_eq!(socket.receive(Some(FOREVER)).unwrap().unwrap().payload, b"good");
    let counters = socket.counters();
    use DropReason::{Checksum, NotForThisRouter, UnknownEnd};
    let each = [NotForThisRouter, Checksum, UnknownEnd].map(|reason| drops(counters, reason));
    assert_eq!((each, counters.destinations_received), ([1; 3], 3));
    assert_balanced(counters);
}

#[test]
fn a_congested_packet_that_cannot_say_so_is_dropped_by_name() {
    let fake = Fake::new(1, private(100).public());
    let mut socket = open(relay(&[&fake], &[1]));
    send(&mut socket, &list(1), b"hello");
    let mut capable = datagram(OWN, b"capable");
    capable[1] = 0b10;
    ipv4::fill_checksum(&mut capable, ipv4::HEADER_LEN);
    fake.order(Order::Congest);
    fake.order(Order::Send(datagram(OWN, b"not capable")));
    fake.order(Order::Send(capable));
    assert_eq!(socket.receive(Some(FOREVER)).unwrap().unwrap().payload, b"capable");
    assert_eq!(drops(socket.counters(), DropReason::IpHeader), 1);
    assert_balanced(socket.counters());
}

#[test]
fn a_datagram_to_itself_is_delivered_or_dropped() {
    let fake = Fake::new(1, private(100).public());
    let mut socket = open(relay(&[&fake], &[1]));
    let mut to = vec![own(PORT); ARRIVALS_MAX + 1];
    to[0].dscp = Some(46);
    to[7].port = PORT + 1;
    to.push(own(PORT));
    let sent = send(&mut socket, &to, b"mine");
    let unsent = |index, reason| Unsent { index, reason };
    let refused = [
        unsent(7, DropReason::NotForThisRouter),
        unsent(ARRIVALS_MAX + 1, DropReason::TransmitFailed),
    ];
    assert_eq!((sent.packets, &sent.unsent[..]), (0, &refused[..]));
    assert_eq!(socket.counters().destinations_delivered, ARRIVALS_MAX as u64);
    assert_balanced(socket.counters());
    let received = socket.receive(Some(FOREVER)).unwrap().unwrap();
    assert_eq!((received.dscp, &received.payload[..]), (46, &b"mine"[..]));
    for _ in 1..ARRIVALS_MAX {
        assert!(socket.receive(Some(Duration::ZERO)).unwrap().is_some());
    }
    assert_eq!(socket.receive(Some(Duration::ZERO)).unwrap(), None);
}

/// The relay is taken away between two packets of one message.
#[test]
fn what_was_sent_before_the_relay_was_lost_is_told() {
    let fake = Fake::new(1, private(100).public());
    let options = Relay { patience: Duration::ZERO, ..relay(&[&fake], &[1]) };
    let mut socket = ByRelay::open(code_points(), PORT, &options).unwrap();
    let (view, _) = socket.attach(FOREVER).unwrap();
    let to: Vec<Destination> = std::iter::repeat_n(list(127), 300).flatten().collect();
    let message = Message { destinations: &to, ..Message::default() };
    let mut packets = 0;
    loop {
        let link = Arc::clone(&socket.link);
        let before = link.state().sent;
        let thief = thread::spawn(move || {
            loop {
                let mut state = link.state();
                if state.sent > before {
                    state.relay = None;
                    break;
                }
                drop(state);
                thread::yield_now();
            }
        });
        let sent = socket.send(&message).unwrap();
        thief.join().unwrap();
        packets += sent.packets;
        assert_eq!(sent.packets * 127 + sent.unsent.len(), to.len());
        assert!(sent.unsent.iter().all(|unsent| unsent.reason == DropReason::TransmitFailed));
        assert_eq!(socket.counters().replicas_sent, packets as u64);
        assert_balanced(socket.counters());
        if !sent.unsent.is_empty() {
            break;
        }
        // All were faster than the thief.
        socket.link.state().relay = Some(view.clone());
    }
    let before = socket.counters().clone();
    assert!(matches!(socket.send(&message), Err(HostError::NoRelay { .. })), "nothing was sent");
    assert_eq!(*socket.counters(), before);
}

#[test]
fn a_message_that_no_packet_holds_is_refused_before_anything_is_counted() {
    let fake = Fake::new(1, private(100).public());
    let mut socket = open(relay(&[&fake], &[1]));
    let to = [own(PORT), own(PORT + 1), list(1)[0]];
    let message = Message { destinations: &to, channel: 1 << 32, ..Message::default() };
    assert!(matches!(socket.send(&message), Err(HostError::Message(_))));
    assert_eq!(*socket.counters(), Counters::default());
    assert_eq!(socket.receive(Some(Duration::ZERO)).unwrap(), None);
}

#[test]
fn settling_has_its_own_patience() {
    let fake = Fake::new(1, private(100).public());
    let stranger = Fake::new(2, private(9).public());
    // The relay's patience would be too much, or none.
    let mut alone = open(relay(&[&stranger], &[2]));
    let settled = alone.settle(&[], Duration::ZERO);
    assert!(matches!(settled, Err(HostError::NoRelay { .. })), "{settled:?}");
    let mut socket = open(Relay { patience: Duration::ZERO, ..relay(&[&fake], &[1]) });
    socket.settle(&[], Duration::MAX).unwrap();
    assert_eq!(send(&mut socket, &list(2), b"hello").unsent, []);
}
