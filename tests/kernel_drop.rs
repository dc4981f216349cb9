//! The kernel-side drop against a real kernel, in namespaces of its own.

// A failure of a test is a panic.
#![allow(clippy::unwrap_used)]

#[allow(unreachable_pub)]
mod support;

use std::io::{self, BufRead, BufReader, Read};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use support::{in_namespaces, run, wire};
use xcast::kernel::{IngressDrop, KernelError, Mirror};

/// Far beyond what anything here takes; reaching it is a failure.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts this test program again as `role`, which is one of the tests below that do nothing of
/// their own accord, by `command` (`ip netns exec ...`).
fn role(command: &str, role: &str, argument: &str) -> Child {
    let mut words = command.split_whitespace().map(str::to_owned);
    let this = std::env::current_exe().unwrap().into_os_string().into_string().unwrap();
    let mut words = words.by_ref().chain([this]);
    Command::new(words.next().unwrap())
        .args(words)
        .args([role, "--exact", "--nocapture", "--test-threads=1"])
        .env("XCAST_TEST_ROLE", argument)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Sends three packets of protocol 253, then one of 254, to 10.0.0.1.
#[test]
fn role_sender() {
    if std::env::var_os("XCAST_TEST_ROLE").is_none() {
        return;
    }
    for protocol in [253, 253, 253, 254] {
        let socket = raw(protocol);
        let to = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 0);
        socket.send_to(b"payload", &to.into()).unwrap();
    }
}

const HERE: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
const PEER: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);

/// Sends IPv6 packets of protocol 254 to `HERE`, each with its letter as payload: `x`, `y` and
/// `z` are Xcast6.
#[test]
fn role_sender_v6() {
    if std::env::var_os("XCAST_TEST_ROLE").is_none() {
        return;
    }
    let raw = Protocol::from(libc::IPPROTO_RAW);
    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(raw)).unwrap();
    let routing = |kind| [254, 1, kind, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    // One option of a kind that is to be passed over.
    let options = |next: u8, more: usize| {
        let length = 8 * (more + 1);
        let mut header = vec![next, more as u8, 0x1e, length as u8 - 4];
        header.resize(length, 0);
        header
    };
    let (hop_by_hop, routing_next, destination_options) = (0, 43, 60);
    for (letter, next, extensions) in [
        ('x', routing_next, vec![routing(252).to_vec()]),
        ('y', hop_by_hop, vec![options(43, 0), routing(252).to_vec()]),
        ('z', hop_by_hop, vec![options(43, 5), routing(252).to_vec()]),
        // Other routing types, no routing header, one in another place.
        ('a', routing_next, vec![routing(253).to_vec()]),
        ('b', hop_by_hop, vec![options(43, 0), routing(253).to_vec()]),
        ('c', 254, vec![]),
        ('d', hop_by_hop, vec![options(254, 0)]),
        ('e', destination_options, vec![options(43, 0), routing(252).to_vec()]),
        ('f', hop_by_hop, vec![options(60, 0), options(43, 0), routing(252).to_vec()]),
        ('.', 254, vec![]),
    ] {
        let payload = [extensions.concat(), vec![letter as u8]].concat();
        let length = (payload.len() as u16).to_be_bytes();
        let header = [&[0x60, 0, 0, 0][..], &length, &[next, 64], &PEER.octets(), &HERE.octets()];
        let packet = [header.concat(), payload].concat();
        socket.send_to(&packet, &SocketAddrV6::new(HERE, 0, 0, 0).into()).unwrap();
    }
}

/// Holds the drop `xcast-held` on an interface until it is killed or told to end.
#[test]
fn role_holder() {
    let Ok(interface) = std::env::var("XCAST_TEST_ROLE") else {
        return;
    };
    let mut held = IngressDrop::open("held", 253, 252).unwrap();
    held.attach(&interface).unwrap();
    println!("\nholding");
    io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

fn raw(protocol: i32) -> Socket {
    Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(protocol))).unwrap()
}

/// Sends the packets of [`role_sender`] and says how many of protocol 253 the stack got.
fn deliver() -> usize {
    let (xcast, other) = (raw(253), raw(254));
    other.set_read_timeout(Some(PATIENCE)).unwrap();
    xcast.set_nonblocking(true).unwrap();
    let mut sender = role("ip netns exec peer", "role_sender", "");
    assert!(sender.wait().unwrap().success());
    // The last one sent is there, so are those before it.
    (&other).read_exact(&mut [0; 27]).unwrap();
    let mut count = 0;
    while (&xcast).read(&mut [0; 64]).is_ok() {
        count += 1;
    }
    count
}

/// Sends the packets of [`role_sender_v6`] and says which the stack got.
fn deliver_v6() -> String {
    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::from(254))).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut sender = role("ip netns exec peer", "role_sender_v6", "");
    assert!(sender.wait().unwrap().success());
    let mut got = String::new();
    while !got.ends_with('.') {
        let mut payload = [0];
        (&socket).read_exact(&mut payload).unwrap();
        got.push(char::from(payload[0]));
    }
    got
}

#[test]
fn the_kernel_drops_xcast6_and_no_other_routing_header() {
    in_namespaces("the_kernel_drops_xcast6_and_no_other_routing_header", || {
        wire();
        assert_eq!(deliver_v6(), "xyzabcdef.");
        let mut drop = IngressDrop::open("r1", 253, 252).unwrap();
        drop.attach("va").unwrap();
        assert_eq!(deliver_v6(), "abcdef.");
        let dropped = drop.dropped("va").unwrap();
        let octets = 3 * (40 + 16 + 1) + 8 + 48;
        assert_eq!((dropped.packets, dropped.octets), (3, octets));
        assert_eq!(deliver(), 0);
        drop.detach("va").unwrap();
        assert_eq!(deliver_v6(), "xyzabcdef.");
    });
}

#[test]
fn the_kernel_drops_all_if_asked() {
    in_namespaces("the_kernel_drops_all_if_asked", || {
        wire();
        assert_eq!(deliver(), 3);
        let mut drop = IngressDrop::of_all("all").unwrap();
        drop.attach("va").unwrap();
        let (xcast, other) = (raw(253), raw(254));
        let mut sender = role("ip netns exec peer", "role_sender", "");
        assert!(sender.wait().unwrap().success());
        let deadline = Instant::now() + PATIENCE;
        while drop.dropped("va").unwrap().packets < 4 {
            assert!(Instant::now() < deadline, "not all were dropped");
        }
        for socket in [xcast, other] {
            socket.set_nonblocking(true).unwrap();
            assert!((&socket).read(&mut [0; 64]).is_err());
        }
        drop.detach("va").unwrap();
        assert_eq!(deliver(), 3);
    });
}

#[test]
fn the_kernel_drops_what_the_router_takes() {
    in_namespaces("the_kernel_drops_what_the_router_takes", || {
        wire();
        assert_eq!(deliver(), 3);
        let mut drop = IngressDrop::open("r1", 253, 252).unwrap();
        assert_eq!(deliver(), 3);
        drop.attach("va").unwrap();
        assert_eq!(drop.dropped("va").unwrap().packets, 0);
        assert_eq!(deliver(), 0);
        drop.attach("va").unwrap();
        let dropped = drop.dropped("va").unwrap();
        assert_eq!((dropped.packets, dropped.octets), (3, 3 * 27));
        drop.attach("lo").unwrap();
        assert_eq!(drop.dropped("lo").unwrap().packets, 0);
        drop.detach("va").unwrap();
        drop.detach("va").unwrap();
        drop.detach("never").unwrap();
        assert_eq!(drop.dropped("va").unwrap().packets, 0);
        assert_eq!(deliver(), 3);
        drop.attach("va").unwrap();
        assert_eq!(deliver(), 0);
        std::mem::drop(drop);
        assert_eq!(deliver(), 3);
        let mut again = IngressDrop::open("r1", 254, 252).unwrap();
        again.attach("lo").unwrap();
    });
}

#[test]
fn the_drop_comes_back_with_its_interface() {
    in_namespaces("the_drop_comes_back_with_its_interface", || {
        wire();
        let mut drop = IngressDrop::open("r1", 253, 252).unwrap();
        drop.attach("va").unwrap();
        run("ip link del va");
        drop.detach("va").unwrap();
        for _ in 0..2 {
            run("ip netns del peer");
            wire();
            drop.attach("va").unwrap();
            assert_eq!(deliver(), 0);
            run("ip link del va");
        }
    });
}

#[test]
fn the_drop_ends_with_its_process() {
    in_namespaces("the_drop_ends_with_its_process", || {
        wire();
        let mut holder = role("env", "role_holder", "va");
        let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap() == "holding"));
        assert_eq!(deliver(), 0);
        let error = IngressDrop::open("held", 253, 252).unwrap_err();
        assert!(matches!(&error, KernelError::Owned { table } if table == "xcast-held"), "{error}");
        holder.kill().unwrap();
        holder.wait().unwrap();
        assert_eq!(deliver(), 3);
        IngressDrop::open("held", 253, 252).unwrap();
    });
}

#[test]
fn the_drop_needs_no_privilege_outside() {
    in_namespaces("the_drop_needs_no_privilege_outside", || {
        let user = "unshare --user --map-root-user --net";
        if !run_quietly(&format!("{user} true")) {
            assert!(std::env::var_os("CI").is_none(), "no user namespaces");
            return eprintln!("SKIPPED: no user namespaces here");
        }
        let mut holder = role(user, "role_holder", "lo");
        drop(holder.stdin.take());
        assert!(holder.wait().unwrap().success());
        // A user namespace that does not own its network namespace.
        let mut other = role("unshare --user --map-root-user", "role_unprivileged", "");
        assert!(other.wait().unwrap().success());
    });
}

/// Fails to make the drop for want of a privilege.
#[test]
fn role_unprivileged() {
    if std::env::var_os("XCAST_TEST_ROLE").is_none() {
        return;
    }
    let error = IngressDrop::open("r1", 253, 252).unwrap_err();
    assert_eq!(error.missing_capability(), Some("CAP_NET_ADMIN"), "{error}");
    let mut mirror = Mirror::open().unwrap();
    mirror.synchronize(&mut Vec::new()).unwrap();
    let error = mirror.resolve(1, "10.0.0.1".parse().unwrap()).unwrap_err();
    assert_eq!(error.missing_capability(), Some("CAP_NET_ADMIN"), "{error}");
}

#[test]
fn the_table_of_a_crashed_router_is_replaced() {
    in_namespaces("the_table_of_a_crashed_router_is_replaced", || {
        // A table `xcast-r1` without an owner, as kernels before 5.12 make and leave them.
        #[rustfmt::skip]
        let bytes = [
            20, 0, 0, 0, 0x10, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10, // begin
            36, 0, 0, 0, 0, 10, 0x05, 0x06, 2, 0, 0, 0, 0, 0, 0, 0, // NEWTABLE, ack, create, excl
            5, 0, 0, 0,
            13, 0, 1, 0, b'x', b'c', b'a', b's', b't', b'-', b'r', b'1', 0, 0, 0, 0,
            20, 0, 0, 0, 0x11, 0, 1, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10, // end
        ];
        let make = || {
            let socket = netlink_sys::Socket::new(12).unwrap();
            socket.send_to(&bytes, &netlink_sys::SocketAddr::new(0, 0), 0).unwrap();
            let (answer, _) = socket.recv_from_full().unwrap();
            i32::from_ne_bytes(answer[16..20].try_into().unwrap())
        };
        assert_eq!(make(), 0);
        assert_eq!(make(), -libc::EEXIST);
        drop(IngressDrop::open("r1", 253, 252).unwrap());
        assert_eq!(make(), 0);
    });
}

fn run_quietly(command: &str) -> bool {
    let mut words = command.split_whitespace();
    let status = Command::new(words.next().unwrap()).args(words).status();
    status.is_ok_and(|status| status.success())
}
