//! `xcast link-emulator` on real kernels: it joins the interfaces of two hosts.
//!
//! ```text
//!     a ──── e ~~~~ e ──── b        `e` has the other ends of both veth pairs, `a` and `b`
//! ```

// A failure of a test is a panic.
#![allow(clippy::unwrap_used)]

// Every test uses some of it.
#[allow(dead_code, unreachable_pub)]
#[path = "support/lab.rs"]
mod lab;
mod support;

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use lab::process::{Process, Stream, until};
use lab::{Lab, inside, ip_batch, xcast};
use nix::sys::signal::Signal;
use serde_json::Value;
use support::{in_namespaces, run, wait_for_carrier};
use xcast::io::link::{FRAME_LEN_MAX, LinkEnd, LinkFrame};

const PORT: u16 = 9000;
const MS: Duration = Duration::from_millis(1);

/// Two hosts, each with an interface `eth0` whose other end is in `e`, where it is called as the
/// host is.
fn hosts() -> Lab {
    let mut lab = Lab::dual_stack();
    lab.hosts(&["a", "b", "e"]);
    join(&lab, "a", 1);
    join(&lab, "b", 2);
    lab
}

/// Gives a host an interface with addresses of its number.
fn join(lab: &Lab, host: &str, number: u8) {
    run(&format!("ip link add name eth0 netns {host} type veth peer name {host} netns e"));
    lab.ip("e", &format!("link set dev {host} up"));
    let address = format!("address add 10.0.0.{number}/24 dev eth0\n");
    let address_v6 = format!("address add fd00::{number}/64 dev eth0 nodad\n");
    ip_batch(&["-n", host], &format!("link set dev eth0 up\n{address}{address_v6}"));
    wait_for_carrier(&format!("-n {host}"), "eth0");
    wait_for_carrier("-n e", host);
}

/// Starts an emulator on `e`, and waits until it is ready; the words are its arguments.
fn emulate(lab: &mut Lab, arguments: &str) -> Process {
    let mut command = xcast();
    command.args(["link-emulator", "--json"]).args(arguments.split(' '));
    let emulator = lab.run("e", "emulator", &mut command);
    emulator.log.wait_for_part(Stream::Output, "\"ready\"");
    emulator
}

/// The statistics of one direction, by the end that it begins at.
fn from<'a>(statistics: &'a Value, end: &str) -> &'a Value {
    let mut each = statistics["directions"].as_array().unwrap().iter();
    each.find(|direction| direction["from"] == end).unwrap()
}

fn frames(count: &Value) -> u64 {
    count["frames"].as_u64().unwrap()
}

fn dropped(direction: &Value) -> u64 {
    direction["dropped"].as_object().unwrap().values().map(frames).sum()
}

/// Waits until the statistics, which add up at any time, have something.
fn wait_for(emulator: &Process, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
    until(what, || {
        emulator.signal(Signal::SIGUSR1);
        run("true");
        let lines = emulator.log.lines(Stream::Output);
        let last: Value = serde_json::from_str(lines.last()?).ok()?;
        (last["event"] == "statistics").then(|| check_sums(&last));
        (last["event"] == "statistics" && fits(&last)).then_some(last)
    })
}

/// Ends an emulator; returns its last statistics.
fn end(emulator: Process) -> Value {
    emulator.signal(Signal::SIGTERM);
    let ended = emulator.finish();
    assert_eq!(ended.status, Some(0), "{:?}", ended.errors);
    let last: Value = serde_json::from_str(ended.output.last().unwrap()).unwrap();
    assert_eq!(last["event"], "end");
    check_sums(&last);
    for direction in last["directions"].as_array().unwrap() {
        assert_eq!(frames(&direction["queued"]), 0, "what was on the way was let through");
    }
    last
}

fn check_sums(statistics: &Value) {
    for direction in statistics["directions"].as_array().unwrap() {
        let [received, duplicated, forwarded, queued] =
            ["received", "duplicated", "forwarded", "queued"].map(|key| frames(&direction[key]));
        let away = forwarded + queued + dropped(direction);
        assert_eq!(received + duplicated, away, "{direction}");
    }
}

/// Sockets of `a` and `b` for the same IP version, which know each other's addresses.
fn sockets(version: u8) -> (UdpSocket, UdpSocket) {
    let [a, b] = addresses(version);
    let socket = |node, own: IpAddr, other: IpAddr| {
        inside(node, || {
            let socket = UdpSocket::bind((own, PORT)).unwrap();
            socket.connect((other, PORT)).unwrap();
            socket.set_read_timeout(Some(lab::process::PATIENCE)).unwrap();
            socket
        })
    };
    (socket("a", a, b), socket("b", b, a))
}

fn addresses(version: u8) -> [IpAddr; 2] {
    match version {
        4 => ["10.0.0.1", "10.0.0.2"].map(|text| text.parse().unwrap()),
        _ => ["fd00::1", "fd00::2"].map(|text| text.parse().unwrap()),
    }
}

/// The number in the next datagram.
fn next(socket: &UdpSocket) -> u64 {
    let mut buffer = [0; 2000];
    let length = socket.recv(&mut buffer).expect("a datagram arrives");
    u64::from_be_bytes(buffer[..length][..8].try_into().unwrap())
}

/// A datagram of some octets with a number.
fn numbered(number: u64, octets: usize) -> Vec<u8> {
    let mut datagram = number.to_be_bytes().to_vec();
    datagram.resize(octets, 0);
    datagram
}

#[test]
fn a_round_trip_takes_both_delays_and_all_arrive_in_order() {
    in_namespaces("a_round_trip_takes_both_delays_and_all_arrive_in_order", || {
        let mut lab = hosts();
        let emulator = emulate(&mut lab, "--interfaces a,b --delay 25ms --jitter 2ms/0ms");
        // The first datagrams take ARP and neighbor discovery along.
        for version in [4, 6] {
            let (a, b) = sockets(version);
            for number in 0..5 {
                let start = Instant::now();
                a.send(&number_of(number)).unwrap();
                assert_eq!(next(&b), number);
                assert!(start.elapsed() >= 23 * MS);
                b.send(&number_of(number)).unwrap();
                assert_eq!(next(&a), number);
                assert!(start.elapsed() >= 48 * MS);
            }
            (0..200).for_each(|number| assert_eq!(a.send(&number_of(number)).unwrap(), 8));
            (0..200).for_each(|number| assert_eq!(next(&b), number));
        }
        for (command, neighbor) in [("-4", "10.0.0.2"), ("-6", "fd00::2")] {
            let known = lab.ip("a", &format!("{command} neighbor show {neighbor}"));
            assert!(known.contains("lladdr"), "{known}");
        }
        let statistics = end(emulator);
        for node in ["a", "b"] {
            assert_eq!(dropped(from(&statistics, node)), 0, "{statistics}");
        }
        assert!(frames(&from(&statistics, "a")["forwarded"]) >= 410);
        assert!(frames(&from(&statistics, "b")["forwarded"]) >= 10);
    });
}

fn number_of(number: u64) -> Vec<u8> {
    numbered(number, 8)
}

#[test]
fn what_is_all_lost_is_counted() {
    in_namespaces("what_is_all_lost_is_counted", || {
        let mut lab = hosts();
        // Nobody could resolve anything.
        let mac = "02:00:00:00:00:09";
        lab.ip("a", &format!("neighbor add 10.0.0.2 lladdr {mac} dev eth0"));
        let emulator = emulate(&mut lab, "--interfaces a,b --loss 1/0");
        let (a, b) = sockets(4);
        (0..50).for_each(|number| assert_eq!(a.send(&number_of(number)).unwrap(), 8));
        wait_for(&emulator, "all are lost", |now| frames(&from(now, "a")["dropped"]["loss"]) >= 50);
        let statistics = end(emulator);
        let lost = from(&statistics, "a");
        assert_eq!(lost["dropped"]["loss"], lost["received"]);
        assert_eq!(frames(&lost["forwarded"]), 0);
        lab::assert_empty(&b);
    });
}

#[test]
fn frames_take_their_time_by_the_rate() {
    in_namespaces("frames_take_their_time_by_the_rate", || {
        let mut lab = hosts();
        let emulator = emulate(&mut lab, "--interfaces a,b --rate 1mbit/100mbit");
        let (a, b) = sockets(4);
        // While an address is resolved not all datagrams wait for it.
        a.send(&number_of(7)).unwrap();
        assert_eq!(next(&b), 7);
        let start = Instant::now();
        (0..100).for_each(|number| assert_eq!(a.send(&numbered(number, 1000)).unwrap(), 1000));
        (0..100).for_each(|number| assert_eq!(next(&b), number));
        // 1,042 octets with their headers are 8.336 ms.
        assert!(start.elapsed() >= Duration::from_micros(833_600));
        let statistics = end(emulator);
        assert_eq!(dropped(from(&statistics, "a")), 0, "{statistics}");
    });
}

#[test]
fn what_finds_the_queue_full_is_counted() {
    in_namespaces("what_finds_the_queue_full_is_counted", || {
        let mut lab = hosts();
        let emulator =
            emulate(&mut lab, "--interfaces a,b --rate 100kbit/1gbit --queue 10 --duplicate 1/0");
        let (a, b) = sockets(4);
        (0..100).for_each(|number| assert_eq!(a.send(&numbered(number, 500)).unwrap(), 500));
        let first = next(&b);
        assert_eq!(next(&b), first, "every frame comes twice");
        let full = |now: &Value| frames(&from(now, "a")["dropped"]["queue"]) > 0;
        let now = wait_for(&emulator, "the queue is full", full);
        assert!(frames(&from(&now, "a")["queued"]) <= 22, "two of eleven: {now}");
        end(emulator);
    });
}

#[test]
fn what_is_on_the_way_arrives_before_it_ends() {
    in_namespaces("what_is_on_the_way_arrives_before_it_ends", || {
        let mut lab = hosts();
        let emulator = emulate(&mut lab, "--interfaces a,b --delay 500ms/0ms");
        let (a, b) = sockets(4);
        a.send(&number_of(1)).unwrap();
        assert_eq!(next(&b), 1);
        a.send(&numbered(2, 1000)).unwrap();
        let octets = |now: &Value| from(now, "a")["queued"]["octets"].as_u64();
        wait_for(&emulator, "it is on the way", |now| octets(now) >= Some(1000));
        end(emulator);
        assert_eq!(next(&b), 2);
    });
}

#[test]
fn unfinished_checksums_and_long_segments_are_carried_on() {
    in_namespaces("unfinished_checksums_and_long_segments_are_carried_on", || {
        let mut lab = hosts();
        let emulator = emulate(&mut lab, "--interfaces a,b --delay 1ms");
        for version in [4, 6] {
            let [_, b] = addresses(version);
            let listener = inside("b", || TcpListener::bind((b, PORT)).unwrap());
            let sent: Vec<u8> = (0..1_000_000u32).map(|n| (n % 251) as u8).collect();
            let received = std::thread::scope(|scope| {
                let reader = scope.spawn(|| {
                    let mut received = Vec::new();
                    let (mut stream, _) = listener.accept().unwrap();
                    stream.read_to_end(&mut received).unwrap();
                    received
                });
                let to = SocketAddr::new(b, PORT);
                let mut stream = inside("a", || TcpStream::connect(to).unwrap());
                stream.write_all(&sent).unwrap();
                drop(stream);
                reader.join().unwrap()
            });
            assert!(received == sent, "{} octets arrived", received.len());
        }
        let statistics = end(emulator);
        assert_eq!(dropped(from(&statistics, "a")), 0, "{statistics}");
    });
}

#[test]
fn frames_of_any_type_keep_their_tags() {
    in_namespaces("frames_of_any_type_keep_their_tags", || {
        let mut lab = hosts();
        let emulator = emulate(&mut lab, "--interfaces a,b");
        let [a, b] = ["a", "b"].map(|node| inside(node, || LinkEnd::open("eth0").unwrap()));
        let mut room = vec![0; FRAME_LEN_MAX];
        // VLAN 7 with priority 5 around an experimental EtherType; the same in a service VLAN.
        let addresses = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
        let customer = [&[0x81, 0, 0xa0, 7, 0x88, 0xb5][..], &[9; 46]].concat();
        let service = [&[0x88, 0xa8, 0, 8][..], &customer].concat();
        for tagged in [&customer[..], &service, &customer[4..]] {
            let frame = [&addresses, tagged].concat();
            a.send(&LinkFrame::new(&frame)).unwrap();
            // Hosts say something of their own now and then.
            let arrived = until("the frame arrives", || {
                let arrival = b.receive(&mut room).unwrap()?;
                arrival.frame.filter(|frame| frame.bytes()[..12] == addresses)
            });
            assert_eq!(arrived.bytes(), frame);
        }
        end(emulator);
    });
}

#[test]
fn one_process_emulates_all_links_of_a_file_in_any_namespaces() {
    in_namespaces("one_process_emulates_all_links_of_a_file_in_any_namespaces", || {
        let mut lab = hosts();
        for (host, number) in [("a", 1), ("b", 2)] {
            run(&format!("ip link add name two netns {host} type veth peer name {host}2 netns e"));
            lab.ip("e", &format!("link set dev {host}2 up"));
            lab.ip(host, &format!("address add 10.2.0.{number}/24 dev two"));
            lab.ip(host, "link set two up");
            wait_for_carrier(&format!("-n {host}"), "two");
        }
        let text = "[defaults]\ndelay = \"1ms\"\n\
            [[link]]\nname = \"slow\"\nbetween = \"e:a\"\nand = \"e:b\"\ndelay = \"20ms\"\n\
            [[link]]\nname = \"fast\"\ninterfaces = [\"/run/netns/e:a2\", \"b2\"]\n";
        std::fs::write("/run/lab/links.toml", text).unwrap();
        // `b2` is of the emulator's own namespace.
        let emulator = emulate(&mut lab, "--file /run/lab/links.toml --statistics 1ms");
        let (a, b) = sockets(4);
        let b2 = lab.receiver("b", ([10, 2, 0, 2], PORT));
        let a2 = inside("a", || UdpSocket::bind(("10.2.0.1", PORT)).unwrap());
        a2.send_to(b"hello", ("10.2.0.2", PORT)).unwrap();
        lab::assert_receives(&b2, ([10, 2, 0, 1], PORT), "hello");
        let start = Instant::now();
        a.send(&number_of(7)).unwrap();
        assert_eq!(next(&b), 7);
        assert!(start.elapsed() >= 20 * MS);
        emulator.log.wait_for_part(Stream::Output, "\"statistics\"");
        let statistics = end(emulator);
        let each = statistics["directions"].as_array().unwrap();
        let names: Vec<_> =
            each.iter().map(|direction| direction["link"].as_str().unwrap()).collect();
        assert_eq!(names, ["slow", "slow", "fast", "fast"]);
    });
}

#[test]
fn wrong_usage_says_what_where_and_what_to_do() {
    let file = std::env::temp_dir().join(format!("xcast-links-{}.toml", std::process::id()));
    std::fs::write(&file, "[[link]]\ninterfaces = [\"a\", \"b\"]\ndelay = \"25\"\n").unwrap();
    let path = file.to_str().unwrap();
    let place = format!("{path}:3:9: `25` is not a time such as 25ms");
    for (arguments, part) in [
        (&[][..], "two ends"),
        (&["--between", "a:eth0"], "--and"),
        (&["--interfaces", "a"], "two ends"),
        (&["--interfaces", "a,a"], "both ends are a"),
        (&["--interfaces", "a,b", "--delay", "25"], "25ms"),
        (&["--interfaces", "a,b", "--loss", "2"], "share"),
        (&["--interfaces", "a,b", "--rate", "5"], "5mbit"),
        (&["--interfaces", "a,b", "--jitter", "1ms"], "more than the delay"),
        (&["--interfaces", "a,b", "--file", "c"], "cannot be used"),
        (&["--interfaces", "nosuch0,nosuch1"], "nosuch0: there is no such interface"),
        (&["--interfaces", "nosuch:eth0,b"], "`ip netns` lists names"),
        (&["--file", "/nonexistent/links.toml"], "/nonexistent/links.toml"),
        (&["--file", path], &place),
    ] {
        let output = xcast().arg("link-emulator").args(arguments).output().unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{arguments:?}");
        assert!(complaint.contains(part), "{arguments:?}: {complaint}");
    }
    std::fs::remove_file(&file).unwrap();
}
