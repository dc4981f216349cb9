//! Whom pings and traces are for, and how they get there.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::Duration;

use super::super::Failure;
use super::super::experiment::Experiment;
use super::super::relay::{RelayArguments, families};
use crate::host::{Answer, Destination, Families, Options, XcastSocket};
use crate::io::datagram::ReportKind;

/// How long the start may take: until it is known which gateways handle Xcast.
const SETTLE_TIME: Duration = Duration::from_millis(1500);
/// Answers that are taken at once.
const WAITING_MAX: usize = 4096;
/// Where customarily nobody listens, so that hosts answer by ICMP.
pub(in crate::tools) const PORT: u16 = 33434;

#[derive(clap::Args)]
pub(in crate::tools) struct Aim {
    /// Destinations: ADDR,... of either IP version
    #[arg(long, value_name = "LIST", value_delimiter = ',', required = true)]
    to: Vec<IpAddr>,
    /// UDP port of the destinations: one where nobody listens, or where `xcast respond` does
    #[arg(long, default_value_t = PORT, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// UDP source port; 0 lets the kernel choose
    #[arg(long, default_value_t = 0)]
    source_port: u16,
    /// Send by this interface only
    #[arg(long, value_name = "IF")]
    interface: Option<String>,
    /// How long to wait for answers: to the last round of a ping, to each try of a trace
    #[arg(long, default_value = "1s", value_parser = humantime::parse_duration)]
    pub(in crate::tools) timeout: Duration,
    #[command(flatten)]
    experiment: Experiment,
}

impl Aim {
    /// Each address once.
    pub(in crate::tools) fn addresses(&self) -> Vec<IpAddr> {
        let mut seen = BTreeSet::new();
        self.to.iter().copied().filter(|address| seen.insert(*address)).collect()
    }

    pub(in crate::tools) fn destination(&self, address: IpAddr) -> Destination {
        Destination { address, port: self.port, dscp: None }
    }

    fn families(&self) -> Families {
        families(self.to.iter().copied())
    }

    /// A socket that knows which gateways handle Xcast, and waits for nothing when it sends.
    pub(in crate::tools) fn open(&self) -> Result<XcastSocket, Failure> {
        self.open_by(None)
    }

    /// The same, by a relay perhaps.
    pub(in crate::tools) fn open_by(
        &self,
        relay: Option<&RelayArguments>,
    ) -> Result<XcastSocket, Failure> {
        if self.interface.is_some() && relay.is_some_and(RelayArguments::is_given) {
            return Err(Failure::usage("--interface and --relay are two ways to send"));
        }
        let wanted =
            relay.map(|relay| relay.relay(&self.experiment, self.families())).transpose()?;
        let options = Options {
            interface: self.interface.clone(),
            source_port: self.source_port,
            patience: Duration::ZERO,
            relay: wanted.flatten(),
            ..Options::default()
        };
        let code_points = self.experiment.code_points()?;
        let mut socket = XcastSocket::open(code_points, &options).map_err(Failure::host)?;
        let destinations: Vec<Destination> =
            self.addresses().into_iter().map(|address| self.destination(address)).collect();
        let patience = relay.map_or(SETTLE_TIME, |relay| relay.settle_time(SETTLE_TIME));
        socket.settle(&destinations, patience).map_err(Failure::host)?;
        Ok(socket)
    }
}

/// The answers that are there already, but for a flood of them.
pub(in crate::tools) fn waiting(socket: &mut XcastSocket) -> Result<Vec<Answer>, Failure> {
    let next = |_| socket.receive_answer(Some(Duration::ZERO)).map_err(Failure::host).transpose();
    (0..WAITING_MAX).map_while(next).collect()
}

/// A number that nobody can foresee.
pub(in crate::tools) fn random() -> u64 {
    // Each state has keys of its own, random and then counted up.
    RandomState::new().hash_one(0)
}

/// A report in a few words, those of the drop reasons where they fit.
pub(in crate::tools) fn words(kind: ReportKind, is_v6: bool) -> String {
    let reason = match (kind, is_v6) {
        (ReportKind::PortUnreachable, _) => "port-unreachable",
        (ReportKind::TimeExceeded, _) => "ttl-expired",
        (ReportKind::TooBig { .. }, _) => "too-big",
        // RFC 792, RFC 1122 section 3.2.2.1, RFC 1812 section 5.2.7.1.
        (ReportKind::Unreachable { code: 0 | 6 | 11 }, false) => "no-route",
        (ReportKind::Unreachable { code: 1 | 7 | 12 }, false) => "host-unreachable",
        (ReportKind::Unreachable { code: 2 }, false) => "protocol-unreachable",
        (ReportKind::Unreachable { code: 9 | 10 | 13 }, false) => "prohibited",
        // RFC 4443 section 3.1.
        (ReportKind::Unreachable { code: 0 }, true) => "no-route",
        (ReportKind::Unreachable { code: 3 }, true) => "host-unreachable",
        (ReportKind::Unreachable { code: 1 | 5 | 6 }, true) => "prohibited",
        (ReportKind::Unreachable { code }, _) => return format!("unreachable (code {code})"),
        (ReportKind::Other { kind, code }, _) => return format!("icmp type {kind} code {code}"),
    };
    reason.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_code_has_the_meaning_of_its_ip_version() {
        let code = |code| ReportKind::Unreachable { code };
        assert_eq!(words(code(1), false), "host-unreachable");
        assert_eq!(words(code(1), true), "prohibited");
        assert_eq!(words(code(3), true), "host-unreachable");
        assert_eq!([words(code(0), false), words(code(0), true)], ["no-route", "no-route"]);
        assert_eq!(words(code(99), true), "unreachable (code 99)");
        assert_eq!(words(ReportKind::TooBig { mtu: 1400 }, false), "too-big");
        assert_eq!(words(ReportKind::Other { kind: 12, code: 0 }, false), "icmp type 12 code 0");
    }

    #[test]
    fn no_random_number_comes_twice() {
        let numbers: BTreeSet<u64> = (0..1000).map(|_| random()).collect();
        assert_eq!(numbers.len(), 1000);
    }
}
