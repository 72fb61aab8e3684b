//! What a change would do to live flows, found out before it is made.
//!
//! A commit gives new epochs to the networks in which a decision might come out differently; the flows
//! of those, and no others, are decided again on their next packet. [`of_change`] does just that for
//! each of them, with the configuration that might come, and compares. It takes nothing from the
//! sessions, and no lock: a flow keeps what it has, and one that would need a new address and port of a
//! pool is told so without one being looked for.

use std::collections::HashSet;
use std::net::IpAddr;

use encap::{MacAddr, icmp, icmpv6, protocol};
use flowtable::{FlowTable, FlowView, WalkCursor};

use crate::decide::sessions::{Asked, Binding, Bound};
use crate::decide::{Decision, End, Headers, Kept, Note, Refused, Sessions, decide};
use crate::explain::frame::{bridged_mac, ends};
use crate::reason::DropReason;
use crate::stage::flow::vrf_of;
use crate::stage::{Ingress, Layer};
use crate::tables::nat::PoolId;
use crate::tables::policy::RuleId;
use crate::tables::service::ServiceId;
use crate::tables::spec::{Key, Object};
use crate::tables::{NexthopId, Tables, VrfId};

/// Places of the flow table looked at between two chances for others to run.
const STEP: usize = 4_096;

/// What a change would do to live flows. The counts are exact, for flows that live all the while.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Impact {
    /// Flows that were looked at: all that live.
    pub flows: u64,
    /// Of those, flows that the change makes be decided again.
    pub touched: u64,
    /// Of those, flows that would be dropped, or that are now and would pass.
    pub verdict: u64,
    /// Flows that go on with other addresses or ports.
    pub translation: u64,
    /// Flows that go on with the same addresses, another way in either direction.
    pub nexthop: u64,
    /// Touched flows of which nothing can be said before their next packet comes: bridged ones
    /// between machines whose MACs are not configured.
    pub unknown: u64,
    /// The first of those that change, as many as were asked for.
    pub changes: Vec<FlowChange>,
}

/// A flow that comes out differently.
#[derive(Clone, Debug, PartialEq)]
pub struct FlowChange {
    /// The flow as it is.
    pub flow: FlowView,
    /// What becomes of it now.
    pub before: Fate,
    /// What would.
    pub after: Fate,
    /// What is different, the gravest of it.
    pub what: Difference,
}

/// What about a flow changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Whether it passes.
    Verdict,
    /// Its addresses or ports as they leave.
    Translation,
    /// Its way.
    Nexthop,
}

/// What becomes of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It passes.
    Passes {
        /// Where its packets go, and where those of its answers do.
        nexthops: (NexthopId, NexthopId),
        /// What its source is as it leaves.
        source: End,
        /// What its destination is as it leaves.
        destination: End,
    },
    /// It is dropped, by this rule if it is one.
    Dropped(DropReason, Option<RuleId>),
}

/// Finds out what a change would do: from the configuration in force to one that might come. At most
/// `listed` flows are named.
pub fn of_change(flows: &FlowTable, now: &Tables, next: &Tables, listed: usize) -> Impact {
    let change = Change::new(now, next);
    let mut impact = Impact::default();
    let mut cursor = WalkCursor::default();
    while !cursor.is_done() {
        flows.walk(&mut cursor, STEP, |flow| {
            impact.flows += 1;
            if change.touches(flow) {
                impact.touched += 1;
                change.look_at(flow, &mut impact, listed);
            }
        });
        std::thread::yield_now();
    }
    impact
}

/// Two configurations and what of them differs.
struct Change<'a> {
    now: &'a Tables,
    next: &'a Tables,
    /// By vrf: whether its flows are decided again.
    touched: Vec<bool>,
    /// Nexthops that keep their number and lead elsewhere.
    redirected: HashSet<NexthopId>,
}

impl<'a> Change<'a> {
    fn new(now: &'a Tables, next: &'a Tables) -> Change<'a> {
        let highest = now.vrfs().map(|vrf| vrf.id.0).max().unwrap_or(0);
        let epoch = |tables: &Tables, id| tables.vrf(VrfId(id)).map(|vrf| vrf.epoch);
        let touched = (0..=highest).map(|id| epoch(now, id) != epoch(next, id));
        let redirected = next.objects().filter_map(|(key, stored)| match &key {
            Key::Nexthop(name) if stored.generation > now.generation() => {
                let old = now.object(&key)?;
                let is_other = matches!(old.object, Object::Nexthop(_));
                is_other.then(|| next.nexthop_named(name)).flatten()
            }
            _ => None,
        });
        Change {
            now,
            next,
            touched: touched.collect(),
            redirected: redirected.collect(),
        }
    }

    fn touches(&self, flow: &FlowView) -> bool {
        let is_touched = |key: &flowtable::Key| {
            let (VrfId(id), _) = vrf_of(key.zone());
            self.touched.get(id as usize).copied().unwrap_or(true)
        };
        is_touched(&flow.forward) || is_touched(&flow.reverse)
    }

    fn look_at(&self, flow: &FlowView, impact: &mut Impact, listed: usize) {
        let before = match is_fresh(self.now, flow) {
            true => Some(stored(flow)),
            false => again(self.now, flow),
        };
        let (Some(before), Some(after)) = (before, again(self.next, flow)) else {
            impact.unknown += 1;
            return;
        };
        let Some(what) = self.difference(&before, &after) else {
            return;
        };
        *match what {
            Difference::Verdict => &mut impact.verdict,
            Difference::Translation => &mut impact.translation,
            Difference::Nexthop => &mut impact.nexthop,
        } += 1;
        if impact.changes.len() < listed {
            impact.changes.push(FlowChange {
                flow: *flow,
                before,
                after,
                what,
            });
        }
    }

    fn difference(&self, before: &Fate, after: &Fate) -> Option<Difference> {
        let (
            Fate::Passes {
                nexthops: was_by,
                source: was_from,
                destination: was_to,
            },
            Fate::Passes {
                nexthops,
                source,
                destination,
            },
        ) = (before, after)
        else {
            let is_same = match (before, after) {
                (Fate::Dropped(was, _), Fate::Dropped(is, _)) => was == is,
                _ => false,
            };
            return (!is_same).then_some(Difference::Verdict);
        };
        let is_redirected = |id| self.redirected.contains(id);
        if (was_from, was_to) != (source, destination) {
            Some(Difference::Translation)
        } else if was_by != nexthops || is_redirected(&nexthops.0) || is_redirected(&nexthops.1) {
            Some(Difference::Nexthop)
        } else {
            None
        }
    }
}

/// Whether what the flow table says of a flow is still in force.
fn is_fresh(tables: &Tables, flow: &FlowView) -> bool {
    let is_current = |key: &flowtable::Key, epoch| {
        let vrf = tables.vrf(vrf_of(key.zone()).0);
        vrf.is_some_and(|vrf| vrf.epoch == epoch)
    };
    is_current(&flow.forward, flow.forward_action.epoch)
        && is_current(&flow.reverse, flow.reverse_action.epoch)
}

/// What the flow table says of a flow.
fn stored(flow: &FlowView) -> Fate {
    let (destination, source) = ends(&flow.reverse);
    let [forward, reverse] = [flow.forward_action, flow.reverse_action];
    match forward.verdict {
        flowtable::Verdict::Drop(reason) => {
            let reason = DropReason::ALL.get(usize::from(reason)).copied();
            Fate::Dropped(reason.unwrap_or(DropReason::Discard), None)
        }
        _ => Fate::Passes {
            nexthops: (NexthopId(forward.nexthop), NexthopId(reverse.nexthop)),
            source,
            destination,
        },
    }
}

/// What would be decided about a flow by a configuration; `None` where that takes a packet.
fn again(tables: &Tables, flow: &FlowView) -> Option<Fate> {
    let Some((headers, ingress)) = headers(tables, flow) else {
        let (vrf, _) = vrf_of(flow.forward.zone());
        // Without its network it goes nowhere.
        let is_gone = tables.vrf(vrf).is_none();
        return is_gone.then_some(Fate::Dropped(DropReason::VifGone, None));
    };
    let mut sessions = Remembered { tables, flow };
    Some(match decide(tables, &mut sessions, &headers, ingress) {
        Ok(decision) => Fate::of(&decision),
        Err(Refused { reason, rule }) => Fate::Dropped(reason, rule),
    })
}

/// What is decided about when a packet of the flow comes again, as in stage `flow`.
fn headers(tables: &Tables, flow: &FlowView) -> Option<(Headers, Ingress)> {
    let (vrf_id, layer) = vrf_of(flow.forward.zone());
    let vrf = tables.vrf(vrf_id)?;
    let (src, dst) = ends(&flow.forward);
    let (destination, source) = ends(&flow.reverse);
    let ingress = Ingress::from_bits(flow.forward_action.ingress);
    let nexthop = NexthopId(flow.forward_action.nexthop);
    let (src_mac, dst_mac) = match layer {
        // Nobody asks for the MACs of what is routed.
        Layer::Routed => (MacAddr::ZERO, vrf.mac),
        Layer::Bridged => (
            bridged_mac(tables, vrf, src, flow.reverse_action.nexthop).ok()?,
            bridged_mac(tables, vrf, dst, flow.forward_action.nexthop).ok()?,
        ),
    };
    let headers = Headers {
        vrf: vrf_id,
        layer,
        src_mac,
        dst_mac,
        src_addr: src.addr,
        dst_addr: dst.addr,
        protocol: flow.forward.protocol(),
        src_port: src.port,
        dst_port: dst.port,
        icmp: match flow.forward.protocol() {
            protocol::ICMP => Some((icmp::ECHO_REQUEST, 0)),
            protocol::ICMPV6 => Some((icmpv6::ECHO_REQUEST, 0)),
            _ => None,
        },
        direct: ingress.is_direct().then_some(nexthop),
        kept: Some(Kept {
            nexthop,
            source,
            destination,
            binding: Note::from_words(flow.note).binding,
        }),
    };
    Some((headers, ingress))
}

impl Fate {
    fn of(decision: &Decision) -> Fate {
        Fate::Passes {
            nexthops: (decision.forward.nexthop, decision.reverse.nexthop),
            source: decision.source,
            destination: decision.destination,
        }
    }
}

/// The sessions as far as one flow remembers them.
struct Remembered<'a> {
    tables: &'a Tables,
    flow: &'a FlowView,
}

impl Sessions for Remembered<'_> {
    /// What the flow has, if the pool still gives it; else an end of the pool with port 0, for one
    /// that is not chosen yet.
    fn bind(&mut self, asked: &Asked) -> Result<Binding, DropReason> {
        let pool = self.tables.pool(asked.pool);
        let pool = pool.ok_or(DropReason::SnatExhausted)?;
        let (_, source) = ends(&self.flow.reverse);
        let any = || {
            let first = pool.addresses.first()?;
            Some(End {
                addr: first.network(),
                port: 0,
            })
        };
        let kept = pool.allotment.has(source).then_some(source);
        let outside = kept.or_else(any).ok_or(DropReason::SnatExhausted)?;
        Ok(Binding { id: 1, outside })
    }

    /// The machine that the flow goes to, if the pool still has its end.
    fn bound(
        &mut self,
        pool: PoolId,
        _protocol: u8,
        outside: End,
        _remote: End,
    ) -> Result<Bound, DropReason> {
        let pool = self.tables.pool(pool).ok_or(DropReason::SnatUnknown)?;
        let (inside, _) = ends(&self.flow.reverse);
        match pool.allotment.has(outside) {
            true => Ok(Bound {
                id: 1,
                vrf: pool.vrf,
                inside,
            }),
            false => Err(DropReason::SnatUnknown),
        }
    }

    fn release(&mut self, _id: u32) {}

    fn backend_of(&mut self, _service: ServiceId, _client: IpAddr) -> Option<End> {
        None
    }

    fn keep_backend(&mut self, _service: ServiceId, _client: IpAddr, _backend: End) {}
}
