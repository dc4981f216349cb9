//! What the control plane holds for each port: group memberships and the kernel-side drop.

use std::collections::BTreeMap;

use super::membership::Membership;
use super::sockets::DeviceReport;
use super::worker::Report;
use crate::control;
use crate::fib::{Fib, Port, ReversePath};
use crate::forward::PortCounters;
use crate::kernel::{IngressDrop, KernelError};
use crate::wire::CodePoints;

/// Follows the ports of the Fibs.
pub(super) struct Ports {
    code_points: CodePoints,
    /// The drop, or why there is none.
    drop: Result<IngressDrop, String>,
    /// By interface, told apart from others of the same index.
    held: BTreeMap<(u32, u64), Held>,
}

struct Held {
    name: String,
    /// Given up with the port; `None` if it could not be had.
    membership: Option<Membership>,
    /// Why the kernel-side drop is not on this interface, if so.
    drop_error: Option<String>,
}

impl Held {
    fn warn(&self) {
        if self.membership.is_none() {
            tracing::warn!(interface = self.name, "cannot join the group of Xcast routers yet");
        }
        if let Some(error) = &self.drop_error {
            tracing::warn!(interface = self.name, error, "no kernel-side drop here");
        }
    }
}

impl Ports {
    /// Sets the kernel-side drop up under the router's name; without it (no nftables, no
    /// privilege) the router works all the same, and says so. `envelopes`: packets in semi-permeable
    /// tunnels are dropped too.
    ///
    /// # Errors
    /// Another router of this name runs here: both would forward every packet.
    pub(super) fn open(
        router: &str,
        code_points: CodePoints,
        envelopes: bool,
    ) -> Result<Ports, KernelError> {
        let CodePoints { ip_protocol, routing_type, .. } = code_points;
        let mut drop = match IngressDrop::open(router, ip_protocol, routing_type) {
            Err(error @ KernelError::Owned { .. }) => return Err(error),
            other => other.map_err(|error| {
                tracing::warn!(%error, "no kernel-side drop: the kernel's stack sees Xcast too");
                error.to_string()
            }),
        };
        if let (Ok(drop), true) = (&mut drop, envelopes) {
            drop.add_envelopes(code_points.hop_by_hop_option);
        }
        Ok(Ports { code_points, drop, held: BTreeMap::new() })
    }

    /// Joins and leaves, attaches and detaches, as the ports come and go.
    pub(super) fn follow(&mut self, fib: &Fib) {
        let ports: BTreeMap<(u32, u64), &Port> =
            of_links(fib).map(|port| (port.identity(), port)).collect();
        let gone = |interface: &(u32, u64), held: &mut Held| {
            ports.get(interface).is_none_or(|port| port.name != held.name)
        };
        for (_, held) in self.held.extract_if(.., gone) {
            if let Ok(drop) = &mut self.drop
                && let Err(error) = drop.detach(&held.name)
            {
                tracing::debug!(interface = held.name, %error, "cannot detach the drop");
            }
        }
        for (interface, port) in ports {
            if !self.held.contains_key(&interface) {
                let held = self.hold(port);
                held.warn();
                self.held.insert(interface, held);
            }
        }
    }

    /// Tries again what a port could not get.
    pub(super) fn retry(&mut self, fib: &Fib) {
        let lacking = |port: &&Port| {
            let held = self.held.get(&port.identity());
            held.is_some_and(|held| held.membership.is_none() || held.drop_error.is_some())
        };
        let lacking: Vec<&Port> = of_links(fib).filter(lacking).collect();
        for port in lacking {
            let held = self.hold(port);
            self.held.insert(port.identity(), held);
        }
    }

    fn hold(&mut self, port: &Port) -> Held {
        let membership = Membership::join(port.interface, &self.code_points);
        let drop_error = match &mut self.drop {
            Ok(drop) => drop.attach(&port.name).err().map(|error| error.to_string()),
            Err(error) => Some(error.clone()),
        };
        Held { name: port.name.clone(), membership: membership.ok(), drop_error }
    }

    /// What `show ports` prints; of the `listed` interfaces those without a port are missing.
    pub(super) fn states<'a>(
        &self,
        fib: &Fib,
        report: &Report,
        listed: impl Iterator<Item = &'a String>,
    ) -> control::Ports {
        let slots = fib.ports().iter().enumerate();
        let present = slots.filter_map(|(id, port)| {
            let device = report.devices.get(id).cloned().unwrap_or_default();
            let counters = report.counters.ports.get(id).copied().unwrap_or_default();
            let workers = report.received.get(id).cloned().unwrap_or_default();
            let port = port.as_ref().filter(|port| port.tunnel.is_none())?;
            Some(control::PortState {
                packets_received_by_worker: workers,
                ..self.state(port, device, counters)
            })
        });
        let mut ports: Vec<control::PortState> = present.collect();
        let has = |name: &str| fib.ports().iter().flatten().any(|port| port.name == name);
        ports.extend(listed.filter(|name| !has(name)).cloned().map(missing_port));
        ports.sort_by(|a, b| a.interface.cmp(&b.interface));
        control::Ports { ports }
    }

    fn state(
        &self,
        port: &Port,
        device: DeviceReport,
        counters: PortCounters,
    ) -> control::PortState {
        let drop_error = match self.held.get(&port.identity()) {
            Some(held) => held.drop_error.clone(),
            None => Some("not attached yet".to_owned()),
        };
        let state = match (&device.error, port.up) {
            // Sockets of several workers may have to wait until it is up.
            (_, false) => "down",
            (Some(_), true) => "error",
            (None, true) => "up",
        };
        control::PortState {
            interface: port.name.clone(),
            driver: device.driver.to_owned(),
            why_not: device.error.or(device.why_not).unwrap_or_default(),
            reverse_path: match port.reverse_path {
                ReversePath::Strict => "strict".to_owned(),
                ReversePath::Loose => "loose".to_owned(),
                ReversePath::Off => "off".to_owned(),
            },
            state: state.to_owned(),
            mtu: port.mtu,
            kernel_drop: drop_error.is_none(),
            kernel_drop_error: drop_error,
            packets_received: counters.packets_received,
            bytes_received: counters.bytes_received,
            replicas_sent_xcast: counters.replicas_sent_xcast,
            replicas_sent_unicast: counters.replicas_sent_unicast,
            bytes_sent: counters.bytes_sent,
            receive_overruns: device.overruns,
            packets_received_by_worker: Vec::new(),
        }
    }
}

/// The ports that are interfaces.
fn of_links(fib: &Fib) -> impl Iterator<Item = &Port> {
    fib.ports().iter().flatten().filter(|port| port.tunnel.is_none())
}

fn missing_port(interface: String) -> control::PortState {
    control::PortState {
        why_not: "the interface does not exist, or is not an Ethernet interface".to_owned(),
        state: "missing".to_owned(),
        interface,
        ..control::PortState::default()
    }
}
