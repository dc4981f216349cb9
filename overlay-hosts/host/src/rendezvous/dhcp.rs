//! The octets of DHCPINFORM and its answer (RFC 2131, options by RFC 2132 and 3396), as far as it
//! takes to learn where overlay hosts find each other.
//!
//! The list is the value of a site-specific option (RFC 3942 sets 224 to 254 aside for that): an
//! IPv4 address of 4 octets and a UDP port of 2, in network order, as often as there are places.

use std::net::{Ipv4Addr, SocketAddr};

/// The port that clients are answered at.
pub const CLIENT_PORT: u16 = 68;
/// The port that servers are asked at.
pub const SERVER_PORT: u16 = 67;
/// Octets in front of the options: BOOTP's header (RFC 951), then the cookie.
pub const HEADER_LEN: usize = 240;
/// The most places of a list.
pub const PLACES_MAX: usize = 64;

const COOKIE: [u8; 4] = [99, 130, 83, 99];
const REQUEST: u8 = 1;
const REPLY: u8 = 2;
const ETHERNET: u8 = 1;
const HARDWARE_LEN: u8 = 6;
/// Octets of a message that every relay passes on (RFC 1542 section 2.1).
const MESSAGE_LEN_MIN: usize = 300;
const SNAME: std::ops::Range<usize> = 44..108;
const FILE: std::ops::Range<usize> = 108..236;

/// Codes of options.
mod option {
    pub(super) const PAD: u8 = 0;
    pub(super) const OVERLOAD: u8 = 52;
    pub(super) const MESSAGE_TYPE: u8 = 53;
    pub(super) const PARAMETERS: u8 = 55;
    pub(super) const LONGEST: u8 = 57;
    pub(super) const END: u8 = 255;
}

/// Kinds of messages.
mod kind {
    pub(super) const ACK: u8 = 5;
    pub(super) const INFORM: u8 = 8;
}

/// Who asks, and what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// Tells answers to this question from others.
    pub transaction: u32,
    /// The client's address, which it has from elsewhere.
    pub address: Ipv4Addr,
    /// Its link-layer address.
    pub hardware: [u8; 6],
    /// The option with the list.
    pub option: u8,
}

/// Why an answer is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAnswer {
    /// It is no message of DHCP, or ends in the middle of one.
    #[error("it is no whole DHCP message")]
    Malformed,
    /// It is another's, or answers something else.
    #[error("it is not for us")]
    NotOurs,
    /// It has no list.
    #[error("it has no option {0}")]
    NoList(u8),
    /// Its list is none: addresses of 4 octets with ports of 2, at least one, each of one host.
    #[error("its option {0} is no list of places, each an IPv4 address and a port")]
    BadList(u8),
}

/// The octets of the question.
pub fn emit(question: &Question) -> Vec<u8> {
    let mut octets = vec![0; HEADER_LEN];
    octets[0] = REQUEST;
    octets[1] = ETHERNET;
    octets[2] = HARDWARE_LEN;
    octets[4..8].copy_from_slice(&question.transaction.to_be_bytes());
    octets[12..16].copy_from_slice(&question.address.octets());
    octets[28..34].copy_from_slice(&question.hardware);
    octets[236..240].copy_from_slice(&COOKIE);
    octets.extend([option::MESSAGE_TYPE, 1, kind::INFORM]);
    octets.extend([option::LONGEST, 2]);
    octets.extend(1400u16.to_be_bytes());
    octets.extend([option::PARAMETERS, 1, question.option, option::END]);
    octets.resize(octets.len().max(MESSAGE_LEN_MIN), option::PAD);
    octets
}

/// The list in an answer.
///
/// # Errors
/// Why it has none for us.
pub fn parse(octets: &[u8], question: &Question) -> Result<Vec<SocketAddr>, BadAnswer> {
    let header = octets.first_chunk::<HEADER_LEN>().ok_or(BadAnswer::Malformed)?;
    if header[236..240] != COOKIE {
        return Err(BadAnswer::Malformed);
    }
    let is_ours = header[0] == REPLY
        && header[4..8] == question.transaction.to_be_bytes()
        && header[28..34] == question.hardware;
    if !is_ours {
        return Err(BadAnswer::NotOurs);
    }
    let options = &octets[HEADER_LEN..];
    let overload = match value_of(options, option::OVERLOAD)?.as_deref() {
        Some([how]) => *how,
        Some(_) => return Err(BadAnswer::Malformed),
        None => 0,
    };
    // In this order (RFC 3396 section 5).
    let mut fields = vec![options];
    fields.extend((overload & 1 != 0).then_some(&header[FILE]));
    fields.extend((overload & 2 != 0).then_some(&header[SNAME]));
    let value = |code| -> Result<Option<Vec<u8>>, BadAnswer> {
        let parts: Vec<_> =
            fields.iter().map(|field| value_of(field, code)).collect::<Result<_, _>>()?;
        let parts: Vec<Vec<u8>> = parts.into_iter().flatten().collect();
        Ok((!parts.is_empty()).then(|| parts.concat()))
    };
    if value(option::MESSAGE_TYPE)?.as_deref() != Some(&[kind::ACK]) {
        return Err(BadAnswer::NotOurs);
    }
    let list = value(question.option)?.ok_or(BadAnswer::NoList(question.option))?;
    places(&list).ok_or(BadAnswer::BadList(question.option))
}

/// The value of an option, all of its pieces together.
fn value_of(mut field: &[u8], code: u8) -> Result<Option<Vec<u8>>, BadAnswer> {
    let mut value: Option<Vec<u8>> = None;
    while let Some((found, rest)) = field.split_first() {
        field = rest;
        match *found {
            option::PAD => continue,
            option::END => break,
            _ => {}
        }
        let (length, rest) = field.split_first().ok_or(BadAnswer::Malformed)?;
        let piece = rest.get(..usize::from(*length)).ok_or(BadAnswer::Malformed)?;
        field = &rest[usize::from(*length)..];
        if *found == code {
            value.get_or_insert_default().extend(piece);
        }
    }
    Ok(value)
}

/// An option's value as a list; `None` if it is none. Places that are nobody's spoil it all: the
/// value may mean something else here.
fn places(value: &[u8]) -> Option<Vec<SocketAddr>> {
    let (places, rest) = value.as_chunks::<6>();
    if places.is_empty() || !rest.is_empty() || places.len() > PLACES_MAX {
        return None;
    }
    places
        .iter()
        .map(|[a, b, c, d, high, low]| {
            let address = Ipv4Addr::new(*a, *b, *c, *d);
            let port = u16::from_be_bytes([*high, *low]);
            let is_usable = port != 0
                && !address.is_unspecified()
                && !address.is_multicast()
                && !address.is_broadcast();
            is_usable.then(|| SocketAddr::new(address.into(), port))
        })
        .collect()
}

#[cfg(test)]
mod tests;
