//! Packet sockets of one interface that share its frames (`PACKET_FANOUT`), one for each worker.
//!
//! A program in the kernel says which socket has a frame, by a hash of the packet's source and
//! channel, so that all packets of a (source, channel) come to the same socket, in order. What
//! it cannot read comes to the first one.

use std::io;
use std::os::fd::RawFd;

use super::filter::{
    ADD, ETHER_TYPE, Instruction, JUMP_EQUAL, LOAD_BYTE, LOAD_HALF, LOAD_WORD, SHIFT_LEFT, TO_X,
    instruction,
};
use super::system::{option, set_option};
use crate::wire::{ethernet, ipv6};

/// Loads the word at X + k.
pub(super) const LOAD_WORD_INDIRECT: u16 = 0x40;
pub(super) const LOAD_VALUE: u16 = 0x00;
/// Loads one of the program's own 16 words; to X; and the ways back.
pub(super) const RECALL: u16 = 0x60;
pub(super) const RECALL_X: u16 = 0x61;
pub(super) const STORE: u16 = 0x02;
pub(super) const STORE_X: u16 = 0x03;
/// Loads the length of the IPv4 header at k to X.
pub(super) const IPV4_LENGTH_TO_X: u16 = 0xb1;
pub(super) const ADD_X: u16 = 0x0c;
pub(super) const XOR_X: u16 = 0xac;
pub(super) const MULTIPLY: u16 = 0x24;
pub(super) const SHIFT_RIGHT: u16 = 0x74;
pub(super) const RETURN_IT: u16 = 0x16;

/// Where the Xcast headers have the channel, and how many words it takes.
const CHANNEL_V4: (u32, u32) = (4, 1);
const CHANNEL_V6: (u32, u32) = (8, 4);
/// The program's own words: the hash so far, and where the Xcast header is.
const HASH: u32 = 0;
const PLACE: u32 = 1;
/// An odd number without pattern (2^32 over the golden ratio).
const FACTOR: u32 = 0x9e37_79b1;

/// Makes a group of its own of sockets that are bound to the same interface. The first of them has
/// what the program cannot read; in the order given, they have the remainders of the hash by their
/// number.
///
/// # Errors
/// What the kernel says. Before Linux 6.13, sockets of an interface that is down cannot join.
pub(super) fn join(sockets: impl IntoIterator<Item = RawFd>) -> io::Result<()> {
    const FLAGS: libc::c_uint =
        libc::PACKET_FANOUT_CBPF | libc::PACKET_FANOUT_FLAG_UNIQUEID | IGNORE_OUTGOING;
    const IGNORE_OUTGOING: libc::c_uint = 0x4000;
    let mut group = None;
    for socket in sockets {
        // The first asks for a number that no group of the network namespace has.
        let wanted = group.unwrap_or(FLAGS << 16);
        set_option(socket, libc::SOL_PACKET, libc::PACKET_FANOUT, &wanted)?;
        if group.is_none() {
            let mut steps = program();
            let program = libc::sock_fprog { len: steps.len() as u16, filter: steps.as_mut_ptr() };
            set_option(socket, libc::SOL_PACKET, libc::PACKET_FANOUT_DATA, &program)?;
            group = Some(option(socket, libc::SOL_PACKET, libc::PACKET_FANOUT, 0)?);
        }
    }
    Ok(())
}

/// Returns a hash of source and channel, or 0 where a load is behind the packet's end. It sees
/// packets from their IP headers on.
pub(super) fn program() -> Vec<Instruction> {
    let of_ipv4 = [
        vec![instruction(IPV4_LENGTH_TO_X, 0, 0, 0), instruction(STORE_X, 0, 0, PLACE)],
        fold(&[instruction(LOAD_WORD, 0, 0, 12)]),
        fold_header(CHANNEL_V4),
        result(),
    ]
    .concat();
    let hop_by_hop = [
        // Hop-by-Hop's length in 8-octet units, not counting the first.
        instruction(LOAD_BYTE, 0, 0, ipv6::HEADER_LEN as u32 + 1),
        instruction(ADD, 0, 0, 1),
        instruction(SHIFT_LEFT, 0, 0, 3),
        instruction(ADD, 0, 0, ipv6::HEADER_LEN as u32),
        instruction(STORE, 0, 0, PLACE),
    ];
    let over = hop_by_hop.len() as u8;
    let of_ipv6 = [
        vec![
            instruction(LOAD_VALUE, 0, 0, ipv6::HEADER_LEN as u32),
            instruction(STORE, 0, 0, PLACE),
            instruction(LOAD_BYTE, 0, 0, 6),
            instruction(JUMP_EQUAL, 0, over, ipv6::next_header::HOP_BY_HOP.into()),
        ],
        hop_by_hop.to_vec(),
        (0..4).flat_map(|at| fold(&[instruction(LOAD_WORD, 0, 0, 8 + 4 * at)])).collect(),
        fold_header(CHANNEL_V6),
        result(),
    ]
    .concat();
    let over = of_ipv4.len() as u8;
    [
        vec![
            instruction(LOAD_VALUE, 0, 0, 0),
            instruction(STORE, 0, 0, HASH),
            instruction(LOAD_HALF, 0, 0, ETHER_TYPE),
            instruction(JUMP_EQUAL, 0, over, ethernet::TYPE_IPV4.into()),
        ],
        of_ipv4,
        of_ipv6,
    ]
    .concat()
}

/// Takes so many words of the Xcast header into the hash, from octet `at` on.
fn fold_header((at, words): (u32, u32)) -> Vec<Instruction> {
    let word = |index| {
        let load = instruction(LOAD_WORD_INDIRECT, 0, 0, at + 4 * index);
        fold(&[instruction(RECALL_X, 0, 0, PLACE), load])
    };
    (0..words).flat_map(word).collect()
}

/// Takes what is loaded into the hash: every bit of it decides about every bit of the result.
fn fold(load: &[Instruction]) -> Vec<Instruction> {
    let add = [instruction(RECALL_X, 0, 0, HASH), instruction(ADD_X, 0, 0, 0)];
    let end = [instruction(MULTIPLY, 0, 0, FACTOR), instruction(STORE, 0, 0, HASH)];
    [load, &add, &MIX, &end].concat()
}

/// Brings high bits down: a product's low bits know nothing of them.
const MIX: [Instruction; 3] =
    [instruction(TO_X, 0, 0, 0), instruction(SHIFT_RIGHT, 0, 0, 15), instruction(XOR_X, 0, 0, 0)];

fn result() -> Vec<Instruction> {
    let again = [
        instruction(RECALL, 0, 0, HASH),
        MIX[0],
        MIX[1],
        MIX[2],
        instruction(MULTIPLY, 0, 0, FACTOR),
        instruction(SHIFT_RIGHT, 0, 0, 16),
        instruction(RETURN_IT, 0, 0, 0),
    ];
    again.to_vec()
}

#[cfg(test)]
mod tests;
