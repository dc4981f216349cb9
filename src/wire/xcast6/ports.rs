//! The list of ports (RFC 5058 section 9.3.2.2, figure 7): an option of a Destination Options
//! header right behind the Xcast6 header.
//!
//! ```text
//! |  Next Header  |   HdrExtLen   | Opt Type=Ports| Opt Data Len  |
//! |  PORTS, N x 2 octets                                          |
//! |  PadN, up to a multiple of 8 octets                           |
//! ```

use super::Malformed;
use crate::wire::ipv6::{self, PAD_N};
#[cfg(test)]
use crate::wire::read_u16;

/// Length of a Destination Options header in front of its options, in octets.
const AREA_AT: usize = 2;
/// Length of an option's kind and length, in octets.
const OPTION_HEADER_LEN: usize = 2;

/// The longest header that lists ports and nothing else, in octets.
pub(crate) const PORTS_HEADER_LEN_MAX: usize = ports_option_len(super::DESTINATIONS_MAX);

/// Length in octets of a Destination Options header with the ports of `count` (<= 127)
/// destinations and nothing else.
pub(crate) const fn ports_option_len(count: usize) -> usize {
    (AREA_AT + OPTION_HEADER_LEN + 2 * count).next_multiple_of(8)
}

/// Writes a whole Destination Options header into the first [`ports_option_len`] octets of
/// `buffer`: the option `option` with at most 127 `ports`, and padding.
///
/// # Panics
/// If `buffer` is shorter, or there are more ports than 127.
pub(crate) fn emit_ports(next_header: u8, option: u8, ports: &[u16], buffer: &mut [u8]) {
    let data_len = u8::try_from(2 * ports.len()).expect("an option holds 127 ports");
    let header = &mut buffer[..ports_option_len(ports.len())];
    header.fill(0);
    header[0] = next_header;
    header[1] = (header.len() / 8 - 1) as u8;
    header[2] = option;
    header[3] = data_len;
    let (list, padding) = header[4..].split_at_mut(usize::from(data_len));
    for (octets, port) in list.chunks_exact_mut(2).zip(ports) {
        octets.copy_from_slice(&port.to_be_bytes());
    }
    // The list is even, so there is room for a PadN whenever there is room at all.
    if let [kind, length, zeros @ ..] = padding {
        (*kind, *length) = (PAD_N, zeros.len() as u8);
    }
}

/// Where a Destination Options header holds the list of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PortsAt {
    /// Offset of the option, its kind's octet, in the whole header.
    pub(crate) option_at: usize,
    /// The number of ports.
    pub(crate) count: usize,
    /// The header holds nothing else but padding.
    pub(crate) alone: bool,
    /// Where the option begins with the padding around it, and where both end, in the whole header.
    pub(crate) run: (usize, usize),
}

#[cfg(test)]
impl PortsAt {
    /// Port `index` (below the count) in the `header` that was searched.
    pub(crate) fn port(&self, header: &[u8], index: usize) -> u16 {
        read_u16(header, self.option_at + OPTION_HEADER_LEN + 2 * index)
    }
}

/// Looks for the list of ports, option `option`, in the Destination Options header that `header`
/// begins with. [`Malformed::Length`]: the header or an option of it is cut short, there are two
/// lists, or an odd number of octets. Whether there are as many ports as destinations is for the
/// caller to see.
pub(crate) fn find_ports(header: &[u8], option: u8) -> Result<Option<PortsAt>, Malformed> {
    let length = ipv6::extension_len(header).ok_or(Malformed::Length)?;
    let mut found: Option<PortsAt> = None;
    let mut others = false;
    // The end of the last option so far that is not padding.
    let mut end = AREA_AT;
    for each in ipv6::options(&header[AREA_AT..length]) {
        let (at, kind, data) = each.map_err(|ipv6::Malformed| Malformed::Length)?;
        let option_at = AREA_AT + at;
        if kind != option {
            others = true;
            // The first one behind the list ends the padding behind that.
            if let Some(ports) = found.as_mut().filter(|ports| ports.run.1 == length) {
                ports.run.1 = option_at;
            }
        } else if found.is_some() || !data.len().is_multiple_of(2) {
            return Err(Malformed::Length);
        } else {
            let run = (end, length);
            found = Some(PortsAt { option_at, count: data.len() / 2, alone: true, run });
        }
        end = option_at + OPTION_HEADER_LEN + data.len();
    }
    Ok(found.map(|ports| PortsAt { alone: !others, ..ports }))
}

/// Fills `padding`, shorter than 8 octets, with Pad1 or PadN.
pub(crate) fn fill_padding(padding: &mut [u8]) {
    padding.fill(0);
    if let [kind, length, zeros @ ..] = padding {
        (*kind, *length) = (PAD_N, zeros.len() as u8);
    }
}

#[cfg(test)]
mod tests;
