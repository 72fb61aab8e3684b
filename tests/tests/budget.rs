//! What a node may cost: memory with the default flow table, time from start to
//! the first packet forwarded.
#![cfg(feature = "dpdk")]

use std::fs;
use std::time::{Duration, Instant};

use tests::topology::{Forwarding, objects, two_nodes};
use tests::{Lab, Machine, Vrouter, until};

#[test]
fn it_forwards_within_two_seconds_in_less_than_half_a_gib() {
    let Some(lab) = Lab::enter() else { return };
    let (one, two) = two_nodes(&lab);
    let web = Machine::plug(&lab, "web", 5, (&one, "vif1"));
    let db = Machine::plug(&lab, "db", 9, (&two, "vif1"));
    one.silence("up0");
    // The kernel repeats an unanswered ARP request only after a second.
    web.namespace
        .run("ip neigh replace 10.1.0.1 lladdr 00:00:5e:00:01:00 dev eth0");
    let objects = objects(1, &web, 2, &db, Forwarding::Routed);
    let boot = format!("objects:\n{}", objects.replace('\n', "\n  "));

    let start = Instant::now();
    let vrouter = Vrouter::spawn(Some(&one), 0, &boot);
    until(Duration::from_secs(10), "the gateway to answer", || {
        let ping = web.namespace.try_run("ping -c 1 -W 0.05 10.1.0.1");
        (ping.status == Some(0)).then_some(())
    });
    let elapsed = start.elapsed();

    vrouter.wait_until_it_answers();
    let limit = &vrouter.stats()["flow_table"]["limit"];
    assert_eq!(tests::vrouter::number(limit), 1 << 20, "flows");
    let status =
        fs::read_to_string(format!("/proc/{}/status", vrouter.id())).expect("the daemon runs");
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok())
        .expect("the kernel tells the peak of resident memory");
    println!(
        "first answer after {:.2} s, {} MiB at most",
        elapsed.as_secs_f64(),
        peak >> 10
    );
    assert!(elapsed < Duration::from_secs(2), "{elapsed:?}");
    assert!(peak < 512 << 10, "{peak} KiB");
}
