//! On which core a thread runs: of several workers; how urgently, and for how long: for
//! measurements.
//!
//! A thread is named by its ID, 0 being the calling one.

use std::io;

use super::system::check;

/// Lets a thread run on one core only.
///
/// # Errors
/// What the kernel says: there is no such thread or core, or the thread is somebody else's.
pub fn pin(thread: i32, core: usize) -> io::Result<()> {
    let mut cores = no_cores();
    if core >= libc::CPU_SETSIZE as usize {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: `core` is a bit of the set, as checked above.
    unsafe { libc::CPU_SET(core, &mut cores) };
    // SAFETY: `cores` is a live set of the length passed with it; the kernel only reads it.
    check(unsafe { libc::sched_setaffinity(thread, size_of_val(&cores), &raw const cores) })
        .map(|_| ())
}

/// The cores that the calling thread may run on, in ascending order.
///
/// # Errors
/// What the kernel says: it has more cores than a set holds.
pub fn cores() -> io::Result<Vec<usize>> {
    let mut cores = no_cores();
    // SAFETY: `cores` is a live set of the length passed with it, which the kernel fills in.
    check(unsafe { libc::sched_getaffinity(0, size_of_val(&cores), &raw mut cores) })?;
    // SAFETY: every index asked for is a bit of the set.
    let has = |&core: &usize| unsafe { libc::CPU_ISSET(core, &cores) };
    Ok((0..libc::CPU_SETSIZE as usize).filter(has).collect())
}

/// Runs a thread before all ordinary ones, first come, first served (`SCHED_FIFO`), at a priority
/// from 1 to 99. What it starts is ordinary again, unless `inherited`.
///
/// # Errors
/// What the kernel says; without `CAP_SYS_NICE` or an `RLIMIT_RTPRIO` it is `PermissionDenied`.
pub fn run_first(thread: i32, priority: i32, inherited: bool) -> io::Result<()> {
    let reset = if inherited { 0 } else { libc::SCHED_RESET_ON_FORK };
    let parameters = libc::sched_param { sched_priority: priority };
    let policy = libc::SCHED_FIFO | reset;
    // SAFETY: `parameters` is a live struct that the kernel only reads.
    check(unsafe { libc::sched_setscheduler(thread, policy, &raw const parameters) }).map(|_| ())
}

/// Has the kernel kill this process when the thread that started it ends; a program that it turns
/// into keeps that.
///
/// # Errors
/// What the kernel says; it has no reason to refuse.
pub fn die_with_parent() -> io::Result<()> {
    const SIGNAL: libc::c_ulong = libc::SIGKILL as libc::c_ulong;
    // SAFETY: no pointers.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, SIGNAL) }).map(|_| ())
}

fn no_cores() -> libc::cpu_set_t {
    // SAFETY: a set of cores is an array of integers; zeros are the empty set.
    unsafe { std::mem::zeroed() }
}
