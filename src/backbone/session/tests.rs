use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::backbone::handshake::{Initiator, Responder};
use crate::backbone::keys::PrivateKey;
use crate::wire::control::CONFIRMATION_LEN;

const NOW: Time = Time(5);

fn alice() -> PrivateKey {
    PrivateKey::new([1; 32])
}

fn bob() -> PrivateKey {
    PrivateKey::new([2; 32])
}

fn body(datagram: &[u8], kind: Kind, session: u32) -> &[u8] {
    let (header, body) = Header::parse(datagram).unwrap();
    assert_eq!(header, Header { kind, session, counter: 0 });
    body
}

/// Both sides of one session.
fn pair() -> (Session, Session) {
    let initiator = Initiator::new(10, [3; 32]);
    let initiation = initiator.initiation(&alice()).unwrap();
    let body_of_it = body(&initiation, Kind::Initiation, 0);
    let mut responder = Responder::new(&bob(), 20, [4; 32], body_of_it).unwrap();
    let response = responder.response.clone();
    let answered = initiator.read(&alice(), body(&response, Kind::Response, 10)).unwrap();
    assert_eq!(answered.key, bob().public());
    let (one, confirmation) = answered.finish(NOW).unwrap();
    let confirmed = responder.read(&bob(), body(&confirmation, Kind::Confirmation, 20)).unwrap();
    assert_eq!(confirmed.key, alice().public());
    (one, confirmed.finish(NOW).unwrap())
}

/// The counter and the body of a sealed datagram.
fn open(session: &mut Session, datagram: &[u8]) -> Result<Opened, Refusal> {
    let (header, body) = Header::parse(datagram).ok_or(Refusal::Malformed)?;
    session.open(header.counter, body)
}

#[test]
fn both_sides_learn_each_others_key_and_messages_go_both_ways() {
    let (mut one, mut two) = pair();
    for number in 0..3 {
        let datagram = one.seal(&Message::Ping(number)).unwrap();
        let (header, _) = Header::parse(&datagram).unwrap();
        assert_eq!(header, Header { kind: Kind::Sealed, session: 20, counter: number });
        let opened = Opened { message: Message::Ping(number), is_latest: true };
        assert_eq!(open(&mut two, &datagram), Ok(opened));
        let answer = two.seal(&Message::Pong(number)).unwrap();
        assert_eq!(open(&mut one, &answer).unwrap().message, Message::Pong(number));
    }
}

#[test]
fn an_answer_is_never_longer_than_what_it_answers() {
    let initiator = Initiator::new(10, [3; 32]);
    let initiation = initiator.initiation(&alice()).unwrap();
    let responder = Responder::new(&bob(), 20, [4; 32], &initiation[HEADER_LEN..]).unwrap();
    assert_eq!((initiation.len(), responder.response.len()), (116, 116));
    assert_eq!(initiator.initiation(&alice()).unwrap(), initiation, "asks again with the same");
}

#[test]
fn every_flipped_bit_of_a_handshake_is_noticed_and_does_no_harm() {
    let initiator = Initiator::new(10, [3; 32]);
    let initiation = initiator.initiation(&alice()).unwrap();
    let mut responder = Responder::new(&bob(), 20, [4; 32], &initiation[HEADER_LEN..]).unwrap();
    let response = responder.response[HEADER_LEN..].to_vec();
    for bit in 0..response.len() * 8 {
        let mut forged = response.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        // X25519 takes no notice of its last bit, but Noise hashes the key as it was sent.
        assert_eq!(initiator.read(&alice(), &forged).err(), Some(Refusal::BadKey), "bit {bit}");
    }
    let (_, confirmation) = initiator.read(&alice(), &response).unwrap().finish(NOW).unwrap();
    let confirmation = &confirmation[HEADER_LEN..];
    for bit in 0..CONFIRMATION_LEN * 8 {
        let mut forged = confirmation.to_vec();
        forged[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(responder.read(&bob(), &forged).err(), Some(Refusal::BadKey), "bit {bit}");
    }
    let confirmed = responder.read(&bob(), confirmation).unwrap();
    assert_eq!(confirmed.key, alice().public(), "the genuine one still counts");
    // An initiation is in clear; whatever else was made of it comes to nothing with its answer.
    for bit in 0..(initiation.len() - HEADER_LEN) * 8 {
        let mut forged = initiation[HEADER_LEN..].to_vec();
        forged[bit / 8] ^= 1 << (bit % 8);
        match Responder::new(&bob(), 20, [4; 32], &forged) {
            Ok(responder) => {
                let answered = initiator.read(&alice(), &responder.response[HEADER_LEN..]);
                assert_eq!(answered.err(), Some(Refusal::BadKey), "bit {bit}");
            }
            Err(refusal) => {
                assert!(bit >= (KEY_LEN_AND_INDEX) * 8, "bit {bit}");
                assert_eq!(refusal, Refusal::Malformed);
            }
        }
    }
}

const KEY_LEN_AND_INDEX: usize = 32 + 4;

#[test]
fn what_is_forged_cut_or_for_another_session_does_not_open() {
    let (mut one, mut two) = pair();
    let datagram = one.seal(&Message::Ping(7)).unwrap();
    for bit in (0..datagram.len() * 8).filter(|bit| !(4 * 8..8 * 8).contains(bit)) {
        let mut forged = datagram.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        let opened = open(&mut two, &forged).err();
        assert!(matches!(opened, Some(Refusal::BadKey | Refusal::Malformed)), "bit {bit}");
    }
    for length in 0..datagram.len() {
        assert!(open(&mut two, &datagram[..length]).is_err(), "cut to {length}");
    }
    assert_eq!(open(&mut one, &datagram), Err(Refusal::BadKey), "sent back to its sender");
    assert!(open(&mut two, &datagram).is_ok(), "the genuine one still opens");
    assert_eq!(open(&mut two, &datagram), Err(Refusal::Replay));
}

#[test]
fn a_session_is_renewed_in_time_and_never_seals_beyond_its_end() {
    let (mut one, mut two) = pair();
    assert_eq!(one.rekey_at(), Time(NOW.0 + 30 * 60 * 1_000_000));
    assert!(one.ends_at() > one.rekey_at());
    one.set_counter(COUNTER_REKEY - 1);
    let datagram = one.seal(&Message::Ping(1)).unwrap();
    assert!(open(&mut two, &datagram).is_ok());
    assert_eq!(one.rekey_at(), NOW);
    one.set_counter(COUNTER_MAX);
    assert_eq!(one.seal(&Message::Ping(1)), None);
}

#[test]
fn the_last_counter_of_all_is_refused() {
    let (_, mut two) = pair();
    assert_eq!(two.open(u64::MAX, &[0; 20]), Err(Refusal::Replay));
    assert_eq!(two.open(u64::MAX - 1, &[0; 20]), Err(Refusal::BadKey));
}

proptest! {
    #[test]
    fn the_window_takes_each_counter_once(
        steps in proptest::collection::vec((0u64..3000, any::<bool>()), 1..600),
        start in prop_oneof![Just(0u64), Just(1 << 40)],
    ) {
        let mut window = Window::default();
        let mut seen = BTreeSet::new();
        let mut highest = start;
        for (step, forward) in steps {
            let counter =
                if forward { highest + step } else { highest.saturating_sub(step) };
            let below = seen.last().is_some_and(|last: &u64| last + 1 > counter + WINDOW);
            let expected = below || seen.contains(&counter);
            prop_assert_eq!(window.contains(counter), expected, "{}", counter);
            if !expected {
                prop_assert_eq!(window.insert(counter), seen.last().is_none_or(|l| *l < counter));
                seen.insert(counter);
                highest = highest.max(counter);
            }
        }
    }
}
