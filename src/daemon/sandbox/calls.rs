//! Seccomp: which system calls a running router may make.
//!
//! Three filters, of which the strictest verdict counts:
//!
//! - a call of [`HOSTILE`] ends the process at once: no library tries it for a look, so whoever
//!   makes it has taken the router over. One of them, `bpf`, is needed to receive by AF_XDP: where
//!   a port asks for that, its commands in [`BPF_COMMANDS`] are permitted;
//! - `clone3` does not exist (`ENOSYS`): its flags lie in memory that a filter cannot read, and
//!   the C library falls back on `clone`;
//! - what is not on the lists of this file is not permitted (`EPERM`).
//!
//! The kernel remembers calls that pass whatever their arguments (since Linux 5.11): they cost
//! some 20 ns more, those with conditions some 300. So the packet path's have none.

use std::collections::BTreeMap;
use std::io;

use seccompiler::{
    BackendError, BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp,
    SeccompCondition, SeccompFilter, SeccompRule, TargetArch, apply_filter_all_threads,
};

use super::Strength;
use crate::io::tun::TUNSETCARRIER;

type Number = libc::c_long;
type Rules = BTreeMap<Number, Vec<SeccompRule>>;

/// Calls that pass whatever their arguments.
#[rustfmt::skip]
const PLAIN: &[Number] = &[
    // memory
    libc::SYS_brk, libc::SYS_munmap, libc::SYS_mremap, libc::SYS_madvise,
    // threads and signals
    libc::SYS_futex, libc::SYS_sched_yield, libc::SYS_sched_getaffinity, libc::SYS_getcpu,
    libc::SYS_set_robust_list, libc::SYS_rseq, libc::SYS_gettid, libc::SYS_exit,
    libc::SYS_exit_group, libc::SYS_sigaltstack, libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn, libc::SYS_restart_syscall,
    // time, where it is not read without a call
    libc::SYS_clock_gettime, libc::SYS_clock_getres, libc::SYS_gettimeofday,
    libc::SYS_clock_nanosleep, libc::SYS_nanosleep,
    // waiting
    libc::SYS_epoll_create1, libc::SYS_epoll_ctl, libc::SYS_epoll_pwait, libc::SYS_epoll_pwait2,
    libc::SYS_ppoll, libc::SYS_eventfd2, libc::SYS_pipe2,
    // files: landlock says which
    libc::SYS_openat, libc::SYS_read, libc::SYS_readv, libc::SYS_pread64, libc::SYS_write,
    libc::SYS_writev, libc::SYS_lseek, libc::SYS_close, libc::SYS_fcntl, libc::SYS_fstat,
    libc::SYS_newfstatat, libc::SYS_statx, libc::SYS_readlinkat, libc::SYS_unlinkat,
    libc::SYS_getcwd,
    // who serves the control socket makes sure of its folder, which is there
    libc::SYS_mkdirat,
    // sockets, once they are made
    libc::SYS_bind, libc::SYS_connect, libc::SYS_listen, libc::SYS_accept4, libc::SYS_shutdown,
    libc::SYS_getsockname, libc::SYS_getpeername, libc::SYS_getsockopt, libc::SYS_setsockopt,
    libc::SYS_sendto, libc::SYS_sendmsg, libc::SYS_sendmmsg, libc::SYS_recvfrom, libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    // about itself
    libc::SYS_getpid, libc::SYS_getuid, libc::SYS_geteuid, libc::SYS_getgid, libc::SYS_getegid,
    libc::SYS_uname, libc::SYS_getrandom,
];

/// Older forms of the same, which newer processors do not have.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const PLAIN_OLDER: &[Number] = &[
    libc::SYS_epoll_wait, libc::SYS_poll, libc::SYS_open, libc::SYS_stat, libc::SYS_lstat,
    libc::SYS_readlink, libc::SYS_unlink, libc::SYS_mkdir, libc::SYS_time,
];
#[cfg(not(target_arch = "x86_64"))]
const PLAIN_OLDER: &[Number] = &[];

/// Calls that end the process.
#[rustfmt::skip]
const HOSTILE: &[Number] = &[
    // other programs, and other processes' memory and descriptors
    libc::SYS_execve, libc::SYS_execveat, libc::SYS_ptrace, libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev, libc::SYS_pidfd_getfd,
    // the kernel itself
    libc::SYS_init_module, libc::SYS_finit_module, libc::SYS_delete_module, libc::SYS_kexec_load,
    libc::SYS_perf_event_open, libc::SYS_userfaultfd, libc::SYS_reboot,
    libc::SYS_swapon, libc::SYS_swapoff, libc::SYS_acct,
    // namespaces and mounts
    libc::SYS_setns, libc::SYS_unshare, libc::SYS_chroot, libc::SYS_pivot_root, libc::SYS_mount,
    libc::SYS_umount2, libc::SYS_move_mount, libc::SYS_open_tree, libc::SYS_fsopen,
    libc::SYS_fsconfig, libc::SYS_fsmount, libc::SYS_fspick, libc::SYS_mount_setattr,
    libc::SYS_open_by_handle_at,
    // keys
    libc::SYS_add_key, libc::SYS_request_key, libc::SYS_keyctl,
];

#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const HOSTILE_OLDER: &[Number] = &[
    libc::SYS_kexec_file_load, libc::SYS_iopl, libc::SYS_ioperm, libc::SYS_modify_ldt,
];
#[cfg(not(target_arch = "x86_64"))]
const HOSTILE_OLDER: &[Number] = &[];

/// What is asked of `bpf`: `BPF_MAP_CREATE`, `BPF_MAP_UPDATE_ELEM`, `BPF_PROG_LOAD` and
/// `BPF_LINK_CREATE`, as linux/bpf.h numbers them.
const BPF_COMMANDS: [u64; 4] = [0, 2, 5, 28];

/// The kinds of sockets that a router opens.
const FAMILIES: [libc::c_int; 6] =
    [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_PACKET, libc::AF_NETLINK, libc::AF_XDP];

/// The requests to devices and sockets: those of the standard library, and names and numbers of
/// interfaces; and what TUN devices take.
const REQUESTS: [libc::c_ulong; 11] = [
    libc::FIONBIO,
    libc::FIOCLEX,
    libc::TCGETS,
    libc::SIOCGIFNAME,
    libc::SIOCGIFINDEX,
    libc::TUNSETIFF,
    TUNSETCARRIER,
    libc::SIOCGIFFLAGS,
    libc::SIOCSIFFLAGS,
    libc::SIOCSIFMTU,
    libc::SIOCADDRT,
];

/// Every flag of `clone` that leaves a namespace.
const NAMESPACES: libc::c_int = libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWUTS;

/// The mode that the control socket is given.
const SOCKET_MODE: u64 = 0o660;

/// Holds all threads of this process, and those to come, to the lists above. With `bpf`, programs can
/// still be loaded into the kernel.
pub(super) fn confine(bpf: bool) -> Result<Strength, Error> {
    let Ok(arch) = TargetArch::try_from(std::env::consts::ARCH) else {
        return Ok(Strength::Absent);
    };
    for program in programs(arch, bpf)? {
        match apply_filter_all_threads(&program) {
            Err(Error::Seccomp(error)) if is_absence(&error) => return Ok(Strength::Absent),
            other => other?,
        }
    }
    Ok(Strength::Full)
}

/// A kernel without seccomp does not know the call, one without filters not this use of it.
fn is_absence(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL))
}

/// The filters in the order in which they can be applied: the last one forbids the next.
fn programs(arch: TargetArch, bpf: bool) -> Result<[BpfProgram; 3], BackendError> {
    use SeccompAction::{Allow, Errno, KillProcess};
    let whole = |numbers: [&[Number]; 2]| -> Rules {
        numbers.concat().into_iter().map(|number| (number, Vec::new())).collect()
    };
    let mut allowed = whole([PLAIN, PLAIN_OLDER]);
    allowed.extend(conditional()?);
    let mut hostile = whole([HOSTILE, HOSTILE_OLDER]);
    match bpf {
        true => allowed.insert(libc::SYS_bpf, any(0, &BPF_COMMANDS)?),
        false => hostile.insert(libc::SYS_bpf, Vec::new()),
    };
    let unknown = whole([&[libc::SYS_clone3], &[]]);
    let compile = |rules, otherwise, verdict| -> Result<BpfProgram, BackendError> {
        SeccompFilter::new(rules, otherwise, verdict, arch)?.try_into()
    };
    Ok([
        compile(hostile, Allow, KillProcess)?,
        compile(unknown, Allow, Errno(libc::ENOSYS as u32))?,
        compile(allowed, Errno(libc::EPERM as u32), Allow)?,
    ])
}

/// Calls that pass with some arguments alone.
fn conditional() -> Result<Rules, BackendError> {
    let no_code = || all(vec![masked(2, libc::PROT_EXEC as u64, 0)?]);
    let families = FAMILIES.map(|family| family as u64);
    let names = [libc::PR_SET_NAME, libc::PR_GET_NAME, libc::PR_SET_VMA].map(|name| name as u64);
    let own_process = u64::from(std::process::id());
    let thread = libc::CLONE_THREAD as u64;
    let mut rules = vec![
        // Threads, not processes, and not elsewhere.
        (libc::SYS_clone, vec![all(vec![masked(0, thread | NAMESPACES as u64, thread)?])?]),
        // Its flags are seen to by the filter that denies its existence.
        (libc::SYS_clone3, Vec::new()),
        // No memory that holds new code.
        (libc::SYS_mmap, vec![no_code()?]),
        (libc::SYS_mprotect, vec![no_code()?]),
        (libc::SYS_prctl, any(0, &names)?),
        // Workers are kept on cores, each by itself.
        (libc::SYS_sched_setaffinity, any(0, &[0])?),
        // As a panic that aborts does.
        (libc::SYS_tgkill, any(0, &[own_process])?),
        // Limits can be read.
        (libc::SYS_prlimit64, vec![all(vec![is_null(2)?])?]),
        (libc::SYS_ioctl, any(1, &REQUESTS)?),
        (libc::SYS_socket, any(0, &families)?),
        (libc::SYS_socketpair, any(0, &[libc::AF_UNIX as u64])?),
        (libc::SYS_fchmodat, any(2, &[SOCKET_MODE])?),
    ];
    #[cfg(target_arch = "x86_64")]
    rules.push((libc::SYS_chmod, any(1, &[SOCKET_MODE])?));
    Ok(rules.into_iter().collect())
}

/// One of the values in a 32-bit argument.
fn any(argument: u8, values: &[u64]) -> Result<Vec<SeccompRule>, BackendError> {
    let rule = |value: &u64| {
        let (length, equal) = (SeccompCmpArgLen::Dword, SeccompCmpOp::Eq);
        all(vec![SeccompCondition::new(argument, length, equal, *value)?])
    };
    values.iter().map(rule).collect()
}

fn all(conditions: Vec<SeccompCondition>) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(conditions)
}

/// The bits of `mask` in an argument are those of `value`.
fn masked(argument: u8, mask: u64, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(mask), value)
}

fn is_null(argument: u8) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0)
}

#[cfg(test)]
mod tests;
