//! The Wireshark dissector (`wireshark/xcast.lua`) on packets written by hand.

#[path = "dissector/octets.rs"]
mod octets;
#[path = "dissector/tshark.rs"]
mod tshark;

use octets::*;
use tshark::Tshark;

#[test]
fn xcast4_with_ds_bytes_and_ports() {
    let Some(tshark) = Tshark::find("xcast4_with_ds_bytes_and_ports") else { return };
    let frames = [frame(&xcast4_packet(&XCAST4))];
    let head = [
        ("xcast.version", "1"),
        ("xcast.flags.a", "0"),
        ("xcast.flags.x", "1"),
        ("xcast.flags.d", "1"),
        ("xcast.flags.p", "1"),
        ("xcast.reserved.r", "0"),
        ("xcast.destinations.count", "5"),
        ("xcast.checksum", "0x857b"),
        ("xcast.checksum.status", "1"),
        ("xcast.channel", "0000002a"),
        ("xcast.protocol", "17"),
        ("xcast.length", "14"),
        ("xcast.reserved", "0x0000"),
        ("xcast.bitmap", "a8000000"),
        ("xcast.live", "3"),
        ("xcast.malformed", ""),
    ];
    assert_eq!(tshark.fields(&frames, head.map(|(name, _)| name)), [head.map(|(_, value)| value)]);
    let lists = [
        ("xcast.destination", "10.0.4.2,10.0.5.2,10.0.6.2,10.0.7.2,10.0.8.2"),
        ("xcast.destination.live", "10.0.4.2,10.0.6.2,10.0.8.2"),
        ("xcast.destination.dscp", "46,34,36,0,44"),
        ("xcast.destination.port", "5000,5001,5002,5003,5004"),
        ("udp.srcport", "4000"),
        ("data.data", "68656c6c6f"),
        ("_ws.col.Info", "Xcast 3/5 live 10.0.4.2 10.0.6.2 10.0.8.2 (XDP) | 4000 \u{2192} 0 Len=5"),
    ];
    assert_eq!(
        tshark.fields(&frames, lists.map(|(name, _)| name)),
        [lists.map(|(_, value)| value)]
    );
}

#[test]
fn a_destination_is_one_item() {
    let Some(tshark) = Tshark::find("a_destination_is_one_item") else { return };
    let four = frame(&xcast4_packet(&XCAST4));
    let six = frame(&xcast6_packet(43, &[&XCAST6]));
    let printed = tshark.read(&[(four.clone(), four.len()), (six.clone(), six.len())], &["-V"]);
    for item in [
        "Destinations: 3 of 5 live",
        "0: 10.0.4.2, live, EF, port 5000",
        "3: 10.0.7.2, not live, default, port 5003",
        "Checksum: 0x857b [good]",
        "Protocol: UDP (17)",
        "Destinations: 2 of 2 live",
        "0: 2001:db8:4::2, live, EF",
    ] {
        assert!(printed.lines().any(|line| line.trim() == item), "no `{item}` in {printed}");
    }
}

#[test]
fn hidden_addresses() {
    let Some(tshark) = Tshark::find("hidden_addresses") else { return };
    let frames = [frame(&xcast4_packet(&XCAST4_HIDDEN))];
    let wanted = [
        "xcast.flags.a",
        "xcast.live",
        "xcast.checksum.status",
        "xcast.destination",
        "xcast.destination.live",
        "xcast.destination.port",
    ];
    let expected = ["1", "2", "1", "10.0.4.2,0.0.0.0,10.0.6.2", "10.0.4.2,10.0.6.2", ""];
    assert_eq!(tshark.fields(&frames, wanted), [expected]);
}

#[test]
fn what_is_malformed_has_its_name() {
    let Some(tshark) = Tshark::find("what_is_malformed_has_its_name") else { return };
    let four = |change: fn(&mut [u8; 56])| frame(&xcast4_packet(&changed(XCAST4, 2, change)));
    let six = |change: fn(&mut [u8; 72])| frame(&xcast6_packet(43, &[&changed(XCAST6, 6, change)]));
    let mut bad4 = XCAST4;
    bad4[2] = 0;
    let mut bad6 = XCAST6;
    bad6[6] = 0;
    let empty4 = changed([0x10, 0, 0, 0, 0, 0, 0, 0, 17, 3, 0, 0], 2, |_| {});
    let mut empty6 = [0; 24];
    empty6[..8].copy_from_slice(&[17, 2, 253, 0, 0x10, 0, 0, 0]);
    let cases = [
        ("version", four(|header| header[0] = 0x27)),
        ("length", four(|header| header[9] = 15)),
        ("length", four(|header| header[1] = 6)),
        ("length", frame(&ipv4(253, &XCAST4[..55]))),
        ("length", frame(&ipv4(253, &XCAST4[..11]))),
        ("checksum", frame(&xcast4_packet(&bad4))),
        ("no-destination", frame(&xcast4_packet(&empty4))),
        ("spare-bits", four(|header| header[12] |= 0b0000_0100)),
        ("spare-bits", four(|header| header[15] = 1)),
        ("no-live-destination", four(|header| header[12] = 0)),
        ("version", six(|header| header[4] = 0x2e)),
        ("length", six(|header| header[3] = 1)),
        ("length", six(|header| header[5] = 3)),
        ("length", six(|header| header[4] = 0x1c)),
        ("checksum", frame(&xcast6_packet(43, &[&bad6]))),
        ("no-destination", frame(&xcast6_packet(43, &[&changed(empty6, 6, |_| {})]))),
        ("spare-bits", six(|header| header[31] = 1)),
        ("no-live-destination", six(|header| header[24] = 0)),
        // Reserved bits and padding are ignored (WIRE.md).
        ("", four(|header| header[1] |= 0x80)),
        ("", four(|header| header[55] = 1)),
        ("", six(|header| header[4] |= 0x01)),
    ];
    let (names, frames): (Vec<&str>, Vec<Vec<u8>>) = cases.into_iter().unzip();
    let rows =
        tshark.fields(&frames, ["xcast.malformed", "xcast.checksum.status", "_ws.expert.message"]);
    assert_eq!(rows.len(), names.len());
    for (number, ([malformed, status, expert], name)) in rows.iter().zip(&names).enumerate() {
        assert_eq!(malformed, name, "case {number}: {expert}");
        assert_eq!(expert.contains("Xcast malformed"), !name.is_empty(), "case {number}: {expert}");
        let judged = match *name {
            "version" => "",
            "length" => "2",
            "checksum" => "0",
            _ => "1",
        };
        // A header cut short before its checksum would have none.
        assert_eq!(status, judged, "case {number}");
    }
}

#[test]
fn xcast6_behind_the_ip_header_and_behind_hop_by_hop() {
    let Some(tshark) = Tshark::find("xcast6_behind_the_ip_header_and_behind_hop_by_hop") else {
        return;
    };
    let hop_by_hop = [43, 0, 1, 4, 0, 0, 0, 0]; // PadN alone
    let frames =
        [frame(&xcast6_packet(43, &[&XCAST6])), frame(&xcast6_packet(0, &[&hop_by_hop, &XCAST6]))];
    let wanted = [
        ("xcast.version", "1"),
        ("xcast.flags.a", "1"),
        ("xcast.flags.x", "1"),
        ("xcast.flags.d", "1"),
        ("xcast.reserved.p", "0"),
        ("xcast.destinations.count", "2"),
        ("xcast.checksum", "0xc02b"),
        ("xcast.checksum.status", "1"),
        ("xcast.channel", "0102030405060708090a0b0c0d0e0f10"),
        ("xcast.bitmap", "c000000000000000"),
        ("xcast.live", "2"),
        ("xcast.destination6", "2001:db8:4::2,2001:db8:5::2"),
        ("xcast.destination6.live", "2001:db8:4::2,2001:db8:5::2"),
        ("xcast.destination.dscp", "46,0"),
        ("xcast.malformed", ""),
        ("udp.srcport", "4000"),
    ];
    let expected = wanted.map(|(_, value)| value);
    assert_eq!(tshark.fields(&frames, wanted.map(|(name, _)| name)), [expected, expected]);
    let info = tshark.fields(&frames, ["_ws.col.Info"]);
    let start = "Xcast 2/2 live 2001:db8:4::2 2001:db8:5::2 (AXD) | 4000";
    assert!(info.iter().all(|[info]| info.starts_with(start)), "{info:?}");
}

#[test]
fn xcast6_with_two_units_of_bitmap() {
    let Some(tshark) = Tshark::find("xcast6_with_two_units_of_bitmap") else { return };
    let frames = [frame(&xcast6_packet(43, &[&xcast6_of_65()]))];
    let wanted = [
        "xcast.destinations.count",
        "xcast.checksum.status",
        "xcast.bitmap",
        "xcast.destination6.live",
        "xcast.malformed",
    ];
    let expected = ["65", "1", "40000000000000008000000000000000", "2001:db8::2,2001:db8::41", ""];
    assert_eq!(tshark.fields(&frames, wanted), [expected]);
}

#[test]
fn the_ports_of_xcast6() {
    let Some(tshark) = Tshark::find("the_ports_of_xcast6") else { return };
    let one_port = [17, 0, 0x5e, 2, 0x0f, 0xa1, 0, 0]; // then Pad1 twice
    let twice = [17, 1, 0x5e, 4, 0, 1, 0, 2, 0x5e, 4, 0, 3, 0, 4, 1, 0];
    let padding = [17, 0, 1, 4, 0, 0, 0, 0];
    let mut other_routing = XCAST6_BEFORE_PORTS;
    other_routing[2] = 254;
    let behind = |options: &[u8]| frame(&xcast6_packet(43, &[&XCAST6_BEFORE_PORTS, options]));
    let frames = [
        behind(&PORTS),
        behind(&one_port),
        behind(&twice),
        behind(&padding),
        // Not behind an Xcast6 header: somebody else's option.
        frame(&xcast6_packet(60, &[&PORTS])),
        frame(&xcast6_packet(43, &[&other_routing, &PORTS])),
    ];
    let rows = tshark.fields(&frames, ["xcast.destination.port", "xcast.malformed", "udp.srcport"]);
    let expected = [
        ["4001,4002", "", "4000"],
        ["4001", "length", "4000"],
        ["1,2,3,4", "length", "4000"],
        ["", "", "4000"],
        ["", "", "4000"],
        ["", "", "4000"],
    ];
    assert_eq!(rows, expected);
    let printed = tshark.read(&[(frames[0].clone(), frames[0].len())], &["-V"]);
    assert!(printed.contains("1: 2001:db8:5::2, port 4002"), "{printed}");
}

#[test]
fn tunnels_over_udp() {
    let Some(tshark) = Tshark::find("tunnels_over_udp") else { return };
    let inner4 = xcast4_packet(&XCAST4);
    let inner6 = xcast6_packet(43, &[&XCAST6]);
    let frames = [
        frame(&ipv4(17, &udp(1021, 1021, &inner4))),
        frame(&ipv4(17, &udp(40000, 1021, &inner6))),
        frame(&ipv6(17, &udp(1021, 40000, &inner4))),
        frame(&ipv4(17, &udp(1021, 1021, &[0x01, 2, 3, 4]))),
        frame(&ipv4(17, &udp(1021, 1021, &[0x99, 2, 3, 4]))),
    ];
    let wanted = [
        "xcast.tunnel",
        "xcast.tunnel.control",
        "xcast.destination.live",
        "xcast.destination6.live",
        "xcast.checksum.status",
    ];
    let live4 = "10.0.4.2,10.0.6.2,10.0.8.2";
    let live6 = "2001:db8:4::2,2001:db8:5::2";
    let expected = [
        ["ipv4", "", live4, "", "1"],
        ["ipv6", "", "", live6, "1"],
        ["ipv4", "", live4, "", "1"],
        ["control", "01020304", "", "", ""],
        ["unknown", "", "", "", ""],
    ];
    assert_eq!(tshark.fields(&frames, wanted), expected);
}

#[test]
fn tunnels_of_ip_in_ip() {
    let Some(tshark) = Tshark::find("tunnels_of_ip_in_ip") else { return };
    let inner4 = xcast4_packet(&XCAST4);
    let inner6 = xcast6_packet(43, &[&XCAST6_BEFORE_PORTS, &PORTS]);
    let frames = [
        frame(&ipv4(4, &inner4)),
        frame(&ipv6(4, &inner4)),
        frame(&ipv4(41, &inner6)),
        frame(&ipv6(41, &inner6)),
    ];
    let wanted = ["xcast.destination.live", "xcast.destination6.live", "xcast.destination.port"];
    let four = ["10.0.4.2,10.0.6.2,10.0.8.2", "", "5000,5001,5002,5003,5004"];
    let six = ["", "2001:db8:5::2", "4001,4002"];
    assert_eq!(tshark.fields(&frames, wanted), [four, four, six, six]);
}

#[test]
fn semi_permeable_tunnels() {
    let Some(tshark) = Tshark::find("semi_permeable_tunnels") else { return };
    let inner = xcast6_packet(43, &[&XCAST6]);
    let outer = |hop_by_hop: [u8; 8]| frame(&ipv6(0, &[&hop_by_hop, &inner[..]].concat()));
    let not_first = [41, 0, 0, 0x1e, 0, 1, 1, 0]; // Pad1 stands in front
    let with_data = [41, 0, 0x1e, 1, 0, 1, 1, 0];
    let frames = [outer(SEMI_PERMEABLE), outer(not_first), outer(with_data)];
    let rows = tshark.fields(&frames, ["xcast.semi_permeable", "xcast.live"]);
    assert_eq!(rows, [["1", "2"], ["", "2"], ["", "2"]]);
}

#[test]
fn what_icmp_quotes_is_cut_short_and_not_malformed() {
    let Some(tshark) = Tshark::find("what_icmp_quotes_is_cut_short_and_not_malformed") else {
        return;
    };
    // Time exceeded; the IP header and 8 octets behind it, as RFC 792 has it.
    let mut icmp = [&[11, 0, 0, 0, 0, 0, 0, 0], &xcast4_packet(&XCAST4)[..28]].concat();
    mend(&mut icmp, 2);
    let frames = [frame(&ipv4(1, &icmp))];
    let wanted = ["xcast.channel", "xcast.malformed", "xcast.checksum.status", "icmp.type"];
    assert_eq!(tshark.fields(&frames, wanted), [["0000002a", "", "2", "11"]]);
    assert_eq!(tshark.shown(&frames, "xcast.expert.truncated"), "1");
}

#[test]
fn the_code_points_are_preferences() {
    let Some(tshark) = Tshark::find("the_code_points_are_preferences") else { return };
    let other4 = ipv4(254, &XCAST4);
    let other6 = changed(XCAST6_BEFORE_PORTS, 6, |header| header[2] = 254);
    let other_ports = [17, 0, 0x9e, 4, 0x0f, 0xa1, 0x0f, 0xa2];
    let other_semi = [41, 0, 0x3e, 0, 1, 2, 0, 0];
    let inner6 = xcast6_packet(43, &[&other6, &other_ports]);
    let six = frame(&ipv6(0, &[&other_semi, &inner6[..]].concat()));
    let tunneled = frame(&ipv4(17, &udp(2021, 2021, &other4)));
    let frames = [frame(&other4), six, tunneled, frame(&xcast4_packet(&XCAST4))];
    assert_eq!(tshark.shown(&frames, "xcast"), "4");
    let tshark = tshark.with(&[
        "xcast.ip_protocol:254",
        "xcast.routing_type:254",
        "xcast.ports_option:158",
        "xcast.hop_by_hop_option:62",
        "xcast.tunnel_port:2021",
    ]);
    let wanted = ["xcast.live", "xcast.destination.port", "xcast.semi_permeable", "xcast.tunnel"];
    let ports = "5000,5001,5002,5003,5004";
    let expected = [
        ["3", ports, "", ""],
        ["1", "4001,4002", "1", ""],
        ["3", ports, "", "ipv4"],
        ["", "", "", ""],
    ];
    assert_eq!(tshark.fields(&frames, wanted), expected);
}

#[test]
fn protocol_253_over_ipv6_is_not_xcast() {
    let Some(tshark) = Tshark::find("protocol_253_over_ipv6_is_not_xcast") else { return };
    let frames = [frame(&ipv6(253, &XCAST4)), frame(&ipv4(253, &XCAST4))];
    assert_eq!(tshark.shown(&frames, "xcast"), "2");
}

#[test]
fn deep_nesting_ends() {
    let Some(tshark) = Tshark::find("deep_nesting_ends") else { return };
    let mut tunnels = xcast4_packet(&XCAST4);
    for _ in 0..60 {
        tunnels = ipv4(17, &udp(1021, 1021, &tunnels));
    }
    // Each behind the other's header: PROT ID 4 is IPv4 again.
    let carrier = changed(XCAST4_HIDDEN, 2, |header| header[8] = 4);
    let mut headers = xcast4_packet(&XCAST4);
    for _ in 0..60 {
        headers = ipv4(253, &[&carrier[..], &headers].concat());
    }
    // Xcast directly in Xcast is nothing that WIRE.md knows.
    let twice = changed(XCAST4_HIDDEN, 2, |header| header[8] = 253);
    let frames = [frame(&tunnels), frame(&headers), frame(&xcast4_packet(&twice))];
    assert_eq!(tshark.shown(&frames, "xcast.expert.depth"), "1 2");
    let counts = tshark.fields(&frames[2..], ["xcast.version", "data.len"]);
    assert_eq!(counts, [["1", "13"]]);
}

/// One packet of every kind.
fn all_kinds() -> Vec<Vec<u8>> {
    let four = xcast4_packet(&XCAST4);
    let six = xcast6_packet(43, &[&XCAST6_BEFORE_PORTS, &PORTS]);
    [
        xcast6_packet(43, &[&XCAST6]),
        ipv6(0, &[&SEMI_PERMEABLE, &six[..]].concat()),
        ipv4(17, &udp(1021, 1021, &six)),
        ipv4(4, &four),
        ipv4(17, &udp(1021, 1021, &[1, 2, 3, 4])),
        four,
        six,
    ]
    .iter()
    .map(|packet| frame(packet))
    .collect()
}

#[test]
fn no_length_and_no_octet_is_too_much() {
    let Some(tshark) = Tshark::find("no_length_and_no_octet_is_too_much") else { return };
    let mut frames = Vec::new();
    for whole in all_kinds() {
        for length in 0..whole.len() {
            // Cut by the capture, and cut on the wire.
            frames.push((whole[..length].to_vec(), whole.len()));
            frames.push((whole[..length].to_vec(), length));
        }
        for at in 14..whole.len() {
            for octet in [0x00, 0x01, 0x7f, 0xff] {
                let mut wrong = whole.clone();
                wrong[at] = octet;
                frames.push((wrong, whole.len()));
            }
        }
    }
    // `read` panics at any Lua error.
    let printed = tshark.read(&frames, &["-V"]);
    assert_eq!(printed.lines().filter(|line| line.starts_with("Frame ")).count(), frames.len());
}

#[test]
fn a_header_the_capture_cut_is_not_malformed() {
    let Some(tshark) = Tshark::find("a_header_the_capture_cut_is_not_malformed") else { return };
    let whole = frame(&xcast4_packet(&XCAST4));
    let start = 14 + 20;
    // From the first octet of the header to the last but one.
    let cut = |length: usize| (whole[..start + length].to_vec(), whole.len());
    let frames: Vec<_> = (1..XCAST4.len()).map(cut).collect();
    let arguments = ["-T", "fields", "-e", "xcast.malformed", "-e", "xcast.expert.truncated"];
    let printed = tshark.read(&frames, &arguments);
    assert_eq!(printed.lines().count(), frames.len());
    for (line, number) in printed.lines().zip(1..) {
        let (malformed, truncated) = line.split_once('\t').expect("two columns");
        assert_eq!((malformed, truncated.is_empty()), ("", false), "{number} octets");
    }
}

#[test]
fn readme_names_every_field_and_its_filters_work() {
    let Some(tshark) = Tshark::find("readme_names_every_field_and_its_filters_work") else {
        return;
    };
    let folder = env!("CARGO_MANIFEST_DIR");
    let readme = std::fs::read_to_string(format!("{folder}/wireshark/README.md")).expect("README");
    let names = tshark.names();
    assert!(names.len() > 25, "{names:?}");
    for name in names {
        assert!(readme.contains(&format!("`{name}`")), "README does not name `{name}`");
    }
    // The first column of the table of filters.
    let table = readme.split("| filter |").nth(1).expect("a table of filters");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with("| `"));
    let filters: Vec<&str> = rows.filter_map(|row| row.split('`').nth(1)).collect();
    assert!(filters.len() > 5, "{filters:?}");
    for filter in filters {
        assert!(!tshark.shown(&readme_frames(), filter).is_empty(), "`{filter}` shows nothing");
    }
}

/// Something for each filter of README to show.
fn readme_frames() -> Vec<Vec<u8>> {
    let mut bad = XCAST4;
    bad[2] = 0;
    let one_left = changed(XCAST4, 2, |header| header[12] = 0b1000_0000);
    let mut frames = all_kinds();
    frames.extend([&bad[..], &one_left].map(|header| frame(&xcast4_packet(header))));
    frames
}
