//! Objects as written (proto, text) to objects as checked (typed), and back.
//!
//! One object at a time: what a field must look like is decided here, whether
//! a reference leads anywhere is decided by the engine at commit. Every problem
//! of an object is found, not only the first.

mod bridge;
mod l4;
mod meter;
mod nat;
mod policy;
mod problems;
pub(crate) mod service;
mod text;
mod written;

#[cfg(test)]
pub(crate) mod tests;

use std::num::{NonZeroU16, NonZeroU32};

use dataplane::io::MAX_MTU;
use dataplane::tables::path_mtu::{MIN_IPV4, MIN_IPV6};
use dataplane::tables::spec::{
    self, Arrival, ForwardingMode, FragmentMode, HashFields, Key, NexthopAction, Object, Payload,
    Role,
};
use encap::{Encap, MacAddr, Model, VlanId};

pub(crate) use l4::{protocol_name, protocol_number};
pub use problems::Problem;
pub(crate) use text::quoted;
pub use written::{kind, refusal, role};

use crate::proto;
use policy::WrittenGuards;
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
        Some(Written::Label(w)) => label(w, p).map(Object::Label),
        Some(Written::AddressSet(w)) => policy::address_set(w, p).map(Object::AddressSet),
        Some(Written::Policy(w)) => policy::policy(w, p).map(Object::Policy),
        Some(Written::FloatingIp(w)) => nat::floating_ip(w, p).map(Object::FloatingIp),
        Some(Written::SnatPool(w)) => nat::snat_pool(w, p).map(Object::SnatPool),
        Some(Written::Service(w)) => service::service(w, p).map(Object::Service),
        Some(Written::Mirror(w)) => meter::mirror(w, p).map(Object::Mirror),
        Some(Written::Meter(w)) => meter::meter(w, p).map(Object::Meter),
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
    let mut named = |name: &str, kind: fn(spec::Name) -> Key| {
        let name = p.text("name", name, text::name);
        name.map(kind)
    };
    let key = match &written.key {
        Some(Written::Vrf(name)) => named(name, Key::Vrf),
        Some(Written::Vif(name)) => named(name, Key::Vif),
        Some(Written::Nexthop(name)) => named(name, Key::Nexthop),
        Some(Written::AddressSet(name)) => named(name, Key::AddressSet),
        Some(Written::Policy(name)) => named(name, Key::Policy),
        Some(Written::FloatingIp(name)) => named(name, Key::FloatingIp),
        Some(Written::SnatPool(name)) => named(name, Key::SnatPool),
        Some(Written::Service(name)) => named(name, Key::Service),
        Some(Written::Mirror(name)) => named(name, Key::Mirror),
        Some(Written::Meter(name)) => named(name, Key::Meter),
        Some(Written::Route(w)) => {
            let vrf = p.text("vrf", &w.vrf, text::name);
            let prefix = p.text("prefix", &w.prefix, text::prefix);
            vrf.zip(prefix).map(|(vrf, prefix)| Key::Route(vrf, prefix))
        }
        Some(Written::Mac(w)) => {
            let vrf = p.text("vrf", &w.vrf, text::name);
            let mac = p.text("mac", &w.mac, text::mac_or_group);
            vrf.zip(mac).map(|(vrf, mac)| Key::Mac(vrf, mac))
        }
        Some(Written::Vni(number)) => p.vni("vni", *number).map(Key::Vni),
        Some(Written::Label(number)) => p.label("label", *number).map(Key::Label),
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
        O::Label(w) => K::Label(w.label?),
        O::AddressSet(w) => K::AddressSet(w.name.clone()),
        O::Policy(w) => K::Policy(w.name.clone()),
        O::FloatingIp(w) => K::FloatingIp(w.name.clone()),
        O::SnatPool(w) => K::SnatPool(w.name.clone()),
        O::Service(w) => K::Service(w.name.clone()),
        O::Mirror(w) => K::Mirror(w.name.clone()),
        O::Meter(w) => K::Meter(w.name.clone()),
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
    let router_advertisement = p.optional(
        "router_advertisement",
        w.router_advertisement.as_ref(),
        bridge::router_advertisement,
    );
    let tcp_mss_clamp = p.optional("tcp_mss_clamp", w.tcp_mss_clamp, |p, field, mss| {
        // Between what the smallest and the largest packet leave for TCP.
        let range = 88..=65_495;
        in_range(p, field, mss, range, "a segment size")
    });
    let guards = policy::guards(
        &WrittenGuards {
            ingress_policies: &w.ingress_policies,
            egress_policies: &w.egress_policies,
            ingress_meter: w.ingress_meter.as_ref(),
            egress_meter: w.egress_meter.as_ref(),
            mirror: w.mirror.as_ref(),
        },
        p,
    );
    Some(spec::Vrf {
        name: name?,
        gateways: gateways?,
        mode: mode?,
        mac: mac?,
        flow_quota: flow_quota?,
        learning: w.learning,
        router_advertisement: router_advertisement?,
        tcp_mss_clamp: tcp_mss_clamp?,
        guards: guards?,
    })
}

fn in_range(
    p: &mut Problems,
    field: &str,
    written: u32,
    range: std::ops::RangeInclusive<u16>,
    what: &str,
) -> Option<u16> {
    let fits = u16::try_from(written).ok().filter(|n| range.contains(n));
    fits.or_else(|| {
        let (least, most) = range.into_inner();
        let reason = format!("{written} is out of range; {what} is {least} to {most} bytes");
        p.invalid(field, reason)
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
        // RFC 791: every link carries 68 bytes; no port more than jumbo frames.
        let fits = u16::try_from(mtu)
            .ok()
            .filter(|mtu| (68..=MAX_MTU).contains(mtu));
        fits.or_else(|| {
            p.invalid(
                field,
                format!("{mtu} is out of range; an MTU is 68 to 9216 bytes"),
            )
        })
    });
    let flow_quota = flow_quota(w.flow_quota, p);
    let storm_limit = p.optional("storm_limit", w.storm_limit, bridge::storm_limit);
    let max_learned_macs = p.optional(
        "max_learned_macs",
        w.max_learned_macs,
        bridge::max_learned_macs,
    );
    let guards = policy::guards(
        &WrittenGuards {
            ingress_policies: &w.ingress_policies,
            egress_policies: &w.egress_policies,
            ingress_meter: w.ingress_meter.as_ref(),
            egress_meter: w.egress_meter.as_ref(),
            mirror: w.mirror.as_ref(),
        },
        p,
    );
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
        storm_limit: storm_limit?,
        max_learned_macs: max_learned_macs?,
        guards: guards?,
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
        Some(Action::Replicate(w)) => bridge::replicate(w, p).map(NexthopAction::Replicate),
        Some(Action::Reject(_)) => Some(NexthopAction::Reject),
        Some(Action::Group(w)) => group(w, p).map(NexthopAction::Group),
        Some(Action::Vrf(vrf)) => p.text("vrf", vrf, text::name).map(NexthopAction::Vrf),
        None => p.missing(
            "",
            "what to do: one of vif, tunnel, host, discard, replicate, reject, group, vrf",
        ),
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
        p.missing::<()>("group.members", "the nexthops to choose from");
    }
    let hash = match proto::HashFields::try_from(w.hash) {
        Ok(proto::HashFields::FiveTuple | proto::HashFields::Unspecified) => {
            Some(HashFields::FiveTuple)
        }
        Ok(proto::HashFields::Addresses) => Some(HashFields::Addresses),
        Ok(proto::HashFields::Source) => Some(HashFields::Source),
        Err(_) => p.invalid("group.hash", format!("{} is no hash", w.hash)),
    };
    let members: Option<_> = members.into_iter().collect();
    Some(spec::Group {
        members: members?,
        hash: hash?,
        symmetric: w.symmetric,
    })
}

fn tunnel(w: &proto::Tunnel, p: &mut Problems) -> Option<spec::Tunnel> {
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
    let encap = encap(w, p);
    let inner_mac = p.optional("tunnel.inner_mac", w.inner_mac.as_ref(), |p, field, mac| {
        p.text(field, mac, text::mac)
    });
    let is_vxlan = matches!(encap, Some(Encap::Vxlan(_)));
    let payload = match payload("tunnel.payload", w.payload, p) {
        Some(Some(Payload::Ip)) if is_vxlan => {
            p.invalid("tunnel.payload", "vxlan carries ethernet".into())
        }
        Some(None) if is_vxlan => Some(Payload::Ethernet),
        payload => payload.map(Option::unwrap_or_default),
    };
    if payload == Some(Payload::Ip) && w.inner_mac.is_some() {
        let reason = "only goes with payload ethernet; leave it out";
        p.invalid::<()>("tunnel.inner_mac", reason.into());
    }
    let dscp = model("tunnel.dscp", w.dscp, p);
    let ttl = model("tunnel.ttl", w.ttl, p);
    if is_vxlan && ttl == Some(Model::Uniform) {
        let reason = "vxlan has no label; uniform goes with mpls_udp and mpls_gre";
        p.invalid::<()>("tunnel.ttl", reason.into());
    }
    let over_udp = !matches!(encap, Some(Encap::MplsGre(_)));
    if w.udp_zero_checksum && (!over_udp || remote.is_some_and(|addr| addr.is_ipv4())) {
        let reason = "only goes with vxlan or mpls_udp to a remote of IPv6";
        p.invalid::<()>("tunnel.udp_zero_checksum", reason.into());
    }
    let fragment = match proto::FragmentMode::try_from(w.fragment) {
        Ok(proto::FragmentMode::Inner | proto::FragmentMode::Unspecified) => {
            Some(FragmentMode::Inner)
        }
        Ok(proto::FragmentMode::Outer) => Some(FragmentMode::Outer),
        Err(_) => p.invalid("tunnel.fragment", format!("{} is no mode", w.fragment)),
    };
    let mtu = p.optional("tunnel.mtu", w.mtu, |p, field, mtu| {
        let least = match remote {
            Some(std::net::IpAddr::V6(_)) => MIN_IPV6,
            _ => MIN_IPV4,
        };
        in_range(p, field, mtu, least..=u16::MAX, "this path MTU")
    });
    Some(spec::Tunnel {
        encap: encap?,
        payload: payload?,
        local: local?,
        remote: remote?,
        inner_mac: inner_mac?,
        dscp: dscp?,
        ttl: ttl?,
        udp_zero_checksum: w.udp_zero_checksum,
        fragment: fragment?,
        mtu: mtu?,
    })
}

/// The encapsulation with its number; the other number must not be there.
fn encap(w: &proto::Tunnel, p: &mut Problems) -> Option<Encap> {
    let is_vxlan = match proto::Encap::try_from(w.encap) {
        Ok(proto::Encap::Vxlan) => true,
        Ok(proto::Encap::MplsUdp | proto::Encap::MplsGre) => false,
        Ok(proto::Encap::Unspecified) => {
            return p.missing("tunnel.encap", "one of vxlan, mpls_udp, mpls_gre");
        }
        Err(_) => return p.invalid("tunnel.encap", format!("{} is no encapsulation", w.encap)),
    };
    if is_vxlan {
        if w.label.is_some() {
            let reason = "only goes with mpls_udp and mpls_gre; leave it out";
            p.invalid::<()>("tunnel.label", reason.into());
        }
        let Some(vni) = w.vni else {
            return p.missing("tunnel.vni", "the VXLAN network id, 0 to 16777215");
        };
        return p.vni("tunnel.vni", vni).map(Encap::Vxlan);
    }
    if w.vni.is_some() {
        p.invalid::<()>("tunnel.vni", "only goes with vxlan; leave it out".into());
    }
    let Some(label) = w.label else {
        return p.missing("tunnel.label", "the MPLS label, 16 to 1048575");
    };
    let label = p.label("tunnel.label", label)?;
    if label.is_reserved() {
        // RFC 3032 §2.1: implicit null is never sent, and the explicit nulls name no network.
        let reason = format!("{label} is reserved; a label is 16 to 1048575");
        return p.invalid("tunnel.label", reason);
    }
    Some(match w.encap() {
        proto::Encap::MplsUdp => Encap::MplsUdp(label),
        _ => Encap::MplsGre(label),
    })
}

/// `Some(None)` when it is left out.
fn payload(field: &str, written: i32, p: &mut Problems) -> Option<Option<Payload>> {
    match proto::Payload::try_from(written) {
        Ok(proto::Payload::Unspecified) => Some(None),
        Ok(proto::Payload::Ip) => Some(Some(Payload::Ip)),
        Ok(proto::Payload::Ethernet) => Some(Some(Payload::Ethernet)),
        Err(_) => p.invalid(field, format!("{written} is no payload")),
    }
}

fn model(field: &str, written: i32, p: &mut Problems) -> Option<Model> {
    match proto::Model::try_from(written) {
        Ok(proto::Model::Unspecified | proto::Model::Pipe) => Some(Model::Pipe),
        Ok(proto::Model::Uniform) => Some(Model::Uniform),
        Err(_) => p.invalid(field, format!("{written} is no model")),
    }
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
    let mac = p.text("mac", &w.mac, text::mac_or_group);
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
    let vni = match w.vni {
        Some(vni) => p.vni("vni", vni),
        None => p.missing("vni", "the VXLAN network id, 0 to 16777215"),
    };
    let to = arrival(&w.vrf, w.nexthop.as_ref(), p);
    Some(spec::VniEntry { vni: vni?, to: to? })
}

fn label(w: &proto::Label, p: &mut Problems) -> Option<spec::LabelEntry> {
    let label = match w.label {
        Some(label) => p.label("label", label),
        None => p.missing("label", "the MPLS label, 16 to 1048575"),
    };
    let payload = payload("payload", w.payload, p).map(Option::unwrap_or_default);
    if let Some(label) = label {
        let is_null = matches!(label.get(), 0 | 2);
        if label.is_reserved() && !is_null {
            let reason = format!(
                "{label} is reserved; a label is 16 to 1048575, or an explicit null, 0 or 2"
            );
            p.invalid::<()>("label", reason);
        } else if is_null && payload == Some(Payload::Ethernet) {
            p.invalid::<()>("payload", "behind an explicit null there is ip".into());
        }
    }
    let to = arrival(&w.vrf, w.nexthop.as_ref(), p);
    Some(spec::LabelEntry {
        label: label?,
        to: to?,
        payload: payload?,
    })
}

/// Where packets go that arrived from the fabric: one of two fields says.
fn arrival(vrf: &str, nexthop: Option<&String>, p: &mut Problems) -> Option<Arrival> {
    match (vrf, nexthop) {
        (vrf, None) => p.text("vrf", vrf, text::name).map(Arrival::Vrf),
        ("", Some(nexthop)) => {
            let name = p.text("nexthop", nexthop, text::name);
            name.map(Arrival::Nexthop)
        }
        (_, Some(_)) => p.invalid("nexthop", "does not go with `vrf`; leave one out".into()),
    }
}
