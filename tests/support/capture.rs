//! What crosses a link, seen from outside the routers: `pnet_datalink` captures, and `reading`
//! reads what was captured.

use std::collections::{BTreeMap, HashMap};
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pnet_datalink::{Channel, Config, DataLinkReceiver, DataLinkSender};

use super::process::PATIENCE;
pub use super::reading::ones_complement;
use super::reading::{Heading, IcmpError, read, read_error};
use super::{Link, Mac, inside};

/// The EtherType of the frames that tell how far a capture has come (IEEE 802, for experiments).
const MARKER: [u8; 2] = [0x88, 0xb5];
/// How long a marker is waited for before it is sent again: a link that was just set up has its
/// carrier a moment later, and until then drops what is sent.
const AGAIN: Duration = Duration::from_millis(100);
/// The most taps of a link.
const TAPS_MAX: usize = 2;
/// EtherTypes of IPv4 and IPv6.
const IP: [[u8; 2]; 2] = [[0x08, 0x00], [0x86, 0xdd]];

/// One packet that crossed a link; of IPv4, unless `A` says of either IP version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Copy<A = SocketAddrV4> {
    /// The node whose interface sent the frame.
    pub from: String,
    /// The node whose interface it is addressed to.
    pub to: String,
    pub form: Form<A>,
    pub source: A,
    pub ttl: u8,
    pub payload: String,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form<A = SocketAddrV4> {
    /// The destinations that are live, each with its port, in list order.
    Xcast(Vec<A>),
    Unicast(A),
    /// What no test expects: its protocol, and the type and code if it is ICMP.
    Other(u8, [u8; 2]),
}

impl Copy<SocketAddr> {
    /// The copy, if it is one of IPv4.
    fn into_v4(self) -> Option<Copy> {
        let v4 = |address| match address {
            SocketAddr::V4(v4) => Some(v4),
            SocketAddr::V6(_) => None,
        };
        let form = match self.form {
            Form::Xcast(live) => Form::Xcast(live.into_iter().filter_map(v4).collect()),
            Form::Unicast(to) => Form::Unicast(v4(to)?),
            Form::Other(protocol, kind) => Form::Other(protocol, kind),
        };
        let Copy { from, to, source, ttl, payload, .. } = self;
        Some(Copy { from, to, form, source: v4(source)?, ttl, payload })
    }
}

/// A running capture of one link, at all its taps. What is seen at two of them counts once.
pub struct Capture {
    pub link: Link,
    seen: Arc<Seen>,
    /// At each tap.
    markers: Vec<Mutex<Box<dyn DataLinkSender>>>,
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
    /// How often a frame was seen at each tap.
    sightings: HashMap<Vec<u8>, [u64; TAPS_MAX]>,
    /// The number of the last marker sent, at any tap.
    sent: u64,
    /// The number of the newest marker captured at each tap.
    markers: [u64; TAPS_MAX],
}

impl Capture {
    /// Captures at a link's taps. Whatever is sent from now on is seen.
    pub fn start(link: &Link, names: BTreeMap<Mac, String>) -> Capture {
        let seen = Arc::new(Seen::default());
        let tap = |(tap, (node, interface)): (usize, &(String, String))| {
            let (mut receiver, marker) =
                inside(node, || (open(interface).1, Mutex::new(open(interface).0)));
            let for_thread = Arc::clone(&seen);
            // Ends with the test.
            std::thread::spawn(move || {
                loop {
                    // An error is that of a link that went down; it may come up again.
                    if let Ok(frame) = receiver.next() {
                        for_thread.add(tap, frame);
                    }
                }
            });
            marker
        };
        let markers = link.taps.iter().enumerate().map(tap).collect();
        let capture = Capture { link: link.clone(), seen, markers, names };
        capture.take(); // the socket may have seen others' frames before it was bound
        capture
    }

    /// Every copy of IPv4 captured since the last call, read and checked. Memberships and probes
    /// are left out.
    pub fn take(&self) -> Vec<Copy> {
        self.take_all().into_iter().filter_map(Copy::into_v4).collect()
    }

    /// Every copy of IPv4 captured so far; it stays.
    pub fn peek(&self) -> Vec<Copy> {
        let copies = self.peek_with(|frame| self.read(frame));
        copies.into_iter().filter_map(|(copy, _)| copy.into_v4()).collect()
    }

    /// Every copy captured since the last call. Memberships, neighbor discovery and probes are
    /// left out.
    pub fn take_all(&self) -> Vec<Copy<SocketAddr>> {
        self.take_with_headings().into_iter().map(|(copy, _)| copy).collect()
    }

    /// As [`take_all`](Capture::take_all), with what else the copies' headers say.
    pub fn take_with_headings(&self) -> Vec<(Copy<SocketAddr>, Heading)> {
        self.drain();
        let frames = std::mem::take(&mut self.seen.lock().frames);
        frames.iter().filter_map(|frame| self.read(frame)).collect()
    }

    /// Forgets everything captured so far, unread: it may be wrong on purpose.
    pub fn clear(&self) {
        self.drain();
        self.seen.lock().frames.clear();
    }

    /// Every copy captured so far; it stays.
    pub fn peek_all(&self) -> Vec<Copy<SocketAddr>> {
        self.peek_with(|frame| Some(self.read(frame)?.0))
    }

    /// Every ICMP error captured so far; it stays.
    pub fn errors(&self) -> Vec<IcmpError> {
        self.peek_with(|frame| read_error(ip_packet(frame)?))
    }

    /// The IP packets captured so far, as they are; they stay. What is no traffic is left out.
    pub fn packets(&self) -> Vec<Vec<u8>> {
        self.peek_with(|frame| self.read(frame).and_then(|_| Some(ip_packet(frame)?.to_vec())))
    }

    /// All IP packets captured so far, whatever they are.
    pub fn all_packets(&self) -> Vec<Vec<u8>> {
        self.peek_with(|frame| Some(ip_packet(frame)?.to_vec()))
    }

    fn peek_with<T>(&self, read: impl FnMut(&Vec<u8>) -> Option<T>) -> Vec<T> {
        self.drain();
        self.seen.lock().frames.iter().filter_map(read).collect()
    }

    /// Sends a marker at each tap, and waits until it was captured there: then so was all before it.
    fn drain(&self) {
        for (tap, marker) in self.markers.iter().enumerate() {
            let mut sender = marker.lock().unwrap_or_else(PoisonError::into_inner);
            let deadline = Instant::now() + PATIENCE;
            let number = self.seen.next_number();
            let missing = |state: &mut State| state.markers[tap] < number;
            loop {
                let sent = sender.send_to(&marker_of(tap, number), None);
                sent.expect("it fits").expect("it is sent");
                let waited = self.seen.changed.wait_timeout_while(self.seen.lock(), AGAIN, missing);
                if !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out() {
                    break;
                }
                let taps = &self.link.taps;
                assert!(Instant::now() < deadline, "the capture on {taps:?} does not go on");
            }
        }
    }

    fn read(&self, frame: &[u8]) -> Option<(Copy<SocketAddr>, Heading)> {
        let name = |mac: &[u8]| {
            let known = <Mac>::try_from(mac).ok().and_then(|mac| self.names.get(&mac));
            known.cloned().unwrap_or_else(|| format!("{mac:02x?}"))
        };
        let (copy, heading) = read(ip_packet(frame)?)?;
        Some((Copy { from: name(&frame[6..12]), to: name(&frame[..6]), ..copy }, heading))
    }
}

/// A marker's frame.
fn marker_of(tap: usize, number: u64) -> [u8; 60] {
    let mut frame = [0; 60];
    frame[0] = 0x02; // nobody's address
    frame[12..14].copy_from_slice(&MARKER);
    frame[14] = tap as u8;
    frame[15..23].copy_from_slice(&number.to_be_bytes());
    frame
}

/// The tap and the number of a marker.
fn read_marker(frame: &[u8]) -> Option<(usize, u64)> {
    let number = <[u8; 8]>::try_from(frame.get(15..23)?).ok()?;
    (frame[12..14] == MARKER).then_some((usize::from(frame[14]), u64::from_be_bytes(number)))
}

/// What a frame carries, if that is IP.
fn ip_packet(frame: &[u8]) -> Option<&[u8]> {
    let (ethernet, packet) = frame.split_at_checked(14)?;
    IP.iter().any(|kind| ethernet[12..14] == *kind).then_some(packet)
}

impl Seen {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of the next marker.
    fn next_number(&self) -> u64 {
        let mut state = self.lock();
        state.sent += 1;
        state.sent
    }

    fn add(&self, tap: usize, frame: &[u8]) {
        let mut state = self.lock();
        match read_marker(frame) {
            // Those of the other end arrive here, too.
            Some((of, _)) if of != tap => {}
            Some((_, number)) => state.markers[tap] = state.markers[tap].max(number),
            None => {
                let sightings = state.sightings.entry(frame.to_vec()).or_default();
                sightings[tap] += 1;
                // Seen here as often as nowhere else: it is not one that another tap has had.
                let is_new =
                    sightings.iter().filter(|count| **count >= sightings[tap]).count() == 1;
                if is_new {
                    state.frames.push(frame.to_vec());
                }
            }
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
