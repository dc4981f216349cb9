//! `xcast capture`: the file's format against octets written by hand, and files of a real router
//! read by a reader of our own and by `tshark`.
//!
//! ```text
//!    a ─── r ─── b ─ ─ ─ 10.8.0.0/16      `a` sends frames that the test builds itself; `b` stands
//!                                         for an Xcast router
//! ```

// A failure of a test is a panic.
#![allow(clippy::unwrap_used)]

// Every test uses some of it.
#[allow(dead_code, unreachable_pub)]
#[path = "support/lab.rs"]
mod lab;
mod support;

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lab::packets::{Packet, XCAST_AT};
use lab::process::{Ended, Process, Stream, until};
use lab::{EXPERIMENT_FILE, Lab, socket_path, xcast};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use support::in_namespaces;
use xcast::io::pcapng::{CapturedFrame, Direction, Writer};

const FILE: &str = "/run/lab/file.pcapng";
/// Destinations behind `b`, and one that is nowhere.
const FAR: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 8, 0, 1), Ipv4Addr::new(10, 8, 0, 2)];
const NOWHERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const ETHERNET: usize = 14;

// --- The format -----------------------------------------------------------------------------

#[test]
fn a_file_is_as_its_specification_has_it() {
    let mut file = Vec::new();
    let mut writer = Writer::new(&mut file, "xcast").unwrap();
    assert_eq!(writer.interface(Some("eth1"), None).unwrap(), 0);
    assert_eq!(writer.interface(None, Some("here")).unwrap(), 1);
    let frame = CapturedFrame {
        interface: 0,
        time: UNIX_EPOCH + Duration::from_nanos(1_700_000_000_123_456_789),
        bytes: b"frame",
        length: 1500,
        direction: Some(Direction::Incoming),
        comment: Some("no-route"),
    };
    writer.frame(&frame).unwrap();
    let plain = CapturedFrame {
        interface: 1,
        time: UNIX_EPOCH - Duration::from_secs(1),
        bytes: b"four",
        length: 0,
        direction: None,
        comment: None,
    };
    writer.frame(&plain).unwrap();
    let sent = CapturedFrame { direction: Some(Direction::Outgoing), ..plain };
    writer.frame(&sent).unwrap();

    #[rustfmt::skip]
    let expected = [
        // Section Header: length, byte-order magic, version 1.0, section length unknown.
        &[0x0a, 0x0d, 0x0d, 0x0a, 44, 0, 0, 0, 0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0][..],
        &[0xff; 8],
        &[4, 0, 5, 0], b"xcast\0\0\0", &[0, 0, 0, 0], &[44, 0, 0, 0], // shb_userappl, end
        // Interface Description: Ethernet, no limit; if_name, end.
        &[1, 0, 0, 0, 32, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
        &[2, 0, 4, 0], b"eth1", &[0, 0, 0, 0], &[32, 0, 0, 0],
        // Interface Description: if_description, end.
        &[1, 0, 0, 0, 32, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
        &[3, 0, 4, 0], b"here", &[0, 0, 0, 0], &[32, 0, 0, 0],
        // Enhanced Packet: interface 0, 0x00060a24_18202240 microseconds, 5 octets of 1500.
        &[6, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0],
        &[0x24, 0x0a, 0x06, 0x00, 0x40, 0x22, 0x20, 0x18, 5, 0, 0, 0, 0xdc, 0x05, 0, 0],
        b"frame\0\0\0",
        &[1, 0, 8, 0], b"no-route", // opt_comment
        &[2, 0, 4, 0, 1, 0, 0, 0], // epb_flags: inbound
        &[0, 0, 0, 0], &[64, 0, 0, 0],
        // Enhanced Packet: interface 1, before time began, a length that cannot be less.
        &[6, 0, 0, 0, 40, 0, 0, 0, 1, 0, 0, 0],
        &[0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0],
        b"four", &[0, 0, 0, 0], &[40, 0, 0, 0],
        // The same with epb_flags: outbound.
        &[6, 0, 0, 0, 48, 0, 0, 0, 1, 0, 0, 0],
        &[0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0],
        b"four", &[2, 0, 4, 0, 2, 0, 0, 0], &[0, 0, 0, 0], &[48, 0, 0, 0],
    ]
    .concat();
    assert_eq!(file, expected);
}

/// A packet of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Read {
    /// The interface's name; `None` if it has none.
    interface: Option<String>,
    micros: u64,
    length: usize,
    bytes: Vec<u8>,
    comment: Option<String>,
    /// 1 received, 2 sent.
    direction: Option<u8>,
}

/// Reads a file that is whole, block by block. Panics at anything that we should not write.
fn read(path: &str) -> Vec<Read> {
    let file = fs::read(path).unwrap();
    let mut rest = file.as_slice();
    let (mut interfaces, mut packets) = (Vec::new(), Vec::new());
    while !rest.is_empty() {
        let (kind, length) = (word(rest, 0), word(rest, 4) as usize);
        let (block, behind) = rest.split_at(length);
        assert_eq!((length % 4, word(block, length - 4) as usize), (0, length));
        let body = &block[8..length - 4];
        match kind {
            0x0a0d_0d0a => assert!(rest.len() == file.len() && word(body, 0) == 0x1a2b_3c4d),
            1 => {
                assert_eq!(word(body, 0), 1, "Ethernet");
                interfaces.push(text(&options(&body[8..]), 2));
            }
            6 => {
                let kept = word(body, 12) as usize;
                let (bytes, behind) = body[20..].split_at(kept);
                let options = options(&behind[kept.next_multiple_of(4) - kept..]);
                let flags = options.iter().find(|(code, _)| *code == 2);
                packets.push(Read {
                    interface: interfaces[word(body, 0) as usize].clone(),
                    micros: u64::from(word(body, 4)) << 32 | u64::from(word(body, 8)),
                    length: word(body, 16) as usize,
                    bytes: bytes.to_vec(),
                    comment: text(&options, 1),
                    direction: flags.map(|(_, value)| value[0]),
                });
            }
            other => panic!("a block of type {other:#x}"),
        }
        rest = behind;
    }
    packets
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// The options, which must have an end.
fn options(mut bytes: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let mut options = Vec::new();
    loop {
        let (code, length) = (word(bytes, 0) as u16, (word(bytes, 0) >> 16) as usize);
        if code == 0 {
            assert_eq!((length, bytes.len()), (0, 4), "the end of options is the block's");
            return options;
        }
        options.push((code, bytes[4..4 + length].to_vec()));
        bytes = &bytes[4 + length.next_multiple_of(4)..];
    }
}

fn text(options: &[(u16, Vec<u8>)], code: u16) -> Option<String> {
    let found = options.iter().find(|(found, _)| *found == code);
    found.map(|(_, value)| String::from_utf8(value.clone()).unwrap())
}

/// What `tshark` reads in the file: a row a packet. `None`, said aloud, where there is no `tshark`;
/// on a machine that must not skip (`CI` is set) that fails the test.
fn tshark(test: &str, fields: &[&str]) -> Option<Vec<Vec<String>>> {
    let mut command = Command::new("tshark");
    command.args(["-n", "-r", FILE, "-T", "fields", "-E", "separator=/t"]);
    command.args(fields.iter().flat_map(|field| ["-e", field]));
    // Away from the settings of whoever runs the test.
    command.env("HOME", "/run/lab").env("WIRESHARK_CONFIG_DIR", "/run/lab");
    let output = match command.env_remove("XDG_CONFIG_HOME").output() {
        Ok(output) => output,
        Err(why) => {
            assert!(std::env::var_os("CI").is_none(), "{test}: no tshark: {why}");
            // Not by a macro, whose output the test runner hides.
            let line = format!("SKIPPED {test}: no tshark here: {why}\n");
            std::io::stderr().write_all(line.as_bytes()).unwrap();
            return None;
        }
    };
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !errors.contains("cut short"), "{errors}");
    let row = |line: &str| line.split('\t').map(str::to_owned).collect();
    Some(String::from_utf8(output.stdout).unwrap().lines().map(row).collect())
}

// --- The network ----------------------------------------------------------------------------

struct Line {
    lab: Lab,
}

impl Line {
    fn new() -> Line {
        let mut lab = Lab::new();
        lab.hosts(&["a", "b"]);
        lab.forwarders(&["r"]);
        lab.link("a", "r");
        lab.link("b", "r");
        lab.ip("r", &format!("route add 10.8.0.0/16 via {}", lab.address("b", "r")));
        lab.start_router("r", "[ports]\nxcast-neighbors = \"all\"\ndriver = \"packet\"\n");
        ["a", "b"].iter().for_each(|port| lab.wait_for_port("r", port, "up"));
        Line { lab }
    }

    fn packet(&self, list: &[Ipv4Addr], payload: &str) -> Packet {
        Packet::to(SocketAddrV4::new(self.lab.address("a", "r"), 5000), list, 9000, payload)
    }

    /// Sends a packet from `a` to the router; returns its frame.
    fn send(&self, packet: Vec<u8>) -> Vec<u8> {
        self.lab.inject("a", "r", &packet);
        let macs = [self.lab.end("r", "a").mac, self.lab.end("a", "r").mac].concat();
        [macs, vec![8, 0], packet].concat()
    }

    /// Sends a packet that is dropped for a reason, and waits until it is; returns its frame.
    fn drop(&self, packet: Vec<u8>, reason: &str) -> Vec<u8> {
        let before = self.lab.dropped("r", reason);
        let frame = self.send(packet);
        until(&format!("{reason} is counted"), || {
            (self.lab.dropped("r", reason) > before).then_some(())
        });
        frame
    }

    /// What the router says of the packets that it keeps.
    fn samples(&self) -> Value {
        let mut stream = UnixStream::connect(socket_path("r")).unwrap();
        stream.write_all(b"\"samples\"\n").unwrap();
        serde_json::from_reader(stream).unwrap()
    }

    fn start(&mut self, node: &str, arguments: &[&str]) -> Process {
        let mut command = xcast();
        command.args(["capture", "--socket", &socket_path("r")]).args(arguments);
        self.lab.run(node, "capture", command.env_remove("XCAST_EXPERIMENT"))
    }

    fn capture(&mut self, arguments: &[&str]) -> Ended {
        self.start("r", arguments).finish()
    }

    /// A live capture into [`FILE`], as soon as it captures.
    fn live(&mut self, more: &[&str]) -> Process {
        let file = ["--write", FILE, "--experiment", EXPERIMENT_FILE];
        let capture = self.start("r", &[&file[..], more].concat());
        capture.log.wait_for(Stream::Error, "capturing");
        capture
    }
}

/// The single object that a command with `--json` printed before it ended well.
fn printed(ended: &Ended) -> Value {
    assert_eq!(ended.status, Some(0), "{:?}", ended.errors);
    assert_eq!(ended.output.len(), 1);
    serde_json::from_str(&ended.output[0]).unwrap()
}

fn now_micros() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64
}

fn mode(path: &str) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn drops_are_written_as_they_came_with_reason_interface_and_time() {
    let name = "drops_are_written_as_they_came_with_reason_interface_and_time";
    in_namespaces(name, || {
        let mut line = Line::new();
        let start = now_micros();
        let good = line.packet(&FAR, "good");
        let mut bad_checksum = good.bytes();
        bad_checksum[XCAST_AT + 2] ^= 1;
        let long = line.packet(&[NOWHERE], &"x".repeat(1300)).bytes();
        let mut frames = vec![
            ("checksum", line.drop(bad_checksum, "checksum")),
            ("version", line.drop(good.bytes_with(|x| x[0] &= 0x0f), "version")),
            ("no-route", line.drop(long, "no-route")),
        ];
        // Of two destinations one goes on, and the packet is kept as it came.
        let half = line.packet(&[FAR[0], NOWHERE], "half");
        frames.push(("no-route", line.drop(half.bytes(), "no-route")));
        // Nobody is there; the copy for it is the router's own, and is given up.
        let link = line.lab.end("b", "r").address.octets();
        let absent = Ipv4Addr::new(link[0], link[1], link[2], 77);
        line.drop(line.packet(&[absent], "absent").bytes(), "neighbor-unresolved");

        let reply = line.samples();
        let first = &reply["done"]["samples"][0];
        let keys: Vec<_> = first.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["reason", "number", "time", "interface", "length", "frame-base64"]);
        assert_eq!((&first["number"], &first["interface"]), (&json!(1), &json!("a")));
        assert_eq!(reply["done"]["samples"][4]["interface"], Value::Null);

        // A file that was there is overwritten, and is its owner's alone from then on.
        fs::write(FILE, [0; 100_000]).unwrap();
        fs::set_permissions(FILE, fs::Permissions::from_mode(0o644)).unwrap();
        let ended = line.capture(&["--drops-only", "--write", FILE]);
        assert_eq!(ended.status, Some(0), "{:?}", ended.errors);
        let says = "1 checksum, 1 neighbor-unresolved, 2 no-route, 1 version";
        let text = format!("5 dropped packets written to {FILE}: {says}");
        assert_eq!(ended.output, [text]);
        assert_eq!(mode(FILE), 0o600);

        let packets = read(FILE);
        let (own, received) = packets.split_last().unwrap();
        assert_eq!(received.len(), frames.len());
        for (packet, (reason, frame)) in received.iter().zip(&frames) {
            assert_eq!(packet.comment.as_deref(), Some(*reason));
            assert_eq!((packet.interface.as_deref(), packet.direction), (Some("a"), Some(1)));
            let kept = frame.len().min(1024);
            assert_eq!((&packet.bytes[..], packet.length), (&frame[..kept], frame.len()));
        }
        assert_eq!(own.comment.as_deref(), Some("neighbor-unresolved"));
        assert_eq!((own.interface.as_deref(), own.direction), (None, None));
        assert!(packets.is_sorted_by_key(|packet| packet.micros));
        assert!(packets[0].micros >= start && own.micros <= now_micros(), "{packets:?}");

        let Some(rows) = tshark(name, &["frame.comment", "frame.len", "frame.interface_name"])
        else {
            return;
        };
        let expected: Vec<Vec<String>> = frames
            .iter()
            .map(|(reason, frame)| {
                vec![(*reason).to_owned(), frame.len().to_string(), "a".to_owned()]
            })
            .collect();
        assert_eq!(rows[..rows.len() - 1], expected);
        assert_eq!(rows[rows.len() - 1][0], "neighbor-unresolved");
    });
}

#[test]
fn with_a_count_drops_are_awaited_and_earlier_ones_left_out() {
    in_namespaces("with_a_count_drops_are_awaited_and_earlier_ones_left_out", || {
        let mut line = Line::new();
        let nowhere = |line: &Line, payload: &str| line.packet(&[NOWHERE], payload).bytes();
        line.drop(nowhere(&line, "earlier"), "no-route");
        let arguments = ["--drops-only", "--count", "3", "--json", "--write", FILE];
        let capture = line.start("r", &arguments);
        capture.log.wait_for(Stream::Error, "waiting for 3");
        assert_eq!((read(FILE), mode(FILE)), (Vec::new(), 0o600));
        let mut frames = Vec::new();
        for payload in ["first", "second"] {
            frames.push(line.drop(nowhere(&line, payload), "no-route"));
        }
        // What is there can be read while more is awaited.
        until("two are in the file", || (read(FILE).len() == 2).then_some(()));
        let bad = line.packet(&FAR, "bad").bytes_with(|x| x[0] &= 0x0f);
        frames.push(line.drop(bad, "version"));
        let reasons = json!({ "no-route": 2, "version": 1 });
        let expected = json!({ "packets": 3, "reasons": reasons, "missed": 0 });
        assert_eq!(printed(&capture.finish()), expected);
        let written: Vec<Vec<u8>> = read(FILE).into_iter().map(|packet| packet.bytes).collect();
        assert_eq!(written, frames);
    });
}

#[test]
fn drops_that_come_too_fast_are_said_to_be_missing() {
    in_namespaces("drops_that_come_too_fast_are_said_to_be_missing", || {
        let mut line = Line::new();
        let arguments = ["--drops-only", "--count", "8", "--json", "--write", FILE];
        let capture = line.start("r", &arguments);
        capture.log.wait_for(Stream::Error, "waiting for 8");
        // While it is stopped it cannot ask, and the router keeps the last 8.
        capture.signal(Signal::SIGSTOP);
        for at in 1..=20 {
            let packet = line.packet(&[NOWHERE], &format!("number {at}")).bytes();
            line.drop(packet, "no-route");
        }
        capture.signal(Signal::SIGCONT);
        let summary = printed(&capture.finish());
        let (packets, missed) = (&summary["packets"], summary["missed"].as_u64().unwrap());
        assert_eq!(packets, 8);
        let last = read(FILE).pop().unwrap().bytes;
        let last = String::from_utf8_lossy(&last[last.len() - 9..]).into_owned();
        // Some may have been written before the signal came.
        assert_eq!(last, format!("number {:2}", 8 + missed), "{summary}");
        assert!(missed > 0, "{summary}");
    });
}

#[test]
fn without_drops_the_file_is_empty_and_right() {
    let name = "without_drops_the_file_is_empty_and_right";
    in_namespaces(name, || {
        let mut line = Line::new();
        let ended = line.capture(&["--drops-only", "--json", "--write", FILE]);
        assert_eq!(printed(&ended), json!({ "packets": 0, "reasons": {}, "missed": 0 }));
        assert_eq!(read(FILE), []);
        let rows = tshark(name, &["frame.len"]);
        assert!(rows.is_none_or(|rows| rows.is_empty()));
    });
}

#[test]
fn what_crosses_the_ports_is_written_both_ways_until_the_count() {
    let name = "what_crosses_the_ports_is_written_both_ways_until_the_count";
    in_namespaces(name, || {
        let mut line = Line::new();
        let start = now_micros();
        let capture = line.live(&["--count", "3", "--json"]);
        // Goes on to `b` as it is but for its TTL and link-layer addresses.
        let through = line.send(line.packet(&FAR, "through").bytes());
        until("both are in the file", || (read(FILE).len() == 2).then_some(()));
        assert_eq!(mode(FILE), 0o600);
        if let Some(rows) = tshark(name, &["frame.len", "frame.interface_name"]) {
            let row = |port: &str| vec![through.len().to_string(), port.to_owned()];
            assert!(rows.len() == 2 && ["a", "b"].iter().all(|port| rows.contains(&row(port))));
        }
        // Its copy is unicast, and no Xcast packet any more.
        let last = line.send(line.packet(&[line.lab.address("b", "r")], "last").bytes());
        let received = json!({ "received": 2, "sent": 0 });
        let sent = json!({ "received": 0, "sent": 1 });
        let interfaces = json!({ "a": received, "b": sent });
        let expected = json!({ "packets": 3, "interfaces": interfaces, "lost": 0 });
        assert_eq!(printed(&capture.finish()), expected);

        // The router may send its copy before the kernel has shown the capture what came in.
        let (received, sent): (Vec<Read>, Vec<Read>) =
            read(FILE).into_iter().partition(|packet| packet.direction == Some(1));
        assert!(received.iter().all(|packet| packet.interface.as_deref() == Some("a")));
        let frames: Vec<&[u8]> = received.iter().map(|packet| &packet.bytes[..]).collect();
        assert_eq!(frames, [&through, &last]);
        assert_eq!((sent[0].interface.as_deref(), sent[0].direction), (Some("b"), Some(2)));
        let (copy, xcast) = (&sent[0].bytes, ETHERNET + XCAST_AT);
        let macs = [line.lab.end("b", "r").mac, line.lab.end("r", "b").mac].concat();
        assert_eq!((&copy[..12], &copy[xcast..]), (&macs[..], &through[xcast..]));
        assert_eq!(copy[ETHERNET + 8], through[ETHERNET + 8] - 1, "TTL");
        for packet in received.iter().chain(&sent) {
            assert_eq!((packet.length, &packet.comment), (packet.bytes.len(), &None));
            assert!((start..=now_micros()).contains(&packet.micros), "{packet:?}");
        }
    });
}

#[test]
fn a_capture_sees_ports_alone_follows_them_and_ends_at_a_signal() {
    in_namespaces("a_capture_sees_ports_alone_follows_them_and_ends_at_a_signal", || {
        let mut line = Line::new();
        line.lab.stop_router("r");
        line.lab.start_router("r", "[[port]]\ninterface = \"a\"\n");
        line.lab.wait_for_port("r", "a", "up");
        let capture = line.live(&[]);
        let from_b = line.packet(&FAR, "not at a port").bytes();
        line.lab.inject("b", "r", &from_b);
        let first = line.send(line.packet(&[NOWHERE], "first").bytes());
        until("the first is in the file", || (read(FILE).len() == 1).then_some(()));
        // The interface goes and comes back with another index.
        line.lab.ip("r", "link delete dev a");
        line.lab.unplugged("a");
        line.lab.link("a", "r");
        let second = until("the second is in the file", || {
            // What is sent before the link has its carrier is lost.
            let second = line.send(line.packet(&[NOWHERE], "second").bytes());
            (read(FILE).len() > 1).then_some(second)
        });
        capture.signal(Signal::SIGINT);
        let ended = capture.finish();
        assert_eq!(ended.status, Some(0), "{:?}", ended.errors);
        let written: Vec<Vec<u8>> = read(FILE).into_iter().map(|packet| packet.bytes).collect();
        let count = written.len();
        assert_eq!(
            ended.output,
            [format!("{count} packets written to {FILE}: {count} received on a")]
        );
        assert_eq!(written[0], first);
        assert!(written[1..].iter().all(|frame| *frame == second));

        let waiting = line.start("r", &["--drops-only", "--count", "9", "--write", FILE]);
        waiting.log.wait_for(Stream::Error, "waiting for 9");
        waiting.signal(Signal::SIGTERM);
        let ended = waiting.finish();
        assert_eq!(ended.status, Some(0), "{:?}", ended.errors);
        assert_eq!(ended.output, [format!("0 dropped packets written to {FILE}")]);
    });
}

#[test]
fn what_cannot_be_captured_ends_with_1_and_leaves_files_alone() {
    in_namespaces("what_cannot_be_captured_ends_with_1_and_leaves_files_alone", || {
        let mut line = Line::new();
        fs::write(FILE, "kept").unwrap();
        let experiment = ["--experiment", EXPERIMENT_FILE];
        let unwritable = "/run/lab/no/such.pcapng";
        let cases: [(&str, &[&str], i32, &str); 7] = [
            ("r", &["--drops-only", "--write", unwritable], 1, unwritable),
            ("r", &["--drops-only", "--count", "1", "--write", "/run/lab"], 1, "/run/lab"),
            ("r", &[&experiment[..], &["--write", unwritable]].concat(), 1, unwritable),
            // Another network namespace than the router's.
            ("b", &[&experiment[..], &["--write", FILE]].concat(), 1, "namespace"),
            ("r", &["--write", FILE], 2, "ip-protocol"),
            ("r", &["--drops-only"], 2, "--write"),
            ("r", &["--drops-only", "--count", "some", "--write", FILE], 2, "some"),
        ];
        for (node, arguments, status, says) in cases {
            let ended = line.start(node, arguments).finish();
            assert_eq!(ended.status, Some(status), "{arguments:?}: {:?}", ended.errors);
            let complains = ended.errors.iter().any(|line| line.contains(says));
            assert!(complains, "{arguments:?}: {:?}", ended.errors);
            assert_eq!(ended.output, [""; 0], "{arguments:?}");
        }
        line.lab.stop_router("r");
        for more in [&["--drops-only"][..], &experiment] {
            let ended = line.capture(&[&["--write", FILE][..], more].concat());
            assert_eq!(ended.status, Some(1), "{more:?}: {:?}", ended.errors);
            let names_it = ended.errors.iter().any(|line| line.contains(&socket_path("r")));
            assert!(names_it, "{more:?}: {:?}", ended.errors);
        }
        assert_eq!(fs::read_to_string(FILE).unwrap(), "kept");
        assert!(!Path::new(unwritable).exists());
    });
}

#[test]
fn without_the_privilege_a_live_capture_says_which_one_is_missing() {
    in_namespaces("without_the_privilege_a_live_capture_says_which_one_is_missing", || {
        let mut line = Line::new();
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set=-net_raw", "--inh-caps=-net_raw"]);
        command.arg(env!("CARGO_BIN_EXE_xcast")).args(["capture", "--write", FILE]);
        command.args(["--socket", &socket_path("r"), "--experiment", EXPERIMENT_FILE]);
        let ended = line.lab.run("r", "unprivileged", &mut command).finish();
        assert_eq!(ended.status, Some(1), "{:?}", ended.errors);
        assert!(ended.errors.iter().any(|line| line.contains("CAP_NET_RAW")), "{:?}", ended.errors);
        assert!(!Path::new(FILE).exists());
    });
}
