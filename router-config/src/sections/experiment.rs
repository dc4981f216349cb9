//! `[experiment]`: code points. Each is required; those that would take other protocols' traffic
//! are refused by name.

use crate::config::Experiment;
use crate::read::Table;
use crate::values;

/// What RFC 4727 has for each key.
const ASSIGNED: [(&str, &str); 7] = [
    ("ip-protocol", "253 and 254"),
    ("all-routers-v4", "224.0.0.254"),
    ("all-routers-v6", "ff02::114"),
    ("routing-type", "253 and 254"),
    ("ports-option", "0x5e"),
    ("hop-by-hop-option", "0x1e"),
    ("tunnel-port", "1021 and 1022"),
];

/// IP protocols that packets of others are full of.
const USED_PROTOCOLS: [(u8, &str); 13] = [
    (1, "ICMP"),
    (2, "IGMP"),
    (4, "IPv4 in IP"),
    (6, "TCP"),
    (17, "UDP"),
    (41, "IPv6 in IP"),
    (43, "the IPv6 Routing header"),
    (44, "the IPv6 Fragment header"),
    (50, "ESP"),
    (51, "AH"),
    (58, "ICMPv6"),
    (60, "IPv6 Destination Options"),
    (132, "SCTP"),
];

const USED_ROUTING_TYPES: [(u8, &str); 7] = [
    (0, "the deprecated source route"),
    (1, "Nimrod"),
    (2, "Mobile IPv6"),
    (3, "RPL source routing"),
    (4, "segment routing"),
    (5, "compact routing CRH-16"),
    (6, "compact routing CRH-32"),
];

const USED_HOP_BY_HOP_OPTIONS: [(u8, &str); 6] = [
    (0x00, "Pad1"),
    (0x01, "PadN"),
    (0x04, "the tunnel encapsulation limit"),
    (0x05, "Router Alert"),
    (0x07, "CALIPSO"),
    (0x08, "SMF duplicate detection"),
];

pub(super) fn read(root: &mut Table<'_>) -> Option<Experiment> {
    let Some(mut table) = root.table("experiment") else {
        if !root.has("experiment") {
            root.report().absent(root.header(), missing_table());
        }
        return None;
    };
    for (key, has) in ASSIGNED {
        if !table.has(key) {
            let message = format!(
                "missing key `{key}` in `[experiment]`: it is never defaulted, RFC 4727 has {has} \
                 for experiments"
            );
            table.report().absent(table.header(), message);
        }
    }
    let ip_protocol = number(&mut table, "ip-protocol", 1, |n| unused(n, &USED_PROTOCOLS));
    let all_routers_v4 = table.parsed("all-routers-v4", values::multicast_v4);
    let all_routers_v6 = table.parsed("all-routers-v6", values::multicast_v6);
    let routing_type = number(&mut table, "routing-type", 0, |n| unused(n, &USED_ROUTING_TYPES));
    // The high three bits tell a node that does not know the option what to do, and whether the
    // option changes on the way.
    let ports_option = number(&mut table, "ports-option", 0, |n| high_bits(n, 0b010));
    let hop_by_hop_option = number(&mut table, "hop-by-hop-option", 0, |n| {
        high_bits(n, 0b000).and_then(|()| unused(n, &USED_HOP_BY_HOP_OPTIONS))
    });
    let tunnel_port = table.integer("tunnel-port", 1..=u16::MAX);
    table.finish();
    Some(Experiment {
        ip_protocol: ip_protocol?,
        all_routers_v4: all_routers_v4?.into_inner(),
        all_routers_v6: all_routers_v6?.into_inner(),
        routing_type: routing_type?,
        ports_option: ports_option?,
        hop_by_hop_option: hop_by_hop_option?,
        tunnel_port: tunnel_port?.into_inner(),
    })
}

fn missing_table() -> String {
    let keys: Vec<String> = ASSIGNED.iter().map(|(key, has)| format!("`{key}` ({has})")).collect();
    format!(
        "missing table `[experiment]`: it is never defaulted; with what RFC 4727 has for \
         experiments, its keys are {}",
        keys.join(", ")
    )
}

/// A code point of one octet. The error of `check` continues a sentence that begins with the key.
fn number(
    table: &mut Table<'_>,
    key: &'static str,
    lowest: u8,
    check: impl Fn(u8) -> Result<(), String>,
) -> Option<u8> {
    let number = table.integer(key, lowest..=u8::MAX)?;
    match check(*number.get_ref()) {
        Ok(()) => Some(number.into_inner()),
        Err(problem) => {
            table.report().error(number.span(), format!("`{key}` {problem}"));
            None
        }
    }
}

/// Refuses a code point that something else has.
fn unused(number: u8, used: &[(u8, &str)]) -> Result<(), String> {
    match used.iter().find(|(taken, _)| *taken == number) {
        Some((_, owner)) => Err(format!("cannot be {number}: that is {owner}")),
        None => Ok(()),
    }
}

/// Refuses an option whose high three bits are not what RFC 5058 asks for.
fn high_bits(number: u8, bits: u8) -> Result<(), String> {
    if number >> 5 == bits {
        return Ok(());
    }
    let low = bits << 5;
    Err(format!(
        "must be {low:#04x} to {:#04x}, found {number:#04x}: RFC 5058 asks for the high bits \
         {bits:03b}",
        low | 0x1f
    ))
}
