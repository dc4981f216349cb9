//! Every experiment, at the size that is tested at every change, meets its targets.

use indicatif::ProgressBar;
use overlay_simulator::experiments::{ALL, Options, Scale};
use overlay_simulator::report::{Report, table};

fn run(name: &str, seed: u64) -> Report {
    let experiment = ALL.iter().find(|one| one.name == name).expect("it is listed");
    let options = Options { scale: Scale::Ci, seed, ..Options::default() };
    (experiment.run)(&options, &ProgressBar::hidden()).expect("it runs")
}

fn meets_its_targets(name: &str) {
    let report = run(name, 1);
    assert!(report.rows.iter().any(|row| row.target.is_some()), "{name} has no targets");
    assert_eq!(report.missed(), 0, "{}", table::draw(name, &report, 1, 0.0));
}

#[test]
fn neighbors_in_groups_are_near() {
    meets_its_targets("locality-distance");
}

#[test]
fn groups_follow_the_stub_domains() {
    meets_its_targets("locality-groups");
}

#[test]
fn a_group_without_leaders_finds_one() {
    meets_its_targets("locality-leader-crash");
}

#[test]
fn lookups_are_right_and_keys_are_kept_while_peers_come_and_go() {
    meets_its_targets("ring-churn");
}

#[test]
fn the_same_seed_gives_the_same_events_of_whole_nodes() {
    let hash = |seed| {
        let experiment = ALL.iter().find(|one| one.name == "scale").expect("it is listed");
        let options = Options { nodes: Some(100), seed, ..Options::default() };
        (experiment.run)(&options, &ProgressBar::hidden()).expect("it runs").event_hash
    };
    assert!(hash(3).is_some());
    assert_eq!(hash(3), hash(3));
    assert_ne!(hash(3), hash(4));
}

#[test]
fn a_large_overlay_stays_whole() {
    let report = run("scale", 1);
    let note = &report.notes[0];
    // "..., 1990 in the ring and 1995 in groups at the end"
    let count = |word: &str| {
        let before = note.split(word).next().unwrap_or_default().trim_end();
        before.rsplit(' ').next().and_then(|count| count.parse::<usize>().ok()).unwrap_or(0)
    };
    assert!(count(" in the ring") >= 1_980 && count(" in groups") >= 1_980, "{note}");
}
