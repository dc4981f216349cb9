use proptest::prelude::*;

use super::*;

#[test]
fn a_header_is_as_written_by_hand() {
    let header = Header { kind: Kind::Sealed, session: 0x0a0b0c0d, counter: 0x0102 };
    let golden = [0x01, 4, 0, 0, 0x0a, 0x0b, 0x0c, 0x0d, 0, 0, 0, 0, 0, 0, 1, 2];
    assert_eq!(header.emit(), golden);
    let mut datagram = golden.to_vec();
    datagram.extend([9; TAG_LEN + 1]);
    assert_eq!(Header::parse(&datagram), Some((header, &datagram[HEADER_LEN..])));
    assert!(is_control(&datagram) && !is_control(&[0x45]) && !is_control(&[0x60]));
    assert!(!is_control(&[]));
}

#[test]
fn a_header_is_refused_unless_all_of_it_fits() {
    let datagram = |kind: u8, body: usize| [&[1, kind][..], &[0; 14], &vec![7; body]].concat();
    for (kind, body) in [(1, 100), (2, 100), (3, 64), (4, 17), (4, TAG_LEN + MESSAGE_MAX)] {
        assert!(Header::parse(&datagram(kind, body)).is_some(), "{kind}, {body}");
    }
    for (kind, body) in [
        (0, 100),
        (1, 99),
        (1, 101),
        (2, 0),
        (3, 100),
        (4, 16),
        (4, TAG_LEN + MESSAGE_MAX + 1),
        (5, 64),
    ] {
        assert_eq!(Header::parse(&datagram(kind, body)), None, "{kind}, {body}");
    }
    // Version, reserved octets; then the session of an initiation and the counter of a handshake.
    for (at, kind) in [(0, 4), (2, 4), (3, 4), (7, 1), (15, 1), (8, 2), (15, 3)] {
        let mut bytes = datagram(kind, if kind == 3 { 64 } else { 100 });
        bytes[at] ^= 0x12;
        assert_eq!(Header::parse(&bytes), None, "octet {at} of kind {kind}");
    }
}

#[test]
fn messages_are_as_written_by_hand() {
    let v6 = "2001:db8::".parse::<Ipv6Addr>().unwrap();
    let relay = RelayAddress { address: "192.0.2.1:1021".parse().unwrap(), key: [0xaa; 32] };
    let golden: [(Message, Vec<u8>); 10] = [
        (Message::Ping(0x0102), vec![1, 0, 0, 0, 0, 0, 0, 1, 2]),
        (Message::Pong(3), vec![2, 0, 0, 0, 0, 0, 0, 0, 3]),
        (
            Message::Announce {
                sequence: 7,
                prefixes: vec![("10.1.0.0".parse().unwrap(), 16), (v6.into(), 32)],
            },
            [&[3, 0, 0, 0, 7, 2, 4, 10, 1, 0, 0, 16, 6, 0x20, 1, 0x0d, 0xb8][..], &[0; 12], &[32]]
                .concat(),
        ),
        (Message::AnnounceAck(7), vec![4, 0, 0, 0, 7]),
        (
            Message::Relays(vec![relay]),
            [&[5, 1, 4, 192, 0, 2, 1, 0x03, 0xfd][..], &[0xaa; 32]].concat(),
        ),
        (
            Message::LeaseRequest { families: Families { v4: true, v6: true }, wish: None },
            vec![6, 3, 0],
        ),
        (
            Message::LeaseRequest {
                families: Families { v4: true, v6: false },
                wish: Some("10.9.0.5".parse().unwrap()),
            },
            vec![6, 1, 4, 10, 9, 0, 5],
        ),
        (
            Message::Lease(Lease {
                address: Some("10.9.0.5".parse().unwrap()),
                seconds: 3600,
                relay: "x3".to_owned(),
            }),
            vec![7, 4, 10, 9, 0, 5, 0, 0, 0x0e, 0x10, 2, b'x', b'3'],
        ),
        (
            Message::Lease(Lease { address: None, seconds: 0, relay: String::new() }),
            vec![7, 0, 0, 0, 0, 0, 0],
        ),
        (Message::Close(CloseReason::NotAllowed), vec![8, 2]),
    ];
    for (message, bytes) in golden {
        assert_eq!(message.emit(), bytes);
        assert_eq!(Message::parse(&bytes).as_ref(), Some(&message));
        for length in 0..bytes.len() {
            assert_eq!(Message::parse(&bytes[..length]), None, "{message:?} cut to {length}");
        }
        assert_eq!(Message::parse(&[&bytes[..], &[0]].concat()), None, "{message:?} and more");
    }
}

#[test]
fn what_is_out_of_range_is_refused() {
    let host_bits = [3, 0, 0, 0, 1, 1, 4, 10, 1, 0, 1, 16];
    let too_long = [3, 0, 0, 0, 1, 1, 4, 10, 1, 0, 0, 33];
    let no_family = [3, 0, 0, 0, 1, 1, 0, 16];
    let no_version = [6, 0, 0];
    let other_version = [6, 4, 0];
    let control_character = [7, 0, 0, 0, 0, 0, 1, 7];
    let no_text = [7, 0, 0, 0, 0, 0, 1, 0xff];
    let cases: [&[u8]; 9] = [
        &[],
        &[9],
        &[8, 0],
        &host_bits,
        &too_long,
        &no_family,
        &no_version,
        &other_version,
        &control_character,
    ];
    for bytes in cases.into_iter().chain([&no_text[..]]) {
        assert_eq!(Message::parse(bytes), None, "{bytes:?}");
    }
    let long_name = [&[7, 0, 0, 0, 0, 0, 33][..], &[b'a'; 33]].concat();
    assert_eq!(Message::parse(&long_name), None);
    let many = [&[3, 0, 0, 0, 1, 65][..], &[4, 10, 0, 0, 0, 8].repeat(65)].concat();
    assert_eq!(Message::parse(&many), None);
}

#[test]
fn the_longest_messages_fit_and_more_is_left_out() {
    let prefix = ("2001:db8::".parse().unwrap(), 32);
    let announce = Message::Announce { sequence: 1, prefixes: vec![prefix; 100] };
    let Some(Message::Announce { prefixes, .. }) = Message::parse(&announce.emit()) else {
        panic!("not read back");
    };
    assert_eq!(prefixes.len(), PREFIXES_MAX);
    let relay = RelayAddress { address: "[2001:db8::1]:1021".parse().unwrap(), key: [1; 32] };
    let relays = Message::Relays(vec![relay; 100]);
    assert!(announce.emit().len() <= MESSAGE_MAX && relays.emit().len() <= MESSAGE_MAX);
    let lease = Lease { address: None, seconds: 1, relay: "ö".repeat(40) };
    let Some(Message::Lease(lease)) = Message::parse(&Message::Lease(lease).emit()) else {
        panic!("not read back");
    };
    assert_eq!(lease.relay, "ö".repeat(16));
}

proptest! {
    #[test]
    fn any_octets_are_read_or_refused_and_what_is_read_comes_back(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..200),
        kind in 0u8..10,
    ) {
        let _ = Header::parse(&bytes);
        if let Some(first) = bytes.first_mut() {
            *first = kind;
        }
        if let Some(message) = Message::parse(&bytes) {
            prop_assert_eq!(message.emit(), bytes);
        }
    }
}
