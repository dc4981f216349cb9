//! The filters' verdicts, found by running their programs as the kernel does.

use super::*;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const KILL: u32 = libc::SECCOMP_RET_KILL_PROCESS;
const NOT_PERMITTED: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
const UNKNOWN: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

/// What one filter says of a call, given as the words of `struct seccomp_data`.
fn run(program: &BpfProgram, data: &[u32; 16]) -> u32 {
    let (mut accumulator, mut at) = (0, 0);
    loop {
        let step = &program[at];
        at += 1;
        let jump = |holds: bool| usize::from(if holds { step.jt } else { step.jf });
        match step.code {
            0x20 => accumulator = data[step.k as usize / 4], // load a word
            0x54 => accumulator &= step.k,
            0x05 => at += step.k as usize,
            0x15 => at += jump(accumulator == step.k),
            0x25 => at += jump(accumulator > step.k),
            0x35 => at += jump(accumulator >= step.k),
            0x06 => return step.k,
            code => panic!("no such instruction: {code:#x}"),
        }
    }
}

/// What the kernel does about a call: the strictest verdict counts, and among equals the latest.
fn verdict(number: Number, arguments: [u64; 6]) -> u32 {
    verdict_with(false, number, arguments)
}

/// The same; with `bpf`, where programs may be loaded.
fn verdict_with(bpf: bool, number: Number, arguments: [u64; 6]) -> u32 {
    const THIS: u32 = if cfg!(target_arch = "x86_64") { 0xc000_003e } else { 0xc000_00b7 };
    let mut data = [0; 16];
    (data[0], data[1]) = (u32::try_from(number).unwrap(), THIS);
    for (index, argument) in arguments.into_iter().enumerate() {
        data[4 + 2 * index] = argument as u32;
        data[5 + 2 * index] = (argument >> 32) as u32;
    }
    let arch = TargetArch::try_from(std::env::consts::ARCH).unwrap();
    let programs = programs(arch, bpf).unwrap();
    let verdicts = programs.iter().rev().map(|program| run(program, &data));
    // The action is a signed number: killing is the most negative.
    let action = |verdict: &u32| (verdict & 0xffff_0000).cast_signed();
    verdicts.min_by_key(action).unwrap()
}

#[test]
fn listed_calls_pass_others_are_refused_and_hostile_ones_end_the_process() {
    for call in [PLAIN, PLAIN_OLDER].concat() {
        assert_eq!(verdict(call, [u64::MAX; 6]), ALLOW, "call {call}");
    }
    for call in [HOSTILE, HOSTILE_OLDER].concat() {
        assert_eq!(verdict(call, [0; 6]), KILL, "call {call}");
    }
    for call in [
        libc::SYS_renameat2,
        libc::SYS_linkat,
        libc::SYS_setuid,
        libc::SYS_capset,
        libc::SYS_seccomp,
        libc::SYS_kill,
        libc::SYS_io_uring_setup,
        libc::SYS_memfd_create,
        9999,
    ] {
        assert_eq!(verdict(call, [0; 6]), NOT_PERMITTED, "call {call}");
    }
}

#[test]
fn no_call_is_on_two_lists() {
    let conditions = conditional().unwrap();
    let mut numbers = [PLAIN, PLAIN_OLDER, HOSTILE, HOSTILE_OLDER].concat();
    numbers.extend(conditions.keys());
    let all = numbers.len();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), all);
}

#[test]
fn a_thread_can_be_made_and_a_process_cannot() {
    // As the C library makes a thread.
    let thread = libc::CLONE_VM
        | libc::CLONE_FS
        | libc::CLONE_FILES
        | libc::CLONE_SIGHAND
        | libc::CLONE_THREAD
        | libc::CLONE_SYSVSEM
        | libc::CLONE_SETTLS
        | libc::CLONE_PARENT_SETTID
        | libc::CLONE_CHILD_CLEARTID;
    let clone = |flags: libc::c_int| verdict(libc::SYS_clone, [flags as u64, 0, 0, 0, 0, 0]);
    assert_eq!(clone(thread), ALLOW);
    assert_eq!(clone(libc::SIGCHLD), NOT_PERMITTED, "fork");
    assert_eq!(clone(libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD), NOT_PERMITTED, "vfork");
    assert_eq!(clone(thread | libc::CLONE_NEWNET), NOT_PERMITTED);
    assert_eq!(clone(libc::CLONE_NEWUSER), NOT_PERMITTED);
    assert_eq!(verdict(libc::SYS_clone3, [1, 88, 0, 0, 0, 0]), UNKNOWN);
}

#[test]
fn arguments_decide_where_they_are_told_apart() {
    use libc as c;
    let with = |at: usize, value: i64| {
        let mut arguments = [0; 6];
        arguments[at] = value.cast_unsigned();
        arguments
    };
    let read_write = i64::from(c::PROT_READ | c::PROT_WRITE);
    let code = i64::from(c::PROT_READ | c::PROT_EXEC);
    let pid = i64::from(std::process::id());
    for (call, at, passes, fails) in [
        (c::SYS_mmap, 2, read_write, code),
        (c::SYS_mprotect, 2, read_write, code),
        (c::SYS_socket, 0, c::AF_PACKET.into(), c::AF_VSOCK.into()),
        (c::SYS_socket, 0, c::AF_XDP.into(), c::AF_ALG.into()),
        (c::SYS_socketpair, 0, c::AF_UNIX.into(), c::AF_INET.into()),
        (c::SYS_ioctl, 1, c::FIONBIO as i64, c::TIOCSTI as i64),
        (c::SYS_prctl, 0, c::PR_SET_NAME.into(), c::PR_SET_DUMPABLE.into()),
        (c::SYS_sched_setaffinity, 0, 0, pid),
        (c::SYS_tgkill, 0, pid, pid + 1),
        (c::SYS_prlimit64, 2, 0, 1 << 40),
        (c::SYS_fchmodat, 2, 0o660, 0o4755),
    ] {
        assert_eq!(verdict(call, with(at, passes)), ALLOW, "call {call} with {passes:#x}");
        assert_eq!(verdict(call, with(at, fails)), NOT_PERMITTED, "call {call} with {fails:#x}");
    }
}

#[test]
fn programs_can_be_loaded_only_where_a_port_asks_for_it() {
    for command in 0..40 {
        let bpf = |bpf| verdict_with(bpf, libc::SYS_bpf, [command, 0, 0, 0, 0, 0]);
        let listed = BPF_COMMANDS.contains(&command);
        assert_eq!(bpf(true), if listed { ALLOW } else { NOT_PERMITTED }, "{command}");
        assert_eq!(bpf(false), KILL, "{command}");
    }
}

#[test]
fn calls_of_another_kind_of_processor_end_the_process() {
    let arch = TargetArch::try_from(std::env::consts::ARCH).unwrap();
    let mut data = [0; 16];
    data[1] = 0x4000_0003; // 32-bit x86
    for program in programs(arch, false).unwrap() {
        assert_eq!(run(&program, &data), KILL);
    }
}
