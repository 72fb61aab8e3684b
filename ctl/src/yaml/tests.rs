//! The reader over hostile and mistaken text; what is emitted is read again.

use dataplane::tables::spec::Object;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;

use super::{emit, tree};
use crate::convert;
use crate::files::{self, ObjectFiles};
use crate::proto;

fn read(text: &str) -> ObjectFiles {
    let mut files = ObjectFiles::default();
    files.read("f.yaml", text);
    files
}

fn said(text: &str) -> Vec<String> {
    let mistakes = read(text).mistakes();
    mistakes.iter().map(ToString::to_string).collect()
}

#[test]
fn the_design_example_is_read() {
    let files = read(
        r#"
vrfs:
  - {name: front, gateways: [10.1.0.1/24, "fd01::1/64"]}
vifs:
  - {name: up0, role: fabric, device: "net_af_packet0,iface=eth1", addresses: [192.0.2.1/24]}
  - {name: web-1, role: tenant, device: "net_af_packet1,iface=veth1", vrf: front, mac: "02:00:00:00:01:05", addresses: [10.1.0.5]}
nexthops:
  - {name: to-node2, tunnel: {encap: vxlan, remote: 192.0.2.2, vni: 5001}}
  - {name: nowhere, discard: true}
  - {name: kernel, host: {}}
routes:
  - {vrf: front, prefix: 10.1.0.9/32, nexthop: to-node2}
vnis:
  - {vni: 5001, vrf: front}
"#,
    );
    assert_eq!(files.mistakes(), []);
    assert_eq!(files.objects().len(), 8);
}

#[test]
fn policies_translation_and_services_are_read() {
    let files = read(SHOP);
    assert_eq!(files.mistakes(), []);
    assert_eq!(files.objects().len(), 16);
}

#[test]
fn the_examples_of_the_manual_are_read() {
    let manual = include_str!("../../../docs/configuration.md");
    let examples = manual.split("```yaml\n").skip(1);
    let examples = examples.filter_map(|rest| Some(rest.split_once("```")?.0));
    let mut count = 0;
    for example in examples {
        assert_eq!(said(example), [""; 0], "{example}");
        count += read(example).objects().len();
    }
    assert!(count > 15, "{count}");
}

/// One object of every kind that decides about flows, in both styles of YAML.
const SHOP: &str = r#"
vrfs:
  - {name: front, gateways: [10.1.0.1/24], ingress_policies: [web], egress_meter: m1, mirror: taps}
  - {name: public}
vifs:
  - {name: web-1, role: tenant, device: net_null0, vrf: front, mac: "02:00:00:00:01:05", addresses: [10.1.0.5], egress_policies: [web], ingress_meter: m1}
nexthops:
  - {name: leak, vrf: public}
  - {name: ways, group: {members: [{nexthop: a}], hash: addresses, symmetric: true}}
address_sets:
  - {name: lb, prefixes: [10.9.0.0/24, "fd09::/64"]}
policies:
  - name: web
    rules:
      - {id: 10, action: allow, protocol: tcp, source_sets: [lb], destination_ports: ["80", 8000-8100]}
      - {id: 20, action: reject, protocol: icmp, icmp_types: ["8", 3/4], log: true}
      - {id: 30, action: allow, sources: [10.1.0.0/16], mirror: taps, dscp: 46}
  - {name: nothing}
floating_ips:
  - {name: f1, vrf: public, address: 198.51.100.7, vifs: [web-1]}
  - {name: f2, vrf: public, address: "2001:db8:1::/64", inside_vrf: front, fixed: "fd01::/64"}
snat_pools:
  - {name: out, vrf: front, sources: [10.1.0.0/16], outside_vrf: public, addresses: [198.51.100.8/30], ports: 1024-65535, block_size: 512, filtering: endpoint_independent}
  - {name: nat64, vrf: front, outside_vrf: public, addresses: [198.51.100.12], nat64_prefix: "64:ff9b::/96"}
services:
  - name: redis
    vrf: front
    address: 10.200.0.1
    protocol: tcp
    port: 6379
    backends:
      - {address: 10.1.0.9, weight: 2}
      - {address: 10.1.0.10, state: draining}
    affinity_timeout_s: 300
    on_down: reset
    health: {http: {path: /ready, status_max: 299}, port: 8080, interval_ms: 500, fall: 2}
  - {name: dns, vrf: front, address: 10.200.0.2, protocol: udp, port: 53, health: {tcp: true, port: 53}}
mirrors:
  - {name: taps, nexthop: to-tap}
meters:
  - {name: m1, bits_per_second: 100000000, packets_per_second: 10000}
"#;

#[test]
fn mistakes_in_rules_and_backends_are_named_with_their_lines() {
    let text = "\
policies:
  - name: web
    rules:
      - {id: 10, action: permit, protocol: tcp}
      - id: 10
        action: allow
        destination_ports: [80]
      - {id: 10, action: alow, protokol: tcp}
services:
  - name: redis
    vrf: front
    address: 10.200.0.1
    protocol: tcp
    port: 6379
    backend: []
    backends:
      - {address: 10.1.0.9}
      - {address: 10.1.0.9, port: 6379}
    health: {tcp: {}, http: {}}
snat_pools:
  - {name: out, vrf: front, outside_vrf: front, adresses: [198.51.100.8]}
address_sets: [{prefix: 10.0.0.0/8}]
";
    assert_eq!(
        said(text),
        [
            "f.yaml:4: policy web: rules[0].action: wants one of allow, deny, reject, not `permit`",
            "f.yaml:5: policy web: rules[1].id: 10 is the id of rules[0], too; give each its own",
            "f.yaml:7: policy web: rules[1].destination_ports[0]: wants text, not the number `80`; write \"80\" if that is meant",
            "f.yaml:8: policy web: rules[2].action: wants one of allow, deny, reject, not `alow`; did you mean `allow`?",
            "f.yaml:8: policy web: rules[2].protokol: is not a key of a rule; did you mean `protocol`?",
            "f.yaml:8: policy web: rules[2].id: 10 is the id of rules[0], too; give each its own",
            "f.yaml:15: service redis: backend: is not a key of a service; did you mean `backends`?",
            "f.yaml:18: service redis: backends[1].address: 10.1.0.9 port 6379 is backends[0], too; keep one",
            "f.yaml:19: service redis: health.http: excludes `tcp` on line 19; keep one",
            "f.yaml:21: snat_pool out: adresses: is not a key of a snat_pool; did you mean `addresses`?",
            "f.yaml:21: snat_pool out: outside_vrf: `front` is `vrf`, too; name another one",
            "f.yaml:22: address_set number 1 of address_sets: prefix: is not a key of an address_set; did you mean `prefixes`?",
            "f.yaml:22: address_set number 1 of address_sets: name: is missing",
        ]
    );
}

#[test]
fn five_mistakes_are_five_errors() {
    let text = "\
vrfs:
  - {name: front, gateway: [10.1.0.1/24]}
vifs:
  - {name: web-1, role: tenant, device: net_null0, vrf: front, mac: '02:00:zz', mtu: big}
nexthops:
  - {name: to-node2, tunnel: {encap: vxlan, remote: 192.0.2.2, vni: 16777216}}
routes:
  - {vrf: front, prefix: 10.1.0.9/24, nexthop: to-node2}
";
    assert_eq!(
        said(text),
        [
            "f.yaml:2: vrf front: gateway: is not a key of a vrf; did you mean `gateways`?",
            "f.yaml:4: vif web-1: mtu: wants a whole number, not `big`",
            "f.yaml:4: vif web-1: mac: `02:00:zz` is not a MAC address; write six hex bytes like 02:00:00:00:01:05",
            "f.yaml:6: nexthop to-node2: tunnel.vni: 16777216 is out of range; a VNI is 0 to 16777215",
            "f.yaml:8: route front 10.1.0.9/24: prefix: 10.1.0.9/24 has bits set after its length; write 10.1.0.0/24 or 10.1.0.9/32",
        ]
    );
}

#[test]
fn a_misspelled_required_key_is_one_mistake() {
    assert_eq!(
        said("routes:\n  - {vrf: front, prefxi: 10.0.0.0/8, nexthop: n}\n"),
        ["f.yaml:2: route front: prefxi: is not a key of a route; did you mean `prefix`?"]
    );
    assert_eq!(
        said("nexthops:\n  - {name: n, tunnel: {encap: vxlan, remot: 192.0.2.2, vni: 1}}\n"),
        ["f.yaml:2: nexthop n: tunnel.remot: is not a key of a tunnel; did you mean `remote`?"]
    );
}

#[test]
fn a_missing_field_is_named_on_the_line_of_its_object() {
    assert_eq!(
        said("vnis:\n  - vni: 5\n    vrf: a\n  - vni: 6\n"),
        ["f.yaml:4: vni 6: vrf: is missing"]
    );
}

#[test]
fn types_are_told_apart_by_their_quotes() {
    assert_eq!(
        said("vrfs:\n  - {name: 5}\n  - {name: '5'}\n  - {name: true}\n  - {name: [a]}\n"),
        [
            "f.yaml:2: vrf number 1 of vrfs: name: wants text, not the number `5`; write \"5\" if that is meant",
            "f.yaml:4: vrf number 3 of vrfs: name: wants text, not `true`; write \"true\" if that is meant",
            "f.yaml:5: vrf number 4 of vrfs: name: wants text, not a list",
        ]
    );
    assert_eq!(
        said("vnis:\n  - {vni: '7', vrf: a}\n  - {vni: -1, vrf: a}\n  - {vni: 1.5, vrf: a}\n"),
        [
            "f.yaml:2: vni number 1 of vnis: vni: wants a whole number, not the text `7`",
            "f.yaml:3: vni number 2 of vnis: vni: `-1` is out of range; 0 to 4294967295",
            "f.yaml:4: vni number 3 of vnis: vni: wants a whole number, not the number `1.5`",
        ]
    );
    assert_eq!(
        said("vrfs: {name: a}\n"),
        ["f.yaml:1: vrfs: wants a list, not a map"]
    );
    assert_eq!(
        said("just words\n"),
        ["f.yaml:1: wants an objects file, not `just words`"]
    );
}

#[test]
fn doubles_are_named_with_both_lines() {
    assert_eq!(
        said("vrfs:\n  - {name: a, mode: both, mode: routed}\n  - {name: b}\n  - {name: a}\n"),
        [
            "f.yaml:2: vrf a: mode: is already on line 2; keep one",
            "f.yaml:4: vrf a: is already on line 2; keep one",
        ]
    );
    let mut two = read("routes: [{vrf: a, prefix: 10.0.0.0/8, nexthop: n}]");
    two.read(
        "g.yaml",
        "\nroutes: [{vrf: a, prefix: 10.0.0.0/8, nexthop: m}]",
    );
    assert_eq!(
        two.mistakes()[0].to_string(),
        "g.yaml:2: route a 10.0.0.0/8: is already in f.yaml:1; keep one"
    );
}

#[test]
fn a_group_names_its_members() {
    let spines = "nexthops:
  - {name: spines, group: {members: [{nexthop: spine1}, {nexthop: spine2, weight: 3}]}}
";
    assert_eq!(read(spines).mistakes(), []);
    assert_eq!(
        said(
            "nexthops:\n  - {name: n, group: {members: [{nexthop: a, weight: 0}, {weight: 2}]}}\n  - {name: m, group: {}}\n"
        ),
        [
            "f.yaml:2: nexthop n: group.members[0].weight: 0 is out of range; a weight is 1 to 65535",
            "f.yaml:2: nexthop n: group.members[1].nexthop: is missing",
            "f.yaml:3: nexthop m: group.members: is missing; write the nexthops to choose from",
        ]
    );
}

#[test]
fn a_nexthop_does_one_thing() {
    assert_eq!(
        said("nexthops:\n  - name: n\n    discard: {}\n    host: {}\n  - {name: m}\n"),
        [
            "f.yaml:4: nexthop n: host: excludes `discard` on line 3; keep one",
            "f.yaml:5: nexthop m: is missing; write what to do: one of vif, tunnel, host, discard, replicate, reject, group, vrf",
        ]
    );
}

#[test]
fn syntax_is_refused_at_its_line() {
    assert!(said("vrfs:\n  - {name: a\nvifs: 5\n")[0].starts_with("f.yaml:"));
    assert_eq!(
        said("vrfs:\n  - &a {name: a}\n  - *a\n"),
        ["f.yaml:3: aliases like *name have no place here; write the value out"]
    );
    assert_eq!(
        said("vrfs:\n  - {name: !!str 5}\n"),
        ["f.yaml:2: tags like !!str have no place here; quote what is meant as text"]
    );
}

#[test]
fn deep_nesting_is_refused_without_a_deep_stack() {
    for opening in ["[", "{a: ", "- "] {
        let text = opening.repeat(100_000);
        let reason = tree::parse(&text).unwrap_err().reason;
        assert!(!reason.is_empty());
    }
}

#[test]
fn several_documents_are_one_request() {
    let files = read("vrfs: [{name: a}]\n---\nvrfs: [{name: b}]\n");
    assert_eq!(files.mistakes(), []);
    assert_eq!(files.objects().len(), 2);
}

#[test]
fn refusals_come_back_to_their_lines() {
    let mut files = read("routes:\n  - vrf: a\n    prefix: 10.0.0.0/8\n    nexthop: n\n");
    files.add_refusals(&[proto::Refusal {
        change: Some(0),
        field: "nexthop".into(),
        code: proto::refusal::Code::Conflict.into(),
        reason: "there is no nexthop n".into(),
        ..Default::default()
    }]);
    assert_eq!(
        files.mistakes()[0].to_string(),
        "f.yaml:4: route a 10.0.0.0/8: nexthop: there is no nexthop n"
    );
}

#[test]
fn text_is_quoted_when_another_reader_might_take_it_for_something_else() {
    let data =
        json!({"a": ["word", "10.1.0.0/24", "no", "5", "1.5", "fd01::1", "a: b", "", "e\n"]});
    assert_eq!(
        emit::yaml(&data),
        "a: [word, 10.1.0.0/24, \"no\", \"5\", \"1.5\", \"fd01::1\", \"a: b\", \"\", \"e\\n\"]\n"
    );
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(originals in vec(convert::tests::any_object(), 0..8)) {
        let written: Vec<_> = originals.iter().map(proto::Object::from).collect();
        let text = files::to_yaml(&written);
        let mut files = ObjectFiles::default();
        files.read("f.yaml", &text);
        // Two random objects may share a key; that alone may be said.
        for mistake in files.mistakes() {
            prop_assert!(mistake.reason.ends_with("keep one"), "{mistake}\n{text}");
        }
        let mut again: Vec<Object> = files
            .objects()
            .map(|object| convert::object(object).unwrap())
            .collect();
        let mut originals = originals;
        again.sort_by_key(|object| format!("{object:?}"));
        originals.sort_by_key(|object| format!("{object:?}"));
        prop_assert_eq!(again, originals);
    }

    #[test]
    fn any_text_is_read_without_panic(text in "[\\[\\]{}:,&*!|>'\"#%@`\\- \nvrfsname0-9]{0,200}") {
        _ = said(&text);
    }
}
