//! One client, and what it programs.

use std::time::{Duration, Instant};

use ctl::client::Client;
use ctl::proto::{self, ApplyRequest, ApplyResponse, Change, Outcome};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::rig::{Rig, runtime};
use super::traffic::Scenario;
use super::{Latency, Plan};

pub(super) struct Controller {
    pub(super) runtime: Runtime,
    pub(super) client: Client,
}

/// One commit at a time.
pub(super) struct Latencies {
    pub(super) answer: Latency,
    pub(super) packet: Latency,
}

/// Commits of which the latency is measured.
const SAMPLES: u32 = 1_000;
/// Packets a second meanwhile: one comes every 5 µs.
const PROBES: u64 = 200_000;

impl Controller {
    pub(super) fn connect(rig: &Rig) -> Result<Controller, String> {
        let runtime = runtime()?;
        let connect = async {
            let deadline = Instant::now() + Duration::from_secs(10);
            loop {
                match Client::connect(&rig.socket).await {
                    Ok(client) => return Ok(client),
                    Err(error) if Instant::now() > deadline => return Err(error.to_string()),
                    Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        };
        let client = runtime.block_on(connect)?;
        Ok(Controller { runtime, client })
    }

    fn apply(&mut self, changes: Vec<proto::Object>) -> Result<(), String> {
        let response = self.runtime.block_on(self.client.apply(request(changes)));
        committed(response.map_err(|error| error.to_string())?)
    }

    /// The scenario's own objects, and so many networks besides.
    pub(super) fn networks(&mut self, vrfs: u32) -> Result<(), String> {
        let own = Scenario::objects();
        self.apply(own.iter().map(Into::into).collect())?;
        let vrf = |number| {
            let vrf = proto::Vrf {
                name: format!("vrf-{number}"),
                ..proto::Vrf::default()
            };
            object(proto::object::Object::Vrf(vrf))
        };
        self.apply((0..vrfs).map(vrf).collect())
    }

    /// All routes in batches; how many a second.
    pub(super) fn routes(&mut self, plan: &Plan) -> Result<f64, String> {
        let batches = plan.routes / plan.batch;
        let began = Instant::now();
        let batch = |number: u32| {
            let routes = number * plan.batch..(number + 1) * plan.batch;
            let per_vrf = plan.routes.div_ceil(plan.vrfs);
            request(routes.map(|it| route(it, per_vrf, "far")).collect())
        };
        self.many(batches, plan.bulk_calls, batch)?;
        Ok(f64::from(batches * plan.batch) / began.elapsed().as_secs_f64())
    }

    /// One-object commits with some in flight; how many a second.
    pub(super) fn small_commits(&mut self, plan: &Plan) -> Result<f64, String> {
        let per_vrf = plan.routes.div_ceil(plan.vrfs);
        let (mut done, mut nexthop) = (0, "discard");
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(plan.seconds) {
            let one = |number: u32| {
                let number = number.wrapping_mul(7_919) % plan.routes;
                request(vec![route(number, per_vrf, nexthop)])
            };
            let round = plan.small_calls as u32 * 64;
            self.many(round.min(plan.routes), plan.small_calls, one)?;
            done += round.min(plan.routes);
            nexthop = if nexthop == "far" { "discard" } else { "far" };
        }
        Ok(f64::from(done) / began.elapsed().as_secs_f64())
    }

    /// So many requests, at most `calls` at a time.
    fn many(
        &mut self,
        requests: u32,
        calls: usize,
        request: impl Fn(u32) -> ApplyRequest,
    ) -> Result<(), String> {
        let client = &self.client;
        self.runtime.block_on(async {
            let mut running = JoinSet::new();
            for number in 0..requests {
                if running.len() >= calls {
                    finished(running.join_next().await)?;
                }
                let (mut client, request) = (client.clone(), request(number));
                running.spawn(async move { client.apply(request).await });
            }
            while let Some(done) = running.join_next().await {
                finished(Some(done))?;
            }
            Ok(())
        })
    }

    /// From the call to the answer, and to the first packet that goes by the new rule.
    pub(super) fn latency(&mut self, rig: &Rig) -> Result<Latencies, String> {
        rig.wire.send(PROBES, 1);
        let (mut answers, mut packets) = (Vec::new(), Vec::new());
        for _ in 0..SAMPLES {
            self.apply(vec![far_route("discard")])?;
            std::thread::sleep(Duration::from_millis(2)); // what was on its way has left
            rig.wire.watch();
            let called = Instant::now();
            self.apply(vec![far_route("far")])?;
            answers.push(called.elapsed());
            while rig.wire.came().is_none() {
                if called.elapsed() > Duration::from_secs(1) {
                    return Err("no packet comes under the new rule".into());
                }
                std::hint::spin_loop();
            }
            packets.extend(rig.wire.came().map(|came| came - called));
        }
        rig.wire.send(0, 1);
        Ok(Latencies {
            answer: Latency::of(answers),
            packet: Latency::of(packets),
        })
    }
}

type Joined = Result<Result<ApplyResponse, ctl::client::Error>, tokio::task::JoinError>;

fn finished(done: Option<Joined>) -> Result<(), String> {
    match done {
        None => Ok(()),
        Some(Ok(Ok(response))) => committed(response),
        Some(Ok(Err(error))) => Err(error.to_string()),
        Some(Err(error)) => Err(error.to_string()),
    }
}

fn committed(response: ApplyResponse) -> Result<(), String> {
    match (response.outcome(), response.refusals.first()) {
        (Outcome::Refused, Some(refusal)) => Err(refusal.reason.clone()),
        _ => Ok(()),
    }
}

/// Route `number`, of so many in each network.
pub(super) fn route(number: u32, per_vrf: u32, nexthop: &str) -> proto::Object {
    let (vrf, place) = (number / per_vrf, number % per_vrf);
    object(proto::object::Object::Route(proto::Route {
        vrf: format!("vrf-{vrf}"),
        prefix: format!(
            "10.{}.{}.{}/32",
            place >> 16,
            place >> 8 & 0xff,
            place & 0xff
        ),
        nexthop: nexthop.into(),
    }))
}

/// The one route that the packets take.
fn far_route(nexthop: &str) -> proto::Object {
    object(proto::object::Object::Route(proto::Route {
        vrf: "tenant".into(),
        prefix: "10.128.0.0/9".into(),
        nexthop: nexthop.into(),
    }))
}

fn object(object: proto::object::Object) -> proto::Object {
    proto::Object {
        object: Some(object),
    }
}

pub(super) fn request(objects: Vec<proto::Object>) -> ApplyRequest {
    let upsert = |object| Change {
        change: Some(proto::change::Change::Upsert(object)),
    };
    ApplyRequest {
        changes: objects.into_iter().map(upsert).collect(),
        owner: "bench".into(),
        ..ApplyRequest::default()
    }
}
