//! What the path between a tunnel's ends does to it.

use crate::lab::Version::{V4, V6};
use crate::lab::process::until;
use crate::support::in_namespaces;
use crate::{Line, Way};

/// The path carries less than the links at both ends: what is too big for it is learnt, and the
/// source is told; nothing vanishes without a word.
fn learns(way: Way, carries: u32) {
    let mut line = Line::new(way);
    line.lab.ip("r", "link set dev x3 mtu 1400");
    line.lab.ip("x3", "link set dev r mtu 1400");
    // Too big for the path, not for the link; the first one finds that out.
    let to: Vec<String> = line.to.iter().map(|to| to.to_string()).collect();
    let size = if way.inner == V4 { 1380 } else { 1280 };
    let words = format!("--to {} --source-port 5000 --size {size}", to.join(","));
    let told = until("the source is told", || {
        line.lab.try_send("a", &words);
        line.captures[0].errors().first().cloned()
    });
    match way.inner {
        // Destination unreachable, fragmentation needed.
        V4 => assert_eq!((told.kind, told.code, told.rest), (3, 4, carries)),
        // Packet too big.
        V6 => assert_eq!((told.kind, told.code, told.rest), (2, 0, carries)),
    }
    assert_eq!(line.lab.tunnel("x1")["mtu-bytes"], carries);
    assert!(line.lab.dropped("x1", "too-big") > 0);
    line.assert_serves("small");
    line.lab.assert_identity("x1");
}

#[test]
fn a_narrow_link_inside_the_path_of_ipip_is_learnt_and_the_source_is_told() {
    in_namespaces(
        "paths::a_narrow_link_inside_the_path_of_ipip_is_learnt_and_the_source_is_told",
        || {
            learns(Way { kind: "ipip", outer: V4, inner: V4 }, 1380);
        },
    );
}

#[test]
fn a_narrow_link_inside_the_path_of_udp_is_learnt_and_the_source_is_told() {
    in_namespaces(
        "paths::a_narrow_link_inside_the_path_of_udp_is_learnt_and_the_source_is_told",
        || {
            learns(Way { kind: "udp", outer: V6, inner: V6 }, 1352);
        },
    );
}

/// Several workers send into the same tunnels; the first one reads what comes out.
#[test]
fn two_workers_share_the_tunnels() {
    in_namespaces("paths::two_workers_share_the_tunnels", || {
        let mut line = Line::with(Way { kind: "udp", outer: V4, inner: V4 }, "workers = 2\n");
        for number in 0..8 {
            // Another channel may be another worker's.
            line.assert_serves(&format!("number-{number}"));
        }
        line.lab.assert_identity("x1");
        line.lab.assert_identity("x3");
    });
}

/// An end that is gone is known to be, and known to be back; meanwhile copies take the routes of
/// unicast.
#[test]
fn an_end_that_is_gone_is_passed_by_and_found_again() {
    in_namespaces("paths::an_end_that_is_gone_is_passed_by_and_found_again", || {
        let mut line = Line::new(Way { kind: "udp", outer: V4, inner: V4 });
        line.lab.kill_router("x3");
        line.lab.wait_for_tunnel("x1", "down");
        line.assert_serves("without");
        let subnet = line.lab.links[0].subnet();
        let (x1, x3) = (line.lab.address("x1", "r"), line.lab.address("x3", "r"));
        let ends = (&*x3.to_string(), &*x1.to_string());
        let back = crate::tunnel("t", "udp", ends, "", &[subnet]);
        line.lab.start_router("x3", &back);
        line.lab.wait_for_tunnel("x1", "up");
        line.assert_serves("with");
    });
}
