//! Flows whose packets get other addresses: every packet of both directions, its
//! fragments, and the errors about it. What a packet becomes is built by
//! etherparse; the flows are put into the table by hand.

use std::net::IpAddr;

use crate::common::*;
use dataplane::DropReason;
use dataplane::stage::Ingress;
use dataplane::tables::change::Change;
use dataplane::tables::spec::*;
use encap::{MacAddr, Quote, checksum};
use etherparse::{IpFragOffset, IpNumber, Ipv4Extensions, Ipv4Header, Ipv6Extensions};
use etherparse::{IpHeaders, Ipv6FragmentHeader, PacketBuilder};
use flowtable::{Action, Class, FlowView, Insert, NewFlow, Rewrite, Translation, Verdict, Zone};

const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa]);
const B: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xb]);
const S: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x5]);

/// The machine inside, what it is called outside, and the server it talks to.
const INSIDE: (&str, u16) = ("10.1.0.10", 1111);
const OUTSIDE: (&str, u16) = ("203.0.113.7", 4444);
const SERVER: (&str, u16) = ("198.51.100.9", 53);
/// The same over IPv6.
const INSIDE6: (&str, u16) = ("fd01::10", 1111);
const OUTSIDE6: (&str, u16) = ("2001:db8::7", 4444);
const SERVER6: (&str, u16) = ("2001:db8:1::9", 53);
/// The IPv4 server as machines with IPv6 see it.
const SERVER64: (&str, u16) = ("64:ff9b::c633:6409", 53);
/// A router on the server's side, and how it looks over IPv6.
const ROUTER4: &str = "192.0.2.1";
const ROUTER64: &str = "64:ff9b::c000:201";

type End = (&'static str, u16);

/// Two machines inside; a server in another network, with routers behind it.
fn node() -> Node {
    let server = [
        "198.51.100.0/24",
        "192.0.2.0/24",
        "2001:db8:1::/64",
        "64:ff9b::/96",
    ];
    Node::new(vec![
        vrf("red", &["10.1.0.1/24", "fd01::1/64"]),
        vrf("public", &["198.51.100.1/24", "2001:db8:1::1/64"]),
        tenant("a", "red", A, &["10.1.0.10", "fd01::10"]),
        tenant("b", "red", B, &["10.1.0.11"]),
        tenant("s", "public", S, &server),
    ])
}

/// The same with another port outside.
fn with_port([inside, there, outside, server]: [End; 4], port: u16) -> [End; 4] {
    [inside, there, (outside.0, port), server]
}

/// A flow from `inside` of vif `from` to `there`, which arrives at vif `s` from `outside` to `server`.
#[track_caller]
fn translate(node: &Node, from: &str, protocol: u8, ends: [End; 4]) -> FlowView {
    let [inside, there, outside, server] = ends;
    let tables = node.publisher.current();
    let (red, public) = (tables.vrf_named("red"), tables.vrf_named("public"));
    let (red, public) = (red.expect("a vrf"), public.expect("a vrf"));
    let (from, to) = (tables.vif_named(from), tables.vif_named("s"));
    let (from, to) = (from.expect("a vif"), to.expect("a vif"));
    let zone = |vrf: u32| Zone::new(vrf << 1).expect("24 bits");
    let other = match protocol {
        1 if inside.0.contains(':') != outside.0.contains(':') => 58,
        58 if inside.0.contains(':') != outside.0.contains(':') => 1,
        same => same,
    };
    let becomes = |from: End, to: End| match (ip(from.0), ip(to.0)) {
        _ if from == to => Translation::Keep,
        (IpAddr::V4(_), IpAddr::V4(addr)) => Translation::To(addr, to.1),
        _ => Translation::Partner,
    };
    let action = |nexthop: u32, epoch, ingress: Ingress, exit: u32, rewrite| Action {
        verdict: Verdict::Forward,
        nexthop,
        epoch,
        ingress: ingress.to_bits(),
        rewrite,
        group_choice: 0,
        exit: exit as u16,
        flags: 0,
    };
    let forward = Rewrite {
        src: becomes(inside, outside),
        dst: becomes(there, server),
    };
    let reverse = Rewrite {
        src: becomes(server, there),
        dst: becomes(outside, inside),
    };
    let inserted = node.flows.worker(0).insert_pair(&NewFlow {
        forward: &key(zone(red.id.0), protocol, inside, there),
        forward_action: &action(
            to.nexthop.0,
            red.epoch,
            Ingress::vif(from.id),
            public.id.0,
            forward,
        ),
        reverse: &key(zone(public.id.0), other, server, outside),
        reverse_action: &action(
            from.nexthop.0,
            public.epoch,
            Ingress::vif(to.id),
            red.id.0,
            reverse,
        ),
        class: Class::UdpReplied,
        vif: from.id.0,
        vrf: red.id.0,
        note: [0; 4],
        now: flowtable::Ticks(0),
    });
    let Insert::Inserted(hit) = inserted else {
        panic!("{inserted:?}");
    };
    node.flows.flow(hit.id, hit.version()).expect("it is there")
}

fn key(zone: Zone, protocol: u8, src: End, dst: End) -> flowtable::Key {
    match (ip(src.0), ip(dst.0)) {
        (IpAddr::V4(a), IpAddr::V4(b)) => flowtable::Key::ipv4(zone, protocol, a, b, src.1, dst.1),
        (IpAddr::V6(a), IpAddr::V6(b)) => flowtable::Key::ipv6(zone, protocol, a, b, src.1, dst.1),
        _ => panic!("one family"),
    }
}

/// The flow as it is now.
fn now(node: &Node, flow: &FlowView) -> FlowView {
    let found = node.flows.flow(flow.id, flow.version);
    found.expect("it is still there")
}

/// A UDP packet; IPv4 with this identification and DF set unless it is to be cut.
fn packet(link: (MacAddr, MacAddr), ends: (End, End), ttl: u8, data: &[u8]) -> Vec<u8> {
    numbered(link, ends, ttl, None, data)
}

fn numbered(
    link: (MacAddr, MacAddr),
    (src, dst): (End, End),
    ttl: u8,
    id: Option<u16>,
    data: &[u8],
) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(link.0.0, link.1.0);
    let builder = match (ip(src.0), ip(dst.0)) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            let header = Ipv4Header::new(0, ttl, IpNumber::UDP, a.octets(), b.octets());
            let mut header = header.expect("it fits");
            header.dont_fragment = id.is_none();
            header.identification = id.unwrap_or(0);
            builder.ip(IpHeaders::Ipv4(header, Ipv4Extensions::default()))
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => builder.ipv6(a.octets(), b.octets(), ttl),
        _ => panic!("one family"),
    };
    let mut frame = Vec::new();
    let builder = builder.udp(src.1, dst.1);
    builder.write(&mut frame, data).expect("it fits");
    frame
}

/// An ICMP error from `src` that quotes a frame's packet.
fn error(link: (MacAddr, MacAddr), src: &str, dst: &str, kind: [u8; 8], about: &[u8]) -> Vec<u8> {
    let message = [&kind[4..], about].concat();
    let builder = PacketBuilder::ethernet2(link.0.0, link.1.0);
    let mut frame = Vec::new();
    let fields = [message[0], message[1], message[2], message[3]];
    match (ip(src), ip(dst)) {
        (IpAddr::V4(a), IpAddr::V4(b)) => builder
            .ipv4(a.octets(), b.octets(), 64)
            .icmpv4_raw(kind[0], kind[1], fields)
            .write(&mut frame, about),
        (IpAddr::V6(a), IpAddr::V6(b)) => builder
            .ipv6(a.octets(), b.octets(), 64)
            .icmpv6_raw(kind[0], kind[1], fields)
            .write(&mut frame, about),
        _ => panic!("one family"),
    }
    .expect("it fits");
    frame
}

const TTL_EXCEEDED: [u8; 8] = [11, 0, 0, 0, 0, 0, 0, 0];
const TTL_EXCEEDED6: [u8; 8] = [3, 0, 0, 0, 0, 0, 0, 0];
const PORT_UNREACHABLE: [u8; 8] = [3, 3, 0, 0, 0, 0, 0, 0];
const PORT_UNREACHABLE6: [u8; 8] = [1, 4, 0, 0, 0, 0, 0, 0];

/// With one hop less, as it is when it leaves.
fn hop(mut frame: Vec<u8>) -> Vec<u8> {
    let meta = encap::parse(&frame).expect("it is well-formed");
    encap::rewrite::decrement_ttl(&mut frame, &meta);
    frame
}

const TO_ROUTER: (MacAddr, MacAddr) = (A, ROUTER);
const TO_SERVER: (MacAddr, MacAddr) = (ROUTER, S);
const FROM_SERVER: (MacAddr, MacAddr) = (S, ROUTER);
const TO_MACHINE: (MacAddr, MacAddr) = (ROUTER, A);

const V4: [End; 4] = [INSIDE, SERVER, OUTSIDE, SERVER];
const V6: [End; 4] = [INSIDE6, SERVER6, OUTSIDE6, SERVER6];
const NAT64: [End; 4] = [INSIDE6, SERVER64, OUTSIDE, SERVER];

#[test]
fn both_directions_are_translated() {
    for [inside, there, outside, server] in [V4, V6] {
        let mut node = node();
        translate(&node, "a", 17, [inside, there, outside, server]);
        let out = node.exchange("a", packet(TO_ROUTER, (inside, there), 64, b"hello"), "s");
        assert_eq!(out, packet(TO_SERVER, (outside, server), 63, b"hello"));
        let back = node.exchange("s", packet(FROM_SERVER, (server, outside), 9, b"hi"), "a");
        assert_eq!(back, packet(TO_MACHINE, (there, inside), 8, b"hi"));
    }
}

/// As a service does it: the destination becomes another, in the machine's own network.
#[test]
fn destinations_are_translated_too() {
    let mut node = node();
    let virtual_end = ("10.200.0.1", 80);
    translate(&node, "a", 17, [INSIDE, virtual_end, INSIDE, SERVER]);
    let out = node.exchange(
        "a",
        packet(TO_ROUTER, (INSIDE, virtual_end), 64, b"get"),
        "s",
    );
    assert_eq!(out, packet(TO_SERVER, (INSIDE, SERVER), 63, b"get"));
    let back = node.exchange("s", packet(FROM_SERVER, (SERVER, INSIDE), 64, b"ok"), "a");
    assert_eq!(back, packet(TO_MACHINE, (virtual_end, INSIDE), 63, b"ok"));
}

#[test]
fn families_are_translated_into_each_other() {
    let mut node = node();
    translate(&node, "a", 17, NAT64);
    let out = node.exchange(
        "a",
        packet(TO_ROUTER, (INSIDE6, SERVER64), 64, b"hello"),
        "s",
    );
    let id = u16::from_be_bytes([out[18], out[19]]);
    let expected = numbered(TO_SERVER, (OUTSIDE, SERVER), 63, Some(id), b"hello");
    assert_eq!(out, expected);
    let back = node.exchange("s", packet(FROM_SERVER, (SERVER, OUTSIDE), 9, b"hi"), "a");
    assert_eq!(back, packet(TO_MACHINE, (SERVER64, INSIDE6), 8, b"hi"));
    let again = node.exchange(
        "a",
        packet(TO_ROUTER, (INSIDE6, SERVER64), 64, b"hello"),
        "s",
    );
    assert_ne!(
        again[18..20],
        out[18..20],
        "a datagram has a number of its own"
    );
}

#[test]
fn pings_are_translated_between_families() {
    let mut node = node();
    let ping = |end: End, id| (end.0, id);
    translate(
        &node,
        "a",
        58,
        [
            ping(INSIDE6, 7),
            ping(SERVER64, 7),
            ping(OUTSIDE, 99),
            ping(SERVER, 99),
        ],
    );
    let (IpAddr::V6(src), IpAddr::V6(dst)) = (ip(INSIDE6.0), ip(SERVER64.0)) else {
        unreachable!("both are IPv6");
    };
    let mut request = Vec::new();
    PacketBuilder::ethernet2(A.0, ROUTER.0)
        .ipv6(src.octets(), dst.octets(), 64)
        .icmpv6_echo_request(7, 1)
        .write(&mut request, b"ping")
        .expect("it fits");
    let out = node.exchange("a", request, "s");
    let meta = encap::parse(&out).expect("IPv4");
    assert_eq!((meta.protocol, meta.l4_flags, meta.src_port), (1, 8, 99));
    assert!(checksum::transport_is_right(&out, &meta));
    let (IpAddr::V4(src), IpAddr::V4(dst)) = (ip(SERVER.0), ip(OUTSIDE.0)) else {
        unreachable!("both are IPv4");
    };
    let mut reply = Vec::new();
    PacketBuilder::ethernet2(S.0, ROUTER.0)
        .ipv4(src.octets(), dst.octets(), 64)
        .icmpv4_echo_reply(99, 1)
        .write(&mut reply, b"ping")
        .expect("it fits");
    let back = node.exchange("s", reply, "a");
    let meta = encap::parse(&back).expect("IPv6");
    assert_eq!((meta.protocol, meta.l4_flags, meta.src_port), (58, 129, 7));
    assert!(checksum::transport_is_right(&back, &meta));
}

/// The IPv4 fragment of a frame's packet from byte `start` of its payload to `end`.
fn piece(whole: &[u8], id: u16, start: usize, end: usize) -> Vec<u8> {
    let mut header = Ipv4Header::from_slice(&whole[14..]).expect("IPv4").0;
    let payload = &whole[34..];
    let end = end.min(payload.len());
    header.dont_fragment = false;
    header.identification = id;
    header.more_fragments = end < payload.len();
    header.fragment_offset = IpFragOffset::try_new((start / 8) as u16).expect("13 bits");
    header.set_payload_len(end - start).expect("it fits");
    header.header_checksum = header.calc_header_checksum();
    [&whole[..14], &header.to_bytes(), &payload[start..end]].concat()
}

/// RFC 4787 REQ-14: in any order; RFC 6864 §5.3.1: under a number that no other datagram has.
#[test]
fn fragments_are_translated_in_any_order() {
    let mut node = node();
    translate(&node, "a", 17, V4);
    let other = ("10.1.0.11", 1111);
    translate(&node, "b", 17, [other, SERVER, (OUTSIDE.0, 5555), SERVER]);
    let data = data(60);
    let whole = packet(TO_ROUTER, (INSIDE, SERVER), 64, &data);
    let expected = packet(TO_SERVER, (OUTSIDE, SERVER), 63, &data);
    let mut numbers = Vec::new();
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
        let pieces = order.map(|n| piece(&whole, 77, n * 24, n * 24 + 24));
        node.send("a", &pieces);
        let mut out = node.recv("s");
        assert_eq!(out.len(), 3);
        out.sort_by_key(|frame| frame[20..22].to_vec());
        // Sorted by flags and offset: the last one has no M flag.
        out.rotate_left(1);
        let id = u16::from_be_bytes([out[0][18], out[0][19]]);
        for (n, frame) in out.iter().enumerate() {
            assert_eq!(*frame, piece(&expected, id, n * 24, n * 24 + 24));
        }
        numbers.push(id);
        node.pass(2_000);
    }
    // Another machine behind the same address, with the same number.
    let whole = packet((B, ROUTER), (other, SERVER), 64, &data);
    node.send("b", &[piece(&whole, 77, 0, 24), piece(&whole, 77, 24, 100)]);
    let out = node.recv("s");
    assert_eq!(out[0][18..20], out[1][18..20]);
    numbers.push(u16::from_be_bytes([out[0][18], out[0][19]]));
    // And a whole packet that may be cut on its way.
    let whole = numbered((B, ROUTER), (other, SERVER), 64, Some(77), &data);
    let out = node.exchange("b", whole, "s");
    numbers.push(u16::from_be_bytes([out[18], out[19]]));
    let count = numbers.len();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), count, "{numbers:?}");
}

#[test]
fn fragments_are_translated_between_families() {
    let mut node = node();
    translate(&node, "a", 17, NAT64);
    let data = data(60);
    let whole = packet(FROM_SERVER, (SERVER, OUTSIDE), 64, &data);
    let there = packet(TO_MACHINE, (SERVER64, INSIDE6), 63, &data);
    node.send("s", &[piece(&whole, 77, 40, 100), piece(&whole, 77, 0, 40)]);
    let out = node.recv("a");
    assert_eq!(out.len(), 2);
    for (frame, start) in out.iter().zip([0, 40]) {
        let (header, next, _) = {
            let (header, rest) = etherparse::Ipv6Header::from_slice(&frame[14..]).expect("IPv6");
            let (extensions, next, rest) =
                Ipv6Extensions::from_slice(header.next_header, rest).expect("one header");
            assert_eq!(
                extensions.fragment,
                Some(Ipv6FragmentHeader {
                    next_header: IpNumber::UDP,
                    fragment_offset: IpFragOffset::try_new(start / 8).expect("13 bits"),
                    more_fragments: start == 0,
                    identification: 77,
                })
            );
            let start = usize::from(start);
            assert_eq!(rest, &there[54..][start..(start + 40).min(68)]);
            (header, next, rest)
        };
        assert_eq!((header.hop_limit, next), (63, IpNumber::UDP));
    }
}

/// RFC 5508 REQ-4, from a router outside; RFC 4787 REQ-12: it does not prolong the flow.
#[test]
fn an_error_from_outside_is_about_what_the_machine_sent() {
    let rows = [
        (V4, TTL_EXCEEDED, TTL_EXCEEDED, ROUTER4, ROUTER4),
        (
            V6,
            TTL_EXCEEDED6,
            TTL_EXCEEDED6,
            "2001:db8:1::77",
            "2001:db8:1::77",
        ),
        (NAT64, TTL_EXCEEDED, TTL_EXCEEDED6, ROUTER4, ROUTER64),
    ];
    for (ends, said, heard, router, seen) in rows {
        let [inside, there, outside, server] = ends;
        let mut node = node();
        let flow = translate(&node, "a", 17, ends);
        node.pass(5_000);
        let sent = packet(TO_ROUTER, (inside, there), 64, b"hello");
        let quoted = &packet(TO_SERVER, (outside, server), 1, b"hello")[14..];
        let back = node.exchange(
            "s",
            error(FROM_SERVER, router, outside.0, said, quoted),
            "a",
        );
        let original = &packet(TO_ROUTER, (inside, there), 1, b"hello")[14..];
        let expected = error(TO_MACHINE, seen, inside.0, heard, original);
        assert_eq!(back[54..], hop(expected)[54..], "{router}");
        let meta = encap::parse(&back).expect("it is well-formed");
        let quote = Quote::read(&back, &meta).expect("checksums are right");
        let quote = quote.expect("it quotes");
        assert_eq!((quote.src, quote.src_port), (ip(inside.0), inside.1));
        assert_eq!((quote.dst, quote.dst_port), (ip(there.0), there.1));
        assert_eq!(meta.addrs(&back), Some((ip(seen), ip(inside.0))));
        let after = now(&node, &flow);
        assert_eq!(after.last_seen, flow.last_seen);
        assert_eq!(after.reverse_counters.packets, 1);
        // The flow goes on.
        node.exchange("a", sent, "s");
    }
}

/// RFC 5508 REQ-5: the machine outside hears from the address it talked to.
#[test]
fn an_error_from_inside_is_about_what_came_from_outside() {
    let rows = [
        (V4, PORT_UNREACHABLE, PORT_UNREACHABLE),
        (V6, PORT_UNREACHABLE6, PORT_UNREACHABLE6),
        (NAT64, PORT_UNREACHABLE6, PORT_UNREACHABLE),
    ];
    for (ends, said, heard) in rows {
        let [inside, there, outside, server] = ends;
        let mut node = node();
        translate(&node, "a", 17, ends);
        let quoted = &packet(TO_MACHINE, (there, inside), 5, b"hi")[14..];
        let out = node.exchange("a", error(TO_ROUTER, inside.0, there.0, said, quoted), "s");
        let meta = encap::parse(&out).expect("it is well-formed");
        assert_eq!((meta.l4_flags, meta.icmp_code), (heard[0], heard[1]));
        assert_eq!(meta.addrs(&out), Some((ip(outside.0), ip(server.0))));
        let quote = Quote::read(&out, &meta).expect("checksums are right");
        let quote = quote.expect("it quotes");
        assert_eq!((quote.src, quote.src_port), (ip(server.0), server.1));
        assert_eq!((quote.dst, quote.dst_port), (ip(outside.0), outside.1));
    }
}

/// RFC 5508 REQ-3.
#[test]
fn a_damaged_error_is_dropped() {
    let mut node = node();
    translate(&node, "a", 17, V4);
    let quoted = packet(TO_SERVER, (OUTSIDE, SERVER), 1, b"hello")[14..].to_vec();
    let mut damaged = error(FROM_SERVER, ROUTER4, OUTSIDE.0, TTL_EXCEEDED, &quoted);
    *damaged.last_mut().expect("it has bytes") ^= 1;
    assert_eq!(node.refused("s", damaged), DropReason::IcmpChecksum);
    let mut header = quoted.clone();
    header[8] = 200;
    let damaged = error(FROM_SERVER, ROUTER4, OUTSIDE.0, TTL_EXCEEDED, &header);
    assert_eq!(node.refused("s", damaged), DropReason::IpChecksum);
    // That of the quoted datagram is nobody's business here.
    let mut payload = quoted;
    *payload.last_mut().expect("it has bytes") ^= 1;
    let fine = error(FROM_SERVER, ROUTER4, OUTSIDE.0, TTL_EXCEEDED, &payload);
    node.exchange("s", fine, "a");
}

#[test]
fn an_error_about_no_flow_is_not_translated() {
    let mut node = node();
    // The identifier 0 looks like the ports of an error.
    let zero = |end: End| (end.0, 0);
    translate(&node, "a", 1, V4.map(zero));
    let quoted = packet(TO_SERVER, (OUTSIDE, SERVER), 1, b"hello")[14..].to_vec();
    let stray = error(FROM_SERVER, SERVER.0, OUTSIDE.0, TTL_EXCEEDED, &quoted);
    assert_eq!(node.refused("s", stray), DropReason::ErrorUnrelated);
}

#[test]
fn an_error_from_elsewhere_than_its_flow_is_another_matter() {
    let mut node = node();
    let flow = translate(&node, "a", 17, V4);
    // Machine b says it is about what the server got.
    let quoted = &packet(TO_SERVER, (OUTSIDE, SERVER), 1, b"hello")[14..];
    let forged = error((B, ROUTER), "10.1.0.11", OUTSIDE.0, TTL_EXCEEDED, quoted);
    assert_eq!(node.refused("b", forged), DropReason::NoRoute);
    assert_eq!(now(&node, &flow).reverse_counters.packets, 0);
}

/// Inside a network without policies they go their way, about a flow or not.
#[test]
fn errors_within_a_network_need_no_flow() {
    let mut node = node();
    let b = ("10.1.0.11", 7);
    let quoted = packet((B, ROUTER), (b, INSIDE), 1, b"hello")[14..].to_vec();
    let stray = error(TO_ROUTER, INSIDE.0, b.0, PORT_UNREACHABLE, &quoted);
    let out = node.exchange("a", stray.clone(), "b");
    assert_eq!(out[14..], hop(stray.clone())[14..]);
    let flows = |node: &Node| node.flows.len();
    let before = flows(&node);
    // With a flow there is none but that.
    node.exchange("b", packet((B, ROUTER), (b, INSIDE), 64, b"hello"), "a");
    let out = node.exchange("a", stray.clone(), "b");
    assert_eq!(out[14..], hop(stray)[14..]);
    assert_eq!(flows(&node), before + 1);
}

/// RFC 8900 §6.5: errors of allowed flows pass a policy that allows nothing, others pass none.
#[test]
fn errors_pass_policies_with_their_flows_only() {
    let b = ("10.1.0.11", 7);
    let guarded = |policy: &str| match tenant("b", "red", B, &["10.1.0.11"]) {
        Object::Vif(mut vif) => {
            vif.guards.ingress_policies = vec![policy.into()];
            Object::Vif(vif)
        }
        other => other,
    };
    let any = Rule {
        id: 1,
        action: RuleAction::Allow,
        protocol: Some(1),
        sources: vec![],
        source_sets: vec![],
        destinations: vec![],
        destination_sets: vec![],
        source_ports: vec![],
        destination_ports: vec![],
        icmp: vec![],
        log: false,
        mirror: None,
        dscp: None,
    };
    let policy = |name: &str, rules| {
        Object::Policy(Policy {
            name: name.into(),
            rules,
        })
    };
    let quoted = packet((B, ROUTER), (b, INSIDE), 1, b"hello")[14..].to_vec();
    let unreachable = error(TO_ROUTER, INSIDE.0, b.0, PORT_UNREACHABLE, &quoted);
    for (name, reason) in [
        ("none", DropReason::PolicyDenied),
        ("icmp", DropReason::ErrorUnrelated),
    ] {
        let mut node = node();
        let objects = [
            policy("none", vec![]),
            policy("icmp", vec![any.clone()]),
            guarded(name),
        ];
        let changes = objects.into_iter().map(Change::Upsert).collect();
        node.apply(changes).expect("policies");
        assert_eq!(node.refused("a", unreachable.clone()), reason);
        node.exchange("b", packet((B, ROUTER), (b, INSIDE), 64, b"hello"), "a");
        node.exchange("a", unreachable.clone(), "b");
    }
}

/// RFC 4787 REQ-13: about the packet as it was sent, in sizes of the sender's family.
#[test]
fn what_is_too_big_once_translated_is_told_inside() {
    let mut node = node();
    translate(&node, "a", 17, V4);
    let mut limited = tenant("s", "public", S, &["198.51.100.0/24"]);
    let Object::Vif(vif) = &mut limited else {
        unreachable!("it is a vif");
    };
    vif.mtu = Some(1_400);
    node.apply(vec![Change::Upsert(limited)]).expect("an MTU");
    let sent = packet(TO_ROUTER, (INSIDE, SERVER), 64, &data(1_400));
    let told = node.exchange("a", sent.clone(), "a");
    assert_eq!(said(&told), (3, 4, Some(1_400)));
    assert_eq!(told[42..], sent[14..][..told.len() - 42]);
    assert_eq!(node.drops("a"), [(DropReason::TooBig, 1)]);

    translate(&node, "a", 17, with_port(NAT64, 5555));
    let sent = packet(TO_ROUTER, (INSIDE6, SERVER64), 64, &data(1_380));
    let told = node.exchange("a", sent.clone(), "a");
    assert_eq!(said(&told), (2, 0, Some(1_420)));
    assert_eq!(told[62..], sent[14..][..told.len() - 62]);
    // 20 bytes more over IPv6 are what fits.
    let fits = packet(TO_ROUTER, (INSIDE6, SERVER64), 64, &data(1_372));
    assert_eq!(node.exchange("a", fits, "s").len(), 14 + 1_400);
}

#[test]
fn what_is_too_big_over_ipv6_is_told_outside_or_cut() {
    let mut node = node();
    translate(&node, "a", 17, NAT64);
    let sent = packet(FROM_SERVER, (SERVER, OUTSIDE), 64, &data(1_460));
    let told = node.exchange("s", sent.clone(), "s");
    assert_eq!(said(&told), (3, 4, Some(1_480)));
    assert_eq!(told[42..], sent[14..][..told.len() - 42]);

    let loose = numbered(
        FROM_SERVER,
        (SERVER, OUTSIDE),
        64,
        Some(0x1234),
        &data(1_460),
    );
    node.send("s", &[loose]);
    let pieces = node.recv("a");
    assert_eq!(pieces.len(), 2);
    let expected = packet(TO_MACHINE, (SERVER64, INSIDE6), 63, &data(1_460));
    let mut payload = Vec::new();
    for frame in &pieces {
        let meta = encap::parse(frame).expect("it is well-formed");
        assert!(frame.len() <= 14 + 1_500);
        assert_eq!(meta.fragment_id, 0x1234);
        payload.extend_from_slice(&frame[meta.l4.into()..]);
    }
    assert_eq!(payload, expected[54..]);

    // A fragment that does not fit either is cut again.
    let whole = packet(FROM_SERVER, (SERVER, OUTSIDE), 64, &data(2_000));
    node.send(
        "s",
        &[piece(&whole, 9, 0, 1_480), piece(&whole, 9, 1_480, 3_000)],
    );
    let pieces = node.recv("a");
    assert_eq!(pieces.len(), 3);
    let expected = packet(TO_MACHINE, (SERVER64, INSIDE6), 63, &data(2_000));
    let mut payload = Vec::new();
    for frame in &pieces {
        let meta = encap::parse(frame).expect("it is well-formed");
        assert_eq!(usize::from(meta.fragment_offset), payload.len());
        payload.extend_from_slice(&frame[meta.l4.into()..]);
    }
    assert_eq!(payload, expected[54..]);
}

#[test]
fn what_cannot_be_translated_is_dropped_by_name() {
    let mut node = node();
    translate(&node, "a", 17, V4);
    translate(&node, "a", 17, with_port(NAT64, 5555));
    // Record route (RFC 791 §3.1).
    let mut frame = packet(TO_ROUTER, (INSIDE, SERVER), 64, b"hello");
    frame.splice(34..34, [7, 7, 4, 0, 0, 0, 0, 0]);
    let mut header = Ipv4Header::from_slice(&frame[14..34]).expect("IPv4").0;
    header.options = [7, 7, 4, 0, 0, 0, 0, 0].into();
    header.set_payload_len(13).expect("it fits");
    header.header_checksum = header.calc_header_checksum();
    frame.splice(14..42, header.to_bytes());
    assert_eq!(node.refused("a", frame), DropReason::Untranslatable);
    // An authentication header covers the addresses.
    let mut frame = packet(TO_ROUTER, (INSIDE6, SERVER64), 64, b"hello");
    frame.splice(54..54, [17, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1]);
    frame[20] = 51;
    frame[19] += 12;
    assert_eq!(node.refused("a", frame), DropReason::Nat64);
}

#[test]
fn a_segment_size_is_smaller_where_headers_grow() {
    let mut node = node();
    let Object::Vrf(mut public) = vrf("public", &["198.51.100.1/24", "2001:db8:1::1/64"]) else {
        unreachable!("it is a vrf");
    };
    public.tcp_mss_clamp = Some(1_300);
    node.apply(vec![Change::Upsert(Object::Vrf(public))])
        .expect("a clamp");
    translate(&node, "a", 6, NAT64);
    translate(
        &node,
        "b",
        6,
        [("10.1.0.11", 1), SERVER, (OUTSIDE.0, 9), SERVER],
    );
    let syn = |src: End, dst: End, mac: (MacAddr, MacAddr)| {
        let (IpAddr::V4(a), IpAddr::V4(b)) = (ip(src.0), ip(dst.0)) else {
            unreachable!("both are IPv4");
        };
        let mut frame = Vec::new();
        PacketBuilder::ethernet2(mac.0.0, mac.1.0)
            .ipv4(a.octets(), b.octets(), 64)
            .tcp(src.1, dst.1, 1, 1000)
            .syn()
            .ack(1)
            .options(&[etherparse::TcpOptionElement::MaximumSegmentSize(1_460)])
            .expect("one option")
            .write(&mut frame, &[])
            .expect("it fits");
        frame
    };
    let back = node.exchange("s", syn(SERVER, OUTSIDE, FROM_SERVER), "a");
    let meta = encap::parse(&back).expect("it is well-formed");
    assert_eq!(back[74..78], [2, 4, 5, 0], "1,280");
    assert!(checksum::transport_is_right(&back, &meta));
    // On its way out of red, the network it comes into counts as well.
    let out = node.exchange("b", syn(("10.1.0.11", 1), SERVER, (B, ROUTER)), "s");
    assert_eq!(out[54..58], [2, 4, 5, 20], "1,300");
}

/// Type, code and MTU of the error in a frame.
fn said(frame: &[u8]) -> (u8, u8, Option<u32>) {
    let meta = encap::parse(frame).expect("it is well-formed");
    let quote = Quote::read(frame, &meta).expect("checksums are right");
    let quote = quote.expect("it is an error");
    (quote.kind, quote.code, quote.mtu)
}
