//! Objects as tables, one for each kind.

use std::io::Write;

use ctl::{files, proto};
use proto::object::Object;

use crate::Failure;
use crate::cli::Kind;
use crate::table::{Table, count};

const KINDS: [Kind; 7] = [
    Kind::Vrf,
    Kind::Vif,
    Kind::Nexthop,
    Kind::Route,
    Kind::Mac,
    Kind::Vni,
    Kind::Label,
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
        _ => return None,
    })
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
            format!("group of {}", members.join(", "))
        }
        None => String::new(),
    }
}
