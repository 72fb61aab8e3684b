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
