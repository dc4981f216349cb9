//! `bpf(2)`: a map of sockets, a program, and its attachment to an interface. All of it is gone when
//! its descriptors are closed, however the process ends.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::super::system::check;
use super::program::Step;

// Commands and numbers of linux/bpf.h.
const MAP_CREATE: libc::c_long = 0;
const MAP_UPDATE: libc::c_long = 2;
const PROGRAM_LOAD: libc::c_long = 5;
const LINK_CREATE: libc::c_long = 28;
const MAP_OF_SOCKETS: u32 = 17;
const PROGRAM_XDP: u32 = 6;
const ATTACH_XDP: u32 = 37;

/// Attachment in the driver, or behind it, where frames are the stack's buffers already.
const NATIVE: u32 = 1 << 2;
const GENERIC: u32 = 1 << 1;

/// By queue: the socket that packets are redirected to.
pub(super) struct Map(OwnedFd);

impl Map {
    /// A map for so many queues.
    pub(super) fn new(queues: u32) -> io::Result<Map> {
        #[repr(C)]
        struct Request {
            kind: u32,
            key_len: u32,
            value_len: u32,
            entries: u32,
        }
        let request = Request { kind: MAP_OF_SOCKETS, key_len: 4, value_len: 4, entries: queues };
        open(MAP_CREATE, &request).map(Map)
    }

    /// Sets the socket of a queue, which must be bound to it.
    pub(super) fn set(&self, queue: u32, socket: RawFd) -> io::Result<()> {
        #[repr(C)]
        struct Request {
            map: u32,
            _padding: u32,
            key: *const u32,
            value: *const u32,
            flags: u64,
        }
        let socket = socket as u32;
        let map = self.descriptor() as u32;
        call(MAP_UPDATE, &Request { map, _padding: 0, key: &queue, value: &socket, flags: 0 })
            .map(|_| ())
    }

    pub(super) fn descriptor(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// A program that the kernel has accepted.
pub(super) struct Program(OwnedFd);

impl Program {
    /// Loads an XDP program.
    pub(super) fn load(steps: &[Step]) -> io::Result<Program> {
        const LICENSE: &CStr = c"MIT OR Apache-2.0";
        #[repr(C)]
        struct Request {
            kind: u32,
            count: u32,
            steps: *const Step,
            license: *const libc::c_char,
        }
        let request = Request {
            kind: PROGRAM_XDP,
            count: steps.len() as u32,
            steps: steps.as_ptr(),
            license: LICENSE.as_ptr(),
        };
        open(PROGRAM_LOAD, &request).map(Program)
    }

    /// Attaches it to an interface: in the driver if it can, else behind it. Attached, it lives as
    /// long as the link does.
    pub(super) fn attach(&self, interface: u32) -> io::Result<Link> {
        #[repr(C)]
        struct Request {
            program: u32,
            interface: u32,
            kind: u32,
            flags: u32,
        }
        let program = self.0.as_raw_fd() as u32;
        let request = |flags| Request { program, interface, kind: ATTACH_XDP, flags };
        let link = match open(LINK_CREATE, &request(NATIVE)) {
            Ok(link) => Ok(link),
            // One program is there already, and will be in the other place.
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => Err(error),
            Err(_) => open(LINK_CREATE, &request(GENERIC)),
        };
        link.map(Link)
    }
}

/// A program's attachment, which ends with this value.
pub(super) struct Link(#[expect(dead_code, reason = "held, not used")] OwnedFd);

/// A call that makes a descriptor.
fn open<T>(command: libc::c_long, request: &T) -> io::Result<OwnedFd> {
    let fd = call(command, request)?;
    // SAFETY: the descriptor is new and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn call<T>(command: libc::c_long, request: &T) -> io::Result<libc::c_int> {
    // SAFETY: `request` is a live `T` of the length passed with it, without padding, the beginning
    // of the kernel's own struct for this command; the pointers in it are live for the call, and the
    // kernel only reads what they point to.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(request), size_of::<T>())
    };
    check(result as libc::c_int)
}
