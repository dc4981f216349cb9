//! Every shipped example loads, and so does what it prints.

use std::fs;
use std::path::PathBuf;

use router_config::{Driver, Metrics, ReversePath, RouteTarget, XcastNeighbors};

fn path(relative: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(relative)
}

fn read(relative: &str) -> String {
    fs::read_to_string(path(relative)).expect("the file is in the crate")
}

/// Parses a text that must be right; the second value is its warnings as printed.
fn load(file: &str, text: &str) -> (router_config::Config, Vec<String>) {
    let render = |found: Vec<router_config::Diagnostic>| -> Vec<String> {
        found.iter().map(|diagnostic| diagnostic.render(file, text)).collect()
    };
    match router_config::parse(text) {
        Ok((config, warnings)) => (config, render(warnings)),
        Err(errors) => panic!("{}", render(errors).join("\n")),
    }
}

#[test]
fn every_shipped_example_parses_and_prints_itself() {
    let mut names = Vec::new();
    for entry in fs::read_dir(path("examples")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let text = read(&format!("examples/{name}"));
        let experiment = router_config::parse_experiment(&text).unwrap();
        if name != "experiment.toml" {
            let (config, _) = load(&name, &text);
            assert_eq!(config.experiment, experiment);
            let printed = config.to_string();
            assert_eq!(load(&name, &printed).0, config, "{printed}");
        }
        names.push(name);
    }
    names.sort();
    assert_eq!(names, ["edge.toml", "experiment.toml", "lab.toml", "relay.toml", "router.toml"]);
}

#[test]
fn all_that_the_examples_say_is_in_effect() {
    for name in ["lab.toml", "router.toml", "edge.toml", "relay.toml"] {
        assert_eq!(load(name, &read(&format!("examples/{name}"))).1, [""; 0]);
    }
}

#[test]
fn every_key_is_accepted_with_warnings_only() {
    let text = read("tests/every-key.toml");
    let (config, warnings) = load("every-key.toml", &text);
    let not_in_effect = "is accepted but not in effect in this release";
    assert_eq!(
        warnings,
        [format!(
            "every-key.toml:16:11: warning: `metrics` {not_in_effect}: no metrics are served"
        ),]
    );
    let printed = config.to_string();
    assert_eq!(load("printed", &printed).0, config, "{printed}");

    assert_eq!(config.router.metrics, Some(Metrics::Tcp("127.0.0.1:9464".parse().unwrap())));
    assert_eq!(config.port[1].driver, Driver::Packet);
    assert_eq!(config.port[1].xcast_neighbors, XcastNeighbors::None);
    assert!(config.neighbor[0].xcast && !config.neighbor[1].xcast);
    assert_eq!(config.route[2].target, RouteTarget::Tunnel("x3".to_owned()));
    assert_eq!(config.route[3].target, RouteTarget::Drop);
    let kinds: Vec<&str> = config.tunnel.iter().map(|tunnel| tunnel.kind.word()).collect();
    assert_eq!(kinds, ["ipip", "udp", "udp", "semi-permeable", "anycast"]);
    assert!(config.tunnel[1].keys.is_some() && config.tunnel[2].keys.is_none());
}

#[test]
fn ports_have_their_own_settings_over_the_defaults() {
    let (mut config, _) = load("router.toml", &read("examples/router.toml"));
    assert_eq!(config.port_settings("eth1").unwrap().reverse_path, ReversePath::Loose);
    let eth0 = config.port_settings("eth0").unwrap();
    assert_eq!(eth0.reverse_path, ReversePath::Strict);
    assert_eq!(eth0.xcast_neighbors, XcastNeighbors::Probe, "from [ports]");
    assert_eq!(config.port_settings("eth2"), None, "others are listed and it is not");
    config.port.clear();
    assert_eq!(config.port_settings("eth2"), Some(config.ports.port("eth2")));
}

#[test]
fn the_printed_form_has_every_default() {
    let (config, _) = load("lab.toml", &read("examples/lab.toml"));
    let expected = r#"[experiment]
ip-protocol = 253
all-routers-v4 = "224.0.0.254"
all-routers-v6 = "ff02::114"
routing-type = 253
ports-option = 0x5e
hop-by-hop-option = 0x1e
tunnel-port = 1021

[router]
name = "r1"
control-socket = "/run/xcast/r1.sock"
workers = 1
fib = "poptrie"
sandbox = true
compact = false
anycast-addresses = []

[ports]
driver = "auto"
reverse-path = "strict"
xcast-neighbors = "probe"
accept-group-frames = false

[routes]
kernel-tables = [254]

[semi-permeable]
accept = []

[limits]
destinations-per-second = 0
sources = []
destinations = []
allow-icmp-echo = false
icmp-errors-per-second = 100
"#;
    assert_eq!(config.to_string(), expected);
}
