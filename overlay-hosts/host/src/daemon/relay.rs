//! A host behind a relay: which relays it may use, and the address that one of them leases.

use std::fs::File;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::Path;

use xcast::host::{Families, PrivateKey, PublicKey, Relay, XcastSocket};

/// The most addresses of relays; names may have many.
const CANDIDATES_MAX: usize = 64;

/// Reads a file of relays, as `xcast send --relay auto` does. The key is this process's alone while
/// the file is held. An error says what to do.
pub(super) fn read(path: &Path, listen: &[SocketAddr]) -> Result<(Relay, File), String> {
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read the file of relays {shown}: {error}"))?;
    let relays = router_config::parse_relays(&text).map_err(|wrong| {
        let lines = wrong.iter().map(|diagnostic| diagnostic.render(&shown, &text));
        lines.collect::<Vec<_>>().join("\n")
    })?;
    let keys: Vec<PublicKey> = relays
        .keys
        .iter()
        .map(|key| key.parse().map_err(|error| format!("{shown}: the key `{key}` {error}")))
        .collect::<Result<_, _>>()?;
    if keys.is_empty() {
        return Err(format!("{shown}: no relay is trusted: `keys` names those that are"));
    }
    let file = relays.private_key_file.ok_or_else(|| {
        format!(
            "{shown}: relays know hosts by their keys, and `private-key-file` names none: `xcast \
             key generate FILE` makes one"
        )
    })?;
    let (private_key, held) = private_key(&file)?;
    let candidates = candidates(&relays.relays)?;
    let families = Families {
        v4: listen.iter().any(SocketAddr::is_ipv4),
        v6: listen.iter().any(SocketAddr::is_ipv6),
    };
    let patience = Relay::PATIENCE;
    Ok((Relay { private_key, candidates, keys, families, wish: None, patience }, held))
}

fn private_key(path: &Path) -> Result<(PrivateKey, File), String> {
    let shown = path.display();
    let cannot = |error| format!("cannot read the private key {shown}: {error}");
    let held = File::open(path).map_err(cannot)?;
    if matches!(held.try_lock(), Err(std::fs::TryLockError::WouldBlock)) {
        return Err(format!("{shown} is in use: a key is one program's at a time"));
    }
    let text = std::fs::read_to_string(path).map_err(cannot)?;
    let key = text.parse().map_err(|error| format!("{shown}: the private key {error}"))?;
    Ok((key, held))
}

fn candidates(places: &[String]) -> Result<Vec<(String, SocketAddr)>, String> {
    let mut found = Vec::new();
    let mut unknown = Vec::new();
    for place in places {
        match place.to_socket_addrs() {
            Ok(addresses) => found.extend(addresses.map(|address| (place.clone(), address))),
            Err(error) => unknown.push(format!("the relay {place} is not known: {error}")),
        }
    }
    found.truncate(CANDIDATES_MAX);
    match found.is_empty() {
        true if unknown.is_empty() => Err("the file of relays names none".to_owned()),
        true => Err(unknown.join("; ")),
        false => {
            unknown.iter().for_each(|complaint| tracing::warn!("{complaint}"));
            Ok(found)
        }
    }
}

/// Waits until a relay has leased an address, and says which.
pub(super) fn leased(socket: &mut XcastSocket) -> Result<IpAddr, String> {
    socket.settle(&[], Relay::PATIENCE).map_err(|error| error.to_string())?;
    let lease = socket.relay().and_then(|relay| relay.lease);
    lease.ok_or_else(|| "the relay has no address to lease".to_owned())
}
