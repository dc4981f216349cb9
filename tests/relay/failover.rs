//! A relay dies while a host sends: what is lost, by number.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::lab::process::{PATIENCE, Stream};
use crate::lab::{Version, inside};
use crate::support::in_namespaces;
use crate::{Net, next, wait_for_host};

const COUNT: u64 = 3000;

type Numbers = BTreeMap<u64, u64>;

/// Reads the numbers that arrive, up to the last one, and how often each does. What the first one
/// came from is told at once.
fn read(socket: &UdpSocket) -> (mpsc::Receiver<SocketAddr>, JoinHandle<Numbers>) {
    let socket = socket.try_clone().unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let (put, first) = mpsc::channel();
    let thread = thread::spawn(move || {
        let mut numbers = Numbers::new();
        loop {
            let (from, text) = next(&socket);
            let _told = put.send(from);
            let number: u64 = text.parse().unwrap();
            *numbers.entry(number).or_default() += 1;
            if number == COUNT {
                return numbers;
            }
        }
    });
    (first, thread)
}

#[test]
fn nothing_is_lost_after_the_switch_and_nothing_comes_twice() {
    in_namespaces("failover::nothing_is_lost_after_the_switch_and_nothing_comes_twice", || {
        let mut net = Net::new(Version::V4);
        let words = format!(
            "send --to {} --count {COUNT} --interval 1ms --size 8 --number --json",
            net.both()
        );
        let arguments = net.arguments("h");
        let readers = [read(&net.receivers[0]), read(&net.receivers[1])];
        let sending = net.run("send", &format!("{words} {arguments}"));
        // Both are known, and the stream runs.
        wait_for_host(&net.lab, "x1");
        wait_for_host(&net.lab, "x2");
        let first = readers[0].0.recv_timeout(PATIENCE).unwrap();
        let used = if first.to_string().starts_with("10.99.1.") { "x1" } else { "x2" };
        net.lab.kill_router(used);
        let mut lost = Vec::new();
        for (_, reader) in readers {
            let numbers = reader.join().unwrap();
            assert!(numbers.values().all(|times| *times == 1), "something came twice");
            let start = *numbers.keys().next().unwrap();
            let missing: Vec<u64> = (start..COUNT).filter(|at| !numbers.contains_key(at)).collect();
            // One gap, before the switch.
            let gap = missing.first().zip(missing.last());
            let width = gap.map_or(0, |(first, last)| last - first + 1);
            assert_eq!(width, missing.len() as u64, "{missing:?}");
            lost.push(missing.len() as u64);
        }
        assert_eq!(sending.log.lines(Stream::Error), [""; 0]);
        let sent = Net::sent(sending);
        let switch = &sent["switches"][0];
        let meanwhile = switch["packets-meanwhile"].as_u64().unwrap();
        println!(
            "{lost:?} of {COUNT} lost, {meanwhile} sent meanwhile, {} ms after the last answer",
            switch["after-ms"]
        );
        assert!(lost.iter().all(|lost| *lost <= meanwhile), "{lost:?} of {meanwhile}: {sent}");
        assert_eq!(sent["switches"].as_array().unwrap().len(), 1);
    });
}

/// A receiver's address is another one by another relay, and is told.
#[test]
fn a_receiver_tells_its_new_address() {
    in_namespaces("failover::a_receiver_tells_its_new_address", || {
        let mut net = Net::new(Version::V4);
        let (receiving, own) = net.receive("--count 1 --timeout 60s");
        wait_for_host(&net.lab, "x1");
        wait_for_host(&net.lab, "x2");
        let (used, other) = if own.to_string().starts_with("10.99.1.") {
            ("x1", "10.99.2.")
        } else {
            ("x2", "10.99.1.")
        };
        net.lab.kill_router(used);
        receiving.log.wait_for_part(Stream::Error, "\"switched\"");
        let line = receiving.log.wait_for_part(Stream::Error, other);
        let event: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(event["event"], "attached");
        let own = event["address"].as_str().unwrap();
        net.receivers[0].send_to(b"found", (own, crate::PORT)).unwrap();
        let ended = receiving.finish();
        assert_eq!(ended.status, Some(0), "{:?}", ended.errors);
    });
}

/// Without any relay a message is refused by name, and goes when there is one again.
#[test]
fn the_last_relay_dies_and_comes_back() {
    in_namespaces("failover::the_last_relay_dies_and_comes_back", || {
        let mut net = Net::without_relays(Version::V4);
        net.start("x1");
        let (receiving, own) = net.receive("--count 1 --timeout 60s");
        net.lab.kill_router("x1");
        receiving.log.wait_for_part(Stream::Error, "\"detached\"");
        let words = format!("send --to {} --text x", net.both());
        let arguments = net.arguments("h2");
        let ended = net.run("send", &format!("{words} {arguments}")).finish();
        assert_eq!(ended.status, Some(1));
        assert!(ended.errors[0].contains("no relay answers"), "{:?}", ended.errors);
        net.start("x1");
        wait_for_host(&net.lab, "x1");
        // The host may not have its address again yet.
        net.receivers[0].set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let log = std::sync::Arc::clone(&receiving.log);
        crate::until("the host is found again", || {
            net.receivers[0].send_to(b"again", (own, crate::PORT)).unwrap();
            let _nothing = net.receivers[0].recv_from(&mut [0; 9]);
            (!log.lines(Stream::Output).is_empty()).then_some(())
        });
        assert_eq!(receiving.finish().status, Some(0));
    });
}

/// A stream does not stand still without a relay: its datagrams are counted, and later ones go.
#[test]
fn a_stream_goes_on_when_there_is_a_relay_again() {
    in_namespaces("failover::a_stream_goes_on_when_there_is_a_relay_again", || {
        let mut net = Net::without_relays(Version::V4);
        net.start("x1");
        let words = format!(
            "gateway --listen 127.0.0.1:5004 --to {} --socket /run/lab/g.sock --json",
            net.both()
        );
        let arguments = net.arguments("h");
        let gateway = net.run("gateway", &format!("{words} {arguments}"));
        gateway.log.wait_for_part(Stream::Output, "ready");
        net.lab.kill_router("x1");
        gateway.log.wait_for_part(Stream::Error, "no relay any more");
        let sender = inside("h", || UdpSocket::bind("127.0.0.1:0").unwrap());
        let send = |text: &[u8]| sender.send_to(text, "127.0.0.1:5004").unwrap();
        for _ in 0..100 {
            send(b"to nobody");
        }
        gateway.log.wait_for_part(Stream::Error, "no relay answers");
        net.start("x1");
        net.receivers[0].set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        crate::until("the stream goes on", || {
            send(b"again");
            let (length, _) = net.receivers[0].recv_from(&mut [0; 9]).ok()?;
            (length == 5).then_some(())
        });
        gateway.signal(nix::sys::signal::Signal::SIGTERM);
        let ended = gateway.finish();
        assert_eq!(ended.status, Some(0), "{:?}", ended.errors);
        let tally: serde_json::Value = serde_json::from_str(ended.output.last().unwrap()).unwrap();
        let unsent = tally["refused"]["unsent"].as_u64().unwrap();
        assert!(unsent >= 100, "{tally}");
        let (datagrams, packets) = (&tally["datagrams"], &tally["packets"]);
        assert_eq!(datagrams.as_u64().unwrap(), unsent + packets.as_u64().unwrap(), "{tally}");
        let trouble = &tally["troubles"][0];
        assert!(trouble["trouble"].as_str().unwrap().starts_with("no relay answers"), "{tally}");
        assert_eq!(trouble["count"], unsent);
    });
}
