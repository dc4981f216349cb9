use super::*;
use proptest::prelude::*;

const PORTS: u8 = 0x5e;

/// By hand from figure 7: three ports, the option's 2 + 6 octets, and 6 of PadN.
#[rustfmt::skip]
const THREE: [u8; 16] = [
    17, 1,
    0x5e, 6, 0x23, 0x28, 0x23, 0x29, 0x23, 0x2a,
    1, 4, 0, 0, 0, 0,
];

/// Two ports fill the header.
const TWO: [u8; 8] = [17, 0, 0x5e, 4, 0, 80, 0x1f, 0x90];

fn emitted(ports: &[u16]) -> Vec<u8> {
    let mut bytes = vec![0xaa; ports_option_len(ports.len())];
    emit_ports(17, PORTS, ports, &mut bytes);
    bytes
}

#[test]
fn emits_and_finds_golden_bytes() {
    assert_eq!(emitted(&[9000, 9001, 9002]), THREE);
    assert_eq!(emitted(&[80, 8080]), TWO);
    let at = find_ports(&THREE, PORTS).unwrap().unwrap();
    assert_eq!(at, PortsAt { option_at: 2, count: 3, alone: true, run: (2, 16) });
    assert_eq!([0, 1, 2].map(|i| at.port(&THREE, i)), [9000, 9001, 9002]);
    let more = [&TWO[..], &[0xff; 9]].concat();
    let at = find_ports(&more, PORTS).unwrap().unwrap();
    assert_eq!((at.count, at.port(&more, 1), at.alone), (2, 8080, true));
    assert_eq!(find_ports(&THREE, 0x1e), Ok(None), "another code point");
}

#[test]
fn another_implementation_finds_its_end() {
    for count in 0..=127 {
        let bytes = [emitted(&vec![7; count]), vec![1, 2, 3]].concat();
        let (header, rest) = etherparse::Ipv6RawExtHeader::from_slice(&bytes).unwrap();
        assert_eq!((header.next_header.0, rest), (17, &[1u8, 2, 3][..]));
    }
}

#[test]
fn says_whether_there_are_other_options() {
    #[rustfmt::skip]
    let cases = [
        ([17, 1, 0, 0, 0x5e, 2, 0, 80, 1, 6, 0, 0, 0, 0, 0, 0], Some((4, 1, true))),
        ([17, 1, 0x3e, 1, 9, 0x5e, 2, 0, 80, 0, 0, 0, 0, 0, 0, 0], Some((5, 1, false))),
        ([17, 1, 0x5e, 2, 0, 80, 0x3e, 0, 1, 6, 0, 0, 0, 0, 0, 0], Some((2, 1, false))),
        ([17, 1, 1, 12, 0x5e, 2, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0], None), // in the padding
    ];
    for (bytes, expected) in cases {
        let found = find_ports(&bytes, PORTS).unwrap();
        assert_eq!(found.map(|at| (at.option_at, at.count, at.alone)), expected);
    }
}

#[test]
fn refuses_broken_headers() {
    for length in 0..THREE.len() {
        assert_eq!(find_ports(&THREE[..length], PORTS), Err(Malformed::Length));
    }
    for broken in [
        [17, 0, 0x5e, 1, 80, 0, 0, 0],   // an odd octet
        [17, 0, 0x5e, 0, 0x5e, 0, 0, 0], // two lists
        [17, 0, 0x5e, 6, 0, 1, 0, 2],    // longer than the header
        [17, 0, 0x5e, 2, 0, 1, 1, 9],    // padding longer than the header
        [17, 0, 0x5e, 2, 0, 1, 0, 9],    // no room for a length
    ] {
        let more = [&broken[..], &[0; 16]].concat();
        assert_eq!(find_ports(&more, PORTS), Err(Malformed::Length));
    }
}

proptest! {
    #[test]
    fn what_is_emitted_is_found(ports in proptest::collection::vec(any::<u16>(), 0..=127)) {
        let bytes = emitted(&ports);
        let at = find_ports(&bytes, PORTS).unwrap().unwrap();
        prop_assert!(at.alone);
        let found: Vec<_> = (0..at.count).map(|index| at.port(&bytes, index)).collect();
        prop_assert_eq!(found, ports);
    }

    #[test]
    fn no_bytes_make_it_panic(
        mut bytes in proptest::collection::vec(prop_oneof![0u8..8, Just(PORTS), any::<u8>()], 2..80),
        long in 0u8..10,
    ) {
        bytes[1] = long;
        if let Ok(Some(at)) = find_ports(&bytes, PORTS) {
            for index in 0..at.count {
                at.port(&bytes, index);
            }
        }
    }
}
