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
/// The kernel's own rules, for the tables local, main and default.
const OWN: [u32; 3] = [0, 32766, 32767];

/// How many rules there are for IPv4 beyond the kernel's own three.
///
/// # Errors
/// The kernel does not answer.
pub fn policy_rules() -> Result<usize, KernelError> {
    let mut count = 0;
    let each = |message: &Message<'_>| {
        count += usize::from(!OWN.contains(&priority(message.body)));
    };
    Channel::open(NETLINK_ROUTE)?.dump("list policy rules", request::rules, each)?;
    Ok(count)
}

fn priority(body: &[u8]) -> u32 {
    let known = attributes(body, RULE_HEADER).flatten();
    let mut values = known.filter(|attribute| attribute.kind() == FRA_PRIORITY);
    let value = values.next().and_then(|attribute| attribute.value().try_into().ok());
    value.map_or(0, u32::from_ne_bytes)
}
