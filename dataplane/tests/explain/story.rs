//! What an explanation tells: every step, by name, and what else there was to choose from.

use dataplane::DropReason;
use dataplane::explain::{Account, Packet, Setting, Verdict, explain};
use dataplane::tables::change::Change;
use dataplane::tables::spec::*;

use crate::agreement::guarded_node;
use crate::common::*;
use crate::network::*;

fn account(node: &Node, vif: &str, frame: Vec<u8>) -> Account {
    let tables = node.publisher.current();
    let setting = Setting {
        tables: &tables,
        flows: &node.flows,
        now: node.now(),
        icmp_errors_per_second: 100,
    };
    let packet = Packet {
        vif: vif.into(),
        frame,
    };
    explain(&setting, &[packet]).remove(0)
}

/// The sentences of one kind of step, with what was rejected.
fn told(account: &Account, stage: &str) -> Vec<String> {
    let steps = account.steps.iter().filter(|step| step.stage == stage);
    steps
        .flat_map(|step| std::iter::once(&step.text).chain(&step.rejected))
        .cloned()
        .collect()
}

#[track_caller]
fn says(account: &Account, stage: &str, what: &str) {
    let told = told(account, stage);
    let all = &account.steps;
    assert!(
        told.iter().any(|text| text.contains(what)),
        "{stage}: {what}: {all:#?}"
    );
}

#[test]
fn a_denied_packet_is_told_the_rule_and_since_when() {
    let node = guarded_node();
    let frame = udp((A, "10.1.0.10"), (ROUTER, "10.1.0.9"), 64);
    let mut order = guarded_node();
    order
        .apply(vec![Change::Upsert(crate::agreement::policy(&[3, 2, 1]))])
        .expect("a policy");
    let account = account(&order, "red-a", frame.clone());
    assert_eq!(account.verdict, Verdict::Dropped(DropReason::PolicyDenied));
    says(
        &account,
        "egress policy",
        "rule 2 of policy web denies what vif red-a sends; 1 rule before",
    );
    says(&account, "dropped", "policy_denied: ");
    let step = account
        .steps
        .iter()
        .find(|step| step.stage == "egress policy");
    let mention = &step.expect("a policy").objects[0];
    let generation = order.publisher.current().generation();
    assert_eq!((mention.rule, mention.generation), (Some(2), generation));
    assert!(generation > node.publisher.current().generation());
}

#[test]
fn a_route_says_its_prefix_and_a_tunnel_its_outer_header() {
    let node = node(true);
    let account = account(
        &node,
        "red-b",
        tagged(&udp((B, "10.1.0.11"), (ROUTER, "10.1.0.9"), 64)),
    );
    assert_eq!(account.verdict, Verdict::Sent);
    says(
        &account,
        "route",
        "10.1.0.9 in vrf red: longest prefix 10.1.0.9/32, to tunnel red-2",
    );
    says(&account, "sent", "VXLAN network id 5001 in udp 192.0.2.1:");
    says(&account, "sent", "out of vif up0");
    let [sent] = &account.sent[..] else {
        panic!("{account:#?}");
    };
    assert_eq!((sent.outer_len, &*sent.vif), (14 + 20 + 8 + 8, "up0"));
    assert_eq!(sent.frame.len(), sent.outer_len + 14 + 20 + 8 + 5);
}

fn tagged(frame: &[u8]) -> Vec<u8> {
    crate::samples::tagged(frame, 7)
}

#[test]
fn what_may_not_come_from_there_says_what_may() {
    let node = node(true);
    let frame = udp((C, "10.1.0.13"), (ROUTER, "10.1.0.10"), 64);
    let account = account(&node, "blue-c", frame);
    assert_eq!(account.verdict, Verdict::Dropped(DropReason::SpoofedSource));
    says(
        &account,
        "dropped",
        "Vif blue-c may send from 10.1.0.12/32, fd01::12/128.",
    );
}

#[test]
fn a_service_says_which_backend_why_and_who_else() {
    let mut node = guarded_node();
    node.apply(vec![Change::Upsert(crate::agreement::service(2))])
        .expect("a service");
    let frame = udp_ports((B, "10.1.0.11"), (ROUTER, "10.200.0.1"), 64, (1_111, 2_222));
    let account = account(&node, "red-b", tagged(&frame));
    says(&account, "service", "service shop: backend 10.1.0.1");
    says(&account, "service", "which the flow's hash names");
    says(&account, "service", "10.1.0.9:2222: down");
}

#[test]
fn a_group_says_which_member_and_who_else() {
    let node = guarded_node();
    let frame = udp((B, "10.1.0.11"), (ROUTER, "10.7.0.3"), 64);
    let account = account(&node, "red-b", tagged(&frame));
    says(&account, "group", "group both: tunnel red-");
    says(&account, "group", "usable; the flow's hash draws another");
    says(&account, "route", "longest prefix 10.7.0.0/16");
}

#[test]
fn a_binding_is_foreseen_and_not_taken() {
    let mut node = guarded_node();
    let frame = udp((A, "10.1.0.10"), (ROUTER, "10.1.0.12"), 64);
    let first = account(&node, "red-a", frame.clone());
    says(&first, "translate", "pool out: a new binding, 10.3.0.");
    let used = |node: &Node| {
        let tables = node.publisher.current();
        dataplane::engine::pool_stats(&tables)[0].usage
    };
    assert_eq!(used(&node).used, [0; 3]);
    node.send("red-a", std::slice::from_ref(&frame));
    let sent = node.recv("blue-c");
    assert_eq!(sent, [first.sent[0].frame.clone()]);
    assert_eq!(used(&node).used.iter().sum::<u32>(), 1);
    node.pass(1_000); // or the meter would be in the way
    let second = account(&node, "red-a", frame);
    says(&second, "translate", "that the machine's end has");
    says(
        &second,
        "flow",
        "of the live flow udp 10.1.0.10:1111 -> 10.1.0.12:2222, its first direction",
    );
}

#[test]
fn what_waits_says_for_whom() {
    let node = node(true);
    let frame = udp((A, "10.1.0.10"), (ROUTER, "10.66.0.1"), 64);
    let account = account(&node, "red-a", frame);
    assert_eq!(account.verdict, Verdict::Waits);
    says(&account, "waits", "neighbour 192.0.2.66 on vif up0");
}

#[test]
fn a_tunnel_packet_says_whose_network_it_is_in() {
    let node = node(true);
    let inner = udp((REMOTE, "10.1.0.9"), (ROUTER, "10.1.0.10"), 64);
    let outer = [(NODE2, "192.0.2.2"), (UPLINK, "192.0.2.1")];
    let account = account(&node, "up0", vxlan(outer, 5001, &inner));
    assert_eq!(account.verdict, Verdict::Sent);
    says(
        &account,
        "tunnel",
        "VXLAN network id 5001 from 192.0.2.2 leads into vrf red: udp 10.1.0.9:1111",
    );
    says(&account, "reverse path", "the way back to 10.1.0.9");
    says(&account, "decision", "allowed, by vif red-a");
    let step = account
        .steps
        .iter()
        .find(|step| step.stage == "tunnel")
        .expect("a tunnel");
    let number = encap::Vni::new(5001).expect("24 bits");
    assert_eq!(step.objects[0].key, Key::Vni(number));
}
