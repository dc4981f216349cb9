//! A router that stops, crashes or starts again leaves nothing behind and finds nothing in its way.

use std::net::SocketAddrV4;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::time::ClockId;

use crate::lab::capture::{Capture, Copy, Form};
use crate::lab::packets::Packet;
use crate::lab::process::until;
use crate::lab::{Lab, socket_path, write_config, xcast};
use crate::support::in_namespaces;
use crate::{FAR, PORT, Star};

const PORTS: [&str; 4] = ["a", "b", "c", "n"];
const MEMBERSHIP: &str = "224.0.0.254";
/// ICMP "protocol unreachable", as a host that knows nothing of Xcast answers.
const PROTOCOL_UNREACHABLE: Form = Form::Other(1, [3, 2]);

fn is_member(lab: &Lab, interface: &str) -> bool {
    lab.ip("r", &format!("maddr show dev {interface}")).contains(MEMBERSHIP)
}

fn assert_kernel_drops(lab: &Lab) {
    for interface in PORTS {
        let port = lab.port("r", interface);
        assert_eq!(port["kernel-drop"], true, "{port}");
    }
}

/// Xcast packets whose IP destination is the router's own address, or a host beyond it: without
/// its drop the kernel answers the first and forwards the second.
fn provoke_the_kernel(star: &Star) {
    for destination in [star.gateway("a"), star.at("b")] {
        let packet = star.packet(&[star.at("b"), star.at("c")], "provocation");
        star.send(&Packet { destination, ..packet });
    }
}

fn captures(star: &Star) -> [Capture; 2] {
    [&star.lab.links[0], &star.lab.links[1]].map(|link| star.lab.capture(link))
}

/// What `r` has sent.
fn sent_by_router(capture: &Capture) -> Vec<Copy> {
    capture.take().into_iter().filter(|copy| copy.from == "r").collect()
}

#[test]
fn sigterm_ends_it_with_status_0_and_nothing_stays_behind() {
    in_namespaces("start_and_stop::sigterm_ends_it_with_status_0_and_nothing_stays_behind", || {
        let mut star = Star::new();
        assert!(PORTS.iter().all(|port| is_member(&star.lab, port)), "a member on every port");
        assert!(!is_member(&star.lab, "lo"));
        assert_kernel_drops(&star.lab);
        assert!(Path::new(&socket_path("r")).exists());
        star.assert_forwards();

        star.lab.stop_router("r");
        assert!(!PORTS.iter().any(|port| is_member(&star.lab, port)), "no memberships stay");
        assert!(!Path::new(&socket_path("r")).exists(), "no socket stays");
        // No drop stays either: the kernel answers again.
        let [at_a, _] = captures(&star);
        provoke_the_kernel(&star);
        until("the kernel answers", || {
            sent_by_router(&at_a).iter().any(|c| c.form == PROTOCOL_UNREACHABLE).then_some(())
        });

        star.lab.start_routers(&["r"]);
        assert_kernel_drops(&star.lab);
        star.assert_forwards();
    });
}

#[test]
fn a_killed_router_starts_again() {
    in_namespaces("start_and_stop::a_killed_router_starts_again", || {
        let mut star = Star::new();
        for _ in 0..3 {
            star.assert_forwards();
            star.lab.kill_router("r");
            assert!(Path::new(&socket_path("r")).exists(), "a crash removes no files");
            star.lab.start_routers(&["r"]);
            assert_kernel_drops(&star.lab);
            assert!(PORTS.iter().all(|port| is_member(&star.lab, port)));
        }
        star.assert_forwards();
        star.lab.stop_router("r");
    });
}

#[test]
fn a_second_router_on_the_same_socket_gives_way_to_the_first() {
    in_namespaces(
        "start_and_stop::a_second_router_on_the_same_socket_gives_way_to_the_first",
        || {
            let mut star = Star::new();
            let file = write_config("r", "");
            let mut command = xcast();
            command.args(["router", "run", "--config", &file]);
            let second = star.lab.run("r", "second", &mut command).finish();
            assert_eq!(second.status, Some(1), "{:?}", second.errors);
            let says_where = |line: &String| line.contains(&socket_path("r"));
            assert!(second.errors.iter().any(says_where), "{:?}", second.errors);
            assert!(Path::new(&socket_path("r")).exists());
            assert_kernel_drops(&star.lab);
            star.assert_forwards();
            star.lab.stop_router("r");
        },
    );
}

#[test]
fn a_second_router_of_the_same_name_gives_way_although_its_socket_is_elsewhere() {
    in_namespaces(
        "start_and_stop::a_second_router_of_the_same_name_gives_way_although_its_socket_is_elsewhere",
        || {
            let mut star = Star::new();
            let text = std::fs::read_to_string(write_config("r", "")).unwrap();
            let elsewhere = text.replace(&socket_path("r"), "/run/lab/elsewhere.sock");
            assert_ne!(text, elsewhere);
            std::fs::write("/run/lab/second.toml", elsewhere).unwrap();
            let mut command = xcast();
            command.args(["router", "run", "--config", "/run/lab/second.toml"]);
            let second = star.lab.run("r", "second", &mut command).finish();
            assert_eq!(second.status, Some(1), "{:?}", second.errors);
            assert!(second.errors.iter().any(|line| line.contains("running already")));
            assert!(!Path::new("/run/lab/elsewhere.sock").exists());
            star.assert_forwards();
            star.lab.stop_router("r");
        },
    );
}

#[test]
fn no_file_gives_way_to_a_control_socket() {
    in_namespaces("start_and_stop::no_file_gives_way_to_a_control_socket", || {
        let mut star = Star::without_router();
        let file = write_config("r", "");
        std::fs::write(socket_path("r"), "precious").unwrap();
        let mut command = xcast();
        command.args(["router", "run", "--config", &file]);
        let router = star.lab.run("r", "router", &mut command).finish();
        assert_eq!(router.status, Some(1), "{:?}", router.errors);
        assert!(router.errors.iter().any(|line| line.contains("not a socket")));
        assert_eq!(std::fs::read_to_string(socket_path("r")).unwrap(), "precious");
    });
}

#[test]
fn sigint_and_drain_stop_it_too() {
    in_namespaces("start_and_stop::sigint_and_drain_stop_it_too", || {
        let mut star = Star::new();
        star.lab.router("r").signal(Signal::SIGINT);
        assert_eq!(star.lab.take_router("r").finish().status, Some(0));
        star.lab.start_routers(&["r"]);
        let drained = xcast().args(["drain", "--socket", &socket_path("r")]).status().unwrap();
        assert!(drained.success());
        assert_eq!(star.lab.take_router("r").finish().status, Some(0));
        assert!(!Path::new(&socket_path("r")).exists());
    });
}

#[test]
fn the_kernel_neither_answers_nor_forwards_what_the_router_takes() {
    in_namespaces(
        "start_and_stop::the_kernel_neither_answers_nor_forwards_what_the_router_takes",
        || {
            let mut star = Star::without_router();
            let [at_a, at_b] = captures(&star);
            // Without a router the kernel does both, so this test would see it.
            provoke_the_kernel(&star);
            until("the kernel answers", || {
                sent_by_router(&at_a).iter().any(|c| c.form == PROTOCOL_UNREACHABLE).then_some(())
            });
            until("the kernel forwards", || sent_by_router(&at_b).pop());

            star.lab.start_routers(&["r"]);
            provoke_the_kernel(&star);
            star.send(&star.packet(&FAR, "to-n"));
            star.assert_forwards();
            // The good packet came behind the others, and is all that left by these links.
            assert_eq!(star.lab.dropped("r", "not-for-this-router"), 4);
            assert_eq!(sent_by_router(&at_a), []);
            let forms: Vec<Form> = sent_by_router(&at_b).into_iter().map(|c| c.form).collect();
            assert_eq!(forms, [Form::Unicast(SocketAddrV4::new(star.at("b"), PORT))]);
        },
    );
}

#[test]
fn an_idle_router_takes_hardly_any_time() {
    in_namespaces("start_and_stop::an_idle_router_takes_hardly_any_time", || {
        let mut star = Star::new();
        star.assert_forwards();
        let clock = ClockId::pid_cpu_clock_id(star.lab.router("r").pid()).unwrap();
        let used = || Duration::from(clock.now().unwrap());
        let (start, before) = (Instant::now(), used());
        // Nothing is sent, so nothing arrives, for three seconds.
        let quiet = Some(Duration::from_secs(3));
        star.receivers[0].set_read_timeout(quiet).unwrap();
        assert!(star.receivers[0].recv_from(&mut [0; 2000]).is_err(), "nothing was sent");
        let share = (used() - before).as_secs_f64() / start.elapsed().as_secs_f64();
        println!("an idle router takes {:.3} % of a core", share * 100.0);
        assert!(share < 0.05, "an idle router takes {:.1} % of a core", share * 100.0);
    });
}
