//! Dropped packets are noted with their headers, and the object that caused it is found by name.

use crate::common::*;
use dataplane::DropReason;
use dataplane::observe::capture::{Wanted, Way};
use dataplane::observe::cause::cause;
use dataplane::observe::drops::{Note, Notes};
use dataplane::tables::change::Change;
use dataplane::tables::spec::*;
use encap::MacAddr;

const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa]);
const B: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xb]);

fn rule(id: u32, action: RuleAction, port: u16) -> Rule {
    Rule {
        id,
        action,
        protocol: None,
        sources: vec![],
        source_sets: vec![],
        destinations: vec![],
        destination_sets: vec![],
        source_ports: vec![],
        destination_ports: vec![port..=port],
        icmp: vec![],
        log: false,
        mirror: None,
        dscp: None,
    }
}

/// Machines a and b; b gets what policy `web` allows.
fn node() -> (Node, Notes) {
    let policy = Policy {
        name: "web".into(),
        rules: vec![
            rule(10, RuleAction::Allow, 80),
            rule(20, RuleAction::Deny, 22),
            rule(30, RuleAction::Reject, 23),
        ],
    };
    let Object::Vif(b) = tenant("b", "red", B, &["10.1.0.11"]) else {
        unreachable!("a tenant is a vif");
    };
    let b = Vif {
        guards: Guards {
            ingress_policies: vec!["web".into()],
            ..Guards::default()
        },
        ..b
    };
    let discard = Nexthop {
        name: "hole".into(),
        action: NexthopAction::Discard,
    };
    let mut node = Node::new(vec![
        vrf("red", &["10.1.0.1/24"]),
        tenant("a", "red", A, &["10.1.0.10"]),
        Object::Policy(policy),
        Object::Vif(b),
        Object::Nexthop(discard),
        route("red", "10.66.0.0/16", "hole"),
        fabric("up0", MacAddr([2, 0, 0, 0, 0, 1]), &["192.0.2.1/24"]),
        tunnel("far", "192.0.2.2", 5001, None),
        route("red", "10.9.0.0/16", "far"),
    ]);
    let notes = node.note_drops();
    (node, notes)
}

fn to(dst: &str, port: u16) -> Vec<u8> {
    udp_ports((A, "10.1.0.10"), (ROUTER, dst), 64, (1_000, port))
}

/// The one note of what this frame from a was dropped for.
#[track_caller]
fn noted(node: &mut Node, notes: &mut Notes, frame: &[u8]) -> (Note, String) {
    node.send("a", &[frame.to_vec()]);
    let note = notes.take().expect("it was dropped");
    assert_eq!(notes.take(), None, "once");
    let tables = node.publisher.current();
    assert_eq!(note.generation, tables.generation());
    let cause = cause(&tables, &note);
    let rule = cause
        .rule
        .map_or_else(String::new, |rule| format!(" rule {rule}"));
    (note, format!("{}{rule}: {}", cause.object, cause.detail))
}

#[test]
fn a_denied_packet_names_the_rule() {
    let (mut node, mut notes) = node();
    let frame = to("10.1.0.11", 22);
    let (note, cause) = noted(&mut node, &mut notes, &frame);
    assert_eq!(note.reason, DropReason::PolicyDenied);
    assert_eq!((note.len as usize, &note.bytes), (frame.len(), &frame));
    assert_eq!(cause, "policy web rule 20: ingress of vif b");
    let (note, cause) = noted(&mut node, &mut notes, &to("10.1.0.11", 23));
    assert_eq!(note.reason, DropReason::PolicyRejected);
    assert_eq!(cause, "policy web rule 30: ingress of vif b");
    let (note, cause) = noted(&mut node, &mut notes, &to("10.1.0.11", 4));
    assert_eq!(note.reason, DropReason::PolicyDenied);
    assert_eq!(
        cause,
        "vif b: no rule of its ingress policies allows this to b"
    );
    node.check_accounts();
}

#[test]
fn other_objects_are_named_too() {
    let (mut node, mut notes) = node();
    for (dst, reason, cause) in [
        (
            "10.77.0.1",
            DropReason::NoRoute,
            "vrf red: nothing leads to 10.77.0.1",
        ),
        (
            "10.66.1.1",
            DropReason::Discard,
            "route red 10.66.0.0/16: leads to nexthop hole",
        ),
    ] {
        let (note, said) = noted(&mut node, &mut notes, &to(dst, 80));
        assert_eq!((note.reason, &said[..]), (reason, cause));
    }
    let spoofed = udp_ports((A, "10.1.0.99"), (ROUTER, "10.1.0.11"), 64, (1, 80));
    let (note, said) = noted(&mut node, &mut notes, &spoofed);
    assert_eq!(
        (note.reason, &said[..]),
        (DropReason::SpoofedSource, "vif a: addresses")
    );
    let (note, _) = noted(&mut node, &mut notes, &[0; 9]);
    assert_eq!((note.reason, note.len), (DropReason::Truncated, 9));
    node.check_accounts();
}

#[test]
fn a_packet_that_waited_in_vain_names_its_nexthop() {
    let (mut node, mut notes) = node();
    node.send("a", &[to("10.9.0.1", 80)]);
    assert_eq!(notes.take(), None);
    for _ in 0..40 {
        node.pass(100);
        node.recv_all();
    }
    let note = notes.take().expect("nobody answered");
    assert_eq!(note.reason, DropReason::NeighbourUnresolved);
    let cause = cause(&node.publisher.current(), &note);
    assert_eq!(
        (&cause.object[..], &cause.detail[..]),
        ("nexthop far", "by route red 10.9.0.0/16")
    );
    node.check_accounts();
}

#[test]
fn a_number_nobody_configured_is_named() {
    let (mut node, mut notes) = node();
    let up = MacAddr([2, 0, 0, 0, 0, 1]);
    let frame = vxlan(
        [(B, "192.0.2.2"), (up, "192.0.2.1")],
        77,
        &to("10.1.0.11", 80),
    );
    node.send("up0", &[frame]);
    let note = notes.take().expect("there is no such VNI");
    assert_eq!(note.reason, DropReason::UnknownVni);
    assert_eq!(cause(&node.publisher.current(), &note).object, "vni 77");
}

#[test]
fn a_flood_is_noted_a_few_times_and_counted_whole() {
    let (mut node, mut notes) = node();
    let frames = vec![to("10.1.0.11", 22); 64];
    for _ in 0..100 {
        node.send("a", &frames);
    }
    let spoofed = udp_ports((A, "10.1.0.99"), (ROUTER, "10.1.0.11"), 64, (1, 80));
    node.send("a", &[spoofed]);
    let mut reasons = Vec::new();
    while let Some(note) = notes.take() {
        reasons.push(note.reason);
    }
    assert_eq!(reasons.len(), 9, "{reasons:?}");
    assert_eq!(reasons.last(), Some(&DropReason::SpoofedSource));
    assert_eq!(
        node.drops("a"),
        [
            (DropReason::SpoofedSource, 1),
            (DropReason::PolicyDenied, 6_400)
        ]
    );
    // The next one says how many it stands for.
    node.pass(1_000);
    node.send("a", &frames[..1]);
    assert_eq!(notes.take().map(|note| note.passed_over), Some(6_392));
}

#[test]
fn a_cause_is_found_in_the_tables_that_dropped_the_packet() {
    let (mut node, mut notes) = node();
    let before = node.publisher.current();
    node.send("a", &[to("10.1.0.11", 22)]);
    let deny = Policy {
        name: "web".into(),
        rules: vec![rule(99, RuleAction::Deny, 22)],
    };
    node.apply(vec![Change::Upsert(Object::Policy(deny))])
        .expect("a policy");
    node.send("a", &[to("10.1.0.11", 22)]);
    let (old, new) = (notes.take().expect("first"), notes.take().expect("second"));
    assert_eq!(old.generation + 1, new.generation);
    assert_eq!(cause(&before, &old).rule, Some(20));
    assert_eq!(cause(&node.publisher.current(), &new).rule, Some(99));
}

#[test]
fn a_capture_sees_what_a_vif_gets_and_sends_and_nothing_else() {
    let (mut node, mut notes) = node();
    let wanted = |vifs: &[&str]| Wanted {
        vifs: vifs.iter().map(|name| Name::from(*name)).collect(),
        rx: true,
        tx: true,
        filter: None,
        snap_len: 96,
        rate: 1_000,
        ring_bytes: 1 << 16,
    };
    let (mut of_b, mut of_all) = (node.capture(wanted(&["b"])), node.capture(wanted(&[])));
    let passes = to("10.1.0.11", 80);
    node.send("a", &[passes.clone(), to("10.1.0.11", 22)]);
    let delivered = node.recv("b");
    let seen = of_b.take().expect("it was delivered");
    assert_eq!((seen.way, &seen.bytes), (Way::Tx, &delivered[0]));
    assert_eq!(of_b.take(), None);
    let ways: Vec<_> = std::iter::from_fn(|| of_all.take())
        .map(|seen| seen.way)
        .collect();
    assert_eq!(ways, [Way::Rx, Way::Rx, Way::Tx]);
    assert_eq!(
        notes.take().map(|note| note.reason),
        Some(DropReason::PolicyDenied)
    );
    // Who stops reading stops the capture.
    drop((of_b, of_all));
    node.send("a", &[passes]);
}
