//! `[[tunnel]]`: which ends and keys each kind of tunnel has.

use std::net::IpAddr;

use toml::Spanned;

use crate::config::{Tunnel, TunnelKeys, TunnelKind};
use crate::read::{Table, distinct};
use crate::values;

/// Keys that only `udp` tunnels have.
const UDP_KEYS: [&str; 3] = ["private-key-file", "peer-key", "insecure"];

/// The tunnels, and all names among them: a route to a tunnel that is wrong otherwise is not
/// wrong itself.
pub(super) fn read(root: &mut Table<'_>) -> (Vec<Tunnel>, Vec<String>) {
    let mut tunnels = Vec::new();
    let mut names = Vec::new();
    let mut interfaces = Vec::new();
    for mut table in root.tables("tunnel") {
        table.require("name");
        table.require("kind");
        let name = table.parsed("name", values::name);
        let kind = table.keyword("kind").map(Spanned::into_inner);
        let (local, remote) = ends(&mut table, kind);
        let interface = table.parsed("interface", values::interface);
        let keys = keys(&mut table, kind);
        table.finish();
        if let (Some(name), Some(kind)) = (&name, kind) {
            tunnels.push(Tunnel {
                name: name.get_ref().clone(),
                kind,
                local,
                remote,
                interface: interface.as_ref().map(|interface| interface.get_ref().clone()),
                keys,
            });
        }
        names.extend(name);
        interfaces.extend(interface);
    }
    distinct(root.report(), "`[[tunnel]]` name", &names);
    distinct(root.report(), "`[[tunnel]]` interface", &interfaces);
    (tunnels, names.into_iter().map(Spanned::into_inner).collect())
}

/// `local` and `remote`, as far as the kind has them.
fn ends(table: &mut Table<'_>, kind: Option<TunnelKind>) -> (Option<IpAddr>, Option<IpAddr>) {
    let needs: &[&'static str] = match kind {
        Some(TunnelKind::Ipip | TunnelKind::Udp) => &["local", "remote"],
        Some(TunnelKind::Anycast) => &["remote"],
        Some(TunnelKind::SemiPermeable | TunnelKind::Hosts) | None => &[],
    };
    for key in needs {
        table.require(key);
    }
    let local = table.parsed("local", values::unicast);
    let remote = table.parsed("remote", values::unicast);
    if let (Some(local), Some(remote)) = (&local, &remote) {
        let problem = if local.get_ref() == remote.get_ref() {
            Some("`remote` must differ from `local`")
        } else if local.get_ref().is_ipv4() != remote.get_ref().is_ipv4() {
            Some("`remote` must be of the same IP version as `local`")
        } else {
            None
        };
        if let Some(problem) = problem {
            table.report().error(remote.span(), problem);
        }
    }
    if kind == Some(TunnelKind::SemiPermeable) {
        for (key, end) in [("local", &local), ("remote", &remote)] {
            if let Some(end) = end.as_ref().filter(|end| end.get_ref().is_ipv4()) {
                let message = format!("`{key}` must be an IPv6 address: the kind is IPv6 only");
                table.report().error(end.span(), message);
            }
        }
    }
    (local.map(Spanned::into_inner), remote.map(Spanned::into_inner))
}

/// The keys of a `udp` tunnel, or its word that it has none.
fn keys(table: &mut Table<'_>, kind: Option<TunnelKind>) -> Option<TunnelKeys> {
    let private_key_file = table.parsed("private-key-file", values::path);
    let peer_key = table.parsed("peer-key", values::key);
    let insecure = table.boolean("insecure").is_some_and(Spanned::into_inner);
    let given = |key: &&str| table.has(key);
    if kind != Some(TunnelKind::Udp) {
        // Where the kind itself is wrong, the keys may well be right.
        for key in UDP_KEYS.iter().filter(|key| kind.is_some() && given(key)) {
            let message = format!("`{key}` is for tunnels of kind \"udp\" only");
            table.report().error(table.span(key).unwrap_or(table.header()), message);
        }
        return None;
    }
    let of_keys = ["private-key-file", "peer-key"];
    if insecure {
        for key in of_keys.iter().filter(|key| given(key)) {
            let message = format!("`{key}` contradicts `insecure = true`");
            table.report().error(table.span(key).unwrap_or(table.header()), message);
        }
        return None;
    }
    if !of_keys.iter().all(given) {
        let message = "a tunnel of kind \"udp\" needs `private-key-file` and `peer-key`, or \
                       `insecure = true`";
        table.report().absent(table.header(), message);
    }
    Some(TunnelKeys {
        private_key_file: private_key_file?.into_inner(),
        peer_key: peer_key?.into_inner(),
    })
}
