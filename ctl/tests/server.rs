//! The protocol over a real socket to a real engine.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use ctl::client::{Client, Error};
use ctl::files::ObjectFiles;
use ctl::proto::refusal::Code;
use ctl::proto::{self, ApplyRequest, Change, Mode, Outcome};
use prost::Message;
use support::{Daemon, NET, runtime};
use tonic::Code as Grpc;

fn upserts(text: &str) -> ApplyRequest {
    let mut files = ObjectFiles::default();
    files.read("test", text);
    files.request("tester")
}

/// Each refusal as `change object: field: reason`.
fn reasons(response: &proto::ApplyResponse) -> Vec<String> {
    let text = |refusal: &proto::Refusal| {
        let object = refusal.object.as_ref().map(|key| {
            let key = ctl::convert::key(key).unwrap();
            format!(" {key}")
        });
        let change = refusal.change.map(|change| change.to_string());
        format!(
            "{}{}: {}: {}",
            change.unwrap_or("-".into()),
            object.unwrap_or_default(),
            refusal.field,
            refusal.reason
        )
    };
    response.refusals.iter().map(text).collect()
}

/// A client as any language generates it, with the limits that it has unless somebody says otherwise.
async fn foreign_client(
    socket: std::path::PathBuf,
) -> proto::vrouter_client::VrouterClient<tonic::transport::Channel> {
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move {
            let stream = tokio::net::UnixStream::connect(socket).await?;
            Ok::<_, std::io::Error>(hyper_util::rt::TokioIo::new(stream))
        }
    });
    let channel = tonic::transport::Endpoint::from_static("http://localhost")
        .connect_with_connector(connector)
        .await
        .unwrap();
    proto::vrouter_client::VrouterClient::new(channel)
}

#[test]
fn the_same_request_twice_makes_one_generation() {
    let daemon = Daemon::start();
    runtime().block_on(async {
        let mut client = daemon.client().await;
        let first = client.apply(upserts(NET)).await.unwrap();
        assert_eq!(first.outcome(), Outcome::Committed);
        assert_eq!((first.generation, first.created), (1, 8));
        let second = client.apply(upserts(NET)).await.unwrap();
        assert_eq!(second.outcome(), Outcome::Unchanged);
        assert_eq!((second.generation, second.unchanged), (1, 8));
    });
}

#[test]
fn what_was_applied_is_listed_with_its_owner_and_got_by_key() {
    let daemon = Daemon::start();
    runtime().block_on(async {
        let mut client = daemon.client().await;
        client.apply(upserts(NET)).await.unwrap();
        let (objects, generation) = client.list(&[], None).await.unwrap();
        assert_eq!((objects.len(), generation), (8, 1));
        assert!(objects.iter().all(|stored| stored.owner == "tester"));
        let (routes, _) = client.list(&[proto::Kind::Route], None).await.unwrap();
        assert_eq!(routes.len(), 2);
        let key = |vni| proto::Key {
            key: Some(proto::key::Key::Vni(vni)),
        };
        assert!(client.get(key(5001)).await.unwrap().is_some());
        assert!(client.get(key(5002)).await.unwrap().is_none());
        let error = client.get(key(1 << 24)).await.unwrap_err();
        assert!(matches!(error, Error::Refused(_)), "{error}");
    });
}

#[test]
fn a_list_longer_than_a_message_is_whole_and_in_order() {
    let daemon = Daemon::start();
    runtime().block_on(async {
        let mut client = daemon.client().await;
        let vnis: String = (0..1024)
            .map(|vni| format!("  - {{vni: {vni}, vrf: a}}\n"))
            .collect();
        let text = format!("vrfs: [{{name: a}}]\nvnis:\n{vnis}");
        client.apply(upserts(&text)).await.unwrap();
        let (objects, _) = client.list(&[proto::Kind::Vni], None).await.unwrap();
        assert_eq!(objects.len(), 1024);
        let numbers: Vec<_> = objects
            .iter()
            .map(|stored| match &stored.object.as_ref().unwrap().object {
                Some(proto::object::Object::Vni(vni)) => vni.vni.unwrap(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert!(numbers.is_sorted());
    });
}

#[test]
fn large_objects_come_in_messages_that_any_client_takes() {
    let daemon = Daemon::start();
    runtime().block_on(async {
        let prefixes: Vec<String> = (0..20_000u32)
            .map(|index| format!("{}/32", std::net::Ipv4Addr::from(0x0a00_0000 + index)))
            .collect();
        let sets: String = (0..20)
            .map(|set| {
                format!(
                    "  - {{name: set-{set:02}, prefixes: [{}]}}\n",
                    prefixes.join(", ")
                )
            })
            .collect();
        let request = upserts(&format!("address_sets:\n{sets}"));
        daemon.client().await.apply(request).await.unwrap();
        let mut client = foreign_client(daemon.socket()).await;
        let list = client.list(proto::ListRequest::default()).await.unwrap();
        let mut list = list.into_inner();
        let (mut messages, mut objects) = (0, 0);
        while let Some(response) = list.message().await.unwrap() {
            messages += 1;
            objects += response.objects.len();
        }
        assert_eq!(objects, 20);
        assert!(messages > 1);
    });
}

#[test]
fn a_replacing_request_deletes_what_it_does_not_name_of_its_owner_only() {
    let daemon = Daemon::start();
    runtime().block_on(async {
        let mut client = daemon.client().await;
        client.apply(upserts(NET)).await.unwrap();
        let other = ApplyRequest {
            owner: "other".into(),
            ..upserts("vrfs: [{name: third}]")
        };
        client.apply(other).await.unwrap();
        let less = ApplyRequest {
            mode: Mode::Replace.into(),
            ..upserts("vrfs: [{name: front, gateways: [10.1.0.1/24, 'fd01::1/64']}]")
        };
        let response = client.apply(less).await.unwrap();
        assert_eq!((response.deleted, response.unchanged), (7, 1));
        let (left, _) = client.list(&[], None).await.unwrap();
        assert_eq!(left.len(), 2);
        let (others, _) = client.list(&[], Some("other".into())).await.unwrap();
        assert_eq!(others.len(), 1);
    });
}

#[test]
fn a_dry_run_tells_and_changes_nothing() {
    let daemon = Daemon::start();
    runtime().block_on(async {
        let mut client = daemon.client().await;
        let dry = ApplyRequest {
            dry_run: true,
            ..upserts(NET)
        };
        let response = client.apply(dry).await.unwrap();
        assert_eq!(response.outcome(), Outcome::Checked);
        assert_eq!(response.created, 8);
        assert_eq!(response.plan.unwrap().create.len(), 8);
        assert_eq!(client.stats().await.unwrap().generation, 0);
    });
}

#[test]
fn a_stale_generation_is_refused() {
    let daemon = Daemon::start();
    runtime().block_on(async {
        let mut client = daemon.client().await;
        client.apply(upserts(NET)).await.unwrap();
        let stale = ApplyRequest {
            if_generation: Some(0),
            ..upserts("vrfs: [{name: third}]")
        };
        let response = client.apply(stale).await.unwrap();
        assert_eq!(response.outcome(), Outcome::Refused);
        assert_eq!(response.refusals[0].code(), Code::StaleGeneration);
        assert_eq!(response.generation, 1);
    });
}

#[test]
fn malformed_objects_and_bad_references_are_refused_together() {
    let daemon = Daemon::start();
    runtime().block_on(async {
        let mut client = daemon.client().await;
        let request = upserts(
            "
vrfs: [{name: a, mac: '02:00'}]
nexthops: [{name: n, discard: {}}]
routes:
  - {vrf: a, prefix: 10.0.0.0/8, nexthop: n}
  - {vrf: a, prefix: 11.0.0.0/8, nexthop: m}
  - {vrf: a, prefix: 12.0.0.1/8, nexthop: n}
",
        );
        let response = client.apply(request).await.unwrap();
        assert_eq!(response.outcome(), Outcome::Refused);
        assert_eq!(
            reasons(&response),
            [
                "0 vrf a: mac: `02:00` is not a MAC address; write six hex bytes like 02:00:00:00:01:05",
                "3 route a 11.0.0.0/8: nexthop: there is no nexthop named `m`",
                "4: prefix: 12.0.0.1/8 has bits set after its length; write 12.0.0.0/8 or 12.0.0.1/32",
            ]
        );
        assert_eq!(client.stats().await.unwrap().generation, 0);
    });
}

#[test]
fn an_object_named_twice_and_a_bad_owner_are_refused() {
    let daemon = Daemon::start();
    runtime().block_on(async {
        let mut client = daemon.client().await;
        let request = ApplyRequest {
            owner: "no spaces".into(),
            mode: 7,
            ..upserts("vrfs: [{name: a}, {name: a}]")
        };
        let response = client.apply(request).await.unwrap();
        let said = reasons(&response);
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(said[0].starts_with("-: owner: `no spaces` is not a name"));
        assert!(said[1].starts_with("-: mode: 7 is no mode"));
        assert!(said[2].starts_with("1 vrf a: : is in the request twice"));
    });
}

#[test]
fn a_change_that_says_nothing_is_refused() {
    let daemon = Daemon::start();
    runtime().block_on(async {
        let mut client = daemon.client().await;
        let mut request = upserts("");
        request.changes = vec![Change::default()];
        let response = client.apply(request).await.unwrap();
        assert_eq!(response.refusals[0].code(), Code::Missing);
    });
}

#[test]
fn a_device_that_does_not_open_changes_nothing() {
    let daemon = Daemon::start();
    let vif = "
vrfs: [{name: a}]
vifs: [{name: v, role: tenant, device: 'memory:v', vrf: a, mac: '02:00:00:00:00:05'}]
";
    runtime().block_on(async {
        let mut client = daemon.client().await;
        let response = client.apply(upserts(vif)).await.unwrap();
        let said = reasons(&response);
        assert!(
            said[0].starts_with("1 vif v: device: device `memory:v` cannot be opened"),
            "{said:?}"
        );
        assert_eq!(client.stats().await.unwrap().generation, 0);

        let peer = daemon.devices.plug("memory:v", 1);
        let response = client.apply(upserts(vif)).await.unwrap();
        assert_eq!(response.outcome(), Outcome::Committed, "{response:?}");
        assert!(peer.is_open());
        let stats = client.stats().await.unwrap();
        assert_eq!(stats.vifs[0].name, "v");
        assert!(stats.vifs[0].link_up);
    });
}

/// A client with gRPC's usual limit of 4 MiB must get an answer to any request.
#[test]
fn answers_stay_small_however_long_the_request() {
    let daemon = Daemon::start();
    let macs: String = (0..50_000)
        .map(|i| {
            format!(
                "  - {{vrf: a, mac: '02:00:00:{:02x}:{:02x}:00', nexthop: n}}\n",
                i >> 8,
                i & 255
            )
        })
        .collect();
    let good =
        format!("vrfs: [{{name: a}}]\nnexthops: [{{name: n, discard: {{}}}}]\nmacs:\n{macs}");
    let bad = good.replace("nexthop: n}", "nexthop: m}");
    runtime().block_on(async {
        let mut client = daemon.client().await;
        let refused = client.apply(upserts(&bad)).await.unwrap();
        assert_eq!(
            refused.refusals.len() as u64 + refused.refusals_left_out,
            50_000
        );
        let dry = ApplyRequest {
            dry_run: true,
            ..upserts(&good)
        };
        let planned = client.apply(dry).await.unwrap();
        let committed = client.apply(upserts(&good)).await.unwrap();
        assert_eq!((planned.created, committed.created), (50_002, 50_002));
        for response in [refused, planned, committed] {
            assert!(response.encoded_len() < 2 << 20);
        }
    });
}

#[test]
fn clients_that_commit_at_once_each_get_a_generation_of_their_own() {
    const CLIENTS: u32 = 8;
    let daemon = Daemon::start();
    runtime().block_on(async {
        daemon
            .client()
            .await
            .apply(upserts("vrfs: [{name: a}]"))
            .await
            .unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..CLIENTS {
            let socket = daemon.socket();
            tasks.spawn(async move {
                let mut client = Client::connect(&socket).await.unwrap();
                let request = upserts(&format!("vnis: [{{vni: {number}, vrf: a}}]"));
                client.apply(request).await.unwrap().generation
            });
        }
        let mut generations = tasks.join_all().await;
        generations.sort_unstable();
        assert_eq!(generations, (2..2 + u64::from(CLIENTS)).collect::<Vec<_>>());
    });
}

#[test]
fn a_message_that_is_too_large_is_refused_by_name() {
    let daemon = Daemon::start();
    let request = ApplyRequest {
        owner: "x".repeat(proto::MAX_MESSAGE_LEN + 1),
        ..Default::default()
    };
    runtime().block_on(async {
        let error = daemon
            .client()
            .await
            .apply(request.clone())
            .await
            .unwrap_err();
        assert!(matches!(error, Error::TooLarge { .. }), "{error}");

        // A client in another language would not look first.
        let mut client = foreign_client(daemon.socket()).await;
        let status = client.apply(request).await.unwrap_err();
        assert_eq!(status.code(), Grpc::ResourceExhausted);
        assert!(
            status.message().contains("at most 67108864 bytes"),
            "{status}"
        );
    });
}

#[test]
fn flows_of_a_vrf_that_does_not_exist_are_refused() {
    let daemon = Daemon::start();
    runtime().block_on(async {
        let mut client = daemon.client().await;
        let request = proto::FlowsRequest {
            vrf: Some("nobody".into()),
            ..Default::default()
        };
        let error = client.flows(request).await.unwrap_err();
        assert_eq!(error.to_string(), "there is no vrf `nobody`");
    });
}

#[test]
fn the_socket_is_gone_when_the_daemon_is() {
    let mut daemon = Daemon::start();
    let socket = daemon.socket();
    daemon.stop();
    assert!(!socket.exists());
    let error = runtime().block_on(Client::connect(&socket)).err().unwrap();
    assert!(
        error
            .to_string()
            .contains("there is no such socket; start vrouterd")
    );
}
