//! From a text to the configuration, or to all that is wrong with it.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use overlay_protocols::alm::DEGREES_MAX;
use router_config::Diagnostic;
use router_config::reading::{self, Spanned, Table, shown};

use super::{Boot, Config, DEFAULT_PORT, Host, PEERS_MAX, Peer, Rendezvous, Transport, machines};

/// The most places to ask first.
const BOOT_MAX: usize = 32;

/// Reads a whole configuration. Beside it come its warnings.
///
/// # Errors
/// Everything that is wrong with the text, by position.
pub fn parse(text: &str) -> Result<(Config, Vec<Diagnostic>), Vec<Diagnostic>> {
    reading::document(text, config)
}

fn config(root: &mut Table<'_>) -> Option<Config> {
    let written = root.has("experiment");
    let (host, count, single) = host(root);
    let experiment = if written { reading::experiment(root) } else { known_and_absent(root) };
    if let Some(host) = &host {
        check_experiment(root, host, written);
    }
    let peers = peers(root, host.as_ref(), count, single);
    let rendezvous = rendezvous(root);
    let machines = machines::read(root);
    let host = host?;
    if host.transport != Transport::Unicast {
        check_addresses(root, &peers);
    }
    if host.relays_file.is_some() {
        check_relays(root, &host, &peers);
    }
    Some(Config { experiment, host, peers, rendezvous, machines })
}

/// So that a mistyped `[experiment]` is told its name.
fn known_and_absent(root: &mut Table<'_>) -> Option<router_config::Experiment> {
    root.table("experiment").and(None)
}

fn check_experiment(root: &mut Table<'_>, host: &Host, written: bool) {
    let (transport, report) = (host.transport, root.report());
    let place = root.span("host").unwrap_or(root.header());
    match (written, &host.experiment_file) {
        (true, Some(file)) => {
            let file = shown(&file.display().to_string());
            report.error(place, format!("there is `[experiment]`, and `experiment-file` {file}"));
        }
        (false, None) if transport != Transport::Unicast => {
            let message = format!(
                "`transport = \"{transport}\"` needs code points, which are never defaulted: an \
                 `[experiment]` table, `experiment-file = \"/etc/xcast/experiment.toml\"`, or \
                 `transport = \"unicast\"` to do without Xcast"
            );
            report.absent(place, message);
        }
        _ => {}
    }
}

/// Xcast packets have addresses of one node, and none of the loopback.
fn check_addresses(root: &Table<'_>, peers: &[Peer]) {
    let place = root.span("host").unwrap_or(root.header());
    let all = peers.iter().flat_map(|peer| peer.listen.iter().chain(&peer.addresses));
    if let Some(loopback) = all.into_iter().find(|address| address.ip().is_loopback()) {
        let message = format!(
            "`{loopback}` is of the loopback, where there is no Xcast: `transport = \"unicast\"` \
             goes with it"
        );
        root.report().error(place, message);
    }
}

/// A relay knows one program by one key, and leases the address.
fn check_relays(root: &Table<'_>, host: &Host, peers: &[Peer]) {
    let place = root.span("host").unwrap_or(root.header());
    let is_plain = |peer: &Peer| {
        peer.addresses.is_empty() && peer.listen.iter().all(|listen| listen.ip().is_unspecified())
    };
    let message = match host.transport {
        Transport::Unicast => "`relays-file` goes with `transport = \"auto\"` or `\"xcast\"`",
        _ if peers.len() > 1 => "by a relay there is one peer: its key is one program's at a time",
        _ if !peers.iter().all(is_plain) => {
            "by a relay the address is leased: `listen` has the port alone, as `0.0.0.0:9000`, and \
             `addresses` is not said"
        }
        _ => return,
    };
    root.report().error(place, message);
}

/// What `[host]` says of a peer that has no table of its own.
#[derive(Default)]
struct Single {
    listen: Vec<SocketAddr>,
    addresses: Vec<SocketAddr>,
    identity_file: Option<std::path::PathBuf>,
}

fn host(root: &mut Table<'_>) -> (Option<Host>, Option<u16>, Single) {
    let Some(mut table) = root.table("host") else {
        if !root.has("host") {
            root.report().absent(root.header(), "missing table `[host]`: it has the key `name`");
        }
        return (None, None, Single::default());
    };
    table.require("name");
    let name = table.parsed("name", reading::name);
    let control_socket = table.parsed("control-socket", reading::socket_path);
    let state_directory = table.parsed("state-directory", reading::path);
    let transport = table.keyword("transport");
    let interface = table.parsed("interface", reading::interface);
    let experiment_file = table.parsed("experiment-file", reading::path);
    let relays_file = table.parsed("relays-file", reading::path);
    let seal = table.keyword("seal");
    let degrees = table.integer("degrees", 0..=DEGREES_MAX);
    let seed = table.parsed("seed", seed);
    let count = table.integer("peers", 1..=PEERS_MAX);
    let single = Single {
        listen: sockets(&mut table, "listen", listen),
        addresses: sockets(&mut table, "addresses", reachable),
        identity_file: table.parsed("identity-file", reading::path).map(Spanned::into_inner),
    };
    let count = one_of_both(&table, count.map(Spanned::into_inner), &single);
    table.finish();
    let Some(name) = name else { return (None, count, single) };
    let default = Host::named(&name.into_inner());
    let host = Host {
        control_socket: control_socket.map_or(default.control_socket, Spanned::into_inner),
        state_directory: state_directory.map_or(default.state_directory, Spanned::into_inner),
        transport: transport.map_or(default.transport, Spanned::into_inner),
        interface: interface.map(Spanned::into_inner),
        experiment_file: experiment_file.map(Spanned::into_inner),
        relays_file: relays_file.map(Spanned::into_inner),
        seal: seal.map_or(default.seal, Spanned::into_inner),
        degrees: degrees.map_or(default.degrees, Spanned::into_inner),
        seed: seed.map(Spanned::into_inner),
        name: default.name,
    };
    (Some(host), count, single)
}

/// Several peers cannot have one key, nor one address with one port.
fn one_of_both(table: &Table<'_>, count: Option<u16>, single: &Single) -> Option<u16> {
    if count.is_some_and(|count| count > 1) {
        for (key, is_given) in [
            ("addresses", !single.addresses.is_empty()),
            ("identity-file", single.identity_file.is_some()),
        ] {
            if is_given {
                let message = format!(
                    "`{key}` is one peer's: with several peers write a `[[peer]]` table for each"
                );
                table.report().error(table.span(key).unwrap_or(table.header()), message);
            }
        }
    }
    count
}

fn peers(
    root: &mut Table<'_>,
    host: Option<&Host>,
    count: Option<u16>,
    single: Single,
) -> Vec<Peer> {
    let tables = root.tables("peer");
    let fallback = Host::named("peer");
    let host = host.unwrap_or(&fallback);
    if tables.is_empty() {
        return default_peers(root, host, count.unwrap_or(1), single);
    }
    let is_said = count.is_some() || !single.listen.is_empty() || !single.addresses.is_empty();
    if is_said || single.identity_file.is_some() {
        let message = "with `[[peer]]` tables, `peers`, `listen`, `addresses` and `identity-file` \
                       stand there and not in `[host]`";
        root.report().error(root.span("host").unwrap_or(root.header()), message);
    }
    if tables.len() > usize::from(PEERS_MAX) {
        let message = format!("at most {PEERS_MAX} `[[peer]]` tables");
        root.report().error(root.span("peer").unwrap_or(root.header()), message);
    }
    let several = tables.len() > 1;
    let mut seen = Seen::default();
    tables
        .into_iter()
        .enumerate()
        .map(|(index, table)| peer(table, host, several.then_some(index + 1), &mut seen))
        .collect()
}

fn default_name(host: &Host, number: Option<usize>) -> String {
    number.map_or(host.name.clone(), |number| format!("{}-{number}", host.name))
}

fn default_key(host: &Host, name: &str) -> std::path::PathBuf {
    host.state_directory.join(name).join("identity.key")
}

/// `peers = N`: ports that follow one another.
fn default_peers(root: &Table<'_>, host: &Host, count: u16, single: Single) -> Vec<Peer> {
    let first = match single.listen.is_empty() {
        true => Peer::anywhere(DEFAULT_PORT),
        false => single.listen,
    };
    let last = first.iter().map(|listen| listen.port()).max().unwrap_or(0);
    if last.checked_add(count - 1).is_none() {
        let message = format!("the ports from {last} on are not enough for {count} peers");
        root.report().error(root.span("host").unwrap_or(root.header()), message);
        return Vec::new();
    }
    let numbered = (count > 1).then_some(());
    let make = |index: u16| {
        let name = default_name(host, numbered.map(|()| usize::from(index) + 1));
        let moved = |listen: &SocketAddr| SocketAddr::new(listen.ip(), listen.port() + index);
        Peer {
            listen: first.iter().map(moved).collect(),
            addresses: single.addresses.clone(),
            identity_file: single.identity_file.clone().unwrap_or(default_key(host, &name)),
            name,
        }
    };
    (0..count).map(make).collect()
}

/// What two peers cannot both have.
#[derive(Default)]
struct Seen {
    names: BTreeSet<String>,
    listen: BTreeSet<SocketAddr>,
    keys: BTreeSet<std::path::PathBuf>,
}

fn peer(mut table: Table<'_>, host: &Host, number: Option<usize>, seen: &mut Seen) -> Peer {
    let name = table.parsed("name", reading::name).map(Spanned::into_inner);
    let name = name.unwrap_or_else(|| default_name(host, number));
    table.require("listen");
    let listen = sockets(&mut table, "listen", listen);
    let addresses = sockets(&mut table, "addresses", reachable);
    let identity_file = table.parsed("identity-file", reading::path).map(Spanned::into_inner);
    let identity_file = identity_file.unwrap_or_else(|| default_key(host, &name));
    let report = table.report();
    let place = |key| table.span(key).unwrap_or(table.header());
    if !seen.names.insert(name.clone()) {
        report.error(place("name"), format!("duplicate peer {}", shown(&name)));
    }
    for address in &listen {
        if !seen.listen.insert(*address) {
            report.error(place("listen"), format!("another peer listens at `{address}`"));
        }
    }
    if !seen.keys.insert(identity_file.clone()) {
        report.error(place("identity-file"), "another peer has this key");
    }
    table.finish();
    let listen = if listen.is_empty() { Peer::anywhere(DEFAULT_PORT) } else { listen };
    Peer { name, listen, addresses, identity_file }
}

fn sockets(
    table: &mut Table<'_>,
    key: &'static str,
    parse: impl Fn(&str) -> Result<SocketAddr, String>,
) -> Vec<SocketAddr> {
    let list = table.list(key, parse);
    let most = overlay_protocols::contact::ADDRESSES_MAX;
    let place = || table.span(key).unwrap_or(table.header());
    if list.len() > most {
        let message = format!("`{key}` has {} addresses, more than {most}", list.len());
        table.report().error(place(), message);
    }
    if key == "listen" && list.iter().any(|address| address.port() != list[0].port()) {
        table.report().error(place(), "`listen` has one port for all addresses of a peer");
    }
    list
}

fn socket(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| {
        format!("must be `ADDRESS:PORT`, IPv6 addresses in brackets, found {}", shown(text))
    })?;
    let ip = address.ip();
    if address.port() == 0 || ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST) {
        return Err(format!("must be a unicast address and a port, found `{address}`"));
    }
    Ok(address)
}

fn listen(text: &str) -> Result<SocketAddr, String> {
    socket(text)
}

fn reachable(text: &str) -> Result<SocketAddr, String> {
    let address = socket(text)?;
    match address.ip().is_unspecified() {
        true => Err(format!("must be an address that others can reach, found `{address}`")),
        false => Ok(address),
    }
}

fn seed(text: &str) -> Result<u64, String> {
    u64::from_str_radix(text, 16)
        .map_err(|_| format!("must be 1 to 16 hexadecimal digits, found {}", shown(text)))
}

fn rendezvous(root: &mut Table<'_>) -> Rendezvous {
    let default = Rendezvous::default();
    let Some(mut table) = root.table("rendezvous") else { return default };
    let boot = table.list("boot", boot);
    let dedicated = table.boolean("dedicated").is_some_and(Spanned::into_inner);
    let dhcp_interface = table.parsed("dhcp-interface", reading::interface);
    let dhcp_option = table.integer("dhcp-option", 224..=254u8);
    let place = || table.span("boot").unwrap_or(table.header());
    if boot.len() > BOOT_MAX {
        table.report().error(place(), format!("`boot` has more than {BOOT_MAX} places"));
    }
    if boot.contains(&Boot::Dhcp) && !table.has("dhcp-interface") {
        let message = "`\"dhcp\"` needs `dhcp-interface`: the interface on which to ask";
        table.report().absent(place(), message);
    }
    table.finish();
    Rendezvous {
        boot,
        dedicated,
        dhcp_interface: dhcp_interface.map(Spanned::into_inner),
        dhcp_option: dhcp_option.map_or(default.dhcp_option, Spanned::into_inner),
    }
}

fn boot(text: &str) -> Result<Boot, String> {
    if text == "dhcp" {
        return Ok(Boot::Dhcp);
    }
    if text.parse::<SocketAddr>().is_ok() {
        return reachable(text).map(Boot::Address);
    }
    match reading::endpoint(text) {
        Ok(name) => Ok(Boot::Name(name)),
        Err(_) => {
            Err(format!("must be `ADDRESS:PORT`, `NAME:PORT` or `dhcp`, found {}", shown(text)))
        }
    }
}
