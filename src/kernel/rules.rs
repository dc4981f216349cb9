//! Policy routing rules (`ip rule`), which the router does not consult: it only counts them, so
//! that an operator can be warned.

use netlink_sys::protocols::NETLINK_ROUTE;

use super::channel::Channel;
use super::decode::attributes;
use super::framing::Message;
use super::{KernelError, request};

/// `struct fib_rule_hdr`, in octets.
const RULE_HEADER: usize = 12;
/// Priority of a rule (`linux/fib_rules.h`); absent where it is 0.
const FRA_PRIORITY: u16 = 6;
/// The kernel's own rules: for the tables local and main, and for default, which IPv6 lacks.
const OWN_V4: &[u32] = &[0, 32766, 32767];
const OWN_V6: &[u32] = &[0, 32766];

/// How many rules there are, for IPv4 and IPv6 together, beyond the kernel's own.
///
/// # Errors
/// The kernel does not answer.
pub fn policy_rules() -> Result<usize, KernelError> {
    let mut channel = Channel::open(NETLINK_ROUTE)?;
    let mut count = 0;
    for (family, own) in [(libc::AF_INET, OWN_V4), (libc::AF_INET6, OWN_V6)] {
        let each = |message: &Message<'_>| {
            count += usize::from(!own.contains(&priority(message.body)));
        };
        match channel.dump("list policy rules", request::rules(family as u8), each) {
            Ok(_) => {}
            // A kernel without IPv6, or without policy rules.
            Err(error) if no_rules(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}

fn no_rules(error: &KernelError) -> bool {
    matches!(error.errno(), Some(libc::EAFNOSUPPORT | libc::EOPNOTSUPP))
}

fn priority(body: &[u8]) -> u32 {
    let known = attributes(body, RULE_HEADER).flatten();
    let mut values = known.filter(|attribute| attribute.kind() == FRA_PRIORITY);
    let value = values.next().and_then(|attribute| attribute.value().try_into().ok());
    value.map_or(0, u32::from_ne_bytes)
}
