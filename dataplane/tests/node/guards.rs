//! Meters and mirrors of vifs and networks.

use crate::common::*;
use dataplane::DropReason;
use dataplane::tables::change::Change;
use dataplane::tables::spec::{Guards, Meter, Mirror, Nexthop, NexthopAction, Object};
use encap::MacAddr;

const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa]);
const B: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xb]);
const M: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xc]);

fn guarded(object: Object, guards: Guards) -> Object {
    match object {
        Object::Vif(spec) => Object::Vif(dataplane::tables::spec::Vif { guards, ..spec }),
        Object::Vrf(spec) => Object::Vrf(dataplane::tables::spec::Vrf { guards, ..spec }),
        other => other,
    }
}

fn meter(name: &str, packets_per_second: u64) -> Object {
    Object::Meter(Meter {
        name: name.into(),
        bits_per_second: None,
        burst_bytes: None,
        packets_per_second: Some(packets_per_second),
        burst_packets: Some(4),
    })
}

fn mirror() -> [Object; 2] {
    let nexthop = Object::Nexthop(Nexthop {
        name: "to-monitor".into(),
        action: NexthopAction::Vif {
            vif: "monitor".into(),
            address: None,
        },
    });
    let mirror = Object::Mirror(Mirror {
        name: "copies".into(),
        nexthop: "to-monitor".into(),
    });
    [nexthop, mirror]
}

/// Two machines and one that gets copies; the guards are those of the vrf and the two machines.
fn node(of_vrf: Guards, of_a: Guards, of_b: Guards) -> Node {
    let mut objects = vec![
        guarded(vrf("red", &["10.1.0.1/24"]), of_vrf),
        vrf("watch", &[]),
        guarded(tenant("a", "red", A, &["10.1.0.10"]), of_a),
        guarded(tenant("b", "red", B, &["10.1.0.11"]), of_b),
        tenant("monitor", "watch", M, &[]),
        meter("slow", 1_000),
    ];
    objects.extend(mirror());
    Node::new(objects)
}

fn a_to_b() -> Vec<u8> {
    udp((A, "10.1.0.10"), (ROUTER, "10.1.0.11"), 64)
}

fn b_to_a() -> Vec<u8> {
    udp((B, "10.1.0.11"), (ROUTER, "10.1.0.10"), 64)
}

fn slow(egress: bool) -> Guards {
    let name = Some("slow".into());
    match egress {
        true => Guards {
            egress_meter: name,
            ..Guards::default()
        },
        false => Guards {
            ingress_meter: name,
            ..Guards::default()
        },
    }
}

#[test]
fn what_a_vif_sends_is_held_to_its_meter() {
    let mut node = node(Guards::default(), slow(true), Guards::default());
    node.send("a", &vec![a_to_b(); 10]);
    assert_eq!(node.recv("b").len(), 4);
    assert_eq!(node.drops("a"), [(DropReason::Metered, 6)]);
    // The other direction is not, and time refills it.
    node.send("b", &vec![b_to_a(); 10]);
    assert_eq!(node.recv("a").len(), 10);
    node.pass(3);
    node.send("a", &vec![a_to_b(); 10]);
    assert_eq!(node.recv("b").len(), 3);
}

#[test]
fn what_a_vif_gets_is_held_to_its_meter_and_counted_where_it_came_from() {
    let mut node = node(Guards::default(), Guards::default(), slow(false));
    node.send("a", &vec![a_to_b(); 10]);
    assert_eq!(node.recv("b").len(), 4);
    assert_eq!(node.drops("a"), [(DropReason::Metered, 6)]);
}

#[test]
fn a_networks_meter_is_for_all_its_vifs_together() {
    let mut node = node(slow(true), Guards::default(), Guards::default());
    node.send("a", &vec![a_to_b(); 3]);
    node.send("b", &vec![b_to_a(); 3]);
    assert_eq!((node.recv("b").len(), node.recv("a").len()), (3, 1));
    assert_eq!(node.drops("b"), [(DropReason::Metered, 2)]);
}

#[test]
fn a_commit_that_does_not_change_a_meter_does_not_refill_it() {
    let mut node = node(Guards::default(), slow(true), Guards::default());
    node.send("a", &vec![a_to_b(); 10]);
    assert_eq!(node.recv("b").len(), 4);
    node.apply(vec![Change::Upsert(vrf("green", &[]))])
        .expect("a new network");
    node.send("a", &[a_to_b()]);
    assert_eq!(node.recv("b").len(), 0);
}

#[test]
fn a_mirror_gets_both_directions_as_they_are_on_the_vif() {
    let copied = Guards {
        mirror: Some("copies".into()),
        ..Guards::default()
    };
    let mut node = node(Guards::default(), copied, Guards::default());
    node.send("a", &[a_to_b()]);
    assert_eq!(node.recv("monitor"), [a_to_b()]);
    assert_eq!(node.recv("b").len(), 1);
    node.send("b", &[b_to_a()]);
    let delivered = node.recv("a");
    assert_eq!(delivered.len(), 1);
    assert_eq!(node.recv("monitor"), delivered);
}

#[test]
fn a_networks_mirror_gets_a_copy_at_each_of_its_vifs() {
    let copied = Guards {
        mirror: Some("copies".into()),
        ..Guards::default()
    };
    let mut node = node(copied, Guards::default(), Guards::default());
    node.send("a", &[a_to_b()]);
    let sent = a_to_b();
    let delivered = node.recv("b").remove(0);
    assert_eq!(node.recv("monitor"), [sent, delivered]);
}

#[test]
fn what_is_mirrored_to_a_mirrored_vif_is_not_mirrored_again() {
    let copied = || Guards {
        mirror: Some("copies".into()),
        ..Guards::default()
    };
    let mut node = node(Guards::default(), copied(), Guards::default());
    node.apply(vec![Change::Upsert(guarded(
        tenant("monitor", "watch", M, &[]),
        copied(),
    ))])
    .expect("it may name itself");
    node.send("a", &[a_to_b()]);
    assert_eq!(node.recv("monitor"), [a_to_b()]);
}

#[test]
fn copies_go_where_frames_can_go() {
    let mut node = node(Guards::default(), Guards::default(), Guards::default());
    let nowhere = Object::Nexthop(Nexthop {
        name: "nowhere".into(),
        action: NexthopAction::Discard,
    });
    let mirror = Object::Mirror(Mirror {
        name: "bad".into(),
        nexthop: "nowhere".into(),
    });
    let refusals = node
        .apply(vec![Change::Upsert(nowhere), Change::Upsert(mirror)])
        .expect_err("it takes no frames");
    assert_eq!(
        refusals[0].to_string(),
        "mirror bad: nexthop: `nowhere` takes no frames; name a tunnel that carries ethernet, \
         or a tenant vif"
    );
}
