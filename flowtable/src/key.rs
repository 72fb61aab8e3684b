//! What a packet is looked up by: one direction of a flow.

use crate::stamp::Stamp;
use core::fmt;
use core::hash::Hasher;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The space in which addresses are unique, 24 bits: a VRF and whether the
/// flow is inside or outside of it. Opaque here.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Zone(u32);

impl Zone {
    /// `None` if `value` does not fit 24 bits.
    pub const fn new(value: u32) -> Option<Zone> {
        if value < 1 << 24 {
            Some(Zone(value))
        } else {
            None
        }
    }

    /// The number given to [`Zone::new`].
    pub const fn value(self) -> u32 {
        self.0
    }
}

/// One direction of a flow: addresses, ports, protocol and [`Zone`].
///
/// For protocols without ports the caller puts what tells flows apart there
/// (the ICMP query identifier) or 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    /// As the front of its entry begins, so that few instructions compare them.
    ///
    /// - 0: [`Stamp::plain`] of the family.
    /// - 1: `src_port` 16, `dst_port` 16, `protocol` 8, `zone` 24, from the top.
    /// - 2 to 5: addresses. IPv4: source and destination in one word, then
    ///   zeroes. IPv6: two words of source, two of destination, most significant
    ///   first.
    pub(crate) words: [u64; 6],
}

/// What is known of the family of keys where code is made for it: that it is
/// IPv4, that it is IPv6, or nothing, so that each key has to be asked.
pub(crate) mod family {
    pub(crate) const IPV4: u8 = 4;
    pub(crate) const IPV6: u8 = 6;
    pub(crate) const MIXED: u8 = 0;
}

impl Key {
    /// A key for IPv4 packets.
    #[inline]
    pub fn ipv4(
        zone: Zone,
        protocol: u8,
        src: Ipv4Addr,
        dst: Ipv4Addr,
        src_port: u16,
        dst_port: u16,
    ) -> Key {
        let both = u64::from(src.to_bits()) << 32 | u64::from(dst.to_bits());
        let tuple = pack_tuple(zone, protocol, src_port, dst_port);
        Key::from_words(false, tuple, [both, 0, 0, 0])
    }

    /// A key for IPv6 packets.
    #[inline]
    pub fn ipv6(
        zone: Zone,
        protocol: u8,
        src: Ipv6Addr,
        dst: Ipv6Addr,
        src_port: u16,
        dst_port: u16,
    ) -> Key {
        let [a, b] = halves(src);
        let [c, d] = halves(dst);
        let tuple = pack_tuple(zone, protocol, src_port, dst_port);
        Key::from_words(true, tuple, [a, b, c, d])
    }

    /// Source and destination exchanged, in the same zone: what a reply looks
    /// like when nothing is translated.
    #[inline]
    #[must_use]
    pub fn reversed(self) -> Key {
        let [_, _, a, b, c, d] = self.words;
        let addresses = match self.is_ipv6() {
            true => [c, d, a, b],
            false => [a.rotate_left(32), 0, 0, 0],
        };
        let tuple = pack_tuple(
            self.zone(),
            self.protocol(),
            self.dst_port(),
            self.src_port(),
        );
        Key::from_words(self.is_ipv6(), tuple, addresses)
    }

    /// Source address.
    #[inline]
    pub fn src_addr(&self) -> IpAddr {
        let [_, _, a, b, ..] = self.words;
        match self.is_ipv6() {
            true => join(a, b).into(),
            false => Ipv4Addr::from_bits((a >> 32) as u32).into(),
        }
    }

    /// Destination address.
    #[inline]
    pub fn dst_addr(&self) -> IpAddr {
        let [_, _, a, _, c, d] = self.words;
        match self.is_ipv6() {
            true => join(c, d).into(),
            false => Ipv4Addr::from_bits(a as u32).into(),
        }
    }

    /// Source port, or what stands for it.
    #[inline]
    pub fn src_port(&self) -> u16 {
        (self.tuple() >> 48) as u16
    }

    /// Destination port, or what stands for it.
    #[inline]
    pub fn dst_port(&self) -> u16 {
        (self.tuple() >> 32) as u16
    }

    /// IP protocol number.
    #[inline]
    pub fn protocol(&self) -> u8 {
        (self.tuple() >> 24) as u8
    }

    /// Address space.
    #[inline]
    pub fn zone(&self) -> Zone {
        Zone(self.tuple() as u32 & 0xff_ffff)
    }

    /// Whether the addresses are IPv6.
    #[inline]
    pub fn is_ipv6(&self) -> bool {
        self.words[0] == Stamp::plain(true)
    }

    /// The same, if it has to be asked.
    #[inline(always)]
    pub(crate) fn is_ipv6_in<const FAMILY: u8>(&self) -> bool {
        match FAMILY {
            family::IPV4 => false,
            family::IPV6 => true,
            _ => self.is_ipv6(),
        }
    }

    /// A key from the words of an entry.
    #[inline]
    pub(crate) fn from_words(ipv6: bool, tuple: u64, [a, b, c, d]: [u64; 4]) -> Key {
        Key {
            words: [Stamp::plain(ipv6), tuple, a, b, c, d],
        }
    }

    #[inline]
    fn tuple(&self) -> u64 {
        self.words[1]
    }

    /// Feeds the key to a keyed hasher, two words at a time.
    #[inline(always)]
    pub(crate) fn hash_into<const FAMILY: u8>(&self, hasher: &mut impl Hasher) {
        let [_, tuple, a, b, c, d] = self.words;
        if self.is_ipv6_in::<FAMILY>() {
            hasher.write_u128(wide(a, b));
            hasher.write_u128(wide(c, d));
            hasher.write_u64(tuple);
        } else {
            hasher.write_u128(wide(a, tuple));
        }
    }
}

#[inline]
fn wide(high: u64, low: u64) -> u128 {
    u128::from(high) << 64 | u128::from(low)
}

/// `10.0.0.1:1024 > 10.0.0.2:80 protocol 6 zone 7`
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let src = core::net::SocketAddr::new(self.src_addr(), self.src_port());
        let dst = core::net::SocketAddr::new(self.dst_addr(), self.dst_port());
        let (protocol, zone) = (self.protocol(), self.zone().value());
        write!(f, "{src} > {dst} protocol {protocol} zone {zone}")
    }
}

fn pack_tuple(zone: Zone, protocol: u8, src_port: u16, dst_port: u16) -> u64 {
    u64::from(src_port) << 48
        | u64::from(dst_port) << 32
        | u64::from(protocol) << 24
        | u64::from(zone.0)
}

fn halves(addr: Ipv6Addr) -> [u64; 2] {
    let bits = addr.to_bits();
    [(bits >> 64) as u64, bits as u64]
}

fn join(high: u64, low: u64) -> Ipv6Addr {
    Ipv6Addr::from_bits(wide(high, low))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::format;

    const ZONE: Zone = Zone::new(0xff_ff01).unwrap();

    #[test]
    fn fields_come_back_as_given() {
        let (src, dst) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(203, 0, 113, 9));
        let key = Key::ipv4(ZONE, 255, src, dst, 0xffff, 1);
        assert_eq!((key.src_addr(), key.dst_addr()), (src.into(), dst.into()));
        assert_eq!((key.src_port(), key.dst_port()), (0xffff, 1));
        assert_eq!((key.protocol(), key.zone()), (255, ZONE));

        let (src, dst): (Ipv6Addr, Ipv6Addr) =
            ("2001:db8::1".parse().unwrap(), "fd01::9".parse().unwrap());
        let key = Key::ipv6(ZONE, 6, src, dst, 0, 0xffff);
        assert_eq!((key.src_addr(), key.dst_addr()), (src.into(), dst.into()));
        assert_eq!((key.src_port(), key.dst_port()), (0, 0xffff));
        assert_eq!((key.protocol(), key.zone()), (6, ZONE));
    }

    #[test]
    fn reversed_twice_is_the_same() {
        let v4 = Key::ipv4(ZONE, 6, [1, 2, 3, 4].into(), [5, 6, 7, 8].into(), 9, 10);
        let v6 = Key::ipv6(ZONE, 6, Ipv6Addr::LOCALHOST, Ipv6Addr::UNSPECIFIED, 9, 10);
        for key in [v4, v6] {
            let reversed = key.reversed();
            assert_eq!(reversed.src_addr(), key.dst_addr());
            assert_eq!(reversed.dst_port(), key.src_port());
            assert_eq!(reversed.zone(), key.zone());
            assert_eq!(reversed.reversed(), key);
        }
    }

    #[test]
    fn zone_of_more_than_24_bits_is_refused() {
        assert!(Zone::new(0x100_0000).is_none());
    }

    #[test]
    fn reads_as_a_sentence() {
        let key = Key::ipv4(
            Zone(7),
            6,
            [10, 0, 0, 1].into(),
            [10, 0, 0, 2].into(),
            1024,
            80,
        );
        let text = "10.0.0.1:1024 > 10.0.0.2:80 protocol 6 zone 7";
        assert_eq!(format!("{key:?}"), text);
    }
}
