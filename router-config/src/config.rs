//! The typed configuration: what every key means, its unit and its default. Values of these types
//! come out of [`parse`](crate::parse) already validated; how they are read is not known here.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use ipnetwork::IpNetwork;

use crate::keyword::keywords;

/// The kernel's main routing table. It is always consulted last.
pub const MAIN_TABLE: u32 = 254;

/// A whole router configuration. Its `Display` is TOML that parses to an equal value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `[experiment]`: the code points on the wire. Required.
    pub experiment: Experiment,
    /// `[router]`: the router itself. Required, for its name.
    pub router: Router,
    /// `[ports]`: what every port does unless its own `[[port]]` says otherwise.
    pub ports: PortDefaults,
    /// `[[port]]`: the interfaces to use, defaults applied. None listed: all that the router finds
    /// usable.
    pub port: Vec<Port>,
    /// `[[neighbor]]`: neighbors whose capability is pinned rather than probed. Default: none.
    pub neighbor: Vec<NeighborPin>,
    /// `kernel-tables` of `[routes]`: kernel routing tables in the order they are consulted, after
    /// the static routes. Ends with [`MAIN_TABLE`]. Default: that table alone.
    pub kernel_tables: Vec<u32>,
    /// `[[route]]`: static routes, consulted first. Default: none.
    pub route: Vec<StaticRoute>,
    /// `[[tunnel]]`: configured tunnels. Default: none.
    pub tunnel: Vec<Tunnel>,
    /// `[backbone]`: relays that find and authenticate each other. Default: none.
    pub backbone: Option<Backbone>,
    /// `[semi-permeable]`: whose semi-permeable tunnels are opened on the way.
    pub semi_permeable: SemiPermeable,
    /// `[limits]`: who may send, to whom, and how much.
    pub limits: Limits,
}

impl Config {
    /// The settings of an interface: its `[[port]]` if it is listed, the defaults if none is
    /// listed at all, and `None` where others are listed and it is not: then it is no port.
    #[must_use]
    pub fn port_settings(&self, interface: &str) -> Option<Port> {
        if self.port.is_empty() {
            return Some(self.ports.port(interface));
        }
        self.port.iter().find(|port| port.interface == interface).cloned()
    }
}

/// The experimental code points. RFC 4727 reserves values for experiments and says that they must
/// not be a silent default: every key is required.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Experiment {
    /// IPv4 protocol of Xcast4, 1 to 255 and none in common use.
    pub ip_protocol: u8,
    /// All_Xcast_Routers of IPv4, a multicast address of link scope.
    pub all_routers_v4: Ipv4Addr,
    /// All_Xcast_Routers of IPv6, a multicast address of link scope.
    pub all_routers_v6: Ipv6Addr,
    /// IPv6 Routing Type of Xcast6, 7 to 255.
    pub routing_type: u8,
    /// IPv6 Destination Option that lists ports; its high three bits are 010.
    pub ports_option: u8,
    /// IPv6 Hop-by-Hop option of semi-permeable tunnels; its high three bits are 000.
    pub hop_by_hop_option: u8,
    /// UDP port of tunnels, 1 to 65535.
    pub tunnel_port: u16,
}

/// The router itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Router {
    /// 1 to 64 letters, digits, `.`, `_` and `-`. Required.
    pub name: String,
    /// Where the control socket is made. Default: `/run/xcast/NAME.sock`.
    pub control_socket: PathBuf,
    /// Where metrics are served. Default: nowhere.
    pub metrics: Option<Metrics>,
    /// Forwarding threads, 1 to 64. Default: 1.
    pub workers: u8,
    /// How routes are looked up. Default: [`FibKind::Poptrie`].
    pub fib: FibKind,
    /// Whether the process gives up what it no longer needs after start, as far as the kernel can
    /// enforce that. Default: true.
    pub sandbox: bool,
    /// Whether copies carry a rewritten destination list rather than the full list with a pruned
    /// bitmap. Default: false.
    pub compact: bool,
    /// Unicast service addresses at which Xcast packets are accepted (RFC 5058 11.5), from
    /// `sources` of `[limits]` only. Default: none.
    pub anycast_addresses: Vec<IpAddr>,
}

impl Router {
    /// A router of that name with every default.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            control_socket: PathBuf::from(format!("/run/xcast/{name}.sock")),
            metrics: None,
            workers: 1,
            fib: FibKind::default(),
            sandbox: true,
            compact: false,
            anycast_addresses: Vec::new(),
        }
    }
}

/// Where metrics are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Metrics {
    /// `ADDR:PORT`: over TCP.
    Tcp(SocketAddr),
    /// `unix:PATH`: on a stream socket of the file system.
    Unix(PathBuf),
}

impl fmt::Display for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

keywords! {
    /// How routes are looked up.
    #[derive(Default)]
    pub enum FibKind {
        /// A compressed trie: small, and fast enough for most.
        #[default]
        Poptrie = "poptrie",
        /// The two-level table DIR-24-8: faster for IPv4, and large.
        Dir24 = "dir24",
    }
}

keywords! {
    /// How packets are taken from an interface and put on it.
    #[derive(Default)]
    pub enum Driver {
        /// The best that works on the interface.
        #[default]
        Auto = "auto",
        /// Packet sockets.
        Packet = "packet",
        /// AF_XDP sockets.
        Xdp = "xdp",
    }
}

keywords! {
    /// What the source of an arriving packet must have: a route back, and by which port.
    #[derive(Default)]
    pub enum ReversePath {
        /// A route back by the port the packet came in on.
        #[default]
        Strict = "strict",
        /// A route back by any port.
        Loose = "loose",
        /// Nothing.
        Off = "off",
    }
}

keywords! {
    /// Which neighbors on a port are taken to speak Xcast, but for those that are pinned.
    #[derive(Default)]
    pub enum XcastNeighbors {
        /// Those that answer a probe.
        #[default]
        Probe = "probe",
        /// All of them.
        All = "all",
        /// None of them.
        None = "none",
    }
}

/// What every port does unless its own `[[port]]` says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortDefaults {
    /// Default: [`Driver::Auto`].
    pub driver: Driver,
    /// Default: [`ReversePath::Strict`].
    pub reverse_path: ReversePath,
    /// Default: [`XcastNeighbors::Probe`].
    pub xcast_neighbors: XcastNeighbors,
    /// Whether frames to the group's own link address are forwarded. Default: false.
    pub accept_group_frames: bool,
}

impl PortDefaults {
    /// A port with these settings.
    #[must_use]
    pub fn port(&self, interface: &str) -> Port {
        Port {
            interface: interface.to_owned(),
            driver: self.driver,
            reverse_path: self.reverse_path,
            xcast_neighbors: self.xcast_neighbors,
            accept_group_frames: self.accept_group_frames,
        }
    }
}

/// One interface the router uses. What its `[[port]]` leaves out, [`PortDefaults`] has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// The kernel's name of the interface, 1 to 15 bytes. Required, no two alike.
    pub interface: String,
    /// How packets are taken from it and put on it.
    pub driver: Driver,
    /// What the source of an arriving packet must have.
    pub reverse_path: ReversePath,
    /// Which neighbors on it are taken to speak Xcast.
    pub xcast_neighbors: XcastNeighbors,
    /// Whether frames to the group's own link address are forwarded: at most one router on a link
    /// should.
    pub accept_group_frames: bool,
}

/// A neighbor whose capability is pinned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeighborPin {
    /// A unicast address. Required, no two alike.
    pub address: IpAddr,
    /// Whether it speaks Xcast: `yes` or `no`. Required.
    pub xcast: bool,
}

/// A static route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticRoute {
    /// Required, host bits clear, no two alike.
    pub prefix: IpNetwork,
    /// Where the prefix leads. Required.
    pub target: RouteTarget,
}

/// Where a static route leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteTarget {
    /// `via`: a router, of the prefix's IP version.
    Via(IpAddr),
    /// `interface`: the destinations are on the link of this interface.
    Interface(String),
    /// `tunnel`: the name of a configured tunnel.
    Tunnel(String),
    /// `drop = true`: nowhere.
    Drop,
}

keywords! {
    /// What goes around a packet in a tunnel.
    pub enum TunnelKind {
        /// An IP header.
        Ipip = "ipip",
        /// IP and UDP headers, with keys unless the tunnel is insecure.
        Udp = "udp",
        /// An IPv6 header with a hop-by-hop option: Xcast routers on the way may branch.
        SemiPermeable = "semi-permeable",
        /// Nothing: the packet's own destination becomes a unicast service address.
        Anycast = "anycast",
        /// An IP header to the first of the live destinations, who sends on to the next.
        Hosts = "hosts",
    }
}

/// A configured tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// What routes call it: 1 to 64 letters, digits, `.`, `_` and `-`. Required, no two alike.
    pub name: String,
    /// What goes around a packet. Required.
    pub kind: TunnelKind,
    /// Our end. Required for `ipip` and `udp`; of the same IP version as `remote`.
    pub local: Option<IpAddr>,
    /// The other end, or the service address of `anycast`. Required but for `semi-permeable`,
    /// whose packets go to their first live destination.
    pub remote: Option<IpAddr>,
    /// The kernel TUN device that stands for it, so that routing daemons can run over it. No two
    /// alike. Default: none.
    pub interface: Option<String>,
    /// The keys of a `udp` tunnel. Without them it says `insecure = true`; other kinds have none.
    pub keys: Option<TunnelKeys>,
}

/// What authenticates the ends of a `udp` tunnel to each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelKeys {
    /// The file with our private key.
    pub private_key_file: PathBuf,
    /// The other end's public key, in base64.
    pub peer_key: String,
}

/// Relays that find and authenticate each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backbone {
    /// The file with this relay's private key. Required.
    pub private_key_file: PathBuf,
    /// Relays to ask first, as `HOST:PORT`. Default: none.
    pub seeds: Vec<String>,
    /// Public keys of the relays it talks to, in base64. Default: none.
    pub peers: Vec<String>,
    /// What this relay is near. Default: nothing.
    pub prefixes: Vec<IpNetwork>,
    /// Sources it may emit natively. Default: none.
    pub originate: Vec<IpNetwork>,
    /// Public keys of the hosts that it serves, in base64. Default: none.
    pub hosts: Vec<String>,
    /// What hosts are leased addresses of; the network must route it here. Default: none, so that
    /// no host gets one.
    pub leases: Vec<IpNetwork>,
    /// The kernel TUN device by which the node's own stack reaches the hosts that have leased
    /// addresses. Default: none.
    pub interface: Option<String>,
    /// Whether other relays may say that they are near to everything. Default: false.
    pub accept_default: bool,
}

/// Whose semi-permeable tunnels are opened on the way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SemiPermeable {
    /// Sources whose tunnels are opened. Default: none, which turns the feature off.
    pub accept: Vec<IpNetwork>,
}

/// Who may send, to whom, and how much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Live destinations a second for each source; 0 is unlimited. Default: 0.
    pub destinations_per_second: u32,
    /// Sources that may send. Default, when empty: all that pass the reverse-path check.
    pub sources: Vec<IpNetwork>,
    /// Destinations that may be reached. Default, when empty: all.
    pub destinations: Vec<IpNetwork>,
    /// Whether echo requests inside Xcast are forwarded (RFC 5058 14). Default: false.
    pub allow_icmp_echo: bool,
    /// ICMP errors sent a second at most; 0 sends none. Default: 100.
    pub icmp_errors_per_second: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            destinations_per_second: 0,
            sources: Vec::new(),
            destinations: Vec::new(),
            allow_icmp_echo: false,
            icmp_errors_per_second: 100,
        }
    }
}
