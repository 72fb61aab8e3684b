//! The engine with its threads: commits while traffic flows.

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::*;
use dataplane::engine::{Config, Engine, Idle};
use dataplane::io::memory;
use dataplane::stage::fragments::Limits;
use dataplane::tables::change::Change;
use dataplane::tables::spec::Key;
use encap::{MacAddr, MemBuffer};
use flowtable::Timeouts;

const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa]);
const B: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xb]);
const C: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xc]);

/// With two workers where there are two cores.
fn start(devices: &memory::Devices) -> Engine<MemBuffer> {
    let cores = core_affinity::get_core_ids().expect("cores");
    let cores: Vec<usize> = cores.iter().map(|core| core.id).take(2).collect();
    let config = Config {
        flows: 1_000,
        flow_memory: dataplane::memory::Settings::default(),
        seed: [1, 2, 3, 4],
        timeouts: Timeouts::default(),
        fragments: Default::default(),
        reassembly: Limits::REASSEMBLY,
        icmp_errors_per_second: 100,
        idle: Idle::Adaptive,
        pools: cores.iter().map(|_| Box::new(memory::Pool) as _).collect(),
        on_health: Arc::new(|_, _| {}),
        on_thread: Arc::new(|| Box::new(())),
        cores,
    };
    Engine::start(config, Box::new(devices.clone())).expect("these cores exist")
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "{what} took too long");
        std::thread::yield_now();
    }
}

#[test]
fn commits_lose_no_packet_of_those_they_do_not_touch() {
    let devices = memory::Devices::new();
    let [a, b, c] = ["a", "b", "c"].map(|name| devices.plug(&format!("memory:{name}"), 1));
    let mut engine = start(&devices);
    let objects = vec![
        vrf("red", &["10.1.0.1/24"]),
        tenant("a", "red", A, &["10.1.0.10"]),
        tenant("b", "red", B, &["10.1.0.11"]),
    ];
    let request_all = request(objects.into_iter().map(Change::Upsert).collect());
    engine.apply(&request_all, false).expect("two vifs");

    let frame = udp((A, "10.1.0.10"), (ROUTER, "10.1.0.11"), 64);
    let to_c = udp((A, "10.1.0.10"), (ROUTER, "10.1.0.12"), 64);
    let third = tenant("c", "red", C, &["10.1.0.12"]);
    let mut sent = 0;
    let mut arrived = 0;
    for round in 0..40 {
        for _ in 0..100 {
            assert!(a.send(&frame), "the ring has room");
            assert!(a.send(&to_c), "the ring has room");
        }
        sent += 100;
        let change = match round % 2 {
            0 => Change::Upsert(third.clone()),
            _ => Change::Delete(Key::Vif("c".into())),
        };
        let applied = engine.apply(&request(vec![change]), false).expect("a vif");
        assert_eq!(applied.generation, round + 2);
        assert_eq!(c.is_open(), round % 2 == 0, "closed when apply returns");
        wait_until("delivery", || {
            arrived += b.recv_all().len();
            arrived == sent
        });
        c.recv_all();
    }
    let vifs = engine.stats().vifs;
    let of = |name: &str| {
        let vif = vifs.iter().find(|vif| &*vif.name == name);
        vif.expect("it exists").totals.clone()
    };
    assert_eq!((of("a").rx_packets, of("b").tx_packets), (8_000, 4_000));
    engine.stop();
    assert!(!a.is_open() && !b.is_open());
}

#[test]
fn flows_count_for_their_owners_and_go_with_them() {
    let devices = memory::Devices::new();
    let [a, b] = ["a", "b"].map(|name| devices.plug(&format!("memory:{name}"), 1));
    let mut engine = start(&devices);
    let objects = vec![
        vrf("red", &["10.1.0.1/24"]),
        tenant("a", "red", A, &["10.1.0.10"]),
        tenant("b", "red", B, &["10.1.0.11"]),
    ];
    let all = request(objects.into_iter().map(Change::Upsert).collect());
    engine.apply(&all, false).expect("two vifs");
    a.send(&udp((A, "10.1.0.10"), (ROUTER, "10.1.0.11"), 64));
    wait_until("delivery", || b.recv().is_some());
    let stats = engine.stats();
    let used: Vec<u32> = stats.vifs.iter().map(|vif| vif.flows.used).collect();
    assert_eq!((used, stats.vrfs[0].flows.used), (vec![1, 0], 1));
    assert_eq!(stats.flows.usage.used, 1);
    assert_eq!(stats.flows.usage.limit, Some(1_000));
    assert!(stats.flows.memory.bytes >= engine.flows().memory_bytes());

    let delete = request(vec![Change::Delete(Key::Vif("a".into()))]);
    engine.apply(&delete, false).expect("nobody uses it");
    assert_eq!(engine.stats().flows.usage.used, 0);
    engine.stop();
}

#[test]
fn a_device_that_does_not_open_leaves_everything_as_it_was() {
    let devices = memory::Devices::new();
    let a = devices.plug("memory:a", 1);
    let mut engine = start(&devices);
    let both = request(
        vec![
            vrf("red", &[]),
            tenant("a", "red", A, &["10.1.0.10"]),
            tenant("b", "red", B, &["10.1.0.11"]),
        ]
        .into_iter()
        .map(Change::Upsert)
        .collect(),
    );
    let refusals = engine.apply(&both, false).expect_err("b is not plugged in");
    assert_eq!(refusals.len(), 1);
    assert!(!a.is_open());
    assert_eq!(engine.tables().generation(), 0);
    devices.plug("memory:b", 1);
    engine.apply(&both, false).expect("now it is");
    assert!(a.is_open());
}

#[test]
fn a_device_goes_to_another_vif_in_two_commits() {
    let devices = memory::Devices::new();
    devices.plug("memory:a", 1);
    let mut engine = start(&devices);
    let vif = tenant("a", "red", A, &["10.1.0.10"]);
    let first = request(vec![Change::Upsert(vrf("red", &[])), Change::Upsert(vif)]);
    engine.apply(&first, false).expect("a vif");
    let mut renamed = tenant("z", "red", A, &["10.1.0.10"]);
    if let dataplane::tables::spec::Object::Vif(vif) = &mut renamed {
        vif.device = "memory:a".into();
    }
    let rename = request(vec![
        Change::Delete(Key::Vif("a".into())),
        Change::Upsert(renamed),
    ]);
    // the dry run knows it, too
    for dry_run in [true, false] {
        let refusals = engine.apply(&rename, dry_run).expect_err("still open");
        assert_eq!(
            refusals[0].to_string(),
            "vif z: device: device `memory:a` belongs to vif a until it is deleted; \
             delete that in a request of its own first"
        );
    }
    for change in rename.changes {
        engine
            .apply(&request(vec![change]), false)
            .expect("one after the other");
    }
}

#[test]
fn the_loss_of_an_uplink_is_noticed_and_its_return_too() {
    let devices = memory::Devices::new();
    let [a, up0, up1] = ["a", "up0", "up1"].map(|name| devices.plug(&format!("memory:{name}"), 1));
    let mut engine = start(&devices);
    let neighbour = static_neighbour("192.0.2.2");
    let mut objects = vec![
        vrf("red", &["10.1.0.1/24"]),
        tenant("a", "red", A, &["10.1.0.10"]),
        fabric("up0", B, &["192.0.2.1/24"]),
        fabric("up1", B, &["192.0.2.1/24"]),
        tunnel("far", "192.0.2.2", 5001, None),
        route("red", "10.1.0.9/32", "far"),
    ];
    objects.extend(neighbour);
    let all = request(objects.into_iter().map(Change::Upsert).collect());
    engine.apply(&all, false).expect("two uplinks");
    // One flow, so it has one uplink.
    let frame = udp((A, "10.1.0.10"), (ROUTER, "10.1.0.9"), 64);
    let taken = |mut wanted: Option<bool>| {
        let started = Instant::now();
        wait_until("the flow's way", || {
            a.send(&frame);
            std::thread::sleep(Duration::from_millis(1));
            let by_first = !up0.recv_all().is_empty();
            let by_second = !up1.recv_all().is_empty();
            let one = by_first != by_second;
            one && *wanted.get_or_insert(by_first) == by_first
        });
        (wanted == Some(true), started.elapsed())
    };
    let (first, _) = taken(None);
    let own = if first { &up0 } else { &up1 };
    own.set_link(false);
    let (_, moved) = taken(Some(!first));
    own.set_link(true);
    let (_, back) = taken(Some(first));
    println!("moved after {moved:?}, back after {back:?}");
    engine.stop();
}

/// What makes an address of the underlay a static neighbour.
fn static_neighbour(addr: &str) -> Vec<dataplane::tables::spec::Object> {
    use dataplane::tables::spec::{Nexthop, NexthopAction, Object};
    let discard = Nexthop {
        name: "discard".into(),
        action: NexthopAction::Discard,
    };
    vec![
        Object::Nexthop(discard),
        mac("underlay", C, "discard", Some(addr)),
    ]
}
