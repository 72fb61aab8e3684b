use std::net::Ipv6Addr;

use flowtable::{Action, Class, Insert, NewFlow, Rewrite, Ticks, Verdict, Zone};

use super::*;
use crate::accounts;
use crate::stage::Ingress;
use crate::tables::{NexthopId, VifId, VrfId};

fn lane(network: Network) -> Lane {
    let mut meta = encap::Meta::new(14, 74);
    meta.network = network;
    Lane {
        meta,
        vrf: VrfId(1),
        exit: Lane::SAME,
        is_special: true,
        translated: Translated::No,
        is_copy: false,
        ingress: Ingress::vif(VifId(1)),
        entropy: 0,
        named: NexthopId(0),
        next: Next::Consumed,
    }
}

fn key(src: u16, dst: u16) -> Key {
    let addr = |n| Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, n);
    Key::ipv6(Zone::default(), 17, addr(src), addr(dst), src, dst)
}

#[test]
fn ends_are_those_of_the_other_direction_until_the_flow_is_gone() {
    let table = accounts::table_config(64, [1, 2, 3, 4], Default::default(), 1);
    let flows = FlowTable::new(&table);
    let action = |rewrite| Action {
        verdict: Verdict::Forward,
        nexthop: 1,
        epoch: 1,
        ingress: 1,
        rewrite,
        group_choice: 0,
        exit: 1,
        flags: 0,
    };
    let (keep, partner) = (Translation::Keep, Translation::Partner);
    let forward = Rewrite {
        src: partner,
        dst: keep,
    };
    let reverse = Rewrite {
        src: keep,
        dst: partner,
    };
    let inserted = flows.worker(0).insert_pair(&NewFlow {
        forward: &key(1, 2),
        forward_action: &action(forward),
        reverse: &key(2, 3),
        reverse_action: &action(reverse),
        class: Class::Udp,
        vif: 1,
        vrf: 1,
        note: [0; 4],
        now: Ticks(0),
    });
    let Insert::Inserted(hit) = inserted else {
        panic!("there is room");
    };
    let src = Some(source(&key(3, 2)));
    let expected = Becomes::Same(Change { src, dst: None });
    assert_eq!(becomes(&flows, &lane(Network::Ipv6), &hit), Ok(expected));
    flows.worker(0).remove(hit.id, hit.version());
    let gone = becomes(&flows, &lane(Network::Ipv6), &hit);
    assert_eq!(gone, Err(DropReason::FlowGone));
}
