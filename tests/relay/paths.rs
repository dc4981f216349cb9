//! What a tunnel to a relay carries: told, learnt, and never exceeded.

use std::net::SocketAddr;
use std::time::Duration;

use xcast::forward::DropReason;
use xcast::host::{Destination, Families, Message, Options, Relay, TroubleKind, XcastSocket};
use xcast::io::datagram::ReportKind;

use crate::lab::process::until;
use crate::lab::{EXPERIMENT_FILE, Version, inside};
use crate::support::in_namespaces;
use crate::{Net, PORT, next};

/// A socket on `h` by `x1` alone.
fn open(net: &Net) -> XcastSocket {
    let text = std::fs::read_to_string(EXPERIMENT_FILE).unwrap();
    let experiment = router_config::parse_experiment(&text).unwrap();
    let private = std::fs::read_to_string("/run/lab/h.key").unwrap();
    let relay = Relay {
        private_key: private.parse().unwrap(),
        candidates: vec![(
            "x1".to_owned(),
            SocketAddr::new(net.relay("x1").parse().unwrap(), 1021),
        )],
        keys: vec![net.keys[0].parse().unwrap()],
        families: Families { v4: true, v6: false },
        wish: None,
        patience: Duration::from_secs(60),
    };
    let options = Options { source_port: PORT, relay: Some(relay), ..Options::default() };
    inside("h", || XcastSocket::open(xcast::daemon::code_points(&experiment), &options)).unwrap()
}

#[test]
fn a_narrow_path_to_the_relay_is_learnt_and_lists_are_split_to_it() {
    in_namespaces("paths::a_narrow_path_to_the_relay_is_learnt_and_lists_are_split_to_it", || {
        let mut net = Net::without_relays(Version::V4);
        net.start("x1");
        net.lab.ip("n", "link set dev r mtu 1400");
        net.lab.ip("r", "link set dev n mtu 1400");
        let mut socket = open(&net);
        let destination =
            |to: SocketAddr| Destination { address: to.ip(), port: to.port(), dscp: None };
        let to = [destination(net.to("b")), destination(net.to("c"))];
        let send = |socket: &mut XcastSocket, payload: usize| {
            let payload = vec![b'x'; payload];
            let message = Message { destinations: &to, payload: &payload, ..Message::default() };
            socket.send(&message).unwrap()
        };
        // IP 20, Xcast 12 + 4 + 8, UDP 8, outer 28: 1480 fit the first link, not the second.
        assert_eq!(send(&mut socket, 1400).unsent, []);
        // It is lost on the way, which is told.
        let trouble = until("the narrow link is told", || {
            socket.receive(Some(Duration::from_millis(10))).unwrap();
            socket.take_troubles().pop()
        });
        let kind = TroubleKind::Reported(ReportKind::TooBig { mtu: 1372 });
        assert_eq!((trouble.kind, trouble.listed), (kind, 2));
        // From now on it is known at once: 1372 octets, less 48 for a list of one.
        let sent = send(&mut socket, 1400);
        let reasons: Vec<DropReason> = sent.unsent.iter().map(|unsent| unsent.reason).collect();
        assert_eq!(reasons, [DropReason::TooBig; 2]);
        // Two do not fit one packet, one each do.
        let sent = send(&mut socket, 1324);
        assert_eq!((sent.packets, sent.unsent), (2, vec![]));
        let sent = send(&mut socket, 1320);
        assert_eq!((sent.packets, sent.unsent), (1, vec![]));
        for receiver in &net.receivers {
            assert_eq!([next(receiver).1.len(), next(receiver).1.len()], [1324, 1320]);
        }
        assert_eq!(socket.mtu(to[0].address), 1372 - 20);
    });
}
