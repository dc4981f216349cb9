//! The capabilities of a running router.

use std::collections::HashSet;

use caps::errors::CapsError;
use caps::{CapSet, Capability};

/// What a router needs for as long as it runs: nftables, neighbors and large socket buffers; and
/// packet and raw sockets. In the order of their numbers.
const KEPT: [Capability; 2] = [Capability::CAP_NET_ADMIN, Capability::CAP_NET_RAW];
/// What loading XDP programs takes beyond that.
const FOR_PROGRAMS: Capability = Capability::CAP_BPF;

/// What binding UDP to a port below 1024 takes.
const FOR_LOW_PORTS: Capability = Capability::CAP_NET_BIND_SERVICE;

/// Gives up every capability but [`KEPT`], with `programs` [`FOR_PROGRAMS`], and with `low_ports`
/// [`FOR_LOW_PORTS`]; returns the names
/// of those that are left, which may be fewer. Nothing is left that a program executed later could
/// inherit.
pub(super) fn reduce(programs: bool, low_ports: bool) -> Result<Vec<String>, CapsError> {
    let permitted = caps::read(None, CapSet::Permitted)?;
    let kept = low_ports.then_some(FOR_LOW_PORTS).into_iter().chain(KEPT);
    let kept = kept.chain(programs.then_some(FOR_PROGRAMS));
    let kept: Vec<Capability> = kept.filter(|it| permitted.contains(it)).collect();
    // Who started with fewer may not touch the bounding set, which matters less to him: without
    // new privileges it gives nothing.
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP)? {
        caps::clear(None, CapSet::Bounding)?;
    }
    // What is ambient goes with it, as it must be inheritable.
    caps::clear(None, CapSet::Inheritable)?;
    let left: HashSet<Capability, _> = kept.iter().copied().collect();
    // In this order, as what is effective must be permitted.
    caps::set(None, CapSet::Effective, &left)?;
    caps::set(None, CapSet::Permitted, &left)?;
    Ok(kept.iter().map(ToString::to_string).collect())
}
