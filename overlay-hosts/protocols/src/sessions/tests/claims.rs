//! Claims at one host: which holds, who is told that it has lost one, and what hostile ones come to.

use std::time::Duration;

use super::super::message::Message;
use super::super::*;
use crate::alm::Claim;
use crate::machine::{decode, encode};
use crate::random::Random;
use crate::testing::{START, address};

fn host(degrees: u16) -> Sessions {
    let me = Contact::new(PeerId([0; 20]), address(0));
    Sessions::new(Config { degrees, ..Config::default() }, me)
}

fn at(millis: u64) -> Now {
    Now { time: Time(millis * 1_000), wall: START }
}

fn root(number: u8) -> Endpoint {
    Endpoint { address: address(usize::from(number)), id: Some(PeerId([number; 20])) }
}

fn say(host: &mut Sessions, from: Endpoint, bytes: &[u8], now: Now) -> Result<(), DropReason> {
    let (at, wall, octets) = (now.time, now.wall, bytes.len());
    host.handle_input(
        Input::Message(Received { from, at, wall, ttl: 60, octets, message: bytes }),
        now,
    )
}

/// What a host says to a claim, and to whom.
fn claim(
    host: &mut Sessions,
    from: u8,
    (session, degrees, serial): (u64, u16, u32),
    rank: Rank,
    now: Now,
) -> Result<Vec<(Endpoint, Message)>, DropReason> {
    let claim = Claim { session: SessionId(session), rank, degrees };
    say(host, root(from), &encode(&Message::Claim { claim, serial }), now)?;
    Ok(said(host))
}

fn said(host: &mut Sessions) -> Vec<(Endpoint, Message)> {
    let outputs = core::iter::from_fn(|| host.poll_output());
    let sends = outputs.filter_map(|output| match output {
        Output::Send(send) => Some((send.to[0], decode(&send.message_for(0)).unwrap())),
        _ => None,
    });
    sends.collect()
}

const HELPER: Rank = Rank::Helper(Priority::LOWEST);

fn granted(session: u64, serial: u32) -> Message {
    Message::Granted { session: SessionId(session), serial }
}

fn refused(session: u64, serial: u32, available: u16) -> Message {
    Message::Refused { session: SessionId(session), serial, available }
}

#[test]
fn the_claim_with_the_highest_number_holds_and_only_its_root_makes_others() {
    let mut host = host(5);
    let one = |answer| Ok(vec![(root(1), answer)]);
    assert_eq!(claim(&mut host, 1, (9, 3, 1), HELPER, at(0)), one(granted(9, 1)));
    assert_eq!(host.degrees().free(), 2);
    // What another root says under that number changes nothing.
    assert_eq!(
        claim(&mut host, 2, (9, 0, 7), HELPER, at(1)),
        Ok(vec![(root(2), refused(9, 7, 0))])
    );
    // It is sent again because the answer was lost, then one that was overtaken comes.
    assert_eq!(claim(&mut host, 1, (9, 4, 3), HELPER, at(2)), one(granted(9, 3)));
    assert_eq!(claim(&mut host, 1, (9, 4, 3), HELPER, at(3)), one(granted(9, 3)));
    assert_eq!(claim(&mut host, 1, (9, 1, 2), HELPER, at(4)), Err(DropReason::Ancient));
    assert_eq!(host.degrees().free(), 1);
    // One too many leaves what there was; none gives it back, and what comes late does not undo that.
    assert_eq!(claim(&mut host, 1, (9, 6, 4), HELPER, at(5)), one(refused(9, 4, 5)));
    assert_eq!(host.degrees().free(), 1);
    assert_eq!(claim(&mut host, 1, (9, 0, 5), HELPER, at(6)), one(granted(9, 5)));
    assert_eq!(claim(&mut host, 1, (9, 4, 3), HELPER, at(7)), Err(DropReason::Ancient));
    assert_eq!(host.degrees().free(), 5);
}

#[test]
fn who_loses_its_claim_is_told_until_it_knows() {
    let mut host = host(4);
    assert!(claim(&mut host, 1, (1, 3, 1), HELPER, at(0)).is_ok());
    assert!(claim(&mut host, 2, (2, 2, 1), Rank::Member, at(0)).is_ok());
    assert_eq!(host.degrees().free(), 2);
    let lost = Message::Preempted { session: SessionId(1), serial: 1 };
    for _ in 0..2 {
        let (due, _) = host.poll_timeout().unwrap();
        host.handle_timeout(Now { time: due, wall: START });
        assert_eq!(said(&mut host), [(root(1), lost)]);
    }
    // The claim that was lost does not come back by being repeated.
    let again = claim(&mut host, 1, (1, 3, 1), HELPER, at(400));
    assert_eq!(again, Ok(vec![(root(1), refused(1, 1, 2))]));
    let noted = encode(&Message::Noted { session: SessionId(1), serial: 1 });
    assert_eq!(say(&mut host, root(3), &noted, at(401)), Err(DropReason::NotInTree));
    assert_eq!(say(&mut host, root(1), &noted, at(402)), Ok(()));
    assert_eq!(host.poll_timeout().unwrap().0, Time(30_000_000));
    host.handle_timeout(at(30_000));
    assert_eq!((host.degrees().free(), said(&mut host)), (4, vec![]));
    assert_eq!(host.poll_timeout(), None);
}

#[test]
fn claims_end_that_are_not_renewed_and_others_do_not() {
    let mut host = host(4);
    assert!(claim(&mut host, 1, (1, 1, 1), HELPER, at(0)).is_ok());
    assert!(claim(&mut host, 2, (2, 2, 1), HELPER, at(0)).is_ok());
    assert!(claim(&mut host, 2, (2, 2, 2), HELPER, at(20_000)).is_ok());
    host.handle_timeout(at(30_000));
    let left: Vec<SessionId> = host.degrees().claims().map(|claim| claim.session).collect();
    assert_eq!(left, [SessionId(2)]);
}

#[test]
fn a_closed_host_gives_nothing_and_one_root_cannot_fill_the_table() {
    let mut closed = host(4);
    closed.config.open = false;
    let answer = claim(&mut closed, 1, (1, 1, 1), Rank::Member, at(0));
    assert_eq!(answer, Ok(vec![(root(1), refused(1, 1, 0))]));
    let mut host = host(DEGREES);
    for session in 0..=CLAIMS_OF_ONE_MAX as u64 {
        assert!(claim(&mut host, 1, (session, 1, 1), HELPER, at(0)).is_ok());
    }
    assert_eq!(host.degrees().free(), DEGREES - CLAIMS_OF_ONE_MAX as u16);
    let other = claim(&mut host, 2, (5_000, 1, 1), HELPER, at(0));
    assert_eq!(other, Ok(vec![(root(2), granted(5_000, 1))]));
}

const DEGREES: u16 = 1_000;

#[test]
fn hostile_messages_are_dropped_or_answered_and_never_more_is_given_than_there_is() {
    for seed in 0..40 {
        let mut random = Random::new(seed, 1);
        let mut host = host(6);
        for step in 0..400 {
            let mut bytes: Vec<u8> = (0..random.below(24)).map(|_| random.number() as u8).collect();
            if random.below(4) > 0 {
                let session = SessionId(random.below(5));
                let (serial, degrees) = (random.below(6) as u32, random.below(9) as u16);
                let rank = if random.below(2) == 0 { HELPER } else { Rank::Member };
                bytes = encode(&match random.below(5) {
                    0 => Message::Granted { session, serial },
                    1 => Message::Preempted { session, serial },
                    2 => Message::Noted { session, serial },
                    _ => Message::Claim { claim: Claim { session, rank, degrees }, serial },
                });
            }
            let _dropped = say(&mut host, root(random.below(3) as u8), &bytes, at(step * 150));
            host.handle_timeout(at(step * 150));
            let taken: u16 = host.degrees().claims().map(|claim| claim.degrees).sum();
            assert_eq!(host.degrees().free() + taken, 6, "seed {seed}");
            assert!(said(&mut host).len() <= 8, "seed {seed}");
        }
        host.handle_timeout(Now {
            time: at(400 * 150).time + Duration::from_secs(31),
            wall: START,
        });
        assert_eq!(host.degrees().free(), 6, "seed {seed}");
    }
}
