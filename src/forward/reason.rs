//! Why a packet or a destination was dropped.

/// Makes the enum, its list and its names out of one table.
macro_rules! reasons {
    ($($(#[doc = $doc:literal])* $reason:ident = $name:literal,)*) => {
        /// A reason to drop, in the order in which they are checked: the first that holds is
        /// counted.
        ///
        /// The names are the same everywhere: in `show drops`, in `explain`, in documentation.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum DropReason {
            $($(#[doc = $doc])* $reason,)*
        }

        impl DropReason {
            /// All reasons, each at its own index.
            pub const ALL: [DropReason; DropReason::COUNT] = [$(DropReason::$reason),*];

            /// How many reasons there are.
            pub const COUNT: usize = [$($name),*].len();

            /// The name that people and scripts see.
            pub const fn name(self) -> &'static str {
                [$($name),*][self as usize]
            }
        }
    };
}

reasons! {
    /// Not a well-formed IP header, or one with a source route.
    IpHeader = "ip-header",
    /// A fragment: Xcast packets are never fragmented.
    Fragment = "fragment",
    /// The source is multicast, unspecified, loopback, a broadcast address, or link-local while
    /// a destination is not on the link.
    Source = "source",
    /// The Xcast version is not 1.
    Version = "version",
    /// The Xcast header is cut short, or its length is not what its fields imply.
    Length = "length",
    /// The checksum of the Xcast header is wrong.
    Checksum = "checksum",
    /// The list is empty.
    NoDestination = "no-destination",
    /// A bit behind the last destination's is set.
    SpareBits = "spare-bits",
    /// No bit is set.
    NoLiveDestination = "no-live-destination",
    /// Sent to an IP or link-layer address that this router does not serve.
    NotForThisRouter = "not-for-this-router",
    /// The route back to the source does not allow it.
    ReversePath = "reverse-path",
    /// The source is not on the list of those that may send.
    SourceNotAllowed = "source-not-allowed",
    /// The source is over its budget.
    RateLimit = "rate-limit",
    /// An ICMP echo request to many.
    IcmpEcho = "icmp-echo",
    /// The TTL is used up.
    TtlExpired = "ttl-expired",
    /// The destination is not a unicast address, or is link-local on another link.
    BadDestination = "bad-destination",
    /// The destination is not on the list of those that may be reached.
    DestinationNotAllowed = "destination-not-allowed",
    /// There is no route.
    NoRoute = "no-route",
    /// The route says `unreachable`, `blackhole`, `prohibit` or drop.
    RouteDrop = "route-drop",
    /// The neighbor did not answer in time, or too many packets were waiting for it.
    NeighborUnresolved = "neighbor-unresolved",
    /// The packet must stay Xcast, and the next hop does not speak it.
    IncapableWithX = "incapable-with-x",
    /// The packet cannot become unicast: AH, ESP, ports over a protocol that has none, or a
    /// transport header that is cut short.
    X2uImpossible = "x2u-impossible",
    /// The link of the next hop is down, or not a port of this router.
    PortDown = "port-down",
    /// Larger than the link's MTU.
    TooBig = "too-big",
    /// The kernel did not take the packet.
    TransmitFailed = "transmit-failed",
    /// A tunnel packet from an unknown end.
    UnknownEnd = "unknown-end",
    /// A tunnel packet that was not authentic.
    BadKey = "bad-key",
    /// A tunnel packet seen before.
    Replay = "replay",
    /// Too many tunnels inside each other.
    Depth = "depth",
    /// The tunnel of the route is down.
    TunnelDown = "tunnel-down",
}

impl DropReason {
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
