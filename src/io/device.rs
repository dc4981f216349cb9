//! A port's device, by one of the ways to reach it: the drivers.
//!
//! | driver | receives by | sends by |
//! | --- | --- | --- |
//! | `packet` | the ring of a packet socket | `sendmmsg` |
//! | `packet+xdp` | the ring of a packet socket | AF_XDP |
//! | `xdp` | AF_XDP | AF_XDP |
//!
//! [`open`] is the front door, [`open_shared`] that of several workers; [`Receiver`] and
//! [`Transmitter`] are enums over the ways, so the packet path has static dispatch. Another way, such
//! as forwarding in the kernel, is another variant here and nothing elsewhere.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, RawFd};

use super::packet::{self, PacketReceiver, PacketTransmitter};
use super::tunnel::{HostsTransmitter, TunnelTransmitter};
use super::xdp::{self, XdpReceiver, XdpTransmitter};
use super::{Frame, Pieces, Receive, Transmit};
use crate::wire::CodePoints;

/// Which way is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Driver {
    /// What was measured fastest: `packet+xdp`. Where senders make a buffer of the stack for each
    /// frame, as all do on veth, the ring reads them as fast as AF_XDP; and it needs no program
    /// in the kernel, nor the privilege to load one.
    #[default]
    Auto,
    /// `packet`.
    Packet,
    /// `xdp`: the fastest for hardware queues, and for frames of other XDP programs.
    Xdp,
}

/// Which interface, and what is taken from it.
#[derive(Clone, Copy, Debug)]
pub struct Interface<'a> {
    /// The kernel's index.
    pub index: u32,
    /// The largest IP packet, in octets.
    pub mtu: u32,
    /// Its own link-layer address.
    pub link_address: [u8; 6],
    /// What an Xcast packet is.
    pub code_points: &'a CodePoints,
    /// Packets in semi-permeable tunnels are taken, too.
    pub envelopes: bool,
}

/// An open device.
pub struct Device {
    /// The receiving face.
    pub receiver: Receiver,
    /// The sending face.
    pub transmitter: Transmitter,
    /// Why it is not the driver that was wanted, if so; what was tried, and the kernel's words.
    pub why_not: Option<String>,
}

/// A worker's faces of an interface that several workers share: the receiving one, unless others
/// receive for it, and the sending one.
pub type Share = (Option<Receiver>, Transmitter);

/// Opens an interface by the driver that is wanted, or by the next best that works.
///
/// # Errors
/// What the kernel says to the last one, a packet socket; without `CAP_NET_RAW` it is
/// `PermissionDenied`.
pub fn open(interface: Interface<'_>, driver: Driver) -> io::Result<Device> {
    let mut why_not = Vec::new();
    if driver == Driver::Xdp {
        match open_xdp(interface) {
            Ok((receiver, transmitter)) => {
                return Ok(Device {
                    receiver: Receiver::Xdp(receiver),
                    transmitter,
                    why_not: None,
                });
            }
            Err(error) => why_not.push(no_reception(&error)),
        }
    }
    let Interface { index, mtu, code_points, envelopes, .. } = interface;
    let receiver = packet::open(index, mtu, code_points, envelopes)?;
    let transmitter = best_transmitter(interface, driver, &mut why_not)?;
    Ok(Device { receiver: Receiver::Packet(receiver), transmitter, why_not: in_words(&why_not) })
}

/// Opens an interface for so many workers, of which the first has the device that is returned and
/// the others what follows: packet sockets share their frames (see [`packet::open_shared`]), and
/// AF_XDP deals its queues. Sending by AF_XDP is the first one's alone, as it takes a queue of the
/// interface, and most have one; the others send by packet sockets.
///
/// # Errors
/// As [`open`] and [`packet::open_shared`].
pub fn open_shared(
    interface: Interface<'_>,
    driver: Driver,
    workers: usize,
) -> io::Result<(Device, Vec<Share>)> {
    if workers < 2 {
        return Ok((open(interface, driver)?, Vec::new()));
    }
    let Interface { index, mtu, code_points, envelopes, .. } = interface;
    let mut why_not = Vec::new();
    let mut found = None;
    if driver == Driver::Xdp {
        match open_xdp(interface) {
            Ok((receiver, transmitter)) => {
                let mut hands = receiver.deal(workers).into_iter().map(Receiver::Xdp);
                let first = hands.next();
                let mut shares: Vec<Share> = Vec::new();
                for _ in 1..workers {
                    shares.push((hands.next(), packet_transmitter(index)?));
                }
                let receiving = 1 + shares.iter().filter(|(hand, _)| hand.is_some()).count();
                if receiving < workers {
                    why_not.push(format!("{receiving} of {workers} workers have a queue"));
                }
                found = first.map(|receiver| (receiver, transmitter, shares));
            }
            Err(error) => why_not.push(no_reception(&error)),
        }
    }
    let (receiver, transmitter, shares) = match found {
        Some(found) => found,
        None => {
            let faces = packet::open_shared(index, mtu, code_points, envelopes, workers)?;
            let mut faces = faces.into_iter().map(Receiver::Packet);
            let receiver = faces.next().expect("there are two workers at least");
            let transmitter = best_transmitter(interface, driver, &mut why_not)?;
            let share = |receiver| Ok((Some(receiver), packet_transmitter(index)?));
            (receiver, transmitter, faces.map(share).collect::<io::Result<_>>()?)
        }
    };
    if matches!(transmitter, Transmitter::Xdp(_)) {
        why_not.push("worker 0 alone sends by AF_XDP, the others by packet sockets".to_owned());
    }
    Ok((Device { receiver, transmitter, why_not: in_words(&why_not) }, shares))
}

fn open_xdp(interface: Interface<'_>) -> Result<(XdpReceiver, Transmitter), xdp::XdpError> {
    let Interface { index, mtu, link_address, code_points, envelopes } = interface;
    let (receiver, transmitter) = xdp::open(index, mtu, link_address, code_points, envelopes)?;
    Ok((receiver, Transmitter::Xdp(transmitter)))
}

/// The best sending face that is wanted and works.
fn best_transmitter(
    Interface { index, mtu, .. }: Interface<'_>,
    driver: Driver,
    why_not: &mut Vec<String>,
) -> io::Result<Transmitter> {
    if driver != Driver::Packet {
        match xdp::open_sender(index, mtu) {
            Ok(better) => return Ok(Transmitter::Xdp(better)),
            Err(error) => why_not.push(format!("no transmission by AF_XDP: {error}")),
        }
    }
    packet_transmitter(index)
}

fn packet_transmitter(index: u32) -> io::Result<Transmitter> {
    packet::open_sender(index).map(Transmitter::Packet)
}

fn no_reception(error: &xdp::XdpError) -> String {
    format!("no reception by AF_XDP: {error}")
}

fn in_words(why_not: &[String]) -> Option<String> {
    (!why_not.is_empty()).then(|| why_not.join("; "))
}

impl Device {
    /// The driver's name: `packet`, `packet+xdp` or `xdp`.
    pub fn driver(&self) -> &'static str {
        match (&self.receiver, &self.transmitter) {
            (
                Receiver::Packet(_),
                Transmitter::Packet(_) | Transmitter::Tunnel(_) | Transmitter::Hosts(_),
            ) => "packet",
            (Receiver::Packet(_), Transmitter::Xdp(_)) => "packet+xdp",
            (Receiver::Xdp(_), _) => "xdp",
        }
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?})", self.driver(), self.why_not)
    }
}

/// The receiving face of a device.
pub enum Receiver {
    /// By a packet socket's ring.
    Packet(PacketReceiver),
    /// By AF_XDP.
    Xdp(XdpReceiver),
}

impl Receiver {
    /// Whether frames with IP packets of `mtu` octets fit.
    pub fn fits(&self, mtu: u32) -> bool {
        match self {
            Receiver::Packet(receiver) => receiver.fits(mtu),
            Receiver::Xdp(receiver) => receiver.fits(mtu),
        }
    }

    /// How many frames were lost so far because they came faster than they were read.
    pub fn overruns(&mut self) -> u64 {
        match self {
            Receiver::Packet(receiver) => receiver.overruns(),
            Receiver::Xdp(receiver) => receiver.overruns(),
        }
    }

    /// The descriptors that are readable when frames have arrived.
    pub fn descriptors(&self) -> Vec<RawFd> {
        match self {
            Receiver::Packet(receiver) => vec![receiver.as_raw_fd()],
            Receiver::Xdp(receiver) => receiver.descriptors().collect(),
        }
    }
}

impl Receive for Receiver {
    fn take(&mut self, limit: usize) -> usize {
        match self {
            Receiver::Packet(receiver) => receiver.take(limit),
            Receiver::Xdp(receiver) => receiver.take(limit),
        }
    }

    #[inline]
    fn frame(&mut self, index: usize) -> Frame<'_> {
        match self {
            Receiver::Packet(receiver) => receiver.frame(index),
            Receiver::Xdp(receiver) => receiver.frame(index),
        }
    }

    #[inline]
    fn bytes(&self, index: usize) -> &[u8] {
        match self {
            Receiver::Packet(receiver) => receiver.bytes(index),
            Receiver::Xdp(receiver) => receiver.bytes(index),
        }
    }

    fn release(&mut self, count: usize) {
        match self {
            Receiver::Packet(receiver) => receiver.release(count),
            Receiver::Xdp(receiver) => receiver.release(count),
        }
    }
}

/// The sending face of a device.
pub enum Transmitter {
    /// By a packet socket.
    Packet(PacketTransmitter),
    /// By AF_XDP.
    Xdp(XdpTransmitter),
    /// Into a tunnel.
    Tunnel(TunnelTransmitter),
    /// Into a tunnel of hosts.
    Hosts(HostsTransmitter),
}

impl Transmitter {
    /// Whether frames with IP packets of `mtu` octets can be sent.
    pub fn fits(&self, mtu: u32) -> bool {
        match self {
            Transmitter::Packet(_) | Transmitter::Tunnel(_) | Transmitter::Hosts(_) => true,
            Transmitter::Xdp(transmitter) => transmitter.fits(mtu),
        }
    }
}

impl Transmit for Transmitter {
    fn transmit<'a>(
        &mut self,
        count: usize,
        pieces: impl Fn(usize) -> Pieces<'a>,
        done: impl FnMut(usize, bool),
    ) {
        match self {
            Transmitter::Packet(transmitter) => transmitter.transmit(count, pieces, done),
            Transmitter::Xdp(transmitter) => transmitter.transmit(count, pieces, done),
            Transmitter::Tunnel(transmitter) => transmitter.transmit(count, pieces, done),
            Transmitter::Hosts(transmitter) => transmitter.transmit(count, pieces, done),
        }
    }
}
