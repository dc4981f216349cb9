//! Datagrams that can be made and that cannot, and any octets at all.

use alloc::vec::Vec;
use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;
use crate::contact::Endpoint;
use crate::machine::Class;
use crate::testing::{address, identity};

const STAMP: Stamp = Stamp { key: [7; 32], epoch: 1, sequence: 1, sent: 1 };

fn send(to: Vec<Endpoint>, shared: Vec<u8>, parts: Vec<Vec<u8>>) -> Send {
    Send { to, protocol: Protocol::Ring, shared, parts, class: Class::Queued }
}

fn endpoint(place: usize) -> Endpoint {
    Endpoint { address: address(place), id: Some(identity(place, false).id) }
}

fn emitted(send: &Send, select: &[usize]) -> Option<Vec<u8>> {
    emit(send, select, &STAMP, &identity(0, false))
}

#[test]
fn what_cannot_be_a_datagram_is_none() {
    let two = || vec![endpoint(1), endpoint(2)];
    let parts = || vec![vec![1], vec![2]];
    let good = send(two(), vec![5], parts());
    assert!(emitted(&good, &[0, 1]).is_some());
    assert_eq!(emitted(&good, &[]), None);
    assert_eq!(emitted(&good, &[0, 2]), None);
    assert_eq!(emitted(&good, &[0, 0]), None);
    assert_eq!(emitted(&send(two(), vec![], parts()), &[0, 1]), None);
    assert_eq!(emitted(&send(two(), vec![], vec![]), &[0]), None);
    assert_eq!(emitted(&send(two(), vec![5; 65_537], vec![]), &[0]), None);
    assert!(emitted(&send(two(), vec![5; 65_536], vec![]), &[0]).is_some());
    let long = vec![vec![1; 65_536], vec![2]];
    assert_eq!(emitted(&send(two(), vec![5], long), &[0, 1]), None);
    let nameless: Endpoint = SocketAddr::from(([192, 0, 2, 1], 9)).into();
    let one_nameless = send(vec![endpoint(1), nameless], vec![5], parts());
    assert_eq!(emitted(&one_nameless, &[0, 1]), None);
    assert!(emitted(&one_nameless, &[1]).is_some());
    let many: Vec<Endpoint> = (0..256).map(endpoint).collect();
    let all: Vec<usize> = (0..256).collect();
    let parted = send(many.clone(), vec![5], vec![vec![1]; 256]);
    assert_eq!(emitted(&parted, &all), None);
    assert!(emitted(&parted, &all[..255]).is_some());
    assert!(emitted(&send(many, vec![5], vec![]), &all).is_some());
}

#[test]
fn a_message_that_stands_in_its_part_alone_arrives() {
    let bytes = emitted(&send(vec![endpoint(1)], vec![], vec![vec![5, 6]]), &[0]).unwrap();
    let me = identity(1, false);
    assert_eq!(open(&bytes, me.id, &me).unwrap().message, [5, 6]);
}

/// A list of parts, as it may stand on the wire, with what is behind the header and before the seal.
fn sealed(flags: u8, length: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = emitted(&send(vec![endpoint(1)], vec![5], vec![]), &[0]).unwrap();
    bytes.truncate(HEADER_LEN);
    bytes[3] = flags;
    bytes[6..8].copy_from_slice(&length.to_be_bytes());
    bytes.extend(body);
    bytes.extend([0; SEAL_LEN]);
    bytes
}

#[test]
fn a_list_that_names_its_receiver_twice_and_unknown_flags_are_refused() {
    let me = identity(1, false);
    let entry = [&me.id.tag().to_be_bytes()[..], &[0, 1, 9]].concat();
    let once = sealed(PARTED, 0, &[&[1][..], &entry].concat());
    assert_eq!(open(&once, me.id, &me).unwrap().message, [5, 9]);
    let twice = sealed(PARTED, 0, &[&[2][..], &entry, &entry].concat());
    assert_eq!(open(&twice, me.id, &me), Err(DropReason::Malformed));
    assert_eq!(open(&sealed(4, 0, &[]), me.id, &me), Err(DropReason::Malformed));
}

proptest! {
    #[test]
    fn no_octets_behind_a_good_header_make_it_panic(
        flags in 0u8..4,
        length in prop_oneof![0u16..40, any::<u16>()],
        body in proptest::collection::vec(prop_oneof![Just(0u8), 0u8..8, any::<u8>()], 0..80),
    ) {
        let me = identity(1, false);
        if let Ok(opened) = open(&sealed(flags, length, &body), me.id, &me) {
            // Nothing is made up.
            prop_assert!(opened.message.len() <= 1 + body.len());
            prop_assert_eq!(&opened.message[1..=usize::from(length)], &body[..usize::from(length)]);
        }
    }

    #[test]
    fn whatever_octets_come_are_read_or_refused(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let me = identity(1, true);
        prop_assert!(open(&bytes, me.id, &me).is_err());
        prop_assert_eq!(version_of(&bytes).is_some(), bytes.len() >= HEADER_LEN && bytes.starts_with(b"Xo"));
    }

    #[test]
    fn every_changed_bit_breaks_a_signature(bit in 0usize..8 * 130, parted in any::<bool>()) {
        let (me, other) = (identity(1, true), identity(2, true));
        let to = vec![
            Endpoint { address: address(1), id: Some(me.id) },
            Endpoint { address: address(2), id: Some(other.id) },
        ];
        let parts = if parted { vec![vec![1], vec![2]] } else { vec![] };
        let sender = identity(0, true);
        let stamp = Stamp { key: sender.key, ..STAMP };
        let mut bytes = emit(&send(to, vec![5; 6], parts), &[0, 1], &stamp, &sender).unwrap();
        prop_assert!(open(&bytes, me.id, &me).is_ok());
        let place = bit / 8 % bytes.len();
        bytes[place] ^= 1 << (bit % 8);
        prop_assert!(open(&bytes, me.id, &me).is_err());
    }
}
