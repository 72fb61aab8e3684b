//! The way back: checked objects, keys and refusals in the words of the protocol.

use dataplane::tables::Stored;
use dataplane::tables::change::{Refusal, RefusalCode};
use dataplane::tables::spec::{
    self, Arrival, ForwardingMode, FragmentMode, HashFields, Key, NexthopAction, Object, Payload,
    Role,
};
use encap::{Encap, Model};

use super::policy::{name, names};
use super::{bridge, text};
use crate::proto;
use crate::proto::refusal::Code;

/// What the engine says against a request, in the words of the protocol;
/// `change` is the place of the object in the request.
pub fn refusal(refusal: &Refusal, change: Option<usize>) -> proto::Refusal {
    let code = match refusal.code {
        RefusalCode::StaleGeneration => Code::StaleGeneration,
        RefusalCode::OtherOwner => Code::OtherOwner,
        RefusalCode::NotFound => Code::NotFound,
        RefusalCode::Duplicate => Code::Duplicate,
        RefusalCode::Unresolved => Code::Unresolved,
        RefusalCode::InUse => Code::InUse,
        RefusalCode::Taken => Code::Taken,
        RefusalCode::Limit => Code::Limit,
        RefusalCode::Device => Code::Device,
        RefusalCode::NotDurable => Code::NotDurable,
        RefusalCode::Conflict => Code::Conflict,
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
        Key::Label(_) => proto::Kind::Label,
        Key::AddressSet(_) => proto::Kind::AddressSet,
        Key::Policy(_) => proto::Kind::Policy,
        Key::FloatingIp(_) => proto::Kind::FloatingIp,
        Key::SnatPool(_) => proto::Kind::SnatPool,
        Key::Service(_) => proto::Kind::Service,
        Key::Mirror(_) => proto::Kind::Mirror,
        Key::Meter(_) => proto::Kind::Meter,
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
            Object::Vni(entry) => {
                let (vrf, nexthop) = arrival(&entry.to);
                Written::Vni(proto::Vni {
                    vni: Some(entry.vni.get()),
                    vrf,
                    nexthop,
                })
            }
            Object::Label(entry) => {
                let (vrf, nexthop) = arrival(&entry.to);
                Written::Label(proto::Label {
                    label: Some(entry.label.get()),
                    vrf,
                    nexthop,
                    payload: payload(entry.payload).into(),
                })
            }
            Object::AddressSet(set) => Written::AddressSet(set.into()),
            Object::Policy(policy) => Written::Policy(policy.into()),
            Object::FloatingIp(floating) => Written::FloatingIp(floating.into()),
            Object::SnatPool(pool) => Written::SnatPool(pool.into()),
            Object::Service(service) => Written::Service(service.into()),
            Object::Mirror(mirror) => Written::Mirror(mirror.into()),
            Object::Meter(meter) => Written::Meter(meter.into()),
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
            flow_quota: vrf.flow_quota.map(Into::into),
            learning: vrf.learning,
            router_advertisement: vrf.router_advertisement.as_ref().map(bridge::written),
            tcp_mss_clamp: vrf.tcp_mss_clamp.map(u32::from),
            ingress_policies: names(&vrf.guards.ingress_policies),
            egress_policies: names(&vrf.guards.egress_policies),
            ingress_meter: name(&vrf.guards.ingress_meter),
            egress_meter: name(&vrf.guards.egress_meter),
            mirror: name(&vrf.guards.mirror),
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
            flow_quota: vif.flow_quota.map(Into::into),
            storm_limit: vif.storm_limit,
            max_learned_macs: vif.max_learned_macs,
            ingress_policies: names(&vif.guards.ingress_policies),
            egress_policies: names(&vif.guards.egress_policies),
            ingress_meter: name(&vif.guards.ingress_meter),
            egress_meter: name(&vif.guards.egress_meter),
            mirror: name(&vif.guards.mirror),
        }
    }
}

impl From<&spec::Nexthop> for proto::Nexthop {
    fn from(nexthop: &spec::Nexthop) -> Self {
        use proto::nexthop::{Action, Discard, Host, Reject, Replicate};
        let mut address = None;
        let action = match &nexthop.action {
            NexthopAction::Vif { vif, address: to } => {
                address = to.map(|addr| addr.to_string());
                Action::Vif(vif.to_string())
            }
            NexthopAction::Tunnel(tunnel) => Action::Tunnel(tunnel.into()),
            NexthopAction::Host => Action::Host(Host {}),
            NexthopAction::Discard => Action::Discard(Discard {}),
            NexthopAction::Replicate(members) => Action::Replicate(Replicate {
                members: members.iter().map(ToString::to_string).collect(),
            }),
            NexthopAction::Reject => Action::Reject(Reject {}),
            NexthopAction::Group(group) => Action::Group(proto::Group {
                members: group.members.iter().map(Into::into).collect(),
                hash: hash(group.hash).into(),
                symmetric: group.symmetric,
            }),
            NexthopAction::Vrf(vrf) => Action::Vrf(vrf.to_string()),
        };
        proto::Nexthop {
            name: nexthop.name.to_string(),
            action: Some(action),
            address,
        }
    }
}

impl From<&spec::Tunnel> for proto::Tunnel {
    fn from(tunnel: &spec::Tunnel) -> Self {
        let (encap, vni, label) = match tunnel.encap {
            Encap::Vxlan(vni) => (proto::Encap::Vxlan, Some(vni.get()), None),
            Encap::MplsUdp(label) => (proto::Encap::MplsUdp, None, Some(label.get())),
            Encap::MplsGre(label) => (proto::Encap::MplsGre, None, Some(label.get())),
        };
        proto::Tunnel {
            encap: encap.into(),
            local: tunnel.local.map(|addr| addr.to_string()),
            remote: tunnel.remote.to_string(),
            vni,
            inner_mac: tunnel.inner_mac.map(|mac| mac.to_string()),
            label,
            payload: payload(tunnel.payload).into(),
            dscp: model(tunnel.dscp).into(),
            ttl: model(tunnel.ttl).into(),
            udp_zero_checksum: tunnel.udp_zero_checksum,
            fragment: match tunnel.fragment {
                FragmentMode::Inner => proto::FragmentMode::Inner.into(),
                FragmentMode::Outer => proto::FragmentMode::Outer.into(),
            },
            mtu: tunnel.mtu.map(u32::from),
        }
    }
}

impl From<&spec::Member> for proto::Member {
    fn from(member: &spec::Member) -> Self {
        let weight = u32::from(member.weight.get());
        proto::Member {
            nexthop: member.nexthop.to_string(),
            weight: (weight != 1).then_some(weight),
        }
    }
}

fn hash(fields: HashFields) -> proto::HashFields {
    match fields {
        HashFields::FiveTuple => proto::HashFields::FiveTuple,
        HashFields::Addresses => proto::HashFields::Addresses,
        HashFields::Source => proto::HashFields::Source,
    }
}

fn payload(payload: Payload) -> proto::Payload {
    match payload {
        Payload::Ip => proto::Payload::Ip,
        Payload::Ethernet => proto::Payload::Ethernet,
    }
}

fn model(model: Model) -> proto::Model {
    match model {
        Model::Pipe => proto::Model::Pipe,
        Model::Uniform => proto::Model::Uniform,
    }
}

/// The fields `vrf` and `nexthop`.
fn arrival(to: &Arrival) -> (String, Option<String>) {
    match to {
        Arrival::Vrf(name) => (name.to_string(), None),
        Arrival::Nexthop(name) => (String::new(), Some(name.to_string())),
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
            Key::Label(label) => Written::Label(label.get()),
            Key::AddressSet(name) => Written::AddressSet(name.to_string()),
            Key::Policy(name) => Written::Policy(name.to_string()),
            Key::FloatingIp(name) => Written::FloatingIp(name.to_string()),
            Key::SnatPool(name) => Written::SnatPool(name.to_string()),
            Key::Service(name) => Written::Service(name.to_string()),
            Key::Mirror(name) => Written::Mirror(name.to_string()),
            Key::Meter(name) => Written::Meter(name.to_string()),
        };
        proto::Key { key: Some(key) }
    }
}
