//! A controller that comes back, and a daemon that does: what is as wanted is not
//! disturbed, under traffic.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ctl::files::ObjectFiles;
use ctl::proto::{self, ApplyRequest, Mode, Outcome};
use dataplane::io::memory::Peer;
use encap::checksum;
use support::{Daemon, runtime};

const OBJECTS: &str = r#"
vrfs:
  - {name: front, gateways: [10.1.0.1/24]}
vifs:
  - {name: web-1, role: tenant, device: "memory:1", vrf: front, mac: "02:00:00:00:01:05", addresses: [10.1.0.5]}
  - {name: web-2, role: tenant, device: "memory:2", vrf: front, mac: "02:00:00:00:01:06", addresses: [10.1.0.6]}
nexthops:
  - {name: nowhere, discard: {}}
"#;

/// One that is wanted now and then.
const EXTRA: &str = "routes:\n  - {vrf: front, prefix: 10.9.0.0/16, nexthop: nowhere}\n";

fn wanted(text: &str) -> ApplyRequest {
    let mut files = ObjectFiles::default();
    files.read("test", text);
    ApplyRequest {
        mode: Mode::Replace.into(),
        ..files.request("tester")
    }
}

/// UDP of web-1 to web-2, through the router.
fn frame() -> Vec<u8> {
    let mut frame = vec![0, 0, 0x5e, 0, 1, 0, 2, 0, 0, 0, 1, 5, 8, 0];
    frame.extend([0x45, 0, 0, 36, 0, 0, 0x40, 0, 64, 17, 0, 0]);
    frame.extend([10, 1, 0, 5, 10, 1, 0, 6]);
    let sum = checksum::Sum::new().bytes(&frame[14..34]).finish();
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame.extend([0x80, 0, 0, 53, 0, 16, 0, 0]);
    frame.extend([0; 8]);
    frame
}

/// Sends until told to stop; how many frames were sent and have arrived.
fn traffic(from: &Peer, to: &Peer, stop: &AtomicBool) -> (u64, u64) {
    let frame = frame();
    let (mut sent, mut arrived) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        sent += u64::from(from.send(&frame));
        arrived += to.recv_all().len() as u64;
        std::thread::sleep(Duration::from_micros(100));
    }
    let deadline = Instant::now() + Duration::from_secs(5);
    while arrived < sent && Instant::now() < deadline {
        arrived += to.recv_all().len() as u64;
    }
    (sent, arrived)
}

async fn flows(client: &mut ctl::client::Client) -> Vec<proto::Flow> {
    let mut stream = client.flows(proto::FlowsRequest::default()).await.unwrap();
    let mut flows = Vec::new();
    while let Some(some) = stream.message().await.unwrap() {
        flows.extend(some.flows);
    }
    flows
}

#[test]
fn replacing_disturbs_nothing_that_is_as_wanted() {
    let daemon = Daemon::start();
    let web_1 = daemon.devices.plug("memory:1", 1);
    let web_2 = daemon.devices.plug("memory:2", 1);
    let stop = AtomicBool::new(false);
    let runtime = runtime();
    let mut client = runtime.block_on(async {
        let mut client = daemon.client().await;
        client.apply(wanted(OBJECTS)).await.unwrap();
        // Another controller's are none of its business.
        let mut other = wanted("vrfs:\n  - {name: back}\n");
        other.owner = "other".into();
        client.apply(other).await.unwrap();
        client
    });
    let (sent, arrived) = std::thread::scope(|scope| {
        let counting = scope.spawn(|| traffic(&web_1, &web_2, &stop));
        let resynced = runtime.block_on(resync(&mut client, 50));
        stop.store(true, Ordering::Relaxed);
        assert_eq!(resynced, Ok(()));
        counting.join().unwrap()
    });
    assert!(sent > 10, "{sent}");
    assert_eq!(arrived, sent);
    runtime.block_on(async {
        // One flow all along, which has counted every packet.
        let flows = flows(&mut client).await;
        assert_eq!(flows.len(), 1);
        assert_eq!(flows[0].forward.as_ref().unwrap().packets, sent);
        let (objects, _) = client.list(&[], Some("other".into())).await.unwrap();
        assert_eq!(objects.len(), 1);
        let stats = client.stats().await.unwrap();
        let web_2 = stats.vifs.iter().find(|it| it.name == "web-2").unwrap();
        assert_eq!(web_2.tx_packets, sent);
    });
}

/// Wants one object more and then no longer, so often; the first answer that is not right.
async fn resync(client: &mut ctl::client::Client, rounds: u32) -> Result<(), String> {
    for _ in 0..rounds {
        let more = wanted(&format!("{OBJECTS}{EXTRA}"));
        let more = client.apply(more).await.map_err(|it| it.to_string())?;
        let less = client
            .apply(wanted(OBJECTS))
            .await
            .map_err(|it| it.to_string())?;
        let same = client
            .apply(wanted(OBJECTS))
            .await
            .map_err(|it| it.to_string())?;
        let gone = less.changes.as_ref().and_then(|it| it.delete.first());
        let gone = gone.and_then(|key| ctl::convert::key(key).ok());
        let is_right = (more.created, more.unchanged) == (1, 4)
            && (less.deleted, less.unchanged) == (1, 4)
            && gone.is_some_and(|it| it.to_string() == "route front 10.9.0.0/16")
            && (same.outcome(), same.unchanged) == (Outcome::Unchanged, 4);
        if !is_right {
            return Err(format!("{more:?}\n{less:?}\n{same:?}"));
        }
    }
    Ok(())
}

#[test]
fn a_daemon_forwards_from_its_state_before_anybody_connects() {
    let state = tempfile::tempdir().unwrap();
    {
        let mut daemon = Daemon::start_in(state.path());
        daemon.devices.plug("memory:1", 1);
        daemon.devices.plug("memory:2", 1);
        runtime().block_on(async {
            let mut client = daemon.client().await;
            let response = client.apply(wanted(OBJECTS)).await.unwrap();
            assert_eq!(response.generation, 1);
        });
        daemon.stop();
    }
    let devices = dataplane::io::memory::Devices::new();
    let web_1 = devices.plug("memory:1", 1);
    let web_2 = devices.plug("memory:2", 1);
    let daemon = Daemon::start_with_devices(Some(state.path()), devices);
    web_1.send(&frame());
    wait_for("a packet", || web_2.recv().is_some());
    runtime().block_on(async {
        let mut client = daemon.client().await;
        let again = client.apply(wanted(OBJECTS)).await.unwrap();
        assert_eq!((again.outcome(), again.generation), (Outcome::Unchanged, 1));
        let more = client
            .apply(wanted(&format!("{OBJECTS}{EXTRA}")))
            .await
            .unwrap();
        assert_eq!(more.generation, 2);
    });
}

#[test]
fn a_vif_without_its_device_waits_for_it_and_the_others_forward() {
    let state = tempfile::tempdir().unwrap();
    let three = OBJECTS.replace(
        "nexthops:",
        r#"  - {name: late, role: tenant, device: "memory:late", vrf: front, mac: "02:00:00:00:01:07", addresses: [10.1.0.7]}
nexthops:"#,
    );
    {
        let mut daemon = Daemon::start_in(state.path());
        for device in ["memory:1", "memory:2", "memory:late"] {
            daemon.devices.plug(device, 1);
        }
        runtime().block_on(async {
            let mut client = daemon.client().await;
            let response = client.apply(wanted(&three)).await.unwrap();
            assert_eq!(response.outcome(), Outcome::Committed);
        });
        daemon.stop();
    }
    let devices = dataplane::io::memory::Devices::new();
    let web_1 = devices.plug("memory:1", 1);
    let web_2 = devices.plug("memory:2", 1);
    let daemon = Daemon::start_with_devices(Some(state.path()), devices.clone());
    web_1.send(&frame());
    wait_for("a packet", || web_2.recv().is_some());
    // What goes to the vif without its device is dropped by name.
    let mut to_late = frame();
    to_late[33] = 7;
    to_late[24..26].copy_from_slice(&[0, 0]);
    let sum = checksum::Sum::new().bytes(&to_late[14..34]).finish();
    to_late[24..26].copy_from_slice(&sum.to_be_bytes());
    web_1.send(&to_late);
    runtime().block_on(async {
        let mut client = daemon.client().await;
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let stats = client.stats().await.unwrap();
            let web_1 = stats.vifs.iter().find(|it| it.name == "web-1").unwrap();
            let dropped = web_1
                .drops
                .iter()
                .any(|it| it.reason == "vif_gone" && it.packets == 1);
            if dropped {
                break;
            }
            assert!(Instant::now() < deadline, "{web_1:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let late = devices.plug("memory:late", 1);
    wait_for("the device to be opened", || late.is_open());
    wait_for("a packet", || {
        web_1.send(&to_late);
        late.recv().is_some()
    });
}

fn wait_for(what: &str, mut it: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !it() {
        assert!(Instant::now() < deadline, "no sign of {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
