//! The command line as people script against it.

use std::process::{Command, Output};

use serde_json::Value;

fn overlay_sim(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_overlay-sim")).args(arguments).output().expect("it runs")
}

#[test]
fn an_unknown_experiment_is_wrong_usage_and_the_nearest_is_named() {
    let output = overlay_sim(&["run", "locality-distanse"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("`locality-distance`"));
}

#[test]
fn the_list_names_all_experiments() {
    let output = overlay_sim(&["list"]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for experiment in overlay_simulator::experiments::ALL {
        assert!(text.contains(experiment.name), "{} is not in {text}", experiment.name);
    }
}

#[test]
fn json_is_one_object_with_rows_and_a_chart_is_written() {
    let file = std::env::temp_dir().join(format!("overlay-sim-{}.svg", std::process::id()));
    let plot = file.display().to_string();
    let output =
        overlay_sim(&["run", "scale", "--nodes", "50", "--seed", "5", "--json", "--plot", &plot]);
    assert_eq!(output.status.code(), Some(0));
    let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&json["experiment"], &json["seed"]), (&"scale".into(), &5.into()));
    let rows = json["rows"].as_array().expect("rows");
    assert!(!rows.is_empty());
    for row in rows {
        assert!(row["name"].is_string() && row["figure"].is_number(), "{row}");
        assert_eq!(row["parameters"]["nodes"], 50, "{row}");
        assert!(row["source-figure"].is_null() && row["source"].is_string(), "{row}");
    }
    let svg = std::fs::read_to_string(&file).expect("the chart");
    std::fs::remove_file(&file).expect("it is there");
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
}

#[test]
fn what_an_experiment_cannot_follow_is_wrong_usage_and_not_passed_over() {
    for experiment in overlay_simulator::experiments::ALL {
        for flags in [["--matrix", "rtt.txt"], ["--transport", "both"]] {
            // One has rows for either transport, one is about matrices.
            if [("lab", "--transport"), ("coordinates", "--matrix")]
                .contains(&(experiment.name, flags[0]))
            {
                continue;
            }
            let output = overlay_sim(&["run", experiment.name, flags[0], flags[1]]);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2), "{} {flags:?}: {said}", experiment.name);
            assert!(said.contains(experiment.name) && said.contains(flags[0]), "{said}");
        }
    }
}

#[test]
fn a_matrix_of_ones_own_is_read_and_one_that_is_not_there_is_named() {
    let file = std::env::temp_dir().join(format!("overlay-sim-{}.top", std::process::id()));
    let mut text = String::new();
    for node in 1..=8 {
        text += &format!("node {node}\n");
    }
    for (one, other) in (1..=8).flat_map(|one| (one + 1..=8).map(move |other| (one, other))) {
        text += &format!("{one},{other} {}\n", 10 * (other - one));
    }
    std::fs::write(&file, text).expect("it can be written");
    let path = file.display().to_string();
    let output = overlay_sim(&["run", "coordinates", "--scale", "ci", "--matrix", &path, "--json"]);
    std::fs::remove_file(&file).expect("it is there");
    let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let row = &json["rows"][0];
    let name = format!("overlay-sim-{}", std::process::id());
    assert_eq!(
        (&row["parameters"]["matrix"], &row["parameters"]["nodes"]),
        (&name.into(), &8.into())
    );
    let output = overlay_sim(&["run", "coordinates", "--matrix", &path]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains(&path));
}
