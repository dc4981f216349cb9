//! Filters of forwarded packets (nftables, legacy iptables), which what the router sends does not
//! pass: they are only found, so that an operator can be warned.

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST};
use netlink_sys::protocols::NETLINK_NETFILTER;

use super::KernelError;
use super::channel::Channel;
use super::decode::attributes;
use super::framing::{Message, Writer};

/// `NFNL_SUBSYS_NFTABLES` and its messages `NFT_MSG_NEWCHAIN` and `NFT_MSG_GETCHAIN`
/// (`linux/netfilter/nf_tables.h`, `nfnetlink.h`).
const NEW_CHAIN: u16 = 10 << 8 | 3;
const GET_CHAIN: u16 = 10 << 8 | 4;
/// `struct nfgenmsg`, in octets; the first is the family.
const HEADER: usize = 4;

const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_POLICY: u16 = 5;
const NFTA_CHAIN_USE: u16 = 6;
const NFTA_HOOK_HOOKNUM: u16 = 1;
const NF_INET_FORWARD: u32 = 2;
const NF_ACCEPT: u32 = 1;

/// The families whose chains see forwarded IP packets (`NFPROTO_INET`, `_IPV4`, `_IPV6`).
const FAMILIES: [(u8, &str); 3] = [(1, "inet"), (2, "ip"), (10, "ip6")];
/// The files that name the tables of legacy iptables in use, and how to speak of each.
const LEGACY: [(&str, &str); 2] = [
    ("/proc/thread-self/net/ip_tables_names", "iptables (legacy) filter FORWARD"),
    ("/proc/thread-self/net/ip6_tables_names", "ip6tables (legacy) filter FORWARD"),
];

/// The chains of the current network namespace that filter forwarded packets, each as `FAMILY
/// TABLE CHAIN` (`ip filter FORWARD`), sorted: nftables base chains at the forward hook that have
/// rules or drop by policy, and the filter table of legacy iptables where it is loaded. A kernel
/// without nftables has none of the former.
///
/// # Errors
/// The kernel refuses (`CAP_NET_ADMIN` is missing) or does not answer.
pub fn forward_chains() -> Result<Vec<String>, KernelError> {
    let mut chains = match nftables() {
        Ok(chains) => chains,
        Err(error) => match error.errno() {
            Some(libc::EPROTONOSUPPORT | libc::EOPNOTSUPP | libc::EINVAL) => Vec::new(),
            _ => return Err(error),
        },
    };
    let in_use = |(file, _): &(&str, &str)| {
        let names = std::fs::read_to_string(file).unwrap_or_default();
        names.lines().any(|table| table == "filter")
    };
    chains.extend(LEGACY.into_iter().filter(in_use).map(|(_, name)| name.to_owned()));
    chains.sort();
    Ok(chains)
}

fn nftables() -> Result<Vec<String>, KernelError> {
    let mut chains = Vec::new();
    let each = |message: &Message<'_>| {
        chains.extend((message.kind == NEW_CHAIN).then(|| filter(message.body)).flatten());
    };
    Channel::open(NETLINK_NETFILTER)?.dump("list nftables chains", list, each)?;
    Ok(chains)
}

/// Asks for all chains of all families.
fn list(sequence: u32) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.message(GET_CHAIN, NLM_F_REQUEST | NLM_F_DUMP, sequence, |body| body.raw(&[0; HEADER]));
    writer.into_bytes()
}

/// The name of a chain, if it is one that may drop forwarded packets.
fn filter(body: &[u8]) -> Option<String> {
    let (_, family) = FAMILIES.into_iter().find(|(number, _)| Some(number) == body.first())?;
    let (mut table, mut name, mut hook) = (String::new(), String::new(), None);
    let (mut policy, mut rules) = (NF_ACCEPT, 0);
    for attribute in attributes(body, HEADER).map_while(Result::ok) {
        let value = attribute.value();
        match attribute.kind() {
            NFTA_CHAIN_TABLE => table = text(value),
            NFTA_CHAIN_NAME => name = text(value),
            NFTA_CHAIN_HOOK => {
                let mut parts = attributes(value, 0).map_while(Result::ok);
                let number_of_hook = parts.find(|part| part.kind() == NFTA_HOOK_HOOKNUM);
                hook = number_of_hook.and_then(|part| number(part.value()));
            }
            NFTA_CHAIN_POLICY => policy = number(value).unwrap_or(NF_ACCEPT),
            NFTA_CHAIN_USE => rules = number(value).unwrap_or(0),
            _ => {}
        }
    }
    let filters = hook == Some(NF_INET_FORWARD) && (rules > 0 || policy != NF_ACCEPT);
    filters.then(|| format!("{family} {table} {name}"))
}

/// Numbers of nftables are in network order.
fn number(value: &[u8]) -> Option<u32> {
    value.first_chunk().map(|octets| u32::from_be_bytes(*octets))
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim_end_matches('\0').to_owned()
}

#[cfg(all(test, target_endian = "little"))]
mod tests {
    use super::*;

    /// A chain `ip t FORWARD` as the kernel lists it, with this family, hook, policy and number
    /// of rules.
    fn chain(family: u8, hook: u8, policy: u8, rules: u8) -> Vec<u8> {
        #[rustfmt::skip]
        let body = [
            family, 0, 0, 7, // struct nfgenmsg
            6, 0, 1, 0, b't', 0, 0, 0, // table
            12, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 1, // handle
            12, 0, 3, 0, b'F', b'O', b'R', b'W', b'A', b'R', b'D', 0, // name
            20, 0, 4, 0x80, // hook
                8, 0, 1, 0, 0, 0, 0, hook,
                8, 0, 2, 0, 0, 0, 0, 0, // priority
            8, 0, 5, 0, 0, 0, 0, policy,
            8, 0, 6, 0, 0, 0, 0, rules,
        ];
        body.to_vec()
    }

    #[test]
    fn chains_that_may_drop_forwarded_packets_are_named() {
        let (input, forward, drop, accept) = (1, 2, 0, 1);
        for (family, hook, policy, rules, expected) in [
            (2, forward, drop, 0, Some("ip t FORWARD")),
            (2, forward, accept, 1, Some("ip t FORWARD")),
            (2, forward, accept, 0, None),
            (2, input, drop, 1, None),
            (1, forward, drop, 0, Some("inet t FORWARD")),
            (10, forward, accept, 3, Some("ip6 t FORWARD")),
            // Bridges, and ARP.
            (7, forward, drop, 1, None),
            (3, forward, drop, 1, None),
        ] {
            let body = chain(family, hook, policy, rules);
            assert_eq!(filter(&body).as_deref(), expected, "{family} {hook} {policy} {rules}");
        }
    }

    #[test]
    fn a_chain_that_is_no_base_chain_or_cut_short_is_none() {
        let mut body = chain(2, 2, 0, 1);
        // The hook ends there.
        for length in 0..56 {
            assert_eq!(filter(&body[..length]), None, "{length}");
        }
        body[38] = 99;
        assert_eq!(filter(&body), None);
    }

    #[test]
    fn all_chains_are_asked_for() {
        let expected = [20, 0, 0, 0, 4, 10, 0x01, 0x03, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(list(7), expected);
    }
}
