//! Devices as `io` opens them, at both ends of a link.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use xcast::io::device::{self, Device, Driver, Interface, Share};
use xcast::io::packet::{self, PacketReceiver};
use xcast::io::xdp;
use xcast::io::{Receive, Transmit};
use xcast::wire::CodePoints;

use crate::lab::process::until;
use crate::may_load;
use crate::support::{in_namespaces, run, wait_for_carrier};

const DRIVERS: [Driver; 3] = [Driver::Packet, Driver::Auto, Driver::Xdp];
const CODE_POINTS: CodePoints = CodePoints {
    ip_protocol: 253,
    all_routers_v4: Ipv4Addr::new(224, 0, 0, 254),
    all_routers_v6: Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x114),
    routing_type: 253,
    ports_option: 0x5e,
    hop_by_hop_option: 0x1e,
};
const GROUP: [u8; 6] = [1, 0, 0x5e, 0, 0, 0xfe];
const GROUP_V6: [u8; 6] = [0x33, 0x33, 0, 0, 1, 0x14];

/// The two ends of a link, both here: index and link-layer address.
struct Wire {
    near: (u32, [u8; 6]),
    far: (u32, [u8; 6]),
    mtu: u32,
}

impl Wire {
    /// `queues` at each end.
    fn new(mtu: u32, queues: u32) -> Wire {
        let end = |name| format!("{name} mtu {mtu} numrxqueues {queues} numtxqueues {queues}");
        run(&format!("ip link add {} type veth peer name {}", end("va"), end("vb")));
        // Nothing but the test speaks.
        fs::write("/proc/sys/net/ipv6/conf/va/disable_ipv6", "1").unwrap();
        fs::write("/proc/sys/net/ipv6/conf/vb/disable_ipv6", "1").unwrap();
        let [near, far] = ["va", "vb"].map(|name| {
            run(&format!("ip link set {name} up"));
            address(name)
        });
        both_have_carriers();
        Wire { near, far, mtu }
    }

    fn open(&self, driver: Driver) -> Device {
        let ((index, link_address), mtu) = (self.near, self.mtu);
        let (code_points, envelopes) = (&CODE_POINTS, false);
        let interface = Interface { index, mtu, link_address, code_points, envelopes };
        device::open(interface, driver).unwrap()
    }

    fn open_shared(&self, driver: Driver, workers: usize) -> (Device, Vec<Share>) {
        let ((index, link_address), mtu) = (self.near, self.mtu);
        let (code_points, envelopes) = (&CODE_POINTS, false);
        let interface = Interface { index, mtu, link_address, code_points, envelopes };
        device::open_shared(interface, driver, workers).unwrap()
    }

    /// A frame from here to there.
    fn frame(&self, to: [u8; 6], ether_type: u16, packet: &[u8]) -> Vec<u8> {
        [&to[..], &self.far.1, &ether_type.to_be_bytes(), packet].concat()
    }

    fn far_receiver(&self) -> PacketReceiver {
        packet::open(self.far.0, self.mtu, &CODE_POINTS, false).unwrap()
    }

    /// Sends from the far end.
    fn send(&self, frames: &[Vec<u8>]) {
        let mut sender = packet::open_sender(self.far.0).unwrap();
        let taken = transmit(&mut sender, frames, |frame| frame.split_at(frame.len()));
        assert!(taken.iter().all(|taken| *taken));
    }
}

fn both_have_carriers() {
    wait_for_carrier("", "va");
    wait_for_carrier("", "vb");
}

fn address(name: &str) -> (u32, [u8; 6]) {
    let text = run(&format!("ip -o link show {name}"));
    let (index, rest) = text.split_once(':').unwrap();
    let address = rest.split_whitespace().skip_while(|word| *word != "link/ether").nth(1).unwrap();
    let octets: Vec<u8> =
        address.split(':').map(|hex| u8::from_str_radix(hex, 16).unwrap()).collect();
    (index.parse().unwrap(), octets.try_into().unwrap())
}

fn ipv4(protocol: u8, len: usize) -> Vec<u8> {
    let mut packet = vec![0x45; len];
    packet[9] = protocol;
    packet
}

fn ipv6(routing_type: u8, behind_hop_by_hop: bool) -> Vec<u8> {
    let mut packet = vec![0; 40];
    packet[0] = 0x60;
    let mut routing = vec![0; 48];
    (routing[0], routing[1], routing[2]) = (59, 5, routing_type);
    if behind_hop_by_hop {
        packet.extend([43, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    } else {
        packet[6] = 43;
    }
    [packet, routing].concat()
}

/// Sends frames, each cut in two; returns which were taken.
fn transmit(
    device: &mut impl Transmit,
    frames: &[Vec<u8>],
    cut: impl Fn(&[u8]) -> (&[u8], &[u8]),
) -> Vec<bool> {
    let mut fates = Vec::new();
    device.transmit(
        frames.len(),
        |index| cut(&frames[index]),
        |index, taken| {
            assert_eq!(index, fates.len(), "in order");
            fates.push(taken);
        },
    );
    fates
}

/// The next frames that arrive, so many of them.
fn hear(receiver: &mut impl Receive, count: usize) -> Vec<Vec<u8>> {
    let mut heard = Vec::new();
    until(&format!("{count} frames arrive"), || {
        let taken = receiver.take(32);
        heard.extend((0..taken).map(|index| receiver.bytes(index).to_vec()));
        receiver.release(taken);
        (heard.len() >= count).then_some(())
    });
    heard
}

/// The driver that is to come out where another is wanted.
fn expected(wanted: Driver) -> &'static str {
    match wanted {
        Driver::Packet => "packet",
        Driver::Xdp if may_load() => "xdp",
        Driver::Auto | Driver::Xdp => "packet+xdp",
    }
}

#[test]
fn every_driver_takes_xcast_for_this_interface_alone_and_once() {
    in_namespaces("devices::every_driver_takes_xcast_for_this_interface_alone_and_once", || {
        let wire = Wire::new(1500, 1);
        let own = wire.near.1;
        let heard = [
            wire.frame(own, 0x0800, &ipv4(253, 60)),
            wire.frame(own, 0x86dd, &ipv6(253, false)),
            wire.frame(own, 0x86dd, &ipv6(253, true)),
            wire.frame(GROUP, 0x0800, &ipv4(253, 60)),
            wire.frame(GROUP_V6, 0x86dd, &ipv6(253, true)),
            wire.frame(own, 0x0800, &ipv4(253, 1500)),
        ];
        let passed = [
            wire.frame(own, 0x0800, &ipv4(252, 60)),
            wire.frame(own, 0x86dd, &ipv6(252, false)),
            wire.frame(own, 0x86dd, &ipv6(252, true)),
            wire.frame([2, 9, 9, 9, 9, 9], 0x0800, &ipv4(253, 60)),
            wire.frame([0xff; 6], 0x0800, &ipv4(253, 60)),
            wire.frame(own, 0x8100, &[&[0, 5, 8, 0][..], &ipv4(253, 60)].concat()),
        ];
        for driver in DRIVERS {
            // Twice, as the second must find the interface as the first one did.
            for _ in 0..2 {
                let mut device = wire.open(driver);
                assert_eq!(device.driver(), expected(driver), "{device:?}");
                for expected in &heard {
                    wire.send(&passed);
                    wire.send(std::slice::from_ref(expected));
                    until("a frame", || (device.receiver.take(10) > 0).then_some(()));
                    assert_eq!(device.receiver.take(10), 1);
                    assert_eq!(device.receiver.bytes(0), expected);
                    let frame = device.receiver.frame(0);
                    assert_eq!(
                        (frame.to_group, &*frame.bytes),
                        (expected[0] & 1 == 1, &expected[..])
                    );
                    device.receiver.release(1);
                }
                assert_eq!((device.receiver.take(10), device.receiver.overruns()), (0, 0));
            }
        }
    });
}

#[test]
fn every_driver_sends_frames_of_every_length_as_they_are() {
    in_namespaces("devices::every_driver_sends_frames_of_every_length_as_they_are", || {
        let jumbo = (24..80).chain(2000..4200).chain(8000..9001).collect();
        for (mtu, lengths) in [(1500, (24..1501).collect::<Vec<_>>()), (9000, jumbo)] {
            let wire = Wire::new(mtu, 1);
            let mut random = ChaCha8Rng::seed_from_u64(mtu.into());
            let mut octets = vec![0; 9000];
            random.fill_bytes(&mut octets);
            let frames: Vec<Vec<u8>> = lengths
                .into_iter()
                .map(|len| {
                    let mut packet = octets[..len].to_vec();
                    packet[9] = 253;
                    wire.frame(wire.far.1, 0x0800, &packet)
                })
                .collect();
            let mut far = wire.far_receiver();
            for driver in DRIVERS {
                let mut device = wire.open(driver);
                for batch in frames.chunks(100) {
                    // Cut at places that have nothing to do with chunks.
                    let taken = transmit(&mut device.transmitter, batch, |frame| {
                        frame.split_at(frame.len() * usize::from(frame[20]) / 255)
                    });
                    assert!(taken.iter().all(|taken| *taken), "{device:?}");
                    assert!(hear(&mut far, batch.len()) == batch, "{device:?}");
                }
            }
            run("ip link del va");
        }
    });
}

#[test]
fn no_chunk_is_lost_in_a_hundred_thousand_frames() {
    in_namespaces("devices::no_chunk_is_lost_in_a_hundred_thousand_frames", || {
        let wire = Wire::new(9000, 1);
        let mut sender = xdp::open_sender(wire.near.0, wire.mtu).unwrap();
        let frames = [60, 1000, 5000].map(|len| wire.frame(wire.far.1, 0x88b5, &vec![7; len]));
        let frames: Vec<_> = frames.into_iter().cycle().take(300).collect();
        for _ in 0..334 {
            let taken = transmit(&mut sender, &frames, |frame| frame.split_at(14));
            assert!(taken.iter().all(|taken| *taken));
        }
        until("all are back", || (sender.in_flight() == 0).then_some(()));
    });
}

#[test]
fn a_link_that_is_down_takes_nothing_and_keeps_nothing() {
    in_namespaces("devices::a_link_that_is_down_takes_nothing_and_keeps_nothing", || {
        let wire = Wire::new(1500, 1);
        let mut sender = xdp::open_sender(wire.near.0, wire.mtu).unwrap();
        let mut far = wire.far_receiver();
        let numbered = |number: u8| {
            let mut packet = ipv4(253, 60);
            packet[40] = number;
            wire.frame(wire.far.1, 0x0800, &packet)
        };
        for round in 0..4 {
            let up: Vec<_> = (0..200).map(numbered).collect();
            until("it sends again", || {
                let taken = transmit(&mut sender, &up[..1], |frame| frame.split_at(14));
                taken[0].then_some(())
            });
            assert_eq!(hear(&mut far, 1), up[..1], "round {round}: nothing of before");
            assert!(
                transmit(&mut sender, &up, |frame| frame.split_at(14)).iter().all(|taken| *taken)
            );
            assert_eq!(hear(&mut far, 200), up);
            run("ip link set va down");
            let down: Vec<_> = (200..255).cycle().take(300).map(numbered).collect();
            let taken = transmit(&mut sender, &down, |frame| frame.split_at(14));
            assert_eq!((taken.len(), taken.iter().filter(|taken| **taken).count()), (300, 0));
            until("all are back", || (sender.in_flight() == 0).then_some(()));
            run("ip link set va up");
            both_have_carriers();
        }
        run("ip link del va");
        let taken = transmit(&mut sender, &[numbered(1)], |frame| frame.split_at(14));
        assert_eq!(taken, [false]);
    });
}

#[test]
fn what_does_not_work_is_said_in_the_kernels_words() {
    in_namespaces("devices::what_does_not_work_is_said_in_the_kernels_words", || {
        let wire = Wire::new(1500, 1);
        let other = xdp::open_sender(wire.near.0, wire.mtu).unwrap();
        let device = wire.open(Driver::Auto);
        let why_not = device.why_not.as_deref().unwrap();
        assert_eq!(device.driver(), "packet");
        assert!(why_not.starts_with("no transmission by AF_XDP: bind: Device or resource busy"));
        drop((device, other));
        // The kernel gives the queue back a moment later, which is waited for.
        assert_eq!(wire.open(Driver::Auto).driver(), "packet+xdp");
        let jumbo = Wire { mtu: 9000, ..wire };
        let device = jumbo.open(Driver::Xdp);
        assert_eq!(device.driver(), "packet+xdp");
        let why_not = device.why_not.unwrap();
        assert!(why_not.contains("MTU: such long frames do not fit"), "{why_not}");
        drop(device.transmitter);
        let huge = Wire { mtu: 65535, ..jumbo };
        let device = huge.open(Driver::Auto);
        assert_eq!(device.driver(), "packet", "{device:?}");
        if !may_load() {
            let why_not = Wire { mtu: 1500, ..huge }.open(Driver::Xdp).why_not.unwrap();
            assert!(why_not.contains("Operation not permitted"), "{why_not}");
        }
    });
}

#[test]
fn all_queues_of_an_interface_are_received_from() {
    in_namespaces("devices::all_queues_of_an_interface_are_received_from", || {
        let wire = Wire::new(1500, 2);
        let mut device = wire.open(Driver::Xdp);
        if !may_load() {
            return;
        }
        assert_eq!(device.driver(), "xdp", "{device:?}");
        assert_eq!(device.receiver.descriptors().len(), 2);
        // The sending socket's processor chooses the queue.
        let frames: Vec<_> = (0..200u8)
            .map(|number| {
                let mut packet = ipv4(253, 60);
                packet[12..16].copy_from_slice(&[number; 4]);
                wire.frame(wire.near.1, 0x0800, &packet)
            })
            .collect();
        for batch in frames.chunks(20) {
            wire.send(batch);
            let mut heard = hear(&mut device.receiver, batch.len());
            heard.sort();
            assert_eq!(heard, batch);
        }
        drop(device);
        // Dealt to three workers, of which two have one each.
        let (device, shares) = wire.open_shared(Driver::Xdp, 3);
        assert!(device.why_not.unwrap().contains("2 of 3 workers have a queue"));
        let receivers = [device.receiver].into_iter().chain(shares.into_iter().filter_map(|s| s.0));
        let mut receivers: Vec<_> = receivers.collect();
        assert!(receivers.iter().all(|receiver| receiver.descriptors().len() == 1));
        assert_eq!(receivers.len(), 2);
        wire.send(&frames[..20]);
        let mut heard = Vec::new();
        until("all frames have come to one or the other", || {
            receivers.iter_mut().for_each(|receiver| {
                let taken = receiver.take(20);
                heard.extend((0..taken).map(|at| receiver.bytes(at).to_vec()));
                receiver.release(taken);
            });
            (heard.len() == 20).then_some(())
        });
        heard.sort();
        assert_eq!(heard, frames[..20]);
    });
}
