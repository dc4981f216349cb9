use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::vec::Vec;

use super::*;
use crate::alm::{self, Claim, DEGREES_MAX, Degrees, Pool, Priority, Rank, SessionId};
use crate::contact::Contact;
use crate::coordinates::Coordinate;
use crate::id::{PeerId, RingId};
use crate::machine::encode;
use crate::node::{self, Input};
use crate::random::Random;
use crate::somo::{self, Command, Op, REPORT_LEN_MAX, Range, Statistics};
use crate::testing::{Net, address};
use crate::{ring, swap};

mod queries;

fn priority(number: u8) -> Priority {
    Priority::new(number).unwrap()
}

fn claim(session: u64, rank: Rank, degrees: u16) -> Claim {
    Claim { session: SessionId(session), rank, degrees }
}

/// A host anywhere, with any load, and sessions that compete for its degrees.
fn any_host(random: &mut Random) -> (RingId, HostReport) {
    let mut id = PeerId::default();
    random.fill(&mut id.0);
    let ip = Ipv4Addr::from_bits(0x0a00_0000 | random.below(1 << 24) as u32);
    let contact = Contact::new(id, SocketAddr::from((ip, 9000)));
    let mut host = HostReport::new(&contact);
    host.cpu = Cpu { cores: 16, idle: random.below(1601) as u32 };
    host.memory = Memory { total: 4096, available: random.below(4097) as u32, cache: 9 };
    host.disk = Disk { total: 10_000, available: random.below(10_001) as u32 };
    // Whole numbers: some hosts are at the same place, and some equally far.
    let axes: [f64; 8] =
        core::array::from_fn(|axis| if axis < 3 { random.below(200) as f64 - 100.0 } else { 0.0 });
    host.coordinate = (random.below(8) > 0).then_some(Coordinate { axes });
    host.up = (random.below(4) > 0).then(|| random.below(100_000) as u32);
    host.down = (random.below(4) > 0).then(|| random.below(100_000) as u32);
    host.degrees = DegreeTable::of(&any_degrees(random));
    (id.position(), host)
}

fn any_degrees(random: &mut Random) -> Degrees {
    let mut degrees = Degrees::new(2 + random.below(14) as u16);
    for _ in 0..random.below(5) {
        let _granted_or_not = degrees.claim(any_claim(random));
    }
    degrees
}

fn any_claim(random: &mut Random) -> Claim {
    let rank = match random.below(4) as u8 {
        0 => Rank::Member,
        number => Rank::Helper(priority(number)),
    };
    claim(random.below(6), rank, random.below(5) as u16)
}

#[test]
fn degree_table_c_is_reported_as_it_is() {
    let mut x = Degrees::new(4);
    x.claim(claim(4, Rank::Helper(priority(1)), 2));
    x.claim(claim(12, Rank::Helper(priority(3)), 1));
    let x = DegreeTable::of(&x);
    let taken: Vec<u16> = (1..=3).map(|number| x.taken(priority(number))).collect();
    assert_eq!((x.total(), x.free(), taken), (4, 1, vec![2, 0, 1]));
    assert_eq!(x.claims().iter().map(|claim| claim.session.0).collect::<Vec<_>>(), [4, 12]);
    let mut y = Degrees::new(2);
    y.claim(claim(5, Rank::Member, 2));
    let y = DegreeTable::of(&y);
    assert_eq!((y.total(), y.free(), y.taken(priority(1))), (2, 0, 2));
    // Another session of the second priority could have what is free and what the third one has.
    assert_eq!(x.available(SessionId(7), Rank::Helper(priority(2))), 2);
    assert_eq!(y.available(SessionId(7), Rank::Helper(priority(1))), 0);
}

#[test]
fn reported_tables_say_what_the_hosts_own_would() {
    let seed = 1;
    let mut random = Random::new(seed, 0);
    for _ in 0..500 {
        let degrees = any_degrees(&mut random);
        let table = DegreeTable::of(&degrees);
        assert!(table.is_possible(), "seed {seed}, {table:?}");
        assert_eq!(table.free(), degrees.free(), "seed {seed}");
        for number in 1..=3 {
            assert_eq!(table.taken(priority(number)), degrees.taken(priority(number)));
        }
        for session in (0..7).map(SessionId) {
            for rank in [Rank::Member, Rank::Helper(priority(1)), Rank::Helper(priority(3))] {
                let own = degrees.available(session, rank);
                assert_eq!(table.available(session, rank), own, "seed {seed}");
            }
        }
    }
}

#[test]
fn of_more_claims_than_fit_the_weakest_have_no_names_but_count() {
    let mut degrees = Degrees::new(DEGREES_MAX);
    for session in 0..300 {
        degrees.claim(claim(session, Rank::Helper(priority(1 + (session % 3) as u8)), 3));
    }
    let table = DegreeTable::of(&degrees);
    assert!(table.is_possible());
    assert_eq!(table.claims().len(), CLAIMS_MAX);
    assert!(table.claims().iter().all(|claim| claim.rank == Rank::Helper(priority(1))));
    assert_eq!((table.free(), degrees.free()), (DEGREES_MAX - 900, DEGREES_MAX - 900));
    let taken: Vec<u16> = (1..=3).map(|number| table.taken(priority(number))).collect();
    assert_eq!(taken, [300; 3]);
    let other = SessionId(1000);
    let rank = Rank::Helper(priority(2));
    assert_eq!(table.available(other, rank), degrees.available(other, rank));
}

/// The longest report that there can be.
fn longest() -> HostReport {
    let wide = SocketAddr::from(([0xfd01u16; 8], u16::MAX));
    let mut contact = Contact::new(PeerId([0xff; 20]), wide);
    contact.others = Some(vec![wide; 3].into());
    let mut host = HostReport::new(&contact);
    host.cpu = Cpu { cores: u16::MAX, idle: u32::MAX };
    host.memory = Memory { total: u32::MAX, available: u32::MAX, cache: u32::MAX };
    host.disk = Disk { total: u32::MAX, available: u32::MAX };
    host.coordinate = Some(Coordinate { axes: [-99_999.0; 8] });
    (host.up, host.down) = (Some(u32::MAX), Some(u32::MAX));
    let mut degrees = Degrees::new(u16::MAX);
    for session in 0..1024 {
        let rank = if session < 24 { Rank::Member } else { Rank::Helper(priority(3)) };
        degrees.claim(claim(u64::MAX - session, rank, 1));
    }
    host.degrees = DegreeTable::of(&degrees);
    host
}

#[test]
fn whatever_a_host_measures_others_take_in_less_than_a_kilobyte() {
    let bytes = longest().to_bytes();
    assert!(bytes.len() <= REPORT_LEN_MAX, "{}", bytes.len());
    let Some(Report::Host(host)) = Report::read(&bytes) else { panic!("it is taken") };
    assert_eq!(host.cpu, Cpu { cores: CORES_MAX, idle: u32::from(CORES_MAX) * 100 });
    assert_eq!(host.memory.available, MEMORY_MAX);
    assert_eq!((host.disk.total, host.up), (DISK_MAX, Some(RATE_MAX)));
    let seed = 2;
    let mut random = Random::new(seed, 0);
    for _ in 0..200 {
        let (position, host) = any_host(&mut random);
        let bytes = host.to_bytes();
        assert!(bytes.len() < 128, "seed {seed}: {}", bytes.len());
        assert!(host.is_at(position));
        assert_eq!(Report::read(&bytes), Some(Report::Host(host)), "seed {seed}");
    }
    for axis in [f64::NAN, f64::INFINITY, -1e9] {
        let mut host = longest();
        host.coordinate = Some(Coordinate { axes: [axis; 8] });
        let Some(Report::Host(host)) = Report::read(&host.to_bytes()) else { panic!("{axis}") };
        assert_eq!(host.coordinate, None);
    }
}

/// The octets of a report that no host makes.
fn forged(change: impl Fn(&mut HostReport)) -> Vec<u8> {
    let mut host = any_host(&mut Random::new(3, 0)).1;
    change(&mut host);
    Report::Host(host).to_bytes()
}

#[test]
fn what_cannot_be_is_no_report() {
    assert!(HostPool.is_report(&forged(|_| {})));
    let coordinate = |axis: f64| {
        forged(move |host| {
            host.coordinate = Some(Coordinate { axes: [axis; 8] });
        })
    };
    let table = |total: u16, claims: Vec<Claim>, unnamed: [u16; 4]| {
        let octets = encode(&(total, claims, unnamed));
        forged(|host| host.degrees = crate::machine::decode(&octets).unwrap())
    };
    let member = |session, degrees| claim(session, Rank::Member, degrees);
    let swapped = |octet: u8| swap::Swapped {
        key: [octet; 32],
        position: RingId::ZERO,
        signature: ([octet; 32], [octet; 32]),
    };
    let swap = swap::SwapRecord { peers: [swapped(1), swapped(2)], term: 1 };
    let hostile = [
        coordinate(f64::NAN),
        coordinate(f64::INFINITY),
        coordinate(f64::NEG_INFINITY),
        coordinate(1.1e5),
        coordinate(-3e38),
        forged(|host| host.cpu.cores = CORES_MAX + 1),
        forged(|host| host.cpu.idle = 1601),
        forged(|host| host.memory.total = MEMORY_MAX + 1),
        forged(|host| host.memory.available = 4097),
        forged(|host| host.memory.cache = u32::MAX),
        forged(|host| host.disk.total = u32::MAX),
        forged(|host| host.disk.available = 10_001),
        forged(|host| host.up = Some(RATE_MAX + 1)),
        forged(|host| host.down = Some(u32::MAX)),
        forged(|host| host.contact.address.set_port(0)),
        forged(|host| host.contact.address.set_ip([224, 0, 0, 1].into())),
        forged(|host| host.contact.others = Some(vec![host.contact.address; 4].into())),
        forged(|host| host.contact.swap = Some(swap.clone().into())),
        table(DEGREES_MAX + 1, Vec::new(), [0; 4]),
        table(4, vec![member(1, 5)], [0; 4]),
        table(4, vec![member(1, 2), member(1, 2)], [0; 4]),
        table(4, vec![member(1, 0)], [0; 4]),
        table(4, vec![member(1, 2)], [1, 1, 1, 0]),
        table(1000, (0..25).map(|session| member(session, 1)).collect(), [0; 4]),
        table(1000, Vec::new(), [u16::MAX; 4]),
        Vec::new(),
        vec![2],
        [forged(|_| {}), vec![0]].concat(),
    ];
    for (number, bytes) in hostile.iter().enumerate() {
        assert!(!HostPool.is_report(bytes), "{number}");
        assert_eq!(HostPool.best(bytes), None, "{number}");
    }
    let entries = hostile.iter().map(|bytes| (RingId::ZERO, bytes.clone()));
    let snapshot = Snapshot::of(entries);
    assert_eq!((snapshot.hosts().len(), snapshot.refused()), (0, hostile.len()));
}

#[test]
fn octets_that_were_changed_are_no_panic() {
    let seed = 4;
    let mut random = Random::new(seed, 0);
    for _ in 0..5000 {
        let (position, host) = any_host(&mut random);
        let mut bytes = host.to_bytes();
        for _ in 0..1 + random.below(4) {
            let place = random.below(bytes.len() as u64) as usize;
            bytes[place] = random.number() as u8;
        }
        bytes.truncate(1 + random.below(bytes.len() as u64) as usize);
        let taken = HostPool.is_report(&bytes);
        let merged = HostPool.merge(&[&host.to_bytes(), &bytes]);
        let Some(Report::Statistics(sum)) = Report::read(&merged) else { panic!("seed {seed}") };
        assert!(sum.machines >= 1, "seed {seed}");
        assert!(taken || sum.machines == 1, "seed {seed}");
        let snapshot = Snapshot::of([(position, bytes)]);
        assert_eq!(snapshot.hosts().len() + snapshot.refused(), 1, "seed {seed}");
    }
}

#[test]
fn merged_reports_are_sums_classes_and_the_most_capable() {
    let seed = 5;
    let mut random = Random::new(seed, 0);
    let hosts: Vec<HostReport> = (0..200).map(|_| any_host(&mut random).1).collect();
    let bytes: Vec<Vec<u8>> = hosts.iter().map(HostReport::to_bytes).collect();
    assert_eq!(HostPool.merge(&[&bytes[0]]), bytes[0], "one alone stays as it is");
    // Up a tree of three parts, one of which is merged again.
    let part = |from: usize, to: usize| {
        let part: Vec<&[u8]> = bytes[from..to].iter().map(Vec::as_slice).collect();
        HostPool.merge(&part)
    };
    let (one, other) = (part(0, 70), HostPool.merge(&[&part(70, 71), &part(71, 150)]));
    let rest: Vec<&[u8]> = bytes[150..].iter().map(Vec::as_slice).collect();
    let merged = HostPool.merge(&[&[one.as_slice(), other.as_slice()], rest.as_slice()].concat());
    assert!(merged.len() <= REPORT_LEN_MAX, "{}", merged.len());
    let Some(Report::Statistics(all)) = Report::read(&merged) else { panic!("a report") };
    let sum = |of: fn(&HostReport) -> u64| hosts.iter().map(of).sum::<u64>();
    assert_eq!(all.machines, 200);
    assert_eq!(Sum::Cores.of(&all), 3200);
    assert_eq!(Sum::Idle.of(&all), sum(|host| host.cpu.idle.into()));
    assert_eq!(Sum::Memory.of(&all), sum(|host| host.memory.available.into()));
    assert_eq!(Sum::Disk.of(&all), sum(|host| host.disk.available.into()));
    assert_eq!(Sum::Up.of(&all), sum(|host| host.up.unwrap_or(0).into()));
    assert_eq!(Sum::Down.of(&all), sum(|host| host.down.unwrap_or(0).into()));
    assert_eq!(Sum::Degrees.of(&all), sum(|host| host.degrees.total().into()));
    assert_eq!(Sum::Free.of(&all), sum(|host| host.degrees.free().into()));
    for (class, count) in all.histogram.iter().enumerate() {
        let of_class = hosts.iter().filter(|host| usize::from(host.degrees.free()) == class);
        assert_eq!(*count as usize, of_class.count(), "seed {seed}, class {class}");
    }
    let mut scores: Vec<(u32, u64)> = hosts.iter().map(|host| (host.score(), host.place)).collect();
    scores.sort_unstable_by(|one, other| other.cmp(one));
    assert!(all.top.len() >= 50);
    assert_eq!(all.top, scores[..all.top.len()]);
    assert_eq!(HostPool.best(&merged), scores.first().copied());
}

/// Statistics as large as they may be are still short enough, and do not overflow.
#[test]
fn absurd_statistics_neither_overflow_nor_grow() {
    let absurd = Statistics {
        machines: u32::MAX,
        sums: vec![u64::MAX; 8],
        histogram: vec![u32::MAX; 16],
        top: (0..64).map(|rank| (u32::MAX - rank, u64::MAX)).collect(),
    };
    let absurd = Report::Statistics(absurd).to_bytes();
    assert!(HostPool.is_report(&absurd));
    let merged = HostPool.merge(&[&longest().to_bytes(), &absurd, &absurd]);
    assert!(merged.len() <= REPORT_LEN_MAX, "{}", merged.len());
    let Some(Report::Statistics(sum)) = Report::read(&merged) else { panic!("a report") };
    assert_eq!((sum.machines, sum.sums[0]), (u32::MAX, u64::MAX));
}

#[test]
fn a_ring_of_nodes_gathers_its_pool_and_lists_it() {
    let somo = somo::Config { degree: 4, op: &HostPool, ..somo::Config::default() };
    let ring = ring::Config { heartbeat: Duration::from_secs(2), ..ring::Config::default() };
    let mut net = Net::new(Duration::from_millis(20));
    let seed = 6;
    let mut random = Random::new(seed, 0);
    let mut free = 0;
    for place in 0..12 {
        net.start(node::Config { ring: ring.clone(), somo: Some(somo), ..Default::default() });
        let boot = if place == 0 { Vec::new() } else { vec![address(0)] };
        net.input(place, Input::Ring(ring::Command::Join(boot)));
        let host =
            HostReport { contact: net.node(place).contact().clone(), ..any_host(&mut random).1 };
        let host = HostReport { place: HostReport::new(&host.contact).place, ..host };
        free += u64::from(host.degrees.free());
        net.input(place, Input::Somo(Command::Sample(host.to_bytes())));
        net.run(Duration::from_secs(1));
    }
    net.run(Duration::from_secs(60));
    let is_root = |place: &usize| net.node(*place).somo().unwrap().is_root();
    let root = (0..12).find(is_root).expect("a root");
    net.input(root, Input::Somo(Command::Gather));
    net.run(Duration::from_secs(5));
    let Some(Report::Statistics(all)) = Report::read(net.node(root).somo().unwrap().report())
    else {
        panic!("the root has gathered")
    };
    assert_eq!((all.machines, Sum::Free.of(&all)), (12, free), "seed {seed}");
    net.input(5, Input::Somo(Command::Query { request: 1, range: Range::ALL, raw: true }));
    net.run(Duration::from_secs(10));
    let listed = net.events[5].iter().filter_map(|(_, event)| match event {
        node::Event::Somo(somo::Event::Listed { request: 1, entries }) => Some(entries.clone()),
        _ => None,
    });
    let snapshot = Snapshot::of(listed.flatten());
    assert_eq!((snapshot.hosts().len(), snapshot.refused()), (12, 0), "seed {seed}");
    let found = snapshot.find(&Wanted::default());
    for found in found {
        let is_it = |place: &usize| net.node(*place).contact().id == found.host.report.contact.id;
        let place = (0..12).find(is_it).expect("a node");
        assert_eq!(net.node(place).ring().position(), found.host.position);
    }
}

#[test]
fn sessions_are_planned_on_a_snapshot() {
    // The root of degree 2 reaches three members 40 ms away (there and back: 80) in three directions by a
    // helper beside it.
    let host = |number: u8, (x, y): (f64, f64), degrees: u16| {
        let contact = Contact::new(PeerId([number; 20]), SocketAddr::from(([10, 0, 0, number], 9)));
        let mut host = HostReport::new(&contact);
        let mut axes = [0.0; 8];
        (axes[0], axes[1]) = (x, y);
        host.coordinate = Some(Coordinate { axes });
        host.degrees = DegreeTable::of(&Degrees::new(degrees));
        (contact.position(), host.to_bytes())
    };
    let hosts = [
        host(1, (0.0, 0.0), 2),
        host(2, (80.0, 0.0), 2),
        host(3, (-80.0, 0.0), 2),
        host(4, (0.0, 80.0), 2),
        host(9, (0.0, 4.0), 6),
    ];
    let positions: Vec<RingId> = hosts.iter().map(|(position, _)| *position).collect();
    let snapshot = Snapshot::of(hosts);
    assert_eq!(snapshot.candidates().len(), 5);
    assert_eq!(snapshot.latency(positions[0], positions[1]), 40_000);
    assert_eq!(snapshot.latency(positions[0], RingId::ZERO), alm::LATENCY_MAX);
    assert_eq!(snapshot.bandwidth(positions[0], positions[1]), u32::MAX);
    let degrees: Vec<u16> = positions
        .iter()
        .map(|host| snapshot.available(*host, SessionId(1), Rank::Helper(priority(2))))
        .collect();
    assert_eq!(degrees, [2, 2, 2, 2, 6]);
    let network = |from: usize, to: usize| snapshot.latency(positions[from], positions[to]);
    let config = alm::Config::default();
    let problem = alm::Problem::new(&network, &config, &degrees, 4).unwrap();
    let tree = alm::plan(&problem).unwrap();
    assert!(tree.contains(4), "{tree:?}");
}
