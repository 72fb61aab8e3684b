//! Refuses messages that are too large by name.
//!
//! tonic notices the size, but ends the call with `OUT_OF_RANGE` and words of
//! its own; this turns that into the `RESOURCE_EXHAUSTED` the protocol promises.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tonic::codegen::http::{HeaderValue, Response};
use tonic::{Code, Status};
use tower::Service;

use crate::proto::MAX_MESSAGE_LEN;

/// Wraps every service of a server.
#[derive(Clone, Copy)]
pub(super) struct Layer;

#[derive(Clone)]
pub(super) struct Limits<S>(S);

impl<S> tower::Layer<S> for Layer {
    type Service = Limits<S>;

    fn layer(&self, inner: S) -> Limits<S> {
        Limits(inner)
    }
}

impl<S, Req, Body> Service<Req> for Limits<S>
where
    S: Service<Req, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let answer = self.0.call(request);
        Box::pin(async move { Ok(named(answer.await?)) })
    }
}

/// A response that ends at once has its status among its headers.
fn named<Body>(mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers_mut();
    let too_large = headers.get(Status::GRPC_STATUS) == Some(&code(Code::OutOfRange))
        && headers
            .get(Status::GRPC_MESSAGE)
            .is_some_and(|message| message.as_bytes().windows(12).any(|w| w == b"length%20too"));
    if too_large {
        headers.insert(Status::GRPC_STATUS, code(Code::ResourceExhausted));
        let message = format!(
            "the request is too large: a message has at most {MAX_MESSAGE_LEN} bytes; split it"
        );
        if let Ok(message) = HeaderValue::from_str(&message.replace(' ', "%20")) {
            headers.insert(Status::GRPC_MESSAGE, message);
        }
    }
    response
}

fn code(code: Code) -> HeaderValue {
    HeaderValue::from(code as i32)
}
