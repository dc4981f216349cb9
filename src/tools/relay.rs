//! `--relay`: which relays a command may use, and what is said of them.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use router_config::Relays;
use serde_json::{Map, Value, json};

use super::experiment::{Experiment, rendered};
use super::{Failure, key, output};
use crate::host::{Families, PublicKey, Relay, RelayEvent, RelayView};

const VARIABLE: &str = "XCAST_RELAYS";
const DEFAULT_PATH: &str = "/etc/xcast/relays.toml";
/// Addresses of relays; names may have many.
const CANDIDATES_MAX: usize = 64;

/// What a command that may use relays takes.
#[derive(clap::Args)]
pub(super) struct RelayArguments {
    /// Send and receive by a relay, without any privilege: the nearest of these, or with `auto` of
    /// those in $XCAST_RELAYS, else /etc/xcast/relays.toml
    #[arg(long, value_name = "HOST[:PORT],...|auto", value_delimiter = ',')]
    relay: Vec<String>,
    /// This host's private key; else `private-key-file` of the file of relays
    #[arg(long, value_name = "FILE", requires = "relay")]
    key: Option<PathBuf>,
    /// Public keys of the relays that are trusted; else `keys` of the file of relays
    #[arg(long, value_name = "KEY", value_delimiter = ',', requires = "relay")]
    relay_key: Vec<String>,
}

impl RelayArguments {
    /// Whether a relay is to be used.
    pub(super) fn is_given(&self) -> bool {
        !self.relay.is_empty()
    }

    /// How long the start may take: until a relay has leased an address, or without one `otherwise`.
    pub(super) fn settle_time(&self, otherwise: Duration) -> Duration {
        if self.is_given() { Relay::PATIENCE } else { otherwise }
    }

    /// The relays to be used, if any are.
    pub(super) fn relay(
        &self,
        experiment: &Experiment,
        families: Families,
    ) -> Result<Option<Relay>, Failure> {
        if !self.is_given() {
            return Ok(None);
        }
        let is_auto = self.relay.iter().any(|text| text == "auto");
        let file = self.file(is_auto)?;
        let keys = if self.relay_key.is_empty() { &file.keys } else { &self.relay_key };
        let keys: Vec<PublicKey> =
            keys.iter().map(|text| public_key(text)).collect::<Result<_, _>>()?;
        if keys.is_empty() {
            return Err(Failure::usage(
                "no relay is trusted: name the keys of those that are by --relay-key, or by `keys` \
                 in the file of relays",
            ));
        }
        let named = self.key.as_ref().or(file.private_key_file.as_ref());
        let named = named.ok_or_else(|| {
            Failure::usage(
                "relays know hosts by their keys, and --key names none: `xcast key generate FILE` \
                 makes one, whose public key goes into `hosts` of the relays' [backbone]",
            )
        })?;
        let private_key = key::take(named)?;
        let places = if is_auto { &file.relays } else { &self.relay };
        let candidates = candidates(places, || experiment.tunnel_port())?;
        let patience = Relay::PATIENCE;
        Ok(Some(Relay { private_key, candidates, keys, families, wish: None, patience }))
    }

    /// The file of relays; nothing where it is not needed and not there.
    fn file(&self, is_auto: bool) -> Result<Relays, Failure> {
        let named: Option<PathBuf> = std::env::var_os(VARIABLE).map(Into::into);
        let path = named.clone().unwrap_or_else(|| DEFAULT_PATH.into());
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound && named.is_none() && !is_auto => {
                return Ok(Relays::default());
            }
            Err(error) => return Err(missing(&path, &error)),
        };
        let relays = router_config::parse_relays(&text);
        let relays = relays.map_err(|wrong| rendered(&path, &text, &wrong))?;
        if is_auto && relays.relays.is_empty() {
            return Err(Failure::Usage(format!("{}: `relays` names none", path.display())));
        }
        Ok(relays)
    }
}

fn missing(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Usage(format!(
        "cannot read the file of relays {}: {error}. It has `relays = [\"HOST:PORT\"]`, their \
         `keys = [\"KEY\"]` and `private-key-file = \"FILE\"`; {VARIABLE} names another",
        path.display()
    ))
}

fn public_key(text: &str) -> Result<PublicKey, Failure> {
    text.parse().map_err(|error| Failure::Usage(format!("a relay's key `{text}` {error}")))
}

/// All addresses of all places, each once. Those of which the name is not known are passed over
/// while there are others.
fn candidates(
    places: &[String],
    default_port: impl Fn() -> Result<u16, Failure>,
) -> Result<Vec<(String, SocketAddr)>, Failure> {
    let mut found: Vec<(String, SocketAddr)> = Vec::new();
    let mut unknown = Vec::new();
    for place in places {
        let (host, port) = endpoint(place).map_err(Failure::Usage)?;
        let port = port.map_or_else(&default_port, Ok)?;
        match (host, port).to_socket_addrs() {
            Ok(addresses) => {
                for address in addresses {
                    if found.len() < CANDIDATES_MAX && found.iter().all(|(_, it)| *it != address) {
                        found.push((host.to_owned(), address));
                    }
                }
            }
            Err(error) => unknown.push(format!("the relay {host} is not known: {error}")),
        }
    }
    match found.is_empty() {
        true => Err(Failure::Work(unknown.join("; "))),
        false => {
            unknown.iter().for_each(|complaint| output::note(complaint));
            Ok(found)
        }
    }
}

/// Reads `HOST[:PORT]`; an IPv6 address with a port stands in brackets.
fn endpoint(text: &str) -> Result<(&str, Option<u16>), String> {
    let wrong = || format!("`{text}` is not HOST[:PORT]");
    if text.parse::<Ipv6Addr>().is_ok() {
        return Ok((text, None));
    }
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) if host.parse::<Ipv6Addr>().is_ok() => (host, None),
        Some((host, rest)) if host.parse::<Ipv6Addr>().is_ok() => {
            (host, Some(rest.strip_prefix(':').ok_or_else(wrong)?))
        }
        Some(_) => return Err(wrong()),
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let is_name =
        !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || "[]/".contains(c));
    let port =
        port.map(|port| port.parse::<u16>().ok().filter(|port| *port != 0).ok_or_else(wrong));
    if is_name { Ok((host, port.transpose()?)) } else { Err(wrong()) }
}

/// The IP versions of addresses; either where there are none.
pub(super) fn families(addresses: impl Iterator<Item = IpAddr>) -> Families {
    let mut families = Families { v4: false, v6: false };
    for address in addresses {
        families.v4 |= address.is_ipv4();
        families.v6 |= address.is_ipv6();
    }
    match families {
        Families { v4: false, v6: false } => Families { v4: true, v6: true },
        some => some,
    }
}

/// Says what has become of the relay; with a port, of who receives there. As JSON, one object a
/// line; all of it on standard error.
pub(super) fn tell(events: &[RelayEvent], port: Option<u16>) {
    events.iter().for_each(|event| output::note(&words(event, port)));
}

/// As [`tell`], for scripts.
pub(super) fn tell_json(events: &[RelayEvent], port: Option<u16>) {
    events.iter().for_each(|event| output::note(&object(event, port).to_string()));
}

fn words(event: &RelayEvent, port: Option<u16>) -> String {
    match event {
        RelayEvent::Attached(relay) => match (relay.lease, port) {
            (Some(address), Some(port)) => {
                format!("listening on {address} port {port} by relay {}", named(relay))
            }
            (Some(address), None) => format!("{address} by relay {}", named(relay)),
            (None, _) => format!("the relay {} has no address to lease", named(relay)),
        },
        RelayEvent::Switched { to, after, meanwhile } => format!(
            "switched to relay {}, {} ms after the last answer of the one before; {meanwhile} \
             packet(s) sent meanwhile",
            named(to),
            after.as_millis()
        ),
        RelayEvent::Detached { reason } => format!("no relay any more: {reason}"),
    }
}

pub(super) fn object(event: &RelayEvent, port: Option<u16>) -> Value {
    match event {
        RelayEvent::Attached(relay) => {
            let mut object = Map::from_iter([("event".to_owned(), "attached".into())]);
            object.extend(fields(relay));
            object.extend(port.map(|port| ("port".to_owned(), port.into())));
            object.into()
        }
        RelayEvent::Switched { to, after, meanwhile } => json!({
            "event": "switched",
            "relay": to.name,
            "relay-address": to.address.to_string(),
            "after-ms": milliseconds(*after),
            "packets-meanwhile": meanwhile,
        }),
        RelayEvent::Detached { reason } => json!({ "event": "detached", "reason": reason }),
    }
}

/// A relay in use, in words: its name and where it is.
pub(super) fn named(relay: &RelayView) -> String {
    format!("{} ({})", relay.name, relay.address)
}

/// The same as fields of an object.
pub(super) fn fields(relay: &RelayView) -> Map<String, Value> {
    let fields = [
        ("relay", relay.name.clone().into()),
        ("relay-address", relay.address.to_string().into()),
        ("relay-key", relay.key.to_string().into()),
        ("address", relay.lease.map(|address| address.to_string()).into()),
        ("rtt-ms", relay.rtt.map(milliseconds).into()),
        ("mtu-bytes", relay.mtu.into()),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The relay that was used last, and how often there was another one, with what that has cost.
pub(super) fn summary(relay: Option<&RelayView>, switches: &[RelayEvent]) -> String {
    let last = match relay {
        None => "no relay in the end".to_owned(),
        Some(relay) => {
            let rtt = relay.rtt.map_or(0.0, milliseconds);
            let address = relay.lease.map(|address| format!(" as {address}")).unwrap_or_default();
            format!("by relay {}{address}, round trip {rtt:.3} ms", named(relay))
        }
    };
    let each = switches.iter().filter_map(|event| match event {
        RelayEvent::Switched { to, after, meanwhile } => Some(format!(
            "to {} {} ms after the last answer, {meanwhile} packet(s) meanwhile",
            to.name,
            after.as_millis()
        )),
        _ => None,
    });
    let each: Vec<String> = each.collect();
    match each.is_empty() {
        true => format!("{last}; no switch"),
        false => format!("{last}; {} switch(es): {}", each.len(), each.join("; ")),
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_micros() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_places_of_relays() {
        assert_eq!(endpoint("relay.example"), Ok(("relay.example", None)));
        assert_eq!(endpoint("relay.example:7"), Ok(("relay.example", Some(7))));
        assert_eq!(endpoint("10.0.0.1:7"), Ok(("10.0.0.1", Some(7))));
        assert_eq!(endpoint("2001:db8::1"), Ok(("2001:db8::1", None)));
        assert_eq!(endpoint("[2001:db8::1]:7"), Ok(("2001:db8::1", Some(7))));
        assert_eq!(endpoint("[2001:db8::1]"), Ok(("2001:db8::1", None)));
        for wrong in ["", ":7", "a:", "a:0", "a:70000", "[10.0.0.1]:7", "[::1]7", "a b", "a/b"] {
            assert!(endpoint(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn each_address_is_a_candidate_once() {
        let places = ["127.0.0.1:7".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
        let found = candidates(&places, || Ok(7)).unwrap();
        let found: Vec<String> = found.iter().map(|(_, address)| address.to_string()).collect();
        assert_eq!(found, ["127.0.0.1:7", "[::1]:7"]);
    }

    #[test]
    fn an_address_is_asked_for_of_what_is_sent_to() {
        let of = |texts: &[&str]| {
            let found = families(texts.iter().map(|text| text.parse().unwrap()));
            (found.v4, found.v6)
        };
        assert_eq!(of(&["10.0.0.1"]), (true, false));
        assert_eq!(of(&["::1", "::2"]), (false, true));
        assert_eq!(of(&["::1", "10.0.0.1"]), (true, true));
        assert_eq!(of(&[]), (true, true));
    }
}
