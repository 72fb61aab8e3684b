//! Objects as tables, one for each kind.

use std::io::Write;

use ctl::{files, proto};
use proto::object::Object;

use crate::Failure;
use crate::cli::Kind;
use crate::table::{Table, count};

const KINDS: [Kind; 14] = [
    Kind::Vrf,
    Kind::Vif,
    Kind::Nexthop,
    Kind::Route,
    Kind::Mac,
    Kind::Vni,
    Kind::Label,
    Kind::AddressSet,
    Kind::Policy,
    Kind::FloatingIp,
    Kind::SnatPool,
    Kind::Service,
    Kind::Mirror,
    Kind::Meter,
];

/// Writes objects of one kind as a table, of all kinds as a table each.
pub(crate) fn print(
    objects: &[proto::StoredObject],
    kind: Kind,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    if kind != Kind::All {
        return Ok(table(kind, objects).0.flush(out)?);
    }
    let mut first = true;
    for kind in KINDS {
        let (mut table, rows) = table(kind, objects);
        if rows == 0 {
            continue;
        }
        if !std::mem::take(&mut first) {
            writeln!(out)?;
        }
        writeln!(out, "{}", count(rows, kind.noun()))?;
        table.flush(out)?;
    }
    if first {
        writeln!(out, "no objects")?;
    }
    Ok(())
}

impl Kind {
    fn noun(self) -> &'static str {
        match self {
            Kind::Vrf => "vrf",
            Kind::Vif => "vif",
            Kind::Nexthop => "nexthop",
            Kind::Route => "route",
            Kind::Mac => "mac",
            Kind::Vni => "vni",
            Kind::Label => "label",
            Kind::AddressSet => "address_set",
            Kind::Policy => "policy",
            Kind::FloatingIp => "floating_ip",
            Kind::SnatPool => "snat_pool",
            Kind::Service => "service",
            Kind::Mirror => "mirror",
            Kind::Meter => "meter",
            Kind::All => "object",
        }
    }

    fn titles(self) -> &'static [&'static str] {
        match self {
            Kind::Vrf => &["VRF", "MODE", "MAC", "GATEWAYS", "FLOW QUOTA>", "OWNER"],
            Kind::Vif => &[
                "VIF",
                "ROLE",
                "VRF",
                "MAC",
                "ADDRESSES",
                "VLAN>",
                "MTU>",
                "FLOW QUOTA>",
                "DEVICE",
                "OWNER",
            ],
            Kind::Nexthop => &["NEXTHOP", "ACTION", "OWNER"],
            Kind::Route => &["VRF", "PREFIX", "NEXTHOP", "OWNER"],
            Kind::Mac => &["VRF", "MAC", "IP", "NEXTHOP", "OWNER"],
            Kind::Vni => &["VNI>", "VRF", "NEXTHOP", "OWNER"],
            Kind::Label => &["LABEL>", "PAYLOAD", "VRF", "NEXTHOP", "OWNER"],
            Kind::AddressSet => &["ADDRESS SET", "COUNT>", "PREFIXES", "OWNER"],
            Kind::Policy => &["POLICY", "RULES>", "ALLOW>", "DENY>", "REJECT>", "OWNER"],
            Kind::FloatingIp => &["FLOATING IP", "VRF", "ADDRESS", "FOR", "OWNER"],
            Kind::SnatPool => &[
                "SNAT POOL",
                "VRF",
                "OUTSIDE",
                "ADDRESSES",
                "PORTS",
                "BLOCK>",
                "NAT64",
                "OWNER",
            ],
            Kind::Service => &["SERVICE", "VRF", "ADDRESS", "BACKENDS", "HEALTH", "OWNER"],
            Kind::Mirror => &["MIRROR", "NEXTHOP", "OWNER"],
            Kind::Meter => &[
                "METER",
                "BITS/S>",
                "BURST BYTES>",
                "PACKETS/S>",
                "BURST PACKETS>",
                "OWNER",
            ],
            Kind::All => &[],
        }
    }
}

/// The objects of one kind as a table, and how many rows it has.
fn table(kind: Kind, objects: &[proto::StoredObject]) -> (Table, usize) {
    let mut table = Table::new(kind.titles());
    let mut rows = 0;
    for stored in objects {
        let Some(object) = stored
            .object
            .as_ref()
            .and_then(|object| object.object.as_ref())
        else {
            continue;
        };
        if let Some(mut cells) = cells(kind, object) {
            cells.push(stored.owner.clone());
            table.row(cells);
            rows += 1;
        }
    }
    (table, rows)
}

/// The row of an object, if it is of this kind; the owner is not in it.
fn cells(kind: Kind, object: &Object) -> Option<Vec<String>> {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let number = |number: Option<u32>| number.map(|n| n.to_string()).unwrap_or_default();
    Some(match (kind, object) {
        (Kind::Vrf, Object::Vrf(vrf)) => vec![
            vrf.name.clone(),
            files::short_name("ForwardingMode", vrf.mode().as_str_name()),
            text(&vrf.mac),
            vrf.gateways.join(" "),
            number(vrf.flow_quota),
        ],
        (Kind::Vif, Object::Vif(vif)) => vec![
            vif.name.clone(),
            files::short_name("Role", vif.role().as_str_name()),
            vif.vrf.clone(),
            text(&vif.mac),
            vif.addresses.join(" "),
            number(vif.vlan),
            number(vif.mtu),
            number(vif.flow_quota),
            vif.device.clone(),
        ],
        (Kind::Nexthop, Object::Nexthop(nexthop)) => vec![nexthop.name.clone(), action(nexthop)],
        (Kind::Route, Object::Route(route)) => {
            vec![
                route.vrf.clone(),
                route.prefix.clone(),
                route.nexthop.clone(),
            ]
        }
        (Kind::Mac, Object::Mac(mac)) => vec![
            mac.vrf.clone(),
            mac.mac.clone(),
            text(&mac.ip),
            mac.nexthop.clone(),
        ],
        (Kind::Vni, Object::Vni(vni)) => {
            vec![number(vni.vni), vni.vrf.clone(), text(&vni.nexthop)]
        }
        (Kind::Label, Object::Label(label)) => vec![
            number(label.label),
            files::short_name("Payload", label.payload().as_str_name()),
            label.vrf.clone(),
            text(&label.nexthop),
        ],
        (Kind::AddressSet, Object::AddressSet(set)) => vec![
            set.name.clone(),
            set.prefixes.len().to_string(),
            first_of(&set.prefixes),
        ],
        (Kind::Policy, Object::Policy(policy)) => policy_cells(policy),
        (Kind::FloatingIp, Object::FloatingIp(floating)) => vec![
            floating.name.clone(),
            floating.vrf.clone(),
            floating.address.clone(),
            stands_for(floating),
        ],
        (Kind::SnatPool, Object::SnatPool(pool)) => vec![
            pool.name.clone(),
            pool.vrf.clone(),
            pool.outside_vrf.clone(),
            first_of(&pool.addresses),
            pool.ports.clone(),
            number(pool.block_size),
            text(&pool.nat64_prefix),
        ],
        (Kind::Service, Object::Service(service)) => service_cells(service),
        (Kind::Mirror, Object::Mirror(mirror)) => {
            vec![mirror.name.clone(), mirror.nexthop.clone()]
        }
        (Kind::Meter, Object::Meter(meter)) => {
            let rate = |rate: Option<u64>| rate.map(|n| n.to_string()).unwrap_or_default();
            vec![
                meter.name.clone(),
                rate(meter.bits_per_second),
                number(meter.burst_bytes),
                rate(meter.packets_per_second),
                number(meter.burst_packets),
            ]
        }
        _ => return None,
    })
}

/// As many as fit a line; a set may have a hundred thousand.
fn first_of(texts: &[String]) -> String {
    const SHOWN: usize = 4;
    let mut text = texts[..texts.len().min(SHOWN)].join(" ");
    if texts.len() > SHOWN {
        text.push_str(" …");
    }
    text
}

fn policy_cells(policy: &proto::Policy) -> Vec<String> {
    use proto::RuleAction::{Allow, Deny, Reject};
    let of = |action| {
        let rules = policy.rules.iter().filter(|rule| rule.action() == action);
        rules.count().to_string()
    };
    vec![
        policy.name.clone(),
        policy.rules.len().to_string(),
        of(Allow),
        of(Deny),
        of(Reject),
    ]
}

fn stands_for(floating: &proto::FloatingIp) -> String {
    let fixed = floating.fixed.as_deref();
    match &floating.inside_vrf {
        Some(vrf) => format!("{} in {vrf}", fixed.unwrap_or_default()),
        None => {
            let vifs = first_of(&floating.vifs);
            fixed.map_or(vifs.clone(), |fixed| format!("{fixed} of {vifs}"))
        }
    }
}

fn service_cells(service: &proto::Service) -> Vec<String> {
    use proto::BackendState::{Active, Down, Draining};
    let states = [(Active, "active"), (Draining, "draining"), (Down, "down")];
    let counts = states.map(|(state, word)| {
        let backends = service.backends.iter();
        let count = backends.filter(|one| one.state() == state).count();
        (count > 0).then(|| format!("{count} {word}"))
    });
    let counts: Vec<String> = counts.into_iter().flatten().collect();
    let backends = match counts.is_empty() {
        true => "none".into(),
        false => counts.join(", "),
    };
    let port = service.port.unwrap_or_default();
    let probe = service
        .health
        .as_ref()
        .and_then(|health| health.probe.as_ref());
    let health = match probe {
        Some(proto::health_check::Probe::Tcp(_)) => "tcp".into(),
        Some(proto::health_check::Probe::Http(http)) => format!("http {}", http.path),
        None => String::new(),
    };
    vec![
        service.name.clone(),
        service.vrf.clone(),
        format!("{} {} {port}", service.address, service.protocol),
        backends,
        health,
    ]
}

fn action(nexthop: &proto::Nexthop) -> String {
    use proto::nexthop::Action;
    match &nexthop.action {
        Some(Action::Vif(vif)) => match &nexthop.address {
            Some(address) => format!("vif {vif} to {address}"),
            None => format!("vif {vif}"),
        },
        Some(Action::Tunnel(tunnel)) => {
            let mut text = format!(
                "{} to {}",
                files::short_name("Encap", tunnel.encap().as_str_name()),
                tunnel.remote
            );
            let with = [("from", &tunnel.local), ("inner mac", &tunnel.inner_mac)];
            if let Some(vni) = tunnel.vni {
                text.push_str(&format!(" vni {vni}"));
            }
            if let Some(label) = tunnel.label {
                text.push_str(&format!(" label {label}"));
                let payload = files::short_name("Payload", tunnel.payload().as_str_name());
                text.push_str(&format!(" payload {payload}"));
            }
            for (word, value) in with {
                if let Some(value) = value {
                    text.push_str(&format!(" {word} {value}"));
                }
            }
            if let Some(mtu) = tunnel.mtu {
                text.push_str(&format!(" mtu {mtu}"));
            }
            if tunnel.fragment() == proto::FragmentMode::Outer {
                text.push_str(" fragment outer");
            }
            text
        }
        Some(Action::Host(_)) => "host".into(),
        Some(Action::Discard(_)) => "discard".into(),
        Some(Action::Replicate(group)) => format!("replicate to {}", group.members.join(" ")),
        Some(Action::Reject(_)) => "reject".into(),
        Some(Action::Group(group)) => {
            let member = |member: &proto::Member| match member.weight {
                Some(weight) => format!("{} x{weight}", member.nexthop),
                None => member.nexthop.clone(),
            };
            let members: Vec<String> = group.members.iter().map(member).collect();
            let mut text = format!("group of {}", members.join(", "));
            if group.hash() != proto::HashFields::FiveTuple {
                let hash = files::short_name("HashFields", group.hash().as_str_name());
                text.push_str(&format!(" by {hash}"));
            }
            if group.symmetric {
                text.push_str(" symmetric");
            }
            text
        }
        Some(Action::Vrf(vrf)) => format!("vrf {vrf}"),
        None => String::new(),
    }
}
