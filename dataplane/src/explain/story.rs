//! From what the stages left of a packet to the steps that people read.

use encap::{MemBuffer, Network};

use super::recorder::{Found, Seen};
use super::trial::Tried;
use super::words::{self, mention};
use super::{Sent, Step, Verdict, decision};
use crate::reason::DropReason;
use crate::stage::watch::Stage;
use crate::stage::{Layer, Next, Translated};
use crate::tables::spec::Key;
use crate::tables::{Tables, Vif};

/// The steps of one packet, and what became of it in the end.
pub(super) fn tell(tables: &Tables, vif: &Vif, tried: &Tried) -> (Vec<Step>, Verdict) {
    let mut steps = Vec::new();
    let mut before: Option<&Seen> = None;
    for seen in &tried.seen {
        // Packets that were held go the rest of the way after the one at hand.
        let is_next = before.is_none_or(|last| last.place == seen.place);
        steps.extend(stage(tables, vif, before.filter(|_| is_next), seen));
        before = Some(seen);
    }
    for (_, reason, count) in &tried.drops {
        let step = dropped(tables, vif, *reason);
        steps.extend(std::iter::repeat_n(step, *count as usize));
    }
    steps.extend(ending(tables, tried));
    (steps, verdict(tried))
}

fn verdict(tried: &Tried) -> Verdict {
    // What was made here about a packet that was dropped is no delivery of it.
    match tried.drops.first() {
        Some((_, reason, _)) => Verdict::Dropped(*reason),
        None if !tried.sent.is_empty() => Verdict::Sent,
        None if tried.waits => Verdict::Waits,
        None => Verdict::Consumed,
    }
}

fn dropped(tables: &Tables, vif: &Vif, reason: DropReason) -> Step {
    let mut text = format!("{}: {}", reason.name(), reason.meaning());
    let own = Key::Vif(vif.name.clone());
    match reason {
        DropReason::SpoofedMac => {
            text += &format!(" Vif {} has {}.", vif.name, vif.mac);
            Step::new("dropped", text).about(mention(tables, own))
        }
        DropReason::SpoofedSource => {
            let may: Vec<String> = vif.addresses.iter().map(ToString::to_string).collect();
            text += &format!(" Vif {} may send from {}.", vif.name, may.join(", "));
            Step::new("dropped", text).about(mention(tables, own))
        }
        DropReason::Metered => {
            let of_vrf = tables.vrf(vif.vrf).map(|vrf| vrf.guarding);
            let guards = [Some(vif.guarding), of_vrf].into_iter().flatten();
            let meters = guards.filter_map(|guards| tables.meter(guards.egress_meter?));
            meters.fold(Step::new("dropped", text), |step, meter| {
                step.about(mention(tables, Key::Meter(meter.name().clone())))
            })
        }
        _ => Step::new("dropped", text),
    }
}

/// What one stage has to say; nothing if it left the packet as it was.
fn stage(tables: &Tables, vif: &Vif, was: Option<&Seen>, seen: &Seen) -> Vec<Step> {
    let is_dropped = matches!(seen.lane.next, Next::Drop(_));
    let was_dropped = was.is_some_and(|was| matches!(was.lane.next, Next::Drop(_)));
    if was_dropped {
        return Vec::new();
    }
    match seen.stage {
        Stage::Parse if !is_dropped => vec![arrival(tables, vif, seen)],
        Stage::Parse => {
            let text = format!("{} bytes into vif {}", seen.frame.len(), vif.name);
            vec![Step::new("arrival", text).about(mention(tables, Key::Vif(vif.name.clone())))]
        }
        Stage::Entry => entry(tables, vif, was, seen),
        Stage::Related => related(tables, was, seen),
        Stage::Flow => flow(tables, seen),
        Stage::Bridge => bridged(tables, was, seen),
        Stage::Rewrite => rewritten(was, seen).into_iter().collect(),
        Stage::Guard | Stage::Fragments | Stage::Admitted => Vec::new(),
    }
}

fn arrival(tables: &Tables, vif: &Vif, seen: &Seen) -> Step {
    let packet = words::packet(&seen.frame, &seen.lane.meta);
    let text = format!("{packet}, into vif {}", vif.name);
    Step::new("arrival", text).about(mention(tables, Key::Vif(vif.name.clone())))
}

/// Whose it is.
fn entry(tables: &Tables, vif: &Vif, was: Option<&Seen>, seen: &Seen) -> Vec<Step> {
    let lane = &seen.lane;
    let mut steps = Vec::new();
    if let Some(peer) = lane.ingress.as_peer() {
        let outer = was.and_then(|was| words::circuit(&was.frame, &was.lane.meta));
        let (circuit, keys) = outer.unwrap_or_default();
        let (remote, vrf) = (words::peer(tables, peer), words::vrf(tables, lane.vrf));
        let inner = words::packet(&seen.frame, &lane.meta);
        let text = format!("{circuit} from {remote} leads into vrf {vrf}: {inner}");
        let step = Step::new("tunnel", text);
        let keys = keys.into_iter().chain([Key::Vrf(vrf)]);
        steps.push(keys.fold(step, |step, key| step.about(mention(tables, key))));
    }
    let vrf = words::vrf(tables, lane.vrf);
    let text = match lane.next {
        Next::Drop(_) => return steps,
        Next::Flow(Layer::Routed) => format!("to be routed in vrf {vrf}"),
        Next::Flow(Layer::Bridged) => format!("to another machine's MAC: bridged in vrf {vrf}"),
        Next::Bridge => format!("a frame for the bridge of vrf {vrf}"),
        Next::Forward(id, _) => format!("to {}", words::nexthop(tables, id)),
        Next::Emit(id) if id == vif.id => "the vrouter answers it itself".into(),
        Next::Emit(id) => format!("handed to vif {} as it is", words::vif(tables, id)),
        Next::TooBig(mtu) => format!("too big: {mtu} bytes would pass"),
        Next::Consumed => "for the vrouter itself; it needs no answer".into(),
    };
    steps.push(Step::new("entry", text).about(mention(tables, Key::Vrf(vrf))));
    steps
}

/// An ICMP error that went with the flow it is about.
fn related(tables: &Tables, was: Option<&Seen>, seen: &Seen) -> Vec<Step> {
    let was_open = was.is_some_and(|was| matches!(was.lane.next, Next::Flow(_)));
    let Next::Forward(id, _) = seen.lane.next else {
        return Vec::new();
    };
    if !was_open {
        return Vec::new();
    }
    let mut steps: Vec<Step> = seen
        .flow
        .iter()
        .map(|found| of_flow(tables, found))
        .collect();
    let to = words::nexthop(tables, id);
    let text = format!("an ICMP error about this flow goes its way, to {to}");
    steps.push(Step::new("related", text));
    steps
}

/// The flow, and every step of the decision about it.
fn flow(tables: &Tables, seen: &Seen) -> Vec<Step> {
    let mut steps: Vec<Step> = seen
        .flow
        .iter()
        .map(|found| of_flow(tables, found))
        .collect();
    if seen.flow.is_none() && !seen.steps.is_empty() {
        steps.push(Step::new(
            "flow",
            "the first packet of a flow: decided now".into(),
        ));
    }
    steps.extend(seen.steps.iter().map(|step| decision::tell(tables, step)));
    if let (Next::Forward(id, _), false) = (seen.lane.next, seen.steps.is_empty()) {
        let text = format!("allowed, by {}", words::nexthop(tables, id));
        let key = words::nexthop_key(tables, id).and_then(|key| mention(tables, key));
        steps.push(Step::new("decision", text).about(key));
    }
    steps
}

fn of_flow(tables: &Tables, found: &Found) -> Step {
    let view = &found.view;
    let direction = match found.is_forward {
        true => "its first direction",
        false => "the direction of its answers",
    };
    let state = match found.is_fresh {
        true => "what was decided about it still holds; once more, for you:",
        false => "the configuration or the way has changed since, so it is decided again:",
    };
    let ends = |key: &flowtable::Key| {
        let from = crate::decide::End {
            addr: key.src_addr(),
            port: key.src_port(),
        };
        let to = crate::decide::End {
            addr: key.dst_addr(),
            port: key.dst_port(),
        };
        format!("{} -> {}", words::end(from), words::end(to))
    };
    let text = format!(
        "of the live flow {} {}, {direction}; {state}",
        words::protocol_name(view.forward.protocol()),
        ends(&view.forward),
    );
    let note = crate::decide::Note::from_words(view.note);
    let rules = [note.egress_rule, note.ingress_rule];
    let rules = rules.into_iter().flatten();
    rules.fold(Step::new("flow", text), |step, id| {
        step.about(words::rule(tables, id))
    })
}

fn bridged(tables: &Tables, was: Option<&Seen>, seen: &Seen) -> Vec<Step> {
    let was_bridge = was.is_some_and(|was| was.lane.next == Next::Bridge);
    match seen.lane.next {
        Next::Forward(id, Layer::Bridged) if was_bridge => {
            let to = words::nexthop(tables, id);
            let mac = encap::EthernetHeader::split(&seen.frame).map(|(header, _)| header.dst());
            let mac = mac.unwrap_or(encap::MacAddr::ZERO);
            let vrf = words::vrf(tables, seen.lane.vrf);
            let text = format!("{mac} in vrf {vrf} is behind {to}");
            let step = Step::new("bridge", text).about(mention(tables, Key::Mac(vrf, mac)));
            let key = words::nexthop_key(tables, id).and_then(|key| mention(tables, key));
            vec![step.about(key)]
        }
        _ => Vec::new(),
    }
}

fn rewritten(was: Option<&Seen>, seen: &Seen) -> Option<Step> {
    let was = was?;
    if was.frame == seen.frame || matches!(seen.lane.next, Next::Drop(_)) {
        return None;
    }
    let meta = encap::parse_packet(&mut MemBuffer::from_frame(&seen.frame)).ok()?;
    let what = match seen.lane.translated {
        Translated::No => "routed",
        Translated::Yes | Translated::MayBeCut => "translated and routed",
    };
    let text = format!("{what}: {}", words::packet(&seen.frame, &meta));
    Some(Step::new("rewrite", text))
}

/// What left, and what stays.
fn ending(tables: &Tables, tried: &Tried) -> Vec<Step> {
    let mut steps = Vec::new();
    for (vif, frame) in &tried.sent {
        let sent = describe(frame);
        let outer = match &sent {
            (text, 0) => text.clone(),
            (text, len) => format!("{text}; the outer headers take {len} bytes"),
        };
        let what = match tried.drops.is_empty() {
            true => "sent",
            false => "told",
        };
        let text = format!("{outer}, out of vif {vif}");
        steps.push(Step::new(what, text).about(mention(tables, Key::Vif(vif.clone()))));
    }
    if tried.waits {
        let text = match waits_for(tables, tried) {
            Some(neighbour) => format!("for the MAC of {neighbour}, who is being asked"),
            None => "for the other fragments of its datagram".into(),
        };
        steps.push(Step::new("waits", text));
    }
    steps
}

/// The neighbour that a packet waits for.
fn waits_for(tables: &Tables, tried: &Tried) -> Option<String> {
    use crate::tables::Nexthop;
    let last = tried.seen.last()?;
    let Next::Forward(id, _) = last.lane.next else {
        return None;
    };
    let neighbour = match tables.nexthop(id)? {
        Nexthop::Tunnel(tunnel) => &tunnel.paths.choose(last.lane.entropy).neighbour,
        Nexthop::Neighbour(neighbour) => neighbour,
        Nexthop::Replicate(_) => return Some("a neighbour on the way to a member".into()),
        _ => return None,
    };
    let vif = words::vif(tables, neighbour.vif);
    Some(format!("neighbour {} on vif {vif}", neighbour.addr))
}

/// A frame as it leaves: the packet in words, and how many bytes of outer headers it has.
fn describe(frame: &[u8]) -> (String, usize) {
    let mut buffer = MemBuffer::from_frame(frame);
    let Ok(meta) = encap::parse_packet(&mut buffer) else {
        return (format!("{} bytes", frame.len()), 0);
    };
    let text = words::packet(frame, &meta);
    let is_ip = meta.network != Network::Arp;
    match encap::decap(&buffer, &meta) {
        Ok(Some(opened)) if is_ip => {
            let circuit = words::circuit(frame, &meta).map(|(text, _)| text);
            let circuit = circuit.unwrap_or_default();
            (format!("{circuit} in {text}"), opened.inner.into())
        }
        _ => (text, 0),
    }
}

/// Frames that left, with how much of each is the outer headers of a tunnel.
pub(super) fn sent(tried: &Tried) -> Vec<Sent> {
    let frames = tried.sent.iter();
    let sent = frames.map(|(vif, frame)| Sent {
        vif: vif.clone(),
        frame: frame.clone(),
        outer_len: describe(frame).1,
    });
    sent.collect()
}
