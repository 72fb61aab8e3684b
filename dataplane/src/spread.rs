//! Hashes by which flows are spread: over the backends of services and the members of groups.
//!
//! Nodes that are to agree need the same key, and the same choice after a restart needs the same
//! key again; so it is a number of the configuration, not a secret of the process, and no hash of a
//! library that may change with its version or the machine's instructions. With a key of one's own a
//! client cannot work out which of its ports lead to which backend.

use std::net::IpAddr;

use crate::decide::End;
use crate::tables::spec::HashFields;

/// What flows are hashed with: nodes with the same key choose alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpreadKey(u64);

/// Unless a node says otherwise. Any number would do: the first digits of pi.
pub const DEFAULT_KEY: SpreadKey = SpreadKey(0x3141_5926_5358_9793);

/// What a flow is told apart by.
#[derive(Clone, Copy, Debug)]
pub struct Tuple {
    /// The sender's end.
    pub src: End,
    /// The receiver's end.
    pub dst: End,
    /// The IP protocol number.
    pub protocol: u8,
}

impl SpreadKey {
    /// A key of one's own.
    pub fn new(key: u64) -> SpreadKey {
        SpreadKey(key)
    }

    /// The hash of what `fields` names. A `symmetric` one is the same for both directions.
    pub fn flow(self, tuple: &Tuple, fields: HashFields, symmetric: bool) -> u64 {
        let without_port = |end: End| End { port: 0, ..end };
        let (src, dst, protocol) = match fields {
            HashFields::FiveTuple => (tuple.src, tuple.dst, tuple.protocol),
            HashFields::Addresses => (without_port(tuple.src), without_port(tuple.dst), 0),
            HashFields::Source => return self.end(without_port(tuple.src)),
        };
        let (first, second) = match symmetric && dst < src {
            true => (dst, src),
            false => (src, dst),
        };
        let chained = SpreadKey(self.end(first) ^ u64::from(protocol));
        chained.end(second)
    }

    /// The hash of an address and port.
    pub fn end(self, end: End) -> u64 {
        let [high, low] = halves(end.addr);
        let family = u64::from(end.addr.is_ipv6()) << 32;
        let tail = fold(low ^ MULTIPLIERS[1], self.0 ^ MULTIPLIERS[2]);
        fold(
            high ^ self.0 ^ MULTIPLIERS[0],
            tail ^ family ^ u64::from(end.port),
        )
    }
}

/// FNV-1a of a name: the same in every build and on every machine.
pub fn of_name(name: &str) -> u64 {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    fold(hash ^ MULTIPLIERS[0], MULTIPLIERS[1])
}

/// The whole product of two words, folded into one: every bit of either moves every bit of it.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product >> 64) as u64 ^ product as u64
}

/// Odd, with as many ones as zeros: fractions of the square roots of 2, 3 and 5.
const MULTIPLIERS: [u64; 3] = [
    0x6a09_e667_f3bc_c909,
    0xbb67_ae85_84ca_a73b,
    0x3c6e_f372_fe94_f82b,
];

fn halves(addr: IpAddr) -> [u64; 2] {
    match addr {
        IpAddr::V4(addr) => [0, addr.to_bits().into()],
        IpAddr::V6(addr) => [(addr.to_bits() >> 64) as u64, addr.to_bits() as u64],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuple(n: u32) -> Tuple {
        let end = |addr: [u8; 4], port| End {
            addr: addr.into(),
            port,
        };
        Tuple {
            src: end([10, 1, (n >> 16) as u8, 5], n as u16),
            dst: end([10, 200, 0, 1], 80),
            protocol: 6,
        }
    }

    fn turned(tuple: Tuple) -> Tuple {
        Tuple {
            src: tuple.dst,
            dst: tuple.src,
            ..tuple
        }
    }

    #[test]
    fn consecutive_flows_are_spread_evenly() {
        let mut buckets = [0_u32; 64];
        for n in 0..64_000 {
            let hash = DEFAULT_KEY.flow(&tuple(n), HashFields::FiveTuple, false);
            buckets[(hash >> 58) as usize] += 1;
        }
        let (least, most) = (buckets.iter().min(), buckets.iter().max());
        assert!(
            least > Some(&850) && most < Some(&1150),
            "{least:?} {most:?}"
        );
    }

    #[test]
    fn a_bit_of_the_port_or_of_the_key_moves_half_of_the_hash() {
        let mut moved = 0;
        for n in 0..1_000 {
            let a = DEFAULT_KEY.flow(&tuple(2 * n), HashFields::FiveTuple, false);
            let b = DEFAULT_KEY.flow(&tuple(2 * n + 1), HashFields::FiveTuple, false);
            let c =
                SpreadKey::new(DEFAULT_KEY.0 ^ 1).flow(&tuple(2 * n), HashFields::FiveTuple, false);
            moved += (a ^ b).count_ones() + (a ^ c).count_ones();
        }
        assert!((62_000..66_000).contains(&moved), "{moved} of 128000 bits");
    }

    #[test]
    fn a_symmetric_hash_is_that_of_the_other_direction() {
        for n in 0..1_000 {
            for fields in [HashFields::FiveTuple, HashFields::Addresses] {
                let hash = |tuple, symmetric| DEFAULT_KEY.flow(&tuple, fields, symmetric);
                assert_eq!(hash(tuple(n), true), hash(turned(tuple(n)), true));
                assert_ne!(hash(tuple(n), false), hash(turned(tuple(n)), false));
            }
        }
    }

    #[test]
    fn fields_that_are_not_named_do_not_matter() {
        let hash = |n, fields| DEFAULT_KEY.flow(&tuple(n), fields, false);
        assert_eq!(
            hash(1, HashFields::Addresses),
            hash(2, HashFields::Addresses)
        );
        assert_eq!(hash(1, HashFields::Source), hash(2, HashFields::Source));
        assert_ne!(
            hash(1, HashFields::FiveTuple),
            hash(2, HashFields::FiveTuple)
        );
        let other = Tuple {
            dst: tuple(1).src,
            ..tuple(1)
        };
        let of_other = DEFAULT_KEY.flow(&other, HashFields::Source, false);
        assert_eq!(hash(1, HashFields::Source), of_other);
    }

    #[test]
    fn the_hash_is_the_same_in_every_build() {
        let hash = DEFAULT_KEY.flow(&tuple(7), HashFields::FiveTuple, false);
        assert_eq!(hash, 2_644_974_201_311_763_760);
    }
}
