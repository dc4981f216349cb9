//! Exit status 0 is done, 1 is work that failed, 2 is wrong usage or configuration; and whoever
//! reads the complaint knows what to do.

use std::process::Command;

use crate::lab::process::Ended;
use crate::lab::{Lab, write_config, xcast};
use crate::support::in_namespaces;

/// A node with nothing running on it.
fn alone() -> Lab {
    let mut lab = Lab::new();
    lab.forwarders(&["r"]);
    lab
}

fn run(lab: &mut Lab, arguments: &[&str]) -> Ended {
    lab.run("r", arguments[0], xcast().args(arguments).env_remove("XCAST_EXPERIMENT")).finish()
}

fn write(name: &str, text: &str) -> String {
    let file = format!("/run/lab/{name}");
    std::fs::write(&file, text).unwrap();
    file
}

#[test]
fn check_names_all_that_is_wrong_by_file_line_and_column() {
    in_namespaces("exit_status::check_names_all_that_is_wrong_by_file_line_and_column", || {
        let mut lab = alone();
        let file =
            write_config("r", "[ports]\nreverse-path = \"sideways\"\nxcast-neighbours = \"all\"");
        let text = std::fs::read_to_string(&file).unwrap();
        let line_of = |word| text.lines().position(|line| line.contains(word)).unwrap() + 1;
        let ended = run(&mut lab, &["router", "check", "--config", &file]);
        assert_eq!((ended.status, ended.output.as_slice()), (Some(2), &[][..]));
        for (word, says) in [("sideways", "strict"), ("xcast-neighbours", "xcast-neighbors")] {
            let place = format!("{file}:{}:", line_of(word));
            let mut lines = ended.errors.iter();
            let line = lines.find(|line| line.starts_with(&place));
            let line = line.unwrap_or_else(|| panic!("no {place} in {:?}", ended.errors));
            let column = line[place.len()..].split(':').next().unwrap();
            assert!(column.parse::<u32>().is_ok(), "a column: {line}");
            let all = ended.errors.join("\n");
            assert!(all.contains(says), "`{says}` would be right: {all}");
        }
        // What does not pass the check does not run either.
        let ended = run(&mut lab, &["router", "run", "--config", &file]);
        assert_eq!(ended.status, Some(2), "{:?}", ended.errors);
    });
}

#[test]
fn a_right_configuration_passes_and_prints_itself() {
    in_namespaces("exit_status::a_right_configuration_passes_and_prints_itself", || {
        let mut lab = alone();
        let file = write_config("r", "");
        let ended = run(&mut lab, &["router", "check", "--config", &file]);
        assert_eq!((ended.status, ended.output.len()), (Some(0), 0), "{:?}", ended.errors);
        let printed = run(&mut lab, &["router", "check", "--print", "--config", &file]);
        assert_eq!(printed.status, Some(0), "{:?}", printed.errors);
        let again = write("again.toml", &printed.output.join("\n"));
        let second = run(&mut lab, &["router", "check", "--print", "--config", &again]);
        assert_eq!((second.status, second.output), (Some(0), printed.output));
    });
}

#[test]
fn nothing_is_put_on_a_wire_without_code_points() {
    in_namespaces("exit_status::nothing_is_put_on_a_wire_without_code_points", || {
        let mut lab = alone();
        let incomplete =
            write("incomplete.toml", "[experiment]\nall-routers-v4 = \"224.0.0.254\"\n");
        let empty = write("empty.toml", "");
        for file in [incomplete.as_str(), &empty, "/run/lab/no-such-file"] {
            let to = ["send", "--to", "10.0.0.1:9,10.0.0.2:9", "--experiment", file];
            let ended = run(&mut lab, &to);
            assert_eq!(ended.status, Some(2), "{file}: {:?}", ended.errors);
            let names_it = ended.errors.iter().any(|line| line.contains("ip-protocol"));
            assert!(names_it, "{file}: {:?}", ended.errors);
        }
        let file = write("router.toml", "[router]\nname = \"r\"\n");
        let ended = run(&mut lab, &["router", "run", "--config", &file]);
        assert_eq!(ended.status, Some(2));
        let names_it = ended.errors.iter().any(|line| line.contains("experiment"));
        assert!(names_it, "{:?}", ended.errors);
    });
}

#[test]
fn what_cannot_be_done_ends_with_1_and_what_cannot_be_meant_with_2() {
    in_namespaces(
        "exit_status::what_cannot_be_done_ends_with_1_and_what_cannot_be_meant_with_2",
        || {
            let mut lab = alone();
            let send = ["send", "--experiment", crate::lab::EXPERIMENT_FILE, "--to"];
            let many = vec!["10.0.0.1:9"; 128].join(",");
            let cases: [(&[&str], i32, &str); 11] = [
                (&["show", "ports"], 1, "--socket"),
                (&["show", "ports", "--socket", "/run/lab/none.sock"], 1, "/run/lab/none.sock"),
                (&["show", "nonsense"], 2, "nonsense"),
                (&["router", "run", "--config", "/run/lab/none.toml"], 2, "/run/lab/none.toml"),
                (&["recv", "--port", "9", "--timeout", "1ms"], 1, "no datagram"),
                (&["recv", "--port", "70000"], 2, "70000"),
                (&["recv", "--port", "9", "--experiment", "/run/lab/none"], 2, "/run/lab/none"),
                (&[&send[..], &[&many]].concat(), 1, "route"),
                (&[&send[..], &["10.0.0.1:9"]].concat(), 1, "route"),
                (&[&send[..], &["10.0.0.1"]].concat(), 2, "port"),
                (&[&send[..], &["nowhere:9"]].concat(), 2, "nowhere"),
            ];
            for (arguments, status, says) in cases {
                let ended = run(&mut lab, arguments);
                assert_eq!(ended.status, Some(status), "{arguments:?}: {:?}", ended.errors);
                let complains = ended.errors.iter().any(|line| line.contains(says));
                assert!(complains, "{arguments:?}: {:?}", ended.errors);
            }
        },
    );
}

#[test]
fn without_the_privilege_it_says_which_one_is_missing() {
    in_namespaces("exit_status::without_the_privilege_it_says_which_one_is_missing", || {
        let mut lab = alone();
        lab.hosts(&["a"]);
        lab.link("a", "r");
        let file = write_config("r", "");
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set=-net_raw", "--inh-caps=-net_raw"]);
        command.arg(env!("CARGO_BIN_EXE_xcast")).args(["router", "run", "--config", &file]);
        let ended = lab.run("r", "unprivileged", &mut command).finish();
        assert_eq!(ended.status, Some(1), "{:?}", ended.errors);
        assert_eq!(ended.output, Vec::<String>::new(), "it must not say that it is ready");
        let names_it = ended.errors.iter().any(|line| line.contains("CAP_NET_RAW"));
        assert!(names_it, "{:?}", ended.errors);
        // It has taken back what it had done until then.
        assert!(!lab.ip("r", "maddr show dev a").contains("224.0.0.254"));
        assert!(!std::path::Path::new(&crate::lab::socket_path("r")).exists());
        lab.start_routers(&["r"]);
        assert_eq!(lab.port("r", "a")["kernel-drop"], true);
    });
}
