//! The protocol's server: each call to the engine and back.
//!
//! One thread carries all connections. What may take longer than a moment
//! (commits open devices, flow tables are large) runs on tokio's blocking
//! threads; commits queue up there behind the engine's lock, one at a time.
//! Reads of objects and flows hold that lock only to take a reference.

mod alarms;
mod apply;
mod commit;
mod devices;
mod limits;
mod rules;
mod socket;
mod stats;

use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dataplane::engine::Engine;
use dataplane::tables::spec::{Key, Name};
use dataplane::tables::{Stored, Tables};
use encap::Buffer;
use flowtable::WalkCursor;
use prost::Message as _;
use tokio::net::UnixListener;
use tokio::sync::mpsc::{self, Sender};
use tokio::task::spawn_blocking;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::transport::Server;
use tonic::{Request, Response, Status};

pub use commit::{Caller, Commit, Commits, Observer};
pub use socket::{ControlSocket, SocketError};

use crate::convert;
use crate::flows::{Describer, Filter};
use crate::learned;
use crate::proto::vrouter_server::{Vrouter, VrouterServer};
use crate::proto::{self, FILE_DESCRIPTOR_SET, MAX_MESSAGE_LEN};

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

/// Serves the protocol on `socket` until `shutdown` completes, and returns the
/// engine of `commits`. Calls under way then end with `UNAVAILABLE`; a commit that has
/// begun is finished first.
///
/// # Errors
/// What the system said when the socket could not be listened on. The engine is
/// stopped then.
pub async fn serve<B>(
    commits: Commits<B>,
    socket: ControlSocket,
    shutdown: impl Future<Output = ()>,
) -> io::Result<Option<Engine<B>>>
where
    B: Buffer + Send + 'static,
{
    let engine = commits.engine().clone();
    let rule_log = lock(&engine)
        .as_ref()
        .map(|engine| engine.tables().rule_log().clone());
    let _log = rule_log.map(|rule_log| rules::Writer::spawn(rule_log, engine.clone()));
    let service = VrouterServer::new(Service {
        engine: engine.clone(),
        commits,
    })
    .max_decoding_message_size(MAX_MESSAGE_LEN);
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
    };
    // Both versions of the same thing: grpcurl asks for v1, Python's client for v1alpha.
    let reflection_v1 = reflection().build_v1().map_err(io::Error::other)?;
    let reflection_v1alpha = reflection().build_v1alpha().map_err(io::Error::other)?;
    let incoming = UnixListenerStream::new(UnixListener::from_std(socket.listener()?)?);
    let server = Server::builder()
        .initial_connection_window_size(WINDOW)
        .initial_stream_window_size(WINDOW)
        .layer(limits::Layer)
        .add_service(service)
        .add_service(reflection_v1)
        .add_service(reflection_v1alpha)
        .serve_with_incoming(incoming);
    tokio::select! {
        result = server => result.map_err(io::Error::other)?,
        () = shutdown => {}
        () = alarms::watch(engine.clone()) => {}
        () = devices::await_missing(engine.clone()) => {}
    }
    drop(socket);
    // Waits for a commit that has begun; later calls find no engine.
    let engine = spawn_blocking(move || lock(&engine).take()).await?;
    Ok(engine)
}

struct Service<B> {
    engine: SharedEngine<B>,
    commits: Commits<B>,
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
}

#[tonic::async_trait]
impl<B: Buffer + Send + 'static> Vrouter for Service<B> {
    async fn apply(
        &self,
        request: Request<proto::ApplyRequest>,
    ) -> Result<Response<proto::ApplyResponse>, Status> {
        let commit = self.commits.apply(Caller::Controller, request.into_inner());
        let response = commit.await.ok_or_else(stopping)?;
        Ok(Response::new(response))
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
