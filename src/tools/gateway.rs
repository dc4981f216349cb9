//! `xcast gateway`: an ordinary UDP stream to a list of destinations that can be edited while it
//! runs; the reverse side gives what arrives to a local group. Receivers are plain UDP programs.

mod carrier;
mod edit;
mod emitter;
mod intake;
mod list;
mod session;
mod tally;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::experiment::Experiment;
use super::relay::RelayArguments;
use super::{Failure, send, show};
use crate::host::preferred_source;
use crate::io::pcapng::interface_index;
use carrier::Carrier;
use emitter::Emitter;
use intake::Intake;
use session::{Control, Session, Side};

/// Carry an ordinary UDP stream to a list of destinations, and edit the list while it runs
///
/// With --emit it is the reverse side: what arrives goes to a group of the local network.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct Gateway {
    #[command(subcommand)]
    edit: Option<edit::Command>,
    /// Where the stream comes in: an address of this host, all (0.0.0.0 or [::]), or a group of
    /// the local network
    #[arg(long, value_name = "ADDR:PORT", required = true)]
    listen: Option<SocketAddr>,
    /// Destinations: ADDR[:PORT][/DSCP],...; the port of --listen where none is named
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        required_unless_present = "emit",
        conflicts_with = "emit"
    )]
    to: Vec<String>,
    /// The reverse side: the local group, or an address, that gets what arrives
    #[arg(
        long,
        value_name = "GROUP:PORT",
        conflicts_with_all = ["channel", "name", "socket", "experiment", "relay"]
    )]
    emit: Option<SocketAddr>,
    /// The interface of the local network that the group is on; else the kernel chooses
    #[arg(long, value_name = "IF")]
    interface: Option<String>,
    /// Channel identifier, decimal or 0x hexadecimal; 0 = none
    #[arg(long, default_value = "0", value_parser = send::channel)]
    channel: u128,
    /// DSCP of the packets; else that of the datagrams that come in
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..64))]
    dscp: Option<u8>,
    /// Time to live; 64 if not given, and 1 to a local group
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..))]
    ttl: Option<u8>,
    /// Name of the gateway; the port of --listen if not given
    #[arg(long, value_parser = name)]
    name: Option<String>,
    /// Control socket; else $XCAST_SOCKET, else /run/xcast/gateway-NAME.sock
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    relay: RelayArguments,
    #[command(flatten)]
    experiment: Experiment,
}

pub(super) fn run(gateway: &Gateway) -> Result<(), Failure> {
    match (&gateway.edit, gateway.listen) {
        (Some(edit), _) => edit.run(),
        (None, Some(listen)) => serve(gateway, listen),
        (None, None) => Err(Failure::usage("--listen is missing")), // clap has seen to it
    }
}

fn serve(gateway: &Gateway, listen: SocketAddr) -> Result<(), Failure> {
    if listen.port() == 0 {
        return Err(Failure::usage("--listen: a stream comes in at a port, which is not 0"));
    }
    let interface = gateway.interface_index(listen)?;
    let session = match gateway.emit {
        Some(to) => {
            if to.port() == 0 || to.ip().is_unspecified() {
                return Err(Failure::usage(format!("--emit: nobody can be at {to}")));
            }
            if is_at(listen, to) {
                let what = "--emit: that is where the gateway listens, so it would hear itself";
                return Err(Failure::usage(what));
            }
            let control = Control::open(None)?;
            let intake = Intake::open(listen, interface)?;
            let interface = gateway.interface.as_deref();
            let emitter = Emitter::open(to, interface, gateway.ttl, gateway.dscp)?;
            Session::new(control, intake, Side::Emit(emitter), gateway.json)?
        }
        None => {
            // First of all: where another gateway answers, this one must not send.
            let control = Control::open(Some(gateway.socket_path(listen)))?;
            let intake = Intake::open(listen, interface)?;
            let carrier = Carrier::open(gateway, listen)?;
            Session::new(control, intake, Side::Carry(Box::new(carrier)), gateway.json)?
        }
    };
    session.run()
}

impl Gateway {
    /// The index of `--interface`, which is for a group.
    fn interface_index(&self, listen: SocketAddr) -> Result<Option<u32>, Failure> {
        let Some(name) = &self.interface else { return Ok(None) };
        let is_group = |at: &SocketAddr| at.ip().is_multicast();
        if !is_group(&listen) && !self.emit.as_ref().is_some_and(is_group) {
            let what = "--interface says where a group is, and neither --listen nor --emit has one";
            return Err(Failure::usage(what));
        }
        let index = interface_index(name);
        let index = index.ok_or_else(|| format!("there is no interface `{name}` here"));
        index.map(Some).map_err(Failure::Usage)
    }

    fn socket_path(&self, listen: SocketAddr) -> PathBuf {
        let name = || self.name.clone().unwrap_or_else(|| listen.port().to_string());
        let named = self.socket.clone().or_else(show::named_socket);
        named.unwrap_or_else(|| show::gateway_socket(&name()))
    }
}

fn name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    match (1..=64).contains(&text.len()) && text.chars().all(fits) {
        true => Ok(text.to_owned()),
        false => Err("a name has up to 64 letters, digits, `-`, `_` and `.`".to_owned()),
    }
}

/// Whether what is sent to `place` comes in at `listen`.
fn is_at(listen: SocketAddr, place: SocketAddr) -> bool {
    let (listening, address) = (listen.ip(), place.ip());
    let is_any = listening.is_unspecified() && listening.is_ipv4() == address.is_ipv4();
    listen.port() == place.port() && (listening == address || is_any && is_own(address))
}

/// Whether an address is this host's own: the kernel sends to it from itself.
fn is_own(address: IpAddr) -> bool {
    !address.is_multicast() && preferred_source(address) == Some(address)
}

/// Whether a datagram was sent by this very process, by the socket with that port.
fn is_from(source: SocketAddr, own_port: u16) -> bool {
    source.port() == own_port && is_own(source.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn what_goes_where_it_came_from_is_known() {
        for (listen, place) in [
            ("239.1.1.1:5004", "239.1.1.1:5004"),
            ("10.0.0.1:5004", "10.0.0.1:5004"),
            ("0.0.0.0:5004", "127.0.0.1:5004"),
        ] {
            assert!(is_at(at(listen), at(place)), "{listen} {place}");
        }
        for (listen, place) in [
            ("239.1.1.1:5004", "239.1.1.1:5006"),
            ("239.1.1.1:5004", "239.1.1.2:5004"),
            ("0.0.0.0:5004", "239.1.1.1:5004"),
            ("0.0.0.0:5004", "127.0.0.1:5005"),
            ("[::]:5004", "127.0.0.1:5004"),
        ] {
            assert!(!is_at(at(listen), at(place)), "{listen} {place}");
        }
    }

    #[test]
    fn own_datagrams_are_told_by_address_and_port() {
        assert!(is_from(at("127.0.0.1:40000"), 40000));
        assert!(!is_from(at("127.0.0.1:40001"), 40000));
        assert!(!is_from(at("192.0.2.1:40000"), 40000));
    }

    #[test]
    fn names_are_parts_of_paths() {
        assert_eq!(name("camera-1.left_eye").as_deref(), Ok("camera-1.left_eye"));
        for wrong in ["", "a/b", "..\0", "ä", &"a".repeat(65)] {
            assert!(name(wrong).is_err(), "{wrong}");
        }
    }
}
