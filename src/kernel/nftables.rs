//! The kernel-side drop: keeps the kernel's stack from working on, answering or forwarding the
//! packets that the router takes with packet sockets, which only ever see copies.
//!
//! It is an nftables table of family netdev, which has a chain at the ingress hook of each port,
//! behind the packet sockets' tap and before everything else. The messages ([`message`]) are
//! written here, so no `nft` program is needed, and as they are plain netlink they work in an
//! unprivileged user namespace too.
//!
//! The table belongs to our socket (`NFT_TABLE_F_OWNER`, Linux 5.12): the kernel removes it when
//! the socket closes, crash included, and refuses changes by others. On an older kernel the table
//! of a crashed router stays until a router of the same name starts.

mod message;
#[cfg(test)]
mod tests;

use std::io;

use netlink_sys::protocols::NETLINK_NETFILTER;

use super::KernelError;
use super::channel::Channel;
use message::{Batch, Rule};

/// Tells the kernel which packets to drop on which interfaces. Dropping this value ends all of
/// it.
#[derive(Debug)]
pub struct IngressDrop {
    channel: Channel,
    table: String,
    rules: Vec<Rule>,
}

/// What the kernel dropped on an interface, since it was attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Packets.
    pub packets: u64,
    /// Their octets, from the IP header on.
    pub octets: u64,
}

impl IngressDrop {
    /// Creates the table `xcast-NAME` in the current network namespace, without any interface
    /// yet. What it will drop is Xcast4, IPv4 packets of protocol `ip_protocol`, and Xcast6, IPv6
    /// packets whose first extension header, or first behind Hop-by-Hop, is a routing header of
    /// `routing_type`, whatever their destination; VLAN-tagged frames are left alone. A table of
    /// this name whose owner is gone is replaced.
    ///
    /// # Errors
    /// [`KernelError::Owned`] if a live process has this table. Otherwise the kernel refused:
    /// `CAP_NET_ADMIN` is missing, or it has no nftables.
    pub fn open(name: &str, ip_protocol: u8, routing_type: u8) -> Result<IngressDrop, KernelError> {
        let rules = vec![
            message::xcast4(ip_protocol),
            message::xcast6(routing_type),
            message::xcast6_behind_hop_by_hop(routing_type),
        ];
        IngressDrop::with(name, rules)
    }

    /// The same, but whatever arrives will be dropped.
    ///
    /// # Errors
    /// As [`open`](IngressDrop::open).
    pub fn of_all(name: &str) -> Result<IngressDrop, KernelError> {
        IngressDrop::with(name, vec![message::anything()])
    }

    fn with(name: &str, rules: Vec<Rule>) -> Result<IngressDrop, KernelError> {
        let channel = Channel::open(NETLINK_NETFILTER)?;
        let mut this = IngressDrop { channel, table: format!("xcast-{name}"), rules };
        let action = format!("create the nftables table {}", this.table);
        let mut verdict = this.commit(&action, |batch| batch.replace_table(true))?;
        // The flag is unknown before 5.12.
        if matches!(verdict.code, libc::EOPNOTSUPP | libc::EINVAL) {
            verdict = this.commit(&action, |batch| batch.replace_table(false))?;
        }
        // Without the privilege the kernel refuses the transaction before it looks inside.
        if verdict.code == libc::EPERM && !verdict.of_all {
            return Err(KernelError::Owned { table: this.table.clone() });
        }
        verdict.accept(&action).map(|()| this)
    }

    /// Has interfaces that are attached from now on drop packets in semi-permeable tunnels too, which
    /// are known by the Hop-by-Hop option `option`.
    pub fn add_envelopes(&mut self, option: u8) {
        self.rules.push(message::envelope(option));
    }

    /// Drops on an interface from now on. Does nothing if it does already; an interface that
    /// vanished and came back is attached anew.
    ///
    /// # Errors
    /// The kernel refused. An interface that does not exist is refused by older kernels only;
    /// newer ones accept it and drop from the moment it appears.
    pub fn attach(&mut self, interface: &str) -> Result<(), KernelError> {
        let action = format!("attach the kernel-side drop to {interface}");
        let rules = self.rules.clone();
        let mut verdict = self.commit(&action, |batch| {
            batch.new_chain(interface, true);
            for rule in &rules {
                batch.new_rule(interface, rule);
            }
        })?;
        // The chain is there, with its rules and counters, but perhaps without its interface:
        // newer kernels keep a chain whose interface went.
        if verdict.code == libc::EEXIST {
            verdict = self.commit(&action, |batch| batch.new_chain(interface, false))?;
        }
        verdict.accept(&action)
    }

    /// Stops dropping on an interface. Does nothing if that is so already, and where the kernel
    /// did it because the interface vanished.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn detach(&mut self, interface: &str) -> Result<(), KernelError> {
        let action = format!("detach the kernel-side drop from {interface}");
        let verdict = self.commit(&action, |batch| batch.delete_chain(interface))?;
        match verdict.code {
            libc::ENOENT => Ok(()),
            _ => verdict.accept(&action),
        }
    }

    /// What was dropped on an interface since it was attached; zero if it is not.
    ///
    /// # Errors
    /// The kernel refused or did not answer.
    pub fn dropped(&mut self, interface: &str) -> Result<Dropped, KernelError> {
        let action = format!("read what was dropped on {interface}");
        let mut sum = Dropped::default();
        let table = &self.table;
        let outcome = self.channel.dump(
            &action,
            |sequence| message::list_rules(table, interface, sequence),
            |rule| {
                let dropped = message::counted(rule.body);
                sum.packets += dropped.packets;
                sum.octets += dropped.octets;
            },
        );
        match outcome {
            Ok(_) => Ok(sum),
            Err(error) if error.errno() == Some(libc::ENOENT) => Ok(sum),
            Err(error) => Err(error),
        }
    }

    /// Sends a transaction and waits for its outcome. The kernel does all of it or nothing.
    fn commit(
        &mut self,
        action: &str,
        write: impl FnOnce(&mut Batch<'_>),
    ) -> Result<Verdict, KernelError> {
        let first = self.channel.next_sequence();
        let mut batch = Batch::begin(&self.table, first);
        write(&mut batch);
        let (bytes, last) = batch.end();
        self.channel.advance_to(last);
        self.channel.send(&bytes, action)?;
        let mut verdict = Verdict::default();
        loop {
            for answer in self.channel.receive(action)? {
                // Answers may be left of an earlier transaction that was refused as a whole.
                if !(first..=last).contains(&answer.sequence) {
                    continue;
                }
                let Some(code) = answer.verdict() else {
                    continue;
                };
                let of_all = answer.sequence == first;
                if verdict.code == 0 {
                    verdict = Verdict { code, of_all };
                }
                // Every message is answered, in order, unless all are refused by one answer.
                if of_all || answer.sequence == last {
                    return Ok(verdict);
                }
            }
        }
    }
}

impl Drop for IngressDrop {
    fn drop(&mut self) {
        // Closing the socket removes an owned table anyway; one without an owner needs this.
        let action = format!("delete the nftables table {}", self.table);
        let outcome = self.commit(&action, |batch| batch.delete_table());
        if let Err(error) = outcome.and_then(|verdict| verdict.accept(&action)) {
            tracing::debug!(%error, "the kernel-side drop ends with its socket");
        }
    }
}

/// The kernel's answer to a transaction.
#[derive(Clone, Copy, Debug, Default)]
struct Verdict {
    /// The first refusal's error number; 0 if there was none.
    code: i32,
    /// The transaction was refused as a whole, not for one of its messages.
    of_all: bool,
}

impl Verdict {
    fn accept(self, action: &str) -> Result<(), KernelError> {
        match self.code {
            0 => Ok(()),
            code => Err(KernelError::refused(action, io::Error::from_raw_os_error(code))),
        }
    }
}
