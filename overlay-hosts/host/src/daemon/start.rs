//! What it takes until a peer runs: its key, its sockets, its addresses, what it had kept.

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
use super::reach::Reach;
use crate::config::{self, Boot, Config, SealKind, Transport};
use crate::state::{self, PrivateKey};

/// A peer that runs, and its key, which is its own while this is held.
pub(super) fn start(
    config: &Config,
    peer: &config::Peer,
    clock: Clock,
) -> Result<(Peer, PrivateKey), StartError> {
    let folder = config.host.state_directory.join(&peer.name);
    state::make_folder(&folder)?;
    let key = state::private_key(&peer.identity_file)?;
    let identity = match config.host.seal {
        SealKind::Signed => Identity::signed(&key.octets),
        // Without signatures the public key is a name alone.
        SealKind::Open => Identity::open(Identity::signed(&key.octets).key),
    };
    let (link, transport) = open_link(config, peer)?;
    let own_addresses = addresses(config, peer)?;
    let contact = contact(identity.id, &own_addresses);
    let mut seed = [0; 8];
    fill_random(&mut seed);
    let restored = |key: &str| state::restored(&folder, key);
    let machines = config.machines.clone();
    let seed = u64::from_be_bytes(seed);
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
        events: Vec::new(),
        folder,
        own_addresses,
        next_upkeep: clock.now().time,
        is_behind: true,
    };
    Ok((peer, key))
}

fn contact(id: PeerId, addresses: &[SocketAddr]) -> Contact {
    let others = (addresses.len() > 1).then(|| addresses[1..].into());
    Contact { id, address: addresses[0], others, swap: None }
}

/// Its sockets, and what it does with several receivers.
fn open_link(config: &Config, peer: &config::Peer) -> Result<(Link, Transport), StartError> {
    let wanted = config.host.transport;
    let refused = |why: HostError| StartError::Xcast { peer: peer.name.clone(), why };
    if wanted != Transport::Unicast {
        let options = Options { interface: config.host.interface.clone(), ..Options::default() };
        let opened = Link::xcast(&peer.listen, read_code_points(config)?, options);
        match (opened, wanted) {
            (Ok(link), _) => return Ok((link, wanted)),
            (Err(error), Transport::Auto) => {
                tracing::warn!(peer = peer.name, "{}; it goes on by unicast alone", refused(error))
            }
            (Err(error), _) => return Err(refused(error)),
        }
    }
    let opened = Link::plain(&peer.listen);
    let link = opened.map_err(|error| StartError::Listen {
        peer: peer.name.clone(),
        at: peer.listen.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        error,
    })?;
    Ok((link, Transport::Unicast))
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
