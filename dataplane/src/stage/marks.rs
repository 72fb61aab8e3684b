//! What rules want done with every packet of the flows they let through: a DSCP (RFC 2474), a copy.
//!
//! The sender's rule is asked first, the receiver's second; of two DSCPs the sender's is taken. Both
//! directions of the flow are marked. A copy shows the packet as it came, and is made once for each
//! mirror.

use encap::Buffer;

use super::forward::Exits;
use super::{Burst, Context, guard};
use crate::decide::{FLAG_RULES, Note};
use crate::tables::Tables;
use crate::tables::meter::MirrorId;
use crate::tables::policy::Rule;

/// DSCP and ECN share a byte; these bits are ECN's (RFC 3168 §5).
const ECN: u8 = 0b11;

/// Every packet whose flow's rules want more than to let it through.
pub fn run<B: Buffer>(context: &Context, burst: &mut Burst<B>, exits: &mut Exits<B>) {
    for index in 0..burst.lanes.len() {
        if !burst.lanes[index].is_special {
            continue;
        }
        let hit = burst.hits[index].filter(|hit| hit.flags() & FLAG_RULES != 0);
        let note = hit.and_then(|hit| context.flows.note(hit.id, hit.version()));
        let Some(note) = note else { continue };
        let (packet, lane) = (&mut burst.packets[index], &mut burst.lanes[index]);
        let note = Note::from_words(note);
        let rules = [note.egress_rule, note.ingress_rule];
        let rules = rules.map(|id| context.tables.rule(id?));
        let [first, second] = rules.map(|rule| mirror(context.tables, rule?));
        let second = second.filter(|_| second != first);
        for mirror in [first, second].into_iter().flatten() {
            guard::copy(context, lane, mirror, packet, exits);
        }
        if let Some(dscp) = rules.into_iter().flatten().find_map(|rule| rule.dscp) {
            let class = dscp << 2 | lane.meta.traffic_class & ECN;
            encap::rewrite::set_traffic_class(packet.bytes_mut(), &lane.meta, class);
            lane.meta.traffic_class = class;
        }
    }
}

fn mirror(tables: &Tables, rule: &Rule) -> Option<MirrorId> {
    tables.mirror_named(rule.mirror.as_deref()?)
}
