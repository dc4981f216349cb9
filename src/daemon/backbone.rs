//! The authenticated ends of UDP tunnels: the pure [`Peers`] with keys from files, real randomness
//! and resolved names.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use router_config::{Config, IpNetwork, TunnelKind};

use crate::backbone::peers::{self, EndId, EndView, Output, Pinned, Role, Seed};
use crate::backbone::{Counters, Peers, PrivateKey, PublicKey, Refusal};
use crate::control;
use crate::fib::Prefix;
use crate::forward::Time;
use crate::io::fill_random;

/// Why keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BackboneError {
    /// The file cannot be read.
    #[error("cannot read the private key {}: {error}", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the kernel said.
        error: std::io::Error,
    },
    /// What is in it is no key.
    #[error("{}: a private key {what} (`xcast key generate FILE` makes one)", .file.display())]
    NoKey {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        what: crate::backbone::KeyError,
    },
    /// A configured public key is none.
    #[error("{place}: `{key}` is no public key: it {what}")]
    NoPublicKey {
        /// The configuration's key.
        place: String,
        /// What it says.
        key: String,
        /// What is wrong.
        what: crate::backbone::KeyError,
    },
    /// A router is one end, and has one key.
    #[error(
        "all `private-key-file` of a router must be the same file: {} and {} differ",
        .one.display(), .other.display()
    )]
    TwoKeys {
        /// One file.
        one: PathBuf,
        /// The other one.
        other: PathBuf,
    },
}

/// The addresses of seeds, by what the configuration calls them.
#[derive(Clone, Debug, Default)]
pub struct Seeds(BTreeMap<String, Vec<SocketAddr>>);

impl Seeds {
    /// Looks names up. This may take a while, and reads the system's files, so it comes before the
    /// router gives files up.
    pub fn resolve(config: &Config) -> Seeds {
        let names = config.backbone.iter().flat_map(|backbone| &backbone.seeds);
        let addresses = |name: &String| match name.to_socket_addrs() {
            Ok(addresses) => addresses.collect(),
            Err(error) => {
                tracing::warn!(seed = name, %error, "the seed's name is not known");
                Vec::new()
            }
        };
        Seeds(names.map(|name| (name.clone(), addresses(name))).collect())
    }

    /// Those of a name; what was not resolved at the start has to be an address.
    fn of(&self, name: &str) -> Vec<SocketAddr> {
        let address = || {
            let address = name.parse().ok();
            if address.is_none() {
                tracing::warn!(seed = name, "names are looked up at the start alone: restart it");
            }
            address.into_iter().collect()
        };
        self.0.get(name).cloned().unwrap_or_else(address)
    }
}

pub(super) struct Backbone {
    peers: Peers,
    key: PublicKey,
    prefixes: Vec<Prefix>,
    leases: Vec<Prefix>,
}

/// What the configuration asks for, of a node with these addresses of its `own`; `None` if no end
/// is to have a key.
pub(super) fn wanted(
    config: &Config,
    seeds: &Seeds,
    own: Vec<IpAddr>,
) -> Result<Option<peers::Config>, BackboneError> {
    let tunnels = config.tunnel.iter().filter(|tunnel| tunnel.kind == TunnelKind::Udp);
    let keyed: Vec<_> = tunnels.filter_map(|t| Some((t, t.keys.as_ref()?))).collect();
    let backbone = config.backbone.as_ref();
    let files = keyed.iter().map(|(_, keys)| &keys.private_key_file);
    let mut files = files.chain(backbone.map(|backbone| &backbone.private_key_file));
    let Some(file) = files.next() else { return Ok(None) };
    if let Some(other) = files.find(|other| *other != file) {
        return Err(BackboneError::TwoKeys { one: file.clone(), other: other.clone() });
    }
    let mut pinned = Vec::new();
    for (tunnel, keys) in keyed {
        let key = public_key(&format!("[[tunnel]] {}", tunnel.name), &keys.peer_key)?;
        let remote = tunnel.remote.map(|end| SocketAddr::new(end, config.experiment.tunnel_port));
        let name = tunnel.name.clone();
        pinned.extend(remote.map(|address| Pinned { name, key, address }));
    }
    let mut allowed = BTreeMap::new();
    for (place, keys, role) in [
        ("[backbone] hosts", backbone.map(|backbone| &backbone.hosts), Role::Host),
        ("[backbone] peers", backbone.map(|backbone| &backbone.peers), Role::Relay),
    ] {
        for key in keys.into_iter().flatten() {
            allowed.insert(public_key(place, key)?, role);
        }
    }
    let names = backbone.into_iter().flat_map(|backbone| &backbone.seeds);
    let seeds = names.flat_map(|name| seeds.of(name));
    let networks = |networks: Option<&Vec<IpNetwork>>| -> Vec<Prefix> {
        networks.into_iter().flatten().filter_map(prefix).collect()
    };
    Ok(Some(peers::Config {
        private_key: read_key(file)?,
        role: Role::Relay,
        allowed,
        pinned,
        seeds: seeds.map(|address| Seed { address, key: None }).collect(),
        prefixes: networks(backbone.map(|backbone| &backbone.prefixes)),
        leases: networks(backbone.map(|backbone| &backbone.leases)),
        reserved: own,
        accept_default: backbone.is_some_and(|backbone| backbone.accept_default),
        name: config.router.name.clone(),
    }))
}

impl Backbone {
    pub(super) fn new(wanted: peers::Config, now: Time) -> Backbone {
        let (key, prefixes) = (wanted.private_key.public(), wanted.prefixes.clone());
        let leases = wanted.leases.clone();
        tracing::info!(%key, "this router's public key");
        Backbone { peers: Peers::new(wanted, Box::new(fill_random), now), key, prefixes, leases }
    }

    pub(super) fn reconfigure(&mut self, wanted: peers::Config, now: Time) {
        self.key = wanted.private_key.public();
        (self.prefixes, self.leases) = (wanted.prefixes.clone(), wanted.leases.clone());
        self.peers.set_config(wanted, now);
    }

    pub(super) fn handle_datagram(&mut self, from: SocketAddr, octets: &[u8], now: Time) {
        self.peers.handle_datagram(from, octets, now);
    }

    pub(super) fn handle_timeout(&mut self, now: Time) {
        if self.peers.poll_timeout().is_some_and(|due| due <= now) {
            self.peers.handle_timeout(now);
        }
    }

    pub(super) fn poll_output(&mut self) -> Option<Output> {
        self.peers.poll_output()
    }

    pub(super) fn poll_timeout(&self) -> Option<Time> {
        self.peers.poll_timeout()
    }

    /// What is known of all ends.
    pub(super) fn ends(&self) -> impl Iterator<Item = EndView> {
        self.peers.ends()
    }

    pub(super) fn close_all(&mut self, now: Time) {
        self.peers.close_all(now);
    }

    pub(super) fn counters(&self) -> Counters {
        self.peers.counters()
    }

    /// What `show backbone` prints; `tunnel` is the name of an end's tunnel.
    pub(super) fn state(&self, tunnel: impl Fn(EndId) -> Option<String>) -> control::Backbone {
        let texts = |prefixes: &[Prefix]| prefixes.iter().map(ToString::to_string).collect();
        let end = |view: EndView| control::BackboneEnd {
            tunnel: tunnel(view.id),
            role: if view.role == Role::Host { "host" } else { "relay" }.to_owned(),
            key: view.key.to_string(),
            address: view.address.to_string(),
            state: if view.is_up { "up" } else { "down" }.to_owned(),
            prefixes: texts(&view.prefixes),
            lease: view.lease.as_ref().map(IpAddr::to_string),
            rtt_seconds: view.rtt.map(|rtt| rtt as f64 / 1e6),
            loss: view.loss,
        };
        control::Backbone {
            key: Some(self.key.to_string()),
            prefixes: texts(&self.prefixes),
            leases: texts(&self.leases),
            ends: self.peers.ends().map(end).collect(),
            refused: Refusal::ALL
                .iter()
                .map(|refusal| (refusal.name().to_owned(), self.counters().count(*refusal)))
                .collect(),
        }
    }
}

fn read_key(file: &Path) -> Result<PrivateKey, BackboneError> {
    let text = fs::read_to_string(file)
        .map_err(|error| BackboneError::Unreadable { file: file.to_owned(), error })?;
    text.trim().parse().map_err(|what| BackboneError::NoKey { file: file.to_owned(), what })
}

fn public_key(place: &str, key: &str) -> Result<PublicKey, BackboneError> {
    let (place, text) = (place.to_owned(), key.to_owned());
    key.parse().map_err(|what| BackboneError::NoPublicKey { place, key: text, what })
}

fn prefix(network: &IpNetwork) -> Option<Prefix> {
    Prefix::new(network.network(), network.prefix())
}
