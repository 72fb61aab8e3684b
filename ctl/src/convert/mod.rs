//! Objects as written (proto, text) to objects as checked (typed), and back.
//!
//! One object at a time: what a field must look like is decided here, whether
//! a reference leads anywhere is decided by the engine at commit. Every problem
//! of an object is found, not only the first.

mod problems;
mod text;
mod written;

#[cfg(test)]
pub(crate) mod tests;

use std::num::{NonZeroU16, NonZeroU32};

use dataplane::tables::spec::{self, ForwardingMode, Key, NexthopAction, Object, Role};
use encap::{MacAddr, VlanId, Vni};

pub use problems::Problem;
pub(crate) use text::quoted;
pub use written::{kind, refusal, role};

use crate::proto;
use problems::Problems;

/// Checks an object as written.
///
/// # Errors
/// Every field that is missing or not well-formed.
pub fn object(written: &proto::Object) -> Result<Object, Vec<Problem>> {
    use proto::object::Object as Written;
    let mut problems = Problems::default();
    let p = &mut problems;
    let object = match &written.object {
        Some(Written::Vrf(w)) => vrf(w, p).map(Object::Vrf),
        Some(Written::Vif(w)) => vif(w, p).map(Object::Vif),
        Some(Written::Nexthop(w)) => nexthop(w, p).map(Object::Nexthop),
        Some(Written::Route(w)) => route(w, p).map(Object::Route),
        Some(Written::Mac(w)) => mac(w, p).map(Object::Mac),
        Some(Written::Vni(w)) => vni(w, p).map(Object::Vni),
        None => p.missing("", "an object of some kind"),
    };
    problems.finish(object)
}

/// Checks a key as written.
///
/// # Errors
/// Every field that is missing or not well-formed.
pub fn key(written: &proto::Key) -> Result<Key, Vec<Problem>> {
    use proto::key::Key as Written;
    let mut problems = Problems::default();
    let p = &mut problems;
    let key = match &written.key {
        Some(Written::Vrf(name)) => p.text("name", name, text::name).map(Key::Vrf),
        Some(Written::Vif(name)) => p.text("name", name, text::name).map(Key::Vif),
        Some(Written::Nexthop(name)) => p.text("name", name, text::name).map(Key::Nexthop),
        Some(Written::Route(w)) => {
            let vrf = p.text("vrf", &w.vrf, text::name);
            let prefix = p.text("prefix", &w.prefix, text::prefix);
            vrf.zip(prefix).map(|(vrf, prefix)| Key::Route(vrf, prefix))
        }
        Some(Written::Mac(w)) => {
            let vrf = p.text("vrf", &w.vrf, text::name);
            let mac = p.text("mac", &w.mac, text::mac);
            vrf.zip(mac).map(|(vrf, mac)| Key::Mac(vrf, mac))
        }
        Some(Written::Vni(number)) => p.vni("vni", *number).map(Key::Vni),
        None => p.missing("", "a key of some kind"),
    };
    problems.finish(key)
}

/// What an object as written would be found by, whatever else is wrong with it.
/// `None` when its key fields are missing or not well-formed.
pub fn key_of(written: &proto::Object) -> Option<Key> {
    use proto::key::Key as K;
    use proto::object::Object as O;
    let as_key = match written.object.as_ref()? {
        O::Vrf(w) => K::Vrf(w.name.clone()),
        O::Vif(w) => K::Vif(w.name.clone()),
        O::Nexthop(w) => K::Nexthop(w.name.clone()),
        O::Route(w) => K::Route(proto::RouteKey {
            vrf: w.vrf.clone(),
            prefix: w.prefix.clone(),
        }),
        O::Mac(w) => K::Mac(proto::MacKey {
            vrf: w.vrf.clone(),
            mac: w.mac.clone(),
        }),
        O::Vni(w) => K::Vni(w.vni?),
    };
    key(&proto::Key { key: Some(as_key) }).ok()
}

/// Checks the name of an owner.
///
/// # Errors
/// What is wrong with it, as a sentence.
pub fn owner(written: &str) -> Result<spec::Name, String> {
    text::name(written)
}

fn vrf(w: &proto::Vrf, p: &mut Problems) -> Option<spec::Vrf> {
    use proto::ForwardingMode as Written;
    let name = p.text("name", &w.name, text::name);
    let gateways = p.texts("gateways", &w.gateways, text::interface);
    let mode = match Written::try_from(w.mode) {
        Ok(Written::Routed) => Some(ForwardingMode::Routed),
        Ok(Written::Bridged) => Some(ForwardingMode::Bridged),
        Ok(Written::Both | Written::Unspecified) => Some(ForwardingMode::Both),
        Err(_) => p.invalid("mode", format!("{} is no forwarding mode", w.mode)),
    };
    let mac = match &w.mac {
        Some(mac) => p.text("mac", mac, text::mac),
        None => Some(MacAddr::VROUTER),
    };
    let flow_quota = flow_quota(w.flow_quota, p);
    Some(spec::Vrf {
        name: name?,
        gateways: gateways?,
        mode: mode?,
        mac: mac?,
        flow_quota: flow_quota?,
    })
}

fn vif(w: &proto::Vif, p: &mut Problems) -> Option<spec::Vif> {
    let name = p.text("name", &w.name, text::name);
    let device = p.text("device", &w.device, text::device);
    let role = match proto::Role::try_from(w.role) {
        Ok(proto::Role::Tenant) => Some(Role::Tenant),
        Ok(proto::Role::Fabric) => Some(Role::Fabric),
        Ok(proto::Role::Host) => Some(Role::Host),
        Ok(proto::Role::Unspecified) => p.missing("role", "one of tenant, fabric, host"),
        Err(_) => p.invalid("role", format!("{} is no role", w.role)),
    };
    let vrf = match role {
        Some(Role::Fabric | Role::Host) if w.vrf.is_empty() => Some(spec::UNDERLAY.into()),
        // Without a role there is no saying whether a vrf is needed.
        None if w.vrf.is_empty() => None,
        _ => p.text("vrf", &w.vrf, text::name),
    };
    let mac = p.optional("mac", w.mac.as_ref(), |p, field, mac| {
        p.text(field, mac, text::mac)
    });
    let addresses = p.texts("addresses", &w.addresses, text::interface);
    let vlan = p.optional("vlan", w.vlan, |p, field, vlan| {
        let id = u16::try_from(vlan).ok().and_then(VlanId::new);
        id.or_else(|| {
            p.invalid(
                field,
                format!("{vlan} is out of range; a VLAN is 1 to 4094"),
            )
        })
    });
    let mtu = p.optional("mtu", w.mtu, |p, field, mtu| {
        // RFC 791: every link carries 68 bytes.
        let fits = u16::try_from(mtu).ok().filter(|mtu| *mtu >= 68);
        fits.or_else(|| {
            p.invalid(
                field,
                format!("{mtu} is out of range; an MTU is 68 to 65535 bytes"),
            )
        })
    });
    let flow_quota = flow_quota(w.flow_quota, p);
    Some(spec::Vif {
        name: name?,
        device: device?,
        role: role?,
        vrf: vrf?,
        mac: mac?,
        addresses: addresses?,
        vlan: vlan?,
        mtu: mtu?,
        flow_quota: flow_quota?,
    })
}

fn flow_quota(written: Option<u32>, p: &mut Problems) -> Option<Option<NonZeroU32>> {
    p.optional("flow_quota", written, |p, field, quota| {
        let reason = "0 is out of range; a quota is at least 1 flow, or left out for none";
        NonZeroU32::new(quota).or_else(|| p.invalid(field, reason.into()))
    })
}

fn nexthop(w: &proto::Nexthop, p: &mut Problems) -> Option<spec::Nexthop> {
    use proto::nexthop::Action;
    let name = p.text("name", &w.name, text::name);
    let address = p.optional("address", w.address.as_ref(), |p, field, addr| {
        p.text(field, addr, text::ip)
    });
    if w.address.is_some() && !matches!(w.action, Some(Action::Vif(_)) | None) {
        p.invalid::<()>("address", "only goes with `vif`; leave it out".into());
    }
    let action = match &w.action {
        Some(Action::Vif(vif)) => {
            let vif = p.text("vif", vif, text::name);
            let both = vif.zip(address);
            both.map(|(vif, address)| NexthopAction::Vif { vif, address })
        }
        Some(Action::Tunnel(w)) => tunnel(w, p).map(NexthopAction::Tunnel),
        Some(Action::Host(_)) => Some(NexthopAction::Host),
        Some(Action::Discard(_)) => Some(NexthopAction::Discard),
        Some(Action::Group(w)) => group(w, p).map(NexthopAction::Group),
        None => p.missing("", "what to do: one of vif, tunnel, host, discard, group"),
    };
    Some(spec::Nexthop {
        name: name?,
        action: action?,
    })
}

fn group(w: &proto::Group, p: &mut Problems) -> Option<spec::Group> {
    let members = w.members.iter().enumerate().map(|(i, w)| {
        let nexthop = p.text(
            &format!("group.members[{i}].nexthop"),
            &w.nexthop,
            text::name,
        );
        let written = w.weight.unwrap_or(1);
        let weight = u16::try_from(written).ok().and_then(NonZeroU16::new);
        let weight = weight.or_else(|| {
            let reason = format!("{written} is out of range; a weight is 1 to 65535");
            p.invalid(&format!("group.members[{i}].weight"), reason)
        });
        Some(spec::Member {
            nexthop: nexthop?,
            weight: weight?,
        })
    });
    let members: Vec<_> = members.collect();
    if members.is_empty() {
        return p.missing("group.members", "the nexthops to choose from");
    }
    let members: Option<_> = members.into_iter().collect();
    members.map(|members| spec::Group { members })
}

fn tunnel(w: &proto::Tunnel, p: &mut Problems) -> Option<spec::Tunnel> {
    let encap = match proto::Encap::try_from(w.encap) {
        Ok(proto::Encap::Vxlan) => Some(()),
        Ok(proto::Encap::Unspecified) => p.missing("tunnel.encap", "vxlan"),
        Err(_) => p.invalid("tunnel.encap", format!("{} is no encapsulation", w.encap)),
    };
    let local = p.optional("tunnel.local", w.local.as_ref(), |p, field, addr| {
        p.text(field, addr, text::ip)
    });
    let remote = p.text("tunnel.remote", &w.remote, text::ip);
    if let (Some(Some(local)), Some(remote)) = (local, remote)
        && local.is_ipv4() != remote.is_ipv4()
    {
        p.invalid::<()>(
            "tunnel.local",
            format!("{local} and the remote {remote} are of different IP versions"),
        );
    }
    let vni = match w.vni {
        Some(vni) => p.vni("tunnel.vni", vni),
        None => p.missing("tunnel.vni", "the VXLAN network id, 0 to 16777215"),
    };
    let inner_mac = p.optional("tunnel.inner_mac", w.inner_mac.as_ref(), |p, field, mac| {
        p.text(field, mac, text::mac)
    });
    encap?;
    Some(spec::Tunnel {
        local: local?,
        remote: remote?,
        vni: vni?,
        inner_mac: inner_mac?,
    })
}

fn route(w: &proto::Route, p: &mut Problems) -> Option<spec::Route> {
    let vrf = p.text("vrf", &w.vrf, text::name);
    let prefix = p.text("prefix", &w.prefix, text::prefix);
    let nexthop = p.text("nexthop", &w.nexthop, text::name);
    Some(spec::Route {
        vrf: vrf?,
        prefix: prefix?,
        nexthop: nexthop?,
    })
}

fn mac(w: &proto::Mac, p: &mut Problems) -> Option<spec::Mac> {
    let vrf = p.text("vrf", &w.vrf, text::name);
    let mac = p.text("mac", &w.mac, text::mac);
    let nexthop = p.text("nexthop", &w.nexthop, text::name);
    let ip = p.optional("ip", w.ip.as_ref(), |p, field, addr| {
        p.text(field, addr, text::ip)
    });
    Some(spec::Mac {
        vrf: vrf?,
        mac: mac?,
        nexthop: nexthop?,
        ip: ip?,
    })
}

fn vni(w: &proto::Vni, p: &mut Problems) -> Option<spec::VniEntry> {
    let vni: Option<Vni> = match w.vni {
        Some(vni) => p.vni("vni", vni),
        None => p.missing("vni", "the VXLAN network id, 0 to 16777215"),
    };
    let vrf = p.text("vrf", &w.vrf, text::name);
    Some(spec::VniEntry {
        vni: vni?,
        vrf: vrf?,
    })
}
