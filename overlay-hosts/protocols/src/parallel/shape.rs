//! How long a packet is, from a few numbers, and where a message must be cut.

use alloc::vec::Vec;
use core::net::SocketAddr;

use super::{Config, Left};
use crate::contact::Endpoint;
use crate::envelope::{OVERHEAD, PART_HEADER_LEN, PARTS_LEN};
use crate::machine::Send;
use crate::node::DATAGRAM_LEN_MAX;

const IPV4_LEN: usize = 20;
const IPV6_LEN: usize = 40;
const UDP_LEN: usize = 8;
/// What an Xcast6 header can list.
const LIST_LEN_MAX: usize = 125;

/// What the length of a packet depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// Whether its receivers are reached over IPv6.
    pub(super) is_v6: bool,
    /// How many receivers it has.
    pub(super) count: usize,
    /// What all messages begin with, octets.
    pub(super) shared: usize,
    /// Octets of all messages, each counted whole.
    pub(super) total: usize,
    /// The port of all receivers; without, each port is listed.
    pub(super) port: Option<u16>,
    /// Whether all receivers are known by identity.
    pub(super) is_named: bool,
}

impl Shape {
    /// Of a message to one.
    pub(super) fn of_one(to: &Endpoint, len: usize) -> Shape {
        Shape {
            is_v6: to.address.is_ipv6(),
            count: 1,
            shared: len,
            total: len,
            port: Some(to.address.port()),
            is_named: to.id.is_some(),
        }
    }

    /// Of the two as one, of which all messages begin with `shared` octets.
    pub(super) fn union(&self, other: &Shape, shared: usize) -> Shape {
        Shape {
            is_v6: self.is_v6,
            count: self.count + other.count,
            shared,
            total: self.total + other.total,
            port: self.port.filter(|port| other.port == Some(*port)),
            is_named: self.is_named && other.is_named,
        }
    }

    /// Whether all receivers get the same.
    pub(super) fn is_whole(&self) -> bool {
        self.total == self.count * self.shared
    }

    /// Octets of the datagram, as [`crate::envelope::datagram_len`] counts them.
    pub(super) fn datagram_len(&self) -> usize {
        let list = match self.is_whole() {
            true => 0,
            false => PARTS_LEN + self.count * PART_HEADER_LEN,
        };
        OVERHEAD + self.shared + (self.total - self.count * self.shared) + list
    }

    /// Octets of the IP packet as it leaves: plain to one receiver, else with the list of all (RFC
    /// 5058 sections 9.2 and 9.3; ports are listed if they differ).
    pub(super) fn packet_len(&self) -> usize {
        let list = match (self.count, self.is_v6) {
            (..=1, _) => 0,
            (n, false) => {
                let ports = if self.port.is_some() { 0 } else { n.div_ceil(2) * 4 };
                12 + n.div_ceil(32) * 4 + n * 4 + ports
            }
            (n, true) => {
                let ports = if self.port.is_some() { 0 } else { (4 + n * 2).next_multiple_of(8) };
                24 + n.div_ceil(64) * 8 + n * 16 + ports
            }
        };
        self.headers() + list + self.datagram_len()
    }

    /// Octets of all copies as they arrive, each by unicast with everybody's part in it.
    pub(super) fn arriving(&self) -> usize {
        self.count * (self.headers() + self.datagram_len())
    }

    /// Octets of all messages if each receiver gets its own by unicast.
    pub(super) fn separate(&self) -> usize {
        self.count * (self.headers() + OVERHEAD) + self.total
    }

    fn headers(&self) -> usize {
        UDP_LEN + if self.is_v6 { IPV6_LEN } else { IPV4_LEN }
    }

    /// Which limit it breaks. A packet to one receiver cannot be cut, so it breaks none.
    pub(super) fn breaks(&self, config: &Config) -> Option<Left> {
        let datagram_len_max = config.datagram_len_max.min(DATAGRAM_LEN_MAX);
        match self.count {
            ..=1 => None,
            n if n > config.destinations_max.min(LIST_LEN_MAX) => Some(Left::Destinations),
            _ if self.datagram_len() > datagram_len_max => Some(Left::Payload),
            _ if self.packet_len() > config.mtu => Some(Left::Payload),
            _ => None,
        }
    }

    /// Which limit allows no further receiver, not even of what all get.
    pub(super) fn is_full(&self, config: &Config) -> Option<Left> {
        let one = Shape { count: 1, shared: self.shared, total: self.shared, ..*self };
        self.union(&one, self.shared).breaks(config)
    }
}

/// Cuts a message so that each piece can be one packet; the order stays.
pub(super) fn cut(send: Send, config: &Config) -> Vec<(Send, Shape)> {
    if let ([to], [_, ..], []) = (&send.to[..], &send.shared[..], &send.parts[..]) {
        let shape = Shape::of_one(to, send.shared.len());
        return alloc::vec![(send, shape)];
    }
    let mut pieces: Vec<(Vec<usize>, Shape)> = Vec::new();
    // The piece of each IP version that is not full yet, and who is in it.
    let mut open: [Option<(usize, Members)>; 2] = [None, None];
    for (index, to) in send.to.iter().enumerate() {
        let len = send.shared.len() + send.part(index).len();
        if len == 0 {
            continue;
        }
        let one = Shape::of_one(to, len);
        let place = &mut open[usize::from(one.is_v6)];
        if let Some((piece, members)) = place {
            let (indices, shape) = &mut pieces[*piece];
            let shared = send.shared.len().min(shape.shared);
            let union = shape.union(&one, shared);
            let can_be_told_apart = union.is_named || union.is_whole();
            let fits = shared > 0 && can_be_told_apart && union.breaks(config).is_none();
            if fits && members.insert(to) {
                indices.push(index);
                *shape = union;
                continue;
            }
        }
        let mut members = Members::default();
        members.insert(to);
        *place = Some((pieces.len(), members));
        pieces.push((alloc::vec![index], one));
    }
    if let [(indices, shape)] = pieces.as_slice()
        && indices.len() == send.to.len()
        && indices.len() > 1
    {
        let parts = if shape.is_whole() { Vec::new() } else { send.parts };
        return alloc::vec![(Send { parts, ..send }, *shape)];
    }
    pieces.into_iter().map(|(indices, shape)| (piece(&send, &indices, &shape), shape)).collect()
}

fn piece(send: &Send, indices: &[usize], shape: &Shape) -> Send {
    let to = indices.iter().map(|index| send.to[*index]).collect();
    let (shared, parts) = match indices {
        [only] => (send.message_for(*only), Vec::new()),
        _ if shape.is_whole() => (send.shared.clone(), Vec::new()),
        _ => (send.shared.clone(), indices.iter().map(|i| send.part(*i).to_vec()).collect()),
    };
    Send { to, protocol: send.protocol, shared, parts, class: send.class }
}

/// Who is in a packet: no address and no tag twice.
#[derive(Clone, Debug, Default)]
pub(super) struct Members {
    /// Ascending, as the tags.
    addresses: Vec<SocketAddr>,
    tags: Vec<u32>,
}

impl Members {
    /// Whether one may be in it too.
    pub(super) fn has_room_for(&self, to: &Endpoint) -> bool {
        self.addresses.binary_search(&to.address).is_err()
            && to.id.is_none_or(|id| self.tags.binary_search(&id.tag()).is_err())
    }

    /// Whether it was not in it already and is now.
    pub(super) fn insert(&mut self, to: &Endpoint) -> bool {
        let has_room = self.has_room_for(to);
        if has_room {
            insert(&mut self.addresses, to.address);
            to.id.into_iter().for_each(|id| insert(&mut self.tags, id.tag()));
        }
        has_room
    }
}

fn insert<T: Ord>(ascending: &mut Vec<T>, one: T) {
    let place = ascending.partition_point(|other| *other < one);
    ascending.insert(place, one);
}
