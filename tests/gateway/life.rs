//! How a gateway begins and ends.

use std::path::Path;

use nix::sys::signal::Signal;

use crate::lab::process::{PATIENCE, Stream};
use crate::lab::{EXPERIMENT_FILE, Version, xcast};
use crate::support::in_namespaces;
use crate::{addresses, at, edit, end, listed, network, next, sender, start};

const SOCKET: &str = "/run/xcast/gateway-5004.sock";

#[test]
fn a_second_gateway_on_one_socket_is_refused() {
    in_namespaces("life::a_second_gateway_on_one_socket_is_refused", || {
        let mut lab = network();
        let there = at(&lab, Version::V4, "b");
        let command = format!("--json --listen 0.0.0.0:5004 --to {}", addresses(&[there]));
        let first = start(&mut lab, "g", &command);
        let ready = first.log.wait_for_part(Stream::Output, "ready");
        assert!(ready.contains(SOCKET), "{ready}");
        let mut command = xcast();
        let words = ["gateway", "--listen", "0.0.0.0:5006", "--name", "5004", "--to", "10.0.0.1"];
        command.args(words).args(["--experiment", EXPERIMENT_FILE]);
        let second = lab.run("g", "second", &mut command).finish();
        assert_eq!(second.status, Some(1));
        let said = second.errors.join("\n");
        assert!(said.contains("another process answers there"), "{said}");
        // With a socket of its own it may be there.
        let other = start(&mut lab, "g", "--listen 0.0.0.0:5006 --name two --to 10.0.0.1");
        let (status, _, complaint) = edit("list");
        assert_eq!(status, Some(2), "{complaint}");
        assert!(complaint.contains("which gateway?"), "{complaint}");
        assert_eq!(edit("list --socket /run/xcast/gateway-two.sock").0, Some(0));
        other.signal(Signal::SIGTERM);
        assert_eq!(other.finish().status, Some(0));
        // The first one has not noticed.
        let (receiver, sender) = (lab.receiver("b", there), sender(&lab, Version::V4, None));
        sender.send(&7u64.to_be_bytes()).unwrap();
        assert_eq!(next(&receiver), 7);
        assert_eq!(listed()["list"][0]["address"], there.ip().to_string());
        end(first, Signal::SIGTERM);
    });
}

#[test]
fn signals_end_it_and_nothing_is_left() {
    in_namespaces("life::signals_end_it_and_nothing_is_left", || {
        let mut lab = network();
        let command = "--json --listen 0.0.0.0:5004 --to 10.0.0.1";
        for signal in [Signal::SIGTERM, Signal::SIGINT] {
            let gateway = start(&mut lab, "g", command);
            assert!(Path::new(SOCKET).exists());
            let (ended, summary) = end(gateway, signal);
            assert_eq!((ended.status, &summary["event"]), (Some(0), &"end".into()));
            assert!(!Path::new(SOCKET).exists());
        }
        // What a crash leaves is in nobody's way.
        let gateway = start(&mut lab, "g", command);
        gateway.signal(Signal::SIGKILL);
        assert_eq!(gateway.finish().status, None);
        assert!(Path::new(SOCKET).exists());
        let (status, _, complaint) = edit("list");
        assert_eq!(status, Some(1));
        assert!(complaint.contains("no answer from a gateway"), "{complaint}");
        let gateway = start(&mut lab, "g", command);
        end(gateway, Signal::SIGTERM);
        let (status, _, complaint) = edit("list");
        assert_eq!(status, Some(1));
        assert!(complaint.contains("no gateway runs here"), "{complaint}");
    });
}

/// Neither garbage nor silence on the control socket keeps a gateway from its work.
#[test]
fn bad_requests_are_refused() {
    in_namespaces("life::bad_requests_are_refused", || {
        use std::io::{Read, Write};
        use std::os::unix::net::UnixStream;
        let mut lab = network();
        let there = at(&lab, Version::V4, "b");
        let command = format!("--json --listen 0.0.0.0:5004 --to {}", addresses(&[there]));
        let gateway = start(&mut lab, "g", &command);
        let silent: Vec<UnixStream> =
            (0..10).map(|_| UnixStream::connect(SOCKET).unwrap()).collect();
        for request in [&b"\n"[..], b"{}\n", b"\"reload\"\n", b"\xff\xfe\n", b"{\"add\":7}\n"] {
            let mut stream = UnixStream::connect(SOCKET).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(request).unwrap();
            let mut reply = String::new();
            stream.read_to_string(&mut reply).unwrap();
            assert!(reply.starts_with("{\"failed\":\"not a request"), "{request:?}: {reply}");
        }
        let (receiver, sender) = (lab.receiver("b", there), sender(&lab, Version::V4, None));
        sender.send(&7u64.to_be_bytes()).unwrap();
        assert_eq!(next(&receiver), 7);
        drop(silent);
        assert_eq!(end(gateway, Signal::SIGTERM).0.status, Some(0));
    });
}
