//! Trace requests and reports: how the tree of copies is drawn from what the routers themselves say.
//!
//! A request is the UDP payload of an Xcast packet. The router where its TTL ends answers to its
//! source, address and port, what it would have done with each live destination. A report that
//! does not fit one datagram comes in parts, each complete in itself.
//!
//! ```text
//! | "XCTR" | version 1 | kind | part | parts | nonce, 8 octets |       a request (kind 1) ends here
//! | address | router's name | branches ...                            a report (kind 2) goes on
//!
//! branch:  | outcome | destinations, 16 octets, a bitmap | what belongs to the outcome |
//!   1 an Xcast copy, 2 a unicast copy:  | next hop's address | interface's name |
//!   3 delivered there                   nothing
//!   4 dropped:                          | reason |
//! address: | 4 or 6 | octets |          name, reason: | length, 1 octet | UTF-8 |
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const MAGIC: [u8; 4] = *b"XCTR";
const VERSION: u8 = 1;
const REQUEST: u8 = 1;
const REPORT: u8 = 2;
/// Octets of a request.
pub const REQUEST_LEN: usize = 16;
/// Octets of a report's datagram.
const REPORT_LEN_MAX: usize = 1200;
/// Octets of a name; a longer one is cut.
const NAME_LEN_MAX: usize = 64;
const PARTS_MAX: usize = 255;

/// Writes the request that is known by `nonce`.
pub fn request(nonce: u64) -> [u8; REQUEST_LEN] {
    let mut bytes = [0; REQUEST_LEN];
    bytes[..4].copy_from_slice(&MAGIC);
    bytes[4..8].copy_from_slice(&[VERSION, REQUEST, 0, 1]);
    bytes[8..].copy_from_slice(&nonce.to_be_bytes());
    bytes
}

/// Whether a UDP payload is a request, whatever follows it.
pub fn is_request(payload: &[u8]) -> bool {
    payload.starts_with(&MAGIC)
        && payload.len() >= REQUEST_LEN
        && payload[4..6] == [VERSION, REQUEST]
}

/// The nonce of a request or report.
pub fn nonce(payload: &[u8]) -> Option<u64> {
    let octets = payload.get(8..16)?.try_into().ok()?;
    payload.starts_with(&MAGIC).then(|| u64::from_be_bytes(octets))
}

/// What a router says it does with the live destinations of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The request's.
    pub nonce: u64,
    /// The router's name.
    pub router: String,
    /// Its address on the link that the request came in by.
    pub address: IpAddr,
    /// Each live destination is in one of them.
    pub branches: Vec<Branch>,
}

/// Destinations that share a fate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Branch {
    /// As a bitmap of the request's list.
    pub destinations: u128,
    /// What becomes of them.
    pub outcome: Outcome,
}

/// A fate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A copy leaves.
    Copy {
        /// In Xcast form, or as a unicast packet.
        xcast: bool,
        /// The next hop.
        to: IpAddr,
        /// The interface it leaves by.
        interface: String,
    },
    /// The router is the destination.
    Delivered,
    /// By the name of its reason.
    Dropped(String),
}

impl Report {
    /// The datagrams that hold the report.
    pub fn emit(&self) -> Vec<Vec<u8>> {
        let mut head = MAGIC.to_vec();
        head.extend([VERSION, REPORT, 0, 0]);
        head.extend(self.nonce.to_be_bytes());
        put_address(&mut head, self.address);
        put_name(&mut head, &self.router);
        let mut parts = vec![head.clone()];
        for branch in &self.branches {
            let bytes = branch.emit();
            if parts.last().is_some_and(|part| part.len() + bytes.len() > REPORT_LEN_MAX) {
                parts.push(head.clone());
            }
            parts.last_mut().into_iter().for_each(|part| part.extend(&bytes));
        }
        parts.truncate(PARTS_MAX);
        let count = parts.len() as u8;
        for (number, part) in (0..).zip(&mut parts) {
            part[6..8].copy_from_slice(&[number, count]);
        }
        parts
    }

    /// Reads one datagram of a report; `None` if it is none, or is cut short.
    pub fn parse(bytes: &[u8]) -> Option<Report> {
        let nonce = nonce(bytes)?;
        if bytes[4..6] != [VERSION, REPORT] {
            return None;
        }
        let mut rest = &bytes[REQUEST_LEN..];
        let address = take_address(&mut rest)?;
        let router = take_name(&mut rest)?;
        let mut branches = Vec::new();
        while !rest.is_empty() {
            branches.push(Branch::take(&mut rest)?);
        }
        Some(Report { nonce, router, address, branches })
    }
}

impl Branch {
    fn emit(&self) -> Vec<u8> {
        let kind = match self.outcome {
            Outcome::Copy { xcast: true, .. } => 1,
            Outcome::Copy { xcast: false, .. } => 2,
            Outcome::Delivered => 3,
            Outcome::Dropped(_) => 4,
        };
        let mut bytes = vec![kind];
        bytes.extend(self.destinations.to_be_bytes());
        match &self.outcome {
            Outcome::Copy { to, interface, .. } => {
                put_address(&mut bytes, *to);
                put_name(&mut bytes, interface);
            }
            Outcome::Delivered => {}
            Outcome::Dropped(reason) => put_name(&mut bytes, reason),
        }
        bytes
    }

    fn take(rest: &mut &[u8]) -> Option<Branch> {
        let kind = take(rest, 1)?[0];
        let destinations = u128::from_be_bytes(take(rest, 16)?.try_into().ok()?);
        let outcome = match kind {
            1 | 2 => Outcome::Copy {
                xcast: kind == 1,
                to: take_address(rest)?,
                interface: take_name(rest)?,
            },
            3 => Outcome::Delivered,
            4 => Outcome::Dropped(take_name(rest)?),
            _ => return None,
        };
        Some(Branch { destinations, outcome })
    }
}

fn put_address(bytes: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => {
            bytes.push(4);
            bytes.extend(v4.octets());
        }
        IpAddr::V6(v6) => {
            bytes.push(6);
            bytes.extend(v6.octets());
        }
    }
}

fn put_name(bytes: &mut Vec<u8>, name: &str) {
    let cut = name.floor_char_boundary(NAME_LEN_MAX);
    bytes.push(cut as u8);
    bytes.extend(&name.as_bytes()[..cut]);
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

fn take_address(rest: &mut &[u8]) -> Option<IpAddr> {
    match take(rest, 1)?[0] {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(take(rest, 4)?).ok()?).into()),
        6 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(take(rest, 16)?).ok()?).into()),
        _ => None,
    }
}

/// A name that may come from anybody: control characters are not passed on to a terminal.
fn take_name(rest: &mut &[u8]) -> Option<String> {
    let length = usize::from(take(rest, 1)?[0]);
    let text = String::from_utf8_lossy(take(rest, length)?);
    Some(text.chars().filter(|character| !character.is_control()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(branches: usize) -> Report {
        let branch = |at: usize| Branch {
            destinations: 1 << at,
            outcome: match at % 4 {
                0 => Outcome::Delivered,
                1 => Outcome::Dropped("no-route".to_owned()),
                2 => Outcome::Copy {
                    xcast: true,
                    to: Ipv4Addr::new(10, 0, 0, at as u8).into(),
                    interface: "eth1".to_owned(),
                },
                _ => Outcome::Copy {
                    xcast: false,
                    to: Ipv6Addr::LOCALHOST.into(),
                    interface: "to-R5".to_owned(),
                },
            },
        };
        Report {
            nonce: 42,
            router: "r3".to_owned(),
            address: Ipv4Addr::new(10, 0, 0, 1).into(),
            branches: (0..branches).map(branch).collect(),
        }
    }

    #[test]
    fn emits_golden_bytes() {
        assert_eq!(request(258), *b"XCTR\x01\x01\x00\x01\0\0\0\0\0\0\x01\x02");
        let mut expected = b"XCTR\x01\x02\x00\x01\0\0\0\0\0\0\0\x2a\x04\x0a\0\0\x01\x02r3".to_vec();
        expected.push(3);
        expected.extend([0; 15]);
        expected.push(1);
        assert_eq!(report(1).emit(), [expected]);
    }

    #[test]
    fn reads_what_it_wrote_in_parts() {
        let whole = report(127);
        let datagrams = whole.emit();
        assert!(datagrams.len() > 1 && datagrams.iter().all(|part| part.len() <= REPORT_LEN_MAX));
        let parts: Vec<Report> =
            datagrams.iter().map(|part| Report::parse(part).unwrap()).collect();
        let branches: Vec<Branch> = parts.iter().flat_map(|part| part.branches.clone()).collect();
        assert_eq!(branches, whole.branches);
        assert!(parts.iter().all(|part| (part.nonce, part.router.as_str()) == (42, "r3")));
    }

    #[test]
    fn refuses_what_is_cut_short_or_no_report() {
        let datagram = report(3).emit().remove(0);
        // Behind the name and behind each branch it could end.
        let ends = [24, 41, 67, 94];
        for length in (0..datagram.len()).filter(|length| !ends.contains(length)) {
            assert_eq!(Report::parse(&datagram[..length]), None, "cut to {length}");
        }
        assert_eq!(Report::parse(&request(1)), None);
        assert!(is_request(&request(1)) && !is_request(&datagram) && !is_request(b"XCTR"));
    }

    #[test]
    fn a_name_cannot_control_a_terminal() {
        let named = Report { router: "\x1b[2Jr3".to_owned(), ..report(0) };
        assert_eq!(Report::parse(&named.emit()[0]).unwrap().router, "[2Jr3");
    }
}
