mod accounts;

use std::net::UdpSocket;
use std::sync::mpsc;

use socket2::SockRef;

use super::*;
use crate::backbone::Peers;
use crate::backbone::peers::{Config, Output, Role};
use crate::forward::{Time, inspect};
use crate::host::{Options, XcastSocket};
use crate::wire::control::is_control;
use crate::wire::{ipv4, udp};

const PORT: u16 = 9000;
const FOREVER: Duration = Duration::from_secs(60);

pub(super) fn code_points() -> CodePoints {
    let experiment = include_str!("../../../router-config/examples/experiment.toml");
    crate::daemon::code_points(&router_config::parse_experiment(experiment).unwrap())
}

fn private(number: u8) -> PrivateKey {
    PrivateKey::new([number; 32])
}

/// A relay on the loopback that knows host 100: it keeps what comes, and emits what it is told.
struct Fake {
    number: u8,
    address: SocketAddr,
    inner: mpsc::Receiver<Vec<u8>>,
    orders: mpsc::Sender<Order>,
    thread: Option<JoinHandle<()>>,
}

enum Order {
    /// Sends octets to whoever has sent last.
    Send(Vec<u8>),
    /// What is sent from now on met congestion on its way.
    Congest,
    /// Falls silent at once.
    Die,
    /// Takes leave first.
    Leave,
}

impl Fake {
    fn new(number: u8, host: PublicKey) -> Fake {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        // Orders are looked for so often.
        socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        let address = socket.local_addr().unwrap();
        let ((put, inner), (orders, take)) = (mpsc::channel(), mpsc::channel());
        let config = Config {
            private_key: private(number),
            role: Role::Relay,
            allowed: [(host, Role::Host)].into(),
            pinned: vec![],
            seeds: vec![],
            prefixes: vec![],
            leases: vec![format!("10.99.{number}.0/24").parse().unwrap()],
            reserved: vec![],
            accept_default: false,
            name: format!("relay{number}"),
        };
        let thread = thread::spawn(move || serve(config, &socket, &put, &take));
        Fake { number, address, inner, orders, thread: Some(thread) }
    }

    fn candidate(&self) -> (String, SocketAddr) {
        (format!("fake{}", self.number), self.address)
    }

    fn order(&self, order: Order) {
        let _over = self.orders.send(order);
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.order(Order::Die);
        self.thread.take().unwrap().join().unwrap();
    }
}

fn serve(
    config: Config,
    socket: &UdpSocket,
    put: &mpsc::Sender<Vec<u8>>,
    orders: &mpsc::Receiver<Order>,
) {
    let start = Instant::now();
    let now = || Time(start.elapsed().as_micros() as u64);
    let mut peers = Peers::new(config, Box::new(fill_random), now());
    let (mut buffer, mut host, mut waiting) = (vec![0; 1 << 16], None, None);
    let send = |peers: &mut Peers| {
        while let Some(output) = peers.poll_output() {
            if let Output::Send { to, bytes } = output {
                let _lost = socket.send_to(&bytes, to);
            }
        }
    };
    loop {
        waiting = waiting.or_else(|| orders.try_recv().ok());
        match (waiting.take(), host) {
            (Some(Order::Send(octets)), Some(host)) => {
                socket.send_to(&octets, host).unwrap();
            }
            (Some(Order::Congest), _) => SockRef::from(socket).set_tos_v4(0b11).unwrap(),
            (Some(Order::Die), _) => return,
            (Some(Order::Leave), _) => {
                peers.close_all(now());
                return send(&mut peers);
            }
            (none_yet, _) => waiting = none_yet,
        }
        if let Ok((length, from)) = socket.recv_from(&mut buffer) {
            host = Some(from);
            if is_control(&buffer[..length]) {
                peers.handle_datagram(from, &buffer[..length], now());
            } else {
                let _over = put.send(buffer[..length].to_vec());
            }
        }
        if peers.poll_timeout().is_some_and(|due| due <= now()) {
            peers.handle_timeout(now());
        }
        send(&mut peers);
    }
}

fn relay(fakes: &[&Fake], trusted: &[u8]) -> Relay {
    Relay {
        private_key: private(100),
        candidates: fakes.iter().map(|fake| fake.candidate()).collect(),
        keys: trusted.iter().map(|number| private(*number).public()).collect(),
        families: Families { v4: true, v6: false },
        wish: None,
        patience: FOREVER,
    }
}

fn open(relay: Relay) -> XcastSocket {
    let options = Options { source_port: PORT, relay: Some(relay), ..Options::default() };
    XcastSocket::open(code_points(), &options).unwrap()
}

fn list(count: u8) -> Vec<Destination> {
    let to = |host| Destination { address: [192, 0, 2, host].into(), port: PORT, dscp: None };
    (1..=count).map(to).collect()
}

fn send(socket: &mut XcastSocket, to: &[Destination], payload: &[u8]) -> Sent {
    socket.send(&Message { destinations: to, payload, ..Message::default() }).unwrap()
}

/// Source, destinations and payload of an inner packet.
fn parsed(mut packet: Vec<u8>) -> (IpAddr, usize, Vec<u8>) {
    let fib = Rib::new(Settings::open(code_points())).compile();
    let inspected = inspect(&fib, &mut packet, None).unwrap();
    (inspected.source, inspected.live.len(), inspected.transport[udp::HEADER_LEN..].to_vec())
}

/// A datagram for port 9000 of an address.
fn datagram(to: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let source = std::net::Ipv4Addr::new(192, 0, 2, 9);
    let mut packet = vec![0; ipv4::HEADER_LEN + udp::HEADER_LEN];
    packet.extend(payload);
    let (ip, rest) = packet.split_at_mut(ipv4::HEADER_LEN);
    udp::Repr { source_port: 7, destination_port: PORT }.emit(rest, source, IpAddr::from(to));
    let repr = ipv4::Repr {
        source,
        destination: to.into(),
        protocol: ipv4::protocol::UDP,
        traffic_class: 0,
        ttl: 60,
        payload_len: rest.len() as u16,
    };
    repr.emit(ip);
    packet
}

#[test]
fn a_message_leaves_as_one_packet_from_the_leased_address() {
    let fake = Fake::new(1, private(100).public());
    let mut socket = open(relay(&[&fake], &[1]));
    let sent = send(&mut socket, &list(3), b"hello");
    assert_eq!((sent.packets, sent.unsent), (1, vec![]));
    let own = IpAddr::from([10, 99, 1, 1]);
    let inner = fake.inner.recv_timeout(FOREVER).unwrap();
    assert_eq!(parsed(inner), (own, 3, b"hello".to_vec()));
    // One alone leaves in the same form.
    send(&mut socket, &list(1), b"alone");
    assert_eq!(parsed(fake.inner.recv_timeout(FOREVER).unwrap()), (own, 1, b"alone".to_vec()));
    let view = socket.relay().unwrap();
    assert_eq!((view.name.as_str(), view.address), ("relay1", fake.address));
    assert_eq!((view.lease, view.key), (Some(own), private(1).public()));
    let events = socket.take_relay_events();
    assert!(matches!(&events[..], [RelayEvent::Attached(_)]), "{events:?}");
    assert_eq!(socket.counters().destinations_forwarded, 4);
}

#[test]
fn what_cannot_be_sent_is_told_by_destination() {
    let fake = Fake::new(1, private(100).public());
    let mut socket = open(relay(&[&fake], &[1]));
    let mut to = list(1);
    for address in ["224.1.1.1", "127.0.0.1", "2001:db8::1", "169.254.0.1", "10.99.1.1"] {
        to.push(Destination { address: address.parse().unwrap(), port: PORT, dscp: None });
    }
    let sent = send(&mut socket, &to, b"x");
    let reasons: BTreeMap<usize, DropReason> =
        sent.unsent.iter().map(|unsent| (unsent.index, unsent.reason)).collect();
    let bad = DropReason::BadDestination;
    assert_eq!(reasons, [(1, bad), (2, bad), (3, DropReason::NoRoute), (4, bad)].into());
    // The last one is this host itself.
    let own = socket.receive(Some(FOREVER)).unwrap().unwrap();
    assert_eq!((own.destination, &own.payload[..]), ([10, 99, 1, 1].into(), &b"x"[..]));

    // The loopback takes 65,536 octets, the longest IP packet.
    let large = vec![0; 65_536 - 28 - 20 - 20 - 8];
    let sent = send(&mut socket, &list(1), &large[..large.len() - 1]);
    assert_eq!(sent.unsent, []);
    let sent = send(&mut socket, &list(1), &[&large[..], &[0; 40]].concat());
    assert_eq!(sent.unsent[0].reason, DropReason::TooBig);
    let lone = socket.mtu([192, 0, 2, 1].into());
    assert!((60_000..65_536).contains(&lone), "{lone}");
}

#[test]
fn datagrams_come_from_the_relay_for_the_leased_address_alone() {
    let fake = Fake::new(1, private(100).public());
    let mut socket = open(relay(&[&fake], &[1]));
    send(&mut socket, &list(1), b"hello");
    let own = [10, 99, 1, 1];
    // Where the host is, as the fake has learnt it; a stranger learns it, too.
    fake.order(Order::Send(datagram([10, 99, 1, 2], b"for another")));
    fake.order(Order::Send(datagram(own, b"cut short")[..30].to_vec()));
    fake.order(Order::Send(vec![0x45; 10]));
    fake.order(Order::Send(vec![0x60; 60]));
    fake.order(Order::Send(vec![0xff; 60]));
    fake.order(Order::Send(datagram(own, b"for you")));
    let received = socket.receive(Some(FOREVER)).unwrap().unwrap();
    assert_eq!(received.payload, b"for you");
    assert_eq!((received.source.port(), received.ttl), (7, 60));
    let counters = socket.counters();
    assert_eq!(counters.drops[DropReason::UnknownEnd as usize], 4, "of other addresses or none");
    assert_eq!(counters.drops[DropReason::IpHeader as usize], 1, "cut short");
}

#[test]
fn a_stranger_is_not_heard() {
    let fake = Fake::new(1, private(100).public());
    let heard = Fake::new(2, private(9).public());
    let mut socket = open(relay(&[&fake, &heard], &[1]));
    send(&mut socket, &list(1), b"hello");
    // The other one does not know this host, but where it is: it was asked.
    heard.order(Order::Send(datagram([10, 99, 1, 1], b"forged")));
    let mut looks = 0;
    while socket.counters().drops[DropReason::UnknownEnd as usize] == 0 {
        assert_eq!(socket.receive(Some(Duration::from_millis(20))).unwrap(), None);
        looks += 1;
        assert!(looks < 3000, "the forged one is never counted");
    }
}

#[test]
fn without_a_relay_it_says_who_was_asked() {
    let (stranger, fake) = (Fake::new(2, private(100).public()), Fake::new(1, private(9).public()));
    let patience = Duration::from_secs(1);
    // The one does not know this host, the other's key is not trusted.
    let mut socket = open(Relay { patience, ..relay(&[&fake, &stranger], &[1]) });
    let message = Message { destinations: &list(1), ..Message::default() };
    let complaint = socket.send(&message).unwrap_err().to_string();
    let key = private(100).public().to_string();
    for part in ["no relay answers", &fake.address.to_string(), &key, "not trusted here"] {
        assert!(complaint.contains(part), "{complaint}");
    }
    assert!(matches!(socket.send(&message), Err(HostError::NoRelay { .. })), "at once");
    assert!(stranger.inner.try_recv().is_err() && fake.inner.try_recv().is_err());
}

/// Everything that was sent after the switch arrives, and nothing arrives twice.
#[test]
fn when_a_relay_dies_only_what_was_sent_until_then_is_lost() {
    for order in [|| Order::Die, || Order::Leave] {
        let fakes = [1, 2].map(|number| Fake::new(number, private(100).public()));
        let mut socket = open(relay(&[&fakes[0], &fakes[1]], &[1, 2]));
        let mut number = 0u32;
        let mut next = |socket: &mut XcastSocket| {
            number += 1;
            assert_eq!(send(socket, &list(2), &number.to_be_bytes()).unsent, []);
            number
        };
        next(&mut socket);
        let RelayEvent::Attached(first) = socket.take_relay_events().remove(0) else {
            panic!("the first event is another one");
        };
        let used = usize::from(first.address == fakes[1].address);
        fakes[used].order(order());
        let (mut switched, mut meanwhile) = (0, 0);
        while switched == 0 {
            next(&mut socket);
            // About a packet a millisecond.
            let _nothing = socket.receive(Some(Duration::from_millis(1))).unwrap();
            for event in socket.take_relay_events() {
                match event {
                    RelayEvent::Switched { to, meanwhile: count, .. } => {
                        assert_eq!(to.address, fakes[1 - used].address);
                        (switched, meanwhile) = (next(&mut socket), count);
                    }
                    // The other one was not known to be there yet.
                    RelayEvent::Detached { .. } => meanwhile = u64::MAX,
                    RelayEvent::Attached(to) if to.address == fakes[1 - used].address => {
                        switched = next(&mut socket);
                    }
                    // A nearer one was found before the end: it was not this one's.
                    RelayEvent::Attached(_) => {}
                }
            }
        }
        for _ in 0..100 {
            next(&mut socket);
        }
        let last = next(&mut socket);
        let mut arrived: Vec<u32> = Vec::new();
        let payload = |packet| u32::from_be_bytes(parsed(packet).2.try_into().unwrap());
        arrived.extend(fakes[used].inner.try_iter().map(payload));
        while arrived.last() != Some(&last) {
            arrived.push(payload(fakes[1 - used].inner.recv_timeout(FOREVER).unwrap()));
        }
        let count = arrived.len();
        arrived.sort_unstable();
        arrived.dedup();
        assert_eq!(arrived.len(), count, "nothing arrives twice");
        let after = arrived.iter().filter(|number| **number >= switched).count() as u32;
        assert_eq!(after, last - switched + 1, "all that was sent after the switch");
        let lost = u64::from(last) - count as u64;
        assert!(lost <= meanwhile, "{lost} lost, {meanwhile} sent meanwhile");
        println!("{lost} of {last} lost, {meanwhile} sent meanwhile");
    }
}
