//! What strings in a configuration may mean: addresses, prefixes, names, paths, endpoints and
//! keys. Every function here returns a value or the rest of a sentence that begins with the key.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use ipnetwork::IpNetwork;

use crate::config::Metrics;
use crate::diagnostic::shown;

/// The kernel's limit on a socket's path, one byte for the terminator already taken off.
const SOCKET_PATH_BYTES: usize = 107;
/// The kernel's limit on an interface's name, likewise.
const INTERFACE_NAME_BYTES: usize = 15;
const NAME_CHARACTERS: usize = 64;

/// The name of a router or tunnel. It becomes part of paths and metrics.
///
/// # Errors
/// The rest of a sentence that begins with the key.
pub fn name(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if (1..=NAME_CHARACTERS).contains(&text.len()) && text.chars().all(allowed) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "must be 1 to {NAME_CHARACTERS} letters, digits, `.`, `_` or `-`, found {}",
        shown(text)
    ))
}

/// The kernel's name of an interface, by the kernel's own rules.
///
/// # Errors
/// The rest of a sentence that begins with the key.
pub fn interface(text: &str) -> Result<String, String> {
    let refused = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    let fits = (1..=INTERFACE_NAME_BYTES).contains(&text.len());
    if fits && text != "." && text != ".." && !text.contains(refused) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "must be an interface name: 1 to {INTERFACE_NAME_BYTES} bytes without `/`, `:` or blanks, \
         found {}",
        shown(text)
    ))
}

/// The path of a file.
///
/// # Errors
/// The rest of a sentence that begins with the key.
pub fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() || text.contains(char::is_control) {
        return Err(format!("must be a path, found {}", shown(text)));
    }
    Ok(PathBuf::from(text))
}

/// The path of a socket, which the kernel keeps short.
///
/// # Errors
/// The rest of a sentence that begins with the key.
pub fn socket_path(text: &str) -> Result<PathBuf, String> {
    if text.len() > SOCKET_PATH_BYTES {
        return Err(format!(
            "must be at most {SOCKET_PATH_BYTES} bytes, as the kernel has it, found {}",
            text.len()
        ));
    }
    path(text)
}

/// Where metrics are served.
pub(crate) fn metrics(text: &str) -> Result<Metrics, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return socket_path(path).map(Metrics::Unix);
    }
    text.parse()
        .map(Metrics::Tcp)
        .map_err(|_| format!("must be `ADDR:PORT` or `unix:PATH`, found {}", shown(text)))
}

/// An address that a packet can be sent to and that is one node's.
///
/// # Errors
/// The rest of a sentence that begins with the key.
pub fn unicast(text: &str) -> Result<IpAddr, String> {
    let address: IpAddr = text
        .parse()
        .map_err(|_| format!("must be an IPv4 or IPv6 address, found {}", shown(text)))?;
    let broadcast = address == IpAddr::V4(Ipv4Addr::BROADCAST);
    if address.is_unspecified() || address.is_multicast() || broadcast {
        return Err(format!("must be a unicast address, found `{address}`"));
    }
    Ok(address)
}

/// An IPv4 multicast address.
pub(crate) fn multicast_v4(text: &str) -> Result<Ipv4Addr, String> {
    let address = text.parse().ok().filter(Ipv4Addr::is_multicast);
    address.ok_or_else(|| format!("must be an IPv4 multicast address, found {}", shown(text)))
}

/// An IPv6 multicast address.
pub(crate) fn multicast_v6(text: &str) -> Result<Ipv6Addr, String> {
    let address = text.parse().ok().filter(Ipv6Addr::is_multicast);
    address.ok_or_else(|| format!("must be an IPv6 multicast address, found {}", shown(text)))
}

/// A prefix as `ADDRESS/LENGTH`, host bits clear. A lone address is the prefix of that host.
pub(crate) fn prefix(text: &str) -> Result<IpNetwork, String> {
    let malformed = || format!("must be a prefix, `ADDRESS/LENGTH`, found {}", shown(text));
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| malformed())?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let length = match length {
        None => longest,
        Some(digits) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
            // More digits than a byte holds are too long as well.
            digits.parse().unwrap_or(u8::MAX)
        }
        Some(_) => return Err(malformed()),
    };
    let network = IpNetwork::new(address, length)
        .map_err(|_| format!("has a prefix longer than {longest} bits: {}", shown(text)))?;
    if network.ip() != network.network() {
        return Err(format!(
            "has host bits set: {} should be `{}/{length}`",
            shown(text),
            network.network()
        ));
    }
    Ok(network)
}

/// A relay as `HOST:PORT`, an IPv6 address in brackets. The name is not looked up here.
///
/// # Errors
/// The rest of a sentence that begins with the key.
pub fn endpoint(text: &str) -> Result<String, String> {
    let is_host = |host: &str| {
        let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        match bracketed {
            Some(address) => address.parse::<Ipv6Addr>().is_ok(),
            None => !host.is_empty() && !host.contains([':', '[', ']', '/']),
        }
    };
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port != 0);
    let printable = text.chars().all(|c| !c.is_whitespace() && !c.is_control());
    match text.rsplit_once(':') {
        Some((host, port)) if printable && is_host(host) && is_port(port) => Ok(text.to_owned()),
        _ => Err(format!("must be `HOST:PORT`, found {}", shown(text))),
    }
}

/// A public key in base64. Whether it is a key of the right kind is for its user to say.
pub(crate) fn key(text: &str) -> Result<String, String> {
    let digits = text.trim_end_matches('=');
    let padding = text.len() - digits.len();
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/');
    if !digits.is_empty() && padding <= 2 && digits.bytes().all(allowed) {
        return Ok(text.to_owned());
    }
    // A private key pasted here by mistake must not end up in a log.
    Err("must be a public key in base64".to_owned())
}
