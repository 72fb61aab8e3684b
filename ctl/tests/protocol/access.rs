//! Who may call, how much of it, and what is written down about it.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::support::{Daemon, NET, runtime, upserts};
use ctl::access::{Limits, Permissions, Settings};
use ctl::proto::refusal::Code as Why;
use ctl::proto::{self, HelloRequest, ListRequest, Outcome, WatchRequest};
use tonic::Code;

fn with_read_only(dir: &Path) -> Settings {
    Settings {
        read_only: Some((dir.join("view.sock"), Permissions::default())),
        ..Settings::default()
    }
}

fn with_limits(limits: Limits) -> impl FnOnce(&Path) -> Settings {
    move |dir| Settings {
        limits,
        ..with_read_only(dir)
    }
}

/// Some six megabytes of objects, which no client reads at once.
fn much() -> String {
    let prefixes: Vec<String> = (0..20_000u32)
        .map(|index| format!("{}/32", std::net::Ipv4Addr::from(0x0a00_0000 + index)))
        .collect();
    let prefixes = prefixes.join(", ");
    let sets = (0..20).map(|set| format!("  - {{name: set-{set:02}, prefixes: [{prefixes}]}}\n"));
    format!("address_sets:\n{}", sets.collect::<String>())
}

#[test]
fn hello_says_who_answers_and_what_the_caller_may() {
    let daemon = Daemon::start_with(with_read_only);
    runtime().block_on(async {
        let mut client = daemon.raw("ctl.sock").await;
        client.apply(upserts("tester", NET)).await.unwrap();
        let hello = client.hello(HelloRequest::default()).await.unwrap();
        let hello = hello.into_inner();
        assert_eq!(hello.protocols, ["vrouter.v1"]);
        assert_eq!((hello.generation, hello.watch_from_generation), (1, 0));
        for call in ["Hello", "Apply", "Watch", "Stats"] {
            assert!(hello.calls.iter().any(|it| it == call), "{call}");
        }
        assert!(hello.kinds.contains(&"snat_pool".into()));
        assert_eq!(hello.limits, Some(Limits::default().written()));
        assert!(
            hello
                .caller
                .contains(&format!("pid {}", std::process::id()))
        );
        assert_eq!(hello.access(), proto::Access::ReadWrite);
        assert_ne!(hello.instance, 0);

        let mut client = daemon.raw("view.sock").await;
        let hello = client.hello(HelloRequest::default()).await.unwrap();
        assert_eq!(hello.into_inner().access(), proto::Access::ReadOnly);
    });
}

#[test]
fn callers_of_the_read_only_socket_read_and_change_nothing() {
    let daemon = Daemon::start_with(with_read_only);
    runtime().block_on(async {
        let mut client = daemon.raw("view.sock").await;
        let status = client.apply(upserts("tester", NET)).await.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied);
        assert!(status.message().contains("may only read"), "{status}");
        let stats = client.stats(proto::StatsRequest::default()).await.unwrap();
        assert_eq!(stats.into_inner().generation, 0);
        assert!(client.list(ListRequest::default()).await.is_ok());
        assert!(client.watch(WatchRequest::default()).await.is_ok());
    });
}

#[test]
fn a_socket_has_the_permissions_that_were_asked_for() {
    use std::os::unix::fs::MetadataExt;
    let daemon = Daemon::start_with(|_| Settings {
        socket: Permissions {
            mode: 0o600,
            ..Permissions::default()
        },
        ..Settings::default()
    });
    let metadata = std::fs::metadata(daemon.socket()).unwrap();
    assert_eq!(metadata.mode() & 0o777, 0o600);
}

#[test]
fn too_many_changes_are_refused_by_name() {
    let daemon = Daemon::start_with(with_limits(Limits {
        changes_per_apply: 7,
        ..Limits::default()
    }));
    runtime().block_on(async {
        let mut client = daemon.raw("ctl.sock").await;
        let response = client.apply(upserts("tester", NET)).await.unwrap();
        let response = response.into_inner();
        assert_eq!(response.outcome(), Outcome::Refused);
        let refusal = &response.refusals[0];
        assert_eq!((refusal.code(), &*refusal.field), (Why::Limit, "changes"));
        assert!(refusal.reason.contains("limits.changes_per_apply"));
    });
}

#[test]
fn a_message_is_as_long_as_the_limit_says() {
    let daemon = Daemon::start_with(with_limits(Limits {
        message_bytes: 65_536,
        ..Limits::default()
    }));
    runtime().block_on(async {
        let mut client = daemon.raw("ctl.sock").await;
        let status = client.apply(upserts("tester", &much())).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert!(
            status.message().contains("limits.message_bytes"),
            "{status}"
        );
        assert!(status.message().contains("65536"), "{status}");
    });
}

#[test]
fn too_many_calls_are_refused_by_name_and_readers_leave_half() {
    let daemon = Daemon::start_with(with_limits(Limits {
        calls: 4,
        ..Limits::default()
    }));
    runtime().block_on(async {
        let mut viewer = daemon.raw("view.sock").await;
        let mut held = Vec::new();
        for _ in 0..2 {
            held.push(viewer.watch(WatchRequest::default()).await.unwrap());
        }
        let status = viewer.hello(HelloRequest::default()).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert!(
            status.message().contains("limits.calls: 2 calls"),
            "{status}"
        );

        let mut client = daemon.raw("ctl.sock").await;
        for _ in 0..2 {
            held.push(client.watch(WatchRequest::default()).await.unwrap());
        }
        let status = client.hello(HelloRequest::default()).await.unwrap_err();
        assert!(
            status.message().contains("limits.calls: 4 calls"),
            "{status}"
        );
        drop(held);
        // The daemon hears of it a moment later.
        while client.hello(HelloRequest::default()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
}

#[test]
fn connections_beyond_the_limit_are_closed() {
    let daemon = Daemon::start_with(with_limits(Limits {
        connections: 2,
        ..Limits::default()
    }));
    runtime().block_on(async {
        let mut first = daemon.raw("ctl.sock").await;
        let mut second = daemon.raw("ctl.sock").await;
        first.hello(HelloRequest::default()).await.unwrap();
        second.hello(HelloRequest::default()).await.unwrap();
        let mut third = UnixStream::connect(daemon.socket()).unwrap();
        assert_eq!(third.read(&mut [0]).unwrap(), 0, "it is closed");
        first.hello(HelloRequest::default()).await.unwrap();
    });
}

/// Four readers that stop reading hold every place there is, until they are cut off.
#[test]
fn who_does_not_read_is_cut_off_and_holds_nothing() {
    let daemon = Daemon::start_with(with_limits(Limits {
        calls: 4,
        slow_reader: Duration::from_millis(200),
        ..Limits::default()
    }));
    runtime().block_on(async {
        let mut client = daemon.raw("ctl.sock").await;
        client.apply(upserts("tester", &much())).await.unwrap();
        let mut stuck = Vec::new();
        for _ in 0..4 {
            let mut client = daemon.raw("ctl.sock").await;
            let list = client.list(ListRequest::default()).await.unwrap();
            stuck.push((client, list.into_inner()));
        }
        assert!(client.hello(HelloRequest::default()).await.is_err());
        while client.hello(HelloRequest::default()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // One has its place back; the others were not much later.
        tokio::time::sleep(Duration::from_millis(600)).await;
        for (_, list) in &mut stuck {
            let status = loop {
                match list.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("a list that was cut off looks whole"),
                    Err(status) => break status,
                }
            };
            assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
            assert!(
                status.message().contains("limits.slow_reader_ms"),
                "{status}"
            );
        }
    });
}

/// A watcher that reads all the time and hears nothing is no slow reader.
#[test]
fn who_waits_for_news_is_not_cut_off() {
    let daemon = Daemon::start_with(with_limits(Limits {
        slow_reader: Duration::from_millis(100),
        ..Limits::default()
    }));
    runtime().block_on(async {
        let mut client = daemon.raw("ctl.sock").await;
        let watch = client.watch(WatchRequest::default()).await.unwrap();
        let mut watch = watch.into_inner();
        let synced = watch.message().await.unwrap().unwrap();
        assert!(matches!(
            synced.event,
            Some(proto::watch_response::Event::Synced(_))
        ));
        let quiet = tokio::time::timeout(Duration::from_millis(500), watch.message());
        assert!(quiet.await.is_err());
        client.apply(upserts("tester", NET)).await.unwrap();
        assert_eq!(watch.message().await.unwrap().unwrap().generation, 1);
    });
}
