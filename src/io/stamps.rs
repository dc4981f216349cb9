//! When packets cross an interface, as the kernel notes it.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use super::packet::{attach_filter, bind, socket};
use super::system::set_option;

/// Octets of a frame that are of interest: all up to the number.
const FRAME_LEN_MAX: usize = 2048;

/// Which frames are looked at: those of an exact length, one of every `1 << skip` numbers.
#[derive(Clone, Copy, Debug)]
pub struct Sampled {
    /// Octets of the frame.
    pub frame_len: u32,
    /// Octet of the frame at which its number stands, four octets in network order.
    pub number_at: u32,
    /// How many low bits of a number must be zero.
    pub skip: u32,
}

impl Sampled {
    /// The socket filter (classic BPF) that lets only them through.
    fn filter(&self) -> [libc::sock_filter; 7] {
        let code = |code: u32, k, jt, jf| libc::sock_filter { code: code as u16, jt, jf, k };
        let equals = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
        let load = libc::BPF_LD | libc::BPF_W;
        [
            code(load | libc::BPF_LEN, 0, 0, 0),
            code(equals, self.frame_len, 0, 4),
            code(load | libc::BPF_ABS, self.number_at, 0, 0),
            code(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, (1 << self.skip) - 1, 0, 0),
            code(equals, 0, 0, 1),
            code(libc::BPF_RET | libc::BPF_K, FRAME_LEN_MAX as u32, 0, 0),
            code(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
        ]
    }
}

/// A crossing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The frame's number.
    pub number: u32,
    /// The kernel's time of day, in nanoseconds.
    pub time: i128,
}

/// Notes when numbered frames cross an interface, in either direction.
pub struct Tap {
    socket: OwnedFd,
    number_at: usize,
}

impl Tap {
    /// Listens at an interface, by its index.
    ///
    /// # Errors
    /// What the kernel says; without `CAP_NET_RAW` it is `PermissionDenied`.
    pub fn open(interface: u32, sampled: Sampled) -> io::Result<Tap> {
        let socket = socket(libc::SOCK_RAW)?;
        let fd = socket.as_raw_fd();
        attach_filter(fd, &mut sampled.filter())?;
        set_option(fd, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &1)?;
        // As much as there may be without privileges will do.
        let _smaller = set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, &(8 << 20));
        bind(fd, interface, libc::ETH_P_ALL as u16)?;
        Ok(Tap { socket, number_at: sampled.number_at as usize })
    }

    /// The next crossing, if there was one; does not wait.
    pub fn next(&self) -> Option<Stamp> {
        let mut frame = [0u8; FRAME_LEN_MAX];
        // Of words, so that it is aligned as the kernel's headers are.
        let mut control = [0u64; 16];
        let mut part = libc::iovec { iov_base: frame.as_mut_ptr().cast(), iov_len: frame.len() };
        // SAFETY: a message header of null pointers and zeros is valid: it has no parts.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = size_of_val(&control) as _;
        let fd = self.socket.as_raw_fd();
        // SAFETY: `header` points to `part`, that to `frame`, and to `control`, all of which live
        // and are as long as it says.
        let length = unsafe { libc::recvmsg(fd, &raw mut header, libc::MSG_DONTWAIT) };
        let length = usize::try_from(length).ok()?;
        let number = frame[..length.min(frame.len())].get(self.number_at..self.number_at + 4)?;
        let number = u32::from_be_bytes(number.try_into().ok()?);
        Some(Stamp { number, time: time(&header)? })
    }
}

/// The kernel's note that came with a message.
fn time(header: &libc::msghdr) -> Option<i128> {
    // SAFETY: `header` is as the kernel left it, with its control part live and aligned.
    let first = unsafe { libc::CMSG_FIRSTHDR(header).as_ref() }?;
    if (first.cmsg_level, first.cmsg_type) != (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) {
        return None;
    }
    // SAFETY: a note of this kind is followed by a time, wherever it may be aligned.
    let time = unsafe { libc::CMSG_DATA(first).cast::<libc::timespec>().read_unaligned() };
    Some(i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_jumps_within_itself() {
        let filter = Sampled { frame_len: 106, number_at: 42, skip: 4 }.filter();
        for (index, step) in filter.iter().enumerate() {
            assert!(index + 1 + usize::from(step.jt.max(step.jf)) <= filter.len());
        }
        assert_eq!((filter[1].k, filter[2].k, filter[3].k), (106, 42, 15));
    }
}
