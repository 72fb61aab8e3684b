//! The audit log: who changed what.

use std::fs;

use crate::support::{Daemon, runtime, upserts};
use ctl::access::{Permissions, Settings};
use ctl::proto::{Mode, NodeConfig};
use serde_json::Value;

fn start() -> Daemon {
    Daemon::start_with(|dir| {
        let config = NodeConfig {
            audit: Some(ctl::proto::Audit {
                path: dir.join("log/audit.jsonl").display().to_string(),
                objects_per_commit: Some(2),
                ..Default::default()
            }),
            ..NodeConfig::default()
        };
        Settings {
            read_only: Some((dir.join("view.sock"), Permissions::default())),
            ..Settings::new(&config).unwrap()
        }
    })
}

/// Stops the daemon and reads what it wrote.
fn lines(daemon: &mut Daemon) -> Vec<Value> {
    daemon.stop();
    let text = fs::read_to_string(daemon.dir.path().join("log/audit.jsonl")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_commit_is_written_down_with_what_was_and_what_is() {
    let mut daemon = start();
    runtime().block_on(async {
        let mut client = daemon.raw("ctl.sock").await;
        let two = "vrfs: [{name: a}, {name: b}, {name: c}]";
        client.apply(upserts("one", two)).await.unwrap();
        let mut replace = upserts("one", "vrfs: [{name: a, mode: routed}, {name: b}]");
        replace.mode = Mode::Replace.into();
        client.apply(replace.clone()).await.unwrap();
        // Changes nothing, and is nothing to write down.
        client.apply(replace).await.unwrap();
    });
    let lines = lines(&mut daemon);
    assert_eq!(lines.len(), 2, "{lines:#?}");
    let first = &lines[0];
    let caller = first["caller"].as_str().unwrap();
    assert!(
        caller.ends_with(&format!("pid {}", std::process::id())),
        "{caller}"
    );
    assert_eq!(first["call"], "Apply");
    assert_eq!(first["status"], "COMMITTED");
    assert_eq!(first["owner"], "one");
    assert_eq!(
        (&first["generation"], &first["created"]),
        (&1.into(), &3.into())
    );
    assert_eq!(first["left_out"], 1);
    assert_eq!(first["objects"][0]["object"], "vrf a");
    assert_eq!(first["objects"][0]["after"]["name"], "a");
    assert!(first["objects"][0].get("before").is_none());
    assert!(first["time"].as_str().unwrap().ends_with('Z'));
    let second = &lines[1];
    let changed = &second["objects"][0];
    assert_eq!(changed["change"], "updated");
    assert_eq!(changed["before"]["mode"], "both");
    assert_eq!(changed["after"]["mode"], "routed");
    assert_eq!(second["objects"][1]["change"], "deleted");
    assert!(second["objects"][1].get("after").is_none());
}

#[test]
fn what_was_refused_is_written_down_with_the_reason() {
    let mut daemon = start();
    runtime().block_on(async {
        let mut client = daemon.raw("ctl.sock").await;
        let bad = "routes: [{vrf: a, prefix: 10.0.0.0/8, nexthop: n}]";
        client.apply(upserts("one", bad)).await.unwrap();
        let mut viewer = daemon.raw("view.sock").await;
        viewer.apply(upserts("one", bad)).await.unwrap_err();
        viewer
            .hello(ctl::proto::HelloRequest::default())
            .await
            .unwrap();
    });
    let lines = lines(&mut daemon);
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert_eq!(lines[0]["status"], "REFUSED");
    let reason = lines[0]["reason"].as_str().unwrap();
    assert!(reason.starts_with("route a 10.0.0.0/8: "), "{reason}");
    assert_eq!(lines[1]["status"], "PERMISSION_DENIED");
    assert!(
        lines[1]["reason"]
            .as_str()
            .unwrap()
            .contains("may only read")
    );
}
