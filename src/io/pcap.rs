//! A device made of capture files, in the classic pcap format: frames come out of one file and
//! go into another. For tests that want to be looked at with the usual tools.
//!
//! ```text
//! | magic | version | zone | accuracy | snap length | link type |      24 octets, then each:
//! | seconds | micro- or nanoseconds | captured length | length | frame ...
//! ```

use std::io::{self, Read, Write};

use super::memory::MemoryReceiver;
use super::{Pieces, Transmit};

const MAGIC_MICROS: u32 = 0xa1b2_c3d4;
const MAGIC_NANOS: u32 = 0xa1b2_3c4d;
const LINK_TYPE_ETHERNET: u32 = 1;
/// No frame of any network is longer; a longer record is a broken file.
const FRAME_LEN_MAX: usize = 1 << 18;

/// Reads all frames of an Ethernet capture into a receiver.
///
/// # Errors
/// `InvalidData` where the file is not such a capture, or ends inside a record.
pub fn read(mut file: impl Read, receiver: &mut MemoryReceiver) -> io::Result<usize> {
    let mut header = [0; 24];
    file.read_exact(&mut header)?;
    let little = u32::from_le_bytes(word(&header, 0));
    let read: fn([u8; 4]) -> u32 = match little {
        MAGIC_MICROS | MAGIC_NANOS => u32::from_le_bytes,
        _ => u32::from_be_bytes,
    };
    if !matches!(read(word(&header, 0)), MAGIC_MICROS | MAGIC_NANOS) {
        return Err(invalid("not a pcap file"));
    }
    if read(word(&header, 20)) & 0xffff != LINK_TYPE_ETHERNET {
        return Err(invalid("not a capture of Ethernet frames"));
    }
    let mut frames = 0;
    let mut record = [0; 16];
    while read_record(&mut file, &mut record)? {
        let length = read(word(&record, 8)) as usize;
        if length > FRAME_LEN_MAX {
            return Err(invalid("a frame is longer than any"));
        }
        let mut frame = vec![0; length];
        file.read_exact(&mut frame)?;
        receiver.push(frame);
        frames += 1;
    }
    Ok(frames)
}

/// Whether there is another record; an end between records is the end of the file.
fn read_record(file: &mut impl Read, record: &mut [u8; 16]) -> io::Result<bool> {
    match file.read(&mut record[..1])? {
        0 => Ok(false),
        _ => file.read_exact(&mut record[1..]).map(|()| true),
    }
}

fn word(bytes: &[u8], at: usize) -> [u8; 4] {
    [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Writes sent frames to a capture, numbered by microseconds in place of a clock.
pub struct PcapTransmitter<W: Write> {
    file: W,
    frames: u32,
}

impl<W: Write> PcapTransmitter<W> {
    /// Begins a capture of Ethernet frames.
    pub fn new(mut file: W) -> io::Result<PcapTransmitter<W>> {
        file.write_all(&MAGIC_MICROS.to_le_bytes())?;
        for field in [0x0004_0002, 0, 0, FRAME_LEN_MAX as u32, LINK_TYPE_ETHERNET] {
            file.write_all(&u32::to_le_bytes(field))?;
        }
        Ok(PcapTransmitter { file, frames: 0 })
    }

    /// Ends the capture.
    pub fn finish(mut self) -> io::Result<W> {
        self.file.flush()?;
        Ok(self.file)
    }

    fn write(&mut self, (head, tail): Pieces<'_>) -> io::Result<()> {
        let length = (head.len() + tail.len()) as u32;
        for field in [self.frames / 1_000_000, self.frames % 1_000_000, length, length] {
            self.file.write_all(&field.to_le_bytes())?;
        }
        self.file.write_all(head)?;
        self.file.write_all(tail)
    }
}

impl<W: Write> Transmit for PcapTransmitter<W> {
    fn transmit<'a>(
        &mut self,
        count: usize,
        pieces: impl Fn(usize) -> Pieces<'a>,
        mut done: impl FnMut(usize, bool),
    ) {
        for index in 0..count {
            let written = self.write(pieces(index)).is_ok();
            self.frames += u32::from(written);
            done(index, written);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Receive;
    use super::*;

    fn capture() -> Vec<u8> {
        let mut file = PcapTransmitter::new(Vec::new()).unwrap();
        let frames: [Pieces<'_>; 2] = [(b"head", b"tail"), (b"only", b"")];
        file.transmit(2, |index| frames[index], |_, sent| assert!(sent));
        file.finish().unwrap()
    }

    #[test]
    fn reads_what_it_wrote() {
        let mut receiver = MemoryReceiver::default();
        assert_eq!(read(&capture()[..], &mut receiver).unwrap(), 2);
        assert_eq!(receiver.take(10), 2);
        assert_eq!((receiver.bytes(0), receiver.bytes(1)), (&b"headtail"[..], &b"only"[..]));
    }

    #[test]
    fn refuses_every_broken_file() {
        let whole = capture();
        let ends = [24, 24 + 16 + 8];
        for length in (0..whole.len()).filter(|length| !ends.contains(length)) {
            let cut = read(&whole[..length], &mut MemoryReceiver::default());
            assert!(cut.is_err(), "cut to {length}");
        }
        for at in [0, 20, 24 + 11] {
            let mut wrong = whole.clone();
            wrong[at] = 0x99;
            assert!(read(&wrong[..], &mut MemoryReceiver::default()).is_err(), "octet {at}");
        }
    }
}
