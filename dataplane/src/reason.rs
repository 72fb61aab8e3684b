//! Why a packet went no further: one name per reason, the same in counters, the
//! control protocol, the command line and the tests.

use encap::Error;
use flowtable::Limit;

/// Declares the reasons with their names and what each tells an operator.
macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// Why a packet was dropped.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum DropReason { $($(#[doc = $doc])+ $variant,)+ }

        impl DropReason {
            /// Every reason, in the order of their numbers.
            pub const ALL: &[DropReason] = &[$(DropReason::$variant,)+];

            /// The name in counters, messages and files.
            pub const fn name(self) -> &'static str {
                match self { $(DropReason::$variant => $name,)+ }
            }

            /// One line for an operator.
            pub fn meaning(self) -> &'static str {
                match self { $(DropReason::$variant => concat!($($doc),+).trim_ascii(),)+ }
            }
        }
    };
}

reasons! {
    /// The frame ends inside a header.
    Truncated = "truncated",
    /// The packet is or would become longer than an IP length field can say.
    TooLong = "too_long",
    /// More than one VLAN tag.
    VlanStacked = "vlan_stacked",
    /// VLAN id 4095, reserved by 802.1Q.
    VlanReserved = "vlan_reserved",
    /// A VLAN tag where the vif has none, or not the vif's.
    VlanUnexpected = "vlan_unexpected",
    /// The IP version field does not fit the EtherType.
    IpVersion = "ip_version",
    /// The IPv4 header length is under 20 bytes or beyond the packet (RFC 1812 §5.2.2).
    IpHeaderLen = "ip_header_len",
    /// The IPv4 total length is shorter than the header (RFC 1812 §5.2.2).
    IpTotalLen = "ip_total_len",
    /// The IP datagram is longer than what the link delivered.
    IpTruncated = "ip_truncated",
    /// The IPv4 header checksum is wrong.
    IpChecksum = "ip_checksum",
    /// Malformed IPv4 options.
    IpOptions = "ip_options",
    /// The IPv6 payload length is zero.
    Ipv6PayloadLen = "ipv6_payload_len",
    /// The IPv6 extension headers are too many or misplaced.
    ExtensionHeaders = "extension_headers",
    /// Too many or malformed options in an IPv6 extension header.
    ExtensionOptions = "extension_options",
    /// An IPv6 routing header of type 0 (RFC 5095).
    RoutingType0 = "routing_type0",
    /// A first fragment without all its headers (RFC 1858, RFC 7112), of a tunnel packet down to the first label.
    TinyFragment = "tiny_fragment",
    /// A fragment of impossible length or offset.
    FragmentLen = "fragment_len",
    /// A fragment with bytes that another of its datagram has, and whatever of that datagram comes after it (RFC 5722, RFC 8200 §4.5).
    FragmentOverlap = "fragment_overlap",
    /// A datagram in more than 64 pieces.
    FragmentPieces = "fragment_pieces",
    /// The first fragment of the datagram, which has its ports, did not come in time.
    FragmentTimeout = "fragment_timeout",
    /// No room to wait for the datagram's first fragment, and nobody's share of it is larger than this vrf's.
    FragmentLimit = "fragment_limit",
    /// A fragment of a tunnel packet that came twice.
    FragmentDuplicate = "fragment_duplicate",
    /// Other fragments of the tunnel packet did not come in time (RFC 8200 §4.5).
    ReassemblyTimeout = "reassembly_timeout",
    /// No room to wait for the tunnel packet's other fragments, and nobody's share of it is larger than this peer's.
    ReassemblyLimit = "reassembly_limit",
    /// The TCP data offset is under 20 bytes.
    TcpHeaderLen = "tcp_header_len",
    /// A large segment that cannot be cut: not TCP, a fragment, with SYN or RST, or in too small pieces.
    NotSegmentable = "not_segmentable",
    /// The UDP length field does not fit the packet.
    UdpLen = "udp_len",
    /// MPLS over UDP over IPv6 without a UDP checksum, which was not agreed with its sender (RFC 7510 §3.1).
    UdpChecksumMissing = "udp_checksum_missing",
    /// The UDP checksum is wrong.
    UdpChecksum = "udp_checksum",
    /// The ICMP checksum is wrong.
    IcmpChecksum = "icmp_checksum",
    /// An ICMP message in fragments that only makes sense whole.
    FragmentedIcmp = "fragmented_icmp",
    /// A VXLAN header without the I flag (RFC 7348 §5).
    VxlanFlags = "vxlan_flags",
    /// A GRE header with reserved bits that count (RFC 2784 §2.3).
    GreFlags = "gre_flags",
    /// A GRE version other than 0 (RFC 2784 §2.3.1).
    GreVersion = "gre_version",
    /// GRE that carries something else than an MPLS label stack (RFC 2784 §2.4).
    GreProtocol = "gre_protocol",
    /// The GRE checksum is wrong.
    GreChecksum = "gre_checksum",
    /// An MPLS label stack of more than 8 entries, or without a bottom (RFC 3032 §2.2).
    LabelStack = "label_stack",
    /// A reserved MPLS label that nothing here handles, implicit null among them (RFC 3032 §2.1).
    LabelReserved = "label_reserved",
    /// A malformed or misplaced entropy label (RFC 6790 §4.2).
    EntropyLabel = "entropy_label",
    /// The TTL of an MPLS label ran out (RFC 3032 §2.4.2).
    LabelTtlExpired = "label_ttl_expired",
    /// A tunnel packet in fragments that are not put together: VXLAN (RFC 7348 §4.3), or with IPv6 extension headers behind the fragment header.
    TunnelFragment = "tunnel_fragment",
    /// Congestion was signalled on the way to a packet that cannot carry it on (RFC 6040 §4.2).
    EcnNotCapable = "ecn_not_capable",
    /// Not an Ethernet and IPv4 ARP packet (RFC 826).
    MalformedArp = "malformed_arp",
    /// A neighbour discovery message that fails the checks of RFC 4861 §7.1.
    MalformedNd = "malformed_nd",
    /// The headers leave no room for the tunnel's.
    NoHeadroom = "no_headroom",
    /// The source MAC is not the vif's.
    SpoofedMac = "spoofed_mac",
    /// The source address is not one the vif may send from.
    SpoofedSource = "spoofed_source",
    /// The packet asks to be routed by its sender's list (RFC 7126 §4.3).
    SourceRoute = "source_route",
    /// The source or destination address may not appear on the wire (RFC 1812 §5.3.7).
    Martian = "martian",
    /// No VNI object for the network id that arrived.
    UnknownVni = "unknown_vni",
    /// No label object for the MPLS label that arrived.
    UnknownLabel = "unknown_label",
    /// Out of a tunnel and addressed to the node that sent it in (RFC 2784 §3.1).
    TunnelLoop = "tunnel_loop",
    /// The outer source is no tunnel's remote.
    UnknownTunnelSource = "unknown_tunnel_source",
    /// The way back to the source does not lead where the packet came from.
    ReversePath = "reverse_path",
    /// From one tunnel into another.
    SplitHorizon = "split_horizon",
    /// No route to the destination.
    NoRoute = "no_route",
    /// No bridge entry for the destination MAC, or no MAC to route to.
    NoMac = "no_mac",
    /// The vrf (its `mode`), or a vif without `mac`, does not forward frames of this kind.
    ForwardingMode = "forwarding_mode",
    /// Broadcast or multicast, which this vrf does not replicate.
    Multicast = "multicast",
    /// The vif sent more frames to be replicated than its `storm_limit`.
    StormLimit = "storm_limit",
    /// To be replicated, and every member is where it came from.
    NoMember = "no_member",
    /// No buffer was free for a copy of it, or a piece.
    NoBuffer = "no_buffer",
    /// To a MAC behind the vif it came from.
    SameVif = "same_vif",
    /// A new source MAC where as many are learned as may be: of the vif (`max_learned_macs`), the vrf or the node.
    MacLimit = "mac_limit",
    /// The source MAC moved too often, and stays where it was for a while.
    MacMoves = "mac_moves",
    /// A router advertisement or redirect from a tenant (RFC 6105).
    RaGuard = "ra_guard",
    /// Link-local addresses stay on their link (RFC 4291 §2.5.6).
    LinkLocal = "link_local",
    /// To a gateway address, and not something it answers.
    ToGateway = "to_gateway",
    /// Nobody known has the address that ARP or ND asked for.
    NeighbourUnanswered = "neighbour_unanswered",
    /// An ARP or ND announcement that nobody asked for: what is known comes from the controller.
    NeighbourUnsolicited = "neighbour_unsolicited",
    /// The TTL or hop limit ran out.
    TtlExpired = "ttl_expired",
    /// The nexthop says `discard`.
    Discard = "discard",
    /// The nexthop says `reject`; the sender is told.
    Reject = "reject",
    /// No route in the underlay to the tunnel's remote.
    NoUnderlayRoute = "no_underlay_route",
    /// The underlay neighbour did not answer in time.
    NeighbourUnresolved = "neighbour_unresolved",
    /// Too many packets already wait for a neighbour.
    NeighbourQueueFull = "neighbour_queue_full",
    /// The configuration changed its way while it waited for a neighbour.
    NexthopChanged = "nexthop_changed",
    /// Larger than the vif or tunnel takes.
    TooBig = "too_big",
    /// The port found the TCP or UDP checksum of a tenant's packet wrong.
    L4Checksum = "l4_checksum",
    /// A path MTU out of bounds: below 576 (IPv4) or 1280 bytes (IPv6), or not below the one known (RFC 8201 §4).
    PathMtuIgnored = "path_mtu_ignored",
    /// An ICMP error about a tunnel packet that this node does not send.
    IcmpUnmatched = "icmp_unmatched",
    /// Its outer pieces would have an identification that others had two minutes ago or less (RFC 6864 §4.3).
    FragmentIds = "fragment_ids",
    /// Heard on the fabric, and neither for a vif address nor for a host vif.
    NotForUs = "not_for_us",
    /// For the host, and there is no host vif.
    NoHost = "no_host",
    /// The flow table is full, and none of its flows may go for this one.
    FlowTableFull = "flow_table_full",
    /// The flow table has its share of half-open flows: TCP before its handshake is done.
    FlowTableHalfOpen = "flow_table_half_open",
    /// The vif that the flow counts for has its quota of flows.
    FlowQuotaVif = "flow_quota_vif",
    /// The vif that the flow counts for has its share of half-open flows.
    FlowHalfOpenVif = "flow_half_open_vif",
    /// The vrf has its quota of flows.
    FlowQuotaVrf = "flow_quota_vrf",
    /// The vrf has its share of half-open flows.
    FlowHalfOpenVrf = "flow_half_open_vrf",
    /// The reverse direction belongs to another flow.
    FlowConflict = "flow_conflict",
    /// No rule of the policies that hold for the vif in this direction allows the flow, or one
    /// denies it.
    PolicyDenied = "policy_denied",
    /// A rule of the policies that hold for the vif in this direction rejects the flow.
    PolicyRejected = "policy_rejected",
    /// The pool has no address and port left to give.
    SnatExhausted = "snat_exhausted",
    /// The vif has all the ports of the pool that it may have.
    SnatPortLimit = "snat_port_limit",
    /// Nobody was given this address and port of a pool.
    SnatUnknown = "snat_unknown",
    /// The address and port of a pool belong to a machine that did not talk to this sender.
    SnatFiltered = "snat_filtered",
    /// The packet is of a protocol that a pool's addresses cannot be shared by.
    SnatProtocol = "snat_protocol",
    /// The address is a virtual one, and nothing is called by this protocol and port there.
    NoService = "no_service",
    /// The service has no backend that may get new flows.
    NoBackend = "no_backend",
    /// The backend of the flow went down, and the service resets its flows.
    BackendDown = "backend_down",
    /// The way leads from one network into the next too many times, as in a loop.
    VrfLoop = "vrf_loop",
    /// The meter had no room for the packet.
    Metered = "metered",
    /// The packet cannot get other addresses as a whole: it has an IPv4 option that may hold one (RFC 1812 §5.3.13.1), or is part of an SCTP packet.
    Untranslatable = "untranslatable",
    /// The flow that says how the packet is translated went while the packet was on its way.
    FlowGone = "flow_gone",
    /// The packet cannot be translated between IPv4 and IPv6 (RFC 7915).
    Nat64 = "nat64",
    /// An ICMP error about a flow that there is none of.
    ErrorUnrelated = "error_unrelated",
    /// The vif has just been removed.
    VifGone = "vif_gone",
    /// The transmit ring was full.
    TxRingFull = "tx_ring_full",
}

impl DropReason {
    /// How many reasons there are.
    pub const COUNT: usize = DropReason::ALL.len();
}

impl From<Error> for DropReason {
    fn from(error: Error) -> DropReason {
        match error {
            Error::Truncated { .. } => DropReason::Truncated,
            Error::NoRoom { .. } => DropReason::NoHeadroom,
            Error::TooLong { .. } => DropReason::TooLong,
            Error::VlanStacked => DropReason::VlanStacked,
            Error::VlanReserved => DropReason::VlanReserved,
            Error::IpVersion(_) => DropReason::IpVersion,
            Error::IpHeaderLen(_) => DropReason::IpHeaderLen,
            Error::IpTotalLen { .. } => DropReason::IpTotalLen,
            Error::IpTruncated { .. } => DropReason::IpTruncated,
            Error::IpChecksum => DropReason::IpChecksum,
            Error::IpOptions => DropReason::IpOptions,
            Error::Ipv6PayloadLen => DropReason::Ipv6PayloadLen,
            Error::ExtensionHeaders => DropReason::ExtensionHeaders,
            Error::ExtensionOptions => DropReason::ExtensionOptions,
            Error::RoutingType0 => DropReason::RoutingType0,
            Error::TinyFragment => DropReason::TinyFragment,
            Error::FragmentLen => DropReason::FragmentLen,
            Error::TcpHeaderLen(_) => DropReason::TcpHeaderLen,
            Error::NotSegmentable => DropReason::NotSegmentable,
            Error::UdpLen { .. } => DropReason::UdpLen,
            Error::UdpChecksum => DropReason::UdpChecksum,
            Error::IcmpChecksum => DropReason::IcmpChecksum,
            Error::FragmentedIcmp => DropReason::FragmentedIcmp,
            Error::VxlanFlags(_) => DropReason::VxlanFlags,
            Error::GreFlags(_) => DropReason::GreFlags,
            Error::GreVersion(_) => DropReason::GreVersion,
            Error::GreProtocol(_) => DropReason::GreProtocol,
            Error::GreChecksum => DropReason::GreChecksum,
            Error::LabelStack => DropReason::LabelStack,
            Error::ReservedLabel(_) => DropReason::LabelReserved,
            Error::EntropyLabel => DropReason::EntropyLabel,
            Error::LabelTtl => DropReason::LabelTtlExpired,
            Error::FragmentedOuter => DropReason::TunnelFragment,
            Error::AddressFamily => DropReason::NoUnderlayRoute,
            Error::EcnNotCapable => DropReason::EcnNotCapable,
            Error::Untranslatable => DropReason::Untranslatable,
            Error::NoCounterpart => DropReason::Nat64,
            Error::MalformedArp => DropReason::MalformedArp,
            Error::MalformedNd => DropReason::MalformedNd,
        }
    }
}

impl From<Limit> for DropReason {
    fn from(limit: Limit) -> DropReason {
        match limit {
            Limit::Table => DropReason::FlowTableFull,
            Limit::TableHalfOpen => DropReason::FlowTableHalfOpen,
            Limit::Vif => DropReason::FlowQuotaVif,
            Limit::VifHalfOpen => DropReason::FlowHalfOpenVif,
            Limit::Vrf => DropReason::FlowQuotaVrf,
            Limit::VrfHalfOpen => DropReason::FlowHalfOpenVrf,
        }
    }
}
