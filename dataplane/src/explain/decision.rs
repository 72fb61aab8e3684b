//! The steps of a decision in sentences: what was found, which object says so, and what else there
//! was to choose from.

use std::net::IpAddr;

use super::words::{self, mention};
use super::{Mention, Step};
use crate::decide::End;
use crate::decide::sessions::{Chosen, Step as Decided};
use crate::tables::nat::PoolId;
use crate::tables::policy::{Direction, RuleId};
use crate::tables::service::ServiceId;
use crate::tables::spec::{BackendState, Key, Object, RuleAction};
use crate::tables::{Nexthop, NexthopId, Tables, Target, VifId, VrfId};

/// Candidates that are named at most; of more it is said how many there are.
const MAX_REJECTED: usize = 16;

/// One step in words.
pub(super) fn tell(tables: &Tables, step: &Decided) -> Step {
    match *step {
        Decided::Route(vrf, addr, target) => route(tables, vrf, addr, target),
        Decided::Service(id, end, why) => {
            let text = format!("backend {}, {}", words::end(end), because(why));
            service(tables, id, &text, Some(end))
        }
        Decided::NoBackend(id) => service(tables, id, "no backend for this flow", None),
        Decided::Floating(id, end) => {
            let floating = tables.floating(id);
            let name = floating.map_or_else(|| "?".into(), |it| it.name.clone());
            let text = format!(
                "floating address {name}: the end becomes {}",
                words::end(end)
            );
            Step::new("translate", text).about(mention(tables, Key::FloatingIp(name)))
        }
        Decided::Pool(id, end) => {
            let text = format!("the end becomes {}", words::end(end));
            pool(tables, id, &text)
        }
        Decided::Binding(id, end, had) => {
            let text = match had {
                true => format!(
                    "the binding to {} that the machine's end has",
                    words::end(end)
                ),
                false => format!("a new binding, {} as things stand", words::end(end)),
            };
            pool(tables, id, &text)
        }
        Decided::NoBinding(id, end) => {
            let text = format!("nothing for {}", words::end(end));
            pool(tables, id, &text)
        }
        Decided::EgressPolicy(vif, rule) => policy(tables, vif, Direction::Egress, rule),
        Decided::IngressPolicy(vif, rule) => policy(tables, vif, Direction::Ingress, rule),
        Decided::Member(group, member, why) => self::member(tables, group, member, why),
        Decided::ReversePath(addr) => {
            let text = format!("the way back to {addr} must be the way by which the packet came");
            Step::new("reverse path", text)
        }
    }
}

fn because(why: Chosen) -> &'static str {
    match why {
        Chosen::Kept => "which the flow has",
        Chosen::Client => "which the client has from another flow",
        Chosen::Hash => "which the flow's hash names",
        Chosen::Reach => "which the flow's hash names among those that can be reached from here",
        Chosen::NoneUsable => "which the flow's hash names; none of them is usable now",
    }
}

fn route(tables: &Tables, vrf: VrfId, addr: IpAddr, target: Option<Target>) -> Step {
    let name = words::vrf(tables, vrf);
    let routes = tables.vrf(vrf).map(|vrf| &vrf.routes);
    let Some((prefix, _)) = routes.and_then(|routes| routes.lookup_prefix(addr)) else {
        let text = format!("vrf {name} has no prefix that covers {addr}");
        return Step::new("route", text).about(mention(tables, Key::Vrf(name)));
    };
    let to = match target {
        Some(Target::Nexthop(id)) => words::nexthop(tables, id),
        Some(Target::Gateway) => "the virtual router itself".into(),
        Some(Target::Connected) => "the link of a fabric vif".into(),
        Some(Target::Vip(_)) => "an address that is no machine's".into(),
        None => "nothing".into(),
    };
    let text = format!("{addr} in vrf {name}: longest prefix {prefix}, to {to}");
    let mut step = Step::new("route", text)
        .about(mention(tables, Key::Route(name.clone(), prefix)))
        .about(mention(tables, Key::Vrf(name)));
    if let Some(Target::Nexthop(id)) = target {
        step = step.about(words::nexthop_key(tables, id).and_then(|key| mention(tables, key)));
    }
    let mut shorter = prefix;
    while let (Some(next), Some(routes)) = (shorter.supernet(), routes) {
        shorter = next;
        if let Some(Target::Nexthop(id)) = routes.get(next) {
            let to = words::nexthop(tables, id);
            step = step.rejecting(format!("{next} to {to}: shorter"));
        }
    }
    step
}

fn service(tables: &Tables, id: ServiceId, text: &str, chosen: Option<End>) -> Step {
    let Some(service) = tables.service(id) else {
        return Step::new("service", text.into());
    };
    let text = format!("service {}: {text}", service.name);
    let step = Step::new("service", text);
    let step = step.about(mention(tables, Key::Service(service.name.clone())));
    let others = service.backends.iter();
    let others = others.filter(|backend| Some(backend.end) != chosen);
    others.fold(step, |step, backend| {
        let why = match (backend.state, backend.is_healthy, backend.takes_flows) {
            (BackendState::Draining, ..) => "draining",
            (BackendState::Down, ..) => "down",
            (_, false, false) => "its checks fail",
            _ => "would do",
        };
        step.rejecting(format!("{}: {why}", words::end(backend.end)))
    })
}

fn pool(tables: &Tables, id: PoolId, text: &str) -> Step {
    let name = tables
        .pool(id)
        .map_or_else(|| "?".into(), |it| it.name.clone());
    let step = Step::new("translate", format!("pool {name}: {text}"));
    step.about(mention(tables, Key::SnatPool(name)))
}

fn member(tables: &Tables, group: NexthopId, member: NexthopId, why: Chosen) -> Step {
    let to = words::nexthop(tables, member);
    let text = format!("{}: {to}, {}", words::nexthop(tables, group), because(why));
    let key = |id| words::nexthop_key(tables, id).and_then(|key| mention(tables, key));
    let step = Step::new("group", text)
        .about(key(group))
        .about(key(member));
    let Some(Nexthop::Group(ecmp)) = tables.nexthop(group) else {
        return step;
    };
    let others = ecmp.members().filter(|id| *id != member);
    others.fold(step, |step, id| {
        let why = match tables.is_usable(id) {
            true => "usable; the flow's hash draws another",
            false => "not usable: its link is down or its neighbour does not answer",
        };
        step.rejecting(format!("{}: {why}", words::nexthop(tables, id)))
    })
}

/// The policies that were asked up to the rule that matched, with how many rules did not.
fn policy(tables: &Tables, vif: VifId, direction: Direction, matched: Option<RuleId>) -> Step {
    let name = words::vif(tables, vif);
    let (stage, whose) = match direction {
        Direction::Egress => ("egress policy", format!("what vif {name} sends")),
        Direction::Ingress => ("ingress policy", format!("what is sent to vif {name}")),
    };
    let found = matched.and_then(|id| tables.rule(id));
    let mut passed_over = 0;
    let mut asked = Vec::new();
    let lists = tables
        .vif(vif)
        .and_then(|vif| tables.policies_of(vif, direction));
    for id in lists.unwrap_or_default() {
        let Some(policy) = tables.policy_name(*id) else {
            continue;
        };
        asked.push(policy.clone());
        let stored = tables.object(&Key::Policy(policy.clone()));
        let Some(Object::Policy(spec)) = stored.map(|stored| &stored.object) else {
            continue;
        };
        let here = found.filter(|rule| rule.policy == *id);
        let place = here.and_then(|rule| spec.rules.iter().position(|it| it.id == rule.number));
        passed_over += place.unwrap_or(spec.rules.len());
        if place.is_some() {
            break;
        }
    }
    let before = match passed_over {
        0 => String::new(),
        1 => "; 1 rule before it did not match".into(),
        n => format!("; {n} rules before it did not match"),
    };
    let text = match found {
        Some(rule) => {
            let does = match rule.action {
                RuleAction::Allow => "allows",
                RuleAction::Deny => "denies",
                RuleAction::Reject => "rejects",
            };
            let (number, policy) = (rule.number, &rule.policy_name);
            format!("rule {number} of policy {policy} {does} {whose}{before}")
        }
        None => format!("none of {passed_over} rules allows {whose}, so it is denied"),
    };
    let step = Step::new(stage, text);
    match matched {
        Some(id) => step.about(words::rule(tables, id)),
        None => asked.into_iter().fold(step, |step, policy| {
            step.about(mention(tables, Key::Policy(policy)))
        }),
    }
}

impl Step {
    /// Without objects and candidates so far.
    pub(super) fn new(stage: &'static str, text: String) -> Step {
        Step {
            stage,
            text,
            objects: Vec::new(),
            rejected: Vec::new(),
        }
    }

    /// About this object too, if there is one.
    pub(super) fn about(mut self, object: Option<Mention>) -> Step {
        self.objects.extend(object);
        self
    }

    /// With one more that was not taken.
    fn rejecting(mut self, candidate: String) -> Step {
        match self.rejected.len() {
            0..MAX_REJECTED => self.rejected.push(candidate),
            MAX_REJECTED => self.rejected.push("and others".into()),
            _ => {}
        }
        self
    }
}
