//! What comes out of tunnels: packets with a list take the packet path, those for this node go to its
//! stack, control messages wait for the control plane.

use std::net::SocketAddr;
use std::time::Instant;

use super::*;
use crate::forward::{Decapsulated, Onward, decapsulate, send_on};
use crate::io::tun::Tun;
use crate::io::tunnel::TunnelReceiver;

/// Control messages that may wait; more are forgotten, as they would be on a busy network.
const CONTROL_MAX: usize = 256;
/// The longest control message.
const CONTROL_LEN_MAX: usize = 2048;

/// A control message that came by a tunnel's socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlMessage {
    /// Who sent it.
    pub from: SocketAddr,
    /// The datagram's payload.
    pub octets: Vec<u8>,
}

/// The tunnels' side of an engine.
#[derive(Default)]
pub(super) struct Tunnels {
    receiver: Option<TunnelReceiver>,
    /// By port: where the kernel has an interface for the tunnel.
    devices: Vec<Option<Tun>>,
    /// Of the batch at hand, the packets with a list: index, tunnel, start.
    listed: Vec<(u16, PortId, usize)>,
    control: Vec<ControlMessage>,
}

/// Packets with a list that came out of tunnels.
struct Listed<'a> {
    receiver: &'a mut TunnelReceiver,
    packets: &'a [(u16, PortId, usize)],
}

impl Batch for Listed<'_> {
    fn len(&self) -> usize {
        self.packets.len()
    }

    fn packet(&mut self, index: usize) -> Packet<'_> {
        let (index, port, start) = self.packets[index];
        let buffer = self.receiver.bytes_mut(usize::from(index));
        Packet { buffer, start, port: Some(port), to_group: false, index }
    }
}

impl<R: Receive, T: Transmit, D: Deliver> Engine<R, T, D> {
    /// Sets what tunnels' outer packets are read by.
    pub fn set_tunnel_receiver(&mut self, receiver: Option<TunnelReceiver>) {
        self.tunnels.receiver = receiver;
    }

    /// What tunnels' outer packets are read by.
    pub fn tunnel_receiver(&self) -> Option<&TunnelReceiver> {
        self.tunnels.receiver.as_ref()
    }

    /// Sets the interface of the kernel that stands for a tunnel: what is for this node goes there.
    pub fn set_tunnel_device(&mut self, port: PortId, device: Option<Tun>) {
        let devices = &mut self.tunnels.devices;
        devices.resize_with(devices.len().max(usize::from(port) + 1), || None);
        devices[usize::from(port)] = device;
    }

    /// Counts control messages that nobody had time for.
    pub fn refuse_control(&mut self, count: u32) {
        let counters = &mut self.out.counters;
        counters.packets_received += u64::from(count);
        counters.packets_dropped += u64::from(count);
        counters.drop(DropReason::UnknownEnd, count);
    }

    /// Control messages since the last call.
    pub fn take_control(&mut self) -> impl Iterator<Item = ControlMessage> + '_ {
        self.tunnels.control.drain(..)
    }

    /// Processes a batch of what has come out of tunnels; returns how many packets.
    pub(super) fn serve_tunnels(&mut self, fib: &Fib, now: Instant) -> usize {
        let Some(mut receiver) = self.tunnels.receiver.take() else { return 0 };
        self.prepare_for(fib);
        let taken = receiver.take();
        let mut listed = std::mem::take(&mut self.tunnels.listed);
        listed.clear();
        for index in 0..taken {
            if let Some((port, start)) = self.open(fib, &mut receiver, index, now) {
                listed.push((index as u16, port, start));
            }
        }
        let time = self.time(now);
        let mut packets = &listed[..];
        while !packets.is_empty() {
            let mut batch = Listed { receiver: &mut receiver, packets };
            let done = process_batch(fib, &mut batch, time, &mut self.out);
            packets = &packets[done..];
            self.dispatch(fib, false, now, |packet| receiver.bytes(usize::from(packet)));
        }
        self.tunnels.listed = listed;
        self.tunnels.receiver = Some(receiver);
        taken
    }

    /// Opens an outer packet; returns the tunnel, and where the packet begins, if it is one with a
    /// list.
    fn open(
        &mut self,
        fib: &Fib,
        receiver: &mut TunnelReceiver,
        index: usize,
        now: Instant,
    ) -> Option<(PortId, usize)> {
        let Some((outer, buffer, start)) = receiver.packet(index) else {
            let buffer = receiver.bytes_mut(index);
            let packet = Packet { buffer, start: 0, port: None, to_group: false, index: 0 };
            self.out.refuse(DropReason::IpHeader, &packet, self.time(now));
            return None;
        };
        match decapsulate(fib, outer, buffer, start) {
            Ok(Decapsulated::Xcast { port, start }) => return Some((port, start)),
            Ok(Decapsulated::Plain { port, start, end }) => {
                self.send_on(fib, port, &mut buffer[..end], start, now);
            }
            Ok(Decapsulated::Control) => {
                let octets = &buffer[start..];
                let control = &mut self.tunnels.control;
                if control.len() < CONTROL_MAX && octets.len() <= CONTROL_LEN_MAX {
                    let octets = octets.to_vec();
                    control.push(ControlMessage { from: outer.remote, octets });
                } else {
                    let packet = Packet { buffer, start, port: None, to_group: false, index: 0 };
                    self.out.refuse(DropReason::UnknownEnd, &packet, self.time(now));
                }
            }
            Err(reason) => {
                let packet = Packet { buffer, start, port: None, to_group: false, index: 0 };
                self.out.refuse(reason, &packet, self.time(now));
            }
        }
        None
    }

    /// A packet without a list: to this node, into another tunnel, or on by the kernel's own routes.
    fn send_on(&mut self, fib: &Fib, port: PortId, buffer: &mut [u8], start: usize, now: Instant) {
        let onward = send_on(fib, port, &mut buffer[start..]);
        let bytes = &buffer[start..];
        if onward == Ok(Onward::Here) {
            let device = self.tunnels.devices.get_mut(usize::from(port)).and_then(Option::as_mut);
            // Like any packet for the kernel's stack: what that does with it, it counts itself.
            let _taken = match device {
                Some(device) => device.write(bytes),
                None => self.local.deliver(bytes, &[], None),
            };
            return;
        }
        if let Ok(Onward::Tunnel(tunnel)) = onward
            && let Some(mtu) = fib.port(tunnel).map(|port| port.mtu)
            && bytes.len() > mtu as usize
        {
            let time = self.time(now);
            if self.out.notices.allow(time) {
                self.notifier.too_big(bytes, mtu, &mut self.local);
            }
            let packet = Packet { buffer, start, port: Some(port), to_group: false, index: 0 };
            return self.out.relayed(Err(DropReason::TooBig), &packet, time);
        }
        let outcome = onward.and_then(|onward| {
            let sent = match onward {
                // Outer headers leave room for a link-layer header that nobody reads.
                Onward::Tunnel(tunnel) => self.emit(tunnel, &buffer[start - LINK_HEADER_LEN..]),
                _ => self.local.deliver(bytes, &[], None),
            };
            sent.then_some(()).ok_or(DropReason::TransmitFailed)
        });
        let packet = Packet { buffer, start, port: Some(port), to_group: false, index: 0 };
        self.out.relayed(outcome, &packet, self.time(now));
    }
}
