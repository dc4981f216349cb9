use super::*;
use proptest::prelude::*;

const B: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const C: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 3);
const D: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 4);

/// By hand from figures 4 and 5: A, P; three destinations; ports 9000 to 9002; only B and D live.
/// The checksum is the complement of the sum of the other words, 0x5597.
#[rustfmt::skip]
const GOLDEN: [u8; 36] = [
    0x19, 0x03, 0xaa, 0x68,
    0x01, 0x02, 0x03, 0x04,
    17, 9, 0, 0,
    0b1010_0000, 0, 0, 0,
    10, 0, 0, 2,
    10, 0, 0, 3,
    10, 0, 0, 4,
    0x23, 0x28, 0x23, 0x29,
    0x23, 0x2a, 0, 0,
];

fn golden_repr() -> Repr {
    Repr {
        anonymous: true,
        channel: 0x0102_0304,
        protocol: 17,
        bitmap: bit(0) | bit(2),
        destinations: vec![B, C, D],
        ports: vec![9000, 9001, 9002],
        ..Repr::default()
    }
}

fn with_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes[2..4].fill(0);
    let length = usize::from(bytes[9]) * 4;
    let check = checksum::checksum(&bytes[..length.min(bytes.len())]);
    bytes[2..4].copy_from_slice(&check.to_be_bytes());
    bytes
}

fn parse_changed(at: usize, value: u8) -> Result<(), Malformed> {
    let mut bytes = GOLDEN.to_vec();
    bytes[at] = value;
    Header::parse(&with_checksum(bytes)).map(|_| ())
}

#[test]
fn emits_golden_bytes() {
    let mut bytes = [0xaa; 36];
    golden_repr().emit(&mut bytes).unwrap();
    assert_eq!(bytes, GOLDEN);
}

#[test]
fn reads_golden_bytes() {
    let header = Header::parse(&GOLDEN).unwrap();
    assert!(header.is_anonymous() && header.has_ports());
    assert!(!header.keeps_xcast() && !header.has_ds_bytes());
    assert_eq!((header.count(), header.channel(), header.protocol()), (3, 0x0102_0304, 17));
    assert_eq!(header.bitmap(), bit(0) | bit(2));
    assert_eq!([0, 1, 2].map(|i| header.destination(i)), [B, C, D]);
    assert_eq!([0, 1, 2].map(|i| header.port(i)), [Some(9000), Some(9001), Some(9002)]);
    assert_eq!(header.ds_byte(0), None);
    assert_eq!(Repr::of(&header), golden_repr());
}

#[test]
fn lengths_follow_the_format() {
    assert_eq!(header_len(1, false, false), 12 + 4 + 4);
    assert_eq!(header_len(33, false, false), 12 + 8 + 132);
    assert_eq!(header_len(5, true, true), 12 + 4 + 20 + 8 + 12);
    assert_eq!(header_len(127, true, true), HEADER_LEN_MAX);
}

#[test]
fn names_the_first_failure() {
    assert_eq!(Header::parse(&[]).unwrap_err(), Malformed::Length);
    assert_eq!(Header::parse(&[0x20]).unwrap_err(), Malformed::Version);
    for length in 1..GOLDEN.len() {
        assert_eq!(Header::parse(&GOLDEN[..length]).unwrap_err(), Malformed::Length);
    }
    assert_eq!(parse_changed(0, 0x29), Err(Malformed::Version));
    assert_eq!(parse_changed(9, 8), Err(Malformed::Length));
    assert_eq!(parse_changed(9, 10), Err(Malformed::Length));
    assert_eq!(parse_changed(0, 0x18), Err(Malformed::Length)); // P cleared, ports still there
    assert_eq!(parse_changed(12, 0b1011_0000), Err(Malformed::SpareBits));
    assert_eq!(parse_changed(15, 1), Err(Malformed::SpareBits));
    let mut wrong = GOLDEN;
    wrong[3] ^= 1;
    assert_eq!(Header::parse(&wrong).unwrap_err(), Malformed::Checksum);
    let none = with_checksum(vec![0x10, 0, 0, 0, 0, 0, 0, 0, 17, 3, 0, 0]);
    assert_eq!(Header::parse(&none).unwrap_err(), Malformed::NoDestination);
}

#[test]
fn reserved_bits_and_padding_are_ignored() {
    assert_eq!(parse_changed(1, 0x83), Ok(()));
    assert_eq!(parse_changed(10, 0xff), Ok(()));
    assert_eq!(parse_changed(35, 0xff), Ok(()));
}

#[test]
fn pruning_zeroes_hidden_addresses_and_repairs_the_checksum() {
    let mut bytes = GOLDEN;
    pruning(&bytes, Header::parse(&bytes).unwrap().bitmap()).apply(&mut bytes, bit(2));
    let header = Header::parse(&bytes).unwrap();
    assert_eq!(header.bitmap(), bit(2));
    let hidden = Ipv4Addr::UNSPECIFIED;
    assert_eq!([0, 1, 2].map(|i| header.destination(i)), [hidden, hidden, D]);
    assert_eq!(header.port(0), Some(9000), "ports stay");
}

#[test]
fn refuses_what_the_format_cannot_hold() {
    let mut buffer = [0; 1000];
    let none = Repr::default();
    assert_eq!(none.emit(&mut buffer), Err(Unwritable::Count(0)));
    let many = Repr { destinations: vec![B; 128], ..Repr::default() };
    assert_eq!(many.emit(&mut buffer), Err(Unwritable::Count(128)));
    let odd = Repr { destinations: vec![B, C], ports: vec![1], ..Repr::default() };
    assert_eq!(odd.emit(&mut buffer), Err(Unwritable::Unequal));
}

fn any_repr() -> impl Strategy<Value = Repr> {
    let lists = (1usize..=DESTINATIONS_MAX).prop_flat_map(|count| {
        let each = proptest::collection::vec(any::<(u32, u8, u16)>(), count);
        (each, any::<u128>(), any::<[bool; 4]>(), any::<u32>(), any::<u8>())
    });
    lists.prop_map(|(each, bitmap, flags, channel, protocol)| {
        let [anonymous, keep_xcast, ds, ports] = flags;
        let column = |wanted: bool| each.iter().filter(move |_| wanted);
        Repr {
            anonymous,
            keep_xcast,
            channel,
            protocol,
            bitmap: bitmap & all(each.len()),
            destinations: each.iter().map(|e| e.0.into()).collect(),
            ds_bytes: column(ds).map(|e| e.1).collect(),
            ports: column(ports).map(|e| e.2).collect(),
        }
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
        let mut bytes = vec![0; repr.header_len()];
        repr.emit(&mut bytes).unwrap();
        let mut pruned = repr.clone();
        pruned.bitmap &= keep;
        pruning(&bytes, Header::parse(&bytes).unwrap().bitmap()).apply(&mut bytes, pruned.bitmap);
        if pruned.anonymous {
            for index in live_indices(all(pruned.destinations.len()) & !pruned.bitmap) {
                pruned.destinations[index] = Ipv4Addr::UNSPECIFIED;
            }
        }
        let mut expected = vec![0; pruned.header_len()];
        pruned.emit(&mut expected).unwrap();
        prop_assert_eq!(bytes, expected);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(header) = Header::parse(&bytes) {
            let _ = Repr::of(&header);
        }
    }
}
