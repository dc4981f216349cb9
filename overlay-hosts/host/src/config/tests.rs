use super::*;

const EXPERIMENT: &str = r#"[experiment]
ip-protocol = 253
all-routers-v4 = "224.0.0.254"
all-routers-v6 = "ff02::114"
routing-type = 253
ports-option = 0x5e
hop-by-hop-option = 0x1e
tunnel-port = 1021
"#;

/// What is wrong with a text, a line each.
fn complaints(text: &str) -> String {
    let wrong = parse(text).expect_err("something is wrong with it");
    wrong.iter().map(|each| each.render("x", text)).collect::<Vec<_>>().join("\n")
}

fn printed_again(text: &str) -> (String, String) {
    let (config, _) = parse(text).unwrap_or_else(|_| panic!("{}", complaints(text)));
    let once = config.to_string();
    let (again, warnings) = parse(&once).unwrap_or_else(|_| panic!("{}", complaints(&once)));
    assert!(warnings.is_empty());
    (once, again.to_string())
}

#[test]
fn what_is_printed_loads_and_prints_the_same() {
    let every = format!(
        r#"{EXPERIMENT}
[host]
name = "h"
control-socket = "/tmp/a \"b\".sock"
state-directory = "/tmp/state"
transport = "xcast"
interface = "eth0"
seal = "open"
degrees = 7
seed = "00ff"
[[peer]]
name = "one"
listen = ["10.0.0.1:7000", "[2001:db8::1]:7000"]
addresses = ["192.0.2.9:7000"]
identity-file = "/tmp/key"
[[peer]]
listen = ["0.0.0.0:7001"]
[rendezvous]
boot = ["192.0.2.1:9000", "rv.example:9000", "dhcp"]
dhcp-interface = "eth0"
dhcp-option = 225
dedicated = true
[ring]
heartbeat = "1s 500ms"
[locality]
enabled = false
metric = "hops"
near-leader = 3
[metrics]
pairs = false
interval = "7s"
[somo]
degree = 3
synchronized = false
exchange = 1048576
[parallel]
mode = "marked"
spares = "sender"
delay = "0s"
"#
    );
    for text in [&every, include_str!("../../examples/overlay-host.toml"), MINIMAL] {
        let (once, again) = printed_again(text);
        assert_eq!(once, again);
    }
    let (printed, _) = printed_again(&every);
    for kept in [
        "heartbeat = \"1s 500ms\"",
        "seed = \"00000000000000ff\"",
        "name = \"h-2\"",
        "spares = \"sender\"",
        "pairs = false",
        "interval = \"7s\"",
        "degrees = 7",
        "degree = 3",
        "synchronized = false",
        "exchange = 1048576",
        "dedicated = true",
        "delay = \"0s\"",
    ] {
        assert!(printed.contains(kept), "{kept} in\n{printed}");
    }
}

const MINIMAL: &str = "[host]\nname = \"h\"\ntransport = \"unicast\"\n";

#[test]
fn every_default_is_the_documented_one() {
    let (config, _) = parse(MINIMAL).unwrap();
    assert_eq!(config.host.control_socket, Path::new("/run/xcast/overlay/h.sock"));
    assert_eq!(config.host.state_directory, Path::new("/var/lib/xcast/overlay/h"));
    assert_eq!(config.host.seal, SealKind::Signed);
    assert_eq!(config.rendezvous, Rendezvous::default());
    assert_eq!(config.rendezvous.dhcp_option, 224);
    assert_eq!(config.machines.parallel.delay.as_millis(), 20);
    assert!(config.machines.locality.is_some());
    assert!(config.machines.somo.is_none());
    assert_eq!(config.host.degrees, 4);
    let [peer] = config.peers.as_slice() else { panic!("one peer") };
    assert_eq!(peer.name, "h");
    assert_eq!(peer.listen, ["0.0.0.0:9000".parse().unwrap()]);
    assert_eq!(peer.identity_file, Path::new("/var/lib/xcast/overlay/h/h/identity.key"));
}

#[test]
fn a_tree_is_wanted_by_its_table() {
    let read = |more: &str| parse(&format!("{MINIMAL}{more}")).unwrap().0.machines.somo;
    let somo = read("[somo]\n").expect("a tree");
    assert_eq!((somo.degree, somo.synchronized, somo.interval.as_secs()), (8, true, 300));
    assert!(read("[somo]\nenabled = false\n").is_none());
    let found = complaints(&format!("{MINIMAL}[somo]\nsynchronised = true\ndegree = 1\n"));
    assert!(found.contains("`synchronised`, did you mean `synchronized`?"), "{found}");
    assert!(found.contains("`degree` must be between 2 and"), "{found}");
}

#[test]
fn degrees_are_what_a_host_can_have() {
    let read = |degrees: u32| parse(&format!("{MINIMAL}degrees = {degrees}\n"));
    for degrees in [0, 1, 1024] {
        assert_eq!(u32::from(read(degrees).unwrap().0.host.degrees), degrees);
    }
    let found = complaints(&format!("{MINIMAL}degrees = 1025\n"));
    assert!(found.contains("`degrees` must be between 0 and 1024"), "{found}");
}

#[test]
fn several_peers_have_ports_and_keys_of_their_own() {
    let text = format!("{MINIMAL}peers = 3\nlisten = [\"127.0.0.1:7000\"]\n");
    let (config, _) = parse(&text).unwrap();
    let listen: Vec<String> = config.peers.iter().map(|p| p.listen[0].to_string()).collect();
    assert_eq!(listen, ["127.0.0.1:7000", "127.0.0.1:7001", "127.0.0.1:7002"]);
    let names: Vec<&str> = config.peers.iter().map(|peer| peer.name.as_str()).collect();
    assert_eq!(names, ["h-1", "h-2", "h-3"]);
    assert_ne!(config.peers[0].identity_file, config.peers[1].identity_file);
}

#[test]
fn all_errors_come_at_once_each_where_it_is() {
    let text = "[host]\nname = \"a b\"\ntransport = \"multicast\"\nlisten = [\"nowhere\", \
                \"1.2.3.4:0\"]\nportt = 1\n[rendezvous]\nboot = [\"dhcp\", \"x\"]\ndhcp-option = 3\n\
                [ring]\nheartbeat = 5\nheartbeet = \"5s\"\n[paralel]\n";
    let found = complaints(text);
    let expected = [
        "x:2:8: error: `name` must be 1 to 64 letters",
        "x:3:13: error: `transport` must be \"unicast\", \"xcast\" or \"auto\", found `multicast`",
        "x:4:11: error: `listen` must be `ADDRESS:PORT`",
        "x:4:22: error: `listen` must be a unicast address and a port, found `1.2.3.4:0`",
        "x:5:1: error: unknown key `portt`",
        "x:7:8: error: `\"dhcp\"` needs `dhcp-interface`",
        "x:7:17: error: `boot` must be `ADDRESS:PORT`, `NAME:PORT` or `dhcp`, found `x`",
        "x:8:15: error: `dhcp-option` must be between 224 and 254, found `3`",
        "x:10:13: error: `heartbeat` must be a string, found an integer",
        "x:11:1: error: unknown key `heartbeet`, did you mean `heartbeat`?",
        "x:12:2: error: unknown table `[paralel]`, did you mean `[parallel]`?",
    ];
    for line in expected {
        assert!(found.contains(line), "{line}\nis not in\n{found}");
    }
    assert_eq!(found.lines().count(), expected.len(), "{found}");
}

#[test]
fn xcast_needs_code_points_and_no_loopback() {
    let auto = complaints("[host]\nname = \"h\"\n");
    assert!(auto.contains("needs code points, which are never defaulted"), "{auto}");
    let file = "[host]\nname = \"h\"\nexperiment-file = \"/e\"\n";
    assert!(parse(file).is_ok());
    let both = complaints(&format!("{EXPERIMENT}{file}"));
    assert!(both.contains("there is `[experiment]`, and `experiment-file` `/e`"), "{both}");
    let loopback = format!("{file}listen = [\"127.0.0.1:9000\"]\n");
    assert!(complaints(&loopback).contains("`127.0.0.1:9000` is of the loopback"));
    assert!(parse(&loopback.replace("/e\"\n", "/e\"\ntransport = \"unicast\"\n")).is_ok());
}

#[test]
fn by_a_relay_there_is_one_peer_and_its_address_is_leased() {
    let base = "[host]\nname = \"h\"\nexperiment-file = \"/e\"\nrelays-file = \"/r\"\n";
    assert!(parse(base).is_ok());
    for (more, complaint) in [
        ("transport = \"unicast\"", "`relays-file` goes with"),
        ("peers = 2", "by a relay there is one peer"),
        ("listen = [\"192.0.2.1:9000\"]", "by a relay the address is leased"),
        ("addresses = [\"192.0.2.1:9000\"]", "by a relay the address is leased"),
    ] {
        let found = complaints(&format!("{base}{more}\n"));
        assert!(found.contains(complaint), "{found}");
    }
}

#[test]
fn what_is_one_peers_is_not_several_peers() {
    let keys = complaints(&format!("{MINIMAL}peers = 2\nidentity-file = \"/k\"\n"));
    assert!(keys.contains("`identity-file` is one peer's"), "{keys}");
    let mixed = complaints(&format!("{MINIMAL}peers = 2\n[[peer]]\nlisten = [\"0.0.0.0:1\"]\n"));
    assert!(mixed.contains("with `[[peer]]` tables"), "{mixed}");
    let table = "[[peer]]\nname = \"a\"\nlisten = [\"0.0.0.0:1\"]\n";
    let twice = complaints(&format!("{MINIMAL}{table}{table}"));
    assert!(twice.contains("duplicate peer `a`"), "{twice}");
    assert!(twice.contains("another peer listens at `0.0.0.0:1`"), "{twice}");
    assert!(twice.contains("another peer has this key"), "{twice}");
    let ports = complaints(&format!("{MINIMAL}peers = 9\nlisten = [\"0.0.0.0:65530\"]\n"));
    assert!(ports.contains("not enough for 9 peers"), "{ports}");
}

#[test]
fn no_text_is_a_panic() {
    let whole = include_str!("../../examples/overlay-host.toml");
    for end in (0..whole.len()).filter(|end| whole.is_char_boundary(*end)) {
        let _either = parse(&whole[..end]);
        let _either = parse(&whole[end..]);
    }
}
