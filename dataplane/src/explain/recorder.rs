//! What a trial's stages say, written down; and the engine's flows, brought in as they are needed.

use encap::MemBuffer;
use flowtable::{FlowId, FlowTable, FlowView, Key};

use super::trial;
use crate::decide::decide;
use crate::decide::sessions::Step;
use crate::stage::watch::{Stage, Watch};
use crate::stage::{Burst, Context, Lane, Next, flow, related};

/// What one stage left of one packet.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// The stage.
    pub(super) stage: Stage,
    /// Which of the packets under way it was: others are those that were held until now.
    pub(super) place: usize,
    /// What was known of it.
    pub(super) lane: Lane,
    /// Its bytes.
    pub(super) frame: Vec<u8>,
    /// What the decision looked at.
    pub(super) steps: Vec<Step>,
    /// The engine's flow that it belongs to.
    pub(super) flow: Option<Found>,
}

/// A flow of the engine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    /// The flow.
    pub(super) view: FlowView,
    /// The packet is one of its first direction.
    pub(super) is_forward: bool,
    /// What was decided about it still holds.
    pub(super) is_fresh: bool,
}

/// Whoever looks on in a trial.
pub(super) struct Recorder<'a> {
    live: &'a FlowTable,
    /// What was seen, in order.
    pub(super) seen: Vec<Seen>,
    /// Flows that were brought in.
    pub(super) brought: Vec<FlowId>,
    /// Of the packets under way.
    found: Vec<Option<Found>>,
}

impl<'a> Recorder<'a> {
    /// That finds flows here.
    pub(super) fn new(live: &'a FlowTable) -> Recorder<'a> {
        Recorder {
            live,
            seen: Vec::new(),
            brought: Vec::new(),
            found: Vec::new(),
        }
    }

    /// The engine's flows that the packets under way could belong to become the trial's.
    fn bring_flows(&mut self, context: &Context, burst: &Burst<MemBuffer>) {
        self.found.clear();
        for (packet, lane) in burst.packets.iter().zip(&burst.lanes) {
            let frame = packet.to_vec();
            let found = match lane.next {
                Next::Flow(layer) => {
                    let own = flow::key(lane, layer, &frame);
                    let quoted = related::quoted_key(lane, layer, &frame);
                    let quoted = quoted.map(|key| self.bring(context, lane, &key));
                    let own = own.and_then(|key| self.bring(context, lane, &key));
                    quoted.flatten().or(own)
                }
                _ => None,
            };
            self.found.push(found);
        }
        if self.brought.is_empty() {
            trial::set_quotas(context.tables, self.live, context.flows);
        }
    }

    fn bring(&mut self, context: &Context, lane: &Lane, key: &Key) -> Option<Found> {
        if context.flows.lookup(key).is_none() {
            let id = trial::bring(self.live, context.flows, key, context.now);
            self.brought.extend(id);
        }
        let hit = context.flows.lookup(key)?;
        Some(Found {
            view: context.flows.flow(hit.id, hit.version())?,
            is_forward: hit.id.is_forward(),
            is_fresh: flow::is_fresh(context, lane, &hit),
        })
    }

    /// Decides once more about a flow that was decided before, only to hear the steps.
    fn steps_again(context: &Context, lane: &Lane, found: &Found, frame: &[u8]) -> Vec<Step> {
        let sessions = context.tables.sessions();
        if let Ok((headers, ingress)) = flow::as_before(lane, &found.view, found.is_forward, frame)
        {
            // That it might come out otherwise by now is for the next change to find out.
            _ = decide(
                context.tables,
                &mut sessions.live(context),
                &headers,
                ingress,
            );
        }
        sessions.take_steps()
    }
}

impl Watch<MemBuffer> for Recorder<'_> {
    fn after(&mut self, stage: Stage, context: &Context, burst: &Burst<MemBuffer>) {
        if stage == Stage::Admitted {
            self.bring_flows(context, burst);
        }
        let mut steps = context.tables.sessions().take_steps();
        for (place, (packet, lane)) in burst.packets.iter().zip(&burst.lanes).enumerate() {
            let frame = packet.to_vec();
            let flow = self.found.get(place).copied().flatten();
            let mut steps = std::mem::take(&mut steps);
            if let (Stage::Flow, Some(found), true) = (stage, &flow, steps.is_empty()) {
                steps = Recorder::steps_again(context, lane, found, &frame);
            }
            self.seen.push(Seen {
                stage,
                place,
                lane: *lane,
                frame,
                steps,
                flow,
            });
        }
    }
}
