//! Netlink's framing, both ways: messages in a datagram, attributes in a message. Pure.
//!
//! All of it is in host byte order but the values that nftables declares otherwise.

use netlink_packet_core::{NLA_F_NESTED, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer};

/// The octets of `struct nlmsghdr`.
const HEADER: usize = 16;

/// A received message: its header's fields and what follows them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
    pub(super) body: &'a [u8],
}

impl Message<'_> {
    /// The `errno` of an error or end-of-dump message, 0 for an acknowledgment or a good end;
    /// `None` for messages that carry data.
    pub(super) fn verdict(&self) -> Option<i32> {
        match self.kind {
            // The kernel may end a dump without a code (an empty NLMSG_DONE).
            NLMSG_ERROR | NLMSG_DONE => {
                let code = self.body.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
                Some(code.saturating_neg())
            }
            _ => None,
        }
    }
}

/// The messages of one datagram. A malformed rest, which the kernel never sends, ends it.
pub(super) fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let buffer = NetlinkBuffer::new_checked(datagram).ok()?;
        let length = buffer.length() as usize;
        let message = Message {
            kind: buffer.message_type(),
            flags: buffer.flags(),
            sequence: buffer.sequence_number(),
            body: &datagram[HEADER..length],
        };
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// Writes messages, one behind the other.
#[derive(Debug, Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    /// The octets written so far.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Appends a message whose body `write` writes.
    pub(super) fn message(
        &mut self,
        kind: u16,
        flags: u16,
        sequence: u32,
        write: impl FnOnce(&mut Writer),
    ) {
        let start = self.0.len();
        self.0.extend_from_slice(&[0; 4]);
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(&flags.to_ne_bytes());
        self.0.extend_from_slice(&sequence.to_ne_bytes());
        self.0.extend_from_slice(&[0; 4]);
        write(self);
        let length = (self.0.len() - start) as u32;
        self.0[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    }

    /// Appends octets as they are: a family's own header.
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Appends an attribute.
    pub(super) fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.sized(kind, |writer| writer.raw(value));
    }

    /// Appends an attribute that holds a text with its final zero.
    pub(super) fn text(&mut self, kind: u16, value: &str) {
        self.sized(kind, |writer| {
            writer.raw(value.as_bytes());
            writer.raw(&[0]);
        });
    }

    /// Appends an attribute that holds the attributes that `write` writes.
    pub(super) fn nested(&mut self, kind: u16, write: impl FnOnce(&mut Writer)) {
        self.sized(kind | NLA_F_NESTED, write);
    }

    fn sized(&mut self, kind: u16, write: impl FnOnce(&mut Writer)) {
        let start = self.0.len();
        self.0.extend_from_slice(&[0; 2]);
        self.0.extend_from_slice(&kind.to_ne_bytes());
        write(self);
        // The length is the value's own, without the padding.
        let length = (self.0.len() - start) as u16;
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let mut writer = Writer::default();
        writer.message(24, 5, 7, |body| {
            body.raw(&[1, 2, 3, 4]);
            body.text(3, "ab");
        });
        writer.message(NLMSG_ERROR, 0, 8, |body| body.raw(&(-libc::EPERM).to_ne_bytes()));
        let bytes = writer.into_bytes();
        let read: Vec<Message<'_>> = messages(&bytes).collect();
        assert_eq!(read.len(), 2);
        assert_eq!((read[0].kind, read[0].flags, read[0].sequence), (24, 5, 7));
        assert_eq!(read[0].body[..4], [1, 2, 3, 4]);
        assert_eq!(
            read[0].body[4..],
            [[7u16, 3].map(u16::to_ne_bytes).concat(), b"ab\0\0".to_vec()].concat()
        );
        assert_eq!(read[0].verdict(), None);
        assert_eq!(read[1].verdict(), Some(libc::EPERM));
    }

    #[test]
    fn a_malformed_rest_ends_the_datagram() {
        let mut writer = Writer::default();
        writer.message(16, 0, 1, |_| {});
        let mut bytes = writer.into_bytes();
        bytes.extend_from_slice(&[200, 0, 0, 0, 16, 0]);
        assert_eq!(messages(&bytes).count(), 1);
        for short in 0..HEADER {
            assert_eq!(messages(&bytes[..short]).count(), 0);
        }
    }
}
