//! The other parsers: any bytes, and bytes that were right before they were changed a little. None
//! panics; and what one reads, it writes and reads again as the same.

use std::collections::BTreeMap;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use xcast::control::{Question, Request, Topic};
use xcast::io::memory::MemoryReceiver;
use xcast::io::pcap::{self, PcapTransmitter};
use xcast::io::{Receive, Transmit};
use xcast::wire::trace::{Branch, Outcome, Report};
use xcast::wire::{icmp, ipv4, ipv6, probe, quote, trace, udp, xcast4, xcast6};

use super::generate::{self, pick};
use super::mutate::mutate;
use super::nodes::address;

/// How often each parser took what it was given.
#[derive(Default)]
pub(crate) struct Taken(BTreeMap<&'static str, u64>);

impl Taken {
    fn count(&mut self, parser: &'static str) {
        *self.0.entry(parser).or_default() += 1;
    }

    /// Fails unless each parser both took and refused inputs.
    fn assert_both(&self, parsers: &[&str], inputs: u64) {
        for parser in parsers {
            let taken = self.0.get(parser).copied().unwrap_or(0);
            assert!((1..inputs).contains(&taken), "{parser} took {taken} of {inputs}");
        }
    }
}

/// Gives bytes to every parser of packets, at their start and where Xcast headers would be.
pub(crate) fn parse_everywhere(bytes: &[u8], taken: &mut Taken) {
    parse_list(bytes, taken);
    parse_rest(bytes, taken);
    if let Some(quote) = quote::read(&super::nodes::code_points(), bytes) {
        assert!(quote.live.len() <= quote.count && quote.live.len() <= 127);
        assert!(quote.live.iter().all(|address| address.is_ipv4() == quote.source.is_ipv4()));
        taken.count("quote");
    }
    if let Ok(packet) = ipv4::Packet::parse(bytes) {
        assert!(packet.header_len() <= packet.total_len() && packet.total_len() <= bytes.len());
        assert_eq!(packet.payload().len(), packet.total_len() - packet.header_len());
        let _ = (packet.source(), packet.destination(), packet.protocol(), packet.ttl());
        let _ = (packet.is_fragment(), packet.forbids_fragments());
        parse_list(packet.payload(), taken);
        parse_rest(packet.payload(), taken);
        taken.count("ipv4");
    }
    if let Ok(packet) = ipv6::Packet::parse(bytes) {
        assert_eq!(packet.payload().len() + ipv6::HEADER_LEN, packet.total_len());
        let _ = (packet.source(), packet.destination(), packet.next_header());
        let _ = (packet.hop_limit(), packet.traffic_class());
        parse_list(packet.payload(), taken);
        parse_rest(packet.payload(), taken);
        taken.count("ipv6");
    }
}

fn parse_list(bytes: &[u8], taken: &mut Taken) {
    if let Ok(header) = xcast4::Header::parse(bytes) {
        let repr = xcast4::Repr::of(&header);
        let mut again = vec![0xaa; repr.header_len()];
        repr.emit(&mut again).expect("what was read can be written");
        let header = xcast4::Header::parse(&again).expect("what was written can be read");
        assert_eq!(xcast4::Repr::of(&header), repr);
        taken.count("xcast4");
    }
    if let Ok(header) = xcast6::Header::parse(bytes) {
        let repr = xcast6::Repr::of(&header);
        let mut again = vec![0xaa; repr.header_len()];
        repr.emit(&mut again).expect("what was read can be written");
        let header = xcast6::Header::parse(&again).expect("what was written can be read");
        assert_eq!(xcast6::Repr::of(&header), repr);
        taken.count("xcast6");
    }
}

fn parse_rest(bytes: &[u8], taken: &mut Taken) {
    for option in ipv6::options(bytes) {
        let Ok((at, kind, data)) = option else { break };
        assert_eq!((bytes[at], &bytes[at + 2..][..data.len()]), (kind, data));
    }
    let errors = ipv6::options(bytes).filter(Result::is_err).count();
    assert!(errors <= 1, "an error is the end");
    for (_, quoted) in [icmp::parse_v4(bytes), icmp::parse_v6(bytes)].into_iter().flatten() {
        assert_eq!(quoted.len(), bytes.len() - icmp::HEADER_LEN);
        let _ = quote::read(&super::nodes::code_points(), quoted);
        taken.count("icmp");
    }
    for is_v6 in [false, true] {
        let (source, destination) = (address(is_v6, 0, 1), address(is_v6, 0, 2));
        if udp::checksum_valid(bytes, source, destination) {
            let sum = super::octets::transport_sum(source, destination, 17, bytes);
            assert!(sum == 0xffff || !is_v6 && bytes[6..8] == [0, 0]);
            taken.count("udp");
        }
    }
    if trace::is_request(bytes) {
        assert!(trace::nonce(bytes).is_some());
        taken.count("trace request");
    }
    if let Some(report) = Report::parse(bytes) {
        check_report(&report);
        taken.count("trace report");
    }
    if let Some(nonce) = bytes.first_chunk() {
        let secret = super::nodes::SECRET;
        let genuine = probe::make_nonce(probe::number(nonce), secret);
        assert_eq!(probe::is_genuine(nonce, secret), *nonce == genuine);
    }
}

/// A report comes back from its parts, but for names that are too long.
fn check_report(report: &Report) {
    let parts = report.emit();
    let parsed: Vec<Report> = parts.iter().filter_map(|part| Report::parse(part)).collect();
    assert_eq!(parsed.len(), parts.len(), "every part can be read");
    let branches: Vec<Branch> = parsed.into_iter().flat_map(|report| report.branches).collect();
    let is_short = |branch: &Branch| match &branch.outcome {
        Outcome::Copy { interface: name, .. } | Outcome::Dropped(name) => name.len() <= 64,
        Outcome::Delivered => true,
    };
    if parts.len() < 255 && report.branches.iter().all(is_short) {
        assert_eq!(branches, report.branches);
    }
}

/// Packets, ICMP errors about them and trace reports, changed.
pub(crate) fn fuzz_wire(rng: &mut ChaCha8Rng, inputs: u64) {
    let reports = Report {
        nonce: 7,
        router: "r1".to_owned(),
        address: address(false, 0, 1),
        branches: vec![
            branch(Outcome::Copy { xcast: true, to: address(true, 0, 2), interface: "p0".into() }),
            branch(Outcome::Copy {
                xcast: false, to: address(false, 1, 3), interface: "é".into()
            }),
            branch(Outcome::Delivered),
            branch(Outcome::Dropped("no-route".into())),
        ],
    };
    let report = reports.emit().remove(0);
    check_report(&Report::parse(&report).expect("it is one"));
    let mut taken = Taken::default();
    for number in 0..inputs {
        let is_v6 = rng.random_bool(0.5);
        let mut bytes = match rng.random_range(0..8) {
            0 => report.clone(),
            1 => an_icmp_error(rng, is_v6),
            2 => trace::request(number).to_vec(),
            3 => a_datagram(rng, is_v6),
            _ => generate::packet(rng, is_v6, Some(0)),
        };
        if rng.random_bool(0.8) {
            let other = if rng.random_bool(0.5) { report.clone() } else { bytes.clone() };
            mutate(rng, &mut bytes, &other);
        }
        parse_everywhere(&bytes, &mut taken);
    }
    let packets = ["ipv4", "ipv6", "xcast4", "xcast6"];
    let others = ["icmp", "quote", "trace report", "trace request", "udp"];
    taken.assert_both(&packets, inputs);
    taken.assert_both(&others, inputs);
}

fn a_datagram(rng: &mut ChaCha8Rng, is_v6: bool) -> Vec<u8> {
    let mut bytes = vec![rng.random(); rng.random_range(8..40)];
    let repr = udp::Repr { source_port: 1, destination_port: 2 };
    repr.emit(&mut bytes, address(is_v6, 0, 1), address(is_v6, 0, 2));
    bytes
}

fn branch(outcome: Outcome) -> Branch {
    Branch { destinations: 1 << 127 | 5, outcome }
}

fn an_icmp_error(rng: &mut ChaCha8Rng, is_v6: bool) -> Vec<u8> {
    let quoted = generate::packet(rng, is_v6, Some(0));
    let kinds = [icmp::UnreachableKind::NoRoute, icmp::UnreachableKind::Prohibited];
    let error = match rng.random_range(0..3) {
        0 => icmp::Error::TimeExceeded,
        1 => icmp::Error::TooBig { mtu: rng.random() },
        _ => icmp::Error::Unreachable(pick(rng, &kinds)),
    };
    let mut bytes = vec![0; 2000];
    let length = match is_v6 {
        true => icmp::emit_v6(error, &quoted, &mut bytes),
        false => icmp::emit_v4(error, &quoted, &mut bytes),
    };
    bytes.truncate(length);
    let parsed = if is_v6 { icmp::parse_v6(&bytes) } else { icmp::parse_v4(&bytes) };
    assert!(parsed.is_some_and(|(_, rest)| quoted.starts_with(rest)));
    bytes
}

/// Capture files, changed and cut.
pub(crate) fn fuzz_pcap(rng: &mut ChaCha8Rng, inputs: u64) {
    let frames = [&b"a frame"[..], b"", b"another, longer frame"];
    let mut file = PcapTransmitter::new(Vec::new()).unwrap();
    file.transmit(frames.len(), |index| (frames[index], b""), |_, written| assert!(written));
    let whole = file.finish().unwrap();
    let read = |bytes: &[u8]| {
        let mut receiver = MemoryReceiver::default();
        let count = pcap::read(bytes, &mut receiver);
        (count, receiver.take(usize::MAX))
    };
    assert_eq!(read(&whole).0.unwrap(), frames.len());
    let mut taken = Taken::default();
    for _ in 0..inputs {
        let mut bytes = match rng.random_bool(0.9) {
            true => whole.clone(),
            false => (0..rng.random_range(0..100)).map(|_| rng.random()).collect(),
        };
        change(rng, &mut bytes);
        if let (Ok(count), received) = read(&bytes) {
            assert_eq!(count, received);
            taken.count("pcap");
        }
    }
    taken.assert_both(&["pcap"], inputs);
}

/// Some octets changed, left out, doubled or put in.
fn change(rng: &mut ChaCha8Rng, bytes: &mut Vec<u8>) {
    const TEXT: &[u8] = b"{}[]\",:=.#-+eE\\/ \n\t0123456789azAZ\xff\xc3";
    for _ in 0..rng.random_range(0..6) {
        let at = rng.random_range(0..=bytes.len());
        let end = bytes.len().min(at + rng.random_range(1..12));
        match rng.random_range(0..8) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let part = bytes[at..end].to_vec();
                let to = rng.random_range(0..=bytes.len());
                bytes.splice(to..to, part);
            }
            3 | 4 => bytes.insert(at, pick(rng, TEXT)),
            5 if at < bytes.len() => bytes[at] = rng.random(),
            _ if at < bytes.len() => bytes[at] = pick(rng, TEXT),
            _ => {}
        }
    }
}

/// What a control socket may be sent.
pub(crate) fn fuzz_requests(rng: &mut ChaCha8Rng, inputs: u64) {
    let question = |source| Question {
        destinations: vec![address(false, 20, 1), address(true, 20, 1)],
        source,
        size: 1000,
    };
    let requests = [
        Request::Show(Topic::Ports),
        Request::Show(Topic::Drops),
        Request::Explain(question(None)),
        Request::Explain(question(Some(address(false, 0, 2)))),
        Request::Reload,
        Request::Drain,
    ];
    let texts = requests.map(|request| serde_json::to_vec(&request).unwrap());
    let mut taken = Taken::default();
    for _ in 0..inputs {
        let mut bytes = match rng.random_range(0..20) {
            0 => (0..rng.random_range(0..60)).map(|_| rng.random()).collect(),
            1 => b"[".repeat(rng.random_range(1..5000)),
            _ => texts[rng.random_range(0..texts.len())].clone(),
        };
        change(rng, &mut bytes);
        if let Ok(request) = serde_json::from_slice::<Request>(&bytes) {
            let again = serde_json::to_vec(&request).unwrap();
            assert_eq!(serde_json::from_slice::<Request>(&again).unwrap(), request);
            taken.count("request");
        }
    }
    taken.assert_both(&["request"], inputs);
}

/// Texts that are or were configurations. Each gives a configuration, which prints as an equal one,
/// or says what is wrong with it.
pub(crate) fn fuzz_configurations(rng: &mut ChaCha8Rng, inputs: u64) {
    let examples = ["router", "lab", "edge", "experiment"].map(|name| {
        let path = format!("{}/router-config/examples/{name}.toml", env!("CARGO_MANIFEST_DIR"));
        std::fs::read(path).expect("the example is there")
    });
    let mut taken = Taken::default();
    for _ in 0..inputs {
        let mut bytes = examples[rng.random_range(0..examples.len())].clone();
        if rng.random_bool(0.3) {
            let other = &examples[rng.random_range(0..examples.len())];
            let from = rng.random_range(0..other.len());
            bytes.extend(&other[from..]);
        }
        change(rng, &mut bytes);
        let text = String::from_utf8_lossy(&bytes);
        match router_config::parse(&text) {
            Ok((config, _)) => {
                let printed = config.to_string();
                let (again, _) = router_config::parse(&printed).expect("what is printed loads");
                assert_eq!(again, config, "from:\n{text}");
                taken.count("configuration");
            }
            Err(errors) => {
                assert!(!errors.is_empty(), "nothing is said to be wrong");
                errors.iter().for_each(|error| assert!(!error.render("f", &text).is_empty()));
            }
        }
        if router_config::parse_experiment(&text).is_ok() {
            taken.count("experiment");
        }
    }
    taken.assert_both(&["configuration", "experiment"], inputs);
}
