//! Octets the slow, obvious way: nothing here is shared with what is under test.

use std::net::IpAddr;

/// The 16-bit word at `at`, in network order.
pub(crate) fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from(bytes[at]) << 8 | u16::from(bytes[at + 1])
}

/// Puts a 16-bit word at `at`.
pub(crate) fn put(bytes: &mut [u8], at: usize, word: u16) {
    bytes[at] = (word >> 8) as u8;
    bytes[at + 1] = word as u8;
}

/// The one's complement sum (RFC 1071), word by word. Over what has a right checksum it is 0xffff.
pub(crate) fn sum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Fills in the checksum of all of `bytes`, which stands at `at`.
pub(crate) fn mend(bytes: &mut [u8], at: usize) {
    put(bytes, at, 0);
    let check = !sum(bytes);
    put(bytes, at, check);
}

/// The sum over a transport header with what follows it, and the pseudo-header of its ends.
pub(crate) fn transport_sum(
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    transport: &[u8],
) -> u16 {
    let mut bytes = octets(source);
    bytes.extend(octets(destination));
    bytes.extend((transport.len() as u32).to_be_bytes());
    bytes.extend([0, 0, 0, protocol]);
    bytes.extend(transport);
    sum(&bytes)
}

pub(crate) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// The address at `at`.
pub(crate) fn address(bytes: &[u8], at: usize, is_v6: bool) -> IpAddr {
    match is_v6 {
        true => IpAddr::from(<[u8; 16]>::try_from(&bytes[at..at + 16]).unwrap()),
        false => IpAddr::from(<[u8; 4]>::try_from(&bytes[at..at + 4]).unwrap()),
    }
}

/// Where the Xcast header of a packet would begin, and how long it says it is, however wrong the
/// rest may be.
pub(crate) fn xcast_header(packet: &[u8]) -> Option<(usize, usize)> {
    let at = match packet.first()? >> 4 {
        4 => usize::from(packet[0] & 15) * 4,
        6 if *packet.get(6)? == 0 => 48 + 8 * usize::from(*packet.get(41)?),
        6 => 40,
        _ => return None,
    };
    let len = match packet[0] >> 4 {
        4 => 4 * usize::from(*packet.get(at + 9)?),
        _ => 8 + 8 * usize::from(*packet.get(at + 1)?),
    };
    (len >= 8 && at + len <= packet.len()).then_some((at, len))
}

/// The text of a corpus file: comments, and octets in lines.
pub(crate) fn to_hex(comments: &[String], bytes: &[u8]) -> String {
    let mut text: String = comments.iter().map(|comment| format!("# {comment}\n")).collect();
    for line in bytes.chunks(32) {
        let octets: Vec<String> = line.iter().map(|octet| format!("{octet:02x}")).collect();
        text.push_str(&octets.join(" "));
        text.push('\n');
    }
    text
}

/// The octets of a corpus file.
pub(crate) fn from_hex(text: &str) -> Vec<u8> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let octet = |octet| u8::from_str_radix(octet, 16).expect("two hexadecimal digits");
    lines.flat_map(str::split_whitespace).map(octet).collect()
}
