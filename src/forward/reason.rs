//! Why a packet or a destination was dropped.

/// A reason to drop, in the order in which they are checked: the first that holds is counted.
///
/// The names are the same everywhere: in `show drops`, in metrics, in documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum DropReason {
    /// Not a well-formed IP header, or one with a source route.
    IpHeader,
    /// A fragment: Xcast packets are never fragmented.
    Fragment,
    /// The source is multicast, unspecified, loopback, a broadcast address, or link-local while
    /// a destination is not on the link.
    Source,
    /// The Xcast version is not 1.
    Version,
    /// The Xcast header is cut short, or its length is not what its fields imply.
    Length,
    /// The checksum of the Xcast header is wrong.
    Checksum,
    /// The list is empty.
    NoDestination,
    /// A bit behind the last destination's is set.
    SpareBits,
    /// No bit is set.
    NoLiveDestination,
    /// Sent to an IP or link-layer address that this router does not serve.
    NotForThisRouter,
    /// The route back to the source does not allow it.
    ReversePath,
    /// The source is not on the list of those that may send.
    SourceNotAllowed,
    /// The source is over its budget.
    RateLimit,
    /// An ICMP echo request to many.
    IcmpEcho,
    /// The TTL is used up.
    TtlExpired,
    /// The destination is not a unicast address, or is link-local on another link.
    BadDestination,
    /// The destination is not on the list of those that may be reached.
    DestinationNotAllowed,
    /// There is no route.
    NoRoute,
    /// The route says `unreachable`, `blackhole`, `prohibit` or drop.
    RouteDrop,
    /// The neighbor did not answer in time, or too many packets were waiting for it.
    NeighborUnresolved,
    /// The packet must stay Xcast, and the next hop does not speak it.
    IncapableWithX,
    /// The packet cannot become unicast: AH, ESP, ports over a protocol that has none, or a
    /// transport header that is cut short.
    X2uImpossible,
    /// The link of the next hop is down, or not a port of this router.
    PortDown,
    /// Larger than the link's MTU.
    TooBig,
    /// The kernel did not take the packet.
    TransmitFailed,
    /// A tunnel packet from an unknown end.
    UnknownEnd,
    /// A tunnel packet that was not authentic.
    BadKey,
    /// A tunnel packet seen before.
    Replay,
    /// Too many tunnels inside each other.
    Depth,
    /// The tunnel of the route is down.
    TunnelDown,
}

impl DropReason {
    /// How many reasons there are.
    pub const COUNT: usize = DropReason::ALL.len();

    /// All reasons, each at its own index.
    pub const ALL: [DropReason; 30] = {
        use DropReason::*;
        [
            IpHeader,
            Fragment,
            Source,
            Version,
            Length,
            Checksum,
            NoDestination,
            SpareBits,
            NoLiveDestination,
            NotForThisRouter,
            ReversePath,
            SourceNotAllowed,
            RateLimit,
            IcmpEcho,
            TtlExpired,
            BadDestination,
            DestinationNotAllowed,
            NoRoute,
            RouteDrop,
            NeighborUnresolved,
            IncapableWithX,
            X2uImpossible,
            PortDown,
            TooBig,
            TransmitFailed,
            UnknownEnd,
            BadKey,
            Replay,
            Depth,
            TunnelDown,
        ]
    };

    /// The name that people and scripts see.
    pub const fn name(self) -> &'static str {
        use DropReason::*;
        match self {
            IpHeader => "ip-header",
            Fragment => "fragment",
            Source => "source",
            Version => "version",
            Length => "length",
            Checksum => "checksum",
            NoDestination => "no-destination",
            SpareBits => "spare-bits",
            NoLiveDestination => "no-live-destination",
            NotForThisRouter => "not-for-this-router",
            ReversePath => "reverse-path",
            SourceNotAllowed => "source-not-allowed",
            RateLimit => "rate-limit",
            IcmpEcho => "icmp-echo",
            TtlExpired => "ttl-expired",
            BadDestination => "bad-destination",
            DestinationNotAllowed => "destination-not-allowed",
            NoRoute => "no-route",
            RouteDrop => "route-drop",
            NeighborUnresolved => "neighbor-unresolved",
            IncapableWithX => "incapable-with-x",
            X2uImpossible => "x2u-impossible",
            PortDown => "port-down",
            TooBig => "too-big",
            TransmitFailed => "transmit-failed",
            UnknownEnd => "unknown-end",
            BadKey => "bad-key",
            Replay => "replay",
            Depth => "depth",
            TunnelDown => "tunnel-down",
        }
    }

    /// Whether it is found before the list of destinations can be trusted: then it counts
    /// packets, and stays outside the identity of destinations; any other counts destinations.
    pub const fn counts_packets(self) -> bool {
        use DropReason::*;
        (self as u8) <= NoLiveDestination as u8
            || matches!(self, UnknownEnd | BadKey | Replay | Depth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_stands_at_its_index_under_a_name_of_its_own() {
        for (index, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
        }
        let mut names = DropReason::ALL.map(DropReason::name).to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), DropReason::COUNT);
    }
}
