//! A list that is edited while the stream runs.

use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use nix::sys::signal::Signal;
use xcast::io::force_receive_buffer;

use crate::lab::process::until;
use crate::lab::{Version, assert_empty, inside};
use crate::support::in_namespaces;
use crate::{BOTH, addresses, any, at, edit, end, listed, network, next, sender, start};

/// A stream of numbers from `sender` that keeps step with one receiver, which so gets all of them,
/// in order. Says how many were sent when it is to stop.
fn run(sender: &UdpSocket, receiver: &UdpSocket, sent: &AtomicU64, stop: &AtomicBool) {
    while !stop.load(SeqCst) {
        let number = sent.fetch_add(1, SeqCst);
        sender.send(&number.to_be_bytes()).unwrap();
        assert_eq!(next(receiver), number);
    }
}

/// Ends the stream, also where the test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// The numbers that arrive until the stream has stopped and nothing more comes.
fn all(receiver: &UdpSocket, stop: &AtomicBool) -> Vec<u64> {
    receiver.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut numbers = Vec::new();
    loop {
        let is_over = stop.load(SeqCst);
        let mut octets = [0; 8];
        match receiver.recv(&mut octets) {
            Ok(_) => numbers.push(u64::from_be_bytes(octets)),
            Err(_) if is_over => return numbers,
            Err(_) => {}
        }
    }
}

#[test]
fn who_is_added_gets_all_from_then_on_and_who_is_removed_gets_nothing() {
    let name = "edits::who_is_added_gets_all_from_then_on_and_who_is_removed_gets_nothing";
    in_namespaces(name, || {
        let mut lab = network();
        for version in BOTH {
            let [b, c] = ["b", "c"].map(|host| at(&lab, version, host));
            let command = format!("--json --listen {} --to {}", any(version), addresses(&[b]));
            let gateway = start(&mut lab, "g", &command);
            let [by_b, by_c] = [("b", b), ("c", c)].map(|(host, at)| lab.receiver(host, at));
            // Which an ordinary user may not; his machine has to be the faster.
            let _as_it_is = force_receive_buffer(by_c.as_fd(), 8 << 20);
            // Routers let so many packets wait for a neighbor that they do not know: they know this one.
            inside("c", || by_c.send_to(b"here", (lab.address_of(version, "g", "r"), 9)).unwrap());
            let sender = sender(&lab, version, None);
            let (sent, stop) = (AtomicU64::new(0), AtomicBool::new(false));
            // Some more cross the network.
            let more = |count: u64| {
                let goal = sent.load(SeqCst) + count;
                until("the stream goes on", || {
                    std::thread::yield_now();
                    (sent.load(SeqCst) >= goal).then_some(())
                });
            };
            let edit = |what: &str, done: &str| {
                let (status, text, complaint) = edit(&format!("{what} {}", addresses(&[c])));
                // What is sent from here on is sent after the answer.
                let after = sent.load(SeqCst);
                assert_eq!((status, &text[..]), (Some(0), done), "{complaint}");
                after
            };
            let (after, until_removed, got) = std::thread::scope(|scope| {
                let stopping = Stop(&stop);
                scope.spawn(|| run(&sender, &by_b, &sent, &stop));
                let got = scope.spawn(|| all(&by_c, &stop));
                more(20);
                let after = edit("add", "1 added, 0 removed: 2 destinations");
                more(100);
                let until_removed = edit("remove", "0 added, 1 removed: 1 destination");
                more(20);
                drop(stopping);
                (after, until_removed, got.join().unwrap())
            });
            let (first, last) = (got[0], got[got.len() - 1]);
            let wrong = got.windows(2).find(|pair| pair[0] + 1 != pair[1]);
            assert_eq!(wrong, None, "in order, none lost, none twice, from {first} to {last}");
            assert!(first <= after, "{first} is not the first after {after}");
            assert!(last >= after + 90 && last < until_removed, "{last} {until_removed}");
            assert_empty(&by_b);
            let (_, summary) = end(gateway, Signal::SIGTERM);
            assert_eq!(summary["datagrams"], sent.load(SeqCst));
        }
    });
}

#[test]
fn an_edit_is_done_as_a_whole_or_not_at_all() {
    in_namespaces("edits::an_edit_is_done_as_a_whole_or_not_at_all", || {
        let mut lab = network();
        let command = "--listen 0.0.0.0:5004 --channel 7 --to 10.0.0.1,10.0.0.2:9/46,fd00::1";
        let gateway = start(&mut lab, "g", command);
        let own = lab.address("g", "s");
        let before = listed();
        assert_eq!(before["listen"], "0.0.0.0:5004");
        let first = serde_json::json!(
            { "address": "10.0.0.1", "port": 5004, "dscp": null, "troubles": {} }
        );
        assert_eq!(before["list"][0], first);
        for (what, named) in [
            ("add 10.0.0.7 10.0.0".to_owned(), "`10.0.0`: `10.0.0` is not an IP address"),
            ("add 10.0.0.7,224.1.1.1".to_owned(), "`224.1.1.1` is a group"),
            ("set 10.0.0.7 127.0.0.1".to_owned(), "`127.0.0.1` is on the loopback"),
            ("set 10.0.0.7 10.0.0.8:0".to_owned(), "`10.0.0.8:0`"),
            ("remove 10.0.0.1 10.0.0.2".to_owned(), "`10.0.0.2` is not in the list"),
            (format!("add 10.0.0.7 {own}"), "is where the gateway listens"),
        ] {
            let (status, text, complaint) = edit(&what);
            assert_eq!((status, &text[..]), (Some(2), ""), "{what}");
            assert!(complaint.starts_with("xcast: nothing was changed: "), "{complaint}");
            assert!(complaint.contains(named), "{complaint}");
            assert_eq!(listed(), before, "{what}");
        }
        let (status, text, _) = edit("set --json 10.0.0.2:9 10.0.0.5 10.0.0.6/10");
        assert_eq!((status, &text[..]), (Some(0), r#"{"added":2,"removed":2,"destinations":3}"#));
        let (_, text, _) = edit("list");
        let lines: Vec<Vec<&str>> =
            text.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
        let expected = [
            vec!["10.0.0.2", "9", "-"],
            vec!["10.0.0.5", "5004", "-"],
            vec!["10.0.0.6", "5004", "10"],
        ];
        assert_eq!(lines, expected);
        // Nobody is left, and that is no error.
        assert_eq!(edit("remove 10.0.0.2:9 10.0.0.5 10.0.0.6").0, Some(0));
        let sender = sender(&lab, Version::V4, None);
        sender.send(b"to nobody").unwrap();
        until("it is counted", || listed()["refused"]["no-destinations"].as_u64());
        gateway.signal(Signal::SIGTERM);
        assert_eq!(gateway.finish().status, Some(0));
    });
}
