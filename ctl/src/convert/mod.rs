//! Objects as written (proto, text) to objects as checked (typed), and back.
//!
//! One object at a time: what a field must look like is decided here, whether
//! a reference leads anywhere is decided by the engine at commit. Every problem
//! of an object is found, not only the first.

mod problems;
mod text;

#[cfg(test)]
pub(crate) mod tests;

use dataplane::tables::Stored;
use dataplane::tables::change::Refusal;
use dataplane::tables::spec::{self, ForwardingMode, Key, NexthopAction, Object, Role};
use encap::{MacAddr, VlanId, Vni};

pub use problems::Problem;
pub(crate) use text::quoted;

use crate::proto;
use crate::proto::refusal::Code;
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
    Some(spec::Vrf {
        name: name?,
        gateways: gateways?,
        mode: mode?,
        mac: mac?,
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
    Some(spec::Vif {
        name: name?,
        device: device?,
        role: role?,
        vrf: vrf?,
        mac: mac?,
        addresses: addresses?,
        vlan: vlan?,
        mtu: mtu?,
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
        None => p.missing("", "what to do: one of vif, tunnel, host, discard"),
    };
    Some(spec::Nexthop {
        name: name?,
        action: action?,
    })
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

/// What the engine says against a request, in the words of the protocol;
/// `change` is the place of the object in the request.
pub fn refusal(refusal: &Refusal, change: Option<usize>) -> proto::Refusal {
    let is_stale = refusal.object.is_none() && refusal.field == "if_generation";
    let code = if is_stale {
        Code::StaleGeneration
    } else {
        Code::Conflict
    };
    proto::Refusal {
        change: change.map(|change| change as u32),
        object: refusal.object.as_ref().map(Into::into),
        field: refusal.field.clone(),
        code: code.into(),
        reason: refusal.reason.clone(),
        conflict: refusal.conflict.as_ref().map(Into::into),
    }
}

/// A role in the words of the protocol.
pub fn role(role: Role) -> proto::Role {
    match role {
        Role::Tenant => proto::Role::Tenant,
        Role::Fabric => proto::Role::Fabric,
        Role::Host => proto::Role::Host,
    }
}

/// The kind of the object with this key.
pub fn kind(key: &Key) -> proto::Kind {
    match key {
        Key::Vrf(_) => proto::Kind::Vrf,
        Key::Vif(_) => proto::Kind::Vif,
        Key::Nexthop(_) => proto::Kind::Nexthop,
        Key::Route(..) => proto::Kind::Route,
        Key::Mac(..) => proto::Kind::Mac,
        Key::Vni(_) => proto::Kind::Vni,
    }
}

impl From<&Stored> for proto::StoredObject {
    fn from(stored: &Stored) -> Self {
        proto::StoredObject {
            object: Some((&stored.object).into()),
            owner: stored.owner.to_string(),
        }
    }
}

impl From<&Object> for proto::Object {
    fn from(object: &Object) -> Self {
        use proto::object::Object as Written;
        let object = match object {
            Object::Vrf(vrf) => Written::Vrf(vrf.into()),
            Object::Vif(vif) => Written::Vif(vif.into()),
            Object::Nexthop(nexthop) => Written::Nexthop(nexthop.into()),
            Object::Route(route) => Written::Route(proto::Route {
                vrf: route.vrf.to_string(),
                prefix: route.prefix.to_string(),
                nexthop: route.nexthop.to_string(),
            }),
            Object::Mac(mac) => Written::Mac(proto::Mac {
                vrf: mac.vrf.to_string(),
                mac: mac.mac.to_string(),
                nexthop: mac.nexthop.to_string(),
                ip: mac.ip.map(|ip| ip.to_string()),
            }),
            Object::Vni(entry) => Written::Vni(proto::Vni {
                vni: Some(entry.vni.get()),
                vrf: entry.vrf.to_string(),
            }),
        };
        proto::Object {
            object: Some(object),
        }
    }
}

impl From<&spec::Vrf> for proto::Vrf {
    fn from(vrf: &spec::Vrf) -> Self {
        let mode = match vrf.mode {
            ForwardingMode::Routed => proto::ForwardingMode::Routed,
            ForwardingMode::Bridged => proto::ForwardingMode::Bridged,
            ForwardingMode::Both => proto::ForwardingMode::Both,
        };
        proto::Vrf {
            name: vrf.name.to_string(),
            gateways: vrf.gateways.iter().map(text::interface_text).collect(),
            mode: mode.into(),
            mac: Some(vrf.mac.to_string()),
        }
    }
}

impl From<&spec::Vif> for proto::Vif {
    fn from(vif: &spec::Vif) -> Self {
        proto::Vif {
            name: vif.name.to_string(),
            device: vif.device.to_string(),
            role: role(vif.role).into(),
            vrf: vif.vrf.to_string(),
            mac: vif.mac.map(|mac| mac.to_string()),
            addresses: vif.addresses.iter().map(text::interface_text).collect(),
            vlan: vif.vlan.map(|vlan| vlan.get().into()),
            mtu: vif.mtu.map(u32::from),
        }
    }
}

impl From<&spec::Nexthop> for proto::Nexthop {
    fn from(nexthop: &spec::Nexthop) -> Self {
        use proto::nexthop::{Action, Discard, Host};
        let mut address = None;
        let action = match &nexthop.action {
            NexthopAction::Vif { vif, address: to } => {
                address = to.map(|addr| addr.to_string());
                Action::Vif(vif.to_string())
            }
            NexthopAction::Tunnel(tunnel) => Action::Tunnel(proto::Tunnel {
                encap: proto::Encap::Vxlan.into(),
                local: tunnel.local.map(|addr| addr.to_string()),
                remote: tunnel.remote.to_string(),
                vni: Some(tunnel.vni.get()),
                inner_mac: tunnel.inner_mac.map(|mac| mac.to_string()),
            }),
            NexthopAction::Host => Action::Host(Host {}),
            NexthopAction::Discard => Action::Discard(Discard {}),
        };
        proto::Nexthop {
            name: nexthop.name.to_string(),
            action: Some(action),
            address,
        }
    }
}

impl From<&Key> for proto::Key {
    fn from(key: &Key) -> Self {
        use proto::key::Key as Written;
        let key = match key {
            Key::Vrf(name) => Written::Vrf(name.to_string()),
            Key::Vif(name) => Written::Vif(name.to_string()),
            Key::Nexthop(name) => Written::Nexthop(name.to_string()),
            Key::Route(vrf, prefix) => Written::Route(proto::RouteKey {
                vrf: vrf.to_string(),
                prefix: prefix.to_string(),
            }),
            Key::Mac(vrf, mac) => Written::Mac(proto::MacKey {
                vrf: vrf.to_string(),
                mac: mac.to_string(),
            }),
            Key::Vni(vni) => Written::Vni(vni.get()),
        };
        proto::Key { key: Some(key) }
    }
}
