//! One packet through both, and what must hold of the engine's answer besides.

use std::collections::{BTreeMap, VecDeque};
use std::env;

use dataplane::accounts;
use dataplane::decide::sessions::Step;
use dataplane::decide::{Decision, FLAG_RULES, Headers, Kept, Note, Refused as Why, decide};
use dataplane::stage::{Context, Ingress};
use dataplane::tables::policy::RuleId;
use dataplane::tables::spec::Name;
use dataplane::tables::{NexthopId, Tables, VrfId};
use flowtable::{FlowTable, Ticks, Timeouts};

use crate::common::Random;
use crate::recorder::{Call, Recorder, Replay};
use crate::reference::{Choice, Choices, Memory};
use crate::words::*;
use crate::world::World;

/// Packets unless the environment says otherwise.
const FEW: usize = 20_000;

/// Packets among which everything there is must be met.
const MANY: usize = 500_000;

/// Packets for each configuration, and for what it changes into.
const FIRST: usize = 150;
const AGAIN: usize = 50;

#[test]
fn the_engine_decides_as_the_reference_does() {
    let count = env::var("DECISIONS").map_or(FEW, |text| text.parse().expect("a number"));
    let seed = env::var("DECISION_SEED").map_or(1, |text| text.parse().expect("a number"));
    let mut seen = BTreeMap::new();
    for number in 0..count.div_ceil(FIRST + AGAIN) as u64 {
        let mut last = Last {
            seed: seed + number,
            packet: None,
        };
        one_configuration(&mut last, &mut seen);
    }
    if count >= MANY {
        check_seen(&seen);
    }
    println!("{count} packets: {seen:#?}");
}

/// Says what was at hand when something is wrong.
struct Last {
    seed: u64,
    packet: Option<Packet>,
}

impl Drop for Last {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let seed = self.seed;
            println!("DECISION_SEED={seed} DECISIONS=1 makes this configuration; the packet was");
            println!("{:#?}", self.packet);
        }
    }
}

fn one_configuration(last: &mut Last, seen: &mut BTreeMap<String, usize>) {
    let mut random = Random(last.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let world = World::new(&mut random);
    let mut memory = Memory::default();
    let mut flows = Vec::new();
    let mut engine = Engine::new(&world);
    for _ in 0..FIRST {
        let packet = world.reference.any_packet(&memory, &mut random);
        last.packet = Some(packet.clone());
        let Some(outcome) = engine.check(&mut memory, &packet) else {
            continue;
        };
        count(seen, &packet, &outcome);
        if let Ok(allowed) = &outcome {
            // Asked again it is the same, and so it is for the flow that it began.
            let asked_again = engine.check(&mut memory, &packet);
            assert_eq!(asked_again.as_ref(), Some(&outcome), "asked again");
            let flow = with(&packet, allowed);
            last.packet = Some(flow.clone());
            let as_flow = engine.check(&mut memory, &flow);
            // Of two backends behind one nexthop that answer for themselves, no flow says which it has.
            let mut services = world.reference.services();
            if !services.any(|it| it.direct_return && it.address == packet.dst.addr) {
                assert_eq!(as_flow.as_ref(), Some(&outcome), "asked about the flow");
            }
            flows.push(flow);
        }
    }
    if flows.is_empty() {
        return;
    }
    let changed = world.changed(&mut random);
    let mut engine = Engine::new(&changed);
    for _ in 0..AGAIN {
        let flow = &flows[random.below(flows.len())];
        last.packet = Some(flow.clone());
        if let Some(outcome) = engine.check(&mut memory, flow) {
            *seen.entry("a flow after a change".into()).or_default() += 1;
            count(seen, flow, &outcome);
        }
    }
}

/// The packet as one of the flow that it began.
fn with(packet: &Packet, allowed: &Allowed) -> Packet {
    Packet {
        had: Some(Had {
            nexthop: allowed.forward.nexthop.clone(),
            source: allowed.source,
            destination: allowed.destination,
        }),
        ..packet.clone()
    }
}

/// The engine with one configuration.
struct Engine<'a> {
    world: &'a World,
    names: BTreeMap<NexthopId, Name>,
    flows: FlowTable,
}

impl Engine<'_> {
    fn new(world: &World) -> Engine<'_> {
        let all = (0..256).map(NexthopId);
        let name = |id| Some((id, world.tables.nexthop_name(id)?));
        let there = all.filter(|id| world.tables.nexthop(*id).is_some());
        let table = accounts::table_config(64, [1, 2, 3, 4], Timeouts::default(), 1);
        Engine {
            world,
            names: there.filter_map(name).collect(),
            flows: FlowTable::new(&table),
        }
    }

    /// Both answers, which must be the same. `None` for a packet that cannot come.
    fn check(&mut self, memory: &mut Memory, packet: &Packet) -> Option<Outcome> {
        let tables = &*self.world.tables;
        let (headers, ingress) = self.headers(packet)?;
        let context = Context {
            tables,
            flows: &self.flows,
            worker: 0,
            now: Ticks(10_000),
            vif: tables.vif_named("up0").expect("it is always there"),
        };
        let mut recorder = Recorder::new(tables.sessions().live(&context));
        let decided = decide(tables, &mut recorder, &headers, ingress);
        let calls = recorder.calls;
        check_pure(tables, &headers, ingress, &calls, &decided);
        check_held(&calls, &decided);
        if let Ok(decision) = &decided {
            let epoch = |vrf: VrfId| tables.vrf(vrf).expect("it is there").epoch;
            for way in [decision.forward, decision.reverse] {
                assert_eq!(way.epoch, epoch(way.vrf));
            }
        }
        let outcome = self.named(&decided);
        let mut choices = Choices {
            made: self.choices(&calls),
            ways: outcome.as_ref().ok().map(|allowed| {
                let ways = (&allowed.forward, &allowed.reverse);
                (ways.0.nexthop.clone(), ways.1.nexthop.clone())
            }),
        };
        let reference = &self.world.reference;
        let expected = reference.decide(memory, &mut choices, packet);
        assert_eq!(
            outcome, expected,
            "the engine's answer, and the reference's"
        );
        choices.check_over();
        Some(outcome)
    }

    fn headers(&self, packet: &Packet) -> Option<(Headers, Ingress)> {
        let tables = &*self.world.tables;
        let ingress = match &packet.from {
            From::Vif(name) => Ingress::vif(tables.vif_named(name)?.id),
            From::Remote(addr) => {
                let ingress = Ingress::peer(tables.underlay().peer(*addr)?);
                match packet.direct {
                    Some(_) => ingress.direct(),
                    None => ingress,
                }
            }
        };
        let kept = match &packet.had {
            None => None,
            Some(had) => Some(Kept {
                nexthop: self.id(&had.nexthop)?,
                source: had.source,
                destination: had.destination,
                binding: 0,
            }),
        };
        let direct = match &packet.direct {
            None => None,
            Some(name) => Some(self.id(name)?),
        };
        let headers = Headers {
            vrf: tables.vrf_named(&packet.vrf)?.id,
            layer: packet.layer,
            src_mac: packet.macs.0,
            dst_mac: packet.macs.1,
            src_addr: packet.src.addr,
            dst_addr: packet.dst.addr,
            protocol: packet.protocol,
            src_port: packet.src.port,
            dst_port: packet.dst.port,
            icmp: packet.icmp,
            direct,
            kept,
        };
        Some((headers, ingress))
    }

    fn id(&self, name: &Name) -> Option<NexthopId> {
        let mut all = self.names.iter();
        all.find(|(_, it)| *it == name).map(|(id, _)| *id)
    }

    fn vrf(&self, id: VrfId) -> Name {
        let vrf = self.world.tables.vrf(id);
        vrf.expect("it is there").name.clone()
    }

    fn rule(&self, id: RuleId) -> RuleName {
        let rule = self.world.tables.rule(id).expect("it is there");
        (rule.policy_name.clone(), rule.number)
    }

    /// An answer in names.
    fn named(&self, decided: &Result<Decision, Why>) -> Outcome {
        let tables = &*self.world.tables;
        let from = |ingress: Ingress| match (ingress.as_vif(), ingress.as_peer()) {
            (Some(vif), _) => From::Vif(tables.vif(vif).expect("it is there").name.clone()),
            (_, Some(peer)) => {
                From::Remote(tables.underlay().peer_addr(peer).expect("it is there"))
            }
            (None, None) => unreachable!("one or the other"),
        };
        let way = |way: dataplane::decide::Way| Way {
            from: from(way.ingress),
            nexthop: self.names[&way.nexthop].clone(),
            vrf: self.vrf(way.vrf),
            exit: self.vrf(way.exit),
            member: way.member,
        };
        match decided {
            Ok(decision) => {
                assert_eq!(decision.forward.flags, decision.reverse.flags);
                Ok(Allowed {
                    forward: way(decision.forward),
                    reverse: way(decision.reverse),
                    source: decision.source,
                    destination: decision.destination,
                    egress_rule: decision.note.egress_rule.map(|id| self.rule(id)),
                    ingress_rule: decision.note.ingress_rule.map(|id| self.rule(id)),
                    marks: decision.forward.flags == FLAG_RULES,
                    bound: decision.note.binding != 0,
                })
            }
            Err(why) => Err(Refused {
                reason: why.reason,
                rule: why.rule.map(|id| self.rule(id)),
            }),
        }
    }

    /// What was drawn or remembered, in names.
    fn choices(&self, calls: &[Call]) -> VecDeque<Choice> {
        let tables = &*self.world.tables;
        let service = |id| tables.service(id).expect("it is there").name.clone();
        let pool = |id| tables.pool(id).expect("it is there").name.clone();
        let vif = |id| tables.vif(id).expect("it is there").name.clone();
        let choices = calls.iter().filter_map(|call| match *call {
            Call::Step(Step::Service(id, end, _)) => Some(Choice::Backend(service(id), end)),
            Call::Step(Step::Floating(_, end)) => Some(Choice::Inside(end)),
            Call::Step(Step::Member(group, member, _)) => {
                let name = |id| self.names[&id].clone();
                Some(Choice::Member(name(group), name(member)))
            }
            Call::Bind(asked, answer) => Some(Choice::Outside {
                pool: pool(asked.pool),
                vrf: self.vrf(asked.vrf),
                vif: asked.vif.map(vif),
                protocol: asked.protocol,
                inside: asked.inside,
                remote: asked.remote,
                answer: answer.map(|binding| binding.outside),
            }),
            Call::Bound(id, protocol, outside, remote, answer) => Some(Choice::Owner {
                pool: pool(id),
                protocol,
                outside,
                remote,
                answer: answer.map(|bound| (self.vrf(bound.vrf), bound.inside)),
            }),
            Call::KeepBackend(id, client, end) => Some(Choice::Kept(service(id), client, end)),
            Call::Release(_) | Call::BackendOf(..) | Call::Step(_) => None,
        });
        choices.collect()
    }
}

/// Where the same questions are answered in the same way, the answer is the same: nothing else was
/// looked at, no clock and no state of its own.
fn check_pure(
    tables: &Tables,
    headers: &Headers,
    ingress: Ingress,
    calls: &[Call],
    decided: &Result<Decision, Why>,
) {
    let mut replay = Replay::new(calls);
    let again = decide(tables, &mut replay, headers, ingress);
    assert_eq!(again, *decided);
    assert!(replay.is_over(), "less was asked than before");
}

/// What was taken is what the flow's note holds; of what is refused, nothing.
fn check_held(calls: &[Call], decided: &Result<Decision, Why>) {
    let mut held: Vec<u32> = Vec::new();
    for call in calls {
        match call {
            Call::Bind(_, Ok(binding)) => held.push(binding.id),
            Call::Bound(.., Ok(bound)) => held.push(bound.id),
            Call::Release(id) => {
                let at = held.iter().position(|it| it == id);
                held.remove(at.expect("it was held"));
            }
            _ => {}
        }
    }
    let note = decided.as_ref().map_or(Note::default(), |it| it.note);
    let kept: Vec<u32> = (note.binding != 0)
        .then_some(note.binding)
        .into_iter()
        .collect();
    assert_eq!(held, kept, "held, and noted");
}

fn count(seen: &mut BTreeMap<String, usize>, packet: &Packet, outcome: &Outcome) {
    let mut add = |what: &str| *seen.entry(what.to_owned()).or_default() += 1;
    let allowed = match outcome {
        Err(refused) => return add(&format!("refused: {}", refused.reason.name())),
        Ok(allowed) => allowed,
    };
    add("let through");
    let marks = [
        ("by a pool", allowed.bound),
        ("by a group", allowed.forward.member != 0),
        ("back by a group", allowed.reverse.member != 0),
        (
            "by a rule",
            allowed.egress_rule.is_some() || allowed.ingress_rule.is_some(),
        ),
        ("with marks", allowed.marks),
        ("into another network", allowed.forward.exit != packet.vrf),
        ("another source", allowed.source != packet.src),
        ("another destination", allowed.destination != packet.dst),
        (
            "from IPv6 to IPv4",
            packet.dst.addr.is_ipv6() && allowed.source.addr.is_ipv4(),
        ),
        (
            "from IPv4 to IPv6",
            packet.dst.addr.is_ipv4() && allowed.source.addr.is_ipv6(),
        ),
        ("from a tunnel", matches!(packet.from, From::Remote(_))),
        ("from the fabric", packet.vrf == "underlay".into()),
        ("into the fabric", allowed.forward.exit == "underlay".into()),
        ("straight to a nexthop", packet.direct.is_some()),
    ];
    marks
        .iter()
        .filter(|(_, is_so)| *is_so)
        .for_each(|(what, _)| add(what));
}

/// A test that only meets what is easy shows nothing.
fn check_seen(seen: &BTreeMap<String, usize>) {
    let wanted = [
        "let through",
        "by a pool",
        "by a group",
        "back by a group",
        "by a rule",
        "with marks",
        "into another network",
        "another source",
        "another destination",
        "from IPv6 to IPv4",
        "from IPv4 to IPv6",
        "from a tunnel",
        "from the fabric",
        "into the fabric",
        "straight to a nexthop",
        "a flow after a change",
        "refused: martian",
        "refused: multicast",
        "refused: spoofed_source",
        "refused: link_local",
        "refused: no_route",
        "refused: no_mac",
        "refused: to_gateway",
        "refused: reverse_path",
        "refused: split_horizon",
        "refused: policy_denied",
        "refused: policy_rejected",
        "refused: no_service",
        "refused: no_backend",
        "refused: backend_down",
        "refused: vrf_loop",
        "refused: snat_unknown",
        "refused: snat_filtered",
        "refused: snat_exhausted",
        "refused: snat_port_limit",
        "refused: snat_protocol",
        "refused: no_underlay_route",
        "refused: discard",
        "refused: reject",
        "refused: no_host",
    ];
    for what in wanted {
        let times = seen.get(what).copied().unwrap_or(0);
        assert!(times >= 20, "{what}: {times} times; {seen:#?}");
    }
}
