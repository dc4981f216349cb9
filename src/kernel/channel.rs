//! A netlink socket that asks: one request at a time, answered before the next.

use std::io;
use std::time::Duration;

use netlink_packet_core::NLM_F_DUMP_INTR;
use netlink_sys::{Socket, SocketAddr};
use socket2::SockRef;

use super::KernelError;
use super::framing::{Message, messages};

/// The kernel fills at most 32 KiB of a dump per read; single notifications are far smaller.
pub(super) const DATAGRAM: usize = 64 * 1024;

/// How long an answer may take. The kernel answers at once unless its configuration lock is held.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A socket for requests, which never receives notifications.
#[derive(Debug)]
pub(super) struct Channel {
    socket: Socket,
    protocol: isize,
    buffer: Vec<u8>,
    sequence: u32,
}

/// How a dump ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dump {
    /// Everything was read.
    Whole,
    /// The kernel's state changed meanwhile in a way that may have hidden parts of it.
    Interrupted,
}

impl Channel {
    /// Opens a socket of a netlink protocol (`NETLINK_ROUTE`, `NETLINK_NETFILTER`).
    pub(super) fn open(protocol: isize) -> Result<Channel, KernelError> {
        let socket = open_socket(protocol)
            .map_err(|error| KernelError::refused("open a netlink socket", error))?;
        Ok(Channel { socket, protocol, buffer: Vec::with_capacity(DATAGRAM), sequence: 0 })
    }

    /// Starts afresh after a failure, so that no late answer is taken for another's.
    pub(super) fn reopen(&mut self) -> Result<(), KernelError> {
        *self = Channel { sequence: self.sequence, ..Channel::open(self.protocol)? };
        Ok(())
    }

    /// A number for the next message; answers repeat it.
    pub(super) fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    /// The numbers up to `sequence` were used.
    pub(super) fn advance_to(&mut self, sequence: u32) {
        self.sequence = sequence;
    }

    /// Sends a datagram.
    pub(super) fn send(&mut self, bytes: &[u8], action: &str) -> Result<(), KernelError> {
        loop {
            match self.socket.send(bytes, 0) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(KernelError::refused(action, error)),
            }
        }
    }

    /// Waits for a datagram and returns its messages.
    pub(super) fn receive(
        &mut self,
        action: &str,
    ) -> Result<impl Iterator<Item = Message<'_>>, KernelError> {
        self.read(0, action)?;
        Ok(messages(&self.buffer))
    }

    /// The messages that are there already; none if nothing is.
    pub(super) fn receive_waiting(
        &mut self,
        action: &str,
    ) -> Result<impl Iterator<Item = Message<'_>>, KernelError> {
        match self.read(libc::MSG_DONTWAIT, action) {
            Ok(()) => {}
            Err(KernelError::Timeout { .. }) => self.buffer.clear(),
            Err(error) => return Err(error),
        }
        Ok(messages(&self.buffer))
    }

    fn read(&mut self, flags: libc::c_int, action: &str) -> Result<(), KernelError> {
        loop {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer, flags | libc::MSG_TRUNC) {
                Ok(length) if length > self.buffer.len() => {
                    let error = io::Error::other(format!("an answer of {length} octets"));
                    return Err(KernelError::refused(action, error));
                }
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(KernelError::Timeout {
                        action: action.to_owned(),
                        seconds: TIMEOUT.as_secs(),
                    });
                }
                Err(error) => return Err(KernelError::refused(action, error)),
            }
        }
    }

    /// Sends a dump request and hands every message of the answer to `each`.
    pub(super) fn dump(
        &mut self,
        action: &str,
        request: impl FnOnce(u32) -> Vec<u8>,
        mut each: impl FnMut(&Message<'_>),
    ) -> Result<Dump, KernelError> {
        let sequence = self.next_sequence();
        self.send(&request(sequence), action)?;
        let mut outcome = Dump::Whole;
        loop {
            for message in self.receive(action)? {
                if message.sequence != sequence {
                    continue;
                }
                if message.flags & NLM_F_DUMP_INTR != 0 {
                    outcome = Dump::Interrupted;
                }
                match message.verdict() {
                    None => each(&message),
                    Some(0) => return Ok(outcome),
                    Some(code) => {
                        let error = io::Error::from_raw_os_error(code);
                        return Err(KernelError::refused(action, error));
                    }
                }
            }
        }
    }
}

fn open_socket(protocol: isize) -> io::Result<Socket> {
    let mut socket = Socket::new(protocol)?;
    socket.bind_auto()?;
    // From here on nobody but the kernel can send us anything.
    socket.connect(&SocketAddr::new(0, 0))?;
    // Errors need not repeat the request. Kernels that cannot leave it out do no harm.
    let _ = socket.set_cap_ack(true);
    // Dumps without cached routes; kernels before 4.20 send them and decoding skips them.
    let _ = socket.set_netlink_get_strict_chk(true);
    SockRef::from(&socket).set_read_timeout(Some(TIMEOUT))?;
    Ok(socket)
}
