//! What a node may cost: memory with the default flow table, time from start to
//! the first packet forwarded.
#![cfg(feature = "dpdk")]

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use tests::ledger::number;
use tests::topology::{Forwarding, objects, two_nodes, with_vif2};
use tests::{Lab, Machine, Vrouter, programs, until};

const MEMORY_KIB: u64 = 512 << 10;
const FLOWS: u64 = 1 << 20;

#[test]
fn it_forwards_within_two_seconds_in_less_than_half_a_gib() {
    let Some(lab) = Lab::enter() else { return };
    let (one, two) = two_nodes(&lab);
    let web = Machine::plug(&lab, "web", 5, (&one, "vif1"));
    let guest = Machine::plug(&lab, "guest", 6, (&one, "vif2"));
    let db = Machine::plug(&lab, "db", 9, (&two, "vif1"));
    one.silence("up0");
    web.know_the_router(&[]);
    let objects = with_vif2(&objects(1, &web, 2, &db, Forwarding::Routed), &guest);
    // On ordinary pages the table counts as resident, and takes longest to touch.
    let boot = format!(
        "flow_table_huge_pages: false\nobjects:\n{}",
        objects.replace('\n', "\n  ")
    );

    programs::vrouterd(); // built before the clock runs
    let start = Instant::now();
    let vrouter = Vrouter::spawn(Some(&one), 0, &boot);
    until(Duration::from_secs(10), "the gateway to answer", || {
        web.pings(Ipv4Addr::new(10, 1, 0, 1).into()).then_some(())
    });
    let elapsed = start.elapsed();
    vrouter.wait_until_it_answers();
    println!(
        "first answer after {:.2} s, {} MiB resident",
        elapsed.as_secs_f64(),
        peak_memory(&vrouter) >> 10
    );
    assert!(elapsed < Duration::from_secs(2), "{elapsed:?}");

    let used = fill_flow_table(&vrouter, &web, &guest);
    let peak = peak_memory(&vrouter);
    println!("{used} flows, {} MiB resident", peak >> 10);
    assert!(peak < MEMORY_KIB, "{peak} KiB");
}

/// Starts new flows until the table is as good as full; how many there are.
fn fill_flow_table(vrouter: &Vrouter, from: &Machine, to: &Machine) -> u64 {
    let table = |field: &str| number(&vrouter.stats()["flow_table"][field]);
    assert_eq!(table("limit"), FLOWS);
    let socket = || from.namespace.within(|| UdpSocket::bind((from.ipv4, 0)));
    let start = Instant::now();
    while table("used") < FLOWS * 9 / 10 {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "{}",
            table("used")
        );
        let socket = socket().expect("the machine has this address");
        for port in 1..=u16::MAX {
            // A full queue is no mistake here.
            _ = socket.send_to(b"", (to.ipv4, port));
        }
    }
    table("used")
}

/// The most memory that was ever resident, in KiB.
fn peak_memory(vrouter: &Vrouter) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", vrouter.id()));
    let status = status.expect("the daemon runs");
    let mut lines = status.lines();
    lines
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.trim().strip_suffix(" kB")?.parse().ok())
        .expect("the kernel tells the peak of resident memory")
}
