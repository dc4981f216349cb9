//! Queries beside the slow and obvious way to answer them.

use super::*;

/// All hosts looked at, and all of those that fit sorted.
fn slow<'a>(snapshot: &'a Snapshot, wanted: &Wanted) -> Vec<(Option<f64>, &'a Pooled)> {
    let mut fit = Vec::new();
    for host in snapshot.hosts().iter().filter(|host| wanted.fits(&host.report)) {
        match (wanted.near, host.report.coordinate) {
            (None, _) => fit.push((None, host)),
            (Some(near), Some(at)) if at.distance(&near.to) <= near.within => {
                fit.push((Some(at.distance(&near.to)), host));
            }
            _ => {}
        }
    }
    fit.sort_by(|(one, host), (other, next)| {
        let order = one.unwrap_or(0.0).partial_cmp(&other.unwrap_or(0.0)).unwrap();
        order.then(host.position.cmp(&next.position))
    });
    fit.truncate(wanted.count);
    fit
}

fn any_snapshot(count: usize, random: &mut Random) -> Snapshot {
    let entries = (0..count).map(|_| {
        let (position, host) = any_host(random);
        (position, host.to_bytes())
    });
    Snapshot::of(entries.collect::<Vec<_>>())
}

fn any_wanted(random: &mut Random) -> Wanted {
    let axes: [f64; 8] =
        core::array::from_fn(|axis| if axis < 3 { random.below(240) as f64 - 120.0 } else { 0.0 });
    let near = Near { to: Coordinate { axes }, within: random.below(150) as f64 };
    let mut one_in = |times: u64| random.below(times) == 0;
    let (has_place, is_idle, has_memory) = (!one_in(5), one_in(4), one_in(4));
    let (has_disk, has_up, has_down, has_session) = (one_in(6), one_in(6), one_in(6), one_in(2));
    let least = |asked: bool, least: u32| if asked { least } else { 0 };
    Wanted {
        near: has_place.then_some(near),
        degrees: random.below(8) as u16,
        session: has_session.then(|| {
            let claim = any_claim(random);
            (claim.session, claim.rank)
        }),
        idle: least(is_idle, 800),
        memory: least(has_memory, 2048),
        disk: least(has_disk, 3000),
        up: least(has_up, 20_000),
        down: least(has_down, 20_000),
        count: match random.below(3) {
            0 => usize::MAX,
            _ => random.below(30) as usize,
        },
    }
}

#[test]
fn queries_are_answered_as_by_looking_at_all_hosts() {
    let (seed, mut answers) = (11, 0);
    let mut random = Random::new(seed, 0);
    for count in [0, 1, 2, 30, 400, 2000] {
        let snapshot = any_snapshot(count, &mut random);
        assert_eq!((snapshot.hosts().len(), snapshot.refused()), (count, 0));
        for _ in 0..300 {
            let wanted = any_wanted(&mut random);
            let found = snapshot.find(&wanted);
            let found: Vec<_> = found.iter().map(|found| (found.distance, found.host)).collect();
            assert_eq!(found, slow(&snapshot, &wanted), "seed {seed}, {wanted:?}");
            answers += found.len();
        }
    }
    assert!(answers > 1000, "most queries found something: {answers}");
}

#[test]
fn twenty_hosts_within_30_ms_with_four_free_degrees() {
    let at = |x: f64, y: f64| {
        let mut axes = [0.0; 8];
        (axes[0], axes[1]) = (x, y);
        Coordinate { axes }
    };
    let mut entries = Vec::new();
    for number in 0..200u16 {
        let ip = Ipv4Addr::new(10, 0, (number / 250) as u8, (number % 250) as u8 + 1);
        let mut id = PeerId([0; 20]);
        id.0[..2].copy_from_slice(&(number * 300).to_be_bytes());
        let mut host = HostReport::new(&Contact::new(id, SocketAddr::from((ip, 9000))));
        host.coordinate = Some(at(f64::from(number % 100), 0.0));
        host.degrees = DegreeTable::of(&Degrees::new(2 + number % 4));
        entries.push((id.position(), host.to_bytes()));
    }
    let snapshot = Snapshot::of(entries);
    let near = Some(Near { to: at(50.0, 0.0), within: 30.0 });
    let wanted = Wanted { near, degrees: 4, count: 20, ..Wanted::default() };
    let found = snapshot.find(&wanted);
    assert_eq!(found.len(), 20);
    let distances: Vec<f64> = found.iter().filter_map(|found| found.distance).collect();
    // 50 has degree 4 and 51 has 5, 46 and 47 as well, and so on; each is there twice.
    assert_eq!(distances[..8], [0.0, 0.0, 1.0, 1.0, 3.0, 3.0, 4.0, 4.0]);
    assert!(distances.is_sorted());
    let all = snapshot.find(&Wanted { count: usize::MAX, ..wanted });
    assert_eq!(all.len(), 60, "22, 23, 26, 27, ... 79, twice");
    assert!(all.iter().all(|found| found.host.report.degrees.free() >= 4));
    assert_eq!(all[..20], found);
    assert!(snapshot.find(&Wanted { degrees: 6, ..wanted }).is_empty());
}

#[test]
fn a_place_that_is_none_has_nobody_near() {
    let mut random = Random::new(12, 0);
    let snapshot = any_snapshot(50, &mut random);
    let near = |axis: f64, within: f64| {
        let mut to = Coordinate::ORIGIN;
        to.axes[0] = axis;
        let found = snapshot.find(&Wanted { near: Some(Near { to, within }), ..Wanted::default() });
        found.len()
    };
    for (axis, within) in [
        (f64::NAN, 1e9),
        (f64::INFINITY, 1e9),
        (f64::NEG_INFINITY, 1e9),
        (0.0, f64::NAN),
        (0.0, -1.0),
    ] {
        assert_eq!(near(axis, within), 0, "{axis}, {within}");
    }
    let placed = snapshot.hosts().iter().filter(|host| host.report.coordinate.is_some()).count();
    assert_eq!(near(0.0, f64::INFINITY), placed);
}

#[test]
fn the_later_report_of_a_host_holds_and_others_positions_are_refused() {
    let mut random = Random::new(13, 0);
    let (position, host) = any_host(&mut random);
    let (_, other) = any_host(&mut random);
    let later = HostReport { cpu: Cpu { cores: 1, idle: 7 }, ..host.clone() };
    let sums = Report::Statistics(Statistics { machines: 1, ..Default::default() }).to_bytes();
    let entries = [
        (position, host.to_bytes()),
        (position, later.to_bytes()),
        (position, other.to_bytes()),
        (position, sums),
    ];
    let snapshot = Snapshot::of(entries);
    assert_eq!((snapshot.hosts().len(), snapshot.refused()), (1, 2));
    assert_eq!(snapshot.host(position), Some(&later));
    assert_eq!(snapshot.host(RingId::ZERO), None);
}

#[test]
fn a_snapshot_has_so_many_hosts_and_no_more() {
    let template = any_host(&mut Random::new(14, 0)).1;
    let entries = (0..HOSTS_MAX as u64 + 5).map(|number| {
        let mut position = RingId::ZERO;
        position.0[..8].copy_from_slice(&(number << 16).to_be_bytes());
        (position, HostReport { place: number, ..template.clone() }.to_bytes())
    });
    let snapshot = Snapshot::of(entries);
    assert_eq!((snapshot.hosts().len(), snapshot.refused()), (HOSTS_MAX, 5));
}
