use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use super::*;

/// A DHCP server that answers every question by `answers` for it, one after the other.
fn server(answers: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> SocketAddrV4 {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let SocketAddr::V4(at) = socket.local_addr().unwrap() else { panic!() };
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((len, from)) = socket.recv_from(&mut buffer) {
            for answer in answers(&buffer[..len]) {
                let _gone = socket.send_to(&answer, from);
            }
        }
    });
    at
}

/// The acknowledgment of a question, with these options.
fn acknowledge(question: &[u8], options: &[u8]) -> Vec<u8> {
    let mut answer = question[..dhcp::HEADER_LEN].to_vec();
    answer[0] = 2;
    answer.extend([53, 1, 5]);
    answer.extend(options);
    answer.push(255);
    answer
}

fn ask(server: SocketAddrV4, patience: &[u64]) -> Result<Vec<SocketAddr>, InformError> {
    inform(&Settings {
        interface: String::new(),
        server,
        client_port: 0,
        address: Ipv4Addr::LOCALHOST,
        hardware: [2, 0, 0, 0, 0, 1],
        option: 230,
        patience: patience.iter().copied().map(Duration::from_millis).collect(),
    })
}

#[test]
fn a_server_is_asked_and_its_list_is_found() {
    let at = server(|question| vec![acknowledge(question, &[230, 6, 192, 0, 2, 7, 0x23, 0x28])]);
    let expected: SocketAddr = "192.0.2.7:9000".parse().unwrap();
    assert_eq!(ask(at, &[60_000]).unwrap(), [expected]);
}

#[test]
fn answers_to_others_and_rubbish_do_not_end_the_wait() {
    let at = server(|question| {
        let good = acknowledge(question, &[230, 6, 192, 0, 2, 7, 0x23, 0x28]);
        let mut other = good.clone();
        other[4] ^= 0xff;
        vec![Vec::new(), vec![2; 300], other, good[..248].to_vec(), good]
    });
    assert_eq!(ask(at, &[60_000]).unwrap().len(), 1);
}

#[test]
fn who_does_not_answer_is_asked_again() {
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let at =
        server(move |question| match asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0 => Vec::new(),
            _ => vec![acknowledge(question, &[230, 6, 192, 0, 2, 7, 0x23, 0x28])],
        });
    assert_eq!(ask(at, &[10, 60_000]).unwrap().len(), 1);
}

#[test]
fn a_server_without_the_option_is_told_of() {
    let at = server(|question| vec![acknowledge(question, &[224, 6, 192, 0, 2, 7, 0x23, 0x28])]);
    let refused = ask(at, &[500]).unwrap_err().to_string();
    assert!(refused.contains("no DHCP server has answered with option 230"), "{refused}");
    assert!(refused.contains("was refused: it has no option 230"), "{refused}");
}

#[test]
fn names_are_looked_up_and_what_is_not_found_is_told_by_name() {
    let plan = Rendezvous {
        boot: vec![
            Boot::Name("localhost:9000".to_owned()),
            Boot::Address("192.0.2.1:9000".parse().unwrap()),
            Boot::Name("nobody.invalid:9000".to_owned()),
            Boot::Dhcp,
            Boot::Address("192.0.2.1:9000".parse().unwrap()),
        ],
        dedicated: false,
        dhcp_interface: Some("no-such-link".to_owned()),
        dhcp_option: 224,
    };
    let found = search(&plan);
    assert!(found.addresses[0].ip().is_loopback(), "{found:?}");
    let last = found.addresses.last().unwrap().to_string();
    assert_eq!(last, "192.0.2.1:9000", "once, though named twice");
    let [name, dhcp] = found.problems.as_slice() else { panic!("{found:?}") };
    assert!(name.starts_with("nobody.invalid:9000: "), "{name}");
    assert!(dhcp.starts_with("dhcp: interface `no-such-link`: "), "{dhcp}");
}
