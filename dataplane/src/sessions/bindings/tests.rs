use std::sync::Arc;

use super::*;
use crate::tables::VrfId;

const SEED: [u64; 4] = [5, 6, 7, 8];

fn end(addr: &str, port: u16) -> End {
    End {
        addr: addr.parse().expect("an address"),
        port,
    }
}

fn pool(filtering: Filtering, ports: std::ops::RangeInclusive<u16>) -> Pool {
    let addresses = ["198.51.100.0/30".parse().expect("a prefix")];
    Pool {
        name: "out".into(),
        vrf: VrfId(1),
        sources: [].into(),
        outside_vrf: VrfId(2),
        addresses: addresses.into(),
        allotment: Arc::new(Allotment::new(9, &addresses, ports, (0, u32::MAX), None)),
        filtering,
        nat64_prefix: None,
    }
}

/// A node with one pool, at whose bindings tests look as packets would.
struct Node {
    pool: Pool,
    tables: Tables,
    bindings: Bindings,
}

impl Node {
    fn new(filtering: Filtering, ports: std::ops::RangeInclusive<u16>) -> Node {
        let pool = pool(filtering, ports);
        Node {
            tables: Tables::with_pool(pool.clone()),
            pool,
            bindings: Bindings::new(100_000, SEED),
        }
    }

    fn bind(&self, inside: End, remote: End, now: u32) -> Result<Binding, DropReason> {
        self.bind_by(encap::protocol::UDP, inside, remote, now)
    }

    fn bind_by(
        &self,
        protocol: u8,
        inside: End,
        remote: End,
        now: u32,
    ) -> Result<Binding, DropReason> {
        let asked = Asked {
            pool: Default::default(),
            vrf: VrfId(1),
            vif: None,
            protocol,
            inside,
            remote,
        };
        self.bindings.bind(&self.pool, &asked, Ticks(now))
    }

    fn bound(&self, outside: End, remote: End, now: u32) -> Result<Bound, DropReason> {
        let udp = encap::protocol::UDP;
        let ends = (outside, remote);
        self.bindings.bound(&self.pool, udp, ends, Ticks(now))
    }

    fn sweep(&self, now: u32) {
        let all = 0..self.bindings.bound_of_slots();
        all.for_each(|slot| self.bindings.sweep(&self.tables, slot, Ticks(now)));
    }

    fn used(&self) -> u32 {
        self.pool.allotment.usage().used.iter().sum()
    }
}

#[test]
fn an_end_inside_is_one_end_outside_whatever_it_talks_to() {
    let node = Node::new(Filtering::EndpointIndependent, 1024..=65_535);
    let inside = end("10.0.0.5", 5_000);
    let first = node.bind(inside, end("203.0.113.1", 53), 0).expect("room");
    let second = node.bind(inside, end("203.0.113.2", 99), 0).expect("room");
    assert_eq!(first, second);
    let tcp = node.bind_by(6, inside, end("203.0.113.1", 53), 0);
    assert_ne!(tcp.expect("room").id, first.id);
    assert_eq!(node.used(), 2);
}

#[test]
fn a_host_keeps_one_address_and_hosts_spread() {
    let node = Node::new(Filtering::EndpointIndependent, 1024..=65_535);
    let mut addresses = std::collections::BTreeSet::new();
    for host in 0..64 {
        let host = format!("10.0.0.{host}");
        let bind = |port| node.bind(end(&host, port), end("203.0.113.1", 9), 0);
        let first = bind(1_000).expect("room").outside.addr;
        for port in 1_001..1_020 {
            assert_eq!(bind(port).expect("room").outside.addr, first);
        }
        addresses.insert(first);
    }
    assert_eq!(addresses.len(), 4);
}

#[test]
fn whoever_may_send_is_as_configured() {
    let (friend, other_port, stranger) = (
        end("203.0.113.1", 99),
        end("203.0.113.1", 100),
        end("203.0.113.2", 99),
    );
    let cases = [
        (Filtering::EndpointIndependent, true, true),
        (Filtering::AddressDependent, true, false),
        (Filtering::AddressAndPortDependent, false, false),
    ];
    for (filtering, by_address, by_anybody) in cases {
        let node = Node::new(filtering, 1024..=65_535);
        let inside = end("10.0.0.5", 5_000);
        let outside = node.bind(inside, friend, 0).expect("room").outside;
        let lets_in = |remote| match node.bound(outside, remote, 10) {
            Ok(bound) => {
                assert_eq!((bound.inside, bound.vrf), (inside, VrfId(1)));
                true
            }
            Err(reason) => {
                assert_eq!(reason, DropReason::SnatFiltered);
                false
            }
        };
        assert!(lets_in(friend), "{filtering:?}");
        assert_eq!(lets_in(other_port), by_address, "{filtering:?}");
        assert_eq!(lets_in(stranger), by_anybody, "{filtering:?}");
    }
}

#[test]
fn nobodys_end_is_nobodys() {
    let node = Node::new(Filtering::EndpointIndependent, 1024..=2_000);
    let friend = end("203.0.113.1", 99);
    for outside in [
        end("198.51.100.1", 1_500),
        end("198.51.100.1", 80),
        end("198.51.100.9", 1_500),
    ] {
        assert_eq!(node.bound(outside, friend, 0), Err(DropReason::SnatUnknown));
    }
    let sctp = node.bind_by(132, friend, friend, 0);
    assert_eq!(sctp, Err(DropReason::SnatProtocol));
}

#[test]
fn a_binding_outlives_its_flows_by_its_time_then_rests_then_is_free() {
    let node = Node::new(Filtering::AddressAndPortDependent, 1024..=65_535);
    let (inside, friend) = (end("10.0.0.5", 5_000), end("203.0.113.1", 99));
    let first = node.bind(inside, friend, 0).expect("room");
    node.bind(inside, friend, 0).expect("room");
    node.bindings.end(first.id, friend, Ticks(1_000));
    node.sweep(10_000_000);
    assert!(
        node.bound(first.outside, friend, 10_000_000).is_ok(),
        "held by a flow"
    );
    node.bindings.end(first.id, friend, Ticks(2_000));
    node.bindings.end(first.id, friend, Ticks(1_500));
    node.sweep(301_999);
    let held = node
        .bound(first.outside, friend, 301_999)
        .expect("300 s of silence");
    node.bindings.release(held.id);
    node.sweep(302_001);
    // Not even to a friend, and to nobody else for two minutes.
    assert_eq!(
        node.bound(first.outside, friend, 302_001),
        Err(DropReason::SnatUnknown)
    );
    assert_eq!(node.used(), 1);
    node.sweep(422_000);
    assert_eq!(node.used(), 1);
    node.sweep(422_002);
    assert_eq!(node.used(), 0);
}

#[test]
fn a_resting_port_is_its_machines_at_once() {
    let node = Node::new(Filtering::EndpointIndependent, 1024..=1_024);
    let (inside, friend) = (end("10.0.0.5", 5_000), end("203.0.113.1", 99));
    let first = node.bind(inside, friend, 0).expect("room");
    node.bindings.end(first.id, friend, Ticks(0));
    node.sweep(300_001);
    let other = end(&first.outside.addr.to_string(), 1_024);
    assert!(node.bound(other, friend, 300_002).is_err());
    let again = node.bind(inside, friend, 300_010).expect("its own");
    assert_eq!(again.outside, first.outside);
    assert!(node.bound(first.outside, friend, 300_011).is_ok());
}

#[test]
fn what_no_flow_used_is_free_at_once() {
    let node = Node::new(Filtering::EndpointIndependent, 1024..=65_535);
    let friend = end("203.0.113.1", 99);
    let binding = node.bind(end("10.0.0.5", 5_000), friend, 50).expect("room");
    node.bindings.release(binding.id);
    node.sweep(51);
    assert_eq!(node.used(), 0);
    node.bindings.release(binding.id); // once too often: nothing happens
    node.bindings.release(0);
    node.bindings.release(u32::MAX);
}

#[test]
fn exhaustion_refuses_the_new_and_keeps_the_old() {
    let node = Node::new(Filtering::EndpointIndependent, 2_000..=2_009);
    let friend = end("203.0.113.1", 99);
    let bind = |port| node.bind_by(6, end("10.0.0.5", port), friend, 0);
    let old: Vec<Binding> = (4_000..4_010)
        .map(|port| bind(port).expect("room"))
        .collect();
    for port in 4_010..4_100 {
        assert_eq!(bind(port), Err(DropReason::SnatExhausted));
    }
    for (port, was) in (4_000..).zip(&old) {
        assert_eq!(bind(port).as_ref(), Ok(was));
    }
    let usage = node.pool.allotment.usage();
    assert_eq!((usage.used[0], usage.refused, usage.limit), (10, 90, 40));
    for _ in 0..2 {
        node.bindings.end(old[3].id, friend, Ticks(0));
    }
    node.sweep(240_001);
    assert!(bind(5_000).is_ok(), "as soon as one is free");
}

#[test]
fn what_the_pool_no_longer_has_is_given_anew() {
    let mut node = Node::new(Filtering::EndpointIndependent, 2_000..=65_535);
    let (inside, friend) = (end("10.0.0.5", 5_001), end("203.0.113.1", 99));
    let was = node.bind(inside, friend, 0).expect("room");
    let addresses = ["192.0.2.77/32".parse().expect("a prefix")];
    let old = node.pool.allotment.clone();
    let new = Allotment::new(1, &addresses, 2_000..=65_535, (0, u32::MAX), Some(&old));
    node.pool.allotment = Arc::new(new);
    let now = node.bind(inside, friend, 0).expect("room");
    assert_eq!(now.outside.addr.to_string(), "192.0.2.77");
    node.bindings.end(was.id, friend, Ticks(0));
    node.bindings.end(now.id, friend, Ticks(0));
    node.sweep(300_001);
    node.sweep(420_002);
    assert_eq!(node.bindings.iter().count(), 0);
}

/// Workers that make, use and end bindings of the same few hosts all at once.
#[test]
fn many_workers_never_give_one_end_to_two() {
    let node = Arc::new(Node::new(Filtering::AddressDependent, 2_000..=2_300));
    let work = |worker: u64| {
        let node = node.clone();
        move || {
            let mut held: Vec<(Binding, End)> = Vec::new();
            let mut random = worker;
            for now in 0..20_000_u32 {
                random = super::super::ports::mix(random + 1);
                let inside = end(
                    &format!("10.0.0.{}", random % 8),
                    (random >> 8) as u16 % 200,
                );
                let remote = end("203.0.113.1", 9);
                match node.bind(inside, remote, now) {
                    Ok(binding) => {
                        let bound = node
                            .bound(binding.outside, remote, now)
                            .expect("it is held");
                        assert_eq!(bound.inside, inside);
                        node.bindings.release(bound.id);
                        held.push((binding, remote));
                    }
                    Err(reason) => assert_eq!(reason, DropReason::SnatExhausted),
                }
                if held.len() > 50 {
                    let (binding, remote) = held.swap_remove(random as usize % 50);
                    node.bindings.end(binding.id, remote, Ticks(now));
                }
                if now % 64 == 0 {
                    node.sweep(now + 10_000_000 * (now / 64 % 2));
                }
            }
            for (binding, remote) in held {
                node.bindings.end(binding.id, remote, Ticks(0));
            }
        }
    };
    let threads: Vec<_> = (0..4)
        .map(|worker| std::thread::spawn(work(worker)))
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().expect("no panic"));
    node.sweep(1_000_000_000);
    node.sweep(2_000_000_000);
    assert_eq!((node.used(), node.bindings.iter().count()), (0, 0));
}
