//! What to do with the packets of one direction, decided once.
//!
//! An action is four words in the entry of an IPv4 key and two in that of an
//! IPv6 key, whose translation is read off the partner's key instead.

use core::net::Ipv4Addr;

/// What becomes of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Route it to the nexthop.
    Forward,
    /// Bridge it to the nexthop: TTL and MAC addresses stay.
    Bridge,
    /// Drop it for this reason; the number is the caller's.
    Drop(u8),
}

/// What one end of a packet, address and port, becomes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Translation {
    /// It stays.
    #[default]
    Keep,
    /// This IPv4 address and port. On an IPv6 key it is stored as `Partner`.
    To(Ipv4Addr, u16),
    /// What the partner's key says ([`crate::FlowTable::partner_key`]): the
    /// new source is the partner's destination, the new destination the
    /// partner's source.
    Partner,
}

/// Address and port translation of one direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rewrite {
    /// New source.
    pub src: Translation,
    /// New destination.
    pub dst: Translation,
}

impl Rewrite {
    /// Nothing changes.
    pub const NONE: Rewrite = Rewrite {
        src: Translation::Keep,
        dst: Translation::Keep,
    };

    /// Whether nothing changes.
    #[inline]
    pub fn is_none(&self) -> bool {
        *self == Rewrite::NONE
    }
}

/// What to do with the packets of one direction; copied out on every hit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Action {
    /// Forward, bridge or drop.
    pub verdict: Verdict,
    /// Index of the nexthop in the snapshot that decided.
    pub nexthop: u32,
    /// Configuration epoch that decided; the caller compares.
    pub epoch: u32,
    /// Where packets of this direction must come from; the caller compares.
    pub ingress: u32,
    /// Address and port translation.
    pub rewrite: Rewrite,
    /// Which member of a nexthop group was chosen. Not kept with a verdict of `Drop`.
    pub group_choice: u8,
    /// The address space its packets leave by; the number is the caller's.
    pub exit: u16,
    /// What else is to be done with its packets, as the caller numbers it; of these bits the two
    /// lowest are kept.
    pub flags: u8,
}

/// Words of a packed action for an IPv4 key.
pub(crate) const WORDS_IPV4: usize = 4;
/// Words of a packed action for an IPv6 key: the first ones of the four.
pub(crate) const WORDS_IPV6: usize = 2;

impl Action {
    /// ```text
    /// 0  nexthop 32 | exit 16 | group_choice or reason 8 | verdict 2 | src 2 | dst 2 | flags 2
    /// 1  epoch 32 | ingress 32
    /// 2  new source address 32 | new destination address 32
    /// 3  new source port 16 | new destination port 16 | 0
    /// ```
    #[inline]
    pub(crate) fn pack(&self) -> [u64; WORDS_IPV4] {
        let (verdict, choice) = match self.verdict {
            Verdict::Forward => (0, self.group_choice),
            Verdict::Bridge => (1, self.group_choice),
            Verdict::Drop(reason) => (2, reason),
        };
        let (src, src_addr, src_port) = self.rewrite.src.pack();
        let (dst, dst_addr, dst_port) = self.rewrite.dst.pack();
        [
            u64::from(self.nexthop) << 32
                | u64::from(self.exit) << 16
                | u64::from(choice) << 8
                | verdict << 6
                | src << 4
                | dst << 2
                | u64::from(self.flags & 3),
            u64::from(self.epoch) << 32 | u64::from(self.ingress),
            src_addr << 32 | dst_addr,
            src_port << 48 | dst_port << 32,
        ]
    }

    /// As the entry of a key of this family stores it.
    #[inline]
    pub(crate) fn pack_for(&self, ipv6: bool) -> [u64; WORDS_IPV4] {
        if ipv6 {
            self.for_ipv6().pack()
        } else {
            self.pack()
        }
    }

    /// The verdict in the first word.
    #[inline]
    pub(crate) fn verdict_of(head: u64) -> Verdict {
        match (head >> 6) & 3 {
            0 => Verdict::Forward,
            1 => Verdict::Bridge,
            _ => Verdict::Drop((head >> 8) as u8),
        }
    }

    /// Reads back what [`Action::pack`] wrote; any bits make some action.
    #[inline]
    pub(crate) fn unpack([head, origin, addrs, ports]: [u64; WORDS_IPV4]) -> Action {
        Action {
            verdict: Action::verdict_of(head),
            nexthop: (head >> 32) as u32,
            epoch: (origin >> 32) as u32,
            ingress: origin as u32,
            rewrite: Action::rewrite_of([head, origin, addrs, ports]),
            group_choice: match Action::verdict_of(head) {
                Verdict::Drop(_) => 0,
                Verdict::Forward | Verdict::Bridge => (head >> 8) as u8,
            },
            exit: (head >> 16) as u16,
            flags: head as u8 & 3,
        }
    }

    /// The translation in the words, without the rest.
    #[inline]
    pub(crate) fn rewrite_of([head, _, addrs, ports]: [u64; WORDS_IPV4]) -> Rewrite {
        Rewrite {
            src: Translation::unpack(head >> 4, addrs >> 32, ports >> 48),
            dst: Translation::unpack(head >> 2, addrs, ports >> 32),
        }
    }

    /// The same action in the form in which two words say all of it.
    #[inline]
    fn for_ipv6(mut self) -> Action {
        for end in [&mut self.rewrite.src, &mut self.rewrite.dst] {
            if matches!(end, Translation::To(..)) {
                *end = Translation::Partner;
            }
        }
        self
    }
}

impl Translation {
    #[inline]
    fn pack(self) -> (u64, u64, u64) {
        match self {
            Translation::Keep => (0, 0, 0),
            Translation::To(addr, port) => (1, u64::from(addr.to_bits()), u64::from(port)),
            Translation::Partner => (2, 0, 0),
        }
    }

    #[inline]
    fn unpack(kind: u64, addr: u64, port: u64) -> Translation {
        match kind & 3 {
            0 => Translation::Keep,
            1 => Translation::To(Ipv4Addr::from_bits(addr as u32), port as u16),
            _ => Translation::Partner,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn busy() -> Action {
        Action {
            verdict: Verdict::Drop(0xfe),
            nexthop: 0x8000_0001,
            epoch: u32::MAX,
            ingress: 0x1234_5678,
            rewrite: Rewrite {
                src: Translation::To(Ipv4Addr::new(255, 0, 0, 1), 0xfffe),
                dst: Translation::To(Ipv4Addr::new(10, 0, 0, 254), 1),
            },
            group_choice: 0,
            exit: 0xabcd,
            flags: 3,
        }
    }

    #[test]
    fn every_field_survives_packing() {
        assert_eq!(Action::unpack(busy().pack()), busy());
        let plain = Action {
            verdict: Verdict::Bridge,
            group_choice: 0xfe,
            rewrite: Rewrite {
                src: Translation::Keep,
                dst: Translation::Partner,
            },
            ..busy()
        };
        assert_eq!(Action::unpack(plain.pack()), plain);
    }

    #[test]
    fn two_words_hold_all_of_an_ipv6_action() {
        let action = busy().for_ipv6();
        assert_eq!(action.rewrite.src, Translation::Partner);
        let [head, origin, rest @ ..] = action.pack();
        assert_eq!(rest, [0, 0]);
        assert_eq!(Action::unpack([head, origin, 0, 0]), action);
    }
}
