//! UDP ports that the process before this one had given out (RFC 6888 REQ-8).

use crate::common::*;
use dataplane::DropReason;
use dataplane::sessions::leftovers::UdpPorts;
use dataplane::tables::change::Change;
use dataplane::tables::spec::*;
use encap::MacAddr;

const A: MacAddr = MacAddr([2, 0, 0, 0, 1, 5]);
const S: MacAddr = MacAddr([2, 0, 0, 0, 2, 9]);

/// A pool of four ports.
fn pool() -> Object {
    snat_pool("198.51.100.1", 2000..=2003)
}

fn packet(port: u16) -> Vec<u8> {
    udp_ports((A, "10.1.0.5"), (ROUTER, "203.0.113.9"), 64, (port, 80))
}

/// The source port of what comes out.
fn port_of(frame: &[u8]) -> u16 {
    u16::from_be_bytes([frame[34], frame[35]])
}

#[test]
fn ports_that_were_given_out_before_the_start_rest() {
    let mut node = Node::new(vec![
        vrf("red", &["10.1.0.1/24"]),
        vrf("public", &["203.0.113.1/24"]),
        tenant("a", "red", A, &["10.1.0.5"]),
        tenant("s", "public", S, &["203.0.113.9"]),
        Object::Nexthop(Nexthop {
            name: "to-public".into(),
            action: NexthopAction::Vrf("public".into()),
        }),
        route("red", "0.0.0.0/0", "to-public"),
    ]);
    let left = UdpPorts::from([(ip("198.51.100.1"), vec![2000, 2001, 2002, 9])]);
    let tables = node.publisher.current();
    tables.sessions().leftovers.inherit(left);
    // A pool that comes after the start, and again after it was gone.
    for _ in 0..2 {
        node.apply(vec![Change::Upsert(pool())]).expect("it fits");
        assert_eq!(port_of(&node.exchange("a", packet(5_000), "s")), 2003);
        assert_eq!(node.refused("a", packet(5_001)), DropReason::SnatExhausted);
        node.apply(vec![Change::Delete(Key::SnatPool("out".into()))])
            .expect("it may go");
    }
    node.apply(vec![Change::Upsert(pool())]).expect("it fits");
    node.pass(119_000);
    assert_eq!(port_of(&node.exchange("a", packet(5_000), "s")), 2003);
    assert_eq!(node.refused("a", packet(5_001)), DropReason::SnatExhausted);
    node.pass(2_000);
    let mut others: Vec<u16> = (5_001..5_004)
        .map(|port| port_of(&node.exchange("a", packet(port), "s")))
        .collect();
    others.sort_unstable();
    assert_eq!(others, [2000, 2001, 2002]);
}
