//! What it takes until a peer runs: its key, its sockets, its addresses, what it had kept.

use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;

use overlay_protocols::id::PeerId;
use overlay_protocols::node::OverlayNode;
use overlay_protocols::{Contact, Identity};
use xcast::daemon::code_points;
use xcast::host::{HostError, Options};
use xcast::io::fill_random;
use xcast::wire::CodePoints;

use super::StartError;
use super::clock::Clock;
use super::link::Link;
use super::peer::{Datagrams, Peer};
use super::pool::Share;
use super::reach::Reach;
use super::relay;
use crate::config::{self, Boot, Config, SealKind, Transport};
use crate::state;

/// A peer that runs, and its keys, which are its own while their files are held.
pub(super) fn start(
    config: &Config,
    peer: &config::Peer,
    index: usize,
    clock: Clock,
) -> Result<(Peer, Vec<File>), StartError> {
    let folder = config.host.state_directory.join(&peer.name);
    state::make_folder(&folder)?;
    let key = state::private_key(&peer.identity_file)?;
    let identity = match config.host.seal {
        SealKind::Signed => Identity::signed(&key.octets),
        // Without signatures the public key is a name alone.
        SealKind::Open => Identity::open(Identity::signed(&key.octets).key),
    };
    let Opened { link, transport, lease, relay_key } = open_link(config, peer)?;
    let own_addresses = match lease {
        Some(address) => vec![SocketAddr::new(address, peer.port())],
        None => addresses(config, peer)?,
    };
    let held = [Some(key.held), relay_key].into_iter().flatten().collect();
    let contact = contact(identity.id, &own_addresses);
    let seed = config.host.seed.map_or_else(drawn, |seed| seed.wrapping_add(index as u64));
    let restored = |key: &str| state::restored(&folder, key);
    let mut machines = config.machines.clone();
    if let Some(sessions) = &mut machines.sessions {
        sessions.degrees = config.host.degrees;
    }
    let node = OverlayNode::new(machines, identity, contact, &restored, seed, clock.now());
    let shown: Vec<String> = own_addresses.iter().map(ToString::to_string).collect();
    tracing::info!(
        peer = peer.name,
        id = %node.contact().id,
        addresses = shown.join(","),
        %transport,
        "a peer begins"
    );
    let peer = Peer {
        name: peer.name.clone(),
        node,
        datagrams: Datagrams::default(),
        reach: Reach::default(),
        transport,
        link,
        share: Share::new(config.host.degrees, clock.now()),
        events: Vec::new(),
        boot: None,
        is_in_ring: false,
        may_begin: false,
        may_found: false,
        folder,
        own_addresses,
        next_upkeep: clock.now().time,
        has_failed: false,
        is_behind: true,
    };
    Ok((peer, held))
}

fn drawn() -> u64 {
    let mut octets = [0; 8];
    fill_random(&mut octets);
    u64::from_be_bytes(octets)
}

fn contact(id: PeerId, addresses: &[SocketAddr]) -> Contact {
    let others = (addresses.len() > 1).then(|| addresses[1..].into());
    Contact { id, address: addresses[0], others, swap: None }
}

/// Its sockets, and what goes with them.
struct Opened {
    link: Link,
    /// What it does with several receivers.
    transport: Transport,
    /// The address that a relay has leased.
    lease: Option<IpAddr>,
    /// The file of the key by which relays know it.
    relay_key: Option<File>,
}

fn open_link(config: &Config, peer: &config::Peer) -> Result<Opened, StartError> {
    let transport = config.host.transport;
    if transport == Transport::Unicast {
        return open_plain(peer);
    }
    if let Some(file) = &config.host.relays_file {
        return open_by_relay(config, peer, file);
    }
    let refused = |why: HostError| StartError::Xcast { peer: peer.name.clone(), why };
    let options = Options { interface: config.host.interface.clone(), ..Options::default() };
    match (Link::xcast(&peer.listen, read_code_points(config)?, options), transport) {
        (Ok(link), _) => Ok(Opened { link, transport, lease: None, relay_key: None }),
        (Err(error), Transport::Auto) => {
            let name = &peer.name;
            tracing::warn!(
                peer = name,
                "Xcast cannot be used: {error}; it goes on by unicast alone"
            );
            open_plain(peer)
        }
        (Err(error), _) => Err(refused(error)),
    }
}

fn open_plain(peer: &config::Peer) -> Result<Opened, StartError> {
    let link = Link::plain(&peer.listen).map_err(|error| StartError::Listen {
        peer: peer.name.clone(),
        at: peer.listen.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        error,
    })?;
    Ok(Opened { link, transport: Transport::Unicast, lease: None, relay_key: None })
}

fn open_by_relay(config: &Config, peer: &config::Peer, file: &Path) -> Result<Opened, StartError> {
    let refused = |why: String| StartError::Relay { peer: peer.name.clone(), why };
    let (relay, held) = relay::read(file, &peer.listen).map_err(refused)?;
    let options = Options { relay: Some(relay), ..Options::default() };
    let opened = Link::xcast(&peer.listen, read_code_points(config)?, options);
    let mut link = opened.map_err(|error| refused(error.to_string()))?;
    let lease = match &mut link {
        Link::Plain(_) => None,
        Link::Xcast(xcast) => Some(relay::leased(xcast.socket()).map_err(refused)?),
    };
    tracing::info!(peer = peer.name, address = ?lease, "a relay has leased an address");
    Ok(Opened { link, transport: config.host.transport, lease, relay_key: Some(held) })
}

fn read_code_points(config: &Config) -> Result<CodePoints, StartError> {
    let experiment = match (&config.experiment, &config.host.experiment_file) {
        (Some(experiment), _) => *experiment,
        (None, Some(file)) => read_experiment(file)?,
        (None, None) => return Err(StartError::NoCodePoints),
    };
    Ok(code_points(&experiment))
}

fn read_experiment(file: &Path) -> Result<router_config::Experiment, StartError> {
    let shown = file.display().to_string();
    let text = std::fs::read_to_string(file)
        .map_err(|error| StartError::Experiment(format!("cannot read {shown}: {error}")))?;
    router_config::parse_experiment(&text).map_err(|wrong| {
        let lines = wrong.iter().map(|diagnostic| diagnostic.render(&shown, &text));
        StartError::Experiment(lines.collect::<Vec<_>>().join("\n"))
    })
}

/// Where others reach it: what the configuration says, else where it listens, and for a wildcard the
/// address that the kernel prefers towards the first place to ask.
fn addresses(config: &Config, peer: &config::Peer) -> Result<Vec<SocketAddr>, StartError> {
    if !peer.addresses.is_empty() {
        return Ok(peer.addresses.clone());
    }
    let mut found = Vec::new();
    for listen in &peer.listen {
        let address = match listen.ip().is_unspecified() {
            false => *listen,
            true => match preferred(config, *listen) {
                Ok(ip) => SocketAddr::new(ip, listen.port()),
                Err(error) => {
                    let (peer, listen) = (peer.name.clone(), *listen);
                    return Err(StartError::NoAddress { peer, listen, error });
                }
            },
        };
        if !found.contains(&address) {
            found.push(address);
        }
    }
    Ok(found)
}

/// The address of this host that the kernel prefers towards others. Sends nothing.
fn preferred(config: &Config, wildcard: SocketAddr) -> io::Result<IpAddr> {
    let boot = config.rendezvous.boot.iter().filter_map(|boot| match boot {
        Boot::Address(address) if address.is_ipv4() == wildcard.is_ipv4() => Some(*address),
        _ => None,
    });
    // Anywhere beyond this network will do (RFC 5737, RFC 3849).
    let far = match wildcard {
        SocketAddr::V4(_) => SocketAddr::from(([192, 0, 2, 1], 9)),
        SocketAddr::V6(_) => SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 9)),
    };
    let mut problem = io::ErrorKind::AddrNotAvailable.into();
    for towards in boot.chain([far]) {
        let socket = UdpSocket::bind((wildcard.ip(), 0))?;
        match socket.connect(towards).and_then(|()| socket.local_addr()) {
            Ok(local) if !local.ip().is_unspecified() => return Ok(local.ip()),
            Ok(_) => {}
            Err(error) => problem = error,
        }
    }
    Err(problem)
}
