//! Flows for people: numbers of the engine to names, and which flows are asked
//! for.

use std::collections::HashMap;
use std::net::IpAddr;

use dataplane::DropReason;
use dataplane::stage::Layer;
use dataplane::stage::flow::vrf_of;
use dataplane::tables::{Nexthop, NexthopId, Tables, VrfId};
use flowtable::{Action, Class, Counters, FlowView, Key, Ticks, Verdict};
use ipnet::IpNet;

use crate::convert::{protocol_name, protocol_number};
use crate::proto::{Flow, FlowSide, FlowsRequest};

/// Which flows to show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    vrf: Option<VrfId>,
    protocol: Option<u8>,
    address: Option<IpNet>,
    port: Option<u16>,
}

impl Filter {
    /// Checks a request.
    ///
    /// # Errors
    /// A sentence about the first field that makes no sense.
    pub fn new(request: &FlowsRequest, tables: &Tables) -> Result<Filter, String> {
        let mut filter = Filter::default();
        if let Some(name) = &request.vrf {
            let vrf = tables.vrf_named(name);
            filter.vrf = Some(vrf.ok_or(format!("there is no vrf `{name}`"))?.id);
        }
        if let Some(text) = &request.protocol {
            filter.protocol = Some(protocol_number(text).ok_or(format!(
                "`{text}` is not a protocol; write tcp, udp, sctp, icmp, icmpv6 or a number to 255"
            ))?);
        }
        if let Some(text) = &request.address {
            let addr = text.parse::<IpAddr>().map(IpNet::from);
            filter.address = Some(addr.or_else(|_| text.parse()).map_err(|_| {
                format!("`{text}` is not an address; write one like 10.1.0.9 or 10.1.0.0/24")
            })?);
        }
        if let Some(port) = request.port {
            let port = u16::try_from(port);
            filter.port = Some(port.map_err(|_| "a port is 0 to 65535".to_owned())?);
        }
        Ok(filter)
    }

    /// Whether either direction of a flow is asked for.
    pub fn matches(&self, flow: &FlowView) -> bool {
        let vrfs = [flow.forward, flow.reverse].map(|key| vrf_of(key.zone()).0);
        self.vrf.is_none_or(|vrf| vrfs.contains(&vrf))
            && self.protocol.is_none_or(|p| flow.forward.protocol() == p)
            && [&flow.forward, &flow.reverse]
                .into_iter()
                .any(|key| self.matches_ends(key))
    }

    fn matches_ends(&self, key: &Key) -> bool {
        let addrs = [key.src_addr(), key.dst_addr()];
        let ports = [key.src_port(), key.dst_port()];
        self.address
            .is_none_or(|net| addrs.iter().any(|addr| net.contains(addr)))
            && self.port.is_none_or(|port| ports.contains(&port))
    }
}

/// Puts names to flows, by one snapshot. Remembers nexthop names, because
/// finding one is slow and flows are many.
pub struct Describer<'a> {
    tables: &'a Tables,
    now: Ticks,
    nexthops: HashMap<NexthopId, String>,
}

impl<'a> Describer<'a> {
    /// For flows as they are at `now`.
    pub fn new(tables: &'a Tables, now: Ticks) -> Describer<'a> {
        Describer {
            tables,
            now,
            nexthops: HashMap::new(),
        }
    }

    /// A flow in the words of the protocol.
    pub fn flow(&mut self, flow: &FlowView) -> Flow {
        let forward = self.side(&flow.forward, &flow.forward_action, flow.forward_counters);
        let reverse = self.side(&flow.reverse, &flow.reverse_action, flow.reverse_counters);
        Flow {
            forward: Some(forward),
            reverse: Some(reverse),
            state: class_name(flow.class).into(),
            age_ms: self.now.since(flow.start).into(),
            idle_ms: self.now.since(flow.last_seen).into(),
        }
    }

    fn side(&mut self, key: &Key, action: &Action, counters: Counters) -> FlowSide {
        let (vrf, layer) = vrf_of(key.zone());
        let vrf = self.tables.vrf(vrf).map(|vrf| vrf.name.to_string());
        FlowSide {
            vrf: vrf.unwrap_or_default(),
            layer: match layer {
                Layer::Routed => "routed".into(),
                Layer::Bridged => "bridged".into(),
            },
            protocol: protocol_name(key.protocol()),
            src_addr: key.src_addr().to_string(),
            dst_addr: key.dst_addr().to_string(),
            src_port: key.src_port().into(),
            dst_port: key.dst_port().into(),
            action: self.action(action),
            packets: counters.packets,
            bytes: counters.bytes,
        }
    }

    fn action(&mut self, action: &Action) -> String {
        match action.verdict {
            Verdict::Forward | Verdict::Bridge => {
                let id = NexthopId(action.nexthop);
                let tables = self.tables;
                let name = self.nexthops.entry(id);
                name.or_insert_with(|| nexthop_text(tables, id)).clone()
            }
            Verdict::Drop(reason) => match DropReason::ALL.get(usize::from(reason)) {
                Some(reason) => format!("drop {}", reason.name()),
                None => "drop".into(),
            },
        }
    }
}

/// Where packets go by a nexthop, in words.
pub(crate) fn nexthop_text(tables: &Tables, id: NexthopId) -> String {
    let name = || tables.nexthop_name(id).unwrap_or_default();
    match tables.nexthop(id) {
        Some(Nexthop::Vif(vif)) => match tables.vif(*vif) {
            Some(vif) => format!("vif {}", vif.name),
            None => "unreachable".into(),
        },
        Some(Nexthop::Neighbour(neighbour)) => format!("neighbour {}", neighbour.addr),
        Some(Nexthop::Tunnel(_)) => format!("tunnel {}", name()),
        Some(Nexthop::Host) => "host".into(),
        Some(Nexthop::Discard) => "discard".into(),
        Some(Nexthop::Replicate(_)) => format!("replicate {}", name()),
        Some(Nexthop::Group(_)) => format!("group {}", name()),
        Some(Nexthop::Reject) => "reject".into(),
        Some(Nexthop::Vrf(vrf)) => match tables.vrf(*vrf) {
            Some(vrf) => format!("vrf {}", vrf.name),
            None => "unreachable".into(),
        },
        Some(Nexthop::Unreachable) | None => "unreachable".into(),
    }
}

fn class_name(class: Class) -> &'static str {
    match class {
        Class::SynSent => "syn_sent",
        Class::SynReceived => "syn_received",
        Class::Established => "established",
        Class::FinForward => "fin_forward",
        Class::FinReverse => "fin_reverse",
        Class::Closed => "closed",
        Class::Udp => "udp",
        Class::UdpReplied => "udp_replied",
        Class::Icmp => "icmp",
        Class::Other => "other",
        Class::Dropped => "dropped",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow() -> FlowView {
        let table = flowtable::FlowTable::new(&flowtable::Config {
            pairs: 16,
            ..flowtable::Config::default()
        });
        let addrs = ([10, 1, 0, 5].into(), [10, 1, 0, 9].into());
        let key = Key::ipv4(flowtable::Zone::default(), 6, addrs.0, addrs.1, 40000, 80);
        let action = Action {
            verdict: Verdict::Drop(DropReason::Discard as u8),
            nexthop: 0,
            epoch: 0,
            ingress: 0,
            rewrite: flowtable::Rewrite::NONE,
            group_choice: 0,
            exit: 0,
            flags: 0,
        };
        table.worker(0).insert_pair(&flowtable::NewFlow {
            forward: &key,
            forward_action: &action,
            reverse: &key.reversed(),
            reverse_action: &action,
            class: Class::SynSent,
            vif: 0,
            vrf: 0,
            note: [0; 4],
            now: Ticks(100),
        });
        let mut seen = None;
        table.walk(&mut flowtable::WalkCursor::default(), 16, |flow| {
            seen = Some(*flow)
        });
        seen.unwrap()
    }

    fn matches(request: FlowsRequest) -> bool {
        Filter::new(&request, &Tables::new(1))
            .unwrap()
            .matches(&flow())
    }

    #[test]
    fn a_filter_matches_either_direction_in_every_field() {
        let request = FlowsRequest {
            vrf: Some("underlay".into()),
            protocol: Some("tcp".into()),
            address: Some("10.1.0.9".into()),
            port: Some(40000),
            limit: None,
        };
        assert!(matches(request.clone()));
        assert!(!matches(FlowsRequest {
            port: Some(81),
            ..request.clone()
        }));
        assert!(!matches(FlowsRequest {
            protocol: Some("17".into()),
            ..request.clone()
        }));
        let elsewhere = Some("10.2.0.0/16".into());
        assert!(!matches(FlowsRequest {
            address: elsewhere,
            ..request
        }));
    }

    #[test]
    fn a_filter_that_makes_no_sense_is_refused() {
        let tables = Tables::new(1);
        let refused = |request| Filter::new(&request, &tables).unwrap_err();
        let nobody = FlowsRequest {
            vrf: Some("x".into()),
            ..Default::default()
        };
        assert_eq!(refused(nobody), "there is no vrf `x`");
        let protocol = FlowsRequest {
            protocol: Some("256".into()),
            ..Default::default()
        };
        assert!(refused(protocol).contains("`256` is not a protocol"));
        let address = FlowsRequest {
            address: Some("10.1".into()),
            ..Default::default()
        };
        assert!(refused(address).contains("`10.1` is not an address"));
    }

    #[test]
    fn a_flow_is_told_in_names() {
        let tables = Tables::new(1);
        let told = Describer::new(&tables, Ticks(350)).flow(&flow());
        assert_eq!((told.state.as_str(), told.age_ms), ("syn_sent", 250));
        let reverse = told.reverse.unwrap();
        assert_eq!(reverse.vrf, "underlay");
        assert_eq!(
            (reverse.src_addr.as_str(), reverse.src_port),
            ("10.1.0.9", 80)
        );
        assert_eq!(reverse.action, "drop discard");
    }
}
