//! From the rules as written to the rules compiled: what each asks, entered at its position.

use std::sync::Arc;

use ipnet::IpNet;

use super::bits::CAPACITY;
use super::classifier::{ANY_PROTOCOL, Classifier, Ends, Field, Shape, Slot};
use super::prefixes::{Number, Prefix, Prefixes, of_range};
use super::sets::AddressSets;
use super::table::{Edit, Table};
use super::{Name, RuleId, SetId, order};
use crate::tables::spec::{Rule, RuleAction};

/// The next form of a compiled policy: `old` and `new` are its rules, `sets` the address sets,
/// in which all that either mentions still are, and `id_of` says the index of a new rule.
pub(super) fn update(
    base: &Classifier,
    old: &[Rule],
    new: &[Rule],
    sets: &AddressSets,
    mut id_of: impl FnMut(&Rule) -> RuleId,
) -> Classifier {
    let standing = base.slots.iter().enumerate();
    let standing = standing.filter_map(|(position, slot)| slot.map(|slot| (position as u32, slot)));
    let old: Vec<(u32, (Slot, &Rule))> = standing
        .zip(old)
        .map(|((position, slot), rule)| (position, (slot, rule)))
        .collect();
    let nowhere = Slot {
        rule: RuleId::default(),
        action: RuleAction::Deny,
        marks: false,
    };
    let wanted: Vec<(Slot, &Rule)> = new.iter().map(|rule| (nowhere, rule)).collect();
    let is_same = |(_, a): &(Slot, &Rule), b: &(Slot, &Rule)| a == &b.1;
    let places = order::places(&old, &wanted, is_same, |(_, rule)| rule.id);
    let mut edits = Edits::default();
    let mut slots = base.slots.to_vec();
    // Whoever stays where it is asks what it asked.
    let mut kept = old.iter().peekable();
    let mut comes = Vec::new();
    for (place, rule) in places.iter().zip(new) {
        while let Some((position, (_, gone))) = kept.next_if(|(position, _)| position < place) {
            edits.add(gone, *position, sets, false);
            slots[*position as usize] = None;
        }
        match kept.next_if(|(position, _)| position == place) {
            Some((_, (_, stays))) if *stays == rule => {}
            other => {
                if let Some((position, (_, gone))) = other {
                    edits.add(gone, *position, sets, false);
                }
                comes.push((*place, rule));
            }
        }
    }
    for (position, (_, gone)) in kept {
        edits.add(gone, *position, sets, false);
        slots[*position as usize] = None;
    }
    for (place, rule) in comes {
        edits.add(rule, place, sets, true);
        if slots.len() <= place as usize {
            slots.resize(place as usize + 1, None);
        }
        slots[place as usize] = Some(Slot {
            rule: id_of(rule),
            action: rule.action,
            marks: rule.mirror.is_some() || rule.dscp.is_some(),
        });
    }
    debug_assert!(slots.len() <= CAPACITY as usize);
    let mut next = base.clone();
    next.slots = Arc::new(slots);
    edits.make(&mut next);
    next
}

/// What has to change in each field's index.
#[derive(Default)]
struct Edits {
    shapes: Vec<Edit<Shape>>,
    sources: EndEdits,
    destinations: EndEdits,
    source_ports: Vec<Edit<Prefix<u16>>>,
    destination_ports: Vec<Edit<Prefix<u16>>>,
    icmp: Vec<Edit<Prefix<u16>>>,
    protocols: Vec<Edit<u16>>,
}

#[derive(Default)]
struct EndEdits {
    v4: Vec<Edit<Prefix<u32>>>,
    v6: Vec<Edit<Prefix<u128>>>,
    sets: Vec<Edit<SetId>>,
}

impl Edits {
    /// A rule comes to stand at a position, or ceases to.
    fn add(&mut self, rule: &Rule, position: u32, sets: &AddressSets, asks: bool) {
        let ports = |ranges: &[std::ops::RangeInclusive<u16>], edits: &mut Vec<_>| {
            let all = ranges.iter().flat_map(of_range);
            edits.extend(all.map(|key| Edit {
                key,
                position,
                asks,
            }));
        };
        ports(&rule.source_ports, &mut self.source_ports);
        ports(&rule.destination_ports, &mut self.destination_ports);
        for message in &rule.icmp {
            let (start, len) = (u16::from_be_bytes([message.kind, 0]), 8);
            let key = match message.code {
                None => (start, len),
                Some(code) => (start | u16::from(code), 16),
            };
            self.icmp.push(Edit {
                key,
                position,
                asks,
            });
        }
        self.protocols.push(Edit {
            key: rule.protocol.map_or(ANY_PROTOCOL, u16::from),
            position,
            asks,
        });
        let end = |edits: &mut EndEdits, nets: &[IpNet], names: &[Name]| {
            edits.add(nets, names, position, sets, asks);
            !nets.is_empty() || !names.is_empty()
        };
        let has_source = end(&mut self.sources, &rule.sources, &rule.source_sets);
        let has_destination = end(
            &mut self.destinations,
            &rule.destinations,
            &rule.destination_sets,
        );
        let key = Shape::default()
            .with(Field::Source, has_source)
            .with(Field::Destination, has_destination)
            .with(Field::SourcePort, !rule.source_ports.is_empty())
            .with(Field::DestinationPort, !rule.destination_ports.is_empty())
            .with(Field::Icmp, !rule.icmp.is_empty());
        self.shapes.push(Edit {
            key,
            position,
            asks,
        });
    }

    fn make(self, into: &mut Classifier) {
        change(&mut into.shapes, self.shapes);
        self.sources.make(&mut into.sources);
        self.destinations.make(&mut into.destinations);
        nest(&mut into.source_ports, self.source_ports);
        nest(&mut into.destination_ports, self.destination_ports);
        nest(&mut into.icmp, self.icmp);
        change(&mut into.protocols, self.protocols);
    }
}

impl EndEdits {
    fn add(
        &mut self,
        nets: &[IpNet],
        names: &[Name],
        position: u32,
        sets: &AddressSets,
        asks: bool,
    ) {
        for net in nets {
            match net {
                IpNet::V4(net) => self.v4.push(Edit {
                    key: (net.network().to_bits(), net.prefix_len()),
                    position,
                    asks,
                }),
                IpNet::V6(net) => self.v6.push(Edit {
                    key: (net.network().to_bits(), net.prefix_len()),
                    position,
                    asks,
                }),
            }
        }
        // One that does not exist is refused elsewhere.
        let known = names.iter().filter_map(|name| sets.named(name));
        self.sets.extend(known.map(|key| Edit {
            key,
            position,
            asks,
        }));
    }

    fn make(self, into: &mut Ends) {
        nest(&mut into.v4, self.v4);
        nest(&mut into.v6, self.v6);
        change(&mut into.sets, self.sets);
    }
}

fn change<K: Ord + Copy>(table: &mut Arc<Table<K>>, edits: Vec<Edit<K>>) {
    if !edits.is_empty() {
        Arc::make_mut(table).apply(edits);
    }
}

fn nest<N: Number>(prefixes: &mut Arc<Prefixes<N>>, edits: Vec<Edit<Prefix<N>>>) {
    if !edits.is_empty() {
        Arc::make_mut(prefixes).apply(edits);
    }
}
