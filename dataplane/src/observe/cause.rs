//! Which object caused a drop, by name: the rule, the route, the limit.
//!
//! A worker notes a dropped packet and not why in words; that is found out here, a moment later and
//! off its core, by asking [`decide`] again what it asked: the same function, the same tables, and
//! someone who listens to the steps. What stages drop before or after a decision has its object by
//! the reason alone.

use encap::{EthernetHeader, Label, Vni};
use ipnet::IpNet;
use std::net::IpAddr;

use super::drops::Note;
use crate::decide::sessions::{Asked, Binding, Bound, Step};
use crate::decide::{Decision, End, Headers, Refused, Sessions, decide};
use crate::reason::DropReason;
use crate::stage::Layer;
use crate::tables::nat::PoolId;
use crate::tables::policy::Direction;
use crate::tables::service::ServiceId;
use crate::tables::spec::Key;
use crate::tables::{NexthopId, Tables, Target, Vif, VrfId};

/// The object that caused a drop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The object, as `kind name`, such as `route front 10.1.0.0/24`.
    pub object: String,
    /// The rule of it, if it is a policy.
    pub rule: Option<u32>,
    /// What of it, in words; may be empty.
    pub detail: String,
}

/// The object that made the tables drop this packet, as far as it can be told. `tables` should be
/// those of the note's generation.
pub fn cause(tables: &Tables, note: &Note) -> Cause {
    let vif = tables.vif(note.vif);
    if let Some(cause) = of_arrival(tables, note) {
        return cause;
    }
    if !note.is_translated
        && let Some((decided, steps)) = asked_again(tables, note)
        && let Some(cause) = of_steps(tables, note, &decided, &steps)
    {
        return cause;
    }
    of_reason(tables, note, vif.map(|vif| &**vif))
}

fn said(object: String, detail: impl Into<String>) -> Cause {
    Cause {
        object,
        rule: None,
        detail: detail.into(),
    }
}

/// Of a tunnel packet that leads nowhere: the number that nobody has configured.
fn of_arrival(tables: &Tables, note: &Note) -> Option<Cause> {
    let frame = &note.bytes[..];
    let meta = encap::parse(frame).ok();
    let payload = meta.and_then(|meta| frame.get(usize::from(meta.l4)..));
    match note.reason {
        DropReason::UnknownVni => {
            let bytes: [u8; 4] = payload?.get(12..16)?.try_into().ok()?;
            let vni = Vni::new(u32::from_be_bytes(bytes) >> 8)?;
            Some(said(Key::Vni(vni).to_string(), "there is no such object"))
        }
        DropReason::UnknownLabel => {
            // Behind UDP or a GRE header without options, whichever it is.
            let skip = if meta?.is_udp() { 8 } else { 4 };
            let bytes: [u8; 4] = payload?.get(skip..skip + 4)?.try_into().ok()?;
            let label = Label::new(u32::from_be_bytes(bytes) >> 12)?;
            Some(said(
                Key::Label(label).to_string(),
                "there is no such object",
            ))
        }
        DropReason::UnknownTunnelSource => {
            let (src, _) = meta?.addrs(frame)?;
            let detail = format!("no tunnel has the remote {src}");
            Some(said(format!("vrf {}", tables.vrf(note.vrf)?.name), detail))
        }
        _ => None,
    }
}

/// What `decide` says to the packet, and what it looked at.
fn asked_again(tables: &Tables, note: &Note) -> Option<(Result<Decision, Refused>, Vec<Step>)> {
    let frame = &note.bytes[..];
    let meta = encap::parse(frame).ok()?;
    let (src_addr, dst_addr) = meta.addrs(frame)?;
    let (ethernet, _) = EthernetHeader::split(frame).ok()?;
    let vrf = tables.vrf(note.vrf)?;
    let headers = Headers {
        vrf: note.vrf,
        layer: match ethernet.dst() == vrf.mac {
            true => Layer::Routed,
            false => Layer::Bridged,
        },
        src_mac: ethernet.src(),
        dst_mac: ethernet.dst(),
        src_addr,
        dst_addr,
        protocol: meta.protocol,
        src_port: note.ports.0,
        dst_port: note.ports.1,
        icmp: (meta.is_icmp() || meta.is_icmpv6()).then_some((meta.l4_flags, meta.icmp_code)),
        direct: note.direct,
        kept: None,
    };
    let mut listener = Listener::default();
    let decided = decide(tables, &mut listener, &headers, note.ingress);
    Some((decided, listener.steps))
}

/// The object that the steps end at, if they end with the reason noted.
fn of_steps(
    tables: &Tables,
    note: &Note,
    decided: &Result<Decision, Refused>,
    steps: &[Step],
) -> Option<Cause> {
    match decided {
        Err(refused) if refused.reason == note.reason => of_refusal(tables, note, refused, steps),
        // A listener gives out no ports, so where the pool is asked the answer is always no.
        Err(_) if is_of_pool(note.reason) => of_pool(tables, steps),
        Ok(decision) => of_way(tables, note, decision.forward.nexthop, steps),
        Err(_) => None,
    }
}

fn of_refusal(tables: &Tables, note: &Note, refused: &Refused, steps: &[Step]) -> Option<Cause> {
    if let Some(rule) = refused.rule.and_then(|id| tables.rule(id)) {
        return Some(Cause {
            object: Key::Policy(rule.policy_name.clone()).to_string(),
            rule: Some(rule.number),
            detail: direction_of(tables, steps),
        });
    }
    match note.reason {
        DropReason::PolicyDenied | DropReason::PolicyRejected => no_rule(tables, steps),
        DropReason::SpoofedSource => None,
        DropReason::ReversePath => match steps.last()? {
            Step::ReversePath(addr) => {
                let vrf = &tables.vrf(note.vrf)?.name;
                let back = route_of(tables, note.vrf, *addr);
                let back = back.unwrap_or_else(|| format!("vrf {vrf}"));
                Some(said(
                    back,
                    format!("the way back to {addr} leads elsewhere"),
                ))
            }
            _ => None,
        },
        reason if is_of_pool(reason) => of_pool(tables, steps),
        DropReason::NoService | DropReason::NoBackend | DropReason::BackendDown => {
            of_service(tables, note, steps)
        }
        _ => of_route(tables, steps),
    }
}

/// No rule lets it through: the vif whose policies were asked last.
fn no_rule(tables: &Tables, steps: &[Step]) -> Option<Cause> {
    let (vif, direction) = steps.iter().rev().find_map(asked_policies)?;
    let vif = tables.vif(vif)?;
    let key = match vif.policies.of(direction).is_empty() {
        false => Key::Vif(vif.name.clone()),
        true => Key::Vrf(tables.vrf(vif.vrf)?.name.clone()),
    };
    let direction = name_of(direction);
    let detail = format!(
        "no rule of its {direction} policies allows this to {}",
        vif.name
    );
    Some(said(key.to_string(), detail))
}

fn direction_of(tables: &Tables, steps: &[Step]) -> String {
    let asked = steps.iter().rev().find_map(asked_policies);
    let asked = asked.and_then(|(vif, direction)| Some((tables.vif(vif)?, direction)));
    asked.map_or_else(String::new, |(vif, direction)| {
        format!("{} of vif {}", name_of(direction), vif.name)
    })
}

fn asked_policies(step: &Step) -> Option<(crate::tables::VifId, Direction)> {
    match step {
        Step::EgressPolicy(vif, _) => Some((*vif, Direction::Egress)),
        Step::IngressPolicy(vif, _) => Some((*vif, Direction::Ingress)),
        _ => None,
    }
}

fn name_of(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    }
}

/// The route that was looked up last, or the network without one.
fn of_route(tables: &Tables, steps: &[Step]) -> Option<Cause> {
    let (vrf, addr, target) = steps.iter().rev().find_map(|step| match step {
        Step::Route(vrf, addr, target) => Some((*vrf, *addr, *target)),
        _ => None,
    })?;
    let name = &tables.vrf(vrf)?.name;
    match (route_of(tables, vrf, addr), target) {
        (Some(route), Some(Target::Nexthop(id))) => {
            Some(said(route, format!("leads to {}", nexthop(tables, id))))
        }
        (Some(route), Some(_)) => Some(said(route, "")),
        _ => {
            let detail = format!("nothing leads to {addr}");
            Some(said(Key::Vrf(name.clone()).to_string(), detail))
        }
    }
}

/// The longest prefix of a network that an address is in, as an object; for what no route object
/// says, such as a vif's own address, the network.
fn route_of(tables: &Tables, vrf: VrfId, addr: IpAddr) -> Option<String> {
    let vrf = tables.vrf(vrf)?;
    let bits = if addr.is_ipv4() { 32 } else { 128 };
    let prefixes = (0..=bits)
        .rev()
        .filter_map(|len| IpNet::new(addr, len).ok());
    let prefix = prefixes
        .map(|net| net.trunc())
        .find(|net| vrf.routes.get(*net).is_some())?;
    Some(Key::Route(vrf.name.clone(), prefix).to_string())
}

fn nexthop(tables: &Tables, id: NexthopId) -> String {
    let name = tables.nexthop_name(id);
    name.map_or_else(
        || "a nexthop that is gone".into(),
        |name| format!("nexthop {name}"),
    )
}

fn is_of_pool(reason: DropReason) -> bool {
    matches!(
        reason,
        DropReason::SnatExhausted
            | DropReason::SnatPortLimit
            | DropReason::SnatUnknown
            | DropReason::SnatFiltered
            | DropReason::SnatProtocol
    )
}

fn of_pool(tables: &Tables, steps: &[Step]) -> Option<Cause> {
    let pool = steps.iter().rev().find_map(|step| match step {
        Step::Pool(pool, _) => tables.pool(*pool),
        _ => None,
    })?;
    Some(said(Key::SnatPool(pool.name.clone()).to_string(), ""))
}

fn of_service(tables: &Tables, note: &Note, steps: &[Step]) -> Option<Cause> {
    let (addr, vip) = steps.iter().rev().find_map(|step| match step {
        Step::Route(_, addr, Some(Target::Vip(vip))) => Some((*addr, tables.vip(*vip)?)),
        _ => None,
    })?;
    let protocol = encap::parse(&note.bytes).ok()?.protocol;
    let service = vip.service(protocol, note.ports.1);
    match service.and_then(|id| tables.service(id)) {
        Some(service) => Some(said(Key::Service(service.name.clone()).to_string(), "")),
        None => {
            let vrf = &tables.vrf(note.vrf)?.name;
            let detail = format!("no service at {addr} has port {}", note.ports.1);
            Some(said(Key::Vrf(vrf.clone()).to_string(), detail))
        }
    }
}

/// Of what was let through and dropped on its way out: the nexthop.
fn of_way(tables: &Tables, note: &Note, id: NexthopId, steps: &[Step]) -> Option<Cause> {
    match note.reason {
        DropReason::Discard
        | DropReason::Reject
        | DropReason::TooBig
        | DropReason::NoUnderlayRoute
        | DropReason::NeighbourUnresolved
        | DropReason::NeighbourQueueFull
        | DropReason::NexthopChanged => {
            let mut cause = said(nexthop(tables, id), "");
            if let Some(route) = of_route(tables, steps) {
                cause.detail = format!("by {}", route.object);
            }
            Some(cause)
        }
        _ => None,
    }
}

/// What the reason alone says: the vif, the network or the table whose limit it is.
fn of_reason(tables: &Tables, note: &Note, vif: Option<&Vif>) -> Cause {
    let vif_named = || {
        vif.map_or_else(
            || "a vif that is gone".into(),
            |vif| format!("vif {}", vif.name),
        )
    };
    let vrf = tables.vrf(note.vrf);
    let vrf_named = || {
        vrf.map_or_else(
            || "a vrf that is gone".into(),
            |vrf| format!("vrf {}", vrf.name),
        )
    };
    match note.reason {
        DropReason::NoRoute
        | DropReason::NoMac
        | DropReason::Multicast
        | DropReason::ForwardingMode
        | DropReason::ToGateway
        | DropReason::NeighbourUnanswered
        | DropReason::FlowConflict
        | DropReason::FragmentLimit => said(vrf_named(), ""),
        DropReason::FlowQuotaVrf | DropReason::FlowHalfOpenVrf => said(vrf_named(), "flow_quota"),
        DropReason::FlowQuotaVif | DropReason::FlowHalfOpenVif => said(vif_named(), "flow_quota"),
        DropReason::FlowTableFull | DropReason::FlowTableHalfOpen => {
            said("node".into(), "flow_table_size")
        }
        DropReason::Metered => {
            let own = vif.map(|vif| vif.guarding).unwrap_or_default();
            let shared = vrf.map(|vrf| vrf.guarding).unwrap_or_default();
            let meters = [own.egress_meter, shared.egress_meter];
            let meter = meters.into_iter().flatten().find_map(|id| tables.meter(id));
            match meter {
                Some(meter) => said(Key::Meter(meter.name().clone()).to_string(), vif_named()),
                None => said(vif_named(), "a meter of the receiver"),
            }
        }
        DropReason::MacLimit => said(vif_named(), "max_learned_macs"),
        DropReason::StormLimit => said(vif_named(), "storm_limit"),
        DropReason::SpoofedSource => said(vif_named(), "addresses"),
        DropReason::SpoofedMac => said(vif_named(), "mac"),
        DropReason::VlanUnexpected => said(vif_named(), "vlan"),
        DropReason::TooBig => said(vif_named(), "mtu of the way it would take"),
        _ => said(vif_named(), ""),
    }
}

/// Sessions that give nothing and change nothing, and note what was asked.
#[derive(Default)]
struct Listener {
    steps: Vec<Step>,
}

impl Sessions for Listener {
    fn bind(&mut self, asked: &Asked) -> Result<Binding, DropReason> {
        self.steps.push(Step::Pool(asked.pool, asked.inside));
        Err(DropReason::SnatExhausted)
    }

    fn bound(&mut self, pool: PoolId, _: u8, outside: End, _: End) -> Result<Bound, DropReason> {
        self.steps.push(Step::Pool(pool, outside));
        Err(DropReason::SnatUnknown)
    }

    fn release(&mut self, _id: u32) {}

    fn backend_of(&mut self, _service: ServiceId, _client: IpAddr) -> Option<End> {
        None
    }

    fn keep_backend(&mut self, _service: ServiceId, _client: IpAddr, _backend: End) {}

    fn step(&mut self, step: Step) {
        self.steps.push(step);
    }
}
