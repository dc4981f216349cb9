//! What the router does not consult, and says so: policy rules and filters of forwarded packets.

use std::process::Command;

use xcast::kernel::{forward_chains, policy_rules};

use crate::support::{in_namespaces, run};

#[test]
fn policy_rules_of_both_versions_are_counted() {
    in_namespaces("warnings::policy_rules_of_both_versions_are_counted", || {
        assert_eq!(policy_rules().unwrap(), 0);
        run("ip rule add from 10.0.0.0/8 table 1000");
        assert_eq!(policy_rules().unwrap(), 1);
        run("ip -6 rule add from fd00::/8 table 1000");
        assert_eq!(policy_rules().unwrap(), 2);
        // Where IPv4 has a rule of its own, IPv6 has none.
        run("ip -6 rule add from fd01::/16 table 1000 priority 32767");
        assert_eq!(policy_rules().unwrap(), 3);
        run("ip rule del from 10.0.0.0/8 table 1000");
        assert_eq!(policy_rules().unwrap(), 2);
    });
}

const INET: u8 = 1;
const IP: u8 = 2;
const BRIDGE: u8 = 7;
const IP6: u8 = 10;
const INPUT: u32 = 1;
const FORWARD: u32 = 2;
const DROP: u32 = 0;
const ACCEPT: u32 = 1;

/// Attributes of nftables, one behind the other (`linux/netfilter/nf_tables.h`).
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = (value.len() as u16 + 4).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn text(kind: u16, value: &str) -> Vec<u8> {
    attribute(kind, format!("{value}\0").as_bytes())
}

fn number(kind: u16, value: u32) -> Vec<u8> {
    attribute(kind, &value.to_be_bytes())
}

fn nested(kind: u16, parts: &[Vec<u8>]) -> Vec<u8> {
    attribute(kind | 0x8000, &parts.concat())
}

/// A message of a transaction; `family` and `resource` are of `struct nfgenmsg`.
fn message(kind: u16, flags: u16, family: u8, resource: u16, parts: &[Vec<u8>]) -> Vec<u8> {
    let body = parts.concat();
    let mut bytes = (20 + body.len() as u32).to_ne_bytes().to_vec();
    bytes.extend([kind.to_ne_bytes(), flags.to_ne_bytes()].concat());
    bytes.extend([0; 8]);
    bytes.extend([family, 0]);
    bytes.extend(resource.to_be_bytes());
    [bytes, body].concat()
}

/// Makes things in nftables, or fails.
fn commit(family: u8, things: &[(u16, Vec<Vec<u8>>)]) {
    const NFTABLES: u16 = 10;
    let mut bytes = message(0x10, 1, 0, NFTABLES, &[]);
    for (kind, parts) in things {
        bytes.extend(message(NFTABLES << 8 | kind, 0x0405, family, 0, parts)); // create, ack
    }
    bytes.extend(message(0x11, 1, 0, NFTABLES, &[]));
    let socket = netlink_sys::Socket::new(12).unwrap();
    socket.send_to(&bytes, &netlink_sys::SocketAddr::new(0, 0), 0).unwrap();
    for _ in things {
        let (answer, _) = socket.recv_from_full().unwrap();
        let code = i32::from_ne_bytes(answer[16..20].try_into().unwrap());
        assert_eq!(code, 0, "{}", std::io::Error::from_raw_os_error(-code));
    }
}

/// A table with one base chain, empty or with a rule that counts.
fn chain(family: u8, [table, name]: [&str; 2], hook: u32, policy: u32, rule: bool) {
    let hook = nested(4, &[number(1, hook), number(2, 0)]);
    let base = [text(1, table), text(3, name), hook, number(5, policy), text(7, "filter")];
    let counter = nested(1, &[text(1, "counter"), nested(2, &[])]);
    let mut things = vec![(0, vec![text(1, table)]), (3, base.to_vec())];
    if rule {
        things.push((6, vec![text(1, table), text(2, name), nested(4, &[counter])]));
    }
    commit(family, &things);
}

#[test]
fn filters_of_forwarded_packets_are_found() {
    in_namespaces("warnings::filters_of_forwarded_packets_are_found", || {
        std::fs::write("/run/r1.toml", CONFIG).unwrap();
        let expect = |chains: &[&str]| {
            assert_eq!(forward_chains().unwrap(), chains);
            let mut check = Command::new(env!("CARGO_BIN_EXE_xcast"));
            let output =
                check.args(["router", "check", "--config", "/run/r1.toml"]).output().unwrap();
            let errors = String::from_utf8(output.stderr).unwrap();
            assert!(output.status.success(), "{errors}");
            let warning = format!("({})", chains.join(", "));
            assert_eq!(errors.contains("[limits]"), !chains.is_empty(), "{errors}");
            assert!(chains.is_empty() || errors.contains(&warning), "{errors}");
        };
        expect(&[]);
        chain(IP, ["empty", "forward"], FORWARD, ACCEPT, false);
        chain(IP, ["other", "input"], INPUT, DROP, true);
        chain(BRIDGE, ["other", "forward"], FORWARD, DROP, true);
        expect(&[]);
        chain(IP, ["filter", "FORWARD"], FORWARD, DROP, false);
        expect(&["ip filter FORWARD"]);
        chain(IP6, ["filter", "FORWARD"], FORWARD, ACCEPT, true);
        chain(INET, ["firewall", "forward"], FORWARD, ACCEPT, true);
        expect(&["inet firewall forward", "ip filter FORWARD", "ip6 filter FORWARD"]);
    });
}

const CONFIG: &str = r#"
[experiment]
ip-protocol = 253
all-routers-v4 = "224.0.0.254"
all-routers-v6 = "ff02::114"
routing-type = 253
ports-option = 0x5e
hop-by-hop-option = 0x1e
tunnel-port = 1021

[router]
name = "r1"
control-socket = "/run/r1.sock"
"#;
