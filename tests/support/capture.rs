//! What crosses a link, seen from outside the routers and read by code that is not theirs:
//! `pnet_datalink` captures, `etherparse` checks IP and UDP, and the Xcast header is read here by
//! hand, after RFC 5058 section 9.2.2.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use etherparse::{Ipv4Header, UdpHeader};
use pnet_datalink::{Channel, Config, DataLinkReceiver, DataLinkSender};

use super::process::PATIENCE;
use super::{Link, Mac, inside};

/// The EtherType of the frames that tell how far a capture has come (IEEE 802, for experiments).
const MARKER: [u8; 2] = [0x88, 0xb5];
const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 254);
const XCAST: u8 = 253;
const ICMP: u8 = 1;
const IGMP: u8 = 2;
const UDP: u8 = 17;

/// One packet that crossed a link.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Copy {
    /// The node whose interface sent the frame.
    pub from: String,
    /// The node whose interface it is addressed to.
    pub to: String,
    pub form: Form,
    pub source: SocketAddrV4,
    pub ttl: u8,
    pub payload: String,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    /// The destinations that are live, each with its port, in list order.
    Xcast(Vec<SocketAddrV4>),
    Unicast(SocketAddrV4),
    /// What no test expects: its protocol, and the type and code if it is ICMP.
    Other(u8, [u8; 2]),
}

/// A running capture of one link.
pub struct Capture {
    pub link: Link,
    seen: Arc<Seen>,
    marker: Mutex<Box<dyn DataLinkSender>>,
    names: BTreeMap<Mac, String>,
}

#[derive(Default)]
struct Seen {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    frames: Vec<Vec<u8>>,
    markers: u64,
}

impl Capture {
    /// Captures at a link's tap. Whatever is sent from now on is seen.
    pub fn start(link: &Link, names: BTreeMap<Mac, String>) -> Capture {
        let (node, interface) = &link.tap;
        let (mut receiver, marker) =
            inside(node, || (open(interface).1, Mutex::new(open(interface).0)));
        let seen = Arc::new(Seen::default());
        let for_thread = Arc::clone(&seen);
        // Ends with the test.
        std::thread::spawn(move || {
            loop {
                // An error is that of a link that went down; it may come up again.
                if let Ok(frame) = receiver.next() {
                    for_thread.add(frame);
                }
            }
        });
        let capture = Capture { link: link.clone(), seen, marker, names };
        capture.take(); // the socket may have seen others' frames before it was bound
        capture
    }

    /// Everything captured since the last call, read and checked. Memberships (IGMP) and link
    /// layers other than IPv4 are left out.
    pub fn take(&self) -> Vec<Copy> {
        self.drain();
        let frames = std::mem::take(&mut self.seen.lock().frames);
        frames.iter().filter_map(|frame| self.read(frame)).collect()
    }

    /// Everything captured so far; it stays.
    pub fn peek(&self) -> Vec<Copy> {
        self.drain();
        self.seen.lock().frames.iter().filter_map(|frame| self.read(frame)).collect()
    }

    /// Sends a marker, and waits until it was captured: then so was all before it.
    fn drain(&self) {
        let before = self.seen.lock().markers;
        let mut frame = [0; 60];
        frame[0] = 0x02; // nobody's address
        frame[12..14].copy_from_slice(&MARKER);
        let mut sender = self.marker.lock().unwrap_or_else(PoisonError::into_inner);
        sender.send_to(&frame, None).expect("it fits").expect("the link is up");
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.seen.lock();
        while state.markers == before {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the capture on {:?} does not go on", self.link.tap);
            let waited = self.seen.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn read(&self, frame: &[u8]) -> Option<Copy> {
        let (ethernet, packet) = frame.split_at_checked(14)?;
        if ethernet[12..14] != [8, 0] {
            return None;
        }
        let name = |mac: &[u8]| {
            let known = <Mac>::try_from(mac).ok().and_then(|mac| self.names.get(&mac));
            known.cloned().unwrap_or_else(|| format!("{mac:02x?}"))
        };
        let copy = read_packet(packet)?;
        Some(Copy { from: name(&ethernet[6..12]), to: name(&ethernet[..6]), ..copy })
    }
}

impl Seen {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, frame: &[u8]) {
        let mut state = self.lock();
        match frame.get(12..14) == Some(&MARKER) {
            true => state.markers += 1,
            false => state.frames.push(frame.to_vec()),
        }
        self.changed.notify_all();
    }
}

/// Opens an interface of the namespace this thread is in.
pub fn open(interface: &str) -> (Box<dyn DataLinkSender>, Box<dyn DataLinkReceiver>) {
    let mut all = pnet_datalink::interfaces().into_iter();
    let found = all.find(|found| found.name == interface);
    let found = found.unwrap_or_else(|| panic!("there is no interface {interface}"));
    match pnet_datalink::channel(&found, Config::default()) {
        Ok(Channel::Ethernet(sender, receiver)) => (sender, receiver),
        Ok(_) => panic!("{interface}: another kind of channel"),
        Err(error) => panic!("{interface}: {error}"),
    }
}

/// Reads an IP packet and checks it as `tcpdump -vv` would: all of its checksums must be right.
fn read_packet(packet: &[u8]) -> Option<Copy> {
    let (header, _) = Ipv4Header::from_slice(packet).expect("routers send well-formed IP headers");
    assert_eq!(header.header_checksum, header.calc_header_checksum(), "IP: {packet:02x?}");
    let body = packet.get(header.header_len()..usize::from(header.total_len)).expect("whole");
    let source = Ipv4Addr::from(header.source);
    let destination = Ipv4Addr::from(header.destination);
    let (form, source_port, payload) = match header.protocol.0 {
        IGMP => return None,
        UDP => {
            let (ports, payload) = read_udp(body, source, destination);
            (Form::Unicast(SocketAddrV4::new(destination, ports[1])), ports[0], payload)
        }
        XCAST if destination == GROUP => {
            let (live, transport) = read_xcast(body);
            let (ports, payload) = read_udp(transport, source, destination);
            // Routers ask each other whether they handle Xcast (WIRE.md R9).
            if ports == [0, 0] && live.iter().all(|(address, _)| *address == source) {
                return None;
            }
            let live = live.into_iter().map(|(address, port)| {
                assert!(port.is_none() || ports[1] == 0, "a list of ports, and a port beside it");
                SocketAddrV4::new(address, port.unwrap_or(ports[1]))
            });
            (Form::Xcast(live.collect()), ports[0], payload)
        }
        other => {
            let kind = if other == ICMP { [body[0], body[1]] } else { [0; 2] };
            (Form::Other(other, kind), 0, String::new())
        }
    };
    let source = SocketAddrV4::new(source, source_port);
    let (from, to) = (String::new(), String::new());
    Some(Copy { from, to, form, source, ttl: header.time_to_live, payload })
}

/// The two ports and the payload.
fn read_udp(datagram: &[u8], source: Ipv4Addr, destination: Ipv4Addr) -> ([u16; 2], String) {
    let (header, payload) = UdpHeader::from_slice(datagram).expect("a UDP header");
    assert_eq!(usize::from(header.length), datagram.len(), "UDP: {datagram:02x?}");
    let check = header.calc_checksum_ipv4_raw(source.octets(), destination.octets(), payload);
    assert_eq!(Ok(header.checksum), check, "UDP of {source} to {destination}: {datagram:02x?}");
    let payload = String::from_utf8_lossy(payload).into_owned();
    ([header.source_port, header.destination_port], payload)
}

/// A destination, and its port if there is a list of them.
type Listed = (Ipv4Addr, Option<u16>);

/// The live destinations, and what follows the Xcast header.
fn read_xcast(bytes: &[u8]) -> (Vec<Listed>, &[u8]) {
    let (header, transport) = bytes.split_at(usize::from(bytes[9]) * 4);
    let (has_ds_bytes, has_ports) = (header[0] & 2 != 0, header[0] & 1 != 0);
    let count = usize::from(header[1] & 0x7f);
    assert_eq!((header[0] >> 4, header[8]), (1, UDP), "version and protocol: {header:02x?}");
    assert_eq!(ones_complement(header), 0xffff, "Xcast checksum: {header:02x?}");
    let addresses = 12 + count.div_ceil(32) * 4;
    let ports = addresses + count * 4 + if has_ds_bytes { count.next_multiple_of(4) } else { 0 };
    let is_live = |index: &usize| header[12 + index / 8] >> (7 - index % 8) & 1 == 1;
    let listed = |index: usize| {
        let at = addresses + index * 4;
        let address = Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]);
        let at = ports + index * 2;
        (address, has_ports.then(|| u16::from_be_bytes([header[at], header[at + 1]])))
    };
    ((0..count).filter(is_live).map(listed).collect(), transport)
}

/// The sum of 16-bit words that is all ones where a checksum is right (RFC 1071).
pub fn ones_complement(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low)));
    let sum = words.sum::<u32>();
    let folded = (sum & 0xffff) + (sum >> 16);
    ((folded & 0xffff) + (folded >> 16)) as u16
}
