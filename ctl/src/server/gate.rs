//! What every call passes before its handler: may this caller, is there room, and
//! does anybody read the answer.
//!
//! A call that is refused here costs a lock and no thread. Names of limits in
//! messages are those of `limits` in the node file.

use std::collections::HashSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::SystemTime;

use prost_reflect::DescriptorPool;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tower::Service;

use super::{limits, slow};
use crate::access::{Audit, Caller, Limits, Role, audit};
use crate::proto::FILE_DESCRIPTOR_SET;

/// Where our calls' paths begin.
const SERVICE: &str = "/vrouter.v1.Vrouter/";

/// Wraps every service of a server.
#[derive(Clone)]
pub(super) struct Layer(Arc<Shared>);

struct Shared {
    limits: Limits,
    /// Calls under way: all, and those of callers that only read.
    calls: AtomicUsize,
    reading: AtomicUsize,
    readers: slow::Readers,
    audit: Option<Arc<Audit>>,
}

#[derive(Clone)]
pub(super) struct Gate<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl Layer {
    pub(super) fn new(limits: Limits, audit: Option<Arc<Audit>>) -> Layer {
        Layer(Arc::new(Shared {
            limits,
            calls: AtomicUsize::new(0),
            reading: AtomicUsize::new(0),
            readers: slow::Readers::new(limits.slow_reader),
            audit,
        }))
    }

    /// Cuts off whoever is stuck, for ever.
    pub(super) async fn watch_readers(&self) {
        self.0.readers.watch().await;
    }
}

impl<S> tower::Layer<S> for Layer {
    type Service = Gate<S>;

    fn layer(&self, inner: S) -> Gate<S> {
        Gate {
            inner,
            shared: self.0.clone(),
        }
    }
}

impl<S> Service<Request<Body>> for Gate<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let shared = self.shared.clone();
        let caller = request.extensions().get::<Caller>().cloned();
        let caller = caller.unwrap_or_else(Caller::unknown);
        let call = Call::of(&request, caller);
        let place = call.permitted().and_then(|()| Place::take(&shared, &call));
        let place = match place {
            Ok(place) => place,
            Err(status) => {
                shared.note(&call, &status);
                return Box::pin(async move { Ok(status.into_http()) });
            }
        };
        let request = match call.is_ours {
            true => request.map(|body| slow::sender(body, shared.limits.slow_reader)),
            // Reflection is a conversation, in which the client may think.
            false => request,
        };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let response = limits::named(answer.await?, shared.limits.message_bytes);
            if call.changes_something && call.name != "Apply" {
                // What became of an Apply is in its response; `Service::apply` knows.
                let status = Status::from_header_map(response.headers());
                shared.note(&call, &status.unwrap_or(Status::ok("")));
            }
            let what = format!("{} of {}", call.name, call.caller);
            Ok(response.map(|body| shared.readers.enter(body, what, Box::new(place))))
        })
    }
}

impl Shared {
    /// Writes down a call that changes something, or wanted to.
    fn note(&self, call: &Call, status: &Status) {
        let Some(audit) = self.audit.as_ref().filter(|_| call.changes_something) else {
            return;
        };
        audit.note(audit::Entry::Call {
            time: SystemTime::now(),
            caller: call.caller.name.clone(),
            call: call.name.clone(),
            status: name(status.code()),
            owner: None,
            reason: status.message().into(),
        });
    }
}

/// A call before anything of it has been read.
struct Call {
    name: String,
    caller: Caller,
    is_ours: bool,
    changes_something: bool,
}

impl Call {
    fn of(request: &Request<Body>, caller: Caller) -> Call {
        let path = request.uri().path();
        let (is_ours, name) = match path.strip_prefix(SERVICE) {
            Some(name) => (true, name),
            None => (false, path.trim_start_matches('/')),
        };
        Call {
            // A path is as long as its sender likes.
            name: name.chars().take(64).collect(),
            caller,
            is_ours,
            changes_something: is_ours && CHANGING.contains(name),
        }
    }

    fn permitted(&self) -> Result<(), Status> {
        let Call { name, caller, .. } = self;
        match caller.role {
            Role::ReadWrite => Ok(()),
            Role::ReadOnly if !self.changes_something => Ok(()),
            Role::ReadOnly => Err(Status::permission_denied(format!(
                "{caller} may only read, and {name} changes something"
            ))),
            Role::Nobody => Err(Status::permission_denied(format!(
                "{caller} is on no list; name it in `tls.read_write` or `tls.read_only`"
            ))),
        }
    }
}

/// The calls that have side effects: all that the protocol does not say to have none.
static CHANGING: LazyLock<HashSet<String>> = LazyLock::new(|| {
    const NO_SIDE_EFFECTS: i32 = 1;
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).ok();
    let services: Vec<_> = pool.iter().flat_map(DescriptorPool::services).collect();
    let methods = services.iter().flat_map(|service| service.methods());
    let level = |method: &prost_reflect::MethodDescriptor| {
        let options = method.method_descriptor_proto().options.clone();
        options.and_then(|options| options.idempotency_level)
    };
    let methods = methods.filter(|method| level(method) != Some(NO_SIDE_EFFECTS));
    methods.map(|method| method.name().to_owned()).collect()
});

/// A call's place among those that may be under way at once; free when dropped.
struct Place {
    shared: Arc<Shared>,
    reads_only: bool,
}

impl Place {
    fn take(shared: &Arc<Shared>, call: &Call) -> Result<Place, Status> {
        let most = shared.limits.calls;
        let reads_only = call.caller.role == Role::ReadOnly;
        // Taken first and counted then: dropping it gives it back.
        let all = shared.calls.fetch_add(1, Ordering::Relaxed);
        let reading = match reads_only {
            true => shared.reading.fetch_add(1, Ordering::Relaxed),
            false => 0,
        };
        let place = Place {
            shared: shared.clone(),
            reads_only,
        };
        if all >= most {
            return Err(Status::resource_exhausted(format!(
                "limits.calls: {most} calls are under way, and no more may be; end some, or try again"
            )));
        }
        if reading >= most / 2 {
            return Err(Status::resource_exhausted(format!(
                "limits.calls: {} calls of callers that only read are under way, which is half of \
                 all there may be; end some, or try again",
                most / 2
            )));
        }
        Ok(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.calls.fetch_sub(1, Ordering::Relaxed);
        if self.reads_only {
            self.shared.reading.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// A status by its name in the specification of gRPC.
fn name(code: tonic::Code) -> &'static str {
    use tonic::Code;
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
