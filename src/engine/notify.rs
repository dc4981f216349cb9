//! Telling sources what became of their packets: ICMP errors (WIRE.md R12) leave by the node's own
//! IP stack; trace requests wait for the control plane, which knows what to report.

use std::net::IpAddr;

use crate::fib::{Fib, PortId, is_link_local};
use crate::forward::{Form, LINK_HEADER_LEN, Notice, NoticeKind, Replica};
use crate::io::Deliver;
use crate::wire::icmp::{self, UnreachableKind};
use crate::wire::tunnel;

/// Trace requests that may wait; more are forgotten.
const TRACES_MAX: usize = 64;

/// A trace request whose TTL ended here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceRequest {
    /// The port it came in by.
    pub port: PortId,
    /// Its source.
    pub source: IpAddr,
    /// The packet as it came, from its IP header on.
    pub packet: Vec<u8>,
}

pub(super) struct Notifier {
    message: [u8; icmp::MESSAGE_LEN_MAX_V6],
    traces: Vec<TraceRequest>,
}

impl Default for Notifier {
    fn default() -> Notifier {
        Notifier { message: [0; icmp::MESSAGE_LEN_MAX_V6], traces: Vec::new() }
    }
}

impl Notifier {
    /// Sends what a notice says, or keeps it if it asks for a trace.
    pub(super) fn tell(
        &mut self,
        fib: &Fib,
        notice: &Notice,
        packet: &[u8],
        local: &mut impl Deliver,
    ) {
        let error = match notice.kind {
            NoticeKind::TimeExceeded => icmp::Error::TimeExceeded,
            NoticeKind::NoRoute => icmp::Error::Unreachable(UnreachableKind::NoRoute),
            NoticeKind::TooBig(mtu) => icmp::Error::TooBig { mtu },
            NoticeKind::Trace => {
                if self.traces.len() < TRACES_MAX {
                    let (port, source) = (notice.port, notice.to);
                    self.traces.push(TraceRequest { port, source, packet: packet.to_vec() });
                }
                return;
            }
        };
        let link = is_link_local(notice.to).then_some(notice.port);
        let scope = link.and_then(|port| Some(fib.port(port)?.interface));
        self.send(error, notice.to, packet, scope, local);
    }

    /// Tells the source of a copy that the host it was for does not answer.
    pub(super) fn host_unreachable(
        &mut self,
        replica: &Replica,
        frame: &[u8],
        local: &mut impl Deliver,
    ) {
        let packet = frame.get(LINK_HEADER_LEN..).unwrap_or_default();
        let source = tunnel::source(packet);
        // Without a list, who the packet was for is in the packet that is quoted.
        let error = icmp::Error::Unreachable(match replica.form {
            Form::Xcast => UnreachableKind::NoRoute,
            _ => UnreachableKind::Host,
        });
        if let Some(source) = source.filter(|source| !is_link_local(*source)) {
            self.send(error, source, packet, None, local);
        }
    }

    /// Tells the source of an IP packet that it is too big for the tunnel it is to go into.
    pub(super) fn too_big(&mut self, packet: &[u8], mtu: u32, local: &mut impl Deliver) {
        if let Some(source) = tunnel::source(packet).filter(|source| !is_link_local(*source)) {
            self.send(icmp::Error::TooBig { mtu }, source, packet, None, local);
        }
    }

    fn send(
        &mut self,
        error: icmp::Error,
        to: IpAddr,
        packet: &[u8],
        scope: Option<u32>,
        local: &mut impl Deliver,
    ) {
        let length = match to {
            IpAddr::V4(_) => icmp::emit_v4(error, packet, &mut self.message),
            IpAddr::V6(_) => icmp::emit_v6(error, packet, &mut self.message),
        };
        // An error that cannot be sent is not worth another one.
        let _unsent = local.report(to, scope, &self.message[..length]);
    }

    pub(super) fn take_traces(&mut self) -> impl Iterator<Item = TraceRequest> + '_ {
        self.traces.drain(..)
    }
}
