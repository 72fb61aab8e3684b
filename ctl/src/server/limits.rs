//! Refuses by name what is too large: messages, and requests with too many changes.
//!
//! tonic notices the size, but ends the call with `OUT_OF_RANGE` and words of
//! its own; this turns that into the `RESOURCE_EXHAUSTED` the protocol promises.

use tonic::codegen::http::{HeaderValue, Response};
use tonic::{Code, Status};

use crate::access::Limits;
use crate::proto::refusal::Code as Why;
use crate::proto::{ApplyRequest, Refusal};

/// The refusal of a request with more changes than there may be.
pub(super) fn too_many(request: &ApplyRequest, limits: &Limits) -> Option<Refusal> {
    let (most, count) = (limits.changes_per_apply, request.changes.len());
    (count > most).then(|| Refusal {
        field: "changes".into(),
        code: Why::Limit.into(),
        reason: format!(
            "limits.changes_per_apply: a request has at most {most} changes, not {count}; split it"
        ),
        ..Default::default()
    })
}

/// A response that ends at once has its status among its headers.
pub(super) fn named<Body>(mut response: Response<Body>, limit: usize) -> Response<Body> {
    let headers = response.headers_mut();
    let too_large = headers.get(Status::GRPC_STATUS) == Some(&code(Code::OutOfRange))
        && headers
            .get(Status::GRPC_MESSAGE)
            .is_some_and(|message| message.as_bytes().windows(12).any(|w| w == b"length%20too"));
    if too_large {
        headers.insert(Status::GRPC_STATUS, code(Code::ResourceExhausted));
        let message = format!(
            "limits.message_bytes: the request is too large: a message has at most {limit} bytes; split it"
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
