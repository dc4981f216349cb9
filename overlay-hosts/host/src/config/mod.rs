//! The configuration of overlay hosts: what every key means, and its default. How it is read is in
//! `read`, how it is printed in `print`, and the machines' own tables are in `machines`.

mod machines;
mod print;
mod read;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use overlay_protocols::node;
use router_config::Experiment;
use router_config::reading::keywords;

pub use read::parse;

/// The UDP port of the first peer where none is named.
pub const DEFAULT_PORT: u16 = 9000;
/// The most peers of one process.
pub const PEERS_MAX: u16 = 256;
/// The links that a peer can carry where nothing is said: what a helper needs (seed 003 paragraph 0085).
pub const DEGREES: u16 = 4;
/// The DHCP option that is asked for where none is named: the first for private use (RFC 3942).
pub const DHCP_OPTION: u8 = 224;

keywords! {
    /// How a message with several receivers leaves.
    #[derive(Default)]
    pub enum Transport {
        /// A datagram for each, by an ordinary socket: needs no privilege.
        Unicast = "unicast",
        /// One Xcast packet for all.
        Xcast = "xcast",
        /// One Xcast packet for those that an Xcast probe has reached in the last 15 seconds.
        #[default]
        Auto = "auto",
    }
}

keywords! {
    /// Who may send to this host.
    #[derive(Default)]
    pub enum SealKind {
        /// Who signs with the key that its identity follows from.
        #[default]
        Signed = "signed",
        /// Anybody, as anybody: for labs alone.
        Open = "open",
    }
}

/// The whole configuration. Its `Display` is TOML that parses to an equal value.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[experiment]`: the code points on the wire. Required where Xcast is used, unless
    /// `experiment-file` names them.
    pub experiment: Option<Experiment>,
    /// `[host]`: the process.
    pub host: Host,
    /// `[[peer]]`: the peers of this process; at least one.
    pub peers: Vec<Peer>,
    /// `[rendezvous]`: how others are found.
    pub rendezvous: Rendezvous,
    /// `[ring]`, `[locality]`, `[metrics]`, `[somo]`, `[sessions]` and `[parallel]`: the machines.
    pub machines: node::Config,
}

/// The process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// 1 to 64 letters, digits, `.`, `_` and `-`. Required.
    pub name: String,
    /// Default: `/run/xcast/overlay/NAME.sock`.
    pub control_socket: PathBuf,
    /// What is kept over a restart. Default: `/var/lib/xcast/overlay/NAME`.
    pub state_directory: PathBuf,
    /// Default: [`Transport::Auto`].
    pub transport: Transport,
    /// Send Xcast by this interface alone. Default: by the kernel's routes.
    pub interface: Option<String>,
    /// The file with `[experiment]`, where this configuration has no such table. Default: none.
    pub experiment_file: Option<PathBuf>,
    /// A file of relays (see `xcast send --relay`): Xcast goes by one of these and by nothing else,
    /// without any privilege. Default: none.
    pub relays_file: Option<PathBuf>,
    /// Default: [`SealKind::Signed`].
    pub seal: SealKind,
    /// Links that each peer can carry in all multicast sessions together, of each the one to its parent
    /// and those to its children, from 0 to [`DEGREES_MAX`](overlay_protocols::alm::DEGREES_MAX); it
    /// reports them to the pool (`[somo]`). Default: [`DEGREES`].
    pub degrees: u16,
    /// What all randomness of the first peer follows from, of each further one this and one more:
    /// for labs alone, as who knows it knows what a peer will draw. Default: drawn at every start.
    pub seed: Option<u64>,
}

impl Host {
    /// A host of that name with every default.
    pub fn named(name: &str) -> Host {
        Host {
            name: name.to_owned(),
            control_socket: Path::new(crate::SOCKET_FOLDER).join(format!("{name}.sock")),
            state_directory: Path::new("/var/lib/xcast/overlay").join(name),
            transport: Transport::default(),
            interface: None,
            experiment_file: None,
            relays_file: None,
            seal: SealKind::default(),
            degrees: DEGREES,
            seed: None,
        }
    }
}

/// A peer: a process may have several, and a peer several addresses (seed 001 paragraph 0030).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// No two alike. Default: the host's name, with `-1`, `-2`, ... where there are several.
    pub name: String,
    /// Where it receives: UDP, one port. Default: `0.0.0.0:9000`, and with `peers = N` the ports
    /// that follow.
    pub listen: Vec<SocketAddr>,
    /// Where others reach it, the first being tried first. Default: where it receives, and instead
    /// of a wildcard the address that the kernel prefers towards the rendezvous.
    pub addresses: Vec<SocketAddr>,
    /// The file with its private key, made at the first start. Default: `NAME/identity.key` in the
    /// state directory.
    pub identity_file: PathBuf,
}

impl Peer {
    /// The UDP port.
    pub fn port(&self) -> u16 {
        self.listen.first().map_or(DEFAULT_PORT, SocketAddr::port)
    }

    /// Where it receives if nothing is said.
    pub fn anywhere(port: u16) -> Vec<SocketAddr> {
        vec![SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)]
    }
}

/// How others are found (seed 001 paragraphs 0036 and 0044).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendezvous {
    /// Whom to ask first: addresses, names, or what DHCP says. Default: nobody, which begins a
    /// network of one's own.
    pub boot: Vec<Boot>,
    /// Whether the peers are rendezvous and nothing else: they answer who looks for groups, and join
    /// none. Default: no.
    pub dedicated: bool,
    /// On which interface DHCP is asked. Required for that.
    pub dhcp_interface: Option<String>,
    /// Which option has the list. Default: [`DHCP_OPTION`].
    pub dhcp_option: u8,
}

impl Default for Rendezvous {
    fn default() -> Rendezvous {
        Rendezvous {
            boot: Vec::new(),
            dedicated: false,
            dhcp_interface: None,
            dhcp_option: DHCP_OPTION,
        }
    }
}

/// Whom to ask first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Boot {
    /// At this address.
    Address(SocketAddr),
    /// At all addresses of this `HOST:PORT`.
    Name(String),
    /// Whom DHCP names.
    Dhcp,
}

impl std::fmt::Display for Boot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Boot::Address(address) => write!(f, "{address}"),
            Boot::Name(name) => f.write_str(name),
            Boot::Dhcp => f.write_str("dhcp"),
        }
    }
}

#[cfg(test)]
mod tests;
