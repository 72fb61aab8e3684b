//! What a sender is told, how much of it, and what happens to packets that are
//! too big: one test a rule. The exact bytes are checked against scapy's in the
//! golden captures (tests/scapy/cases_errors.py, cases_size.py).

use crate::common::*;
use dataplane::DropReason;
use dataplane::tables::change::Change;
use dataplane::tables::spec::*;
use encap::{MacAddr, Meta, Quote};

const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa]);
const B: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xb]);
const UPLINK: MacAddr = MacAddr([2, 0, 0, 0, 1, 1]);
const NODE2: MacAddr = MacAddr([2, 0, 0, 0, 1, 2]);

/// Two machines here and one behind node 2; the uplink takes 1600 bytes.
fn objects() -> Vec<Object> {
    vec![
        vrf("red", &["10.1.0.1/24", "fd01::1/64"]),
        fabric("up0", UPLINK, &["192.0.2.1/24"]),
        tenant("red-a", "red", A, &["10.1.0.10", "fd01::10"]),
        tenant("red-b", "red", B, &["10.1.0.11", "fd01::11"]),
        tunnel("red-2", "192.0.2.2", 5001, None),
        nexthop("refuse", NexthopAction::Reject),
        nexthop("nowhere", NexthopAction::Discard),
        route("red", "10.1.0.9/32", "red-2"),
        route("red", "fd01::9/128", "red-2"),
        route("red", "10.2.0.0/16", "refuse"),
        route("red", "10.3.0.0/16", "nowhere"),
        mac("underlay", NODE2, "nowhere", Some("192.0.2.2")),
        vni(5001, "red"),
    ]
}

fn nexthop(name: &str, action: NexthopAction) -> Object {
    Object::Nexthop(Nexthop {
        name: name.into(),
        action,
    })
}

fn with_tunnel(change: impl FnOnce(&mut Tunnel)) -> Object {
    let Object::Nexthop(mut nexthop) = tunnel("red-2", "192.0.2.2", 5001, None) else {
        unreachable!("it is a nexthop");
    };
    let NexthopAction::Tunnel(tunnel) = &mut nexthop.action else {
        unreachable!("it is a tunnel");
    };
    change(tunnel);
    Object::Nexthop(nexthop)
}

fn to(dst: &str, ttl: u8) -> Vec<u8> {
    udp((A, "10.1.0.10"), (ROUTER, dst), ttl)
}

/// An IPv4 packet of so many bytes.
fn sized(dst: &str, len: usize, dont_fragment: bool) -> Vec<u8> {
    let mut frame = Vec::new();
    let mut ip = etherparse::Ipv4Header::new(
        0,
        64,
        etherparse::IpNumber::UDP,
        [10, 1, 0, 10],
        dst.parse::<std::net::Ipv4Addr>().expect("IPv4").octets(),
    )
    .expect("a length");
    ip.dont_fragment = dont_fragment;
    etherparse::PacketBuilder::ethernet2(A.0, ROUTER.0)
        .ip(etherparse::IpHeaders::Ipv4(
            ip,
            etherparse::Ipv4Extensions::default(),
        ))
        .udp(1, 2)
        .write(&mut frame, &vec![7; len - 28])
        .expect("it fits");
    frame
}

fn parse(frame: &[u8]) -> Meta {
    encap::parse(frame).expect("well-formed")
}

/// Type, code and MTU of the error in a frame.
fn said(frame: &[u8]) -> (u8, u8, Option<u32>) {
    let quote = Quote::read(frame, &parse(frame)).expect("checksums are right");
    let quote = quote.expect("it is an error");
    (quote.kind, quote.code, quote.mtu)
}

/// What a router in the fabric says about a tunnel packet of `len` bytes.
fn fabric_says(mtu: u16, vni: u32, len: u16) -> Vec<u8> {
    let mut tunnel_packet = vxlan([(UPLINK, "192.0.2.1"), (NODE2, "192.0.2.2")], vni, &[0; 60]);
    tunnel_packet[16..18].copy_from_slice(&len.to_be_bytes());
    let mut header = etherparse::Ipv4Header::from_slice(&tunnel_packet[14..])
        .expect("IPv4")
        .0;
    header.header_checksum = header.calc_header_checksum();
    let quote = [&header.to_bytes()[..], &tunnel_packet[34..58]].concat();
    let mut frame = Vec::new();
    etherparse::PacketBuilder::ethernet2(NODE2.0, UPLINK.0)
        .ipv4([198, 51, 100, 1], [192, 0, 2, 1], 60)
        .icmpv4(etherparse::Icmpv4Type::DestinationUnreachable(
            etherparse::icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: mtu },
        ))
        .write(&mut frame, &quote)
        .expect("it fits");
    frame
}

#[test]
fn a_dropped_packet_is_counted_and_its_error_too() {
    let mut node = Node::new(objects());
    let error = node.exchange("red-a", to("10.1.0.11", 1), "red-a");
    assert_eq!(said(&error), (11, 0, None));
    let totals = node.totals("red-a");
    assert_eq!(node.drops("red-a"), [(DropReason::TtlExpired, 1)]);
    assert_eq!(
        (totals.rx_packets, totals.originated, totals.tx_packets),
        (1, 1, 1)
    );
    node.check_accounts();
}

#[test]
fn discard_is_silent_and_reject_is_not() {
    let mut node = Node::new(objects());
    assert_eq!(
        node.refused("red-a", to("10.3.0.1", 64)),
        DropReason::Discard
    );
    assert_eq!(node.totals("red-a").originated, 0);
    let error = node.exchange("red-a", to("10.2.0.1", 64), "red-a");
    assert_eq!(said(&error), (3, 13, None));
    assert_eq!(node.totals("red-a").drops[DropReason::Reject as usize], 1);
}

#[test]
fn what_the_bucket_withholds_is_counted_and_comes_back_with_time() {
    let mut node = Node::new(objects());
    node.send("red-a", &vec![to("10.1.0.11", 1); 30]);
    assert_eq!(node.recv("red-a").len(), 10);
    assert_eq!(node.totals("red-a").errors_withheld, 20);
    // A hundred a second: one in ten milliseconds.
    node.pass(50);
    node.send("red-a", &vec![to("10.1.0.11", 1); 30]);
    assert_eq!(node.recv("red-a").len(), 5);
    // What waits in the queue with them is not disturbed.
    let fine = to("10.1.0.11", 64);
    node.send(
        "red-a",
        &[to("10.1.0.11", 1), fine.clone(), to("10.1.0.11", 1)],
    );
    assert_eq!(node.recv("red-b").len(), 1);
    node.check_accounts();
}

#[test]
fn a_packet_too_big_is_cut_and_every_piece_accounted_for() {
    let mut node = Node::new(objects());
    // 1600 bytes outside leave 1550.
    let whole = sized("10.1.0.9", 4_000, false);
    node.send("red-a", std::slice::from_ref(&whole));
    let sent = node.recv("up0");
    assert_eq!(sent.len(), 3);
    let mut payload: Vec<u8> = Vec::new();
    for frame in &sent {
        assert!(frame.len() - 14 <= 1_600);
        let inner = &frame[50..];
        let meta = parse(inner);
        assert_eq!(usize::from(meta.fragment_offset), payload.len());
        assert_eq!(meta.ttl, 63);
        payload.extend(&inner[meta.l4.into()..meta.end.into()]);
    }
    assert_eq!(payload, whole[34..]);
    assert_eq!(node.totals("red-a").originated, 2);
    assert_eq!(node.drops("red-a"), []);
    // All of them on one way: one outer source port.
    assert!(sent.iter().all(|frame| frame[34..36] == sent[0][34..36]));
}

#[test]
fn a_packet_too_big_with_df_quotes_itself_as_it_came() {
    let mut node = Node::new(objects());
    let packet = sized("10.1.0.9", 1_551, true);
    let error = node.exchange("red-a", packet.clone(), "red-a");
    assert_eq!(said(&error), (3, 4, Some(1_550)));
    // With the TTL it had, not the one it would have left with.
    assert_eq!(error[42..], packet[14..][..error.len() - 42]);
}

#[test]
fn the_fabric_tells_of_a_smaller_mtu_and_the_next_packet_is_told() {
    let mut node = Node::new(objects());
    let packet = sized("10.1.0.9", 1_450, true);
    node.exchange("red-a", packet.clone(), "up0");
    node.send("up0", &[fabric_says(1_400, 5001, 1_500)]);
    assert_eq!(node.totals("up0").consumed, 1);
    let error = node.exchange("red-a", packet.clone(), "red-a");
    assert_eq!(said(&error), (3, 4, Some(1_350)));
    // RFC 1191 §6.3: for ten minutes.
    node.pass(599_999);
    node.exchange("red-a", packet.clone(), "red-a");
    node.pass(1);
    node.exchange("red-a", packet, "up0");
}

#[test]
fn a_commit_keeps_what_is_known_of_the_path() {
    let mut node = Node::new(objects());
    node.send("up0", &[fabric_says(1_400, 5001, 1_500)]);
    node.apply(vec![Change::Upsert(tunnel(
        "other",
        "192.0.2.2",
        5009,
        None,
    ))])
    .expect("another tunnel to the same node");
    node.apply(vec![Change::Delete(Key::Nexthop("refuse".into()))])
        .expect_err("a route uses it");
    let error = node.exchange("red-a", sized("10.1.0.9", 1_351, true), "red-a");
    assert_eq!(said(&error), (3, 4, Some(1_350)));
}

#[test]
fn forged_and_nonsensical_path_mtus_change_nothing() {
    let mut node = Node::new(objects());
    let mut refused = |frame| node.refused("up0", frame);
    assert_eq!(
        refused(fabric_says(1_400, 5002, 1_500)),
        DropReason::IcmpUnmatched
    );
    assert_eq!(
        refused(fabric_says(500, 5001, 1_500)),
        DropReason::PathMtuIgnored
    );
    assert_eq!(
        refused(fabric_says(1_600, 5001, 1_700)),
        DropReason::PathMtuIgnored
    );
    // It would have passed.
    assert_eq!(
        refused(fabric_says(1_400, 5001, 1_400)),
        DropReason::PathMtuIgnored
    );
    node.exchange("red-a", sized("10.1.0.9", 1_550, true), "up0");
}

#[test]
fn a_configured_path_mtu_is_neither_heard_over_nor_exceeded() {
    let mut node = Node::new(objects());
    node.apply(vec![Change::Upsert(with_tunnel(|tunnel| {
        tunnel.mtu = Some(1_450);
    }))])
    .expect("a path MTU");
    node.send("up0", &[fabric_says(1_300, 5001, 1_450)]);
    node.exchange("red-a", sized("10.1.0.9", 1_400, true), "up0");
    let error = node.exchange("red-a", sized("10.1.0.9", 1_401, true), "red-a");
    assert_eq!(said(&error), (3, 4, Some(1_400)));
}

#[test]
fn vxlan_is_never_cut_outside() {
    let node = Node::new(objects());
    let outer = with_tunnel(|tunnel| tunnel.fragment = FragmentMode::Outer);
    let refusals = node
        .publisher
        .current()
        .prepare(&request(vec![Change::Upsert(outer)]))
        .err()
        .expect("RFC 7348 §4.3");
    assert_eq!(refusals[0].field, "tunnel.fragment");
    assert!(refusals[0].reason.contains("RFC 7348"), "{}", refusals[0]);
}

#[test]
fn the_underlay_has_no_segment_size() {
    let node = Node::new(objects());
    let underlay = Vrf {
        tcp_mss_clamp: Some(1_300),
        ..Vrf::underlay()
    };
    let refusals = node
        .publisher
        .current()
        .prepare(&request(vec![Change::Upsert(Object::Vrf(underlay))]))
        .err()
        .expect("nothing to clamp there");
    assert_eq!(refusals[0].field, "tcp_mss_clamp");
}

#[test]
fn a_segment_size_is_clamped_as_soon_as_it_is_configured() {
    let mut node = Node::new(objects());
    let mut syn = Vec::new();
    etherparse::PacketBuilder::ethernet2(A.0, ROUTER.0)
        .ipv4([10, 1, 0, 10], [10, 1, 0, 11], 64)
        .tcp(5, 80, 1, 1000)
        .syn()
        .options(&[etherparse::TcpOptionElement::MaximumSegmentSize(1_460)])
        .expect("one option")
        .write(&mut syn, &[])
        .expect("it fits");
    let out = node.exchange("red-a", syn.clone(), "red-b");
    assert_eq!(out[54..58], [2, 4, 5, 180]);
    let Object::Vrf(mut red) = vrf("red", &["10.1.0.1/24", "fd01::1/64"]) else {
        unreachable!("it is a vrf");
    };
    red.tcp_mss_clamp = Some(1_300);
    node.apply(vec![Change::Upsert(Object::Vrf(red))])
        .expect("a clamp");
    let out = node.exchange("red-a", syn, "red-b");
    assert_eq!(out[54..58], [2, 4, 5, 20]);
    assert!(encap::checksum::transport_is_right(&out, &parse(&out)));
}
