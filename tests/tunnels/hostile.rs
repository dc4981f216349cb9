//! What others send to a tunnel's socket: dropped and counted by name, and nothing else happens.

use std::net::SocketAddr;

use crate::keys::{Relays, relays};
use crate::lab::packets::mend;
use crate::lab::process::until;
use crate::support::in_namespaces;

/// An IPv4 packet with this UDP payload, without a UDP checksum.
fn datagram(source: [u8; 4], destination: [u8; 4], ports: [u16; 2], payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0];
    packet.extend(source);
    packet.extend(destination);
    packet.extend(ports.iter().flat_map(|port| port.to_be_bytes()));
    packet.extend((8 + payload.len() as u16).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(payload);
    let length = packet.len() as u16;
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    mend(&mut packet[..20], 10);
    packet
}

#[test]
fn forged_replayed_and_truncated_messages_are_counted_by_name() {
    in_namespaces("hostile::forged_replayed_and_truncated_messages_are_counted_by_name", || {
        let all = "\"10.0.0.0/8\"";
        let Relays { mut line, .. } = relays([all, all]);
        line.lab.wait_for_end("x1", "up", 2);
        line.lab.wait_for_end("x3", "up", 1);
        let (x1, x3) = (line.lab.address("x1", "r").octets(), line.lab.address("x3", "r").octets());
        let stranger = line.lab.address("r", "x3").octets();
        // A sealed message of the session, as it crosses the last link.
        let sealed = until("a keepalive has crossed", || {
            let packets = line.captures[2].all_packets();
            packets.into_iter().find(|packet| {
                packet[9] == 17 && packet[12..16] == x1 && packet[28] == 1 && packet[29] == 4
            })
        });
        let payload = sealed[28..].to_vec();
        let dropped = |reason: &str| line.lab.dropped("x3", reason);
        let inject = |source, payload: &[u8]| {
            line.lab.inject("r", "x3", &datagram(source, x3, [1021, 1021], payload));
        };
        let counted = |reason: &str, source, payload: &[u8]| {
            let before = dropped(reason);
            inject(source, payload);
            until(reason, || (dropped(reason) > before).then_some(()));
        };
        counted("replay", x1, &payload);
        let mut forged = payload.clone();
        // A counter that was not used yet, so that only the code is wrong.
        forged[8] = 0x7f;
        counted("bad-key", x1, &forged);
        counted("length", x1, &payload[..20]);
        counted("length", stranger, &[0; 5]);
        let mut nobody = payload.clone();
        nobody[4..8].copy_from_slice(&[0xde, 0xad, 0xbe, 0xef]);
        counted("unknown-end", stranger, &nobody);
        // A packet from where no end is.
        counted("unknown-end", stranger, &datagram([10, 0, 0, 1], [10, 0, 0, 2], [1, 2], &[]));
        // Who asks for handshakes without end gets few.
        let mut initiation = vec![0; 116];
        (initiation[0], initiation[1]) = (1, 1);
        for number in 0..64u8 {
            initiation[20] = number;
            inject(stranger, &initiation);
        }
        until("the flood is limited", || {
            let refused = line.lab.show("x3", "backbone")["refused"]["rate-limit"].as_u64();
            (refused? > 0).then_some(())
        });
        assert_eq!(line.lab.end_state("x3").map(|(state, _)| state).as_deref(), Some("up"));
        line.assert_serves("as-ever");
        line.lab.assert_identity("x3");
    });
}

/// A socket bound to nothing in particular is no end either, whatever its packets say inside.
#[test]
fn another_hosts_datagrams_are_no_packets_of_a_tunnel() {
    in_namespaces("hostile::another_hosts_datagrams_are_no_packets_of_a_tunnel", || {
        let all = "\"10.0.0.0/8\"";
        let Relays { mut line, .. } = relays([all, all]);
        line.lab.wait_for_end("x3", "up", 1);
        let before = line.lab.dropped("x3", "unknown-end");
        let b = line.lab.address("b", "x3");
        let socket = line.lab.receiver("b", SocketAddr::new(b.into(), 1021));
        let x3 = SocketAddr::new(line.lab.address("x3", "r").into(), 1021);
        let inner = datagram([10, 9, 1, 1], [10, 9, 5, 2], [7, 9000], b"forged");
        for _ in 0..10 {
            socket.send_to(&inner, x3).unwrap();
        }
        until("all are dropped", || {
            (line.lab.dropped("x3", "unknown-end") >= before + 10).then_some(())
        });
        line.assert_serves("only-this");
        line.receivers.iter().for_each(crate::lab::assert_empty);
    });
}
