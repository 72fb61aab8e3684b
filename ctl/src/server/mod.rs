//! The protocol's server: each call to the engine and back.
//!
//! One thread carries all connections. What may take longer than a moment
//! (commits open devices, flow tables are large) runs on tokio's blocking
//! threads; commits queue up there behind the engine's lock, one at a time.
//! Reads of objects and flows hold that lock only to take a reference.

mod access;
mod alarms;
mod apply;
mod capture;
mod clear;
mod commit;
mod devices;
mod dropped;
mod explain;
mod gate;
mod hello;
mod impact;
mod journal;
mod limits;
mod listen;
mod metrics;
mod observe;
mod rules;
mod slow;
mod socket;
mod stats;
mod watch;

use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dataplane::engine::Engine;
use dataplane::tables::spec::{Key, Name};
use dataplane::tables::{Stored, Tables};
use encap::Buffer;
use flowtable::WalkCursor;
use prost::Message as _;
use tokio::sync::mpsc::{self, Sender};
use tokio::task::spawn_blocking;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

pub use access::{Access, AccessError};
pub use commit::{Commit, Commits, Observer};
pub use metrics::Metrics;
pub use socket::{ControlSocket, SocketError};

use journal::Journal;

use crate::access::{Audit, Caller, Limits, audit};
use crate::convert;
use crate::flows::{Describer, Filter};
use crate::learned;
use crate::proto::vrouter_server::{Vrouter, VrouterServer};
use crate::proto::{self, FILE_DESCRIPTOR_SET};

/// Objects in one message of a list.
const OBJECTS_PER_MESSAGE: usize = 512;
/// Bytes after which a message of a list ends: an address set may have megabytes, and most gRPC
/// clients take 4 MiB.
const LIST_BYTES_PER_MESSAGE: usize = 1 << 20;
/// Learned MACs in one message.
const MACS_PER_MESSAGE: usize = 512;
/// Flows in one message.
const FLOWS_PER_MESSAGE: usize = 256;
/// Places of the flow table looked at between two chances to stop.
const FLOW_WALK: usize = 4096;
/// HTTP/2 windows: a large apply should not wait for a window update every 64 KiB.
const WINDOW: u32 = 4 << 20;
/// A connection whose other end says nothing for so long is asked whether it is there, and closed
/// when it does not answer for as long again.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// Serves the protocol on the ways that `access` has until `shutdown` completes, and returns the
/// engine of `commits`. Calls under way then end with `UNAVAILABLE`; a commit that has
/// begun is finished first.
///
/// # Errors
/// What the system said when the socket could not be listened on. The engine is
/// stopped then.
pub async fn serve<B>(
    commits: Commits<B>,
    access: impl Into<Access>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<Option<Engine<B>>>
where
    B: Buffer + Send + 'static,
{
    let access = access.into();
    let limits = access.limits;
    let engine = commits.engine().clone();
    if let Some(engine) = lock(&engine).as_ref() {
        access.journal.begin(engine.tables().generation());
    }
    let rule_log = lock(&engine)
        .as_ref()
        .map(|engine| engine.tables().rule_log().clone());
    let _log = rule_log.map(|rule_log| rules::Writer::spawn(rule_log, engine.clone()));
    let service = VrouterServer::new(Service {
        engine: engine.clone(),
        commits,
        host: hello::Host::new(limits),
        journal: access.journal.clone(),
        audit: access.audit.clone(),
        limits,
    })
    .max_decoding_message_size(limits.message_bytes);
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
    };
    // Both versions of the same thing: grpcurl asks for v1, Python's client for v1alpha.
    let reflection_v1 = reflection().build_v1().map_err(io::Error::other)?;
    let reflection_v1alpha = reflection().build_v1alpha().map_err(io::Error::other)?;
    let gate = gate::Layer::new(limits, access.audit.clone());
    let server = Server::builder()
        .initial_connection_window_size(WINDOW)
        .initial_stream_window_size(WINDOW)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .layer(gate.clone())
        .add_service(service)
        .add_service(reflection_v1)
        .add_service(reflection_v1alpha)
        .serve_with_incoming(listen::connections(&access)?);
    tokio::select! {
        result = server => result.map_err(io::Error::other)?,
        () = shutdown => {}
        () = alarms::watch(engine.clone()) => {}
        () = devices::await_missing(engine.clone()) => {}
        () = gate.watch_readers() => {}
        () = observe::observe(engine.clone(), access.journal.clone()) => {}
    }
    drop(access);
    // Waits for a commit that has begun; later calls find no engine.
    let engine = spawn_blocking(move || lock(&engine).take()).await?;
    Ok(engine)
}

struct Service<B> {
    engine: SharedEngine<B>,
    commits: Commits<B>,
    host: hello::Host,
    journal: Arc<Journal>,
    audit: Option<Arc<Audit>>,
    limits: Limits,
}

type SharedEngine<B> = Arc<Mutex<Option<Engine<B>>>>;
type ResponseStream<T> = ReceiverStream<Result<T, Status>>;

/// A panic elsewhere in a commit has been reported; the tables are replaced
/// only as a whole and so are still sound.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<B: Buffer + Send + 'static> Service<B> {
    /// Runs `work` with the engine on a thread that may block.
    async fn with_engine<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Engine<B>) -> T + Send + 'static,
    ) -> Result<T, Status> {
        let engine = self.engine.clone();
        let work = spawn_blocking(move || lock(&engine).as_mut().map(work));
        match work.await {
            Ok(Some(done)) => Ok(done),
            Ok(None) => Err(stopping()),
            Err(_) => Err(panicked()),
        }
    }

    async fn tables(&self) -> Result<Arc<Tables>, Status> {
        self.with_engine(|engine| engine.tables()).await
    }

    /// Writes down an `Apply` that was refused; what was committed is written down by its commit.
    fn note_refused(&self, caller: &Caller, owner: String, response: &proto::ApplyResponse) {
        let Some(audit) = &self.audit else { return };
        if response.outcome() == proto::Outcome::Refused {
            audit.note(audit::Entry::refused(caller, owner, response));
        }
    }
}

#[tonic::async_trait]
impl<B: Buffer + Send + 'static> Vrouter for Service<B> {
    async fn apply(
        &self,
        request: Request<proto::ApplyRequest>,
    ) -> Result<Response<proto::ApplyResponse>, Status> {
        let caller = caller(&request);
        let written = request.into_inner();
        if let Some(refusal) = limits::too_many(&written, &self.limits) {
            let generation = self.tables().await?.generation();
            let response = apply::refused(vec![refusal], generation);
            self.note_refused(&caller, written.owner, &response);
            return Ok(Response::new(response));
        }
        let owner = written.owner.clone();
        let asked = written.dry_run.then(|| written.clone());
        let apply = self.commits.apply(caller.clone(), written);
        let mut response = apply.await.ok_or_else(stopping)?;
        if let Some(written) = asked {
            let engine = self.engine.clone();
            let add = move || {
                impact::add(&engine, &written, &mut response);
                response
            };
            response = spawn_blocking(add).await.map_err(|_| panicked())?;
        }
        self.note_refused(&caller, owner, &response);
        Ok(Response::new(response))
    }

    async fn hello(
        &self,
        request: Request<proto::HelloRequest>,
    ) -> Result<Response<proto::HelloResponse>, Status> {
        let caller = caller(&request);
        let client: String = request.into_inner().client.chars().take(128).collect();
        tracing::debug!("{caller} is {client:?}");
        let generation = self.tables().await?.generation();
        let answer = self.host.answer(&caller, generation, &self.journal);
        Ok(Response::new(answer))
    }

    type WatchStream = ResponseStream<proto::WatchResponse>;

    async fn watch(
        &self,
        request: Request<proto::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let watcher = watch::Watcher::new(self.journal.clone(), &request.into_inner())?;
        let (sender, receiver) = mpsc::channel(4);
        tokio::spawn(watcher.tell(sender));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn get(
        &self,
        request: Request<proto::GetRequest>,
    ) -> Result<Response<proto::GetResponse>, Status> {
        let key = request.into_inner().key.unwrap_or_default();
        let key = convert::key(&key).map_err(|problems| {
            let said = problems
                .into_iter()
                .map(|p| format!("{}: {}", p.field, p.reason));
            Status::invalid_argument(said.collect::<Vec<_>>().join("; "))
        })?;
        let tables = self.tables().await?;
        let stored = tables.object(&key);
        let stored = stored.ok_or_else(|| Status::not_found(format!("there is no {key}")))?;
        Ok(Response::new(proto::GetResponse {
            object: Some(stored.into()),
            generation: tables.generation(),
        }))
    }

    type ListStream = ResponseStream<proto::ListResponse>;

    async fn list(
        &self,
        request: Request<proto::ListRequest>,
    ) -> Result<Response<Self::ListStream>, Status> {
        let request = request.into_inner();
        if request.kinds().any(|kind| kind == proto::Kind::Unspecified) {
            return Err(Status::invalid_argument("kinds: one of them is no kind"));
        }
        let wanted = Wanted {
            kinds: request.kinds().collect(),
            owner: request.owner.map(Name::from),
        };
        let tables = self.tables().await?;
        let (sender, receiver) = mpsc::channel(4);
        spawn_blocking(move || send_objects(&tables, &wanted, &sender));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    type FlowsStream = ResponseStream<proto::FlowsResponse>;

    async fn flows(
        &self,
        request: Request<proto::FlowsRequest>,
    ) -> Result<Response<Self::FlowsStream>, Status> {
        let request = request.into_inner();
        let read = |engine: &mut Engine<B>| (engine.tables(), engine.flows().clone(), engine.now());
        let (tables, flows, now) = self.with_engine(read).await?;
        let filter = Filter::new(&request, &tables).map_err(Status::invalid_argument)?;
        let limit = request.limit.unwrap_or(u64::MAX);
        let (sender, receiver) = mpsc::channel(4);
        spawn_blocking(move || {
            let describer = Describer::new(&tables, now);
            send_flows(&flows, &filter, limit, describer, &sender);
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn clear_flows(
        &self,
        request: Request<proto::FlowsRequest>,
    ) -> Result<Response<proto::ClearFlowsResponse>, Status> {
        let request = request.into_inner();
        let read = |engine: &mut Engine<B>| (engine.tables(), engine.flows().clone());
        let (tables, flows) = self.with_engine(read).await?;
        let work = move || clear::run(&request, &tables, &flows);
        let cleared = spawn_blocking(work).await.map_err(|_| panicked())??;
        Ok(Response::new(proto::ClearFlowsResponse { cleared }))
    }

    async fn explain(
        &self,
        request: Request<proto::ExplainRequest>,
    ) -> Result<Response<proto::ExplainResponse>, Status> {
        let request = request.into_inner();
        let state = self.with_engine(explain::State::of).await?;
        let work = move || explain::run(&request, &state);
        let response = spawn_blocking(work).await.map_err(|_| panicked())??;
        Ok(Response::new(response))
    }

    type LearnedMacsStream = ResponseStream<proto::LearnedMacsResponse>;

    async fn learned_macs(
        &self,
        request: Request<proto::LearnedMacsRequest>,
    ) -> Result<Response<Self::LearnedMacsStream>, Status> {
        let request = request.into_inner();
        let read = |engine: &mut Engine<B>| (engine.tables(), engine.now());
        let (tables, now) = self.with_engine(read).await?;
        let macs = spawn_blocking(move || learned::macs(&request, &tables, now))
            .await
            .map_err(|_| panicked())?
            .map_err(Status::invalid_argument)?;
        let (sender, receiver) = mpsc::channel(4);
        spawn_blocking(move || {
            for macs in macs.chunks(MACS_PER_MESSAGE) {
                let macs = macs.to_vec();
                let response = proto::LearnedMacsResponse { macs };
                if sender.blocking_send(Ok(response)).is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn stats(
        &self,
        request: Request<proto::StatsRequest>,
    ) -> Result<Response<proto::StatsResponse>, Status> {
        let read =
            |engine: &mut Engine<B>| (engine.stats(), engine.tables(), engine.flows().clone());
        let (stats, tables, flows) = self.with_engine(read).await?;
        let mut response = proto::StatsResponse::from(stats);
        if request.into_inner().rules {
            let read = spawn_blocking(move || rules::stats(&tables, &flows));
            response.rules = read.await.map_err(|_| panicked())?;
        }
        Ok(Response::new(response))
    }

    type CaptureStream = ResponseStream<proto::CaptureResponse>;

    async fn capture(
        &self,
        request: Request<proto::CaptureRequest>,
    ) -> Result<Response<Self::CaptureStream>, Status> {
        let request = request.into_inner();
        let begin = move |engine: &mut Engine<B>| {
            let wanted = capture::wanted(&request, &engine.tables())?;
            Ok((engine.capture(wanted), engine.watcher()))
        };
        let begun: Result<_, String> = self.with_engine(begin).await?;
        let (seeing, tables) = begun.map_err(Status::invalid_argument)?;
        let (sender, receiver) = mpsc::channel(4);
        tokio::spawn(capture::run(seeing, tables, sender));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    type DroppedPacketsStream = ResponseStream<proto::DroppedPacketsResponse>;

    async fn dropped_packets(
        &self,
        request: Request<proto::DroppedPacketsRequest>,
    ) -> Result<Response<Self::DroppedPacketsStream>, Status> {
        let wanted =
            dropped::Wanted::new(request.into_inner()).map_err(Status::invalid_argument)?;
        let ledger = self.with_engine(|engine| engine.ledger().clone()).await?;
        let (sender, receiver) = mpsc::channel(4);
        tokio::spawn(dropped::run(ledger, wanted, sender));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// Who made the connection that a request came by.
fn caller<T>(request: &Request<T>) -> Caller {
    let known = request.extensions().get::<Caller>();
    known.cloned().unwrap_or_else(Caller::unknown)
}

fn stopping() -> Status {
    Status::unavailable("vrouterd is stopping")
}

fn panicked() -> Status {
    Status::internal("vrouterd has a bug: this call panicked; see its log")
}

/// Which objects a list is of.
struct Wanted {
    kinds: Vec<proto::Kind>,
    owner: Option<Name>,
}

impl Wanted {
    fn includes(&self, key: &Key, stored: &Stored) -> bool {
        let is_kind = self.kinds.is_empty() || self.kinds.contains(&convert::kind(key));
        is_kind
            && self
                .owner
                .as_ref()
                .is_none_or(|owner| stored.owner == *owner)
    }
}

/// Ends early when the client has gone.
fn send_objects(
    tables: &Tables,
    wanted: &Wanted,
    sender: &Sender<Result<proto::ListResponse, Status>>,
) {
    let generation = tables.generation();
    let objects = tables
        .objects()
        .filter(|(key, stored)| wanted.includes(key, stored));
    let mut objects = objects.map(|(_, stored)| proto::StoredObject::from(stored));
    // An empty list is a message too: it says of which generation.
    loop {
        let mut some = Vec::new();
        let mut bytes = 0;
        while some.len() < OBJECTS_PER_MESSAGE && bytes < LIST_BYTES_PER_MESSAGE {
            let Some(object) = objects.next() else { break };
            bytes += object.encoded_len();
            some.push(object);
        }
        let is_last = some.len() < OBJECTS_PER_MESSAGE && bytes < LIST_BYTES_PER_MESSAGE;
        let response = proto::ListResponse {
            objects: some,
            generation,
        };
        if sender.blocking_send(Ok(response)).is_err() || is_last {
            return;
        }
    }
}

/// Ends early when the client has gone or has enough.
fn send_flows(
    table: &flowtable::FlowTable,
    filter: &Filter,
    limit: u64,
    mut describer: Describer<'_>,
    sender: &Sender<Result<proto::FlowsResponse, Status>>,
) {
    let mut cursor = WalkCursor::default();
    let mut left = limit;
    let mut flows = Vec::new();
    while !cursor.is_done() && left > 0 {
        table.walk(&mut cursor, FLOW_WALK, |flow| {
            if left > 0 && filter.matches(flow) {
                flows.push(describer.flow(flow));
                left -= 1;
            }
        });
        while flows.len() >= FLOWS_PER_MESSAGE || (cursor.is_done() && !flows.is_empty()) {
            let rest = flows.split_off(FLOWS_PER_MESSAGE.min(flows.len()));
            let response = proto::FlowsResponse {
                flows: std::mem::replace(&mut flows, rest),
            };
            if sender.blocking_send(Ok(response)).is_err() {
                return;
            }
        }
    }
    if !flows.is_empty() {
        // The limit was reached; if the client has gone, nobody is told.
        _ = sender.blocking_send(Ok(proto::FlowsResponse { flows }));
    }
}
