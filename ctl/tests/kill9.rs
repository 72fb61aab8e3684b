//! `kill -9` at random moments while controllers commit: what was acknowledged is
//! there again, and nothing is there by half.
//!
//! FAULT_ROUNDS says how often; a round takes about a second.

#![cfg(feature = "dpdk")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ctl::client::Client;
use ctl::proto::{self, ApplyRequest, Change, Outcome};
use support::runtime;

/// Controllers that commit at the same time.
const CONTROLLERS: u32 = 4;
/// Objects that each of their commits changes, which must all say the same ever after.
const COPIES: u32 = 3;

/// What a controller knows of its commits: the last one it has sent, and the last one that was
/// acknowledged, with its generation.
#[derive(Clone, Copy, Default)]
struct Known {
    sent: u32,
    acknowledged: u32,
    generation: u64,
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        _ = self.0.kill(); // SIGKILL
        _ = self.0.wait();
    }
}

fn start(node: &Path) -> Killed {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vrouterd"));
    let command = command.arg("--config").arg(node).stderr(Stdio::null());
    Killed(command.spawn().unwrap())
}

async fn connect(socket: &Path) -> Client {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Ok(mut client) = Client::connect(socket).await
            && client.list(&[proto::Kind::Vrf], None).await.is_ok()
        {
            return client;
        }
        assert!(Instant::now() < deadline, "vrouterd does not answer");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Commit `number` of a controller: its address sets all hold the number. Each has a lot of other
/// prefixes now and then, so that the log grows and checkpoints are among what is interrupted.
fn request(controller: u32, number: u32) -> ApplyRequest {
    let many = if number.is_multiple_of(8) { 4_000 } else { 0 };
    let set = |copy| {
        let number = std::net::Ipv4Addr::from(number);
        let padding = (0..many).map(|i| format!("fd00::{i:x}"));
        let set = proto::AddressSet {
            name: format!("c{controller}-{copy}"),
            prefixes: std::iter::once(number.to_string()).chain(padding).collect(),
        };
        let object = Some(proto::object::Object::AddressSet(set));
        let upsert = proto::change::Change::Upsert(proto::Object { object });
        Change {
            change: Some(upsert),
        }
    };
    ApplyRequest {
        changes: (0..COPIES).map(set).collect(),
        owner: format!("c{controller}"),
        ..ApplyRequest::default()
    }
}

/// Commits until the daemon dies.
async fn commit(socket: &Path, controller: u32, mut known: Known) -> Known {
    let Ok(mut client) = Client::connect(socket).await else {
        return known;
    };
    loop {
        known.sent += 1;
        let Ok(response) = client.apply(request(controller, known.sent)).await else {
            return known;
        };
        assert_eq!(response.outcome(), Outcome::Committed, "{response:?}");
        known.acknowledged = known.sent;
        known.generation = response.generation;
    }
}

/// The numbers that a controller's objects hold; 0 before the first commit.
fn number(objects: &BTreeMap<String, u32>, controller: u32) -> u32 {
    let copies = (0..COPIES).map(|copy| objects.get(&format!("c{controller}-{copy}")));
    let copies: Vec<u32> = copies.map(|it| it.copied().unwrap_or(0)).collect();
    assert!(
        copies.iter().all(|it| *it == copies[0]),
        "half a commit: {copies:?}"
    );
    copies[0]
}

async fn check(client: &mut Client, known: &mut [Known]) {
    let (objects, generation) = client.list(&[proto::Kind::AddressSet], None).await.unwrap();
    let mut numbers = BTreeMap::new();
    for stored in objects {
        let Some(proto::object::Object::AddressSet(set)) = stored.object.unwrap().object else {
            unreachable!("no other kind was asked for")
        };
        let mut hosts = set.prefixes.iter().filter_map(|it| {
            let host = it.strip_suffix("/32").unwrap_or(it);
            host.parse::<std::net::Ipv4Addr>().ok()
        });
        numbers.insert(set.name, hosts.next().unwrap().to_bits());
    }
    for (controller, known) in known.iter_mut().enumerate() {
        let found = number(&numbers, controller as u32);
        assert!(
            found == known.acknowledged || found == known.sent,
            "controller {controller} has {found}; acknowledged {}, sent {}",
            known.acknowledged,
            known.sent
        );
        assert!(generation >= known.generation, "{generation}");
        known.sent = found;
        known.acknowledged = found;
    }
}

#[test]
fn no_acknowledged_commit_is_lost_when_the_process_is_killed() {
    let rounds = std::env::var("FAULT_ROUNDS").map_or(3, |rounds| rounds.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let (node, socket) = (dir.path().join("node.yaml"), dir.path().join("ctl.sock"));
    let text = format!(
        "socket: {}\nstate_dir: {}\neal: [\"--no-huge\", \"--no-pci\"]\nflow_table_size: 1024\n",
        socket.display(),
        dir.path().join("state").display()
    );
    std::fs::write(&node, text).unwrap();
    let mut known = vec![Known::default(); CONTROLLERS as usize];
    let mut commits = 0;
    for round in 0..rounds {
        let daemon = start(&node);
        runtime().block_on(async {
            check(&mut connect(&socket).await, &mut known).await;
            let before: u32 = known.iter().map(|it| it.acknowledged).sum();
            // Anywhere from the first commit on.
            let moment = Duration::from_micros(20_000 + (round * 7_919 % 977) * 400);
            let kill = async {
                tokio::time::sleep(moment).await;
                drop(daemon);
            };
            let socket = &socket;
            let all = (0..CONTROLLERS).map(|it| commit(socket, it, known[it as usize]));
            let all: Vec<_> = all.map(Box::pin).collect();
            let (known_now, ()) = tokio::join!(join_all(all), kill);
            known = known_now;
            commits += known.iter().map(|it| it.acknowledged).sum::<u32>() - before;
        });
    }
    let daemon = start(&node);
    runtime().block_on(async {
        check(&mut connect(&socket).await, &mut known).await;
    });
    drop(daemon);
    println!("{rounds} rounds, {commits} acknowledged commits, none lost");
    assert!(commits > 0);
}

/// All of them, side by side.
async fn join_all<T>(mut futures: Vec<std::pin::Pin<Box<impl Future<Output = T>>>>) -> Vec<T> {
    let mut done: Vec<Option<T>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(move |context| {
        for (future, done) in futures.iter_mut().zip(&mut done) {
            if done.is_none()
                && let std::task::Poll::Ready(value) = future.as_mut().poll(context)
            {
                *done = Some(value);
            }
        }
        match done.iter().all(Option::is_some) {
            true => std::task::Poll::Ready(done.iter_mut().filter_map(Option::take).collect()),
            false => std::task::Poll::Pending,
        }
    })
    .await
}
