//! Prints a configuration back as TOML, every default explicit. What is printed parses to an equal
//! configuration.

use std::fmt::{self, Display, Formatter};

use super::{Config, Host, Peer, Rendezvous, machines};

impl Display for Config {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(experiment) = &self.experiment {
            writeln!(f, "{experiment}")?;
        }
        host(f, &self.host)?;
        self.peers.iter().try_for_each(|item| peer(f, item))?;
        rendezvous(f, &self.rendezvous)?;
        machines::print(f, &self.machines)
    }
}

fn host(f: &mut Formatter<'_>, host: &Host) -> fmt::Result {
    writeln!(f, "[host]\nname = {}", quoted(&host.name))?;
    writeln!(f, "control-socket = {}", quoted(&host.control_socket.display()))?;
    writeln!(f, "state-directory = {}", quoted(&host.state_directory.display()))?;
    writeln!(f, "transport = {}", quoted(&host.transport))?;
    if let Some(interface) = &host.interface {
        writeln!(f, "interface = {}", quoted(interface))?;
    }
    if let Some(file) = &host.experiment_file {
        writeln!(f, "experiment-file = {}", quoted(&file.display()))?;
    }
    if let Some(file) = &host.relays_file {
        writeln!(f, "relays-file = {}", quoted(&file.display()))?;
    }
    writeln!(f, "seal = {}", quoted(&host.seal))?;
    writeln!(f, "degrees = {}", host.degrees)?;
    match host.seed {
        Some(seed) => writeln!(f, "seed = \"{seed:016x}\""),
        None => Ok(()),
    }
}

fn peer(f: &mut Formatter<'_>, peer: &Peer) -> fmt::Result {
    writeln!(f, "\n[[peer]]\nname = {}", quoted(&peer.name))?;
    writeln!(f, "listen = {}", list(&peer.listen))?;
    writeln!(f, "addresses = {}", list(&peer.addresses))?;
    writeln!(f, "identity-file = {}", quoted(&peer.identity_file.display()))
}

fn rendezvous(f: &mut Formatter<'_>, rendezvous: &Rendezvous) -> fmt::Result {
    writeln!(f, "\n[rendezvous]\nboot = {}", list(&rendezvous.boot))?;
    writeln!(f, "dedicated = {}", rendezvous.dedicated)?;
    if let Some(interface) = &rendezvous.dhcp_interface {
        writeln!(f, "dhcp-interface = {}", quoted(interface))?;
    }
    writeln!(f, "dhcp-option = {}", rendezvous.dhcp_option)
}

/// A value as a TOML string.
fn quoted<T: Display + ?Sized>(value: &T) -> String {
    toml::Value::from(value.to_string()).to_string()
}

/// Values as a TOML array of strings.
fn list<T: Display>(values: &[T]) -> String {
    let quoted: Vec<String> = values.iter().map(quoted).collect();
    format!("[{}]", quoted.join(", "))
}
