//! What can be wrong with a packet, or with room for one.
//!
//! One variant per thing an operator would act on differently: each becomes a drop reason of its
//! own, so a variant is split rather than given a "kind", and carries the numbers that were wrong.

use core::fmt;

/// Why bytes were refused. `Copy` and eight bytes, as it travels with packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Error {
    /// A header needs `need` bytes where the packet has `have` left.
    Truncated {
        /// Bytes the header takes.
        need: u16,
        /// Bytes there were.
        have: u16,
    },
    /// The buffer's headroom or tailroom is too small.
    NoRoom {
        /// Bytes asked for.
        need: u16,
        /// Bytes free at that end.
        have: u16,
    },
    /// The packet is, or would become, longer than the 65,535 bytes an IP length field can say.
    TooLong {
        /// Its length in bytes.
        len: u32,
    },

    /// More than one VLAN tag, or a service tag (802.1ad), which announces a stack.
    VlanStacked,
    /// VLAN id 4095, reserved by 802.1Q.
    VlanReserved,

    /// The version nibble is not what the link layer announced; for bare IP, not 4 or 6.
    IpVersion(u8),
    /// IPv4 IHL below 5 words, or more than the packet has (RFC 1812 §5.2.2).
    IpHeaderLen(u8),
    /// IPv4 total length shorter than the header (RFC 1812 §5.2.2).
    IpTotalLen {
        /// The field, in bytes.
        total_len: u16,
        /// Length of the header, in bytes.
        header_len: u16,
    },
    /// The IP datagram is longer than what the link delivered of it (either version).
    IpTruncated {
        /// Length of header and payload by the header's own account.
        total_len: u32,
        /// Bytes there were.
        have: u16,
    },
    /// Wrong IPv4 header checksum.
    IpChecksum,
    /// An IPv4 option's length is below two or leads past the header.
    IpOptions,
    /// IPv6 payload length zero: nothing, or a jumbogram, which no port of ours carries.
    Ipv6PayloadLen,
    /// More than [`crate::parse::MAX_EXTENSION_HEADERS`], hop-by-hop not first, or two fragment headers.
    ExtensionHeaders,
    /// Too many or malformed options, or too much padding, in an IPv6 extension header.
    ExtensionOptions,
    /// IPv6 routing header type 0 (RFC 5095).
    RoutingType0,

    /// A first fragment without the whole header chain (RFC 7112 §5), or a TCP fragment that could
    /// overwrite the first one's flags (RFC 1858 §3).
    TinyFragment,
    /// A fragment that is empty, ends past 65,535 bytes, or is not the last and not a multiple of
    /// eight bytes long (RFC 8200 §4.5).
    FragmentLen,

    /// TCP data offset below 5 words.
    TcpHeaderLen(u8),
    /// A segment to be cut that is not one of TCP, is a fragment, opens or resets a connection, or
    /// asks for pieces with less than [`crate::gso::MIN_MSS`] bytes, or whose way out has no room for
    /// such.
    NotSegmentable,
    /// UDP length field below 8, or not what the IP datagram holds.
    UdpLen {
        /// The field, in bytes.
        len_field: u16,
        /// Bytes of UDP header and payload in the IP datagram.
        have: u16,
    },
    /// Wrong UDP checksum.
    UdpChecksum,
    /// Wrong ICMP or ICMPv6 checksum.
    IcmpChecksum,
    /// A fragment of an ICMP message that only makes sense whole.
    FragmentedIcmp,

    /// The I flag of a VXLAN header is not set; carries the flags byte (RFC 7348 §5).
    VxlanFlags(u8),
    /// Bit 1, 4 or 5 of a GRE header is set; carries its first 16 bits (RFC 2784 §2.3).
    GreFlags(u16),
    /// A GRE version other than 0 (RFC 2784 §2.3.1).
    GreVersion(u8),
    /// GRE with something else than an MPLS label stack; carries the EtherType (RFC 2784 §2.4).
    GreProtocol(u16),
    /// Wrong GRE checksum.
    GreChecksum,
    /// No bottom of the label stack within [`crate::mpls::MAX_DEPTH`] entries, or before the packet's
    /// end.
    LabelStack,
    /// A label below 16 that nothing here handles (RFC 3032 §2.1).
    ReservedLabel(u8),
    /// An entropy label that is missing or reserved, or entropy labels and nothing else (RFC 6790 §4.2).
    EntropyLabel,
    /// The TTL of a label ran out (RFC 3032 §2.4.2).
    LabelTtl,
    /// A tunnel packet in fragments (RFC 7348 §4.3).
    FragmentedOuter,
    /// A tunnel's two addresses are of different IP versions.
    AddressFamily,
    /// Congestion was marked on the tunnel for an inner packet that cannot carry the mark
    /// (RFC 6040 §4.2).
    EcnNotCapable,

    /// Other ends would leave the packet half translated: it has an option that may hold an address,
    /// or a checksum over bytes that are elsewhere.
    Untranslatable,
    /// The packet says something for which the other IP version has no word (RFC 7915).
    NoCounterpart,

    /// Not an Ethernet/IPv4 ARP packet, or cut short (RFC 826).
    MalformedArp,
    /// A neighbour message that fails the checks of RFC 4861 §7.1, or was fragmented (RFC 6980 §5).
    MalformedNd,
}

impl Error {
    /// [`Error::Truncated`]; lengths beyond 65,535 are given as that.
    #[cold]
    #[must_use]
    pub fn truncated(need: usize, have: usize) -> Self {
        Self::Truncated {
            need: saturate(need),
            have: saturate(have),
        }
    }

    #[cold]
    pub(crate) fn too_long(len: usize) -> Self {
        Self::TooLong {
            len: u32::try_from(len).unwrap_or(u32::MAX),
        }
    }

    /// [`Error::NoRoom`]; lengths beyond 65,535 are given as that.
    #[cold]
    #[must_use]
    pub fn no_room(need: usize, have: usize) -> Self {
        Self::NoRoom {
            need: saturate(need),
            have: saturate(have),
        }
    }
}

/// A length for an error; beyond 65,535 the exact number helps nobody.
pub(crate) fn saturate(len: usize) -> u16 {
    u16::try_from(len).unwrap_or(u16::MAX)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Truncated { need, have } => write!(f, "header needs {need} bytes, {have} left"),
            Self::NoRoom { need, have } => write!(f, "buffer has room for {have} bytes of {need}"),
            Self::TooLong { len } => write!(f, "packet of {len} bytes exceeds 65535"),
            Self::VlanStacked => f.write_str("more than one VLAN tag"),
            Self::VlanReserved => f.write_str("VLAN id 4095 is reserved"),
            Self::IpVersion(version) => write!(f, "unexpected IP version {version}"),
            Self::IpHeaderLen(words) => write!(f, "IPv4 header of {words} words"),
            Self::IpTotalLen {
                total_len,
                header_len,
            } => write!(
                f,
                "IPv4 total length {total_len} below header length {header_len}"
            ),
            Self::IpTruncated { total_len, have } => {
                write!(f, "IP datagram of {total_len} bytes, {have} delivered")
            }
            Self::IpChecksum => f.write_str("wrong IPv4 header checksum"),
            Self::IpOptions => f.write_str("malformed IPv4 options"),
            Self::Ipv6PayloadLen => f.write_str("IPv6 payload length is zero"),
            Self::ExtensionHeaders => f.write_str("IPv6 extension headers too many or misplaced"),
            Self::ExtensionOptions => f.write_str("IPv6 options too many or malformed"),
            Self::RoutingType0 => f.write_str("IPv6 routing header type 0"),
            Self::TinyFragment => f.write_str("first fragment without all headers"),
            Self::FragmentLen => f.write_str("impossible fragment length or offset"),
            Self::TcpHeaderLen(words) => write!(f, "TCP header of {words} words"),
            Self::UdpLen { len_field, have } => {
                write!(f, "UDP length {len_field}, datagram holds {have}")
            }
            Self::UdpChecksum => f.write_str("wrong UDP checksum"),
            Self::IcmpChecksum => f.write_str("wrong ICMP checksum"),
            Self::FragmentedIcmp => f.write_str("ICMP message in fragments"),
            Self::VxlanFlags(flags) => write!(f, "VXLAN flags {flags:#04x} without the I flag"),
            Self::GreFlags(flags) => write!(f, "reserved bits in GRE flags {flags:#06x}"),
            Self::GreVersion(version) => write!(f, "GRE version {version}"),
            Self::GreProtocol(protocol) => write!(f, "GRE with protocol type {protocol:#06x}"),
            Self::GreChecksum => f.write_str("wrong GRE checksum"),
            Self::LabelStack => f.write_str("label stack without a bottom, or too deep"),
            Self::ReservedLabel(label) => write!(f, "reserved label {label}"),
            Self::EntropyLabel => f.write_str("misplaced or malformed entropy label"),
            Self::LabelTtl => f.write_str("label TTL ran out"),
            Self::FragmentedOuter => f.write_str("tunnel packet in fragments"),
            Self::AddressFamily => f.write_str("tunnel addresses of different IP versions"),
            Self::EcnNotCapable => f.write_str("congestion marked on a packet without ECN"),
            Self::Untranslatable => f.write_str("packet that cannot be translated as a whole"),
            Self::NoCounterpart => f.write_str("packet that the other IP version cannot express"),
            Self::MalformedArp => f.write_str("malformed ARP packet"),
            Self::NotSegmentable => f.write_str("large segment that cannot be cut"),
            Self::MalformedNd => f.write_str("malformed neighbour discovery message"),
        }
    }
}

impl core::error::Error for Error {}
