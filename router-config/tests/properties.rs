//! What holds for every configuration and for every text: printing and parsing are inverse, and no
//! text makes the parser panic or point outside the text.
//!
//! Each run prints its seed; `PROPTEST_RNG_SEED=N cargo test -p router-config` repeats it.

mod arbitrary;

use std::time::{SystemTime, UNIX_EPOCH};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::RngSeed;
use router_config::Severity;

/// A configuration whose seed is known and printed, so that a failure can be repeated.
fn seeded(about: &str, cases: u32) -> ProptestConfig {
    let mut config = ProptestConfig { cases, failure_persistence: None, ..Default::default() };
    if config.rng_seed == RngSeed::Random {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
        config.rng_seed = RngSeed::Fixed(now.as_nanos() as u64);
    }
    println!("{about}: PROPTEST_RNG_SEED={}", config.rng_seed);
    config
}

const VALID: [&str; 4] = [
    include_str!("every-key.toml"),
    include_str!("../examples/lab.toml"),
    include_str!("../examples/router.toml"),
    include_str!("../examples/edge.toml"),
];

/// Parses, and checks everything that must hold whatever the text is.
fn check_any(text: &str) {
    let (diagnostics, is_ok) = match router_config::parse(text) {
        Ok((config, warnings)) => {
            let printed = config.to_string();
            let again = router_config::parse(&printed).expect("what is printed parses");
            assert_eq!(again.0, config);
            (warnings, true)
        }
        Err(diagnostics) => (diagnostics, false),
    };
    let has_error = diagnostics.iter().any(|found| found.severity == Severity::Error);
    assert_eq!(has_error, !is_ok, "errors are what makes it fail");
    assert!(diagnostics.is_sorted_by_key(|found| found.span.start));
    for found in &diagnostics {
        assert!(text.get(found.span.clone()).is_some(), "{found:?} is not in the text");
        let line = found.render("f", text);
        assert!(!line.contains(char::is_control), "{line:?} is more than a line");
    }
    let experiment = router_config::parse_experiment(text);
    assert!(experiment.is_ok() || experiment.is_err_and(|found| !found.is_empty()));
}

proptest! {
    #![proptest_config(seeded("any configuration", 256))]
    #[test]
    fn printing_parses_to_an_equal_config(config in arbitrary::config()) {
        let printed = config.to_string();
        match router_config::parse(&printed) {
            Ok((again, _)) => prop_assert_eq!(&again, &config, "{}", printed),
            Err(found) => {
                let lines: Vec<_> = found.iter().map(|f| f.render("printed", &printed)).collect();
                prop_assert!(false, "{}\n{printed}", lines.join("\n"));
            }
        }
        prop_assert_eq!(router_config::parse_experiment(&printed), Ok(config.experiment));
    }
}

proptest! {
    #![proptest_config(seeded("any text", 512))]
    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..400)) {
        check_any(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn random_toml_pieces_never_panic(pieces in vec(piece(), 0..60)) {
        check_any(&pieces.concat());
    }

    #[test]
    fn mutated_examples_never_panic(
        (text, edits) in (select(&VALID[..]), vec((any::<prop::sample::Index>(), edit()), 1..8))
    ) {
        let mut text: Vec<char> = text.chars().collect();
        for (at, edit) in edits {
            let at = at.index(text.len().max(1)).min(text.len());
            match edit {
                Edit::Delete(count) => drop(text.drain(at..(at + count).min(text.len()))),
                Edit::Insert(piece) => drop(text.splice(at..at, piece.chars())),
                Edit::Copy(count, to) => {
                    let copied = text[at..(at + count).min(text.len())].to_vec();
                    let to = to.index(text.len() + 1);
                    text.splice(to..to, copied);
                }
            }
        }
        check_any(&text.into_iter().collect::<String>());
    }
}

#[derive(Clone, Debug)]
enum Edit {
    Delete(usize),
    Insert(String),
    Copy(usize, prop::sample::Index),
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        (1..40_usize).prop_map(Edit::Delete),
        piece().prop_map(Edit::Insert),
        (1..80_usize, any::<prop::sample::Index>()).prop_map(|(count, to)| Edit::Copy(count, to)),
    ]
}

/// Bits of TOML, sound and broken, and of what configurations are made of.
fn piece() -> impl Strategy<Value = String> {
    let fixed = select(
        &[
            "[",
            "]",
            "[[",
            "]]",
            "{",
            "}",
            "=",
            ".",
            ",",
            "#",
            "\"",
            "'",
            "'''",
            "\"\"\"",
            "\\",
            "\n",
            "\r\n",
            "\r",
            "\0",
            "\u{feff}",
            "é",
            "\u{2028}",
            " ",
            "\t",
            "0x",
            "-",
            "+",
            "1e9",
            "inf",
            "nan",
            "true",
            "false",
            "1979-05-27",
            "07:32:00",
            "[experiment]\n",
            "[router]\n",
            "[[port]]\n",
            "[ports]\n",
            "[[route]]\n",
            "[[tunnel]]\n",
            "name = ",
            "prefix = ",
            "interface = ",
            "kind = \"udp\"\n",
            "drop = true\n",
            "via = ",
            "\"10.0.0.0/8\"\n",
            "\"::1\"\n",
            "kernel-tables = [254, 1]\n",
            "99999999999999999999999999999999999999999",
        ][..],
    )
    .prop_map(str::to_owned);
    prop_oneof![4 => fixed, 1 => any::<char>().prop_map(String::from), 1 => "[a-z-]{1,9}"]
}
