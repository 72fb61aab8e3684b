//! The rules of one policy, compiled: which is the first that a flow matches.
//!
//! # How
//! Every rule has a position; an earlier rule has a lower one. For each field of a flow (addresses,
//! ports, ICMP type, protocol) there is an index from values to the positions of the rules that ask
//! for them: prefixes for addresses, and for ports and types, which are ranges cut into prefixes;
//! address sets by number, once for the node ([`super::sets`]). So a flow's fields are looked up one
//! by one, each giving a few sets of positions ([`super::bits`]) whose union are the rules that do
//! not mind that field. The rules are also sorted by their *shape*, which fields they ask about at
//! all; for each shape the unions of its fields are cut with each other. That is done from the
//! front, 4096 positions at a time for all shapes, until one is left: the first match.
//!
//! # Why this
//! Bit vectors (Lakshman and Stiliadis 1998, aggregated as by Baboescu and Varghese 2001) have a
//! bound that no packet can exceed, which is what matters for first packets, as tenants choose
//! them. Tuple space search, one hash table for each combination of prefix lengths, is fast on
//! average, and can be made to try all its tables by whoever sends what matches none (Csikor et al.
//! 2019); a rule with port ranges also has to be in many of them. Decision trees are fast too, but
//! to change a rule may be to build anew, and they copy rules with wide fields into many leaves.
//! Shapes are there because without them a rule that says nothing of a field would be in every set
//! of that field, and every cut would meet them all.
//!
//! # Costs
//! - A lookup: for each field a binary search; for each shape, 32 at most and rarely more than 8, a
//!   word for each field and 4096 positions; and a word for each field of each 64 rules that could
//!   match. The worst is a word for each field, shape and 64 rules. Measured with tuples that take
//!   turns, half of them matching (AMD EPYC at 2.6 GHz, `bench/benches/policy.rs`): rules of a source
//!   and a port 370 cycles with 10 of them and 640 with 10,000; of all shapes with nested prefixes
//!   480 and 2,070, most of that for what is in no cache.
//! - A change of one rule: a copy of the arrays of the fields it asks about and of the positions,
//!   and to find out what changed: 5 ms for 10,000 rules. What it does not ask about is shared with
//!   the snapshot before.
//! - Memory: about 100 bytes for each value that is asked for, and 16 for each rule.

use std::net::IpAddr;
use std::sync::Arc;

use arrayvec::ArrayVec;

use super::bits::{Bits, ones};
use super::prefixes::Prefixes;
use super::sets::Membership;
use super::table::Table;
use super::{RuleId, SetId, Tuple};
use crate::tables::spec::RuleAction;

/// The compiled rules. Shares with older ones what did not change.
#[derive(Clone, Default)]
pub(super) struct Classifier {
    /// By position.
    pub(super) slots: Arc<Vec<Option<Slot>>>,
    /// Which rules ask about which fields.
    pub(super) shapes: Arc<Table<Shape>>,
    /// What they ask.
    pub(super) sources: Ends,
    pub(super) destinations: Ends,
    pub(super) source_ports: Arc<Prefixes<u16>>,
    pub(super) destination_ports: Arc<Prefixes<u16>>,
    /// Of the type and behind it the code.
    pub(super) icmp: Arc<Prefixes<u16>>,
    /// Or [`ANY_PROTOCOL`].
    pub(super) protocols: Arc<Table<u16>>,
}

/// What a rule without a protocol asks for.
pub(super) const ANY_PROTOCOL: u16 = 256;

/// A rule where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// Which it is.
    pub(super) rule: RuleId,
    /// What becomes of what it matches.
    pub(super) action: RuleAction,
    /// It has a mirror or a DSCP for the packets it lets through.
    pub(super) marks: bool,
}

/// What is asked of one end's address.
#[derive(Clone, Default)]
pub(super) struct Ends {
    pub(super) v4: Arc<Prefixes<u32>>,
    pub(super) v6: Arc<Prefixes<u128>>,
    pub(super) sets: Arc<Table<SetId>>,
}

/// The fields a rule asks about, a bit each; not the protocol, of which each rule asks something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Shape(pub(super) u8);

/// A field that rules ask about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Source,
    Destination,
    SourcePort,
    DestinationPort,
    Icmp,
    Protocol,
}

impl Field {
    const COUNT: usize = 6;
}

impl Shape {
    /// As many as there may be.
    const COUNT: usize = 1 << (Field::COUNT - 1);

    pub(super) fn with(self, field: Field, asks: bool) -> Shape {
        Shape(self.0 | u8::from(asks) << field as u8)
    }

    /// The fields to look at: those it asks about, and the protocol.
    fn fields(self) -> impl Iterator<Item = usize> {
        let protocol = Field::Protocol as usize;
        let asked = ones(self.0.into()).map(|field| field as usize);
        asked.chain([protocol])
    }

    /// Cuts a word with those of the fields.
    #[inline]
    fn cut(self, word: u64, fields: &[u64; Field::COUNT]) -> u64 {
        let protocol = fields[Field::Protocol as usize];
        let asked = fields[..Field::COUNT - 1].iter().enumerate();
        asked.fold(word & protocol, |left, (field, of)| {
            // All ones for a field that it does not ask about: cheaper than a branch.
            let open = u64::from(self.0 >> field & 1).wrapping_sub(1);
            left & (of | open)
        })
    }
}

impl Classifier {
    /// Whether any rule asks for this address set.
    pub(super) fn asks_for(&self, set: SetId) -> bool {
        let ends = [&self.sources, &self.destinations];
        ends.iter().any(|end| end.sets.get(set).is_some())
    }

    /// Whether any rule asks for any address set.
    pub(super) fn asks_for_sets(&self) -> bool {
        let ends = [&self.sources, &self.destinations];
        ends.iter().any(|end| !end.sets.entries().is_empty())
    }

    /// The first rule that matches, given which address sets both ends are in.
    pub(super) fn first(
        &self,
        tuple: &Tuple,
        [source, destination]: [&Membership; 2],
    ) -> Option<Slot> {
        let mut asking: [Asking; Field::COUNT] = Default::default();
        let [src, dst, src_port, dst_port, icmp, protocol] = &mut asking;
        self.sources.find(tuple.src, source, src);
        self.destinations.find(tuple.dst, destination, dst);
        if let Some(ports) = tuple.ports {
            src_port.extend(self.source_ports.find(ports.0));
            dst_port.extend(self.destination_ports.find(ports.1));
        }
        if let Some((kind, code)) = tuple.icmp {
            icmp.extend(self.icmp.find(u16::from_be_bytes([kind, code])));
        }
        protocol.extend(self.protocols.get(tuple.protocol.into()));
        protocol.extend(self.protocols.get(ANY_PROTOCOL));
        *self.slots.get(self.earliest(&asking)? as usize)?
    }

    /// The first position among those who do not mind any of the fields that they ask about.
    fn earliest(&self, asking: &[Asking; Field::COUNT]) -> Option<u32> {
        let groups = asking.each_ref().map(|asking| asking.union(Bits::groups));
        // What may match of each shape: the rules, and in which groups.
        let mut shapes: ArrayVec<(Shape, &Bits, u64), { Shape::COUNT }> = ArrayVec::new();
        let mut all = 0;
        for (shape, rules) in self.shapes.entries() {
            let left = shape.cut(rules.groups(), &groups);
            if left != 0 {
                all |= left;
                shapes.push((*shape, rules, left));
            }
        }
        // A match in an earlier group is before all in later ones.
        ones(all).find_map(|group| {
            let words = asking
                .each_ref()
                .map(|asking| asking.union(|bits| bits.words(group)));
            let mut best = None;
            for (shape, rules, groups) in &shapes {
                if groups & 1 << group != 0 {
                    let words = shape.cut(rules.words(group), &words);
                    best = within(asking, *shape, rules, (group, words), best).or(best);
                }
            }
            best
        })
    }
}

/// The first of some rules in some words of a group, if that is before `best`.
fn within(
    asking: &[Asking; Field::COUNT],
    shape: Shape,
    rules: &Bits,
    (group, words): (u32, u64),
    best: Option<u32>,
) -> Option<u32> {
    for word in ones(words) {
        let start = group << 12 | word << 6;
        if best.is_some_and(|best| best < start) {
            return None;
        }
        let own = rules.word(group, word);
        let left = shape.fields().fold(own, |left, field| match left {
            0 => 0,
            left => left & asking[field].union(|bits| bits.word(group, word)),
        });
        if left != 0 {
            let found = start + left.trailing_zeros();
            return best.is_none_or(|best| found < best).then_some(found);
        }
    }
    None
}

impl Ends {
    fn find<'a>(&'a self, addr: IpAddr, sets: &Membership, asking: &mut Asking<'a>) {
        match addr {
            IpAddr::V4(addr) => asking.extend(self.v4.find(addr.to_bits())),
            IpAddr::V6(addr) => asking.extend(self.v6.find(addr.to_bits())),
        }
        asking.extend(sets.iter().filter_map(|(set, _)| self.sets.get(*set)));
    }
}

/// Sets of rules, of which a rule must be in one.
#[derive(Default)]
struct Asking<'a> {
    few: ArrayVec<&'a Bits, 12>,
    /// Only where an address is in more prefixes and sets than anybody has.
    more: Vec<&'a Bits>,
}

impl<'a> Asking<'a> {
    fn extend(&mut self, sets: impl IntoIterator<Item = &'a Bits>) {
        for set in sets {
            if let Err(full) = self.few.try_push(set) {
                self.more.push(full.element());
            }
        }
    }

    #[inline]
    fn union(&self, of: impl Fn(&Bits) -> u64) -> u64 {
        let few = self.few.iter().fold(0, |all, set| all | of(set));
        self.more.iter().fold(few, |all, set| all | of(set))
    }
}
