use super::*;
use proptest::prelude::*;

const B: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
const C: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 3, 0, 0, 0, 3);

/// By hand from figure 6: one destination, no flag, UDP behind. The checksum is the complement
/// of 1105+fd00+1001 + 8000 + 2001+0db8+0002 = 0x1cbc1, folded 0xcbc2.
#[rustfmt::skip]
const ONE: [u8; 48] = [
    17, 5, 253, 0,                          // 48 octets = 6 x 8, the first not counted
    0x10, 1, 0x34, 0x3d,                    // version 1
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0b1000_0000, 0, 0, 0, 0, 0, 0, 0,
    0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2,
];

/// By hand from figure 6: A, D; two destinations, both live; DS bytes EF and AF11; Destination
/// Options behind. The checksum is the complement of the sum of the other words, 0x366f4, folded
/// 0x66f7.
#[rustfmt::skip]
const TWO: [u8; 72] = [
    60, 8, 253, 0,                          // 72 octets = 9 x 8
    0x1a, 2, 0x99, 0x08,                    // version 1, A, D
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
    0b1100_0000, 0, 0, 0, 0, 0, 0, 0,
    0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2,
    0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 3,
    0xb8, 0x28, 0, 0, 0, 0, 0, 0,
];

/// `TWO` with the first destination served elsewhere. The other words sum to 0x2b939, folded
/// 0xb93b.
#[rustfmt::skip]
const TWO_PRUNED: [u8; 72] = [
    60, 8, 253, 0,
    0x1a, 2, 0x46, 0xc4,
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
    0b0100_0000, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 3,
    0xb8, 0x28, 0, 0, 0, 0, 0, 0,
];

/// By hand from figure 6: X; 65 destinations 2001:db8::1 to 2001:db8::41, so two units of
/// bitmap; the first, the 64th and the 65th are live. The other words sum to 0xdc722, folded
/// 0xc72f.
#[rustfmt::skip]
fn sixty_five() -> Vec<u8> {
    let mut bytes = vec![
        17, 134, 253, 0,                    // 24 + 16 + 65 x 16 = 1080 octets = 135 x 8
        0x14, 65, 0x38, 0xd0,               // version 1, X
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0b1000_0000, 0, 0, 0, 0, 0, 0, 0b0000_0001,
        0b1000_0000, 0, 0, 0, 0, 0, 0, 0,
    ];
    for last in 1..=65 {
        bytes.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
    }
    bytes
}

fn one() -> Repr {
    Repr {
        next_header: 17,
        routing_type: 253,
        bitmap: bit(0),
        destinations: vec![B],
        ..Repr::default()
    }
}

fn two() -> Repr {
    Repr {
        anonymous: true,
        channel: 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10,
        next_header: 60,
        routing_type: 253,
        bitmap: all(2),
        destinations: vec![B, C],
        ds_bytes: vec![0xb8, 0x28],
        ..Repr::default()
    }
}

fn many(count: usize, ds_bytes: usize) -> Repr {
    Repr {
        bitmap: all(count.min(127)),
        destinations: vec![C; count],
        ds_bytes: vec![0xb8; ds_bytes],
        ..one()
    }
}

fn emitted(repr: &Repr) -> Vec<u8> {
    let mut bytes = vec![0xaa; repr.header_len()];
    repr.emit(&mut bytes).unwrap();
    bytes
}

/// Gives `bytes` the checksum that is right as far as HdrExtLen says.
fn with_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes[6..8].fill(0);
    let length = (usize::from(bytes[1]) + 1) * 8;
    let check = checksum::checksum(&bytes[..length.min(bytes.len())]);
    bytes[6..8].copy_from_slice(&check.to_be_bytes());
    bytes
}

fn parse_changed(at: usize, value: u8) -> Result<(), Malformed> {
    let mut bytes = TWO.to_vec();
    bytes[at] = value;
    bytes.extend([0; 16]); // what follows
    Header::parse(&with_checksum(bytes)).map(|_| ())
}

#[test]
fn emits_golden_bytes() {
    assert_eq!(emitted(&one()), ONE);
    assert_eq!(emitted(&two()), TWO);
    let destinations = (1..=65).map(|last| Ipv6Addr::from_bits(0x2001_0db8 << 96 | last));
    let repr = Repr {
        keep_xcast: true,
        bitmap: bit(0) | bit(63) | bit(64),
        destinations: destinations.collect(),
        ..one()
    };
    assert_eq!(emitted(&repr), sixty_five());
}

#[test]
fn reads_golden_bytes() {
    let header = Header::parse(&TWO).unwrap();
    assert!(header.is_anonymous() && header.has_ds_bytes() && !header.keeps_xcast());
    assert_eq!((header.count(), header.next_header(), header.routing_type()), (2, 60, 253));
    assert_eq!(header.channel(), 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10);
    assert_eq!((header.bitmap(), header.header_len()), (all(2), 72));
    assert_eq!([0, 1].map(|i| header.destination(i)), [B, C]);
    assert_eq!([0, 1].map(|i| header.ds_byte(i)), [Some(0xb8), Some(0x28)]);
    assert_eq!(Repr::of(&header), two());

    let header = Header::parse(&ONE).unwrap();
    assert_eq!((header.channel(), header.ds_byte(0)), (0, None));
    assert_eq!(Repr::of(&header), one());

    let bytes = sixty_five();
    let header = Header::parse(&bytes).unwrap();
    assert!(header.keeps_xcast() && !header.is_anonymous());
    assert_eq!(live_indices(header.bitmap()).collect::<Vec<_>>(), [0, 63, 64]);
    assert_eq!(header.destination(64), "2001:db8::41".parse::<Ipv6Addr>().unwrap());
}

#[test]
fn agrees_with_another_implementation_about_extents() {
    for golden in [&ONE[..], &TWO, &sixty_five()] {
        let bytes = [golden, &[9; 24]].concat();
        let (header, rest) = etherparse::Ipv6RawExtHeader::from_slice(&bytes).unwrap();
        assert_eq!((header.next_header.0, rest), (golden[0], &[9; 24][..]));
        assert_eq!(header.payload()[..2], [253, 0]);
        assert_eq!(Header::parse(&bytes).unwrap().header_len(), golden.len());
    }
}

#[test]
fn lengths_follow_the_format() {
    assert_eq!(header_len(1, false), 24 + 8 + 16);
    assert_eq!(header_len(64, false), 24 + 8 + 1024);
    assert_eq!(header_len(65, true), 24 + 16 + 1040 + 72);
    assert_eq!(header_len(DESTINATIONS_MAX, false), 2040);
    assert_eq!(header_len(DESTINATIONS_MAX_WITH_DS, true), HEADER_LEN_MAX);
}

#[test]
fn names_the_first_failure() {
    assert_eq!(Header::parse(&[]).unwrap_err(), Malformed::Length);
    assert_eq!(Header::parse(&[0, 0, 0, 1, 0x20]).unwrap_err(), Malformed::Version);
    assert_eq!(parse_changed(4, 0x2a), Err(Malformed::Version));
    assert_eq!(parse_changed(3, 1), Err(Malformed::Length));
    assert_eq!(parse_changed(1, 7), Err(Malformed::Length));
    assert_eq!(parse_changed(1, 9), Err(Malformed::Length));
    assert_eq!(parse_changed(4, 0x18), Err(Malformed::Length)); // D cleared, DS bytes still there
    assert_eq!(parse_changed(5, 3), Err(Malformed::Length));
    assert_eq!(parse_changed(24, 0b1110_0000), Err(Malformed::SpareBits));
    assert_eq!(parse_changed(31, 1), Err(Malformed::SpareBits));
    let mut wrong = TWO;
    wrong[7] ^= 1;
    assert_eq!(Header::parse(&wrong).unwrap_err(), Malformed::Checksum);
    wrong[24] = 0xff; // a spare bit too, which comes later
    assert_eq!(Header::parse(&wrong).unwrap_err(), Malformed::Checksum);
    let mut none = vec![0; 24];
    none[..6].copy_from_slice(&[17, 2, 253, 0, 0x10, 0]);
    assert_eq!(Header::parse(&none).unwrap_err(), Malformed::Checksum);
    assert_eq!(Header::parse(&with_checksum(none)).unwrap_err(), Malformed::NoDestination);
}

#[test]
fn a_header_that_is_cut_short_has_a_wrong_length() {
    for golden in [&ONE[..], &TWO, &sixty_five()] {
        for length in 0..golden.len() {
            assert_eq!(Header::parse(&golden[..length]).unwrap_err(), Malformed::Length);
        }
    }
}

#[test]
fn lists_as_many_destinations_as_the_length_can_say() {
    for (repr, octets) in [(many(125, 0), 2040), (many(118, 118), 2048)] {
        let bytes = emitted(&repr);
        assert_eq!(bytes.len(), octets);
        assert_eq!(usize::from(bytes[1]), octets / 8 - 1);
        assert_eq!(Repr::of(&Header::parse(&bytes).unwrap()), repr);
    }
    let mut buffer = [0xaa; 4096];
    assert_eq!(many(126, 0).emit(&mut buffer), Err(Unwritable::Count(126)));
    assert_eq!(many(119, 119).emit(&mut buffer), Err(Unwritable::CountWithDs(119)));
    assert!(buffer.iter().all(|&octet| octet == 0xaa), "nothing is written");
    // On the wire: all the octets that one destination more would take, and any HdrExtLen.
    for (flags, count) in [(0x10, 126), (0x10, 127), (0x12, 119), (0x12, 127)] {
        for hdr_ext_len in 0..=255 {
            let mut bytes = vec![0; 4096];
            bytes[..6].copy_from_slice(&[17, hdr_ext_len, 253, 0, flags, count]);
            let bytes = with_checksum(bytes);
            assert_eq!(Header::parse(&bytes).unwrap_err(), Malformed::Length);
        }
    }
}

#[test]
fn refuses_what_the_format_cannot_hold() {
    let mut buffer = [0; 1000];
    assert_eq!(Repr::default().emit(&mut buffer), Err(Unwritable::Count(0)));
    let odd = Repr { ds_bytes: vec![1], ..two() };
    assert_eq!(odd.emit(&mut buffer), Err(Unwritable::Unequal));
}

#[test]
fn reserved_bits_and_padding_are_ignored_and_carried() {
    assert_eq!(parse_changed(4, 0x1b), Ok(()));
    assert_eq!(parse_changed(5, 0x82), Ok(()));
    assert_eq!(parse_changed(71, 0xff), Ok(()));
    let mut bytes = TWO.to_vec();
    (bytes[4], bytes[5], bytes[71]) = (0x1b, 0x82, 0xff);
    let mut bytes = with_checksum(bytes);
    pruning(&bytes, Header::parse(&bytes).unwrap().bitmap()).apply(&mut bytes, bit(1));
    let header = Header::parse(&bytes).unwrap();
    assert_eq!((header.count(), header.destination(0)), (2, Ipv6Addr::UNSPECIFIED));
    assert_eq!((bytes[4], bytes[5], bytes[71]), (0x1b, 0x82, 0xff));
}

#[test]
fn pruning_zeroes_hidden_addresses_and_repairs_the_checksum() {
    let mut bytes = TWO;
    pruning(&bytes, Header::parse(&bytes).unwrap().bitmap()).apply(&mut bytes, bit(1));
    assert_eq!(bytes, TWO_PRUNED, "the DS bytes stay");
}

#[test]
fn pruning_keeps_addresses_unless_they_are_to_be_hidden() {
    let mut bytes = sixty_five();
    pruning(&bytes, Header::parse(&bytes).unwrap().bitmap()).apply(&mut bytes, bit(64));
    let header = Header::parse(&bytes).unwrap();
    assert_eq!(header.bitmap(), bit(64));
    // One bit of the bitmap's first octet is gone, and one of its eighth.
    assert_eq!(bytes[24..40], [0, 0, 0, 0, 0, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(bytes[40..], sixty_five()[40..]);
}

fn any_repr() -> impl Strategy<Value = Repr> {
    let counts = any::<bool>().prop_flat_map(|ds| {
        let most = if ds { DESTINATIONS_MAX_WITH_DS } else { DESTINATIONS_MAX };
        (Just(ds), 1..=most)
    });
    let lists = counts.prop_flat_map(|(ds, count)| {
        let each = proptest::collection::vec(any::<(u128, u8)>(), count);
        let numbers = (any::<u128>(), any::<u128>(), any::<[u8; 2]>());
        (Just(ds), each, any::<[bool; 2]>(), numbers)
    });
    lists.prop_map(|(ds, each, flags, (bitmap, channel, [next_header, routing_type]))| Repr {
        anonymous: flags[0],
        keep_xcast: flags[1],
        channel,
        next_header,
        routing_type,
        bitmap: bitmap & all(each.len()),
        destinations: each.iter().map(|e| e.0.into()).collect(),
        ds_bytes: each.iter().filter(|_| ds).map(|e| e.1).collect(),
    })
}

proptest! {
    #[test]
    fn what_is_emitted_is_read_back(repr in any_repr()) {
        let mut bytes = vec![0xaa; repr.header_len() + 7];
        repr.emit(&mut bytes).unwrap();
        prop_assert_eq!(Repr::of(&Header::parse(&bytes).unwrap()), repr);
    }

    #[test]
    fn a_pruned_header_is_the_one_emitted_so(repr in any_repr(), keep in any::<u128>()) {
        let mut bytes = emitted(&repr);
        let mut pruned = repr.clone();
        pruned.bitmap &= keep;
        pruning(&bytes, Header::parse(&bytes).unwrap().bitmap()).apply(&mut bytes, pruned.bitmap);
        if pruned.anonymous {
            for index in live_indices(all(pruned.destinations.len()) & !pruned.bitmap) {
                pruned.destinations[index] = Ipv6Addr::UNSPECIFIED;
            }
        }
        prop_assert_eq!(bytes, emitted(&pruned));
    }

    #[test]
    fn no_bytes_make_it_panic(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..300),
        count in 0u8..20,
        right in any::<bool>(),
    ) {
        // Often enough a header whose length is right, so that its insides are reached.
        if right && bytes.len() > FIXED_LEN {
            (bytes[3], bytes[4], bytes[5]) = (0, 0x10 | bytes[4] & 0xf, count);
            let length = header_len(usize::from(count), bytes[4] & DS_BYTES != 0);
            bytes[1] = (length / 8 - 1) as u8;
            bytes = with_checksum(bytes);
        }
        if let Ok(header) = Header::parse(&bytes) {
            let _ = Repr::of(&header);
        }
    }
}
