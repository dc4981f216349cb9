use super::*;

fn report() -> Report {
    let row = |nodes: u64, figure| {
        Row::new("ratio", figure, "seed 001 paragraph 0029")
            .with("nodes", nodes)
            .with("transport", "xcast")
            .beside(0.11)
            .target(Target::AtMost(0.13))
    };
    let rows = vec![row(1000, 0.0825), row(4000, 0.2), Row::new("groups", 72.0, "ts600")];
    Report { rows, event_hash: Some(0xabc), notes: vec!["seals prove nothing".into()] }
}

#[test]
fn the_json_has_the_keys_that_people_script_against() {
    let json = report().to_json("locality-distance", 7, 1.5);
    let expected = serde_json::json!({
        "experiment": "locality-distance",
        "seed": 7,
        "rows": [
            {"name": "ratio", "parameters": {"nodes": 1000, "transport": "xcast"},
             "figure": 0.0825, "source-figure": 0.11, "source": "seed 001 paragraph 0029",
             "met": true},
            {"name": "ratio", "parameters": {"nodes": 4000, "transport": "xcast"},
             "figure": 0.2, "source-figure": 0.11, "source": "seed 001 paragraph 0029",
             "met": false},
            {"name": "groups", "parameters": {}, "figure": 72, "source-figure": null,
             "source": "ts600"},
        ],
        "event-hash": "0000000000000abc",
        "wall-seconds": 1.5,
        "notes": ["seals prove nothing"],
    });
    assert_eq!(json, expected);
}

#[test]
fn the_table_says_what_was_missed() {
    let text = table::draw("locality-distance", &report(), 7, 1.5);
    assert!(text.contains("<= 0.13 met") && text.contains("<= 0.13 MISSED"), "{text}");
    assert!(text.contains("1 MISSED, 1.5 s"), "{text}");
    let lines: Vec<&str> = text.lines().skip(2).take(3).collect();
    let column = lines[1].find("seed 001");
    assert!(column.is_some() && lines[2].find("seed 001") == column, "{text}");
}

#[test]
fn a_target_is_met_on_its_edge_and_by_no_missing_number() {
    for target in [Target::AtMost(1.0), Target::AtLeast(1.0), Target::Within(0.5, 1.0)] {
        assert!(target.is_met(1.0) && !target.is_met(f64::NAN), "{target:?}");
    }
    assert!(!Target::AtMost(1.0).is_met(1.1) && !Target::AtLeast(1.0).is_met(0.9));
    assert!(!Target::Within(0.5, 1.0).is_met(0.4) && !Target::Within(0.5, 1.0).is_met(1.1));
}

#[test]
fn numbers_are_short() {
    let cases = [(0.0825, "0.0825"), (72.0, "72"), (0.123_456, "0.1235"), (12_345.6, "12346")];
    for (figure, text) in cases.into_iter().chain([(1.5e-5, "0.000015"), (7.0626, "7.063")]) {
        assert_eq!(table::short(figure), text);
    }
}

#[test]
fn a_chart_has_a_field_for_each_name_and_a_line_for_the_source() {
    let svg = chart::draw("locality-distance", &report(), 7);
    for part in
        ["locality-distance: ratio", "locality-distance: groups", "the source", ">nodes<", ">4000<"]
    {
        assert!(svg.contains(part), "{part} is not in {svg}");
    }
    assert_eq!(svg.matches("<g ").count(), svg.matches("</g>").count());
}
