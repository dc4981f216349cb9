//! Random messages through queues with random limits: each receiver gets each message once, as it
//! was, in time and in order, and never for more octets than if it had got it alone.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// A push: after a pause, who gets what.
#[derive(Clone, Debug)]
struct Push {
    pause: u64,
    to: Vec<u8>,
    class: u8,
    kind: u8,
    body: u8,
    len: usize,
    parts: Vec<Vec<u8>>,
}

fn push() -> impl Strategy<Value = Push> {
    let to = proptest::collection::vec(0u8..14, 1..6);
    let parts = prop_oneof![
        3 => Just(Vec::new()),
        1 => proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 6),
    ];
    (0u64..9000, to, 0u8..12, 0u8..3, 0u8..3, 1usize..120, parts).prop_map(
        |(pause, to, class, kind, body, len, parts)| Push {
            pause,
            to,
            class,
            kind,
            body,
            len,
            parts,
        },
    )
}

fn config() -> impl Strategy<Value = Config> {
    let limits = (1usize..8, 150usize..400, 200usize..600, 1usize..5, 1usize..20, 1usize..9);
    let choices = (any::<bool>(), any::<bool>());
    (limits, 0u64..25, choices).prop_map(|(limits, delay, (is_queue, is_modest))| Config {
        spares: if is_modest { Spares::All } else { Spares::Sender },
        mode: if is_queue { Mode::Queue } else { Mode::Marked },
        delay: Duration::from_millis(delay),
        destinations_max: limits.0,
        datagram_len_max: limits.1,
        mtu: limits.2,
        comparisons_max: limits.3,
        waiting_max: limits.4,
        overlap_min: limits.5,
        groups_max: 16,
    })
}

/// Twelve peers of both IP versions and two ports, one of them without identity; 12 has the tag of
/// 1, and 13 is 2 at another address.
fn receiver(n: u8) -> Endpoint {
    let mut to = peer(n);
    match n {
        3 => to.id = None,
        4 | 5 => to.address.set_port(9001),
        7..=9 => {
            let octets = [0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(n)];
            to.address = SocketAddr::from((octets, 9000));
        }
        12 => {
            let mut id = peer(1).id.unwrap_or_default();
            id.0[19] = 99;
            to.id = Some(id);
        }
        13 => to.id = peer(2).id,
        _ => {}
    }
    to
}

fn send(push: &Push) -> Send {
    let to: Vec<Endpoint> = push.to.iter().copied().map(receiver).collect();
    let parts = push.parts.iter().take(to.len()).cloned().collect();
    // All bodies begin alike, and differ from a third of their length on.
    let shared = (0..push.len)
        .map(|place| match place {
            0 => push.kind,
            _ if place * 3 < push.len => 7,
            _ => push.body,
        })
        .collect();
    let class = match push.class {
        0 => Class::Immediate,
        1 => Class::Repeated,
        _ => Class::Queued,
    };
    Send { to, protocol: Protocol::Ring, shared, parts, class }
}

/// Messages, and when they were pushed.
type Owed = VecDeque<(Vec<u8>, u64)>;

/// What each address is still to get, in order: what may wait, and apart from it what may not.
#[derive(Default)]
struct Ledger {
    owed: BTreeMap<(SocketAddr, bool), Owed>,
    separate: u64,
    packets: u64,
    receivers: u64,
}

impl Ledger {
    fn pushed(&mut self, send: &Send, at: u64) {
        for (index, to) in send.to.iter().enumerate() {
            let message = send.message_for(index);
            let headers = if to.address.is_ipv6() { 48 } else { 28 };
            self.separate += headers + (envelope::OVERHEAD + message.len()) as u64;
            let waits = send.class == Class::Queued;
            self.owed.entry((to.address, waits)).or_default().push_back((message, at));
        }
    }

    fn left(&mut self, send: &Send, at: u64, config: &Config) {
        let n = send.to.len();
        let all: Vec<usize> = (0..n).collect();
        if n > 1 {
            assert!(n <= config.destinations_max);
            assert!(envelope::datagram_len(send, &all) <= config.datagram_len_max);
            assert!(send.to.iter().all(|to| to.address.is_ipv6() == send.to[0].address.is_ipv6()));
        }
        self.packets += 1;
        self.receivers += n as u64;
        for (index, to) in send.to.iter().enumerate() {
            let waits = send.class == Class::Queued;
            let owed = self.owed.get_mut(&(to.address, waits)).and_then(VecDeque::pop_front);
            let (message, pushed) = owed.expect("nothing was to go there");
            assert_eq!(extracted(send, index), message);
            let delay = if waits { config.delay.as_micros() as u64 } else { 0 };
            assert!(at - pushed <= delay);
        }
    }
}

fn check_counters(queue: &Queue, ledger: &Ledger) {
    let counters = queue.counters();
    let apart: u64 = counters.apart.iter().sum();
    let joined = counters.joined_wholly + counters.joined_partly;
    let waiting = queue.waiting.len() as u64;
    assert_eq!(counters.messages + counters.cut, counters.passed + joined + apart);
    assert_eq!(counters.packets, counters.left.iter().sum::<u64>());
    assert_eq!(counters.packets + waiting, counters.passed + apart);
    assert_eq!((counters.packets, counters.packet_receivers), (ledger.packets, ledger.receivers));
    assert!(counters.octets <= counters.octets_separate);
    assert!(queue.len() <= queue.config.waiting_max);
    let waiting: usize = queue.waiting.values().map(|bundle| bundle.addresses().count()).sum();
    assert_eq!(counters.receivers, counters.packet_receivers + waiting as u64);
    for bundle in queue.waiting.values() {
        let send = bundle.clone().into_send();
        let all: Vec<usize> = (0..send.to.len()).collect();
        assert_eq!(bundle.shape.datagram_len(), envelope::datagram_len(&send, &all));
    }
}

proptest! {
    #[test]
    fn every_message_leaves_once_as_it_was_in_time_and_in_order_for_no_more_octets(
        config in config(),
        pushes in proptest::collection::vec(push(), 1..80),
    ) {
        let mut queue = Queue::new(config.clone());
        let (mut ledger, mut now) = (Ledger::default(), 0);
        for push in &pushes {
            let until = now + push.pause * u64::from(push.pause % 3 > 0);
            if until > now {
                drained(&mut queue).iter().for_each(|send| ledger.left(send, now, &config));
                check_counters(&queue, &ledger);
            }
            while let Some((at, _)) = queue.poll_timeout().filter(|(at, _)| at.0 <= until) {
                queue.handle_timeout(at);
                drained(&mut queue).iter().for_each(|send| ledger.left(send, at.0, &config));
            }
            now = until;
            let send = send(push);
            ledger.pushed(&send, now);
            queue.push(send, Time(now));
        }
        drained(&mut queue).iter().for_each(|send| ledger.left(send, now, &config));
        while let Some((at, _)) = queue.poll_timeout() {
            queue.handle_timeout(at);
            drained(&mut queue).iter().for_each(|send| ledger.left(send, at.0, &config));
        }
        check_counters(&queue, &ledger);
        prop_assert!(ledger.owed.values().all(VecDeque::is_empty));
        prop_assert!(queue.is_empty() && queue.kinds.is_empty() && queue.addresses.is_empty());
        prop_assert_eq!(queue.counters().octets_separate, ledger.separate);
    }
}
