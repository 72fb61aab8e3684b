//! The flows that tables are filled with, and the random order they are asked
//! for in.
//!
//! A flow is a number; its two directions are twice that number and the number
//! after it. Everything about a key is computed from the number, so that no
//! list of keys competes with the tables for the caches.

use std::hash::Hash;
use std::net::{Ipv4Addr, Ipv6Addr};

use flowtable::{Key, Zone};

/// One direction of a flow: `2 * flow` forward, `2 * flow + 1` reverse.
pub type Direction = u32;

/// An address family, with the two forms of a key: ours, and the compact struct
/// that somebody who writes a table for this family alone would take.
pub trait Family: Copy + Send + Sync + 'static {
    /// The compact key.
    type Compact: Copy + Eq + Hash + Send + Sync + 'static;
    /// For people.
    const NAME: &'static str;

    /// The key of `direction` as the flow table takes it.
    fn key(direction: Direction) -> Key;
    /// The key of `direction` as the other tables take it.
    fn compact(direction: Direction) -> Self::Compact;
}

/// Flows between IPv4 addresses.
#[derive(Clone, Copy)]
pub enum Ipv4 {}

/// Flows between IPv6 addresses.
#[derive(Clone, Copy)]
pub enum Ipv6 {}

/// A compact key: 16 bytes for IPv4, where `N` is 1, and 40 for IPv6.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Compact<const N: usize> {
    addresses: [u64; N],
    tuple: u64,
}

impl Family for Ipv4 {
    type Compact = Compact<1>;
    const NAME: &'static str = "IPv4";

    #[inline]
    fn key(direction: Direction) -> Key {
        let tuple = Tuple::of(direction);
        let [src, dst] = [tuple.src, tuple.dst].map(|end| Ipv4Addr::from_bits(end.addr));
        let (src_port, dst_port) = (tuple.src.port, tuple.dst.port);
        Key::ipv4(tuple.zone(), tuple.protocol, src, dst, src_port, dst_port)
    }

    #[inline]
    fn compact(direction: Direction) -> Compact<1> {
        let tuple = Tuple::of(direction);
        Compact {
            addresses: [u64::from(tuple.src.addr) << 32 | u64::from(tuple.dst.addr)],
            tuple: tuple.word(),
        }
    }
}

impl Family for Ipv6 {
    type Compact = Compact<4>;
    const NAME: &'static str = "IPv6";

    #[inline]
    fn key(direction: Direction) -> Key {
        let tuple = Tuple::of(direction);
        let [src, dst] = [tuple.src, tuple.dst].map(|end| Ipv6Addr::from_bits(end.ipv6()));
        let (src_port, dst_port) = (tuple.src.port, tuple.dst.port);
        Key::ipv6(tuple.zone(), tuple.protocol, src, dst, src_port, dst_port)
    }

    #[inline]
    fn compact(direction: Direction) -> Compact<4> {
        let tuple = Tuple::of(direction);
        let [src, dst] = [tuple.src.ipv6(), tuple.dst.ipv6()];
        Compact {
            addresses: [
                (src >> 64) as u64,
                src as u64,
                (dst >> 64) as u64,
                dst as u64,
            ],
            tuple: tuple.word(),
        }
    }
}

/// What a direction's key says, before it is a key.
struct Tuple {
    src: End,
    dst: End,
    protocol: u8,
    zone: u32,
}

#[derive(Clone, Copy)]
struct End {
    addr: u32,
    port: u16,
}

impl Tuple {
    /// A client of its own for each flow, talking to one of 4096 services.
    #[inline]
    fn of(direction: Direction) -> Tuple {
        // Odd, so that no two flows have the same client.
        let mixed = (direction >> 1).wrapping_mul(0x9e37_79b1);
        let service = mixed >> 7 & 0xfff;
        let client = End {
            addr: mixed,
            port: 0x8000 | (mixed >> 11) as u16,
        };
        let service = End {
            addr: 0x0a60_0000 | service,
            port: [53, 80, 443, 6379][service as usize & 3],
        };
        let (src, dst) = if direction & 1 == 0 {
            (client, service)
        } else {
            (service, client)
        };
        Tuple {
            src,
            dst,
            protocol: if service.port == 53 { 17 } else { 6 },
            zone: mixed >> 3 & 0x3f,
        }
    }

    #[inline]
    fn zone(&self) -> Zone {
        Zone::new(self.zone).unwrap_or_else(|| unreachable!("6 bits"))
    }

    #[inline]
    fn word(&self) -> u64 {
        u64::from(self.src.port) << 48
            | u64::from(self.dst.port) << 32
            | u64::from(self.protocol) << 24
            | u64::from(self.zone)
    }
}

impl End {
    /// An address in fd01::/64, its number in the last bits.
    #[inline]
    fn ipv6(self) -> u128 {
        0xfd01 << 112 | u128::from(self.addr)
    }
}

/// Random directions, any of a range as likely as any other.
pub struct Draw {
    first: Direction,
    count: u32,
    state: u64,
}

impl Draw {
    /// Directions of flows that a table of `flows` flows holds.
    pub fn present(flows: u32) -> Draw {
        Draw::of(0, 2 * flows)
    }

    /// As many directions of flows that it does not hold.
    pub fn absent(flows: u32) -> Draw {
        Draw::of(2 * flows, 2 * flows)
    }

    /// Whether the table holds what is drawn.
    #[inline]
    pub fn is_present(&self) -> bool {
        self.first == 0
    }

    fn of(first: Direction, count: u32) -> Draw {
        let state = 0x2545_f491_4f6c_dd1d;
        Draw {
            first,
            count,
            state,
        }
    }

    /// The next one (a multiplied xorshift; its upper half is good).
    #[inline]
    pub fn pick(&mut self) -> Direction {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        let random = self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        self.first + ((random * u64::from(self.count)) >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_direction_has_a_key_of_its_own() {
        fn distinct<F: Family>() {
            let ours: HashSet<_> = (0..100_000).map(F::key).collect();
            let compact: HashSet<_> = (0..100_000).map(F::compact).collect();
            assert_eq!((ours.len(), compact.len()), (100_000, 100_000));
        }
        distinct::<Ipv4>();
        distinct::<Ipv6>();
    }

    #[test]
    fn the_second_direction_answers_the_first() {
        assert_eq!(Ipv4::key(84).reversed(), Ipv4::key(85));
        assert_eq!(Ipv6::key(84).reversed(), Ipv6::key(85));
    }

    #[test]
    fn draws_stay_in_their_range_and_reach_all_of_it() {
        let mut present = Draw::present(50);
        let seen: HashSet<_> = (0..10_000).map(|_| present.pick()).collect();
        assert_eq!(seen.len(), 100);
        let mut absent = Draw::absent(50);
        assert!((0..10_000).all(|_| (100..200).contains(&absent.pick())));
    }
}
