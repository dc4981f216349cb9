//! Messages that nobody asked for, that lie, or that are cut.

use super::*;
use crate::testing::START;
use crate::time::Wall;

const NOW: Now = Now { time: Time(0), wall: START };

fn machine_at(place: usize) -> Locality {
    Locality::new(Config::default(), contact(place), None, 7, NOW)
}

/// A leader of group 1 with the member 1.
fn leader() -> Locality {
    let mut machine = machine_at(0);
    let preset = Preset {
        group: group(1),
        leader: contact(0),
        leadership: std::vec![contact(0), contact(1)],
        links: std::vec![contact(1)],
        neighbors: Vec::new(),
        known: Vec::new(),
    };
    machine.handle_input(Input::Command(Command::Preset(Box::new(preset))), NOW).unwrap();
    while machine.poll_output().is_some() {}
    machine
}

fn receive(machine: &mut Locality, from: usize, message: &Message) -> Result<(), DropReason> {
    let bytes = machine::encode(message);
    let from = contact(from).endpoint();
    let received = Received {
        from,
        at: NOW.time,
        wall: NOW.wall,
        ttl: 60,
        octets: bytes.len(),
        message: &bytes,
    };
    machine.handle_input(Input::Message(received), NOW)
}

#[test]
fn answers_to_nothing_are_dropped() {
    let mut machine = leader();
    for message in [
        Message::MeasureReply { nonce: 1, wall: START },
        Message::BootList { nonce: 1, groups: Vec::new() },
        Message::Linked { nonce: 1, group: group(2) },
        Message::Refused { nonce: 1, members: Vec::new() },
    ] {
        assert_eq!(receive(&mut machine, 2, &message), Err(DropReason::Malformed), "{message:?}");
    }
}

#[test]
fn a_link_for_somebody_else_is_dropped() {
    let mut machine = leader();
    let from = GroupRef { group: group(2), leader: contact(3) };
    let link = Message::Link { nonce: 1, from, distance: Distance(1), far: false };
    assert_eq!(receive(&mut machine, 2, &link), Err(DropReason::Malformed));
    assert_eq!(receive(&mut machine, 3, &link), Ok(()));
    assert_eq!(machine.neighbors().len(), 1);
}

#[test]
fn a_full_leader_takes_a_nearer_link_for_its_farthest_and_no_other() {
    let mut machine = leader();
    let link = |place: usize, distance: u32| {
        let from = GroupRef { group: group(place as u8), leader: contact(place) };
        Message::Link { nonce: 1, from, distance: Distance(distance), far: false }
    };
    for place in 10..22 {
        receive(&mut machine, place, &link(place, place as u32 * 1000)).unwrap();
    }
    assert_eq!(machine.neighbors().len(), 12);
    receive(&mut machine, 30, &link(30, 21_000)).unwrap();
    assert!(machine.neighbors().iter().all(|each| each.at.group != group(30)), "no nearer");
    receive(&mut machine, 31, &link(31, 20_999)).unwrap();
    let has = |number: u8| machine.neighbors().iter().any(|each| each.at.group == group(number));
    assert!(has(31) && !has(21) && machine.neighbors().len() == 12);
}

#[test]
fn terms_and_claims_from_far_in_the_future_are_dropped() {
    let mut machine = leader();
    let alive = |term, since| Message::Alive {
        group: group(1),
        reign: Reign { term, since, leader: id(1) },
        sequence: 1,
        version: 1,
        state: None,
    };
    let later = Wall(START.0 + 16_000_000);
    for lie in [alive(TERM_AHEAD_MAX + 1, START), alive(1, later)] {
        assert_eq!(receive(&mut machine, 1, &lie), Err(DropReason::Malformed));
        assert!(machine.is_leader());
    }
    assert_eq!(receive(&mut machine, 1, &alive(1, START)), Ok(()));
    assert!(!machine.is_leader(), "a later term outranks");
}

#[test]
fn alives_of_those_who_are_no_neighbors_are_not_heard() {
    let mut machine = leader();
    let reign = Reign { term: 1, since: START, leader: id(2) };
    let alive = Message::Alive { group: group(1), reign, sequence: 1, version: 1, state: None };
    receive(&mut machine, 2, &alive).unwrap();
    assert!(machine.is_leader());
}

#[test]
fn lists_that_are_too_long_are_dropped() {
    let mut machine = leader();
    let group = GroupRef { group: group(2), leader: contact(2) };
    let groups = std::vec![group; BOOT_LIST_MAX + 1];
    let list = Message::BootList { nonce: 1, groups };
    assert!(!list.is_acceptable());
    assert_eq!(receive(&mut machine, 2, &list), Err(DropReason::Malformed));
}

#[test]
fn any_octets_at_all_are_taken_or_dropped_and_nothing_grows() {
    for seed in 0..2_000u64 {
        let mut random = Random::new(seed, 3);
        let mut machine = leader();
        let mut bytes = std::vec![0u8; random.below(80) as usize + 1];
        random.fill(&mut bytes);
        bytes[0] %= 32;
        for _ in 0..3 {
            let from = contact(1).endpoint();
            let received = Received {
                from,
                at: NOW.time,
                wall: NOW.wall,
                ttl: 60,
                octets: bytes.len(),
                message: &bytes,
            };
            let _ = machine.handle_input(Input::Message(received), NOW);
        }
        assert!(machine.neighbors().len() <= 1 && machine.links().count() <= 2, "seed {seed}");
    }
}

/// What it has sent since: to whom, and what.
fn said(machine: &mut Locality) -> Vec<(Vec<Endpoint>, Message)> {
    let outputs = core::iter::from_fn(|| machine.poll_output());
    let sends = outputs.filter_map(|output| match output {
        Output::Send(send) => Some((send.to, machine::decode(&send.shared)?)),
        _ => None,
    });
    sends.collect()
}

fn nonce_of(said: &[(Vec<Endpoint>, Message)], wanted: impl Fn(&Message) -> Option<u64>) -> u64 {
    said.iter().find_map(|(_, message)| wanted(message)).unwrap()
}

#[test]
fn an_answer_of_another_kind_is_none_and_the_search_goes_on_without() {
    let mut machine = machine_at(5);
    machine.handle_input(Input::Command(Command::Join(std::vec![address(1)])), NOW).unwrap();
    let asked = said(&mut machine);
    let nonce = nonce_of(&asked, |message| match message {
        Message::GetBootList { nonce } => Some(*nonce),
        _ => None,
    });
    let at = GroupRef { group: group(1), leader: contact(1) };
    let list = Message::BootList { nonce, groups: std::vec![at] };
    receive(&mut machine, 1, &list).unwrap();
    let asked = said(&mut machine);
    for (_, message) in &asked {
        let answer = match message {
            Message::Measure { nonce } => Message::MeasureReply { nonce: *nonce, wall: START },
            Message::GetCache { nonce } => {
                Message::Cache { nonce: *nonce, group: group(1), neighbors: Vec::new() }
            }
            _ => continue,
        };
        receive(&mut machine, 1, &answer).unwrap();
    }
    let asked = said(&mut machine);
    let nonce = nonce_of(&asked, |message| match message {
        Message::GetMembers { nonce, .. } => Some(*nonce),
        _ => None,
    });
    let wrong = Message::MeasureReply { nonce, wall: START };
    assert_eq!(receive(&mut machine, 1, &wrong), Err(DropReason::Malformed));
    let state =
        State { leader: contact(1), leadership: std::vec![contact(1)], neighbors: Vec::new() };
    let members = |group, term| Message::Members {
        nonce,
        group,
        reign: Reign { term, since: START, leader: id(1) },
        version: 1,
        state: Box::new(state.clone()),
        members: Vec::new(),
    };
    let lies = [members(group(2), 0), members(group(1), u64::MAX)];
    for lie in &lies {
        assert_eq!(receive(&mut machine, 1, lie), Err(DropReason::Malformed));
    }
    let mut events = Vec::new();
    for _ in 0..5 {
        let Some((time, _)) = machine.poll_timeout() else { break };
        machine.handle_timeout(Now { time, wall: START });
        events.extend(core::iter::from_fn(|| machine.poll_output()));
    }
    let failed = Output::Event(Event::BootFailed { failures: 1 });
    assert!(events.contains(&failed), "it waits for no answer for ever: {events:?}");
}

#[test]
fn a_leader_that_is_ever_another_is_asked_only_so_often() {
    let mut machine = leader();
    let from = GroupRef { group: group(2), leader: contact(2) };
    let link = Message::Link { nonce: 1, from, distance: Distance(1), far: true };
    receive(&mut machine, 2, &link).unwrap();
    said(&mut machine);
    machine.confirm_links(NOW);
    let mut rounds = 0;
    loop {
        let asked = said(&mut machine);
        let relink = asked.iter().find_map(|(to, message)| match message {
            Message::Relink { nonce, .. } => Some((to[0], *nonce)),
            _ => None,
        });
        let Some((to, nonce)) = relink else { break };
        let (by, other) = if to == contact(2).endpoint() { (2, 3) } else { (3, 2) };
        let instead = Some(GroupRef { group: group(2), leader: contact(other) });
        receive(&mut machine, by, &Message::NotLeader { nonce, instead }).unwrap();
        rounds += 1;
        assert!(rounds < 10, "for ever");
    }
    assert!(rounds > 1 && machine.neighbors().is_empty());
}

#[test]
fn members_that_refuse_and_name_ever_others_are_not_believed_for_ever() {
    let mut machine = leader();
    machine.remove_link(id(1), NOW);
    let (mut asked, mut next) = (0, 100);
    loop {
        let said = said(&mut machine);
        let connects = said.iter().filter_map(|(to, message)| match message {
            Message::Connect { nonce, .. } => Some((to.clone(), *nonce)),
            _ => None,
        });
        let connects: Vec<_> = connects.collect();
        if connects.is_empty() {
            break;
        }
        for (to, nonce) in connects {
            for to in to {
                asked += 1;
                assert!(asked < 200, "for ever");
                let place = (0..2000).find(|place| address(*place) == to.address).unwrap();
                let members = (next..next + 8).map(contact).collect();
                next += 8;
                receive(&mut machine, place, &Message::Refused { nonce, members }).unwrap();
            }
        }
    }
    assert!(asked > 3);
}

#[test]
fn claims_of_strangers_are_not_flooded() {
    let mut machine = leader();
    let led = Reign { term: 1, since: START, leader: id(1) };
    machine.consider_reign(&contact(1), led, NOW);
    let later = Now { time: NOW.time + seconds(9), wall: START };
    said(&mut machine);
    let mut claimed = |place: usize| {
        let claim = Reign { term: 2, since: START, leader: id(place) };
        let claim =
            Message::NewLeader { group: group(1), round: 0, claim, contact: contact(place) };
        let bytes = machine::encode(&claim);
        let from = contact(place).endpoint();
        let received = Received {
            from,
            at: later.time,
            wall: START,
            ttl: 60,
            octets: bytes.len(),
            message: &bytes,
        };
        machine.handle_input(Input::Message(received), later).unwrap();
        machine.leader() == Some(id(place))
    };
    assert!(!claimed(9));
    assert!(claimed(1));
}

#[test]
fn one_peer_fills_neither_the_links_between_groups_nor_the_boot_cache() {
    let mut machine = leader();
    for number in 10..40 {
        let from = GroupRef { group: group(number), leader: contact(9) };
        receive(&mut machine, 9, &Message::Register { group: from.clone() }).unwrap();
        let far = number % 2 == 0;
        let link = Message::Link { nonce: 1, from, distance: Distance(1), far };
        receive(&mut machine, 9, &link).unwrap();
    }
    assert_eq!((machine.neighbors().len(), machine.boot_groups()), (1, 1));
}

#[test]
fn nobody_registers_or_joins_from_an_address_that_is_not_its_own() {
    let mut machine = leader();
    let elsewhere = Contact { address: address(77), ..contact(9) };
    let at = GroupRef { group: group(9), leader: elsewhere.clone() };
    let link = Message::Link { nonce: 1, from: at.clone(), distance: Distance(1), far: false };
    let join =
        Message::GetMembers { nonce: 1, group: group(1), me: elsewhere.clone(), more: false };
    let connect = Message::Connect { nonce: 1, group: group(1), me: elsewhere };
    for lie in [Message::Register { group: at }, link, join, connect] {
        assert_eq!(receive(&mut machine, 9, &lie), Err(DropReason::Malformed), "{lie:?}");
    }
    assert!(said(&mut machine).is_empty());
}

#[test]
fn a_link_that_gives_its_place_leaves_nothing_behind() {
    let mut machine = leader();
    let link = |machine: &mut Locality, place: usize| {
        let from = GroupRef { group: group(place as u8), leader: contact(place) };
        let distance = Distance(100 - place as u32);
        let link = Message::Link { nonce: 1, from, distance, far: false };
        receive(machine, place, &link).unwrap();
    };
    (10..22).for_each(|place| link(&mut machine, place));
    machine.neighbor_measured(id(10), None, NOW);
    assert_eq!(machine.silent.len(), 1);
    link(&mut machine, 22);
    assert!(machine.neighbors().iter().all(|each| each.at.group != group(10)));
    assert!(machine.silent.is_empty());
}

#[test]
fn waits_of_nothing_or_for_ever_are_no_waits_to_run_with() {
    for wait in [Duration::ZERO, Duration::MAX] {
        let config = Config {
            search_time: wait,
            alive_period: wait,
            alive_timeout: wait,
            list_timeout: wait,
            claim_wait: wait,
            tie_window: wait,
            reentry_period: wait,
            remeasure_period: wait,
            boot_expiry: wait,
            register_period: wait,
            request_timeout: wait,
            retry: wait,
            boot_list: 1000,
            ..Config::default()
        };
        for addresses in [Vec::new(), std::vec![address(1)]] {
            let mut machine = Locality::new(config.clone(), contact(0), None, 7, NOW);
            machine.handle_input(Input::Command(Command::Join(addresses)), NOW).unwrap();
            for _ in 0..100 {
                let Some((time, why)) = machine.poll_timeout() else { break };
                machine.handle_timeout(Now { time, wall: START });
                while machine.poll_output().is_some() {}
                let next = machine.poll_timeout();
                assert!(next.is_none_or(|(next, _)| next > time), "{wait:?}: {why}");
            }
        }
    }
}
