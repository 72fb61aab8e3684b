//! Link-layer addresses and the numbers that name virtual networks.
//!
//! IP addresses are those of [`core::net`]. Each number here is checked once, by `new`, and in
//! range from then on.

use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr};
use core::num::NonZeroU16;
use core::str::FromStr;

/// A 48-bit Ethernet address, in transmission order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// All zero: no address.
    pub const ZERO: Self = Self([0; 6]);
    /// Every station on the link.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// The address every vrouter answers with for a gateway, so that a guest that moves to another
    /// node finds its gateway under the same address. From the IANA range of RFC 9542 §2.1.
    pub const VROUTER: Self = Self([0x00, 0x00, 0x5e, 0x00, 0x01, 0x00]);

    /// The address an IPv4 multicast group is sent to (RFC 1112 §6.4).
    #[must_use]
    pub const fn ipv4_multicast(group: Ipv4Addr) -> Self {
        let [_, b, c, d] = group.octets();
        Self([0x01, 0x00, 0x5e, b & 0x7f, c, d])
    }

    /// The address an IPv6 multicast group is sent to (RFC 2464 §7).
    #[must_use]
    pub const fn ipv6_multicast(group: Ipv6Addr) -> Self {
        let [.., a, b, c, d] = group.octets();
        Self([0x33, 0x33, a, b, c, d])
    }

    /// From the low 48 bits of `value`, the first byte on the wire being the highest.
    #[must_use]
    pub const fn from_u64(value: u64) -> Self {
        let [_, _, a, b, c, d, e, f] = value.to_be_bytes();
        Self([a, b, c, d, e, f])
    }

    /// As a number, the first byte on the wire being the highest of six.
    #[must_use]
    pub const fn to_u64(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }

    /// Whether this is a group address; broadcast is one.
    #[must_use]
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Whether every station is meant.
    #[must_use]
    pub const fn is_broadcast(self) -> bool {
        self.to_u64() == 0xffff_ffff_ffff
    }

    /// Whether a single station may own this address: neither a group nor all zero.
    #[must_use]
    pub const fn is_unicast(self) -> bool {
        !self.is_multicast() && self.to_u64() != 0
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(out, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl From<[u8; 6]> for MacAddr {
    fn from(bytes: [u8; 6]) -> Self {
        Self(bytes)
    }
}

/// Text that is not six pairs of hexadecimal digits joined by colons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidMac;

impl fmt::Display for InvalidMac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected a MAC address such as 02:00:00:00:01:05")
    }
}

impl core::error::Error for InvalidMac {}

impl FromStr for MacAddr {
    type Err = InvalidMac;

    fn from_str(text: &str) -> Result<Self, InvalidMac> {
        let mut bytes = [0; 6];
        let mut pairs = text.split(':');
        for byte in &mut bytes {
            let pair = pairs.next().ok_or(InvalidMac)?;
            // from_str_radix alone would let "+5" pass.
            if pair.len() != 2 || !pair.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(InvalidMac);
            }
            *byte = u8::from_str_radix(pair, 16).map_err(|_| InvalidMac)?;
        }
        match pairs.next() {
            None => Ok(Self(bytes)),
            Some(_) => Err(InvalidMac),
        }
    }
}

/// The solicited-node multicast group of an IPv6 address (RFC 4291 §2.7.1).
#[must_use]
pub const fn solicited_node(addr: Ipv6Addr) -> Ipv6Addr {
    const PREFIX: u128 = 0xff02_0000_0000_0000_0000_0001_ff00_0000;
    Ipv6Addr::from_bits(PREFIX | addr.to_bits() & 0xff_ffff)
}

/// A VXLAN network identifier, 24 bits (RFC 7348 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vni(u32);

impl Vni {
    /// The largest one.
    pub const MAX: Self = Self((1 << 24) - 1);

    /// `None` if `vni` takes more than 24 bits.
    #[must_use]
    pub const fn new(vni: u32) -> Option<Self> {
        if vni <= Self::MAX.0 {
            Some(Self(vni))
        } else {
            None
        }
    }

    /// As a number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// From the word it is in, of which the last byte is reserved.
    pub(crate) const fn from_word(word: [u8; 4]) -> Self {
        Self(u32::from_be_bytes(word) >> 8)
    }

    pub(crate) const fn to_be_bytes(self) -> [u8; 3] {
        let [_, a, b, c] = self.0.to_be_bytes();
        [a, b, c]
    }
}

/// An MPLS label, 20 bits (RFC 3032 §2.1). Those below 16 have meanings of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(u32);

impl Label {
    /// The largest one.
    pub const MAX: Self = Self((1 << 20) - 1);
    /// Behind the stack lies IPv4 (RFC 3032 §2.1).
    pub const IPV4_EXPLICIT_NULL: Self = Self(0);
    /// Behind the stack lies IPv6 (RFC 3032 §2.1).
    pub const IPV6_EXPLICIT_NULL: Self = Self(2);
    /// The next entry is an entropy label (RFC 6790 §3).
    pub const ENTROPY_INDICATOR: Self = Self(7);

    /// `None` if `label` takes more than 20 bits.
    #[must_use]
    pub const fn new(label: u32) -> Option<Self> {
        if label <= Self::MAX.0 {
            Some(Self(label))
        } else {
            None
        }
    }

    /// As a number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Whether it is one of 0 to 15, which nobody may assign (RFC 3032 §2.1, RFC 7274).
    #[must_use]
    pub const fn is_reserved(self) -> bool {
        self.0 < 16
    }

    /// The label in the high 20 bits of a label stack entry.
    pub(crate) const fn from_entry(entry: u32) -> Self {
        Self(entry >> 12)
    }
}

/// A VLAN identifier, 1 to 4094 (802.1Q). `Option<VlanId>` takes no more room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VlanId(NonZeroU16);

impl VlanId {
    /// The largest one.
    pub const MAX: u16 = 4094;

    /// `None` for 0, which stands for "no VLAN", and for the reserved 4095 and all above.
    #[must_use]
    pub const fn new(id: u16) -> Option<Self> {
        match NonZeroU16::new(id) {
            Some(id) if id.get() <= Self::MAX => Some(Self(id)),
            _ => None,
        }
    }

    /// As a number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

impl fmt::Display for Vni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Display for VlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn mac_is_read_and_shown_alike() {
        let mac: MacAddr = "02:00:5E:10:aB:ff".parse().unwrap();
        assert_eq!(mac, MacAddr([2, 0, 0x5e, 0x10, 0xab, 0xff]));
        assert_eq!(mac.to_string(), "02:00:5e:10:ab:ff");
        assert_eq!(MacAddr::from_u64(mac.to_u64()), mac);
        assert_eq!(mac.to_u64(), 0x0200_5e10_abff);
    }

    #[test]
    fn mac_of_another_shape_is_refused() {
        for text in [
            "",
            "02:00:00:00:01",
            "02:00:00:00:01:05:06",
            "02:00:00:00:01:5",
            "+2:00:00:00:01:05",
            "02-00-00-00-01-05",
            "0g:00:00:00:01:05",
            "02:00:00:00:01:05 ",
        ] {
            assert_eq!(text.parse::<MacAddr>(), Err(InvalidMac), "{text:?}");
        }
    }

    #[test]
    fn group_addresses_are_told_from_stations() {
        assert!(MacAddr::BROADCAST.is_multicast() && MacAddr::BROADCAST.is_broadcast());
        assert!(MacAddr::VROUTER.is_unicast() && !MacAddr::VROUTER.is_multicast());
        assert!(!MacAddr::ZERO.is_unicast());
    }

    // The groups are the examples of RFC 1112 §6.4 (23 low bits), RFC 2464 §7 and RFC 4291 §2.7.1.
    #[test]
    fn groups_map_to_their_addresses() {
        let all_hosts = MacAddr::ipv4_multicast(Ipv4Addr::new(239, 128, 0, 1));
        assert_eq!(all_hosts.to_string(), "01:00:5e:00:00:01");
        let group = solicited_node("4037::01:800:200e:8c6c".parse().unwrap());
        assert_eq!(group.to_string(), "ff02::1:ff0e:8c6c");
        let mac = MacAddr::ipv6_multicast(group);
        assert_eq!(mac.to_string(), "33:33:ff:0e:8c:6c");
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        assert_eq!(Vni::new(0xff_ffff), Some(Vni::MAX));
        assert_eq!(Vni::new(0x100_0000), None);
        assert_eq!(Label::new(0xf_ffff), Some(Label::MAX));
        assert_eq!(Label::new(0x10_0000), None);
        assert_eq!(VlanId::new(0), None);
        assert_eq!(VlanId::new(4094).map(VlanId::get), Some(4094));
        assert_eq!(VlanId::new(4095), None);
        assert_eq!(size_of::<Option<VlanId>>(), 2);
    }
}
