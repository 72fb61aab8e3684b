//! `Watch`: what is told, in which order, and from where on.

use crate::support::{Daemon, runtime, upserts};
use ctl::access::{Limits, Settings};
use ctl::proto::vrouter_client::VrouterClient;
use ctl::proto::watch_response::Event;
use ctl::proto::{self, ApplyRequest, ChangeKind, EventKind, Mode, WatchRequest, WatchResponse};
use tonic::{Code, Streaming};

fn from(generation: u64) -> WatchRequest {
    WatchRequest {
        from_generation: Some(generation),
        ..Default::default()
    }
}

async fn next(watch: &mut Streaming<WatchResponse>) -> WatchResponse {
    watch.message().await.unwrap().unwrap()
}

/// Everything up to `Synced`.
async fn until_synced(watch: &mut Streaming<WatchResponse>) -> Vec<WatchResponse> {
    let mut told = Vec::new();
    loop {
        let response = next(watch).await;
        if matches!(response.event, Some(Event::Synced(_))) {
            return told;
        }
        told.push(response);
    }
}

fn commit(response: &WatchResponse) -> &proto::Commit {
    match &response.event {
        Some(Event::Commit(commit)) => commit,
        other => panic!("{other:?}"),
    }
}

fn changes(commit: &proto::Commit) -> Vec<(String, ChangeKind)> {
    let objects = commit.objects.iter();
    let objects = objects.map(|object| {
        let key = ctl::convert::key(object.key.as_ref().unwrap()).unwrap();
        (key.to_string(), object.change())
    });
    objects.collect()
}

#[test]
fn commits_are_told_with_owner_caller_and_objects() {
    let daemon = Daemon::start();
    runtime().block_on(async {
        let mut client = daemon.raw("ctl.sock").await;
        let watch = client.watch(WatchRequest::default()).await.unwrap();
        let mut watch = watch.into_inner();
        assert!(until_synced(&mut watch).await.is_empty());
        let two = "vrfs: [{name: a}, {name: b}]";
        client.apply(upserts("one", two)).await.unwrap();
        let change = ApplyRequest {
            mode: Mode::Replace.into(),
            ..upserts("one", "vrfs: [{name: a, mode: routed}]")
        };
        client.apply(change).await.unwrap();

        let first = next(&mut watch).await;
        assert_eq!((first.generation, first.initial), (1, false));
        assert!(first.time_ms > 1_700_000_000_000);
        let first = commit(&first);
        assert_eq!(first.owner, "one");
        assert!(first.caller.starts_with("uid "), "{}", first.caller);
        let created = |name: &str| (format!("vrf {name}"), ChangeKind::Created);
        assert_eq!(changes(first), [created("a"), created("b")]);
        let second = next(&mut watch).await;
        let expected = [
            ("vrf a".into(), ChangeKind::Updated),
            ("vrf b".into(), ChangeKind::Deleted),
        ];
        assert_eq!(changes(commit(&second)), expected);
    });
}

#[test]
fn a_watch_goes_on_after_the_generation_that_was_seen_last() {
    let daemon = Daemon::start();
    runtime().block_on(async {
        let mut client = daemon.raw("ctl.sock").await;
        for number in 0..5 {
            let vrf = format!("vrfs: [{{name: v{number}}}]");
            client.apply(upserts("one", &vrf)).await.unwrap();
        }
        for seen in 0..=5 {
            let mut watch = client.watch(from(seen)).await.unwrap().into_inner();
            let told = until_synced(&mut watch).await;
            let generations: Vec<u64> = told.iter().map(|it| it.generation).collect();
            assert_eq!(generations, (seen + 1..=5).collect::<Vec<_>>());
        }
        let status = client.watch(from(6)).await.unwrap_err();
        assert_eq!(status.code(), Code::OutOfRange);
        assert!(
            status.message().contains("the last generation is 5"),
            "{status}"
        );
    });
}

#[test]
fn what_the_history_does_not_reach_is_refused() {
    let daemon = Daemon::start_with(|_| Settings {
        limits: Limits {
            watch_history: 10,
            ..Limits::default()
        },
        ..Settings::default()
    });
    runtime().block_on(async {
        let mut client = daemon.raw("ctl.sock").await;
        // Each takes two places: itself and its object.
        for number in 0..8 {
            let vrf = format!("vrfs: [{{name: v{number}}}]");
            client.apply(upserts("one", &vrf)).await.unwrap();
        }
        let status = client.watch(from(2)).await.unwrap_err();
        assert_eq!(status.code(), Code::OutOfRange);
        assert!(
            status.message().contains("begins after generation 3"),
            "{status}"
        );
        let hello = client.hello(proto::HelloRequest::default()).await.unwrap();
        assert_eq!(hello.into_inner().watch_from_generation, 3);
        let mut watch = client.watch(from(3)).await.unwrap().into_inner();
        assert_eq!(until_synced(&mut watch).await.len(), 5);
    });
}

#[test]
fn a_commit_of_many_objects_comes_in_several_events() {
    let daemon = Daemon::start();
    runtime().block_on(async {
        let mut client = daemon.raw("ctl.sock").await;
        let vnis = (0..10_000).map(|vni| format!("  - {{vni: {vni}, vrf: a}}\n"));
        let text = format!("vrfs: [{{name: a}}]\nvnis:\n{}", vnis.collect::<String>());
        client.apply(upserts("one", &text)).await.unwrap();
        let mut watch = client.watch(from(0)).await.unwrap().into_inner();
        let told = until_synced(&mut watch).await;
        let more: Vec<bool> = told.iter().map(|it| commit(it).more).collect();
        assert_eq!(more, [true, true, false]);
        let objects: usize = told.iter().map(|it| commit(it).objects.len()).sum();
        assert_eq!(objects, 10_001);
    });
}

#[test]
fn links_are_told_as_they_are_and_as_they_change() {
    let daemon = Daemon::start();
    let peer = daemon.devices.plug("memory:v", 1);
    let vif = "
vrfs: [{name: a}]
vifs: [{name: v, role: tenant, device: 'memory:v', vrf: a, mac: '02:00:00:00:00:05'}]
";
    runtime().block_on(async {
        let mut client = daemon.raw("ctl.sock").await;
        let links = WatchRequest {
            kinds: vec![EventKind::Link.into()],
            ..Default::default()
        };
        let mut watch = client.watch(links.clone()).await.unwrap().into_inner();
        assert!(until_synced(&mut watch).await.is_empty());
        client.apply(upserts("one", vif)).await.unwrap();
        let link = |up| {
            Some(Event::Link(proto::LinkEvent {
                vif: "v".into(),
                up,
            }))
        };
        let news = next(&mut watch).await;
        assert_eq!((news.event, news.initial), (link(true), false));
        peer.set_link(false);
        assert_eq!(next(&mut watch).await.event, link(false));

        let mut late = client.watch(links).await.unwrap().into_inner();
        let told = until_synced(&mut late).await;
        assert_eq!(told.len(), 1);
        assert_eq!(
            (told[0].event.clone(), told[0].initial),
            (link(false), true)
        );
    });
}

#[test]
fn a_kind_that_is_none_is_refused() {
    let daemon = Daemon::start();
    runtime().block_on(async {
        let mut client = daemon.raw("ctl.sock").await;
        for kind in [0, 99] {
            let request = WatchRequest {
                kinds: vec![kind],
                ..Default::default()
            };
            let status = client.watch(request).await.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        }
    });
}

/// A watcher that does not read while the history goes on finds out that it missed something.
#[test]
fn who_falls_out_of_the_history_is_told() {
    let daemon = Daemon::start_with(|_| Settings {
        limits: Limits {
            watch_history: 5000,
            ..Limits::default()
        },
        ..Settings::default()
    });
    runtime().block_on(async {
        let mut client = daemon.raw("ctl.sock").await;
        client
            .apply(upserts("one", "vrfs: [{name: a}]"))
            .await
            .unwrap();
        let channel = daemon.channel_with_window("ctl.sock", Some(65_535)).await;
        let mut stuck = VrouterClient::new(channel);
        let watch = stuck.watch(WatchRequest::default()).await.unwrap();
        let mut watch = watch.into_inner();
        until_synced(&mut watch).await;
        // Each commit is more than the connection's window holds.
        let vnis = (0..4000).map(|vni| format!("  - {{vni: {vni}, vrf: a}}\n"));
        let all = upserts("two", &format!("vnis:\n{}", vnis.collect::<String>()));
        let none = ApplyRequest {
            owner: "two".into(),
            mode: Mode::Replace.into(),
            ..Default::default()
        };
        for _ in 0..8 {
            client.apply(all.clone()).await.unwrap();
            client.apply(none.clone()).await.unwrap();
        }
        let status = loop {
            match watch.message().await {
                Ok(Some(_)) => {}
                other => break other.unwrap_err(),
            }
        };
        assert_eq!(status.code(), Code::OutOfRange, "{status}");
        assert!(
            status.message().contains("limits.watch_history"),
            "{status}"
        );
    });
}
