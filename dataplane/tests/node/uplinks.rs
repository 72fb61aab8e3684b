//! Several uplinks: which flow takes which, what moves when one fails, and what
//! the node's own kernel sends and gets.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU16;

use crate::common::*;
use dataplane::DropReason;
use dataplane::tables::change::Change;
use dataplane::tables::spec::*;
use encap::MacAddr;

const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa]);
const B: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xb]);
const REMOTE: &str = "203.0.113.9";
const SPINES: usize = 8;
/// RFC-style yardstick: so many flows show a weight within 15 %.
const FLOWS: u16 = 3_600;

fn uplink(n: usize) -> String {
    format!("up{n}")
}

fn uplink_mac(n: usize) -> MacAddr {
    MacAddr([2, 0, 0, 0, 1, n as u8])
}

fn spine_mac(n: usize) -> MacAddr {
    MacAddr([2, 0, 0, 0, 2, n as u8])
}

fn nexthop(name: &str, action: NexthopAction) -> Object {
    Object::Nexthop(Nexthop {
        name: name.into(),
        action,
    })
}

fn spine(n: usize) -> Object {
    let (vif, address) = (uplink(n), format!("198.51.{n}.254"));
    nexthop(
        &format!("spine{n}"),
        NexthopAction::Vif {
            vif: vif.as_str().into(),
            address: Some(ip(&address)),
        },
    )
}

fn group(members: &[(usize, u16)]) -> Object {
    let member = |(n, weight): &(usize, u16)| Member {
        nexthop: format!("spine{n}").as_str().into(),
        weight: NonZeroU16::new(*weight).expect("not zero"),
    };
    let members = members.iter().map(member).collect();
    nexthop(
        "spines",
        NexthopAction::Group(Group {
            members,
            hash: Default::default(),
            symmetric: false,
        }),
    )
}

/// A machine whose peer is behind these spines, one to an uplink. Every uplink
/// has a link of its own and the address that tunnels start from.
fn objects(members: &[(usize, u16)]) -> Vec<Object> {
    let mut objects = vec![
        vrf("red", &["10.1.0.1/24"]),
        tenant("a", "red", A, &["10.1.0.10"]),
        tunnel("far", REMOTE, 5001, None),
        route("red", "10.1.0.9/32", "far"),
        vni(5001, "red"),
        group(members),
        route("underlay", "203.0.113.0/24", "spines"),
        nexthop("discard", NexthopAction::Discard),
    ];
    for (n, _) in members {
        let link = format!("198.51.{n}.1/24");
        objects.push(fabric(
            &uplink(*n),
            uplink_mac(*n),
            &[&link, "192.0.2.1/32"],
        ));
        objects.push(spine(*n));
    }
    objects
}

/// The same, with the spines' MACs known.
fn node(members: &[(usize, u16)]) -> Node {
    let mut objects = objects(members);
    objects.extend(members.iter().map(|(n, _)| static_spine(*n)));
    Node::with_flow_table(20_000, objects)
}

fn static_spine(n: usize) -> Object {
    let addr = format!("198.51.{n}.254");
    mac("underlay", spine_mac(n), "discard", Some(&addr))
}

fn all_spines() -> Vec<(usize, u16)> {
    (0..SPINES).map(|n| (n, 1)).collect()
}

/// A packet of flow `n`, by its source port.
fn packet(n: u16) -> Vec<u8> {
    let mut frame = udp((A, "10.1.0.10"), (ROUTER, "10.1.0.9"), 64);
    frame[34..36].copy_from_slice(&n.to_be_bytes());
    frame[40..42].copy_from_slice(&[0, 0]); // no UDP checksum (RFC 768)
    frame
}

/// Sends one packet of each flow and says which uplink each took.
fn paths(node: &mut Node, flows: u16) -> BTreeMap<u16, usize> {
    let mut taken = BTreeMap::new();
    for start in (0..flows).step_by(60) {
        let batch: Vec<_> = (start..flows.min(start + 60)).map(packet).collect();
        node.send("a", &batch);
        for n in 0..SPINES {
            if node.publisher.current().vif_named(&uplink(n)).is_none() {
                continue;
            }
            for frame in node.recv(&uplink(n)) {
                assert_eq!(frame[..12], [spine_mac(n).0, uplink_mac(n).0].concat());
                assert_eq!(frame[26..34], [192, 0, 2, 1, 203, 0, 113, 9]);
                let inner = 14 + 20 + 8 + 8;
                let flow = u16::from_be_bytes([frame[inner + 34], frame[inner + 35]]);
                assert_eq!(taken.insert(flow, n), None);
            }
        }
    }
    taken
}

fn set_link(node: &Node, vif: &str, up: bool) {
    let tables = node.publisher.current();
    tables.vif_named(vif).expect("an uplink").link.set(up);
}

fn shares(taken: &BTreeMap<u16, usize>) -> BTreeMap<usize, u32> {
    let mut shares = BTreeMap::new();
    for path in taken.values() {
        *shares.entry(*path).or_default() += 1;
    }
    shares
}

#[test]
fn a_flow_stays_on_one_path() {
    let mut node = node(&all_spines());
    let (first, again) = (paths(&mut node, 200), paths(&mut node, 200));
    assert_eq!(first.len(), 200);
    assert_eq!(first, again);
}

#[test]
fn flows_spread_by_weight_within_15_percent() {
    for weights in [
        vec![1; 8],
        vec![3, 1],
        vec![1, 2, 4, 8],
        vec![65_535, 65_535],
    ] {
        let members: Vec<_> = weights.iter().copied().enumerate().collect();
        let taken = paths(&mut node(&members), FLOWS);
        let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        let shares = shares(&taken);
        println!("{weights:?}: {shares:?}");
        for (n, weight) in members {
            let expected = f64::from(FLOWS) * f64::from(weight) / total;
            let share = f64::from(shares[&n]) / expected;
            assert!((0.85..1.15).contains(&share), "path {n} has {share:.3}");
        }
    }
}

#[test]
fn a_path_taken_out_moves_its_own_flows_only() {
    let mut node = node(&all_spines());
    let before = paths(&mut node, FLOWS);
    let rest: Vec<_> = all_spines().into_iter().filter(|(n, _)| *n != 3).collect();
    node.apply(vec![Change::Upsert(group(&rest))])
        .expect("a smaller group");
    let after = paths(&mut node, FLOWS);
    only_those_of(3, &before, &after);
    // And comes back to what it was.
    node.apply(vec![Change::Upsert(group(&all_spines()))])
        .expect("the whole group");
    assert_eq!(paths(&mut node, FLOWS), before);
}

#[test]
fn a_failed_link_moves_its_flows_at_the_next_packet_and_gets_them_back() {
    let mut node = node(&all_spines());
    let before = paths(&mut node, FLOWS);
    set_link(&node, "up5", false);
    let after = paths(&mut node, FLOWS);
    only_those_of(5, &before, &after);
    // A second failure, on top.
    set_link(&node, "up6", false);
    let later = paths(&mut node, FLOWS);
    only_those_of(6, &after, &later);
    assert_eq!(later.len(), usize::from(FLOWS), "none is lost");
    set_link(&node, "up6", true);
    assert_eq!(paths(&mut node, FLOWS), after);
    set_link(&node, "up5", true);
    assert_eq!(paths(&mut node, FLOWS), before);
}

/// Flows that were on `gone` are spread over all others; no other flow moved.
fn only_those_of(gone: usize, before: &BTreeMap<u16, usize>, after: &BTreeMap<u16, usize>) {
    let moved = |(flow, path): &(&u16, &usize)| after[flow] != **path;
    let mut landed = BTreeMap::new();
    for (flow, path) in before.iter().filter(moved) {
        assert_eq!(*path, gone, "flow {flow} moved");
        landed.insert(after[flow], ());
    }
    assert!(after.values().all(|path| *path != gone));
    let left = shares(after).len();
    assert_eq!(landed.len(), left, "the moved flows are spread");
}

#[test]
fn with_every_link_down_packets_are_sent_as_with_one() {
    let mut node = node(&[(0, 1), (1, 1)]);
    let before = paths(&mut node, 100);
    set_link(&node, "up0", false);
    set_link(&node, "up1", false);
    assert_eq!(paths(&mut node, 100), before);
}

#[test]
fn a_silent_neighbour_is_avoided_and_used_once_it_speaks() {
    // spine0 is static; spine1 must be asked for.
    let mut objects = objects(&[(0, 1), (1, 1)]);
    objects.push(static_spine(0));
    let mut node = Node::new(objects);
    let taken = paths(&mut node, 100);
    assert_eq!(shares(&taken), BTreeMap::from([(0, 100)]), "none waits");
    // It is asked for without anybody waiting, at most once a second.
    let mut asked = 0;
    for _ in 0..30 {
        node.pass(100);
        asked += node.recv("up1").len();
    }
    assert!((3..=4).contains(&asked), "asked {asked} times in 3 s");
    let answer = arp(
        2,
        (spine_mac(1), "198.51.1.254"),
        (uplink_mac(1), "198.51.1.1"),
        uplink_mac(1),
    );
    node.send("up1", &[answer]);
    let taken = paths(&mut node, 100);
    let share = shares(&taken)[&1];
    assert!((30..70).contains(&share), "{share} of 100");
    // It falls silent: within ten seconds nobody is sent there any more.
    for _ in 0..100 {
        node.pass(100);
    }
    node.recv("up1");
    assert_eq!(shares(&paths(&mut node, 100)), BTreeMap::from([(0, 100)]));
}

#[test]
fn two_uplinks_on_one_link_both_lead_there() {
    let mut node = Node::new(vec![
        vrf("red", &["10.1.0.1/24"]),
        tenant("a", "red", A, &["10.1.0.10"]),
        fabric("up0", uplink_mac(0), &["192.0.2.1/24"]),
        fabric("up1", uplink_mac(1), &["192.0.2.1/24"]),
        tunnel("far", "192.0.2.2", 5001, None),
        route("red", "10.1.0.9/32", "far"),
        vni(5001, "red"),
        nexthop("discard", NexthopAction::Discard),
        mac("underlay", B, "discard", Some("192.0.2.2")),
    ]);
    node.send("a", &(0..40).map(packet).collect::<Vec<_>>());
    let sent = (node.recv("up0").len(), node.recv("up1").len());
    assert!(
        sent.0 > 10 && sent.1 > 10 && sent.0 + sent.1 == 40,
        "{sent:?}"
    );
    // The shared address answers on both, each with its own MAC.
    for n in 0..2 {
        let ask = arp(
            1,
            (B, "192.0.2.2"),
            (MacAddr::ZERO, "192.0.2.1"),
            MacAddr::BROADCAST,
        );
        let answer = node.exchange(&uplink(n), ask, &uplink(n));
        assert_eq!(
            answer,
            arp(2, (uplink_mac(n), "192.0.2.1"), (B, "192.0.2.2"), B)
        );
        // And both let the tunnel in.
        let inner = udp((B, "10.1.0.9"), (ROUTER, "10.1.0.10"), 64);
        let outer = vxlan(
            [(B, "192.0.2.2"), (uplink_mac(n), "192.0.2.1")],
            5001,
            &inner,
        );
        node.exchange(&uplink(n), outer, "a");
    }
    // When one fails, the other says so to whoever sends here.
    set_link(&node, "up0", false);
    node.pass(100);
    let news = arp(
        1,
        (uplink_mac(1), "192.0.2.1"),
        (MacAddr::ZERO, "192.0.2.1"),
        MacAddr::BROADCAST,
    );
    assert_eq!(node.recv("up1"), [news]);
    assert_eq!(node.recv("up0"), Vec::<Vec<u8>>::new());
    set_link(&node, "up0", true);
    node.pass(100);
    assert_eq!((node.recv("up0").len(), node.recv("up1").len()), (1, 0));
}

#[test]
fn the_smallest_uplink_says_how_much_a_tunnel_takes() {
    let mut node = node(&[(0, 1), (1, 1)]);
    let Object::Vif(mut small) = fabric("up1", uplink_mac(1), &["198.51.1.1/24", "192.0.2.1/32"])
    else {
        unreachable!("it is a vif")
    };
    small.mtu = Some(1000);
    node.apply(vec![Change::Upsert(Object::Vif(small))])
        .expect("a smaller uplink");
    for flow in 0..20 {
        let mut frame = packet(flow);
        let len = 1000 - 50 + 1;
        frame.resize(14 + len, 0);
        frame[16..18].copy_from_slice(&(len as u16).to_be_bytes());
        frame[38..40].copy_from_slice(&(len as u16 - 20).to_be_bytes());
        let sum = etherparse::Ipv4HeaderSlice::from_slice(&frame[14..])
            .expect("a header")
            .to_header()
            .calc_header_checksum();
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(node.refused("a", frame), DropReason::TooBig);
    }
}

/// A tenant `red` of `machines` whose peers do not answer, on one uplink.
fn unresolved(tenants: &[&str]) -> Node {
    let mut objects = vec![fabric("up0", uplink_mac(0), &["192.0.2.1/24"])];
    for (index, name) in tenants.iter().enumerate() {
        let number = 5001 + index as u32;
        objects.push(vrf(name, &["10.1.0.1/24"]));
        objects.push(tenant(&format!("{name}-a"), name, A, &["10.1.0.10"]));
        objects.push(vni(number, name));
        for peer in 2..12 {
            let far = format!("{name}-{peer}");
            objects.push(tunnel(&far, &format!("192.0.2.{peer}"), number, None));
            objects.push(route(name, &format!("10.1.1.{peer}/32"), &far));
        }
    }
    Node::new(objects)
}

fn to_peer(peer: usize) -> Vec<u8> {
    udp((A, "10.1.0.10"), (ROUTER, &format!("10.1.1.{peer}")), 64)
}

#[test]
fn a_tenants_waiting_packets_leave_room_for_those_of_others() {
    let mut node = unresolved(&["red", "blue"]);
    for peer in 2..12 {
        node.send("red-a", &vec![to_peer(peer); 40]);
    }
    let drops = |node: &Node, vif: &str| {
        let drops = node.drops(vif);
        drops.iter().map(|(_, n)| *n).sum::<u64>()
    };
    assert_eq!(drops(&node, "red-a"), 400 - 256, "the queue is full");
    node.send("blue-a", &vec![to_peer(2); 20]);
    assert_eq!(drops(&node, "blue-a"), 0, "blue has its share");
    assert_eq!(drops(&node, "red-a"), 400 - 256 + 20);
    assert_eq!(
        node.drops("red-a"),
        [(DropReason::NeighbourQueueFull, 400 - 256 + 20)]
    );
    for _ in 0..40 {
        node.pass(100);
    }
    assert_eq!(node.drops("up0"), [(DropReason::NeighbourUnresolved, 256)]);
}

#[test]
fn a_waiting_packet_never_takes_a_tunnel_it_was_not_sent_to() {
    let mut node = unresolved(&["red"]);
    let answer = |peer: u8| {
        let addr = format!("192.0.2.{peer}");
        arp(2, (B, &addr), (uplink_mac(0), "192.0.2.1"), uplink_mac(0))
    };
    // Another uplink MTU makes every tunnel anew, and changes nothing for it.
    node.send("red-a", &[to_peer(2), to_peer(3), to_peer(4), to_peer(5)]);
    assert_eq!(node.recv("up0").len(), 4, "asked for each");
    let mut changes = vec![
        // The first network's id is another tenant's now.
        Change::Upsert(tunnel("red-2", "192.0.2.2", 6001, None)),
        // The second route leads elsewhere, the third is gone.
        Change::Upsert(route("red", "10.1.1.3/32", "red-9")),
        Change::Delete(Key::Route("red".into(), net("10.1.1.4/32"))),
    ];
    changes.push(Change::Upsert(fabric(
        "up0",
        uplink_mac(7),
        &["192.0.2.1/24"],
    )));
    node.apply(changes).expect("all of it");
    node.send("up0", &[answer(2), answer(3), answer(4), answer(5)]);
    let sent: Vec<_> = node
        .recv("up0")
        .into_iter()
        .filter(|frame| frame[12..14] == [8, 0])
        .collect();
    assert_eq!(sent.len(), 1, "only the one whose way is the same");
    assert_eq!(sent[0][30..34], [192, 0, 2, 5]);
    assert_eq!(
        sent[0][6..12],
        uplink_mac(7).0,
        "by the tunnel as it is now"
    );
    assert_eq!(node.drops("red-a"), [(DropReason::NexthopChanged, 3)]);
}

#[test]
fn an_advertisement_without_override_does_not_speak_against_what_is_known() {
    let mut node = Node::new(vec![
        vrf("red", &["10.1.0.1/24"]),
        fabric("up0", uplink_mac(0), &["2001:db8::1/64"]),
        tenant("red-a", "red", A, &["10.1.0.10"]),
        tunnel("far", "2001:db8::2", 5001, None),
        route("red", "10.1.0.9/32", "far"),
    ]);
    let neighbour = |node: &Node| {
        let tables = node.publisher.current();
        let up0 = tables.vif_named("up0").expect("the uplink").id;
        let cell = tables.underlay().neighbour(up0, ip("2001:db8::2"));
        cell.expect("a tunnel needs it").mac()
    };
    for (mac, override_cache, then) in [(A, false, A), (B, false, A), (B, true, B), (A, true, A)] {
        node.send("up0", &[advertisement(mac, override_cache)]);
        assert_eq!(neighbour(&node), Some(then), "RFC 4861 §7.2.5");
    }
}

/// An unsolicited neighbour advertisement of 2001:db8::2, by etherparse.
fn advertisement(mac: MacAddr, override_cache: bool) -> Vec<u8> {
    let (src, all) = ("2001:db8::2", "ff02::1");
    let IpAddr::V6(src) = ip(src) else {
        unreachable!("IPv6")
    };
    let IpAddr::V6(all) = ip(all) else {
        unreachable!("IPv6")
    };
    let flags = if override_cache { 0x20 } else { 0 };
    let mut payload = src.octets().to_vec();
    payload.extend([2, 1]);
    payload.extend(mac.0);
    let mut frame = Vec::new();
    etherparse::PacketBuilder::ethernet2(mac.0, [0x33, 0x33, 0, 0, 0, 1])
        .ipv6(src.octets(), all.octets(), 255)
        .icmpv6(etherparse::Icmpv6Type::Unknown {
            type_u8: 136,
            code_u8: 0,
            bytes5to8: [flags, 0, 0, 0],
        })
        .write(&mut frame, &payload)
        .expect("it fits");
    frame
}

fn host(name: &str, mac: MacAddr) -> Object {
    Object::Vif(Vif {
        name: name.into(),
        device: format!("memory:{name}").into(),
        role: Role::Host,
        vrf: UNDERLAY.into(),
        mac: Some(mac),
        addresses: vec![],
        vlan: None,
        mtu: None,
        flow_quota: None,
        storm_limit: None,
        max_learned_macs: None,
        guards: Default::default(),
    })
}

/// Two uplinks with a kernel interface each, and one without.
fn hosts() -> Node {
    Node::new(vec![
        fabric("up0", uplink_mac(0), &["192.0.2.1/24"]),
        fabric("up1", uplink_mac(1), &["198.51.100.1/24"]),
        fabric("up2", uplink_mac(2), &["203.0.113.1/24"]),
        host("host0", uplink_mac(0)),
        host("host1", uplink_mac(1)),
        host("rest", A),
    ])
}

#[test]
fn an_uplink_and_the_kernel_interface_with_its_mac_belong_together() {
    let mut node = hosts();
    for (uplink, host) in [("up0", "host0"), ("up1", "host1"), ("up2", "rest")] {
        let lldp = [
            &[0x01, 0x80, 0xc2, 0, 0, 0x0e][..],
            &B.0,
            &[0x88, 0xcc],
            &[2; 46],
        ]
        .concat();
        assert_eq!(node.exchange(uplink, lldp.clone(), host), lldp);
        assert_eq!(node.exchange(host, lldp.clone(), uplink), lldp);
        // OSPF's group (RFC 2328 §A.1), and whatever else is not ours.
        let ospf = udp(
            (B, "192.0.2.77"),
            (MacAddr([1, 0, 0x5e, 0, 0, 5]), "224.0.0.5"),
            1,
        );
        assert_eq!(node.exchange(uplink, ospf.clone(), host), ospf);
        assert_eq!(node.exchange(host, ospf.clone(), uplink), ospf);
    }
}

#[test]
fn what_the_kernel_sends_leaves_where_its_source_belongs() {
    let mut node = Node::new(vec![
        fabric("up0", uplink_mac(0), &["192.0.2.1/24", "10.255.0.1/32"]),
        fabric("up1", uplink_mac(1), &["198.51.100.1/24", "10.255.0.1/32"]),
        host("kernel", A),
    ]);
    let from = |mac: MacAddr, addr: &str| udp((mac, addr), (B, "8.8.8.8"), 64);
    let mut leaves = |frame: Vec<u8>, by: &str| {
        node.exchange("kernel", frame, by);
    };
    // By its address, whatever the MAC.
    leaves(from(uplink_mac(0), "198.51.100.1"), "up1");
    leaves(from(A, "192.0.2.1"), "up0");
    let ask = |addr: &str| {
        arp(
            1,
            (A, addr),
            (MacAddr::ZERO, "198.51.100.254"),
            MacAddr::BROADCAST,
        )
    };
    leaves(ask("198.51.100.1"), "up1");
    // By its MAC, then by the first.
    leaves(from(uplink_mac(1), "10.0.0.1"), "up1");
    leaves(from(A, "10.0.0.1"), "up0");
    // An address on both: by one whose link is up.
    leaves(from(A, "10.255.0.1"), "up0");
    set_link(&node, "up0", false);
    let mut leaves = |frame: Vec<u8>, by: &str| {
        let sent = node.exchange("kernel", frame.clone(), by);
        assert_eq!(sent, frame, "as it is");
    };
    leaves(from(A, "10.255.0.1"), "up1");
    leaves(from(A, "10.0.0.1"), "up1");
    // What belongs to a link that is down has no other way.
    leaves(from(A, "192.0.2.1"), "up0");
}

#[test]
fn a_tagged_uplink_tags_everything_that_leaves_and_takes_nothing_else() {
    let tagged = |frame: &[u8]| [&frame[..12], &[0x81, 0, 0, 100], &frame[12..]].concat();
    let mut objects = vec![
        vrf("red", &["10.1.0.1/24"]),
        tenant("a", "red", A, &["10.1.0.10"]),
        tunnel("far", "192.0.2.2", 5001, None),
        route("red", "10.1.0.9/32", "far"),
        vni(5001, "red"),
    ];
    let mut up0 = fabric("up0", uplink_mac(0), &["192.0.2.1/24"]);
    if let Object::Vif(up0) = &mut up0 {
        up0.vlan = encap::VlanId::new(100);
    }
    objects.push(up0);
    let mut node = Node::new(objects);
    // Our question, their answer, the tunnel packet.
    let ask = node.exchange("a", packet(1), "up0");
    let question = arp(
        1,
        (uplink_mac(0), "192.0.2.1"),
        (MacAddr::ZERO, "192.0.2.2"),
        MacAddr::BROADCAST,
    );
    assert_eq!(ask, tagged(&question));
    let answer = arp(
        2,
        (B, "192.0.2.2"),
        (uplink_mac(0), "192.0.2.1"),
        uplink_mac(0),
    );
    assert_eq!(
        node.refused("up0", answer.clone()),
        DropReason::VlanUnexpected
    );
    node.send("up0", &[tagged(&answer)]);
    let sent = node.recv("up0");
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0][12..18], [0x81, 0, 0, 100, 8, 0]);
    // Their question, our answer; their tunnel packet.
    let question = arp(
        1,
        (B, "192.0.2.2"),
        (MacAddr::ZERO, "192.0.2.1"),
        MacAddr::BROADCAST,
    );
    let answer = node.exchange("up0", tagged(&question), "up0");
    let expected = arp(2, (uplink_mac(0), "192.0.2.1"), (B, "192.0.2.2"), B);
    assert_eq!(answer, tagged(&expected));
    let inner = udp((B, "10.1.0.9"), (ROUTER, "10.1.0.10"), 64);
    let outer = vxlan(
        [(B, "192.0.2.2"), (uplink_mac(0), "192.0.2.1")],
        5001,
        &inner,
    );
    node.exchange("up0", tagged(&outer), "a");
    assert_eq!(node.refused("up0", outer), DropReason::VlanUnexpected);
    // The kernel behind it need not know.
    node.apply(vec![Change::Upsert(host("kernel", uplink_mac(0)))])
        .expect("a host vif");
    let ssh = udp((B, "192.0.2.2"), (uplink_mac(0), "192.0.2.1"), 64);
    assert_eq!(node.exchange("up0", tagged(&ssh), "kernel"), ssh);
    let back = udp((uplink_mac(0), "192.0.2.1"), (B, "192.0.2.2"), 64);
    assert_eq!(node.exchange("kernel", back.clone(), "up0"), tagged(&back));
}

#[test]
fn nothing_of_a_tenant_reaches_the_kernel_unless_a_route_says_so() {
    let mut objects = objects(&[(0, 1), (1, 1)]);
    objects.push(host("kernel", uplink_mac(0)));
    objects.push(tenant("b", "red", B, &[]));
    objects.push(nexthop("to-kernel", NexthopAction::Host));
    let mut node = Node::new(objects);
    let own = [
        "192.0.2.1",
        "198.51.0.1",
        "198.51.1.1",
        "10.1.0.1",
        "224.0.0.5",
        "8.8.8.8",
    ];
    let macs = [
        uplink_mac(0),
        uplink_mac(1),
        ROUTER,
        A,
        MacAddr::BROADCAST,
        MacAddr([1, 0x80, 0xc2, 0, 0, 0xe]),
    ];
    let mut random = Random(7);
    for step in 0..20_000 {
        let (from, mac) = random.pick(&[("a", A), ("b", B)]);
        let src = random.pick(&["10.1.0.10", "10.1.0.11", "192.0.2.1", "203.0.113.9"]);
        let (dst_mac, dst) = (random.pick(&macs), random.pick(&own));
        let mut frame = match random.below(4) {
            0 => arp(1, (mac, src), (MacAddr::ZERO, dst), dst_mac),
            1 => {
                let inner = udp((A, "10.1.0.9"), (ROUTER, "10.1.0.10"), 64);
                vxlan([(mac, src), (dst_mac, dst)], 5001, &inner)
            }
            _ => udp((mac, src), (dst_mac, dst), 64),
        };
        for _ in 0..random.below(4) {
            let at = 12 + random.below(frame.len() - 12);
            frame[at] = random.next() as u8;
        }
        node.send(from, &[frame.clone()]);
        assert_eq!(
            node.recv("kernel"),
            Vec::<Vec<u8>>::new(),
            "step {step}: {frame:x?}"
        );
        for vif in ["a", "b", "up0", "up1"] {
            node.recv(vif);
        }
    }
    for _ in 0..40 {
        node.pass(100);
    }
    node.recv("up0");
    node.recv("up1");
    // A route to the host says so.
    node.apply(vec![Change::Upsert(route(
        "red",
        "8.8.8.8/32",
        "to-kernel",
    ))])
    .expect("a route");
    let asked = udp((A, "10.1.0.10"), (ROUTER, "8.8.8.8"), 64);
    node.exchange("a", asked, "kernel");
}
